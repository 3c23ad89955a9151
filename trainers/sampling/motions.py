"""Somebody scripted who watches a robot's motions and names the right one; never a person, and kept as what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from trainers.envs.motions import Embodiment
from trainers.records import LanguageCorrection
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Lived


@dataclass(frozen=True)
class MotionAnnotator(Annotator):
    """Speaks where the robot is about to go another way than it should, or to do something else with its fingers.

    Which of two directions is named first is no reason to speak: nobody sees that. `error` names another phrase.
    """

    arm: Embodiment | None = field(default=None, kw_only=True)

    def remark(self, advice: str, choice: str, seed: int, step: int) -> tuple[str, str] | None:
        if self.arm is None:
            raise ValueError("A motion annotator needs its arm: the embodiment whose phrases it knows.")
        if not advice or alike(self.arm, advice, choice):
            return None
        chance = np.random.default_rng([self.seed, seed, step])
        if chance.random() >= self.coverage:
            return None
        if chance.random() < self.error:
            others = [one for one in self.arm.phrases if one != advice]
            advice = others[chance.integers(len(others))]
        return advice, advice


def alike(arm: Embodiment, one: str, other: str) -> bool:
    """Whether two phrases name the same directions, in whatever order, and the same for the gripper."""
    (first, grip), (second, other_grip) = arm.parts(one), arm.parts(other)
    return set(first) == set(second) and grip == other_grip


def records(lived: Iterable[Lived], prefix: str = "said") -> list[LanguageCorrection]:
    """The corrections of episodes that were kept, as records about motions."""
    return [replace(record, layer="motion") for one in lived for record in one.records(prefix)]
