"""The HTTP API of webhooks: addresses that are told what happens in a study, and how their letters fare."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import webhooks
from annotation.access import study_for, webhook_for
from annotation.models import Delivery, Role

router = Router(tags=["webhooks"])

MOST_ROWS = 200


class WebhookIn(Schema):
    url: str
    events: list[str] = Field(description=f"Some of {', '.join(webhooks.EVENTS)}.")


class WebhookChanges(Schema):
    active: bool | None = Field(None, description="false pauses it: letters wait.")
    events: list[str] | None = None


class WebhookOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    url: str
    events: list[str]
    active: bool
    created_at: datetime


class WebhookMade(WebhookOut):
    secret: str = Field(description="Verifies the letters. It is shown in this answer alone.")


class DeliveryOut(Schema):
    id: int
    webhook: int = Field(alias="webhook_id")
    event: str
    letter: UUID = Field(description="The webhook-id header, the same at every attempt.")
    attempts: int
    status: int | None = Field(description="What the address last answered.")
    problem: str
    next_at: datetime | None = Field(
        description="When it is sent next; null once it arrived or was given up."
    )
    delivered_at: datetime | None
    created_at: datetime


@router.get("/studies/{pk}/webhooks", response=list[WebhookOut])
def webhooks_of(request: HttpRequest, pk: int):
    """The addresses that are told what happens in a study."""
    return study_for(request.user, pk, Role.RESEARCHER).webhooks.all()


@router.post("/studies/{pk}/webhooks", response={201: WebhookMade})
def add(request: HttpRequest, pk: int, asked: WebhookIn):
    """Adds an address. The answer holds its secret, which no other answer does."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    made = webhooks.add_webhook(study=study, url=asked.url, events=asked.events, by=request.user)
    made.refresh_from_db()
    return Reply(201, made)


@router.patch("/webhooks/{pk}", response=WebhookOut)
def change(request: HttpRequest, pk: int, asked: WebhookChanges):
    """Pauses an address, lets it go on, or changes what it hears of."""
    webhook = webhook_for(request.user, pk)
    return webhooks.change_webhook(webhook=webhook, active=asked.active, events=asked.events)


@router.delete("/webhooks/{pk}", response={204: None})
def remove(request: HttpRequest, pk: int):
    """Removes an address, with the letters it is still owed."""
    webhook_for(request.user, pk).delete()
    return Reply(204, None)


@router.post("/webhooks/{pk}/test", response={202: DeliveryOut})
def test(request: HttpRequest, pk: int):
    """Sends a letter that says only that letters arrive."""
    written = webhooks.send_test(webhook_for(request.user, pk))
    return Reply(202, Delivery.objects.get(pk=written.pk))


@router.get("/webhooks/{pk}/deliveries", response=list[DeliveryOut])
def deliveries(request: HttpRequest, pk: int, before: int | None = None, limit: int = 50):
    """The letters to an address, the newest first; `before` (an id) goes on from the last page."""
    found = webhook_for(request.user, pk).deliveries.all()
    if before is not None:
        found = found.filter(pk__lt=before)
    return found[: max(1, min(limit, MOST_ROWS))]
