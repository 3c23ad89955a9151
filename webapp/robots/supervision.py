"""One worker's hold on one session: a child that is the robot, words both ways, and an end.

The child is a process of its own (`python -m trainers live`), so that nothing it does takes down another. What this
supervisor knows is in PostgreSQL and in the session's home; killed at any moment, another one goes on from there.
States of the world pass through it as the bytes that the child wrote, and touch no table.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from webapp.robots import keeping, lines, services
from webapp.robots.child import Child
from webapp.robots.company import Company
from webapp.robots.messages import correction, recording, status
from webapp.robots.models import Drive, Said, Session, Status, Take
from webapp.runs.workers import presence

TICK_SECONDS = 0.5
BEAT_SECONDS = 1.0
DESERTED_SECONDS = 600.0
"""A session that nobody has watched for so long ends: it holds a worker's place."""
MOST_STRIKES = 3
LEAVE_SECONDS = 5.0
AWAY = "PostgreSQL cannot be reached: the robot stands still until it is back."
DEAF = "Valkey could not be reached, so nobody could steer, and the robot was paused."

log = logging.getLogger(__name__)
T = TypeVar("T")


class Superseded(Exception):
    """Another supervisor holds the session by now."""


class Supervision:
    """One worker's hold on one session, over as many children as it takes."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pk, self.attempt = session.pk, session.attempt
        self.company = Company()
        if session.attempt > 1 and session.steerer:
            self.company.expect(session.steerer.username, time.monotonic())
        self.child: Child | None = None
        self.take: Take | None = None
        self.last_state = b""
        self.step = 0
        self.beat_at = self.ticked_at = 0.0
        self.looking = threading.Event()
        self.over = threading.Event()
        self.leaving = False
        self.ready = False
        self.deaf = False
        """Whether the line to the pages is down."""

    # --- from beginning to end

    def see_through(self) -> None:
        listener = threading.Thread(target=self._listen, name=f"session-{self.pk}", daemon=True)
        listener.start()
        try:
            while self._again(self._attempt()):
                pass
        except Superseded:
            raise
        except Exception as problem:
            log.exception("Session %s cannot be supervised.", self.pk)
            self._end(f"The worker could not go on with it: {problem}")
        finally:
            self.over.set()
            if self.child:
                self.child.kill()
            listener.join(timeout=5)

    def _attempt(self) -> int:
        """One child from start to end: its exit code."""
        self._insist(lambda: self._hold(strikes=F("strikes") + 1))
        self.session.home.mkdir(parents=True, exist_ok=True)
        self.ready = False
        self.child = Child(self.session.home, self._write_spec())
        while True:
            for line in self.child.hear(TICK_SECONDS):
                self._take_in(line)
            self._tick()
            if self.child.ended():
                for line in self.child.hear(0):
                    self._take_in(line)
                return self.child.kill()

    def _again(self, code: int) -> bool:
        """What is to be done now that the child has ended; whether another is needed."""
        now = self._insist(self._row)
        if now.ending:
            self._end(now.why)
            return False
        if presence.closing.is_set():
            self._give_back()
            return False
        if now.strikes >= MOST_STRIKES:
            words = self.child.last_words() if self.child else ""
            self._end(f"The robot's process ended {now.strikes} times in a row. Its last words:\n{words}")
            return False
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        self._status(Status.LOST, f"The robot's process ended ({how}). It goes on from its last moment.")
        return True

    def _write_spec(self) -> Path:
        session = self.session
        policy = session.policy
        about: dict[str, Any] = {"name": session.pilot}
        if policy:
            about = {
                "artifact": policy.pk,
                "digest": policy.digest,
                "name": policy.name,
                "run": policy.run_id,
            }
        spec = {
            "home": str(session.home),
            "episodes": str(settings.EPISODES),
            "world": session.world,
            "pilot": session.pilot,
            "policy": str(policy.location) if policy else "",
            "hold": session.hold,
            "speed": session.speed,
            "about": about,
        }
        path = session.home / "spec.json"
        path.write_text(json.dumps(spec, indent=1))
        return path

    # --- once in a while

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self.beat_at >= BEAT_SECONDS:
            self.beat_at = now
            self._insist(self._hold)
        if self.looking.is_set() or now - self.ticked_at >= TICK_SECONDS:
            self.looking.clear()
            self.ticked_at = now
            self._insist(self._look)

    def _look(self) -> None:
        """Compares what the session should be doing with what it does: a word that was lost is found here."""
        row = self.session = self._row()
        if row.attempt != self.attempt:
            raise Superseded(
                f"Session {self.pk} is held by attempt {row.attempt}, no longer by {self.attempt}."
            )
        now = time.monotonic()
        self.company.look(now)
        if row.ending or presence.closing.is_set():
            self._leave(row)
        elif not self.ready:
            return
        elif row.steerer and not row.paused and self.company.left(row.steerer.username, now):
            self._pause_for(row.steerer.username)
        elif not row.alone and now - self.company.anybody_at > DESERTED_SECONDS:
            self._hold(ending=True, why="Nobody watched it any more, so it was sent away.")
        else:
            self._tell_child({"type": "pause" if row.paused else "resume"})
            if row.paused and row.status == Status.RUNNING:
                self._status(Status.PAUSED, row.why)
            elif row.status == Status.PAUSED and not row.paused:
                self._status(Status.RUNNING)
            self._episode(row)
            self._said_and_driven()

    def _leave(self, row: Session) -> None:
        if self.leaving:
            return
        self.leaving = True
        if row.ending:
            self._tell_child({"type": "finish", "why": row.why})
        self._tell_child({"type": "leave"})
        assert self.child is not None
        self.child.leave_by(LEAVE_SECONDS)

    def _pause_for(self, name: str) -> None:
        """Who steers is gone: the robot stands still, and nothing is lost."""
        why = DEAF if self.deaf else f"The connection of {name} was lost, so the robot was paused."
        self._hold(paused=True, paused_at=Now(), why=why)
        self._tell_child({"type": "pause"})
        self.company.forget(name)  # whoever resumes it meanwhile, by a program say, is not stopped again
        self._status(Status.PAUSED, why)

    def _episode(self, row: Session) -> None:
        """Begins the episode that was asked for; or goes on with the one that is under way."""
        newest = row.takes.select_related("by").last()
        if newest and newest.ended_at is None and (newest.number == row.wanted or row.alone):
            wanted = newest
        elif newest is None or newest.number < row.wanted:
            wanted = self._next(row, newest)
        else:
            if row.alone and not self.leaving:
                self._hold(ending=True, why="All its episodes are lived.")
            elif not row.alone and self.take is None and row.status != Status.WAITING:
                self._status(Status.WAITING, newest.why)  # what was lost is a process, and no episode with it
            return
        if self.take is None or self.take.pk != wanted.pk:
            self.take = wanted
            source = {"session": self.pk, "number": wanted.number}
            self._tell_child(
                {
                    "type": "begin", "episode": wanted.episode, "number": wanted.number, "seed": wanted.seed,
                    "task": row.task, "dials": row.dials, "by": str(wanted.by or ""), "source": source,
                }
            )  # fmt: skip

    def _next(self, row: Session, before: Take | None) -> Take:
        number = before.number + 1 if before else 1
        return Take.objects.get_or_create(
            session=row, number=number, defaults={"seed": self._seed(row, number), "by": row.steerer}
        )[0]

    def _seed(self, row: Session, number: int) -> int:
        if row.wanted_seed is not None and number == row.wanted:
            return row.wanted_seed
        if row.repeats_id:
            seeds = list(Take.objects.filter(session=row.repeats_id).values_list("seed", flat=True))
            if number <= len(seeds):
                return seeds[number - 1]
        return row.seed + number - 1

    def _said_and_driven(self) -> None:
        if self.take is None:
            return
        for said in self.take.said.filter(status=Said.State.WAITING):
            self._tell_child(services.order(said))
        gone = self.take.said.filter(status=Said.State.IN_FORCE).exclude(let_go_at=None)
        for pk in gone.values_list("pk", flat=True):
            self._tell_child({"type": "let_go", "id": pk})
        for one in self.take.drives.filter(Q(start=None) | Q(closed=True, stop=None)):
            # Only what is not known yet: it may be trimmed at this very moment.
            mine = Drive.objects.filter(pk=one.pk)
            mine.filter(start=None).update(start=self.step)
            mine.filter(closed=True, stop=None).update(stop=self.step)
            one.refresh_from_db()
            self._tell_all(recording(one))

    # --- what the child says

    def _take_in(self, line: bytes) -> None:
        """A message of the child: states go on as they are, all else is written down first."""
        if line.startswith(b'{"type":"state"'):
            self.last_state = line
            self.step = int(line[line.index(b'"step":') + 7 :].split(b",", 1)[0])
            self._publish(line)
            return
        message = json.loads(line)
        kind = message.pop("type")
        self._insist(lambda: getattr(self, f"_on_{kind}")(message))

    def _on_ready(self, message: dict[str, Any]) -> None:
        self.ready = True
        self._hold(
            layer=message["layer"], motions=message["motions"], bank=message["bank"],
            actions=message["actions"], seconds=message["seconds"],
        )  # fmt: skip
        self.take = None  # a new child knows of no episode
        self.looking.set()

    def _on_scene(self, message: dict[str, Any]) -> None:
        if self.take is None or self.take.episode != message["episode"]:
            return
        self.take.scene, self.take.state = message["scene"], message["state"]
        self.take.save(update_fields=["scene", "state"])
        self._hold(bank=message["bank"], strikes=0)
        row = self._row()
        about = {name: getattr(row, name) for name in ("motions", "layer", "seconds", "actions")}
        self._tell_all({"type": "scene", **message, **about})
        self._status(Status.PAUSED if row.paused else Status.RUNNING, row.why if row.paused else "")

    def _on_heard(self, message: dict[str, Any]) -> None:
        Said.objects.filter(pk=message["id"], step=None).update(step=message["step"])

    def _on_in_force(self, message: dict[str, Any]) -> None:
        choices = message["choices"]
        self._said(
            message, status=Said.State.IN_FORCE, start=message["start"], choices=choices,
            predicted=choices[0][0] if choices else "",
        )  # fmt: skip

    def _on_over(self, message: dict[str, Any]) -> None:
        lost = message["start"] is None and message["how"] == "the episode ended"
        self._said(
            message, status=Said.State.LOST if lost else Said.State.OVER, start=message["start"],
            stop=message["stop"], outcome=message["how"],
        )  # fmt: skip

    def _said(self, message: dict[str, Any], **values: Any) -> None:
        """What became of something that was said. Told again, it is written again, and changes nothing."""
        Said.objects.filter(pk=message["id"], session=self.pk).update(**values)
        if not message.get("again"):
            said = Said.objects.select_related("by").get(pk=message["id"])
            self._tell_all({"type": "correction", **correction(said)})

    def _on_recovered(self, message: dict[str, Any]) -> None:
        log.info("Session %s goes on at step %s of %s.", self.pk, message["step"], message["of"])

    def _on_problem(self, message: dict[str, Any]) -> None:
        self._tell_all({"type": "problem", **message})

    def _on_episode_end(self, message: dict[str, Any]) -> None:
        take = Take.objects.select_related("session__study", "by", "marked_by").get(
            episode=message["episode"]
        )
        keeping.ended(take, message)
        self._tell_all({"type": "episode_end", **message})
        row = self._row()
        if self.take and self.take.pk == take.pk:
            if row.wanted <= take.number and not row.ending:
                self._status(Status.WAITING, message["why"])
            self.take = None  # else another was begun already, and is to go on
        self.looking.set()
        take.refresh_from_db()
        if take.kept_at is None:
            keeping.keep(take)

    # --- what people say: forwarded at once, since it is in the table already

    def _listen(self) -> None:
        while not self.over.is_set():
            try:
                with lines.line() as line, line.pubsub() as ears:
                    ears.subscribe(lines.down(self.pk), lines.up(self.pk))
                    self.deaf = False
                    while not self.over.is_set():
                        message = ears.get_message(ignore_subscribe_messages=True, timeout=0.5)
                        if message:
                            self._hear(json.loads(message["data"]))
            except lines.LineDown as problem:
                self.deaf = True
                log.warning("Session %s waits for Valkey: %s", self.pk, problem)
            except Exception:
                log.exception("A word to session %s could not be taken.", self.pk)
            self.over.wait(0.5)

    def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "here":
                self.company.hear(message["web"], message["names"], time.monotonic())
            case "say" | "let_go" | "drive":
                self._tell_child(message)
            case "pause" | "resume" | "look" | "end":
                if message["type"] == "pause":
                    self._tell_child(message)
                self._wake()
            case "now" if self.last_state:
                self._publish(self.last_state)

    # --- what this supervisor writes and tells

    def _wake(self) -> None:
        self.looking.set()
        if self.child:
            self.child.wake()

    def _row(self) -> Session:
        found = Session.objects.select_related("study", "policy", "steerer").filter(pk=self.pk).first()
        if found is None:
            raise Superseded(f"Session {self.pk} was deleted.")
        return found

    def _hold(self, **values: Any) -> None:
        """Writes to the session where this attempt still holds it, and says that it lives."""
        if not Session.objects.mine(self.pk, self.attempt).update(heartbeat_at=Now(), **values):
            raise Superseded(f"Session {self.pk} is no longer held by attempt {self.attempt}.")

    def _status(self, to: Status, why: str = "") -> None:
        self._insist(lambda: self._hold(status=to, why=why))
        self._tell_all(status(to, why))

    def _end(self, why: str) -> None:
        """The session is over; an episode that was left unfinished ends with what is recorded of it."""

        def write() -> None:
            with transaction.atomic():
                self._hold(status=Status.ENDED, why=why, ended_at=Now(), worker="")
                keeping.close(self.pk, why)

        self._insist(write)
        self._tell_all(status(Status.ENDED, why))

    def _give_back(self) -> None:
        why = "The worker shut down; another takes the robot up."
        self._insist(lambda: self._hold(status=Status.LOST, why=why, worker="", sent_at=None, strikes=0))
        self._tell_all(status(Status.LOST, why))

    def _insist(self, action: Callable[[], T]) -> T:
        """Does it, and waits with the robot while the database is away. It may be done twice without harm."""
        while True:
            try:
                return action()
            except (OperationalError, InterfaceError) as problem:
                if presence.closing.is_set():
                    raise
                log.warning("Session %s waits for the database: %s", self.pk, problem)
                self._tell_child({"type": "pause"})  # until the session's row can be read again
                self._tell_all(status(Status.LOST, AWAY))
                connection.close()
                time.sleep(1)

    def _tell_child(self, message: dict[str, Any]) -> None:
        if self.child:
            self.child.say(message)

    def _tell_all(self, message: dict[str, Any]) -> None:
        lines.send(lines.up(self.pk), message)

    def _publish(self, line: bytes) -> None:
        lines.pass_on(lines.up(self.pk), line)
