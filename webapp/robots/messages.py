"""What pages are told about a session, as JSON: docs/robots.md is exact about each."""

from __future__ import annotations

from typing import Any

from webapp.robots.models import Drive, Said, Session, Take


def status(now: str, why: str = "") -> dict[str, Any]:
    return {"type": "status", "status": str(now), "why": why}


def correction(said: Said) -> dict[str, Any]:
    return {
        "id": said.pk,
        "ref": str(said.ref),
        "by": str(said.by) if said.by else None,
        "text": said.text,
        "command": said.command,
        "layer": said.layer,
        "key": said.key,
        "said": said.step,
        "start": said.start,
        "stop": said.stop,
        "predicted": said.predicted,
        "status": said.status,
        "outcome": said.outcome,
    }


def recording(one: Drive) -> dict[str, Any]:
    return {
        "type": "recording",
        "ref": str(one.ref),
        "by": str(one.by) if one.by else None,
        "start": one.start,
        "stop": one.stop,
        "discarded": one.discarded,
    }


def session(one: Session, take: Take | None) -> dict[str, Any]:
    return {
        "id": one.pk,
        "study": one.study_id,
        "status": one.status,
        "why": one.why,
        "world": one.world,
        "task": one.task,
        "seed": take.seed if take else one.seed,
        "seconds": one.seconds,
        "speed": one.speed,
        "hold": one.hold,
        "alone": one.alone,
        "pilot": one.pilot,
        "policy": {"name": one.flown_by, "artifact": one.policy_id},
        "episode": take.episode if take else None,
        "number": take.number if take else 0,
        "actions": one.actions,
        "repeats": one.repeats_id,
    }


def hello(one: Session, take: Take | None, name: str) -> dict[str, Any]:
    """All that a page needs to begin: what comes after it is news."""
    said = take.said.select_related("by") if take else []
    steerer = one.steerer.username if one.steerer else None
    drives = take.drives.filter(discarded=False).select_related("by") if take else []
    return {
        "type": "hello",
        "session": session(one, take),
        "scene": take.scene if take else None,
        "state": take.state if take else None,
        "you": {"name": name, "steers": steerer == name, "may": not one.alone},
        "steerer": steerer,
        "asking": one.asking,
        "motions": one.motions,
        "layer": one.layer,
        "bank": one.bank,
        "corrections": [correction(row) for row in said],
        "recordings": [recording(row) for row in drives],
        "ended": None
        if take is None or take.ended_at is None
        else {
            "score": take.score,
            "success": take.success,
            "stages": take.done,
            "why": take.why,
            "marked": take.marked,
        },
    }
