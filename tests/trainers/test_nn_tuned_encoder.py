"""The sentence encoder whose last layer learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainers import nn
from trainers.nn.encoder import EncoderReward, EncoderRewardConfig
from trainers.nn.tuned_encoder import SLOWER, TunedEncoderConfig, TunedEncoderReward

ASKED = ["Where is the pool?", "How much is it?", "Where is the pool?"]
ANSWERS = ["On the roof, from seven to ten.", "Ten.", "No idea."]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> TunedEncoderReward:
    found = TunedEncoderReward(TunedEncoderConfig()).eval()
    with torch.no_grad():
        found.head.weight.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    return found


def test_untrained_it_reads_as_the_frozen_encoder(model):
    frozen = EncoderReward(EncoderRewardConfig())
    with torch.no_grad():
        frozen.head.weight.copy_(model.head.weight)
    assert torch.allclose(model.score(ASKED, ANSWERS), frozen.score(ASKED, ANSWERS), atol=1e-4)


def test_batch_and_padding_do_not_change_a_score(model):
    together = model.score(ASKED, ANSWERS)
    alone = torch.cat([model.score([x], [y]) for x, y in zip(ASKED, ANSWERS, strict=True)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_last_layer_learns_and_those_below_do_not(model):
    below = [weight.clone() for weight in model.encoder.model.parameters()]
    rows = model.encode(ASKED, ANSWERS)
    model(rows).sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    assert all(one is not None for one in gradients.values())
    moved = [name for name in gradients if name.startswith("top.")]
    assert len(moved) == 16 and sum(gradients[name].abs().sum() for name in moved) > 0
    assert not any(weight.requires_grad for weight in model.encoder.model.parameters())
    assert all(torch.equal(*pair) for pair in zip(below, model.encoder.model.parameters(), strict=True))
    model.zero_grad()


def test_decay_draws_the_layer_to_where_it_started(model):
    weight = model.top[0].output.dense
    start = weight.weight.detach().clone()
    with torch.no_grad():
        weight.parametrizations.weight.original.fill_(1.0)
        assert torch.allclose(weight.weight - start, torch.full_like(start, SLOWER), atol=1e-6)
        weight.parametrizations.weight.original.zero_()
    assert torch.equal(weight.weight, start)


def test_a_saved_one_opens_as_itself(model, tmp_path: Path):
    with torch.no_grad():
        model.top[0].output.dense.parametrizations.weight.original[0, 0] = 3.0
    again = nn.load_reward_model(nn.save(model, tmp_path / "model"))
    assert torch.equal(again.score(ASKED, ANSWERS), model.score(ASKED, ANSWERS))
    with pytest.raises(ValueError, match="not the one"):
        TunedEncoderReward(TunedEncoderConfig(encoder_digest="0" * 64))
    with pytest.raises(ValueError, match="layers cannot learn"):
        TunedEncoderReward(TunedEncoderConfig(layers=6))
