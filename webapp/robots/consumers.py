"""The socket of a session: what the robot does, to everybody who may see it; what they say, to the robot.

Each message with a `ref` is answered by an `ack` with it, or by a `problem` with it. One that comes twice is done once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError
from django.http import Http404

from annotation.errors import Conflict, Invalid
from webapp.robots import lines, messages, services
from webapp.robots.access import MAY_WATCH, session_for
from webapp.robots.flood import Flood, Slowed
from webapp.robots.hub import Watcher, hub
from webapp.robots.models import Said
from webapp.strict_parser import check, parse

LONGEST_MESSAGE = 64 * 1024
MAY_STILL_EVERY = 60.0
FIRST_SECONDS = 0.4
"""For a state of the world to come before a page is greeted without a fresh one."""
NOT_FOUND, TOO_MUCH, COME_AGAIN = 4404, 4429, 1013
DatabaseAway = (OperationalError, InterfaceError)

log = logging.getLogger(__name__)


class RobotConsumer(AsyncWebsocketConsumer):
    room = None

    async def connect(self) -> None:
        self.user, self.pk = self.scope["user"], int(self.scope["url_route"]["kwargs"]["pk"])
        self.tasks: list[asyncio.Task] = []
        session = await self._session() if self.user.is_authenticated else None
        if session is None:
            await self.close(code=NOT_FOUND)
            return
        await self.accept()
        self.name, self.flood = self.user.username, Flood()
        self.watcher = Watcher(self.name)
        # First into the room, then the tables: what happens in between comes twice, but never not at all.
        self.room = await hub().enter(session, self.watcher)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.room.first.wait(), FIRST_SECONDS)
        try:
            greeted = await self._greet()
        except BaseException:
            await hub().leave(self.room, self.watcher)  # nobody will say that this page is gone
            raise
        if greeted:
            self.tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._check_rights())]

    async def _greet(self) -> bool:
        """All that the page needs to begin, or to go on where it may have missed something; or it has to go."""
        try:
            hello = await database_sync_to_async(self._hello)()
        except (Http404, *DatabaseAway) as problem:
            await self.close(code=NOT_FOUND if isinstance(problem, Http404) else COME_AGAIN)
            return False
        state = json.loads(self.room.state) if self.room.state else {}
        if state.get("number") == hello["session"]["number"]:
            hello |= {"state": state["state"], "step": state["step"], "picture": state.get("picture")}
        hello["watchers"] = len(self.room.everybody())
        await self._say(hello)
        self.room.people = ""
        self.room.tell_people()
        return True

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        if self.room:
            await hub().leave(self.room, self.watcher)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.room:
            return
        ref = None
        try:
            said = self._read(text_data)
            ref = said.get("ref")
            check(said)
            await self._not_too_fast(said["type"])
            await self._obey(said)
        except Slowed:
            await self._problem("You send far more than anybody could mean. The connection is closed.", ref)
            await self.close(code=TOO_MUCH)
        except (Conflict, Invalid, Http404) as problem:
            await self._problem(str(problem), ref)
        except DatabaseAway as problem:
            log.warning("A message to session %s waits for the database: %s", self.pk, problem)
            # Without an answer to its ref: the page comes again until somebody takes it, and then sends it anew.
            await self._problem(
                "The database cannot be reached. What you said is sent again when it is back.", None
            )
            await self.close(code=COME_AGAIN)
        except Exception:
            log.exception("A message to session %s could not be taken.", self.pk)
            await self._problem("That could not be done now. Try again in a moment.", ref)

    # --- reading

    def _read(self, text: str | None) -> dict[str, Any]:
        if text is None:
            raise Invalid("Expected text with a JSON object.")
        if len(text) > LONGEST_MESSAGE:
            raise Invalid(f"That message has {len(text):,} characters; the most is {LONGEST_MESSAGE:,}.")
        try:
            said = parse(text)
        except (ValueError, RecursionError):
            raise Invalid("That is no JSON.") from None
        if not isinstance(said, dict) or said.get("type") not in MESSAGES:
            raise Invalid(f"Expected an object whose type is one of {', '.join(MESSAGES)}.")
        ref = said.get("ref")
        if ref is not None and not is_uuid(ref):
            said["ref"] = None
            raise Invalid(f"Found {str(ref)[:60]!r} as ref; expected a UUID.")
        return said

    async def _not_too_fast(self, kind: str) -> None:
        wait, first = self.flood.wait(kind, time.monotonic())
        if first:
            await self._problem("You send more than can be followed; it is taken more slowly.", None)
        if wait:
            await asyncio.sleep(wait)

    async def _obey(self, said: dict[str, Any]) -> None:
        ref, kind = said.get("ref"), said["type"]
        self.here = self.room.everybody()
        keyed = kind in ("say", "motion", "understand", "record")  # these know their refs themselves
        if keyed and ref is None:
            raise Invalid(f"A message of type {kind} needs a ref: a UUID made for it.", field="ref")
        if kind == "drive":
            await self._drive(said)
        elif keyed or ref is None or self.room.is_new(self.name, ref):
            try:
                answer = await database_sync_to_async(MESSAGES[kind])(self, said)
            except BaseException:
                if ref is not None:
                    self.room.refs.pop((self.name, ref), None)  # not done: sent again, it is tried again
                raise
            if answer is not None:
                await self._say(answer)
        if ref is not None:
            await self._say({"type": "ack", "ref": ref})

    async def _drive(self, said: dict[str, Any]) -> None:
        """Straight to the robot: by who steers, as this process knows it."""
        if self.room.steerer != self.name:
            raise Conflict(f"{self.room.steerer or 'Nobody'} steers. Ask for the wheel first.")
        action = said.get("action")
        if not isinstance(action, list) or len(action) > 64 or not all(is_number(one) for one in action):
            raise Invalid("Expected an action: a list of numbers from -1 to 1.", field="action")
        await hub().send(lines.down(self.pk), {"type": "drive", "action": action})

    # --- what may be said, each in a thread of the database

    def _hello(self) -> dict[str, Any]:
        session = session_for(self.user, self.pk)
        return messages.hello(session, session.takes.last(), self.name)

    def _mine(self):
        return session_for(self.user, self.pk)

    def understand(self, said: dict[str, Any]) -> dict[str, Any]:
        meant = services.understand(session=self._mine(), text=text_of(said))
        return {"type": "understood", "ref": said["ref"], **meant.told()}

    def say(self, said: dict[str, Any]) -> dict[str, Any]:
        command = said.get("command") or ""
        if not isinstance(command, str):
            raise Invalid("Expected the command as text.", field="command")
        done = services.say(
            session=self._mine(), by=self.user, ref=UUID(said["ref"]), text=text_of(said), command=command
        )
        if isinstance(done, Said):
            return {"type": "correction", **messages.correction(done)}
        return {"type": "understood", "ref": said["ref"], **done.told()}

    def motion(self, said: dict[str, Any]) -> dict[str, Any] | None:
        key = said.get("key")
        if not isinstance(key, str) or not isinstance(said.get("down"), bool):
            raise Invalid("Expected a key, and whether it is down: true or false.", field="key")
        if not said["down"]:
            services.let_go(session=self._mine(), by=self.user, key=key)
            return None
        done = services.say(
            session=self._mine(), by=self.user, ref=UUID(said["ref"]), text="", key=key, held=True
        )
        return {"type": "correction", **messages.correction(done)}

    def hand_back(self, said: dict[str, Any]) -> None:
        services.hand_back(session=self._mine(), by=self.user)

    def pause(self, said: dict[str, Any]) -> None:
        services.pause(session=self._mine(), by=self.user)

    def resume(self, said: dict[str, Any]) -> None:
        services.resume(session=self._mine(), by=self.user)

    def steer(self, said: dict[str, Any]) -> None:
        services.steer(session=self._mine(), by=self.user, here=self.here)

    def give(self, said: dict[str, Any]) -> None:
        services.give(session=self._mine(), by=self.user, to=str(said.get("to", "")), here=self.here)

    def record(self, said: dict[str, Any]) -> None:
        services.record(session=self._mine(), by=self.user, ref=UUID(said["ref"]))

    def discard(self, said: dict[str, Any]) -> None:
        services.discard(session=self._mine(), by=self.user)

    def trim(self, said: dict[str, Any]) -> None:
        services.trim(session=self._mine(), by=self.user, start=said.get("start"), stop=said.get("stop"))

    def mark(self, said: dict[str, Any]) -> None:
        if not isinstance(said.get("success"), bool):
            raise Invalid("Expected success: true or false.", field="success")
        stages = said.get("stages") or {}
        services.mark(session=self._mine(), by=self.user, success=said["success"], stages=stages)

    def begin(self, said: dict[str, Any]) -> None:
        seed, ref = said.get("seed"), said.get("ref")
        if seed is not None and type(seed) is not int:
            raise Invalid(f"Found the seed {str(seed)[:40]!r}; expected a whole number.", field="seed")
        services.begin(session=self._mine(), by=self.user, ref=UUID(ref) if ref else None, seed=seed)

    def end(self, said: dict[str, Any]) -> None:
        services.end(session=self._mine(), by=self.user)

    # --- sending

    async def _send(self) -> None:
        """Whenever there is news. A message is on its way before the next is taken: a slow page gets newer states."""
        try:
            while True:
                await self.watcher.news.wait()
                self.watcher.news.clear()
                if self.watcher.behind:
                    await self.close(code=COME_AGAIN)
                    return
                if self.watcher.anew:
                    self.watcher.anew = False
                    self.watcher.all()  # it is in the tables that the page is greeted from
                    if not await self._greet():
                        return
                for text in self.watcher.all():
                    await self.send(text_data=text)
        except (OSError, RuntimeError):
            return  # the page is gone

    async def _check_rights(self) -> None:
        """Who was shown out of a study is shown out of its sessions."""
        while True:
            await asyncio.sleep(MAY_STILL_EVERY)
            with contextlib.suppress(*DatabaseAway):  # then it is asked again the next time
                if await self._session() is None:
                    await self.close(code=NOT_FOUND)
                    return

    async def _session(self):
        try:
            return await database_sync_to_async(session_for)(self.user, self.pk, MAY_WATCH)
        except Http404:
            return None

    async def _problem(self, text: str, ref: str | None) -> None:
        await self._say({"type": "problem", "text": text, "ref": ref})

    async def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the page is gone
            await self.send(text_data=lines.encoded(message))


MESSAGES: dict[str, Callable[[RobotConsumer, dict[str, Any]], dict[str, Any] | None]] = {
    name: getattr(RobotConsumer, name)
    for name in ("understand", "say", "motion", "hand_back", "pause", "resume", "steer", "give", "record",
                 "discard", "trim", "mark", "begin", "end")
} | {"drive": lambda page, said: None}  # fmt: skip


def text_of(said: dict[str, Any]) -> str:
    text = said.get("text")
    if not isinstance(text, str):
        raise Invalid("Expected text: what the robot is to do.", field="text")
    return text


def is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e6 < value < 1e6
