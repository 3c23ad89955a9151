"""The HTTP API of what comes out: labels frozen, and files for other tools."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Field, Query, Router, Schema
from ninja.responses import Status as Reply

from annotation import exporters, snapshots
from annotation.access import snapshot_for, study_for
from annotation.exporters import Asked
from annotation.models import Role, Snapshot, Study
from trainers.registry import learns_from

router = Router(tags=["snapshots"])

MOST_ROWS = 200


class FreezeIn(Schema):
    name: str = ""


class SnapshotOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    name: str
    digest: str
    records: int
    counts: dict[str, int]
    methods: list[str] = Field(description="The training methods that can learn from it.")
    process: dict[str, Any] = Field(description="How many labels each filter took in and left out.")
    card: str
    created_at: datetime
    parent: int | None = Field(alias="parent_id")

    @staticmethod
    def resolve_methods(snapshot: Snapshot) -> list[str]:
        return learns_from(snapshot.counts)

    @staticmethod
    def resolve_process(snapshot: Snapshot) -> dict[str, Any]:
        return {name: value for name, value in snapshot.process.items() if name != "people"}


class ExportIn(Schema):
    """What an export is to hold; nothing set is everything."""

    format: str = Field("kibitz", description=f"One of {', '.join(exporters.FORMATS)}.")
    ties: str = Field(
        "drop", description="; ".join(f"{name}: {words}" for name, words in exporters.TIES.items())
    )
    kinds: str = Field("", description="Only records of these kinds, divided by commas.")
    annotators: str = Field("", description="Only what these gave, by the names in the records.")
    source: str = Field("", description='Only items from here: "import 3", "run 12" or "added here".')
    since: str = Field("", description="The first day of labelling (UTC), like 2026-01-31.")
    until: str = Field("", description="The last day of labelling.")
    agreement: str = Field("", description="Only tasks with at least this share of agreement, 0 to 1.")
    personal: str = Field(
        "keep", description="; ".join(f"{name}: {words}" for name, words in exporters.PERSONAL.items())
    )
    test: str = Field("", description="The share of prompts set aside for test.")
    validation: str = Field("", description="The share of prompts set aside for validation.")
    seed: str = Field("", description="Another seed divides otherwise; the same one always the same.")
    split: str = Field("", description="Only this part: train, validation or test.")


@router.get("/studies/{pk}/snapshots", response=list[SnapshotOut])
def snapshots_of(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.REVIEWER).snapshots.all()[:MOST_ROWS]


@router.post("/studies/{pk}/snapshots", response={201: SnapshotOut})
def freeze(request: HttpRequest, pk: int, asked: FreezeIn):
    """Freezes the labels that stand. The same labels are the same snapshot."""
    frozen = study_for(request.user, pk, Role.RESEARCHER)
    return Reply(201, snapshots.freeze(study=frozen, by=request.user, name=asked.name))


@router.get("/snapshots/{pk}", response=SnapshotOut)
def snapshot(request: HttpRequest, pk: int):
    return snapshot_for(request.user, pk)


@router.get("/snapshots/{pk}/download")
def download(request: HttpRequest, pk: int, asked: Query[ExportIn]):
    """A frozen version as a file, streamed. Refused where an item has no licence."""
    return file_of(snapshot_for(request.user, pk), exporters.read(asked.dict()))


@router.get("/studies/{pk}/export")
def export(request: HttpRequest, pk: int, asked: Query[ExportIn]):
    """The labels as they stand now as a file, streamed. Refused where an item has no licence."""
    return file_of(study_for(request.user, pk, Role.RESEARCHER), exporters.read(asked.dict()))


def file_of(source: Snapshot | Study, asked: Asked) -> StreamingHttpResponse:
    """An export as the body of a response."""
    response = StreamingHttpResponse(
        exporters.stream(source, asked), content_type=exporters.format_of(asked.format).media
    )
    response["Content-Disposition"] = f'attachment; filename="{exporters.filename(source, asked)}"'
    return response
