"""Letters to other programs: what happened in a study, signed as https://www.standardwebhooks.com says.

`tell` writes a letter for each address that wants to hear of an event, in the transaction that makes it true. Workers
send what is due, and again when it did not arrive: at least once, with the same id each time, in no promised order.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import kombu.exceptions
import redis.exceptions
from celery import current_app
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from standardwebhooks import Webhook as Signer

from annotation import letters
from annotation.errors import Invalid
from annotation.models import Delivery, Study, Webhook

log = logging.getLogger(__name__)

EVENTS = {
    "label.submitted": "somebody answered a task",
    "label.withdrawn": "an answer was taken back",
    "task.settled": "a reviewer settled a task",
    "item.withdrawn": "an item was taken out",
    "snapshot.frozen": "labels were frozen into a snapshot",
    "import.finished": "a file came in whole",
    "run.finished": "a training run ended, well or not",
}
TEST = "webhook.test"
WAITS = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400)
"""Seconds before each further attempt; after the last, the letter is given up."""
SENDING = timedelta(seconds=60)
"""How long a letter is its sender's: a worker that dies meanwhile leaves it to the next."""
MOST_WEBHOOKS = 20


# --- addresses


def add_webhook(*, study: Study, url: str, events: Iterable[str], by) -> Webhook:
    """A new address. Its `secret` is to be shown to whoever made it, this once."""
    events = _read_events(events)
    url = letters.read_address(url)
    if study.webhooks.count() >= MOST_WEBHOOKS:
        raise Invalid(f"A study has {MOST_WEBHOOKS} webhooks at the most. Remove one first.", field="url")
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return Webhook.objects.create(study=study, url=url, secret=secret, events=events, created_by=by)


def change_webhook(
    *, webhook: Webhook, active: bool | None = None, events: Iterable[str] | None = None
) -> Webhook:
    """Pauses an address or lets it go on, or changes what it hears of. What it is owed waits meanwhile."""
    if events is not None:
        webhook.events = _read_events(events)
    if active is not None:
        webhook.active = active
    webhook.save(update_fields=["events", "active"])
    return webhook


def _read_events(events: Iterable[str]) -> list[str]:
    wanted = set(events)
    if not wanted or wanted - set(EVENTS):
        found = ", ".join(sorted(map(repr, wanted - set(EVENTS)))) or "none"
        raise Invalid(f"Found the events {found}; expected some of {', '.join(EVENTS)}.", field="events")
    return [event for event in EVENTS if event in wanted]


# --- writing letters

WRITE = """
INSERT INTO annotation_delivery (webhook_id, event, letter, payload, attempts, problem, next_at, created_at)
SELECT w.id, %(event)s, gen_random_uuid(), %(payload)s::jsonb, 0, '', now(), now()
FROM annotation_webhook w WHERE w.study_id = %(study)s AND w.active AND %(event)s = ANY(w.events)
"""


def tell(study: Study | int, event: str, payload: Mapping[str, Any]) -> int:
    """Writes a letter to whoever wants to hear of this; one statement, in the caller's transaction."""
    if event not in EVENTS:
        raise ValueError(f"No event called {event!r}. Known: {', '.join(EVENTS)}.")
    pk = study if isinstance(study, int) else study.pk
    body = json.dumps(_letter(event, pk, payload), default=str)
    with connection.cursor() as cursor:
        cursor.execute(WRITE, {"study": pk, "event": event, "payload": body})
        written = cursor.rowcount
    if written:
        transaction.on_commit(call)
    return written


def send_test(webhook: Webhook) -> Delivery:
    """A letter to one address, whatever it listens to, that says only that letters arrive."""
    payload = _letter(TEST, webhook.study_id, {"message": "Letters from this study arrive here."})
    written = Delivery.objects.create(webhook=webhook, event=TEST, letter=uuid4(), payload=payload)
    transaction.on_commit(call)
    return written


def _letter(event: str, study: int, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": event, "timestamp": timezone.now().isoformat(), "data": {"study": study, **payload}}


def call() -> None:
    """Has a worker send at once. Where the message is lost, the sweep sends a little later."""
    try:
        current_app.send_task("annotation.deliver", retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning("The broker did not take a call to deliver (%s). The sweep delivers.", problem)


# --- sending them

# Taken by one sender alone, who has until `next_at` to say how it went; what a paused address is owed stays.
TAKE = """
UPDATE annotation_delivery SET attempts = attempts + 1, next_at = statement_timestamp() + %(sending)s
WHERE id = (SELECT d.id FROM annotation_delivery d JOIN annotation_webhook w ON w.id = d.webhook_id
            WHERE d.next_at <= statement_timestamp() AND w.active
            ORDER BY d.next_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
RETURNING id
"""


class Sweep:
    """A worker's own sending, beside what `call` asks for: on a thread, since an address may take its time."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.forgot = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self.forgot > 3600:
            self.forgot = time.monotonic()
            forget()
        if self.thread and self.thread.is_alive():
            return
        if Delivery.objects.filter(next_at__lte=Now(), webhook__active=True).exists():
            self.thread = threading.Thread(target=self._deliver, name="letters", daemon=True)
            self.thread.start()

    def _deliver(self) -> None:
        try:
            deliver()
        except Exception:
            log.exception("Delivering letters stumbled; the next sweep goes on.")
        finally:
            connection.close()


sweep = Sweep()


def deliver(most: int = 1000) -> int:
    """Sends what is due, one letter after another; returns how many were tried. Several may be at it."""
    tried = 0
    while tried < most and (letter := _take()):
        _send(letter)
        tried += 1
    return tried


def _take() -> Delivery | None:
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"sending": SENDING})
        row = cursor.fetchone()
    return Delivery.objects.select_related("webhook").get(pk=row[0]) if row else None


def _send(delivery: Delivery) -> None:
    webhook, now = delivery.webhook, timezone.now()
    body = json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":"))
    try:
        delivery.status, delivery.problem = letters.post(
            webhook.url, body.encode(), _headers(webhook, delivery, now, body)
        )
    except letters.Undelivered as problem:
        delivery.status, delivery.problem = None, str(problem)[:300]
    if delivery.status is not None and 200 <= delivery.status < 300:
        delivery.delivered_at, delivery.next_at, delivery.problem = Now(), None, ""
    else:
        wait = _wait(delivery.attempts)
        delivery.next_at = Now() + wait if wait else None
        if delivery.status is None and wait:
            # An address that is away is not asked for each letter it is owed.
            owed = Delivery.objects.filter(webhook=webhook, next_at__lte=Now()).exclude(pk=delivery.pk)
            owed.update(next_at=Now() + min(wait, timedelta(minutes=5)))
    delivery.save(update_fields=["status", "problem", "delivered_at", "next_at"])


def _headers(webhook: Webhook, delivery: Delivery, now: datetime, body: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Kibitz",
        "Webhook-Id": str(delivery.letter),
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Signer(webhook.secret).sign(str(delivery.letter), now, body),
    }


def _wait(attempts: int) -> timedelta | None:
    """How long until the next attempt after so many; None after the last. A tenth is left to chance."""
    if attempts > len(WAITS):
        return None
    seconds = WAITS[attempts - 1]
    return timedelta(seconds=seconds * (1 + secrets.randbelow(100) / 1000))


def forget(after: timedelta = timedelta(days=30)) -> int:
    """Deletes letters that are over for so long."""
    return Delivery.objects.filter(next_at=None, created_at__lt=Now() - after).delete()[0]
