"""Files for other tools: what each format holds, what is refused, how parts are divided, that it streams."""

import asyncio
import csv as stdlib_csv
import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta

import pyarrow.parquet
import pytest
import yaml
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from annotation import consent, exporters, services, snapshots
from annotation.errors import Invalid
from annotation.exporters import Asked, hub, table
from annotation.exporters.chosen import beginning
from annotation.models import Item, Verdict
from tests.annotation import studies
from trainers import records

pytestmark = pytest.mark.django_db


def freeze(study):
    return snapshots.freeze(study=study, by=study.created_by)


def exported(source, /, **asked) -> bytes:
    return b"".join(exporters.export(source, Asked(**asked)))


def rows(source, /, **asked) -> list[dict]:
    return [json.loads(line) for line in exported(source, **asked).splitlines()]


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def tables(files: dict[str, bytes], config: str, split: str) -> list[dict]:
    names = sorted(name for name in files if name.startswith(f"data/{config}/{split}/"))
    return [row for name in names for row in pyarrow.parquet.read_table(io.BytesIO(files[name])).to_pylist()]


def labelled(*said: dict, items: int | None = None, **rest):
    """A study of one annotator who said these things, one about each item."""
    study = studies.study(items=items or len(said), members=1, **rest)
    (ada,) = studies.annotators(study)
    for one in said:
        studies.label_next(study, ada, one)
    return study


A, TIE, BAD = {"choice": "a"}, {"choice": "tie"}, {"choice": "both_bad"}


# --- licences


def test_an_export_without_a_licence_is_refused_with_item_and_field_named():
    study = labelled(A, A, licence="")
    first, second = study.items.all()
    Item.objects.filter(pk=first.pk).update(licence="MIT")
    frozen = freeze(study)
    for source in (study, frozen):
        for name in exporters.FORMATS:
            with pytest.raises(Invalid, match=f"Item {second.pk}, field licence") as refused:
                exporters.export(source, Asked(format=name))
            assert refused.value.field == "licence"
    Item.objects.filter(pk=second.pk).update(licence="CC0-1.0", external_id="q2")
    assert [row["source"]["terms"]["licence"] for row in rows(study)] == ["MIT", "CC0-1.0"]
    assert len(rows(freeze(study))) == 2


def test_a_study_s_licence_is_its_items():
    study = labelled(A, licence="")
    frozen = freeze(study)
    services.change_study(study=study, licence="internal use only")
    frozen.refresh_from_db()
    assert len(rows(frozen)) == 1
    assert rows(study)[0]["source"]["terms"]["licence"] == "internal use only"


def test_the_refusal_reaches_pages_and_api():
    study = labelled(A, licence="")
    client = Client()
    client.force_login(study.created_by)
    frozen = freeze(study)
    page = client.get(f"/snapshots/{frozen.pk}/kibitz.jsonl", follow=True)
    assert f"Item {study.items.get().pk}, field licence" in page.text
    refused = client.get(f"/api/studies/{study.pk}/export")
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "licence")


# --- the same version


def test_the_same_version_exported_twice_has_the_same_hash_and_one_changed_label_changes_it():
    study = labelled(A, TIE, items=3)
    frozen = freeze(study)
    for name in exporters.FORMATS.keys() - {"history"}:
        digests = {
            hashlib.sha256(exported(frozen, format=name, test=0.5, ties="both")).hexdigest() for _ in range(2)
        }
        assert len(digests) == 1
    services.undo_last(study=study, annotator=studies.annotators(study)[0])
    studies.label_next(study, studies.annotators(study)[0], BAD)
    changed = freeze(study)
    assert changed.digest != frozen.digest
    for name in ("kibitz", "csv", "dataset"):
        assert exported(changed, format=name) != exported(frozen, format=name)


def test_a_study_as_it_stands_is_exported_as_its_snapshot_would_be():
    study = labelled(A, TIE, BAD)
    frozen = freeze(study)
    for name in ("kibitz", "trl", "trl_chat", "sft", "csv"):
        assert exported(study, format=name) == exported(frozen, format=name)
    assert exported(frozen) == (frozen.folder / "records.jsonl").read_bytes()


def test_what_is_left_out_of_a_snapshot_is_left_out_of_a_study_s_export():
    study = labelled(A, A, A)
    consent.withdraw_item(item=study.items.first(), by=study.created_by)
    assert len(rows(study)) == 2


# --- TRL


def test_trl_is_three_texts_or_three_lists_of_messages():
    study = studies.study(items=0, members=1)
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    services.add_items(
        study=study,
        items=[
            {"context": {"prompt": "Why?"}, "candidates": ["Because.", "So."]},
            {"context": {"messages": chat}, "candidates": ["Hello.", "What?"]},
        ],
    )
    (ada,) = studies.annotators(study)
    for _ in range(2):
        turn = studies.claim(study, ada)
        studies.answer(turn, {"choice": "ab"[[one.index for one in turn.candidates].index(0)]})
    assert rows(study, format="trl") == [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "So."},
        {
            "prompt": "system: Be brief.\n\nuser: Hi\n\nassistant: ",
            "chosen": "Hello.",
            "rejected": "What?",
        },
    ]
    said = lambda text: [{"role": "assistant", "content": text}]  # noqa: E731
    assert rows(study, format="trl_chat") == [
        {
            "prompt": [{"role": "user", "content": "Why?"}],
            "chosen": said("Because."),
            "rejected": said("So."),
        },
        {"prompt": chat, "chosen": said("Hello."), "rejected": said("What?")},
    ]
    for number, row in enumerate(rows(study, format="trl_chat"), 1):
        assert isinstance(records.from_trl(row, number), records.Pair)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("drop", []),
        ("first", [("Answer 0 to 1.", None)]),
        ("both", [("Answer 0 to 1.", None), ("Answer 1 to 1.", None)]),
        ("half", [("Answer 0 to 1.", 0.5), ("Answer 1 to 1.", 0.5)]),
    ],
)
def test_each_policy_for_ties_does_what_it_says(ties, expected):
    study = labelled(A, TIE, BAD)
    for name in ("trl", "trl_chat"):
        decided, *tied = rows(study, format=name, ties=ties)
        text = (lambda one: one) if name == "trl" else (lambda one: one[0]["content"])
        assert [(text(row["chosen"]), row.get("weight")) for row in tied] == expected
        assert all(text(row["chosen"]) != text(row["rejected"]) for row in tied)
        assert decided.get("weight") == (1.0 if ties == "half" else None)


def test_what_people_rewrote_is_a_preference_and_a_completion():
    study = studies.study("edit", items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    studies.answer(turn, {"text": "Kinder."})
    (row,) = rows(study, format="trl")
    assert row == {"prompt": "Question 0?", "chosen": "Kinder.", "rejected": turn.candidates[0].text}
    (row,) = rows(study, format="sft")
    assert row == {
        "prompt": [{"role": "user", "content": "Question 0?"}],
        "completion": [{"role": "assistant", "content": "Kinder."}],
    }


# --- CSV


def test_no_cell_of_a_csv_is_run_as_a_formula_and_every_one_comes_back():
    study = studies.study(items=0, members=1)
    texts = ["=1+1", "+43", "-2", "@SUM(A1)", "\ttab", "\rreturn", "\nline", "'quoted", 'a "b", c', "plain"]
    services.add_items(
        study=study,
        items=[{"context": {"prompt": text}, "candidates": [text, f"{text}!"]} for text in texts],
    )
    (ada,) = studies.annotators(study)
    for _ in texts:
        studies.label_next(study, ada, TIE)
    content = exported(study, format="csv").decode()
    found = list(stdlib_csv.DictReader(io.StringIO(content, newline="")))
    assert [row["prompt"][0] for row in found[:8]] == ["'"] * 8
    assert all(not cell.startswith(table.FORMULA) for row in found for cell in row.values())
    assert [table.unsafe(row["prompt"]) for row in found] == texts
    assert [row["outcome"] for row in found] == ["tie"] * len(texts)


@given(st.text())
def test_defusing_a_cell_is_undone_exactly(text):
    assert table.unsafe(table.safe(text)) == text
    assert not table.safe(text).startswith(table.FORMULA)


def test_what_has_no_column_is_kept_as_json():
    study = studies.study("rating", items=1, answers=1, members=1)
    studies.label_next(study, studies.annotators(study)[0])
    (row,) = stdlib_csv.DictReader(io.StringIO(exported(study, format="csv").decode()))
    assert (row["kind"], row["answer"]) == ("rating", "Answer 0 to 0.")
    assert json.loads(row["judgement"]) == {"scale": {"quality": 5}, "scores": {"quality": 4}}


# --- the dataset


def test_the_dataset_loads_and_its_card_counts_what_is_in_it(tmp_path):
    study = studies.study("pairwise", "edit", "rating", items=30, members=1, pay="12 an hour")
    (ada,) = studies.annotators(study)
    for n in range(30):
        studies.label_next(study, ada, [A, A, TIE][n % 3], kind="pairwise")
        studies.label_next(study, ada, kind="rating")
        studies.label_next(study, ada, {"text": f"Rewritten {n}."}, kind="edit")
    frozen = freeze(study)
    content = exported(frozen, format="dataset", test=0.2, validation=0.2, seed=3)
    files = unzipped(content)
    head, _, body = files["README.md"].decode().removeprefix("---\n").partition("\n---\n")
    meta = yaml.safe_load(head)
    assert meta["license"] == "cc-by-4.0" and meta["size_categories"] == ["n<1K"]
    assert meta["task_categories"] and "human-feedback" in meta["tags"]
    listed = {
        (config["config_name"], part["split"]) for config in meta["configs"] for part in config["data_files"]
    }
    for config, split in listed:
        found = tables(files, config, split)
        assert found and f"| {config} | {split} | {len(found)} |" in body
    assert {name.rsplit("/", 1)[0] for name in files if name.startswith("data/")} == {
        f"data/{config}/{split}" for config, split in listed
    }
    total = sum(len(tables(files, config, split)) for config, split in listed)
    manifest = json.loads(files["manifest.json"])
    assert sum(manifest["rows"].values()) == total == 20 + 30 + 30
    assert manifest["snapshot"]["sha256"] == frozen.digest
    assert "with the seed 3" in body and "12 an hour" in body and "## How it was made" in body
    row = tables(files, "preference", "train")[0]
    assert row["prompt"][0]["role"] == "user" and row["chosen"][0]["role"] == "assistant"
    assert json.loads(row["source"])["given"]["interface"]["kind"] in ("pairwise", "edit")
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        packed.extractall(tmp_path)
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "data" / "preference" / "train")
    assert len(frame) == len(tables(files, "preference", "train"))


def test_a_dataset_of_many_rows_is_many_files_and_comes_in_pieces(monkeypatch):
    monkeypatch.setattr(hub, "ROWS_A_FILE", 4)
    study = labelled(*[A] * 10)
    blocks = list(exporters.export(study, Asked(format="dataset")))
    assert len(blocks) >= 4
    files = unzipped(b"".join(blocks))
    sizes = [
        pyarrow.parquet.ParquetFile(io.BytesIO(files[f"data/preference/train/{n:05d}.parquet"])).metadata
        for n in range(3)
    ]
    assert [(one.num_rows, one.num_row_groups) for one in sizes] == [(4, 1), (4, 1), (2, 1)]


def test_several_licences_and_named_terms_are_in_the_head():
    study = labelled(A, A)
    item = study.items.first()
    Item.objects.filter(pk=item.pk).update(licence="MIT")
    head = unzipped(exported(study, format="dataset"))["README.md"].decode().split("\n---\n")[0]
    assert yaml.safe_load(head.removeprefix("---\n"))["license"] == ["cc-by-4.0", "mit"]
    Item.objects.filter(pk=item.pk).update(licence='The "house" terms: ask #1')
    head = unzipped(exported(study, format="dataset"))["README.md"].decode().split("\n---\n")[0]
    meta = yaml.safe_load(head.removeprefix("---\n"))
    assert meta["license"] == "other" and 'The "house" terms: ask #1' in meta["license_name"]


# --- parts


def test_no_prompt_is_in_two_parts_however_it_is_spelled():
    study = studies.study(items=0, members=1)
    prompts = [f"Question {n}" for n in range(40)]
    spelled = [*prompts, *(f"  {one.upper()}\n" for one in prompts), *prompts]
    services.add_items(
        study=study, items=[{"context": {"prompt": text}, "candidates": ["a", "b"]} for text in spelled]
    )
    (ada,) = studies.annotators(study)
    for _ in spelled:
        studies.label_next(study, ada)
    parts = {
        name: {beginning(row["prompt"]) for row in rows(study, split=name, test=0.3, validation=0.2, seed=1)}
        for name in ("train", "validation", "test")
    }
    assert all(parts.values()) and sum(map(len, parts.values())) == 40 == len(set.union(*parts.values()))
    everything = [
        row["id"] for name in parts for row in rows(study, split=name, test=0.3, validation=0.2, seed=1)
    ]
    assert sorted(everything) == [row["id"] for row in rows(study)]
    again = {beginning(row["prompt"]) for row in rows(study, split="test", test=0.3, validation=0.2, seed=1)}
    other = {beginning(row["prompt"]) for row in rows(study, split="test", test=0.3, validation=0.2, seed=2)}
    assert again == parts["test"] != other


def test_chats_that_go_on_from_one_beginning_share_a_part():
    first = (records.Message("system", "Be brief."), records.Message("user", "Hi"))
    later = (*first, records.Message("assistant", "Hello"), records.Message("user", "And?"))
    assert beginning(first) == beginning(later) != beginning((records.Message("user", "Ho"),))


# --- filters


def test_filters_by_person_kind_source_and_time():
    study = studies.study("pairwise", "rating", items=2, members=2, overlap=2)
    for user in studies.annotators(study):
        consent.name_as(study.memberships.get(user=user), "named")
        for kind in ("pairwise", "rating"):
            studies.label_next(study, user, kind=kind)
    ada, _ = studies.annotators(study)
    assert {row["annotator"] for row in rows(study, annotators=(ada.username,))} == {ada.username}
    assert [row["kind"] for row in rows(study, kinds=("rating",))] == ["rating"] * 2
    assert len(rows(study, source="added here")) == 4 and rows(study, source="import 1") == []
    today = datetime.now(UTC).date()
    assert len(rows(study, since=today - timedelta(1), until=today + timedelta(1))) == 4
    assert rows(study, since=today + timedelta(2)) == [] == rows(study, until=today - timedelta(2))


def test_a_least_agreement_keeps_what_people_agree_on_and_what_a_reviewer_settled():
    study = studies.study(items=4, members=2, overlap=2)
    first, second = studies.annotators(study)
    for n in range(4):
        for user, other in ((first, False), (second, n % 2 == 1)):
            turn = studies.claim(study, user)
            side = [one.index for one in turn.candidates].index(int(other))
            studies.answer(turn, {"choice": "ab"[side], "strength": 1 + n % 3})
    agreed = {row["prompt"] for row in rows(study, agreement=0.9)}
    assert agreed == {"Question 0?", "Question 2?"}
    task = study.tasks.get(item__context__prompt="Question 1?")
    Verdict.objects.create(study=study, task=task, reviewer=study.created_by, answer=TIE)
    assert {row["prompt"] for row in rows(study, agreement=0.9)} == agreed | {"Question 1?"}
    assert len(rows(study)) == 7


def test_tasks_that_one_person_judged_have_no_agreement():
    assert rows(labelled(A, A), agreement=0.1) == []


def test_personal_data_is_left_out_and_counted_or_refused_with_item_and_field():
    study = labelled(A, A, A)
    item = study.items.all()[1]
    item.candidates.filter(index=0).update(text="Write to ada@engine.org.")
    frozen = freeze(study)
    assert len(rows(frozen)) == 3
    assert len(rows(frozen, personal="leave_out")) == 2
    card = unzipped(exported(frozen, format="dataset", personal="leave_out"))["README.md"].decode()
    assert "left out of this export: 1 records personal data was found in a text" in card
    assert "| preference | train | 2 |" in card
    with pytest.raises(
        Invalid, match=rf"Item {item.pk}, field (chosen|rejected): holds an e-mail address"
    ) as no:
        exporters.export(frozen, Asked(personal="refuse"))
    assert "ada@engine.org" not in str(no.value)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"ties": "twice"}, "ties"),
        ({"personal": "maybe"}, "personal"),
        ({"kinds": "pair,poem"}, "kinds"),
        ({"since": "yesterday"}, "since"),
        ({"agreement": "2"}, "agreement"),
        ({"agreement": "nan"}, "agreement"),
        ({"test": "0.6", "validation": "0.6"}, "test"),
        ({"split": "test"}, "split"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_cannot_be_asked_is_named(query, field):
    with pytest.raises(Invalid) as refused:
        exporters.read(query)
    assert refused.value.field == field


# --- out of the door


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # the test's client is synchronous
@pytest.mark.django_db(transaction=True)
def test_a_study_is_streamed_from_its_page_and_from_the_api():
    study = labelled(A, TIE, A)
    client = Client()
    client.force_login(study.created_by)
    for address in (f"/studies/{study.pk}/export/", f"/api/studies/{study.pk}/export"):
        answer = client.get(address, {"format": "trl_chat", "ties": "both"})
        assert answer.streaming and "Content-Length" not in answer.headers
        assert answer.headers["Content-Disposition"].endswith('.trl_chat.jsonl"')
        assert len(b"".join(answer).splitlines()) == 4
    zipped = client.get(f"/studies/{study.pk}/export/", {"format": "dataset"})
    assert zipped.headers["Content-Type"] == "application/zip"
    assert "README.md" in unzipped(b"".join(zipped))
    wrong = client.get(f"/studies/{study.pk}/export/", {"format": "dataset", "since": "soon"}, follow=True)
    assert "expected a day like" in wrong.text
    assert client.get(f"/studies/{study.pk}/export/", {"format": "xml"}, follow=True).status_code == 200


async def test_a_download_is_read_block_by_block_and_closed_when_its_reader_leaves(monkeypatch):
    read, closed = [], []

    def blocks(*_):
        try:
            for block in (b"1\n", b"2\n", b"3\n"):
                read.append(block)
                yield block
        finally:
            closed.append(True)

    monkeypatch.setattr(exporters, "export", blocks)
    assert [block async for block in exporters.stream(None, Asked())] == [b"1\n", b"2\n", b"3\n"]
    read.clear(), closed.clear()
    left = exporters.stream(None, Asked())
    assert await anext(left) == b"1\n"
    await left.aclose()
    for _ in range(100):
        if closed:
            break
        await asyncio.sleep(0.01)
    assert (read, closed) == ([b"1\n"], [True])


def test_the_command_writes_a_file_whole_or_not_at_all(tmp_path, capsys):
    study = labelled(A, A)
    path = tmp_path / "out.jsonl"
    call_command("export", str(path), "--study", str(study.pk), "--format", "trl")
    assert len(path.read_text().splitlines()) == 2
    frozen = freeze(study)
    call_command("export", str(path), "--snapshot", str(frozen.pk), "--format", "kibitz")
    assert path.read_bytes() == (frozen.folder / "records.jsonl").read_bytes()
    with pytest.raises(CommandError, match="ties: Found 'x'"):
        call_command("export", str(path), "--study", str(study.pk), "--ties", "x")
    services.change_study(study=study, licence="")
    other = tmp_path / "other.jsonl"
    with pytest.raises(CommandError, match="licence: Item"):
        call_command("export", str(other), "--study", str(study.pk))
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["out.jsonl"]
