"""How likely a judgement of two clips is, by the reward of their steps (Christiano et al. 2017, arXiv:1706.03741).

R(s) = sum_t r(o_t, a_t)                                  over the steps of clip s
P(s1 better) = (1 - e) sigmoid(R(s1) - R(s2)) + e / 2     Eq. 1, and e the share of answers given at random
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def summed(rewards: Tensor, mask: Tensor) -> Tensor:
    """[...] the rewards [..., L] of each clip's steps, summed over those that mask [..., L] (bool) is true on."""
    return torch.where(mask, rewards, torch.zeros_like(rewards)).sum(dim=-1)


def log_preferred(h: Tensor, noise: Tensor) -> Tensor:
    """log P(first better) from h = R(first) - R(second) and noise e in [0, 1), of one shape. Finite for any h."""
    return torch.logaddexp(torch.log1p(-noise) + F.logsigmoid(h), torch.log(noise / 2))


def surprise(h: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """-(mu log P(first) + (1 - mu) log P(second)): a judgement's cross-entropy; share mu is 1, 0, or 1/2 for ties."""
    return -(share * log_preferred(h, noise) + (1 - share) * log_preferred(-h, noise))
