"""Behaviour cloning of a robot by hand: what a step teaches, where a chunk ends, what the words choose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainers.robot_toys import small
from tests.trainers.yay_tabletop import Plain
from trainers.data.driven import Trace, demonstrated, drilled
from trainers.envs.registry import world
from trainers.nn.commands import MOTIONS
from trainers.nn.robots import Robot, RobotConfig
from trainers.nn.robots.lessons import FINGERS, TURN, high_lessons, low_lessons, low_loss
from trainers.nn.robots.seeing import Scenery, back, look

SCENE = {
    "things": [{"name": "red block"}, {"name": "blue block"}, {"name": "green block"}],
    "places": ["into the tray"],
    "tray": [0.1, 0.7, 0.35, 0.2],
    "spots": [],
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def trace(commands: list[str]) -> Trace:
    chance = np.random.default_rng(0)
    seen = chance.uniform(-0.5, 0.5, (len(commands), 13)).astype(np.float32)
    seen[:, 2:5] = 0.0
    actions = chance.uniform(-1, 1, (len(commands), 3)).astype(np.float32)
    return Trace(SCENE, seen, actions, commands)


def test_a_chunk_ends_where_its_command_does():
    """Three steps of one command, one that nobody can name, two of another; chunks of two actions."""
    red, blue = "pick up the red block", "pick up the blue block"
    one = trace([red, red, red, "", blue, blue])
    lessons = low_lessons([one], 2, 3)
    assert len(lessons) == 5
    assert lessons.counts.tolist() == [[1, 1], [1, 1], [1, 0], [1, 1], [1, 0]]
    assert np.array_equal(lessons.actions[1].numpy(), one.actions[1:3])
    assert np.array_equal(lessons.actions[3].numpy(), one.actions[4:6])


def test_steps_at_which_the_fingers_turn_count_ten_times():
    one = trace(["pick up the red block"] * 3)
    one.actions[:, -1] = [-1.0, 1.0, 1.0]
    one.observations[:, 2] = [0.0, 0.0, 1.0]
    lessons = low_lessons([one], 1, 3)
    assert lessons.turns.flatten().tolist() == [0, 1, 0]
    robot = small()
    rows = torch.arange(3)
    predicted = robot.low(
        lessons.command, lessons.body, lessons.fixed, lessons.here, lessons.offsets, lessons.goals
    )[:, 0]
    motion = (predicted[:, :2] - lessons.actions[:, 0, :2]).abs().mean(dim=1)
    closing = F.binary_cross_entropy_with_logits(
        predicted[:, 2], torch.tensor([0.0, 1.0, 1.0]), reduction="none"
    )
    by_hand = (motion + FINGERS * torch.tensor([1.0, TURN, 1.0]) * closing).sum() / 3
    robot.low.chunk = 1
    robot.low.last = torch.nn.Linear(16, 3)
    with torch.no_grad():
        robot.low.last.weight.copy_(small().low.last.weight[:3])
        robot.low.last.bias.copy_(small().low.last.bias[:3])
    assert low_loss(robot, lessons, rows, lessons.counts.sum()).item() == pytest.approx(
        by_hand.item(), rel=1e-5
    )


def test_each_decision_is_learned_at_its_own_moment_in_whatever_order_they_come():
    one, other = trace(["wait"] * 3), trace(["wait"] * 3)
    other.observations += 0.25
    lessons = high_lessons(
        [(one, 0, "first", 1.0), (other, 1, "second", 2.0), (one, 2, "third", 3.0)], 0, 1, 3
    )
    rows = zip(lessons.commands, lessons.weight.tolist(), lessons.whole[:, 0].tolist(), strict=True)
    assert sorted(rows) == [
        ("first", 1.0, one.observations[0, 0]), ("second", 2.0, other.observations[1, 0]),
        ("third", 3.0, one.observations[2, 0]),
    ]  # fmt: skip


def acted(low: torch.nn.Module, order: list[int]) -> torch.Tensor:
    """What a low level does by one command, with the things of the row in some order."""
    lessons = low_lessons([trace(["pick up the blue block"] * 4)], 2, 3)
    return low(
        lessons.command, lessons.body, lessons.fixed[:, order], lessons.here[:, order], lessons.offsets[:, order],
        lessons.goals[:, order],
    )  # fmt: skip


def test_where_a_thing_stands_in_the_row_does_not_matter_and_to_a_plain_network_it_does():
    robot = small()
    with torch.no_grad():
        robot.low.answers.weight[:, -1] = (
            0.0  # its place in the row is the one thing that a name's key may read
        )
        assert torch.allclose(acted(robot.low, [0, 1, 2]), acted(robot.low, [2, 0, 1]), atol=1e-6)
        plain = Plain(3, 2, 16)
        assert (acted(plain, [0, 1, 2]) - acted(plain, [2, 0, 1])).abs().max() > 1e-3


def test_numbers_are_normalised_and_none_is_divided_by_less_than_a_hundredth():
    robot = Robot(RobotConfig(width=16))
    lessons = low_lessons([trace(["wait"] * 50)], 4, 3)
    robot.low.normalise(lessons.body, lessons.here, lessons.offsets)
    assert torch.allclose(robot.low.mean[:4], lessons.body.mean(0), atol=1e-6)
    assert robot.low.std[2:4].tolist() == pytest.approx([0.01, 0.01]), "the fingers never moved"
    assert torch.allclose(robot.low.std[4:], lessons.offsets[lessons.here].std(0), atol=1e-6)


def test_what_is_seen_by_hand():
    """Gripper at (0.2, 0.1), something near to the left; the camera places the red block 0.1 further right."""
    seen = np.array([[0.2, 0.1, 1, 0, 1, -0.1, 0.0, 0.2, 0.1, 0.1, 0.7, -0.5, -0.5]], dtype=np.float32)
    found = look(Scenery.of([SCENE]), seen)
    red, blue, _ = found.things[0]
    assert red[:2] == pytest.approx([0.0, 0.0], abs=1e-6) and red[5:] == pytest.approx([-0.4, 0.0], abs=1e-6)
    assert blue[:5] == pytest.approx([-0.1, 0.6, 0.0, 0.0, 1.0], abs=1e-6), "it is in the middle of the tray"
    assert red[4] == 0 and found.goals[0, 0] == pytest.approx([-0.1, 0.6], abs=1e-6)
    assert found.whole[0] == pytest.approx([0.2, 0.1, 1, 0, 1, -0.4, 0, 0.4], abs=1e-6)
    assert back(12, 3, 5) == [0, 2, 7, 12]


def test_scripted_demonstrations_are_named_so_and_every_step_of_them_has_a_command():
    shown, none = demonstrated("table_talk", "pack", range(2))
    assert none == [] and all(one.scripted and all(one.commands) for one in shown)
    assert all(np.isin(one.actions[:, -1], (-1.0, 1.0)).all() for one in shown)
    again, overruns = demonstrated("table_talk", "pack", range(2), overruns=True)
    assert all(np.array_equal(a.actions, b.actions) for a, b in zip(shown, again, strict=True))
    held = overruns[0].observations[:, 3] > 0.5
    for command, holding in zip(overruns[0].commands, held, strict=True):
        assert command.startswith("pick up" if holding else "put"), (
            "the stage before is over, its command is not"
        )


def test_drills_hold_every_fine_motion_and_keep_the_fingers_as_they_are():
    (one,) = drilled("table_talk", "pack", [0], list(MOTIONS.values()))
    assert set(one.commands) == set(MOTIONS.values())
    moves = np.array([command.startswith("move") for command in one.commands])
    closed = one.observations[moves, 2] > 0.5
    assert np.array_equal(one.actions[moves, 2] > 0, closed) and 0 < closed.mean() < 1


def test_a_scene_without_named_things_is_refused():
    for scene in ({"task": "balance"}, world("reach").scene()):
        with pytest.raises(ValueError, match="named things"):
            Scenery.of([scene])
