"""A robot's loop: what is said counts at the next step, and a process that is killed costs nothing but time."""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.envs.table_talk.play import TableTalkWorld
from trainers.episodes import NOBODY, PERSON, SCRIPT, Episodes
from trainers.sampling.live import STILL_AFTER, Live, Spec
from trainers.sampling.scripted import Scripted

EPISODE = "e" * 32


class Robot:
    """A live robot without a clock: steps are taken one by one, and what it tells is kept."""

    def __init__(self, home: Path, **given: Any) -> None:
        asked: dict[str, Any] = {"world": "table_talk", "pilot": "scripted", "hold": 4} | given
        self.home = home
        self.told: list[dict[str, Any]] = []
        (home / "robot").mkdir(parents=True, exist_ok=True)
        spec = Spec(home=str(home / "robot"), episodes=str(home / "episodes"), **asked)
        self.live = Live(spec, -1, lambda message: self.told.append(json.loads(json.dumps(message))))

    def begin(self, **given: Any) -> Robot:
        self.live.obey({"type": "begin", "episode": EPISODE, "number": 1, "seed": 3, **given})
        return self

    def say(self, said: int, command: str = "move a bit to the left", **given: Any) -> None:
        self.live.obey({"type": "say", "id": said, "episode": EPISODE, "command": command, **given})

    def obey(self, kind: str, **given: Any) -> None:
        self.live.obey({"type": kind, **given})

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.live._guarded(self.live.step)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.told if one["type"] == kind]

    @property
    def episode(self):
        return Episodes(self.home / "episodes").open(EPISODE)


@pytest.fixture
def robot(tmp_path) -> Robot:
    return Robot(tmp_path).begin()


def test_a_correction_is_the_command_of_the_very_next_step_and_gone_after_its_hold(robot):
    robot.steps(6)
    robot.say(1)
    robot.steps(6)
    assert robot.of("heard")[0]["step"] == 5
    assert robot.of("in_force")[0]["start"] == 6
    over = robot.of("over")[0]
    assert (over["start"], over["stop"], over["how"]) == (6, 9, "expired")
    said, steps = robot.episode.said(), robot.episode.steps
    assert said[6:9] == ["move a bit to the left"] * 3 and said[9] != "move a bit to the left"
    assert (steps["commander"][6:9] == PERSON).all() and (steps["commander"][[5, 9]] == SCRIPT).all()
    assert (steps["action"][6:9, 0] < 0).all()


def test_a_second_correction_ends_the_first_and_loses_nothing_of_it(robot):
    robot.steps(2)
    robot.say(1)
    robot.steps(2)
    robot.say(2, "open the gripper")
    robot.steps(1)
    first = robot.of("over")[0]
    assert (first["id"], first["start"], first["stop"], first["how"]) == ("1", 2, 4, "replaced")
    assert robot.of("in_force")[1]["id"] == "2" and robot.of("in_force")[1]["start"] == 4


def test_of_two_corrections_within_a_step_the_first_is_over_without_having_been_obeyed(robot):
    robot.steps(2)
    robot.say(1)
    robot.say(2, "open the gripper")
    robot.steps(1)
    over = robot.of("over")[0]
    assert (over["id"], over["start"], over["how"]) == ("1", None, "replaced")
    assert [one["id"] for one in robot.of("in_force")] == ["2"]


def test_the_same_correction_is_heard_once_however_often_it_comes(robot):
    for _ in range(3):
        robot.say(7)
    robot.steps(8)
    robot.say(7)
    robot.steps(2)
    assert len(robot.of("heard")) == len(robot.of("in_force")) == len(robot.of("over")) == 1


def test_a_correction_for_another_episode_is_not_obeyed(robot):
    robot.obey("say", id=1, episode="f" * 32, command="move a bit up")
    robot.steps(2)
    assert not robot.of("heard")


def test_a_key_holds_until_it_is_let_go_and_a_tap_counts_for_one_step(robot):
    robot.say(1, held=True)
    robot.steps(20)
    robot.obey("let_go", id=1)
    robot.steps(1)
    assert (robot.of("over")[0]["stop"], robot.of("over")[0]["how"]) == (20, "handed back")
    robot.say(2, "move a bit up", held=True)
    robot.obey("let_go", id=2)
    robot.steps(3)
    tapped = robot.of("over")[1]
    assert (tapped["start"], tapped["stop"]) == (21, 22)


def test_handing_back_drops_what_was_said_a_moment_ago(robot):
    robot.say(1)
    robot.obey("let_go")
    robot.steps(2)
    assert robot.of("over")[0]["start"] is None and not robot.of("in_force")


def test_a_driver_who_falls_silent_is_followed_for_three_steps_and_then_it_stands_still(robot):
    robot.steps(2)
    robot.obey("drive", action=[1.0, 0.0, 0.0])
    robot.steps(6)
    robot.obey("let_go")
    robot.steps(1)
    steps = robot.episode.steps
    assert (steps["actor"][2:8] == PERSON).all() and steps["actor"][8] == SCRIPT
    np.testing.assert_array_equal(steps["action"][2:8, 0], [1.0] * STILL_AFTER + [0.0] * (6 - STILL_AFTER))


@pytest.mark.parametrize("action", [[1.0], [1.0, 2.0, 3.0, 4.0], [math.nan, 0.0, 0.0]])
def test_an_action_that_is_none_is_not_taken(robot, action):
    robot.obey("drive", action=action)
    robot.steps(1)
    assert robot.episode.steps["actor"][0] == SCRIPT


def test_driving_ends_what_was_in_force_and_speaking_ends_driving(robot):
    robot.say(1, held=True)
    robot.steps(2)
    robot.obey("drive", action=[0.0, 1.0, 0.0])
    robot.steps(2)
    assert robot.of("over")[0]["stop"] == 2
    robot.say(2)
    robot.steps(1)
    assert robot.episode.steps["actor"].tolist() == [SCRIPT, SCRIPT, PERSON, PERSON, SCRIPT]


def test_nobody_at_the_controls_stands_still(tmp_path):
    robot = Robot(tmp_path, pilot="nobody").begin()
    robot.steps(3)
    steps = robot.episode.steps
    assert (steps["action"] == 0).all() and (steps["actor"] == NOBODY).all()
    assert robot.of("state")[-1]["by"] == "nobody"


def test_a_killed_process_leaves_all_that_the_next_one_needs(tmp_path):
    """As an undisturbed one: the same steps, and what was in force is in force."""
    calm, shaken = Robot(tmp_path / "calm"), Robot(tmp_path / "shaken")
    for one in (calm, shaken):
        one.begin(dials={"slip": 0.05})
        one.steps(10)
        one.say(1, held=True)
        one.steps(10)
        one.live._keep_moment()
        one.steps(13)
    shaken.live.take.writer.close()  # its process is gone
    again = Robot(tmp_path / "shaken").begin(dials={"slip": 0.05})
    assert again.of("recovered")[0] == {"type": "recovered", "episode": EPISODE, "step": 33, "of": 33}
    assert [one["id"] for one in again.of("in_force")] == ["1"] and again.of("in_force")[0]["again"]
    for one in (calm, again):
        one.steps(5)
        one.obey("let_go")
        one.steps(40)
    np.testing.assert_array_equal(calm.episode.steps, again.episode.steps)
    over = again.of("over")
    assert [(one["start"], one["stop"]) for one in over] == [(10, 38)]
    assert len(again.of("in_force")) == 1


def test_of_two_words_that_a_killed_process_left_behind_the_first_is_replaced_by_the_second(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.say(1, held=True)
    robot.steps(5)
    robot.say(2, "move a bit up")
    robot.live.take.writer.close()  # killed before the next step
    again = Robot(tmp_path).begin()
    again.steps(1)
    (over,) = again.of("over")
    assert (over["id"], over["start"], over["stop"], over["how"]) == ("1", 0, 5, "replaced")
    assert again.of("in_force")[-1]["id"] == "2" and again.of("in_force")[-1]["start"] == 5


def test_after_a_process_was_killed_the_policy_has_seen_all_that_it_saw_before(tmp_path, monkeypatch):
    robot = Robot(tmp_path).begin()
    robot.steps(90)
    robot.live._keep_moment()
    robot.live.take.writer.close()
    seen: list[np.ndarray] = []
    monkeypatch.setattr(Scripted, "see", lambda self, observation: seen.append(observation))
    again = Robot(tmp_path).begin()
    again.steps(1)
    np.testing.assert_array_equal(np.stack(seen), again.episode.steps["observation"])


@pytest.mark.parametrize("done", [True, False], ids=["done", "over in time"])
def test_a_process_that_was_killed_before_it_could_end_its_episode_leaves_that_to_the_next(
    tmp_path, monkeypatch, done
):
    robot = Robot(tmp_path).begin()
    monkeypatch.setattr(Live, "finish", lambda self, why: None)
    robot.say(1, held=True)
    robot.steps(9)
    robot.live.take.writer.close()
    monkeypatch.undo()
    if done:
        real = TableTalkWorld.step
        monkeypatch.setattr(TableTalkWorld, "step", lambda *given: replace(real(*given), done=True))
    else:
        monkeypatch.setattr(TableTalkWorld, "most_steps", 9)
    again = Robot(tmp_path).begin()
    (end,) = again.of("episode_end")
    assert (end["steps"], end["why"]) == (9, "done" if done else "9 steps are over")
    assert again.live.take is None and len(again.episode.steps) == 9
    assert again.of("over")[0]["how"] == "the episode ended"


def test_an_episode_that_cannot_be_gone_on_with_ends_with_what_is_recorded_of_it(tmp_path, monkeypatch):
    robot = Robot(tmp_path).begin()
    robot.steps(7)
    robot.live._keep_moment()
    robot.live.take.writer.close()

    def broken(self: Any, moment: bytes) -> None:
        raise RuntimeError("no such moment")

    monkeypatch.setattr(TableTalkWorld, "restore", broken)
    again = Robot(tmp_path).begin()
    (end,) = again.of("episode_end")
    assert end["steps"] == 7 and "no such moment" in end["why"]
    assert again.episode.ended["steps"] == 7 and again.live.take is None


def test_the_first_state_of_an_episode_says_nothing_of_the_one_before(robot):
    robot.say(1, held=True)
    robot.steps(4)
    robot.live.obey({"type": "begin", "episode": "f" * 32, "number": 2, "seed": 4})
    first = next(one for one in robot.of("state") if one["number"] == 2)
    assert (first["command"], first["by"], first["said"], first["choices"]) == ("", "nobody", None, [])


def test_what_was_in_force_when_a_process_was_killed_keeps_its_beginning_where_another_replaces_it(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.say(1, held=True)
    robot.steps(5)
    robot.live.take.writer.close()
    again = Robot(tmp_path).begin()
    again.say(2, "move a bit up")
    again.steps(1)
    over = again.of("over")[0]
    assert (over["id"], over["start"], over["stop"], over["how"]) == ("1", 0, 5, "replaced")


def test_without_its_moment_a_robot_begins_anew_and_repeats_what_was_recorded(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.steps(12)
    robot.live.take.writer.close()
    for path in (tmp_path / "robot").glob("moment*"):
        path.unlink()
    again = Robot(tmp_path).begin()
    assert again.of("recovered")[0]["step"] == 12
    np.testing.assert_allclose(again.live.world.observe(), robot.live.world.observe())


def test_a_moment_that_is_ahead_of_what_was_recorded_is_no_moment_of_it(tmp_path):
    """The power went, and took the last rows along."""
    robot = Robot(tmp_path).begin()
    robot.steps(12)
    robot.live._keep_moment()
    robot.live.take.writer.close()
    before = robot.episode.steps["observation"][8].copy()
    os.truncate(robot.episode.place / "steps.bin", 8 * robot.episode.about.dtype.itemsize)
    again = Robot(tmp_path).begin()
    assert again.of("recovered")[0] == {"type": "recovered", "episode": EPISODE, "step": 8, "of": 8}
    again.steps(1)
    np.testing.assert_array_equal(again.episode.steps["observation"][8], before)


def test_half_a_line_of_what_became_of_words_is_no_line_and_spoils_none_after_it(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.say(1)
    robot.live.take.writer.close()
    with (tmp_path / "robot" / "said.jsonl").open("ab") as file:
        file.write(b'{"type": "in_for')
    again = Robot(tmp_path).begin()
    again.steps(1)
    again.live.take.writer.close()
    third = Robot(tmp_path).begin()
    assert [one["type"] for one in third.told if one.get("id") == "1"] == ["heard", "in_force"]


def test_where_the_world_does_not_repeat_itself_the_episode_goes_on_from_where_it_does(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.steps(12)
    robot.live.take.writer.close()
    path = robot.episode.place / "steps.bin"
    size = robot.episode.about.dtype.itemsize
    rows = bytearray(path.read_bytes())
    rows[8 * size : 8 * size + 4] = np.float32(9.0).tobytes()  # what was seen before step 8
    path.write_bytes(rows)
    again = Robot(tmp_path).begin()
    assert again.of("recovered")[0] == {"type": "recovered", "episode": EPISODE, "step": 8, "of": 12}
    assert len(again.episode.steps) == 8


def test_an_episode_that_has_ended_is_told_as_ended_and_not_begun_again(tmp_path):
    robot = Robot(tmp_path).begin()
    robot.steps(3)
    assert robot.live.clock.remaining() is not None
    robot.obey("finish", why="Enough.")
    assert robot.live.clock.remaining() is None, "nothing is due where nothing is lived"
    again = Robot(tmp_path).begin()
    end = again.of("episode_end")[0]
    assert (end["steps"], end["why"]) == (3, "Enough.") and again.live.take is None


def test_a_world_that_raises_ends_its_episode_with_words_and_another_can_begin(robot):
    robot.steps(3)
    robot.say(1, held=True)
    robot.steps(1)

    def broken(action: Any) -> None:
        raise RuntimeError("the table fell over")

    robot.live.world.step = broken
    robot.steps(1)
    assert "the table fell over" in robot.of("problem")[0]["text"]
    end = robot.of("episode_end")[0]
    assert end["steps"] == 4 and "the table fell over" in end["why"]
    assert robot.of("over")[0]["how"] == "the episode ended"
    del robot.live.world.step
    robot.live.obey({"type": "begin", "episode": "f" * 32, "number": 2, "seed": 4})
    assert robot.of("scene")[-1]["number"] == 2


def test_a_world_that_cannot_be_begun_says_so(tmp_path):
    robot = Robot(tmp_path).begin(task="juggle")
    assert "juggle" in robot.of("problem")[0]["text"] and robot.live.take is None
    assert "juggle" in robot.of("episode_end")[0]["why"] and robot.of("episode_end")[0]["steps"] == 0


def test_it_ends_when_nobody_is_left_to_listen_to(tmp_path):
    reading, writing = os.pipe()
    (tmp_path / "robot").mkdir()
    spec = Spec(str(tmp_path / "robot"), str(tmp_path / "episodes"), "table_talk", "scripted", speed=20.0)
    told: list[dict[str, Any]] = []
    live = Live(spec, reading, told.append)
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    os.write(writing, json.dumps({"type": "begin", "episode": EPISODE, "seed": 3}).encode() + b"\n")
    while sum(one["type"] == "state" for one in list(told)) < 5:
        thread.join(0.01)
    os.close(writing)
    thread.join(5)
    assert not thread.is_alive()
    moment = (tmp_path / "robot" / "moment.bin").read_bytes()
    assert json.loads(moment.split(b"\n")[0])["step"] == live.take.writer.length
    os.close(reading)


def test_a_world_that_is_not_drawn_is_shown_and_recorded_as_pictures(tmp_path):
    pytest.importorskip("gymnasium")
    robot = Robot(tmp_path, world="cartpole", pilot="nobody", picture=64).begin()
    robot.steps(2)
    assert robot.of("state")[-1]["picture"].startswith("data:image/jpeg;base64,/9j/")
    assert robot.episode.picture(1)[:2] == b"\xff\xd8"
