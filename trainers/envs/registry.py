"""The worlds that robots act in, and the stated rules that learned scores are set against: one line each.

Imports no world: the web lists them without loading any.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

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
    """The package it cannot do without, where Kibitz does not bring it."""

    @property
    def here(self) -> bool:
        """Whether it can be played on this machine."""
        return not self.needs or find_spec(self.needs) is not None


WORLDS: dict[str, WorldEntry] = {
    "table_talk": WorldEntry(
        "trainers.envs.table_talk.play",
        "TableTalk",
        ("pack", "sort", "line", "stack", "peg", "clean", "push"),
        drawn=True,
        talks=True,
    ),
}


def world(name: str) -> World:
    """A world of that name, or an error that names those there are."""
    if name not in WORLDS:
        raise ValueError(f"No world called '{name}'. Known worlds: {', '.join(WORLDS)}.")
    entry = WORLDS[name]
    if not entry.here:
        raise ValueError(
            f"{entry.title} needs the package {entry.needs}, which is not installed. Install Kibitz with the extra "
            "that brings it; the README lists them."
        )
    made: World = import_module(entry.module).make(name)
    return made
