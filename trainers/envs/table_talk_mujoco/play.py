"""TableTalk with physics as a World. Its pictures are MuJoCo's own; its state has the form of the numpy table's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.physics import Eye, choose_gl
from trainers.envs.table_talk.play import TableTalkWorld
from trainers.envs.table_talk_mujoco.model import CLEAN
from trainers.envs.worlds import Picture, Step, WorldError

OPEN, SHUT = 0.09, 0.033
"""How far a finger is from the middle of the hand, as it is drawn."""


def make(name: str = "table_talk_mujoco") -> PhysicalTableTalk:
    return PhysicalTableTalk()


class PhysicalTableTalk(TableTalkWorld):
    """Dials, tasks, commands and rules are TableTalk's."""

    name = "table_talk_mujoco"

    def __init__(self) -> None:
        choose_gl()  # before MuJoCo is imported for the first time
        from trainers.envs.table_talk_mujoco.table import PhysicalTable

        self.physical = PhysicalTable()
        super().__init__(self.physical)
        self._eye: Eye | None = None
        self._shown: Any = None

    def step(self, action: NDArray[Any]) -> Step:
        try:
            return super().step(action)
        except FloatingPointError as error:
            table = self.table
            raise WorldError(
                f"TableTalk with physics broke down in step {table.scene.steps} of task '{table.task}' at seed "
                f"{table.seed}: {error}. The same seed and actions bring it back."
            ) from error

    def picture(self, size: int = 256) -> Picture:
        """From in front of the table, and above it."""
        import mujoco

        model, scene = self.physical.model, self.table.scene
        if self._eye is None or self._eye.model is not model:  # each episode has a model of its own
            if self._eye is not None:
                self._eye.close()
            self._eye, self._shown = Eye(model, "above"), mujoco.MjData(model)
        held = self.table.things[scene.held].radius + 0.014 if scene.held >= 0 else SHUT
        for name, side in (("left finger", -1), ("right finger", 1)):
            model.geom(name).pos[0] = side * (held if scene.closed else OPEN)
        for number in np.flatnonzero(scene.wiped):
            model.geom(f"dirt {number}").rgba[:] = CLEAN
        # Bodies are placed for the picture in a copy: looking changes nothing.
        self._shown.qpos[:] = self.physical.data.qpos
        mujoco.mj_kinematics(model, self._shown)
        mujoco.mj_camlight(model, self._shown)
        return self._eye.picture(self._shown, size)
