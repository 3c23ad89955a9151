"""Comparing two clips: what is asked, shown, taken and written, and what is refused."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from django.conf import settings
from django.http import QueryDict
from django.template.loader import render_to_string
from django.test import Client

from annotation import services
from annotation.errors import Invalid
from annotation.interfaces import clips, pairwise
from annotation.models import Candidate
from annotation.reliability import answers
from annotation.views.label import task_context
from tests.annotation import robots, studies
from trainers.episodes import Clip, Episodes
from trainers.records import dumps, parse

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return studies.study("clips", items=2, members=2)


@pytest.fixture
def turn(study):
    return studies.claim(study, studies.annotators(study)[0])


def refused(post, turn) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        clips.read(post, turn)
    return refusal.value


def test_an_item_of_three_clips_makes_three_comparisons_and_of_texts_none():
    names = [f"clip:{letter * 32}:0-9" for letter in "abc"]
    three = [Candidate(index=n, text=name) for n, name in enumerate(names)]
    every = clips.tasks(three, clips.Options())
    assert [[one.index for one in pair] for pair in every] == [[0, 1], [0, 2], [1, 2]]
    near = clips.tasks(three, clips.Options(pairs="neighbours"))
    assert [[one.index for one in pair] for pair in near] == [[0, 1], [1, 2]]
    texts = [Candidate(index=0, text="Yes."), Candidate(index=1, text="clip:abc:0-9"), three[0]]
    assert clips.tasks(texts, clips.Options()) == []


def test_clips_are_for_the_interfaces_about_clips_and_texts_for_the_others():
    mixed = studies.study("pairwise", "clips", "hindsight", "demonstration", items=1)
    robots.pairs(mixed)
    kinds = sorted(mixed.tasks.values_list("kind", flat=True))
    assert kinds == ["clips", "demonstration", "pairwise"]


def test_a_form_says_which_side_and_the_answer_says_which_candidate(turn):
    left, right = turn.candidates
    answer = clips.read(QueryDict("choice=b2&reason=+Tidier.+&marks=B+2-5,+a+0-3"), turn)
    begins = {one.pk: Clip.read(one.text).start for one in turn.candidates}
    assert answer.to_json() == {
        "choice": "chosen", "chosen": right.pk, "rejected": left.pk, "strength": 2, "reason": "Tidier.",
        "marks": [
            {"candidate": left.pk, "start": begins[left.pk], "stop": begins[left.pk] + 3},
            {"candidate": right.pk, "start": begins[right.pk] + 2, "stop": begins[right.pk] + 5},
        ],
    }  # fmt: skip
    assert clips.read({"choice": "tie", "strength": 3}, turn).strength == 1
    assert clips.read({"choice": "both_bad"}, turn).choice == "both_bad"


@pytest.mark.parametrize("choice", [*pairwise.POSITIONS, "a", "b", "both_bad"])
def test_a_verdict_is_read_as_two_answers_are_compared(turn, choice):
    verdict = clips.read({"choice": choice}, turn).verdict
    assert asdict(verdict) == asdict(pairwise.read({"choice": choice}, turn))


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "choice"),
        ({"choice": "left"}, "choice"),
        ({"choice": "a", "strength": "4"}, "strength"),
        ({"choice": "a", "reason": "x" * 6000}, "reason"),
        ({"choice": "a", "marks": "C 1-2"}, "marks"),
        ({"choice": "a", "marks": "A 5"}, "marks"),
        ({"choice": "a", "marks": "A 5-5"}, "marks[0].stop"),
        ({"choice": "a", "marks": "A 7-3"}, "marks[0].stop"),
        ({"choice": "a", "marks": "A 0-31"}, "marks[0].stop"),
        ({"choice": "a", "marks": "A 0-999999999"}, "marks[0].stop"),
        ({"choice": "a", "marks": "A ٣-٩"}, "marks"),
        ({"choice": "a", "marks": ", ".join(["A 0-2"] * 21)}, "marks"),
        ({"choice": "a", "marks": 7}, "marks"),
        ({"choice": "a", "marks": [{"candidate": 0, "start": 0, "stop": 4}]}, "marks[0].candidate"),
        ({"choice": "a", "marks": [{"candidate": 0, "start": 0, "stop": True}]}, "marks[0]"),
        ({"choice": "a", "marks": [{"start": 0, "stop": 4}]}, "marks[0]"),
        ({"choice": "a", "marks": ["A 0-2"]}, "marks[0]"),
        ({"choice": "a", "marks": "<script>alert(1)</script>"}, "marks"),
    ],
)
def test_a_wrong_comparison_names_the_field(turn, post, field):
    found = refused(post, turn)
    assert found.field == field
    assert len(str(found)) < 300


def test_a_study_may_ask_for_no_marks():
    study = studies.study({"kind": "clips", "options": {"marks": False}}, items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    assert clips.read({"choice": "a", "marks": "A 0-3"}, turn).marks == []


def test_the_record_names_the_clips_and_their_marks_and_no_side(study, turn):
    label = studies.answer(turn, {"choice": "b3", "marks": "B 4-9", "reason": "It drops nothing."})
    (record,) = clips.records(label)
    left, right = (one.text for one in turn.candidates)
    assert (record.chosen, record.rejected, record.outcome, record.strength) == (right, left, "chosen", 3.0)
    clip = Clip.read(right)
    assert record.marks == (str(Clip(clip.episode, clip.start + 4, clip.start + 9)),)
    assert record.prompt == "Pack everything into the tray"
    assert record.source["reason"] == "It drops nothing."
    assert record.source["chosen"]["policy"] == "rules-1"
    assert parse(dumps(record), 1) == record


def test_a_tie_names_the_clip_with_the_lower_index_first_whatever_stood_left(study):
    for person in studies.annotators(study):
        turn = studies.claim(study, person)
        label = studies.answer(turn, {"choice": "tie"})
        (record,) = clips.records(label)
        first, second = turn.item.candidates.order_by("index").values_list("text", flat=True)
        assert (record.chosen, record.rejected, record.outcome) == (first, second, "tie")


def test_what_an_undo_brings_back_is_what_stood_on_the_screen(study):
    (ada, _) = studies.annotators(study)
    studies.label_next(study, ada, {"choice": "a3", "marks": "A 1-4, B 2-9", "reason": "!"})
    shown = clips.show(services.undo_last(study=study, annotator=ada))
    assert shown["answer"] == {"choice": "a", "strength": 3, "reason": "!", "marks": "A 1-4, B 2-9"}


def test_a_change_of_mind_supersedes_what_was_said(study):
    (ada, _) = studies.annotators(study)
    turn = studies.claim(study, ada)
    first = studies.answer(turn, {"choice": "a1", "marks": "A 1-4"})
    looked_back = services.past(study=study, annotator=ada)
    assert clips.show(looked_back)["marks"] == "A 1-4"
    second = services.revise_label(
        task=turn.task, annotator=ada, answer={"choice": "b1"}, key="5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11"
    )
    assert second.supersedes_id == first.pk
    (record,) = clips.records(second)
    assert record.chosen == turn.candidates[1].text and record.marks == ()


def test_the_verdict_is_said_in_words_and_compared_whatever_stood_left(turn):
    order = [one.pk for one in turn.candidates]
    answer = clips.read({"choice": "b3", "marks": "A 0-2"}, turn).to_json()
    assert clips.words(answer, order) == "B, much better, 1 mark"
    assert clips.words(answer, order[::-1]) == "A, much better, 1 mark"
    assert clips.judgement(answer, order) == -3 and clips.judgement(answer, order[::-1]) == 3
    (point,) = answers.points("clips", answer, order, turn.item.pk)
    assert (point.direction, point.grade) == ((-1, -3.0) if sorted(order) == order else (1, 3.0))


# --- what is shown


def test_the_page_has_where_the_numbers_come_from_and_no_model_and_no_score(turn):
    html = render_to_string("annotation/task.html", task_context(turn, None))
    for candidate in turn.candidates:
        clip = Clip.read(candidate.text)
        assert f'data-about="/recordings/{clip.episode}/"' in html
        assert f"/recordings/{clip.episode}/steps/?from={clip.start}&amp;to={clip.stop}" in html
    assert "rules-1" not in html and "score" not in html
    assert "move a bit" in html  # what the robot was told, for a page without script
    assert html.count("<img") == 6


def test_a_clip_of_another_study_or_of_files_that_are_gone_is_not_shown_and_says_why():
    study, other = studies.study("clips", items=0, members=1), studies.study("clips", items=0)
    theirs, ours = robots.recording(other, seed=1), robots.recording(study, seed=2)
    services.add_items(
        study=study,
        items=[
            {
                "context": {"prompt": "Pack"},
                "candidates": [f"clip:{theirs.episode}:0-9", f"clip:{ours.episode}:0-9"],
            }
        ],
    )
    (ada,) = studies.annotators(study)
    Episodes(settings.EPISODES).open(ours.episode).place.joinpath("episode.json").unlink()
    client = Client()
    client.force_login(ada)
    page = client.get(f"/studies/{study.pk}/label/").content.decode()
    assert "not one of this study" in page and "files are missing" in page
    assert theirs.episode not in page.replace(f"clip:{theirs.episode}", "")
    assert client.get(f"/recordings/{theirs.episode}/").status_code == 404


def test_a_clip_beyond_the_end_of_its_episode_is_not_shown_and_takes_no_page_down():
    study = studies.study("clips", items=0, members=1)
    row = robots.recording(study, steps=20)
    pair = [f"clip:{row.episode}:0-9", f"clip:{row.episode}:15-99999999"]
    services.add_items(study=study, items=[{"context": {"prompt": "Pack"}, "candidates": pair}])
    turn = studies.claim(study, studies.annotators(study)[0])
    assert sorted(bool(one["missing"]) for one in clips.show(turn)["candidates"]) == [False, True]


def test_a_wrong_form_comes_back_with_what_was_written(study):
    (ada, _) = studies.annotators(study)
    turn = studies.claim(study, ada)
    client = Client()
    client.force_login(ada)
    sent = {"choice": "a", "marks": "A what", "key": "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11"}
    reply = client.post(f"/tasks/{turn.task.pk}/submit/", sent)
    assert reply.status_code == 422
    page = reply.content.decode()
    assert 'value="A what"' in page and "expected the clip and its steps" in page
