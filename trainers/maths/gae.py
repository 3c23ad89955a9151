"""Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438)."""

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and the returns that a critic should learn, both [B, T], 0 on padding.

        delta_t = r_t + gamma V_{t+1} - V_t        A_t = delta_t + gamma lam A_{t+1}        G_t = A_t + V_t

    `values[b, t]` is of the state before action t, and the state after the last action is worth nothing.
    mask [B, T] is bool, true on a row's actions, with padding on the right alone. No gradients.
    """
    real = mask.to(values.dtype)
    rewards, values = rewards.detach() * real, values.detach() * real
    advantages = torch.zeros_like(values)
    after, ahead = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])  # A and V of t + 1
    for t in reversed(range(values.shape[1])):
        after = (rewards[:, t] + gamma * ahead - values[:, t] + gamma * lam * after) * real[:, t]
        ahead = values[:, t]
        advantages[:, t] = after
    return advantages, advantages + values


def gae_over_episodes(
    rewards: Tensor, values: Tensor, led_to: Tensor, done: Tensor, over: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """The same for stretches in which episodes end and new ones begin: all [T, N], time first.

        delta_t = r_t + gamma (1 - done_t) V(led_to_t) - V_t      A_t = delta_t + gamma lam (1 - over_t) A_{t+1}

    `led_to[t]` is the value of what action t led to, also where the next row is of another episode. An episode that
    came to its own end (`done`) has nothing after it; one that was only cut off at its last step (`over`, not `done`)
    would have gone on, and is worth what it led to (Pardo et al. 2018, arXiv:1712.00378). No gradients.
    """
    real, same = (~done).to(values.dtype), (~over).to(values.dtype)
    delta = (rewards + gamma * real * led_to - values).detach()
    advantages = torch.zeros_like(delta)
    after = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        after = delta[t] + gamma * lam * same[t] * after
        advantages[t] = after
    return advantages, advantages + values.detach()
