"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn

# Playwright's synchronous interface keeps an event loop on the main thread, where Django would refuse to query.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@dataclass
class Site:
    """The real ASGI application, served on a port of its own over the test database."""

    url: str
    server: uvicorn.Server


@pytest.fixture
def site(transactional_db: None) -> Iterator[Site]:
    config = uvicorn.Config(
        "webapp.asgi:application", host="127.0.0.1", port=0, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="site", daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("The site did not start within 20 s; its log is above.")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(url=f"http://127.0.0.1:{port}", server=server)
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(autouse=True)
def files_of_its_own(settings, tmp_path) -> None:
    """Each test keeps its files apart from every other's; as on a new machine, no folder is there yet."""
    settings.KIBITZ_HOME = tmp_path / "home"
    settings.KIBITZ_HOME.mkdir()
    for name in ("snapshots", "runs", "models", "episodes", "uploads"):
        setattr(settings, name.upper(), settings.KIBITZ_HOME / name)
