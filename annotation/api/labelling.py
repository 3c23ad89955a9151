"""The HTTP API of the labelling room: what to answer, and what was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema

from annotation import services
from annotation.access import label_for, membership_for, study_for, task_for
from annotation.interfaces.registry import interface
from annotation.models import Label, Role
from annotation.queue import Claim

router = Router(tags=["labelling"])

MOST_ROWS = 200


class NextIn(Schema):
    kind: str | None = Field(None, description="Only tasks of this interface.")
    count: int = 1
    besides: list[int] = Field([], description="Tasks that you have in hand and do not want again.")


class TaskOut(Schema):
    id: int
    kind: str
    study: int
    item: int
    context: dict[str, Any]
    candidates: list[dict[str, Any]] = Field(description="In the order in which you are shown them.")
    options: dict[str, Any]
    lease_until: datetime
    answer: dict[str, Any] | None = Field(description="What you had said, where you took it back.")

    @staticmethod
    def of(turn: Claim) -> dict[str, Any]:
        study = turn.task.study
        parts = getattr(interface(turn.task.kind), "parts", lambda candidate, study: {})
        shown = [{"id": one.pk, "text": one.text, **parts(one, study)} for one in turn.candidates]
        if not study.names_hidden:
            shown = [{**row, "policy": one.policy} for row, one in zip(shown, turn.candidates, strict=True)]
        return {
            "id": turn.task.pk,
            "kind": turn.task.kind,
            "study": study.pk,
            "item": turn.item.pk,
            "context": turn.item.context,
            "candidates": shown,
            "options": study.options(turn.task.kind),
            "lease_until": turn.lease_until,
            "answer": interface(turn.task.kind).show(turn)["answer"] if turn.answer else None,
        }


class NextOut(Schema):
    tasks: list[TaskOut]
    why_empty: str | None


class SubmitIn(Schema):
    answer: dict[str, Any] = Field(
        description='pairwise: {"choice": "a", "b", "tie" or "both_bad", "strength": 1 to 3, "reason"}; '
        'edit: {"text"}; rating: {"scores": {"quality": 4}}; '
        'ranking: {"ranks": {"17": 1, "18": null}} by candidate; '
        'steps: {"first_wrong": 2}, counted from 0, null where none is, or {"labels": [1, 0, -1, null]}; '
        'demonstration: {"text"} or {"turns": [{"role", "content"}]}; '
        "conversation: {}, since its turns are kept already; "
        'clips: {"choice", "strength", "reason", "marks": [{"candidate", "start", "stop"}]}; '
        'hindsight: {"corrections": [{"start", "stop", "text", "command", "layer", "type"}], "success", "stages"}; '
        'driving: {"start", "stop", "success", "note", "kept"}'
    )
    key: str = Field(description="A UUID that you make for this answer: sent again, it is the same label.")
    seconds: float = 0.0


class LabelOut(Schema):
    id: int
    task: int = Field(alias="task_id")
    kind: str
    annotator: str = Field(alias="annotator.username")
    answer: dict[str, Any]
    withdrawn: bool
    supersedes: int | None = Field(alias="supersedes_id")
    seconds: float
    created_at: datetime


class SubmittedOut(Schema):
    label: int
    task: int
    answer: dict[str, Any]
    created_at: datetime


class SkipIn(Schema):
    reason: str = ""


class HeartbeatIn(Schema):
    tasks: list[int]


class HeartbeatOut(Schema):
    kept: dict[int, datetime]
    lost: list[int]


class UndoneOut(Schema):
    task: TaskOut | None = Field(description="Yours again; null where there was nothing to undo.")


@router.post("/studies/{pk}/next", response=NextOut)
def next_tasks(request: HttpRequest, pk: int, asked: NextIn):
    """Leases tasks to you; those you hold already come first. Renew the leases with `heartbeat`."""
    turns = services.claim_tasks(
        study=pk, annotator=request.user, kind=asked.kind, count=asked.count, besides=asked.besides
    )
    why = None
    if not turns:
        why = services.why_empty(study=study_for(request.user, pk), annotator=request.user, kind=asked.kind)
    return {"tasks": [TaskOut.of(turn) for turn in turns], "why_empty": why}


@router.post("/tasks/{pk}/submit", response=SubmittedOut)
def submit(request: HttpRequest, pk: int, given: SubmitIn):
    """Stores your answer. A late one counts unless its place went to somebody else, whom the 409 names."""
    label = services.submit_label(
        task=pk, annotator=request.user, answer=given.answer, key=given.key, seconds=given.seconds
    )
    return {"label": label.pk, "task": pk, "answer": label.answer, "created_at": label.created_at}


@router.post("/tasks/{pk}/skip", response=dict[str, int])
def skip(request: HttpRequest, pk: int, asked: SkipIn):
    """Passes a task of yours on to somebody else."""
    services.skip_task(task=task_for(request.user, pk), annotator=request.user, reason=asked.reason)
    return {"skipped": pk}


@router.post("/studies/{pk}/undo", response=UndoneOut)
def undo(request: HttpRequest, pk: int):
    """Takes back the last thing you did in a study, and leases its task to you again."""
    turn = services.undo_last(study=study_for(request.user, pk), annotator=request.user)
    return {"task": TaskOut.of(turn) if turn else None}


@router.post("/studies/{pk}/heartbeat", response=HeartbeatOut)
def heartbeat(request: HttpRequest, pk: int, asked: HeartbeatIn):
    """Renews the leases you still hold, and names those you lost."""
    study_for(request.user, pk)
    kept = services.extend_leases(annotator=request.user, tasks=asked.tasks)
    return {"kept": kept, "lost": [task for task in asked.tasks if task not in kept]}


@router.get("/studies/{pk}/labels", response=list[LabelOut])
def labels(request: HttpRequest, pk: int, after: int = 0, limit: int = 50, history: bool = False):
    """The labels that stand, by id (with `history`, every row); annotators see their own, reviewers everybody's."""
    membership = membership_for(request.user, pk)
    rows = Label.objects.arrived().filter(study=pk, pk__gt=after).select_related("annotator").order_by("pk")
    if not history:
        rows = rows.current()
    if not membership.may(Role.REVIEWER):
        rows = rows.filter(annotator=request.user)
    return rows[: max(1, min(limit, MOST_ROWS))]


@router.post("/labels/{pk}/withdraw", response=LabelOut)
def withdraw(request: HttpRequest, pk: int):
    """Takes a label back: annotators their own, reviewers anybody's. Its row stays; the withdrawal is returned."""
    return services.withdraw_label(label=label_for(request.user, pk), by=request.user)
