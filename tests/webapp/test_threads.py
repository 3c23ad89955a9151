"""The threads that requests run in: kept, never shared by two requests at once, never hoarded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async

from webapp.threads import KEPT, Threads

seen: list[tuple[int, float, float]] = []


async def application(scope, receive, send) -> None:
    """Does two things in its thread, as middleware and a view would."""

    def work() -> None:
        began = time.monotonic()
        time.sleep(0.005)
        seen.append((threading.get_ident(), began, time.monotonic()))

    await sync_to_async(work, thread_sensitive=True)()
    await sync_to_async(work, thread_sensitive=True)()
    if scope.get("fails"):
        raise ValueError("as asked")


async def ask(threads: Threads, **scope) -> None:
    await threads({"type": "http", **scope}, None, None)


def run(work: Coroutine) -> None:
    """In a thread of its own: a browser test that ran before may have left an event loop on this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def test_one_request_after_another_runs_in_the_same_thread_also_after_a_failure():
    seen.clear()
    threads = Threads(application)

    async def ask_thrice() -> None:
        for fails in (False, True, False):
            await asyncio.gather(ask(threads, fails=fails), return_exceptions=True)

    run(ask_thrice())
    assert len({thread for thread, *_ in seen}) == 1
    assert len(threads.idle) == 1


def test_requests_at_once_share_no_thread_and_those_beyond_what_is_kept_end():
    seen.clear()
    threads = Threads(application)
    many = KEPT + 8
    before = threading.active_count()

    async def ask_at_once() -> None:
        await asyncio.gather(*(ask(threads) for _ in range(many)))

    run(ask_at_once())
    by_thread: dict[int, list[tuple[float, float]]] = {}
    for thread, began, ended in seen:
        by_thread.setdefault(thread, []).append((began, ended))
    assert len(by_thread) == many
    assert len(threads.idle) == KEPT
    deadline = time.monotonic() + 10
    while threading.active_count() > before + KEPT and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before + KEPT
