"""PPO in a world: proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347) on a reward learned from clips.

Each step all copies of the world are acted in for `horizon` steps, and of what was gathered

    r_t = r(o_t, a_t)                                                     the reward model's, never the world's
    delta_t = r_t + gamma (1 - done_t) V(o'_t) - V(o_t)                   o'_t is what the action led to
    A_t = delta_t + gamma lambda (1 - over_t) A_{t+1}
    L = mean[ -min(ratio A, clip(ratio, 1 +- clip_ratio) A) + value_coef (V - (A + V_old))^2 ] - entropy_coef H

are descended `epochs` times in minibatches, A whitened within each. An episode that is cut off at its last step is
valued by what it led to; only one that came to its own end has nothing after it. Without a reward model it learns from
the world's own reward, divided by the running deviation of its discounted sum: a ceiling to hold others against.

Left out: clipping of values (no help in Andrychowicz et al. 2020, arXiv:2006.05990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.checkpoints import Stateful
from trainers.fit import anneal
from trainers.maths.moments import Moments, merge
from trainers.nn import digest, save
from trainers.nn.gaussian import Gaussian, GaussianConfig
from trainers.nn.storage import load_clip_reward
from trainers.registry import Count, NonNegative, Positive, Share
from trainers.run import Run
from trainers.sampling.experience import Experience, Rollout, true_return
from trainers.sampling.proximal import improve


@dataclass(frozen=True)
class Config:
    """What can be set."""

    world: str = "pendulum"
    """The world to act in."""
    task: str = ""
    """What is to be done there; empty for the world's first task."""
    steps: Count = 100
    """Times that experience is gathered and learned from."""
    copies: Count = 32
    """Copies of the world acted in at once."""
    horizon: Count = 64
    """Steps of each copy between two updates."""
    epochs: Count = 5
    """Times that what was gathered is gone through."""
    minibatch: Count = 512
    """Steps of a copy in a step of the optimiser."""
    lr: Positive = 3e-3
    """Learning rate at first; it falls to 0."""
    gamma: Share = 0.95
    """Discount a step."""
    lam: Share = 0.95
    """Lambda of the advantages: 0 trusts the critic, 1 what came."""
    clip_ratio: Share = 0.2
    """How far the probability of an action may move in one update and still be rewarded for it."""
    value_coef: NonNegative = 0.5
    """Weight of the critic's loss."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy of actions."""
    width: Count = 64
    """Units in each hidden layer of the policy and of the critic."""
    std: Positive = 1.0
    """Deviation of the policy's actions before training; an action goes from -1 to 1."""
    clip: Positive = 0.5
    """Longest gradient; a longer one is scaled down."""
    judged: Count = 50
    """Episodes, at the start and at the end, by which the world's own return is measured."""


def train(config: Config, run: Run) -> None:
    reward = load_clip_reward(run.input("reward_model")) if "reward_model" in run.inputs else None
    experience = Experience(config.world, config.task, config.copies, run.seed)
    policy = fresh(config, run, experience)
    optimiser = torch.optim.Adam(policy.parameters(), lr=config.lr, eps=1e-5)
    scale = Scaled(config.gamma, config.copies)
    before = true_return(policy, config.world, config.task, config.judged, run.seed)
    state: dict[str, Stateful] = {
        "policy": policy,
        "optimiser": optimiser,
        "experience": experience,
        "scale": scale,
    }
    for step in run.steps(config.steps, state):
        rollout = experience.gather(policy, config.horizon, run.generator)
        with torch.no_grad():
            rewards = scale(rollout) if reward is None else reward(rollout.steps)
        lr = run.knobs["lr"] * anneal(step, config.steps, 0.0)
        taken = improve(policy, optimiser, rollout, rewards, lr, config, run.generator)
        policy.saw(rollout.observations.flatten(0, 1))
        seen = run.count("steps", rewards.numel())
        own = (
            {"episode/return": sum(experience.returns) / len(experience.returns)}
            if experience.returns
            else {}
        )
        run.log(step, {**taken, "episode/steps": seen, "episode/reward": rewards.mean().item(), **own})

    after = true_return(policy, config.world, config.task, config.judged, run.seed)
    path = save(policy, run.home / "robot_policy")
    meta = {"digest": digest(path), "world": config.world, "task": config.task, "return": after}
    run.artifact("robot_policy", "robot_policy", path, config.steps, meta)
    of = f"mean of {config.judged} episodes that are the same before and after"
    run.report(
        {
            "readings": {
                "return_before": {"label": f"The world's own return before, {of}", "value": before},
                "return_after": {"label": f"The world's own return after, {of}", "value": after},
            },
            "text": f"The world's own return went from {before:.1f} to {after:.1f}; "
            + ("it was not learned from." if reward is not None else "it is what was learned from."),
        }
    )


def fresh(config: Config, run: Run, experience: Experience) -> Gaussian:
    """A policy that has learned nothing."""
    shape = GaussianConfig(
        experience.observation,
        experience.action,
        config.width,
        math.log(config.std),
        config.world,
        config.task,
    )
    return Gaussian(shape, torch.Generator().manual_seed(run.seed))


class Scaled:
    """The world's own reward over the running deviation of its discounted sum: rewards of any size are learned alike
    ("The 37 implementation details of PPO", Huang et al. 2022)."""

    def __init__(self, gamma: float, copies: int) -> None:
        self.gamma, self.sums, self.moments = gamma, torch.zeros(copies), Moments()

    def __call__(self, rollout: Rollout) -> Tensor:
        found = []
        for rewards, over in zip(rollout.rewards, rollout.over, strict=True):
            self.sums = self.gamma * self.sums + rewards
            found.append(self.sums.clone())
            self.sums = torch.where(over, torch.zeros_like(self.sums), self.sums)
        self.moments = merge(self.moments, torch.stack(found))
        return rollout.rewards / max(self.moments.std, 1e-4)

    def state_dict(self) -> dict[str, object]:
        return {"sums": self.sums, "moments": list(self.moments)}

    def load_state_dict(self, state: dict[str, object], /) -> None:
        self.sums, self.moments = state["sums"], Moments(*state["moments"])  # type: ignore[assignment, misc]
