"""Edits as preferences, and only what the edit changed counts.

In a long answer with one word put right, nearly all tokens are the same on both sides, and DPO on whole answers spends
its gradient on them. Here the two answers are aligned by a longest common subsequence of their ids, and the
log-probabilities are summed over the tokens that are not in it:

    m_w, m_l = the tokens of the edited answer y_w and of the original y_l that the other one lacks
    log pi_m(y|x) = sum_t m_t log pi(y_t | x, y_<t)
    h = beta [ (log pi_m(y_w|x) - log pi_ref,m(y_w|x)) - (log pi_m(y_l|x) - log pi_ref,m(y_l|x)) ]
    L = -sum w log sigmoid(h) / sum w

Every token is still predicted from its whole context. An insertion has tokens on the side of y_w alone, a deletion on
that of y_l alone. An edit that changed no id (the change is beyond the longest answer the policy reads) teaches
nothing: it is put aside and counted. The loss is DPO's (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers.data import Batches, Lazy, Preference, each, preferences, read_records, split
from trainers.fit import Tally, fit, parts
from trainers.nn import Policy, digest, load_policy, pad_right, save
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.run import Run
from trainers.sampling import pairs


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-5
    """Learning rate after warm-up. A few 1e-7 for models of billions of parameters."""
    beta: Positive = 0.1
    """How closely to keep to the reference: higher is closer. Published values go from 0.01 to 0.6."""
    epochs: Count = 1
    """Times to go through the edits."""
    batch_size: Count = 32
    """Edits a step."""
    micro_batch: Count = 32
    """Edits in memory at once; the step does not depend on it."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    train_part, kept = split(read_records(run.snapshot, ("correction",)), config.held_out)
    edits = preferences(train_part)
    wanted, held_out = told_apart(policy, edits), told_apart(policy, preferences(kept))
    everything = wanted + held_out
    rows = each(everything, lambda one: encode(policy, one))
    lengths = [len(y_w) + len(y_l) for _, y_w, y_l, _, _ in rows[: len(wanted)]]
    batches = Batches(lengths, config.batch_size, run.seed)
    reference = pairs.reference_logps(run, policy, rows, batches, config.micro_batch, logps)  # [N, 2]
    weights = torch.tensor([one.weight for one in everything], device=run.device)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = weights[batch].sum()
        for part in parts(batch, config.micro_batch):
            logp = logps(policy, [rows[i] for i in part])  # [B, 2]
            losses, rewards = preference_loss(logp, reference[part], config.beta)
            yield (weights[part] * losses).sum() / whole
            pairs.watch(tally, prefix, rewards, logp)
            if not prefix:
                for i in part:
                    tally.add("edits/changed", torch.cat(rows[i][3:]).float())

    def counted(batch: Sequence[int], tally: Tally) -> Iterator[Tensor]:
        yield from loss(batch, tally)
        tally.add("edits/unchanged", torch.tensor(len(edits) - len(wanted)))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not held_out:
            return {}
        tally = Tally()
        value = sum(part.item() for part in loss(range(len(wanted), len(everything)), tally, "eval_"))
        return {"eval_loss": value, **tally.numbers()}

    total = fit(run, policy, batches, counted, evaluate, config)

    path = save(policy, run.home / "policy")
    run.artifact("policy", "policy", path, total, {"digest": digest(path), "beta": config.beta})


def preference_loss(logp: Tensor, logp_ref: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """[B] losses and [B, 2] implied rewards, from [B, 2] log-probabilities of (y_w, y_l)."""
    rewards = beta * (logp - logp_ref)
    h = rewards[:, 0] - rewards[:, 1]
    return -F.logsigmoid(h), rewards  # Eq. 7


def logps(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[B, 2]: log pi_m(y_w|x) and log pi_m(y_l|x), sums over the changed tokens."""
    found = pairs.logp_tok(policy, [(x, y_w, y_l) for x, y_w, y_l, _, _ in rows])  # [2, B, T]
    masks = pad_right([m_w for *_, m_w, _ in rows] + [m_l for *_, m_l in rows], 0).to(found.device)
    return (found * masks.view_as(found)).sum(dim=2).T


Row = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""One edit: prompt x, edited answer y_w, original y_l, and which tokens of each the other lacks, m_w and m_l."""


def encode(policy: Policy, one: Preference) -> Row:
    """An edit's ids and its masks."""
    x, y_w, y_l = pairs.encode(policy, one)
    return x, y_w, y_l, *changed(y_w, y_l)


def told_apart(policy: Policy, found: Lazy[Preference]) -> Lazy[Preference]:
    """The edits that changed an id: of the others nothing would be left."""
    ids = (pairs.encode(policy, one) for one in found)
    return found.at([number for number, (_, y_w, y_l) in enumerate(ids) if not torch.equal(y_w, y_l)])


def changed(y_w: Tensor, y_l: Tensor) -> tuple[Tensor, Tensor]:
    """[T_w] and [T_l] bool: the tokens outside a longest common subsequence of two answers' ids."""
    one, other = y_w.numpy(), y_l.numpy()
    start = shared(one, other)  # an edit is local: what both begin and end with need not be aligned
    end = shared(one[start:][::-1], other[start:][::-1])
    rows, columns = one[start : len(one) - end], other[start : len(other) - end]

    longest = np.zeros(
        (len(rows) + 1, len(columns) + 1), dtype=np.int64
    )  # [i, j]: of rows[:i] and columns[:j]
    for i, row in enumerate(rows):
        extended = np.maximum(longest[i, 1:], longest[i, :-1] + (columns == row))
        longest[i + 1, 1:] = np.maximum.accumulate(extended)

    m_w, m_l = torch.zeros(len(one), dtype=torch.bool), torch.zeros(len(other), dtype=torch.bool)
    i, j = len(rows), len(columns)
    while i or j:
        if i and j and rows[i - 1] == columns[j - 1]:
            i, j = i - 1, j - 1
        elif j == 0 or (i and longest[i - 1, j] >= longest[i, j - 1]):
            i -= 1
            m_w[start + i] = True
        else:
            j -= 1
            m_l[start + j] = True
    return m_w, m_l


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many ids two answers begin with alike."""
    length = min(len(one), len(other))
    parted = np.flatnonzero(one[:length] != other[:length])
    return int(parted[0]) if len(parted) else length
