"""The demo study of robots: a small robot packs blocks, and does not know that its camera hangs askew."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from django.conf import settings
from django.db import transaction

from annotation import recordings
from annotation.models import Recording, Study
from annotation.services import create_study
from trainers.envs.registry import world
from trainers.episodes import SCRIPT, About, Episodes
from webapp.runs.models import Artifact
from webapp.runs.services import register_model

SHIPPED = settings.BASE_DIR / "trainers" / "demo" / "robot"
NAME = "Talk to the robot"
GUIDELINES = """\
A robot packs blocks into a tray. It learned with its camera straight; now the camera hangs askew, and it grasps beside
the blocks.

Open **Robots**, start it, and tell it what to do when it goes wrong: “move a bit to the left”, “close the gripper”.
It obeys at once. After a few episodes press **Teach**, and see whether it manages alone.

Here you may also compare two clips, or say about a recording what should have been done.
"""
LICENCE = "CC0-1.0"
CONSENT = "What you say is kept on this machine and trains its robots."
INTERFACES = [{"kind": "hindsight"}, {"kind": "clips"}, {"kind": "driving"}]
WORLD, TASK = "table_talk", "pack"
DIALS = {"camera_shift": 0.1}
SKILLS = {"sure hand": 0.0, "shaky hand": 0.6, "drowsy hand": 1.0}
"""Who drives the clips that are shipped: the table's own rule, with so much chance in its motions."""
SEEDS = range(900, 904)


@transaction.atomic
def make_demo(*, owner, name: str = NAME) -> Study:
    """The study with its first robot and a few clips to compare, which the table's own rule drove."""
    study = create_study(
        name=name, owner=owner, guidelines=GUIDELINES, interfaces=INTERFACES, licence=LICENCE, consent=CONSENT
    )
    register_model(
        study=study,
        path=SHIPPED,
        kind=Artifact.Kind.ROBOT_POLICY,
        name="first robot",
        meta={"demo": NAME, "world": WORLD, "task": TASK, "dials": DIALS},
    )
    pairs = []
    for seed in SEEDS:
        clips = [_whole(drive(study, seed, skill)) for skill in SKILLS]
        pairs += combinations(clips, 2)
    recordings.clip_items(study, pairs, source={"demo": NAME})
    return study


def drive(study: Study, seed: int, skill: str) -> Recording:
    """An episode that a script drove, named as such."""
    here, chance = world(WORLD), np.random.default_rng(seed)
    seen = here.reset(seed, TASK)
    about = About(
        world=WORLD, task=TASK, seed=seed, observation=len(seen), action=len(here.actions), state=len(here.state()),
        seconds=here.seconds, scene=here.scene(), policy={"name": skill}, by="script",
    )  # fmt: skip
    with_whom = Episodes(settings.EPISODES).begin(about)
    for _ in range(here.most_steps // 2):
        action = here.demonstrate()
        action[:2] += chance.normal(0.0, SKILLS[skill], 2)
        action = np.clip(action, -1.0, 1.0)
        state, score = here.state(), here.score
        step = here.step(action)
        with_whom.step(seen, action, state, score=score, actor=SCRIPT)
        seen = step.observation
        if step.done:
            break
    lived = with_whom.end("done" if here.score == 1 else "out of time", here.score, here.score == 1)
    return recordings.record(study, lived.name, source={"demo": NAME, "script": skill})


def _whole(recording: Recording) -> str:
    return f"clip:{recording.episode}:0-{recording.steps}"


def find_demo() -> Study | None:
    """The demo study made before, whatever it is called by now."""
    made = Artifact.objects.filter(kind=Artifact.Kind.ROBOT_POLICY, meta__demo=NAME).select_related("study")
    first = made.first()
    return first.study if first else None
