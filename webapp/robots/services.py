"""What may be done about robots at work: start, say, steer, drive, record, end; and keep what was said as labels.

Each writes to PostgreSQL first, and tells the session's supervisor once that is committed. A word to the supervisor
that is lost is found again in the rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import kombu.exceptions
import redis.exceptions
from django.db import transaction
from django.db.models.functions import Now

from annotation.errors import Conflict, Invalid
from annotation.interfaces import hindsight
from annotation.models import Role
from trainers.envs.registry import WORLDS
from webapp.celery import app
from webapp.robots import lines
from webapp.robots.messages import recording
from webapp.robots.models import Drive, Pilot, Said, Session, Status, Take
from webapp.robots.words import Meant, meant
from webapp.runs.models import Artifact

QUEUE = "robots"
LONGEST_TEXT = 200
MOST_HOLD = 600
FASTEST = 20.0
NOT_ASKED = (
    "This study does not ask for “{}”, so this could not be kept as a label. Name that interface when you create a "
    "study."
)

log = logging.getLogger(__name__)


# --- a session


def start_session(
    *,
    study,
    by,
    world: str,
    task: str = "",
    pilot: str = Pilot.POLICY,
    policy: Artifact | None = None,
    seed: int = 0,
    dials: Mapping[str, Any] | None = None,
    hold: int = 30,
    speed: float = 1.0,
    alone: bool = False,
    repeats: Session | None = None,
    episodes: int = 1,
) -> Session:
    """Asks for a robot: a row first, a message to the workers once it is committed. Who starts it steers it.

    `repeats`: the session whose seeds are played again. `alone`: nobody steers, and `episodes` are lived one after
    another, as many as that session had where there is one; then it ends.
    """
    _check_world(world, task, dials or {})
    _check_pilot(study, world, pilot, policy)
    if not 1 <= hold <= MOST_HOLD:
        raise Invalid(f"Found {hold} steps; what was said holds for 1 to {MOST_HOLD}.", field="hold")
    if not (math.isfinite(speed) and 0.1 <= speed <= FASTEST):
        raise Invalid(f"Found a speed of {speed}; expected 0.1 to {FASTEST:g}.", field="speed")
    if not 0 <= seed < 2**31:
        raise Invalid(f"Found the seed {seed}; expected 0 to {2**31 - 1}.", field="seed")
    if alone and pilot == Pilot.NOBODY:
        raise Invalid(
            "Nobody would act: an episode alone needs a policy, or the scripted rules.", field="pilot"
        )
    if repeats is not None and repeats.study_id != study.pk:
        raise Invalid("The session to repeat belongs to another study.", field="repeats")
    if repeats is not None:
        episodes = max(1, repeats.takes.count())
    with transaction.atomic():
        session = Session.objects.create(
            study=study, created_by=by, steerer=None if alone else by, world=world, task=task, pilot=pilot,
            policy=policy if pilot == Pilot.POLICY else None, seed=seed, dials=dict(dials or {}), hold=hold,
            speed=speed, alone=alone, repeats=repeats, wanted=episodes if alone else 1,
        )  # fmt: skip
        transaction.on_commit(lambda: send(session))
    session.refresh_from_db()
    return session


def _check_world(world: str, task: str, dials: Any) -> None:
    entry = WORLDS.get(world)
    if entry is None:
        raise Invalid(f"There is no world {world!r}. Known worlds: {', '.join(WORLDS)}.", field="world")
    if not entry.here:
        raise Invalid(
            f"{entry.title} needs the package {entry.needs}, which is not installed.", field="world"
        )
    if task and task not in entry.tasks:
        raise Invalid(f"There is no task {task!r} there. Known: {', '.join(entry.tasks)}.", field="task")
    if not isinstance(dials, Mapping):
        raise Invalid(
            f'Found {str(dials)[:60]!r}; expected an object: {{"camera_shift": 0.1}}.', field="dials"
        )
    for name, value in dials.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise Invalid(
                f"Found {str(value)[:60]!r} as {str(name)[:60]!r}; expected a number, or true or false.",
                field="dials",
            )


def _check_pilot(study, world: str, pilot: str, policy: Artifact | None) -> None:
    if pilot not in Pilot.values:
        raise Invalid(f"A pilot is one of {', '.join(Pilot.values)}, not {pilot!r}.", field="pilot")
    if pilot == Pilot.POLICY and policy is None:
        raise Invalid("Choose a policy; or let the world's rules act, or nobody.", field="policy")
    if pilot == Pilot.POLICY and policy.kind != Artifact.Kind.ROBOT_POLICY:
        raise Invalid(f"{policy} is a {policy.kind}; expected a robot_policy.", field="policy")
    if pilot == Pilot.POLICY and policy.study_id != study.pk:
        raise Invalid(f"{policy} belongs to another study.", field="policy")
    if pilot == Pilot.SCRIPTED and not WORLDS[world].talks:
        raise Invalid(f"The world {world} has no rules that could act in it.", field="pilot")


def send(session: Session) -> bool:
    """Wakes a worker for a session. May be lost, or come twice: the worker's claim of the row decides."""
    try:
        app.send_task("robots.live", [session.pk], queue=QUEUE, retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning("The broker did not take session %s (%s). The sweep sends it again.", session.pk, problem)
        return False
    Session.objects.filter(pk=session.pk).update(sent_at=Now())
    return True


def end(*, session: Session, by) -> Session:
    """Sends the robot away: for who steers or started it, and researchers. One that no worker holds ends at once."""
    with transaction.atomic():
        session = _locked(session)
        if session.status == Status.ENDED:
            return session
        if by.pk not in (session.steerer_id, session.created_by_id):
            member = session.study.memberships.filter(user=by.pk).first()
            if member is None or not member.may(Role.RESEARCHER):
                raise Conflict("Only who steers it, who started it, or a researcher sends a robot away.")
        session.ending = True
        if not session.worker:
            session.status, session.why, session.ended_at = Status.ENDED, f"Ended by {by}.", Now()
        else:
            session.why = f"Ended by {by}."
        session.save(update_fields=["ending", "status", "why", "ended_at"])
        _tell(session, {"type": "end"})
    session.refresh_from_db()
    return session


def begin(*, session: Session, by, ref: UUID | None = None, seed: int | None = None) -> Session:
    """Asks for a new episode. The one that is being lived ends there, and is kept."""
    with transaction.atomic():
        session = _steered(session, by)
        if ref is not None and session.wanted_ref == ref:
            return session
        if seed is not None and not 0 <= seed < 2**31:
            raise Invalid(f"Found the seed {seed}; expected 0 to {2**31 - 1}.", field="seed")
        lived = session.takes.count()
        if session.wanted > lived:
            raise Conflict("The next episode is about to begin already.")
        session.wanted, session.wanted_seed, session.wanted_ref = lived + 1, seed, ref
        session.paused = False
        session.save(update_fields=["wanted", "wanted_seed", "wanted_ref", "paused"])
        _tell(session, {"type": "look"})
    return session


# --- what is said to it


def understand(*, session: Session, text: str) -> Meant:
    """What a phrase means in the episode that is being lived. Nothing is stored."""
    take = session.takes.last()
    return meant(text, take.scene if take else {}, session)


def say(
    *,
    session: Session,
    by,
    ref: UUID,
    text: str,
    command: str = "",
    key: str = "",
    held: bool = False,
) -> Said | Meant:
    """A correction: stored, then obeyed. The same `ref` again is the same one. An unclear phrase is asked back.

    `command`: as it was understood and confirmed; it must be one that can be understood itself. `key`: a motion key,
    which is held until it is let go.
    """
    with transaction.atomic():
        session = _steered(session, by)
        known = Said.objects.filter(session=session, ref=ref).select_related("by").first()
        if known:
            return known
        take = session.takes.filter(ended_at=None).last()
        if take is None:
            raise Conflict("No episode is under way. Begin one; then say it again.")
        if "hindsight" not in session.study.kinds:
            raise Conflict(NOT_ASKED.format("hindsight"))
        if key:
            command = session.motions.get(key, "")
            if not command:
                known_keys = ", ".join(session.motions) or "none"
                raise Invalid(f"There is no motion key {key!r} here. Known: {known_keys}.", field="key")
            text = text or key
        else:
            found = meant(text if len(text) > LONGEST_TEXT else command or text, take.scene, session)
            if not found.command:
                return found
            command = found.command
        said = Said.objects.create(
            session=session, take=take, ref=ref, by=by, key=key, text=text[:LONGEST_TEXT], command=command,
            layer="motion" if key or session.layer == "motion" else "command",
            matched=session.bank.index(command) if command in session.bank else None,
            hold="held" if held else f"steps:{session.hold}", paused_at=_paused_at(session),
        )  # fmt: skip
        _tell(session, order(said))
    said.refresh_from_db()
    return said


def order(said: Said) -> dict[str, Any]:
    """A correction as the robot hears it."""
    steps = said.hold.removeprefix("steps:")
    held = said.hold == "held"
    return {
        "type": "say",
        "id": said.pk,
        "episode": said.take.episode,
        "command": said.command,
        "held": held,
        **({} if held else {"hold": int(steps)}),
    }


def _paused_at(session: Session) -> datetime | None:
    return session.paused_at if session.paused else None


def hand_back(*, session: Session, by) -> None:
    """Lets go of whatever is in force or about to be, and of the wheel: the policy decides again."""
    with transaction.atomic():
        session = _steered(session, by)
        _let_go(session, Said.objects.filter(session=session))
        _tell(session, {"type": "let_go"})


def let_go(*, session: Session, by, key: str) -> None:
    """A motion key came up: what it stood for is over, once it was obeyed for a step at least."""
    with transaction.atomic():
        session = _steered(session, by)
        _let_go(session, Said.objects.filter(session=session, key=key))


def _let_go(session: Session, rows) -> None:
    live = rows.filter(status__in=(Said.State.WAITING, Said.State.IN_FORCE), let_go_at=None)
    for pk in list(live.values_list("pk", flat=True)):
        Said.objects.filter(pk=pk).update(let_go_at=Now())
        _tell(session, {"type": "let_go", "id": pk})


def pause(*, session: Session, by) -> Session:
    return _set_paused(session, by, True)


def resume(*, session: Session, by) -> Session:
    return _set_paused(session, by, False)


def _set_paused(session: Session, by, paused: bool) -> Session:
    with transaction.atomic():
        session = _steered(session, by)
        session.paused = paused
        session.paused_at = Now() if paused else None
        session.why = f"Paused by {by}." if paused else ""
        session.save(update_fields=["paused", "paused_at", "why"])
        _tell(session, {"type": "pause" if paused else "resume"})
    return session


def mark(*, session: Session, by, success: bool, stages: Mapping[str, Any] | None = None) -> Take:
    """Whether the newest episode is a success in a person's eyes."""
    with transaction.atomic():
        session = _steered(session, by)
        take = session.takes.last()
        if take is None:
            raise Conflict("There is no episode to mark yet.")
        if not {"hindsight", "driving"} & set(session.study.kinds):
            raise Conflict(NOT_ASKED.format("hindsight"))
        said = hindsight.Answer(
            0, success=success, stages=stages or {}
        )  # refused now, if no label could keep it
        take.marked, take.stages, take.marked_by, take.kept_at = said.success, dict(said.stages), by, None
        take.save(update_fields=["marked", "stages", "marked_by", "kept_at"])
        _tell_all(session, {"type": "marked", "episode": take.episode, "success": take.marked, "by": str(by)})
    return take


# --- demonstrations: each is of one person, who alone may throw it away or trim it


def record(*, session: Session, by, ref: UUID) -> Drive:
    """Begins to record what is driven as a demonstration; while it is recorded already, ends it."""
    with transaction.atomic():
        session = _steered(session, by)
        take = session.takes.filter(ended_at=None).last()
        known = Drive.objects.filter(ref=ref, take__session=session).first()
        if known:
            return known
        if take is None:
            raise Conflict("No episode is under way. Begin one, then record.")
        if "driving" not in session.study.kinds:
            raise Conflict(NOT_ASKED.format("driving"))
        recorded = take.drives.filter(discarded=False)
        if recorded.filter(closed=True).exists():
            raise Conflict(
                "A stretch of this episode is recorded already. Discard it, if it is yours, or begin another episode."
            )
        open_one = recorded.last()
        if open_one:
            _stop_recording(session)
            open_one.refresh_from_db()
            return open_one
        made = Drive.objects.create(take=take, by=by, ref=ref)
        _tell(session, {"type": "look"})
    return made


def _stop_recording(session: Session) -> None:
    """What is being recorded ends with the step under way: the supervisor knows which that is."""
    if Drive.objects.filter(take__session=session, closed=False).update(closed=True):
        _tell(session, {"type": "look"})


def discard(*, session: Session, by) -> Drive:
    """Throws away the newest recorded stretch of the episode: no label is made of it. The steps stay."""
    with transaction.atomic():
        session = _steered(session, by)
        found = Drive.objects.filter(take=session.takes.last(), by=by, discarded=False).last()
        if found is None:
            raise Conflict("You recorded nothing in this episode that could be discarded.")
        Take.objects.filter(pk=found.take_id).update(kept_at=None)  # before its drives, as where it is kept
        found.discarded = found.closed = True
        found.save(update_fields=["discarded", "closed"])
        _tell_all(session, recording(found))
    return found


def trim(*, session: Session, by, start: int, stop: int) -> Drive:
    """Sets where the recorded stretch of the newest episode begins and ends. A label of it is superseded."""
    with transaction.atomic():
        session = _steered(session, by)
        take = session.takes.last()
        found = Drive.objects.filter(take=take, by=by, closed=True, discarded=False).last()
        if found is None:
            raise Conflict("You recorded nothing in this episode that could be trimmed.")
        if type(start) is not int or type(stop) is not int or not 0 <= start < stop:
            raise Invalid(f"Found the steps {start!r} to {stop!r}; expected at least one.", field="stop")
        if take.ended_at is not None and stop > take.steps:
            raise Invalid(f"Found the step {stop}; the episode has {take.steps}.", field="stop")
        Take.objects.filter(pk=take.pk).update(kept_at=None)
        found.start, found.stop = start, stop
        found.save(update_fields=["start", "stop"])
        _tell_all(session, recording(found))
    return found


# --- who steers


def steer(*, session: Session, by, here: Collection[str]) -> bool:
    """Takes the wheel where nobody has it, or where who has it is not `here` (names); else asks for it."""
    with transaction.atomic():
        session = _locked(session)
        _not_over(session)
        if session.alone:
            raise Conflict("The robot tries alone in this session. Start another to steer.")
        if session.steerer_id == by.pk:
            return True
        free = session.steerer is None or session.steerer.username not in here
        if free:
            _hand_over(session, by)
        elif by.username not in session.asking:
            session.asking = [*session.asking, by.username]
            session.save(update_fields=["asking"])
            _tell_people(session)
    return free


def give(*, session: Session, by, to: str, here: Collection[str]) -> Session:
    """Hands the wheel to another member of the study, who is `here` (names): nobody steers from afar."""
    with transaction.atomic():
        session = _steered(session, by)
        people = session.study.memberships.select_related("user")
        found = None if "\x00" in to else people.filter(user__username=to).first()
        if found is None:
            raise Invalid(f"{to[:100]!r} is no member of this study.", field="to")
        if to not in here:
            raise Conflict(f"{to} is not here. Wait until they are.")
        _hand_over(session, found.user)
    return session


def _hand_over(session: Session, to) -> None:
    """From now on `to` steers. What was being recorded was the other one's, and ends here."""
    _stop_recording(session)
    session.steerer = to
    session.asking = [one for one in session.asking if one != to.username]
    session.save(update_fields=["steerer", "asking"])
    _tell(session, {"type": "look"})
    _tell_people(session)


# --- what they share


def _locked(session: Session) -> Session:
    return (
        Session.objects.select_for_update(of=["self"]).select_related("steerer", "study").get(pk=session.pk)
    )


def _not_over(session: Session) -> None:
    if session.status == Status.ENDED or session.ending:
        raise Conflict("The session has ended. Start another on the study's page of robots.")


def _steered(session: Session, by) -> Session:
    """The session, locked, for whoever steers it; a Conflict that says who does for everybody else."""
    session = _locked(session)
    _not_over(session)
    if session.steerer_id != by.pk:
        who = session.steerer.username if session.steerer else None
        words = f"{who} steers. Ask for the wheel first." if who else "Nobody steers. Take the wheel first."
        raise Conflict(words, holder=who)
    return session


def _tell(session: Session, message: dict[str, Any]) -> None:
    transaction.on_commit(lambda: lines.send(lines.down(session.pk), message))


def _tell_all(session: Session, message: dict[str, Any]) -> None:
    transaction.on_commit(lambda: lines.send(lines.up(session.pk), message))


def _tell_people(session: Session) -> None:
    steerer = session.steerer.username if session.steerer else None
    _tell_all(session, {"type": "steerer", "steerer": steerer, "asking": session.asking})
