"""What robots with a hand are given: where things lie from the hand, and a task as its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.maths.words import heard
from trainers.nn.pilot import OneOfMany

TASK = 16
"""Numbers in a task's vector (G)."""


class FromTheHand(OneOfMany, nn.Module):
    """The eyes of a policy, and the scale of what they see: `middle` and `spread` are kept with its weights."""

    def __init__(self, observation: int, hand: Sequence[int], things: int, where: str) -> None:
        """`observation`: its numbers (D). `hand`: where in it the hand's place is. `things`: where the things' places
        begin, -1 where there are none. `where`: the worlds it acts in, for words about others.
        """
        super().__init__()
        self.observation, self.where, self._hand = observation, where, list(hand)
        self._things = (observation - things) // len(hand) if hand and things >= 0 else 0
        self._plain = things if self._things else observation
        """Numbers of an observation before the things' places."""
        self.seen_size = self._plain + self._things * len(hand)
        self.register_buffer("middle", torch.zeros(self.seen_size))
        self.register_buffer("spread", torch.ones(self.seen_size))
        self.middle: Tensor
        self.spread: Tensor

    def look(self, observation: Tensor) -> Tensor:
        """[B, …] what there is to see in observations [B, D]: of the things only where they lie from the hand, so that
        what is learned of one place holds for the others.
        """
        plain = observation[:, : self._plain]
        if not self._things:
            return plain
        hand = observation[:, self._hand]
        places = observation[:, self._plain : self._plain + self._things * hand.shape[1]]
        return torch.cat([plain, places - hand.repeat(1, self._things)], dim=1)

    def seen(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, …] the same to scale, and the task [B, G]: what its networks are given."""
        return torch.cat([(self.look(observation) - self.middle) / self.spread, task], dim=1)

    def scale(self, observations: Tensor) -> None:
        """Takes middle and spread of what is seen from observations [N, D]."""
        found = self.look(observations)
        self.middle.copy_(found.mean(dim=0))
        self.spread.copy_(found.std(dim=0).clamp_min(1e-2))


class Several:
    """Episodes that one such policy lives at the same time: what is seen in each, and what it is about."""

    def __init__(self, policy: FromTheHand, scenes: Sequence[Mapping[str, Any]]) -> None:
        self._eyes, device = policy, policy.middle.device
        tasks = np.stack([heard(str(scene.get("words", "")), TASK) for scene in scenes])
        self._tasks = torch.from_numpy(tasks).to(device)
        self._seen = torch.zeros(len(scenes), policy.observation, device=device)

    def see(self, observations: Sequence[NDArray[Any]]) -> None:
        """[B] of [D]"""
        seen = torch.from_numpy(np.stack(observations).astype(np.float32))
        if seen.shape[1] != self._eyes.observation:
            raise ValueError(
                f"Found {seen.shape[1]} numbers to see; this policy was trained on {self._eyes.observation}. It acts "
                f"in {self._eyes.where} with as many things as it was shown."
            )
        self._seen = seen.to(self._tasks.device)
