"""Preferences as ids, what a policy makes of them, and what a frozen reference made of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainers.data import Preference
from trainers.fit import parts
from trainers.nn import Policy, collate, digest, load_policy
from trainers.run import Run

Row = tuple[Tensor, Tensor, Tensor]
"""One preference as ids: prompt x, better answer y_w, worse answer y_l."""


def encode(policy: Policy, one: Preference) -> Row:
    """The ids of a preference, whose two answers share their prompt's."""
    x, y_w = policy.encode_pair(one.prompt, one.better)
    return x, y_w, policy.encode_pair(one.prompt, one.worse)[1]


def logp_tok(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[2, B, T] log-probabilities of the tokens of y_w and of y_l, 0 on padding, from one forward over both."""
    batch = collate(policy, [(x, y_w) for x, y_w, _ in rows] + [(x, y_l) for x, _, y_l in rows])
    found = policy.logp_tok(batch.x, batch.y)
    return found.view(2, len(rows), -1)


def reference_logps(
    run: Run, policy: Policy, rows: Sequence[Row], size: int, logps: Callable[[Policy, Sequence[Row]], Tensor]
) -> Tensor:
    """[N, ...] what `logps` gives of these very ids under the reference, computed once and kept.

    The reference is the run's input of that name, or else the policy as it was given: call this before the first step.
    """
    folder = Path(run.inputs.get("reference", run.input("policy")))
    key = hashlib.sha256(digest(folder).encode())
    for row in rows:
        for ids in row:
            key.update(str(ids.tolist()).encode())

    @torch.no_grad()
    def compute() -> Tensor:
        reference = load_policy(folder, run.device).eval() if "reference" in run.inputs else policy
        return torch.cat([logps(reference, part) for part in parts(rows, size)])

    return run.once("reference", key.hexdigest(), compute)
