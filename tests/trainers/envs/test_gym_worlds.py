"""Gymnasium's environments as worlds: actions that mean what they say, and errors that say what happened where."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from trainers.envs import registry
from trainers.envs.registry import WORLDS, world
from trainers.envs.worlds import WorldError


def made(name):
    if not WORLDS[name].here:
        pytest.skip(f"{WORLDS[name].title} needs the package {WORLDS[name].missing}, which is not installed")
    return world(name)


def after(one, seed, action, steps=1, task=""):
    one.reset(seed, task)
    for _ in range(steps):
        step = one.step(np.array(action))
    return step


def test_a_push_to_the_right_goes_right_and_one_to_the_left_goes_left():
    cart = made("cartpole")
    assert after(cart, 0, [0.4], 4).observation[0] > after(cart, 0, [-0.4], 4).observation[0]
    assert after(cart, 0, [0.0]).observation.tolist() == after(cart, 0, [1.0]).observation.tolist()


def test_a_torque_is_as_strong_as_the_pendulum_takes():
    pendulum = made("pendulum")
    for action in (-1.0, -0.3, 0.0, 0.3, 1.0):
        after(pendulum, 3, [action])
        assert pendulum.state()[2] == pytest.approx(2.0 * action)


def test_the_car_takes_gas_above_zero_the_brake_below_and_nothing_at_zero():
    car = made("car_racing")
    speeds = {go: float(after(car, 1, [0.0, go], 12).observation[-1]) for go in (-1.0, 0.0, 1.0)}
    assert speeds[1.0] > 2 * speeds[0.0] and speeds[-1.0] <= speeds[0.0] + 1e-3
    slowed = {}
    for go in (0.0, -1.0):
        after(car, 1, [0.0, 1.0], 12)
        for _ in range(4):
            slowed[go] = float(car.step(np.array([0.0, go])).observation[-1])
    assert slowed[-1.0] < 0.8 * slowed[0.0], "it does not brake"


def test_a_poles_score_is_the_share_of_the_steps_for_which_it_stood():
    cart = made("cartpole")
    cart.reset(0)
    for number in range(1, cart.most_steps):
        done = cart.step(np.ones(1)).done
        assert cart.score == (number - done) / cart.most_steps
        if done:
            break
    assert done and cart.score > 0


def test_a_fingertip_is_at_the_target_within_two_centimetres_and_not_beyond():
    arm = made("reacher")
    arm.reset(1)
    env = arm._env
    tip = env.get_body_com("fingertip")[:2]
    for off, score in ((0.019, 1.0), (0.021, 0.0)):
        qpos = env.data.qpos.copy()
        qpos[2:] = tip + [off, 0.0]
        env.set_state(qpos, env.data.qvel.copy())
        assert arm.score == score and arm.stages == {"at the target": bool(score)}


def test_a_lander_that_crashed_has_not_landed():
    lander = made("lunar_lander")
    lander.reset(0)
    for _ in range(lander.most_steps):
        step = lander.step(np.zeros(2))
        if step.done:
            break
    assert step.done and step.reward == -100.0
    assert lander.score == 0.0 and not lander.stages["at rest"]


def test_the_largest_number_is_the_move_and_zeros_are_none():
    grid = made("minigrid")
    grid.reset(1, "empty")
    seen = grid.observe()
    ways = []
    for move in (
        [0.2, 0.9, 0.1, 0, 0, 0],
        [0.9, 0.2, 0.1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [-1, -0.5, -1, -1, -1, -1],
    ):
        ways.append(grid.step(np.array(move, dtype=float)).observation[147:151].argmax())
    assert ways[0] == (seen[147:151].argmax() + 1) % 4  # it turned right
    assert ways[1] == ways[2] == ways[3] == seen[147:151].argmax()  # it turned back, and stayed


def test_the_mission_is_what_the_words_of_the_scene_say_and_the_score_is_for_doing_it():
    grid = made("minigrid")
    grid.reset(4, "empty")
    assert grid.scene()["words"] == "Get to the green goal square" and grid.score == 0.0
    env = grid._env
    for _ in range(40):  # to the far corner, by what the environment knows
        right, down = env.width - 2 - env.agent_pos[0], env.height - 2 - env.agent_pos[1]
        wanted = 0 if right else 1 if down else None
        move = 2 if env.agent_dir == wanted else 1
        step = grid.step(np.eye(6)[move])
        if step.done:
            break
    assert step.done and step.reward > 0 and grid.score == 1.0
    again = grid.step(np.eye(6)[2])
    assert again.done and again.reward == 0.0 and again.observation.tolist() == step.observation.tolist()
    talk = made("babyai")
    words = {talk.reset(seed, "go_to") is None or talk.scene()["words"] for seed in range(8)}
    assert len(words) > 2 and all(one.startswith("Go to ") for one in words)


def test_up_is_up_for_the_disc_that_pushes_the_t():
    table = made("push_t")
    table.reset(2)
    for axis, action in enumerate(np.eye(2)):
        before = table.reset(2)[axis]
        for _ in range(3):
            step = table.step(action)
        assert step.observation[axis] > before + 0.05
    still = table.reset(2)[:2]
    for _ in range(5):
        step = table.step(np.zeros(2))
    assert np.abs(step.observation[:2] - still).max() < 0.01


@pytest.mark.parametrize("name", ["pendulum", "half_cheetah", "lunar_lander"])
def test_an_environment_that_raises_says_what_happened_and_where(name, monkeypatch):
    one = made(name)
    one.reset(7)
    for _ in range(3):
        one.step(np.zeros(len(one.actions)))
    monkeypatch.setattr(type(one._env), "step", lambda self, action: 1 / 0)
    with pytest.raises(WorldError, match=r"ZeroDivisionError.*step 4 of task '\w+' at seed 7"):
        one.step(np.zeros(len(one.actions)))


def test_physics_that_blow_up_are_an_error_and_not_a_new_start():
    cheetah = made("half_cheetah")
    cheetah.reset(0)
    cheetah._env.data.qvel[:] = 1e12
    with pytest.raises(WorldError, match="BADQ"):
        for _ in range(3):
            cheetah.step(np.zeros(6))


def test_what_an_environment_prints_does_not_come_out_where_a_program_speaks(monkeypatch, capsys):
    one = made("pendulum")
    one.reset(7)
    reset = type(one._env).reset
    monkeypatch.setattr(type(one._env), "reset", lambda self, **asked: print("hello") or reset(self, **asked))
    one.reset(8)
    assert capsys.readouterr().out == ""


def test_a_step_before_the_first_reset_says_so():
    one = made("pendulum")
    with pytest.raises(WorldError, match="call reset"):
        one.step(np.zeros(1))


def test_mujocos_moment_keeps_what_the_last_step_left_behind():
    """Gymnasium reads places that were computed within the step: computing them anew would give others."""
    arm = made("reacher")
    arm.reset(1)
    for action in np.random.default_rng(0).uniform(-1, 1, (9, 2)):
        arm.step(action)
    kept = np.array(arm._env.data.xpos)
    moment = arm.snapshot()
    fresh = made("reacher")
    fresh.restore(moment)
    assert (fresh._env.data.xpos == kept).all() and fresh.score == arm.score
    import mujoco

    mujoco.mj_forward(fresh._env.model, fresh._env.data)
    assert (fresh._env.data.xpos != kept).any(), "nothing is left behind: the test shows nothing"


@pytest.mark.parametrize("name", ["pendulum", "reacher"])
def test_a_moment_keeps_where_the_environments_own_chance_is(name):
    one = made(name)
    one.reset(1)
    one._env.np_random.random(3)
    moment, next_one = one.snapshot(), one._env.np_random.random()
    one.restore(moment)
    assert one._env.np_random.random() == next_one


def test_a_machine_that_cannot_draw_says_what_to_install_and_steps_all_the_same():
    made("reacher")
    program = (
        "import numpy as np\n"
        "from trainers.envs.registry import world\n"
        "for name in ('table_talk_mujoco', 'reacher'):\n"
        "    one = world(name)\n"
        "    one.reset(0)\n"
        "    one.step(np.zeros(len(one.actions)))\n"
        "    try:\n"
        "        one.picture(64)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MUJOCO_GL": "disable"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    assert len(told) == 2
    for line in told:
        assert line.startswith("WorldError") and "libegl1" in line and "MUJOCO_GL=egl" in line


@pytest.mark.parametrize("size", [0, 8, 5000])
@pytest.mark.parametrize(
    "name", [name for name in WORLDS if name != "car_racing"]
)  # which is drawn as the lander is
def test_a_picture_of_no_sensible_size_is_refused(name, size):
    one = made(name)
    one.reset(0)
    with pytest.raises(ValueError, match=f"{size} pixels"):
        one.picture(size)


def test_a_world_whose_package_is_missing_names_it_and_the_extra(monkeypatch):
    entry = dataclasses.replace(WORLDS["table_talk"], needs="numpy a_package_that_nobody_has")
    monkeypatch.setitem(registry.WORLDS, "table_talk", entry)
    assert not entry.here
    with pytest.raises(ValueError, match=r"a_package_that_nobody_has.*kibitz\[worlds\]"):
        world("table_talk")


def test_the_extra_that_an_error_names_is_the_one_that_brings_the_package():
    brought = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    brought = brought["project"]["optional-dependencies"]
    bringing = {"gym_pusht": "gym-pusht", "Box2D": "box2d", "pygame": "minigrid"}  # minigrid brings pygame-ce
    for name, entry in WORLDS.items():
        for package in entry.needs.split():
            called = bringing.get(package, package)
            assert any(one.split("==")[0] == called for one in brought[entry.extra]), (name, package)
