"""The formulas of learning from samples, against numbers worked by hand, loops, and sums over everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainers.maths.gae import gae
from trainers.maths.kl import corrected, k1, k2, k3
from trainers.maths.moments import Moments, merge, whiten
from trainers.maths.surrogate import clipped, clipped_value_loss, importance


def test_advantages_by_hand() -> None:
    """gamma 1, lambda 1/2: deltas 1 + 2 - 1 = 2, 0 + 3 - 2 = 1, 4 + 0 - 3 = 1; A = 2.75, 1.5, 1."""
    rewards, values = torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 0.5)
    assert advantages.tolist() == [[2.75, 1.5, 1.0]]
    assert returns.tolist() == [[3.75, 3.5, 4.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_advantages_are_the_discounted_sum_of_later_surprises(gamma: float, lam: float) -> None:
    """A_t = sum_{s >= t} (gamma lam)^(s - t) delta_s, by brute force, on rows of every length."""
    generator = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.arange(1, 7)[:, None]
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(range(1, 7)):
        v = [*values[row, :length].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            wanted = sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, length))
            assert advantages[row, t].item() == pytest.approx(wanted, abs=1e-12)
            assert returns[row, t].item() == pytest.approx(wanted + v[t], abs=1e-12)
    assert not advantages[~mask].any() and not returns[~mask].any()


def test_with_lambda_1_the_return_is_the_sum_of_the_rewards_to_come_whatever_the_critic_says() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 4.0, 9.0]]), torch.tensor([[5.0, -7.0, 1.0, 8.0]])
    _, returns = gae(rewards, values, torch.tensor([[True, True, True, False]]), 1.0, 1.0)
    assert returns.tolist() == [[7.0, 6.0, 4.0, 0.0]]


def test_whitening_by_hand_forgets_padding_and_has_a_biased_variance() -> None:
    """Of 1, 3 and 5 the mean is 3 and the biased variance 8/3; 1000 is padding."""
    found = whiten(
        torch.tensor([[1.0, 3.0], [5.0, 1000.0]]), torch.tensor([[True, True], [True, False]]), 0.0
    )
    side = 2 / math.sqrt(8 / 3)
    assert torch.allclose(found, torch.tensor([[-side, 0.0], [side, 0.0]]))


def test_whitening_keeps_its_digits_where_values_are_alike() -> None:
    """E[x^2] - E[x]^2 of these is 0 or negative in single precision."""
    values = torch.tensor([[16384.0, 16385.0, 16386.0]])
    found = whiten(values, torch.ones_like(values, dtype=torch.bool))
    assert torch.allclose(found, torch.tensor([[-1.2247449, 0.0, 1.2247449]]))
    assert not whiten(torch.full((1, 3), 7.0), torch.ones(1, 3, dtype=torch.bool)).any()


def test_running_moments_by_hand() -> None:
    """1, 3 then 5: mean 2 and M2 2; d = 3, M2 = 2 + 9 * 2 * 1 / 3 = 8, mean 2 + 3 / 3 = 3."""
    found = merge(merge(Moments(), torch.tensor([1.0, 3.0])), torch.tensor([5.0]))
    assert found == Moments(3.0, 3.0, 8.0)
    assert found.std == pytest.approx(math.sqrt(8 / 3))
    assert merge(found, torch.tensor([])) == found and Moments().std == 0.0


def test_the_moments_of_chunks_are_those_of_the_whole_stream() -> None:
    values = np.random.default_rng(2).normal(1e4, 3.0, 5000)
    moments = Moments()
    for chunk in np.array_split(values, [1, 2, 700, 701, 3333]):
        moments = merge(moments, torch.from_numpy(chunk))
    assert moments.n == 5000
    assert moments.mean == pytest.approx(values.mean(), rel=1e-12)
    assert moments.std == pytest.approx(values.std(), rel=1e-10)


@pytest.fixture
def two() -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of a policy's three actions, with gradients to its logits, and of a reference's."""
    logits = torch.tensor([0.3, -0.9, 1.1], dtype=torch.float64, requires_grad=True)
    return logits, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()


def test_k1_and_k3_are_the_kl_on_average_and_k2_is_near_it(two) -> None:
    logits, ref = two
    logp = logits.detach().log_softmax(dim=0)
    exact = (logp.exp() * (logp - ref)).sum().item()
    means = [(logp.exp() * k(logp, ref)).sum().item() for k in (k1, k2, k3)]
    assert means[0] == pytest.approx(exact, abs=1e-12)
    assert means[2] == pytest.approx(exact, abs=1e-12)
    assert means[1] == pytest.approx(exact, rel=0.5) and means[1] != pytest.approx(exact, rel=1e-3)
    assert (k1(logp, ref) < 0).any() and (k2(logp, ref) >= 0).all() and (k3(logp, ref) >= 0).all()


def test_the_estimators_by_hand() -> None:
    """p 1/2 under the policy, 1/4 under the reference: log 2; half its square; 1/2 - 1 + log 2."""
    p, ref = torch.tensor(math.log(0.5)), torch.tensor(math.log(0.25))
    assert k1(p, ref).item() == pytest.approx(math.log(2))
    assert k2(p, ref).item() == pytest.approx(math.log(2) ** 2 / 2)
    assert k3(p, ref).item() == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    assert math.isfinite(k3(torch.tensor(-200.0), torch.tensor(0.0)).item())


def test_descending_a_mean_of_k2_or_of_corrected_k3_descends_the_kl_and_of_k1_or_k3_does_not(two) -> None:
    logits, ref = two
    logp = logits.log_softmax(dim=0)
    p = logp.detach().exp()
    (wanted,) = torch.autograd.grad((logp.exp() * (logp - ref)).sum(), logits, retain_graph=True)
    (reverse,) = torch.autograd.grad((ref.exp() * (ref - logp)).sum(), logits, retain_graph=True)

    def gradient(k: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad((p * k).sum(), logits, retain_graph=True)[0]

    ratio = importance(logp, logp.detach())
    torch.testing.assert_close(gradient(corrected(k3(logp, ref), ratio)), wanted)
    torch.testing.assert_close(gradient(corrected(k1(logp, ref), ratio)), wanted)
    torch.testing.assert_close(gradient(k2(logp, ref)), wanted)
    torch.testing.assert_close(gradient(k1(logp, ref)), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(gradient(k3(logp, ref)), reverse)
    assert (wanted - reverse).abs().max() > 0.05


def test_off_policy_too_the_corrected_k3_has_the_kls_gradient(two) -> None:
    """Samples of another policy, on average over its three actions."""
    logits, ref = two
    old = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    logp = logits.log_softmax(dim=0)
    (wanted,) = torch.autograd.grad((logp.exp() * (logp - ref)).sum(), logits, retain_graph=True)
    loss = (old.exp() * corrected(k3(logp, ref), importance(logp, old))).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], wanted)


def test_the_ratio_is_exactly_1_where_log_probabilities_are_the_same_and_never_infinite() -> None:
    logp = torch.tensor([-0.1234567, -12.3456789, 0.0])
    assert importance(logp, logp.clone()).tolist() == [1.0, 1.0, 1.0]
    assert importance(torch.tensor(0.0), torch.tensor(-900.0)).isfinite()


def test_the_clipped_surrogate_by_hand() -> None:
    """A = 1: 0.5, 1.1 and no more than 1.3. A = -1: no less than -0.8 of a fall, and all of a rise."""
    ratio = torch.tensor([0.5, 1.1, 2.0])
    up = clipped(ratio, torch.ones(3), 0.2, 0.3)
    assert up.tolist() == pytest.approx([0.5, 1.1, 1.3])
    down = clipped(ratio, -torch.ones(3), 0.2, 0.3)
    assert down.tolist() == pytest.approx([-0.8, -1.1, -2.0])


def test_the_clipped_value_loss_by_hand() -> None:
    """V_old 0, G 1, clip 0.2: V = 0.1 pays 0.81/2; 0.9 counts as 0.2 and pays 0.64/2; -0.5 pays 2.25/2."""
    values = torch.tensor([0.1, 0.9, -0.5])
    found = clipped_value_loss(values, torch.zeros(3), torch.ones(3), 0.2)
    assert found.tolist() == pytest.approx([0.405, 0.32, 1.125])
