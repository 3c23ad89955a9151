"""The HTTP API of consent, and of taking people's words and items out again."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from ninja import Field, Router, Schema

from annotation import consent
from annotation.access import item_for, membership_for
from annotation.models import Item, Membership, Role, Snapshot

router = Router(tags=["consent"])


class ConsentIn(Schema):
    agree: bool | None = Field(
        None, description="true agrees, false takes it back, nothing leaves it as it is."
    )
    version: int | None = Field(
        None, description="The version that was read; refused when there is a newer one."
    )
    attribution: Membership.Attribution | None = Field(
        None, description="How this person's labels name them in what is frozen and exported."
    )


class ConsentOut(Schema):
    text: str = Field(description="What there is to agree to; empty where nothing is.")
    version: int = Field(description="The version of the text.")
    held: int = Field(description="The version this person agreed to; 0 for none.")
    attribution: str
    affected: list[int] = Field(
        description="Snapshots that hold labels of theirs, when consent was taken back."
    )


class WithdrawIn(Schema):
    reason: str = ""


class WithdrawnOut(Schema):
    item: int
    withdrawn_at: datetime
    reason: str
    affected: list[int] = Field(description="The snapshots that hold it. Their files do not change.")


@router.get("/studies/{pk}/consent", response=ConsentOut)
def consent_of(request: HttpRequest, pk: int):
    return _out(membership_for(request.user, pk))


@router.post("/studies/{pk}/consent", response=ConsentOut)
def change_consent(request: HttpRequest, pk: int, asked: ConsentIn):
    """Agrees to the text as it stands, or takes the agreement back; and chooses a name for one's labels."""
    mine = membership_for(request.user, pk)
    touched: list[Snapshot] = []
    if asked.attribution is not None:
        consent.name_as(mine, asked.attribution)
    if asked.agree is True:
        consent.agree(mine, asked.version)
    if asked.agree is False:
        touched = consent.withdraw(mine)
    return _out(mine, touched)


@router.post("/items/{pk}/withdraw", response=WithdrawnOut)
def withdraw_item(request: HttpRequest, pk: int, asked: WithdrawIn):
    """Takes an item out of the queue and of every future snapshot, for good."""
    item: Item = item_for(request.user, pk, Role.RESEARCHER)
    touched = consent.withdraw_item(item=item, by=request.user, reason=asked.reason)
    return {
        "item": item.pk,
        "withdrawn_at": item.withdrawn_at,
        "reason": item.withdrawn_reason,
        "affected": [one.pk for one in touched],
    }


def _out(mine: Membership, touched: list[Snapshot] | None = None) -> dict:
    return {
        "text": mine.study.consent,
        "version": mine.study.consent_version,
        "held": mine.consent_version,
        "attribution": mine.attribution,
        "affected": [one.pk for one in touched or []],
    }
