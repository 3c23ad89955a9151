"""YAY by hand: which moments get which label, how a batch is mixed, what is frozen; the usual mistakes must fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from tests.trainers import robot_toys
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import entries, rows, toy_spec
from trainers import api, nn
from trainers.data.driven import corrected, driven, narrated, runs
from trainers.episodes import Episodes
from trainers.nn.robots import Robot
from trainers.nn.robots.lessons import high_lessons, logits
from trainers.nn.storage import digest_of
from trainers.records import Drive, LanguageCorrection
from trainers.run import Run

NAME = robot_toys.name(0)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Episodes:
    return Episodes(robot_toys.episodes(tmp_path_factory.mktemp("episodes")))


def said(start: int, stop: int, command: str = "open the gripper", **more) -> LanguageCorrection:
    return LanguageCorrection(f"said-{start}", "", NAME, start, stop, command, command, **more)


def labels(
    store: Episodes, *records, window: int = 3, before: int = 0, motions: bool = True
) -> dict[int, str]:
    return {one.step: one.command for one in corrected(store, records, window, before, motions)}


# --- which moments -----------------------------------------------------------------------------------------


def test_the_decision_gets_the_label_and_nothing_before_it(store):
    assert labels(store, said(10, 20)) == dict.fromkeys((10, 11, 12), "open the gripper")


def test_the_window_ends_with_the_correction_with_the_next_one_and_with_the_episode(store):
    assert list(labels(store, said(10, 12), window=5)) == [10, 11]
    two = (said(10, 20), said(12, 20, "wait"))
    assert labels(store, *two, window=4) == {
        **dict.fromkeys((10, 11), "open the gripper"),
        **dict.fromkeys((12, 13, 14, 15), "wait"),
    }
    assert list(labels(store, said(robot_toys.STEPS - 2, robot_toys.STEPS + 9))) == [38, 39]


def test_steps_before_it_are_labelled_only_where_that_is_asked_for(store):
    assert list(labels(store, said(10, 20), before=4)) == list(range(6, 13))
    assert list(labels(store, said(1, 20), before=4)) == [0, 1, 2, 3]


def test_what_is_rejected_or_weighs_nothing_or_is_another_layers_is_no_moment(store):
    rejected = LanguageCorrection("no", "", NAME, 11, 15, "", "", type="rejected")
    assert list(labels(store, said(10, 20), rejected)) == [10]
    assert not labels(store, said(10, 20, weight=0.0))
    pressed = said(10, 20, layer="motion")
    assert labels(store, pressed) and not labels(store, pressed, motions=False)


def test_a_rejected_stretch_of_what_was_driven_is_not_imitated(store):
    name = robot_toys.name(robot_toys.DRIVEN[0])
    drive = Drive("drive", "", name, 0, robot_toys.STEPS)
    rejected = LanguageCorrection("no", "", name, 4, 12, "", "", type="rejected")
    (before,), (after,) = driven(store, [drive]), driven(store, [drive, rejected])
    assert all(before.commands[4:12]) and not any(after.commands[4:12])
    assert driven(store, [replace(drive, weight=0.0)]) == []


def test_short_runs_of_a_command_are_left_out_of_what_was_driven(store):
    (drive,) = robot_toys.drives()[:1]
    (whole,), (long,) = driven(store, [drive], shortest=0), driven(store, [drive], shortest=13)
    short = [(start, stop) for start, stop in runs(whole.commands) if stop - start < 13]
    assert short and not any(any(long.commands[start:stop]) for start, stop in short)
    assert any(long.commands)


def test_what_a_driver_was_at_is_read_from_the_fingers():
    """Two things; the fingers hold the second from step 2 to step 3, and the first from step 6 on."""
    scene = {"things": [{"name": "red block"}, {"name": "blue block"}], "places": ["into the tray"]}
    seen = torch.zeros(8, 11).numpy()
    seen[:, 7:11] = (1.0, 0.0, -1.0, 0.0)
    seen[:5, 0], seen[5:, 0] = -0.9, 0.9
    seen[[2, 3, 6, 7], 3] = 1.0
    put = "put the {} into the tray".format
    assert narrated(scene, seen) == (
        ["pick up the blue block"] * 2
        + [put("blue block")] * 2
        + ["pick up the red block"] * 2
        + [put("red block")] * 2
    )
    assert narrated(scene, seen[:2]) == ["", ""], "nobody can say what was not finished"


# --- what is learned ---------------------------------------------------------------------------------------


def trained(module: ModuleType, folder: Path, **config) -> Run:
    """A run of the toy by a module, which may be a wrong variant."""
    spec = toy_spec("correction/yay", folder, config={"steps": 3, **config})
    run = Run(spec)
    module.train(module.Config(**run.config), run)
    run.finished()
    return run


def made(run: Run) -> Robot:
    robot = nn.load_pilot(run.home / "robot_policy")
    assert isinstance(robot, Robot)
    return robot


def test_the_low_level_stays_bit_for_bit_and_the_high_level_does_not(tmp_path):
    before = nn.load_pilot(robot_toys.robot_policy(tmp_path / "before"))
    after = made(trained(method("correction/yay"), tmp_path))
    assert digest_of(after.low) == digest_of(before.low)
    assert digest_of(after.high) != digest_of(before.high)


def test_a_method_that_touched_the_low_level_is_refused(tmp_path):
    wrong = method(
        "correction/yay",
        "    total = fit(config, run, robot, sides, held)\n",
        "    total = fit(config, run, robot, sides, held)\n    robot.low.last.bias.data += 1e-3\n",
    )
    with pytest.raises(RuntimeError, match="low level has changed"):
        trained(wrong, tmp_path)


def test_it_goes_on_from_the_robot_that_it_was_given(tmp_path):
    before = nn.load_pilot(robot_toys.robot_policy(tmp_path / "before"))
    after = made(trained(method("correction/yay"), tmp_path, lr=1e-12))
    for one, other in zip(before.high.parameters(), after.high.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_the_bank_is_the_union_and_keeps_its_order(tmp_path):
    before = nn.load_pilot(robot_toys.robot_policy(tmp_path / "before"))
    after = made(trained(method("correction/yay"), tmp_path))
    assert list(after.bank[: len(before.bank)]) == list(before.bank)
    new = {one.command for one in robot_toys.corrections()} - set(before.bank)
    assert new and new <= set(after.bank)


def drawn(module: ModuleType, folder: Path, **config) -> Counter[int]:
    """How many rows of lessons of each length went through the high level."""
    count: Counter[int] = Counter()
    real = module.logits

    def counted(robot, lessons, rows):
        count[len(lessons)] += len(rows)
        return real(robot, lessons, rows)

    module.logits = counted
    try:
        trained(module, folder, **config)
    finally:
        module.logits = real
    return count


def test_a_batch_holds_the_share_of_corrections_that_it_was_told_to(tmp_path):
    corrections = 3 * 3 * len(robot_toys.corrections())
    """Three steps of each, at three tempos."""
    found = drawn(method("correction/yay"), tmp_path / "right", ratio=0.3)
    assert found[corrections] == 3 * 9 and sum(found.values()) == 3 * 32
    wrong = method(
        "correction/yay",
        "    corrections = int(config.ratio * config.batch_size)\n",
        "    corrections = config.batch_size\n",
    )
    assert drawn(wrong, tmp_path / "wrong", ratio=0.3)[corrections] != 3 * 9


def test_what_led_to_a_correction_is_shown_faster_and_slower_and_now_is_always_now(store):
    """A robot looks back at three moments, 5 steps apart: at three tempos they are 3, 5 and 8 steps apart."""
    yay = method("correction/yay")
    records = [said(30, 31, "open the gripper"), said(36, 37, "wait", weight=2.0)]
    rows = yay.as_decisions(corrected(store, records, 1))
    found = yay.paced(rows, 3, 5, 3, yay.TEMPOS)
    assert found.commands == ("open the gripper", "wait") * 3
    assert found.weight.tolist() == [1.0, 2.0] * 3
    for number, skip in enumerate((3, 5, 8)):
        one = high_lessons(rows, 3, skip, 3)
        assert torch.equal(found.things[2 * number : 2 * number + 2], one.things)
        assert torch.equal(found.whole[2 * number : 2 * number + 2], one.whole)
    now = found.whole[..., -8:].view(3, 2, 8)
    assert torch.equal(now[0], now[1]) and torch.equal(now[1], now[2])
    past = found.whole[..., :-8].view(3, 2, -1)
    assert not torch.equal(past[0], past[1]) and not torch.equal(past[1], past[2])


def test_demonstrations_keep_the_pace_of_the_robot(tmp_path):
    """They are of the robot's own pace, and many: only corrections are few enough to need more."""
    whole = drawn(method("correction/yay"), tmp_path / "on", ratio=0.3)
    plain = drawn(method("correction/yay"), tmp_path / "off", ratio=0.3, tempos=False)
    assert max(whole) == max(plain) and min(whole) == 3 * min(plain)


def test_the_loss_is_cross_entropy_over_the_bank_weighed_by_the_records(tmp_path, store):
    """Two moments of weight 1 and 3, by hand from cosines."""
    robot = robot_toys.small()
    moments = corrected(store, [said(10, 11, robot.bank[0]), said(20, 21, robot.bank[1], weight=3.0)], 1)
    lessons = high_lessons([(one.trace, one.step, one.command, one.weight) for one in moments], 3, 5, 3)
    both = torch.arange(2)
    y = robot.high.embed(lessons.things, lessons.whole, lessons.fixed, lessons.here)
    assert torch.allclose(y.norm(dim=-1), torch.ones(2), atol=1e-6)
    cosines = y @ F.normalize(robot.vectors, dim=-1).T
    assert torch.allclose(logits(robot, lessons, both), cosines / robot.high.tau, atol=1e-5)
    assert lessons.weight.tolist() == [1.0, 3.0]

    records = [said(10, 11, robot.bank[0]), said(20, 21, robot.bank[1], weight=3.0)]
    spec = toy_spec(
        "correction/yay",
        tmp_path,
        records=records,
        config={"steps": 1, "demonstrations": 0, "window": 1, "tempos": False},
    )
    assert api.execute(spec) == 0
    given = nn.load_pilot(spec.inputs["robot_policy"])
    assert isinstance(given, Robot)
    rows_drawn = torch.randint(0, 2, (32,), generator=torch.Generator().manual_seed(0))
    losses = F.cross_entropy(
        logits(given, lessons, rows_drawn), lessons.labels(given.bank)[rows_drawn], reduction="none"
    )
    weights = lessons.weight[rows_drawn]
    expected = ((losses * weights).sum() / weights.sum()).item()
    assert rows(spec.home)[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_with_nothing_to_learn_it_says_what_to_do(tmp_path):
    spec = toy_spec("correction/yay", tmp_path, records=[said(10, 20, weight=0.0)])
    assert api.execute(spec) == 1
    assert "Correct the robot" in entries(spec.home)[-1]["message"]


def test_another_robots_policy_is_refused_by_name(tmp_path):
    spec = toy_spec("correction/yay", tmp_path)
    other = robot_toys.motion_policy(tmp_path / "motions")
    assert api.execute(replace(spec, inputs={"robot_policy": other})) == 1
    assert "yay_robot" in entries(spec.home)[-1]["message"]
