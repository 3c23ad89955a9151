"""Criticising an answer: what is read, stored, shown again and written; and critiques that come in files."""

import gzip
import html
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.urls import reverse

from annotation import gold, import_jobs, services, snapshots
from annotation.errors import Invalid
from annotation.forms import NewStudyForm, WrittenOption
from annotation.interfaces import critique, quotes
from annotation.interfaces.registry import read_interfaces
from annotation.models import Candidate, ImportJob, Label
from tests.annotation import studies
from trainers import records
from trainers.records import Correction, Critique, Span, StepLabels

pytestmark = pytest.mark.django_db

DATA = os.environ.get("KIBITZ_DATA")
real = pytest.mark.skipif(not DATA, reason="KIBITZ_DATA names no folder with qa_feedback")

TEXT = "😀 שלום. It was so.\r\nIt was so, they say. <b>Not</b> *bold*."
FIRST, SECOND = TEXT.index("It was so"), TEXT.rindex("It was so")


def asking(text: str = TEXT, **options):
    """A study that asks for a critique of this answer, and the turn of the one who is asked."""
    study = studies.study({"kind": "critique", "options": options}, items=0, members=1)
    item = {"context": {"prompt": "Was it so?"}, "candidates": [{"text": text, "policy": "secret"}]}
    services.add_items(study=study, items=[item])
    return studies.claim(study, studies.annotators(study)[0])


def stretch(start, end, type="Redundant", note=""):
    return {"start": start, "end": end, "type": type, "note": note}


def frozen_records(study) -> list[records.Record]:
    frozen = snapshots.freeze(study=study, by=study.created_by)
    lines = [line.decode() for line in snapshots.lines_of(frozen)]
    return [records.parse(line, number) for number, line in enumerate(lines, 1)]


# --- what a study may set


def test_each_answer_is_criticised_by_itself():
    candidates = [Candidate(index=n) for n in range(3)]
    assert critique.tasks(candidates, critique.Options()) == [[one] for one in candidates]


def test_the_types_are_written_a_line_each_and_come_back_as_they_were():
    types = critique.from_text("Wrong | Falsch | It is not so\n\n Rude\nLong-Winded| |Too many words ")
    assert [(one.key, one.label, one.meaning) for one in types] == [
        ("Wrong", "Falsch", "It is not so"),
        ("Rude", "Rude", ""),
        ("Long-Winded", "Long-Winded", "Too many words"),
    ]
    assert critique.from_text(critique.as_text(types)) == types
    assert critique.from_text(critique.as_text(critique.DEFAULT)) == critique.DEFAULT


def test_the_types_of_fine_grained_feedback_stand_where_nothing_else_is_said():
    (made,) = read_interfaces(["critique"])
    assert [one["key"] for one in made["options"]["types"]] == [
        "Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable"
    ]  # fmt: skip
    form = NewStudyForm(
        {"name": "n", "overlap": 1, "ask_critique": "on", "critique.types": "Bad | Bad | It is bad"}
    )
    assert form.is_valid(), form.errors
    (entry,) = form.interfaces()
    assert [one.key for one in entry["options"]["types"]] == ["Bad"]


@pytest.mark.parametrize(
    "types",
    [
        [],
        "Wrong",
        ["Wrong"],
        [{"label": "Wrong"}],
        [{"key": "Wrong", "colour": "red"}],
        [{"key": "Wrong", "label": 1}],
        [{"key": ""}],
        [{"key": "a/b"}],
        [{"key": "Wrong", "meaning": "two\nlines"}],
        [{"key": "Wrong"}, {"key": "Wrong"}],
        [{"key": f"Wrong {n}"} for n in range(10)],
    ],
)
def test_wrong_types_are_refused(types):
    with pytest.raises(Invalid) as refusal:
        read_interfaces([{"kind": "critique", "options": {"types": types}}])
    assert refusal.value.field == "options.types"


def test_a_line_with_too_many_parts_is_refused_in_the_study_form():
    with pytest.raises(ValidationError, match="key | label | plain meaning"):
        WrittenOption(critique).clean("a | b | c | d")


# --- what is read


def test_a_critique_counts_characters_of_the_answer_as_it_is_stored():
    turn = asking(missing=True, rewrite=True)
    given = {
        "spans": [stretch(SECOND, SECOND + 9, "Redundant", " said "), stretch(0, 1, "Irrelevant")],
        "missing": ["when", "  ", "where"],
        "note": " hasty ",
        "rewrite": "It was so.",
    }
    answer = critique.read(given, turn)
    assert asdict(answer) == {
        "candidate": turn.candidates[0].pk,
        "spans": [stretch(0, 1, "Irrelevant"), stretch(SECOND, SECOND + 9, "Redundant", "said")],
        "missing": ["when", "where"],
        "note": "hasty",
        "rewrite": "It was so.",
        "fine": False,
    }
    assert TEXT[0:1] == "😀" and TEXT[SECOND : SECOND + 9] == "It was so"
    as_form = QueryDict(mutable=True)
    as_form.update({**given, "spans": json.dumps(given["spans"]), "missing": "when\r\n  \r\nwhere\r\n"})
    assert critique.read(as_form, turn) == answer


def test_a_form_without_script_gives_the_same_answer():
    turn = asking()
    rows = {
        "spans": "",
        "quote.0": "שלום",
        "type.0": "Irrelevant",
        "quote.1": "It was so",
        "which.1": "2",
        "type.1": "Redundant",
        "note.1": "said",
        "quote.2": "so.\nIt was",  # a browser's line end, where the answer has CRLF
        "type.2": "Incoherent",
        "quote.3": " It   was so,\n they ",  # copied with other spaces
        "type.3": "Unverifiable",
        "quote.4": "",
        "type.4": "",
        "missing": "",
    }
    start = TEXT.index("so.")
    marked = [
        stretch(2, 6, "Irrelevant"),
        stretch(start, TEXT.index(" so, they"), "Incoherent"),
        stretch(SECOND, SECOND + 9, "Redundant", "said"),
        stretch(SECOND, TEXT.index(" say"), "Unverifiable"),
    ]
    assert critique.read(rows, turn) == critique.read({"spans": marked}, turn)


def test_overlapping_stretches_of_several_types_are_kept():
    answer = critique.read(
        {"spans": [stretch(2, 9), stretch(4, 12, "Irrelevant"), stretch(2, 9, "Incoherent")]}, asking()
    )
    assert [(one["start"], one["end"], one["type"]) for one in answer.spans] == [
        (2, 9, "Incoherent"), (2, 9, "Redundant"), (4, 12, "Irrelevant")
    ]  # fmt: skip


def test_that_nothing_is_wrong_has_to_be_said():
    turn = asking()
    assert critique.read({"spans": "[]", "fine": "1"}, turn).fine
    assert critique.read({"fine": True, "note": "Well done."}, turn).note == "Well done."
    with pytest.raises(Invalid, match="Mark what is wrong, say that no problem was found, or skip"):
        critique.read({"spans": "[]", "missing": " ", "note": ""}, turn)


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "spans"),
        ({"spans": "{"}, "spans"),
        ({"spans": {"start": 1}}, "spans"),
        ({"spans": ["so"]}, "spans[0]"),
        ({"spans": [stretch(0, 2) | {"tone": 1}]}, "spans[0]"),
        ({"spans": [stretch(0, 2), stretch(5, 5)]}, "spans[1].end"),
        ({"spans": [stretch(-1, 2)]}, "spans[0].end"),
        ({"spans": [stretch(0, len(TEXT) + 1)]}, "spans[0].end"),
        ({"spans": [stretch(True, 2)]}, "spans[0].end"),
        ({"spans": [stretch("0", 2)]}, "spans[0].end"),
        ({"spans": [stretch(0, 2, "Rude")]}, "spans[0].type"),
        ({"spans": [stretch(0, 2, None)]}, "spans[0].type"),
        ({"spans": [stretch(0, 2, note=3)]}, "spans[0].note"),
        ({"spans": [stretch(0, 2, note="x" * 6000)]}, "spans[0].note"),
        ({"spans": [stretch(0, 2)] * 501}, "spans"),
        ({"spans": [stretch(0, 2)], "missing": 3}, "missing"),
        ({"spans": [stretch(0, 2)], "missing": [3]}, "missing[0]"),
        ({"spans": [stretch(0, 2)], "missing": ["two\nlines"]}, "missing[0]"),
        ({"spans": [stretch(0, 2)], "missing": ["x"] * 101}, "missing"),
        ({"spans": [stretch(0, 2)], "note": 3}, "note"),
        ({"spans": [stretch(0, 2)], "rewrite": "x" * 200_000}, "rewrite"),
        ({"spans": [stretch(0, 2)], "fine": "1"}, "fine"),
        ({"quote.0": "It was not so", "type.0": "Redundant"}, "quote.0"),
        ({"quote.0": "It was so", "type.0": "Redundant"}, "which.0"),
        ({"quote.0": "It was so", "type.0": "Redundant", "which.0": "3"}, "which.0"),
        ({"quote.0": "It was so", "type.0": "Redundant", "which.0": "²"}, "which.0"),
        ({"quote.0": "שלום", "type.0": ""}, "type.0"),
        ({"quote.0": "שלום", "type.0": "Rude"}, "spans[0].type"),
        ({"quote.0": " ", "type.0": "Redundant"}, "quote.0"),
        ({"quote.0": "", "note.0": "but why"}, "quote.0"),
    ],
)
def test_a_wrong_critique_names_the_field(post, field):
    with pytest.raises(Invalid) as refusal:
        critique.read(post, asking(rewrite=True))
    assert refusal.value.field == field


def test_what_a_study_does_not_ask_for_is_not_taken():
    turn = asking(missing=False, rewrite=False)
    answer = critique.read({"spans": [stretch(0, 2)], "missing": "when", "rewrite": "So."}, turn)
    assert (answer.missing, answer.rewrite) == ([], "")


def test_a_rewrite_that_changes_nothing_is_none():
    turn = asking(rewrite=True)
    sent = TEXT.replace("\r\n", "\n").replace("\n", "\r\n")
    assert critique.read({"spans": [stretch(0, 2)], "rewrite": sent}, turn).rewrite == ""


def test_a_stretch_is_looked_up_as_copied_and_counted_where_it_stands_often():
    assert quotes.places_of("aXaXa", "aXa") == [(0, 3), (2, 5)]
    assert quotes.places_of("one  two\n three", "one two three") == [(0, 15)]
    assert quotes.places_of("a\r\nb", "a\nb") == [(0, 4)]
    assert quotes.places_of("none", "  ") == []
    assert quotes.quoted("ab ab", 3, 5) == ("ab", 2)
    assert quotes.quoted("ab cd", 3, 5) == ("cd", "")


def test_looking_up_a_long_stretch_in_a_long_answer_takes_no_time():
    """A pattern that nearly fits everywhere would cost a search by backtracking minutes."""
    assert quotes.places_of("a" * 200_000 + "b", "a" * 99_999 + "c") == []


# --- the page


def test_the_answer_is_shown_character_by_character_and_never_as_markup(client):
    turn = asking()
    client.force_login(turn.assignment.annotator)
    page = client.get(reverse("annotation:label", args=[turn.task.study_id])).content.decode()
    shown = re.search(r"data-text>(.*?)</div>", page, re.DOTALL)[1]
    assert html.unescape(shown.replace("&#13;", "\r")) == TEXT
    assert "<b>Not</b>" not in shown and "*bold*" in shown and "\r" not in shown
    assert "secret" not in page


def test_what_was_refused_without_script_stands_in_the_form_again(client):
    turn = asking(rewrite=True)
    client.force_login(turn.assignment.annotator)
    sent = {
        "key": "2f1b9a34-0001-4000-8000-000000000001",
        "quote.0": "It was so",
        "type.0": "Redundant",
        "note.0": "twice",
        "missing": "when",
        "note": "hasty",
        "rewrite": "It was.",
    }
    reply = client.post(reverse("annotation:submit", args=[turn.task.pk]), sent)
    page = reply.content.decode()
    assert reply.status_code == 422
    assert "is in the answer 2 times. Say which one is meant." in page
    assert re.search(r'name="quote.0"[^>]*>\s*It was so</textarea>', page)
    assert '<option value="Redundant" selected>' in page
    assert 'name="note.0" maxlength="5000" dir="auto" autocomplete="off" value="twice"' in page
    for field, text in (("missing", "when"), ("note", "hasty"), ("rewrite", "It was.")):
        assert re.search(rf'name="{field}"[^>]*>\s*{text}</textarea>', page), field
    reply = client.post(reverse("annotation:submit", args=[turn.task.pk]), {**sent, "which.0": "1"})
    assert reply.status_code == 302
    assert Label.objects.get().answer["spans"] == [stretch(FIRST, FIRST + 9, "Redundant", "twice")]


def test_an_undo_brings_back_all_that_was_said(client):
    turn = asking(rewrite=True)
    ada = turn.assignment.annotator
    said = [stretch(2, 6), stretch(SECOND, SECOND + 9, "Irrelevant", "a “note”")]
    studies.answer(turn, {"spans": said, "missing": ["when", "where"], "note": "hasty", "rewrite": "It was."})
    back = services.undo_last(study=turn.task.study, annotator=ada)
    shown = critique.show(back)
    assert json.loads(shown["said"]) == said
    assert (shown["answer"]["missing"], shown["answer"]["note"]) == ("when\nwhere", "hasty")
    assert shown["answer"]["rewrite"] == "It was."
    rows = {row["fields"][name]: row[name] for row in shown["rows"] for name in ("quote", "type", "note")}
    which = {row["fields"]["which"]: str(row["which"]) for row in shown["rows"]}
    again = critique.read(
        {**rows, **which, "missing": "when\nwhere", "note": "hasty", "rewrite": "It was."}, back
    )
    assert again.spans == said


def test_an_undo_of_no_problem_found_marks_it(client):
    turn = asking()
    client.force_login(turn.assignment.annotator)
    studies.answer(turn, {"fine": True})
    services.undo_last(study=turn.task.study, annotator=turn.assignment.annotator)
    page = client.get(reverse("annotation:label", args=[turn.task.study_id])).content.decode()
    assert re.search(r'name="fine"[^>]*aria-pressed="true"', page)


# --- what it becomes


def test_a_critique_and_its_rewrite_are_records_that_say_nothing_of_the_screen():
    turn = asking(rewrite=True)
    studies.answer(turn, {"spans": [stretch(2, 6, note="who?")], "missing": ["when"], "rewrite": "It was."})
    said, rewritten = frozen_records(turn.task.study)
    assert isinstance(said, Critique) and isinstance(rewritten, Correction)
    assert (said.prompt, said.answer) == ("Was it so?", TEXT)
    assert said.spans == (Span(2, 6, "Redundant", "who?"),)
    assert (said.missing, said.rewrite) == (("when",), "It was.")
    assert (rewritten.original, rewritten.edited) == (TEXT, "It was.")
    assert rewritten.id == f"{said.id}-rewrite"
    assert said.annotator == rewritten.annotator != ""
    assert said.source["answer"] == rewritten.source["original"]


def test_no_problem_found_is_a_critique_without_stretches():
    turn = asking()
    studies.answer(turn, {"fine": True})
    (said,) = frozen_records(turn.task.study)
    assert (said.spans, said.missing, said.rewrite) == ((), (), "")


def test_people_agree_on_a_problem_and_gold_asks_for_its_place_and_type():
    fine = asdict(critique.Answer(1, fine=True))
    marked = asdict(critique.Answer(1, [stretch(2, 6)]))
    near = asdict(critique.Answer(1, [stretch(5, 9)]))
    other = asdict(critique.Answer(1, [stretch(2, 6, "Irrelevant")]))
    more = asdict(critique.Answer(1, [stretch(2, 6), stretch(20, 22)]))
    assert [critique.judgement(one, [1]) for one in (fine, marked)] == ["fine", "problem"]
    right = [gold.right("critique", one, marked, [1]) for one in (marked, near, other, more, fine)]
    assert right == [True, True, False, False, False]


def test_what_was_said_is_said_back_in_words():
    assert critique.words(asdict(critique.Answer(1, fine=True)), [1]) == "no problem found"
    said = critique.Answer(
        1, [stretch(0, 1), stretch(1, 2), stretch(2, 3, "Irrelevant")], ["when"], rewrite="So."
    )
    assert critique.words(asdict(said), [1]) == "Redundant × 2, Irrelevant, 1 missing, rewritten"
    assert critique.words(asdict(critique.Answer(1, note="Hm.")), [1]) == "a note"


# --- files


@pytest.fixture
def bring(tmp_path):
    """Imports rows (or a file) into a study; the finished job."""

    def run(study, format, *rows) -> ImportJob:
        path = tmp_path / "given.jsonl"
        if isinstance(rows[0], Path):
            path = rows[0]
        else:
            lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        job = ImportJob.objects.create(
            study=study, format=format, filename=path.name, created_by=study.created_by
        )
        import_jobs.import_file(job, path)
        return ImportJob.objects.get(pk=job.pk)

    return run


QUESTION = {
    "id": "qa-1",
    "question": "Was it so?",
    "passages": [{"title": "T", "sentences": ["One.", "Two."]}],
    "answers": ["It was 😀 so.", "It was not."],
    "preference": [1],
    "errors": [{"type": "Redundant", "start": 7, "end": 8, "explanation": "a face"}],
    "missing": [{"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [1, 2]}],
    "correction": "It was so.",
}


def test_errors_and_what_is_missing_become_a_critique_even_where_nobody_is_asked_for_one(bring):
    study = studies.study("pairwise", items=0, members=1)
    job = bring(study, "qa_feedback", QUESTION)
    assert job.counts == {"items": 1, "comparisons": 1, "rewrites": 1, "critiques": 1}, job.errors
    label = Label.objects.get(kind="critique")
    assert label.answer["spans"] == [stretch(7, 8, "Redundant", "a face")]
    assert label.answer["missing"] == ["Missing-Answer (passage 1, sentences 1, 2): One. Two."]
    assert label.source["missing"] == [{"type": "Missing-Answer", "passage": 1, "sentences": [1, 2]}]
    assert (label.task.open, label.annotator.username) == (0, "imported")
    assert set(study.items.get().source) == {"passages", "import"}
    assert studies.claim(study, studies.annotators(study)[0]) is None
    assert {record.kind for record in frozen_records(study)} == {"pair", "correction", "critique"}


def test_an_imported_critique_takes_the_place_of_one_who_is_asked(bring):
    study = studies.study("critique", items=0, members=1)
    bring(study, "qa_feedback", {**QUESTION, "errors": [], "missing": [], "correction": ""})
    assert Label.objects.get(kind="critique").answer["fine"]
    turn = studies.claim(study, studies.annotators(study)[0])
    assert turn.candidates[0].text == "It was not."


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"errors": {}}, "errors"),
        ({"errors": ["Redundant"]}, "errors[0]"),
        ({"errors": [{"type": "Redundant", "start": 7, "end": 13}]}, "errors[0].end"),
        ({"errors": [{"type": "Redundant", "start": 7, "end": 7}]}, "errors[0].end"),
        ({"errors": [{"type": "Redundant", "start": "7", "end": 8}]}, "errors[0].start"),
        ({"errors": [{"start": 7, "end": 8}]}, "errors[0].type"),
        (
            {"errors": [{"type": "Redundant", "start": 7, "end": 8, "explanation": 5}]},
            "errors[0].explanation",
        ),
        ({"missing": "all"}, "missing"),
        ({"missing": ["all"]}, "missing[0]"),
        ({"missing": [{"error type": "M", "passage_id": 2, "sentence_id": [1]}]}, "missing[0]"),
        ({"missing": [{"error type": "M", "passage_id": 0, "sentence_id": [1]}]}, "missing[0]"),
        ({"missing": [{"error type": "M", "passage_id": 1, "sentence_id": [3]}]}, "missing[0]"),
        ({"missing": [{"error type": "M", "passage_id": 1, "sentence_id": [-1]}]}, "missing[0]"),
    ],
)
def test_a_stretch_that_does_not_fit_names_line_and_field(bring, change, field):
    (error,) = bring(
        studies.study(items=0), "qa_feedback", QUESTION, {**QUESTION, "id": "2", **change}
    ).errors
    assert (error["line"], error["field"]) == (2, field)
    assert error["message"] and error["cure"]
    assert not Label.objects.exists()


def test_critiques_come_back_from_a_file_as_the_records_they_were(bring):
    turn = asking(rewrite=True)
    marks = [stretch(2, 6), stretch(4, 9, "Irrelevant", "why")]
    studies.answer(turn, {"spans": marks, "missing": ["when"], "note": "hasty", "rewrite": "It was."})
    before = frozen_records(turn.task.study)
    study = studies.study("pairwise", items=0)
    job = bring(study, "kibitz", *(records.dumps(one) for one in before))
    assert job.counts == {"items": 1, "critiques": 1}, job.errors  # the rewrite is not said twice
    after = frozen_records(study)
    for old, new in zip(before, after, strict=True):
        same = {**new.to_json(), **{name: old.to_json()[name] for name in ("id", "annotator", "source")}}
        assert same == old.to_json()


def test_a_correction_that_is_no_critiques_rewrite_is_kept_beside_it(bring):
    said = Critique("1", "p", "a b", (Span(0, 1, "Rude"),), rewrite="b", annotator="ann")
    other = Correction("2", "p", "a b", "c", annotator="ann")
    job = bring(studies.study(items=0), "kibitz", records.dumps(said), records.dumps(other))
    assert job.counts == {"items": 1, "critiques": 1, "rewrites": 1}


def test_labelled_steps_come_back_from_a_file_as_the_records_they_were(bring):
    steps = ("One and one.", "That is\n\n3.", "So 3.")
    said = StepLabels("1", "1+1?", steps, (1, -1, None), 1, 0.5, "ann")
    right = StepLabels("2", "1+2?", ("That is 3.",), (1,), None)
    study = studies.study("pairwise", items=0)
    job = bring(study, "kibitz", records.dumps(said), records.dumps(right))
    assert job.counts == {"items": 2, "step judgements": 2}, job.errors
    first, second = frozen_records(study)
    assert (first.steps, first.labels, first.first_wrong) == (steps, (1, -1, None), 1)
    assert (first.prompt, first.weight, first.annotator) == ("1+1?", 0.5, "imported-ann")
    assert (second.steps, second.labels, second.first_wrong) == (("That is 3.",), (1,), None)


def test_imported_steps_are_the_steps_that_people_are_asked_about(bring):
    study = studies.study("steps", items=0, members=1, overlap=2)
    bring(study, "kibitz", records.dumps(StepLabels("1", "p", ("a", "b\n\nc"), (1, -1), 1)))
    turn = studies.claim(study, studies.annotators(study)[0])
    assert turn.task.kind == "steps"
    studies.answer(turn, {"first_wrong": 0})
    assert [record.steps for record in frozen_records(study)] == [("a", "b\n\nc")] * 2


def test_steps_that_leave_one_out_before_the_first_wrong_name_line_and_field(bring):
    row = StepLabels("1", "p", ("a", "b"), (None, -1), 1)
    (error,) = bring(studies.study(items=0), "kibitz", records.dumps(row)).errors
    assert (error["line"], error["field"]) == (1, "labels[0]")


@real
def test_every_fact_of_the_real_questions_comes_back_from_the_records(bring):
    """All 400 rows, frozen: each preference with its ties, each error with its place, each gap, each correction."""
    path = Path(DATA) / "qa_feedback.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = {row["id"]: row for row in map(json.loads, file)}
    study = studies.study("pairwise", "edit", items=0)
    job = bring(study, "qa_feedback", path)
    assert job.status == "finished", job.errors
    of_row: dict[str, list[records.Record]] = {name: [] for name in rows}
    for record in frozen_records(study):
        of_row[record.source["external_id"]].append(record)
    assert len(rows) == 400
    for name, row in rows.items():
        assert facts(of_row[name]) == {
            "question": row["question"],
            "answers": dict(enumerate(row["answers"])),
            "preference": row["preference"],
            "errors": sorted((e["start"], e["end"], e["type"], e["explanation"]) for e in row["errors"]),
            "missing": [(m["error type"], m["passage_id"], m["sentence_id"]) for m in row["missing"]],
            "correction": row["correction"],
        }, name


def facts(said: list[records.Record]) -> dict:
    """A row of the file, from the records alone."""
    (criticised,) = [one for one in said if isinstance(one, Critique)]
    verdicts, answers = {}, {criticised.source["answer"]["index"]: criticised.answer}
    correction = criticised.answer if criticised.source["imported"].get("correction") == "unchanged" else ""
    for one in said:
        assert one.prompt == criticised.prompt
        if isinstance(one, Correction):
            assert (one.source["original"]["index"], one.original) == (0, criticised.answer)
            correction = one.edited
        elif isinstance(one, records.Pair):
            places = [one.source[side]["index"] for side in ("chosen", "rejected")]
            answers |= dict(zip(places, (one.chosen, one.rejected), strict=True))
            better = 0 if one.outcome == "tie" else 1 + (places[0] > places[1])
            assert verdicts.setdefault(tuple(sorted(places)), better) == better
    gaps = criticised.source["imported"].get("missing", [])
    assert len(gaps) == len(criticised.missing)
    for gap, words in zip(gaps, criticised.missing, strict=True):
        assert words.startswith(f"{gap['type']} (passage {gap['passage']}, sentence")
    return {
        "question": criticised.prompt,
        "answers": dict(sorted(answers.items())),
        "preference": [verdicts[pair] for pair in sorted(verdicts)],
        "errors": sorted((span.start, span.end, span.type, span.note) for span in criticised.spans),
        "missing": [(gap["type"], gap["passage"], gap["sentences"]) for gap in gaps],
        "correction": correction,
    }
