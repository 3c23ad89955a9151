"""REINFORCE against enumeration; and the usual mistakes, each of which must fail."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from tests.trainers.exact.sampled import BETA, TEMPERATURE, Nine, byte_spec
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import rows, toy_spec
from trainers import api
from trainers.fit import Tally

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


def error(reinforce: ModuleType, baseline: float = 0.9) -> float:
    """Largest difference between the estimator's exact expectation over draws of one and the enumerated gradient."""
    nine = Nine()
    config = reinforce.Config(temperature=TEMPERATURE, micro_batch=1)
    expected = torch.zeros_like(nine.policy.table)
    for chance, samples, ref, score in nine.draws(2):
        scored = reinforce.Scored(samples, [], [], ref, score, None)
        advantages = reinforce.reward(scored, BETA, 0.0) - baseline
        expected += chance * nine.climbed(
            reinforce.policy_loss(nine.policy, samples, advantages, config, Tally())
        )
    return (expected - nine.wanted()).abs().max().item()


@pytest.mark.parametrize("baseline", [0.0, 0.9, -50.0])
def test_reinforces_gradient_is_right_on_average_whatever_its_baseline(baseline):
    assert error(method("online/reinforce"), baseline) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("scored.score - beta * scored.kl", "scored.score + beta * scored.kl"),
        ("scored.score - beta * scored.kl", "scored.score"),
        ("policy.logp_tok(x, y, config.temperature)", "policy.logp_tok(x, y)"),
        ("logp_tok.sum(dim=1)).sum() / len(advantages)", "logp_tok.mean(dim=1)).sum() / len(advantages)"),
        ("yield -(advantages[part] *", "yield -((advantages[part] - advantages.mean()) *"),
        ("/ len(advantages)", "/ len(part)"),
    ],
    ids=["KL rewarded", "KL free", "temperature", "mean over tokens", "batch baseline", "mean of means"],
)
def test_a_wrong_reinforce_has_another_gradient(right, wrong):
    assert error(method("online/reinforce", right, wrong)) > 1e-3


def test_the_baseline_is_made_of_earlier_batches_alone(tmp_path):
    """b_1 is the first policy's mean score; b_{t+1} = b_t + 0.25 (mean R_t - b_t)."""
    spec = toy_spec("online/reinforce", tmp_path, config={"baseline_rate": 0.25})
    assert api.execute(spec) == 0
    log = rows(spec.home)
    for one, after in zip(log, log[1:], strict=False):
        moved = one["objective/baseline"] + 0.25 * (one["objective/rlhf_reward"] - one["objective/baseline"])
        assert after["objective/baseline"] == pytest.approx(moved, abs=1e-12)


def test_reinforce_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    found = []
    for size in (64, 1):
        spec = byte_spec("online/reinforce", tmp_path, f"by {size}", micro_batch=size, prompts_per_step=8)
        assert api.execute(spec) == 0
        found.append(rows(spec.home))
    for one, other in zip(*found, strict=True):
        assert one.pop("objective/sqrt_kl") == pytest.approx(other.pop("objective/sqrt_kl"), abs=0.01)
        assert one == pytest.approx(other, rel=2e-3, abs=1e-4)
