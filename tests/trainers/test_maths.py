"""Formulas, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.maths.accuracy import calibration_error, wilson
from trainers.maths.logprobs import entropy, gather_logp


def test_log_probabilities_by_hand() -> None:
    # softmax(0, ln 3) is (1/4, 3/4); at temperature 1/2 the logits double: (1/10, 9/10).
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)], [9.0, 1.0]]])
    y = torch.tensor([[0, 1, 7]])  # 7 is no column: it is padding
    mask = torch.tensor([[True, True, False]])
    found = gather_logp(logits, y, mask)
    assert torch.allclose(found, torch.tensor([[math.log(1 / 4), math.log(3 / 4), 0.0]]))
    cooled = gather_logp(logits, y, mask, temperature=0.5)
    assert torch.allclose(cooled, torch.tensor([[math.log(1 / 10), math.log(9 / 10), 0.0]]))


def test_the_gradient_of_a_log_probability_is_one_hot_less_softmax_and_padding_has_none() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [2.0, 5.0]]], requires_grad=True)
    gather_logp(logits, torch.tensor([[0, 1]]), torch.tensor([[True, False]]), 0.5).sum().backward()
    expected = torch.tensor([[[1 - 0.1, -0.9], [0.0, 0.0]]]) / 0.5
    assert torch.allclose(logits.grad, expected)


def test_extreme_logits_give_finite_log_probabilities() -> None:
    logits = torch.tensor([[[1e4, 0.0, -1e9]]])
    found = gather_logp(logits, torch.tensor([[1]]), torch.tensor([[True]]))
    assert found.item() == -1e4
    assert entropy(logits).item() == 0.0


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, 5.0]]])
    by_hand = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert torch.allclose(entropy(logits), torch.tensor([[by_hand, math.log(2)]]))
    cooled = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert entropy(logits, 0.5)[0, 0].item() == pytest.approx(cooled)


def test_wilsons_interval_by_hand() -> None:
    # 8 of 10, z = 2: centre 0.8 + 4/20 = 1, spread 2 sqrt(0.016 + 0.01) = 0.3225, all over 1.4.
    low, high = wilson(8, 10, z=2.0)
    assert low == pytest.approx((1 - 2 * math.sqrt(0.026)) / 1.4)
    assert high == pytest.approx((1 + 2 * math.sqrt(0.026)) / 1.4)
    # The figures that Newcombe (1998, Table I) gives for 81 of 263, and the ends of the range.
    assert wilson(81, 263, z=1.959964) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20)[0] == pytest.approx(0.0, abs=1e-12) and wilson(0, 20)[1] < 0.17
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_calibration_error_by_hand() -> None:
    # Margins of ±ln 3 state 3/4, of ±ln 19 state 19/20. Of the first four two are right, of the last one all.
    sure, surer = math.log(3), math.log(19)
    margins = torch.tensor([sure, sure, -sure, -sure, surer], dtype=torch.float64)
    by_hand = 4 / 5 * abs(0.75 - 0.5) + 1 / 5 * abs(0.95 - 1.0)
    assert calibration_error(margins).item() == pytest.approx(by_hand)
    assert calibration_error(torch.tensor([sure, sure, sure, -sure])).item() == pytest.approx(0.0, abs=1e-6)


def test_a_tied_score_is_half_right() -> None:
    assert calibration_error(torch.zeros(7)).item() == 0.0
