"""What there is on the table, what can be said about it, and what is seen of it.

Lengths are in units of half the table's side: x runs from -1 (left) to 1 (right), y from -1 (near) to 1 (far). A step
is a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SECONDS = 0.1
"""A control step."""
LONGEST = 0.06
"""The farthest the gripper moves in a step, along each axis."""
TOLERANCE = 0.06
"""The gripper takes hold of a thing whose middle is this near."""
SIGHT = 0.25
"""How far the camera at the wrist sees."""
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, 1.0),
    "down": (0.0, -1.0),
}
"""As they are seen from above: up is away from whoever sits at the near side."""

Verb = Literal["pick", "put", "move", "push", "wipe", "open", "close", "wait"]


@dataclass(frozen=True)
class Command:
    """What a person, or a high-level policy, tells the gripper to do next."""

    verb: Verb
    thing: str = ""
    """The thing it is about, as in "red block"."""
    direction: str = ""
    """For "move": left, right, up or down."""
    place: str = ""
    """For "put": where to, as in "into the tray"."""

    def __str__(self) -> str:
        match self.verb:
            case "pick":
                return f"pick up the {self.thing}"
            case "put":
                return f"put the {self.thing} {self.place}".rstrip()
            case "move":
                return (
                    f"move a bit {'to the ' if self.direction in ('left', 'right') else ''}{self.direction}"
                )
            case "push":
                return f"push the {self.thing} {self.place}".rstrip()
            case "wipe":
                return "wipe the nearest spot"
            case "wait":
                return "wait"
        return f"{self.verb} the gripper"


@dataclass(frozen=True)
class Dials:
    """What goes wrong, and how much of it. As they are here, nothing does."""

    camera_shift: float = 0.0
    """How far the camera above is off, along one axis in a direction drawn for each episode."""
    slip: float = 0.0
    """Chance, each step, that a held thing falls from the fingers."""
    gain: float = 1.0
    """The share of a wanted motion that the gripper makes."""
    distractors: int = 0
    """Things that the task does not ask for, in colours of those that it does."""
    wander: float = 0.0
    """How far a distractor moves in a step, at random."""
    hazards: int = 0
    """Discs that cost one for each step that the gripper is above them."""
    pushes: bool = False
    """Whether closed, empty fingers push what they run into."""

    def __post_init__(self) -> None:
        """ValueError for a value that a dial cannot have."""
        for one in fields(self):
            value, kind = getattr(self, one.name), type(one.default)
            if (
                type(value) not in ((int, float) if kind is float else (kind,))
                or not 0 <= value <= MOST[one.name]
            ):
                said = "true or false" if kind is bool else f"{KINDS[kind]} from 0 to {MOST[one.name]}"
                raise ValueError(f"The dial {one.name} is {value!r}; expected {said}.")


KINDS = {float: "a number", int: "a whole number"}
MOST = {"camera_shift": 1, "slip": 1, "gain": 2, "distractors": 6, "wander": 1, "hazards": 12, "pushes": True}
"""The most of each dial. A table has room for so many things, and a page draws them."""


@dataclass(frozen=True)
class Thing:
    """Something that lies on the table."""

    colour: str
    shape: str
    radius: float = 0.05

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}".strip()


@dataclass
class Job:
    """One stage of a task: a thing, and where it is to be."""

    thing: int
    spot: Floats
    """[2]"""
    reach: tuple[float, float]
    """How far from the spot still counts, along x and along y."""
    words: str
    """Where that is, as a command says it."""
    by: Verb = "put"
    done: bool = False


@dataclass(frozen=True)
class Observation:
    """What the two cameras and the fingers say."""

    gripper: Floats
    """[2]"""
    closed: bool
    holding: bool
    things: Floats
    """[N, 2] as the camera above places them: off by its shift."""
    near: Floats
    """[3] of the camera at the wrist: 1 where something is in sight (else zeros), and the offset to its middle."""

    def vector(self) -> Floats:
        """[7 + 2 N] all of it in a row."""
        return np.concatenate((self.gripper, [self.closed, self.holding], self.near, self.things.ravel()))


@dataclass
class Scene:
    """All that changes, or is drawn, in an episode."""

    gripper: Floats
    closed: bool
    held: int
    """The thing in the fingers; -1 for none."""
    positions: Floats
    """[N, 2] where the things are."""
    tray: Floats
    """[4] middle and half sides."""
    spots: Floats
    """[S, 2] marks on the table, or dirt on it."""
    wiped: NDArray[np.bool_]
    """[S] dirt that is gone."""
    hazards: Floats
    """[H, 3] middle and radius."""
    shift: Floats
    """[2] of the camera above."""
    jobs: list[Job] = field(default_factory=list)
    steps: int = 0
    cost: float = 0.0
