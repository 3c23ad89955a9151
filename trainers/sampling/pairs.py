"""Preferences as ids, what a policy makes of them, and what a frozen reference made of them once."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from trainers.data import Batches, Preference, each
from trainers.data.lazy import Lazy
from trainers.fit import Tally, parts, parts_of_all
from trainers.nn import Policy, collate, digest, load_policy
from trainers.run import Run
from trainers.sampling.truncation import Truncation

Row = tuple[Tensor, Tensor, Tensor]
"""One preference as ids: prompt x, better answer y_w, worse answer y_l."""

AnyRow = TypeVar("AnyRow", bound=tuple[Tensor, ...])


def encode(policy: Policy, one: Preference) -> Row:
    """The ids of a preference, whose two answers share their prompt's."""
    x, y_w = policy.encode_pair(one.prompt, one.better)
    return x, y_w, policy.encode_pair(one.prompt, one.worse)[1]


def readable(
    run: Run, policy: Policy, wanted: Lazy[Preference], held_out: Lazy[Preference]
) -> tuple[Lazy[Preference], Lazy[Preference], Lazy[Row], Tensor]:
    """The preferences whose answers the policy can tell apart, to learn from and held out, the rows of both, and the
    tokens [N, 2] of their two answers.

    Two answers that differ only behind what is read of them become the same ids. No step could set one above the other,
    and as a decided pair they would count as wrong for ever.
    """
    everything = wanted + held_out
    rows = each(everything, lambda one: encode(policy, one))
    apart, tokens, truncation = [], [], Truncation(policy)
    for number, (one, (x, y_w, y_l)) in enumerate(zip(everything, rows, strict=True)):
        truncation.add(one.prompt, x, (y_w, y_l))
        if not torch.equal(y_w, y_l):
            apart.append(number)
            tokens.append((len(y_w), len(y_l)))
    truncation.alike = len(rows) - len(apart)
    truncation.tell(run)
    first = bisect_left(apart, len(wanted))
    kept = [number - len(wanted) for number in apart[first:]]
    lengths = torch.tensor(tokens, dtype=torch.int64, device=run.device).view(-1, 2)
    return wanted.at(apart[:first]), held_out.at(kept), rows.at(apart), lengths


def logp_tok(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[2, B, T] log-probabilities of the tokens of y_w and of y_l, 0 on padding, from one forward over both."""
    batch = collate(policy, [(x, y_w) for x, y_w, _ in rows] + [(x, y_l) for x, _, y_l in rows])
    found = policy.logp_tok(batch.x, batch.y)
    return found.view(2, len(rows), -1)


def lengths(rows: Sequence[Row], device: torch.device) -> Tensor:
    """[B, 2] tokens of y_w and of y_l, the end included."""
    return torch.tensor([(len(y_w), len(y_l)) for _, y_w, y_l in rows], device=device)


def reference_logps(
    run: Run,
    policy: Policy,
    rows: Sequence[AnyRow],
    batches: Batches,
    size: int,
    logps: Callable[[Policy, Sequence[AnyRow]], Tensor],
) -> Tensor:
    """[N, ...] what `logps` gives of these very ids under the reference, computed once and kept.

    The reference is the run's input of that name, or else the policy as it was given: call this before the first step.
    A row may hold more than ids, such as the mask that `logps` sums over: all of it is part of the key.

    In bfloat16 a row's log-probability moves by a hundredth with the rows it is read with. So the reference then reads
    the training rows in the parts that the first epoch's steps will take of `batches`, and those held out in the parts
    of a measurement: as long as the policy is its reference, their margins are exactly 0.
    """
    folder = Path(run.inputs.get("reference", run.input("policy")))
    key = hashlib.sha256(digest(folder).encode())
    for row in rows:
        for ids in row:
            key.update(str(ids.tolist()).encode())
    together: Iterable[list[int]] = parts(range(len(rows)), size)
    if run.spec.precision != "float32":
        together = [part for batch in batches.first_epoch() for part in parts_of_all(batch, size)]
        together += parts(range(len(batches.lengths), len(rows)), size)
        key.update(str(together).encode())

    @torch.no_grad()
    def compute() -> Tensor:
        reference = load_policy(folder, run.device).eval() if "reference" in run.inputs else policy
        found, order = [], []
        for part in together:
            found.append(logps(reference, [rows[i] for i in part]))
            order.extend(part)
        return torch.cat(found)[torch.tensor(order).argsort()]

    return run.once("reference", key.hexdigest(), compute, for_later_runs=True)


def watch(tally: Tally, prefix: str, rewards: Tensor, logp: Tensor) -> None:
    """The numbers that preference losses log, from [B, 2] rewards and log-probabilities of (y_w, y_l), decided pairs.

    With a prefix (of the held-out part) only what says whether pairs are in order.
    """
    margins = rewards[:, 0] - rewards[:, 1]
    tally.add(f"{prefix}rewards/accuracies", (margins > 0).float())
    tally.add(f"{prefix}rewards/margins", margins)
    if not prefix:
        tally.add("rewards/chosen", rewards[:, 0])
        tally.add("rewards/rejected", rewards[:, 1])
        tally.add("logps/chosen", logp[:, 0])
        tally.add("logps/rejected", logp[:, 1])
