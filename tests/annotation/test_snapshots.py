"""Frozen labels: the same bytes for the same labels, never changed, described, and readable by others."""

import json
import re
from collections import Counter
from datetime import UTC, date
from threading import Thread
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from annotation import consent, exporters, remarks, services, snapshots
from annotation.errors import Conflict, Invalid
from annotation.exporters import Asked
from annotation.interfaces import pairwise
from annotation.models import Item, Part, Remark, Signal, Snapshot, Task, Verdict
from annotation.snapshots import frozen as frozen_module
from annotation.snapshots.facts import Facts
from annotation.snapshots.names import pseudonym
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


def test_a_pair_says_what_was_preferred_and_only_its_source_says_where_it_stood():
    study = studies.study(items=12, members=1)
    (ada,) = studies.annotators(study)
    sides, shown = set(), []
    for _ in range(12):
        turn = studies.claim(study, ada)
        sides.add(turn.candidates[0].index)
        shown.append([one.pk for one in turn.candidates])
        preferred = "ab"[[one.index for one in turn.candidates].index(1)]
        studies.answer(turn, {"choice": preferred, "strength": 3, "reason": "Warmer."})
    assert sides == {0, 1}
    for n, row in enumerate(lines(freeze(study))):
        assert (row["chosen"], row["rejected"]) == (f"Answer 1 to {n}.", f"Answer 0 to {n}.")
        assert (row["strength"], row["reason"]) == (3.0, "Warmer.")
        assert row["source"]["chosen"]["policy"] == "model-1"
        assert row["source"]["given"].pop("order") == shown[n]
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
    assert "reward/bradley_terry, reward/plackett_luce" in snapshot.card and "direct/dpo" in snapshot.card
    for n, row in enumerate(lines(snapshot)):
        assert row["answers"] == [f"Answer {k} to {n}." for k in range(3)]
        assert row["ranks"] == [None, 2, 1]
        assert [one["policy"] for one in row["source"]["answers"]] == ["model-0", "model-1", "model-2"]
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
    consent.agree(study.memberships.get(user=ada))
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
    assert f"| {pseudonym(study.pk, ada.pk)} | 4 | a program |" in card
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
        exporters.export(snapshot, Asked(format="trl"))
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


# --- where a record comes from, and what is left out


def verdict(task, reviewer, answer):
    return Verdict.objects.create(study=task.study, task=task, reviewer=reviewer, answer=answer)


def left_out(snapshot) -> dict[str, int]:
    return {step["name"]: step["left_out"] for step in snapshot.process["filters"] if step["left_out"]}


@pytest.mark.django_db(transaction=True)
def test_a_record_says_who_gave_it_when_how_and_under_which_words():
    study = studies.study(items=1, members=1, guidelines="Be kind.", consent="For science.")
    (ada,) = studies.annotators(study)
    mine = study.memberships.get(user=ada)
    consent.agree(mine, 1)
    services.change_study(study=study, guidelines="Be kinder.")
    turn = studies.claim(study, ada)
    label = studies.answer(turn)
    services.change_study(study=study, guidelines="Be kindest.")
    (row,) = lines(freeze(study))
    label.refresh_from_db()
    assert row["annotator"] == pseudonym(study.pk, ada.pk)
    assert ada.username not in json.dumps(row)
    assert row["source"]["given"] == {
        "assignment": label.assignment_id,
        "at": label.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "by": "a person",
        "consent": 1,
        "guidelines": 2,
        "interface": {"kind": "pairwise", "version": getattr(pairwise, "VERSION", 1)},
        "order": [one.pk for one in turn.candidates],
        "seconds": 1.5,
    }
    assert row["source"]["terms"] == {"licence": "CC-BY-4.0", "signal": "unknown", "source": "added here"}


def test_a_person_is_called_what_they_chose():
    study = studies.study(items=1, overlap=3, members=3)
    people = studies.annotators(study)
    for user, attribution in zip(people, ("pseudonym", "named", "none"), strict=True):
        consent.name_as(study.memberships.get(user=user), attribution)
        studies.label_next(study, user)
    frozen = freeze(study)
    assert [row["annotator"] for row in lines(frozen)] == [
        pseudonym(study.pk, people[0].pk),
        people[1].username,
        "",
    ]
    files = "".join(path.read_text() for path in frozen.folder.iterdir())
    assert people[0].username not in files and people[2].username not in files
    assert "| not named | 1 | a person |" in frozen.card


def test_a_pseudonym_is_another_in_every_study_and_with_every_key(settings):
    first, other = pseudonym(1, 7), pseudonym(2, 7)
    assert first == pseudonym(1, 7) != other
    settings.SECRET_KEY = "another"
    assert pseudonym(1, 7) != first


def test_what_must_not_go_out_is_left_out_and_every_filter_counts():
    study = studies.study(items=6, members=1)
    (ada,) = studies.annotators(study)
    given = [studies.label_next(study, ada) for _ in range(6)]
    before = freeze(study)
    items = [label.task.item for label in given]
    consent.withdraw_item(item=items[0], by=study.created_by, reason="Asked for by its writer.")
    Item.objects.filter(pk=items[1].pk).update(signal=Signal.NO_TRAIN)
    Task.objects.filter(pk=given[2].task_id).update(part=Part.GOLD)
    Task.objects.filter(pk=given[3].task_id).update(part=Part.CALIBRATION)
    flag = Remark.objects.create(
        study=study,
        task=given[4].task,
        author=ada,
        kind=Remark.Kind.FLAG,
        reason=Remark.Reason.PERSONAL,
        key=uuid4(),
    )
    after = freeze(study)
    assert left_out(after) == {"item_withdrawn": 1, "no_train": 1, "gold": 1, "personal_data": 1}
    assert [row["source"]["label"] for row in lines(after)] == [given[3].pk, given[5].pk]
    steps = after.process["filters"]
    assert (steps[0]["in"], steps[-1]["out"]) == (6, 2) == (after.process["labels"], after.records)
    assert all(step["in"] - step["left_out"] == step["out"] for step in steps)
    assert [one["out"] for one in steps[:-1]] == [one["in"] for one in steps[1:]]
    manifest = json.loads((after.folder / "manifest.json").read_text())
    assert manifest["process"]["filters"] == steps
    for step in steps:
        assert f"| {step['why']} | {step['in']} | {step['left_out']} | {step['out']} |" in after.card
    remarks.resolve(flag, study.created_by)
    assert "personal_data" not in left_out(freeze(study))
    assert snapshots.verify(before) and before.records == 6


@pytest.mark.parametrize("part", [Part.GOLD, Part.QUALIFICATION, Part.REPEAT])
def test_an_answer_that_only_checked_somebody_is_never_in_a_snapshot(part):
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada)
    aside = studies.label_next(study, ada)
    Task.objects.filter(pk=aside.task_id).update(part=part)
    frozen = freeze(study)
    assert aside.pk not in [row["source"]["label"] for row in lines(frozen)]
    assert left_out(frozen) == {str(part): 1}


def test_a_verdict_stands_in_place_of_the_labels_it_settles():
    study = studies.study(items=2, members=2, overlap=2)
    given = [studies.label_next(study, user) for user in studies.annotators(study) for _ in range(2)]
    task = given[0].task
    said = {"choice": "chosen", "chosen": task.candidates[1], "rejected": task.candidates[0]}
    settled = verdict(task, study.created_by, {**said, "strength": 3, "reason": "The manual says so."})
    frozen = freeze(study)
    assert (frozen.records, left_out(frozen), frozen.process["verdicts"]) == (3, {"settled": 2}, 1)
    (row,) = [row for row in lines(frozen) if "verdict" in row["source"]]
    assert (row["chosen"], row["strength"], row["weight"]) == ("Answer 1 to 0.", 3.0, 1.0)
    assert row["annotator"] == pseudonym(study.pk, study.created_by_id)
    assert row["source"]["settles"] == sorted(one.pk for one in given if one.task_id == task.pk)
    assert (row["source"]["verdict"], "label" in row["source"]) == (settled.pk, False)
    ids = [row["id"] for row in lines(frozen)]
    assert ids == sorted(ids)
    Verdict.objects.create(
        study=study, task=task, reviewer=study.created_by, answer={}, supersedes=settled, withdrawn=True
    )
    assert freeze(study).records == 4


def test_labels_of_who_was_never_asked_are_kept_and_counted():
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada)
    services.change_study(study=study, consent="We ask from now on.")
    frozen = freeze(study)
    assert (frozen.records, frozen.process["never_asked"]) == (1, 1)
    assert "1 labels are kept of people who were never asked" in frozen.card


def test_reliability_weighs_labels_but_no_verdict(monkeypatch):
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    given = [studies.label_next(study, ada) for _ in range(2)]
    verdict(given[1].task, study.created_by, {"choice": "tie"})
    monkeypatch.setattr("annotation.snapshots.reading.reliability_of", lambda _: {ada.pk: 0.25})
    plain = freeze(study)
    assert {row["weight"] for row in lines(plain)} == {1.0}
    study.by_reliability = True
    study.save()
    weighed = lines(freeze(study))
    assert [row["weight"] for row in weighed] == [0.25, 1.0]
    assert weighed[0]["source"]["given"]["reliability"] == 0.25


def test_the_counts_of_a_card_are_those_of_its_file():
    study = studies.study("pairwise", "edit", "rating", items=3, members=2, overlap=2)
    for user in studies.annotators(study):
        for n in range(3):
            studies.label_next(study, user, {"choice": ["a", "tie", "both_bad"][n]}, kind="pairwise")
            studies.label_next(study, user, kind="rating")
        studies.label_next(study, user, kind="edit")
    frozen = freeze(study)
    rows = lines(frozen)
    kinds = Counter(row["kind"] for row in rows)
    assert kinds == frozen.counts
    assert (
        f"{len(rows)} records: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}."
        in frozen.card
    )
    outcomes = Counter(row["outcome"] for row in rows if row["kind"] == "pair")
    assert (
        f"{outcomes['both_bad']} both bad, {outcomes['chosen']} decided, {outcomes['tie']} ties"
        in frozen.card
    )
    for name, count in Counter(row["annotator"] for row in rows).items():
        assert f"| {name} | {count} | a person |" in frozen.card
    assert f"- {len(rows)} records from items added here: CC-BY-4.0; no word on training" in frozen.card
    facts = Facts()
    for number, line in enumerate(snapshots.lines_of(frozen), 1):
        facts.note(records.parse(line.decode(), number))
    manifest = json.loads((frozen.folder / "manifest.json").read_text())
    assert json.loads(records.canonical(facts.to_json())).items() <= manifest.items()


@pytest.mark.django_db(transaction=True)
def test_the_card_tells_of_pay_consent_and_collection():
    study = studies.study(items=2, members=1, consent="For science.", pay="12 euros an hour.")
    (ada,) = studies.annotators(study)
    consent.agree(study.memberships.get(user=ada))
    Item.objects.filter(study=study).update(
        licence="MIT", collected_on=date(2026, 3, 1), collector="The front desk", jurisdiction="AT"
    )
    for _ in range(2):
        studies.label_next(study, ada)
    card = freeze(study).card
    for words in (
        "**Pay and terms**: 12 euros an hour.",
        "labels of people, by what they had agreed to: 2 version 1",
        "**Texts collected**: 2026-03-01 to 2026-03-01",
        "**Collected by**: 2 The front desk",
        "**Jurisdiction**: 2 AT",
        "**Licence**: MIT",
        "## Known limits",
    ):
        assert words in card


def test_freezing_costs_no_statement_for_each_label(django_assert_max_num_queries):
    study = studies.study(items=60, members=1)
    (ada,) = studies.annotators(study)
    for _ in range(60):
        studies.label_next(study, ada)
    with django_assert_max_num_queries(30):
        freeze(study)


@pytest.mark.django_db(transaction=True)
def test_a_snapshot_holds_one_moment():
    """What is said while it is written is in the next one, also where it is about an item not read yet."""
    study = studies.study(items=4, members=1)
    (ada,) = studies.annotators(study)
    for _ in range(3):
        studies.label_next(study, ada)
    turn = studies.claim(study, ada)
    with frozen_module._as_of_now():
        assert study.labels.count() == 3
        other = Thread(target=lambda: (studies.answer(turn), connections.close_all()))
        other.start()
        other.join()
        assert len(list(snapshots.read(study))) == 3
    assert freeze(study).records == 4


def test_the_command_freezes_and_says_what_was_left_out(capsys):
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    label = studies.label_next(study, ada)
    studies.label_next(study, ada)
    consent.withdraw_item(item=label.task.item, by=ada)
    call_command("freeze", str(study.pk), "--name", "From the command")
    said = capsys.readouterr().out
    assert "1 records" in said and "left out 1 labels: the item was withdrawn" in said
    assert study.snapshots.get().name == "From the command"
    with pytest.raises(CommandError, match="no study"):
        call_command("freeze", "0")
