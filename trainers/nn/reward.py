"""A reward model of our own: a byte transformer with a head, which reads prompt and answer together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.policy import Encoded, pad_right
from trainers.nn.scale import Scale
from trainers.nn.storage import read_weights, write_weights
from trainers.records import Prompt


class ByteReward(nn.Module):
    """r(x, y): a number read off a byte transformer's state at the last token of the answer, its EOS.

    Prompt and answer are read together, never the answer alone. Head: N(0, 1/(d+1)) by variance, bias 0
    (Stiennon et al. 2020 as corrected in "The N implementation details of RLHF with PPO", Huang et al. 2023).
    """

    kind: ClassVar[str] = "byte_reward"

    def __init__(self, config: ByteTransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.trunk = ByteTransformer(config, seed)
        self.head = nn.Linear(config.d, 1)
        nn.init.normal_(
            self.head.weight, std=(config.d + 1) ** -0.5, generator=torch.Generator().manual_seed(seed)
        )
        nn.init.zeros_(self.head.bias)
        self.scale = Scale()

    @classmethod
    def from_policy(cls, policy: ByteTransformer, seed: int = 0) -> Self:
        """A new head on a copy of what a policy has learned to read."""
        model = cls(policy.config, seed)
        model.trunk.load_state_dict(policy.state_dict())
        return model.to(policy.device)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        return [self.trunk.encode_pair(x, y) for x, y in zip(prompts, answers, strict=True)]

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        scores: Tensor = self.scale(self.head(self.features(rows))[:, 0])
        return scores

    def features(self, rows: Sequence[Encoded]) -> Tensor:
        """[B, d] states at the last token of each answer."""
        y = pad_right([y for _, y in rows], self.trunk.pad).to(self.device)
        # The block has a column more than y: the state after the prompt.
        real = torch.nn.functional.pad(self.trunk.mask(y), (1, 0), value=True)
        states = self.trunk.states([x for x, _ in rows], y, real)
        return states[real.sum(dim=1).cumsum(dim=0) - 1]

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        return score_sorted(self, self.encode(prompts, answers))

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        return self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(ByteTransformerConfig(**config))
        read_weights(model, directory)
        return model


def score_sorted(model: nn.Module, rows: Sequence[Encoded], size: int = 64) -> Tensor:
    """[B] scores without gradients, `size` rows at a time, rows of about one length together."""
    order = sorted(range(len(rows)), key=lambda i: sum(len(part) for part in rows[i]))
    scores = torch.empty(len(rows))
    with torch.no_grad():
        for start in range(0, len(order), size):
            part = order[start : start + size]
            scores[part] = model([rows[i] for i in part]).cpu()
    return scores
