"""The worlds that robots act in, and the stated rules that learned scores are set against: one line each.

Imports no world: the web lists them without loading any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from trainers.envs.worlds import World

RULES: dict[str, str] = {"hotel": "trainers.envs.hotel"}
"""Name -> the module whose `gold` scores an answer to a prompt."""


@dataclass(frozen=True)
class WorldEntry:
    """A world: where it lives, what there is to do in it, and how it is shown."""

    module: str
    """Its `make()` returns a World."""
    title: str
    tasks: tuple[str, ...]
    drawn: bool
    """Whether the browser draws its state; else it is shown as pictures."""
    talks: bool = False
    """Whether it has an `advice()` in words: what a scripted annotator says."""
    needs: str = ""
    """The packages it cannot do without where Kibitz does not bring them, by the names they are imported by."""
    extra: str = "worlds"
    """The extra of Kibitz that brings them."""

    @property
    def here(self) -> bool:
        """Whether it can be played on this machine."""
        return not self.missing

    @property
    def missing(self) -> str:
        """The first package that it needs and that is not installed; empty where all are."""
        return next((one for one in self.needs.split() if find_spec(one) is None), "")


ON_THE_TABLE = ("pack", "sort", "line", "stack", "peg", "clean", "push")
WORLDS: dict[str, WorldEntry] = {
    "table_talk": WorldEntry(
        "trainers.envs.table_talk.play",
        "TableTalk",
        ON_THE_TABLE,
        drawn=True,
        talks=True,
    ),
    "reach": WorldEntry(
        "trainers.envs.reach",
        "Reach",
        ("red", "green", "blue", "beside", "play"),
        drawn=True,
        talks=True,
    ),
    "table_talk_mujoco": WorldEntry(
        "trainers.envs.table_talk_mujoco.play",
        "TableTalk with physics",
        ON_THE_TABLE,
        drawn=True,
        talks=True,
        needs="mujoco",
    ),
    "pendulum": WorldEntry(
        "trainers.envs.classic", "Pendulum", ("swing_up",), drawn=False, needs="gymnasium"
    ),
    "cartpole": WorldEntry(
        "trainers.envs.classic", "Cart and pole", ("balance",), drawn=False, needs="gymnasium"
    ),
    "lunar_lander": WorldEntry(
        "trainers.envs.box2d", "Lunar lander", ("land",), drawn=False, needs="gymnasium Box2D pygame"
    ),
    "car_racing": WorldEntry(
        "trainers.envs.box2d", "Car racing", ("drive",), drawn=False, needs="gymnasium Box2D pygame"
    ),
    "reacher": WorldEntry(
        "trainers.envs.mujoco_tasks", "Reacher", ("reach",), drawn=False, needs="gymnasium mujoco imageio"
    ),
    "pusher": WorldEntry(
        "trainers.envs.mujoco_tasks", "Pusher", ("push",), drawn=False, needs="gymnasium mujoco imageio"
    ),
    "half_cheetah": WorldEntry(
        "trainers.envs.mujoco_tasks", "Half cheetah", ("run",), drawn=False, needs="gymnasium mujoco imageio"
    ),
    "minigrid": WorldEntry(
        "trainers.envs.grids",
        "MiniGrid",
        ("empty", "door_key", "unlock", "four_rooms"),
        drawn=False,
        needs="gymnasium minigrid",
    ),
    "babyai": WorldEntry(
        "trainers.envs.grids",
        "BabyAI",
        ("go_to", "pick_up", "open", "put_next"),
        drawn=False,
        needs="gymnasium minigrid",
    ),
    "push_t": WorldEntry(
        "trainers.envs.push_t", "PushT", ("push",), drawn=False, needs="gymnasium gym_pusht", extra="pusht"
    ),
}


def world(name: str) -> World:
    """A world of that name, or an error that names those there are."""
    if name not in WORLDS:
        raise ValueError(f"No world called '{name}'. Known worlds: {', '.join(WORLDS)}.")
    entry = WORLDS[name]
    if not entry.here:
        raise ValueError(
            f"{entry.title} needs the package {entry.missing}, which is not installed. Install Kibitz with the extra "
            f"that brings it: pip install 'kibitz[{entry.extra}]'; docs/worlds.md says what is in it."
        )
    made: World = import_module(entry.module).make(name)
    return made


def tasks_of(name: str, listed: str) -> list[str]:
    """The tasks of a world that a setting lists, with commas. Raises ValueError for one that it does not have."""
    tasks = [one.strip() for one in listed.split(",") if one.strip()]
    known = WORLDS[name].tasks
    if unknown := [one for one in tasks if one not in known]:
        raise ValueError(
            f"{name} has no task '{unknown[0]}'. It has {', '.join(known)}: name some of them in tasks."
        )
    return tasks


TABLES = tuple(name for name, one in WORLDS.items() if one.tasks == ON_THE_TABLE)
"""Worlds of named things on a table: what a robot with two levels can see."""


def place_problem(method: str, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """(setting, words): what stands against the world and the tasks that a method's whole config names, or None."""
    if "world" not in config:
        return None
    name = config["world"]
    if name not in WORLDS:
        return "world", f"No world called '{name}'. Known worlds: {', '.join(WORLDS)}."
    if method == "control/bc" and name not in TABLES:
        return (
            "world",
            f"{method} teaches a robot that sees named things on a table. Name {' or '.join(TABLES)}.",
        )
    task, known = config.get("task", ""), WORLDS[name].tasks
    if task and task not in known:
        return "task", f"{name} has no task '{task}'. It has {', '.join(known)}."
    if "tasks" in config:
        try:
            listed = tasks_of(name, config["tasks"])
        except ValueError as problem:
            return "tasks", str(problem)
        if not listed and config.get("demonstrations", 1):
            return "tasks", "There is nothing to do: tasks is empty. Name some of the world's."
    return None
