"""What the exact tests of online methods share: nine strings, every draw of them, and a small transformer to run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from tests.trainers.toys import pairs, snapshot
from trainers import nn
from trainers.nn import Samples
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.reward import ByteReward
from trainers.nn.table import SeqTable, TableConfig
from trainers.run import Spec

TEMPERATURE = 0.7
BETA = 0.3
NINE = TableConfig(prompts=("p",), symbols="abc", length=2)


class Nine:
    """A policy over nine strings, its reference and scores; and what is wanted of a method: the gradient of
    E[r] - beta KL(pi || pi_ref) at the sampling temperature, by enumeration."""

    def __init__(self) -> None:
        self.policy, self.reference = SeqTable(NINE, seed=1), SeqTable(NINE, seed=2)
        self.strings = self.policy.enumerate()
        self.score = torch.randn(9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def wanted(self, beta: float = BETA) -> Tensor:
        logp = self.policy.logp_all(TEMPERATURE)[0]
        logp_ref = self.reference.logp_all(TEMPERATURE)[0].detach()
        objective = (logp.exp() * (self.score - beta * (logp - logp_ref))).sum()
        return torch.autograd.grad(objective, self.policy.table)[0]

    def draws(self, k: int) -> Iterator[tuple[float, Samples, Tensor, Tensor]]:
        """(probability, samples, their reference log-probabilities [k, 2], their scores [k]) of every draw of k."""
        x = [torch.tensor([0])] * k
        for draw in itertools.product(range(9), repeat=k):
            y = self.strings[list(draw)]
            with torch.no_grad():
                logp_tok = self.policy.logp_tok(x, y, TEMPERATURE)
                ref = self.reference.logp_tok(x, y, TEMPERATURE)
            samples = Samples(x, y, logp_tok, self.policy.mask(y), torch.ones(k, dtype=torch.bool))
            yield logp_tok.sum().exp().item(), samples, ref, self.score[list(draw)]

    def climbed(self, losses: Iterator[Tensor]) -> Tensor:
        """Minus the gradient of a loss that comes in parts."""
        return -torch.autograd.grad(torch.stack(list(losses)).sum(), self.policy.table)[0]


def byte_spec(method: str, folder: Path, name: str, **config: object) -> Spec:
    """A method on a byte transformer, whose answers end where they like."""
    shape = ByteTransformerConfig(d=16, layers=1)
    policy = nn.save(ByteTransformer(shape), folder / "policy")
    scorer = nn.save(ByteReward(shape), folder / "scorer")
    settings = {"steps": 3, "max_new_tokens": 12, "watch": 1, "prompts_per_step": 4, **config}
    return Spec(
        method, folder / name, settings,
        snapshot=snapshot(folder / "snapshot", pairs()), inputs={"policy": str(policy), "reward_model": str(scorer)},
    )  # fmt: skip
