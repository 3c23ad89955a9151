"""The whole studio with one command: database, broker, web server, worker, demo. Ctrl-C stops what it started.

Whatever dies is started again, so a `kill -9` of any part costs seconds. Runs go on from their last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from webapp import embedded
from webapp.accounts.models import LoginLink

PYTHON = [sys.executable]
STOP_SECONDS = 20


@dataclass
class Part:
    """A process that has to be there: started, looked after, and stopped at the end."""

    name: str
    command: list[str]
    process: subprocess.Popen | None = None
    started: float = 0.0
    failures: int = field(default=0)

    def start(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches this command alone, which then stops the parts in order.
            self.process = subprocess.Popen(
                self.command,
                env=environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait_before_restart(self) -> float:
        """Seconds: none after a long life, up to 30 for a part that falls over at once."""
        self.failures = 0 if time.monotonic() - self.started > 60 else self.failures + 1
        return min(30.0, 2.0**self.failures - 1) if self.failures > 1 else 0.0


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []  # `migrate` below makes them, once
    requires_migrations_checks = False

    def add_arguments(self, parser) -> None:
        parser.add_argument("--no-demo", action="store_true", help="do not create the demo study")

    def handle(self, *, no_demo: bool, **options) -> None:
        try:
            with embedded.studio_lock():
                self.run(demo=not no_demo)
        except RuntimeError as problem:
            raise CommandError(str(problem)) from problem

    def run(self, *, demo: bool) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us with `&` ignores it
        self.logs = settings.KIBITZ_HOME / "logs"
        self.logs.mkdir(exist_ok=True)
        self.environment = {
            **os.environ,
            "DATABASE_URL": os.environ.get("DATABASE_URL") or embedded.postgres_url(),
            "BROKER_URL": settings.CELERY_BROKER_URL,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
        }
        self.valkey = None if os.environ.get("BROKER_URL") else embedded.valkey_server()
        parts = [
            self.web(),
            self.worker("train", "cpu", settings.KIBITZ_SLOTS),
            self.worker("jobs", "jobs", 2),
            self.worker("robots", "robots", settings.KIBITZ_ROBOTS),
        ]
        try:
            if self.valkey:
                self.valkey.start()
            call_command("migrate", verbosity=0, interactive=False)
            for part in parts:
                part.start(self.environment, self.log_of(part))
            owner = first_account()
            if demo:
                call_command("demo", owner=owner.username, stdout=self.stdout)
                call_command("demo_robot", owner=owner.username, stdout=self.stdout)
            self.wait_until_served(parts[0])
            link = LoginLink.issue(owner, minutes=24 * 60)
            self.stdout.write(f"Kibitz is ready: {site_url()}/accounts/enter/{link}/  (Ctrl-C stops it)")
            self.stdout.flush()
            self.look_after(parts)
        except (KeyboardInterrupt, SystemExit):
            self.stdout.write("\nStopping.")
        finally:
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # an impatient second Ctrl-C must leave no part behind
            self.stop(parts)

    def web(self) -> Part:
        options = ["--host", "127.0.0.1", "--port", str(settings.KIBITZ_PORT), "--lifespan", "off"]
        quiet = [
            "--log-level",
            "warning",
            "--timeout-graceful-shutdown",
            "3",
            "--ws-per-message-deflate",
            "false",
            # A connection that vanished without a word is noticed within seconds: somebody may steer a robot by it.
            "--ws-ping-interval",
            "3",
            "--ws-ping-timeout",
            "5",
        ]
        return Part("web", [*PYTHON, "-m", "uvicorn", "webapp.asgi:application", *options, *quiet])

    def worker(self, name: str, queues: str, slots: int) -> Part:
        options = [
            "--pool",
            "threads",
            "--concurrency",
            str(slots),
            "--queues",
            queues,
            "--hostname",
            f"{name}@%h",
        ]
        quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        return Part(
            f"worker-{name}", [*PYTHON, "-m", "celery", "-A", "webapp.celery", "worker", *options, *quiet]
        )

    def log_of(self, part: Part) -> Path:
        return self.logs / f"{part.name}.log"

    def wait_until_served(self, web: Part) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{site_url()}/accounts/login/", timeout=2).close()
                return
            except OSError as problem:
                if web.dead() or time.monotonic() > deadline:
                    raise CommandError(
                        f"The web server did not answer on port {settings.KIBITZ_PORT} ({problem}). Is the port taken? "
                        f"Set KIBITZ_PORT to another. Its log is {self.log_of(web)}."
                    ) from problem
                time.sleep(0.1)

    def look_after(self, parts: list[Part]) -> None:
        restart_at: dict[str, float] = {}
        while True:
            time.sleep(0.5)
            if os.environ.get("KIBITZ_EMBEDDED_DATABASE") and not embedded.postgres_url():
                self.stdout.write("PostgreSQL was gone: starting it again.")
                embedded.start_postgres()
            if self.valkey and not self.valkey.is_running():
                self.stdout.write("Valkey was gone: starting it again.")
                self.valkey.terminate()
                self.valkey.start()
            for part in parts:
                if not part.dead():
                    continue
                if part.name not in restart_at:
                    wait = part.wait_before_restart()
                    restart_at[part.name] = time.monotonic() + wait
                    when = f"in {wait:.0f} s" if wait else "now"
                    self.stdout.write(
                        f"{part.name} ended ({part.process.returncode}): starting again {when}. "
                        f"Log: {self.log_of(part)}"
                    )
                if time.monotonic() >= restart_at[part.name]:
                    del restart_at[part.name]
                    part.start(self.environment, self.log_of(part))

    def stop(self, parts: list[Part]) -> None:
        alive = [part for part in parts if not part.dead()]
        for part in alive:
            part.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for part in alive:
            try:
                part.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(part.process.pid, signal.SIGKILL)
                part.process.wait()
        if self.valkey and self.valkey.is_running():
            self.valkey.stop()


def site_url() -> str:
    return f"http://127.0.0.1:{settings.KIBITZ_PORT}"


def first_account():
    """The owner of a fresh studio: no password, signed in by the link that is printed."""
    users = get_user_model().objects
    owner = users.filter(is_superuser=True).order_by("pk").first()
    if owner is None:
        owner = users.create_superuser(username="owner", password=None)
    return owner
