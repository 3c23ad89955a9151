"""The HTTP API of what goes in: items, and files of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, File, Form, Router, Schema
from ninja.files import UploadedFile
from ninja.responses import Status as Reply

from annotation import import_jobs, services
from annotation.access import import_for, study_for
from annotation.models import ImportJob, Role

router = Router(tags=["items"])

MOST_ROWS = 200


class ItemsIn(Schema):
    items: list[dict[str, Any]] = Field(
        description='[{"context": {"prompt"} or {"messages"}, "candidates": [{"text", "policy", "source"}], '
        '"external_id", "source"}]'
    )


class CandidateOut(Schema):
    id: int
    index: int
    text: str
    policy: str
    source: dict[str, Any]


class ItemOut(Schema):
    id: int
    position: int
    context: dict[str, Any]
    external_id: str
    source: dict[str, Any]
    candidates: list[CandidateOut]


class ImportOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    format: str
    filename: str
    status: str
    total: int | None
    done: int
    counts: dict[str, int]
    errors: list[dict[str, Any]]
    created_at: datetime
    cancel_asked: bool
    finished_at: datetime | None


@router.get("/studies/{pk}/items", response=list[ItemOut])
def items(request: HttpRequest, pk: int, after: int = -1, limit: int = 50):
    """The items in their order; `after` (a position) goes on from the last page."""
    rows = study_for(request.user, pk, Role.REVIEWER).items.filter(upload=None, position__gt=after)
    return rows.prefetch_related("candidates")[: max(1, min(limit, MOST_ROWS))]


@router.post("/studies/{pk}/items", response={201: dict[str, list[int]]})
def add_items(request: HttpRequest, pk: int, asked: ItemsIn):
    """Adds items; those whose external id is there already are left as they are."""
    added = services.add_items(study=study_for(request.user, pk, Role.RESEARCHER), items=asked.items)
    return Reply(201, {"added": [item.pk for item in added]})


@router.post("/studies/{pk}/imports", response={202: ImportOut})
def upload(
    request: HttpRequest,
    pk: int,
    file: File[UploadedFile],
    format: Form[str],
    licence: Form[str] = "",
):
    """Takes a file and has a worker import it: all of it, or nothing. Ask `/imports/{pk}` how far it is."""
    job = import_jobs.receive(
        study=study_for(request.user, pk, Role.RESEARCHER),
        by=request.user,
        chunks=file.chunks(),
        filename=file.name or "upload",
        format=format,
        licence=licence,
    )
    return Reply(202, ImportJob.objects.get(pk=job.pk))


@router.get("/studies/{pk}/imports", response=list[ImportOut])
def imports(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.RESEARCHER).imports.all()[:MOST_ROWS]


@router.get("/imports/{pk}", response=ImportOut)
def import_job(request: HttpRequest, pk: int):
    """How far an import is; its errors name line, field and cure."""
    return import_for(request.user, pk)


@router.post("/imports/{pk}/cancel", response=ImportOut)
def cancel_import(request: HttpRequest, pk: int):
    """Stops an import within a batch and removes what it stored; 409 where it is over already."""
    return import_jobs.cancel(import_for(request.user, pk))
