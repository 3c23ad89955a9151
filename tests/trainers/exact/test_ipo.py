"""IPO against its closed form, and the usual mistakes, each of which must land elsewhere."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from tests.trainers.exact.population import distance, trained
from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import rows, toy_spec
from trainers import api
from trainers.nn.table import SeqTable, TableConfig

BETA = 0.2
TWO_BY_16 = TableConfig(prompts=("p0", "p1"), symbols="abcd", length=2)


def ipo_distance(ipo: ModuleType) -> float:
    """Total variation between IPO's minimum and pi_ref exp(p(y > mu) / beta) / Z, for preferences that follow no
    Bradley-Terry model: every pair has a probability of its own."""
    upper = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(8), dtype=torch.float64).triu(1)
    says = upper + (1 - upper.transpose(1, 2)).tril(-1) + 0.5 * torch.eye(16, dtype=torch.float64)
    policy = trained(
        ipo, lambda logp, logp_ref: ipo.preference_loss(logp, logp_ref, BETA)[0], says, TWO_BY_16
    )
    return distance(policy, says.mean(dim=2) / BETA)


def test_ipo_lands_on_the_closed_form_without_any_bradley_terry_model():
    assert ipo_distance(method("direct/ipo")) < 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("ratios = logp - logp_ref", "ratios = logp"),
        (".sum(dim=2).T", ".mean(dim=2).T"),
        ("1 / (2 * beta)", "1 / beta"),
        ("(h - 1 / (2 * beta)) ** 2", "-torch.nn.functional.logsigmoid(beta * h)"),
        ("h = ratios[:, 0] - ratios[:, 1]", "h = ratios[:, 1] - ratios[:, 0]"),
    ],
    ids=["no reference", "mean over tokens", "twice the target", "DPO's loss", "chosen and rejected swapped"],
)
def test_a_wrong_ipo_lands_elsewhere(right, wrong):
    assert ipo_distance(method("direct/ipo", right, wrong)) > 0.05


def test_ipos_loss_is_the_number_worked_by_hand():
    """h = (-10 + 12) - (-9 + 8) = 3; the target is 1 / 0.2 = 5; (3 - 5)^2 = 4."""
    losses, rewards = method("direct/ipo").preference_loss(
        torch.tensor([[-10.0, -9.0]]), torch.tensor([[-12.0, -8.0]]), 0.1
    )
    assert losses.tolist() == pytest.approx([4.0])
    assert rewards.tolist()[0] == pytest.approx([0.2, -0.1])


def gap_where_all_agree(name: str) -> float:
    """The log-ratio difference that is learned of one pair about which nobody ever disagreed."""
    module, policy = method(name), SeqTable(TWO_BY_16, seed=1)
    pair = [(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([3, 1]))]
    reference = module.logps(policy, pair).detach()
    minimise(
        list(policy.parameters()),
        lambda: module.preference_loss(module.logps(policy, pair), reference, BETA)[0].mean(),
    )
    ratios = module.logps(policy, pair).detach() - reference
    return (ratios[0, 0] - ratios[0, 1]).item()


def test_where_all_agree_ipo_stops_at_its_target_and_dpo_does_not():
    assert gap_where_all_agree("direct/ipo") == pytest.approx(1 / (2 * BETA), abs=1e-6)
    assert gap_where_all_agree("direct/dpo") > 20 / BETA


def test_ipos_first_loss_is_the_square_of_its_target(tmp_path):
    spec = toy_spec("direct/ipo", tmp_path)
    assert api.execute(spec) == 0
    assert rows(spec.home)[0]["loss"] == pytest.approx(6.25)
