"""What the benchmarks of the live site stand on: a studio of their own, and its parts as processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def studio(broker: str = "") -> Iterator[None]:
    """A new home with a PostgreSQL that has fsync on and all tables, and Django set up for it.

    `broker` is the address to send to; left out, a Valkey is started.
    """
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="kibitz-bench-"))
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
        os.environ |= {"KIBITZ_HOME": folder, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        if broker:
            os.environ["BROKER_URL"] = broker
        sys.path.insert(0, str(ROOT))
        from webapp import embedded

        running.enter_context(embedded.database())
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        if not broker:
            valkey = embedded.valkey_server()
            valkey.start()
            running.callback(valkey.stop)
        yield


def started(*arguments: str, piped: bool = False) -> subprocess.Popen[str]:
    """A Python of its own; `piped` where what it prints is to be read."""
    out = subprocess.PIPE if piped else None
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=out, text=True)


def served(port: int) -> subprocess.Popen[str]:
    """The site on this port: it answers when this returns."""
    options = ("--port", str(port), "--lifespan", "off", "--log-level", "warning")
    web = started("-m", "uvicorn", "webapp.asgi:application", *options, "--ws-per-message-deflate", "false")
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return web
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu(process) -> float:
    """Seconds of processor that it has used so far."""
    times = process.cpu_times()
    return times.user + times.system
