"""Log-probabilities and entropies of tokens, from logits."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_logp(logits: Tensor, y: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """[B, T] log softmax(logits / temperature)[y]; 0 where mask is false.

    logits [B, T, V], y [B, T], mask [B, T]. The temperature belongs in here: log-probabilities at temperature 1
    of answers sampled at 0.7 belong to another policy, and the KL against it grows while nothing is learned
    ("The N implementation details of RLHF with PPO", Huang et al. 2023).
    """
    scaled = logits if temperature == 1.0 else logits / temperature
    # One fused kernel: its backward takes a sixth of the time of gather and logsumexp. -100 rows give 0.
    chosen = torch.where(mask, y, -100).flatten()
    return -F.cross_entropy(scaled.flatten(0, 1), chosen, reduction="none", ignore_index=-100).view(y.shape)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """[B, T] entropy in nats, -sum p log p, of softmax(logits / temperature), logits [B, T, V]."""
    logp = (logits / temperature).log_softmax(dim=-1)
    return -(logp.exp() * logp).sum(dim=-1)
