"""Episodes with a scripted annotator, in a world whose advice is known step by step; and reports of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from trainers import api
from trainers.__main__ import main
from trainers.envs import registry
from trainers.envs.motions import embodiment
from trainers.envs.worlds import Step
from trainers.episodes import POLICY, SCRIPT, Episodes
from trainers.nn import save
from trainers.nn.motions import policy_for
from trainers.nn.pilot import Choice
from trainers.reports import robots as report
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Lived, Setting, live
from trainers.sampling.motions import MotionAnnotator, annotator_for
from trainers.sampling.scripted import Still

UP, LEFT, WAIT = "move a bit up", "move a bit to the left", "wait"


class Prompter:
    """Advises to go up for twelve steps, then left for four, then to wait. Each step is worth its number."""

    name, seconds, actions, most_steps = "prompter", 0.1, ("x", "y"), 30
    ends, known = 99, 0.5

    def reset(self, seed: int, task: str = "", dials: Any = None) -> np.ndarray:
        self.time = 0
        return self.observe()

    def step(self, action: np.ndarray) -> Step:
        self.time += 1
        return Step(self.observe(), float(self.time), self.time >= self.ends)

    def observe(self) -> np.ndarray:
        return np.array([self.time], np.float32)

    def advice(self) -> str:
        return UP if self.time < 12 else LEFT if self.time < 16 else WAIT

    def demonstrate(self, command: str = "") -> np.ndarray:
        return np.zeros(2)

    def scene(self) -> dict[str, Any]:
        return {"task": "prompt", "words": "do as you are told", "things": []}

    def state(self) -> np.ndarray:
        return np.array([self.time], np.float32)

    @property
    def score(self) -> float:
        return self.known

    @property
    def stages(self) -> dict[str, bool]:
        return {}


@dataclass
class Waiter:
    """Would always rather wait. Keeps what it was told."""

    layer: str = "command"
    every: int = 10
    motions: dict[str, str] = field(default_factory=dict)
    bank: tuple[str, ...] = (WAIT,)

    def begin(self, scene: Any, seed: int = 0) -> None: ...

    def see(self, observation: np.ndarray) -> None: ...

    def choices(self, most: int = 5) -> list[Choice]:
        return [Choice(WAIT, 1.0)]

    def act(self, command: str) -> np.ndarray:
        return np.array([-1.0 if command == LEFT else 0.0, 1.0 if command == UP else 0.0], np.float32)


@pytest.fixture(autouse=True)
def prompter(monkeypatch):
    torch.set_num_threads(1)
    entry = registry.WorldEntry(__name__, "Prompter", ("prompt",), drawn=False, talks=True)
    monkeypatch.setitem(registry.WORLDS, "prompter", entry)


def make(name: str = "prompter") -> Prompter:
    return Prompter()


PROMPTED = Setting("prompter")


def said(lived: Lived) -> list[tuple[str, int, int | None]]:
    return [(one.command, one.start, one.stop) for one in lived.corrections]


def test_a_held_key_comes_up_when_what_it_stands_for_is_no_longer_right():
    (held,) = live(Waiter(), PROMPTED, [0], Annotator(held=True))
    assert said(held) == [(UP, 1, 13), (LEFT, 13, 17)]
    (lapsing,) = live(Waiter(), PROMPTED, [0], Annotator())
    assert said(lapsing) == [(UP, 1, 10), (UP, 10, 19)], "without, it is obeyed after it is wrong"


@dataclass
class Slow(Waiter):
    """Carries a command out from the third step on that it is told."""

    heard: list[str] = field(default_factory=list)

    def act(self, command: str) -> np.ndarray:
        self.heard.append(command)
        return super().act(command if self.heard[-3:] == [command] * 3 else WAIT)


def test_a_reaction_takes_as_long_as_it_takes_and_what_changes_after_a_word_is_over_is_none():
    (slow,) = live(Slow(), PROMPTED, [0], Annotator())
    assert said(slow) == [(UP, 1, 10), (UP, 10, 19)]
    assert slow.reactions == (3,), "the second changed nothing until it was over"


def test_each_step_is_kept_with_what_came_of_it_and_what_was_so_before_it(tmp_path):
    (one,) = live(Waiter(), PROMPTED, [0], Annotator(held=True), Episodes(tmp_path))
    steps = Episodes(tmp_path).open(one.episode).steps
    assert steps["reward"].tolist() == list(range(1, 31))
    assert steps["state"][:, 0].tolist() == steps["observation"][:, 0].tolist() == list(range(30))
    assert steps["commander"].tolist() == [POLICY] + [SCRIPT] * 16 + [POLICY] * 13
    assert (
        steps["action"][1:13, 1].tolist() == [1.0] * 12 and steps["action"][13:17, 0].tolist() == [-1.0] * 4
    )


@pytest.mark.parametrize(("ends", "known", "why", "success"), [
    (7, 0.5, "done", False), (7, 1.0, "done", True), (99, 1.0, "time", True), (99, math.nan, "time", None),
])  # fmt: skip
def test_how_an_episode_ended_is_what_the_world_said(ends, known, why, success, tmp_path, monkeypatch):
    monkeypatch.setattr(Prompter, "ends", ends)
    monkeypatch.setattr(Prompter, "known", known)
    (one,) = live(Waiter(), PROMPTED, [0], store=Episodes(tmp_path))
    ended = Episodes(tmp_path).open(one.episode).ended
    assert (ended["why"], ended["success"], ended["steps"]) == (why, success, min(ends, 30))
    assert one.success is bool(success) and one.judged is (success is not None)


def test_of_no_seeds_there_are_no_episodes():
    assert live(Waiter(), PROMPTED, []) == []


def test_what_the_policy_wants_is_compared_with_what_is_advised_before_it_decides():
    (one,) = live(Waiter(), PROMPTED, [0], watch=Annotator())
    assert one.agreed == (1, 3), "it decides at 0, 10 and 20, and to wait is right from step 16 on"


def test_where_nobody_can_say_how_much_is_done_the_report_claims_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(Prompter, "known", math.nan)
    monkeypatch.setattr("trainers.nn.load_pilot", lambda where: Waiter())
    found = api.drive(tmp_path / "robot", world="prompter", seeds=[0, 1])
    assert found["text"].startswith("Nobody can say") and list(found["readings"]) == ["steps_0"]
    assert found["readings"]["steps_0"]["value"] == 30
    assert [(one["score"], one["success"]) for one in found["episodes"]] == [(None, None)] * 2


def test_a_rival_gains_what_it_does_and_the_other_does_not():
    def some(*successes: bool) -> list[Lived]:
        return [Lived(seed, 9, float(one), one, {}, (), (0, 0), {}, ()) for seed, one in enumerate(successes)]

    text = report.of_policies(["mine", "rival"], [some(True, True, False), some(True, False, False)])["text"]
    assert text == "mine did the whole task on 2 of 3 tables, rival on 1 of 3 of the same (0 gained, 1 lost)."


# --- policies of motions


def test_a_policy_of_motions_is_corrected_in_motions_and_obeys_at_the_next_step(tmp_path):
    arm = embodiment("reach")
    policy = policy_for(arm, 9, 3, 8, 0)
    assert isinstance(annotator_for(policy), MotionAnnotator) and type(annotator_for(Waiter())) is Annotator
    store = Episodes(tmp_path / "episodes")
    (one,) = live(policy, Setting("reach", "red", steps=20), [3], annotator_for(policy), store)
    assert one.corrections and all(each.stop > each.start for each in one.corrections)
    assert {each.command for each in one.corrections} <= set(arm.phrases)
    assert (store.open(one.episode).steps["commander"] == SCRIPT).sum() > 0
    where = save(policy, tmp_path / "policy")
    found = api.drive(where, world="reach", task="red", seeds=[3], steps=20, corrected=True)
    assert found["episodes"][0]["corrections"] == len(one.corrections)


def test_an_annotator_of_motions_says_nothing_where_the_advice_is_no_motion():
    one = MotionAnnotator(arm=embodiment("table_talk"), error=1.0)
    assert one.in_words("pick up the red block") == "" and one.in_words("move a bit up") == "move arm up"
    assert one.agrees("move arm up and left", "left and up") or not one.agrees("move arm up", "move arm down")
    assert one.agrees("move arm up and left", "move arm left and up")
    assert not one.agrees("move arm up", "pick up the red block")
    wrong = one.remark("move arm up", "stay", 0, 0)
    assert wrong is not None and wrong[1] in one.arm.phrases and wrong[1] != "move arm up"


def test_nobody_at_the_controls_has_nothing_to_choose_and_is_not_corrected():
    place = make()
    (one,) = live(Still(place), PROMPTED, [0], Annotator())
    assert one.corrections == () and one.agreed == (0, 0) and one.steps == 30


# --- the command line


@pytest.mark.parametrize(("asked", "field"), [
    (["--seeds", "0"], "seeds"), (["--steps", "-1"], "steps"), (["--dial", "shift"], "dial"),
])  # fmt: skip
def test_the_command_line_says_which_number_cannot_be(asked, field, capsys):
    assert main(["drive", "nowhere", *asked, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["field"] == field and f"'{field}' is" in told["problem"]
