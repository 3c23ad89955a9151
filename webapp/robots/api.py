"""The HTTP API of robots at work: sessions, their episodes, and what was said in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation.access import study_for
from webapp.robots import services, teaching
from webapp.robots.access import MAY_START, MAY_WATCH, session_for
from webapp.robots.models import Said, Session, Take
from webapp.runs.access import MAY_CONTROL, artifact_for
from webapp.runs.api import RunOut

router = Router(tags=["robots"])


class SessionIn(Schema):
    world: str = Field(description="A world of docs/worlds.md, such as table_talk.")
    task: str = Field("", description="One of the world's; left out, its own.")
    pilot: str = Field(
        "policy", description="policy, scripted (the world's own rules) or nobody (it is driven)"
    )
    policy: int | None = Field(None, description="The artifact of a robot_policy.")
    seed: int = 0
    dials: dict[str, Any] = Field({}, description="What goes wrong, and how much of it.")
    hold: int = Field(30, description="Steps for which what was said is obeyed.")
    speed: float = Field(1.0, description="1 is the world's own time.")
    alone: bool = Field(False, description="It tries by itself, and the session ends after its episodes.")
    repeats: int | None = Field(None, description="The session whose seeds it plays again.")


class SessionOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    world: str
    task: str
    pilot: str
    policy: int | None = Field(alias="policy_id")
    seed: int
    hold: int
    speed: float
    alone: bool
    repeats: int | None = Field(alias="repeats_id")
    status: str
    why: str
    paused: bool
    steerer: str | None
    layer: str
    bank: list[str]
    created_at: datetime
    ended_at: datetime | None

    @staticmethod
    def resolve_steerer(session: Session) -> str | None:
        return session.steerer.username if session.steerer else None


class EpisodeOut(Schema):
    number: int
    episode: str
    seed: int
    steps: int
    score: float | None
    success: bool | None
    marked: bool | None = Field(description="A success in a person's eyes.")
    why: str
    started_at: datetime
    ended_at: datetime | None
    labels_kept: bool
    problem: str

    @staticmethod
    def resolve_labels_kept(take: Take) -> bool:
        return take.kept_at is not None and not take.problem


class SaidOut(Schema):
    id: int
    ref: UUID
    episode: str
    by: str | None
    layer: str
    text: str
    command: str
    bank: int | None = Field(alias="matched")
    predicted: str
    choices: list[Any]
    hold: str
    paused_at: datetime | None
    sent_at: datetime
    step: int | None
    start: int | None
    stop: int | None
    status: str
    outcome: str

    @staticmethod
    def resolve_by(said: Said) -> str | None:
        return said.by.username if said.by else None

    @staticmethod
    def resolve_episode(said: Said) -> str:
        return said.take.episode


class SessionDetail(SessionOut):
    episodes: list[EpisodeOut]
    said: list[SaidOut]

    @staticmethod
    def resolve_episodes(session: Session) -> list[Take]:
        return list(session.takes.all())

    @staticmethod
    def resolve_said(session: Session) -> list[Said]:
        return list(session.said.select_related("by", "take"))


class SayIn(Schema):
    text: str
    command: str = Field(
        "", description="As it was understood and confirmed; left out, as it is understood now."
    )
    ref: UUID | None = Field(
        None, description="Made by the caller: the same one again is the same correction."
    )


class UnderstoodOut(Schema):
    command: str | None
    ask: str = Field(description="What is asked back, where it is not clear.")
    others: list[str]


class SayOut(Schema):
    said: SaidOut | None = Field(description="The correction; null where it is asked back.")
    understood: UnderstoodOut


class TextIn(Schema):
    text: str


@router.get("/studies/{pk}/robots", response=list[SessionOut])
def sessions(request: HttpRequest, pk: int, limit: int = 50):
    """The study's sessions, the newest first."""
    study = study_for(request.user, pk, MAY_WATCH)
    found = Session.objects.filter(study=study).select_related("steerer")
    return found[: max(1, min(limit, 500))]


@router.post("/studies/{pk}/robots", response={201: SessionOut})
def start(request: HttpRequest, pk: int, asked: SessionIn):
    """Starts a session; who starts it steers it."""
    study = study_for(request.user, pk, MAY_START)
    given = asked.dict()
    policy, repeats = given.pop("policy"), given.pop("repeats")
    made = services.start_session(
        study=study,
        by=request.user,
        policy=artifact_for(request.user, policy) if policy is not None else None,
        repeats=session_for(request.user, repeats) if repeats is not None else None,
        **given,
    )
    return Reply(201, made)


@router.get("/robots/{pk}", response=SessionDetail)
def session(request: HttpRequest, pk: int):
    """One session, with its episodes and all that was said in them."""
    return session_for(request.user, pk)


@router.post("/robots/{pk}/understand", response=UnderstoodOut)
def understand(request: HttpRequest, pk: int, asked: TextIn):
    """What a phrase means to the robot now. Nothing is stored."""
    return services.understand(session=session_for(request.user, pk), text=asked.text).told()


@router.post("/robots/{pk}/say", response=SayOut)
def say(request: HttpRequest, pk: int, asked: SayIn):
    """Says something to the robot, for whoever steers it. What is not clear is asked back, and nothing is stored."""
    found = services.say(
        session=session_for(request.user, pk), by=request.user, ref=asked.ref or uuid4(), text=asked.text,
        command=asked.command,
    )  # fmt: skip
    if isinstance(found, Said):
        return {"said": found, "understood": {"command": found.command, "ask": "", "others": []}}
    return {"said": None, "understood": found.told()}


@router.post("/robots/{pk}/steer", response=SessionOut)
def steer(request: HttpRequest, pk: int):
    """Takes the wheel where nobody has it; else asks for it. Only pages know whether who has it is away."""
    one = session_for(request.user, pk)
    here = {one.steerer.username} if one.steerer else set()
    services.steer(session=one, by=request.user, here=here)
    return session_for(request.user, pk)


@router.post("/robots/{pk}/begin", response=SessionOut)
def begin(request: HttpRequest, pk: int, seed: int | None = None):
    """Begins a new episode; the one under way ends, and is kept."""
    services.begin(session=session_for(request.user, pk), by=request.user, seed=seed)
    return session_for(request.user, pk)


@router.post("/robots/{pk}/teach", response={201: RunOut})
def teach(request: HttpRequest, pk: int):
    """Freezes what was said, and starts the run that learns from it."""
    return Reply(201, teaching.teach(session=session_for(request.user, pk, MAY_CONTROL), by=request.user))


@router.post("/robots/{pk}/end", response=SessionOut)
def end(request: HttpRequest, pk: int):
    """Sends the robot away. Its episode ends, and is kept."""
    return services.end(session=session_for(request.user, pk), by=request.user)
