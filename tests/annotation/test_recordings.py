"""Episodes in a study: who sees them, what is asked about them, and what is kept of a lived session."""

from __future__ import annotations

import shutil
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from django.conf import settings
from django.test import Client

from annotation import recordings, services
from annotation.errors import Invalid
from annotation.models import Assignment, Item, Label, Recording, Task
from annotation.recordings import clip_items, episode_items, keep_session, record, store
from tests.annotation import robots, studies
from tests.trainers.lived import JPEG, live, play
from trainers.episodes import Clip, Segment

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return studies.study("pairwise", "clips", items=0, members=2)


def recorded(study, **given) -> Recording:
    return record(study, live(settings.EPISODES, **given).name, by=study.created_by)


def browser(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


# --- what a page is given


def test_a_page_gets_the_steps_as_float32_in_the_bytes_that_were_lived(study):
    episode = play(settings.EPISODES, steps=30)
    record(study, episode.name)
    client = browser(studies.annotators(study)[0])
    about = client.get(f"/recordings/{episode.name}/").json()
    response = client.get(f"/recordings/{episode.name}/steps/")
    rows = np.frombuffer(response.content, "<f4").reshape(-1, about["columns"])
    lived = episode.steps
    assert len(rows) == about["steps"] == len(lived) == 30
    assert rows[:, :-3].tobytes() == np.ascontiguousarray(lived["state"]).tobytes()
    assert rows[:, -3].tolist() == lived["score"].tolist()
    assert rows[:, -2].tolist() == lived["command"].tolist()
    assert rows[:, -1].tolist() == lived["commander"].tolist()
    said = [about["commands"][int(one)] for one in rows[:, -2]]
    assert said == episode.said() and said[0]
    assert about["scene"]["things"] and about["drawn"] and about["ended"] and about["world"] == "table_talk"
    part = client.get(f"/recordings/{episode.name}/steps/?from=10&to=14").content
    assert part == rows[10:14].tobytes()
    assert client.get(f"/recordings/{episode.name}/steps/?from=99999&to=x").content == b""


def test_what_has_ended_is_kept_by_the_browser_and_what_is_lived_is_not(study):
    ended, lived = recorded(study), recorded(study, ends=False)
    client = browser(study.created_by)
    first = client.get(f"/recordings/{ended.episode}/steps/?from=2&to=5")
    assert "immutable" in first.headers["Cache-Control"] and "private" in first.headers["Cache-Control"]
    again = client.get(
        f"/recordings/{ended.episode}/steps/?from=2&to=5", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert again.status_code == 304 and again.content == b""
    other = client.get(
        f"/recordings/{ended.episode}/steps/?from=2&to=6", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert other.status_code == 200
    growing = client.get(f"/recordings/{lived.episode}/steps/")
    assert growing.headers["Cache-Control"] == "private, no-store" and "ETag" not in growing.headers


def test_what_is_said_about_an_episode_is_asked_for_anew_and_comes_only_when_it_changed(study):
    row = recorded(study)
    client, address = browser(study.created_by), f"/recordings/{row.episode}/"
    tag = client.get(address).headers["ETag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    store().open(row.episode).say(Segment("one", 2, 5, "correction", "move left", "ada"))
    changed = client.get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert [one["label"] for one in changed.json()["segments"]] == ["move left"]


def test_who_is_no_member_of_the_study_finds_no_recording(study):
    row = recorded(study, pictures=True)
    stranger = browser(studies.study(items=0).created_by)
    for place in ("", "steps/", "picture/0.jpg"):
        assert stranger.get(f"/recordings/{row.episode}/{place}").status_code == 404
        assert browser(study.created_by).get(f"/recordings/{row.episode}/{place}").status_code == 200
    unknown = browser(study.created_by).get(f"/recordings/{'0' * 32}/")
    assert unknown.status_code == 404


def test_the_policy_is_named_only_where_the_study_names_models(study):
    row = recorded(study, policy={"name": "first of May"})
    client = browser(studies.annotators(study)[0])
    assert b"first of May" not in client.get(f"/recordings/{row.episode}/").content
    services.change_study(study=study, names_hidden=False)
    assert client.get(f"/recordings/{row.episode}/").json()["policy"] == "first of May"


def test_a_picture_is_the_one_that_was_kept_or_else_there_is_none(study):
    row = recorded(study, pictures=True)
    client = browser(study.created_by)
    response = client.get(f"/recordings/{row.episode}/picture/3.jpg?size=64")
    assert response.content == JPEG + bytes([3]) and response.headers["Content-Type"] == "image/jpeg"
    assert client.get(f"/recordings/{row.episode}/picture/99.jpg").status_code == 404
    bare = recorded(study)
    assert client.get(f"/recordings/{bare.episode}/picture/3.jpg").status_code == 404


def test_a_picture_is_drawn_anew_only_of_what_the_world_would_live_again(study):
    pytest.importorskip("PIL")
    lived = robots.play(seed=3, steps=12)
    fine = record(study, lived.name)
    client = browser(study.created_by)
    for step in (0, 7, 12):
        got = client.get(f"/recordings/{fine.episode}/picture/{step}.jpg?size=48")
        assert got.status_code == 200 and got.content.startswith(b"\xff\xd8")
    assert client.get(f"/recordings/{fine.episode}/picture/13.jpg").status_code == 404
    what, steps = lived.about, lived.steps
    for changed, moved in [
        ({"seed": 4}, 0), ({"task": "juggle"}, 0), ({"dials": {"camera_shift": "far"}}, 0), ({"state": 0}, 0.5),
        ({"observation": 3}, 0), ({}, 0.5),
    ]:  # fmt: skip
        odd = replace(what, **changed)
        with store().begin(odd) as writer:
            for row in steps:
                seen = row["observation"][: odd.observation] + moved
                writer.step(seen, row["action"], row["state"][: odd.state] + moved)
            other = record(study, writer.end("enough").name)
        for step in (0, 12):
            address = f"/recordings/{other.episode}/picture/{step}.jpg?size=48"
            drawn = changed == {"observation": 3}  # its state is the world's all the same
            assert client.get(address).status_code == (200 if drawn else 404), (changed, step)


def test_a_recording_whose_files_are_gone_is_not_found_and_says_where_it_was_looked_for(study):
    row = recorded(study, pictures=True)
    shutil.rmtree(store().place(row.episode))
    client = browser(study.created_by)
    for place in ("", "steps/", "picture/0.jpg"):
        assert client.get(f"/recordings/{row.episode}/{place}").status_code == 404


# --- rows


def test_an_episode_that_another_study_records_at_the_same_time_stays_with_the_first(study, monkeypatch):
    lived, other = live(settings.EPISODES), studies.study(items=0)
    facts_of = recordings.facts_of

    def meanwhile(episode):
        monkeypatch.setattr(recordings, "facts_of", facts_of)
        record(other, lived.name)
        return facts_of(episode)

    monkeypatch.setattr(recordings, "facts_of", meanwhile)
    with pytest.raises(Invalid, match="another study's"):
        record(study, lived.name, by=study.created_by)
    row = Recording.objects.get()
    assert row.study == other and row.by is None


def test_an_episode_recorded_twice_is_one_row_that_follows_the_store(study):
    lived = live(settings.EPISODES, ends=False)
    first = record(study, lived.name, by=study.created_by, source={"session": 4})
    assert (first.steps, first.ended, first.task, first.policy) == (12, False, "reach", "first")
    live(settings.EPISODES, name=lived.name, steps=20)
    again = record(study, lived.name)
    assert again.pk == first.pk and Recording.objects.count() == 1
    assert (again.steps, again.ended, again.score, again.success) == (20, True, 0.5, True)
    assert again.by == study.created_by and again.source == {"session": 4}


def test_an_episode_of_another_study_or_of_no_store_is_refused(study):
    row = recorded(study)
    with pytest.raises(Invalid, match="another study's"):
        record(studies.study(items=0), row.episode)
    with pytest.raises(Invalid, match="no episode"):
        record(study, "0" * 32)
    with pytest.raises(Invalid, match="not an episode's name"):
        record(study, "../../etc/passwd")


# --- questions


def test_a_pair_of_clips_becomes_one_item_however_often_it_is_added(study):
    one, two = recorded(study), recorded(study, policy={"name": "second"})
    pair = (Clip(one.episode, 0, 5), Clip(two.episode, 3, 8))
    (item,) = clip_items(study, [pair], source={"asked_by": "disagreement"})
    assert item.context == {"prompt": "Reach the mug"} and item.source == {"asked_by": "disagreement"}
    candidates = list(item.candidates.all())
    assert [one.text for one in candidates] == [str(one) for one in pair]
    assert [one.policy for one in candidates] == ["first", "second"]
    assert candidates[0].source["world"] == "toy"
    assert clip_items(study, [pair, pair[::-1]]) == [] and Item.objects.count() == 1
    assert Task.objects.filter(study=study).count() == 1


def test_a_clip_that_cannot_be_shown_makes_no_item(study):
    one, other = recorded(study), recorded(study, scene={"words": "Pour the tea"})
    theirs, growing = recorded(studies.study(items=0)), recorded(study, ends=False)
    gone, fine = recorded(study), Clip(one.episode, 0, 4)
    shutil.rmtree(store().place(gone.episode))
    for clip, why in {
        Clip(one.episode, 0, 13): "has 12",
        Clip("0" * 32, 0, 4): "no recording",
        Clip(theirs.episode, 0, 4): "no recording",
        Clip(growing.episode, 0, 4): "has not ended",
        Clip(gone.episode, 0, 4): "are missing from this studio's store",
        Clip(other.episode, 0, 4): "different things to do",
        "clip:nonsense:1-2": "Expected clip:",
    }.items():
        with pytest.raises(Invalid, match=why) as problem:
            clip_items(study, [(fine, Clip(one.episode, 4, 8)), (fine, clip)])
        assert problem.value.field.startswith("pairs[1]")
    assert not Item.objects.exists()


def test_a_clip_says_whether_a_person_drove(study):
    driven, flown = recorded(study, policy={}), recorded(study)
    (item,) = clip_items(study, [(Clip(driven.episode, 0, 5), Clip(flown.episode, 0, 5))])
    assert [one.source.get("driven", False) for one in item.candidates.all()] == [True, False]


def test_an_episode_becomes_one_item_however_often_it_is_added():
    study = studies.study("edit", items=0)
    row = recorded(study)
    (item,) = episode_items(study, [row])
    assert [one.text for one in item.candidates.all()] == [f"clip:{row.episode}:0-12"]
    assert episode_items(study, [row]) == []


# --- what was said while it was lived


@pytest.fixture
def lived():
    study = studies.study("edit", items=0, members=2)
    return study, recorded(study)


SAID = {"text": "A kinder answer."}


def test_a_kept_session_is_one_item_and_one_label_however_often_it_is_sent(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    labels = {keep_session(study, row, ada, SAID, kind="edit", seconds=3.5).pk for _ in range(3)}
    assert len(labels) == Label.objects.count() == Item.objects.count() == Task.objects.count() == 1
    label = Label.objects.get()
    assert label.annotator == ada and label.answer["text"] == SAID["text"] and label.seconds == 3.5
    task = label.task
    assert (task.overlap, task.open, task.done) == (1, 0, 1)
    assert studies.claim(study, studies.annotators(study)[1]) is None


def test_another_answer_about_a_session_supersedes_the_first_and_none_is_lost(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    first = keep_session(study, row, ada, SAID, kind="edit")
    second = keep_session(study, row, ada, {"text": "Better still."}, kind="edit")
    assert second.supersedes == first and Label.objects.count() == 2
    assert Label.objects.current().get() == second
    assert keep_session(study, row, ada, {"text": "Better still."}, kind="edit") == second


def test_an_answer_that_somebody_comes_back_to_is_a_change_of_mind_too(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    kept = [
        keep_session(study, row, ada, {"text": one}, kind="edit") for one in ("No.", "Yes.", "No.", "No.")
    ]
    assert len({one.pk for one in kept}) == 3 and kept[2] == kept[3]
    assert Label.objects.current().get() == kept[2] and kept[2].answer["text"] == "No."


def test_a_retry_that_comes_after_a_change_in_the_labelling_room_brings_nothing_back(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    first = keep_session(study, row, ada, SAID, kind="edit")
    room = services.revise_label(task=first.task, annotator=ada, answer={"text": "By hand."}, key=uuid4())
    assert keep_session(study, row, ada, SAID, kind="edit") == first
    assert Label.objects.current().get() == room
    marked = keep_session(study, row, ada, {"text": "Marked."}, kind="edit")
    assert Label.objects.current().get() == marked and marked.supersedes == room


def test_two_people_who_steered_one_episode_keep_a_label_each(lived):
    study, row = lived
    for person in studies.annotators(study):
        keep_session(study, row, person, SAID, kind="edit")
    task = Task.objects.get()
    assert Label.objects.current().count() == 2 and (task.overlap, task.open, task.done) == (2, 0, 2)


def test_a_session_may_be_kept_by_who_holds_more_tasks_than_anyone_may_or_did_not_qualify():
    study = studies.study("edit", items=25, answers=1, members=1, pass_bar=0.5)
    ada = studies.annotators(study)[0]
    assert studies.claim(study, ada) is None
    assert keep_session(study, recorded(study), ada, SAID, kind="edit").annotator == ada


def test_a_withdrawn_session_may_be_kept_anew(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    services.withdraw_label(label=keep_session(study, row, ada, SAID, kind="edit"), by=ada)
    again = keep_session(study, row, ada, {"text": "After all."}, kind="edit")
    assert Label.objects.current().get() == again
    assert (again.task.overlap, Task.objects.get().open, Task.objects.get().done) == (1, 0, 1)


def test_a_retry_that_comes_after_its_label_was_withdrawn_brings_nothing_back(lived):
    study, row = lived
    ada = studies.annotators(study)[0]
    label = keep_session(study, row, ada, SAID, kind="edit")
    services.withdraw_label(label=label, by=ada)
    before = Task.objects.get().open, Task.objects.get().overlap
    assert keep_session(study, row, ada, SAID, kind="edit") == label
    assert not Label.objects.current().exists()
    assert (Task.objects.get().open, Task.objects.get().overlap) == before == (1, 1)
    assert not Assignment.objects.filter(state="leased").exists()


def test_a_study_that_does_not_ask_so_says_what_it_asks(lived):
    study, row = lived
    with pytest.raises(Invalid, match="this one asks edit"):
        keep_session(study, row, study.created_by, {}, kind="rating")
    assert not Item.objects.exists()


def test_a_wrong_answer_leaves_no_item_behind(lived):
    study, row = lived
    with pytest.raises(Invalid):
        keep_session(study, row, study.created_by, {"text": 7}, kind="edit")
    assert not Item.objects.exists() and not Task.objects.exists()
