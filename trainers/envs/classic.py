"""Gymnasium's classic control: a pendulum to swing up and a pole to balance, drawn here, so that no pygame is needed.

Many pendulums at once are stepped as arrays: the same numbers, some thirty times as many a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.drawing import Sheet
from trainers.envs.gym_worlds import Environment, Gym, GymWorld
from trainers.envs.vector import Engine
from trainers.envs.worlds import Picture

INK, PAPER, RED, GREY = (40, 44, 52), (250, 249, 246), (196, 72, 66), (120, 126, 136)
TORQUE, SPEED, LENGTH, GRAVITY, MOMENT = 2.0, 8.0, 1.0, 10.0, 0.05
"""Of Gymnasium's Pendulum-v1: the most torque, the most speed, the length, gravity, and the seconds of a step."""


def make(name: str) -> GymWorld:
    return GymWorld(name, GYMS[name])


def copies(name: str, count: int) -> Engine | None:
    """Many of them stepped together, where there is a quicker way than one after the other."""
    return Pendulums(count) if name == "pendulum" else None


def pushed(env: Environment, action: NDArray[np.float32]) -> int:
    """The cart is pushed with all its force at every step: to the right from 0 on, else to the left."""
    return int(action[0] >= 0)


def balanced(env: Environment, play: GymWorld) -> float:
    """The share of the longest episode for which the pole has stood."""
    return (play.steps - play.done) / play.most_steps


def pendulum_shown(env: Environment) -> NDArray[Any]:
    """[3] angle from upright (anticlockwise), its speed, the torque of the last step."""
    return np.array([*env.state, 0.0 if env.last_u is None else env.last_u])


def paint_pendulum(env: Environment, size: int) -> Picture:
    angle, _, torque = pendulum_shown(env)
    sheet = Sheet(size, 1.25, PAPER)
    tip = (-math.sin(angle), math.cos(angle))
    sheet.line([(0, 0), tip], RED, 0.16, round_ends=True)
    sheet.disc((0, 0), 0.05, INK)
    if abs(torque) > 1e-3:
        # An arc from upright, as long as the torque is strong; anticlockwise is to the left.
        turn = torque / TORQUE * 1.6
        arc = [(-0.35 * math.sin(turn * t), 0.35 * math.cos(turn * t)) for t in np.linspace(0, 1, 24)]
        sheet.line(arc, INK, 0.03)
        sheet.disc(arc[-1], 0.045, INK)
    return sheet.picture()


def paint_cart(env: Environment, size: int) -> Picture:
    place, _, angle, _ = env.state
    sheet = Sheet(size, env.x_threshold * 1.05, PAPER)
    sheet.line([(-env.x_threshold, -0.6), (env.x_threshold, -0.6)], GREY, 0.02)
    for edge in (-env.x_threshold, env.x_threshold):
        sheet.line([(edge, -0.75), (edge, -0.45)], GREY, 0.02)
    sheet.box((place, -0.5), (0.3, 0.15), INK, corner=0.05)
    top = (place + 2 * env.length * 1.2 * math.sin(angle), -0.4 + 2 * env.length * 1.2 * math.cos(angle))
    sheet.line([(place, -0.4), top], RED, 0.1, round_ends=True)
    sheet.disc((place, -0.4), 0.04, PAPER)
    return sheet.picture()


GYMS: dict[str, Gym] = {
    "pendulum": Gym(
        "Pendulum",
        {"swing_up": "Pendulum-v1"},
        {"swing_up": "Swing the pendulum up, and keep it there"},
        ("turn left",),
        MOMENT,
        200,
        "attributes",
        ("state", "last_u"),
        shown=pendulum_shown,
        paint=paint_pendulum,
    ),
    "cartpole": Gym(
        "Cart and pole",
        {"balance": "CartPole-v1"},
        {"balance": "Keep the pole upright"},
        ("right",),
        0.02,
        500,
        "attributes",
        ("state", "steps_beyond_terminated"),
        act=pushed,
        shown=lambda env: np.asarray(env.state),
        score=balanced,
        paint=paint_cart,
    ),
}


class Pendulums:
    """N pendulums as arrays, with the arithmetic of Gymnasium's Pendulum-v1 in its order and precision."""

    observation, action, most_steps = 3, 1, 200

    def __init__(self, count: int) -> None:
        self.angles = np.zeros((count, 2))
        """[N, 2] angle from upright, and its speed."""

    def begin(self, which: NDArray[np.intp], seeds: Sequence[int]) -> None:
        most = np.array([np.pi, 1.0])
        for number, seed in zip(which, seeds, strict=True):
            chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
            self.angles[number] = chance.uniform(-most, most)

    def advance(self, actions: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        angle, speed = self.angles.T
        torque = (actions[:, 0] * np.float32(TORQUE)).clip(-TORQUE, TORQUE)
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
        faster = speed + (3 * GRAVITY / (2 * LENGTH) * np.sin(angle) + 3.0 / LENGTH**2 * torque) * MOMENT
        faster = faster.clip(-SPEED, SPEED)
        self.angles = np.stack((angle + faster * MOMENT, faster), axis=1)
        return -cost, np.zeros(len(cost), dtype=bool)

    def look(self) -> NDArray[np.float32]:
        angle, speed = self.angles.T
        return np.stack((np.cos(angle), np.sin(angle), speed), axis=1).astype(np.float32)

    def kept(self) -> dict[str, Any]:
        return {"angles": self.angles}

    def come_back(self, kept: dict[str, Any]) -> None:
        self.angles = kept["angles"]
