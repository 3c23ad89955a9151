"""A tiny Llama, its tokenizer and a handful of texts, made by formulas: bit for bit the same wherever they are made.

Imports nothing of this project, so that a program with other libraries installed can make them too.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

WORDS = [
    *("the", "a", "room", "was", "is", "very", "clean", "quiet", "small", "cold", "dark"),
    *("breakfast", "staff", "kind", "slow", "good", "bad", "and", "but", "not", "we", "liked"),
]
PAD, EOS = 0, 1

PAIRS = [
    # prompt, better answer, worse answer, how clearly from 1 to 3
    ("the room was", " very clean and quiet", " not clean", 1),
    ("breakfast is", " good", " slow and the staff was not kind but cold", 3),
    ("we liked", " the kind staff and the quiet room", " the dark room and the cold staff", 2),
    ("the staff was", " kind", " slow", 1),
    ("a small room is", " quiet and good", " cold and dark and bad", 2),
]
OPINIONS = [
    # prompt, answer, desirable
    ("the room was", " very clean and quiet", True),
    ("breakfast is", " slow and the staff was not kind but cold", False),
    ("we liked", " the kind staff", True),
    ("the staff was", " slow", False),
    ("a small room is", " quiet and good", True),
    ("the breakfast was", " cold", False),
    ("the room is", " not dark", True),
]
SAMPLES = [
    # prompt, four sampled answers (</s> where it ended), their rewards
    (
        "the room was",
        [" clean </s>", " very quiet and dark </s>", " a a breakfast </s>", " cold but we liked"],
        [1.0, 2.5, -1.0, 0.25],
    ),
    (
        "breakfast is",
        [" good </s>", " slow and bad </s>", " very very good and", " staff </s>"],
        [3.0, 0.5, 2.0, -0.5],
    ),
]


def tokenizer() -> PreTrainedTokenizerFast:
    """One id a word."""
    ids = {word: number for number, word in enumerate(["[PAD]", "</s>", "[UNK]", *WORDS])}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="[PAD]", unk_token="[UNK]", padding_side="right"
    )


def config(**more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **more,
    )


def noise(size: int, seed: int) -> NDArray[np.float64]:
    """[size] numbers from -1 to 1: splitmix64 of the position (Steele, Lea and Flood 2014), in whole numbers alone."""
    with np.errstate(over="ignore"):
        z = (np.arange(size, dtype=np.uint64) + np.uint64(seed * 1_000_003 + 1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1


def fixed(name: str, weight: Tensor, seed: int) -> Tensor:
    """Numbers from -1 to 1 of a weight's shape, by its name."""
    values = noise(weight.numel(), seed * 101 + zlib.crc32(name.encode()) % 1009)
    return torch.from_numpy(values).view(weight.shape)


@torch.no_grad()
def filled(model: nn.Module, seed: int, away: float = 0.0) -> Any:
    """The model with weights by formula; `away` says how far they are from those of seed 1.

    TRL lets PAD be predicted, our policies never do. So that both read one distribution, no model here predicts it: the
    first coordinate of every state is a positive constant before the last norm, and all that PAD's logit reads.
    """
    for name, weight in model.named_parameters():
        middle, spread = (1.0, 0.1) if weight.dim() == 1 else (0.0, 0.4)
        values = middle + spread * (fixed(name, weight, 1) + away * fixed(name, weight, seed))
        if name.endswith("embed_tokens.weight"):
            values[:, 0] = 1.0
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            values[0] = 0.0
        elif name == "lm_head.weight":
            values[PAD] = 0.0
            values[PAD, 0] = -60.0
        weight.copy_(values.float())
    return model.eval()


def policy() -> LlamaForCausalLM:
    return filled(LlamaForCausalLM(config()), 1)


def reference() -> LlamaForCausalLM:
    return filled(LlamaForCausalLM(config()), 2, away=0.1)


def old_policy() -> LlamaForCausalLM:
    """What drew the samples: near the policy, but far enough for some ratios to be clipped."""
    return filled(LlamaForCausalLM(config()), 3, away=0.05)


def scorer() -> LlamaForSequenceClassification:
    return filled(LlamaForSequenceClassification(config(num_labels=1)), 4)


def summary(model: nn.Module) -> dict[str, list[float]]:
    """Of each weight's gradient the length, and how far it goes along two fixed directions."""
    found = {}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            gradient = weight.grad.double()
            along = [(gradient * fixed(name, weight, seed)).sum().item() for seed in (7, 8)]
            found[name] = [gradient.norm().item(), *along]
    return found
