"""TableTalk as a World: as arrays to learn from, and as the numbers that a browser draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.moments import packed, unpacked
from trainers.envs.table_talk.drawing import paint
from trainers.envs.table_talk.language import understand
from trainers.envs.table_talk.rules import privileged_command, privileged_motion
from trainers.envs.table_talk.table import TableTalk
from trainers.envs.table_talk.tasks import TASKS
from trainers.envs.table_talk.world import SECONDS, Command, Dials, Job, Scene, Thing
from trainers.envs.worlds import Floats, Picture, Step

TASK = "pack"
DIALS = tuple(one.name for one in fields(Dials))


def make(name: str = "table_talk") -> TableTalkWorld:
    return TableTalkWorld()


class TableTalkWorld:
    """`dials` are those of `Dials`, and "things": how many lie on the table, 3 to 6."""

    name = "table_talk"
    seconds = SECONDS
    actions = ("right", "up", "close")
    most_steps = 500

    def __init__(self, table: TableTalk | None = None) -> None:
        self.table = table or TableTalk()

    def reset(self, seed: int, task: str = "", dials: Mapping[str, Any] | None = None) -> Floats:
        given = dict(dials or {})
        things = given.pop("things", 3)
        if unknown := sorted(set(given) - set(DIALS)):
            raise ValueError(f"No dial called '{unknown[0]}' here. Dials: things, {', '.join(DIALS)}.")
        self.table.reset(seed, task or TASK, things, Dials(**given))
        return self.observe()

    def step(self, action: NDArray[Any]) -> Step:
        observation = self.table.step(action)
        return Step(observation.vector().astype(np.float32), 0.0, self.table.done)

    def observe(self) -> Floats:
        """[7 + 2 N] gripper 2, closed, holding, something near and its offset 3, where the N things seem to be."""
        return self.table.observe().vector().astype(np.float32)

    def scene(self) -> dict[str, Any]:
        table, scene = self.table, self.table.scene
        return {
            "task": table.task,
            "words": TASKS[table.task].title,
            "things": [{"name": one.name, **asdict(one)} for one in table.things],
            "places": list(dict.fromkeys(job.words for job in scene.jobs if job.words)),
            "tray": scene.tray.tolist(),
            "spots": scene.spots.tolist(),
            "hazards": scene.hazards.tolist(),
            "shift": scene.shift.tolist(),
        }

    def state(self) -> Floats:
        """[5 + 2 N + S] gripper 2, closed, number of the thing held or -1, cost, where the N things are, and for each
        of the S spots whether it was wiped.
        """
        scene = self.table.scene
        numbers = (
            scene.gripper,
            [scene.closed, scene.held, scene.cost],
            scene.positions.ravel(),
            scene.wiped,
        )
        return np.concatenate(numbers).astype(np.float32)

    def picture(self, size: int = 256) -> Picture:
        return paint(self.scene(), self.state(), size)

    @property
    def score(self) -> float:
        return self.table.score

    @property
    def stages(self) -> dict[str, bool]:
        table = self.table
        return {f"{n}. {table.things[job.thing].name}": job.done for n, job in enumerate(table.scene.jobs, 1)}

    # --- what somebody who sees it as it is would say, and do

    def advice(self) -> str:
        return str(privileged_command(self.table))

    def demonstrate(self, command: str = "") -> NDArray[Any]:
        return privileged_motion(self.table, self.command(command) if command else None)

    def command(self, text: str) -> Command:
        """What a command's words say; "wait" where they say nothing that can be done here."""
        scene = self.scene()
        names = [one["name"] for one in scene["things"]]
        return understand(text, names, scene["places"]).command or Command("wait")

    # --- moments

    def snapshot(self) -> bytes:
        kept = self.table.snapshot()
        kept["dials"], kept["things"] = asdict(kept["dials"]), [asdict(one) for one in kept["things"]]
        return packed({"world": self.name, **kept, "scene": asdict(kept["scene"])})

    def restore(self, moment: bytes) -> Floats:
        kept = unpacked(moment, self.name)
        scene = kept["scene"]
        scene["jobs"] = [Job(**{**job, "reach": tuple(job["reach"])}) for job in scene["jobs"]]
        things = [Thing(**one) for one in kept["things"]]
        self.table.restore(
            {**kept, "dials": Dials(**kept["dials"]), "things": things, "scene": Scene(**scene)}
        )
        return self.observe()
