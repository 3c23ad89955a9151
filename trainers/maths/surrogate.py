"""PPO's clipped objectives (Schulman et al. 2017, arXiv:1707.06347), a number for each token or answer."""

import torch
from torch import Tensor

LARGEST = 20.0
"""Log-ratios are cut to +-20 before exp, so that no weight is infinite."""


def importance(logp: Tensor, old: Tensor) -> Tensor:
    """pi / pi_old. Exactly 1 where the two log-probabilities are the same number."""
    return (logp - old).clamp(-LARGEST, LARGEST).exp()


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """min(ratio A, clip(ratio, 1 - low, 1 + high) A), Eq. 7: to be maximised. No gain from going further than that.

    One bound for both sides in PPO; a wider one above lets rare tokens grow (DAPO, arXiv:2503.14476, 3.1).
    """
    return torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """max((V - G)^2, (clip(V, V_old +- clip) - G)^2) / 2: the worse of the two, to be minimised.

    (PPO2 of OpenAI's baselines; detail 9 of "The 37 implementation details of PPO", Huang et al. 2022.)
    """
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)
