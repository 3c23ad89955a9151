"""What a robot makes of what it sees: each thing by its name, from where the gripper is.

Learned from numbers about things, and not from a picture's pixels or a row of coordinates, a policy does the same with
the red block wherever it lies and whichever place it has in the row. An observation is the table's: gripper 2, closed,
holding, something near and its offset 3, and where the N things seem to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.nn.commands import NAME, name

Floats = NDArray[np.float32]

AHEAD_OF_THINGS = 7
"""Numbers of an observation before the things."""
OF_A_THING = 7
"""offset 2, way from its goal in goals' sizes 2, whether it is there 1, wrist's offset less the camera's 2"""
OF_THE_WHOLE = 8
"""gripper 2, closed, holding, something near, its offset 2, its distance 1"""
FIXED = NAME + 1
"""its name, its place in the row"""
FAR = 3.0
"""Goals' sizes, beyond which a thing is just not there."""
MARK = 0.08
"""How large a mark is taken to be, where the scene does not say."""
FINE = 4.0
"""Offsets that the camera at the wrist sees are small, and matter: they count so many times as much."""


@dataclass(frozen=True)
class Scenery:
    """What stays through each of B episodes, whose tables hold at most M things."""

    here: NDArray[np.bool_]
    """[B, M] whether there is a thing; rows are filled up to the longest."""
    fixed: Floats
    """[B, M, FIXED]"""
    goal: Floats
    """[B, M, 2] where each thing is to go."""
    half: Floats
    """[B, M, 2] how far from the middle of it still counts."""

    @classmethod
    def of(cls, scenes: Sequence[Mapping[str, Any]], most: int = 0) -> Scenery:
        """Raises ValueError for a scene without named things and a tray: this robot sees nothing else."""
        for scene in scenes:
            if not scene.get("things") or not scene.get("tray"):
                raise ValueError(
                    f"Found a scene that holds {', '.join(scene) or 'nothing'}. This robot sees named things on a "
                    "table, such as those of table_talk: let it act in such a world."
                )
        count = max(most, *(len(scene["things"]) for scene in scenes))
        here = np.zeros((len(scenes), count), bool)
        fixed = np.zeros((len(scenes), count, FIXED), np.float32)
        goal = np.zeros((len(scenes), count, 2), np.float32)
        half = np.ones((len(scenes), count, 2), np.float32)
        for row, scene in enumerate(scenes):
            for number, thing in enumerate(scene["things"]):
                here[row, number] = True
                fixed[row, number] = (*name(thing["name"]), number / 5)
                goal[row, number], half[row, number] = _goal(scene, number)
        return cls(here, fixed, goal, half)

    def rows(self, count: int) -> Scenery:
        """The scenery of one episode, for each of so many of its steps."""
        here = np.broadcast_to(self.here, (count, *self.here.shape[1:]))
        numbers = (
            np.broadcast_to(part, (count, *part.shape[1:])) for part in (self.fixed, self.goal, self.half)
        )
        return Scenery(here, *numbers)


def _goal(scene: Mapping[str, Any], number: int) -> tuple[Sequence[float], Sequence[float]]:
    """Middle and half sides of where a thing goes: its own mark, the only mark there is, or else the tray."""
    spots = scene.get("spots") or []
    if len(spots) == len(scene["things"]):
        return spots[number], (MARK, MARK)
    if spots:
        return spots[0], (MARK, MARK)
    tray = scene["tray"]
    return tray[:2], tray[2:]


@dataclass(frozen=True)
class Seen:
    """B moments."""

    things: Floats
    """[B, M, OF_A_THING]"""
    whole: Floats
    """[B, OF_THE_WHOLE]"""
    goals: Floats
    """[B, M, 2] from the gripper to where each thing goes."""


def look(scenery: Scenery, observations: Floats) -> Seen:
    """What is seen in B moments; `observations` [B, 7 + 2M], of which rows with fewer things are filled with zeros."""
    gripper = observations[:, None, :2]
    placed = observations[:, AHEAD_OF_THINGS:].reshape(len(observations), -1, 2)
    near, offset = observations[:, None, 4:5], observations[:, None, 5:7]
    offsets = placed - gripper
    away = (placed - scenery.goal) / scenery.half
    inside = (np.abs(away).max(axis=-1, keepdims=True) < 1).astype(np.float32)
    apart = near * (offset - offsets)
    things = np.concatenate((offsets, np.clip(away, -FAR, FAR), inside, FINE * apart), axis=-1)
    distance = np.linalg.norm(offset[:, 0], axis=-1, keepdims=True)
    whole = np.concatenate((observations[:, :5], FINE * offset[:, 0], FINE * distance), axis=-1)
    return Seen(
        (things * scenery.here[..., None]).astype(np.float32),
        whole.astype(np.float32),
        ((scenery.goal - gripper) * scenery.here[..., None]).astype(np.float32),
    )


def padded(observations: Sequence[NDArray[Any]], things: int) -> Floats:
    """[B, 7 + 2 things] of observations with as many things or fewer."""
    wide = np.zeros((len(observations), AHEAD_OF_THINGS + 2 * things), np.float32)
    for row, one in enumerate(observations):
        wide[row, : len(one)] = one
    return wide


def back(step: int, history: int, skip: int) -> list[int]:
    """The steps whose moments are looked at in deciding at `step`, oldest first; none is before the first."""
    return [max(0, step - skip * ago) for ago in range(history, -1, -1)]
