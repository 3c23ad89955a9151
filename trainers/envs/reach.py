"""A point arm among three things: the smallest world in which tasks that differ in words share their motions.

Three tasks are to go to a thing and close the fingers on it. The fourth, to stop beside the first thing, is made of the
same motions and is never shown: whoever knows them can be talked through it. "play" has no task: the hand goes
wherever it likes. After RT-H (arXiv:2403.01823): new tasks by words about motions.

Lengths as on TableTalk: x from -1 (left) to 1 (right), y from -1 (near) to 1 (far); a step is a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.moments import packed, unpacked
from trainers.envs.motions import Embodiment, embodiment
from trainers.envs.table_talk.drawing import paint
from trainers.envs.table_talk.table import three_numbers
from trainers.envs.worlds import Floats, Picture, Step

SECONDS = 0.1
LONGEST = 0.06
"""The farthest the hand moves in a step, along each axis."""
TOLERANCE = 0.06
"""How near is there."""
BESIDE = 0.25
"""How far to the right of the first thing the fourth task is to stop."""
APART = 0.35
"""Things lie no nearer to each other."""
STILL = 0.02
"""A hand at play that moves less in a step has come to where it was going."""
REST = 3
"""Steps that closed fingers must stay at their thing before the episode ends."""
STOPPED = 6
"""Steps that a hand must stay at a spot: one that passes by is gone in two."""
COLOURS = ("red", "green", "blue")
RADIUS = 0.05
TASKS = ("red", "green", "blue", "beside", "play")
WORDS = {
    **{colour: f"go to the {colour} block and close the gripper" for colour in COLOURS},
    "beside": "stop to the right of the red block",
    "play": "play",
}
FIRM = 0.5
"""Fingers heed no number nearer to 0 than this."""
SLOW = 1.5
"""Whoever shows a task slows down within so many of the longest steps of the place."""


def make(name: str = "reach") -> Reach:
    return Reach()


class Reach:
    """`dials`: "gain", the share of a wanted motion that is made."""

    name = "reach"
    seconds = SECONDS
    actions = ("right", "up", "close")
    most_steps = 60

    def __init__(self) -> None:
        self.arm: Embodiment = embodiment("reach")
        self.reset(0)

    def reset(self, seed: int, task: str = "", dials: Mapping[str, Any] | None = None) -> Floats:
        given = dict(dials or {})
        gain = given.pop("gain", 1.0)
        if given:
            raise ValueError(f"No dial called '{sorted(given)[0]}' here. Dials: gain.")
        if type(gain) not in (int, float) or not 0 < gain <= 2:
            raise ValueError(f"The dial gain is {gain!r}; expected a number above 0 and at most 2.")
        if (task or "red") not in TASKS:
            raise ValueError(f"No task '{task}' here. Known tasks: {', '.join(TASKS)}.")
        self.task, self.gain = task or "red", float(gain)
        self.chance = np.random.default_rng(seed)
        self.things = self._laid()
        self.hand = self.chance.uniform(-0.9, 0.9, 2)
        self.closed, self.steps, self.rested = False, 0, 0
        self.moved, self.pause = LONGEST, 0
        self.goal, self.wish = self._errand()
        return self.observe()

    def step(self, action: NDArray[Any]) -> Step:
        action = three_numbers(action)
        before = self.hand.copy()
        self.hand = np.clip(before + np.clip(action[:2], -1, 1) * LONGEST * self.gain, -1.0, 1.0)
        self.moved = float(np.abs(self.hand - before).max())
        self.closed = bool(action[2] > 0) if abs(action[2]) > FIRM else self.closed
        self.steps += 1
        self.rested = self.rested + 1 if self._there() else 0
        if self.task == "play" and self.moved <= STILL and self.closed == self.wish:
            self.pause -= 1
            if self.pause < 0:
                self.goal, self.wish = self._errand()
        return Step(self.observe(), 0.0, self.done)

    @property
    def done(self) -> bool:
        return self.task != "play" and self.rested >= (STOPPED if self.task == "beside" else REST)

    def observe(self) -> Floats:
        """[9] hand 2, closed, where the three things are 6."""
        return np.concatenate((self.hand, [self.closed], self.things.ravel())).astype(np.float32)

    def scene(self) -> dict[str, Any]:
        things = [
            {"name": f"{colour} block", "colour": colour, "shape": "block", "radius": RADIUS}
            for colour in COLOURS
        ]
        spots = [self.goal.tolist()] if self.task == "beside" else []
        return {
            "task": self.task, "words": WORDS[self.task], "things": things, "places": [], "tray": [],
            "spots": spots, "hazards": [], "shift": [0.0, 0.0],
        }  # fmt: skip

    def state(self) -> Floats:
        """[11 + S] as TableTalk's: hand 2, closed, held (-1: nothing is carried), cost, where the things are 6, and
        whether the hand has come to the spot of "beside".
        """
        spots = [float(self._near(self.goal))] if self.task == "beside" else []
        numbers = (self.hand, [self.closed, -1.0, 0.0], self.things.ravel(), spots)
        return np.concatenate(numbers).astype(np.float32)

    def picture(self, size: int = 256) -> Picture:
        """As TableTalk is drawn: the scene and the state are of its form."""
        return paint(self.scene(), self.state(), size)

    @property
    def score(self) -> float:
        """1 where the task is done; NaN for play, which nobody can judge."""
        return float("nan") if self.task == "play" else float(self.done)

    @property
    def stages(self) -> dict[str, bool]:
        if self.task == "play":
            return {}
        last = "stopped" if self.task == "beside" else "closed"
        return {"1. there": self._near(self.goal), f"2. {last}": self.done}

    # --- what somebody who sees it as it is would say, and do

    def advice(self) -> str:
        """The motion that helps most now: what whoever shows the task would do within the phrases' window."""
        hand, grip = self.hand, int(self._shown(self.hand, self.closed)[2])
        for _ in range(self.arm.ahead(SECONDS)):
            hand = np.clip(hand + self._shown(hand, self.closed)[:2] * LONGEST, -1.0, 1.0)
        if self.wish and not self.closed and float(np.abs(self.goal - self.hand).max()) <= TOLERANCE / 2:
            grip = 1  # also where the way left is too short for a phrase to name
        return self.arm.phrase(hand - self.hand, grip)

    def demonstrate(self, command: str = "") -> NDArray[Any]:
        """[3] what goes on with the task; or what carries out a motion, at half speed, all its directions alike."""
        if not command:
            return self._shown(self.hand, self.closed)
        phrase = self.arm.understand(command)
        if phrase is None:
            return np.zeros(3)
        move, grip = self.arm.parts(phrase)
        action = np.zeros(3)
        for axis, sign in move:
            action[axis] = 0.5 * sign
        action[2] = grip
        return action

    def _shown(self, hand: NDArray[Any], closed: bool) -> NDArray[Any]:
        """Straight to the place, slower when near; the fingers act there, and are brought back on the way."""
        offset = self.goal - hand
        way = offset / (LONGEST * SLOW)
        way = way / max(1.0, float(np.abs(way).max()))
        near = float(np.hypot(*offset)) <= TOLERANCE / 2
        if self.task == "play":
            shut = self.wish if near else closed
        else:
            shut = self.wish and (near or (closed and float(np.hypot(*offset)) <= TOLERANCE))
        return np.array([*way, float(shut) - float(closed)])

    # --- moments

    def snapshot(self) -> bytes:
        kept = {
            "world": self.name, "task": self.task, "gain": self.gain, "things": self.things, "hand": self.hand,
            "closed": self.closed, "steps": self.steps, "rested": self.rested, "moved": self.moved, "pause": self.pause,
            "goal": self.goal, "wish": self.wish, "chance": self.chance.bit_generator.state,
        }  # fmt: skip
        return packed(kept)

    def restore(self, moment: bytes) -> Floats:
        kept = unpacked(moment, self.name)
        self.chance.bit_generator.state = kept.pop("chance")
        del kept["world"]
        for name, value in kept.items():
            setattr(self, name, value)
        return self.observe()

    # --- how it is laid out, and judged

    def _laid(self) -> NDArray[np.float64]:
        """[3, 2] apart from each other, the first with room beside it."""
        while True:
            things = self.chance.uniform(-0.85, 0.85, (3, 2))
            gaps = np.hypot(*(things[[0, 0, 1]] - things[[1, 2, 2]]).T)
            if gaps.min() >= APART and things[0, 0] + BESIDE <= 0.9:
                return things

    def _errand(self) -> tuple[NDArray[np.float64], bool]:
        """Where to go, and whether the fingers are to be closed there."""
        if self.task == "play":
            self.pause = int(self.chance.integers(0, 9))
            return self.chance.uniform(-0.9, 0.9, 2), bool(self.chance.random() < 0.5)
        if self.task == "beside":
            return self.things[0] + np.array([BESIDE, 0.0]), False
        return self.things[COLOURS.index(self.task)].copy(), True

    def _near(self, place: NDArray[np.float64]) -> bool:
        return float(np.hypot(*(place - self.hand))) <= TOLERANCE

    def _there(self) -> bool:
        if self.task == "beside":
            return self._near(self.goal) and not self.closed
        return self.task != "play" and self._near(self.goal) and self.closed
