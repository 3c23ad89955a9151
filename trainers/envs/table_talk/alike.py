"""Which commands a phrase looks like that the grammar does not understand: to be offered, never to be obeyed.

A phrase is a vector: its words, the letters of each whatever their order (fingers swap neighbours), and their runs of
two to four letters, hashed. A command is as like it as the nearest way of saying that command is. numpy alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trainers.envs.table_talk.world import DIRECTIONS, Command, Verb

SIZE = 1024
RUNS = (2, 3, 4)
WORD, LETTERS = 0.5, 0.5
"""What a whole word, and the letters it is made of, weigh beside its runs, which weigh 1 together."""
LIKE = 0.35
"""The cosine from which on a word looks like a known one. Below it "table" (like "take", 0.3) is none."""
SAYINGS: dict[Verb, tuple[str, ...]] = {
    "move": (
        "move a bit to the {way}", "move a bit {way}", "move {way}", "go {way}", "{way} a bit", "a little {way}",
        "nudge {way}", "{way}", "shift to the {way}", "slightly {way}",
    ),
    "open": (
        "open the gripper", "open your hand", "release it", "let go", "drop it", "loosen the fingers", "unclench",
        "open",
    ),
    "close": (
        "close the gripper", "close your fingers", "squeeze", "pinch it", "shut the hand", "clench", "hold it", "close",
    ),
    "wait": ("wait", "stop", "hold on", "pause", "stay", "freeze", "halt", "do nothing"),
    "wipe": ("wipe the nearest spot", "wipe", "clean it", "scrub"),
    "pick": tuple(f"{verb} the {{thing}}" for verb in ("pick up", "take", "get", "fetch", "grab", "grasp", "lift")),
    "put": tuple(f"{verb} the {{thing}} {{place}}" for verb in ("put", "place", "set", "bring", "carry", "pack")),
    "push": ("push the {thing} {place}", "shove the {thing} {place}"),
}  # fmt: skip
"""How each command is said; the grammar understands all of them."""

Vector = NDArray[np.float32]


def commands(things: Sequence[str], places: Sequence[str]) -> list[Command]:
    """All that is to be said about a table with these things and places: "to" a place things are pushed."""
    return [
        *(Command("move", direction=way) for way in DIRECTIONS),
        *(Command(verb) for verb in ("open", "close", "wait")),
        *(Command("pick", thing) for thing in things),
        *(
            Command("push" if place.startswith("to ") else "put", thing, place=place)
            for thing in things
            for place in places
        ),
        *(Command("wipe") for thing in things if thing == "sponge"),
    ]


def sayings(command: Command, ways: Sequence[str]) -> list[str]:
    """How a command is said; `ways`: the words for its direction, for one that has one."""
    said = (
        one.format(way=way, thing=command.thing, place=command.place)
        for one in SAYINGS[command.verb]
        for way in ways or ("",)
    )
    return list(dict.fromkeys(said))


class Likeness:
    """The commands of a table, to be ranked by how much a phrase looks like them."""

    def __init__(
        self,
        things: Sequence[str],
        places: Sequence[str],
        ways: Iterable[tuple[str, str]],
        quiet: Container[str] = (),
    ) -> None:
        """`ways`: each word for a direction, and the direction. `quiet`: words that say nothing, and do not count."""
        self.commands, self._quiet = commands(things, places), quiet
        of = [[word for word, way in ways if way == one.direction] for one in self.commands]
        said = [sayings(one, words) for one, words in zip(self.commands, of, strict=True)]
        self._said = np.stack([vector(one, quiet) for each in said for one in each])
        self._starts = np.cumsum([0, *(len(each) for each in said[:-1])])

    def ranked(self, phrase: str) -> list[tuple[float, Command]]:
        """All commands with their cosines, most alike first."""
        cosines = np.maximum.reduceat(self._said @ vector(phrase, self._quiet), self._starts)
        return [(float(cosines[n]), self.commands[n]) for n in np.argsort(-cosines, kind="stable")]


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that a word looks like; empty where it looks like none."""
    same = [one for one in known if sorted(one) == sorted(word)]
    if same:
        return same[0]
    cosines = np.stack([_runs_of(one) for one in known]) @ _runs_of(word)
    best = int(cosines.argmax())
    return known[best] if cosines[best] >= LIKE else ""


def vector(phrase: str, quiet: Container[str] = ()) -> Vector:
    """[SIZE] of length 1; zeros for a phrase that has no word but quiet ones."""
    found = np.zeros(SIZE, np.float32)
    for word in re.findall(r"[a-z']+", phrase.lower()):
        if word in quiet:
            continue
        found += _runs_of(word)
        _add(found, f"={word}", WORD)
        _add(found, "~" + "".join(sorted(word)), LETTERS)
    return _of_length_one(found)


@lru_cache(maxsize=1024)
def _runs_of(word: str) -> Vector:
    found = np.zeros(SIZE, np.float32)
    padded = f" {word} "
    for size in RUNS:
        for at in range(len(padded) - size + 1):
            _add(found, padded[at : at + size], 1.0)
    return _of_length_one(found)


def _add(found: Vector, what: str, weight: float) -> None:
    drawn = zlib.crc32(what.encode())
    found[drawn % SIZE] += weight if drawn & 0x10000 else -weight


def _of_length_one(found: Vector) -> Vector:
    return found / max(float(np.linalg.norm(found)), 1e-6)
