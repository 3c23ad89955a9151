"""The socket of a page: any number of runs over one connection, each from the row where the page stands.

A slow page gets fewer and larger messages, never fewer rows: its sender takes everything after the last row it
sent, joins it into one message, and waits until the network has taken that before it looks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.http import Http404

from webapp.runs.access import run_for
from webapp.runs.hub import Room, hub

log = logging.getLogger(__name__)

PACE = 0.04  # seconds between messages to one page: what comes meanwhile is joined
MAY_STILL_EVERY = 60.0  # seconds until a page's right to watch is looked up again
MOST_RUNS = 64


@dataclass(eq=False)
class View:
    """How far one page is with one run."""

    room: Room
    epoch: int
    sent: int  # the last row sent
    version: int = -1
    beats: int = 0
    series: int = 0
    sample_step: int = -1
    events: set[int] = field(default_factory=set)


class StreamConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(code=4401)
            return
        self.views: dict[int, View] = {}
        self.news = asyncio.Event()
        await self.accept()
        self.tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._check_rights())]

    async def disconnect(self, code: int) -> None:
        for task in getattr(self, "tasks", []):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        for run in list(getattr(self, "views", {})):
            self._close(run)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            asked = json.loads(text_data or "")
            op, run = asked["op"], int(asked["run"])
            epoch, after = int(asked.get("epoch") or 0), max(0, int(asked.get("after") or 0))
        except (ValueError, TypeError, KeyError):
            await self._say(
                {"type": "error", "run": None, "message": 'Expected {"op": "open", "run": 7, "after": 0}.'}
            )
            return
        if op == "open":
            await self._open(run, epoch, after)
        elif op == "close":
            self._close(run)
        else:
            await self._say({"type": "error", "run": run, "message": f"There is no op {op!r}: open, close."})

    async def _open(self, pk: int, epoch: int, after: int) -> None:
        self._close(pk)
        if len(self.views) >= MOST_RUNS:
            await self._say(
                {"type": "error", "run": pk, "message": f"One page watches {MOST_RUNS} runs at most."}
            )
            return
        try:
            run = await database_sync_to_async(run_for)(self.user, pk)
        except Http404:
            await self._refuse(pk)
            return
        if epoch != run.epoch or after > run.last_seq:
            await self._say({"type": "reset", "run": pk, "epoch": run.epoch})
            after = 0
        self.views[pk] = View(hub().enter(pk, run.method, self.news), run.epoch, after)

    def _close(self, run: int) -> None:
        view = self.views.pop(run, None)
        if view:
            hub().leave(view.room, self.news)

    async def _send(self) -> None:
        """Whenever there is news: words first, then rows. A message is on its way before the next is made."""
        try:
            while True:
                await self.news.wait()
                self.news.clear()
                await self._send_news()
                await asyncio.sleep(PACE)
        except OSError:
            return  # the page is gone
        except Exception:
            # The database is away, say. The page comes again, and goes on where it was.
            log.exception("A page's stream broke off.")
            await self.close(code=1011)

    async def _send_news(self) -> None:
        joined: list[bytes] = []
        for view in list(self.views.values()):
            if view.room.ready:
                # Rows are taken before the words are said: the words then name every series of these rows.
                rows, epoch = await self._rows(view), view.epoch
                await self._tell(view)
                if view.epoch == epoch and self.views.get(view.room.run) is view:
                    joined += rows
        if joined:
            await self.send(bytes_data=b"".join(joined))

    async def _rows(self, view: View) -> list[bytes]:
        room = view.room
        if view.epoch != room.epoch or view.sent >= room.last_seq:
            return []
        pieces = room.recent(view.sent)
        if pieces is None:
            pieces = await hub().history(room.run, view.epoch, view.sent)
            pieces = [piece for piece in pieces if piece.seq_to <= room.last_seq]
        if not pieces:
            return []
        view.sent = pieces[-1].seq_to
        if view.sent < room.last_seq:
            self.news.set()
        return [piece.frame for piece in pieces]

    async def _tell(self, view: View) -> None:
        """What changed beside the rows: epoch, state, series, events, samples."""
        room = view.room
        if view.epoch < room.epoch:
            view.epoch, view.sent = room.epoch, 0
            self.news.set()
            await self._say({"type": "reset", "run": room.run, "epoch": room.epoch})
        if view.version != room.version:
            view.version = room.version
            await self._say({"type": "run", **room.state, "last_seq": room.last_seq, "now": time.time()})
        elif view.beats != room.beats:
            beat = {name: room.state[name] for name in ("run", "status", "step", "worker", "workers_alive")}
            await self._say({"type": "heartbeat", **beat, "last_seq": room.last_seq, "now": time.time()})
        view.beats = room.beats
        if view.series < len(room.series):
            fresh = room.series[view.series :]
            view.series = len(room.series)
            await self._say({"type": "series", "run": room.run, "series": fresh})
        if len(view.events) < len(room.events):
            news = [event for event in room.events if event["id"] not in view.events]
            view.events.update(event["id"] for event in news)
            await self._say({"type": "events", "run": room.run, "events": news})
        if view.sample_step != room.sample_step:
            view.sample_step = room.sample_step
            await self._say({"type": "samples", "run": room.run, "step": room.sample_step})

    async def _check_rights(self) -> None:
        """Who was shown out of a study is shown out of its streams."""
        while True:
            await asyncio.sleep(MAY_STILL_EVERY)
            for run in list(self.views):
                try:
                    await database_sync_to_async(run_for)(self.user, run)
                except Http404:
                    self._close(run)
                    await self._refuse(run)

    async def _refuse(self, run: int) -> None:
        await self._say(
            {"type": "error", "run": run, "message": f"There is no run {run}, or it is not yours to see."}
        )

    async def _say(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message))
