"""Runs that learn while people label: what they ask reaches the study, and what is answered reaches them.

A sweep that every worker's heartbeat takes, one worker at a time. Nothing of it is remembered outside of rows, so it
may be done at any time, by any worker, any number of times:

    run ──items artifact──▶ study ──labels──▶ snapshot ──command──▶ run

A run that is not under way (waiting for a worker, stopped) gets nothing; its labels wait in the study.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, DurationField, ExpressionWrapper, Max, Min
from django.db.models.functions import Now

from annotation.errors import Conflict, Invalid
from annotation.models import Label, Snapshot
from annotation.snapshots import freeze
from trainers import registry
from webapp.runs.alone import alone
from webapp.runs.models import Artifact, Command, Event, Run, Status
from webapp.runs.progress import note, nudge
from webapp.runs.services import add_proposed, proposal_key

AFTER_LABELS, AFTER_SHARE = 10, 0.1
"""So many new labels are sent to a run at once, or such a share of what it has; fewer when they have waited."""
AFTER, AFTER_MORE = timedelta(seconds=10), 0.01
"""How long a single new label waits for others: so many times as long for each record that the run has, once at least.
What is frozen is the study, whole, each time: so that all a run is ever sent stays a small multiple of it."""
ASKED_AS = {"clip_pair": "clips"}
"""By the kind of record that a live method reads: the interface whose labels become it."""
LOCK = 0x6C616265
log = logging.getLogger(__name__)


def sweep() -> None:
    """Takes every live run's questions and labels as far as they can go now."""
    live = [name for name, entry in registry.METHODS.items() if entry.live]
    under_way = Run.objects.filter(status=Status.RUNNING, method__in=live, study__isnull=False)
    for run in under_way.select_related("study", "created_by"):
        with transaction.atomic():
            if not alone(LOCK):
                return
            _attend(run)


def _attend(run: Run) -> None:
    if run.study.archived_at:
        return
    try:
        with transaction.atomic():
            ask(run)
            deliver(run)
    except (Conflict, OSError) as problem:
        log.warning("Run %s and study %s cannot exchange now: %s", run.pk, run.study_id, problem)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # one run's trouble is not every run's
        log.exception("Run %s and study %s cannot exchange.", run.pk, run.study_id)


def ask(run: Run) -> None:
    """Adds to the study what the run has asked since it was last looked at."""
    asked = {event.key for event in Event.objects.filter(run=run, kind="proposed")}
    for artifact in run.artifacts.filter(kind=Artifact.Kind.ITEMS).order_by("step"):
        key = proposal_key(run, artifact)
        if key in asked:
            continue
        try:
            with transaction.atomic():
                add_proposed(run, artifact)
        except Invalid as problem:  # said on the run's page once; tried again, as the study may be changed
            note(run, key=f"{key}-refused", kind="refused", text=f"The study takes no clips: {problem}")


def deliver(run: Run) -> Command | None:
    """Freezes the study's labels and sends them to the run, where enough are new and it has taken the last ones."""
    sent = Command.objects.filter(run=run, kind=Command.Kind.LABELS)
    # One that was overtaken by an end, or by a new beginning of the run, was never taken in.
    sent = sent.exclude(applied_at__isnull=False, applied_step__isnull=True)
    if sent.filter(applied_at=None).exists():
        return None
    last = sent.order_by("-pk").first()
    had = Snapshot.objects.get(pk=last.args["snapshot"]) if last else run.snapshot
    waited = ExpressionWrapper(Now() - Min("created_at"), DurationField())
    fresh = _fresh(run, last.args["newest"] if last else 0)
    found = fresh.aggregate(newest=Max("pk"), count=Count("pk"), waited=waited)
    if not enough(found["count"], found["waited"], had.records if had else 0):
        return None
    try:
        snapshot = freeze(study=run.study, by=run.created_by, name=f"While run {run.pk} learned")
    except Invalid as problem:
        log.info("The labels of study %s cannot be frozen yet: %s", run.study_id, problem)
        return None
    if not any(snapshot.counts.get(kind) for kind in registry.entry(run.method).reads):
        return None
    args = {
        "snapshot": snapshot.pk,
        "digest": snapshot.digest,
        "labels": found["count"],
        "newest": found["newest"],
    }
    command = Command.objects.create(run=run, kind=Command.Kind.LABELS, args=args)
    nudge(f"run:{run.pk}")
    return command


def enough(count: int, waited: timedelta | None, had: int) -> bool:
    """Whether `count` new labels, the oldest of which `waited`, are worth a snapshot to a run with `had` records."""
    if not count or waited is None:
        return False
    return count >= max(AFTER_LABELS, AFTER_SHARE * had) or waited > AFTER * max(1.0, AFTER_MORE * had)


def _fresh(run: Run, newest: int):
    """Labels that came after label `newest`; for a run that has had none, after its own snapshot was frozen."""
    kinds = [ASKED_AS[kind] for kind in registry.entry(run.method).reads]
    found = Label.objects.filter(study=run.study_id, kind__in=kinds, pk__gt=newest)
    if not newest and run.snapshot:
        found = found.filter(created_at__gt=run.snapshot.created_at)
    return found
