"""Who is in command of a robot, step by step: a person's word counts at the very next step, and is gone in time."""

from __future__ import annotations

import pytest

from trainers.nn.pilot import Choice
from trainers.sampling.steering import Steering

K = 10


class Policy:
    """Wants "own 0", "own 1", …: a new command each time it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def at(self, step: int):
        def choose() -> list[Choice]:
            self.asked.append(step)
            return [Choice(f"own {len(self.asked) - 1}", 0.7), Choice("wait", 0.3)]

        return choose


def lived(said: dict[int, tuple[str, bool]], steps: int = 40, let_go: tuple[int, ...] = (), hold: int = K):
    """The command of every step, the steering, and the policy; `said` at which step: (command, held)."""
    steering, policy = Steering(K, hold), Policy()
    commands = []
    for step in range(steps):
        commands.append(steering.command(step, policy.at(step)))
        if step in said:
            command, held = said[step]
            steering.say(step, command, held)
        if step in let_go:
            steering.let_go(step)
    steering.end(steps)
    return commands, steering, policy


def test_by_itself_the_policy_is_asked_every_so_many_steps():
    commands, steering, policy = lived({})
    assert policy.asked == [0, 10, 20, 30]
    assert commands == [f"own {step // 10}" for step in range(40)]
    assert steering.finished == [] and steering.told is None


@pytest.mark.parametrize("said", [0, 3, 9, 10, 17])
def test_a_correction_is_in_force_at_the_next_step_and_gone_after_so_many(said):
    commands, steering, policy = lived({said: ("left", False)})
    assert commands[said] != "left" and commands[said + 1] == "left"
    assert commands[said + 1 : said + K] == ["left"] * (K - 1)
    assert commands[said + K].startswith("own") and "left" not in commands[said + K :]
    assert said + K in policy.asked, "what it wanted before is stale: it decides anew"
    (one,) = steering.finished
    assert (one.said, one.start, one.stop, one.command) == (said, said + 1, said + K, "left")
    assert [choice.command for choice in one.predicted] == [commands[said], "wait"]


@pytest.mark.parametrize("hold", [1, 2])
def test_a_correction_is_obeyed_for_a_step_at_least_however_short_its_hold(hold):
    commands, steering, _ = lived({3: ("left", False)}, hold=hold)
    assert [step for step, one in enumerate(commands) if one == "left"] == [4]
    assert [(one.start, one.stop) for one in steering.finished] == [(4, 5)]


def test_while_a_correction_is_in_force_the_policy_is_not_asked():
    _, _, policy = lived({3: ("left", False)})
    assert policy.asked == [0, 13, 23, 33]


def test_a_second_correction_during_the_first_ends_it_and_loses_nothing_of_it():
    commands, steering, _ = lived({2: ("left", False), 6: ("up", False)})
    assert commands[3:7] == ["left"] * 4 and commands[7:16] == ["up"] * 9
    assert commands[16].startswith("own")
    first, second = steering.finished
    assert (first.command, first.start, first.stop) == ("left", 3, 7)
    assert (second.command, second.start, second.stop) == ("up", 7, 16)


def test_two_corrections_in_one_step_are_the_last_one():
    steering, policy = Steering(K, K), Policy()
    steering.command(0, policy.at(0))
    steering.say(0, "left")
    steering.say(0, "right")
    assert steering.command(1, policy.at(1)) == "right"
    steering.end(2)
    assert [one.command for one in steering.finished] == ["right"]


def test_a_held_correction_lasts_until_it_is_let_go():
    commands, steering, policy = lived({4: ("left", True)}, let_go=(30,))
    assert commands[5:31] == ["left"] * 26 and commands[31].startswith("own")
    assert policy.asked == [0, 31]
    assert [(one.start, one.stop) for one in steering.finished] == [(5, 31)]


def test_handing_back_ends_what_is_in_force_at_the_next_step():
    commands, steering, policy = lived({4: ("left", False)}, let_go=(6,))
    assert commands[5:7] == ["left"] * 2 and commands[7].startswith("own")
    assert policy.asked == [0, 7, 17, 27, 37], "what it wanted before is stale"
    assert [(one.start, one.stop) for one in steering.finished] == [(5, 7)]


def test_handing_back_at_once_takes_back_what_was_just_said():
    commands, steering, _ = lived({4: ("left", False)}, let_go=(4,))
    assert "left" not in commands and steering.finished == []


def test_the_end_of_the_episode_ends_what_is_in_force_and_drops_what_never_was():
    _, steering, _ = lived({8: ("left", True)}, steps=12)
    assert [(one.command, one.start, one.stop) for one in steering.finished] == [("left", 9, 12)]
    _, steering, _ = lived({11: ("left", True)}, steps=12)
    assert steering.finished == []


@pytest.mark.parametrize(
    "said", [{}, {3: ("left", False)}, {3: ("left", True)}, {2: ("left", False), 9: ("up", False)}]
)
def test_it_says_beforehand_whether_the_policy_is_to_decide(said):
    steering, policy = Steering(K, K), Policy()
    for step in range(35):
        foretold = steering.decides(step)
        before = len(policy.asked)
        steering.command(step, policy.at(step))
        assert foretold == (len(policy.asked) > before), step
        if step in said:
            steering.say(step, *said[step])


def test_a_policy_that_takes_no_commands_obeys_none():
    steering = Steering(K, K)
    assert steering.command(0, lambda: []) == ""
