"""Toys for methods that learn from clips: short episodes of a pendulum, and which of two stretches earned more."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import torch

from trainers.episodes import Clip, Episodes
from trainers.nn import save
from trainers.nn.clips import ClipReward, ClipRewardConfig
from trainers.nn.gaussian import Gaussian, GaussianConfig
from trainers.records import ClipPair, Record
from trainers.sampling.clips import Shown
from trainers.sampling.experience import Experience, Lived

STEPS = 30
"""Of each episode."""
LENGTH = 10
"""Of each clip."""
ASKED = "Swing the pendulum up, and keep it there"


def pilot() -> Gaussian:
    return Gaussian(GaussianConfig(3, 1, 8, 0.0, "pendulum"), torch.Generator().manual_seed(0))


@functools.cache
def lived() -> tuple[Lived, ...]:
    """Twelve short episodes of a policy that has learned nothing."""
    experience = Experience("pendulum", "", 12, 0)
    first = [int(seed) for seed in experience.copies.seeds]
    rollout = experience.gather(pilot(), STEPS, torch.Generator().manual_seed(1))
    return tuple(
        Lived(seed, rollout.steps[:, copy].numpy(), rollout.rewards[:, copy].numpy(), False)
        for copy, seed in enumerate(first)
    )


def shown(folder: Path) -> Shown:
    return Shown(Episodes(folder), "pendulum", "", {"name": "toy"}, watched=False)


def episodes(folder: Path) -> Path:
    page = shown(folder)
    for one in lived():
        page.keep(one)
    return folder


@functools.cache
def names() -> tuple[str, ...]:
    return tuple(Shown.name_of("pendulum", "", one) for one in lived())


def pairs(count: int = 120) -> list[Record]:
    """Comparisons of two stretches of LENGTH steps, by what they earned; every tenth is a tie."""
    chance = random.Random(6)
    found: list[Record] = []
    every = [(number, start) for number in range(12) for start in range(0, STEPS, LENGTH)]
    while len(found) < count:
        one, other = chance.sample(every, 2)
        worse, better = sorted((one, other), key=earned)
        number = len(found)
        outcome = "tie" if number % 10 == 0 else "chosen"
        chosen, rejected = (
            str(Clip(names()[episode], start, start + LENGTH)) for episode, start in (better, worse)
        )
        who, strength = ("ann", "bob")[number % 2], float(1 + number % 3)
        found.append(
            ClipPair(f"clip-{number}", ASKED, chosen, rejected, outcome, strength, annotator=who)  # type: ignore[arg-type]
        )
    return found


def earned(place: tuple[int, int]) -> float:
    episode, start = place
    return float(lived()[episode].rewards[start : start + LENGTH].sum())


def reward_model(folder: Path) -> str:
    """Three members that have learned nothing, and so differ."""
    return str(save(opinionated(ClipRewardConfig(3, 1, 3, 8, "pendulum")), folder))


def opinionated(config: ClipRewardConfig) -> ClipReward:
    """Members that have learned nothing, and yet say much."""
    model = ClipReward(config, torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.weights[2].mul_(20.0)
    return model


def reaching(folder: Path) -> str:
    """A policy that has learned nothing, in a world of short episodes that needs no pictures."""
    config = GaussianConfig(9, 3, 8, 0.0, "reach", "red")
    return str(save(Gaussian(config, torch.Generator().manual_seed(0)), folder))


def judging_reach(folder: Path) -> str:
    return str(save(opinionated(ClipRewardConfig(9, 3, 3, 8, "reach", "red")), folder))
