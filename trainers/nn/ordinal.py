"""A reward model of ratings: a score for every criterion, and the thresholds that turn scores into points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.policy import Encoded, RewardModel
from trainers.nn.reward import ByteReward, score_sorted
from trainers.nn.scale import Scale
from trainers.nn.storage import read_weights, write_weights
from trainers.records import Prompt

Scaled = tuple[str, int]
"""A criterion and how many points it had: the same question with other points has other thresholds."""


@dataclass(frozen=True)
class OrdinalConfig:
    scales: tuple[Scaled, ...] = (("quality", 5),)
    """Every criterion with its number of points, sorted; a criterion may come with several numbers of points."""
    reader: str = ByteReward.kind
    """What reads the text: the kind of reward model whose features the heads are on."""
    reader_config: dict[str, Any] = field(default_factory=dict)


class OrdinalReward(nn.Module):
    """r(x, y) = mean over criteria c of s_c(x, y), with P(points <= j) = sigmoid(theta_j - s_c(x, y)) (McCullagh 1980).

    All criteria are in the same unit, the logit: one more makes the odds of more points e times as high, whatever their
    number. So their plain mean is the score. Thresholds are kept in order by what is learned: the first one, and the
    gaps above it before a softplus.
    """

    kind: ClassVar[str] = "ordinal_reward"

    def __init__(self, scales: Sequence[Scaled], reader: RewardModel, seed: int = 0) -> None:
        super().__init__()
        self.scales = tuple(sorted((name, int(points)) for name, points in scales))
        self.criteria = sorted({name for name, _ in self.scales})
        if reader.kind not in READERS:
            raise ValueError(
                f"Ratings are learned on {' or '.join(READERS)}; found a reader of kind {reader.kind}."
            )
        self.config = OrdinalConfig(self.scales, reader.kind, asdict(reader.config))  # type: ignore[attr-defined]
        self.reader = reader
        width = reader.head.in_features  # type: ignore[attr-defined]
        # Thresholds hold the constant, so a head has none.
        reader.head = nn.Linear(width, len(self.criteria), bias=False, device=reader.device)  # type: ignore[attr-defined]
        if reader.kind == ByteReward.kind:
            chance = torch.Generator().manual_seed(seed)
            start = torch.randn(len(self.criteria), width, generator=chance) * (width + 1) ** -0.5
        else:
            start = torch.zeros(len(self.criteria), width)  # convex: a random start would stay as noise
        with torch.no_grad():
            reader.head.weight.copy_(start)  # type: ignore[attr-defined]
        self.raw = nn.ParameterList([torch.zeros(points - 1) for _, points in self.scales]).to(reader.device)
        self.scale = Scale().to(reader.device)

    @property
    def device(self) -> torch.device:
        return self.scale.gain.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        return self.reader.encode(prompts, answers)

    def by_criterion(self, rows: Sequence[Encoded]) -> Tensor:
        """[B, C] scores, with gradients; column c is of `criteria[c]`."""
        if isinstance(self.reader, ByteReward):
            read = self.reader.features(rows)
        else:
            read = torch.stack([row[0] for row in rows])
        scores: Tensor = self.reader.head(read)  # type: ignore[attr-defined]
        return scores

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        scores: Tensor = self.scale(self.by_criterion(rows).mean(dim=1))
        return scores

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        return score_sorted(self, self.encode(prompts, answers))

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        found = self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))
        return self.sharpness * found

    @property
    def sharpness(self) -> float:
        """Log-odds that an answer is rated higher than another, for each logit between their mean scores.

        Each judgement is a score and a logistic error of variance pi^2 / 3. The mean over C criteria of the
        differences of two has 2 / C of it, and is taken to be logistic again.
        """
        return sqrt(len(self.criteria) / 2)

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def thresholds(self, scale: Scaled) -> Tensor:
        """[points - 1], rising."""
        return rising(self.raw[self.scales.index(scale)])

    def start_at(self, scale: Scaled, counts: Tensor) -> None:
        """Sets the thresholds so that a score of 0 means the shares of points seen, `counts` [points]."""
        smoothed = (counts.double() + 0.5) / (counts.sum() + 0.5 * len(counts))
        theta = torch.logit(smoothed.cumsum(dim=0)[:-1])
        gaps = theta.diff()
        raw = torch.cat([theta[:1], gaps + torch.log(-torch.expm1(-gaps))])  # softplus undone
        with torch.no_grad():
            self.raw[self.scales.index(scale)].copy_(raw)

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls([(name, points) for name, points in config["scales"]], reader_of(config))
        read_weights(model, directory)
        return model


READERS = (ByteReward.kind, "encoder_reward")


def reader_of(config: Mapping[str, Any]) -> RewardModel:
    if config["reader"] == ByteReward.kind:
        return ByteReward(ByteTransformerConfig(**config["reader_config"]))
    # Here, since transformers takes seconds to import.
    from trainers.nn.encoder import EncoderReward, EncoderRewardConfig

    return EncoderReward(EncoderRewardConfig(**config["reader_config"]))


def rising(raw: Tensor) -> Tensor:
    """[K] thresholds in order, from any K numbers: the first, and the sums of what softplus makes of the others."""
    return torch.cat([raw[:1], raw[:1] + F.softplus(raw[1:]).cumsum(dim=0)])
