"""What a worker does about robots: claims a session and sees it through; and sweeps up after workers that died."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.db import close_old_connections, transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Now
from django.dispatch import receiver

from webapp.robots import keeping, lines, services
from webapp.robots.messages import status
from webapp.robots.models import HELD, SILENT_AFTER, Session, Status
from webapp.robots.supervision import Superseded, Supervision
from webapp.runs.alone import alone
from webapp.runs.models import Worker
from webapp.runs.workers import presence, swept

LOST_AFTER = timedelta(seconds=5)
SWEEPING = 0x0B07
"""The advisory lock under which one worker at a time sweeps."""
FULL = "Every place for a robot is taken. It begins when one is free."

log = logging.getLogger(__name__)


@shared_task(name="robots.live")
def live(session: int) -> None:
    """Sees a session to its end. A message that comes twice, or too late, finds nothing to claim."""
    claimed = None if presence.closing.is_set() else claim(session)
    if claimed is None:
        log.info("Session %s is not waiting for a worker: nothing to do.", session)
        return
    try:
        Supervision(claimed).see_through()
    except Superseded as reason:
        log.warning("%s This worker lets go of it.", reason)
    finally:
        close_old_connections()


def claim(pk: int) -> Session | None:
    """Takes a session for this worker, or finds that somebody else has it."""
    taken = Session.objects.filter(pk=pk, worker="", status__in=(Status.STARTING, Status.LOST)).update(
        worker=presence.name,
        attempt=F("attempt") + 1,
        heartbeat_at=Now(),
    )
    return Session.objects.select_related("study", "policy", "steerer").get(pk=pk) if taken else None


# --- the sweep


@receiver(swept)
def sweep(**_: Any) -> None:
    """Takes back the sessions of dead workers, sends what nobody heard of, and keeps what was not kept. Once each."""
    with transaction.atomic():
        if not alone(SWEEPING):
            return
        alive = Worker.objects.values_list("name", flat=True)
        orphans = Session.objects.filter(Q(status__in=HELD) | ~Q(worker="")).open()
        orphans = orphans.filter(~Q(worker__in=alive) | Q(heartbeat_at__lt=Now() - SILENT_AFTER))
        for session in orphans.select_for_update(of=["self"], skip_locked=True):
            _take_back(session)
        unheard = _unheard_of()
    for session in unheard:
        if not services.send(session):
            break
    keeping.sweep()


def _unheard_of() -> list[Session]:
    """Sessions that wait while places are free: their message must be lost. Those for which none is are told so."""
    busy = dict(Session.objects.exclude(worker="").open().values_list("worker").annotate(Count("pk")))
    workers = Worker.objects.alive().taking(services.QUEUE)
    free = sum(max(0, one.slots - busy.get(one.name, 0)) for one in workers)
    waiting = Session.objects.filter(worker="", status__in=(Status.STARTING, Status.LOST)).order_by("pk")
    if workers and not free:
        waiting.filter(why="").update(why=FULL)
    waiting = waiting.filter(Q(sent_at=None) | Q(sent_at__lt=Now() - LOST_AFTER))
    return list(waiting[:free])


def _take_back(session: Session) -> None:
    why = "The worker that held the robot is gone. It goes on from its last moment when another is free."
    if session.ending:
        session.status, session.ended_at = Status.ENDED, Now()
        keeping.close(session.pk, session.why)
    else:
        session.status, session.why = Status.LOST, why
    session.worker, session.sent_at, session.heartbeat_at = "", None, None
    session.save(update_fields=["status", "why", "ended_at", "worker", "sent_at", "heartbeat_at"])
    told = status(session.status, session.why)
    transaction.on_commit(lambda: lines.send(lines.up(session.pk), told))
