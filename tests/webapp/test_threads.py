"""The threads that requests run in: kept, never shared by two requests at once, never hoarded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from webapp.threads import KEPT, Pages

SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
View = Callable[[HttpRequest], HttpResponseBase]


class Site(Pages):
    """One view, and no middleware."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def load_middleware(self, is_async: bool = False) -> None:
        self.get_response = lambda request: self.view(request)


class Browser:
    """Asks, and keeps what it is sent; `leaves` once so many parts of the answer are there."""

    def __init__(self, leaves: int | None = None) -> None:
        self.sent: list[dict] = []
        self.leaves, self.left, self.asked = leaves, asyncio.Event(), False

    async def receive(self) -> dict:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        self.sent.append(message)
        if len(self.sent) - 1 == self.leaves:
            self.left.set()

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.sent)


async def ask(site: Pages, leaves: int | None = None) -> Browser:
    browser = Browser(leaves)
    await site(SCOPE, browser.receive, browser.send)
    return browser


def run(work: Coroutine) -> None:
    """In a thread of its own: a browser test that ran before may have left an event loop on this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def test_one_request_after_another_runs_in_the_same_thread_also_after_a_failure():
    seen: list[int] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(threading.get_ident())
        if len(seen) == 2:
            raise ValueError("as asked")
        return HttpResponse("told")

    site = Site(view)

    async def ask_thrice() -> None:
        for _ in range(3):
            await asyncio.gather(ask(site), return_exceptions=True)

    run(ask_thrice())
    assert len(seen) == 3 and len(set(seen)) == 1
    assert len(site.idle) == 1


def test_requests_at_once_share_no_thread_and_those_beyond_what_is_kept_end():
    by_thread: dict[int, int] = {}

    def view(request: HttpRequest) -> HttpResponse:
        by_thread[threading.get_ident()] = by_thread.get(threading.get_ident(), 0) + 1
        time.sleep(0.2)
        return HttpResponse("told")

    site = Site(view)
    many = KEPT + 8
    before = threading.active_count()

    async def ask_at_once() -> None:
        found = await asyncio.gather(*(ask(site) for _ in range(many)))
        assert all(one.body == b"told" for one in found)

    run(ask_at_once())
    assert len(by_thread) == many and set(by_thread.values()) == {1}
    assert len(site.idle) == KEPT
    deadline = time.monotonic() + 10
    while threading.active_count() > before + KEPT and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before + KEPT


def test_what_a_request_leaves_in_its_context_is_not_there_for_the_next():
    left: ContextVar[str] = ContextVar("left", default="nothing")
    found: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append(left.get())
        left.set("something")
        return HttpResponse("told")

    site = Site(view)

    async def ask_twice() -> None:
        await ask(site)
        await ask(site)

    run(ask_twice())
    assert found == ["nothing", "nothing"]


def streaming(seen: list[int], closed: list[int], parts: int) -> View:
    """A view whose answer is made as it is sent, each part in the request's own thread."""

    async def content():
        for number in range(parts):
            seen.append(await sync_to_async(threading.get_ident)())
            yield f"{number} "

    class Answer(StreamingHttpResponse):
        def close(self) -> None:
            closed.append(threading.get_ident())
            super().close()

    def view(request: HttpRequest) -> HttpResponseBase:
        seen.append(threading.get_ident())
        return Answer(content())

    return view


def test_an_answer_made_as_it_is_sent_is_made_and_closed_in_the_thread_of_its_request():
    seen: list[int] = []
    closed: list[int] = []
    site = Site(streaming(seen, closed, parts=3))
    answers: list[Browser] = []

    async def ask_once() -> None:
        answers.append(await ask(site))

    run(ask_once())
    assert answers[0].body == b"0 1 2 "
    assert len(seen) == 4 and set(seen) == set(closed) and len(closed) == 1
    assert len(site.idle) == 1


def test_no_more_is_made_for_who_has_left():
    seen: list[int] = []
    closed: list[int] = []
    site = Site(streaming(seen, closed, parts=100_000))

    async def ask_and_leave() -> None:
        await asyncio.wait_for(ask(site, leaves=3), timeout=30)

    run(ask_and_leave())
    assert len(seen) < 50_000 and len(closed) == 1
    assert len(site.idle) == 1
