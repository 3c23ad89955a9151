"""A program that plays the person who corrects a robot: it sees the world as it is, and speaks like somebody who
does not see everything. Whatever it says is kept as said by a script, never as a person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from trainers.nn.commands import command_of

BY = "script"
"""Who said it, wherever what it says is kept."""
OTHER_WORDS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "move a bit to the left": ("nudge left", "a little to the left", "too far right"),
        "move a bit to the right": ("nudge right", "a little to the right", "too far left"),
        "move a bit up": ("up a bit", "go up a little", "too far down"),
        "move a bit down": ("down a bit", "go down a little", "too far up"),
        "open the gripper": ("open", "let go", "release it"),
        "close the gripper": ("close", "squeeze", "close it"),
        "wait": ("stop", "hold on"),
    }
)


@dataclass(frozen=True)
class Annotator:
    """How it speaks. As it stands: always, at once, rightly, and in the same words."""

    coverage: float = 1.0
    """The chance that it says something where something is to be said."""
    error: float = 0.0
    """The chance that what it says is another of the fine moves than the right one."""
    delay: int = 0
    """Steps from what it sees to what it says."""
    paraphrases: float = 0.0
    """The chance that it uses other words for it."""
    held: bool = False
    """Whether it keeps a key down until its command is no longer the right one; else a command lapses by itself."""
    seed: int = 0

    @property
    def slips(self) -> Sequence[str]:
        """What it may say by mistake."""
        return tuple(OTHER_WORDS)

    def in_words(self, advice: str) -> str:
        """The world's advice as it would say it; empty where it has no words for it."""
        return advice

    def agrees(self, advice: str, command: str) -> bool:
        """Whether a command is as good to it as the one that it would give."""
        return same(advice, command)

    def remark(self, advice: str, choice: str, seed: int, step: int) -> tuple[str, str] | None:
        """(text, command) of what it says at a step where `choice` is about to be done; None where it says nothing."""
        if not advice or self.agrees(advice, choice):
            return None
        chance = np.random.default_rng([self.seed, seed, step])
        if chance.random() >= self.coverage:
            return None
        command = advice
        if chance.random() < self.error:
            others = [one for one in self.slips if one != advice]
            command = others[int(chance.integers(len(others)))]
        words = OTHER_WORDS.get(command, ())
        text = (
            words[int(chance.integers(len(words)))]
            if words and chance.random() < self.paraphrases
            else command
        )
        return text, command


def same(one: str, other: str) -> bool:
    """Whether two commands say the same: verb, thing and direction, in whatever words."""
    first, second = command_of(one), command_of(other)
    if first is None or second is None:
        return one == other
    return (first.verb, first.thing, first.direction) == (second.verb, second.thing, second.direction)
