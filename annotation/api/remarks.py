"""The HTTP API of remarks: flags and notes about tasks, and which of them are dealt with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema

from annotation.access import remark_for, study_for, task_for
from annotation.models import Remark, Role
from annotation.remarks import remark, resolve

router = Router(tags=["remarks"])

MOST_ROWS = 200


class RemarkIn(Schema):
    kind: Literal["flag", "note"]
    key: str = Field(description="A UUID that you make for this remark: sent again, it is the same remark.")
    reason: str = Field("", description="Of a flag: harmful, personal_data, nonsense or broken.")
    text: str = ""
    candidate: int | None = Field(None, description="The answer that is meant, where it is one of them.")


class RemarkOut(Schema):
    id: int
    task: int = Field(alias="task_id")
    item: int = Field(alias="task.item_id")
    kind: str
    reason: str
    text: str
    candidate: int | None = Field(alias="candidate_id")
    label: int | None = Field(alias="label_id", description="The label that was sent back.")
    author: str = Field(alias="author.username")
    created_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None

    @staticmethod
    def resolve_resolved_by(row: Remark) -> str | None:
        return row.resolved_by.username if row.resolved_by else None


@router.post("/tasks/{pk}/remarks", response=RemarkOut)
def add_remark(request: HttpRequest, pk: int, given: RemarkIn):
    """Flags a task that you have or had in hand, or leaves a note about it to the researchers."""
    return remark(task=task_for(request.user, pk), author=request.user, **given.dict())


@router.get("/studies/{pk}/remarks", response=list[RemarkOut])
def remarks(
    request: HttpRequest,
    pk: int,
    kind: Literal["flag", "note", "sent_back"] | None = None,
    open: bool = False,
    after: int = 0,
    limit: int = 50,
):
    """The remarks of a study by id, for reviewers; with `open`, those that nobody has dealt with."""
    study = study_for(request.user, pk, Role.REVIEWER)
    rows = Remark.objects.filter(study=study, pk__gt=after).select_related("task", "author", "resolved_by")
    if kind:
        rows = rows.filter(kind=kind)
    if open:
        rows = rows.filter(resolved_at=None)
    return rows.order_by("pk")[: max(1, min(limit, MOST_ROWS))]


@router.post("/remarks/{pk}/resolve", response=RemarkOut)
def resolve_remark(request: HttpRequest, pk: int):
    """Marks a remark as dealt with, by you and now. A second time changes nothing."""
    return resolve(remark_for(request.user, pk), by=request.user)
