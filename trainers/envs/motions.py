"""The names of motions: a small grammar for an embodiment, read from a versioned YAML file.

    d = pose[t + W] - pose[t]
    keep the axes whose |d| is above what is small for them; name them largest first, in their units
    "move arm <word> and <word> and close gripper"; where nothing is kept, "stay"

RT-H (Belkhale et al. 2024, arXiv:2403.01823, section IV) names motions so, mechanically: people drew the borders of
a skill differently every time, and mixed up the camera's left with the arm's.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).parent / "embodiments"
KEYS = ("left", "right", "up", "down", "open", "close", "stay")
LONGEST_PHRASE = 200
"""Characters; a motion is a few words."""
MOST_PHRASES = 5000
STANDING = ("wait", "stop", "still")
"""Besides the embodiment's own word."""
SAYING_NOTHING = """
a an and arm bit fingers further go gripper hand it just little more move now please robot slightly the then to
"""
FILLERS = frozenset(SAYING_NOTHING.split())
"""Words that a motion may be said with, and that say nothing about which one."""


class EmbodimentError(ValueError):
    """A file that describes no embodiment: what was found, what was expected."""


@dataclass(frozen=True)
class Axis:
    """A direction that a pose can change in."""

    at: int
    """Its place in the pose."""
    words: tuple[str, str]
    """What less and more of it are called: ("left", "right")."""
    small: float
    """A change of no more than this is no motion."""
    unit: float = 1.0
    """Changes are compared in these: a radian here, a metre there."""


@dataclass(frozen=True)
class Gripper:
    at: int
    """Its place in the pose: above one half, it is closed."""
    action: int
    """Its place in an action: above 0 closes, below 0 opens. The last step of an episode shows in nothing else."""
    words: tuple[str, str]
    """What opening and closing are called."""
    window: float
    """Seconds that a phrase looks ahead for it: fingers act at once, and are named when they do."""


@dataclass(frozen=True)
class Embodiment:
    """An arm, as its motions are named."""

    name: str
    version: int
    worlds: tuple[str, ...]
    pose: Literal["state", "observation"]
    window: float
    """Seconds that a phrase looks ahead."""
    max_words: int
    second_share: float
    axes: tuple[Axis, ...]
    gripper: Gripper | None
    move: str
    stay: str
    keys: Mapping[str, str]
    hand: tuple[int, ...] = ()
    """Where an observation has the hand's place."""
    things: int = -1
    """Where the things' places begin in an observation; -1 where there are none."""

    # --- what there is to say

    @cached_property
    def phrases(self) -> tuple[str, ...]:
        """Every phrase of the grammar, always in the same order."""
        moves: list[tuple[tuple[int, int], ...]] = [()]
        for count in range(1, self.max_words + 1):
            for axes in itertools.permutations(range(len(self.axes)), count):
                for signs in itertools.product((1, -1), repeat=count):
                    moves.append(tuple(zip(axes, signs, strict=True)))
        grips = (0, 1, -1) if self.gripper else (0,)
        return tuple(self.spoken(move, grip) for grip in grips for move in moves)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that the phrases depend on: two policies with the same one speak the same language."""
        said = {**asdict(self), "phrases": self.phrases}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def width(self) -> int:
        """Numbers in a phrase's vector."""
        return self.max_words * len(self.axes) + (self.gripper is not None)

    def spoken(self, move: Sequence[tuple[int, int]], grip: int = 0) -> str:
        """The phrase for directions, each (axis, sign), largest first, and for the gripper (1 closes, -1 opens)."""
        parts = [self.axes[axis].words[sign > 0] for axis, sign in move]
        said = [f"{self.move} {parts[0]}", *parts[1:]] if parts else []
        if grip and self.gripper:
            said.append(self.gripper.words[grip > 0])
        return " and ".join(said) or self.stay

    def number(self, phrase: str) -> int:
        """Its place among `phrases`. KeyError for one of no grammar of this arm."""
        return self._numbers[phrase]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {phrase: number for number, phrase in enumerate(self.phrases)}

    def parts(self, phrase: str) -> tuple[tuple[tuple[int, int], ...], int]:
        """The directions and the gripper of a phrase of the grammar: what `spoken` was given. KeyError for another."""
        return self._parts[phrase]

    @cached_property
    def _parts(self) -> dict[str, tuple[tuple[tuple[int, int], ...], int]]:
        words = self._directions
        grips = dict(zip(self.gripper.words, (-1, 1), strict=True)) if self.gripper else {}
        found = {}
        for phrase in self.phrases:
            said = [] if phrase == self.stay else phrase.removeprefix(self.move + " ").split(" and ")
            move = tuple(words[one] for one in said if one in words)
            found[phrase] = (move, next((grips[one] for one in said if one in grips), 0))
        return found

    def vector(self, phrase: str) -> NDArray[np.float32]:
        """[width] a phrase as its words: for each rank a sign on its axis, and the gripper's. Left and right are
        opposite numbers, so that what one phrase teaches about an axis holds for the others that name it.
        """
        move, grip = self.parts(phrase)
        found = np.zeros(self.width, np.float32)
        for rank, (axis, sign) in enumerate(move):
            found[rank * len(self.axes) + axis] = sign
        if self.gripper:
            found[-1] = grip
        return found

    # --- from poses to phrases

    def phrase(self, change: NDArray[Any], grip: int = 0) -> str:
        """The phrase for a change of the axes [K], in their order, and of the gripper."""
        sizes = [abs(float(d)) / axis.unit for d, axis in zip(change, self.axes, strict=True)]
        kept = [n for n, axis in enumerate(self.axes) if abs(float(change[n])) > axis.small]
        kept.sort(key=lambda n: (-sizes[n], n))
        kept = [n for n in kept if n == kept[0] or sizes[n] > self.second_share * sizes[kept[0]]]
        return self.spoken([(n, 1 if change[n] > 0 else -1) for n in kept[: self.max_words]], grip)

    def ahead(self, seconds: float) -> int:
        """Steps in the window, where a step takes so many seconds."""
        return max(1, round(self.window / seconds))

    def grip_ahead(self, seconds: float) -> int:
        """The same for the gripper's window."""
        return max(1, round(self.gripper.window / seconds)) if self.gripper else 1

    # --- from a person's words to a phrase

    def understand(self, text: str) -> str | None:
        """The phrase that somebody's words come to: directions in the order in which they were said, and the gripper.

        None where a word is unknown here ("pick up the red block", "not left"), an axis is named both ways, there are
        more directions than a phrase has, or nothing is said at all: nobody guesses.
        """
        if text in self._parts:
            return text
        if len(text) > LONGEST_PHRASE:
            return None
        words = [word for word in re.findall(r"[^\s,.;!]+", text.lower()) if word not in FILLERS]
        if words and all(word in (*STANDING, self.stay) for word in words):
            return self.stay
        move: list[tuple[int, int]] = []
        grips = set()
        for word in words:
            if word in self._directions:
                move += [self._directions[word]] if self._directions[word] not in move else []
            elif word in self._fingers:
                grips.add(self._fingers[word])
            else:
                return None
        if (
            not words
            or len({axis for axis, _ in move}) < len(move)
            or len(move) > self.max_words
            or len(grips) > 1
        ):
            return None
        return self.spoken(move, grips.pop() if grips else 0)

    @cached_property
    def _directions(self) -> dict[str, tuple[int, int]]:
        """A direction's word -> (axis, sign)."""
        return {
            word: (n, s)
            for n, axis in enumerate(self.axes)
            for word, s in zip(axis.words, (-1, 1), strict=True)
        }

    @cached_property
    def _fingers(self) -> dict[str, int]:
        """The verb for the gripper -> 1 for closing, -1 for opening."""
        words = self.gripper.words if self.gripper else ()
        return {word.split()[0]: sign for word, sign in zip(words, (-1, 1), strict=False)}


# --- reading ------------------------------------------------------------------------------------------


def embodiment(name: str | Path) -> Embodiment:
    """One that Kibitz brings, by its name; or the one that a YAML file describes. Raises EmbodimentError."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = HERE / f"{name}.yaml"
        if path.parent != HERE or not path.is_file():
            raise EmbodimentError(
                f"No embodiment called '{name}'. Known: {', '.join(known())}; or name a .yaml file."
            )
    try:
        said = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise EmbodimentError(f"{path} cannot be read: {problem}") from None
    return described(said, str(path))


def known() -> tuple[str, ...]:
    """The embodiments that Kibitz brings."""
    return tuple(sorted(path.stem for path in HERE.glob("*.yaml")))


@cache
def embodiment_of(world: str) -> Embodiment | None:
    """The embodiment of a world, where Kibitz brings one."""
    found = (embodiment(name) for name in known())
    return next((one for one in found if world in one.worlds), None)


def described(said: Any, where: str = "the embodiment") -> Embodiment:
    """The embodiment that a mapping describes, checked; the mapping is that of the YAML file."""
    if not isinstance(said, Mapping):
        raise EmbodimentError(f"{where} holds {type(said).__name__}. Expected names and values.")
    left = dict(said)
    try:
        seen = left.pop("observation", None) or {}
        gripper = left.pop("gripper", None)
        one = Embodiment(
            name=str(left.pop("name")),
            version=int(left.pop("version")),
            worlds=tuple(map(str, left.pop("worlds", ()))),
            pose=left.pop("pose", "state"),
            window=float(left.pop("window")),
            max_words=int(left.pop("max_words")),
            second_share=float(left.pop("second_share")),
            axes=tuple(_axis(axis) for axis in left.pop("axes")),
            gripper=_gripper(gripper) if gripper else None,
            move=str(left.pop("move", "move arm")),
            stay=str(left.pop("stay", "stay")),
            keys=dict(left.pop("keys", None) or {}),
            hand=tuple(map(int, seen.get("hand", ()))),
            things=int(seen.get("things", -1)),
        )
    except KeyError as missing:
        raise EmbodimentError(
            f"{where} lacks {missing}. Expected what the ones that Kibitz brings have."
        ) from None
    except (TypeError, ValueError) as problem:
        raise EmbodimentError(f"{where}: {problem}") from None
    if left:
        raise EmbodimentError(
            f"{where} has '{sorted(map(str, left))[0]}', which says nothing about a motion."
        )
    _check(one, where)
    return one


def as_mapping(one: Embodiment) -> dict[str, Any]:
    """What `described` reads: JSON values alone, to be kept with a policy."""
    said = json.loads(json.dumps(asdict(one)))
    observation = {"hand": said.pop("hand"), "things": said.pop("things")}
    return {**said, "observation": observation}


def _axis(said: Mapping[str, Any]) -> Axis:
    return Axis(int(said["at"]), _two(said["words"]), float(said["small"]), float(said.get("unit", 1.0)))


def _gripper(said: Mapping[str, Any]) -> Gripper:
    return Gripper(int(said["at"]), int(said["action"]), _two(said["words"]), float(said["window"]))


def _two(words: Sequence[Any]) -> tuple[str, str]:
    if isinstance(words, str) or len(words) != 2:
        raise EmbodimentError(f"Found the words {words!r}. Expected two: for less and for more.")
    return str(words[0]), str(words[1])


def _check(one: Embodiment, where: str) -> None:
    words = [word for axis in one.axes for word in axis.words] + [*(one.gripper.words if one.gripper else ())]
    count = sum(math.perm(len(one.axes), k) * 2**k for k in range(min(one.max_words, len(one.axes)) + 1)) * (
        3 if one.gripper else 1
    )
    wrong = (
        ("pose", one.pose, "state or observation", one.pose in ("state", "observation")),
        ("window", one.window, "seconds above 0", 0 < one.window < math.inf),
        ("max_words", one.max_words, "1 or more", one.max_words >= 1),
        ("second_share", one.second_share, "from 0 to 1", 0 <= one.second_share <= 1),
        ("axes", [axis.small for axis in one.axes], "at least one, each with small >= 0 and unit > 0",
         bool(one.axes) and all(axis.small >= 0 and axis.unit > 0 and axis.at >= 0 for axis in one.axes)),
        ("words", words, "each word once, and none with ' and '",
         len(set(words)) == len(words) and not any(" and " in word for word in words)),
        ("gripper", one.gripper, "places from 0 on, and a window of seconds above 0",
         not one.gripper
         or (min(one.gripper.at, one.gripper.action) >= 0 and 0 < one.gripper.window < math.inf)),
        ("max_words", count, f"a grammar of at most {MOST_PHRASES} phrases", count <= MOST_PHRASES),
    )  # fmt: skip
    for name, found, expected, right in wrong:
        if not right:
            raise EmbodimentError(f"{where}: {name} is {found}. Expected {expected}.")
    for key, phrase in one.keys.items():
        if key not in KEYS or phrase not in one.phrases:
            raise EmbodimentError(
                f"{where}: the key {key} stands for '{phrase}'. Expected one of {', '.join(KEYS)}, and a phrase of "
                f"this grammar, such as '{one.phrases[1]}'."
            )
