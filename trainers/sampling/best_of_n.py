"""Best of n: of n answers the one that scores highest, and what is known of it without drawing more.

Its distribution is pi(y) (F_<=(y)^n - F_<(y)^n) / (F_<=(y) - F_<(y)), where F_<=(y) is the chance that an answer scores
at most what y does, and F_<(y) that it scores less: the tied share what falls to them by their probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.nn import Policy, RewardModel
from trainers.records import Prompt
from trainers.sampling import Answers, sample_answers


@dataclass(frozen=True)
class Best:
    """n answers to each of B prompts, and the best of them."""

    answers: Answers
    scores: Tensor
    """[B, n] what each answer scores, on the CPU."""
    row: Tensor
    """[B] the row of the best answer in `answers`."""

    @property
    def texts(self) -> list[str]:
        """The best text to each prompt."""
        return [self.answers.texts[row] for row in self.row.tolist()]


@torch.no_grad()
def best_of_n(
    policy: Policy,
    reward_model: RewardModel,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
    *,
    stop: Sequence[str] = (),
) -> Best:
    """n answers to each prompt from the whole distribution, and which of them scores highest."""
    answers = sample_answers(policy, prompts, n, max_new, temperature, generator, stop=stop)
    scores = reward_model.score(answers.prompts, answers.texts).view(len(prompts), n)
    return Best(answers, scores, torch.arange(len(prompts)) * n + pick(scores))


def pick(scores: Tensor) -> Tensor:
    """[B] the place of the highest of each row of scores [B, n]; of equal ones the first drawn."""
    highest = scores == scores.amax(dim=1, keepdim=True)
    return highest.int().argmax(dim=1)


def best_distribution(p: Tensor, scores: Tensor, n: int) -> Tensor:
    """[S] the chance of each of S answers to be the best of n, from its probability p [S] and its score [S]."""
    at_most = (scores[None, :] <= scores[:, None]).to(p.dtype) @ p
    less = (scores[None, :] < scores[:, None]).to(p.dtype) @ p
    return p * (at_most**n - less**n) / (at_most - less)


def kl_bound(n: int) -> float:
    """log n - (n - 1) / n: at most so many nats is best of n from its policy (Beirami et al. 2024, arXiv:2401.01879).

    The figure was long quoted as the KL divergence itself. It is that only where no two answers score alike and none
    is likely by itself; otherwise the divergence is smaller.
    """
    return math.log(n) - (n - 1) / n


def mean_of_best(scores: Tensor, n: int) -> Tensor:
    """[B] unbiased: the mean score of the best of n, over all choices of n from each row of scores [B, N], n <= N.

    The i-th lowest is the best of C(i - 1, n - 1) of the C(N, n) choices.
    """
    total = scores.shape[1]
    if not 1 <= n <= total:
        raise ValueError(f"The best of {n} cannot be told from {total} scores: expected 1 to {total}.")
    chosen = [math.comb(i, n - 1) / math.comb(total, n) for i in range(total)]
    weights = torch.tensor(chosen, dtype=torch.float64)
    return scores.double().sort(dim=1).values @ weights
