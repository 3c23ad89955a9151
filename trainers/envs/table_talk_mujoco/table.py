"""The table with physics: a step moves the hand by servos, and everything else by what touches it."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainers.envs.physics import kept_physics, log_warnings, prepare, restore_physics, unsteady
from trainers.envs.table_talk.table import TableTalk, three_numbers
from trainers.envs.table_talk.tasks import TASKS
from trainers.envs.table_talk.world import LONGEST, SECONDS, TOLERANCE, Dials, Floats, Observation
from trainers.envs.table_talk_mujoco.model import DAMP, FIST, STIFF, SUBSTEPS, built, half_height

MOVING = 12
"""Of the substeps of a step in which the fingers open, those in which the hand moves before that: in the rest of them
what was let go comes to lie."""
CLEAR = 0.008
"""How far above what lies below it a thing is carried."""
HOVER = 0.04
"""How far above it the open fingers are."""
AHEAD, SLOPE = 0.3, 0.8
"""Things as near as this along the table are flown over; of those farther off, what stands out above a slope that
rises so much with the distance."""
CLIMB = 0.25
"""The farthest the hand goes up or down in a step."""
PUSHING = 0.01
"""How high the hand is when closed fingers push."""
LOW = 0.05
"""Lower than this, closed fingers are down."""
BESIDE = 0.035
"""They come down no nearer to a thing than this."""
SETTLED = 3
"""Steps for which everything has to stay done: what was put down may yet tip over."""
SAME_LEVEL = 0.03
"""Things whose middles differ by less in height lie on one level."""


class PhysicalTable(TableTalk):
    """The numpy table's tasks, dials and rules, with a MuJoCo model below them."""

    def reset(
        self, seed: int, task: str = "pack", things: int = 3, dials: Dials | None = None
    ) -> Observation:
        super().reset(seed, task, things, dials)
        self._build()
        data, scene = self.data, self.scene
        for number, place in enumerate(scene.positions):
            data.qpos[self._joint(number)] = [*place, half_height(self.things[number]), 1.0, 0.0, 0.0, 0.0]
        data.qpos[:3] = [*scene.gripper, 0.0]
        data.qpos[2] = self._height()
        self._mj.mj_forward(self.model, data)
        self.settled = 0
        return self.observe()

    def step(self, action: Floats) -> Observation:
        action = three_numbers(action)
        scene = self.scene
        moved = np.clip(action[:2], -1.0, 1.0) * LONGEST * self.dials.gain
        opening = scene.closed and action[2] < 0
        moving = MOVING if opening else SUBSTEPS
        self._move(np.clip(scene.gripper + moved, -1.0, 1.0), moving)
        if scene.held >= 0 and self.chance.random() < self.dials.slip:
            self._let_go()
        self._fingers(float(action[2]))
        self._wander_bodies()
        self._substeps(SUBSTEPS - moving)
        self._look()
        self._count()
        self._judge()
        self.settled = self.settled + 1 if self.score == 1.0 else 0
        if wrong := unsteady(self.data):
            raise FloatingPointError(wrong)
        return self.observe()

    @property
    def done(self) -> bool:
        return self.settled >= SETTLED

    def snapshot(self) -> dict[str, Any]:
        welds = np.array(self.model.eq_data)
        kept = {"settled": self.settled, "welds": welds, "physics": kept_physics(self.model, self.data)}
        return {**super().snapshot(), **kept}

    def restore(self, moment: dict[str, Any]) -> Observation:
        super().restore(moment)
        self._build()
        self.settled = moment["settled"]
        self.model.eq_data[:] = moment["welds"]
        restore_physics(self.model, self.data, moment["physics"])
        return self.observe()

    # --- the hand

    def _move(self, to: Floats, substeps: int) -> None:
        """Along the table to a place at one speed; up or down to where it belongs, from rest to rest."""
        data, seconds = self.data, substeps * self.model.opt.timestep
        start = data.qpos[:3].copy()
        rise = float(np.clip(self._height() - start[2], -CLIMB, CLIMB))
        way = np.array([*(to - start[:2]), rise])
        for number in range(1, substeps + 1):
            t = number / substeps
            share = np.array([t, t, t * t * (3 - 2 * t)])
            speed = np.array([t < 1, t < 1, 6 * t * (1 - t)]) * way / seconds
            data.ctrl[:] = start + share * way + speed * DAMP / STIFF
            self._mj.mj_step(self.model, data)

    def _height(self) -> float:
        """Where the hand belongs: above all that it may soon run into, or down if it pushes."""
        scene, data = self.scene, self.data
        tops = [0.0]
        for number, thing in enumerate(self.things):
            place = data.qpos[self._joint(number)][:3]
            if number != scene.held:
                far = max(0.0, float(np.hypot(*(place[:2] - data.qpos[:2]))) - AHEAD)
                tops.append(float(place[2]) + half_height(thing) - SLOPE * far)
        if scene.held >= 0:
            held = data.qpos[self._joint(scene.held)][2]
            return max(tops) + CLEAR + half_height(self.things[scene.held]) + float(data.qpos[2] - held)
        pushes = scene.closed and (self.dials.pushes or TASKS[self.task].pushes)
        if pushes and (data.qpos[2] < LOW or not self._below()):
            return PUSHING
        return max(max(tops), 0.1) + HOVER

    def _below(self) -> bool:
        """Whether fingers that came down here would come down on something, or run into it on their way."""
        hand = self.data.qpos[:2]
        places = [self.data.qpos[self._joint(number)][:2] for number in range(len(self.things))]
        rooms = [thing.radius + FIST + BESIDE for thing in self.things]
        return any(np.hypot(*(at - hand)) < room for at, room in zip(places, rooms, strict=True))

    def _fingers(self, wish: float) -> None:
        scene = self.scene
        if wish > 0 and not scene.closed:
            scene.closed = True
            number = self._within_reach()
            if number >= 0:
                self._take(number)
        elif wish < 0 and scene.closed:
            scene.closed = False
            if scene.held >= 0:
                self._let_go()

    def _within_reach(self) -> int:
        """What closing fingers take: the highest of the things between them, of these the nearest; -1: nothing."""
        data = self.data
        near = []
        for number in range(len(self.things)):
            place = data.qpos[self._joint(number)][:3]
            distance = float(np.hypot(*(place[:2] - data.qpos[:2])))
            if distance <= TOLERANCE:
                near.append((-round(float(place[2]) / SAME_LEVEL), distance, number))
        return min(near)[2] if near else -1

    def _take(self, number: int) -> None:
        """Welds it to the hand, as high and as turned as it is, with its middle below the hand's."""
        place = self.data.qpos[self._joint(number)]
        weld = self.model.eq_data[number]
        weld[:3] = 0.0  # of the thing: its middle
        weld[3:6] = [0.0, 0.0, place[2] - self.data.qpos[2]]  # where that is to be, seen from the hand
        weld[6:10] = place[3:7]
        self.data.eq_active[number] = 1
        self.scene.held = number

    def _let_go(self) -> None:
        self.data.eq_active[self.scene.held] = 0
        self.scene.held = -1

    # --- the rest

    def _substeps(self, count: int) -> None:
        for _ in range(count):
            self._mj.mj_step(self.model, self.data)

    def _look(self) -> None:
        """Where everything is now."""
        scene = self.scene
        scene.gripper = np.clip(self.data.qpos[:2], -1.0, 1.0)
        for number in range(len(self.things)):
            scene.positions[number] = self.data.qpos[self._joint(number)][:2]

    def _wander_bodies(self) -> None:
        """Distractors that walk are set down a little farther on."""
        before = self.scene.positions.copy()
        self._wander()
        for number in np.flatnonzero((self.scene.positions != before).any(axis=1)):
            self.data.qpos[self._joint(int(number))][:2] += self.scene.positions[number] - before[number]

    def _judge(self) -> None:
        super()._judge()
        if self.task == "stack":
            on = True
            for level, job in enumerate(self.scene.jobs):
                height = float(self.data.qpos[self._joint(job.thing)][2])
                on = job.done = on and job.done and height > 2 * level * half_height(self.things[job.thing])

    def _joint(self, number: int) -> slice:
        """Of qpos: the place [3] and the turn [4] of a thing."""
        return slice(3 + 7 * number, 10 + 7 * number)

    def _build(self) -> None:
        import mujoco

        log_warnings()
        self._mj = mujoco
        self.model = mujoco.MjModel.from_xml_string(built(self.scene, self.things, self.task, SECONDS))
        prepare(self.model)
        self.data = mujoco.MjData(self.model)
