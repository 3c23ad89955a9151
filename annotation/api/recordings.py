"""The HTTP API of what robots lived in a study: its recordings, and pairs of clips drawn from them."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import pairing
from annotation.access import study_for
from annotation.errors import Invalid
from annotation.models import Role
from trainers.episodes import NAME

router = Router(tags=["recordings"])

MOST_ROWS = 200


class RecordingOut(Schema):
    id: int
    episode: str = Field(description="Its name: a clip of it is clip:<episode>:<start>-<stop>.")
    world: str
    task: str
    seed: int
    policy: str = Field(description="What acted; empty where a person drove.")
    steps: int
    score: float | None
    success: bool | None
    ended: bool
    created_at: datetime


class PairsIn(Schema):
    world: str
    task: str = ""
    count: int = Field(20, ge=1, le=pairing.MOST_PAIRS)
    length: int | None = Field(
        None, ge=1, le=10**6, description="Steps of a clip; null for whole recordings."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The same one draws the same pairs again.")
    recordings: list[str] = Field(
        [], description="Episodes to draw from; without any, the newest that ended."
    )


class PairsOut(Schema):
    wanted: int
    drawn: int = Field(description="Fewer than wanted where the recordings give no more.")
    added: int = Field(description="How many of those drawn the study had not.")


@router.get("/studies/{pk}/recordings", response=list[RecordingOut])
def recordings(request: HttpRequest, pk: int, before: int | None = None, limit: int = 50):
    """What was recorded, the newest first; `before` (an id) goes on from the last page."""
    rows = study_for(request.user, pk, Role.RESEARCHER).recordings.all()
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return rows[: max(1, min(limit, MOST_ROWS))]


@router.post("/studies/{pk}/pairs", response={201: PairsOut})
def pair(request: HttpRequest, pk: int, asked: PairsIn):
    """Adds pairs of clips to compare, each of two recordings of one world and task in which the same was asked."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    names = list(dict.fromkeys(asked.recordings))
    rows = list(study.recordings.filter(episode__in=filter(NAME.fullmatch, names)))
    if len(rows) < len(names):
        missing = next(name for name in names if name not in {one.episode for one in rows})
        raise Invalid(f"This study has no recording of the episode {missing[:80]!r}.", field="recordings")
    return Reply(201, pairing.pair_clips(study=study, **(asked.dict() | {"recordings": rows})))
