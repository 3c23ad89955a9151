"""What there is to do on the table: each task lays it out, and says which thing is to be where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainers.envs.table_talk.world import COLOURS, Dials, Floats, Job, Scene, Thing, Verb

APART = 0.3
"""Things are laid out at least this far from each other: nothing is grasped by mistake."""
NEAR_SIDE = (-0.8, 0.8, -0.8, 0.2)
"""Where things are laid out: the tray and the marks are beyond it."""
CLOSE = 0.16
"""What is pushed lies at least this far from the others: neither upon them nor where they block the way round it."""
MARK = 0.08
"""How far from a mark still counts as on it."""
HOLE = 0.02
"""How far from the hole a peg still goes in."""


@dataclass(frozen=True)
class Task:
    """One thing to do."""

    title: str
    jobs: Callable[[np.random.Generator, list[Thing], Scene], list[Job]]
    """Lays what the task needs on the table, and says what is to be done with the things (distractors left out)."""
    pushes: bool = False
    """Whether closed, empty fingers push what they run into, whatever the dials say."""

    def lay(self, chance: np.random.Generator, count: int, dials: Dials) -> tuple[Scene, list[Thing]]:
        """A table for an episode, with its things and jobs."""
        colours = chance.permutation(len(COLOURS))[:count]
        things = [Thing(COLOURS[colour], "block") for colour in colours]
        copied = chance.integers(0, count, dials.distractors)
        others = [Thing(things[number].colour, "disc") for number in copied]
        scene = Scene(
            gripper=chance.uniform(-0.3, 0.3, 2),
            closed=False,
            held=-1,
            positions=scattered(chance, count + len(others)),
            tray=np.array([chance.uniform(-0.4, 0.4), 0.7, 0.35, 0.2]),
            spots=np.zeros((0, 2)),
            wiped=np.zeros(0, dtype=bool),
            hazards=np.column_stack(
                (chance.uniform(-0.7, 0.7, (dials.hazards, 2)), np.full(dials.hazards, 0.12))
            ),
            shift=np.zeros(2),
        )
        scene.jobs = self.jobs(chance, things, scene)
        axis, sign = int(chance.integers(2)), int(chance.integers(2)) * 2 - 1
        scene.shift[axis] = sign * dials.camera_shift
        return scene, things + others


def scattered(chance: np.random.Generator, count: int) -> Floats:
    """[count, 2] places on the near side, apart from each other: drawn again until they are."""
    left, right, bottom, top = NEAR_SIDE
    while True:
        places = np.stack([chance.uniform(left, right, count), chance.uniform(bottom, top, count)], axis=1)
        distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
        np.fill_diagonal(distances, np.inf)
        if distances.min() >= APART * min(1.0, 5 / count):
            return places


def _on_marks(spots: Floats, reach: float, words: str, by: Verb = "put") -> list[Job]:
    return [Job(number, spot, (reach, reach), words, by) for number, spot in enumerate(spots)]


def _row(count: int, y: float = 0.7) -> Floats:
    return np.stack([np.linspace(-0.7, 0.7, count), np.full(count, y)], axis=1)


def pack(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    middle, half = scene.tray[:2], scene.tray[2:]
    return [Job(number, middle, (half[0], half[1]), "into the tray") for number in range(len(things))]


def sort(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    scene.spots = chance.permutation(_row(len(things)))
    scene.wiped = np.zeros(len(things), dtype=bool)
    return [
        Job(number, scene.spots[number], (MARK, MARK), f"on the {things[number].colour} mark")
        for number in range(len(things))
    ]


def line(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    scene.spots = _row(len(things))
    scene.wiped = np.zeros(len(things), dtype=bool)
    return _on_marks(scene.spots, MARK, "into the line")


def stack(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    """Each upon those before it, in the order of the things: out of order it does not count."""
    spot = np.array([chance.uniform(-0.5, 0.5), 0.6])
    scene.spots, scene.wiped = spot[None], np.zeros(1, dtype=bool)
    return [Job(number, spot, (MARK, MARK), "on the stack") for number in range(len(things))]


def peg(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    things[0] = Thing(things[0].colour, "peg", 0.03)
    scene.spots = np.array([[chance.uniform(-0.5, 0.5), 0.6]])
    scene.wiped = np.zeros(1, dtype=bool)
    return _on_marks(scene.spots, HOLE, "into the hole")


def clean(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    things[0] = Thing("", "sponge", 0.06)
    scene.spots = chance.uniform((-0.8, 0.35), (0.8, 0.85), (3, 2))
    scene.wiped = np.zeros(3, dtype=bool)
    return [Job(0, spot, (0.0, 0.0), "on the nearest spot", "wipe") for spot in scene.spots]


def push(chance: np.random.Generator, things: list[Thing], scene: Scene) -> list[Job]:
    others = scene.positions[1:]
    while True:  # with room about it, and upon nothing
        scene.positions[0] = chance.uniform((-0.4, -0.4), (0.4, 0.2))
        if np.hypot(*(others - scene.positions[0]).T).min() >= CLOSE:
            break
    scene.spots = np.array([[chance.uniform(-0.5, 0.5), 0.6]])
    scene.wiped = np.zeros(1, dtype=bool)
    reaches = (0.3, 0.15, MARK)
    return [Job(0, scene.spots[0], (reach, reach), "to the mark", "push") for reach in reaches]


TASKS: dict[str, Task] = {
    "pack": Task("Pack everything into the tray", pack),
    "sort": Task("Sort by colour", sort),
    "line": Task("Line everything up", line),
    "stack": Task("Stack in order", stack),
    "peg": Task("Put the peg into its hole", peg),
    "clean": Task("Wipe the table clean", clean),
    "push": Task("Push the block to the mark", push, pushes=True),
}
