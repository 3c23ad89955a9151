"""Training from Python, without the web: the few names a script needs.

from trainers import api

out = api.train("reward/bradley_terry", snapshot="answers/", out="runs/rm", epochs=3)
reward_model = api.load_reward_model(out / "reward_model")
reward_model.score(["Is it warm?"], ["It is."])
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainers.data import read_records
from trainers.nn import load_policy, load_reward_model
from trainers.registry import METHODS, entry, fields, read_config
from trainers.run import Run, Spec, Stopped

__all__ = [
    "METHODS",
    "Spec",
    "execute",
    "fields",
    "load_policy",
    "load_reward_model",
    "read_config",
    "read_records",
    "train",
]

FINISHED, FAILED, STOPPED = 0, 1, 3


def train(
    method: str,
    *,
    out: str | Path,
    snapshot: str | Path | None = None,
    inputs: Mapping[str, str | Path] | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    **config: Any,
) -> Path:
    """Runs a method to its end and returns `out`, where its journal and what it made lie.

    An `out` that holds a run that was cut short is gone on with, from its newest checkpoint.
    """
    spec = Spec(
        method=method,
        home=Path(out).resolve(),
        config=config,
        seed=seed,
        snapshot=Path(snapshot).resolve() if snapshot else None,
        inputs={role: str(path) for role, path in (inputs or {}).items()},
        threads=threads,
        device=device,
    )
    run = Run(spec)
    try:
        perform(run)
    except BaseException as error:
        run.failed(error)
        raise
    run.finished()
    return spec.home


def execute(spec: Spec) -> int:
    """Runs what a spec says, and returns the exit code: 0 finished, 3 stopped on request, 1 failed."""
    run = Run(spec)
    try:
        perform(run)
    except Stopped as reason:
        run.stopped(reason)
        return STOPPED
    except Exception as error:
        run.failed(error)
        return FAILED
    run.finished()
    return FINISHED


def perform(run: Run) -> None:
    """Calls the method of the run."""
    torch.set_num_threads(run.spec.threads)
    module = importlib.import_module(entry(run.spec.method).module)
    module.train(module.Config(**run.config), run)
