"""What every registered world promises, whoever made it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from trainers.envs.registry import WORLDS, world

STEPS = 24
SLOW_TO_MAKE = {"car_racing": 12}
"""Worlds whose steps take long -> how many are enough."""


def each_world(talks=False):
    for name, entry in WORLDS.items():
        if talks and not entry.talks:  # nobody knows how its tasks are done
            continue
        missing = pytest.mark.skipif(
            not entry.here, reason=f"{entry.title} needs the package {entry.missing}, which is not installed"
        )
        yield pytest.param(name, marks=missing, id=name)


@pytest.fixture(params=list(each_world()))
def name(request):
    return request.param


def actions_for(one, seed=0, name=""):
    count = SLOW_TO_MAKE.get(one.name, STEPS)
    return np.random.default_rng(seed).uniform(-1, 1, (count, len(one.actions)))


def told(step):
    return step.observation.tolist(), step.reward, step.done


def shown(one):
    return one.observe().tolist(), one.state().tolist(), str(one.score), one.stages


def played(one, actions):
    return [told(one.step(action)) for action in actions], shown(one)


def test_an_episode_comes_again_at_its_seed_whatever_was_played_before(name):
    one, other = world(name), world(name)
    first = one.reset(5).tolist(), played(one, actions_for(one))
    other.reset(9)
    played(other, actions_for(other, 1))
    assert (other.reset(5).tolist(), played(other, actions_for(other))) == first
    assert any(one.reset(seed).tolist() != first[0] for seed in (6, 7, 8)), "the seed changes nothing"


def test_a_moment_goes_on_exactly_as_it_did_in_a_world_that_has_seen_nothing_and_in_one_that_has_moved_on(
    name,
):
    one = world(name)
    actions = actions_for(one, 2)
    half = len(actions) // 2
    for task in WORLDS[name].tasks[-2:]:
        one.reset(3, task)
        played(one, actions[:half])
        moment, there = one.snapshot(), shown(one)
        first = played(one, actions[half:])
        for again in (world(name), one):
            assert again.restore(moment).tolist() == there[0]
            assert shown(again) == there and again.scene()["task"] == task
            assert again.snapshot() == moment
            assert played(again, actions[half:]) == first


@pytest.mark.parametrize("name", list(each_world(talks=True)))
def test_a_moment_keeps_what_was_done_so_far(name):
    one, other = world(name), world(name)
    for task in WORLDS[name].tasks:
        one.reset(2, task)
        for _ in range(150):
            if one.score > 0:
                break
            one.step(one.demonstrate())
        there = shown(one)
        other.restore(one.snapshot())
        assert shown(other) == there, task
        assert other.demonstrate().tolist() == one.demonstrate().tolist()
        assert played(other, actions_for(other)[:5]) == played(one, actions_for(one)[:5]), task


@pytest.mark.parametrize("name", list(each_world()))
def test_a_moment_of_something_else_is_refused(name):
    one = world(name)
    one.reset(0)
    for moment in (b"", b"no moment", b"[1, 2]", b'{"world": "somewhere else"}'):
        with pytest.raises(ValueError, match="moment"):
            one.restore(moment)


@pytest.mark.parametrize("wrong", ["too many", "too few", "not a number", "without end", "in rows"])
def test_an_action_that_is_none_is_refused_and_changes_nothing(name, wrong):
    one = world(name)
    one.reset(1)
    before = one.snapshot()
    good = np.zeros(len(one.actions))
    bad = {
        "too many": np.append(good, 0.0),
        "too few": good[:-1],
        "not a number": np.append(good[:-1], np.nan),
        "without end": np.append(good[:-1], np.inf),
        "in rows": good[None],
    }[wrong]
    with pytest.raises(ValueError, match="Found the action"):
        one.step(bad)
    assert one.snapshot() == before


def test_what_lies_beyond_one_is_taken_as_one(name):
    one, other = world(name), world(name)
    wanted = np.random.default_rng(4).choice([-1.0, 1.0], (6, len(one.actions)))
    one.reset(2)
    other.reset(2)
    assert played(one, wanted * 7.5) == played(other, wanted)


def test_every_task_says_in_words_what_it_is_and_what_is_shown_keeps_its_shape(name):
    entry, one = WORLDS[name], world(name)
    assert one.name == name and one.seconds > 0 and one.most_steps > 0
    assert len(set(one.actions)) == len(one.actions) > 0
    for task in entry.tasks:
        seen = one.reset(1, task)
        scene = json.loads(json.dumps(one.scene()))
        assert scene["task"] == task and scene["words"]
        state = one.state()
        assert seen.dtype == state.dtype == np.float32 and seen.ndim == state.ndim == 1
        for action in actions_for(one)[:5]:
            step = one.step(action)
            assert step.observation.shape == seen.shape and one.state().shape == state.shape
            assert step.observation.dtype == np.float32 and np.isfinite(step.observation).all()
            assert isinstance(step.reward, float) and isinstance(step.done, bool)
            assert math.isnan(one.score) or 0.0 <= one.score <= 1.0
            assert all(isinstance(done, bool) for done in one.stages.values())
        assert json.loads(json.dumps(one.scene())) == scene, "the scene changed within an episode"
        if entry.drawn:
            assert len(state), "what is drawn in the browser has a state"


def test_what_was_seen_before_is_not_changed_by_the_next_step(name):
    one = world(name)
    kept = one.reset(1), one.state()
    before = [what.tolist() for what in kept]
    for action in actions_for(one)[:5]:
        one.step(action)
    assert [what.tolist() for what in kept] == before
    one.observe()[:] = 99.0
    one.state()[:] = 99.0
    assert not (one.observe() == 99.0).any() and not (one.state() == 99.0).any()


def test_an_unknown_task_or_dial_is_named_with_those_that_are_known(name):
    one = world(name)
    with pytest.raises(ValueError, match=WORLDS[name].tasks[0]):
        one.reset(0, "make coffee")
    with pytest.raises(ValueError, match="dial"):
        one.reset(0, dials={"gravity of the moon": 1})


@pytest.mark.parametrize("size", [64, 150])
def test_a_picture_shows_the_moment_at_the_size_that_was_asked_for(name, size):
    if WORLDS[name].needs.endswith("mujoco"):
        pytest.importorskip("trainers.envs.physics")
        if not gl_is_here():
            pytest.skip("no graphics library (libegl1 or libosmesa6) is installed")
    one = world(name)
    one.reset(3)
    before, moment = one.picture(size), one.snapshot()
    assert before.shape == (size, size, 3) and before.dtype == np.uint8
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 3, "there is nothing on it"
    for _ in range(19):  # turning about is not to end where it began
        one.step(np.ones(len(one.actions)))
    assert (one.picture(size) != before).any(), "it shows nothing that moves"
    one.restore(moment)
    assert (one.picture(size) == before).all()


def gl_is_here() -> bool:
    from trainers.envs.physics import choose_gl

    return choose_gl() != "disable"
