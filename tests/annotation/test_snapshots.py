"""Frozen labels: the same bytes for the same labels, never changed, described, and readable by others."""

import json
import re

import pytest

from annotation import exporters, services, snapshots
from annotation.errors import Conflict, Invalid
from annotation.models import Snapshot
from tests.annotation import studies
from trainers import records

pytestmark = pytest.mark.django_db


def freeze(study, name=""):
    return snapshots.freeze(study=study, by=study.created_by, name=name)


def lines(snapshot) -> list[dict]:
    return [json.loads(line) for line in snapshots.lines_of(snapshot)]


def test_the_same_labels_are_the_same_bytes_and_the_same_row(settings, tmp_path):
    study = studies.study("pairwise", "edit", items=4, answers=3, members=2, overlap=2)
    for user in studies.annotators(study):
        for _ in range(6):
            studies.label_next(study, user)
    first = freeze(study, "first")
    files = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    assert set(files) == {"records.jsonl", "manifest.json", "card.md"}
    again = freeze(study, "again")
    assert (again.pk, again.name) == (first.pk, "first")
    Snapshot.objects.all().delete()
    settings.SNAPSHOTS = tmp_path / "elsewhere"
    anew = freeze(study)
    assert anew.digest == first.digest
    assert {path.name: path.read_bytes() for path in anew.folder.iterdir()} == files
    assert not [path for path in settings.SNAPSHOTS.iterdir() if path.name.startswith("draft")]


def test_records_are_canonical_sorted_by_id_and_what_trainers_read():
    study = studies.study("pairwise", "edit", items=5, members=2)
    ada, bob = studies.annotators(study)
    for n in range(9):
        studies.label_next(study, (ada, bob)[n % 2])
    found = [line.decode() for line in snapshots.lines_of(freeze(study))]
    parsed = [records.parse(line, number) for number, line in enumerate(found, 1)]
    assert [records.dumps(record) + "\n" for record in parsed] == found
    assert [record.id for record in parsed] == sorted({record.id for record in parsed})
    assert {record.kind for record in parsed} == {"pair", "correction"}


def test_a_new_label_makes_a_new_snapshot_and_leaves_the_old_one_alone():
    study = studies.study(items=3, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada)
    first = freeze(study)
    before = (first.folder / "records.jsonl").read_bytes()
    studies.label_next(study, ada)
    second = freeze(study)
    assert second.digest != first.digest and second.parent == first
    assert (first.folder / "records.jsonl").read_bytes() == before
    assert (first.records, second.records) == (1, 2)


def test_what_was_withdrawn_is_not_frozen_and_a_change_of_mind_is_frozen_once():
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada)
    studies.label_next(study, ada, {"choice": "tie"})
    back = services.undo_last(study=study, annotator=ada)
    assert freeze(study).records == 1
    studies.answer(back, {"choice": "both_bad"})
    assert [row["outcome"] for row in lines(freeze(study))] == ["chosen", "both_bad"]


def test_a_pair_says_what_was_preferred_and_nothing_of_where_it_stood():
    study = studies.study(items=12, members=1)
    (ada,) = studies.annotators(study)
    sides = set()
    for _ in range(12):
        turn = studies.claim(study, ada)
        sides.add(turn.candidates[0].index)
        preferred = "ab"[[one.index for one in turn.candidates].index(1)]
        studies.answer(turn, {"choice": preferred, "strength": 3, "reason": "Warmer."})
    assert sides == {0, 1}
    for n, row in enumerate(lines(freeze(study))):
        assert (row["chosen"], row["rejected"]) == (f"Answer 1 to {n}.", f"Answer 0 to {n}.")
        assert (row["strength"], row["reason"], row["annotator"]) == (3.0, "Warmer.", ada.username)
        assert row["source"]["chosen"]["policy"] == "model-1"
        assert "order" not in json.dumps(row)


def test_ratings_are_frozen_counted_and_left_out_of_preferences():
    study = studies.study("pairwise", "rating", items=2, members=1)
    (ada,) = studies.annotators(study)
    for _ in range(4):
        studies.label_next(study, ada, {"scores": {"quality": 2}}, kind="rating")
    studies.label_next(study, ada, kind="pairwise")
    snapshot = freeze(study)
    assert snapshot.counts == {"pair": 1, "rating": 4}
    assert "1 pair, 4 rating" in snapshot.card
    rows = [row for row in lines(snapshot) if row["kind"] == "rating"]
    assert [row["answer"] for row in rows] == [f"Answer {k} to {n}." for n in range(2) for k in range(2)]
    assert (rows[1]["scores"], rows[1]["scale"]) == ({"quality": 2}, {"quality": 5})
    assert rows[1]["source"]["answer"]["policy"] == "model-1"
    trl = b"".join(exporters.trl(snapshot)).splitlines()
    assert len(trl) == 1 and b"chosen" in trl[0]


def test_rankings_are_frozen_in_a_fixed_order_and_exported_as_their_pairs():
    study = studies.study("ranking", items=6, answers=3, members=1)
    (ada,) = studies.annotators(study)
    shown = set()
    for _ in range(6):
        turn = studies.claim(study, ada)
        shown.add(tuple(one.index for one in turn.candidates))
        places = [None, 2, 1]  # the last answer over the second, nothing about the first
        studies.answer(turn, {"ranks": {str(one.pk): places[one.index] for one in turn.candidates}})
    assert len(shown) > 1
    snapshot = freeze(study)
    assert snapshot.counts == {"ranking": 6}
    assert "reward/bradley_terry, direct/dpo" in snapshot.card
    for n, row in enumerate(lines(snapshot)):
        assert row["answers"] == [f"Answer {k} to {n}." for k in range(3)]
        assert row["ranks"] == [None, 2, 1]
        assert [one["policy"] for one in row["source"]["answers"]] == ["model-0", "model-1", "model-2"]
        assert "order" not in json.dumps(row)
    trl = [json.loads(line) for line in b"".join(exporters.trl(snapshot)).splitlines()]
    assert [(row["chosen"], row["rejected"]) for row in trl] == [
        (f"Answer 2 to {n}.", f"Answer 1 to {n}.") for n in range(6)
    ]


def test_a_tie_keeps_its_answers_in_a_fixed_order():
    study = studies.study(items=8, members=2, overlap=2)
    for user in studies.annotators(study):
        for _ in range(8):
            studies.label_next(study, user, {"choice": "tie"})
    assert {row["chosen"][:8] for row in lines(freeze(study))} == {"Answer 0"}


def test_lineage_leads_from_a_record_back_to_who_wrote_the_answer():
    study = studies.study(items=0, members=1)
    origin = {"run": 12, "artifact": 5, "step": 100}
    services.add_items(
        study=study,
        items=[
            {
                "context": {"messages": [{"role": "user", "content": "Hi"}]},
                "candidates": [{"text": "Hello.", "policy": "run 12", "source": origin}, "What?"],
                "external_id": "q1",
            }
        ],
    )
    label = studies.label_next(study, studies.annotators(study)[0], {"choice": "tie"})
    (row,) = lines(freeze(study))
    assert row["prompt"] == [{"role": "user", "content": "Hi"}]
    assert (row["source"]["label"], row["source"]["external_id"]) == (label.pk, "q1")
    assert row["source"]["chosen"]["source"] == origin


def test_the_manifest_and_the_card_say_what_a_stranger_must_know():
    study = studies.study(
        "pairwise",
        "edit",
        items=3,
        members=1,
        name="Tone of voice",
        licence="CC-BY-4.0",
        consent="Told of the use.",
    )
    (ada,) = studies.annotators(study)
    ada.simulated = True
    ada.save()
    for said in ({"choice": "a"}, {"choice": "tie"}, {"choice": "b"}):
        studies.label_next(study, ada, said, kind="pairwise")
    studies.label_next(study, ada, kind="edit")
    snapshot = freeze(study)
    manifest = json.loads((snapshot.folder / "manifest.json").read_text())
    assert manifest["sha256"] == snapshot.digest
    assert manifest["counts"] == snapshot.counts == {"pair": 3, "correction": 1}
    assert manifest["outcomes"] == {"chosen": 2, "tie": 1}
    assert {"reward/bradley_terry", "direct/dpo", "correction/sft"} <= set(manifest["methods"])
    card = snapshot.card
    assert card == (snapshot.folder / "card.md").read_text()
    for words in (
        "# Tone of voice",
        "CC-BY-4.0",
        "Told of the use.",
        "1 correction, 3 pair",
        "2 decided, 1 ties",
    ):
        assert words in card
    assert f"| {ada.username} | 4 | a program |" in card
    assert "answers written by model-0, model-1" in card
    assert re.search(r"Period\*\*: \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d", card)


def test_nothing_cannot_be_frozen():
    with pytest.raises(Invalid, match="nothing to freeze"):
        freeze(studies.study(items=1))


def test_files_that_were_changed_are_not_opened():
    study = studies.study(items=1, members=1)
    studies.label_next(study, studies.annotators(study)[0])
    snapshot = freeze(study)
    path = snapshot.folder / "records.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"Answer", b"Ansver"))
    with pytest.raises(snapshots.Damaged, match="changed after freezing"):
        snapshots.lines_of(snapshot)
    with pytest.raises(Conflict):
        exporters.trl(snapshot)
    path.unlink()
    with pytest.raises(snapshots.Damaged, match="missing"):
        snapshots.verify(snapshot)


def test_trl_rows_leave_out_ties_and_make_the_edited_text_chosen():
    study = studies.study("pairwise", "edit", items=2, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada, {"choice": "tie"}, kind="pairwise")
    turn = studies.claim(study, ada, kind="edit")
    studies.answer(turn, {"text": "Better."})
    (row,) = [json.loads(line) for line in b"".join(exporters.trl(freeze(study))).splitlines()]
    assert row == {"prompt": "Question 0?", "chosen": "Better.", "rejected": turn.candidates[0].text}


async def test_a_download_is_read_block_by_block(monkeypatch):
    monkeypatch.setattr(exporters, "LINES_AT_ONCE", 2)
    monkeypatch.setitem(
        exporters.FORMATS, "kibitz", lambda _: exporters._blocks(iter([b"1\n", b"2\n", b"3\n"]))
    )
    assert [block async for block in exporters.stream(None, "kibitz")] == [b"1\n2\n", b"3\n"]
