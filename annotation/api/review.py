"""The HTTP API of reviewers: what to look at, verdicts, labels sent back, and the history of an item."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import review
from annotation.access import item_for, label_for, membership_for, study_for, task_for
from annotation.api.remarks import RemarkOut
from annotation.history import story
from annotation.models import Role, Verdict

router = Router(tags=["review"])

MOST_ROWS = 200


class ToReviewOut(Schema):
    task: int = Field(alias="id")
    kind: str
    item: int = Field(alias="item_id")
    answers: int = Field(alias="done")


class VerdictIn(Schema):
    answer: dict[str, Any] = Field(
        description='As for `submit`: of a comparison, "a" is the candidate with the lower index.'
    )
    reason: str = Field("", description="Those who had answered otherwise read it.")


class TakeBackIn(Schema):
    reason: str = ""


class VerdictOut(Schema):
    id: int
    task: int = Field(alias="task_id")
    reviewer: str = Field(alias="reviewer.username")
    answer: dict[str, Any]
    reason: str
    supersedes: int | None = Field(alias="supersedes_id")
    withdrawn: bool
    created_at: datetime


class WordsIn(Schema):
    words: str = Field(description="What is amiss; whoever gave the answer reads it.")


@router.get("/studies/{pk}/review", response=list[ToReviewOut])
def to_review(request: HttpRequest, pk: int, which: str = "disputed", limit: int = 50):
    """The tasks to look at, the most pressing first: disputed, flagged, or random."""
    study = study_for(request.user, pk, Role.REVIEWER)
    return review.to_review(study, which, most=max(1, min(limit, MOST_ROWS)))


@router.post("/tasks/{pk}/verdict", response={201: VerdictOut})
def settle(request: HttpRequest, pk: int, given: VerdictIn):
    """Settles a task: in snapshots the verdict stands in place of its labels."""
    task = task_for(request.user, pk, Role.REVIEWER)
    return Reply(201, review.settle(task=task, by=request.user, answer=given.answer, reason=given.reason))


@router.post("/tasks/{pk}/verdict/take-back", response=VerdictOut)
def take_back(request: HttpRequest, pk: int, given: TakeBackIn):
    """Ends the verdict that stands; the labels count again."""
    task = task_for(request.user, pk, Role.REVIEWER)
    return review.take_back(task=task, by=request.user, reason=given.reason)


@router.get("/studies/{pk}/verdicts", response=list[VerdictOut])
def verdicts(request: HttpRequest, pk: int, after: int = 0, limit: int = 50):
    """Every verdict, by id, with those that were superseded or taken back."""
    rows = Verdict.objects.filter(study=study_for(request.user, pk, Role.REVIEWER), pk__gt=after)
    return rows.select_related("reviewer")[: max(1, min(limit, MOST_ROWS))]


@router.post("/labels/{pk}/send-back", response={201: RemarkOut})
def send_back(request: HttpRequest, pk: int, given: WordsIn):
    """Withdraws a label, and holds its task for whoever gave it, with your words."""
    label = label_for(request.user, pk)
    membership_for(request.user, label.study_id, Role.REVIEWER)
    return Reply(201, review.send_back(label=label, by=request.user, words=given.words))


@router.get("/items/{pk}/history", response=list[dict[str, Any]])
def history(request: HttpRequest, pk: int):
    """All that happened to an item, the oldest first."""
    return [event.to_json() for event in story(item_for(request.user, pk))]
