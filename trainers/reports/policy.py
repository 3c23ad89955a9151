"""What a policy thinks of answers that people wrote or judged: how likely they are, and which it would prefer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.data import preferences
from trainers.fit import parts
from trainers.nn import Policy, collate
from trainers.records import Correction, Demonstration, Pair, Prompt, Ranking, Record, prompt_json
from trainers.records.reading import canonical
from trainers.reports.reward import beside, right, share

AT_ONCE = 32
"""Answers in memory at once."""


def evaluate(policy: Policy, records: Sequence[Record], reference: Policy | None = None) -> dict[str, Any]:
    """{"readings", "text"}: log-probability and perplexity of good answers, and how often its preference is people's.

    Good answers are demonstrations, edited texts, chosen answers and the best of a ranking. A policy prefers the answer
    whose log pi - log pi_ref is greater, the reward it implies (Rafailov et al. 2023, arXiv:2305.18290); without a
    reference, the likelier one. Raises ValueError where the records hold neither.
    """
    good = [one for record in records for one in answers(record)]
    judged = [one for one in preferences(records) if one.decided]
    if not good and not judged:
        raise ValueError(
            "The records hold no answer to be imitated and no decided comparison. "
            "Give demonstrations, corrections, pairs or rankings."
        )
    readings: dict[str, Any] = {}
    said = []
    if good:
        logp, length = likelihood(policy, good)
        readings |= perplexity(logp, length, [prompt for prompt, _ in good])
        one = readings["perplexity"]
        said.append(
            f"Perplexity {one['value']:.3g} a token over {one['n']} answers "
            f"(95 % interval {one['low']:.3g} to {one['high']:.3g})."
        )
    if judged:
        both = [(one.prompt, text) for one in judged for text in (one.better, one.worse)]
        implied = likelihood(policy, both)[0]
        if reference is not None:
            implied = implied - likelihood(reference, both)[0]
        margins = implied.view(-1, 2)
        rights = right(margins[:, 0] - margins[:, 1])
        label = "Implied preference" if reference is not None else "Likelier answer preferred"
        readings |= {"implied_accuracy": share(label, rights, judged), **beside(judged)}
        one = readings["implied_accuracy"]
        what = "The reward it implies" if reference is not None else "Its likelihood"
        said.append(
            f"{what} is right on {one['value']:.1%} of {one['n']} decided pairs "
            f"(95 % interval {one['low']:.1%} to {one['high']:.1%}); chance is 50 %."
        )
    return {"readings": readings, "text": " ".join(said)}


def answers(record: Record) -> list[tuple[Prompt, str]]:
    """(prompt, answer) where a record holds one that is worth imitating."""
    if record.weight <= 0:
        return []
    if isinstance(record, Demonstration):
        return [(record.prompt, record.answer)]
    if isinstance(record, Correction):
        return [(record.prompt, record.edited)]
    if isinstance(record, Pair) and record.outcome == "chosen":
        return [(record.prompt, record.chosen)]
    if isinstance(record, Ranking):
        first = [text for text, rank in zip(record.answers, record.ranks, strict=True) if rank == 1]
        return [(record.prompt, text) for text in first]
    return []


@torch.no_grad()
def likelihood(policy: Policy, asked: Sequence[tuple[Prompt, str]]) -> tuple[Tensor, Tensor]:
    """(log pi(y|x) [N], tokens [N], the end of the answer included), on the CPU, in double precision."""
    rows = [policy.encode_pair(prompt, answer) for prompt, answer in asked]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    logp = torch.zeros(len(rows), dtype=torch.float64)
    for part in parts(order, AT_ONCE):
        batch = collate(policy, [rows[i] for i in part])
        logp[part] = policy.logp_tok(batch.x, batch.y).double().sum(dim=1).cpu()
    return logp, torch.tensor([len(y) for _, y in rows])


def perplexity(logp: Tensor, length: Tensor, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """exp of the mean cost of a token, with its interval: the answers to one prompt are not independent."""
    cost = -logp.sum().item() / length.sum().item()
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(canonical(prompt_json(one)), len(numbers)) for one in prompts])
    away = torch.zeros(len(numbers), dtype=torch.float64).index_add(0, groups, -logp - cost * length)
    found: dict[str, Any] = {
        "label": "Perplexity a token",
        "value": math.exp(cost),
        "low": math.exp(cost),
        "high": math.exp(cost),
        "n": len(logp),
    }
    if len(numbers) > 1:
        # Of a ratio of two sums: the spread of what each group adds to cost beyond its share (Cochran 1977, 2.11).
        count = len(numbers)
        error = math.sqrt(away.square().sum().item() * count / (count - 1)) / length.sum().item()
        found |= {"low": math.exp(cost - 1.96 * error), "high": math.exp(cost + 1.96 * error)}
    return {
        "perplexity": found,
        "logp": {"label": "Log-probability of an answer", "value": logp.mean().item()},
        "logp_token": {"label": "Log-probability of a token", "value": -cost},
        "length": {"label": "Tokens of an answer", "value": length.double().mean().item()},
    }
