"""PPO in a world, against loops and numbers worked by hand; and the usual mistakes, which must fail."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.trainers.exact.variants import variant
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import rows, toy_spec
from trainers.maths import gae
from trainers.nn import load_pilot, save
from trainers.nn.gaussian import Gaussian, GaussianConfig
from trainers.run import Run, Spec
from trainers.sampling import experience as gathering
from trainers.sampling import proximal
from trainers.sampling.experience import Experience, Rollout

NAME = "control/ppo"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# --- advantages over episodes that end ------------------------------------------------------------


def by_hand(module: ModuleType) -> bool:
    """gamma 1/2, lambda 1/2. Rewards 1, 2, 3; V 4, 2, 6; what the actions led to is worth 2, 8, 4. The second step is
    the last of its episode.

    Cut off there: deltas 1 + 1 - 4 = -2, 2 + 4 - 2 = 4, 3 + 2 - 6 = -1; A = -2 + 4/4 = -1, 4, -1.
    Come to its own end: deltas -2, 2 - 2 = 0, -1; A = -2, 0, -1."""

    def found(done: bool) -> list[float]:
        column = [torch.tensor(one)[:, None] for one in ([1.0, 2.0, 3.0], [4.0, 2.0, 6.0], [2.0, 8.0, 4.0])]
        ends = torch.tensor([[False], [done], [False]])
        over = torch.tensor([[False], [True], [False]])
        advantages, returns = module.gae_over_episodes(*column, ends, over, 0.5, 0.5)
        assert torch.equal(returns, advantages + column[1])
        values: list[float] = advantages[:, 0].tolist()
        return values

    return found(False) == [-1.0, 4.0, -1.0] and found(True) == [-2.0, 0.0, -1.0]


def test_a_time_limit_is_no_end_and_an_end_has_nothing_after_it():
    assert by_hand(gae)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("real, same = (~done).to", "real, same = (~over).to"),
        ("(~over).to(values.dtype)\n", "(~done).to(values.dtype)\n"),
        ("gamma * real * led_to - values", "gamma * real * torch.cat([values[1:], led_to[-1:]]) - values"),
    ],
    ids=["a time limit taken for an end", "into the next episode", "the next episode's first value"],
)
def test_other_advantages_are_found_out(right, wrong):
    assert not by_hand(variant(gae, right, wrong))


def cut_off(module: ModuleType) -> float:
    """What a critic that says 1 everywhere is told about a step without reward that was an episode's last, and no end:
    0.95 instead of 1, an error of 0.0025."""
    policy = Gaussian(GaussianConfig(2, 1, 4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        policy.critic[-1].weight.zero_()
        policy.critic[-1].bias.fill_(1.0)
    one = torch.zeros(1, 1, 2)
    flags = torch.zeros(1, 1, dtype=torch.bool)
    rollout = Rollout(one, one[..., :1], torch.zeros(1, 1), torch.zeros(1, 1), one, flags, ~flags)
    optimiser = torch.optim.Adam(policy.parameters())
    config = method(NAME).Config(epochs=1)
    told = module.improve(policy, optimiser, rollout, torch.zeros(1, 1), 0.0, config, torch.Generator())
    return told["val/error"]


def test_the_critic_learns_that_an_episode_that_was_cut_off_would_have_gone_on():
    assert cut_off(proximal) == pytest.approx(0.0025, rel=1e-4)
    wrong = variant(proximal, "rollout.done, rollout.over", "rollout.over, rollout.over")
    assert cut_off(wrong) == pytest.approx(1.0, rel=1e-4)


# --- ratios ---------------------------------------------------------------------------------------


def farthest(module: ModuleType, tmp_path: Path) -> float:
    """How far the ratios of a policy that does not move are from 1, over a few steps."""
    spec = toy_spec(NAME, tmp_path, config={"epochs": 1, "minibatch": 4096, "steps": 4, "lr": 1e-12})
    run = Run(spec)
    module.train(module.Config(**run.config), run)
    run.finished()
    return max(row["policy/approxkl_avg"] for row in rows(spec.home))


def test_the_first_ratio_of_an_update_is_one(tmp_path):
    assert farthest(method(NAME), tmp_path) < 1e-10


def test_observations_normalised_anew_before_learning_are_found_out(tmp_path):
    wrong = method(
        NAME,
        "        taken = improve(",
        "        policy.saw(rollout.observations.flatten(0, 1))\n        taken = improve(",
    )
    assert farthest(wrong, tmp_path) > 1e-6


def test_actions_that_are_cut_before_their_probability_is_taken_are_found_out(tmp_path, monkeypatch):
    right = "actions[t], logp[t] = drawn.numpy(), likely.numpy()"
    wrong = variant(gathering, right, right.replace("drawn.numpy()", "drawn.numpy().clip(-1, 1)"))
    monkeypatch.setattr(method(NAME), "Experience", wrong.Experience)
    assert farthest(method(NAME), tmp_path) > 1e-3


def test_log_probabilities_are_those_of_a_normal():
    policy = Gaussian(GaussianConfig(3, 2, 8, log_std=-0.5), torch.Generator().manual_seed(1))
    seen, actions = torch.randn(5, 3), torch.randn(5, 2)
    normal = torch.distributions.Normal(policy.mean(seen), policy.log_std.exp())
    assert torch.allclose(policy.logp(seen, actions), normal.log_prob(actions).sum(dim=1), atol=1e-6)
    assert policy.entropy.item() == pytest.approx(normal.entropy().sum(dim=1)[0].item(), abs=1e-6)


# --- experience -----------------------------------------------------------------------------------


def test_what_a_stretch_led_to_is_of_the_same_episode():
    """Reach ends after 60 steps: what was seen next is of the next episode, what it led to is not."""
    policy = Gaussian(GaussianConfig(9, 3, 8), torch.Generator().manual_seed(0))
    there = Experience("reach", "red", 2, 0, keep=4)
    found = there.gather(policy, 70, torch.Generator().manual_seed(0))
    assert found.over.sum(dim=0).tolist() == [1, 1] and found.over[59].all() and not found.done[59].any()
    assert torch.equal(found.led_to[:59], found.observations[1:60])
    assert not torch.allclose(found.led_to[59], found.observations[60])
    assert [len(one.rewards) for one in there.lived] == [60, 60]
    assert np.array_equal(there.lived[1].steps, found.steps[:60, 1].numpy())


def test_experience_goes_on_from_its_state_to_the_last_bit():
    policy = Gaussian(GaussianConfig(3, 1, 8), torch.Generator().manual_seed(0))
    ones, others = Experience("pendulum", "", 4, 0, keep=3), Experience("pendulum", "", 4, 7, keep=3)
    chance = torch.Generator().manual_seed(0)
    ones.gather(policy, 230, chance)
    others.load_state_dict(ones.state_dict())
    state = chance.get_state()
    more = ones.gather(policy, 200, chance)
    chance.set_state(state)
    same = others.gather(policy, 200, chance)
    assert all(torch.equal(a, b) for a, b in zip(vars(more).values(), vars(same).values(), strict=True))
    assert ones.returns == others.returns and [a.seed for a in ones.lived] == [b.seed for b in others.lived]


def test_the_worlds_own_reward_is_divided_by_the_deviation_of_its_discounted_sum():
    """gamma 1/2, rewards 1, 1, 3, the first two of one episode: sums 1, 3/2, 3, deviation sqrt(13/18)."""
    flags = torch.zeros(3, 1, dtype=torch.bool)
    over = torch.tensor([[False], [True], [False]])
    rewards = torch.tensor([[1.0], [1.0], [3.0]])
    rollout = Rollout(rewards, rewards, rewards, rewards, rewards, flags, over)
    scaled = method(NAME).Scaled(0.5, 1)(rollout)
    assert torch.allclose(scaled, rewards / (13 / 18) ** 0.5, atol=1e-6)


# --- as a pilot -----------------------------------------------------------------------------------


def test_the_policy_on_disk_acts_as_a_pilot(tmp_path):
    policy = Gaussian(GaussianConfig(3, 1, 8, world="pendulum"), torch.Generator().manual_seed(0))
    policy.saw(torch.randn(50, 3) * 5)
    pilot = load_pilot(save(policy, tmp_path / "policy"))
    pilot.begin({}, 0)
    seen = np.array([1.0, 0.0, 2.0], dtype=np.float32)
    pilot.see(seen)
    action = pilot.act("")
    assert action.shape == (1,) and action.dtype == np.float32 and pilot.choices() == [] and not pilot.bank
    assert torch.equal(torch.from_numpy(action), policy.best(torch.from_numpy(seen)))
    assert (pilot.layer, pilot.every) == ("", 1)


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_the_worlds_own_reward_the_pendulum_swings_up(tmp_path):
    spec = Spec(NAME, tmp_path / "run", {}, seed=11)
    run = Run(spec)
    method(NAME).train(method(NAME).Config(**run.config), run)
    run.finished()
    returns = [row["episode/return"] for row in rows(spec.home) if "episode/return" in row]
    assert returns[0] < -900 and sum(returns[-3:]) / 3 > -350
