"""Robust DPO against the optimum of clean labels, and what other readings of noisy labels make of them."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from tests.trainers.exact.population import bradley_terry, distance, trained
from tests.trainers.test_methods_exact import method
from trainers import registry
from trainers.nn.table import TableConfig

BETA, FLIPS = 0.5, 0.2
REWARD, CLEAN = bradley_terry()
CONSERVATIVE = (
    "((1 - flips) * as_labelled - flips * as_if_flipped) / (1 - 2 * flips)",
    "((1 - flips) * as_labelled + flips * as_if_flipped)",
)


def noisy_distance(module: ModuleType, *settings: float) -> float:
    """Total variation from the clean optimum, pi_ref exp(r / beta) / Z, when 20 % of the labels are flipped."""
    says = (1 - FLIPS) * CLEAN + FLIPS * (1 - CLEAN)
    policy = trained(
        module, lambda logp, logp_ref: module.preference_loss(logp, logp_ref, BETA, *settings)[0], says
    )
    return distance(policy, REWARD / BETA)


def test_with_a_fifth_of_the_labels_flipped_the_robust_loss_still_lands_on_the_clean_optimum():
    assert noisy_distance(method("direct/cdpo"), FLIPS) < 1e-5


def test_with_a_fifth_of_the_labels_flipped_dpo_does_not():
    assert noisy_distance(method("direct/dpo")) > 0.2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        CONSERVATIVE,
        ("beta * (logp - logp_ref)", "beta * logp"),
        ("- flips * as_if_flipped", "- flips**2 * as_if_flipped"),
    ],
    ids=["conservative", "no reference", "rate squared"],
)
def test_a_wrong_robust_loss_lands_elsewhere(right, wrong):
    assert noisy_distance(method("direct/cdpo", right, wrong), FLIPS) > 0.05


def bias(module: ModuleType) -> float:
    """Largest difference between the expectation over flipped labels and the loss of clean ones."""
    logp = torch.tensor([[-3.0, -9.0], [-4.0, -4.5], [-9.0, -2.0]], dtype=torch.float64)
    reference = torch.tensor([[-5.0, -4.0], [-4.0, -4.0], [-5.0, -4.0]], dtype=torch.float64)
    clean = module.preference_loss(logp, reference, BETA, 0.0)[0]
    labelled = module.preference_loss(logp, reference, BETA, FLIPS)[0]
    flipped = module.preference_loss(logp.flip(1), reference.flip(1), BETA, FLIPS)[0]
    return ((1 - FLIPS) * labelled + FLIPS * flipped - clean).abs().max().item()


def test_over_flipped_labels_the_loss_has_the_clean_one_as_its_expectation():
    assert bias(method("direct/cdpo")) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"), [(" / (1 - 2 * flips)", ""), CONSERVATIVE], ids=["no denominator", "conservative"]
)
def test_a_biased_loss_is_noticed(right, wrong):
    assert bias(method("direct/cdpo", right, wrong)) > 0.1


def test_the_robust_loss_is_the_number_worked_by_hand():
    """h = 0.3: l(h) = 0.554355, l(-h) = 0.854355; (0.8 * 0.554355 - 0.2 * 0.854355) / 0.6 = 0.454355."""
    losses, _ = method("direct/cdpo").preference_loss(
        torch.tensor([[-10.0, -9.0]]), torch.tensor([[-12.0, -8.0]]), 0.1, 0.2
    )
    assert losses.tolist() == pytest.approx([0.454355], abs=1e-6)


def test_the_loss_of_one_label_has_no_lower_bound():
    """Far out it falls by flips / (1 - 2 flips) = 1/3 for each nat of h: what the card warns of."""
    logp = torch.tensor([[0.0, -40.0], [0.0, -80.0]], dtype=torch.float64)
    near, far = method("direct/cdpo").preference_loss(logp, torch.zeros_like(logp), 1.0, FLIPS)[0].tolist()
    assert far - near == pytest.approx(-40 / 3, abs=1e-6)


def drawn_distance(name: str, seed: int, *settings: float) -> float:
    """The same on 4,000 labels that were drawn, over four strings, a fifth of them then flipped."""
    shape = TableConfig(prompts=("p",), symbols="ab", length=2)
    chance = torch.Generator().manual_seed(seed)
    reward = torch.randn(1, 4, generator=chance, dtype=torch.float64)
    i, j = torch.triu_indices(4, 4, offset=1)
    each = torch.multinomial(torch.ones(6), 4000, replacement=True, generator=chance)
    says_i = torch.rand(4000, generator=chance) < torch.sigmoid(reward[0, i] - reward[0, j])[each]
    says_i ^= torch.rand(4000, generator=chance) < FLIPS
    says = torch.full((1, 4, 4), 0.5, dtype=torch.float64)
    for pair in range(6):
        says[0, i[pair], j[pair]] = says_i[each == pair].double().mean()
    module = method(name)
    policy = trained(
        module,
        lambda logp, logp_ref: module.preference_loss(logp, logp_ref, BETA, *settings)[0],
        says,
        shape,
    )
    return distance(policy, reward / BETA)


def test_on_labels_drawn_with_a_fifth_of_them_flipped_it_comes_closer_to_the_clean_optimum_than_dpo():
    robust = [drawn_distance("direct/cdpo", seed, FLIPS) for seed in range(5)]
    plain = [drawn_distance("direct/dpo", seed) for seed in range(5)]
    assert all(one < other for one, other in zip(robust, plain, strict=True))
    assert sum(robust) < sum(plain) / 2


def test_a_rate_of_one_half_is_refused_before_anything_starts():
    with pytest.raises(registry.ConfigError, match="at most 0.49"):
        registry.read_config("direct/cdpo", {"flips": "0.5"})
