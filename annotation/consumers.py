"""The socket of a study's page: its figures, whenever they change, to everyone who may see the study.

One task a study reads the tables, however many pages watch, and only while any does. What a page missed it does not
need: every message holds all the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.http import Http404

from annotation import live
from annotation.access import membership_for
from annotation.models import Role

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds between two readings
MOST_OFTEN = 20  # and at least so many times what a reading takes
MAY_STILL_EVERY = 60  # readings until a page's right to watch is looked up again


class Desk:
    """The pages of this process that watch one study, and the task that reads for them."""

    def __init__(self, study: int) -> None:
        self.study = study
        self.pages: set[StudyConsumer] = set()
        self.figures: dict[str, Any] | None = None
        self.task: asyncio.Task[None] | None = None

    def enter(self, page: StudyConsumer) -> None:
        self.pages.add(page)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._read())

    def leave(self, page: StudyConsumer) -> None:
        self.pages.discard(page)
        if not self.pages and self.task:
            self.task.cancel()
            desks.pop((asyncio.get_running_loop(), self.study), None)

    async def _read(self) -> None:
        while True:
            began = time.monotonic()
            try:
                found = await database_sync_to_async(live.figures)(self.study)
                if found != self.figures:
                    self.figures = found
                    await asyncio.gather(*(page.show(found) for page in list(self.pages)))
            except Exception:
                log.exception("The figures of study %s could not be read; trying again.", self.study)
            # A study so large that a reading takes its time is read less often.
            await asyncio.sleep(max(EVERY, MOST_OFTEN * (time.monotonic() - began)))


desks: dict[tuple[asyncio.AbstractEventLoop, int], Desk] = {}


class StudyConsumer(AsyncWebsocketConsumer):
    desk: Desk | None = None

    async def connect(self) -> None:
        self.user, self.study = self.scope["user"], int(self.scope["url_route"]["kwargs"]["pk"])
        if not self.user.is_authenticated or not await self._may():
            await self.close(code=4404)
            return
        await self.accept()
        here = (asyncio.get_running_loop(), self.study)
        self.desk = desks.setdefault(here, Desk(self.study))
        if self.desk.figures:
            await self.show(self.desk.figures)
        self.desk.enter(self)
        self.watch = asyncio.create_task(self._check_rights())

    async def disconnect(self, code: int) -> None:
        if self.desk:
            self.desk.leave(self)
            self.watch.cancel()

    async def show(self, figures: dict[str, Any]) -> None:
        figures = figures if self.reviews else live.for_everyone(figures)
        with contextlib.suppress(OSError, RuntimeError):  # the page is gone
            await self.send(text_data=json.dumps({"type": "figures", **figures}))

    async def _check_rights(self) -> None:
        """Who was shown out of a study is shown out of its figures."""
        while True:
            await asyncio.sleep(EVERY * MAY_STILL_EVERY)
            if not await self._may():
                await self.close(code=4404)
                return

    async def _may(self) -> bool:
        try:
            membership = await database_sync_to_async(membership_for)(self.user, self.study)
        except Http404:
            return False
        self.reviews = membership.may(Role.REVIEWER)
        return True
