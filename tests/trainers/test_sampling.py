"""Answers drawn from a policy."""

from __future__ import annotations

import torch

from trainers.nn.byte_transformer import EOS, ByteTransformer, ByteTransformerConfig
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Message
from trainers.sampling import sample_answers


def test_answers_stand_beside_their_prompts_and_their_ids() -> None:
    policy = SeqTable(TableConfig(prompts=("p", "q")), seed=1)
    with torch.no_grad():  # to p always "aaa", to q always "ddd"
        policy.table[0, :, 0] += 100
        policy.table[1, :, 3] += 100
    drawn = sample_answers(policy, ["q", "p"], 2, 3, 1.0, torch.Generator().manual_seed(0))
    assert drawn.prompts == ["q", "q", "p", "p"]
    assert drawn.texts == ["ddd", "ddd", "aaa", "aaa"]
    assert drawn.samples.y.tolist() == [[3, 3, 3]] * 2 + [[0, 0, 0]] * 2
    assert [x.item() for x in drawn.samples.x] == [1, 1, 0, 0]


def test_texts_are_what_was_sampled_up_to_its_end() -> None:
    policy = ByteTransformer(ByteTransformerConfig(d=16, layers=1, heads=2), seed=0)
    with torch.no_grad():
        policy.embedding.weight[EOS] *= 30
    asked = ["hi", (Message("user", "Is it quiet?"),)]
    drawn = sample_answers(policy, asked, 16, 12, 1.0, torch.Generator().manual_seed(0))
    assert drawn.prompts == [asked[0]] * 16 + [asked[1]] * 16
    assert drawn.samples.finished.any()
    for text, y, mask in zip(drawn.texts, drawn.samples.y, drawn.samples.mask, strict=True):
        ids = [token for token in y[mask].tolist() if token != EOS]
        assert text == bytes(ids).decode("utf-8", errors="replace")


def test_a_seed_gives_the_same_answers_again() -> None:
    policy = SeqTable(TableConfig(prompts=("p",)), seed=1)
    first, again, other = (
        sample_answers(policy, ["p"], 8, 3, 1.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.texts == again.texts != other.texts
