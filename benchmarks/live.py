"""From a key to the robot, and from the robot to every page: latency, frames and CPU of live sessions, measured.

    python benchmarks/live.py [--watchers 1 10 50] [--seconds 20]

Everything is the real thing in processes of its own: PostgreSQL with fsync, Valkey, a Celery worker, the child that
is the robot (scripted, on TableTalk, ten steps a second), uvicorn, and websocket clients in this one. One client
steers: it presses a motion key at times that follow no rhythm, and the time until the state arrives that shows the
first action of that command is the key's. All of it runs on the same machine; CPU is the share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from uuid import uuid4

from parts import cpu as spent
from parts import free_port, served, started, studio

HELD = 0.25
"""Seconds for which a key is held."""
PAUSE = (0.4, 0.9)
"""Seconds between two keys, drawn anew each time."""
KEYS = ("left", "right", "up", "down")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--watchers", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    with studio():
        report([measure(watchers, asked.seconds) for watchers in asked.watchers])


# --- one measurement


def measure(watchers: int, seconds: float) -> dict:
    from django.db import connection

    session, cookie = prepare()
    port = free_port()
    connection.close()
    web = served(port)
    worker = started("-m", "celery", "-A", "webapp.celery", "worker", "--pool", "threads", "--concurrency", "2",
                     "--queues", "robots", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")  # fmt: skip
    try:
        return asyncio.run(watch(port, session, cookie, watchers, seconds, (web.pid, worker.pid)))
    finally:
        for part in (worker, web):
            part.terminate()
            part.wait(timeout=30)


def prepare() -> tuple[int, str]:
    """A study with a session that somebody steers, and the cookie they sign in with."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    from annotation.services import create_study
    from webapp.robots.services import start_session

    user = get_user_model().objects.create_user(username=f"user-{uuid4().hex[:8]}")
    study = create_study(name="Live", owner=user, interfaces=["hindsight", "driving"])
    session = start_session(study=study, by=user, world="table_talk", pilot="scripted", seed=3)
    client = Client()
    client.force_login(user)
    return session.pk, "; ".join(f"{key}={one.value}" for key, one in client.cookies.items())


async def watch(
    port: int, session: int, cookie: str, watchers: int, seconds: float, parts: tuple[int, int]
) -> dict:
    from websockets.asyncio.client import connect

    pages: list[list[tuple[float, int]]] = [[] for _ in range(watchers)]
    begun = asyncio.Event()
    keys = Keys()

    async def page(number: int) -> None:
        url = f"ws://127.0.0.1:{port}/ws/robots/{session}/"
        async with connect(
            url, additional_headers={"Cookie": cookie}, origin=f"http://127.0.0.1:{port}", compression=None,
            max_size=None,
        ) as line:  # fmt: skip
            if number == 0:
                keys.line = line
            async for text in line:
                now = time.monotonic()
                if text.startswith('{"type":"state"'):
                    state = json.loads(text)
                    pages[number].append((now, state["step"]))
                    if number == 0:
                        keys.saw(state, now)
                        begun.set()
                elif number == 0:
                    await keys.heard(json.loads(text))

    tasks = [asyncio.create_task(page(number)) for number in range(watchers)]
    await asyncio.wait_for(begun.wait(), 60)
    await asyncio.sleep(2)
    before, began = cpu(parts, session), time.monotonic()
    await keys.press(began + seconds)
    ended, after = time.monotonic(), cpu(parts, session)
    await keys.say("end", ref=str(uuid4()))
    await asyncio.sleep(2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    rates = [sum(began <= at <= ended for at, _ in one) / (ended - began) for one in pages]
    lost = [missing(one, began, ended) for one in pages]
    return {
        "watchers": watchers,
        "rates": (min(rates), max(rates)),
        "lost": sum(lost),
        "states": sum(len(one) for one in pages),
        "keys": sorted(keys.delays),
        "stored": sorted(keys.stored),
        "cpu": {name: (after[name] - before[name]) / (ended - began) for name in after},
    }


def missing(states: list[tuple[float, int]], began: float, ended: float) -> int:
    """Steps that a page was not shown; an episode that ends starts the count anew."""
    steps = [step for at, step in states if began <= at <= ended]
    return sum(max(0, two - one - 1) for one, two in zip(steps, steps[1:], strict=False) if two > one)


class Keys:
    """The client that steers: what it pressed, and when it saw what came of it."""

    def __init__(self) -> None:
        self.line = None
        self.pressed: tuple[str, float] | None = None
        self.id = ""
        self.delays: list[float] = []
        self.stored: list[float] = []

    async def press(self, until: float) -> None:
        chance = random.Random(0)
        while time.monotonic() < until:
            key, self.id = chance.choice(KEYS), ""
            ref = str(uuid4())
            self.pressed = (ref, time.monotonic())
            await self.say("motion", ref=ref, key=key, down=True)
            await asyncio.sleep(HELD)
            await self.say("motion", ref=str(uuid4()), key=key, down=False)
            await asyncio.sleep(chance.uniform(*PAUSE))

    async def heard(self, message: dict) -> None:
        if (
            message["type"] == "correction"
            and self.pressed
            and message["ref"] == self.pressed[0]
            and not self.id
        ):
            self.id = str(message["id"])
            self.stored.append(time.monotonic() - self.pressed[1])
        elif message["type"] == "episode_end":
            self.pressed = None
            await self.say("begin", ref=str(uuid4()))

    def saw(self, state: dict, now: float) -> None:
        if self.pressed and self.id and state["said"] == self.id:
            self.delays.append(now - self.pressed[1])
            self.pressed = None

    async def say(self, kind: str, **rest) -> None:
        await self.line.send(json.dumps({"type": kind, **rest}))


def cpu(parts: tuple[int, int], session: int) -> dict[str, float]:
    """Seconds of processor that each part has used so far."""
    import psutil

    web, worker = (psutil.Process(one) for one in parts)
    robot = next(one for one in worker.children(recursive=True) if "live" in one.cmdline())
    return {"web": spent(web), "worker": spent(worker), "robot": spent(robot)}


# --- in words


def report(results: list[dict]) -> None:
    print("| watchers | states a second, every page's | steps not shown | key to first changed action, p50 / p95 "
          "(keys) | key to stored, p50 / p95 | CPU of web / worker / robot |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for one in results:
        rates = f"{one['rates'][0]:.1f} to {one['rates'][1]:.1f}"
        keys = f"{ms(one['keys'], 0.5)} / {ms(one['keys'], 0.95)} ms ({len(one['keys'])})"
        stored = f"{ms(one['stored'], 0.5)} / {ms(one['stored'], 0.95)} ms"
        shares = " / ".join(f"{100 * one['cpu'][name]:.0f} %" for name in ("web", "worker", "robot"))
        print(
            f"| {one['watchers']} | {rates} | {one['lost']} of {one['states']:,} | {keys} | {stored} | {shares} |"
        )
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def ms(values: list[float], share: float) -> str:
    return f"{1000 * values[min(len(values) - 1, int(share * len(values)))]:.0f}" if values else "–"


if __name__ == "__main__":
    main()
