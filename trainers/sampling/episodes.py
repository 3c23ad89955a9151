"""Episodes of a policy in a world, many at a time: by itself, or with a scripted annotator who corrects it.

Seeds are paired: the same seeds give the same tables, so two policies are compared on the same ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trainers.envs.registry import world
from trainers.envs.worlds import Talking, World
from trainers.episodes import POLICY, SCRIPT, About, Episodes, Writer
from trainers.nn.pilot import Choice, Crew, Many, Pilot
from trainers.records import LanguageCorrection
from trainers.sampling.annotator import BY, Annotator
from trainers.sampling.steering import Override, Steering

CHANGED = 1e-3
"""An action counts as another one when a number of it has moved so far."""


class _Alone:
    """A policy that lives one episode at a time, as a crew of one."""

    def __init__(self, pilot: Pilot, scene: Mapping[str, Any], seed: int) -> None:
        self.pilot = pilot
        pilot.begin(scene, seed)

    def see(self, observations: Sequence[NDArray[Any]]) -> None:
        self.pilot.see(observations[0])

    def choices(self, most: int = 5) -> list[list[Choice]]:
        return [self.pilot.choices(most)]

    def act(self, commands: Sequence[str]) -> NDArray[np.float32]:
        return self.pilot.act(commands[0])[None]


@dataclass(frozen=True)
class Setting:
    """Where a policy acts."""

    world: str = "table_talk"
    task: str = ""
    dials: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    """The most that an episode lasts; 0 for the world's own limit."""


@dataclass(frozen=True)
class Lived:
    """What came of an episode."""

    seed: int
    steps: int
    score: float
    """How much of the task is done, from 0 to 1; NaN where nobody can say."""
    success: bool
    stages: Mapping[str, bool]
    corrections: tuple[Override, ...]
    """What was said, in order, and the steps that obeyed it."""
    agreed: tuple[int, int]
    """Decisions of the policy that were what the annotator would have said, of so many."""
    commands: Mapping[str, int]
    """Steps that obeyed each command."""
    reactions: tuple[int, ...]
    """Of the corrections that changed what was done: the steps from when they were said to the first other action."""
    asked: str = ""
    """What the robot was asked to do."""
    episode: str = ""
    """Its name, where it was kept."""

    @property
    def judged(self) -> bool:
        """Whether somebody can say how much of the task is done."""
        return math.isfinite(self.score)

    def records(self, prefix: str = "said") -> list[LanguageCorrection]:
        """The corrections as records, said by a script. Raises ValueError for an episode that was not kept."""
        if not self.episode:
            raise ValueError(
                "The episode was not kept, so no record can name its steps: give live() a store."
            )
        return [
            LanguageCorrection(
                f"{prefix}-{self.episode}-{one.start}",
                self.asked,
                self.episode,
                one.start,
                cast(int, one.stop),
                str(one.source.get("text", one.command)),
                one.command,
                predicted=str(one.source.get("predicted", "")),
                annotator=BY,
                source={"scripted": True},
            )
            for one in self.corrections
        ]


def live(
    pilot: Pilot,
    setting: Setting,
    seeds: Sequence[int],
    annotator: Annotator | None = None,
    store: Episodes | None = None,
    policy: Mapping[str, Any] | None = None,
    hold: int = 0,
    watch: Annotator | None = None,
    oracle: bool = False,
) -> list[Lived]:
    """An episode for each seed. `hold` steps after it was said a correction lapses; 0 for the policy's own `every`.

    `watch` says nothing, but it is counted how often the policy's decisions are what it would have said. An `oracle`
    commands the whole time by what somebody who sees everything would say: what the low level can do at most.
    """
    if not seeds:
        return []
    if isinstance(pilot, Many):
        return _Voyage(pilot, setting, seeds, annotator, store, policy, hold, watch, oracle).all()
    return [
        _Voyage(pilot, setting, [seed], annotator, store, policy, hold, watch, oracle).all()[0]
        for seed in seeds
    ]


class _Voyage:
    """Episodes under way."""

    def __init__(
        self,
        pilot: Pilot,
        setting: Setting,
        seeds: Sequence[int],
        annotator: Annotator | None,
        store: Episodes | None,
        policy: Mapping[str, Any] | None,
        hold: int,
        watch: Annotator | None,
        oracle: bool,
    ) -> None:
        self.pilot, self.seeds, self.annotator, self.oracle = pilot, list(seeds), annotator, oracle
        self.listener = annotator or watch
        self.worlds: list[World] = [world(setting.world) for _ in seeds]
        self.seen = [
            one.reset(seed, setting.task, setting.dials) for one, seed in zip(self.worlds, seeds, strict=True)
        ]
        self.scenes = [one.scene() for one in self.worlds]
        self.limit = setting.steps or self.worlds[0].most_steps
        if (self.listener or oracle) and not hasattr(self.worlds[0], "advice"):
            raise ValueError(f"{setting.world} has no advice() for a scripted annotator to give.")
        self.crew: Crew = (
            pilot.together(self.scenes)
            if isinstance(pilot, Many)
            else _Alone(pilot, self.scenes[0], seeds[0])
        )
        self.steering = [Steering(pilot.every, hold or pilot.every) for _ in seeds]
        self.under_way = [True] * len(self.seeds)
        self.ends = [0] * len(self.seeds)
        self.agreed = [[0, 0] for _ in seeds]
        self.commands: list[Counter[str]] = [Counter() for _ in seeds]
        self.coming: list[dict[int, tuple[str, str, str]]] = [{} for _ in seeds]
        """What the annotator is about to say, by the step at which it does."""
        self.finished = [False] * len(self.seeds)
        """Whether the world itself said that there is nothing more to do."""
        self.said = [-1] * len(self.seeds)
        """The step at which something was said last."""
        self.reactions: list[list[int]] = [[] for _ in seeds]
        self.waiting: list[tuple[int, NDArray[np.float32]] | None] = [None] * len(self.seeds)
        """(when it was said, what the policy did then) of a correction that has changed nothing yet."""
        self.pages: list[Writer | None] = [None] * len(self.seeds)
        if store is not None:
            self.pages = [store.begin(self._about(row, setting, policy)) for row in range(len(self.seeds))]

    def all(self) -> list[Lived]:
        for step in range(self.limit):
            self._step(step)
            if not any(self.under_way):
                break
        return [self._lived(row) for row in range(len(self.seeds))]

    def _step(self, step: int) -> None:
        self.crew.see(self.seen)
        commands = self._commands(step)
        actions = self.crew.act(commands)
        for row, place in enumerate(self.worlds):
            if not self.under_way[row]:
                continue
            self.commands[row][commands[row]] += 1
            self._react(row, step, actions[row])
            state, score = place.state(), place.score  # of the moment that was seen
            came = place.step(actions[row])
            self._keep(row, actions[row], state, came.reward, score, commands[row])
            self.seen[row] = came.observation
            self.ends[row], self.finished[row] = step + 1, came.done
            if came.done or step + 1 == self.limit:
                self.under_way[row] = False
                self.steering[row].end(step + 1)

    def _commands(self, step: int) -> list[str]:
        """The command of each episode; the policy is asked once for all of those in which it is to decide."""
        if self.oracle:
            return [self._advice(row) if self.under_way[row] else "" for row in range(len(self.seeds))]
        asked: list[list[list[Choice]]] = []

        def choose(row: int) -> list[Choice]:
            if not asked:
                asked.append(self.crew.choices())
            return asked[0][row]

        commands = [""] * len(self.seeds)
        for row, steering in enumerate(self.steering):
            if not self.under_way[row]:
                continue
            first = steering.decides(step) and step == 0
            commands[row] = steering.command(step, partial(choose, row))
            self._let_go(row, step)
            deciding = (first or steering.decides(step + 1)) and step + 1 < self.limit
            if self.listener is not None and deciding:
                self._hear(row, step, choose(row))
            self._say(row, step)
        return commands

    def _let_go(self, row: int, step: int) -> None:
        """A key that is held comes up as soon as what it stands for is no longer right."""
        told, annotator = self.steering[row].told, self.annotator
        if annotator is not None and annotator.held and told is not None:
            advice = annotator.in_words(self._advice(row))
            if not advice or not annotator.agrees(advice, told.command):
                self.steering[row].let_go(step)

    def _hear(self, row: int, step: int, choices: Sequence[Choice]) -> None:
        """What the annotator makes of what the policy is about to choose: it speaks before, not after."""
        if not choices or self.listener is None:
            return
        advice = self.listener.in_words(self._advice(row))
        if not advice:
            return
        self.agreed[row][0] += self.listener.agrees(advice, choices[0].command)
        self.agreed[row][1] += 1
        if self.annotator is not None:
            remark = self.annotator.remark(advice, choices[0].command, self.seeds[row], step)
            if remark is not None:
                self.coming[row][step + self.annotator.delay] = (*remark, choices[0].command)

    def _say(self, row: int, step: int) -> None:
        remark = self.coming[row].pop(step, None)
        if remark is None:
            return
        text, command, predicted = remark
        assert self.annotator is not None
        self.steering[row].say(step, command, self.annotator.held, {"text": text, "predicted": predicted})
        self.said[row] = step

    def _advice(self, row: int) -> str:
        return cast(Talking, self.worlds[row]).advice()

    def _react(self, row: int, step: int, action: NDArray[np.float32]) -> None:
        waiting, told = self.waiting[row], self.steering[row].told
        if waiting is not None:
            said, then = waiting
            if told is None:
                self.waiting[row] = None  # it was over before anything changed
            elif np.abs(action - then).max() > CHANGED:
                self.reactions[row].append(step - said)
                self.waiting[row] = None
        if self.said[row] == step:
            self.waiting[row] = (step, action.copy())

    def _keep(
        self, row: int, action: NDArray[Any], state: NDArray[Any], reward: float, score: float, command: str
    ) -> None:
        page = self.pages[row]
        if page is not None:
            said = self.oracle or self.steering[row].told is not None
            commander = SCRIPT if said else POLICY
            page.step(self.seen[row], action, state, reward, score, command, commander, POLICY)

    def _about(self, row: int, setting: Setting, policy: Mapping[str, Any] | None) -> About:
        place, scene = self.worlds[row], self.scenes[row]
        return About(
            world=setting.world,
            task=str(scene.get("task", setting.task)),
            seed=self.seeds[row],
            observation=len(self.seen[row]),
            action=len(place.actions),
            state=len(place.state()),
            seconds=place.seconds,
            dials=dict(setting.dials),
            scene=scene,
            policy=dict(policy or {}),
            by=BY if self.annotator or self.oracle else "",
        )

    def _lived(self, row: int) -> Lived:
        place, page = self.worlds[row], self.pages[row]
        success = bool(place.score >= 1.0)
        lived = Lived(
            seed=self.seeds[row],
            steps=self.ends[row],
            score=place.score,
            success=success,
            stages=place.stages,
            corrections=tuple(self.steering[row].finished),
            agreed=(self.agreed[row][0], self.agreed[row][1]),
            commands=dict(self.commands[row].most_common()),
            reactions=tuple(self.reactions[row]),
            asked=str(self.scenes[row].get("words", "")),
            episode=page.name if page is not None else "",
        )
        if page is not None:
            why, known = "done" if self.finished[row] else "time", lived.judged
            page.end(why, lived.score if known else 0.0, success if known else None)
        return lived
