"""PushT: a disc pushes a T onto its outline (Chi et al. 2023, arXiv 2303.04137); from the package gym-pusht."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.envs.gym_worlds import Environment, Gym, GymWorld

SIDE = 512.0
"""The table's side, in its own units."""
PULL = 100.0
"""How far from where the disc is now the point lies that an action of 1 draws it to."""


def make(name: str) -> GymWorld:
    return GymWorld(name, GYMS[name])


def drawn_to(env: Environment, action: NDArray[np.float32]) -> NDArray[np.float64]:
    """The environment is told a place on the table, y pointing down. An action is the way there: zeros stay."""
    place = np.array(env.agent.position) + np.array([action[0], -action[1]], dtype=float) * PULL
    return place.clip(0.0, SIDE)


def laid_out(env: Environment, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """[6] disc and T from -1 to 1, y pointing up; sine and cosine of the T's angle, anticlockwise."""
    right, down = seen[0:4:2] / SIDE * 2 - 1, seen[1:4:2] / SIDE * 2 - 1
    return np.array([right[0], -down[0], right[1], -down[1], np.sin(-seen[4]), np.cos(-seen[4])])


def covered(env: Environment, play: GymWorld) -> float:
    """The share of the outline that the T covers, where 95 of a hundred are all of it."""
    return min(1.0, float(env._get_coverage()) / float(env.success_threshold))


GYMS: dict[str, Gym] = {
    "push_t": Gym(
        "PushT",
        {"push": "gym_pusht/PushT-v0"},
        {"push": "Push the T onto its outline"},
        ("right", "up"),
        0.1,
        300,
        "replay",
        act=drawn_to,
        see=laid_out,
        score=covered,
        module="gym_pusht",
    ),
}
