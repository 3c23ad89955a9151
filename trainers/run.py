"""One run of a method: what it may read, where it reports, and how it stops and goes on.

A method takes its steps from `run.steps(total, state)`. Between two steps the run obeys commands (stop,
pause, checkpoint, set), saves what `state` holds, and notices that its supervisor is gone. Killed at any
moment, it goes on from its newest checkpoint, and ends with the weights and the log that it would have had.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainers import checkpoints, envs, journal, registry
from trainers.records import Prompt

FLUSH_SECONDS = 0.06
FLUSH_ROWS = 500
ECHO_SECONDS = 2.0
SAVE_SECONDS = 20.0
SAVE_SHARE = 0.05
"""At most this share of the time is spent on saving, however large the model."""


class Stopped(Exception):
    """The run was asked to stop; what it had learned is in its newest checkpoint."""


@dataclass(frozen=True)
class Spec:
    """What a run is told: the file `spec.json`."""

    method: str
    home: Path
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    snapshot: Path | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    """Role -> folder of a model; and "gold" -> the name of a rule, where the study has one."""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Role -> where that model came from ("run", "artifact", "name", …), to be passed on to what it makes."""
    run: int = 0
    attempt: int = 1
    epoch: int = 0
    threads: int = 1
    device: str = "cpu"
    nudge_fd: int | None = None
    """A pipe that gets one byte whenever there is news in the journal."""
    parent: int | None = None
    """The supervisor's process: when it is gone, so is the run."""
    checkpoint_every: int | None = None
    """Save every so many steps; otherwise every 20 seconds, or more rarely where saving is slow."""

    @classmethod
    def read(cls, path: str | Path) -> Spec:
        row = json.loads(Path(path).read_text(encoding="utf-8"))
        known = cls.__dataclass_fields__
        if unknown := sorted(set(row) - set(known)):
            raise ValueError(f"{path} holds {', '.join(unknown)}. A run knows {', '.join(known)}.")
        if missing := sorted({"method", "home"} - set(row)):
            raise ValueError(
                f"{path} lacks {' and '.join(missing)}. Name the method and the folder of the run."
            )
        snapshot = row.get("snapshot")
        return cls(**{**row, "home": Path(row["home"]), "snapshot": Path(snapshot) if snapshot else None})


class Run:
    """The one thing a method is given besides its config."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.home = spec.home
        self.seed = spec.seed
        self.inputs = spec.inputs
        self.device = torch.device(spec.device)
        self.config = registry.read_config(spec.method, spec.config)
        self.knobs: dict[str, float] = {name: self.config[name] for name in registry.entry(spec.method).knobs}
        """Settings that a command may change between two steps; methods read them anew each step."""
        self.memory: dict[str, Any] = {}
        """Small JSON values that a checkpoint keeps: counters, first readings."""
        self._seq = 0
        self._total = 0
        self._obeyed: set[int] = set()
        self.home.mkdir(parents=True, exist_ok=True)
        self._before = _applied_before(self.home / "journal.bin")
        self._commands = _Commands(self.home / "control.jsonl")
        self._outbox = _Outbox(journal.Writer(self.home / "journal.bin"), spec.nudge_fd, self._orphaned)
        self._saved_at, self._save_cost = time.monotonic(), 0.0
        _seed_everything(spec.seed)
        self.generator = torch.Generator(self.device).manual_seed(spec.seed)
        """For sampling; a checkpoint keeps its state."""

    # --- what a method reads -----------------------------------------------------------------------

    @property
    def snapshot(self) -> Path:
        """The folder of the records to learn from."""
        if self.spec.snapshot is None:
            raise ValueError(
                f"{self.spec.method} learns from records, but this run names no snapshot. Give it one."
            )
        return self.spec.snapshot

    def input(self, role: str) -> Path:
        """The folder of the model that plays `role`, or an error that says which role is missing."""
        if role not in self.inputs:
            raise ValueError(
                f"{self.spec.method} needs a model as its '{role}', but this run names "
                f"{', '.join(self.inputs) or 'none'}. Choose one when you start the run."
            )
        return Path(self.inputs[role])

    @property
    def gold(self) -> Callable[[Prompt, str], float] | None:
        """The stated rule that learned scores are plotted against, where the run names one. Training never sees it."""
        if "gold" not in self.inputs:
            return None
        known = sorted(module.name for module in pkgutil.iter_modules(envs.__path__))
        if self.inputs["gold"] not in known:
            raise ValueError(f"No rule called '{self.inputs['gold']}'. Known rules: {', '.join(known)}.")
        rule = importlib.import_module(f"trainers.envs.{self.inputs['gold']}").gold

        def gold(prompt: Prompt, answer: str) -> float:
            return float(rule(prompt if isinstance(prompt, str) else prompt[-1].content, answer))

        return gold

    # --- what a method reports ---------------------------------------------------------------------

    def log(self, step: int, numbers: Mapping[str, Any]) -> None:
        """One row of numbers. Never waits: a thread carries it to the journal."""
        self._seq += 1
        values = [float(value) for value in numbers.values()]
        self._outbox.put((self._seq, step, time.time(), tuple(numbers), values))

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sampled answers: {"index", "prompt", "text", "scores": {name: number}, "length"}."""
        self._outbox.put({"type": "samples", "step": step, "rows": [dict(row) for row in rows]})

    def histogram(self, step: int, name: str, values: Sequence[float], bins: int = 20) -> None:
        """How a quantity was spread at a step."""
        counts, edges = np.histogram(np.asarray(values, dtype=float), bins=bins)
        entry = {
            "type": "histogram",
            "step": step,
            "name": name,
            "edges": edges.tolist(),
            "counts": counts.tolist(),
        }
        self._outbox.put(entry)

    def event(self, key: str, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Something that happened at a step; `key` is its own, so that a repeated one is the same one."""
        self._outbox.put(
            {"type": "event", "key": key, "step": step, "kind": kind, "text": text, "data": dict(data or {})}
        )

    def report(self, report: Mapping[str, Any]) -> None:
        """What the run found out, once, at its end."""
        self._outbox.put({"type": "report", "report": dict(report)})

    def artifact(
        self, kind: str, name: str, path: Path, step: int, meta: Mapping[str, Any] | None = None
    ) -> None:
        """A file or folder, already written inside the run's home, that others may use."""
        where = str(path.relative_to(self.home))
        entry = {"type": "artifact", "kind": kind, "name": name, "path": where, "step": step}
        self._outbox.put({**entry, "meta": dict(meta or {})})

    def count(self, name: str, more: int) -> int:
        """Adds to a counter that survives resuming, and returns its sum."""
        self.memory[name] = self.memory.get(name, 0) + more
        return int(self.memory[name])

    def once(self, name: str, key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What is costly and never changes while training (features, a reference's log-probabilities): computed
        by the first attempt and kept beside the checkpoints.

        `key` says what it was computed from, so that it cannot be mistaken for that of another model or other records.
        """
        path = self.home / f"{name}.safetensors"
        if path.exists():
            with safe_open(path, framework="pt") as file:
                if file.metadata()["key"] == key:
                    kept: torch.Tensor = file.get_tensor("value")
                    return kept.to(self.device)
        value = compute()
        partial = path.with_suffix(".partial")
        save_file({"value": value.contiguous().cpu()}, partial, {"key": key})
        partial.rename(path)
        return value

    # --- steps -------------------------------------------------------------------------------------

    def steps(self, total: int, state: Mapping[str, checkpoints.Stateful]) -> Iterator[int]:
        """1, 2, …, total; or, resuming, from where the newest checkpoint left `state`.

        `state` names everything that changes while training and is not in `run` itself: models, optimisers,
        batches, replay. All of it is restored, in place, before the first step.
        """
        self._total = total
        done = self._restore(state)
        self._outbox.put({"type": "start", "step": done, "total": total})
        while done < total:
            self._obey(done, state)
            yield done + 1
            done += 1
            if done == total or self._due(done):
                self._save(done, state)
        self._obey(done, state)

    def _due(self, done: int) -> bool:
        if self.spec.checkpoint_every:
            return done % self.spec.checkpoint_every == 0
        return time.monotonic() - self._saved_at > max(SAVE_SECONDS, self._save_cost / SAVE_SHARE)

    def _restore(self, state: Mapping[str, checkpoints.Stateful]) -> int:
        path = checkpoints.newest(self.home / "checkpoints")
        if path is None:
            return 0
        kept = checkpoints.load(path, {**state, **self._own_state()})
        if kept["method"] != self.spec.method:
            raise ValueError(
                f"{path} was saved by {kept['method']}, not {self.spec.method}. Use another home."
            )
        self._seq, self.memory, self.knobs = kept["seq"], kept["memory"], kept["knobs"]
        self._obeyed = set(kept["obeyed"])
        self._outbox.echo(f"resumed from {path.name}")
        return int(kept["step"])

    def _save(self, done: int, state: Mapping[str, checkpoints.Stateful]) -> None:
        began = time.monotonic()
        # The journal first: a checkpoint must never be ahead of what was told about it.
        self._outbox.flush(sync=True)
        own = {
            "method": self.spec.method, "step": done, "seq": self._seq, "memory": self.memory,
            "knobs": self.knobs, "obeyed": sorted(self._obeyed),
        }  # fmt: skip
        path = checkpoints.save(self.home / "checkpoints", done, {**state, **self._own_state()}, own)
        self._outbox.put({"type": "checkpoint", "step": done, "path": str(path.relative_to(self.home))})
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - began

    def _own_state(self) -> dict[str, checkpoints.Stateful]:
        return {"run.generator": self.generator, "run.random": checkpoints.GlobalRandom()}

    # --- commands ----------------------------------------------------------------------------------

    def _obey(self, done: int, state: Mapping[str, checkpoints.Stateful]) -> None:
        """Applies the commands that are due after `done` steps; waits here while the run is paused."""
        told = False
        while True:
            paused = False
            for command in self._commands.all():
                kind, number = command["kind"], int(command["id"])
                paused = kind == "pause" or (paused and kind not in ("resume", "stop"))
                if number not in self._obeyed and self._before.get(number, 0) <= done:
                    self._apply(command, done, state)
            if paused != told:
                told = paused
                self._outbox.put({"type": "state", "state": "paused" if paused else "running"})
            if not paused:
                return
            if self._orphaned():
                os._exit(1)
            time.sleep(0.05)

    def _apply(
        self, command: Mapping[str, Any], done: int, state: Mapping[str, checkpoints.Stateful]
    ) -> None:
        kind, number, args = command["kind"], int(command["id"]), command.get("args") or {}
        self._obeyed.add(number)
        again = number in self._before  # before a kill; only what changes the numbers is done again
        if kind == "set":
            self._set(number, done, str(args.get("name")), args.get("value"))
        self._outbox.put({"type": "applied", "command": number, "step": done})
        if again:
            return
        if kind in ("checkpoint", "stop"):
            self._save(done, state)
        if kind == "stop":
            raise Stopped(f"stopped after step {done} of {self._total}")

    def _set(self, number: int, done: int, name: str, value: Any) -> None:
        try:
            if name not in self.knobs:
                known = ", ".join(self.knobs) or "nothing"
                raise ValueError(f"'{name}' cannot be changed while {self.spec.method} runs; {known} can.")
            self.knobs[name] = registry.read_config(self.spec.method, {name: value})[name]
        except ValueError as error:
            self.event(f"command-{number}", done, "refused", str(error))

    # --- beginning and end -------------------------------------------------------------------------

    def finished(self) -> None:
        self._outbox.put({"type": "finished", "step": self._total})
        self._outbox.close()

    def stopped(self, reason: Stopped) -> None:
        self._outbox.echo(str(reason))
        self._outbox.close()

    def failed(self, error: BaseException) -> None:
        story = "".join(traceback.format_exception(error))
        print(story, file=sys.stderr, flush=True)
        message = f"{type(error).__name__}: {error}"
        self._outbox.put({"type": "failed", "message": message, "traceback": story})
        self._outbox.close()

    def _orphaned(self) -> bool:
        return self.spec.parent is not None and os.getppid() != self.spec.parent


def die_with(parent: int | None) -> None:
    """Asks the kernel to end this process when the thread that started it ends. Call before anything else."""
    if parent is None:
        return
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _applied_before(path: Path) -> dict[int, int]:
    """Command -> the step after which an earlier attempt applied it."""
    applied: dict[int, int] = {}
    offset, end = -1, 0
    while offset != end:
        offset = end
        entries, end = journal.read(path, offset)
        for entry in entries:
            if isinstance(entry, dict) and entry["type"] == "applied":
                applied[entry["command"]] = entry["step"]
    return applied


class _Commands:
    """control.jsonl, read again only when it has grown."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._rows: list[dict[str, Any]] = []

    def all(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            size = self._path.stat().st_size
            if size != self._size:
                lines = self._path.read_bytes().split(b"\n")
                self._rows = [json.loads(line) for line in lines[:-1] if line.strip()]
                self._size = size
        return self._rows


Row = tuple[int, int, float, tuple[str, ...], list[float]]


class _Outbox:
    """Carries rows and entries to the journal in order, at most 100 ms late, without the trainer waiting."""

    def __init__(self, writer: journal.Writer, nudge_fd: int | None, orphaned: Callable[[], bool]) -> None:
        self._writer, self._nudge_fd, self._orphaned = writer, nudge_fd, orphaned
        if nudge_fd is not None:
            os.set_blocking(nudge_fd, False)
        self._waiting: list[Row | dict[str, Any]] = []
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closed = False
        self._error: Exception | None = None
        self._echoed_at = 0.0
        self._thread = threading.Thread(target=self._carry, name="journal", daemon=True)
        self._thread.start()

    def put(self, entry: Row | dict[str, Any]) -> None:
        if self._error is not None:
            raise self._error
        with self._changed:
            self._waiting.append(entry)
            if len(self._waiting) in (1, FLUSH_ROWS):
                self._changed.notify()

    def flush(self, sync: bool = False) -> None:
        """Returns when all that was put is in the journal (and, with `sync`, on the disk)."""
        with self._writing:
            with self._changed:
                waiting, self._waiting = self._waiting, []
            for _, group in groupby(waiting, key=_same_chunk):
                rows = []
                for entry in group:
                    if isinstance(entry, dict):
                        self._writer.json(entry)
                    else:
                        rows.append(entry)
                if rows:
                    self._chunk(rows)
            if sync:
                self._writer.sync()
        if waiting and self._nudge_fd is not None:
            with contextlib.suppress(OSError):  # full: a nudge is waiting already; broken: nobody listens
                os.write(self._nudge_fd, b"\n")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self.flush(sync=True)
        self._writer.close()

    def echo(self, line: str) -> None:
        """A line for the console."""
        print(line, flush=True)

    def _carry(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    if not self._waiting:
                        self._changed.wait(timeout=1.0)
                    if self._waiting and not self._closed:
                        self._changed.wait_for(self._full, timeout=FLUSH_SECONDS)
                if self._waiting:
                    self.flush()
                if self._orphaned():
                    os._exit(1)
        except Exception as error:  # the trainer raises it at its next word
            self._error = error

    def _full(self) -> bool:
        return self._closed or len(self._waiting) >= FLUSH_ROWS

    def _chunk(self, rows: list[Row]) -> None:
        seqs, steps, times, names, values = zip(*rows, strict=True)
        self._writer.chunk(seqs[0], names[0], steps, times, np.array(values).T)
        if time.monotonic() - self._echoed_at >= ECHO_SECONDS:
            self._echoed_at = time.monotonic()
            shown = "  ".join(
                f"{name} {value:.4g}" for name, value in zip(names[-1], values[-1], strict=True)
            )
            self.echo(f"step {steps[-1]}  {shown}")


def _same_chunk(entry: Row | dict[str, Any]) -> tuple[str, ...] | None:
    return None if isinstance(entry, dict) else entry[3]
