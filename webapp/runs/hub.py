"""One listener a web process: reads each new chunk once, and hands the same bytes to every socket that watches.

PostgreSQL's NOTIFY is a hint and never data. A lost hint costs at most the second until the next look; a lost
connection is made again, and everything is looked at. Sockets are woken, and each takes what comes after the
last row it sent: from the ring of newest chunks, or, further back, from the table.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connections
from psycopg.rows import dict_row

from webapp.runs import frames, messages
from webapp.runs.models import SILENT_AFTER
from webapp.runs.progress import CHANNEL

RING_CHUNKS = 2000
RING_BYTES = 16 * 2**20
MESSAGE_BYTES = (
    2**20
)  # a longer history goes in several messages, so that nobody's memory has to hold it whole
LOOK_EVERY = 1.0
HEARTBEAT_EVERY = 5.0
# What a page must be told at once when it changes; the rest goes with the next heartbeat.
TOLD_AT_ONCE = ("epoch", "status", "reason", "total", "workers_alive", "queue_position")

HISTORY = """
SELECT seq_from, seq_to, frame FROM (
    SELECT seq_from, seq_to, frame, sum(octet_length(frame)) OVER (ORDER BY seq_to) - octet_length(frame) AS before
      FROM runs_chunk WHERE run_id = %(run)s AND epoch = %(epoch)s AND seq_to > %(after)s
     ORDER BY seq_to LIMIT 512
) AS piece WHERE before < %(bytes)s ORDER BY seq_to
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Some rows of a run, in the bytes that go over the wire."""

    seq_from: int
    seq_to: int
    frame: bytes


@dataclass(eq=False)
class Room:
    """What a web process knows of a run that somebody watches."""

    run: int
    method: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    version: int = 0  # of what is told at once
    beats: int = 0
    epoch: int = 0
    last_seq: int = 0
    ring: deque[Piece] = field(default_factory=deque)
    ring_bytes: int = 0
    series: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    sample_step: int = -1
    watchers: set[asyncio.Event] = field(default_factory=set)
    ready: bool = False

    def wake(self) -> None:
        for watcher in self.watchers:
            watcher.set()

    def begin(self, epoch: int, last_seq: int) -> None:
        """Forgets an epoch that is over; history comes from the table."""
        self.epoch, self.last_seq = epoch, last_seq
        self.ring.clear()
        self.ring_bytes = 0

    def add(self, piece: Piece) -> None:
        self.ring.append(piece)
        self.ring_bytes += len(piece.frame)
        while len(self.ring) > RING_CHUNKS or self.ring_bytes > RING_BYTES:
            self.ring_bytes -= len(self.ring.popleft().frame)
        self.last_seq = piece.seq_to

    def recent(self, after: int) -> list[Piece] | None:
        """What follows row `after`, as far as one message goes; None where the ring no longer reaches back to it."""
        if not self.ring or after + 1 < self.ring[0].seq_from:
            return None
        found: list[Piece] = []
        for piece in reversed(self.ring):
            if piece.seq_to <= after:
                break
            found.append(piece)
        return within(found[::-1], MESSAGE_BYTES)


class Reader:
    """One connection for one question at a time, made when first needed and again when it was lost."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.connection: psycopg.AsyncConnection | None = None

    async def ask(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        async with self.turn:
            if self.connection is None or self.connection.closed:
                self.connection = await psycopg.AsyncConnection.connect(
                    **address(), autocommit=True, row_factory=dict_row
                )
            cursor = self.connection.cursor(binary=True)  # bytes as they are, not as text
            try:
                return await (await cursor.execute(query, values)).fetchall()
            except BaseException:
                await self.close()  # a cancelled question would leave its answer for the next
                raise

    async def close(self) -> None:
        if self.connection:
            await self.connection.close()


class Hub:
    def __init__(self) -> None:
        self.rooms: dict[int, Room] = {}
        self.behind: set[int] = set()  # runs with new rows to read
        self.changed: set[int] = set()  # runs whose row, series, events or samples changed
        self.work = asyncio.Event()
        self.own = Reader()
        self.histories = Reader()  # long answers, which the hub's own short questions need not wait for

    def enter(self, run: int, method: str, wake: asyncio.Event) -> Room:
        """The run's room, which is `ready` a moment later. `wake` is set whenever there is news, until one leaves."""
        room = self.rooms.get(run)
        if room is None:
            room = self.rooms[run] = Room(run, method)
            self._look(changed={run})
        room.watchers.add(wake)
        wake.set()
        return room

    def leave(self, room: Room, wake: asyncio.Event) -> None:
        room.watchers.discard(wake)
        if not room.watchers and self.rooms.get(room.run) is room:
            del self.rooms[room.run]

    async def history(self, run: int, epoch: int, after: int) -> list[Piece]:
        """The rows after row `after` from the table, a message's worth."""
        pieces = await self._pieces(self.histories, run, epoch, after)
        if pieces and pieces[0].seq_from <= after:
            first = pieces[0]
            pieces[0] = Piece(after + 1, first.seq_to, frames.after(first.frame, first.seq_from, after))
        return pieces

    async def _pieces(self, reader: Reader, run: int, epoch: int, after: int) -> list[Piece]:
        rows = await reader.ask(HISTORY, {"run": run, "epoch": epoch, "after": after, "bytes": MESSAGE_BYTES})
        return [Piece(row["seq_from"], row["seq_to"], bytes(row["frame"])) for row in rows]

    # What the hub itself does, for as long as its process lives.

    async def live(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for duty in (self._listen, self._look_again, self._read):
                    group.create_task(self._keep(duty))
        finally:
            await self.own.close()
            await self.histories.close()

    async def _keep(self, duty) -> None:
        """Does a duty again and again: the database may go away and come back."""
        while True:
            try:
                await duty()
            except (psycopg.Error, OSError) as problem:
                log.warning("The stream waits for the database: %s", problem)
                await asyncio.sleep(1)
            except Exception:
                log.exception("The stream stumbled, and goes on.")
                await asyncio.sleep(1)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(**address(), autocommit=True) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._look(changed=set(self.rooms))  # what was said while nobody listened
            async for notice in connection.notifies():
                kind, _, rest = notice.payload.partition(":")
                run, *position = (int(part) for part in rest.split(":"))
                room = self.rooms.get(run)
                if room is None:
                    continue
                if kind == "run":
                    self._look(changed={run})
                elif position[0] != room.epoch or position[1] > room.last_seq:
                    self._look(behind={run})

    async def _look_again(self) -> None:
        """Each second: how do the watched runs stand? Finds lost hints, silent workers and new epochs."""
        beat = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            beat += LOOK_EVERY
            await self._states(set(self.rooms))
            if beat >= HEARTBEAT_EVERY:
                beat = 0.0
                for room in self.rooms.values():
                    room.beats += 1
                    room.wake()

    async def _read(self) -> None:
        while True:
            await self.work.wait()
            self.work.clear()
            changed, behind = self.changed, self.behind
            self.changed, self.behind = set(), set()
            try:
                if changed:
                    await self._states(changed)
                for run in changed & self.rooms.keys():
                    await self._rest(self.rooms[run])
                for run in (behind | self.behind) & self.rooms.keys():
                    await self._rows(self.rooms[run])
            except BaseException:
                self._look(changed=changed, behind=behind)
                raise

    def _look(self, *, changed: set[int] = frozenset(), behind: set[int] = frozenset()) -> None:
        self.changed |= changed
        self.behind |= behind
        self.work.set()

    async def _states(self, runs: set[int]) -> None:
        if not runs:
            return
        for row in await self.own.ask(messages.STATE, {"runs": list(runs), "silent_after": SILENT_AFTER}):
            room = self.rooms.get(row["run"])
            if room is None:
                continue
            state = messages.state(row)
            if not room.state or state["epoch"] != room.epoch:
                room.begin(state["epoch"], state["last_seq"])
                room.version += 1
            elif state["last_seq"] > room.last_seq:
                self._look(behind={room.run})
            if _news(room.state) != _news(state):
                room.version += 1
                room.state = state
                room.wake()
            room.state = state

    async def _rest(self, room: Room) -> None:
        """Series, events and samples of a run that said it changed."""
        known = [event["id"] for event in room.events]
        events = await self.own.ask(messages.EVENTS, {"run": room.run, "known": known})
        samples = await self.own.ask(messages.NEWEST_SAMPLE, {"run": room.run})
        await self._series(room)
        room.events += [messages.event(row) for row in events]
        room.sample_step = samples[0]["step"]
        room.ready = True
        room.wake()

    async def _series(self, room: Room) -> None:
        rows = await self.own.ask(messages.SERIES, {"run": room.run})
        room.series = [messages.series(row["index"], row["name"], room.method) for row in rows]

    async def _rows(self, room: Room) -> None:
        epoch = room.epoch
        while pieces := await self._pieces(self.own, room.run, epoch, room.last_seq):
            # Series commit with the rows that first use them, so those of these rows are there by now.
            if max(max(frames.ids(piece.frame), default=-1) for piece in pieces) >= len(room.series):
                await self._series(room)
            if room.epoch != epoch:
                return
            for piece in pieces:
                room.add(piece)
            room.wake()


def within(pieces: list[Piece], limit: int) -> list[Piece]:
    """The first pieces, up to `limit` bytes and one at least."""
    size = 0
    for index, piece in enumerate(pieces):
        size += len(piece.frame)
        if size > limit and index:
            return pieces[:index]
    return pieces


def address() -> dict[str, Any]:
    """Where Django's database is, for connections that Django does not make."""
    settings = connections["default"].settings_dict
    given = {"host": settings["HOST"], "port": settings["PORT"], "dbname": settings["NAME"]}
    given |= {"user": settings["USER"], "password": settings["PASSWORD"]}
    options = {key: value for key, value in settings["OPTIONS"].items() if key not in NOT_FOR_LIBPQ}
    return {
        **{key: value for key, value in given.items() if value},
        **options,
        "application_name": "kibitz stream",
    }


NOT_FOR_LIBPQ = ("pool", "server_side_binding", "isolation_level", "assume_role")


def _news(state: dict[str, Any]) -> tuple[Any, ...]:
    worker = state.get("worker")
    return *(state.get(name) for name in TOLD_AT_ONCE), worker and worker["name"]


_running: tuple[asyncio.AbstractEventLoop, Hub, asyncio.Task] | None = None


def hub() -> Hub:
    """This process's hub, started when first asked for."""
    global _running
    loop = asyncio.get_running_loop()
    if _running is None or _running[0] is not loop:
        new = Hub()
        _running = (loop, new, loop.create_task(new.live(), name="hub"))
    return _running[1]
