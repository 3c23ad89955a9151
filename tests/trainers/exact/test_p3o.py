"""P3O against enumeration, and what a constant of the prompt does to it; the usual mistakes must fail."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.trainers.exact.sampled import byte_spec
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import PROMPTS, rows, toy_spec
from trainers import api, nn
from trainers.maths.moments import whiten
from trainers.maths.surrogate import clipped, importance
from trainers.nn.table import SeqTable, TableConfig
from trainers.registry import read_config
from trainers.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

TWO_BY_64 = TableConfig(prompts=("p0", "p1"), symbols="abcd", length=3)
TEMPERATURE, BETA, FREE = 0.7, 0.3, 1e9
SHIFT = torch.tensor([[5.0], [-3.0]], dtype=torch.float64)

SEPARATE = "return -(clipped(ratio[:, 0], d, eps, eps) + clipped(ratio[:, 1], -d, eps, eps))"
JOINT = "return -clipped(ratio[:, 0] / ratio[:, 1], d, eps, eps)"
PRODUCT = "return -clipped(ratio[:, 0] * ratio[:, 1], d, eps, eps)"


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


def v1() -> ModuleType:
    return method("online/p3o")


def v2() -> ModuleType:
    return method("online/p3o", SEPARATE, JOINT)


class World:
    """Two prompts with 64 answers each: a policy, the policy that sampled, and rewards with its KL to a reference."""

    def __init__(self, moved: bool = False) -> None:
        self.policy = SeqTable(TWO_BY_64, seed=1)
        self.logp = self.policy.logp_all(TEMPERATURE)  # [2, 64]
        sampler = SeqTable(TWO_BY_64, seed=1)
        with torch.no_grad():
            sampler.table += 0.3 * moved * SeqTable(TWO_BY_64, seed=3).table
        self.old = sampler.logp_all(TEMPERATURE).detach()
        ref = SeqTable(TWO_BY_64, seed=2).logp_all(TEMPERATURE).detach()
        score = torch.randn(2, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        self.rewards = score - BETA * (self.old - ref)

    def gradient(self, value: Tensor) -> Tensor:
        return torch.autograd.grad(value, self.policy.table, retain_graph=True)[0]

    def wanted(self) -> Tensor:
        """The gradient of E[R], R being fixed."""
        return self.gradient((self.logp.exp() * self.rewards).sum())

    def pairs(self, p3o: ModuleType, i: Tensor, j: Tensor, eps: float, rewards: Tensor) -> Tensor:
        """[2, pairs]: minus the loss of the pairs (i, j) of each prompt."""
        two = [
            torch.stack([one[:, i], one[:, j]], dim=2).flatten(0, 1) for one in (self.logp, self.old, rewards)
        ]
        return -p3o.pair_loss(*two, eps).view(2, -1)

    def expected(self, p3o: ModuleType, eps: float = 0.2) -> Tensor:
        """The expectation of what is climbed, over all pairs of answers that the sampler may draw."""
        i, j = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
        chance = (self.old[:, i] + self.old[:, j]).exp()
        return self.gradient((chance * self.pairs(p3o, i, j, eps, self.rewards)).sum())


def error(p3o: ModuleType) -> float:
    world = World()
    return (world.expected(p3o) - world.wanted()).abs().max().item()


@pytest.mark.parametrize("variant", [v1, v2])
def test_on_policy_p3os_gradient_is_the_enumerated_one(variant):
    assert error(variant()) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (SEPARATE, SEPARATE.replace("-d,", "d,")),
        ("d = (rewards[:, 0] - rewards[:, 1]) / 2", "d = rewards[:, 0] - rewards[:, 1]"),
        (SEPARATE, SEPARATE.replace("return -(", "return (")),
        (SEPARATE, PRODUCT),
    ],
    ids=["both answers raised", "not halved", "sign", "product"],
)
def test_a_wrong_p3o_has_another_gradient(right, wrong):
    assert error(method("online/p3o", right, wrong)) > 1e-2


def test_the_gradient_of_the_product_is_zero_on_average():
    """The trap: log(pi1 pi2) in place of log(pi1 / pi2) teaches nothing."""
    assert World().expected(method("online/p3o", SEPARATE, PRODUCT)).norm() < 1e-14
    assert World().wanted().norm() > 0.1


def test_off_policy_and_unclipped_separate_clipping_is_still_exact_and_joint_is_not():
    """Why the file holds V1."""
    world = World(moved=True)
    wanted = world.wanted()
    assert (world.expected(v1(), FREE) - wanted).norm() / wanted.norm() < 1e-12
    assert (world.expected(v2(), FREE) - wanted).norm() / wanted.norm() > 0.2


def shift_change(p3o: ModuleType, moved: bool) -> float:
    """How far the gradient on 32 sampled pairs a prompt moves when the prompts' rewards are shifted by 5 and -3."""
    world = World(moved)
    generator = torch.Generator().manual_seed(5)
    i, j = torch.multinomial(torch.ones(64), 64, generator=generator).view(2, 32)
    plain, shifted = (
        world.gradient(world.pairs(p3o, i, j, 0.2, world.rewards + by).mean()) for by in (0.0, SHIFT)
    )
    return (shifted - plain).abs().max().item()


@pytest.mark.parametrize("variant", [v1, v2])
@pytest.mark.parametrize("moved", [False, True])
def test_a_constant_of_the_prompt_does_not_change_the_gradient(variant, moved):
    assert shift_change(variant(), moved) < 1e-12


@pytest.mark.parametrize(
    "wrong",
    ["d = rewards[:, 0] / 2", "d = (rewards[:, 0] - rewards.mean()) / 2"],
    ids=["reward, not difference", "batch mean as the rival"],
)
def test_a_p3o_without_the_difference_is_changed_by_it(wrong):
    assert shift_change(method("online/p3o", "d = (rewards[:, 0] - rewards[:, 1]) / 2", wrong), False) > 1e-2


def ppo_change(whitened: bool) -> float:
    """The same for PPO's surrogate on whole answers without a critic: the change's norm over the gradient's."""
    world = World()
    rows = torch.multinomial(torch.ones(64), 64, generator=torch.Generator().manual_seed(5))

    def climbed(by: Tensor | float) -> Tensor:
        advantages = (world.rewards + by)[:, rows]
        if whitened:
            advantages = whiten(advantages, torch.ones_like(advantages, dtype=torch.bool))
        ratio = importance(world.logp, world.old)[:, rows]
        return world.gradient(clipped(ratio, advantages, 0.2, 0.2).mean())

    return ((climbed(SHIFT) - climbed(0.0)).norm() / climbed(0.0).norm()).item()


def test_ppo_without_a_critic_is_changed_by_it_and_whitening_is_no_invariance():
    assert ppo_change(whitened=False) > 1.0
    assert ppo_change(whitened=True) > 0.5


def trained(p3o: ModuleType, spec) -> Tensor:
    run = Run(spec)
    p3o.train(p3o.Config(**run.config), run)
    run.finished()
    return nn.load_policy(spec.home / "policy").table.detach()


@pytest.mark.parametrize("variant", [v1, v2])
def test_after_60_steps_shifted_rewards_have_made_the_same_policy(variant, tmp_path):
    plain = toy_spec("online/p3o", tmp_path, "plain", config={"steps": 60}, checkpoint_every=None)
    model = nn.load_reward_model(plain.inputs["reward_model"])
    with torch.no_grad():
        model.values += torch.linspace(-3, 5, len(PROMPTS))[:, None]
    inputs = {**plain.inputs, "reward_model": str(nn.save(model, tmp_path / "shifted_model"))}
    shifted = replace(plain, home=tmp_path / "shifted", inputs=inputs)
    ours, theirs = trained(variant(), plain), trained(variant(), shifted)
    assert (ours - theirs).abs().max() < 1e-9
    assert (ours - nn.load_policy(plain.inputs["policy"]).table).abs().max() > 0.5


def test_p3os_loss_is_the_number_worked_by_hand():
    """R 3 and 1: d = 1. Ratios 2 and 1/2, eps 0.2: min(2, 1.2) = 1.2; min(-0.5, -0.8) = -0.8; the loss is -0.4."""
    ratio = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    found = v1().pair_loss(ratio.log(), torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]), 0.2)
    assert found.tolist() == pytest.approx([-0.4])


def test_p3os_first_ratio_is_exactly_1_for_whole_answers_of_a_transformer(tmp_path):
    config = {"steps": 12, "epochs": 3, "minibatches": 2, "lr": 1e-2, "temperature": 0.8, "micro_batch": 5}
    spec = byte_spec("online/p3o", tmp_path, "run", **config)
    assert api.execute(spec) == 0
    fresh = [row for row in rows(spec.home) if "val/first_ratio" in row]
    assert [row["step"] for row in fresh] == [1, 7]
    assert all(row["val/first_ratio_min"] == row["val/first_ratio_max"] == 1.0 for row in fresh)
    assert rows(spec.home)[1]["val/ratio_max"] > 1.0


def test_p3o_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    found = []
    for size in (64, 2):
        config = {"steps": 6, "epochs": 3, "micro_batch": size, "lr": 1e-3}
        spec = byte_spec("online/p3o", tmp_path, f"by {size}", **config)
        assert api.execute(spec) == 0
        found.append(rows(spec.home))
    for one, other in zip(*found, strict=True):
        one.pop("objective/sqrt_kl", None), other.pop("objective/sqrt_kl", None)
        assert one == pytest.approx(other, rel=5e-3, abs=2e-4)


def test_one_answer_at_a_time_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        read_config("online/p3o", {"micro_batch": 1})
