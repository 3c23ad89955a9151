"""The two lines between pages and robots, through Valkey: down to a session's supervisor, up to all who watch.

What goes through here may be lost: Valkey may be restarted, a listener may come late. So it carries only what is in
PostgreSQL already (a hint, and the words with it so that nobody waits for a query), and what the next moment replaces
(states of the world, a driver's actions, who is there).
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from webapp.celery import app

LineDown = (RedisError, OSError, ValueError)
"""What is raised while Valkey cannot be reached."""

AGAIN_SECONDS = 0.5
"""After a failure, until the line is tried again: nobody waits for it at every word."""

log = logging.getLogger(__name__)


def down(session: int) -> str:
    """The channel that the session's supervisor listens to."""
    return f"kibitz:robots:{session}:down"


def up(session: int) -> str:
    """The channel that every web process with a watcher listens to."""
    return f"kibitz:robots:{session}:up"


def address() -> str:
    """Where the broker is, as its client wants it."""
    return app.conf.broker_url.replace("redis+socket://", "unix://")


def line() -> redis.Redis:
    """A connection for code that waits. Raises one of `LineDown`, here or at its first use."""
    return redis.Redis.from_url(address(), socket_timeout=5, socket_connect_timeout=2)


def async_line() -> redis.asyncio.Redis:
    """The same for an event loop. It never comes back by itself: who listens is to know that something was missed."""
    return redis.asyncio.Redis.from_url(address(), socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


_lines: dict[str, redis.Redis] = {}
_again_at: dict[str, float] = {}


def send(channel: str, message: dict[str, Any]) -> bool:
    """Sends it to whoever listens; False where the line is down, which loses nothing that must last."""
    return pass_on(channel, encoded(message))


def pass_on(channel: str, text: str | bytes) -> bool:
    """The same for what is encoded already."""
    if time.monotonic() < _again_at.get(address(), 0.0):
        return False
    try:
        # One for each address: its pool gives every thread a connection of its own.
        found = _lines.get(address()) or _lines.setdefault(address(), line())
        found.publish(channel, text)
    except LineDown as problem:
        log.warning("The line to the robots is down: %s", problem)
        _again_at[address()] = time.monotonic() + AGAIN_SECONDS
        return False
    return True


def encoded(message: dict[str, Any]) -> str:
    """As it goes through the line and to the pages; numbers that JSON does not have must be gone already."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
