"""Gymnasium's Box2D games: a lander that is to come down softly, and a car on a track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.envs.gym_worlds import Environment, Gym, GymWorld

COARSE = 24
"""The car sees a grey picture of so many pixels a side."""


def make(name: str) -> GymWorld:
    return GymWorld(name, GYMS[name])


def landed(env: Environment, play: GymWorld) -> dict[str, bool]:
    """It is down where it rests without moving: then Box2D lets it sleep."""
    legs = [bool(leg.ground_contact) for leg in env.legs]
    return {"a leg on the ground": any(legs), "at rest": play.done and not env.lander.awake}


def steered(env: Environment, action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Right, and go: above zero is gas, below it the brake."""
    right, go = (float(value) for value in action)
    return np.array([right, max(go, 0.0), max(-go, 0.0)], dtype=np.float32)


def seen_from_the_car(env: Environment, seen: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[577] its picture [96, 96, 3] in grey from 0 to 1, four pixels to one along each side; and its speed."""
    grey = seen.mean(axis=2) / 255.0
    block = len(grey) // COARSE
    coarse = grey.reshape(COARSE, block, COARSE, block).mean(axis=(1, 3))
    speed = float(np.hypot(*env.car.hull.linearVelocity)) / 100.0
    return np.append(coarse, speed).astype(np.float32)


def driven(env: Environment, play: GymWorld) -> float:
    """The share of the track's tiles that it was on."""
    return float(env.tile_visited_count) / len(env.track)


GYMS: dict[str, Gym] = {
    "lunar_lander": Gym(
        "Lunar lander",
        {"land": "LunarLanderContinuous-v3"},
        {"land": "Land softly between the flags"},
        ("main engine", "turn right"),
        0.02,
        1000,
        "replay",
        score=lambda env, play: float(landed(env, play)["at rest"]),
        stages=landed,
    ),
    "car_racing": Gym(
        "Car racing",
        {"drive": "CarRacing-v3"},
        {"drive": "Drive round the track"},
        ("right", "go"),
        0.02,
        1000,
        "replay",
        act=steered,
        see=seen_from_the_car,
        score=driven,
    ),
}
