"""The reward models that methods start from, and preferences as such a model reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trainers.nn import Encoded, RewardModel, load_policy
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.records import Prompt, canonical, prompt_json
from trainers.run import Run

Backbone = Literal["sentence_encoder", "byte_transformer"]


def fresh(run: Run, backbone: Backbone, d: int, layers: int, seed: int) -> RewardModel:
    """An untrained reward model; called twice at a seed, it gives two equal ones.

    A byte transformer starts from the run's `policy`, where it names one.
    """
    if backbone == "sentence_encoder":
        # Here, since transformers takes seconds to import.
        from trainers.nn.encoder import EncoderReward, EncoderRewardConfig

        return EncoderReward(EncoderRewardConfig()).to(run.device)
    from trainers.nn.reward import ByteReward

    if "policy" not in run.inputs:
        return ByteReward(ByteTransformerConfig(d=d, layers=layers), seed).to(run.device)
    policy = load_policy(run.input("policy"), run.device)
    if not isinstance(policy, ByteTransformer):
        raise ValueError(
            f"The policy in {run.input('policy')} is no byte transformer, so none can start from it. "
            "Name a byte transformer, or none, or choose the sentence encoder."
        )
    return ByteReward.from_policy(policy, seed)


def encode(run: Run, model: RewardModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
    """Each prompt with its answer as the model reads it. What a frozen encoder makes of them is kept."""
    if model.kind != "encoder_reward":
        return model.encode(prompts, answers)
    key = canonical([[prompt_json(prompt), text] for prompt, text in zip(prompts, answers, strict=True)])

    def features() -> Tensor:
        return torch.stack([row[0] for row in model.encode(prompts, answers)])

    return [(one,) for one in run.once("features", hashlib.sha256(key.encode()).hexdigest(), features)]


def length(row: Encoded) -> int:
    """How long an answer is to its reader: ids, or features."""
    return sum(len(ids) for ids in row)
