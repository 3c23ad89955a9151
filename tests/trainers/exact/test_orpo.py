"""ORPO against the optimum of two answers, the gradient its paper derives, and the usual mistakes."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import rows, snapshot
from trainers import nn
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Pair
from trainers.run import Run, Spec

WEIGHT, SAYS = 0.5, 0.8
TWO_ANSWERS = TableConfig(prompts=("p",), symbols="ab", length=1)


def optimum() -> float:
    """log pi(a) / pi(b) = s, by bisection, where q of the people prefer a.

    One token each, so P(b) = 1 - P(a), log odds(a) = s, log odds(b) = -s, and the derivative of the whole loss in s is
    (sigmoid(s) - q) + 2 lambda (sigmoid(2 s) - q).
    """
    low, high = -10.0, 10.0
    for _ in range(200):
        s = (low + high) / 2
        slope = 1 / (1 + math.exp(-s)) - SAYS + 2 * WEIGHT * (1 / (1 + math.exp(-2 * s)) - SAYS)
        low, high = (s, high) if slope < 0 else (low, s)
    return low


def two_answers_error(orpo: ModuleType) -> float:
    policy = SeqTable(TWO_ANSWERS, seed=1)
    a, b = (torch.tensor([letter]) for letter in (0, 1))
    both = [(torch.tensor([0]), a, b), (torch.tensor([0]), b, a)]
    says = torch.tensor([SAYS, 1 - SAYS], dtype=torch.float64)

    def loss() -> torch.Tensor:
        logp = orpo.logps(policy, both)
        losses, _ = orpo.odds_ratio_loss(logp)
        return (says * (WEIGHT * losses - logp[:, 0])).sum()

    minimise(list(policy.parameters()), loss)
    logp = policy.logp_all().detach()[0]
    return abs((logp[0] - logp[1]).item() - optimum())


def test_of_two_answers_orpo_finds_the_optimum():
    assert two_answers_error(method("direct/orpo")) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("log_odds = mean_logp - log1mexp(mean_logp)", "log_odds = mean_logp"),
        ("log_odds[:, 0] - log_odds[:, 1]", "log_odds[:, 1] - log_odds[:, 0]"),
        ("-F.logsigmoid(ratio), ratio", "-ratio, ratio"),
    ],
    ids=["probabilities in place of odds", "chosen and rejected swapped", "no sigmoid"],
)
def test_a_wrong_orpo_finds_another(right, wrong):
    assert not two_answers_error(method("direct/orpo", right, wrong)) < 0.05


def test_the_gradient_of_the_odds_ratio_is_the_one_that_the_paper_derives():
    """delta (grad log P_w / (1 - P_w) - grad log P_l / (1 - P_l)), delta = 1 / (1 + odds_w / odds_l)."""
    orpo, policy = (
        method("direct/orpo"),
        SeqTable(TableConfig(prompts=("p",), symbols="abcd", length=3), seed=2),
    )
    logp = orpo.logps(policy, [(torch.tensor([0]), torch.tensor([1, 2, 0]), torch.tensor([3, 1, 1]))]) / 3
    losses, _ = orpo.odds_ratio_loss(logp)
    (found,) = torch.autograd.grad(losses.sum(), policy.table, retain_graph=True)
    (grad_w,) = torch.autograd.grad(logp[0, 0], policy.table, retain_graph=True)
    (grad_l,) = torch.autograd.grad(logp[0, 1], policy.table)
    p_w, p_l = logp.detach().exp()[0]
    delta = 1 / (1 + p_w / (1 - p_w) / (p_l / (1 - p_l)))
    torch.testing.assert_close(
        found, -delta * (grad_w / (1 - p_w) - grad_l / (1 - p_l)), rtol=1e-12, atol=1e-14
    )


def test_the_odds_ratio_loss_is_the_number_worked_by_hand():
    """P = 0.5 and 0.2: odds 1 and 0.25, log 4 = 1.386294; log(1 + 1/4) = 0.223144."""
    losses, ratio = method("direct/orpo").odds_ratio_loss(torch.tensor([[0.5, 0.2]]).log())
    assert ratio.tolist() == pytest.approx([1.386294], abs=1e-6)
    assert losses.tolist() == pytest.approx([0.223144], abs=1e-6)


def odds_error(orpo: ModuleType) -> float:
    """Largest relative error of log(1 - e^x) in single precision, near certainty, far from it and between."""
    logp = torch.tensor([-1e-5, -1e-3, -0.1, -0.6931, -0.6932, -1.0, -5.0, -20.0, -80.0])
    exact = torch.log1p(-logp.double().exp()).where(logp < -1, torch.log(-torch.expm1(logp.double())))
    return ((orpo.log1mexp(logp) - exact) / exact).abs().max().item()


def test_odds_are_exact_in_single_precision_near_certainty_and_far_from_it():
    assert odds_error(method("direct/orpo")) < 1e-5


def test_the_plain_spelling_of_the_odds_is_noticed():
    wrong = method("direct/orpo", "torch.where(near, torch.log(-torch.expm1(high)), torch.log1p(-torch.exp(low)))",
                   "torch.log(1 - torch.exp(logp))")  # fmt: skip
    assert odds_error(wrong) > 0.01


def test_an_answer_that_is_certain_has_a_finite_loss_and_gradient():
    logp = torch.tensor([[0.0, -3.0], [-3.0, 0.0]], requires_grad=True)
    losses, _ = method("direct/orpo").odds_ratio_loss(logp)
    losses.sum().backward()
    assert losses.isfinite().all() and logp.grad.isfinite().all()


def first_loss(orpo: ModuleType, folder: Path, micro_batch: int) -> tuple[float, float]:
    """A first step's loss, and the one worked by hand with a plain loop."""
    texts = [("a", "bb bb bb"), ("a much longer answer than the others", "c"), ("dd dd", "e"), ("f", "gg")]
    records = [Pair(f"p{i}", f"q{i}", *two, weight=1 + i % 2) for i, two in enumerate(texts)]
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1)), folder / "policy")
    config = {"micro_batch": micro_batch, "batch_size": 4, "held_out": 0, "beta": 0.3}
    where = snapshot(folder / "snapshot", records)
    spec = Spec("direct/orpo", folder / "run", config, inputs={"policy": str(policy)}, snapshot=where)
    model = nn.load_policy(policy)
    nll = odds = tokens = weight = 0.0
    with torch.no_grad():
        for record in records:
            means = []
            for text in (record.chosen, record.rejected):
                x, y = model.encode_pair(record.prompt, text)
                logp = model.logits([x], y[None])[0].log_softmax(dim=-1)
                means.append(sum(logp[t, token].item() for t, token in enumerate(y.tolist())) / len(y))
                if text is record.chosen:
                    nll, tokens = nll - record.weight * means[0] * len(y), tokens + record.weight * len(y)
            chosen, rejected = (mean - math.log(1 - math.exp(mean)) for mean in means)
            odds += record.weight * math.log(1 + math.exp(rejected - chosen))
            weight += record.weight
    run = Run(spec)
    orpo.train(orpo.Config(**run.config), run)
    run.finished()
    return rows(spec.home)[0]["loss"], nll / tokens + 0.3 * odds / weight


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_orpos_whole_loss_is_the_one_worked_by_hand_however_the_batch_is_cut(micro_batch, tmp_path):
    found, wanted = first_loss(method("direct/orpo"), tmp_path, micro_batch)
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".sum() / whole_tokens", ".sum() / (weights[part] * lengths[part, 0]).sum()"),
        (
            "(weights[part] * logp[:, 0]).sum() / whole_tokens",
            "(weights[part] * mean_logp[:, 0]).sum() / whole",
        ),
        ("mean_logp = logp / lengths[part]", "mean_logp = logp"),
        ("nll + config.beta *", "config.beta *"),
    ],
    ids=[
        "parts normalised by themselves",
        "answers normalised by themselves",
        "sums in the odds",
        "no fine-tuning",
    ],
)
def test_a_wrong_whole_loss_is_noticed(right, wrong, tmp_path):
    found, wanted = first_loss(method("direct/orpo", right, wrong), tmp_path, 1)
    assert abs(found - wanted) > 1e-3
