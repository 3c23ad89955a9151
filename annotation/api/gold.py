"""The HTTP API of known answers, of what everyone is asked, and of who is let in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import gold
from annotation.access import member_for, study_for, task_for
from annotation.api.studies import MemberOut
from annotation.models import Gold, Role

router = Router(tags=["gold"])

MOST_ROWS = 200


class GoldIn(Schema):
    answer: dict[str, Any] = Field(
        description='As a label stores it, by candidate: {"choice": "chosen", "chosen": 17, "rejected": 18}.'
    )
    reason: str = Field("", description="Why, in words that people are told in the qualification.")
    part: str = Field(
        "gold", description="gold: mixed into everyone's queue; qualification: before the work."
    )


class GoldOut(Schema):
    task: int = Field(alias="task_id")
    part: str = Field(alias="task.part")
    kind: str = Field(alias="task.kind")
    item: int = Field(alias="task.item_id")
    answer: dict[str, Any]
    reason: str
    answered: int = Field(alias="task.done")
    created_at: datetime


class CalibrationIn(Schema):
    count: int = Field(description="How many untouched tasks to add to what everyone is asked.")
    kind: str | None = Field(None, description="Only tasks of this interface.")


class StandingIn(Schema):
    standing: str = Field(description="new, passed, failed, or again: they do the qualification anew.")


@router.get("/studies/{pk}/gold", response=list[GoldOut])
def known(request: HttpRequest, pk: int, after: int = 0, limit: int = 50):
    """The tasks with a known answer, by id; never shown to annotators."""
    study = study_for(request.user, pk, Role.REVIEWER)
    rows = Gold.objects.filter(task__study=study, task__person=None, task__gt=after).order_by("task")
    return rows.select_related("task")[: max(1, min(limit, MOST_ROWS))]


@router.post("/tasks/{pk}/gold", response={201: GoldOut})
def make(request: HttpRequest, pk: int, asked: GoldIn):
    """Gives a task a known answer. Where somebody had the task already, a twin of it becomes gold instead."""
    task = task_for(request.user, pk, Role.RESEARCHER)
    made = gold.make_gold(
        task=task, answer=asked.answer, by=request.user, reason=asked.reason, part=asked.part
    )
    return Reply(201, Gold.objects.select_related("task").get(task=made))


@router.delete("/tasks/{pk}/gold", response={204: None})
def unmake(request: HttpRequest, pk: int):
    """Takes a task out of gold, calibration or qualification."""
    gold.unmake(task=task_for(request.user, pk, Role.RESEARCHER))
    return Reply(204, None)


@router.post("/studies/{pk}/calibration", response=dict[str, int])
def calibration(request: HttpRequest, pk: int, asked: CalibrationIn):
    """Adds tasks, drawn by chance among the untouched, to the slice that everyone is asked."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    return {"calibration": gold.set_calibration(study=study, count=asked.count, kind=asked.kind)}


@router.post("/studies/{pk}/members/{username}/standing", response=MemberOut)
def standing(request: HttpRequest, pk: int, username: str, asked: StandingIn):
    """Lets an annotator in, keeps them out, or has them do the qualification anew."""
    membership = member_for(request.user, pk, username)
    if asked.standing == gold.Standing.AGAIN:
        gold.requalify(membership=membership)
    else:
        gold.set_standing(membership=membership, standing=asked.standing)
    return membership
