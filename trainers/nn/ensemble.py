"""Several reward models as one: what they agree on is the score, and how far they differ says how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainers.nn.policy import Encoded, RewardModel
from trainers.nn.scale import Scale
from trainers.nn.storage import describe, load_reward_model, read_weights, save
from trainers.records import Prompt

AT_ONCE = 64
"""Answers in memory at once, those of about one length together."""
FLOOR = 1e-12
"""Added to a variance before its root, whose slope at 0 is infinite."""


@dataclass(frozen=True)
class EnsembleConfig:
    members: int = 8
    """How many models there are."""
    pessimism: float = 1.0
    """k: the members' standard deviations that are taken from their mean score."""


class EnsembleReward(nn.Module):
    """r(x, y) = mean_i r_i(x, y) - k std_i r_i(x, y): a pessimistic score, low where the members differ.

    Members score in log-odds, sigmoid(r_i(x, y) - r_i(x, y')) being the probability that member i gives y to be
    preferred, and each has mean 0 on the answers it was trained on: Bradley-Terry leaves a constant free, and members
    with different ones would differ about nothing. Lower confidence bounds of ensembles as rewards: Coste et al. 2023
    (arXiv:2310.02743; here with the deviation in place of the variance).
    """

    kind: ClassVar[str] = "ensemble_reward"

    def __init__(self, members: Sequence[RewardModel], pessimism: float = 1.0) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"An ensemble has at least two members, to differ; found {len(members)}.")
        if len(kinds := sorted({one.kind for one in members})) > 1:
            raise ValueError(f"The members of an ensemble read alike; found the kinds {', '.join(kinds)}.")
        self.config = EnsembleConfig(len(members), pessimism)
        self.members = nn.ModuleList(cast(list[nn.Module], list(members)))
        self.scale = Scale()

    @property
    def device(self) -> torch.device:
        return self.scale.gain.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        return self._members[0].encode(prompts, answers)

    def opinions(self, rows: Sequence[Encoded]) -> Tensor:
        """[N, B] each member's scores, with gradients."""
        return torch.stack([member(rows) for member in self._members])

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        return self._score(self.opinions(rows))

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        """[N, B] each member's scores, in log-odds, on the CPU, without gradients."""
        rows = self.encode(prompts, answers)
        order = sorted(range(len(rows)), key=lambda i: sum(len(part) for part in rows[i]))
        with torch.no_grad():
            found = [
                self.opinions([rows[i] for i in order[start : start + AT_ONCE]]).cpu()
                for start in range(0, len(order), AT_ONCE)
            ]
        in_order = torch.cat(found, dim=1) if found else torch.zeros(len(self.members), 0)
        return in_order[:, torch.tensor(order, dtype=torch.int64).argsort()]

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self._score(self.scores(prompts, answers).to(self.device)).cpu()

    def probabilities(
        self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]
    ) -> Tensor:
        """[N, B]: each member's probability that the answer is preferred to the other."""
        found = self.scores([*prompts, *prompts], [*answers, *others])
        return torch.sigmoid(found[:, : len(prompts)] - found[:, len(prompts) :])

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        """[B]: the mean of the members' log-odds. Pessimism is of scores: it makes no statement about two answers."""
        found = self.scores([*prompts, *prompts], [*answers, *others]).double()
        return mean(found[:, : len(prompts)] - found[:, len(prompts) :])

    def normalise(self, mean: float, std: float) -> None:
        """Of the pessimistic score. The members keep their log-odds."""
        self.scale.normalise(mean, std)

    def write(self, directory: Path) -> None:
        """Each member a folder of its own, which opens as a reward model by itself."""
        for number, member in enumerate(self._members):
            save(member, directory / f"member-{number}")
        scale = {name: value.detach().cpu() for name, value in self.scale.state_dict().items()}
        save_file(scale, directory / "scale.safetensors")

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        folders = [directory / f"member-{number}" for number in range(config["members"])]
        members: list[RewardModel] = [load_reward_model(folders[0])]
        for folder in folders[1:]:
            if describe(folder) == describe(folders[0]) and members[0].kind == "encoder_reward":
                member = beside(members[0])
                read_weights(cast(nn.Module, member), folder)
            else:
                member = load_reward_model(folder)
            members.append(member)
        model = cls(members, config["pessimism"])
        model.scale.load_state_dict(load_file(directory / "scale.safetensors"))
        return model

    @property
    def _members(self) -> list[RewardModel]:
        return cast(list[RewardModel], list(self.members))

    def _score(self, opinions: Tensor) -> Tensor:
        scores: Tensor = self.scale(mean(opinions) - self.config.pessimism * std(opinions))
        return scores


def mean(opinions: Tensor) -> Tensor:
    """[B] from [N, B]: what the members say together."""
    return opinions.mean(dim=0)


def std(opinions: Tensor) -> Tensor:
    """[B] from [N, B]: the standard deviation over these members."""
    return (opinions.var(dim=0, correction=0) + FLOOR).sqrt()


def beside(model: RewardModel) -> RewardModel:
    """A second model of the same weights, which shares with the first what is frozen and belongs to no checkpoint."""
    encoder = getattr(model, "encoder", None)
    shared = {} if encoder is None or isinstance(encoder, nn.Module) else {id(encoder): encoder}
    return deepcopy(model, shared)
