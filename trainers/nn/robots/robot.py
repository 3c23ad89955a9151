"""A robot of two levels as one model: kept on disk, asked for one episode at a time or for many together."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.nn.commands import MOTIONS, command_of, vectors
from trainers.nn.pilot import Choice, OneOfMany
from trainers.nn.robots.high_level import HighLevel
from trainers.nn.robots.low_level import LowLevel, grip
from trainers.nn.robots.seeing import Scenery, Seen, back, look, padded
from trainers.nn.storage import read_weights, write_weights


@dataclass(frozen=True)
class RobotConfig:
    """How it is shaped, and what its first data were, so that they can be made again."""

    world: str = "table_talk"
    task: str = "pack"
    actions: int = 3
    """Numbers of an action; the last one closes or opens the fingers."""
    every: int = 10
    """Steps from one decision of the high level to the next."""
    history: int = 3
    """Earlier moments that the high level sees."""
    skip: int = 5
    """Steps from one of these to the next."""
    chunk: int = 4
    """Actions that the low level foretells at a time."""
    execute: int = 2
    """How many of them are carried out before it is asked anew; fewer where a new command comes."""
    width: int = 128
    seed: int = 0
    base: dict[str, Any] = field(default_factory=dict)
    """What its first data were made from: {"demonstrations", "seed", "dials", "drives": how many people drove}."""


class Robot(OneOfMany, nn.Module):
    """Keeps the protocol `Pilot` for one episode; `together` is the same for many."""

    kind = "yay_robot"
    layer: Literal["", "command", "motion"] = "command"
    motions = MOTIONS

    def __init__(self, config: RobotConfig, bank: Sequence[str] = ()) -> None:
        super().__init__()
        if not 1 <= config.execute <= config.chunk:
            raise ValueError(f"Found execute = {config.execute}; expected from 1 to chunk, {config.chunk}.")
        self.config = config
        self.every = config.every
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.low = LowLevel(config.actions, config.chunk, config.width)
            self.high = HighLevel(config.history, config.width)
        self._bank: tuple[str, ...] = ()
        self._vectors = torch.zeros(0)
        self.bank = bank

    # --- the bank

    @property
    def bank(self) -> Sequence[str]:
        """The commands that the high level chooses among."""
        return self._bank

    @bank.setter
    def bank(self, commands: Iterable[str]) -> None:
        self._bank = tuple(dict.fromkeys(commands))
        self._vectors = torch.from_numpy(vectors(self._bank))

    @property
    def vectors(self) -> Tensor:
        """[C, SIZE] of the bank."""
        return self._vectors

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Together:
        """Many episodes at once, each with a table of its own."""
        return Together(self, scenes)

    # --- on disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)
        (directory / "bank.json").write_text(
            json.dumps(self._bank, ensure_ascii=False, indent=1) + "\n", "utf-8"
        )

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Robot:
        robot = cls(RobotConfig(**config), json.loads((directory / "bank.json").read_text("utf-8")))
        read_weights(robot, directory)
        return robot.eval()


class Together:
    """Episodes that one robot lives at the same time, step by step."""

    def __init__(self, robot: Robot, scenes: Sequence[Mapping[str, Any]]) -> None:
        self.robot, self.scenery = robot, Scenery.of(scenes)
        self.names = [{thing["name"] for thing in scene["things"]} for scene in scenes]
        config = robot.config
        self._seen: deque[Seen] = deque(maxlen=config.history * config.skip + 1)
        self._body = np.zeros((len(scenes), 4), np.float32)
        self._fixed = torch.from_numpy(self.scenery.fixed)
        self._here = torch.from_numpy(self.scenery.here)
        self._planned = torch.zeros(len(scenes), config.chunk, config.actions)
        self._told: list[str] = [""] * len(scenes)
        self._done = [config.execute] * len(scenes)
        """How many of the planned actions were carried out."""

    def see(self, observations: Sequence[NDArray[Any]]) -> None:
        """[B] what there is to see before this step."""
        wide = padded(observations, self.scenery.here.shape[1])
        self._seen.append(look(self.scenery, wide))
        self._body = wide[:, :4]

    @torch.no_grad()
    def choices(self, most: int = 5) -> list[list[Choice]]:
        """Of each episode, what the high level would say now, most likely first."""
        config, bank = self.robot.config, self.robot.bank
        if not bank:
            return [[] for _ in self.names]
        now = len(self._seen) - 1
        moments = [self._seen[at] for at in back(now, config.history, config.skip)]
        things = torch.from_numpy(np.concatenate([one.things for one in moments], -1))
        whole = torch.from_numpy(np.concatenate([one.whole for one in moments], -1))
        logits = self.robot.high(things, whole, self._fixed, self._here, self.robot.vectors)
        chances, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
        return [
            [Choice(bank[number], chance) for number, chance in zip(numbers[:most], shares, strict=False)]
            for numbers, shares in zip(order.tolist(), chances.tolist(), strict=True)
        ]

    @torch.no_grad()
    def act(self, commands: Sequence[str]) -> NDArray[np.float32]:
        """[B, A] what each does by its command; one that says nothing, or names what is not there, does nothing.

        What was planned is dropped as soon as the command is another one.
        """
        execute = self.robot.config.execute
        stale = [
            told != command or done >= execute
            for told, command, done in zip(self._told, commands, self._done, strict=True)
        ]
        if any(stale):
            seen = self._seen[-1]
            planned = self.robot.low(
                torch.from_numpy(vectors(commands)),
                torch.from_numpy(self._body),
                self._fixed,
                self._here,
                torch.from_numpy(seen.things[..., :2].copy()),
                torch.from_numpy(seen.goals),
            )
            fresh = torch.tensor(stale)
            self._planned[fresh] = planned[fresh]
            self._done = [0 if old else done for old, done in zip(stale, self._done, strict=True)]
            self._told = list(commands)
        rows = torch.arange(len(commands))
        actions: NDArray[np.float32] = grip(self._planned[rows, torch.tensor(self._done)]).numpy()
        self._done = [done + 1 for done in self._done]
        for row, command in enumerate(commands):
            if not can_be_done(command, self.names[row]):
                actions[row] = 0.0
        return actions


def can_be_done(command: str, names: set[str]) -> bool:
    """Whether a command says something, about something that is there: nobody guesses what else was meant."""
    said = command_of(command)
    return said is not None and (not said.thing or said.thing in names)
