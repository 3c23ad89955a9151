"""The HTTP API of what comes out: labels frozen, and files for other tools."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import exporters, snapshots
from annotation.access import snapshot_for, study_for
from annotation.errors import Invalid
from annotation.models import Role, Snapshot
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
    card: str
    created_at: datetime
    parent: int | None = Field(alias="parent_id")

    @staticmethod
    def resolve_methods(snapshot: Snapshot) -> list[str]:
        return learns_from(snapshot.counts)


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
def download(request: HttpRequest, pk: int, format: str = "kibitz"):
    """The records as JSON lines, in Kibitz's format or TRL's (without ties, for which TRL has no word)."""
    frozen = snapshot_for(request.user, pk)
    if format not in exporters.FORMATS:
        raise Invalid(
            f"No format called {format!r}. Known formats: {', '.join(exporters.FORMATS)}.", field="format"
        )
    response = StreamingHttpResponse(exporters.stream(frozen, format), content_type="application/jsonl")
    response["Content-Disposition"] = f'attachment; filename="{exporters.filename(frozen, format)}"'
    return response
