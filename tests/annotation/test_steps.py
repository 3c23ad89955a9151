"""Judging step by step: what a step is, what may be said of it, and that a label keeps its meaning."""

from dataclasses import asdict
from uuid import uuid4

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string

from annotation import services, snapshots
from annotation.errors import Conflict, Invalid
from annotation.interfaces import steps
from annotation.models import Candidate, Label
from annotation.views.label import task_context
from tests.annotation import studies
from tests.annotation.test_api import Caller
from trainers import records

FOUR = "Let x be 2.\n\nThen x + 1 is 3.\n\nSo x is 4.\n\nDone."
EVERY = {"kind": "steps", "options": {"mode": "every"}}
CALLS = [
    {"role": "assistant", "text": "I look it **up**."},
    {"role": "tool", "text": "GET /rooms\n{\n  'free': **2**\n}"},
    "Two rooms are free.",
]


def texts(candidate: Candidate, split: str = "paragraphs") -> list[str]:
    return list(steps.trace_of(candidate, split).texts)


def judging(way: str | dict = "steps", text: str = FOUR, source: dict | None = None):
    """A study over one answer, whoever judges it, and their turn."""
    study = studies.study(way, items=0, members=1)
    item = {
        "context": {"prompt": "What is x?"},
        "candidates": [{"text": text, "policy": "m", "source": source}],
    }
    services.add_items(study=study, items=[item])
    (ada,) = studies.annotators(study)
    return study, ada, studies.claim(study, ada)


# --- what a step is


def test_a_text_is_cut_at_blank_lines_or_at_every_line():
    text = "\n\nOne,\nstill one.\n \n\n  Two.  \r\n\r\nThree."
    assert texts(Candidate(text=text)) == ["One,\nstill one.", "  Two.", "Three."]
    assert texts(Candidate(text=text), "lines") == ["One,", "still one.", "  Two.", "Three."]
    assert texts(Candidate(text=" \n\n ")) == []


@pytest.mark.parametrize("split", ["paragraphs", "lines"])
def test_a_block_of_code_is_one_step_with_its_blank_lines(split):
    code = "```python\na = 1\n\nprint('```')\n~~~\n\nb = 2\n```"
    assert texts(Candidate(text=f"First.\n\n{code}\n\nLast."), split) == ["First.", code, "Last."]
    assert texts(Candidate(text="First.\n\n```\nnever\n\nclosed"), split) == [
        "First.",
        "```\nnever\n\nclosed",
    ]


def test_steps_that_came_with_the_answer_are_taken_as_they_are():
    given = Candidate(text=FOUR, source={"steps": CALLS})
    trace = steps.trace_of(given, "lines")
    assert list(trace.texts) == [CALLS[0]["text"], CALLS[1]["text"], CALLS[2]]
    assert [step.name for step in trace.steps] == ["assistant", "tool", ""]
    assert [step.machine for step in trace.steps] == [False, True, False]
    assert trace.cuts == ()


@pytest.mark.parametrize(
    "junk", [None, "One.", [], {"text": "One."}, ["One.", 2], [{"role": "tool"}], [{"text": 1}]]
)
def test_what_does_not_look_like_steps_from_end_to_end_is_not_taken_for_steps(junk):
    assert len(texts(Candidate(text=FOUR, source={"steps": junk}))) == 4


def test_each_answer_with_a_step_is_one_task_and_one_of_too_many_is_none():
    some = [
        Candidate(text=FOUR),
        Candidate(text=" "),
        Candidate(text="x\n" * 501),
        Candidate(text="x\n" * 500),
    ]
    assert steps.tasks(some, steps.Options(split="lines")) == [[some[0]], [some[3]]]


# --- what may be said


@pytest.mark.django_db
def test_the_first_wrong_step_says_what_stands_before_it_is_right_and_nothing_of_what_follows():
    _, _, turn = judging()
    said = steps.read(QueryDict("first_wrong=2"), turn)
    assert (said.labels, said.first_wrong, said.candidate) == ([1, 1, -1, None], 2, turn.candidates[0].pk)
    assert asdict(steps.read({"first_wrong": 2}, turn)) == asdict(said)
    for none in [QueryDict("first_wrong=none"), {"first_wrong": None}]:
        assert (steps.read(none, turn).labels, steps.read(none, turn).first_wrong) == ([1, 1, 1, 1], None)
    assert steps.read({"first_wrong": 0}, turn).labels == [-1, None, None, None]


@pytest.mark.django_db
def test_every_step_is_judged_up_to_the_first_wrong_one_at_least():
    _, _, turn = judging(EVERY)
    form = QueryDict("step.0=1&step.1=0&step.2=-1&step.3=1")
    assert steps.read(form, turn).labels == [1, 0, -1, 1]
    assert steps.read({"labels": [1, 0, -1, None]}, turn).labels == [1, 0, -1, None]
    assert steps.read(QueryDict("step.0=1&step.1=-1&first_wrong=2"), turn).labels == [1, 1, -1, None]
    assert steps.read(QueryDict("step.1=0&first_wrong=none"), turn).labels == [1, 0, 1, 1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("way", "post", "field"),
    [
        ("steps", {}, "first_wrong"),
        ("steps", {"labels": [1, 1, 1, 1]}, "first_wrong"),
        ("steps", {"first_wrong": 4}, "first_wrong"),
        ("steps", {"first_wrong": -1}, "first_wrong"),
        ("steps", {"first_wrong": True}, "first_wrong"),
        ("steps", {"first_wrong": "1.0"}, "first_wrong"),
        ("steps", {"first_wrong": [1]}, "first_wrong"),
        ("steps", {"first_wrong": 1, "steps": "0" * 16}, "steps"),
        (EVERY, {}, "labels[0]"),
        (EVERY, {"labels": [1, 1, 1]}, "labels"),
        (EVERY, {"labels": "1111"}, "labels"),
        (EVERY, {"labels": [1, 2, 1, 1]}, "labels[1]"),
        (EVERY, {"labels": [1, True, 1, 1]}, "labels[1]"),
        (EVERY, {"labels": [1, None, -1, 1]}, "labels[1]"),
        (EVERY, {"step.0": "1", "step.1": "yes"}, "labels[1]"),
        (EVERY, {"step.0": [1]}, "labels[0]"),
        (EVERY, {"labels": [1], "first_wrong": 2}, "labels"),
    ],
)
def test_a_wrong_judgement_names_the_field(way, post, field):
    _, _, turn = judging(way)
    with pytest.raises(Invalid) as refusal:
        steps.read(post, turn)
    assert refusal.value.field == field


@pytest.mark.django_db
def test_what_was_said_is_one_number_that_people_can_be_compared_by():
    _, _, turn = judging()
    said = [steps.read({"first_wrong": one}, turn).to_json() for one in (2, 0, None)]
    assert [steps.judgement(one, [7]) for one in said] == [2, 0, -1]
    assert [steps.words(one, [7]) for one in said] == [
        "step 3 of 4 is the first wrong one", "step 1 of 4 is the first wrong one", "no wrong step among 4"
    ]  # fmt: skip


# --- what is shown


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("steps", {"first_wrong": 2, "labels": [1, 1, -1, None]}),
        ("steps", {"first_wrong": None, "labels": [1, 1, 1, 1]}),
        (EVERY, {"first_wrong": 1, "labels": [0, -1, 1, None]}),
    ],
)
def test_an_undo_brings_back_what_was_said_and_it_can_be_said_again(way, said):
    study, ada, turn = judging(way)
    assert steps.show(turn)["answer"] is None
    post = {"labels": said["labels"]} if way is EVERY else {"first_wrong": said["first_wrong"]}
    studies.answer(turn, post)
    back = services.undo_last(study=study, annotator=ada)
    shown = steps.show(back)
    assert shown["answer"] == said
    assert [step["given"] for step in shown["steps"]] == said["labels"]
    assert steps.read(post, back).to_json() == back.answer


@pytest.mark.django_db
def test_a_refused_form_comes_back_with_what_was_chosen():
    _, ada, turn = judging(EVERY)
    posted = QueryDict("step.0=1&step.1=0")
    html = render_to_string("annotation/task.html", task_context(turn, None, posted=posted, error="Step 3 …"))
    chosen = [line for line in html.split("<input") if " checked" in line.split(">")[0]]
    assert ['name="step.0" value="1"' in chosen[0], 'name="step.1" value="0"' in chosen[1]] == [True, True]
    assert len(chosen) == 2


@pytest.mark.django_db
def test_the_output_of_tools_is_shown_letter_by_letter_and_the_rest_as_markdown():
    _, _, turn = judging(source={"steps": [*CALLS, "<script>alert(1)</script>"]}, text="Two.")
    html = render_to_string("annotation/task.html", task_context(turn, None))
    assert "<strong>up</strong>" in html and "**2**" in html
    assert "<script" not in html
    assert "The answer these steps led to" in html
    assert steps.show(turn)["candidate"]["policy"] == ""


@pytest.mark.django_db
def test_an_answer_that_says_what_its_steps_say_is_not_shown_twice():
    _, _, turn = judging(source={"steps": ["Let x be 2.", "So x is 4."]}, text="Let x be 2.\n\nSo x is 4.")
    assert steps.show(turn)["outcome"] == ""


# --- what is written


@pytest.mark.django_db
def test_labels_are_frozen_as_records_that_trainers_read():
    study, ada, turn = judging(source={"steps": CALLS}, text="Two.")
    studies.answer(turn, {"first_wrong": 1})
    frozen = snapshots.freeze(study=study, by=study.created_by)
    (line,) = [line.decode() for line in snapshots.lines_of(frozen)]
    record = records.parse(line, 1)
    assert isinstance(record, records.StepLabels)
    assert record.steps == (CALLS[0]["text"], CALLS[1]["text"], CALLS[2])
    assert (record.labels, record.first_wrong, record.prompt) == ((1, -1, None), 1, "What is x?")
    assert record.source["answer"]["source"]["steps"] == CALLS
    assert records.dumps(record) == line.rstrip("\n")


@pytest.mark.django_db
def test_a_label_means_the_same_when_the_study_cuts_answers_elsewhere():
    study, ada, turn = judging(text="One.\nStill one.\n\nTwo.")
    studies.answer(turn, {"first_wrong": 1})
    study.interfaces = [{"kind": "steps", "options": {"mode": "first_wrong", "split": "lines"}}]
    study.save()
    (record,) = steps.records(Label.objects.get())
    assert (record.steps, record.labels) == (("One.\nStill one.", "Two."), (1, -1))
    back = services.undo_last(study=study, annotator=ada)
    assert steps.show(back)["answer"] is None  # these are other steps: nothing was said of them
    assert [step["given"] for step in steps.show(back)["steps"]] == [None] * 3


@pytest.mark.django_db
@pytest.mark.parametrize("source", [None, {"steps": CALLS}])
def test_a_label_about_an_answer_that_was_changed_since_is_an_error_and_never_another_record(source):
    _, _, turn = judging(source=source)
    studies.answer(turn, {"first_wrong": 1})
    changed = Candidate.objects.get()
    changed.text, changed.source = (
        "Let y be 2." + FOUR[11:],
        {"steps": ["Other.", "Steps."]} if source else {},
    )
    changed.save()
    with pytest.raises(Conflict, match="not those that were judged"):
        steps.records(Label.objects.get())


@pytest.mark.django_db
def test_a_program_is_told_the_steps_and_may_label_them(client):
    study, ada, _ = judging(EVERY, source={"steps": CALLS}, text="Two.")
    program = Caller(client, ada)
    (task,) = program.post(f"/studies/{study.pk}/next").json()["tasks"]
    (shown,) = task["candidates"]
    assert [(step["name"], step["text"]) for step in shown["steps"]] == [
        ("assistant", CALLS[0]["text"]), ("tool", CALLS[1]["text"]), ("", CALLS[2])
    ]  # fmt: skip
    said = {"answer": {"labels": [1, 0, -1]}, "key": str(uuid4())}
    reply = program.post(f"/tasks/{task['id']}/submit", said)
    assert reply.status_code == 200, reply.content
    assert reply.json()["answer"]["labels"] == [1, 0, -1]
    undone = program.post(f"/studies/{study.pk}/undo").json()["task"]
    assert undone["answer"] == {"labels": [1, 0, -1], "first_wrong": 2}


@pytest.mark.django_db
def test_a_label_of_a_text_keeps_where_its_steps_begin_and_end():
    _, _, turn = judging()
    label = studies.answer(turn, {"first_wrong": None})
    assert label.answer["cuts"] == [[0, 11], [13, 29], [31, 41], [43, 48]]
