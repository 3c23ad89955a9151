"""Somebody scripted who watches a robot's motions and names the right one; never a person, and kept as what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from trainers.envs.motions import Embodiment
from trainers.nn.motions import MotionPolicy
from trainers.nn.pilot import Pilot
from trainers.records import LanguageCorrection
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Lived


@dataclass(frozen=True)
class MotionAnnotator(Annotator):
    """Speaks where the robot is about to go another way than it should, or to do something else with its fingers.

    Which of two directions is named first is no reason to speak: nobody sees that. Its slips are any other phrase.
    """

    arm: Embodiment = field(kw_only=True)
    """Whose phrases it knows."""

    @property
    def slips(self) -> Sequence[str]:
        return self.arm.phrases

    def in_words(self, advice: str) -> str:
        return self.arm.understand(advice) or ""

    def agrees(self, advice: str, command: str) -> bool:
        phrase = self.arm.understand(command)
        return phrase is not None and alike(self.arm, advice, phrase)


def annotator_for(pilot: Pilot) -> Annotator:
    """Somebody who speaks as a policy does: of motions, or of what to do."""
    return MotionAnnotator(arm=pilot.arm) if isinstance(pilot, MotionPolicy) else Annotator()


def alike(arm: Embodiment, one: str, other: str) -> bool:
    """Whether two phrases name the same directions, in whatever order, and the same for the gripper."""
    (first, grip), (second, other_grip) = arm.parts(one), arm.parts(other)
    return set(first) == set(second) and grip == other_grip


def records(lived: Iterable[Lived], prefix: str = "said") -> list[LanguageCorrection]:
    """The corrections of episodes that were kept, as records about motions."""
    return [replace(record, layer="motion") for one in lived for record in one.records(prefix)]
