"""What robots learn from: stretches of episodes with a command at each step, and moments at which somebody spoke.

A demonstration comes from a person who drove (a `Drive` record), or is made anew by the world's own rule, which is then
named as scripted. Who drives says no command; what they were at is read from the fingers afterwards: until they hold a
thing they pick it up, and while they hold it they put it somewhere.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trainers.data.snapshot import read_records
from trainers.envs.registry import world
from trainers.envs.worlds import Talking
from trainers.episodes import Episodes
from trainers.records import Drive, LanguageCorrection, Record

HOLDING, CLOSED = 3, 2
"""Where an observation of a table says so."""
PLACED = 7
SLIPS = (7, 2)
"""Of seven steps of a scripted demonstration two are jogged, so that it also shows the way back."""
JOG = 0.3
DRILLED = 3
"""Steps of a drill that obey one command."""
LONGEST_WAY = 40
CHANGED = 1e-3
"""An action counts as another one when a number of it has moved so far."""
OVERRUN = 12
"""Steps after a stage is done in which its command may still be in force: the low level must know what to do then."""


@dataclass
class Trace:
    """A stretch of an episode; T steps."""

    scene: Mapping[str, Any]
    observations: NDArray[np.float32]
    """[T, D]"""
    actions: NDArray[np.float32]
    """[T, A]"""
    commands: list[str]
    """[T]; empty where nobody can say."""
    weight: float = 1.0
    episode: str = ""
    scripted: bool = False


@dataclass(frozen=True)
class Moment:
    """A step at which a command is right, with the steps before it."""

    trace: Trace
    step: int
    command: str
    weight: float = 1.0
    predicted: str = ""


def decisions(traces: Iterable[Trace]) -> list[tuple[Trace, int, str, float]]:
    """Every step that has a command, as a decision that was right."""
    return [
        (trace, step, command, trace.weight)
        for trace in traces
        for step, command in enumerate(trace.commands)
        if command
    ]


# --- demonstrations --------------------------------------------------------------------------------------


def demonstrated(
    name: str, task: str, seeds: Iterable[int], dials: Mapping[str, Any] | None = None, overruns: bool = False
) -> tuple[list[Trace], list[Trace]]:
    """(demonstrations, overruns) by the rule of a world that talks, with slips that it puts right.

    An overrun is a step at which the command of the stage before is still in force: only the low level learns it, and
    it is made only where it is asked for.
    """
    place = talking(name)
    shown, over = [], []
    for seed in seeds:
        seen, done, stale = [], [], _Stale()
        observation = place.reset(seed, task, dials)
        scene = place.scene()
        for step in range(place.most_steps):
            action = place.demonstrate()
            seen.append(observation)
            done.append(_held(action, observation))
            if overruns:
                stale.see(scene, observation, place)
            jog = np.random.default_rng([seed, step]).normal(0, JOG, 2) if step % SLIPS[0] < SLIPS[1] else 0.0
            made = np.array(action, dtype=float)
            made[:2] += jog
            came = place.step(np.clip(made, -1, 1))
            observation = came.observation
            if came.done:
                break
        observations = np.stack(seen)
        shown.append(Trace(scene, observations, np.stack(done), narrated(scene, observations), scripted=True))
        if stale.seen:
            over.append(Trace(scene, np.stack(stale.seen), np.stack(stale.done), stale.said, scripted=True))
    return shown, over


class _Stale:
    """The steps after a stage, as they would go if its command were still in force."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []
        self.done: list[NDArray[np.float32]] = []
        self.said: list[str] = []
        self._held, self._thing, self._left = False, "", 0

    def see(self, scene: Mapping[str, Any], observation: NDArray[np.float32], place: Talking) -> None:
        holding = bool(observation[HOLDING] > 0.5)
        if holding != self._held:
            self._held, self._left = holding, OVERRUN
            self._thing = _held_thing(scene, observation) if holding else self._thing
        if self._left:
            self._left -= 1
            command = f"pick up the {self._thing}" if holding else put(scene, self._thing)
            self.seen.append(observation)
            self.done.append(_held(place.demonstrate(command), observation))
            self.said.append(command)


def _held_thing(scene: Mapping[str, Any], observation: NDArray[np.float32]) -> str:
    """The name of what is in the fingers: what seems to be nearest to them."""
    offsets = observation[PLACED:].reshape(-1, 2) - observation[:2]
    return str(scene["things"][int(np.hypot(*offsets.T).argmin())]["name"])


def put(scene: Mapping[str, Any], thing: str) -> str:
    """The command to put a thing where things go here."""
    return f"put the {thing} {(scene.get('places') or [''])[0]}".strip()


def _stages(scene: Mapping[str, Any]) -> list[str]:
    """Every command about a thing that is there."""
    names = [thing["name"] for thing in scene["things"]]
    return [f"pick up the {name}" for name in names] + [put(scene, name) for name in names]


def drilled(
    name: str,
    task: str,
    seeds: Iterable[int],
    motions: Sequence[str],
    dials: Mapping[str, Any] | None = None,
    steps: int = 150,
) -> list[Trace]:
    """Fine motions all over the table, by a world's rule: each step with a command and what carries it out."""
    place = talking(name)
    found = []
    for seed in seeds:
        chance = np.random.default_rng([seed, 1])
        observation = place.reset(seed, task, dials)
        scene, names = place.scene(), _stages(place.scene())
        seen: list[NDArray[np.float32]] = []
        done: list[NDArray[np.float32]] = []
        said: list[str] = []
        while len(seen) < steps:
            way = names[chance.integers(len(names))]
            for _ in range(chance.integers(LONGEST_WAY)):  # somewhere else, holding something or not
                observation = place.step(place.demonstrate(way)).observation
            for _ in range(chance.integers(1, 4)):
                command = motions[int(chance.integers(len(motions)))]
                for _ in range(DRILLED):
                    action = place.demonstrate(command)
                    seen.append(observation)
                    done.append(_held(action, observation))
                    said.append(command)
                    observation = place.step(action).observation
                observation = place.step(np.append(chance.uniform(-1, 1, 2), 0.0)).observation
        found.append(Trace(scene, np.stack(seen), np.stack(done), said, scripted=True))
    return found


def _held(action: NDArray[Any], observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """An action whose fingers, where they were to stay as they are, say how they are."""
    made = np.asarray(action, dtype=np.float32).copy()
    if made[-1] == 0:
        made[-1] = 1.0 if observation[CLOSED] > 0.5 else -1.0
    return made


def narrated(scene: Mapping[str, Any], observations: NDArray[np.float32]) -> list[str]:
    """[T] what each step was about, read from the fingers; empty where nothing was held afterwards."""
    holding = observations[:, HOLDING] > 0.5
    commands = [""] * len(observations)
    begin, thing = 0, ""
    for step in range(len(observations)):
        if not holding[step]:
            continue
        if step == 0 or not holding[step - 1]:
            thing = _held_thing(scene, observations[step])
            commands[begin:step] = [f"pick up the {thing}"] * (step - begin)
        commands[step] = put(scene, thing)
        begin = step + 1
    return commands


def talking(name: str) -> Talking:
    """A world that can be asked how its tasks are done. Raises ValueError for another one."""
    place = world(name)
    if not hasattr(place, "demonstrate"):
        raise ValueError(
            f"The world {name} has no rule that shows how its tasks are done: drive it yourself."
        )
    return cast(Talking, place)


# --- what people did and said -----------------------------------------------------------------------------


def drives_and_rejections(snapshot: Path) -> list[Record]:
    """What people drove, and the stretches that somebody rejected. Raises ValueError where nobody drove."""
    read_records(snapshot, ("drive",))
    found = read_records(snapshot, ("drive", "language_correction"))
    return [one for one in found if not isinstance(one, LanguageCorrection) or one.type == "rejected"]


def by_script(record: Drive) -> bool:
    """Whether no person drove: named as such wherever it appears."""
    return record.annotator == "script" or bool(record.source.get("scripted"))


def driven(episodes: Episodes, records: Sequence[Record], shortest: int = 4) -> list[Trace]:
    """The stretches that people drove, less what they rejected, and runs of a command shorter than `shortest` steps.

    A step that a policy or a person gave a command keeps it; elsewhere it is read from the fingers.
    """
    rejected = rejections(records)
    found = []
    for one in records:
        if not isinstance(one, Drive) or not one.weight:
            continue
        episode = episodes.open(one.episode)
        scene = episode.about.scene
        if not scene.get("things") or not scene.get("tray"):
            raise ValueError(
                f"The episode {one.episode} was driven in {episode.about.world}, where nothing is picked up and put "
                "somewhere. Learn from it with control/dagger, or leave it out."
            )
        steps, spoken = episode.steps[one.start : one.stop], episode.said()[one.start : one.stop]
        observations = np.array(steps["observation"])
        read = narrated(scene, observations)
        commands = [said or seen for said, seen in zip(spoken, read, strict=True)]
        for step in range(len(commands)):
            if is_in(one.start + step, rejected.get(one.episode, ())):
                commands[step] = ""
        actions = np.array([_held(a, o) for a, o in zip(steps["action"], observations, strict=True)])
        found.append(
            Trace(
                scene,
                observations,
                actions.reshape(len(commands), -1),
                _long_enough(commands, shortest),
                weight=one.weight,
                episode=one.episode,
                scripted=by_script(one),
            )
        )
    return found


def _long_enough(commands: list[str], shortest: int) -> list[str]:
    kept = list(commands)
    for start, stop in runs(commands):
        if stop - start < shortest:
            kept[start:stop] = [""] * (stop - start)
    return kept


def runs(commands: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The stretches of one command, as (start, stop)."""
    start = 0
    for step in range(1, len(commands) + 1):
        if step == len(commands) or commands[step] != commands[start]:
            yield start, step
            start = step


def corrected(
    episodes: Episodes, records: Sequence[Record], window: int, before: int = 0, motions: bool = True
) -> list[Moment]:
    """The moments at which people said what is right: `window` steps from when it was (or should have been) obeyed.

    Never past its end; and, with `before` 0, never a step before it: what led there is seen as history, and is not what
    should have been said then. What another record rejects, or what lies under a later correction, is no moment of it.
    """
    traces: dict[str, Trace] = {}
    found = []
    for one, steps in obeyed(records, window, before):
        if not one.weight or (one.layer == "motion" and not motions):
            continue
        trace = traces.get(one.episode) or traces.setdefault(one.episode, _whole(episodes, one.episode))
        for step in steps:
            if step < len(trace.commands):
                found.append(Moment(trace, step, one.command, one.weight, one.predicted))
    return found


def obeyed(
    records: Sequence[Record], window: int, before: int = 0
) -> Iterator[tuple[LanguageCorrection, list[int]]]:
    """Each correction, with the steps that it says something about: from `before` steps before its beginning, at most
    `window` from it on, none that another record rejects, and none from the next correction of that episode on.
    """
    said = [one for one in records if isinstance(one, LanguageCorrection) and one.type == "correction"]
    rejected, starts = rejections(records), defaultdict[str, set[int]](set)
    for one in said:
        starts[one.episode].add(one.start)
    order = {name: sorted(some) for name, some in starts.items()}
    for one in said:
        after = order[one.episode][bisect_right(order[one.episode], one.start) :][:1]
        stop = min([one.stop, one.start + window, *after])
        bad = rejected.get(one.episode, ())
        yield one, [step for step in range(max(0, one.start - before), stop) if not is_in(step, bad)]


def _whole(episodes: Episodes, name: str) -> Trace:
    episode = episodes.open(name)
    steps = episode.steps
    return Trace(
        episode.about.scene,
        np.array(steps["observation"]),
        np.array(steps["action"]),
        episode.said(),
        episode=name,
    )


def reactions(episodes: Episodes, records: Sequence[Record]) -> list[float]:
    """Of each live correction that changed what was done: seconds from when it was said to the first other action."""
    found = []
    for one in records:
        if not isinstance(one, LanguageCorrection) or not one.live or not one.start:
            continue
        episode = episodes.open(one.episode)
        actions = episode.steps["action"][one.start - 1 : one.stop]
        moved = np.abs(actions - actions[:1]).max(axis=1) > CHANGED
        if moved.any():
            found.append(float(moved.argmax()) * episode.about.seconds)
    return found


def rejections(records: Sequence[Record]) -> dict[str, list[tuple[int, int]]]:
    """Of each episode, the stretches that somebody rejected."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in records:
        if isinstance(one, LanguageCorrection) and one.type == "rejected" and one.weight:
            found.setdefault(one.episode, []).append((one.start, one.stop))
    return found


def one_size(sizes: Mapping[int, str]) -> None:
    """Raises ValueError where observations are of several sizes, each with a name: no one network sees them all."""
    if len(sizes) > 1:
        found = "; ".join(f"{size} in {name}" for size, name in sorted(sizes.items()))
        raise ValueError(
            f"Episodes differ in how many numbers are seen: {found}. Learn from one world, and one number of things, "
            "at a time."
        )


def is_in(step: int, stretches: Iterable[tuple[int, int]]) -> bool:
    return any(start <= step < stop for start, stop in stretches)


def kept_back(episode: str, share: float) -> bool:
    """Whether an episode is held out: by its name, so that it is in every round or in none."""
    return int.from_bytes(hashlib.sha256(episode.encode()).digest()[:8], "big") / 2**64 < share
