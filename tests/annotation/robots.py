"""Recordings of robots to test with: TableTalk really played, by its own rules, with a camera that may be off."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from django.conf import settings

from annotation.models import Item, Recording, Study
from annotation.recordings import clip_items, episode_items, record
from annotation.services import add_items
from trainers.envs.registry import world
from trainers.episodes import PERSON, POLICY, About, Clip, Episode, Episodes, Segment

KINDS = ("clips", "hindsight", "driving")
WRONG = "pick up the red block"


@lru_cache(maxsize=64)
def _played(seed: int, steps: int, task: str, shift: float) -> tuple[About, list[dict[str, Any]], float]:
    table = world("table_talk")
    seen = table.reset(seed, task, {"camera_shift": shift})
    about = About(
        table.name, task, seed, len(seen), len(table.actions), len(table.state()), table.seconds,
        dials={"camera_shift": shift}, scene=table.scene(), policy={"name": "rules-1"}, by="script",
    )  # fmt: skip
    rows = []
    for _ in range(steps):
        command = table.advice()
        action = np.asarray(table.demonstrate(command), dtype=np.float32)
        row = {"observation": seen, "state": table.state(), "action": action, "command": command}
        came = table.step(action)
        rows.append({**row, "score": table.score})
        seen = came.observation
        if came.done:
            break
    return about, rows, table.score


def play(
    seed: int = 1, steps: int = 60, task: str = "pack", shift: float = 0.0, driven: bool = False
) -> Episode:
    """An episode in the store: as a policy plays it, or as a person drives it."""
    about, rows, score = _played(seed, steps, task, shift)
    who = PERSON if driven else POLICY
    with Episodes(settings.EPISODES).begin(about) as writer:
        for row in rows:
            said = {} if driven else {"command": row["command"], "commander": POLICY}
            writer.step(
                row["observation"], row["action"], row["state"], score=row["score"], actor=who, **said
            )
        return writer.end("enough", score=score, success=score == 1.0)


def pictured(study: Study, images, colour: tuple[int, int, int], steps: int = 8) -> Recording:
    """An episode of a world that is only seen in pictures, of one colour each; from its middle on with green."""
    about = About("toy", "reach", 3, 4, 2, 3, 0.1, scene={"words": "Reach the mug"}, policy={"name": "first"})
    with Episodes(settings.EPISODES).begin(about) as writer:
        for number in range(steps):
            seen = (colour[0], 255 if number >= steps // 2 else 0, colour[2])
            kept = io.BytesIO()
            images.new("RGB", (64, 64), seen).save(kept, "JPEG")
            writer.picture(kept.getvalue())
            writer.step(np.zeros(4, "f4"), np.zeros(2, "f4"), np.zeros(3, "f4"))
        return record(study, writer.end("enough").name, by=study.created_by)


def recording(study: Study, **given: Any) -> Recording:
    return record(study, play(**given).name, by=study.created_by)


def pairs(study: Study, count: int = 1, steps: int = 30) -> list[Item]:
    """Items of two clips each, of different episodes."""
    rows = [recording(study, seed=seed, steps=steps + 10) for seed in range(1, count + 2)]
    made = [(_clip(rows[n], 0, steps), _clip(rows[n + 1], 5, steps + 5)) for n in range(count)]
    return clip_items(study, made)


def _clip(row: Recording, start: int, stop: int) -> Clip:
    return Clip(row.episode, min(start, row.steps - 1), min(stop, row.steps))


def episodes(study: Study, count: int = 1, motions: bool = False, **given: Any) -> list[Item]:
    """Items of a whole episode each, to be looked at in hindsight."""
    rows = [recording(study, seed=seed, **given) for seed in range(1, count + 1)]
    for row in rows if motions else ():
        _name_motions(Episodes(settings.EPISODES).open(row.episode))
    return episode_items(study, rows)


def _name_motions(episode: Episode) -> None:
    """Every ten steps a motion, as a program would have read it off them."""
    steps = len(episode)
    for number, start in enumerate(range(0, steps, 10)):
        label = ("move arm right", "move arm up", "close gripper")[number % 3]
        episode.say(Segment(f"motion-{start}", start, min(start + 10, steps), "motion", label, by="script"))


def drives(study: Study, count: int = 1, **given: Any) -> list[Item]:
    """Items of a driven episode each."""
    rows = [recording(study, seed=seed, driven=True, **given) for seed in range(1, count + 1)]
    return add_items(
        study=study,
        items=[
            {
                "context": {"prompt": "Pack everything into the tray"},
                "candidates": [{"text": f"clip:{row.episode}:0-{row.steps}", "source": {"driven": True}}],
            }
            for row in rows
        ],
    )


def ask(study: Study, count: int) -> list[Item]:
    """So many items for each of the study's kinds that asks about robots."""
    make = {"clips": pairs, "hindsight": episodes, "driving": drives}
    return [item for kind in study.kinds if kind in make for item in make[kind](study, count)]
