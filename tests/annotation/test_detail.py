"""What somebody said, in full: overlapping stretches, steps and turns as a reviewer reads them."""

import pytest

from annotation.detail import detail_of, pieces
from annotation.models import Task
from tests.annotation import studies

pytestmark = pytest.mark.django_db


def detail(kind, said: dict, **rest) -> dict:
    study = studies.study(kind, items=1, members=1, **rest)
    label = studies.label_next(study, studies.annotators(study)[0], said)
    task = Task.objects.select_related("study", "item").get(pk=label.task_id)
    return detail_of(task, label.answer, task.item.candidates.all())


def test_the_pieces_of_a_text_are_the_whole_text_however_stretches_overlap():
    text = "😀 one two three"
    spans = [
        {"start": 2, "end": 9, "number": 1},
        {"start": 6, "end": 9, "number": 2},
        {"start": 6, "end": 15, "number": 3},
    ]
    found = pieces(text, spans)
    assert "".join(one["text"] for one in found) == text
    assert [[span["number"] for span in one["over"]] for one in found] == [[], [1], [1, 2, 3], [3]]
    assert [[span["number"] for span in one["begins"]] for one in found] == [[], [1], [2, 3], []]
    assert pieces("fine", []) == [{"text": "fine", "over": [], "begins": []}]


def test_a_critique_names_each_stretch_as_the_study_does_and_says_what_is_missing():
    types = [{"key": "Bad", "label": "Not good"}, {"key": "Worse", "label": "Worse still"}]
    said = {
        "spans": [{"start": 0, "end": 6, "type": "Worse", "note": "why?"}], "missing": ["Where"], "note": "Hm."
    }  # fmt: skip
    found = detail({"kind": "critique", "options": {"types": types}}, said)
    (span,) = found["spans"]
    assert (span["label"], span["colour"], span["note"], span["text"]) == ("Worse still", 2, "why?", "Answer")
    assert (found["missing"], found["note"], found["rewrite"]) == (["Where"], "Hm.", "")


def test_steps_rewrites_and_turns_are_there_to_be_read_and_a_plain_verdict_says_it_all():
    steps = detail("steps", {"first_wrong": 0})["steps"]
    assert [(one["word"], one["text"][:6]) for one in steps] == [("wrong", "Answer")]
    assert detail("edit", {"text": "Kinder."})["rewrite"] == "Kinder."
    assert detail("demonstration", {"text": "Mine."})["turns"] == [{"who": "assistant", "text": "Mine."}]
    assert detail("pairwise", {"choice": "a"}) == {} == detail("rating", {"scores": {"quality": 2}})


def test_a_verdict_by_criteria_names_the_side_that_the_reviewer_sees():
    criteria = [{"name": "tone", "label": "Tone", "question": "Kinder?"}]
    way = {"kind": "pairwise", "options": {"criteria": criteria}}
    study = studies.study(way, items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    label = studies.answer(turn, {"choice": "a", "criteria": {"tone": "b2"}})
    found = detail_of(turn.task, label.answer, turn.candidates)
    better = "AB"[turn.task.candidates.index(turn.candidates[1].pk)]
    assert found == {"criteria": [("Tone", f"{better} is better")]}
