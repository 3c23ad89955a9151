"""A run on a worker: claim its row, start the child that trains, carry what it says, and see it to its end.

The child is a process of its own, so that a crash or an out-of-memory takes down one run. What this supervisor
knows is in PostgreSQL and in the run's home; killed at any moment, another supervisor goes on from there. Each
attempt has a number, and PostgreSQL takes writes from the newest alone.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.metadata
import json
import logging
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from annotation.snapshots import Damaged, verify
from trainers import journal, store
from webapp.celery import app
from webapp.runs import artifacts
from webapp.runs.chat import NOT_FOR_CHILDREN
from webapp.runs.models import Command, Run, RunInput, Status
from webapp.runs.progress import Carrier, Superseded, note, nudge
from webapp.runs.services import machine, tell_ended
from webapp.runs.workers import presence

TICK_SECONDS = 1.0
MOST_STRIKES = 3
SAVE_GRACE_SECONDS = 12.0  # to save and stop when the worker shuts down
LOCK_SECONDS = 20.0
STOPPED = 3  # the child's exit code after a stop
LOST = 75  # its exit code when one of its processes was killed: trainers.processes.LOST, which would import torch

log = logging.getLogger(__name__)
T = TypeVar("T")


class CannotGoOn(Exception):
    """The run cannot be trained here as it stands; the message says what to mend."""


@app.task(name="trainers.train")
def train(run: int) -> None:
    """Trains a queued run to its end. A message that comes twice, or too late, finds nothing to claim."""
    claimed = None if presence.closing.is_set() else claim(run)
    if claimed is None:
        log.info("Run %s is not waiting for a worker: nothing to do.", run)
        return
    try:
        Supervision(claimed).see_through()
    except Superseded as reason:
        log.warning("%s This worker lets go of it.", reason)
    finally:
        close_old_connections()


def claim(pk: int) -> Run | None:
    """Takes a queued run for this worker, or finds that somebody else has it."""
    taken = Run.objects.filter(pk=pk, status=Status.QUEUED).update(
        status=Status.RUNNING,
        reason="",
        worker=presence.name,
        attempt=F("attempt") + 1,
        heartbeat_at=Now(),
        started_at=Coalesce("started_at", Now()),
    )
    if not taken:
        return None
    nudge(f"run:{pk}")
    return Run.objects.select_related("snapshot", "study").get(pk=pk)


@dataclass
class Child:
    process: subprocess.Popen
    nudges: int  # the reading end of its pipe: a byte for news, the end of the file when it is gone

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def news(self, timeout: float) -> None:
        """Returns when the child has written something, has ended, or the time is up."""
        if self.nudges < 0:
            time.sleep(min(timeout, 0.05))  # its pipe is closed: it is ending
        elif select.select([self.nudges], [], [], timeout)[0] and not os.read(self.nudges, 65536):
            self.close()

    def close(self) -> None:
        if self.nudges >= 0:
            os.close(self.nudges)
            self.nudges = -1


class Supervision:
    """One worker's hold on one run, over as many attempts as it takes."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.home: Path = run.home
        self.offset = 0
        self.ticked = 0.0
        self.closing_since: float | None = None

    def see_through(self) -> None:
        try:
            self._prepare()
            while self._again(self._attempt()):
                self.run.refresh_from_db()
        except CannotGoOn as problem:
            self._end(Status.FAILED, str(problem))
        except (Superseded, OperationalError, InterfaceError):
            raise
        except Exception as problem:
            log.exception("Run %s cannot be supervised.", self.run.pk)
            self._end(Status.FAILED, f"The worker could not go on with it: {problem}")

    # --- before the child ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        run = self.run
        self._see_that_it_gets_further()
        if storage := self._scale().get("storage"):
            store.fetch_longer(f"{storage}/journal.bin", self.home / "journal.bin")
        if run.last_seq and not (self.home / "journal.bin").exists():
            # Its files are gone (another machine, another disk): it begins anew, and says so.
            self._hold(epoch=F("epoch") + 1, last_seq=0, step=0, report={})
            run.series.update(last_step=None, last=None, minimum=None, maximum=None, count=0)
            Command.objects.filter(run=run).update(applied_step=None)
            text = "The run's files are gone: it begins again from nothing, as a new epoch"
            note(run, key=f"epoch-{run.attempt}", kind="restart", text=text)
        known = {
            "commit": commit(),
            "versions": versions(),
            "host": socket.gethostname(),
            "threads": threads(),
        }
        self._hold(provenance={**known, **run.provenance})
        run.refresh_from_db()
        self.inputs = {
            one.role: one.artifact for one in RunInput.objects.filter(run=run).select_related("artifact")
        }
        for role, artifact in self.inputs.items():
            check(role, artifact)
        if run.snapshot:
            try:
                verify(run.snapshot)
            except Damaged as problem:
                raise CannotGoOn(str(problem)) from problem

    def _write_spec(self, nudge_fd: int) -> Path:
        run = self.run
        inputs = {role: str(artifact.location) for role, artifact in self.inputs.items()}
        spec = {
            "run": run.pk,
            "attempt": run.attempt,
            "epoch": run.epoch,
            "method": run.method,
            "config": run.config,
            "seed": run.seed,
            "snapshot": str(run.snapshot.folder) if run.snapshot else None,
            "inputs": {**inputs, **({"gold": run.gold} if run.gold else {})},
            "sources": {
                role: {
                    "artifact": one.pk,
                    "run": one.run_id,
                    "name": one.name,
                    "digest": one.digest,
                    "step": one.step,
                }
                for role, one in self.inputs.items()
            },
            "home": str(self.home),
            "episodes": str(settings.EPISODES),
            "threads": run.provenance["threads"],
            "device": "cuda" if run.queue == "gpu" else "cpu",
            "nudge_fd": nudge_fd,
            "parent": os.getpid(),
            **self._scale(),
        }
        path = self.home / "spec.json"
        coming = path.with_suffix(".coming")
        coming.write_text(json.dumps(spec, indent=1))
        coming.rename(path)
        return path

    def _scale(self) -> dict[str, object]:
        """What works together on the run, as was asked for, and where the run's files are mirrored."""
        asked = self.run.provenance
        names = ("processes", "sharding", "nodes", "rendezvous", "sampler", "precision")
        found = {name: asked[name] for name in names if name in asked}
        if storage := os.environ.get("KIBITZ_STORAGE"):
            found["storage"] = f"{storage.rstrip('/')}/runs/{self.run.pk}-{self.run.created_at:%Y%m%d%H%M%S}"
        return found

    def _write_control(self) -> None:
        """What the child is to obey, or to do again where it did it before: not what was overtaken by an end."""
        commands = Command.objects.filter(run=self.run).exclude(kind=Command.Kind.KILL)
        commands = commands.filter(Q(applied_at=None) | Q(applied_step__isnull=False)).order_by("pk")
        self.forwarded = {command.pk for command in commands}
        (self.home / "control.jsonl").write_bytes(b"".join(line(command) for command in commands))

    def command(self, spec: Path) -> list[str]:
        """What the child is started as."""
        return [sys.executable, "-m", "trainers", "run", str(spec)]

    def _start(self) -> Child:
        reading, writing = os.pipe()
        environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_CHILDREN}
        count = str(self.run.provenance["threads"])
        environment |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE"}
        environment.setdefault("KIBITZ_CACHE", str(settings.KIBITZ_HOME / "cache"))
        environment |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        try:
            with the_only_child(self.home) as lock, (self.home / "console.log").open("ab") as console:
                console.write(f"--- attempt {self.run.attempt} on {presence.name}\n".encode())
                console.flush()
                process = subprocess.Popen(
                    self.command(self._write_spec(writing)),
                    cwd=settings.BASE_DIR,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(writing, lock),
                )
                os.pwrite(lock, json.dumps({"machine": machine(), "pid": process.pid}).encode().ljust(200), 0)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return Child(process, reading)

    # --- while it runs ------------------------------------------------------------------------------

    def _attempt(self) -> int:
        """One child from start to end: its exit code."""
        run = self.run
        self._hold(strikes=F("strikes") + 1)
        self.carrier = Carrier(run, run.attempt)
        self.offset = 0
        self._carry()  # what an earlier supervisor had no time for
        self.carrier.outcome.forget()
        self._write_control()
        self.killed_by = ""
        child = self._start()
        try:
            while child.process.poll() is None:
                child.news(TICK_SECONDS)
                self._carry()
                self._tick(child)
            self._carry()
        except BaseException:
            child.kill()
            raise
        finally:
            child.close()
        return child.process.returncode

    def _carry(self) -> None:
        entries, self.offset = journal.read(self.home / "journal.bin", self.offset)
        if entries:
            insist(lambda: self.carrier.carry(entries))

    def _tick(self, child: Child) -> None:
        """Once a second: a sign of life, and what people ask of the run."""
        if time.monotonic() - self.ticked < TICK_SECONDS:
            return
        self.ticked = time.monotonic()
        insist(self._hold)
        if presence.closing.is_set():
            self._close(child)
        commands = insist(
            lambda: list(
                Command.objects.filter(run=self.run, applied_at=None).select_related("by").order_by("pk")
            )
        )
        for command in commands:
            if command.kind == Command.Kind.KILL:
                self.killed_by = str(command.by or "")
                child.kill()
                return
            if command.pk not in self.forwarded:
                with (self.home / "control.jsonl").open("ab", buffering=0) as control:
                    control.write(line(command))
                self.forwarded.add(command.pk)

    def _close(self, child: Child) -> None:
        """The worker shuts down: the run saves and stops, and is killed when that takes too long."""
        if self.closing_since is None:
            self.closing_since = time.monotonic()
            args = {"because": "the worker shut down"}
            insist(lambda: Command.objects.create(run=self.run, kind=Command.Kind.STOP, args=args))
        elif time.monotonic() - self.closing_since > SAVE_GRACE_SECONDS:
            child.kill()

    # --- after the child ----------------------------------------------------------------------------

    def _again(self, code: int) -> bool:
        """Writes down how the attempt ended; says whether the run goes on with another."""
        outcome = self.carrier.outcome
        asked_to_stop = insist(self._status) == Status.STOPPING
        if code == 0:
            self._end(Status.FINISHED, "")
        elif asked_to_stop:
            how = f"Killed by {self.killed_by}." if self.killed_by else "" if code == STOPPED else died(code)
            self._end(Status.STOPPED, how)
        elif self.closing_since is not None:
            self._give_back()
        elif code == STOPPED:
            self._end(Status.STOPPED, "")
        elif outcome.failure or (code > 0 and code != LOST):
            # Of several processes, some may have been killed for waiting when one had failed: what it said counts.
            self._end(Status.FAILED, outcome.failure or f"{died(code)} Its last words:\n{self._last_words()}")
        else:
            self._see_that_it_gets_further()
            text = f"{died(code)} It goes on from its last checkpoint"
            insist(lambda: note(self.run, key=f"restart-{self.run.attempt}", kind="restart", text=text))
            insist(lambda: self._hold(attempt=F("attempt") + 1))
            return True
        return False

    def _hold(self, **values: object) -> None:
        """Writes to the run where this attempt still holds it, and says that it lives."""
        if not Run.objects.mine(self.run.pk, self.run.attempt).update(heartbeat_at=Now(), **values):
            raise Superseded(f"Run {self.run.pk} is no longer held by attempt {self.run.attempt}.")

    def _see_that_it_gets_further(self) -> None:
        """A run that dies at the same place again and again would die there forever."""
        strikes = insist(lambda: Run.objects.values_list("strikes", flat=True).get(pk=self.run.pk))
        if strikes >= MOST_STRIKES:
            raise CannotGoOn(
                f"The process died {strikes} times without getting further. Its last words:\n{self._last_words()}"
            )

    def _status(self) -> str:
        return Run.objects.values_list("status", flat=True).get(pk=self.run.pk)

    def _end(self, status: Status, reason: str) -> None:
        def write() -> None:
            with transaction.atomic():
                self._hold(status=status, reason=reason, finished_at=Now())
                Command.objects.filter(run=self.run, applied_at=None).update(applied_at=Now())
                text = {"finished": "Finished", "stopped": "Stopped", "failed": "Failed"}[status]
                text += f": {reason.splitlines()[0]}" if reason else ""
                note(self.run, key=f"{status}-{self.run.attempt}", kind=status, text=text)
                tell_ended(self.run, status, reason)

        insist(write)

    def _give_back(self) -> None:
        def write() -> None:
            with transaction.atomic():
                self._hold(status=Status.QUEUED, worker="", strikes=0, sent_at=None)
                Command.objects.filter(run=self.run, applied_at=None, by=None).update(applied_at=Now())
                text = "The worker shut down: the run waits for another, and goes on where it stopped"
                note(self.run, key=f"given-back-{self.run.attempt}", kind="worker_lost", text=text)

        insist(write)

    def _last_words(self, most: int = 2000) -> str:
        with (self.home / "console.log").open("a+b") as console:
            console.seek(max(0, os.fstat(console.fileno()).st_size - most))
            return console.read().decode("utf-8", "replace").replace("\x00", "").strip()


def insist(action: Callable[[], T]) -> T:
    """Does it, waiting as long as the database is away. What is done here may be done twice without harm."""
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError) as problem:
            if presence.closing.is_set():
                raise
            log.warning("The run waits for the database, and trains on: %s", problem)
            connection.close()
            time.sleep(1)


@contextmanager
def the_only_child(home: Path) -> Iterator[int]:
    """A lock that the child inherits and holds for as long as it lives: no two ever write one journal.

    Where the child of a supervisor that lost the run still lives on this machine, it is ended.
    """
    lock = os.open(home / "child.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                with suppress(ValueError, KeyError, ProcessLookupError):
                    holder = json.loads(os.pread(lock, 200, 0))
                    if holder["machine"] == machine():
                        os.killpg(holder["pid"], signal.SIGKILL)
                if time.monotonic() > deadline:
                    raise CannotGoOn(
                        f"An earlier process of this run still holds {home / 'child.lock'}, on another machine. "
                        "End it there, then resume the run."
                    ) from None
                time.sleep(0.1)
        yield lock
    finally:
        os.close(lock)


def line(command: Command) -> bytes:
    """A command as the child reads it; labels with the place where this worker finds them."""
    args = command.args
    if command.kind == Command.Kind.LABELS:
        args = {**args, "folder": str(settings.SNAPSHOTS / args["digest"])}
    return json.dumps({"id": command.pk, "kind": command.kind, "args": args}).encode() + b"\n"


def check(role: str, artifact) -> None:
    """A model must be the one that was chosen, to the byte."""
    if not artifact.location.exists():
        raise CannotGoOn(
            f"The {role} ({artifact.name}) is not at {artifact.location}. Every worker needs the same KIBITZ_HOME."
        )
    found, _ = artifacts.digest_of(artifact.location)
    if found != artifact.digest:
        raise CannotGoOn(
            f"The {role} ({artifact.name}) has changed since it was made: its SHA-256 is {found}, expected "
            f"{artifact.digest}. Bring the original files back to {artifact.location}, or choose another model."
        )


def died(code: int) -> str:
    if code == LOST:
        return "One of its processes was killed or could not be reached, perhaps for want of memory."
    if code > 0:
        return f"The process ended with code {code}."
    name = signal.Signals(-code).name
    return f"The process was killed ({name}{', perhaps for want of memory' if name == 'SIGKILL' else ''})."


def threads() -> int:
    """Processor threads of a run: a fair share of the machine. Kept with the run, since sums depend on it."""
    return max(1, len(os.sched_getaffinity(0)) // settings.KIBITZ_SLOTS)


@functools.cache
def commit() -> str:
    """The commit of the code that trains, where it is a checkout."""
    found = subprocess.run(
        ["git", "-C", settings.BASE_DIR, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


@functools.cache
def versions() -> dict[str, str]:
    names = ("kibitz", "torch", "numpy", "transformers", "safetensors")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
