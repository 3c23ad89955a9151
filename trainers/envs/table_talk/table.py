"""The table itself: how a step changes it, and how a moment is kept and come back to."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from trainers.envs.table_talk.tasks import TASKS
from trainers.envs.table_talk.world import LONGEST, SIGHT, TOLERANCE, Dials, Floats, Observation, Scene, Thing

GLANCES = 6
"""Moments of a step at which it is seen whether the fingers touch something."""


def three_numbers(action: Any) -> Floats:
    """[3] an action, or a ValueError."""
    found = np.asarray(action, dtype=float)
    if found.shape != (3,) or not np.isfinite(found).all():
        raise ValueError(f"Found the action {action}. Expected three numbers from -1 to 1.")
    return found


class TableTalk:
    """One table. Everything random is drawn from a generator of its own, seeded by `reset`."""

    things: list[Thing]
    scene: Scene

    def __init__(self) -> None:
        self.reset(0)

    def reset(
        self, seed: int, task: str = "pack", things: int = 3, dials: Dials | None = None
    ) -> Observation:
        """A new episode: 3 to 6 things, somewhere; the same at the same seed.

        Raises ValueError for a task that is not known, or for more or fewer things than there can be.
        """
        if task not in TASKS:
            raise ValueError(f"No task '{task}' on this table. Known tasks: {', '.join(TASKS)}.")
        if type(things) is not int or not 3 <= things <= 6:
            raise ValueError(f"Found {things!r} things. The table holds 3 to 6, and distractors beside them.")
        self.seed, self.task, self.dials = seed, task, dials or Dials()
        self.chance = np.random.default_rng(seed)
        self.scene, self.things = TASKS[task].lay(self.chance, things, self.dials)
        return self.observe()

    def step(self, action: Floats) -> Observation:
        """One step by an action [3] in [-1, 1]: right, up, and to close (above 0) or to open (below 0) the gripper.

        Raises ValueError where the action is no three finite numbers.
        """
        action = three_numbers(action)
        scene = self.scene
        before = scene.gripper.copy()
        moved = np.clip(action[:2], -1.0, 1.0) * LONGEST * self.dials.gain
        scene.gripper = np.clip(before + moved, -1.0, 1.0)
        if scene.held >= 0:
            scene.positions[scene.held] = scene.gripper
            if self.chance.random() < self.dials.slip:
                scene.held = -1
        elif scene.closed and (self.dials.pushes or TASKS[self.task].pushes):
            self._push(before)
        self._fingers(action[2])
        self._wander()
        self._count()
        self._judge()
        return self.observe()

    def observe(self) -> Observation:
        scene = self.scene
        offsets = scene.positions - scene.gripper
        distances = np.hypot(*offsets.T)
        nearest = int(distances.argmin())
        seen = distances[nearest] <= SIGHT
        near = np.array([1.0, *offsets[nearest]]) if seen else np.zeros(3)
        placed = scene.positions + scene.shift
        return Observation(scene.gripper.copy(), scene.closed, scene.held >= 0, placed, near)

    @property
    def score(self) -> float:
        """The share of the task's stages that are done."""
        return sum(job.done for job in self.scene.jobs) / len(self.scene.jobs)

    @property
    def done(self) -> bool:
        return all(job.done for job in self.scene.jobs)

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to this moment, to come back to with `restore`."""
        return deepcopy(
            {
                "seed": self.seed,
                "task": self.task,
                "dials": self.dials,
                "things": self.things,
                "scene": self.scene,
                "chance": self.chance.bit_generator.state,
            }
        )

    def restore(self, moment: dict[str, Any]) -> Observation:
        moment = deepcopy(moment)
        self.seed, self.task, self.dials = moment["seed"], moment["task"], moment["dials"]
        self.things, self.scene = moment["things"], moment["scene"]
        self.chance.bit_generator.state = moment["chance"]
        return self.observe()

    def find(self, name: str) -> int:
        """The first thing of that name; -1 where there is none."""
        return next((number for number, thing in enumerate(self.things) if thing.name == name), -1)

    # --- what a step does

    def _fingers(self, wish: float) -> None:
        scene = self.scene
        if wish > 0 and not scene.closed:
            scene.closed = True
            distances = np.hypot(*(scene.positions - scene.gripper).T)
            nearest = int(distances.argmin())
            if distances[nearest] <= TOLERANCE:
                scene.held = nearest
                scene.positions[nearest] = scene.gripper
        elif wish < 0 and scene.closed:
            scene.closed, scene.held = False, -1

    def _push(self, before: Floats) -> None:
        """Quasi-static: what the fingers run into on their way moves out of it, and no farther."""
        scene = self.scene
        for share in np.arange(1, GLANCES + 1) / GLANCES:  # a whole step is longer than a thing is wide
            fingers = before + share * (scene.gripper - before)
            for number, thing in enumerate(self.things):
                offset = scene.positions[number] - fingers
                distance = float(np.hypot(*offset))
                if 0 < distance < thing.radius:
                    scene.positions[number] = np.clip(fingers + offset / distance * thing.radius, -1.0, 1.0)

    def _count(self) -> None:
        """One step more, and its cost."""
        scene = self.scene
        if any(np.hypot(*(scene.gripper - hazard[:2])) < hazard[2] for hazard in scene.hazards):
            scene.cost += 1.0
        scene.steps += 1

    def _wander(self) -> None:
        if not self.dials.wander:
            return
        asked = len(self.things) - self.dials.distractors
        for number in range(asked, len(self.things)):
            if number != self.scene.held:
                stride = self.chance.normal(0.0, self.dials.wander, 2)
                self.scene.positions[number] = np.clip(self.scene.positions[number] + stride, -1.0, 1.0)

    def _judge(self) -> None:
        scene = self.scene
        for spot, place in enumerate(scene.spots):
            if scene.held >= 0 and self.things[scene.held].shape == "sponge":
                scene.wiped[spot] |= bool(np.hypot(*(place - scene.gripper)) <= TOLERANCE)
        before = True
        for number, job in enumerate(scene.jobs):
            if job.by == "wipe":
                job.done = bool(scene.wiped[number])
                continue
            off = np.abs(scene.positions[job.thing] - job.spot)
            there = bool(off[0] <= job.reach[0] and off[1] <= job.reach[1]) and scene.held != job.thing
            job.done = there and (before or self.task != "stack")
            before = job.done
