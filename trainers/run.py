"""One run of a method: what it may read, where it reports, and how it stops and goes on.

A method takes its steps from `run.steps(total, state)`. Between two steps the run obeys commands (stop,
pause, checkpoint, set), saves what `state` holds, and notices that its supervisor is gone. Killed at any
moment, it goes on from its newest checkpoint, and ends with the weights and the log that it would have had.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainers import checkpoints, journal, processes, registry, store
from trainers.envs.registry import RULES
from trainers.episodes import Episodes
from trainers.outbox import Outbox, Silence
from trainers.records import Prompt

SAVE_SECONDS = 20.0
LAST_WORDS_SECONDS = 2.0
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
    snapshot: Path | str | None = None
    """The folder of the records; it may be a URL that fsspec can read."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Role -> folder of a model, or its URL; and "gold" -> the name of a rule, where the study has one."""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Role -> where that model came from ("run", "artifact", "name", …), to be passed on to what it makes."""
    run: int = 0
    attempt: int = 1
    epoch: int = 0
    threads: int = 1
    device: str = "cpu"
    sampler: str = "policy"
    """Who draws the answers that a method learns from: "policy", it itself; or one of registry.SAMPLERS."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the products of the models are taken in while they train; weights and their sums are single precision."""
    nudge_fd: int | None = None
    """A pipe that gets one byte whenever there is news in the journal."""
    parent: int | None = None
    """The supervisor's process: when it is gone, so is the run."""
    checkpoint_every: int | None = None
    """Save every so many steps; otherwise every 20 seconds, or more rarely where saving is slow."""
    processes: int = 1
    """Processes that train together, on each machine."""
    sharding: Literal["none", "ddp", "fsdp"] = "none"
    """With several processes: "ddp", each holds the whole model; "fsdp", it is divided among them."""
    nodes: int = 1
    """Machines that train together."""
    rendezvous: str = ""
    """HOST:PORT where the machines of one run find each other."""
    episodes: Path | None = None
    """The folder of the episodes that records of robots name."""
    storage: str = ""
    """Where checkpoints are mirrored and artifacts brought, as a URL that fsspec can write: s3://…, file://…"""

    @classmethod
    def read(cls, path: str | Path) -> Spec:
        try:
            row = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} holds no JSON: {error}. Expected what a run is told.") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path} holds a {type(row).__name__}. Expected an object: what a run is told.")
        known = cls.__dataclass_fields__
        if unknown := sorted(set(row) - set(known)):
            raise ValueError(f"{path} holds {', '.join(unknown)}. A run knows {', '.join(known)}.")
        if missing := sorted({"method", "home"} - set(row)):
            raise ValueError(
                f"{path} lacks {' and '.join(missing)}. Name the method and the folder of the run."
            )
        snapshot = row.get("snapshot") or None
        if snapshot and not store.is_url(snapshot):
            snapshot = Path(snapshot)
        episodes = Path(row["episodes"]) if row.get("episodes") else None
        return cls(**{**row, "home": Path(row["home"]), "snapshot": snapshot, "episodes": episodes})


class Run:
    """The one thing a method is given besides its config."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        registry.check_precision(spec.method, spec.precision)
        self.place = _joined(spec)
        """Which of the run's processes this is."""
        self.home = spec.home if self.place.rank == 0 else _scratch()
        """Where files are written. What the other processes of a run write is thrown away."""
        self.seed = spec.seed
        self.inputs = spec.inputs
        if any(map(store.is_url, spec.inputs.values())):
            self.inputs = {role: str(store.local(name)) for role, name in spec.inputs.items()}
        self.device = _device("cpu" if registry.entry(spec.method).on_cpu else spec.device, self.place)
        self.config = registry.read_config(spec.method, spec.config)
        self.knobs: dict[str, float] = {name: self.config[name] for name in registry.entry(spec.method).knobs}
        """Settings that a command may change between two steps; methods read them anew each step."""
        self.memory: dict[str, Any] = {}
        """Small JSON values that a checkpoint keeps: counters, first readings."""
        self._seq = 0
        self._total = 0
        self._obeyed: set[int] = set()
        self._learns_from: dict[str, str] = {}
        self.home.mkdir(parents=True, exist_ok=True)
        if self._mirrors:
            store.fetch_longer(f"{spec.storage}/journal.bin", self.home / "journal.bin")
        self._before = _applied_before(spec.home / "journal.bin", self.place)
        self._commands = _Commands(self.home / "control.jsonl")
        self._outbox: Outbox | Silence = Silence()
        if self.place.rank == 0:
            self._outbox = Outbox(journal.Writer(self.home / "journal.bin"), spec.nudge_fd, self._orphaned)
        self._saved_at, self._save_cost = time.monotonic(), 0.0
        _seed_everything(spec.seed)
        self.generator = torch.Generator(self.device).manual_seed(spec.seed)
        """For sampling; a checkpoint keeps its state."""

    @property
    def _mirrors(self) -> bool:
        """Whether this process brings what the run makes to its storage."""
        return bool(self.spec.storage) and self.place.rank == 0

    # --- what a method reads -----------------------------------------------------------------------

    @property
    def snapshot(self) -> Path:
        """The folder of the records to learn from."""
        if self.spec.snapshot is None:
            raise ValueError(
                f"{self.spec.method} learns from records, but this run names no snapshot. Give it one."
            )
        return store.local(str(self.spec.snapshot))

    @property
    def labels(self) -> Path | None:
        """The folder of the newest labels: what came while the run was under way, or else the snapshot it began with;
        None where it began without one and none came. Only a method that the registry calls live is sent any."""
        taken = self.memory.get("labels", [])
        if taken:
            return Path(taken[-1]["folder"])
        return None if self.spec.snapshot is None else self.snapshot

    def input(self, role: str) -> Path:
        """The folder of the model that plays `role`, or an error that says which role is missing."""
        if role not in self.inputs:
            raise ValueError(
                f"{self.spec.method} needs a model as its '{role}', but this run names "
                f"{', '.join(self.inputs) or 'none'}. Choose one when you start the run."
            )
        return Path(self.inputs[role])

    @property
    def episodes(self) -> Episodes:
        """The episodes that the records name."""
        if self.spec.episodes is None:
            raise ValueError(
                f"{self.spec.method} learns from episodes, but this run names no folder of them. Give it one."
            )
        return Episodes(self.spec.episodes)

    @property
    def gold(self) -> Callable[[Prompt, str], float] | None:
        """The stated rule that learned scores are plotted against, where the run names one. Training never sees it."""
        if "gold" not in self.inputs:
            return None
        if self.inputs["gold"] not in RULES:
            raise ValueError(f"No rule called '{self.inputs['gold']}'. Known rules: {', '.join(RULES)}.")
        rule = importlib.import_module(RULES[self.inputs["gold"]]).gold

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
        if self._mirrors:
            store.push(path, f"{self.spec.storage}/{where}")
        entry = {"type": "artifact", "kind": kind, "name": name, "path": where, "step": step}
        self._outbox.put({**entry, "meta": dict(meta or {})})

    def count(self, name: str, more: int) -> int:
        """Adds to a counter that survives resuming, and returns its sum."""
        self.memory[name] = self.memory.get(name, 0) + more
        return int(self.memory[name])

    def once(
        self, name: str, key: str, compute: Callable[[], torch.Tensor], for_later_runs: bool = False
    ) -> torch.Tensor:
        """What is costly and never changes while training (features, a reference's log-probabilities): computed
        by the first attempt and kept beside the checkpoints.

        `key` says what it was computed from, so that it cannot be mistaken for that of another model or other records.
        With `for_later_runs` it is kept for other runs of the same method, too: `key` must then name the model.
        """
        path = self.home / f"{name}.safetensors"
        key = key if self.spec.precision == "float32" else f"{key} {self.spec.precision}"
        kept = None
        for_later_runs = for_later_runs and store.room() > 0
        if self.place.rank == 0:
            kept = _kept(path, key)
            if kept is None and for_later_runs and (shared := store.kept(self._shared(name, key))):
                kept = _kept(shared / "value.safetensors", key)
                if kept is not None:
                    _keep(kept, path, key)
        if not processes.agree(kept is not None):
            value = compute()
            if self.place.rank == 0:
                kept = value.contiguous().cpu()
                _keep(kept, path, key)
                if for_later_runs:
                    store.keep(
                        self._shared(name, key), lambda place: _keep(value, place / "value.safetensors", key)
                    )
            if self.place.size == 1:
                return value
        return processes.agree_tensor(kept).to(self.device)

    def _shared(self, name: str, key: str) -> str:
        """What a kept tensor's last bit depends on, besides what `key` says."""
        known = [
            name, key, self.spec.method, torch.__version__, str(self.device), self.spec.threads,
            self.config.get("micro_batch"), _sources(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    # --- steps -------------------------------------------------------------------------------------

    def steps(
        self,
        total: int,
        state: Mapping[str, checkpoints.Stateful],
        ready: Callable[[int], bool] = lambda step: True,
    ) -> Iterator[int]:
        """1, 2, …, total; or, resuming, from where the newest checkpoint left `state`.

        `state` names everything that changes while training and is not in `run` itself: models, optimisers,
        batches, replay. All of it is restored, in place, before the first step. Before a step that is not `ready` the
        run waits, obeying commands: for labels, which are one. What makes it ready must come from `self.labels`.
        """
        self._total = total
        self._learns_from = processes.agree(self._identities() if self.place.rank == 0 else None)
        done = self._restore(state)
        self._outbox.put({"type": "start", "step": done, "total": total})
        while done < total:
            self._obey(done, state, ready)
            yield done + 1
            done += 1
            if done == total or self._due(done):
                self._save(done, state)
        self._obey(done, state)

    def _due(self, done: int) -> bool:
        if self.spec.checkpoint_every:
            return done % self.spec.checkpoint_every == 0
        waited = time.monotonic() - self._saved_at
        return bool(processes.agree(waited > max(SAVE_SECONDS, self._save_cost / SAVE_SHARE)))

    def _restore(self, state: Mapping[str, checkpoints.Stateful]) -> int:
        path = self._newest()
        if path is None:
            return 0
        kept = checkpoints.told(path)
        if kept["method"] != self.spec.method:
            raise ValueError(
                f"{path} was saved by {kept['method']}, not {self.spec.method}. Use another home."
            )
        self._see_that_nothing_changed(path, kept)
        checkpoints.load(path, {**state, **self._own_state()})
        self._seq, self.memory, self.knobs = kept["seq"], kept["memory"], kept["knobs"]
        self._obeyed = set(kept["obeyed"])
        self._outbox.echo(f"resumed from {path.name}")
        return int(kept["step"])

    def _identities(self) -> dict[str, str]:
        """The SHA-256 of what the run learns from: of its records, and of the model in each role."""
        found = {role: store.digest(where) for role, where in self.inputs.items() if role != "gold"}
        if self.spec.snapshot is not None:
            place = self.snapshot
            place = place if place.is_file() else place / "records.jsonl"
            if place.exists():  # a method that cannot do without has said so by now
                found["records"] = store.digest_of_file(place)
        return found

    def _see_that_nothing_changed(self, path: Path, kept: Mapping[str, Any]) -> None:
        """A run that went on with other records, or another model, would be neither the old one nor a new one."""
        then, now = dict(kept.get("learns_from", self._learns_from)), dict(self._learns_from)
        places = {**self.inputs, "records": str(self.spec.snapshot)}
        if taken := kept["memory"].get("labels"):
            places["labels"], then["labels"] = taken[-1]["folder"], taken[-1]["digest"]
            now["labels"] = store.digest_of_file(Path(places["labels"]) / "records.jsonl")
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"{path} was learned with other {name}: found {places.get(name, 'none')} with the SHA-256 "
                    f"{now.get(name, 'of nothing')}, expected {then.get(name, 'none')}. Bring what it began with back "
                    "to go on, or begin a new run in another folder."
                )

    def _newest(self) -> Path | None:
        """The newest checkpoint: in the run's home, or in its storage, where another machine brought a newer one."""
        folder, url = self.spec.home / "checkpoints", f"{self.spec.storage}/checkpoints"
        here = checkpoints.newest(folder)
        there = [name for name in store.names(url) if name.startswith("step-")] if self._mirrors else []
        there = [name for name in there if "state.json" in store.names(f"{url}/{name}")]
        name, far = processes.agree(
            [max(there), True] if there and (here is None or max(there) > here.name)
            else [here.name if here else None, False]
        )  # fmt: skip
        if name is None:
            return None
        return store.local(f"{url}/{name}") if far else folder / name

    def _mirror(self, path: Path) -> None:
        """Brings a checkpoint and the journal to the storage; `state.json` last, since it says that all is there."""
        url = f"{self.spec.storage}/checkpoints"
        store.push(self.home / "journal.bin", f"{self.spec.storage}/journal.bin")
        store.remove(f"{url}/{path.name}/state.json")
        for file in sorted(path.iterdir(), key=lambda one: one.name == "state.json"):
            store.push(file, f"{url}/{path.name}/{file.name}")
        for old in [name for name in store.names(url) if name.startswith("step-")][: -checkpoints.KEEP]:
            store.remove(f"{url}/{old}")

    def _save(self, done: int, state: Mapping[str, checkpoints.Stateful]) -> None:
        began = time.monotonic()
        # The journal first: a checkpoint must never be ahead of what was told about it.
        self._outbox.flush(sync=True)
        own = {
            "method": self.spec.method, "step": done, "seq": self._seq, "memory": self.memory,
            "knobs": self.knobs, "obeyed": sorted(self._obeyed), "learns_from": self._learns_from,
        }  # fmt: skip
        path = checkpoints.save(self.spec.home / "checkpoints", done, {**state, **self._own_state()}, own)
        if self._mirrors:
            self._mirror(path)
        self._outbox.put({"type": "checkpoint", "step": done, "path": str(path.relative_to(self.spec.home))})
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - began

    def _own_state(self) -> dict[str, checkpoints.Stateful]:
        return {"run.generator": self.generator, "run.random": checkpoints.GlobalRandom()}

    # --- commands ----------------------------------------------------------------------------------

    def _obey(
        self,
        done: int,
        state: Mapping[str, checkpoints.Stateful],
        ready: Callable[[int], bool] = lambda step: True,
    ) -> None:
        """Applies the commands that are due after `done` steps; waits here while the run is paused, or not ready."""
        told = False
        while True:
            paused = False
            for command in self._asked(done):
                kind, number = command["kind"], int(command["id"])
                paused = kind == "pause" or (paused and kind not in ("resume", "stop"))
                if number not in self._obeyed and self._before.get(number, 0) <= done:
                    self._apply(command, done, state)
            if paused != told:
                told = paused
                self._outbox.put({"type": "state", "state": "paused" if paused else "running"})
            if not paused and ready(done + 1):
                return
            if self._orphaned():
                os._exit(1)
            time.sleep(0.05)

    def _asked(self, done: int) -> list[dict[str, Any]]:
        """The commands so far, which rank 0 reads for all. Whoever has strayed from the others is noticed here."""
        if self.place.size == 1:
            return self._commands.all()
        said = processes.gather({"state": self._fingerprint(done), "commands": self._commands.all()})
        if any(one["state"] != said[0]["state"] for one in said):
            raise RuntimeError(
                f"After step {done} the processes of this run are in different states. A method drew at random, "
                "counted or remembered something within its own share of the rows: it must do so for all rows alike."
            )
        asked: list[dict[str, Any]] = said[0]["commands"]
        return asked

    def _fingerprint(self, done: int) -> str:
        """What must be the same in every process between two steps."""
        found = hashlib.sha256(repr((done, self._seq, self.knobs, random.getstate())).encode())
        found.update(json.dumps(self.memory, sort_keys=True, default=str).encode())
        found.update(torch.get_rng_state().numpy().tobytes())
        found.update(self.generator.get_state().numpy().tobytes())
        return found.hexdigest()

    def _apply(
        self, command: Mapping[str, Any], done: int, state: Mapping[str, checkpoints.Stateful]
    ) -> None:
        kind, number, args = command["kind"], int(command["id"]), command.get("args") or {}
        self._obeyed.add(number)
        if kind == "set":
            self._set(number, done, str(args.get("name")), args.get("value"))
        if kind == "labels":
            self._take(number, done, args)
        self._outbox.put({"type": "applied", "command": number, "step": done})
        # A checkpoint remembers its own command: where the command comes again, a kill was faster than its checkpoint.
        if kind in ("checkpoint", "stop"):
            self._save(done, state)
        if kind == "stop":
            raise Stopped(f"stopped after step {done} of {self._total}")

    def _set(self, number: int, done: int, name: str, value: Any) -> None:
        try:
            if name not in self.knobs:
                known = ", ".join(self.knobs) or "nothing"
                raise ValueError(f"'{name}' cannot be changed while {self.spec.method} runs; {known} can.")
            self.knobs[name] = registry.read_setting(self.spec.method, name, value)
        except ValueError as error:
            self.event(f"command-{number}", done, "refused", str(error))

    def _take(self, number: int, done: int, args: Mapping[str, Any]) -> None:
        """New labels: the run's memory keeps which it has had since which step, so that it goes on with the same."""
        folder, digest = str(args.get("folder")), str(args.get("digest"))
        try:
            if not registry.entry(self.spec.method).live:
                raise ValueError(f"{self.spec.method} takes no labels while it runs: start a run with them.")
            found = store.digest_of_file(Path(folder) / "records.jsonl")
            if found != digest:
                raise ValueError(
                    f"The labels in {folder} are not those that were sent: SHA-256 {found}, expected {digest}."
                )
        except (ValueError, OSError) as error:
            self.event(f"command-{number}", done, "refused", str(error))
            return
        taken = {"command": number, "step": done, "folder": folder, "digest": digest}
        self.memory["labels"] = [*self.memory.get("labels", []), taken]

    # --- beginning and end -------------------------------------------------------------------------

    def finished(self) -> None:
        self._outbox.put({"type": "finished", "step": self._total})
        self._outbox.close()
        if self._mirrors:
            store.push(self.home / "journal.bin", f"{self.spec.storage}/journal.bin")
        processes.wait_for_all()  # whoever starts processes ends all when one has ended

    def stopped(self, reason: Stopped) -> None:
        self._outbox.echo(str(reason))
        self._outbox.close()
        processes.wait_for_all()

    def failed(self, error: BaseException) -> None:
        story = "".join(traceback.format_exception(error))
        print(story, file=sys.stderr, flush=True)
        if processes.lost(error):
            self._outbox.flush(sync=True)
            if self.place.rank > 0:
                shutil.rmtree(self.home, ignore_errors=True)
            os._exit(processes.LOST)  # not by the usual way out, which waits for the one that is gone
        message = f"{type(error).__name__}: {error}"
        self._outbox.put({"type": "failed", "message": message, "traceback": story})
        self._outbox.close()
        if self.place.rank > 0:  # most errors are everyone's: rank 0 is given the time to write its own down
            time.sleep(LAST_WORDS_SECONDS)

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


def _joined(spec: Spec) -> processes.Place:
    """This process's place among those of the run."""
    found = processes.join(spec.sharding, spec.processes * spec.nodes, spec.device)
    if found.size > 1 and (why := registry.entry(spec.method).alone):
        raise ValueError(f"{spec.method} {why}: it runs in one process, not in {found.size}.")
    return found


def _device(name: str, place: processes.Place) -> torch.device:
    """The run's device; of several processes on a machine, each has a GPU of its own."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and place.size > 1:
        device = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(device)
    return device


def _scratch() -> Path:
    """A folder that is gone when the process is."""
    folder = tempfile.mkdtemp(prefix="kibitz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def _sources() -> str:
    """A digest of the code that trains: another version may compute another number."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _keep(value: torch.Tensor, path: Path, key: str) -> None:
    partial = path.with_suffix(".partial")
    save_file({"value": value.contiguous().cpu()}, partial, {"key": key})
    partial.rename(path)


def _kept(path: Path, key: str) -> torch.Tensor | None:
    """The tensor that was kept at `path`, if it was computed from what `key` says."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        found: torch.Tensor | None = file.get_tensor("value") if file.metadata()["key"] == key else None
    return found


def _applied_before(path: Path, place: processes.Place) -> dict[int, int]:
    """Command -> the step after which an earlier attempt applied it."""
    applied = _read_applied(path) if place.rank == 0 else {}
    return dict(processes.agree([*applied.items()]))


def _read_applied(path: Path) -> dict[int, int]:
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
