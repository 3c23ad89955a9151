"""Requests run whole in one thread each, and the threads are kept from one request to the next.

Every view and every middleware here is synchronous. Django's own handler would still walk a request through several
threads and back, with a thread and a database wrapper made for it alone: together nearly half the time of a label.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context

from asgiref.sync import ThreadSensitiveContext
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.urls import set_script_prefix

KEPT = 32
"""Idle threads beyond so many are ended."""


class Pages(ASGIHandler):
    """Django's ASGI handler, but for where the work is done."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: list[ThreadPoolExecutor] = []

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope, receive, send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        thread = self.idle.pop() if self.idle else ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            # In a context of its own, so that nothing that a request sets is found by the next one.
            response = await asyncio.get_running_loop().run_in_executor(
                thread, copy_context().run, self.respond, scope, body
            )
            if response.streaming:
                async with ThreadSensitiveContext(executor=thread):
                    await self.stream(response, receive, send)
                await asyncio.get_running_loop().run_in_executor(thread, response.close)
            else:
                await self.send_response(response, send)
        finally:
            if len(self.idle) < KEPT:
                self.idle.append(thread)
            else:
                thread.shutdown(wait=False)

    def respond(self, scope, body) -> HttpResponseBase:
        """A request from its beginning to its answer, which is closed unless it has yet to be made as it is sent."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        with body:
            request, refused = self.create_request(scope, body)
            response = self.get_response(request) if request is not None else refused
        response._handler_class = self.__class__
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if isinstance(response, HttpResponse):
            response.close()
        return response

    async def stream(self, response: HttpResponseBase, receive, send) -> None:
        """Sends an answer as it is made, until all is sent or nobody listens."""
        sending = asyncio.create_task(self.send_response(response, send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        with suppress(asyncio.CancelledError, RequestAborted):
            await leaving
        if not sending.done():
            sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
