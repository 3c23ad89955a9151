"""Commands as vectors whose slots are apart: verb, thing, direction, fingers, place, amount, and a little of the text.

A sentence's embedding barely tells "left" from "right". Here a command is parsed, and each slot has numbers of its own;
left and right, up and down, open and close point in opposite directions. The letters count for little where a command
was understood, and for all of it where not, so that free text has its place in a bank too.

    verb 8 | thing: colour 6, shape 4 | direction 2 | fingers 1 | place 6, its colour 6 | amount 1 | letters 32
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from trainers.envs.table_talk.language import LONGEST_PHRASE, understand
from trainers.envs.table_talk.world import COLOURS, DIRECTIONS, Command, Verb

VERBS: tuple[str, ...] = get_args(Verb)
SHAPES = ("block", "disc", "peg", "sponge")
PLACES = ("tray", "mark", "line", "stack", "hole", "spot")
LETTERS = 32

VERB = slice(0, len(VERBS))
THING = slice(VERB.stop, VERB.stop + len(COLOURS) + len(SHAPES))
DIRECTION = slice(THING.stop, THING.stop + 2)
FINGERS = slice(DIRECTION.stop, DIRECTION.stop + 1)
PLACE = slice(FINGERS.stop, FINGERS.stop + len(PLACES) + len(COLOURS))
AMOUNT = slice(PLACE.stop, PLACE.stop + 1)
TEXT = slice(AMOUNT.stop, AMOUNT.stop + LETTERS)
SIZE = TEXT.stop
NAME = THING.stop - THING.start
"""How many numbers a thing's name has."""

MOTIONS: Mapping[str, str] = MappingProxyType(
    {
        "left": "move a bit to the left",
        "right": "move a bit to the right",
        "up": "move a bit up",
        "down": "move a bit down",
        "open": "open the gripper",
        "close": "close the gripper",
        "stay": "wait",
    }
)
"""The key for a motion -> the command of a table that it stands for."""

POINTING = 2.0
"""What a direction weighs beside its verb: enough that opposites have a cosine below zero."""
UNDERSTOOD = 0.3
"""What the letters weigh where the command was understood."""
MARK = re.compile(rf"(on|at|to|onto) the ({'|'.join(COLOURS)}) mark")
SMALL = re.compile(r"\b(a (bit|little|touch)|slightly|just)\b")

Vector = NDArray[np.float32]


@lru_cache(maxsize=4096)
def command_of(text: str) -> Command | None:
    """What a command's words say, whatever lies on the table; None where they are not clear."""
    said = text.lower()[: LONGEST_PHRASE + 1]
    mark = MARK.search(said)
    said = MARK.sub("at the mark", said)  # its colour is no thing's
    words = set(re.findall(r"[a-z]+", said))
    colours = [colour for colour in COLOURS if colour in words] or [""]
    shapes = [shape for shape in SHAPES if shape in words]
    things = [f"{colour} {shape}".strip() for colour in colours for shape in shapes or ["block"]]
    things = things if shapes or colours != [""] else []
    places = [f"at the nearest {place}" for place in PLACES if place in words]
    found = understand(said, things, places).command
    return replace(found, place=mark.group()) if found and found.place and mark else found


@lru_cache(maxsize=4096)
def vector(text: str) -> Vector:
    """[SIZE] of a command in words."""
    found = np.zeros(SIZE, np.float32)
    command = command_of(text)
    if command is None:
        found[TEXT] = letters(text)
        return _fixed(found)
    found[VERB][VERBS.index(command.verb)] = 1.0
    found[THING] = name(command.thing)
    if command.direction:
        found[DIRECTION] = POINTING * np.array(DIRECTIONS[command.direction])
    found[FINGERS] = {"open": -1.0, "close": 1.0}.get(command.verb, 0.0)
    words = command.place.split()
    found[PLACE] = 0.5 * np.array([one in words for one in (*PLACES, *COLOURS)])
    found[AMOUNT] = 0.5 * bool(SMALL.search(text.lower()))
    found[TEXT] = UNDERSTOOD * letters(text)
    return _fixed(found)


def vectors(texts: Sequence[str]) -> Vector:
    """[C, SIZE]"""
    return np.stack([vector(text) for text in texts]) if texts else np.zeros((0, SIZE), np.float32)


def understood(text: str) -> bool:
    """Whether a command says something, beyond its letters."""
    return command_of(text) is not None


def name(thing: str) -> Vector:
    """[NAME] of a thing such as "red block"; zeros for none."""
    words = thing.split()
    said = np.array([one in words for one in (*COLOURS, *SHAPES)], np.float32)
    said[len(COLOURS) :] *= 0.5  # a table has many blocks, and one that is red
    return said


def letters(text: str) -> Vector:
    """[LETTERS] of length 1: its runs of three and of four letters, each added to or taken from a number."""
    found = np.zeros(LETTERS, np.float32)
    padded = f"  {' '.join(text.lower().split())[:LONGEST_PHRASE]}  "
    for size in (3, 4):
        for at in range(len(padded) - size + 1):
            drawn = zlib.crc32(padded[at : at + size].encode())
            found[drawn % LETTERS] += 1.0 if drawn & 0x10000 else -1.0
    return found / max(float(np.linalg.norm(found)), 1e-6)


def _fixed(found: Vector) -> Vector:
    found.setflags(write=False)  # it is handed out again
    return found
