"""The low level: a command and a moment -> the next few actions (arXiv 2403.12910, pi_L(a_{t:t+k} | o_t, l)).

The words choose what is looked at: a softmax over the things, by their names, gives one offset, and only that goes on
into a network that the command modulates (FiLM, arXiv 1709.07871). A plain network over all coordinates learns where
things lay in the demonstrations instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.nn.commands import SIZE, VERB, VERBS
from trainers.nn.robots.seeing import FIXED

KEY = 16
SHARP = 8.0
"""Offsets are given twice: as they are, and squashed so that the last few hundredths are large."""
CARRIED = ("put", "wipe")
"""Verbs about where a thing is to go, and not where it is."""
BODY = 4
"""gripper 2, closed, holding"""


class LowLevel(nn.Module):
    """B commands in B moments -> [B, k, A] actions: motions in [-1, 1], the fingers as a logit of closing."""

    mean: Tensor
    std: Tensor
    carried: Tensor

    def __init__(self, actions: int, chunk: int, width: int) -> None:
        super().__init__()
        self.actions, self.chunk = actions, chunk
        self.asks, self.answers = nn.Linear(SIZE, KEY), nn.Linear(FIXED, KEY)
        self.first, self.second = nn.Linear(BODY + 4, width), nn.Linear(width, width)
        self.film_first, self.film_second = nn.Linear(SIZE, 2 * width), nn.Linear(SIZE, 2 * width)
        self.last = nn.Linear(width, chunk * actions)
        self.register_buffer("mean", torch.zeros(BODY + 2))
        self.register_buffer("std", torch.ones(BODY + 2))
        carried = torch.zeros(SIZE)
        carried[[VERB.start + VERBS.index(verb) for verb in CARRIED]] = 1.0
        self.register_buffer("carried", carried, persistent=False)

    def offset(self, command: Tensor, fixed: Tensor, here: Tensor, offsets: Tensor, goals: Tensor) -> Tensor:
        """[B, 2] from the gripper to what the command is about."""
        fit = (self.answers(fixed) * self.asks(command)[:, None]).sum(-1)  # [B, M]
        share = fit.masked_fill(~here, -torch.inf).softmax(-1)[..., None]
        carried = (command @ self.carried).clamp(0, 1)[:, None]
        way: Tensor = (share * offsets).sum(1) * (1 - carried) + (share * goals).sum(1) * carried
        return way

    def forward(
        self, command: Tensor, body: Tensor, fixed: Tensor, here: Tensor, offsets: Tensor, goals: Tensor
    ) -> Tensor:
        """command [B, SIZE], body [B, 4], fixed [B, M, FIXED], here [B, M], offsets and goals [B, M, 2]."""
        way = self.offset(command, fixed, here, offsets, goals)
        level = (torch.cat((body, way), -1) - self.mean) / self.std
        x = self.first(torch.cat((level, torch.tanh(SHARP * way)), -1))
        x = self.second(modulated(x, self.film_first(command)))
        x = self.last(modulated(x, self.film_second(command)))
        x = x.view(-1, self.chunk, self.actions)
        return torch.cat((x[..., :-1].tanh(), x[..., -1:]), -1)

    def normalise(self, body: Tensor, here: Tensor, offsets: Tensor) -> None:
        """Takes means and deviations from what it will learn from; no deviation counts as less than a hundredth."""
        every = offsets[here]
        self.mean.copy_(torch.cat((body.mean(0), every.mean(0))))
        self.std.copy_(torch.cat((body.std(0), every.std(0))).clamp_min(1e-2))


def modulated(x: Tensor, film: Tensor) -> Tensor:
    gain, shift = film.chunk(2, -1)
    return nn.functional.gelu(x * (1 + gain) + shift)


def grip(actions: Tensor) -> Tensor:
    """[…, A] with the fingers closing (1) or opening (-1), as a world takes them."""
    return torch.cat((actions[..., :-1], actions[..., -1:].sign()), -1)
