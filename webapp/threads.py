"""Threads that requests run in, kept from one request to the next.

Django gives every request a thread of its own, and with it a database wrapper of its own. Making and ending both took
a sixth of the time of a label. A thread still serves one request at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import ThreadSensitiveContext

KEPT = 32
"""Idle threads beyond so many are ended."""


class Threads:
    """An ASGI application whose synchronous parts run in a kept thread."""

    def __init__(self, application) -> None:
        self.application = application
        self.idle: list[ThreadPoolExecutor] = []

    async def __call__(self, scope, receive, send) -> None:
        thread = self.idle.pop() if self.idle else ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.application(scope, receive, send)
        finally:
            if len(self.idle) < KEPT:
                self.idle.append(thread)
            else:
                thread.shutdown(wait=False)
