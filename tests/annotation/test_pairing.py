"""Pairs of clips drawn from what a study has recorded: which, how many, and that asking again doubles nothing."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotation import services
from annotation.errors import Invalid
from annotation.models import Item, Recording, Role, Task
from annotation.pairing import chosen, draw, pair_clips, works
from annotation.recordings import record, store
from tests.annotation import studies
from tests.trainers.lived import live
from trainers.episodes import Clip

LONG = [("a" * 32, 40), ("b" * 32, 40), ("c" * 32, 40)]


# --- drawing


def test_a_pair_is_of_two_episodes_and_each_clip_is_as_long_as_was_asked_and_lies_within_its_episode():
    pairs = draw([LONG], 200, 30, seed=1)
    assert len(pairs) == 200
    for one, two in pairs:
        assert one.episode != two.episode and len(one) == len(two) == 30
        assert one.start >= 0 and one.stop <= 40
    starts = {clip.start for pair in pairs for clip in pair}
    assert starts == set(range(11)), "each of the eleven places is drawn"


def test_whole_episodes_are_paired_once_each_and_no_pair_is_drawn_twice():
    pairs = draw([[("a" * 32, 7), ("b" * 32, 5), ("c" * 32, 9)]], 50, None, seed=3)
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(two) for two in [
            (Clip("a" * 32, 0, 7), Clip("b" * 32, 0, 5)),
            (Clip("a" * 32, 0, 7), Clip("c" * 32, 0, 9)),
            (Clip("b" * 32, 0, 5), Clip("c" * 32, 0, 9)),
        ]
    }  # fmt: skip
    assert len(pairs) == 3


def test_all_the_pairs_there_are_can_be_drawn_and_no_more():
    """2 · 3 + 2 · 1 + 3 · 1 = 11 by hand: two, three and one places for a clip of 9 steps."""
    pairs = draw([[("a" * 32, 10), ("b" * 32, 11), ("c" * 32, 9)]], 500, 9, seed=0)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 11


def test_the_same_seed_draws_the_same_more_begin_with_fewer_and_another_seed_draws_others():
    few, many = draw([LONG], 10, 30, seed=5), draw([LONG], 60, 30, seed=5)
    assert many[:10] == few == draw([LONG], 10, 30, seed=5)
    assert draw([LONG], 10, 30, seed=6) != few


def test_any_two_episodes_are_as_likely_however_long_they_are():
    group = [("a" * 32, 1000), ("b" * 32, 60), ("c" * 32, 60)]
    drawn = Counter(frozenset((one.episode, two.episode)) for one, two in draw([group], 300, 30, seed=2))
    assert len(drawn) == 3 and min(drawn.values()) > 60


def test_what_was_asked_differently_is_never_paired():
    groups = [[("a" * 32, 40), ("b" * 32, 40)], [("c" * 32, 40), ("d" * 32, 40)]]
    met = {frozenset((one.episode[0], two.episode[0])) for one, two in draw(groups, 100, 30, seed=1)}
    assert met == {frozenset("ab"), frozenset("cd")}


# --- a study's recordings


@pytest.fixture
def study(db):
    return studies.study("clips", items=0, members=1)


def recorded(study, **given) -> Recording:
    return record(study, live(settings.EPISODES, **given).name, by=study.created_by)


def pair(study, **given):
    asked = {"world": "toy", "task": "reach", "count": 5, "length": 8, "seed": 1, **given}
    return pair_clips(study=study, **asked)


def test_pairs_become_tasks_and_the_same_wish_again_adds_nothing(study):
    for _ in range(3):
        recorded(study)
    first, again, more = pair(study), pair(study), pair(study, count=8)
    assert (first.drawn, first.added) == (5, 5) and (again.drawn, again.added) == (5, 0)
    assert (more.drawn, more.added) == (8, 3) and "5 of those drawn were there already" in str(more)
    assert Task.objects.filter(study=study, kind="clips").count() == Item.objects.count() == 8
    item = Item.objects.first()
    assert item.source == {"paired": {"seed": 1, "steps": 8}} and item.context == {"prompt": "Reach the mug"}
    turn = studies.claim(study, studies.annotators(study)[0])
    assert len({Clip.read(one.text).episode for one in turn.candidates}) == 2


def test_pairs_are_drawn_from_the_chosen_recordings_alone(study):
    rows = [recorded(study) for _ in range(4)]
    pair(study, count=50, recordings=rows[1:3])
    named = {Clip.read(one.text).episode for item in Item.objects.all() for one in item.candidates.all()}
    assert named == {one.episode for one in rows[1:3]}


def test_what_grows_is_too_short_was_asked_otherwise_or_has_no_files_is_left_out(study):
    fine = [recorded(study), recorded(study)]
    recorded(study, steps=7)
    recorded(study, ends=False)
    recorded(study, scene={"words": "Pour the tea"})
    recorded(study, task="push")
    gone = recorded(study)
    shutil.rmtree(store().place(gone.episode))
    pair(study, count=100)
    named = {Clip.read(one.text).episode for item in Item.objects.all() for one in item.candidates.all()}
    assert named == {one.episode for one in fine}


def test_why_no_pair_can_be_drawn_is_said_with_what_to_do(study):
    one = recorded(study)
    with pytest.raises(
        Invalid, match="Found one ended recording of toy, reach; expected two with 8 steps"
    ) as problem:
        pair(study)
    assert problem.value.field == "length"
    recorded(study)
    with pytest.raises(
        Invalid, match=r"expected two with 13 steps or more .* shorter clips, or let the robot"
    ):
        pair(study, length=13)
    with pytest.raises(
        Invalid, match=r"one chosen recording .* expected two in .* asked\. Choose more of them"
    ):
        pair(study, length=None, recordings=[one])
    other, growing = recorded(study, task="push"), recorded(study, ends=False)
    for wrong in (other, growing):
        with pytest.raises(Invalid, match="1 of the 2 chosen recordings") as problem:
            pair(study, recordings=[one, wrong])
        assert problem.value.field == "recordings"
    with pytest.raises(Invalid, match="asks pairwise, and nobody to compare clips"):
        pair(studies.study("pairwise", items=0))
    assert not Item.objects.exists()


def test_a_study_s_works_are_counted_the_newest_first_and_one_is_chosen_by_name(study):
    recorded(study, task="push")
    recorded(study)
    recorded(study, ends=False)
    found = works(study)
    assert [(one["title"], one["count"], one["ended"]) for one in found] == [
        ("toy, reach", 2, 1), ("toy, push", 1, 1),
    ]  # fmt: skip
    assert chosen(found, {"world": "toy", "task": "push"}) == found[1]
    assert chosen(found, {"world": "moon"}) == found[0] and chosen([], {}) is None


# --- the page


def browser(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_researcher_ticks_recordings_and_adds_pairs_and_the_page_says_how_many(study):
    rows = [recorded(study) for _ in range(3)]
    ada, address = browser(study.created_by), f"/studies/{study.pk}/recordings/"
    page = ada.get(address).content.decode()
    assert "toy, reach: 3 recordings" in page and page.count('name="recordings"') == 3
    sent = {
        "world": "toy", "task": "reach", "count": "4", "length": "6", "seed": "2",
        "recordings": [rows[0].pk, rows[2].pk],
    }  # fmt: skip
    response = ada.post(address, sent, follow=True)
    assert response.redirect_chain == [(f"{address}?world=toy&task=reach", 302)]
    assert "4 pairs of clips added." in response.content.decode()
    assert "4 pairs are asked about so far" in response.content.decode()
    named = {Clip.read(one.text).episode for item in Item.objects.all() for one in item.candidates.all()}
    assert named == {rows[0].episode, rows[2].episode}
    assert "4 of those drawn were there already" in ada.post(address, sent, follow=True).content.decode()


def test_a_wrong_wish_comes_back_with_its_field_and_with_what_was_ticked(study):
    rows = [recorded(study) for _ in range(2)]
    theirs = recorded(studies.study("clips", items=0))
    ada, address = browser(study.created_by), f"/studies/{study.pk}/recordings/"
    fine = {"world": "toy", "task": "reach", "count": "4", "length": "6", "seed": "2"}
    for changed, why in [
        ({"count": "0"}, "greater than or equal to 1"),
        ({"count": "501"}, "less than or equal to 500"),
        ({"seed": ""}, "This field is required"),
        ({"length": "13"}, "expected two with 13 steps or more"),
        ({"recordings": [theirs.pk]}, "is not one of the available choices"),
        ({"recordings": ["x"]}, "not a valid value"),
    ]:
        response = ada.post(address, {**fine, "recordings": [rows[0].pk, rows[1].pk], **changed})
        assert response.status_code == 422 and why in response.content.decode(), changed
    response = ada.post(address, {**fine, "count": "0", "recordings": [rows[1].pk]})
    page = response.content.decode()
    assert f'value="{rows[1].pk}" aria-label="Draw from episode {rows[1].episode[:8]}" checked' in page
    assert page.count(" checked>") == 1 and not Item.objects.exists()


def test_a_program_lists_recordings_and_draws_pairs_of_those_it_names(study):
    rows = [recorded(study) for _ in range(3)]
    ada, address = browser(study.created_by), f"/api/studies/{study.pk}"
    listed = ada.get(f"{address}/recordings?limit=2").json()
    assert [one["episode"] for one in listed] == [rows[2].episode, rows[1].episode]
    last = ada.get(f"{address}/recordings?before={listed[-1]['id']}").json()
    assert [(one["episode"], one["steps"], one["ended"]) for one in last] == [(rows[0].episode, 12, True)]
    asked = {
        "world": "toy",
        "task": "reach",
        "count": 4,
        "length": 6,
        "recordings": [rows[0].episode, rows[2].episode],
    }
    for added in (4, 0):
        response = ada.post(f"{address}/pairs", asked, content_type="application/json")
        assert (response.status_code, response.json()) == (201, {"wanted": 4, "drawn": 4, "added": added})
    named = {Clip.read(one.text).episode for item in Item.objects.all() for one in item.candidates.all()}
    assert named == set(asked["recordings"])
    for changed, field in [
        ({"recordings": ["0" * 32]}, "recordings"), ({"recordings": ["../x"]}, "recordings"),
        ({"world": "moon"}, "world"), ({"length": 13}, "length"),
    ]:  # fmt: skip
        response = ada.post(f"{address}/pairs", {**asked, **changed}, content_type="application/json")
        assert response.status_code == 422 and response.json()["error"]["field"] == field, changed


def test_who_only_reviews_sees_the_recordings_and_neither_the_policies_nor_the_form(study):
    recorded(study, policy={"name": "first of May"})
    eve = studies.person()
    services.join_study(study=study, user=eve, role=Role.REVIEWER)
    address = f"/studies/{study.pk}/recordings/"
    page = browser(eve).get(address).content.decode()
    assert "1 recording" in page and "a policy" in page
    assert "first of May" not in page and "Add pairs" not in page
    assert "first of May" in browser(study.created_by).get(address).content.decode()
    assert browser(eve).post(address, {"world": "toy", "task": "reach", "count": "1"}).status_code == 404
    assert browser(studies.annotators(study)[0]).get(address).status_code == 404


def test_a_study_without_recordings_says_where_they_come_from(study):
    page = browser(study.created_by).get(f"/studies/{study.pk}/recordings/").content.decode()
    assert "Nothing is recorded yet" in page and f"/studies/{study.pk}/robots/" in page


def test_the_number_of_statements_does_not_grow_with_the_recordings_or_the_pairs(study):
    ada, address = browser(study.created_by), f"/studies/{study.pk}/recordings/"
    counts = []
    for round in range(2):
        for _ in range(3 + 4 * round):
            recorded(study)
        ada.get(address)
        with CaptureQueriesContext(connection) as page:
            ada.get(address)
        with CaptureQueriesContext(connection) as work:
            pair(study, count=3 + 30 * round, seed=round)
        counts.append((len(page), len(work)))
    assert counts[0] == counts[1]
