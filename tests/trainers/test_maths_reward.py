"""The formulas that reward models and their reports stand on, against numbers worked by hand and known answers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from trainers.maths import logistic, power_law
from trainers.maths.accuracy import (
    calibration_error,
    effective,
    honest_error,
    reliability,
    temperature,
    tempered,
    wilson,
)
from trainers.maths.ties import davidson, log_threshold, rao_kupper


@pytest.mark.parametrize("model", [rao_kupper, davidson])
def test_win_loss_and_tie_are_all_there_is(model) -> None:
    h = torch.linspace(-30, 30, 41, dtype=torch.double)
    threshold = torch.tensor(0.4, dtype=torch.double)
    win, tie = model(h, threshold)
    loss, same = model(-h, threshold)
    assert torch.allclose(win.exp() + tie.exp() + loss.exp(), torch.ones(41, dtype=torch.double), atol=1e-12)
    assert torch.allclose(tie, same)


def test_rao_and_kupper_by_hand() -> None:
    # theta = e^eta = 3, odds e^h = 2: P(first) = 2 / (2 + 3), P(second) = 1 / (1 + 6), P(tie) = 1 - 2/5 - 1/7.
    win, tie = rao_kupper(torch.tensor([math.log(2)]), torch.tensor(math.log(math.log(3))))
    assert win.exp().item() == pytest.approx(2 / 5)
    assert tie.exp().item() == pytest.approx(1 - 2 / 5 - 1 / 7)


def test_davidson_by_hand() -> None:
    # nu = 1, odds 4: 2 : 1 : 1/2.
    win, tie = davidson(torch.tensor([math.log(4)]), torch.tensor(0.0))
    assert (win.exp().item(), tie.exp().item()) == pytest.approx((4 / 7, 2 / 7))


def test_a_threshold_gives_equal_answers_the_share_of_ties_it_was_made_for() -> None:
    for name, model in (("rao_kupper", rao_kupper), ("davidson", davidson)):
        _, tie = model(torch.zeros(1), torch.tensor(log_threshold(name, 0.13)))
        assert tie.exp().item() == pytest.approx(0.13)
    with pytest.raises(ValueError, match="between 0 and 1"):
        log_threshold("davidson", 0.0)


def test_six_labels_of_one_question_are_worth_fewer_than_six() -> None:
    alone = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    assert effective(alone, range(6)) == pytest.approx(6)
    # Two questions, three labels each that always agree: away from the mean 1/2 are 3 x 1/2 and -3 x 1/2, together
    # 2 x 9/4 where apart it is 6 x 1/4: a design effect of 3.
    alike = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert effective(alike, "aaabbb") == pytest.approx(2)
    assert effective(torch.ones(6), "aaabbb") == 2  # nothing apart: each question once
    # Labels that disagree within a question are no worse than independent ones.
    assert effective(torch.tensor([1.0, 0.0, 1.0, 0.0]), "aabb") == 4


def test_an_interval_for_grouped_labels_covers_what_the_plain_one_does_not() -> None:
    """300 questions of six labels whose answers are right with a probability of the question's own."""
    chance = torch.Generator().manual_seed(0)
    groups = [row // 6 for row in range(1800)]
    inside = {"plain": 0, "grouped": 0}
    for _ in range(200):
        question = torch.rand(300, generator=chance).sqrt()  # mean 2/3
        rights = (torch.rand(1800, generator=chance) < question.repeat_interleave(6)).float()
        mean = rights.mean().item()
        for name, n in (("plain", 1800.0), ("grouped", effective(rights, groups))):
            low, high = wilson(mean * n, n)
            inside[name] += low <= 2 / 3 <= high
    assert inside["grouped"] >= 180 > inside["plain"] + 10


def test_the_parts_of_a_reliability_curve_by_hand() -> None:
    sure, surer = math.log(3), math.log(19)  # state 3/4 and 19/20
    first, second = reliability(torch.tensor([sure, -sure, sure, surer], dtype=torch.double))
    assert first == pytest.approx((0.75, 2 / 3, 3)) and second == pytest.approx((0.95, 1.0, 1))


def test_the_temperature_by_hand() -> None:
    # Three of four right at a margin of 2: likeliest where sigmoid(2 / T) = 3/4, so T = 2 / ln 3.
    assert temperature(torch.tensor([2.0, 2.0, 2.0, -2.0])) == pytest.approx(2 / math.log(3), rel=1e-6)
    assert temperature(torch.tensor([1.0, 2.0])) < 0.01 < 100 < temperature(torch.tensor([-1.0, -2.0]))


def test_a_temperature_mends_margins_that_are_too_sure_and_is_fitted_on_others() -> None:
    chance = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, generator=chance, dtype=torch.double) * 1.5
    margins = torch.where(torch.rand(4000, generator=chance) < torch.sigmoid(honest), honest, -honest)
    assert temperature(3 * margins) == pytest.approx(3, rel=0.1)
    folds = [row % 5 for row in range(4000)]
    assert calibration_error(3 * margins) > 0.1 > 0.03 > calibration_error(tempered(3 * margins, folds))
    # A fold's own margins do not move its temperature.
    changed = margins.clone()
    changed[::5] *= 7
    divided_by = [(values / tempered(values, folds))[0].item() for values in (changed, margins)]
    assert divided_by[0] == pytest.approx(divided_by[1], rel=1e-9)


def test_an_honest_models_error_by_chance_is_what_honest_labels_show() -> None:
    chance = torch.Generator().manual_seed(1)
    said = torch.randn(300, generator=chance, dtype=torch.double).abs()
    seen = [
        calibration_error(torch.where(torch.rand(300, generator=chance) < said.sigmoid(), said, -said)).item()
        for _ in range(400)
    ]
    assert honest_error(said, chance, 2000) == pytest.approx(sum(seen) / len(seen), rel=0.04)
    assert 0.05 < sum(seen) / len(seen) < 0.07


def test_the_convex_head_is_where_the_gradient_is_0() -> None:
    chance = torch.Generator().manual_seed(0)
    d = torch.randn(40, 7, generator=chance, dtype=torch.double)
    weights = torch.rand(40, generator=chance, dtype=torch.double) + 0.5
    a, _ = logistic.fit(d @ d.T, weights, 3.0)
    w = (d.T @ a / 3.0).requires_grad_(True)
    loss = -(weights * F.logsigmoid(d @ w)).sum() + 3.0 / 2 * w.square().sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert gradient.abs().max() < 1e-9


def test_the_evidence_for_one_label_is_close_to_the_integral() -> None:
    """One label, d = 1, penalty 1: the integral of sigmoid(w) N(w; 0, 1) is 1/2 by symmetry. Laplace's is near."""
    _, evidence = logistic.fit(torch.ones(1, 1), torch.ones(1), 1.0)
    assert math.exp(evidence) == pytest.approx(0.5, abs=0.01)


def test_the_most_evident_penalty_is_the_one_the_weights_were_drawn_with() -> None:
    chance = torch.Generator().manual_seed(0)
    d = torch.randn(600, 60, generator=chance, dtype=torch.double)
    w = torch.randn(60, generator=chance, dtype=torch.double) / math.sqrt(30.0)
    signs = torch.where(torch.rand(600, generator=chance) < torch.sigmoid(d @ w), 1.0, -1.0)
    d = signs[:, None] * d
    assert logistic.most_evident(d @ d.T, torch.ones(600), (0.3, 3.0, 30.0, 300.0, 3000.0)) == 30.0


def test_a_power_law_is_found_again() -> None:
    n = torch.tensor([50, 100, 200, 400, 800])
    wanted = torch.tensor([[0.8, 1.2, 0.5], [0.6, -0.3, 0.25]], dtype=torch.double)
    found = power_law.fit(n, power_law.at(wanted, n))
    assert torch.allclose(found, wanted, atol=1e-6)
    # By hand: 0.8 - 1.2 / sqrt(400) = 0.74.
    assert power_law.at(wanted[:1], torch.tensor([400])).item() == pytest.approx(0.74)
