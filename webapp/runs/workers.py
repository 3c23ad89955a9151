"""A Celery worker's presence: a row while it lives, and the sweeping that every worker shares in.

A thread beside the worker's own says every two seconds that it lives, takes back what dead workers held (runs,
leases, imports), and takes the studies' loops a step further. On a warm shutdown the runs save, stop, and go back
on the queue.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from celery import signals
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.db.models.functions import Now
from django.dispatch import Signal

from annotation import webhooks
from annotation.import_jobs import resend
from annotation.reliability import sweep as reliability
from annotation.services import release_expired
from webapp.runs import chat, live_labels, ranking
from webapp.runs.models import SILENT_AFTER, Worker
from webapp.runs.services import advance_loops, machine, sweep

BEAT_SECONDS = 2.0
swept = Signal()
"""Sent at each beat after the sweeps below: apps above this one do theirs then."""
log = logging.getLogger(__name__)


class Presence:
    """This process as the other processes see it."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.closing = threading.Event()
        self.thread: threading.Thread | None = None

    def begin(self, *, name: str, queues: list[str], slots: int) -> None:
        if self.thread:  # the worker found its broker again
            return
        self.name = f"{name}:{os.getpid()}"
        row = {"host": socket.gethostname(), "machine": machine(), "pid": os.getpid()}
        self.row = {**row, "queues": queues, "slots": slots}
        self.thread = threading.Thread(target=self._attend, name="presence", daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.closing.set()
        if self.thread:
            self.thread.join(timeout=5)
            Worker.objects.filter(name=self.name).delete()
            connection.close()

    def _attend(self) -> None:
        heard, patient_until = time.monotonic(), 0.0
        while True:
            try:
                self._beat()
                now = time.monotonic()
                if now - heard > 3 * BEAT_SECONDS:
                    # The database was away: others could not write either, so their silence proves nothing yet.
                    patient_until = now + SILENT_AFTER.total_seconds()
                heard = now
                if now >= patient_until:
                    sweep()
                    advance_loops()
                    release_expired()
                    resend()
                    webhooks.sweep()
                    reliability.sweep()
                    chat.send_again()
                    chat.pool.close_idle()
                    ranking.sweep()
                    live_labels.sweep()
                    swept.send(Presence)
            except (OperationalError, InterfaceError) as problem:
                log.warning("The worker's heartbeat waits for the database: %s", problem)
                connection.close()
            except Exception:
                log.exception("The worker's sweep stumbled, and goes on.")
            close_old_connections()
            if self.closing.wait(BEAT_SECONDS):
                connection.close()
                return

    def _beat(self) -> None:
        Worker.objects.update_or_create(name=self.name, defaults={**self.row, "heartbeat_at": Now()})


presence = Presence()


@signals.worker_ready.connect
def arrive(sender, **_) -> None:
    queues = sorted(sender.app.amqp.queues.consume_from)
    presence.begin(name=sender.hostname, queues=queues, slots=sender.controller.concurrency)


@signals.worker_shutting_down.connect
def close(**_) -> None:
    presence.closing.set()


@signals.worker_shutdown.connect
def leave(**_) -> None:
    presence.end()
