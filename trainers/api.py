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
from trainers.nn import load_policy, load_reward_model, save
from trainers.nn.storage import describe
from trainers.registry import METHODS, entry, fields, read_config
from trainers.run import Run, Spec, Stopped

__all__ = [
    "METHODS",
    "Spec",
    "execute",
    "fields",
    "load_policy",
    "load_reward_model",
    "merged",
    "read_config",
    "read_records",
    "train",
    "with_lora",
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


def with_lora(policy: str | Path, out: str | Path, *, rank: int = 8, alpha: float = 16.0) -> Path:
    """A Hugging Face policy with LoRA adapters (Hu et al. 2021, arXiv:2106.09685): they alone will train.

    The adapters start at nothing, so what `out` says at first is what `policy` says.
    """
    from trainers.nn.hugging_face import HuggingFacePolicy

    if rank < 1:
        raise ValueError(f"The rank of the adapters is {rank}; expected 1 or more, often 8.")
    kind, config = describe(Path(policy))
    if kind != HuggingFacePolicy.kind:
        raise ValueError(f"{policy} holds a model of kind {kind!r}; adapters are for Hugging Face policies.")
    return save(HuggingFacePolicy.read(Path(policy), {**config, "lora_rank": rank, "lora_alpha": alpha}), out)


def merged(policy: str | Path, out: str | Path) -> Path:
    """The policy with its adapters folded into the weights: as large as before, and as fast."""
    from trainers.nn.hugging_face import HuggingFacePolicy

    found = load_policy(policy)
    if not isinstance(found, HuggingFacePolicy) or not found.config.lora_rank:
        raise ValueError(f"{policy} has no adapters to fold in.")
    return save(found.merged(), out)
