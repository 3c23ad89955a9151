"""Small episodes to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainers.envs.registry import world
from trainers.episodes import PERSON, POLICY, SCRIPT, About, Episode, Episodes, Segment

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
"""No picture, but it begins and ends as one."""


def about(**given: Any) -> About:
    facts: dict[str, Any] = {
        "world": "toy", "task": "reach", "seed": 3, "observation": 4, "action": 2, "state": 3, "seconds": 0.1,
        "scene": {"words": "Reach the mug"}, "policy": {"name": "first", "artifact": 7}, "by": "ada",
    }  # fmt: skip
    return About(**{**facts, **given})


def row(number: int, what: About) -> dict[str, Any]:
    """The numbers of a step: each its own, so that none can be taken for another."""
    chance = np.random.default_rng(number)
    return {
        "observation": chance.normal(size=what.observation).astype("f4"),
        "action": chance.uniform(-1, 1, what.action).astype("f4"),
        "state": chance.normal(size=what.state).astype("f4"),
        "reward": float(number),
        "score": number / 100,
        "command": ("move left", "grasp the mug", "")[number // 4 % 3],
        "commander": POLICY if number % 2 else PERSON,
        "actor": POLICY,
    }


def live(
    store: Episodes | Path | str, steps: int = 12, name: str = "", ends: bool = True, pictures: bool = False,
    **given: Any,
) -> Episode:  # fmt: skip
    """An episode of made-up numbers."""
    store = store if isinstance(store, Episodes) else Episodes(store)
    what = about(**given)
    writer = store.begin(what, name)
    for number in range(writer.length, steps):
        if pictures:
            writer.picture(JPEG + bytes([number]))
        writer.step(**row(number, what))
    if ends:
        return writer.end("done", score=0.5, success=True)
    writer.close()
    return store.open(writer.name)


def play(store: Episodes | Path | str, seed: int = 1, task: str = "pack", steps: int = 40) -> Episode:
    """An episode of TableTalk as its own rules play it, with the command of each step."""
    store = store if isinstance(store, Episodes) else Episodes(store)
    table = world("table_talk")
    seen = table.reset(seed, task)
    what = About(
        table.name, task, seed, len(seen), len(table.actions), len(table.state()), table.seconds,
        scene=table.scene(), by="script", policy={"name": "rules"},
    )  # fmt: skip
    with store.begin(what) as writer:
        for _ in range(steps):
            command = table.advice()  # type: ignore[attr-defined]
            action = table.demonstrate(command)  # type: ignore[attr-defined]
            state = table.state()
            came = table.step(action)
            writer.step(seen, action, state, came.reward, table.score, command, SCRIPT, SCRIPT)
            seen = came.observation
            if came.done:
                break
        return writer.end("enough", score=table.score, success=table.score == 1.0)


def say_commands(episode: Episode, by: str = "script") -> list[Segment]:
    """A segment for each stretch of one command."""
    said = episode.said()
    edges = [0, *(n for n in range(1, len(said)) if said[n] != said[n - 1]), len(said)]
    return [
        episode.say(Segment(f"command-{start}", start, stop, "instruction", said[start], by, 1.0))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
        if said[start]
    ]
