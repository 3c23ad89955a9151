"""The table with physics: the same tasks, things and rules as the numpy one, and things that weigh something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainers.envs.registry import WORLDS, world
from trainers.envs.table_talk.world import LONGEST
from trainers.envs.worlds import WorldError

pytestmark = pytest.mark.skipif(
    not WORLDS["table_talk_mujoco"].here,
    reason="TableTalk with physics needs the package mujoco, which is not installed",
)
TASKS = WORLDS["table_talk"].tasks


def twins(seed, task="pack", dials=None):
    found = world("table_talk"), world("table_talk_mujoco")
    for one in found:
        one.reset(seed, task, dials)
    return found


def heights(one):
    table = one.table
    return [float(table.data.qpos[table._joint(number)][2]) for number in range(len(table.things))]


def set_down(one, number, place, height=0.05):
    """Puts a thing somewhere, upright and at rest."""
    table = one.table
    table.data.qpos[table._joint(number)] = [*place, height, 1.0, 0.0, 0.0, 0.0]
    table.scene.positions[number] = place


def carry_out(one, told=False):
    for step in range(500):
        if one.step(one.demonstrate(one.advice() if told else "")).done:
            return step
    return None


def test_both_have_the_same_tasks_dials_and_actions():
    plain, heavy = twins(0)
    assert WORLDS["table_talk_mujoco"].tasks == TASKS
    assert (plain.actions, plain.seconds, plain.most_steps) == (
        heavy.actions,
        heavy.seconds,
        heavy.most_steps,
    )


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_begins_the_same_on_both_and_is_seen_and_asked_for_alike(task):
    for seed in range(3):
        plain, heavy = twins(
            seed, task, {"things": 5, "camera_shift": 0.1, "distractors": 1, "hazards": 1, "wander": 0.01}
        )
        np.testing.assert_array_equal(plain.observe(), heavy.observe())
        np.testing.assert_array_equal(plain.state(), heavy.state())
        assert plain.scene() == heavy.scene() and plain.advice() == heavy.advice()


def test_the_hand_goes_where_the_numpy_one_goes():
    plain, heavy = twins(3, dials={"gain": 0.8})
    for action in np.random.default_rng(0).uniform(-1, 1, (80, 3)) * [1, 1, 0]:
        there, here = plain.step(action).observation[:2], heavy.step(action).observation[:2]
        assert np.abs(there - here).max() < 0.02
    for _ in range(60):  # into the corner, and no farther
        seen = heavy.step(np.array([1.0, 1.0, 0.0])).observation
    assert seen[:2] == pytest.approx([1.0, 1.0], abs=5e-3)


@pytest.mark.parametrize("told", [False, True], ids=["by motions", "by commands"])
@pytest.mark.parametrize("task", TASKS)
def test_who_sees_the_table_as_it_is_does_every_task_here_too(task, told):
    one = world("table_talk_mujoco")
    for seed in range(2):
        one.reset(seed, task)
        assert one.score == 0.0 and carry_out(one, told) is not None and one.score == 1.0, seed


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_over_twenty_seeds_the_rules_succeed_on_both_and_in_about_as_many_steps(task):
    took = {name: [] for name in ("table_talk", "table_talk_mujoco")}
    for seed in range(20):
        for name, one in zip(took, twins(seed, task, {"things": 4}), strict=True):
            took[name].append(carry_out(one))
    assert None not in took["table_talk"] and None not in took["table_talk_mujoco"]
    plain, heavy = (np.median(steps) for steps in took.values())
    assert heavy <= 2 * plain + 5


def test_a_policy_that_learned_on_the_numpy_table_does_what_it_is_told_on_this_one():
    from trainers import demo
    from trainers.nn import load_pilot

    pilot = load_pilot(Path(demo.__file__).parent / "robot")
    one = world("table_talk_mujoco")
    seen = one.reset(1000, "pack")
    pilot.begin(one.scene(), 1000)
    for _ in range(400):
        pilot.see(seen)
        step = one.step(pilot.act(one.advice()))
        seen = step.observation
        if step.done:
            break
    assert one.score == 1.0


def test_what_is_pushed_pushes_what_it_runs_into():
    plain, heavy = twins(0, "push")
    rows = []
    for one in (plain, heavy):
        table = one.table
        for number, place in enumerate([(0.0, -0.2), (0.0, 0.0), (0.6, -0.5)]):
            table.scene.positions[number] = place
            if one is heavy:
                set_down(one, number, place)
        table.scene.gripper = np.array([0.0, -0.6])
        if one is heavy:
            table.data.qpos[:2] = [0.0, -0.6]
        one.step(np.array([0.0, 0.0, 1.0]))
        for _ in range(10):
            one.step(np.array([0.0, 1.0, 1.0]))
        rows.append(one.state()[5:11].reshape(3, 2)[:, 1].copy())
    assert rows[0][1] == pytest.approx(0.05, abs=0.06), "the numpy table's things do not touch each other"
    assert rows[1][0] > 0.0, "the thing was not pushed"
    assert rows[1][1] - rows[1][0] >= 0.095, "one lies within the other"
    assert rows[1][2] == pytest.approx(-0.5, abs=1e-3)


def test_a_stack_stands_and_falls_when_it_is_run_into():
    one = world("table_talk_mujoco")
    one.reset(2, "stack", {"things": 4, "pushes": True})
    assert carry_out(one) is not None
    tower = sorted(heights(one))
    assert tower == pytest.approx([0.05, 0.15, 0.25, 0.35], abs=0.02)
    spot = np.array(one.scene()["spots"][0])
    for action in ([0, -1, -1],) * 8:  # away from it
        one.step(np.array(action, dtype=float))
    one.step(np.array([0.0, 0.0, 1.0]))
    for _ in range(14):
        way = spot - one.state()[:2]
        one.step(np.array([*np.clip(way / LONGEST, -1, 1), 1.0]))
    for _ in range(5):
        one.step(np.zeros(3))
    assert max(heights(one)) < 0.3 and one.score < 1.0


def test_what_lies_beside_a_stack_is_not_on_it():
    one = world("table_talk_mujoco")
    one.reset(2, "stack")
    x, y = one.scene()["spots"][0]
    set_down(one, 0, (x - 0.052, y))
    set_down(one, 1, (x + 0.052, y))
    one.step(np.zeros(3))
    assert list(one.stages.values()) == [True, False, False]
    set_down(one, 1, (x - 0.04, y), height=0.151)
    one.step(np.zeros(3))
    assert list(one.stages.values()) == [True, True, False]


def test_a_moment_in_which_something_is_held_goes_on_with_it_held():
    one, other = world("table_talk_mujoco"), world("table_talk_mujoco")
    one.reset(1)
    while one.state()[3] < 0:
        one.step(one.demonstrate())
    moment, actions = one.snapshot(), np.random.default_rng(0).uniform(-1, 1, (12, 3)) * [1, 1, 0] + [0, 0, 1]
    ends = []
    for again in (one, other, one):
        if ends:
            again.restore(moment)
        for action in actions:
            again.step(action)
        ends.append((again.state().tolist(), heights(again)))
    assert ends[0] == ends[1] == ends[2] and ends[0][0][3] >= 0 and max(ends[0][1]) > 0.055
    held = one.table.scene.held
    assert one.table.scene.positions[held] == pytest.approx(one.table.scene.gripper, abs=0.01)


def test_what_is_held_is_lifted_over_what_is_in_the_way_and_falls_when_it_is_let_go():
    one = world("table_talk_mujoco")
    one.reset(1)
    for number, place in enumerate([(-0.4, 0.0), (0.0, 0.0), (0.9, -0.9)]):
        set_down(one, number, place)
    one.table.data.qpos[:2] = one.table.scene.gripper = np.array([-0.4, 0.0])
    one.step(np.array([0.0, 0.0, 1.0]))
    assert one.state()[3] == 0
    top = 0.0
    for _ in range(12):
        one.step(np.array([1.0, 0.0, 1.0]))
        top = max(top, heights(one)[0])
    assert top > 0.15, "it went through the other one"
    assert one.state()[7:9] == pytest.approx([0.0, 0.0], abs=5e-3), "and moved it"
    assert one.state()[5:7] == pytest.approx(one.state()[:2], abs=0.01)
    for wish in (-1.0, 0.0, 0.0):
        one.step(np.array([0.0, 0.0, wish]))
    assert one.state()[3] == -1 and heights(one)[0] == pytest.approx(0.05, abs=5e-3)


def test_of_what_lies_upon_each_other_closing_fingers_take_the_highest():
    one = world("table_talk_mujoco")
    one.reset(1)
    for number, (place, height) in enumerate([((0.0, 0.0), 0.05), ((0.02, 0.0), 0.15), ((0.9, -0.9), 0.05)]):
        set_down(one, number, place, height)
    one.table.data.qpos[:2] = one.table.scene.gripper = np.array([0.0, 0.0])
    one.step(np.array([0.0, 0.0, 1.0]))
    assert one.state()[3] == 1


def test_a_task_is_done_only_once_it_has_stayed_done():
    one = world("table_talk_mujoco")
    one.reset(0, "peg")
    scores = []
    for _ in range(200):
        step = one.step(one.demonstrate())
        scores.append(one.score)
        if step.done:
            break
    assert step.done and scores[-3:] == [1.0] * 3 and 1.0 not in scores[:-3]


def test_things_slip_wander_cost_and_are_seen_wrongly_when_the_dials_say_so():
    one = world("table_talk_mujoco")
    one.reset(4, dials={"slip": 1.0})
    assert all(one.step(one.demonstrate()).observation[3] == 0 or one.state()[3] >= 0 for _ in range(60))
    assert one.score < 1.0, "everything slips, and yet it was done"
    one.reset(4, dials={"distractors": 1, "wander": 0.02, "hazards": 3})
    before = one.state()
    things = one.scene()["things"]
    for _ in range(30):
        one.step(np.zeros(3))
    moved = np.abs(one.state() - before)[5 : 5 + 2 * len(things)].reshape(-1, 2).max(axis=1)
    assert moved[:-1].max() < 5e-3 < 0.02 < moved[-1], "only the distractor walks"
    x, y, _ = one.scene()["hazards"][0]
    one.table.data.qpos[:2] = one.table.scene.gripper = np.array([x, y])
    cost = one.state()[4]
    one.step(np.zeros(3))
    assert one.state()[4] == cost + 1


def test_physics_that_blow_up_say_where_also_after_coming_back():
    one = world("table_talk_mujoco")
    one.reset(41, "sort")
    moment = one.snapshot()
    one.reset(0)
    one.restore(moment)
    one.table.data.qvel[:] = 1e12
    with pytest.raises(WorldError, match=r"task 'sort' at seed 41: the physics broke down \(BADQ"):
        for _ in range(3):
            one.step(np.zeros(3))


def test_a_picture_changes_nothing():
    from trainers.envs.physics import choose_gl

    if choose_gl() == "disable":
        pytest.skip("no graphics library (libegl1 or libosmesa6) is installed")
    one = world("table_talk_mujoco")
    one.reset(0, "clean")
    one.step(one.demonstrate())
    before = one.snapshot()
    one.picture(64)
    assert one.snapshot() == before
