"""The check "yay_tabletop": a robot whose camera is knocked aside fails, obeys corrections, and learns from them.

TableTalk, three blocks into the tray; the camera above is off by 0.1 along an axis, in a direction drawn for each
episode, where a grasp reaches 0.06. `python -m tests.trainers.yay_tabletop 0 1 2` runs it whole, and
prints what was found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.trainers.toys import snapshot
from trainers import api
from trainers.demo.make_robot import KNOCKED, ROBOT
from trainers.episodes import Episodes
from trainers.nn import load_pilot
from trainers.nn.robots import Robot, robot
from trainers.nn.robots.low_level import BODY, LowLevel, modulated
from trainers.nn.robots.seeing import FIXED
from trainers.nn.storage import digest_of
from trainers.records import LanguageCorrection, Record
from trainers.run import Spec
from trainers.sampling import episodes
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Lived, Setting, live
from trainers.sampling.steering import Steering

SHIFTED, UNSHIFTED = Setting(task="pack", dials=KNOCKED), Setting(task="pack")
TESTS = 900_000
"""The first seed of the tables on which is measured."""


@dataclass(frozen=True)
class Size:
    """How much of it is done."""

    tests: int = 50
    rounds: int = 4
    episodes: int = 40
    steps: int = 2000
    demonstrations: int = 150
    base_steps: int = 4000


WHOLE = Size()
SHORT = Size(tests=30, rounds=1, episodes=16, steps=400, demonstrations=40)


@dataclass
class Found:
    """What was measured; shares are of the test's episodes."""

    seed: int
    oracle: float = 0.0
    base: float = 0.0
    live: float = 0.0
    after: list[float] = field(default_factory=list)
    """By itself after each round."""
    corrections: list[float] = field(default_factory=list)
    """An episode, in each round as it was collected, and then with what was learned last."""
    unshifted_before: float = 0.0
    unshifted_after: float = 0.0
    frozen: bool = False
    """Whether the low level is bit for bit what it was."""
    bank: tuple[int, int] = (0, 0)
    controls: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def success(lived: Sequence[Lived]) -> float:
    return sum(one.success for one in lived) / len(lived)


def base_robot(folder: Path, seed: int, size: Size) -> Path:
    """A robot by cloning scripted demonstrations, none of which has a camera that is off."""
    home = folder / f"base-{seed}"
    spec = Spec(
        "control/bc", home,
        {"demonstrations": size.demonstrations, "steps": size.base_steps, "tests": 0,
         "demonstration_seed": 10_000 + 1000 * seed},
        seed=seed,
    )  # fmt: skip
    assert api.execute(spec) == 0
    return home / "robot_policy"


class Study:
    """Rounds of collecting and learning, from one robot."""

    def __init__(self, folder: Path, start: Path, seed: int, size: Size) -> None:
        self.folder, self.start, self.seed, self.size = folder, start, seed, size
        self.store = Episodes(folder / "episodes")
        self.records: list[Record] = []
        self.seeds = range(TESTS, TESTS + size.tests)
        self.runs = 0

    def collect(self, path: Path, number: int) -> list[Lived]:
        """An annotator corrects the robot on new tables."""
        first = 1000 * (number + 1) + 100_000 * self.seed
        annotator = Annotator(seed=self.seed)
        lived = live(
            load_pilot(path), SHIFTED, range(first, first + self.size.episodes), annotator, self.store
        )
        self.records += [said for one in lived for said in one.records()]
        return lived

    def learn(self, path: Path, records: Sequence[Record] | None = None, **config: Any) -> Path:
        self.runs += 1
        said = list(self.records if records is None else records)
        home = self.folder / f"run-{self.runs}"
        spec = Spec(
            "correction/yay", home,
            {"steps": self.size.steps, "demonstrations": self.size.demonstrations, "tests": 0, "held_out": 0, **config},
            seed=self.seed, inputs={"robot_policy": str(path)}, episodes=self.store.root,
            snapshot=snapshot(self.folder / f"snapshot-{self.runs}", said),
        )  # fmt: skip
        assert api.execute(spec) == 0
        return home / "robot_policy"

    def alone(self, path: Path, setting: Setting = SHIFTED) -> float:
        return success(live(load_pilot(path), setting, self.seeds))


def check(folder: Path, seed: int, size: Size, start: Path | None = None, controls: bool = True) -> Found:
    """All of it, at one seed; `start` is a robot that is there already."""
    began, found = time.process_time(), Found(seed)
    start = start or base_robot(folder, seed, size)
    study = Study(folder, start, seed, size)
    pilot = load_pilot(start)
    found.oracle = success(live(pilot, SHIFTED, study.seeds, oracle=True))
    found.base = study.alone(start)
    found.live = success(live(pilot, SHIFTED, study.seeds, Annotator(seed=seed)))
    found.unshifted_before = study.alone(start, UNSHIFTED)
    path = start
    for number in range(size.rounds):
        lived = study.collect(path, number)
        found.corrections.append(sum(len(one.corrections) for one in lived) / len(lived))
        path = study.learn(path)
        found.after.append(study.alone(path))
    again = live(load_pilot(path), SHIFTED, study.seeds, Annotator(seed=seed))
    found.corrections.append(sum(len(one.corrections) for one in again) / len(again))
    found.unshifted_after = study.alone(path, UNSHIFTED)
    found.frozen = digest_of(robot_of(path).low) == digest_of(robot_of(start).low)
    found.bank = (len(robot_of(start).bank), len(robot_of(path).bank))
    if controls:
        found.controls = {name: measure(study) for name, measure in CONTROLS.items()}
    found.seconds = time.process_time() - began
    return found


def robot_of(path: Path) -> Robot:
    pilot = load_pilot(path)
    assert isinstance(pilot, Robot)
    return pilot


# --- what must fail ---------------------------------------------------------------------------------------


def own_commands(records: Sequence[Record]) -> list[Record]:
    """The same moments, labelled with what the robot wanted to do itself."""
    return [replace(one, command=one.predicted) for one in records if isinstance(one, LanguageCorrection)]


class Plain(LowLevel):
    """A low level whose words choose nothing: a network over all that is seen, in the order of the row."""

    def __init__(self, actions: int, chunk: int, width: int) -> None:
        super().__init__(actions, chunk, width)
        self.first = nn.Linear(BODY + 3 * (FIXED + 4), width)

    def forward(
        self, command: Tensor, body: Tensor, fixed: Tensor, here: Tensor, offsets: Tensor, goals: Tensor
    ) -> Tensor:
        x = self.first(torch.cat((body, fixed.flatten(1), offsets.flatten(1), goals.flatten(1)), -1))
        x = self.second(modulated(x, self.film_first(command)))
        x = self.last(modulated(x, self.film_second(command))).view(-1, self.chunk, self.actions)
        return torch.cat((x[..., :-1].tanh(), x[..., -1:]), -1)


class Late(Steering):
    """What is said waits for the policy's next decision."""

    def say(self, step, command, held=False, source=None):
        said = super().say(step, command, held, source)
        start = self._decided + self.every if self._decided >= 0 else step + 1
        while start <= step + 1:
            start += self.every
        self._next = replace(said, start=start)
        self._next_until = start + self.hold
        return self._next


@contextmanager
def instead(place: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, kept)


def plain_oracle(study: Study) -> float:
    with instead(robot, "LowLevel", Plain):
        path = base_robot(study.folder / "plain", study.seed, study.size)
        return success(live(load_pilot(path), SHIFTED, study.seeds, oracle=True))


def late_live(study: Study) -> float:
    with instead(episodes, "Steering", Late):
        return success(live(load_pilot(study.start), SHIFTED, study.seeds, Annotator(seed=study.seed)))


CONTROLS: dict[str, Callable[[Study], float]] = {
    "own commands": lambda study: study.alone(study.learn(study.start, own_commands(study.records))),
    "before too": lambda study: study.alone(study.learn(study.start, before=10)),
    "whole window": lambda study: study.alone(study.learn(study.start, window=10)),
    "at once": lambda study: study.alone(study.learn(study.start)),
    "no base": lambda study: study.alone(study.learn(study.start, demonstrations=0)),
    "no base, unshifted": lambda study: study.alone(study.learn(study.start, demonstrations=0), UNSHIFTED),
    "late override, live": late_live,
    "plain low level, oracle": plain_oracle,
}
"""What is measured beside it, each learned in one go from the robot's start with all that was collected."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--no-controls", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            size, start = (SHORT, ROBOT) if options.short else (WHOLE, None)
            found = check(Path(folder), seed, size, start, not options.no_controls)
            print(json.dumps(vars(found)), flush=True)


if __name__ == "__main__":
    main()
