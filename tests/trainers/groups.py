"""Groups of processes for the tests: forked, so that none has to import torch again."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.trainers.toys import TOYS, entries, rows, toy_spec
from trainers import api, processes, sharding
from trainers.registry import METHODS
from trainers.run import Run, Spec

assert sharding, "imported before processes are forked: it takes each of them a second"

TRAINED = [name for name, one in METHODS.items() if not one.alone]


def together(folder: Path, size: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(rank)` returns (JSON) in each of `size` processes that form a group; None where one was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    (meeting := folder / "meeting").unlink(missing_ok=True)
    children = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
                os.dup2(1, 2)
                store = dist.FileStore(str(meeting), size)
                dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
                found = act(rank)
                (folder / f"said-{rank}.json").write_text(json.dumps(found))
                dist.destroy_process_group()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    told = [
        json.loads((folder / f"said-{rank}.json").read_text()) if code == 0 else f"exit {code}"
        for rank, code in enumerate(codes)
    ]
    for rank, code in enumerate(codes):
        if code == 99:
            raise AssertionError((folder / f"rank-{rank}.log").read_text())
    return told


def trained(spec: Spec, size: int = 2, prepare: Callable[[int], None] | None = None) -> list[Any]:
    """Executes a run in `size` processes; the exit codes."""

    def act(rank: int) -> int:
        if prepare:
            prepare(rank)
        return api.execute(spec)

    return together(spec.home.parent / f"group-{spec.home.name}", size, act)


def spread(size: int, folder: Path, act: Callable[[int], Any], sharding: str = "ddp") -> list[Any]:
    """What `act` returns in each of `size` processes that know of each other."""

    def joined(rank: int) -> Any:
        processes.join(sharding, size, "cpu")
        return act(rank)

    return together(folder, size, joined)


def weights(spec: Spec) -> dict[str, torch.Tensor]:
    made = spec.home / TOYS[spec.method].made
    return {
        f"{path.relative_to(made)}/{name}": value
        for path in sorted(made.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def same(one: Spec, other: Spec, rel: float) -> None:
    """Same rows, weights and samples, up to the rounding of sums taken in another order."""
    wanted, found = rows(one.home), rows(other.home)
    assert len(wanted) == len(found) > 0
    for left, right in zip(wanted, found, strict=True):
        for name in left:
            # A share of rows jumps by a whole row where two scores are equal up to rounding.
            slack = 0.1 if "accura" in name or "_acc" in name else rel
            if name.endswith("accuracies") and abs(left[name.replace("accuracies", "margins")]) < 1e-6:
                continue  # at its start the policy is its reference, and all margins are rounding
            assert right[name] == pytest.approx(left[name], rel=slack, abs=slack), (name, left["step"])
    there = weights(other)
    for name, value in weights(one).items():
        torch.testing.assert_close(there[name], value, rtol=rel, atol=rel)
    kinds = ["samples", "histogram", "report", "artifact", "finished"]
    for kind in kinds:
        count = [sum(entry["type"] == kind for entry in entries(spec.home)) for spec in (one, other)]
        assert count[0] == count[1], f"{kind}: only the first process reports"


def pair_of(method: str, folder: Path, sharding: str, **changes: Any) -> tuple[Spec, Spec]:
    alone = toy_spec(method, folder, "alone", **changes)
    return alone, replace(toy_spec(method, folder, "both", **changes), sharding=sharding)


def dies_at(step: int, victim: int) -> Callable[[int], None]:
    """Kills one process, as `kill -9` would, when it logs a step."""
    log = Run.log

    def prepare(rank: int) -> None:
        def logged(run, at, numbers):
            log(run, at, numbers)
            if at == step and rank == victim:
                os.kill(os.getpid(), signal.SIGKILL)

        Run.log = logged

    return prepare


def stops_after(step: int) -> Callable[[int], None]:
    log = Run.log

    def prepare(rank: int) -> None:
        def logged(run, at, numbers):
            log(run, at, numbers)
            if at == step and rank == 0:
                command(run.spec.home, 1, "stop")

        Run.log = logged

    return prepare


def command(home: Path, number: int, kind: str, **args: Any) -> None:
    with open(home / "control.jsonl", "a") as file:
        file.write(json.dumps({"id": number, "kind": kind, "args": args}) + "\n")


def until(what: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
