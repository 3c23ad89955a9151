"""The table that is talked to: the same at a seed, seen wrongly when a dial says so, and mended by commands."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.envs.registry import WORLDS, world
from trainers.envs.table_talk import TASKS, Command, Dials, TableTalk, privileged_command, privileged_motion
from trainers.envs.table_talk.rules import GENTLE
from trainers.envs.table_talk.world import DIRECTIONS, LONGEST, SIGHT, TOLERANCE


def carry_out(table: TableTalk, steps: int = 500, told: bool = False) -> bool:
    """Whether the task is done, by the rule that sees the table as it is; `told`, it speaks and is obeyed."""
    for _ in range(steps):
        table.step(privileged_motion(table, privileged_command(table) if told else None))
        if table.done:
            return True
    return False


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("told", [False, True], ids=["by motions", "by commands"])
def test_who_sees_the_table_as_it_is_does_every_task(task, told):
    table = TableTalk()
    for seed in range(12):
        table.reset(seed, task)
        assert table.score == 0 and not table.done
        assert carry_out(table, told=told) and table.score == 1, seed


def test_the_tasks_that_are_listed_are_the_tables_own():
    assert WORLDS["table_talk"].tasks == WORLDS["table_talk_mujoco"].tasks == tuple(TASKS)


def test_an_episode_comes_again_at_its_seed_and_another_does_not():
    dials = Dials(camera_shift=0.1, slip=0.05, distractors=2, wander=0.02, hazards=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 3))

    def episode(seed: int) -> list[list[float]]:
        table = TableTalk()
        seen = [table.reset(seed, "sort", 4, dials)]
        seen += [table.step(action) for action in actions]
        return [one.vector().tolist() for one in seen] + [[table.scene.cost, table.score]]

    assert episode(3) == episode(3)
    assert episode(3) != episode(4)


def test_a_moment_that_was_kept_goes_on_exactly_as_it_did_and_is_kept_for_good():
    table = TableTalk()
    table.reset(5, "pack", 4, Dials(slip=0.2, distractors=1, wander=0.05))
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 3))
    for action in actions[:15]:
        table.step(action)
    moment = table.snapshot()
    first = [table.step(action).vector().tolist() for action in actions[15:]]
    other = TableTalk()
    for _ in range(2):  # what follows does not change what was kept
        other.restore(moment)
        assert [other.step(action).vector().tolist() for action in actions[15:]] == first
    assert other.find(other.things[2].name) >= 0 and other.task == "pack"


def by_the_camera(table: TableTalk) -> bool:
    """Whether somebody who goes where the camera above says, and closes there, takes hold of the first thing."""
    seen = table.observe()
    for _ in range(60):
        offset = seen.things[0] - seen.gripper
        there = np.abs(offset).max() < 1e-6
        seen = table.step(np.array([*np.clip(offset / LONGEST, -1, 1), 1.0 if there else -1.0]))
        if there:
            break
    return seen.holding


def test_a_camera_that_is_off_makes_every_grasp_miss_and_commands_mend_it():
    table = TableTalk()
    grasped = dict.fromkeys((0.0, 0.1), 0)
    for seed in range(20):
        for shift in grasped:
            table.reset(seed, dials=Dials(camera_shift=shift))
            off = table.observe().things - table.scene.positions
            assert np.allclose(np.abs(off).sum(axis=1), shift) and np.allclose(off, off[0])
            grasped[shift] += by_the_camera(table)
        assert table.scene.closed and str(privileged_command(table)) == "open the gripper"
        for _ in range(60):
            command = privileged_command(table)
            if table.scene.held >= 0:
                break
            assert command.verb in ("open", "move", "close"), command
            table.step(privileged_motion(table, command))
        assert table.scene.held == 0, "open, move a bit, close: and it is held"
    assert grasped == {0.0: 20, 0.1: 0}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_fine_move_goes_where_it_says_and_its_opposite_comes_back(direction):
    table = TableTalk()
    table.reset(0)
    table.scene.gripper = np.zeros(2)
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}[direction]
    table.step(privileged_motion(table, Command("move", direction=direction)))
    assert np.allclose(table.scene.gripper, np.multiply(DIRECTIONS[direction], LONGEST * GENTLE))
    table.step(privileged_motion(table, Command("move", direction=opposite)))
    assert np.allclose(table.scene.gripper, 0)


def test_fingers_that_slip_drop_what_they_hold_and_a_weak_motor_falls_short():
    table = TableTalk()
    table.reset(1, dials=Dials(slip=1.0))
    table.scene.gripper = table.scene.positions[0].copy()
    assert table.step(np.array([0, 0, 1])).holding
    assert not table.step(np.array([0, 0, 1])).holding
    table.reset(1, dials=Dials(gain=0.5))
    before = table.scene.gripper.copy()
    table.step(np.array([1, 0, 0]))
    assert np.allclose(table.scene.gripper - before, [LONGEST / 2, 0])


def test_only_what_is_near_enough_is_taken_hold_of_and_only_by_closing():
    table = TableTalk()
    for off, held in ((TOLERANCE * 0.99, True), (TOLERANCE * 1.01, False)):
        table.reset(2)
        table.scene.gripper = table.scene.positions[1] + [off, 0]
        assert table.step(np.array([0, 0, 1])).holding == held
        table.scene.gripper = table.scene.positions[1].copy()
        assert table.step(np.array([0, 0, 1])).holding == held, "closed already: nothing more is taken"


def test_a_hazard_costs_each_step_above_it_and_nothing_elsewhere():
    table = TableTalk()
    table.reset(3, dials=Dials(hazards=1))
    table.scene.gripper = table.scene.hazards[0, :2].copy()
    for _ in range(3):
        table.step(np.zeros(3))
    assert table.scene.cost == 3
    table.scene.gripper = table.scene.hazards[0, :2] + [0.5, 0]
    table.step(np.zeros(3))
    assert table.scene.cost == 3


def test_distractors_wander_look_like_the_others_and_are_never_asked_for():
    table = TableTalk()
    table.reset(4, dials=Dials(distractors=2, wander=0.05))
    assert {thing.colour for thing in table.things[3:]} <= {thing.colour for thing in table.things[:3]}
    before = table.scene.positions.copy()
    table.step(np.zeros(3))
    moved = (table.scene.positions != before).any(axis=1)
    assert moved.tolist() == [False] * 3 + [True] * 2
    assert {job.thing for job in table.scene.jobs} == {0, 1, 2}


def test_a_stack_in_the_wrong_order_does_not_count():
    table = TableTalk()
    table.reset(6, "stack")
    spot = table.scene.jobs[0].spot
    table.scene.positions[1] = table.scene.positions[2] = spot
    table.step(np.zeros(3))
    assert table.score == 0
    table.scene.positions[0] = spot
    table.step(np.zeros(3))
    assert table.done


def test_what_is_held_above_the_tray_is_not_in_it_yet():
    table = TableTalk()
    table.reset(6)
    table.scene.gripper = table.scene.positions[0] = table.scene.tray[:2].copy()
    table.step(np.array([0, 0, 1]))
    assert table.scene.held == 0 and table.score == 0
    table.step(np.array([0, 0, -1]))
    assert table.scene.jobs[0].done and table.score > 0


def test_a_peg_beside_its_hole_is_not_in_it():
    table = TableTalk()
    table.reset(7, "peg")
    table.scene.positions[0] = table.scene.jobs[0].spot + [0.021, 0]
    table.step(np.zeros(3))
    assert not table.done
    table.scene.positions[0] = table.scene.jobs[0].spot + [0.019, 0]
    table.step(np.zeros(3))
    assert table.done


def test_the_wrist_sees_what_is_near_by_whatever_the_camera_above_says():
    table = TableTalk()
    table.reset(8, dials=Dials(camera_shift=0.1))
    table.scene.gripper = table.scene.positions[0] + [0.1, -0.1]
    assert np.allclose(table.observe().near, [1, -0.1, 0.1])
    table.scene.gripper = np.array([0.0, 1.0])
    nearest = np.hypot(*(table.scene.positions - table.scene.gripper).T).min()
    assert nearest > SIGHT and table.observe().near.tolist() == [0, 0, 0]


def test_what_is_said_about_a_thing_that_is_not_there_moves_nothing():
    table = TableTalk()
    table.reset(9)
    colours = {thing.colour for thing in table.things}
    absent = next(colour for colour in ("red", "green", "blue", "yellow") if colour not in colours)
    for verb in ("pick", "put", "push"):
        assert privileged_motion(table, Command(verb, f"{absent} block")).tolist() == [0, 0, 0]


def test_commands_are_said_as_people_say_them():
    said = [
        Command("pick", "red block"),
        Command("put", "red block", place="into the tray"),
        Command("move", direction="left"),
        Command("move", direction="up"),
        Command("open"),
        Command("wait"),
    ]
    assert [str(one) for one in said] == [
        "pick up the red block",
        "put the red block into the tray",
        "move a bit to the left",
        "move a bit up",
        "open the gripper",
        "wait",
    ]


def test_a_task_or_an_action_that_cannot_be_is_refused_by_name():
    table = TableTalk()
    with pytest.raises(ValueError, match="Known tasks: pack, sort"):
        table.reset(0, "juggle")
    with pytest.raises(ValueError, match="3 to 6"):
        table.reset(0, things=9)
    for things in (3.5, "4", True):
        with pytest.raises(ValueError, match="things. The table holds 3 to 6"):
            table.reset(0, things=things)
    for action in ([0, 0], [0, 0, float("nan")]):
        with pytest.raises(ValueError, match="three numbers"):
            table.step(np.array(action, dtype=float))


@pytest.mark.parametrize(
    ("dials", "expected"),
    [
        ({"distractors": 10**9}, "a whole number from 0 to 6"),
        ({"distractors": 1.0}, "a whole number from 0 to 6"),
        ({"hazards": -1}, "a whole number from 0 to 12"),
        ({"wander": -0.1}, "a number from 0 to 1"),
        ({"slip": 1.5}, "a number from 0 to 1"),
        ({"slip": True}, "a number from 0 to 1"),
        ({"gain": float("nan")}, "a number from 0 to 2"),
        ({"camera_shift": "far"}, "a number from 0 to 1"),
        ({"pushes": 1}, "true or false"),
    ],
)
def test_a_dial_that_cannot_be_turned_so_far_is_refused_before_anything_is_laid_out(dials, expected):
    name = next(iter(dials))
    with pytest.raises(ValueError, match=f"The dial {name} is .*; expected {expected}"):
        world("table_talk").reset(0, dials=dials)


def test_the_fullest_table_is_laid_out_for_every_task():
    table = TableTalk()
    for task in TASKS:
        for seed in range(20):
            table.reset(seed, task, 6, Dials(distractors=6, hazards=12))
            assert len(table.things) == 12 and table.score == 0
