"""What the two levels of a robot learn from, as tensors; and their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers.nn.commands import vector
from trainers.nn.robots.robot import Robot
from trainers.nn.robots.seeing import Scenery, back, look, padded

TURN = 10.0
"""How much more the steps count at which the fingers close or open: there is one in forty, and all hangs on it."""
FINGERS = 0.3
"""What the fingers weigh beside the motions."""


class Stretch(Protocol):
    """T steps of an episode: scene, observations [T, D], actions [T, A] and commands [T] (empty: nobody can say)."""

    @property
    def scene(self) -> Mapping[str, Any]: ...
    @property
    def observations(self) -> NDArray[np.float32]: ...
    @property
    def actions(self) -> NDArray[np.float32]: ...
    @property
    def commands(self) -> Sequence[str]: ...
    @property
    def weight(self) -> float: ...


@dataclass(frozen=True)
class LowLessons:
    """S steps for the low level."""

    command: Tensor
    """[S, SIZE]"""
    body: Tensor
    """[S, 4]"""
    fixed: Tensor
    here: Tensor
    offsets: Tensor
    goals: Tensor
    actions: Tensor
    """[S, k, A] what was done from that step on."""
    counts: Tensor
    """[S, k] the weight of each; 0 beyond the command's end."""
    turns: Tensor
    """[S, k] whether the fingers close or open there."""

    def __len__(self) -> int:
        return len(self.body)


@dataclass(frozen=True)
class HighLessons:
    """S decisions for the high level."""

    things: Tensor
    whole: Tensor
    fixed: Tensor
    here: Tensor
    commands: tuple[str, ...]
    """[S] the right one of each."""
    weight: Tensor
    """[S]"""

    def __len__(self) -> int:
        return len(self.commands)

    def labels(self, bank: Sequence[str]) -> Tensor:
        """[S] the numbers of the right commands in a bank that holds them all."""
        at = {command: number for number, command in enumerate(bank)}
        return torch.tensor([at[command] for command in self.commands])


def low_lessons(stretches: Sequence[Stretch], chunk: int, things: int) -> LowLessons:
    """Every step that has a command, with the actions that follow under the same command."""
    parts = []
    for one in stretches:
        steps = [step for step, command in enumerate(one.commands) if command]
        if not steps:
            continue
        scenery = Scenery.of([one.scene], things).rows(len(one.commands))
        wide = padded(list(one.observations), things)
        seen = look(scenery, wide)
        count, size = len(one.commands), one.actions.shape[1]
        actions = np.zeros((count, chunk, size), np.float32)
        counts = np.zeros((count, chunk), np.float32)
        turns = np.zeros((count, chunk), np.float32)
        closed = wide[:, 2] > 0.5
        for ahead in range(chunk):
            for step in steps:
                at = step + ahead
                if at >= count or any(one.commands[step] != one.commands[step + k] for k in range(ahead + 1)):
                    continue
                actions[step, ahead], counts[step, ahead] = one.actions[at], one.weight
                turns[step, ahead] = (one.actions[at, -1] > 0) != closed[at]
        rows = np.array(steps)
        arrays = (
            np.stack([vector(one.commands[step]) for step in steps]),
            wide[rows, :4],
            scenery.fixed[rows],
            scenery.here[rows],
            seen.things[rows][..., :2],
            seen.goals[rows],
            actions[rows],
            counts[rows],
            turns[rows],
        )
        parts.append(LowLessons(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)))
    if not parts:
        raise ValueError("No step has a command: there is nothing for the low level to learn from.")
    return LowLessons(*(torch.cat([getattr(one, item.name) for one in parts]) for item in fields(LowLessons)))


def high_lessons(
    decisions: Sequence[tuple[Stretch, int, str, float]], history: int, skip: int, things: int
) -> HighLessons:
    """Of each (stretch, step, right command, weight) what the high level sees then."""
    by_stretch: dict[int, tuple[Stretch, list[int]]] = {}
    for number, (stretch, *_) in enumerate(decisions):
        by_stretch.setdefault(id(stretch), (stretch, []))[1].append(number)
    order: list[int] = []
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("things", "whole", "fixed", "here")}
    for stretch, numbers in by_stretch.values():
        scenery = Scenery.of([stretch.scene], things).rows(len(stretch.commands))
        seen = look(scenery, padded(list(stretch.observations), things))
        at = np.array([back(decisions[number][1], history, skip) for number in numbers])  # [S, H + 1]
        parts["things"].append(np.concatenate([seen.things[column] for column in at.T], -1))
        parts["whole"].append(np.concatenate([seen.whole[column] for column in at.T], -1))
        parts["fixed"].append(scenery.fixed[at[:, 0]])
        parts["here"].append(scenery.here[at[:, 0]])
        order += numbers
    if not order:
        raise ValueError(
            "Nobody says what is right at any step: there is nothing for the high level to learn."
        )
    found = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
    commands = tuple(decisions[number][2] for number in order)
    return HighLessons(
        **found, commands=commands, weight=torch.tensor([decisions[number][3] for number in order])
    )


def low_loss(robot: Robot, lessons: LowLessons, rows: Tensor, whole: Tensor) -> Tensor:
    """L1 of the motions, and binary cross entropy of the fingers; `whole` is what the batch's weights sum to."""
    predicted = robot.low(
        lessons.command[rows],
        lessons.body[rows],
        lessons.fixed[rows],
        lessons.here[rows],
        lessons.offsets[rows],
        lessons.goals[rows],
    )
    wanted, counts = lessons.actions[rows], lessons.counts[rows]
    motion = (predicted[..., :-1] - wanted[..., :-1]).abs().mean(-1)
    closing = F.binary_cross_entropy_with_logits(
        predicted[..., -1], (wanted[..., -1] > 0).float(), reduction="none"
    )
    turns = 1 + (TURN - 1) * lessons.turns[rows]
    loss: Tensor = ((motion + FINGERS * turns * closing) * counts).sum() / whole
    return loss


def logits(robot: Robot, lessons: HighLessons, rows: Tensor) -> Tensor:
    """[B, C] over the robot's bank."""
    scores: Tensor = robot.high(
        lessons.things[rows], lessons.whole[rows], lessons.fixed[rows], lessons.here[rows], robot.vectors
    )
    return scores
