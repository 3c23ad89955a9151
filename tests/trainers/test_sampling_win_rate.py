"""Win rates, with and without length, and what records say of a policy: against enumeration and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.maths.length_control import length_controlled
from trainers.nn.table import SeqTable, TableConfig, TableReward
from trainers.records import Correction, Demonstration, Pair, Ranking
from trainers.reports.policy import evaluate
from trainers.sampling.win_rate import win_rate

TABLE = TableConfig(prompts=("p", "q", "r"), symbols="abc", length=2)


def test_length_buys_no_win_at_equal_length():
    """Wins that hang on length alone, from a judge whose other half is a coin: 0.5 at equal length, by construction."""
    generator = torch.Generator().manual_seed(0)
    longer = torch.randn(20_000, generator=generator, dtype=torch.float64) + 1.0
    s = longer.square().mean().sqrt()
    wins = torch.bernoulli(torch.sigmoid(2.0 * torch.tanh(longer / s)), generator=generator)
    found = length_controlled(wins, longer, torch.arange(20_000))
    assert wins.mean() > 0.65
    assert found.low < 0.5 < found.high and found.high - found.low < 0.05
    assert found.phi == pytest.approx(2.0, abs=0.15)
    better = torch.bernoulli(torch.sigmoid(0.8 + 2.0 * torch.tanh(longer / s)), generator=generator)
    again = length_controlled(better, longer, torch.arange(20_000))
    assert again.low < torch.sigmoid(torch.tensor(0.8)) < again.high


def test_where_lengths_are_equal_the_win_rate_is_the_plain_one():
    wins = torch.tensor([1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0] * 50)
    found = length_controlled(wins, torch.zeros(400), torch.arange(400))
    assert found.value == pytest.approx(
        wins.mean().item(), abs=2e-3
    )  # the ridge pulls it a little towards one half
    n = 400
    spread = math.sqrt(wins.double().var(correction=0).item() / n)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.02)


def test_answers_of_one_prompt_do_not_count_as_independent():
    wins = torch.tensor([1.0, 0.0]).repeat_interleave(100)
    alone = length_controlled(wins, torch.zeros(200), torch.arange(200))
    together = length_controlled(wins, torch.zeros(200), torch.arange(20).repeat_interleave(10))
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_length_that_explains_every_win_leaves_finite_numbers():
    wins = torch.tensor([1.0] * 20 + [0.0] * 20)
    longer = torch.tensor([5.0] * 20 + [-5.0] * 20)
    found = length_controlled(wins, longer, torch.arange(40))
    assert all(map(math.isfinite, found)) and found.value == pytest.approx(0.5, abs=1e-6)


def test_the_win_rate_of_one_table_over_another_is_that_of_enumeration():
    ours, theirs, reward = SeqTable(TABLE, seed=1), SeqTable(TABLE, seed=2), TableReward(TABLE)
    values = torch.randn(3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(
        decimals=0
    )
    with torch.no_grad():
        reward.values.copy_(values)
    p, q = ours.logp_all().exp(), theirs.logp_all().exp()
    wins = (torch.sign(values[:, :, None] - values[:, None, :]) + 1) / 2
    wanted = (p[:, :, None] * q[:, None, :] * wins).sum(dim=(1, 2)).mean().item()
    found = win_rate(ours, theirs, reward, TABLE.prompts, 3000, 2, 1.0, seed=0)["readings"]
    assert found["win_rate"]["value"] == pytest.approx(wanted, abs=0.015)
    assert found["win_rate_length_controlled"]["value"] == pytest.approx(wanted, abs=0.02)
    assert found["score"]["value"] == pytest.approx((p * values).sum(dim=1).mean().item(), abs=0.03)
    itself = win_rate(ours, ours, reward, TABLE.prompts, 3000, 2, 1.0, seed=0)["readings"]["win_rate"]
    assert itself["value"] == pytest.approx(0.5, abs=0.015)
    assert itself["value"] != 0.5, "both drew the same answers: that is no comparison of two draws"


def records():
    return [
        Demonstration("1", "p", "ab"),
        Correction("2", "q", "aa", "cb"),
        Pair("3", "p", "ac", "bb"),
        Pair("4", "r", "ba", "ca", outcome="tie"),
        Ranking("5", "q", ("aa", "bb", "cc"), (2, 1, 3)),
        Demonstration("6", "r", "cc", weight=0.0),
    ]


def test_a_policy_is_told_how_likely_good_answers_are_and_what_it_prefers():
    policy, reference = SeqTable(TABLE, seed=1), SeqTable(TABLE, seed=2)

    def logp(model, prompt, answer):
        x, y = model.encode_pair(prompt, answer)
        return model.logp_tok([x], y[None]).sum().item()

    good = [("p", "ab"), ("q", "cb"), ("p", "ac"), ("q", "bb")]
    found = evaluate(policy, records(), reference)["readings"]
    total = sum(logp(policy, *one) for one in good)
    assert found["logp"]["value"] == pytest.approx(total / 4)
    assert found["perplexity"]["value"] == pytest.approx(math.exp(-total / 8))
    assert found["perplexity"]["low"] < found["perplexity"]["value"] < found["perplexity"]["high"]
    # The edit over its original, the pair, and the ranking's three.
    judged = [("q", "cb", "aa"), ("p", "ac", "bb"), ("q", "bb", "aa"), ("q", "bb", "cc"), ("q", "aa", "cc")]
    margins = [
        sum(sign * (logp(policy, x, y) - logp(reference, x, y)) for sign, y in ((1, better), (-1, worse)))
        for x, better, worse in judged
    ]
    assert found["implied_accuracy"]["value"] == pytest.approx(sum(one > 0 for one in margins) / 5)
    alone = evaluate(policy, records())["readings"]["implied_accuracy"]
    likelier = [logp(policy, x, better) > logp(policy, x, worse) for x, better, worse in judged]
    assert alone["value"] == pytest.approx(sum(likelier) / 5) and "Likelier" in alone["label"]


def test_records_that_say_nothing_of_a_policy_are_refused():
    with pytest.raises(ValueError, match="no answer to be imitated"):
        evaluate(SeqTable(TABLE), [Pair("4", "r", "ba", "ca", outcome="tie")])
