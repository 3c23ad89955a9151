"""One listener a web process: takes each message of a robot once, and hands the same text to every page that watches.

A page that is slow gets the newest state of the world, not every one, and all other messages, each in its place. Who
is there is said by every web process for its own pages, twice a second: the supervisors listen too, and pause a robot
whose steerer is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from webapp.robots import lines
from webapp.robots.messages import status
from webapp.robots.models import HELD, Session

HERE_EVERY = 0.5
LOOK_EVERY = 2.0
SILENT = timedelta(seconds=4)
"""A supervisor that wrote nothing for so long is said to be lost; the sweep takes its session back soon after."""
ELSEWHERE_SECONDS = 2.5
MOST_WAITING = 2000
MOST_REFS = 2000
CUT = ("lost", "Valkey cannot be reached, so nothing new is shown.")
"""What is said of every session while the line is down."""
STATE = '{"type":"state"'
LISTENING = "kibitz:robots"

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Watcher:
    """One page: what it has yet to be sent."""

    name: str
    news: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: deque[str] = field(default_factory=deque)
    state: str = ""
    behind: bool = False
    """So far that it must come anew."""
    anew: bool = False
    """It missed what nobody can send it again: it is to be greeted."""

    def take(self, text: str, is_state: bool) -> None:
        if is_state:
            self.state = text
        else:
            if self.state:  # what came before a message stays before it
                self.waiting.append(self.state)
                self.state = ""
            self.waiting.append(text)
            self.behind = self.behind or len(self.waiting) > MOST_WAITING
        self.news.set()

    def all(self) -> list[str]:
        """Takes out what is to be sent now."""
        found = [*self.waiting, *([self.state] if self.state else [])]
        self.waiting.clear()
        self.state = ""
        return found


@dataclass(eq=False)
class Room:
    """A session that somebody watches here."""

    session: int
    watchers: set[Watcher] = field(default_factory=set)
    state: str = ""
    steerer: str | None = None
    asking: list[str] = field(default_factory=list)
    now: tuple[str, str] = ("", "")
    elsewhere: dict[str, tuple[float, list[str]]] = field(default_factory=dict)
    people: str = ""
    refs: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def everybody(self) -> list[str]:
        """The names of all who watch, here and at other web processes."""
        still = time.monotonic() - ELSEWHERE_SECONDS
        others = (names for at, names in self.elsewhere.values() if at > still)
        return sorted({one.name for one in self.watchers} | {name for names in others for name in names})

    def hand(self, text: str, is_state: bool = False) -> None:
        for one in self.watchers:
            one.take(text, is_state)

    def tell(self, message: dict[str, Any]) -> None:
        self.hand(lines.encoded(message))

    def stands(self, now: tuple[str, str]) -> None:
        """How the session stands: told where it changed."""
        if now != self.now:
            self.now = now
            self.tell(status(*now))

    def greet(self) -> None:
        for one in self.watchers:
            one.anew = True
            one.news.set()

    def tell_people(self) -> None:
        """To everybody, where it changed."""
        said = {
            "type": "people",
            "steerer": self.steerer,
            "watchers": self.everybody(),
            "asking": self.asking,
        }
        text = lines.encoded(said)
        if text != self.people:
            self.people = text
            self.hand(text)

    def is_new(self, name: str, ref: str) -> bool:
        """Whether this message of this person was not taken yet; from now on it was."""
        if (name, ref) in self.refs:
            return False
        self.refs[name, ref] = None
        while len(self.refs) > MOST_REFS:
            self.refs.popitem(last=False)
        return True


class Hub:
    def __init__(self) -> None:
        self.web = secrets.token_hex(8)
        self.rooms: dict[int, Room] = {}
        self.ears: Any = None
        self.line: Any = None
        self.cut = False
        """Whether the line was lost: what was said meanwhile is in the tables alone."""

    async def enter(self, session: Session, watcher: Watcher) -> Room:
        room = self.rooms.get(session.pk)
        if room is None:
            room = self.rooms[session.pk] = Room(session.pk)
            room.steerer = session.steerer.username if session.steerer else None
            room.asking, room.now = session.asking, (session.status, session.why)
            room.watchers.add(watcher)  # before anything is waited for: nobody leaves an empty room behind
            await self._subscribe(room)
        room.watchers.add(watcher)
        room.tell_people()
        await self._say_here(room)
        return room

    async def leave(self, room: Room, watcher: Watcher) -> None:
        room.watchers.discard(watcher)
        await self._say_here(room)
        room.tell_people()
        if not room.watchers and self.rooms.get(room.session) is room:
            del self.rooms[room.session]
            if self.ears is not None:
                try:
                    await self.ears.unsubscribe(lines.up(room.session))
                except lines.LineDown:
                    log.info("Valkey is away; the line is made again.")

    async def send(self, channel: str, message: dict[str, Any]) -> bool:
        if self.line is None:
            return False
        try:
            await self.line.publish(channel, lines.encoded(message))
        except lines.LineDown:
            return False
        return True

    async def _subscribe(self, room: Room) -> None:
        if self.ears is None:
            return  # it is made now, with all rooms
        try:
            await self.ears.subscribe(lines.up(room.session))
        except lines.LineDown:
            return
        await self.send(lines.down(room.session), {"type": "now"})

    # --- what it does for as long as its process lives

    async def live(self) -> None:
        async with asyncio.TaskGroup() as group:
            for duty in (self._listen, self._here, self._look):
                group.create_task(self._keep(duty))

    async def _keep(self, duty: Any) -> None:
        while True:
            try:
                await duty()
            except lines.LineDown as problem:
                log.warning("The line to the robots is down: %s", problem)
            except (OperationalError, InterfaceError) as problem:
                log.warning("The watch over the robots waits for the database: %s", problem)
            except Exception:
                log.exception("The watch over the robots stumbled, and goes on.")
            await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        line = lines.async_line()
        try:
            async with line.pubsub() as ears:
                asked = set(self.rooms)
                await ears.subscribe(LISTENING, *(lines.up(one) for one in asked))
                self.ears, self.line = ears, line
                if late := set(self.rooms) - asked:  # entered while the line was made
                    await ears.subscribe(*(lines.up(one) for one in late))
                for one, room in list(self.rooms.items()):
                    await self.send(lines.down(one), {"type": "now"})
                    if self.cut:
                        room.greet()
                self.cut = False
                async for message in ears.listen():
                    if message["type"] == "message":
                        self._take(message["channel"].decode(), message["data"].decode())
        finally:
            self.ears = self.line = None
            self.cut = True
            for room in self.rooms.values():
                room.stands(CUT)
            await line.aclose()

    def _take(self, channel: str, text: str) -> None:
        room = self.rooms.get(int(channel.split(":")[2])) if channel != LISTENING else None
        if room is None:
            return
        if text.startswith(STATE):
            room.state = text
            room.first.set()
            room.hand(text, is_state=True)
            return
        message = json.loads(text)
        match message["type"]:
            case "here":
                if message["web"] != self.web:
                    room.elsewhere[message["web"]] = (time.monotonic(), message["names"])
                    room.tell_people()
            case "steerer":
                room.steerer, room.asking = message["steerer"], message["asking"]
                room.tell_people()
            case "status":
                room.now = (message["status"], message["why"])
                room.hand(text)
            case _:
                room.hand(text)

    async def _here(self) -> None:
        while True:
            for room in list(self.rooms.values()):
                await self._say_here(room)
                room.tell_people()
            await asyncio.sleep(HERE_EVERY)

    async def _say_here(self, room: Room) -> None:
        names = sorted({one.name for one in room.watchers})
        await self.send(lines.up(room.session), {"type": "here", "web": self.web, "names": names})

    async def _look(self) -> None:
        """How do the watched sessions stand in the table? Finds lost words, and supervisors that fell silent."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self.rooms:
                continue
            for row in await database_sync_to_async(_rows)(list(self.rooms)):
                room = self.rooms.get(row["pk"])
                if room is None:
                    continue
                now = (row["status"], row["why"])
                if row["status"] in HELD and row["silent"]:
                    now = ("lost", "Nothing was heard of the robot's worker for some seconds.")
                room.stands(CUT if self.cut else now)
                room.steerer, room.asking = row["steerer__username"], row["asking"]
                room.tell_people()


def _rows(sessions: list[int]) -> list[dict[str, Any]]:
    # By the clock of the database, which writes the heartbeats.
    silent = ExpressionWrapper(Q(heartbeat_at__lt=Now() - SILENT), BooleanField())
    found = Session.objects.filter(pk__in=sessions).annotate(silent=silent)
    return list(found.values("pk", "status", "why", "silent", "steerer__username", "asking"))


_running: tuple[asyncio.AbstractEventLoop, Hub, asyncio.Task] | None = None


def hub() -> Hub:
    """This process's hub, started when first asked for."""
    global _running
    loop = asyncio.get_running_loop()
    if _running is None or _running[0] is not loop:
        new = Hub()
        _running = (loop, new, loop.create_task(new.live(), name="robots"))
    return _running[1]
