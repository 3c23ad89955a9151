"""PPO's update of a policy of continuous actions by a stretch of experience (Schulman et al. 2017, arXiv:1707.06347).

    delta_t = r_t + gamma (1 - done_t) V(o'_t) - V(o_t)                   o'_t is what the action led to
    A_t = delta_t + gamma lambda (1 - over_t) A_{t+1}
    L = mean[ -min(ratio A, clip(ratio, 1 +- clip_ratio) A) + value_coef (V - (A + V_old))^2 ] - entropy_coef H

Where the rewards come from is the method's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from trainers.fit import descend
from trainers.maths.gae import gae_over_episodes
from trainers.maths.surrogate import clipped, importance
from trainers.nn.gaussian import Gaussian
from trainers.sampling.experience import Rollout


class Settings(Protocol):
    """What a method's Config says of the update."""

    @property
    def epochs(self) -> int: ...
    @property
    def minibatch(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def lam(self) -> float: ...
    @property
    def clip_ratio(self) -> float: ...
    @property
    def value_coef(self) -> float: ...
    @property
    def entropy_coef(self) -> float: ...
    @property
    def clip(self) -> float: ...


def improve(
    policy: Gaussian, optimiser: torch.optim.Optimizer, rollout: Rollout, rewards: Tensor, lr: float,
    settings: Settings, generator: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    """One update by what was gathered, rewards [T, N]: all of it `epochs` times in minibatches, A whitened within each.

    Returns what there is to log of it.
    """
    with torch.no_grad():
        seen = policy.normalised(rollout.observations)
        values = policy.value(seen)
        led_to = policy.value(policy.normalised(rollout.led_to))
    advantages, returns = gae_over_episodes(
        rewards, values, led_to, rollout.done, rollout.over, settings.gamma, settings.lam
    )
    seen, actions = seen.flatten(0, 1), rollout.actions.flatten(0, 1)
    old, gains, returns = rollout.logp.flatten(), advantages.flatten(), returns.flatten()
    sums: dict[str, list[float]] = {}
    taken: dict[str, float] = {}

    def loss(rows: Tensor) -> Iterator[Tensor]:
        ratio = importance(policy.logp(seen[rows], actions[rows]), old[rows])
        gain = gains[rows]
        gain = (gain - gain.mean()) / (gain.std(correction=0) + 1e-8)
        surrogate = -clipped(ratio, gain, settings.clip_ratio, settings.clip_ratio).mean()
        error = (policy.value(seen[rows]) - returns[rows]).square().mean()
        noted = {
            "loss/policy_avg": surrogate, "val/error": error, "policy/entropy_avg": policy.entropy,
            "policy/clipfrac_avg": ((ratio - 1).abs() > settings.clip_ratio).float().mean(),
            "policy/approxkl_avg": 0.5 * ratio.log().square().mean(),
        }  # fmt: skip
        for name, value in noted.items():
            sums.setdefault(name, []).append(value.item())
        yield surrogate + settings.value_coef * error - settings.entropy_coef * policy.entropy

    for _ in range(settings.epochs):
        order = torch.randperm(len(seen), generator=generator)
        for rows in torch.split(order, settings.minibatch):
            taken = descend(optimiser, loss(rows), lr, settings.clip)
    variance = returns.var(correction=0)
    explained = 1 - (returns - values.flatten()).var(correction=0) / variance if variance > 0 else 0.0
    return {
        **taken,
        **{name: sum(found) / len(found) for name, found in sums.items()},
        "val/var_explained": float(explained),
    }
