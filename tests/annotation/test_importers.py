"""Files into a study: all of a file or nothing of it, and errors that say what to mend."""

import gzip
import json
import os
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from annotation import exporters, import_jobs, importers, services, snapshots
from annotation.errors import Invalid
from annotation.models import Assignment, Candidate, ImportJob, Item, Label, Study, Task
from tests.annotation import studies

pytestmark = pytest.mark.django_db

DATA = os.environ.get("KIBITZ_DATA")
real = pytest.mark.skipif(not DATA, reason="KIBITZ_DATA names no folder with qa_feedback and hh_harmless")


def write(path: Path, *rows) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def bring(tmp_path):
    """Imports rows (or a file) into a study; the finished job."""

    def run(study, format, *rows, name="given.jsonl") -> ImportJob:
        path = rows[0] if isinstance(rows[0], Path) else write(tmp_path / name, *rows)
        job = ImportJob.objects.create(
            study=study, format=format, filename=path.name, created_by=study.created_by
        )
        import_jobs.import_file(job, path)
        return ImportJob.objects.get(pk=job.pk)

    return run


def nothing_is_left(study) -> None:
    assert not Item.objects.filter(study=study).exists()
    assert not Candidate.objects.exists() and not Task.objects.exists() and not Label.objects.exists()


PAIR = {"prompt": "Say hello.", "chosen": "Hello!", "rejected": "What."}


@pytest.mark.parametrize(
    ("row", "context"),
    [
        (PAIR, {"prompt": "Say hello."}),
        (
            {
                "prompt": [{"role": "user", "content": "Say hello."}],
                "chosen": [{"role": "assistant", "content": "Hello!"}],
                "rejected": [{"role": "assistant", "content": "What."}],
            },
            {"messages": [{"role": "user", "content": "Say hello."}]},
        ),
        (
            {
                "chosen": [
                    {"role": "user", "content": "Say hello."},
                    {"role": "assistant", "content": "Hello!"},
                ],
                "rejected": [
                    {"role": "user", "content": "Say hello."},
                    {"role": "assistant", "content": "What."},
                ],
            },
            {"messages": [{"role": "user", "content": "Say hello."}]},
        ),
        (
            {
                "chosen": "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Say hello.\n\nAssistant: Hello!",
                "rejected": "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Say hello.\n\nAssistant: What.",
            },
            {
                "messages": [
                    {"role": "user", "content": "Hi."},
                    {"role": "assistant", "content": "Yes?"},
                    {"role": "user", "content": "Say hello."},
                ]
            },
        ),
    ],
    ids=["plain", "conversational", "implicit", "dialogues"],
)
def test_trl_in_each_spelling_becomes_an_item_and_a_label(bring, row, context):
    study = studies.study(items=0)
    job = bring(study, "trl", row)
    assert (job.status, job.counts, job.total, job.done) == ("finished", {"items": 1, "comparisons": 1}, 1, 1)
    item = Item.objects.get()
    assert item.context == context
    assert [one.text for one in item.candidates.all()] == ["Hello!", "What."]
    label = Label.objects.get()
    assert label.answer["chosen"] == item.candidates.get(text="Hello!").pk
    assert (label.annotator.username, label.annotator.source) == ("imported", "imported")
    assert label.source == {"import": job.pk, "file": "given.jsonl", "line": 1}
    task = Task.objects.get()
    assert (task.open, task.done) == (0, 1)
    assert not label.annotator.is_active and not label.annotator.has_usable_password()


def test_an_imported_label_takes_one_place_and_leaves_the_others(bring):
    study = studies.study(items=0, members=2, overlap=2)
    bring(study, "trl", PAIR)
    ada, bob = studies.annotators(study)
    assert studies.claim(study, ada) is not None
    assert studies.claim(study, bob) is None


def test_one_bad_line_is_named_with_its_field_and_cure_and_nothing_is_left(bring):
    study = studies.study(items=0)
    rows = [{**PAIR, "prompt": f"Question {n}"} for n in range(700)]
    del rows[555]["rejected"]
    job = bring(study, "trl", *rows)
    assert job.status == "failed"
    (error,) = job.errors
    assert (error["line"], error["field"]) == (556, "rejected")
    assert error["message"] and error["cure"]
    nothing_is_left(study)


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("{broken", "", "not JSON"),
        ("[1, 2]", "", "expected an object"),
        ("\ufffd" * 3, "", "not JSON"),
        (json.dumps({"prompt": "a", "completion": "b"}), "", "nothing to judge"),
        (json.dumps({"chosen": 1, "rejected": "b", "prompt": "c"}), "chosen", "found 1"),
        (json.dumps({**PAIR, "chosen": "x\u0000y"}), "chosen", "NUL"),
        (json.dumps({**PAIR, "chosen": "x" * 300_000}), "candidates[0].text", "300,000 characters"),
        ("[" * 100_000, "", ""),
    ],
)
def test_every_kind_of_broken_line_is_reported_by_its_number(bring, line, field, words):
    study = studies.study(items=0)
    job = bring(study, "trl", PAIR, "", line, {**PAIR, "prompt": "Another."})
    (error,) = job.errors
    assert (error["line"], error["field"]) == (3, field)
    assert words in error["message"]
    nothing_is_left(study)


def test_bytes_that_are_not_utf8_and_a_damaged_gzip_are_reported(bring, tmp_path):
    study = studies.study(items=0)
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(PAIR).encode() + b"\n" + '{"prompt": "caf\xe9"}\n'.encode("latin-1"))
    (error,) = bring(study, "trl", path).errors
    assert (error["line"], "UTF-8" in error["message"]) == (2, True)
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:-2000])
    assert "gzip is damaged" in bring(study, "trl", path).errors[0]["message"]
    nothing_is_left(study)


def test_a_file_full_of_errors_is_not_read_to_its_end(bring):
    study = studies.study(items=0)
    job = bring(study, "trl", *["{"] * 2000)
    assert len(job.errors) == importers.MOST_ERRORS
    assert [error["line"] for error in job.errors] == list(range(1, importers.MOST_ERRORS + 1))


def test_an_empty_file_is_an_error(bring):
    assert "no rows" in bring(studies.study(items=0), "trl", "").errors[0]["message"]


def test_the_same_id_twice_and_the_same_file_twice_are_errors(bring):
    study = studies.study(items=0)
    row = {**PAIR, "id": "q1"}
    (error,) = bring(study, "trl", row, {**row, "prompt": "Again."}).errors
    assert (error["line"], error["field"]) == (2, "id") and "line 1" in error["message"]
    assert bring(study, "trl", row).status == "finished"
    assert "imported already" in bring(study, "trl", row).errors[0]["message"]
    (error,) = bring(study, "trl", {**PAIR, "id": "q0"}, row).errors
    assert (error["line"], error["field"]) == (2, "id") and "already" in error["message"]
    assert Item.objects.count() == 1


def test_a_failure_while_storing_leaves_nothing(bring, monkeypatch):
    study = studies.study(items=0)
    store = importers.store_batch
    calls = []

    def fail_later(*args):
        calls.append(args)
        if len(calls) > 1:
            raise OSError("the disk is full")
        store(*args)

    monkeypatch.setattr(importers, "store_batch", fail_later)
    job = bring(study, "trl", *[{**PAIR, "prompt": str(n)} for n in range(importers.BATCH + 1)])
    assert job.status == "failed" and "the disk is full" in job.errors[0]["message"]
    nothing_is_left(study)


def test_a_gzip_and_a_byte_order_mark_are_read(bring, tmp_path):
    study = studies.study(items=0)
    path = tmp_path / "packed.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(PAIR).encode()))
    assert bring(study, "trl", path).counts == {"items": 1, "comparisons": 1}


# --- Kibitz JSONL


def exported(study) -> str:
    frozen = snapshots.freeze(study=study, by=study.created_by)
    return b"".join(exporters.kibitz(frozen)).decode()


def without_ids(text: str) -> list[dict]:
    rows = []
    for line in text.splitlines():
        row = json.loads(line)
        policies = {
            key: value.get("policy") for key, value in row["source"].items() if isinstance(value, dict)
        }
        policies.pop("imported", None)
        rows.append({**row, "id": 0, "source": policies})
    return sorted(rows, key=json.dumps)


def test_what_was_exported_comes_back_as_the_same_items_and_says_the_same(bring):
    study = studies.study("pairwise", "edit", items=3, answers=3, members=2, overlap=2)
    for user in studies.annotators(study):
        for n in range(9):
            studies.label_next(study, user, {"choice": ["a", "tie", "both_bad"][n % 3]}, kind="pairwise")
        for _ in range(3):
            studies.label_next(study, user, kind="edit")
    text = exported(study)
    other = studies.study("pairwise", "edit", items=0)
    job = bring(other, "kibitz", *text.splitlines())
    assert job.status == "finished", job.errors
    assert job.counts == {"items": 3, "comparisons": 18, "rewrites": 6}
    assert [item.candidates.count() for item in other.items.all()] == [3, 3, 3]
    again = without_ids(exported(other))
    for row in again:
        row["annotator"] = row["annotator"].removeprefix("imported-")
    assert sorted(again, key=json.dumps) == without_ids(text)
    assert bring(other, "kibitz", *text.splitlines(), "").status == "failed"


def test_ratings_come_back_as_the_labels_they_were(bring):
    study = studies.study("rating", items=2, answers=2, members=2, overlap=2)
    for number, user in enumerate(studies.annotators(study)):
        for n in range(4):
            studies.label_next(study, user, {"scores": {"quality": 1 + (n + number) % 5}})
    text = exported(study)
    other = studies.study("rating", items=0, members=1)
    job = bring(other, "kibitz", *text.splitlines())
    assert (job.status, job.counts) == ("finished", {"items": 2, "ratings": 8}), job.errors
    again = without_ids(exported(other))
    for row in again:
        row["annotator"] = row["annotator"].removeprefix("imported-")
    assert sorted(again, key=json.dumps) == without_ids(text)
    assert studies.claim(other, studies.annotators(other)[0]) is None

    thumbs = {"name": "quality", "question": "Good?", "anchors": ["No", "Yes"]}
    narrow = studies.study({"kind": "rating", "options": {"criteria": [thumbs]}}, items=0)
    refused = bring(narrow, "kibitz", *text.splitlines())
    assert (refused.status, refused.errors[0]["field"]) == ("failed", "scale")


def test_rankings_come_back_as_the_labels_they_were(bring):
    study = studies.study("ranking", items=3, answers=4, members=2, overlap=2)
    for number, user in enumerate(studies.annotators(study)):
        for n in range(3):
            turn = studies.claim(study, user)
            places = [1, 2, 2, None] if (n + number) % 2 else [4, 3, 2, 1]
            ids = [str(candidate.pk) for candidate in turn.candidates]
            studies.answer(turn, {"ranks": dict(zip(ids, places, strict=True))})
    text = exported(study)
    other = studies.study("ranking", items=0, members=1)
    job = bring(other, "kibitz", *text.splitlines())
    assert (job.status, job.counts) == ("finished", {"items": 3, "rankings": 6}), job.errors
    again = without_ids(exported(other))
    for row in again:
        row["annotator"] = row["annotator"].removeprefix("imported-")
    assert sorted(again, key=json.dumps) == without_ids(text)
    assert Candidate.objects.filter(item__study=other, policy="model-3").count() == 3
    assert studies.claim(other, studies.annotators(other)[0]) is None


def test_a_ranking_of_some_answers_leaves_the_question_about_all_open(bring):
    study = studies.study("ranking", items=0, members=1)
    order = {"kind": "ranking", "prompt": "?", "answers": ["a", "b", "a"], "ranks": [1, 2, 2]}
    job = bring(
        study,
        "kibitz",
        {**order, "id": "1", "annotator": "Ada"},
        {**order, "id": "2", "annotator": "Bob", "answers": ["a", "c"], "ranks": [2, 1]},
    )
    assert job.counts == {"items": 1, "rankings": 2}, job.errors
    turn = studies.claim(study, studies.annotators(study)[0])
    assert sorted(one.text for one in turn.candidates) == ["a", "a", "b", "c"]  # equal texts are two answers
    rows = [json.loads(line) for line in exported(study).splitlines()]
    assert [(row["answers"], row["ranks"]) for row in rows] == [
        (["a", "b", "a"], [1, 2, 2]),
        (["a", "c"], [2, 1]),
    ]


def test_items_to_be_labelled_come_without_labels(bring):
    study = studies.study(items=0, members=1)
    job = bring(
        study,
        "kibitz",
        {
            "kind": "item",
            "id": "i1",
            "prompt": "Why?",
            "candidates": ["Because.", {"text": "So.", "policy": "m"}],
        },
        {"kind": "item", "prompt": [{"role": "user", "content": "How?"}], "candidates": ["Thus.", "No."]},
    )
    assert job.counts == {"items": 2}
    turn = studies.claim(study, studies.annotators(study)[0])
    assert {one.text for one in turn.candidates} == {"Because.", "So."}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"kind": "item", "prompt": "Why?", "candidates": ["One."]}, "candidates"),
        ({"kind": "item", "prompt": "Why?", "candidates": ["One.", "Two."], "policy": "x"}, "policy"),
        ({"kind": "item", "candidates": ["One.", "Two."]}, "context.prompt"),
        (
            {"kind": "item", "prompt": [{"role": "bot", "content": "?"}], "candidates": ["1", "2"]},
            "context.messages[0]",
        ),
        ({"kind": "nothing"}, "kind"),
        ({"kind": "pair", "id": "1", **PAIR, "strength": 2.5}, "strength"),
        ({"kind": "pair", "id": "1", **PAIR, "outcome": "won"}, "outcome"),
        ({"kind": "correction", "id": "1", "prompt": "?", "original": "a", "edited": " "}, "text"),
        ({"kind": "demonstration", "id": "1", "prompt": "?", "answer": "a"}, ""),
    ],
)
def test_a_wrong_row_of_kibitz_names_its_field(bring, row, field):
    study = studies.study(items=0)
    (error,) = bring(study, "kibitz", row).errors
    assert (error["line"], error["field"]) == (1, field)


def test_the_same_person_twice_about_the_same_answers_loses_no_label(bring):
    study = studies.study("pairwise", "edit", items=0)
    pair = {"kind": "pair", "annotator": "Ada", **PAIR}
    edit = {"kind": "correction", "annotator": "Ada", "prompt": PAIR["prompt"], "edited": "Hi there!"}
    job = bring(
        study,
        "kibitz",
        {**pair, "id": "1"},
        {**pair, "id": "2", "outcome": "tie"},
        {**pair, "id": "3", "annotator": "Bob", "weight": 0.5},
        {**edit, "id": "4", "original": "Hello!"},
        {**edit, "id": "5", "original": "What."},
    )
    assert job.status == "finished", job.errors
    assert Label.objects.count() == 5
    names = set(Label.objects.values_list("annotator__username", flat=True))
    assert names == {"imported-Ada", "imported-Bob"}
    rows = [json.loads(line) for line in exported(study).splitlines()]
    assert sorted(row["weight"] for row in rows) == [0.5, 1, 1, 1, 1]


def test_labels_are_kept_where_the_study_does_not_ask_for_them(bring):
    study = studies.study("pairwise", items=0, members=1)
    bring(
        study,
        "kibitz",
        {"kind": "pair", "id": "1", **PAIR},
        {"kind": "correction", "id": "2", "prompt": PAIR["prompt"], "original": "What.", "edited": "Hello."},
    )
    assert snapshots.freeze(study=study, by=study.created_by).counts == {"pair": 1, "correction": 1}
    assert studies.claim(study, studies.annotators(study)[0]) is None


def test_a_person_called_imported_gets_no_labels_they_did_not_give(bring):
    studies.person("Imported")
    study = studies.study(items=0)
    job = bring(study, "trl", PAIR)
    assert job.status == "failed" and "account of a person" in job.errors[0]["message"]
    nothing_is_left(study)


# --- CSV


def test_csv_with_judgements_and_csv_to_be_judged(bring, tmp_path):
    study = studies.study(items=0, members=1)
    path = tmp_path / "judged.csv"
    path.write_text('id,prompt,chosen,rejected,topic\n1,"Hi,\n\nthere",Hello.,"Say ""what""?",greeting\n')
    assert bring(study, "csv", path).counts == {"items": 1, "comparisons": 1}
    item = Item.objects.get()
    assert item.context == {"prompt": "Hi,\n\nthere"} and item.external_id == "1"
    assert item.source["columns"] == {"topic": "greeting"}
    assert [one.text for one in item.candidates.all()] == ["Hello.", 'Say "what"?']
    path.write_text("prompt,answer_1,answer_2,answer_3\nWhy?,Because.,So.,\nHow?,One.,Two.,Three.\n")
    assert bring(study, "csv", path).counts == {"items": 2}
    assert [item.candidates.count() for item in study.items.all()] == [2, 2, 3]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("question,answer\na,b\n", 1, "found the columns question, answer"),
        ("prompt,chosen,rejected\na,b,c\nd,e\n", 3, "fewer columns"),
        ("prompt,chosen,rejected\na,b,c,d\n", 2, "more or fewer"),
        ('prompt,chosen,rejected\na,"b,c\n', 2, "not CSV"),
        ("prompt,answer_1,answer_2\na,b,\n", 2, "Found 1 answers"),
    ],
)
def test_a_wrong_csv_names_the_line(bring, tmp_path, text, line, words):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    study = studies.study(items=0)
    (error,) = bring(study, "csv", path).errors
    assert error["line"] == line and words in error["message"]
    nothing_is_left(study)


# --- questions with answers judged in pairs and rewritten

QUESTION = {
    "id": "qa-1",
    "question": "When?",
    "answers": ["In May.", "In June.", "Never.", "Soon."],
    "preference": [1, 2, 0, 1, 2, 0],
    "correction": "In May 2018.",
    "passages": [{"title": "T", "sentences": ["One.", "Two."]}],
    "reference": "May.",
}


def test_four_answers_become_six_labels_and_a_rewrite(bring):
    study = studies.study("pairwise", "edit", items=0)
    job = bring(study, "qa_feedback", QUESTION)
    assert job.counts == {"items": 1, "comparisons": 6, "rewrites": 1}
    item = Item.objects.get()
    assert item.source["passages"] == [{"title": "T", "text": "One.\n\nTwo."}]
    said = []
    for label in Label.objects.filter(kind="pairwise").order_by("pk"):
        places = [Candidate.objects.get(pk=pk).index for pk in label.task.candidates]
        chosen = label.answer["chosen"]
        said.append((*places, Candidate.objects.get(pk=chosen).index if chosen else label.answer["choice"]))
    assert said == [(0, 1, 0), (0, 2, 2), (0, 3, "tie"), (1, 2, 1), (1, 3, 3), (2, 3, "tie")]
    edit = Label.objects.get(kind="edit")
    assert edit.answer["text"] == "In May 2018."
    assert Candidate.objects.get(pk=edit.answer["candidate"]).index == 0
    assert not Task.objects.filter(waiting=True).exists()
    assert Assignment.objects.filter(state="submitted").count() == 7


def test_without_a_rewrite_the_edit_is_asked_of_people(bring):
    study = studies.study("pairwise", "edit", items=0, members=1)
    bring(study, "qa_feedback", {**QUESTION, "correction": ""})
    turn = studies.claim(study, studies.annotators(study)[0])
    assert (turn.task.kind, turn.candidates[0].index) == ("edit", 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"preference": [1, 2]}, "preference"),
        ({"preference": [1, 2, 0, 1, 2, 3]}, "preference[5]"),
        ({"answers": ["one"]}, "answers"),
        ({"answers": ["one", 2], "preference": [1]}, "candidates[1]"),
        ({"question": None}, "context.prompt"),
        ({"passages": ["text"]}, "passages"),
        ({"correction": 5}, "correction"),
    ],
)
def test_a_wrong_question_names_its_field(bring, change, field):
    (error,) = bring(studies.study(items=0), "qa_feedback", {**QUESTION, **change}).errors
    assert (error["line"], error["field"]) == (1, field)


# --- uploads, the worker, the command


@pytest.fixture
def uploaded(monkeypatch):
    """Receives bytes as an upload; what was sent to workers is in `uploaded.sent`."""

    def receive(study, content: bytes, format="trl") -> ImportJob:
        return import_jobs.receive(
            study=study,
            by=study.created_by,
            chunks=[content[:5], content[5:]],
            filename="up.jsonl",
            format=format,
        )

    receive.sent = []
    monkeypatch.setattr(
        import_jobs.current_app, "send_task", lambda name, args, **_: receive.sent.append((name, args))
    )
    return receive


def test_an_upload_is_sent_by_name_on_commit_imported_once_and_forgotten(
    uploaded, settings, django_capture_on_commit_callbacks
):
    study = studies.study(items=0)
    with django_capture_on_commit_callbacks(execute=True):
        job = uploaded(study, json.dumps(PAIR).encode())
        assert not uploaded.sent
    assert uploaded.sent == [("annotation.import", [job.pk])]
    for _ in range(2):  # a message may come twice
        import_jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.status, Item.objects.count()) == ("finished", 1)
    assert not list(settings.UPLOADS.iterdir())


def test_an_upload_that_is_too_large_leaves_no_file(uploaded, settings):
    settings.KIBITZ_UPLOAD_BYTES = 8
    with pytest.raises(Invalid, match="larger than"):
        uploaded(studies.study(items=0), b"123456789")
    assert not list(settings.UPLOADS.iterdir()) and not ImportJob.objects.exists()


def test_what_a_worker_dropped_is_sent_again(uploaded, settings):
    job = uploaded(studies.study(items=0), json.dumps(PAIR).encode())
    assert import_jobs.resend() == 0
    ImportJob.objects.update(sent_at="2020-01-01T00:00:00Z", status="storing")
    assert import_jobs.resend() == 1
    assert uploaded.sent == [("annotation.import", [job.pk])]
    import_jobs.run(job.pk)
    ImportJob.objects.update(sent_at="2020-01-01T00:00:00Z")
    assert import_jobs.resend() == 0


def test_a_broker_that_is_away_costs_no_upload(monkeypatch):
    def away(*_, **__):
        raise OSError("connection refused")

    monkeypatch.setattr(import_jobs.current_app, "send_task", away)
    study = studies.study(items=0)
    job = ImportJob.objects.create(
        study=study, format="trl", filename="a", path="/x", created_by=study.created_by
    )
    import_jobs.send(job)
    assert ImportJob.objects.get().status == "waiting"


@pytest.mark.django_db(transaction=True)
def test_an_import_that_somebody_is_at_is_left_to_them(uploaded):
    job = uploaded(studies.study(items=0), json.dumps(PAIR).encode())
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [import_jobs.LOCK, job.pk])
        import_jobs.run(job.pk)
        assert ImportJob.objects.get().status == "waiting"
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [import_jobs.LOCK, job.pk])
    other.close()
    import_jobs.run(job.pk)
    assert ImportJob.objects.get().status == "finished"


def test_the_command_makes_the_study_and_says_what_came(tmp_path, capsys):
    owner = studies.person()
    path = write(tmp_path / "qa.jsonl", QUESTION)
    arguments = [str(path), "--study", "Questions", "--format", "qa_feedback", "--owner", owner.username]
    call_command("import_items", *arguments, "--licence", "Apache-2.0")
    study = Study.objects.get()
    assert (study.name, study.created_by, study.kinds) == ("Questions", owner, ["pairwise", "edit"])
    assert f"Study {study.pk} (Questions): 1 items, 6 comparisons, 1 rewrites." in capsys.readouterr().out
    card = snapshots.freeze(study=study, by=owner).card
    assert "imported file `qa.jsonl`" in card and "licence Apache-2.0" in card
    assert "| imported | 7 | imported |" in card
    with pytest.raises(CommandError, match="imported already"):
        call_command("import_items", *arguments)
    assert path.exists()


def test_the_command_says_what_it_lacks(tmp_path):
    path = write(tmp_path / "bad.jsonl", {"prompt": "x"})
    with pytest.raises(CommandError, match="--owner USERNAME"):
        call_command("import_items", str(path), "--study", "New", "--format", "trl")
    with pytest.raises(CommandError, match="no file"):
        call_command("import_items", str(path) + "x", "--study", "New", "--format", "trl")
    study = studies.study(items=0)
    with pytest.raises(CommandError, match=r"line 1, .*Expected chosen and rejected"):
        call_command("import_items", str(path), "--study", str(study.pk), "--format", "trl")


# --- real files


@real
def test_real_questions_come_in_whole(bring):
    study = studies.study("pairwise", "edit", items=0)
    job = bring(study, "qa_feedback", Path(DATA) / "qa_feedback.jsonl.gz")
    assert job.status == "finished", job.errors
    assert (job.counts["items"], job.counts["comparisons"]) == (400, 2400)
    assert 380 <= job.counts["rewrites"] <= 400
    frozen = snapshots.freeze(study=study, by=study.created_by)
    assert frozen.counts == {"pair": 2400, "correction": job.counts["rewrites"], "critique": 400}
    assert get_user_model().objects.filter(source="imported").count() == 1


@real
def test_real_dialogues_come_in_whole(bring):
    study = studies.study(items=0)
    job = bring(study, "trl", Path(DATA) / "hh_harmless.jsonl.gz")
    assert job.status == "finished", job.errors
    assert job.counts == {"items": 1600, "comparisons": 1600}
    assert all(item.context["messages"][-1]["role"] == "user" for item in study.items.all())
    assert services.progress(study, study.created_by)["open"] == 0
