"""The point arm: the same at a seed, done by its rule, talked through a task that nobody shows."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.envs.motions import embodiment
from trainers.envs.reach import STOPPED, TASKS, Reach
from trainers.envs.registry import WORLDS, world

ARM = embodiment("reach")


def played(task: str, seed: int, told: bool = False) -> Reach:
    """An episode by the rule; told, by the motions that it names."""
    place = Reach()
    place.reset(seed, task)
    for _ in range(place.most_steps):
        if place.step(place.demonstrate(place.advice() if told else "")).done:
            break
    return place


@pytest.mark.parametrize("task", [one for one in TASKS if one != "play"])
@pytest.mark.parametrize("told", [False, True], ids=["by the rule", "by the motions it names"])
def test_every_task_is_done_by_who_sees_everything(task, told):
    done = [played(task, seed, told) for seed in range(40)]
    whole = [place for place in done if place.score == 1.0 and all(place.stages.values())]
    assert len(whole) >= (38 if told else 40), "half as fast when told, it may run out of time"


def test_it_is_registered_and_has_the_tasks_that_it_says():
    assert isinstance(world("reach"), Reach) and WORLDS["reach"].tasks == TASKS


def test_an_episode_comes_again_at_its_seed_and_a_moment_goes_on_as_it_did():
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 3))

    def lived(seed: int, keep: int = 0) -> tuple[list[list[float]], bytes]:
        place, kept, seen = Reach(), b"", []
        place.reset(seed, "play", {"gain": 0.8})
        for number, action in enumerate(actions):
            kept = place.snapshot() if number == keep else kept
            seen.append([*place.step(action).observation.tolist(), *place.state().tolist()])
        return seen, kept

    seen, moment = lived(3, 15)
    assert seen == lived(3)[0] and seen != lived(4)[0]
    other = Reach()
    for _ in range(2):
        other.restore(moment)
        again = [other.step(action).observation.tolist() for action in actions[15:]]
        assert again == [one[:9] for one in seen[15:]]


def test_passing_by_is_no_stopping():
    place = Reach()
    place.reset(1, "beside")
    place.hand = place.goal - np.array([0.05, 0.0])
    for _ in range(2):
        assert not place.step(np.array([1.0, 0.0, 0.0])).done
    assert not place.done
    place.reset(1, "beside")
    place.hand = place.goal.copy()
    dones = [place.step(np.zeros(3)).done for _ in range(STOPPED)]
    assert dones == [False] * (STOPPED - 1) + [True]
    place.reset(1, "beside")
    place.hand = place.goal.copy()
    assert not any(place.step(np.array([0.0, 0.0, 1.0])).done for _ in range(2 * STOPPED)), (
        "its fingers are closed"
    )
    place.reset(1, "beside")
    for _ in range(2):  # most of the stop, and again: it was away in between
        place.hand = place.goal.copy()
        assert not any(place.step(np.zeros(3)).done for _ in range(STOPPED - 1))
        place.hand = place.goal - 0.5
        assert not place.step(np.zeros(3)).done


def test_fingers_heed_no_small_numbers():
    place = Reach()
    place.reset(0)
    assert [place.step(np.array([0, 0, grip])).observation[2] for grip in (0.4, 0.6, -0.4, 0.0, -0.6)] == [
        0,
        1,
        1,
        1,
        0,
    ]


def test_what_it_shows_and_advises_is_what_the_phrases_say():
    place = Reach()
    for seed in range(20):
        place.reset(seed, "red")
        for _ in range(8):
            advice = place.advice()
            move, _ = ARM.parts(advice)
            before = place.hand.copy()
            place.step(place.demonstrate())
            if move:
                axis, sign = move[0]
                assert (place.hand - before)[axis] * sign > 0, (seed, advice)


def test_play_goes_on_and_nobody_judges_it():
    place = played("play", 2)
    assert np.isnan(place.score) and not place.stages and not place.done and place.steps == place.most_steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "stack"}, "No task 'stack' here. Known tasks: red"),
        ({"dials": {"speed": 1}}, "No dial called 'speed'"),
        ({"dials": {"gain": 0}}, "The dial gain is 0"),
        ({"dials": {"gain": True}}, "The dial gain is True"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Reach().reset(0, **given)


@pytest.mark.parametrize("action", [[0, 0], [0, 0, float("nan")], [[0, 0, 0]]])
def test_an_action_is_three_finite_numbers(action):
    with pytest.raises(ValueError, match="Expected three numbers"):
        Reach().step(np.array(action))


def test_it_is_drawn_as_the_table_is():
    place = Reach()
    place.reset(0, "beside")
    scene = place.scene()
    assert {"things", "spots", "hazards", "shift", "task", "words"} <= set(scene) and len(scene["spots"]) == 1
    assert len(place.state()) == 5 + 2 * 3 + 1
    picture = place.picture(96)
    assert (
        picture.shape == (96, 96, 3)
        and picture.dtype == np.uint8
        and len(np.unique(picture.reshape(-1, 3), axis=0)) > 4
    )
