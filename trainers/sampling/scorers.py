"""The reward models that methods start from, and preferences as such a model reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor

from trainers.data import Lazy, Preference, each
from trainers.fit import parts
from trainers.nn import Encoded, RewardModel, load_policy
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.records import Prompt, canonical, prompt_json
from trainers.registry import backbone_problem
from trainers.run import Run

Backbone = Literal["sentence_encoder", "tuned_encoder", "byte_transformer", "policy"]
KEPT = 2048
"""Pairs whose states under a learning layer stay in memory: at 256 tokens an answer and 384 numbers a token, 1.6 GB."""

AT_ONCE = 1024
"""Answers that a frozen encoder is given at once, to read equal texts of them once and those of one length together."""


def fresh(run: Run, backbone: Backbone, d: int, layers: int, seed: int) -> RewardModel:
    """An untrained reward model; called twice at a seed, it gives two equal ones.

    The backbone `policy` starts from the run's: a byte transformer, or a Hugging Face model, whose adapters alone train
    where it has some. Raises ValueError where such a policy is missing, or another backbone would leave one unused.
    """
    if problem := backbone_problem({"backbone": backbone}, run.inputs):
        raise ValueError(problem)
    if backbone == "sentence_encoder":
        # Here, since transformers takes seconds to import.
        from trainers.nn.encoder import EncoderReward, EncoderRewardConfig

        return EncoderReward(EncoderRewardConfig()).to(run.device)
    if backbone == "tuned_encoder":
        from trainers.nn.tuned_encoder import TunedEncoderConfig, TunedEncoderReward

        return TunedEncoderReward(TunedEncoderConfig()).to(run.device)
    from trainers.nn.reward import ByteReward

    if backbone == "byte_transformer":
        return ByteReward(ByteTransformerConfig(d=d, layers=layers), seed).to(run.device)
    policy = load_policy(run.input("policy"), run.device)
    if getattr(policy, "kind", None) == "hugging_face":
        from trainers.nn.hugging_face import HuggingFacePolicy
        from trainers.nn.hugging_face_reward import PolicyReward

        return PolicyReward(cast(HuggingFacePolicy, policy), seed)
    if not isinstance(policy, ByteTransformer):
        raise ValueError(
            f"The policy in {run.input('policy')} is neither a byte transformer nor a Hugging Face model, so no "
            "reward model can start from it. Name one that is, or choose another backbone."
        )
    return ByteReward.from_policy(policy, seed)


def encode(run: Run, model: RewardModel, asked: Sequence[tuple[Prompt, str]]) -> Sequence[Encoded]:
    """Prompts with answers as the model reads them: made when they are asked for, but for what a frozen encoder makes
    of them, which is kept."""
    if model.kind != "encoder_reward" or not len(asked):
        return each(asked, lambda one: model.encode([one[0]], [one[1]])[0], 2 * KEPT)
    key = hashlib.sha256()
    for prompt, answer in asked:
        key.update(canonical([prompt_json(prompt), answer]).encode() + b"\n")

    def features() -> Tensor:
        read = []
        for part in parts(asked, AT_ONCE):
            prompts, answers = zip(*part, strict=True)
            read.append(torch.stack([row[0] for row in model.encode(prompts, answers)]))
        return torch.cat(read)

    rows = run.once("features", key.hexdigest(), features)
    return Lazy(len(asked), lambda row: (rows[row],))


def encode_pairs(
    run: Run, model: RewardModel, wanted: Sequence[Preference]
) -> Sequence[tuple[Encoded, Encoded]]:
    """Each preference as a reward model reads it: (better, worse). What is no features of a frozen encoder is made
    when it is asked for, and the newest of it kept."""
    if model.kind == "encoder_reward":

        def answer(row: int) -> tuple[Prompt, str]:
            one = wanted[row // 2]
            return one.prompt, one.worse if row % 2 else one.better

        rows = encode(run, model, Lazy(2 * len(wanted), answer))
        return Lazy(len(wanted), lambda row: (rows[2 * row], rows[2 * row + 1]))

    def made(one: Preference) -> tuple[Encoded, Encoded]:
        better, worse = model.encode([one.prompt, one.prompt], [one.better, one.worse])
        return better, worse

    return each(wanted, made, KEPT)


def length(row: Encoded) -> int:
    """How long an answer is to its reader: ids, or features."""
    return sum(len(ids) for ids in row)
