"""Episodes of a robot on the table, small enough to be made anew by each test; what was said of them; and a robot."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch

from trainers import nn
from trainers.data.driven import decisions, demonstrated
from trainers.data.motions import phrases_of
from trainers.envs.motions import embodiment
from trainers.envs.registry import world
from trainers.episodes import POLICY, SCRIPT, About, Episodes
from trainers.nn.motions import policy_for
from trainers.nn.robots import Robot, RobotConfig
from trainers.nn.robots.lessons import high_lessons, low_lessons
from trainers.records import Drive, LanguageCorrection, Record

STEPS = 40
ASKED = "Pack everything into the tray"
TAUGHT, DRIVEN = range(4), range(20, 23)
"""Seeds of the episodes that were corrected, and of those that were driven."""
SHIFTED = {"camera_shift": 0.1}


def name(seed: int) -> str:
    """An episode's name, so that records can name it before it is there."""
    return hashlib.md5(f"toy episode {seed}".encode()).hexdigest()


@functools.cache
def played(seed: int) -> tuple[About, list[tuple[np.ndarray, ...]], list[str]]:
    """An episode by the table's rule: what it is, its (observation, action, state), and the advice at each step."""
    place = world("table_talk")
    dials = SHIFTED if seed in TAUGHT else {}
    observation = place.reset(seed, "pack", dials)
    about = About(
        "table_talk",
        "pack",
        seed,
        len(observation),
        3,
        len(place.state()),
        place.seconds,
        dials,
        place.scene(),
    )
    rows, advice = [], []
    for _ in range(STEPS):
        action = np.asarray(place.demonstrate(), dtype=np.float32)
        advice.append(place.advice())
        rows.append((observation, action, place.state()))
        observation = place.step(action).observation
    return about, rows, advice


def episodes(folder: Path) -> Path:
    """A store with all of them."""
    store = Episodes(folder)
    for seed in (*TAUGHT, *DRIVEN):
        if name(seed) in store:
            continue
        about, rows, _ = played(seed)
        page = store.begin(about, name(seed))
        for observation, action, state in rows:
            shown = seed in DRIVEN
            page.step(observation, action, state, actor=SCRIPT if shown else POLICY)
        page.end("time")
    return folder


def corrections() -> list[Record]:
    """What the rule would have said, every ten steps of the corrected episodes."""
    return [
        LanguageCorrection(
            f"said-{seed}-{step}", ASKED, name(seed), step, min(step + 10, STEPS), played(seed)[2][step],
            played(seed)[2][step], predicted="wait", annotator="script",
        )
        for seed in TAUGHT
        for step in range(5, STEPS, 10)
    ]  # fmt: skip


def drives() -> list[Record]:
    return [Drive(f"drive-{seed}", ASKED, name(seed), 0, STEPS, annotator="script") for seed in DRIVEN]


def small(seed: int = 0) -> Robot:
    """A robot that was never trained, as wide as a toy is."""
    robot = Robot(RobotConfig(width=16, seed=seed, base={"demonstrations": 2, "seed": 10_000, "dials": {}}))
    shown, _ = demonstrated("table_talk", "pack", range(10_000, 10_002))
    low = low_lessons(shown, robot.config.chunk, 3)
    with torch.no_grad():
        robot.low.normalise(low.body, low.here, low.offsets)
    robot.bank = sorted(set(high_lessons(decisions(shown), 3, 5, 3).commands))
    return robot.eval()


def robot_policy(folder: Path) -> str:
    return str(nn.save(small(), folder))


def motions() -> list[Record]:
    """What was said about motions in the corrected episodes: what the rule went on to do, every eight steps."""
    arm = embodiment("table_talk")
    found: list[Record] = []
    for seed in TAUGHT:
        about, rows, _ = played(seed)
        _, actions, states = (np.stack(column) for column in zip(*rows, strict=True))
        phrases = phrases_of(arm, states, actions, about.seconds)
        for step in range(4, STEPS - 3, 8):
            found.append(
                LanguageCorrection(
                    f"motion-{seed}-{step}", ASKED, name(seed), step, step + 3, phrases[step], phrases[step],
                    layer="motion", predicted="stay", annotator="script",
                )
            )  # fmt: skip
    return found


def motion_policy(folder: Path) -> str:
    """A policy of motions that was never trained, and says what it should have been trained on."""
    arm = embodiment("table_talk")
    base = {
        "world": "table_talk",
        "tasks": "pack",
        "demonstrations": 2,
        "tremor": 0.0,
        "seed": 10_000,
        "drives": [],
    }
    policy = policy_for(arm, 13, 3, 32, 0, base)
    policy.scale(torch.from_numpy(np.stack([row[0] for row in played(TAUGHT[0])[1]])))
    return str(nn.save(policy, folder))
