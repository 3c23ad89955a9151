"""Copies of a world that a policy acts in, stretch by stretch: what learning by trial learns from.

Everything that changes is in `state_dict`: the worlds, the episodes under way, and the last ones that ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.envs.vector import Copies, episode_seed
from trainers.nn.gaussian import Gaussian

MEANT = 2**63
"""Seeds are numbers below this."""


@dataclass(frozen=True)
class Rollout:
    """T steps of N copies, time first; float32."""

    observations: Tensor
    """[T, N, D] what was seen before acting."""
    actions: Tensor
    """[T, N, A] as they were drawn; the world cut them to [-1, 1]."""
    logp: Tensor
    """[T, N] log-probability of each action when it was drawn."""
    rewards: Tensor
    """[T, N] the world's own."""
    led_to: Tensor
    """[T, N, D] what was seen after acting, still in the same episode."""
    done: Tensor
    """[T, N] bool: the episode came to its own end."""
    over: Tensor
    """[T, N] bool: it ended, or was cut off at its last step."""

    @property
    def steps(self) -> Tensor:
        """[T, N, D + A] as a reward model reads them."""
        return torch.cat([self.observations, self.actions.clamp(-1, 1)], dim=-1)


@dataclass(frozen=True)
class Lived:
    """An episode that ended: enough to live it again, and to learn from it."""

    seed: int
    steps: NDArray[np.float32]
    """[L, D + A] seen and done (cut to [-1, 1])."""
    rewards: NDArray[np.float32]
    """[L] the world's own."""
    done: bool
    """Whether it came to its own end."""


class Experience:
    """N copies of a world, and the last `keep` episodes that ended in them."""

    def __init__(self, world: str, task: str, count: int, seed: int, keep: int = 0) -> None:
        self.copies, self.keep = Copies(world, count, task), keep
        seeds = np.random.SeedSequence(seed % MEANT).generate_state(count)
        self.seen = self.copies.reset([int(one) for one in seeds])
        self.observation, self.action = self.copies.observation, self.copies.action
        wide = self.observation + self.action + 1
        self._now = np.zeros((count, self.copies.most_steps if keep else 0, wide), dtype=np.float32)
        self._earned = np.zeros(count)
        self.lived: list[Lived] = []
        """The last episodes, oldest first."""
        self.returns: list[float] = []
        """What the world's own reward came to in each episode that ended during the last stretch."""

    def gather(self, policy: Gaussian, horizon: int, generator: torch.Generator) -> Rollout:
        """The next `horizon` steps of every copy by the policy."""
        self.returns = []
        shape = (horizon, self.copies.count)
        observations = np.zeros((*shape, self.observation), dtype=np.float32)
        led_to = np.zeros_like(observations)
        actions = np.zeros((*shape, self.action), dtype=np.float32)
        logp, rewards = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        done, over = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for t in range(horizon):
            observations[t] = self.seen
            drawn, likely = policy.draw(torch.from_numpy(observations[t]), generator)
            actions[t], logp[t] = drawn.numpy(), likely.numpy()
            places, episodes = self.copies.steps.copy(), self.copies.episodes.copy()
            came = self.copies.step(actions[t])
            self.seen, rewards[t], led_to[t] = came.observations, came.rewards, came.last
            done[t], over[t] = came.done, came.over
            self._note(observations[t], actions[t], came.rewards, came.done, came.over, places, episodes)
        found = (observations, actions, logp, rewards, led_to, done, over)
        return Rollout(*(torch.from_numpy(one) for one in found))

    def _note(
        self,
        seen: NDArray[np.float32],
        actions: NDArray[np.float32],
        rewards: NDArray[np.float32],
        done: NDArray[np.bool_],
        over: NDArray[np.bool_],
        places: NDArray[np.int64],
        episodes: NDArray[np.int64],
    ) -> None:
        self._earned += rewards
        if self.keep:
            row = np.concatenate([seen, actions.clip(-1, 1), rewards[:, None]], axis=1)
            self._now[np.arange(len(row)), places] = row
        for copy in np.flatnonzero(over):
            self.returns.append(float(self._earned[copy]))
            self._earned[copy] = 0.0
            if self.keep:
                whole = self._now[copy, : places[copy] + 1].copy()
                seed = episode_seed(self.copies.seeds[copy], int(episodes[copy]))
                self.lived.append(Lived(seed, whole[:, :-1], whole[:, -1], bool(done[copy])))
        self.lived = self.lived[-self.keep :] if self.keep else []

    def state_dict(self) -> dict[str, Any]:
        return {
            "copies": torch.from_numpy(np.frombuffer(self.copies.snapshot(), dtype=np.uint8).copy()),
            "now": torch.from_numpy(self._now.copy()),
            "earned": torch.from_numpy(self._earned.copy()),
            "lived": [
                {
                    "seed": one.seed,
                    "done": one.done,
                    "steps": torch.from_numpy(one.steps),
                    "rewards": torch.from_numpy(one.rewards),
                }
                for one in self.lived
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.seen = self.copies.restore(state["copies"].numpy().tobytes())
        self._now[:] = state["now"].numpy()
        self._earned[:] = state["earned"].numpy()
        self.lived = [
            Lived(one["seed"], one["steps"].numpy(), one["rewards"].numpy(), one["done"])
            for one in state["lived"]
        ]


def true_return(policy: Gaussian, world: str, task: str, episodes: int, seed: int) -> float:
    """What the world's own reward comes to in an episode of the policy's mean actions, mean over `episodes`.

    For charts and tables alone: nothing is learned from it.
    """
    copies = Copies(world, episodes, task)
    seen = copies.reset(
        [int(one) for one in np.random.SeedSequence([seed % MEANT, 1]).generate_state(episodes)]
    )
    earned, going = np.zeros(episodes), np.ones(episodes, dtype=bool)
    for _ in range(copies.most_steps):
        came = copies.step(policy.best(torch.from_numpy(seen)).numpy())
        earned += came.rewards * going
        going &= ~came.over
        seen = came.observations
        if not going.any():
            break
    return float(earned.mean())
