"""Models that take part in live conversations: kept warm by a worker, in a process of their own.

A person's message is an `Exchange` that waits for answers. A worker takes it up (a task sent by name, on the queue
that no training waits in), asks the study's newest policy and the one before it, and stores what they say. The
policies live in a child, `python -m trainers serve`, one for each set of policies: so that no worker imports torch,
and a crash or an out-of-memory takes down nothing else. A child that nobody asked for ten minutes is closed.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import transaction

from annotation import exchanges
from annotation.models import Exchange, Study
from webapp.runs.alone import alone
from webapp.runs.models import Artifact, Worker

TIMEOUT_SECONDS = 60.0
IDLE_SECONDS = 600.0
LOST_AFTER = timedelta(seconds=15)
AGAIN_SECONDS = 30.0
SENDING_AGAIN = 0x1B19  # the advisory lock of the sweep
SAMPLING = {"temperature": 1.0, "max_new_tokens": 200}
NOT_FOR_CHILDREN = ("DATABASE_URL", "BROKER_URL", "KIBITZ_SECRET_KEY", "DJANGO_SETTINGS_MODULE")
NO_MODEL = (
    "This study has no model to talk with yet. A researcher trains a policy, or brings one with manage.py "
    "register_model or the API; then ask again."
)
TOO_SLOW = (
    "No answer came within {} seconds. Ask again; if that happens again, tell whoever runs the study that its models "
    "are too slow for a conversation."
)
# What the model itself says could tell which one it is: that is for the worker's log.
REFUSED = (
    "The models cannot answer this. Perhaps the conversation has grown too long for them: take your message back, and "
    "finish or say less. The worker's log says more."
)
LOADING = "The models are still being loaded. Ask again in a minute."
BROKEN = (
    "The models ended without an answer ({}). Ask again; if that happens again, tell whoever runs this studio to read "
    "logs/chat.log."
)

log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """No model answered; the message is for whoever waits."""


class Ended(Exception):
    """The child is gone."""


# --- what a worker is asked


@shared_task(name="runs.converse")
def converse(exchange: int) -> None:
    """Answers an exchange. A message that comes twice, or too late, finds nothing to do."""
    with exchanges.answering(exchange) as mine:
        found = exchanges.waiting(exchange) if mine else None
        if found is None:
            return
        try:
            answers = answers_to(found)
        except NoAnswer as problem:
            exchanges.fail(exchange, str(problem))
        except Exception as problem:
            log.exception("Exchange %s cannot be answered.", exchange)
            exchanges.fail(exchange, BROKEN.format(problem))
        else:
            if not exchanges.take_answers(exchange, answers):
                log.info("Exchange %s was taken back before its answers came.", exchange)


def answers_to(exchange: Exchange) -> list[exchanges.Answer]:
    """As many answers as the exchange wants: from the newest policy and its rival, or all from the only one."""
    rivals = rivals_of(exchange.assignment.study)
    if not rivals:
        raise NoAnswer(NO_MODEL)
    item = exchange.assignment.task.item
    turns = exchanges.turns_of(exchange.assignment_id)
    messages = exchanges.messages_before(item, turns[: exchange.number], exchange.said)
    asked = []
    for number in range(exchange.wanted):
        place = number % len(rivals)
        asked.append({"messages": messages, "policy": place, "seed": secrets.randbits(31), **SAMPLING})
    texts = pool.ask([one.location for one in rivals], asked)
    return [
        exchanges.Answer(
            text=text,
            policy=rivals[request["policy"]].name,
            sampling={
                "artifact": rivals[request["policy"]].pk,
                "run": rivals[request["policy"]].run_id,
                "seed": request["seed"],
                **SAMPLING,
            },
        )
        for request, text in zip(asked, texts, strict=True)
    ]


def rivals_of(study: Study) -> list[Artifact]:
    """The study's newest policy and the one before it; fewer where there are fewer."""
    return list(Artifact.objects.filter(study=study, kind=Artifact.Kind.POLICY).order_by("-pk")[:2])


# --- the children


class Child:
    """`python -m trainers serve` with its policies in memory. One thread asks at a time."""

    def __init__(self, policies: tuple[Path, ...]) -> None:
        self.asking = threading.Lock()
        self.used_at = time.monotonic()
        self.ready = False
        self.read = b""
        environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_CHILDREN}
        environment |= {
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        logs = settings.KIBITZ_HOME / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / "chat.log").open("ab") as console:
            self.process = subprocess.Popen(
                self.command(policies),
                cwd=settings.BASE_DIR,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                start_new_session=True,
            )

    def command(self, policies: tuple[Path, ...]) -> list[str]:
        """What the child is started as. When this process ends, so does its standard input, and so does the child."""
        return [sys.executable, "-m", "trainers", "serve", *map(str, policies)]

    def ask(self, requests: list[dict[str, Any]], until: float) -> list[str]:
        """The first text of each request, in order. Ended where the child is gone, NoAnswer where it is too slow."""
        if not self.asking.acquire(timeout=max(0.0, until - time.monotonic())):
            raise NoAnswer(TOO_SLOW.format(round(TIMEOUT_SECONDS)))
        try:
            self._wait_until_ready(until)
            return self._answers(requests, until)
        finally:
            self.used_at = time.monotonic()
            self.asking.release()

    def _wait_until_ready(self, until: float) -> None:
        while not self.ready:
            said = self._line(until)
            if said is None:
                raise NoAnswer(LOADING)  # it goes on loading: a large model takes its time, once
            self.ready = "ready" in said

    def _answers(self, requests: list[dict[str, Any]], until: float) -> list[str]:
        lines = [json.dumps({**request, "id": number}) + "\n" for number, request in enumerate(requests)]
        try:
            self.process.stdin.write("".join(lines).encode())
            self.process.stdin.flush()
        except OSError:
            raise Ended(self._how()) from None
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(requests):
            said = self._line(until)
            if said is None:
                self.kill()  # what it is at cannot be called off in any other way
                raise NoAnswer(TOO_SLOW.format(round(TIMEOUT_SECONDS)))
            found[said["id"]] = said
        for said in found.values():
            if "problem" in said:
                log.warning("A model refused a conversation: %s", said["problem"])
                raise NoAnswer(REFUSED)
        return [found[number]["texts"][0] for number in range(len(requests))]

    def _line(self, until: float) -> dict[str, Any] | None:
        """The next line that the child says; None when the time is up."""
        pipe = self.process.stdout.fileno()
        while b"\n" not in self.read:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            read = os.read(pipe, 65536)
            if not read:
                raise Ended(self._how())
            self.read += read
        line, _, self.read = self.read.partition(b"\n")
        return json.loads(line)

    def _how(self) -> str:
        code = self.process.wait()
        return f"code {code}" if code >= 0 else signal.Signals(-code).name

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()


class Pool:
    """The children of this worker, by their policies."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.children: dict[tuple[Path, ...], Child] = {}

    def ask(self, policies: list[Path], requests: list[dict[str, Any]]) -> list[str]:
        """The text for each request. A child that died is started again, once."""
        for path in policies:
            if not path.exists():
                log.error("The model %s is gone. Every worker needs the same KIBITZ_HOME.", path)
                raise NoAnswer(
                    "A model of this study is not on the machine that should run it. Tell whoever runs this studio."
                )
        until = time.monotonic() + TIMEOUT_SECONDS
        how = ""
        for _ in range(2):
            try:
                return self._child(tuple(policies)).ask(requests, until)
            except Ended as ended:
                how = str(ended)
                log.warning("The models of a conversation ended (%s).", how)
        raise NoAnswer(BROKEN.format(how))

    def _child(self, policies: tuple[Path, ...]) -> Child:
        with self.lock:
            child = self.children.get(policies)
            if child is None or child.process.poll() is not None:
                child = self.children[policies] = Child(policies)
            return child

    def close_idle(self, after: float = IDLE_SECONDS) -> int:
        """Ends the children that nobody asked for a while. Returns how many."""
        closed = 0
        with self.lock:
            for policies, child in list(self.children.items()):
                if time.monotonic() - child.used_at >= after and child.asking.acquire(blocking=False):
                    child.kill()
                    del self.children[policies]
                    closed += 1
        return closed


pool = Pool()


# --- the sweep

_sent_again: dict[int, float] = {}


def send_again() -> int:
    """Sends what no worker took up: its message was lost, or the worker died at it. Returns how many."""
    with transaction.atomic():
        if not Worker.objects.alive().taking("jobs").exists() or not alone(SENDING_AGAIN):
            return 0
        now = time.monotonic()
        for exchange, at in list(_sent_again.items()):
            if now - at > AGAIN_SECONDS:
                del _sent_again[exchange]
        lost = [
            one
            for one in exchanges.unanswered(LOST_AFTER)
            if one not in _sent_again and not exchanges.being_answered(one)
        ]
    for exchange in lost:
        _sent_again[exchange] = now
        exchanges.send(exchange)
    return len(lost)
