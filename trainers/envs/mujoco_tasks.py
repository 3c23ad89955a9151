"""Gymnasium's MuJoCo tasks: an arm that reaches, an arm that pushes, a cheetah that runs."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from trainers.envs.gym_worlds import Environment, Gym, GymWorld
from trainers.envs.physics import Eye, choose_gl, log_warnings, prepare, unsteady
from trainers.envs.worlds import Picture

AT_THE_TARGET = 0.02
"""Metres from the fingertip to the target that count as reaching it. Gymnasium has no such line of its own."""
AT_THE_GOAL = 0.05
"""Metres from the middle of what is pushed to the middle of the goal."""

_eyes: WeakKeyDictionary[Any, Eye] = WeakKeyDictionary()


CAMERAS: dict[str, dict[str, Any]] = {
    "reacher": {"lookat": (0.0, 0.0, 0.0), "distance": 0.75, "azimuth": 90.0, "elevation": -90.0},
    "pusher": {"lookat": (0.35, -0.25, -0.3), "distance": 2.2, "azimuth": 90.0, "elevation": -55.0},
}
"""Nearer than Gymnasium's own, by the name of the model."""


def make(name: str) -> GymWorld:
    choose_gl()
    log_warnings()
    return GymWorld(name, GYMS[name])


def physics_shown(env: Environment) -> NDArray[Any]:
    """[Q + V] where every joint is, and how fast it moves."""
    return np.concatenate((env.data.qpos, env.data.qvel))


def paint(env: Environment, size: int) -> Picture:
    """By the camera that runs along where the model has one, else from a place of ours."""
    if env not in _eyes:
        _eyes[env] = Eye(env.model, _camera(env))
    return _eyes[env].picture(env.data, size)


def steady(env: Environment, seen: NDArray[Any]) -> NDArray[Any]:
    """What is seen; an error where the physics broke down, which MuJoCo hides by starting anew."""
    if wrong := unsteady(env.data):
        raise FloatingPointError(wrong)
    return seen


def apart(env: Environment, one: str, other: str) -> float:
    """Metres between the middles of two bodies."""
    return float(np.linalg.norm(env.get_body_com(one) - env.get_body_com(other)))


def reached(env: Environment, play: GymWorld) -> dict[str, bool]:
    return {"at the target": apart(env, "fingertip", "target") <= AT_THE_TARGET}


def pushed(env: Environment, play: GymWorld) -> dict[str, bool]:
    return {"on the goal": apart(env, "object", "goal") <= AT_THE_GOAL}


def _prepare(env: Environment) -> None:
    prepare(env.model)


def _camera(env: Environment) -> Any:
    import mujoco

    if mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_CAMERA, "track") >= 0:
        return "track"
    camera = mujoco.MjvCamera()
    for name, value in CAMERAS[env.spec.name.lower()].items():
        setattr(camera, name, value)
    return camera


GYMS: dict[str, Gym] = {
    "reacher": Gym(
        "Reacher",
        {"reach": "Reacher-v5"},
        {"reach": "Bring the fingertip to the target"},
        ("turn the shoulder left", "turn the elbow left"),
        0.02,
        50,
        "physics",
        ("goal",),
        see=steady,
        shown=physics_shown,
        score=lambda env, play: float(all(reached(env, play).values())),
        stages=reached,
        paint=paint,
        prepare=_prepare,
    ),
    "pusher": Gym(
        "Pusher",
        {"push": "Pusher-v5"},
        {"push": "Push the cylinder onto the goal"},
        (
            "shoulder pan",
            "shoulder lift",
            "upper arm roll",
            "elbow",
            "forearm roll",
            "wrist bend",
            "wrist roll",
        ),
        0.05,
        100,
        "physics",
        ("goal_pos", "cylinder_pos"),
        see=steady,
        shown=physics_shown,
        score=lambda env, play: float(all(pushed(env, play).values())),
        stages=pushed,
        paint=paint,
        prepare=_prepare,
    ),
    "half_cheetah": Gym(
        "Half cheetah",
        {"run": "HalfCheetah-v5"},
        {"run": "Run to the right, as fast as it goes"},
        ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot"),
        0.05,
        1000,
        "physics",
        see=steady,
        shown=physics_shown,
        paint=paint,
        prepare=_prepare,
    ),
}
