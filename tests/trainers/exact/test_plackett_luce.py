"""Plackett-Luce against enumerated orders, against Bradley-Terry, and against its usual mistakes."""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import rows, toy_spec
from trainers import api
from trainers.records import Correction, Pair, Ranking
from trainers.run import Run

ORDERS = [(1, 2, 3, 4), (2, 1, 1, 3), (1, 1, 1, 1, 2), (3, 1, 2, 1, 3, 3), (1, 1), (2, 1)]


def consistent(ranks: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every order of the places that puts better ranks first."""
    every = itertools.permutations(range(len(ranks)))
    return [one for one in every if all(ranks[i] <= ranks[j] for i, j in itertools.pairwise(one))]


def log_p(scores: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """log P of a whole order: the best of all, then the best of the rest, …"""
    steps = range(len(order))
    return sum(
        (scores[order[step]] - scores[list(order[step:])].logsumexp(0) for step in steps),
        start=torch.zeros(()),
    )


def tie_error(pl: ModuleType) -> float:
    """How far the loss is from the mean of -log P over all orders that the ranks allow, by enumeration."""
    scores = torch.randn(len(ORDERS), 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = pl.ranking_loss(scores, ORDERS, 0.0)
    worst = 0.0
    for row, ranks in enumerate(ORDERS):
        orders = consistent(ranks)
        wanted = -sum(log_p(scores[row], one) for one in orders) / len(orders)
        worst = max(worst, (found[row] - wanted).abs().item())
    return worst


def test_the_loss_of_a_tie_is_the_mean_over_its_orders():
    assert tie_error(method("reward/plackett_luce")) < 1e-12


MISTAKES = {
    "ranks read upside down": ("one > rank or place in left", "one < rank or place in left"),
    "chosen from all answers every time": ("one > rank or place in left", "True"),
    "Breslow: all of a tie are left at each of its steps": (
        "one > rank or place in left",
        "one >= rank",
    ),
    "orders of a tie counted, not averaged": (
        "counts.append(1 / comb(len(tied), size))",
        "counts.append(1.0)",
    ),
    "only the first choice learned from": ("for rank in sorted(set(ranks)):", "for rank in [1]:"),
    "padding chosen from": ("masked_fill(~chosen_from.to(scores.device), -inf)", "clone()"),
}


@pytest.mark.parametrize(("right", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_plackett_luce_has_another_loss(right, wrong):
    assert tie_error(method("reward/plackett_luce", right, wrong)) > 0.1


def test_a_ranking_of_two_has_exactly_bradley_terrys_loss_tie_or_not():
    """log(1 + e^-1) + 0.01 (1 + 0)^2 = 0.323262; for the tie, the mean of both orders: 0.813262 + 0.01."""
    loss = method("reward/plackett_luce").ranking_loss
    scores = torch.tensor([[1.0, 0.0, 9.0], [1.0, 0.0, 9.0], [0.0, 1000.0, 9.0]])
    found = loss(scores, [(1, 2), (1, 1), (1, 2)], 0.01)
    assert found[:2].tolist() == pytest.approx([0.323262, 0.823262], abs=1e-6)
    assert found[2].item() == pytest.approx(1000 + 0.01 * 1000**2), "and no overflow"
    h = torch.linspace(-3, 3, 7)
    pairs = loss(torch.stack([h, -h], dim=1), [(1, 2)] * 7, 0.0)
    assert torch.allclose(pairs, -F.logsigmoid(2 * h), atol=1e-6)


def recovered(pl: ModuleType) -> float:
    """Largest error of five utilities, from the exact probabilities of all orders of every three of them."""
    truth = torch.randn(5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor(list(itertools.combinations(range(5), 3)))
    orders = list(itertools.permutations(range(3)))
    # The answer in place i of the group has rank 1 + the place of i in the order.
    ranks = [tuple(1 + order.index(place) for place in range(3)) for order in orders] * len(groups)
    which = groups.repeat_interleave(len(orders), dim=0)
    weights = torch.stack([log_p(truth[group], order).exp() for group in groups for order in orders])

    minimise([values], lambda: (weights * pl.ranking_loss(values[which], ranks, 0.0)).sum() / len(groups))
    found = values.detach()
    return ((found - found.mean()) - (truth - truth.mean())).abs().max().item()


def test_it_recovers_utilities_from_the_exact_probabilities_of_rankings():
    assert recovered(method("reward/plackett_luce")) < 1e-4


def test_chances_of_all_answers_at_each_step_recover_other_utilities():
    right, wrong = MISTAKES["chosen from all answers every time"]
    assert recovered(method("reward/plackett_luce", right, wrong)) > 0.05


def test_it_reads_rankings_without_the_unranked_and_pairs_as_rankings_of_two():
    orders = method("reward/plackett_luce").orders
    (one,) = orders(Ranking("1", "p", ("a", "b", "c"), (2, None, 1), weight=3.0, annotator="ann"))
    assert (one.answers, one.ranks, one.weight, one.annotator) == (("a", "c"), (2, 1), 3.0, "ann")
    assert orders(Pair("2", "p", "x", "y"))[0].ranks == (1, 2)
    assert orders(Pair("3", "p", "x", "y", outcome="tie"))[0].ranks == (1, 1)
    assert orders(Pair("4", "p", "x", "y", outcome="both_bad")) == []
    assert orders(Pair("5", "p", "x", "x")) == []
    assert orders(Pair("6", "p", "x", "y", weight=0.0)) == []
    assert orders(Correction("7", "p", "x", "y")) == []


def test_it_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = (
        toy_spec("reward/plackett_luce", tmp_path, name, config={"epochs": 1, "micro_batch": size})
        for name, size in (("whole", 16), ("cut", 3))
    )
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_parts_normalised_by_themselves_depend_on_it(tmp_path):
    wrong = method(
        "reward/plackett_luce", "whole = decisions[batch].sum()", "whole = decisions[batch[:1]].sum()"
    )
    spec = toy_spec("reward/plackett_luce", tmp_path, config={"epochs": 1})
    run = Run(spec)
    wrong.train(wrong.Config(**run.config), run)
    run.finished()
    right = toy_spec("reward/plackett_luce", tmp_path, "right", config={"epochs": 1})
    assert api.execute(right) == 0
    assert abs(rows(spec.home)[0]["loss"] - rows(right.home)[0]["loss"]) > 0.5
