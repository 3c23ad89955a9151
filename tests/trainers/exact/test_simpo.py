"""SimPO against the optimum of two answers in closed form, its gradient, and the usual mistakes."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import first, rows, toy_spec
from trainers import api
from trainers.nn.table import SeqTable, TableConfig
from trainers.sampling import pairs

BETA, GAMMA, SAYS = 2.0, 0.8, 0.7
TWO_ANSWERS = TableConfig(prompts=("p",), symbols="ab", length=1)


def optimum() -> float:
    """log pi(a) - log pi(b) where p l(h - gamma) + (1 - p) l(-h - gamma) is least, l = -log sigmoid.

    With u = e^h and g = e^-gamma its derivative is 0 where (1 - p) g u^2 + (1 - 2 p) u - p g = 0; h = beta times it.
    """
    g, p = math.exp(-GAMMA), SAYS
    u = (2 * p - 1 + math.sqrt((1 - 2 * p) ** 2 + 4 * p * (1 - p) * g**2)) / (2 * (1 - p) * g)
    return math.log(u) / BETA


def two_answers_error(simpo: ModuleType) -> float:
    """How far the learned log odds of the first answer are from the optimum, when 70 % prefer it."""
    policy = SeqTable(TWO_ANSWERS, seed=1)
    a, b = (torch.tensor([letter]) for letter in (0, 1))
    rows = [(torch.tensor([0]), a, b), (torch.tensor([0]), b, a)]
    says, lengths = torch.tensor([SAYS, 1 - SAYS]), torch.ones(2, 2)

    def loss() -> torch.Tensor:
        losses, _ = simpo.preference_loss(simpo.logps(policy, rows), lengths, BETA, GAMMA)
        return (says * losses).sum()

    minimise(list(policy.parameters()), loss)
    logp = policy.logp_all().detach()[0]
    return abs((logp[0] - logp[1]).item() - optimum())


def test_of_two_answers_simpo_finds_the_optimum_in_closed_form():
    assert two_answers_error(method("direct/simpo")) < 1e-6


LENGTHS = ("beta * logp / lengths", "beta * logp")
MARGIN_ADDED = ("rewards[:, 1] - gamma", "rewards[:, 1] + gamma")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        MARGIN_ADDED,
        ("rewards[:, 1] - gamma", "rewards[:, 1] - beta * gamma"),
        ("rewards[:, 1] - gamma", "rewards[:, 1]"),
        ("rewards[:, 0] - rewards[:, 1]", "rewards[:, 1] - rewards[:, 0]"),
    ],
    ids=["margin added", "margin scaled by beta", "no margin", "chosen and rejected swapped"],
)
def test_a_wrong_simpo_finds_another(right, wrong):
    assert two_answers_error(method("direct/simpo", right, wrong)) > 0.05


def gradient_error(simpo: ModuleType) -> float:
    """The gradient of a pair of three tokens over one, against beta sigmoid(-h) (grad logp_w / 3 - grad logp_l / 1)."""
    policy = SeqTable(TableConfig(prompts=("p",), symbols="abcd", length=3), seed=2)
    row = (torch.tensor([0]), torch.tensor([1, 2, 0]), torch.tensor([2]))
    lengths = pairs.lengths([row], policy.device)
    losses, _ = simpo.preference_loss(simpo.logps(policy, [row]), lengths, BETA, GAMMA)
    (found,) = torch.autograd.grad(losses.sum(), policy.table)
    logp_w, logp_l = (policy.logp_tok([row[0]], y[None]).sum() for y in row[1:])
    (grad_w,), (grad_l,) = (torch.autograd.grad(logp, policy.table) for logp in (logp_w, logp_l))
    h = BETA * (logp_w / 3 - logp_l).detach() - GAMMA
    wanted = -BETA * torch.sigmoid(-h) * (grad_w / 3 - grad_l)
    return (found - wanted).abs().max().item()


def test_simpos_gradient_is_the_papers_and_answers_count_by_the_token():
    assert gradient_error(method("direct/simpo")) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"),
    [LENGTHS, MARGIN_ADDED, (".sum(dim=2).T", ".mean(dim=2).T")],
    ids=["sums in place of means", "margin added", "a mean over padding before the mean"],
)
def test_a_wrong_simpos_gradient_is_another(right, wrong):
    assert gradient_error(method("direct/simpo", right, wrong)) > 1e-2


def test_simpos_loss_is_the_number_worked_by_hand():
    """2 (-10 / 5) - 2 (-9 / 3) - 0.5 = -4 + 6 - 0.5 = 1.5; log(1 + e^-1.5) = 0.201413."""
    losses, rewards = method("direct/simpo").preference_loss(
        torch.tensor([[-10.0, -9.0]]), torch.tensor([[5, 3]]), 2.0, 0.5
    )
    assert losses.tolist() == pytest.approx([0.201413], abs=1e-6)
    assert rewards.tolist()[0] == pytest.approx([-4.0, -6.0])


def test_simpo_needs_no_reference(tmp_path):
    """Neither an input of that name nor log-probabilities kept of one: its rewards are the policy's own."""
    spec = toy_spec("direct/simpo", tmp_path)
    assert api.execute(spec) == 0
    assert not (spec.home / "reference.safetensors").exists()
    found = rows(spec.home)
    assert first(found, "rewards/chosen") == pytest.approx(2 / 3 * first(found, "logps/chosen"), rel=1e-6)
