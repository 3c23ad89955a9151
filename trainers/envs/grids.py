"""MiniGrid and BabyAI: rooms of squares with doors, keys and things, and one move a step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.gym_worlds import Environment, Gym, GymWorld, the_largest

MOVES = ("turn left", "turn right", "forward", "pick up", "drop", "toggle")
DONE = 6
"""MiniGrid's move that changes nothing."""


def make(name: str) -> GymWorld:
    return GymWorld(name, GYMS[name])


def seen_in_front(env: Environment, seen: dict[str, Any]) -> NDArray[np.float32]:
    """[153] for each of the 7 x 7 squares in front: kind, colour and state by MiniGrid's numbers, in tenths; which of
    the four ways it looks; whether it carries something, and that thing's kind in tenths.
    """
    ways = np.eye(4)[seen["direction"]]
    from minigrid.core.constants import OBJECT_TO_IDX

    carried = [1.0, OBJECT_TO_IDX[env.carrying.type] / 10] if env.carrying else [0.0, 0.0]
    return np.concatenate((seen["image"].ravel() / 10, ways, carried)).astype(np.float32)


def mission(env: Environment) -> str:
    text = str(env.mission)
    return text[:1].upper() + text[1:]


def solved(env: Environment, play: GymWorld) -> float:
    """Every task of both pays only where it is solved."""
    return float(play.done and play.earned > 0)


def _grid(title: str, ids: dict[str, str], words: dict[str, str], most_steps: int) -> Gym:
    return Gym(
        title,
        ids,
        words,
        MOVES,
        0.25,
        most_steps,
        "replay",
        act=the_largest(otherwise=DONE),
        see=seen_in_front,
        score=solved,
        said=mission,
        module="minigrid",
        options={"highlight": False, "max_steps": most_steps},
    )


GYMS: dict[str, Gym] = {
    "minigrid": _grid(
        "MiniGrid",
        {
            "empty": "MiniGrid-Empty-Random-6x6-v0",
            "door_key": "MiniGrid-DoorKey-6x6-v0",
            "unlock": "MiniGrid-Unlock-v0",
            "four_rooms": "MiniGrid-FourRooms-v0",
        },
        {
            "empty": "Get to the green goal square",
            "door_key": "Use the key to open the door and then get to the goal",
            "unlock": "Open the door",
            "four_rooms": "Reach the goal",
        },
        300,
    ),
    "babyai": _grid(
        "BabyAI",
        {
            "go_to": "BabyAI-GoToLocal-v0",
            "pick_up": "BabyAI-PickupLoc-v0",
            "open": "BabyAI-OpenDoor-v0",
            "put_next": "BabyAI-PutNextLocal-v0",
        },
        {
            "go_to": "Go to a thing",
            "pick_up": "Pick up a thing",
            "open": "Open a door",
            "put_next": "Put a thing next to another",
        },
        200,
    ),
}
