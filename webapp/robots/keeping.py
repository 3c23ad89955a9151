"""When an episode is over: its recording, and what people said in it as labels, one for each person and kind.

All of it may be done again after a crash: the recording is one for each episode, and the same answer of the same
person is the same label. A success that is marked afterwards is a change of mind, and supersedes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models.functions import Coalesce, Now

from annotation import recordings
from annotation.errors import Conflict, Invalid
from annotation.models import Recording
from trainers.episodes import NoEpisode
from webapp.robots import lines
from webapp.robots.models import Said, Session, Status, Take

log = logging.getLogger(__name__)


def keep(take: Take) -> int:
    """Stores the recording and the labels of an episode that has ended: how many labels there are now.

    What cannot be stored as it stands is said in `take.problem`, and nothing of it is lost: the rows stay.
    """
    with transaction.atomic():
        # Whoever marks, trims or discards meanwhile waits, so that it is not taken for kept.
        locked = Take.objects.select_for_update(of=["self"], no_key=True)
        take = locked.select_related("session__study", "by", "marked_by").get(pk=take.pk)
        try:
            row, labels, problem = *_store(take), ""
        except Conflict as busy:
            log.info("The labels of %s wait: %s", take, busy)
            return 0
        except Invalid as refused:
            row, labels, problem = Recording.objects.filter(episode=take.episode).first(), 0, str(refused)
            log.warning("The labels of %s cannot be kept: %s", take, problem)
        take.kept_at, take.recording, take.problem = Now(), row, problem
        take.save(update_fields=["kept_at", "recording", "problem"])
        told = {"episode": take.episode, "recording": row and row.pk, "labels": labels, "problem": problem}
        channel = lines.up(take.session_id)
        transaction.on_commit(lambda: lines.send(channel, {"type": "kept", **told}))
    return labels


def _store(take: Take) -> tuple[Recording | None, int]:
    """The recording of an episode, where it has any steps, and how many labels are kept of it."""
    session, study = take.session, take.session.study
    if not take.steps:
        return None, 0
    source = {"session": session.pk, "number": take.number, "alone": session.alone}
    row = recordings.record(study, take.episode, take.by, source)
    found = answers(take)
    for kind, person, answer in found:
        recordings.keep_session(study, row, person, answer, kind=kind, seconds=take.steps * session.seconds)
    take.drives.update(kept=True)
    return row, len(found)


def answers(take: Take) -> list[tuple[str, Any, dict[str, Any]]]:
    """(interface, person, answer): what each person's labels of an episode say."""
    found: list[tuple[str, Any, dict[str, Any]]] = []
    obeyed = take.said.filter(status=Said.State.OVER, start__isnull=False).select_related("by")
    marked = {"success": take.marked, "stages": take.stages}
    silent = {"success": None, "stages": {}}
    drivers = set()
    for drive in take.drives.filter(stop__isnull=False).select_related("by"):
        if drive.by is None or drive.stop <= drive.start or (drive.discarded and not drive.kept):
            continue
        success = take.marked if drive.by_id == take.marked_by_id else None
        answer = {"start": drive.start, "stop": drive.stop, "success": success, "kept": not drive.discarded}
        found.append(("driving", drive.by, answer))
        drivers.add(drive.by_id)
    people = {one.by_id: one.by for one in obeyed if one.by is not None}
    if take.marked is not None and take.marked_by is not None and take.marked_by_id not in drivers:
        people.setdefault(take.marked_by_id, take.marked_by)
    for pk, person in people.items():
        corrections = [as_said(one) for one in obeyed if one.by_id == pk and one.stop > one.start]
        marks = marked if pk == take.marked_by_id and pk not in drivers else silent
        if corrections or marks["success"] is not None:
            found.append(("hindsight", person, {"corrections": corrections, **marks}))
    return found


def as_said(one: Said) -> dict[str, Any]:
    """A correction as the interface "hindsight" keeps it; all that is known of it besides stands in its source."""
    return {
        "start": one.start,
        "stop": one.stop,
        "text": one.text,
        "command": one.command,
        "layer": one.layer,
        "type": "correction",
        "live": True,
        "predicted": one.predicted,
        "source": {
            "session": one.session_id,
            "said": one.pk,
            "step": one.step,
            "paused_at": one.paused_at.isoformat() if one.paused_at else None,
            "sent_at": one.sent_at.isoformat(),
            "key": one.key,
            "bank": one.matched,
            "choices": one.choices,
            "hold": one.hold,
            "outcome": one.outcome,
        },
    }


def close(session: int, why: str) -> None:
    """Ends what a session left unfinished, with what is recorded of it: no process is left that could."""
    for take in Take.objects.filter(session=session, ended_at=None).select_related("session"):
        score, success, steps = 0.0, None, 0
        try:
            episode = recordings.store().open(take.episode)
            if episode.ended is None:
                with recordings.store().begin(episode.about, take.episode) as writer:
                    steps = writer.length
                    score = float(episode.steps["score"][-1]) if steps else 0.0
                    writer.end(why, score)
            else:
                steps, score, success = (episode.ended[key] for key in ("steps", "score", "success"))
        except NoEpisode:
            pass  # it was asked for, and never begun
        except ValueError as problem:
            log.info("%s is not ended yet: %s", take, problem)
            continue
        ended(take, {"steps": steps, "score": score, "success": success, "why": why})


def ended(take: Take, message: dict[str, Any]) -> None:
    """Writes down that an episode is over. Said again, it changes nothing."""
    with transaction.atomic():
        Take.objects.filter(pk=take.pk, ended_at=None).update(
            ended_at=Now(), steps=message["steps"], score=message["score"],
            success=message["success"], why=message["why"] or "", done=message.get("stages") or {},
        )  # fmt: skip
        take.drives.filter(stop=None).update(
            start=Coalesce("start", message["steps"]), stop=message["steps"], closed=True
        )
        take.said.filter(status=Said.State.WAITING).update(
            status=Said.State.LOST, outcome="the episode ended"
        )
        left = take.said.filter(status=Said.State.IN_FORCE)
        left.update(status=Said.State.OVER, stop=message["steps"], outcome="the episode ended")


def sweep() -> None:
    """Keeps what was not kept, and ends what nobody ended: a supervisor was killed in between."""
    for session in Session.objects.filter(status=Status.ENDED, takes__ended_at=None).distinct():
        with _others_go_on():
            close(session.pk, session.why)
    for take in Take.objects.filter(ended_at__isnull=False, kept_at=None):
        with _others_go_on():
            keep(take)


@contextmanager
def _others_go_on() -> Iterator[None]:
    """One episode that cannot be kept, whatever the reason, stands in no other's way. It is tried again."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("What was lived could not be kept.")
