"""Estimators of KL(pi || ref) from samples of pi (Schulman 2020, "Approximating KL divergence").

Each is a number for each sample, from its log-probabilities; its mean over samples of pi estimates the KL.
As a *loss* they behave otherwise than as a number. On samples of pi itself, with k the estimator:

    E[grad k1] = 0        E[grad k2] = grad KL        E[grad k3] = grad KL(ref || pi), the reverse one

The gradient of E[k], which is what should be descended, also has the term E[k grad log pi]. `corrected` has it.
"""

from torch import Tensor

LARGEST = 20.0
"""Differences of log-probabilities are cut to +-20 before exp: beyond, one token would be the whole batch."""


def k1(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """log pi - log ref: unbiased, of either sign."""
    return logp - logp_ref


def k2(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """(log pi - log ref)^2 / 2: biased, never negative, and its gradient is right on policy."""
    return 0.5 * (logp - logp_ref) ** 2


def k3(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """ref/pi - 1 - log(ref/pi): unbiased, never negative, of low variance."""
    behind = (logp_ref - logp).clamp(-LARGEST, LARGEST)
    return behind.exp() - 1 - behind


def corrected(k: Tensor, ratio: Tensor) -> Tensor:
    """ratio * k, with ratio = pi / pi_old of the samples: its gradient is that of E_pi[k], also off policy.

    On policy the ratio is 1 and k keeps its value; with k3 the gradient is then log(pi/ref) grad log pi, as k2's is.
    """
    return ratio * k
