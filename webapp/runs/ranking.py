"""Reward models look at what is still open, and bring forward what a person's answer would tell most about.

`uncertain`: the newest reward model gives the two answers nearly even odds. `disputed`: the members of an ensemble, or
else the newest reward models, differ most about those odds (the variance of P over an ensemble; Christiano et al. 2017,
arXiv:1706.03741, section 2.2.4).
Done again while people label: when there is a newer model, when enough has been answered, or after a while. The models
run in a child process, `python -m trainers score`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import time
from itertools import combinations
from statistics import fmean, pvariance

from celery import current_app, shared_task
from django.conf import settings
from django.db import connection
from django.db.models import F, Max
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from annotation import policies
from annotation.models import Candidate, Label, Part, Policy, Study, Task
from webapp.runs.chat import NOT_FOR_CHILDREN
from webapp.runs.models import Artifact

LOOKED_AT = 1_000
"""Open tasks that models look at in one go, drawn by chance: a long queue is seen part by part."""
FORWARD = 300
"""Of these, how many go to the front."""
MEMBERS = 4
"""How many of the newest reward models make the ensemble of `disputed`."""
AFTER_LABELS = 25
AFTER_SECONDS = 600.0
TIMEOUT_SECONDS = 600.0
LOCK = 0x1B20
log = logging.getLogger(__name__)

seen: dict[int, tuple[int, int, float]] = {}
"""By study, in this process: the newest model, the newest label and the time when it was last sent for ranking."""


def sweep() -> int:
    """Sends for a new order where there is reason to; called by every worker's heartbeat. Returns how many."""
    studies = Study.objects.active().filter(policy__in=policies.BY_MODELS)
    return sum(_send_if_due(study) for study in studies)


def _send_if_due(study: Study) -> int:
    models = models_for(study)
    if not models:
        return 0
    label = Label.objects.filter(study=study).aggregate(last=Max("pk"))["last"] or 0
    model, before, at = seen.get(study.pk, (0, 0, 0.0))
    fresh = Label.objects.filter(study=study, pk__gt=before).count() if label > before else 0
    old = time.monotonic() - at > AFTER_SECONDS and fresh
    if model == models[0].pk and fresh < AFTER_LABELS and not old:
        return 0
    try:
        current_app.send_task("runs.rank", [study.pk], queue="jobs", retry=False)
    except (KombuError, RedisError, OSError) as problem:
        log.warning("The broker did not take the ranking of study %s (%s); trying again.", study.pk, problem)
        return 0
    seen[study.pk] = (models[0].pk, label, time.monotonic())
    return 1


def models_for(study: Study) -> list[Artifact]:
    """The reward models that look: the newest, or the newest few where their differences count.

    An ensemble brings its differences along: where the newest is one, it looks alone.
    """
    found = Artifact.objects.filter(study=study, kind=Artifact.Kind.REWARD_MODEL).order_by("-pk")
    newest = list(found[: MEMBERS if study.policy == Policy.DISPUTED else 1])
    return newest[:1] if newest and newest[0].meta.get("members") else newest


@shared_task(name="runs.rank")
def rank(study_pk: int) -> int:
    """Puts the open tasks of a study in a new order; returns how many moved. One at a time for a study."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, study_pk])
        if not cursor.fetchone()[0]:
            return 0
        try:
            study = Study.objects.get(pk=study_pk)
            models = models_for(study)
            if study.policy not in policies.BY_MODELS or not models:
                return 0
            worth = worth_of(study, models)
            first = sorted(worth, key=lambda task: -worth[task])[:FORWARD]
            return policies.bring_forward(study, first)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, study_pk])


def worth_of(study: Study, models: list[Artifact]) -> dict[int, float]:
    """What an answer to each open task would tell, by the study's policy."""
    open_tasks = Task.objects.filter(study=study, part=Part.QUEUE, open=F("overlap"), open__gt=0)
    tasks = [
        task
        for task in open_tasks.select_related("item").order_by("?")[:LOOKED_AT]
        if len(task.candidates) > 1
    ]
    texts = dict(
        Candidate.objects.filter(pk__in={pk for task in tasks for pk in task.candidates}).values_list(
            "pk", "text"
        )
    )
    rows = [
        {"id": task.pk, **task.item.context, "answers": [texts[pk] for pk in task.candidates]}
        for task in tasks
    ]
    found = {row["id"]: row["scores"] for row in scores_of(models, rows)}
    differ = study.policy == Policy.DISPUTED and all(len(scores) > 1 for scores in found.values())
    return {pk: (disagreement if differ else uncertainty)(scores) for pk, scores in found.items()}


def scores_of(models: list[Artifact], rows: list[dict]) -> list[dict]:
    """Every model's score of every answer, an ensemble's members each for itself, from a child process."""
    if not rows:
        return []
    environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_CHILDREN}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "trainers", "score", *(str(one.location) for one in models)],
        cwd=settings.BASE_DIR,
        env=environment,
        input="".join(json.dumps(row) + "\n" for row in rows),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"The reward models could not score the open tasks: {done.stderr.strip()[-500:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def odds(scores: list[float]) -> list[float]:
    """P(a is preferred to b) = sigma(r_a - r_b) for every two answers."""
    return [1 / (1 + math.exp(min(50.0, b - a))) for a, b in combinations(scores, 2)]


def uncertainty(scores: list[list[float]]) -> float:
    """How near to even the mean of the models' odds is: 1 for even, 0 for certain; the mean over every two answers."""
    return fmean(1 - 2 * abs(fmean(by_model) - 0.5) for by_model in zip(*map(odds, scores), strict=True))


def disagreement(scores: list[list[float]]) -> float:
    """How far the models' odds lie apart: their variance, the mean over every two answers."""
    return fmean(pvariance(by_model) for by_model in zip(*map(odds, scores), strict=True))
