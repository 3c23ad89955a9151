"""Trimming what a person drove: what is taken, refused and written."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string
from django.test import Client

from annotation import services
from annotation.errors import Invalid
from annotation.interfaces import driving
from annotation.models import Candidate
from annotation.recordings import keep_session
from annotation.views.label import task_context
from tests.annotation import robots, studies
from trainers.records import dumps, parse
from trainers.records.robots import Drive, EpisodeMark

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return studies.study("driving", items=1, members=1)


@pytest.fixture
def turn(study):
    return studies.claim(study, studies.annotators(study)[0])


def test_only_what_a_person_drove_is_asked_about():
    name = f"clip:{'a' * 32}:0-9"
    driven = Candidate(text=name, source={"driven": True})
    assert driving.tasks([driven], driving.Options()) == [[driven]]
    assert driving.tasks([Candidate(text=name)], driving.Options()) == []
    assert driving.tasks([Candidate(text="No.", source={"driven": True})], driving.Options()) == []


def test_left_as_it_is_the_whole_is_kept(turn):
    answer = driving.read({}, turn)
    assert (answer.start, answer.stop, answer.success, answer.kept) == (0, 60, None, True)


def test_a_form_counts_from_the_beginning_of_what_it_shows(turn):
    row = turn.candidates[0]
    row.text = row.text.replace(":0-60", ":10-60")
    answer = driving.read(QueryDict("from=5&to=20&success=1&kept=1&note=+Slow.+"), turn)
    assert answer.to_json() == {
        "candidate": row.pk, "start": 15, "stop": 30, "success": True, "note": "Slow.", "kept": True
    }  # fmt: skip
    assert driving.read({"start": 15, "stop": 30}, turn).start == 15  # in JSON, steps of the episode


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({"start": 5, "stop": 5}, "start"),
        ({"start": -1, "stop": 5}, "stop"),
        ({"start": 0, "stop": 61}, "stop"),
        ({"start": "5"}, "start"),
        ({"stop": 5.0}, "stop"),
        ({"stop": True}, "stop"),
        ({"from": "soon"}, "from"),
        ({"to": "9" * 30}, "to"),
        ({"to": "-1"}, "to"),
        ({"success": "perhaps"}, "success"),
        ({"kept": "maybe"}, "kept"),
        ({"note": "x" * 5001}, "note"),
        ({"note": 5}, "note"),
        ({"note": "\ud800"}, "note"),
    ],
)
def test_a_wrong_answer_names_the_field(turn, post, field):
    with pytest.raises(Invalid) as refusal:
        driving.read(post, turn)
    assert refusal.value.field == field


def test_what_is_kept_is_a_drive_and_what_is_marked_a_mark(turn):
    label = studies.answer(turn, {"start": 3, "stop": 40, "success": True, "note": "Slow."})
    drive, mark = records = driving.records(label)
    assert isinstance(drive, Drive) and isinstance(mark, EpisodeMark)
    assert (drive.start, drive.stop, drive.source["note"]) == (3, 40, "Slow.")
    assert mark.episode == drive.episode and mark.success
    assert [parse(dumps(one), 1) for one in records] == records


def test_of_what_is_discarded_nothing_is_learned(turn):
    label = studies.answer(turn, {"kept": "0"})
    assert driving.records(label) == []
    assert driving.words(label.answer, []) == "discarded"


def test_a_driven_session_is_kept_and_may_be_trimmed_later(study):
    (ada,) = studies.annotators(study)
    row = robots.recording(study, seed=5, driven=True)
    first = keep_session(study, row, ada, {"start": 0, "stop": 60, "success": True}, kind="driving")
    shown = driving.show(services.past(study=study, annotator=ada))
    assert (shown["first"], shown["end"], shown["marked"]) == (0, 60, "1")
    second = services.revise_label(
        task=first.task, annotator=ada, answer={"from": "4", "to": "30", "success": "1"}, key=uuid4()
    )
    assert second.supersedes_id == first.pk
    assert [(one.start, one.stop) for one in driving.records(second)[:1]] == [(4, 30)]


def test_what_an_undo_brings_back_is_what_was_said(study):
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada, {"start": 2, "stop": 9, "note": "Good", "kept": False})
    shown = driving.show(services.undo_last(study=study, annotator=ada))
    assert (shown["first"], shown["end"], shown["noted"], shown["marked"]) == (2, 9, "Good", "")
    assert shown["answer"]["kept"] is False


def test_a_study_about_robots_says_how_to_begin():
    study = studies.study("driving", items=0)
    client = Client()
    client.force_login(study.created_by)
    page = client.get(f"/studies/{study.pk}/").content.decode()
    assert "Let a robot work" in page and f"/studies/{study.pk}/robots/" in page
    texts = studies.study("edit", items=0, owner=study.created_by)
    assert "Let a robot work" not in client.get(f"/studies/{texts.pk}/").content.decode()


def test_the_page_shows_the_note_as_text_and_the_trim_as_it_was(study):
    (ada,) = studies.annotators(study)
    evil = "</textarea><script>window.__pwned=1</script>"
    studies.label_next(study, ada, {"start": 2, "stop": 9, "note": evil})
    turn = services.undo_last(study=study, annotator=ada)
    html = render_to_string("annotation/task.html", task_context(turn, None))
    assert (
        "<script>window" not in html
        and 'name="from" inputmode="numeric" size="6" autocomplete="off" value="2"' in html
    )
