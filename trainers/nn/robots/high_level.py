"""The high level: the last moments -> a command's vector, compared with a bank that is data (arXiv 2403.12910).

    y = f(o_{t-H skip}, …, o_t)        logits_j = cos(y, e(c_j)) / tau

New commands enlarge the bank with no new weights. Each thing is read by the same network; a softmax over the things
chooses the one that matters now, whose name goes into the command's slot for things as it is, so that what is learned
about a red block holds for a blue one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.nn.commands import NAME, SIZE, THING
from trainers.nn.robots.seeing import FIXED, OF_A_THING, OF_THE_WHOLE

FIRST_TAU = 0.1
LEAST_TAU = 1e-8


class HighLevel(nn.Module):
    """B histories of H + 1 moments and a bank of C commands -> [B, C] logits."""

    def __init__(self, history: int, width: int) -> None:
        super().__init__()
        moments = history + 1
        of_all = moments * OF_THE_WHOLE
        self.thing = nn.Sequential(
            nn.Linear(moments * OF_A_THING + FIXED + of_all, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.matters = nn.Linear(width, 1)
        self.whole = nn.Sequential(
            nn.Linear(of_all + 2 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Linear(width, SIZE + 1),
        )
        self.log_tau = nn.Parameter(torch.tensor(math.log(FIRST_TAU)))

    @property
    def tau(self) -> Tensor:
        return self.log_tau.exp().clamp_min(LEAST_TAU)

    def embed(self, things: Tensor, whole: Tensor, fixed: Tensor, here: Tensor) -> Tensor:
        """[B, SIZE] of length 1: the command it is for.

        things [B, M, (H+1) OF_A_THING], whole [B, (H+1) OF_THE_WHOLE], fixed [B, M, FIXED], here [B, M].
        """
        around = whole[:, None].expand(-1, things.shape[1], -1)
        read = self.thing(torch.cat((things, fixed, around), -1)) * here[..., None]  # [B, M, width]
        share = self.matters(read).squeeze(-1).masked_fill(~here, -torch.inf).softmax(-1)[..., None]
        mean = read.sum(1) / here.sum(1, keepdim=True)
        said = self.whole(torch.cat((whole, (share * read).sum(1), mean), -1))
        y, about = said[:, :SIZE], said[:, SIZE:]
        named = F.pad((share * fixed[..., :NAME]).sum(1) * about, (THING.start, SIZE - THING.stop))
        return F.normalize(y + named, dim=-1)

    def forward(self, things: Tensor, whole: Tensor, fixed: Tensor, here: Tensor, bank: Tensor) -> Tensor:
        """[B, C] cos / tau for a bank [C, SIZE]."""
        cosines: Tensor = self.embed(things, whole, fixed, here) @ F.normalize(bank, dim=-1).T
        return cosines / self.tau
