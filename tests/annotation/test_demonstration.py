"""Writing answers: one or a whole chat, of items that bring no answers, into well-formed demonstrations."""

from dataclasses import asdict

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string

from annotation import services, snapshots
from annotation.errors import Invalid
from annotation.forms import NewStudyForm
from annotation.interfaces import demonstration, edit
from annotation.interfaces.registry import INTERFACES, interface, read_interfaces
from annotation.models import Label, Task
from annotation.views.label import task_context
from tests.annotation import studies
from trainers import records

MANY = {"kind": "demonstration", "options": {"turns": "many"}}
CHAT = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good evening."}]
ROUNDS = [
    {"role": "assistant", "content": "A single room?"},
    {"role": "user", "content": "A double."},
    {"role": "assistant", "content": "From when?"},
]

pytestmark = pytest.mark.django_db


def writing(*ways, context: dict | None = None, candidates=()):
    """A study over one item, whoever writes, and their turn."""
    study = studies.study(*(ways or ["demonstration"]), items=0, members=1)
    item = {"context": context or {"prompt": "A room, please."}, "candidates": list(candidates)}
    services.add_items(study=study, items=[item])
    (ada,) = studies.annotators(study)
    return study, ada, studies.claim(study, ada)


def frozen(study) -> list[records.Record]:
    snapshot = snapshots.freeze(study=study, by=study.created_by)
    lines = [line.decode() for line in snapshots.lines_of(snapshot)]
    found = [records.parse(line, number) for number, line in enumerate(lines, 1)]
    assert [record.id for record in found] == sorted({record.id for record in found})
    return found


# --- items without answers


def test_an_item_without_answers_makes_one_task_that_can_be_claimed_answered_and_undone():
    study, ada, turn = writing()
    assert (turn.task.candidates, turn.candidates, turn.assignment.order) == ([], [], [])
    studies.answer(turn, {"text": "With pleasure."})
    back = services.undo_last(study=study, annotator=ada)
    assert demonstration.show(back)["answer"] == {
        "turns": [{"role": "assistant", "content": "With pleasure."}]
    }
    assert demonstration.show(back)["round"]["answer"]["text"] == "With pleasure."
    studies.answer(back, {"text": "Gladly."})
    assert [record.answer for record in frozen(study)] == ["Gladly."]


@pytest.mark.parametrize(
    ("ways", "least"),
    [
        (["demonstration"], 0),
        (["pairwise", "demonstration"], 0),
        (["edit"], 1),
        (["steps"], 1),
        (["pairwise", "rating"], 1),
        (["pairwise"], 2),
        (["pairwise", "ranking"], 2),
    ],
)
def test_an_item_brings_as_many_answers_as_one_way_of_asking_needs(ways, least):
    study = studies.study(*ways, items=0)
    item = {"context": {"prompt": "?"}, "candidates": [f"Answer {n}." for n in range(least)]}
    services.add_items(study=study, items=[item])
    kinds = set(Task.objects.filter(study=study).values_list("kind", flat=True))
    assert kinds == {kind for kind in ways if least >= interface(kind).LEAST}
    if least:
        with pytest.raises(Invalid, match=f"expected {least} to"):
            services.add_items(study=study, items=[{**item, "candidates": item["candidates"][1:]}])


def test_an_item_may_leave_its_answers_out_where_none_are_needed():
    study = studies.study("demonstration", items=0)
    for row in [{"context": {"prompt": "?"}}, {"context": {"prompt": "!"}, "candidates": None}]:
        assert len(services.add_items(study=study, items=[row])) == 1
    with pytest.raises(Invalid, match="expected 0 to"):
        services.add_items(study=study, items=[{"context": {"prompt": "?"}, "candidates": "none"}])


def test_an_edit_asks_nothing_of_an_item_without_answers():
    assert edit.tasks([], edit.Options()) == edit.tasks([], edit.Options(every=True)) == []


def test_every_interface_makes_no_task_of_fewer_answers_than_it_needs():
    for kind in INTERFACES:
        module = interface(kind)
        made = module.tasks([], module.Options())
        assert bool(made) == (getattr(module, "LEAST", 1) == 0), kind


# --- the answers an item brings


def test_answers_are_part_of_the_task_only_where_they_are_shown():
    _, _, hidden = writing(candidates=["One.", "Two."])
    assert hidden.candidates == []
    shown = {"kind": "demonstration", "options": {"shown": True}}
    _, _, turn = writing(shown, candidates=[{"text": "**One.**", "policy": "gpt"}, "Two."])
    assert {one.text for one in turn.candidates} == {"**One.**", "Two."}
    html = render_to_string("annotation/task.html", task_context(turn, None))
    assert "<strong>One.</strong>" in html and "gpt" not in html
    _, _, none = writing(shown)
    assert demonstration.show(none)["candidates"] == []


# --- one answer


def test_one_answer_comes_from_a_form_or_as_json():
    _, _, turn = writing()
    said = {"turns": [{"role": "assistant", "content": "Yes.\nOf course."}]}
    assert asdict(demonstration.read(QueryDict("text=Yes.%0D%0AOf course."), turn)) == said
    assert asdict(demonstration.read({"text": "Yes.\nOf course."}, turn)) == said
    assert asdict(demonstration.read(said, turn)) == said


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "answer.0"),
        ({"text": ""}, "turns[0].content"),
        ({"text": " \n\t"}, "turns[0].content"),
        ({"text": 5}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x" * 100_001}, "turns[0].content"),
        ({"turns": "Yes."}, "turns"),
        ({"turns": []}, "turns"),
        ({"turns": ["Yes."]}, "turns[0]"),
        ({"turns": [{"role": ["user"], "content": ""}]}, "turns[0]"),
        ({"turns": [{"role": "system", "content": "Be kind."}]}, "turns[0].role"),
        ({"turns": [{"role": "user", "content": "Hm."}]}, "turns[0].role"),
        ({"turns": [{"role": "assistant", "content": 7}]}, "turns[0].content"),
        ({"turns": ROUNDS}, "turns"),
    ],
)
def test_a_wrong_answer_names_the_field(post, field):
    _, _, turn = writing()
    with pytest.raises(Invalid) as refusal:
        demonstration.read(post, turn)
    assert refusal.value.field == field


def test_the_record_of_one_answer_has_the_chat_so_far_as_its_prompt():
    study, _, turn = writing(context={"messages": [*CHAT, {"role": "user", "content": "A room."}]})
    studies.answer(turn, {"text": "For one?"})
    (record,) = frozen(study)
    assert isinstance(record, records.Demonstration)
    assert [message.content for message in record.prompt] == ["Hello?", "Good evening.", "A room."]
    assert record.answer == "For one?"


@pytest.mark.parametrize("begun", [CHAT, [{"role": "system", "content": "Be kind."}]])
def test_where_nothing_waits_for_an_answer_the_person_asks_first(begun):
    study, _, turn = writing(context={"messages": begun})
    with pytest.raises(Invalid, match="a message of the user"):
        demonstration.read({"text": "Yes."}, turn)
    studies.answer(turn, {"user.0": "A room.", "answer.0": "For one?"})
    (record,) = frozen(study)
    assert [message.content for message in record.prompt] == [*(one["content"] for one in begun), "A room."]
    assert record.answer == "For one?"


# --- many rounds


def test_rounds_come_from_a_form_up_to_the_last_one_with_words_in_it():
    _, _, turn = writing(MANY)
    form = {
        "answer.0": "A single room?",
        "user.1": "A double.",
        "answer.1": "From when?",
        "user.2": " ",
        "answer.2": "",
    }
    assert demonstration.read(form, turn).turns == ROUNDS
    assert demonstration.read({"turns": ROUNDS}, turn).turns == ROUNDS


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "answer.0"),
        ({"answer.0": "One.", "user.1": "And?"}, "answer.1"),
        ({"answer.0": "One.", "answer.1": "Two."}, "user.1"),
        ({"answer.0": "One.", "user.2": "And?", "answer.2": "Three."}, "user.1"),
        ({"user.1": "And?", "answer.1": "Two."}, "answer.0"),
        ({"answer.0": "One.", "user.1": 3}, "user.1"),
        ({"turns": ROUNDS[:2]}, "turns"),
        ({"turns": [ROUNDS[0], ROUNDS[0]]}, "turns[1].role"),
        ({"turns": ROUNDS[1:]}, "turns[0].role"),
        ({"turns": [ROUNDS[0], *ROUNDS[1:] * 20]}, "turns"),
        ({"turns": [ROUNDS[0], *[{**one, "content": "x" * 90_000} for one in ROUNDS[1:]] * 3]}, "turns"),
    ],
)
def test_a_wrong_chat_names_the_field(post, field):
    _, _, turn = writing(MANY)
    with pytest.raises(Invalid) as refusal:
        demonstration.read(post, turn)
    assert refusal.value.field == field


def test_twenty_rounds_may_be_written_and_no_more():
    _, _, turn = writing(MANY)
    twenty = [ROUNDS[0], *ROUNDS[1:] * 19]
    assert demonstration.read({"turns": twenty}, turn).rounds == 20
    assert len(demonstration.show(turn)["more_rounds"]) + 1 == demonstration.MOST_ROUNDS


def test_a_chat_is_one_record_for_each_answer_and_each_prompt_is_all_that_stands_before_it():
    study, ada, turn = writing(MANY)
    studies.answer(turn, {"turns": ROUNDS})
    first, second = frozen(study)
    assert (first.prompt, first.answer) == ("A room, please.", "A single room?")
    said = [(message.role, message.content) for message in second.prompt]
    assert said == [("user", "A room, please."), ("assistant", "A single room?"), ("user", "A double.")]
    assert second.answer == "From when?"
    assert second.source["label"] == first.source["label"] == Label.objects.get().pk


def test_an_undone_chat_stands_in_its_rounds_again():
    study, ada, turn = writing(MANY)
    studies.answer(turn, {"turns": ROUNDS})
    shown = demonstration.show(services.undo_last(study=study, annotator=ada))
    assert (shown["round"]["user"], shown["round"]["answer"]["text"]) == (None, "A single room?")
    assert (shown["more_rounds"][0]["user"]["text"], shown["more_rounds"][0]["answer"]["text"]) == (
        "A double.", "From when?"
    )  # fmt: skip
    assert shown["more_rounds"][1]["user"]["text"] == ""


def test_a_refused_form_comes_back_with_what_was_written():
    _, _, turn = writing(MANY)
    posted = QueryDict("answer.0=One.&user.1=<b>And</b>?")
    html = render_to_string(
        "annotation/task.html", task_context(turn, None, posted=posted, error="No answer")
    )
    assert ">\nOne.</textarea>" in html and ">\n&lt;b&gt;And&lt;/b&gt;?</textarea>" in html


# --- the study form


def test_the_study_form_offers_every_option_and_needs_none_of_those_it_does_not_ask():
    form = NewStudyForm(
        {"name": "x", "overlap": "1", "ask_demonstration": "on", "demonstration.turns": "many"}
    )
    assert form.is_valid(), form.errors
    assert read_interfaces(form.interfaces()) == [
        {"kind": "demonstration", "options": {"turns": "many", "shown": False}}
    ]
    html = str(form["demonstration.turns"]) + str(form["steps.mode"]) + str(form["steps.split"])
    assert html.count("<select") == 3 and "first_wrong" in html and "paragraphs" in html
    wrong = NewStudyForm({"name": "x", "overlap": "1", "ask_steps": "on", "steps.mode": "some"})
    assert "steps.mode" in wrong.errors
    left_out = NewStudyForm({"name": "x", "overlap": "1", "ask_steps": "on"})
    assert left_out.is_valid(), left_out.errors
    assert read_interfaces(left_out.interfaces())[0]["options"] == {
        "mode": "first_wrong",
        "split": "paragraphs",
    }
