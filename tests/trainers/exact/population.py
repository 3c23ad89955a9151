"""The exact population of preferences over a table: every pair of strings, each order as often as it is said."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from tests.trainers.test_methods_exact import minimise
from trainers.nn.table import SeqTable, TableConfig

TWO_BY_64 = TableConfig(prompts=("p0", "p1"), symbols="abcd", length=3)
Losses = Callable[[Tensor, Tensor], Tensor]
"""[N] losses from [N, 2] log-probabilities of (y_w, y_l), of the policy and of the reference."""


def bradley_terry(seed: int = 3) -> tuple[Tensor, Tensor]:
    """Rewards [2, 64], and how often each string is preferred to each [2, 64, 64]."""
    reward = torch.randn(2, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return reward, torch.sigmoid(reward[:, :, None] - reward[:, None, :])


def trained(module: ModuleType, losses: Losses, says: Tensor, shape: TableConfig = TWO_BY_64) -> SeqTable:
    """The policy at the minimum of the mean loss, from the table of seed 1, which is the reference too.

    says [X, S, S]: how often string i is preferred to string j. `module.logps` says how a pair becomes two numbers.
    """
    policy, reference = SeqTable(shape, seed=1), SeqTable(shape, seed=1)
    strings = policy.enumerate()
    x, size = len(shape.prompts), len(strings)
    every = [(torch.tensor([prompt]), y, y) for prompt in range(x) for y in strings]
    i, j = torch.triu_indices(size, size, offset=1)
    says_i = says[:, i, j].flatten()

    def pairs(model: SeqTable, one: Tensor, other: Tensor) -> Tensor:
        logp = module.logps(model, every)[:, 0].view(x, size)
        return torch.stack([logp[:, one], logp[:, other]], dim=-1).flatten(0, 1)  # [X * pairs, 2]

    with torch.no_grad():
        ref_ij, ref_ji = pairs(reference, i, j), pairs(reference, j, i)

    def population_loss() -> Tensor:
        ij, ji = losses(pairs(policy, i, j), ref_ij), losses(pairs(policy, j, i), ref_ji)
        return (says_i * ij + (1 - says_i) * ji).mean()

    minimise(list(policy.parameters()), population_loss)
    return policy


def distance(policy: SeqTable, gains: Tensor) -> float:
    """Total variation of a policy from pi_ref exp(gains) / Z, gains [X, S], the larger of the prompts'."""
    with torch.no_grad():
        wanted = (SeqTable(policy.config, seed=1).logp_all() + gains).softmax(dim=1)
        return (policy.logp_all().exp() - wanted).abs().sum(dim=1).max().item() / 2
