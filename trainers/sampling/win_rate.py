"""One policy against another on the same prompts, by what a reward model thinks of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.fit import parts
from trainers.maths.accuracy import effective, wilson
from trainers.maths.length_control import length_controlled
from trainers.nn import Policy, RewardModel
from trainers.records import Prompt
from trainers.sampling import sample_answers

AT_ONCE = 16
"""Prompts answered at once."""


@torch.no_grad()
def win_rate(
    policy: Policy,
    rival: Policy,
    reward_model: RewardModel,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    seed: int,
) -> dict[str, Any]:
    """{"readings", "text"}: how often an answer of the policy scores higher than one of its rival.

    n answers of each to each prompt, drawn independently and set against each other one by one. A reward model may like
    length, so the win rate at equal length stands beside.
    """
    if not prompts:
        raise ValueError("There is no prompt to answer.")
    ours, our_length = drawn_by(policy, reward_model, prompts, n, max_new, temperature, 2 * seed)
    theirs, their_length = drawn_by(rival, reward_model, prompts, n, max_new, temperature, 2 * seed + 1)
    wins = (torch.sign(ours - theirs) + 1) / 2  # [B * n]
    groups = torch.arange(len(prompts)).repeat_interleave(n)
    worth = effective(wins, groups.tolist())
    mean = wins.mean().item()
    low, high = wilson(mean * worth, worth)
    fair = length_controlled(wins, our_length - their_length, groups)
    readings = {
        "win_rate": {"label": "Win rate", "value": mean, "low": low, "high": high, "n": len(wins)},
        "win_rate_length_controlled": {
            "label": "Win rate at equal length", "value": fair.value, "low": fair.low, "high": fair.high,
            "n": len(wins),
        },
        "chance": {"label": "Chance", "value": 0.5},
        "score": {"label": "Score", "value": ours.mean().item()},
        "score_rival": {"label": "Score of the rival", "value": theirs.mean().item()},
        "characters": {"label": "Characters an answer", "value": our_length.mean().item()},
        "characters_rival": {"label": "Characters an answer of the rival", "value": their_length.mean().item()},
    }  # fmt: skip
    text = (
        f"Scores higher than its rival in {mean:.1%} of {len(wins)} comparisons "
        f"(95 % interval {low:.1%} to {high:.1%}); "
        f"at equal length in {fair.value:.1%} ({fair.low:.1%} to {fair.high:.1%})."
    )
    return {"readings": readings, "text": text}


def drawn_by(
    policy: Policy,
    reward_model: RewardModel,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """(scores [B * n], lengths in characters [B * n]) of n answers to each prompt."""
    generator = torch.Generator(policy.device).manual_seed(seed)
    scores, lengths = [], []
    for part in parts(prompts, AT_ONCE):
        drawn = sample_answers(policy, part, n, max_new, temperature, generator)
        scores.append(reward_model.score(drawn.prompts, drawn.texts).double())
        lengths += [len(text) for text in drawn.texts]
    return torch.cat(scores), torch.tensor(lengths, dtype=torch.float64)
