"""Correcting a recording in hindsight: what is understood, taken, refused and written."""

from __future__ import annotations

import html
import json
import re
from uuid import uuid4

import pytest
from django.conf import settings
from django.http import QueryDict
from django.template.loader import render_to_string
from django.test import Client

from annotation import services
from annotation.detail import detail_of
from annotation.errors import Invalid
from annotation.interfaces import hindsight, recorded
from annotation.models import Candidate, Label
from annotation.recordings import keep_session
from annotation.views.label import task_context
from tests.annotation import robots, studies
from tests.trainers.lived import live
from trainers.episodes import Episodes
from trainers.records import dumps, parse
from trainers.records.robots import EpisodeMark, LanguageCorrection

pytestmark = pytest.mark.django_db

LEFT = {"start": 4, "stop": 9, "text": "a bit left please", "command": "move a bit to the left"}
LIVE = {
    **LEFT, "live": True, "layer": "motion", "type": "correction", "predicted": "pick up the red block",
    "source": {"paused_at": 1700000000.25, "sent_at": 1700000001.5, "top5": [["wait", 0.4]], "hold": "key",
               "said": "a bit left please", "author": "ada", "outcome": None},
}  # fmt: skip


@pytest.fixture
def study():
    return studies.study("hindsight", items=1, members=2, overlap=2)


@pytest.fixture
def turn(study):
    return studies.claim(study, studies.annotators(study)[0])


def episode_of(turn):
    return Episodes(settings.EPISODES).open(turn.candidates[0].text.split(":")[1])


def said(*corrections, **rest) -> dict:
    return {"corrections": list(corrections), **rest}


def browser(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


# --- what is asked


def test_one_recording_is_asked_about_whole_and_pairs_texts_and_drives_are_not():
    name = f"clip:{'a' * 32}:0-9"
    one, driven = Candidate(text=name), Candidate(text=name, source={"driven": True})
    options = hindsight.Options()
    assert hindsight.tasks([one], options) == [[one]]
    assert hindsight.tasks([one, one], options) == hindsight.tasks([driven], options) == []
    assert hindsight.tasks([Candidate(text="Yes.")], options) == []


# --- what is taken


def test_a_correction_is_kept_with_what_the_policy_wanted_and_whatever_was_left_out(turn):
    answer = hindsight.read(said(LEFT), turn)
    wanted = episode_of(turn).said()[4]
    assert answer.corrections == [
        {**LEFT, "layer": "command", "type": "correction", "live": False, "predicted": wanted, "source": {}}
    ]
    assert answer.success is None and answer.stages == {}
    assert wanted.startswith("pick up the")


def test_a_form_sends_the_same_as_json_in_a_field(turn):
    form = QueryDict(mutable=True)
    form.update({"corrections": json.dumps([LEFT]), "success": "0", "stage.2": "1"})
    answer = hindsight.read(form, turn)
    assert answer.corrections == hindsight.read(said(LEFT), turn).corrections
    assert answer.success is False
    names = recorded.stages(episode_of(turn))
    assert len(names) == 3 and answer.stages == {names[0]: False, names[1]: True, names[2]: False}


def test_a_stage_that_only_a_live_page_knew_is_shown_and_stays_said_through_a_change_of_mind(study):
    ada = studies.annotators(study)[0]
    row = robots.recording(study, seed=8)
    label = keep_session(study, row, ada, said(LIVE, success=True, stages={"1. the tray": True}))
    turn = services.past(study=study, annotator=ada)
    page = render_to_string(hindsight.template, task_context(turn, "hindsight"))
    world, names = recorded.stages(episode_of(turn)), None
    for stage in hindsight.show(turn)["stages"]:
        assert stage["done"] == (stage["name"] == "1. the tray")
        names = stage["number"], stage["name"]
    assert names == (4, "1. the tray") and len(world) == 3
    sent = {"corrections": json.dumps(label.answer["corrections"]), "success": "1", "stage.4": "1", "stage.1": "1",
            "stage_names": html.unescape(re.search(r'name="stage_names" value="([^"]*)"', page)[1])}  # fmt: skip
    answer = hindsight.read(sent, turn)
    assert answer.stages == {world[0]: True, world[1]: False, world[2]: False, "1. the tray": True}
    for wrong in ("{}", "[1]", "[", json.dumps(["x"] * 41)):
        with pytest.raises(Invalid) as problem:
            hindsight.read({**sent, "stage_names": wrong}, turn)
        assert problem.value.field == "stage_names"


def test_a_form_that_is_refused_comes_back_with_the_stages_that_were_ticked(turn):
    posted = QueryDict("stage.2=1&success=&from.0=x")
    page = render_to_string(hindsight.template, task_context(turn, "hindsight", posted=posted, error="No."))
    ticked = re.findall(r'name="stage\.(\d)" value="1" checked', page)
    assert ticked == ["2"] and 'value="x"' in page


def test_a_form_without_script_asks_back_about_words_and_not_about_a_book(turn):
    with pytest.raises(Invalid) as problem:
        hindsight.read({"from.0": "1", "to.0": "3", "say.0": "left " * 100}, turn)
    assert problem.value.field == "say.0"


def test_a_clip_with_more_steps_than_its_episode_has_is_no_recording_to_correct():
    study = studies.study("hindsight", items=0, members=1)
    row = robots.recording(study, seed=8)
    name = f"clip:{row.episode}:0-{row.steps + 900}"
    services.add_items(study=study, items=[{"context": {"prompt": "Pack"}, "candidates": [name]}])
    long = studies.claim(study, studies.annotators(study)[0])
    assert hindsight.show(long)["clip"]["missing"] == recorded.GONE
    beyond = {**LEFT, "start": row.steps + 3, "stop": row.steps + 9}
    answer = hindsight.read(said(beyond), long)
    assert answer.corrections[0]["predicted"] == ""


def test_corrections_stand_in_the_order_of_their_steps(turn):
    later = {**LEFT, "start": 20, "stop": 22}
    answer = hindsight.read(said(later, {"start": 1, "stop": 3, "type": "rejected"}, LEFT), turn)
    assert [one["start"] for one in answer.corrections] == [1, 4, 20]


def test_what_was_said_live_is_kept_with_every_detail_it_brings(turn):
    answer = hindsight.read(said(LIVE), turn)
    assert answer.corrections == [LIVE]
    loose = {name: value for name, value in LIVE.items() if name != "source"} | LIVE["source"]
    assert hindsight.read(said(loose), turn).corrections == [
        LIVE
    ]  # beside it, the details are not lost either
    odd = {**LIVE, "command": "wiggle the elbow", "layer": "command"}
    assert hindsight.read(said(odd), turn).corrections[0]["command"] == "wiggle the elbow"


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "corrections"),
        ({"corrections": []}, "corrections"),
        ({"corrections": "[{"}, "corrections"),
        ({"corrections": "[" * 5000}, "corrections"),
        ({"corrections": {"start": 1}}, "corrections"),
        ({"corrections": ["left"]}, "corrections[0]"),
        (said({**LEFT, "stop": 4}), "corrections[0].stop"),
        (said({**LEFT, "start": -1}), "corrections[0].stop"),
        (said({**LEFT, "start": True}), "corrections[0].stop"),
        (said({**LEFT, "start": 1.0}), "corrections[0].stop"),
        (said({**LEFT, "stop": None}), "corrections[0].stop"),
        (said({**LEFT, "stop": 61}), "corrections[0].stop"),
        (said({**LEFT, "stop": 10**18}), "corrections[0].stop"),
        (said(LEFT, {**LEFT, "command": ""}), "corrections[1].command"),
        (said({**LEFT, "command": " \n"}), "corrections[0].command"),
        (said({**LEFT, "command": 5}), "corrections[0].command"),
        (said({**LEFT, "text": "x" * 201}), "corrections[0].text"),
        (said({**LEFT, "text": "\ud800"}), "corrections[0].text"),
        (said({**LEFT, "command": "x" * 10_000}), "corrections[0].command"),
        (said({**LEFT, "command": "move a bit to the lft"}), "corrections[0].command"),
        (said({**LEFT, "command": "nach links"}), "corrections[0].command"),
        (said({**LEFT, "command": "left, no, right"}), "corrections[0].command"),
        (said({**LEFT, "command": "<script>alert(1)</script>"}), "corrections[0].command"),
        (said({**LEFT, "command": "pick up the pink block"}), "corrections[0].command"),
        (said({**LEFT, "type": "praise"}), "corrections[0].type"),
        (said({**LEFT, "layer": "elbow"}), "corrections[0].layer"),
        (said({**LEFT, "live": "yes"}), "corrections[0].live"),
        (said({**LEFT, "source": []}), "corrections[0].source"),
        (said({**LEFT, "colour": 1}), "corrections[0]"),
        (said({**LIVE, "source": {"x": "y" * 30_000}}), "corrections[0].source"),
        (said({**LIVE, "source": {"x": float("nan")}}), "corrections[0].source"),
        (said({**LIVE, "source": {"x": "\x00"}}), "corrections[0].source"),
        (said({**LIVE, "source": {"\ud800": 1}}), "corrections[0].source"),
        (said(LEFT, success=True, stages={"\ud800": True}), "stages"),
        ({"from." + "9" * 5000: "1"}, "corrections"),
        (said(*[LEFT] * 501), "corrections"),
        (said(LEFT, success="maybe"), "success"),
        (said(LEFT, success=1), "success"),
        (said(LEFT, success=True, stages=["one"]), "stages"),
        (said(LEFT, success=True, stages={"one": 1}), "stages.one"),
        (said(LEFT, stages={"one": True}), "success"),
        (said(LEFT, success=True, stages={"x" * 101: True}), "stages"),
    ],
)  # fmt: skip
def test_a_wrong_answer_names_the_field_and_keeps_its_words_short(turn, post, field):
    with pytest.raises(Invalid) as refusal:
        hindsight.read(post, turn)
    assert refusal.value.field == field
    assert len(str(refusal.value)) < 400


def test_a_study_may_take_no_rejected_stretches_but_keeps_those_that_were_live():
    options = {"kind": "hindsight", "options": {"rejecting": False}}
    study = studies.study(options, items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    rejected = {"start": 1, "stop": 4, "type": "rejected"}
    with pytest.raises(Invalid) as refusal:
        hindsight.read(said(rejected), turn)
    assert refusal.value.field == "corrections[0].type"
    assert hindsight.read(said({**rejected, "live": True}), turn).corrections[0]["type"] == "rejected"


# --- without script


def row(number, **fields) -> dict:
    return {f"{name}.{number}": value for name, value in fields.items()}


def test_rows_of_a_form_without_script_say_the_same(turn):
    form = {
        **row(0, **{"from": "4", "to": "9"}, say="a bit left", command="move a bit to the left"),
        **row(1, **{"from": "20", "to": "25"}, say="", command=""),
        **row(2, **{"from": "", "to": ""}, say="", command=""),
        "corrections": "",
    }
    found = hindsight.read(form, turn).corrections
    assert [(one["start"], one["stop"], one["type"], one["command"]) for one in found] == [
        (4, 9, "correction", "move a bit to the left"),
        (20, 25, "rejected", ""),
    ]


def test_words_without_a_command_are_never_stored_as_they_were_guessed(turn):
    form = row(0, **{"from": "4", "to": "9"}, say="a bit left", command="")
    with pytest.raises(Invalid, match="understood as “move a bit to the left”") as refusal:
        hindsight.read(form, turn)
    assert refusal.value.field == "command.0"
    with pytest.raises(Invalid, match="not a word known here"):
        hindsight.read({**form, "say.0": "frobnicate"}, turn)
    with pytest.raises(Invalid, match="expected a step") as refusal:
        hindsight.read({**form, "to.0": "soon"}, turn)
    assert refusal.value.field == "to.0"


def test_a_row_that_was_not_touched_keeps_what_it_stood_for(turn):
    said_live = hindsight.read(said(LIVE), turn).corrections[0]
    shown = hindsight.show(_with_answer(turn, said(LIVE)))
    first = shown["rows"][0]
    form = row(0, **{name: str(first[name]) for name in ("from", "to", "say", "command", "kept")})
    assert hindsight.read(form, turn).corrections == [said_live]
    changed = hindsight.read({**form, "to.0": "12"}, turn).corrections[0]
    assert changed["live"] is False and changed["stop"] == 12


def _with_answer(turn, post):
    label = studies.answer(turn, post)
    return services.undo_last(study=label.study, annotator=label.annotator)


# --- the words


def ask(turn, text, layer="") -> dict:
    client = browser(turn.assignment.annotator)
    reply = client.post(f"/tasks/{turn.task.pk}/understand/", {"text": text, "layer": layer})
    assert reply.status_code == 200
    return reply.json()


def test_words_are_understood_as_they_are_live_and_asked_back_where_they_are_not_clear(turn):
    assert ask(turn, "bit more to the left")["command"] == "move a bit to the left"
    assert ask(turn, "left, no, right")["command"] == "move a bit to the right"
    unclear = ask(turn, "move lft")
    assert unclear["command"] is None and "move a bit to the left" in unclear["others"] and unclear["ask"]
    which = ask(turn, "pick up the block")
    assert which["command"] is None and len(which["others"]) == 3


@pytest.mark.parametrize(
    "text", ["", " ", "x" * 10_000, "去左边", "\x00\x01", "<img src=x onerror=alert(1)>"]
)
def test_what_cannot_be_understood_is_asked_back_and_nothing_breaks(turn, text):
    reply = ask(turn, text)
    assert reply["command"] is None and 0 < len(reply["ask"]) < 400


def test_motions_are_understood_out_of_those_that_the_recording_knows():
    study = studies.study("hindsight", items=0, members=1)
    robots.episodes(study, motions=True)
    turn = studies.claim(study, studies.annotators(study)[0])
    assert ask(turn, "Move  arm UP", "motion")["command"] == "move arm up"
    near = ask(turn, "move arm upp", "motion")
    assert (
        near["command"] is None
        and near["others"][0] == "move arm up"
        and near["others"][-1] == "move arm upp"
    )


def test_in_a_world_without_a_language_a_phrase_is_one_of_its_commands_or_its_speakers_own():
    study = studies.study("hindsight", items=0, members=1)
    episode = live(settings.EPISODES)
    assert recorded.meaning(episode, "Grasp the mug").command == "grasp the mug"
    near = recorded.meaning(episode, "grasp the cup")
    assert near.command is None and near.others[-1] == "grasp the cup"
    robots.record(study, episode.name)
    services.add_items(
        study=study,
        items=[{"context": {"prompt": "Reach"}, "candidates": [f"clip:{episode.name}:0-12"]}],
    )
    turn = studies.claim(study, studies.annotators(study)[0])
    own = {"start": 1, "stop": 3, "text": "grasp the cup", "command": "grasp the cup"}
    assert hindsight.read(said(own), turn).corrections[0]["command"] == "grasp the cup"


def test_nobody_but_a_member_has_words_understood_and_only_about_a_recording(turn):
    address = f"/tasks/{turn.task.pk}/understand/"
    assert browser(studies.person()).post(address, {"text": "left"}).status_code == 404
    assert browser(turn.assignment.annotator).get(address).status_code == 405
    texts = studies.study("edit", items=1)
    other = browser(texts.created_by).post(f"/tasks/{texts.tasks.get().pk}/understand/", {"text": "left"})
    assert other.status_code == 404


# --- what is written


def test_each_correction_is_a_record_and_a_mark_is_one_of_the_episode(study, turn):
    name = episode_of(turn).name
    label = studies.answer(
        turn, said(LEFT, {"start": 30, "stop": 40, "type": "rejected"}, success=True, stages={"all": True})
    )
    first, second, mark = records = hindsight.records(label)
    assert isinstance(first, LanguageCorrection) and isinstance(mark, EpisodeMark)
    assert (first.episode, first.start, first.stop, first.command, first.live) == (
        name,
        4,
        9,
        LEFT["command"],
        False,
    )
    assert (second.type, second.command, second.text) == ("rejected", "", "")
    assert (mark.episode, mark.success, mark.stages) == (name, True, {"all": True})
    assert len({one.id for one in records}) == 3
    assert all(one.prompt == "Pack everything into the tray" for one in records)
    assert [parse(dumps(one), 1) for one in records] == records


def test_the_details_of_what_was_said_live_reach_the_record(turn):
    (record,) = hindsight.records(studies.answer(turn, said(LIVE)))
    assert record.live and record.layer == "motion" and record.predicted == "pick up the red block"
    assert record.source["details"] == LIVE["source"]


def test_a_live_session_is_kept_and_its_person_may_look_back_and_change_it(study):
    (ada, _) = studies.annotators(study)
    row = robots.recording(study, seed=7)
    label = keep_session(study, row, ada, said(LIVE, success=False))
    assert [one.live for one in hindsight.records(label)[:-1]] == [True]
    looked_back = services.past(study=study, annotator=ada)
    shown = hindsight.show(looked_back)
    assert json.loads(shown["said"]) == [LIVE] and shown["marked"] == "0"
    form = {"corrections": json.dumps([*json.loads(shown["said"]), LEFT]), "success": "0"}
    changed = services.revise_label(task=looked_back.task, annotator=ada, answer=form, key=uuid4())
    assert changed.supersedes_id == label.pk
    assert changed.answer["corrections"][0] == LIVE or changed.answer["corrections"][1] == LIVE
    assert Label.objects.filter(study=study).count() == 2


def test_what_an_undo_brings_back_is_what_was_said(study):
    (ada, _) = studies.annotators(study)
    studies.label_next(study, ada, said(LEFT, success=True))
    shown = hindsight.show(services.undo_last(study=study, annotator=ada))
    (one,) = json.loads(shown["said"])
    assert one["command"] == LEFT["command"] and shown["marked"] == "1"
    assert shown["answer"]["success"] is True
    assert shown["rows"][0]["say"] == LEFT["text"]


def test_it_is_said_in_words_and_compared_by_success():
    both = {"corrections": [{"type": "correction"}] * 2 + [{"type": "rejected"}], "success": False}
    assert hindsight.words(both, []) == "failure, 2 corrections, 1 rejected stretch"
    assert hindsight.judgement(both, []) == "failure"
    assert hindsight.judgement({**both, "success": None}, []) is None


# --- what is shown


def test_the_page_tells_the_stages_the_commands_and_where_words_are_understood(turn):
    html = render_to_string("annotation/task.html", task_context(turn, None))
    assert f"/tasks/{turn.task.pk}/understand/" in html
    for stage in recorded.stages(episode_of(turn)):
        assert stage in html
    assert 'data-decision="3"' in html and "pick up the" in html and "rules-1" not in html


def test_a_reviewer_reads_each_correction_with_its_steps(turn):
    rejected = {"start": 30, "stop": 31, "type": "rejected"}
    label = studies.answer(
        turn, said(LEFT, rejected, LIVE | {"start": 50, "stop": 52}, success=True, stages={"all": False})
    )
    facts = dict(detail_of(turn.task, label.answer, turn.candidates)["facts"])
    wanted = episode_of(turn).said()[4]
    assert facts["Steps 4 to 8"] == f"move a bit to the left (“a bit left please”, instead of “{wanted}”)"
    assert facts["Steps 30 to 30"].startswith("rejected (was “")
    assert facts["Steps 50 to 51"].endswith("said live)") and facts["all"] == "not done"


def test_hostile_words_come_back_as_text(study):
    (ada, _) = studies.annotators(study)
    evil = '"><script>window.__pwned=1</script>'
    turn = studies.claim(study, ada)
    studies.answer(turn, said({**LEFT, "text": evil}, success=True, stages={evil: True}))
    shown = services.undo_last(study=study, annotator=ada)
    html = render_to_string("annotation/task.html", task_context(shown, None))
    assert "<script>window" not in html and "&lt;script&gt;window" in html
