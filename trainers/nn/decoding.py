"""Drawing answers token by token: the one loop that every policy's samples come from.

The log-probabilities are those of the distribution that was drawn from, at its temperature. Without a hook that is
the policy's own, and `policy.logp_tok(x, y, temperature)` gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.nn.policy import Policy, Samples, pad_right

Hook = Callable[[Tensor, Tensor], Tensor]
"""(logits [R, V] at temperature 1, ids so far [R, t]) -> logits [R, V] to draw from. Rows that have ended may still be
among them, padded; the logits must not be changed in place."""

Stop = Callable[[int, Tensor], bool]
"""(row, its ids so far [t]) -> whether its answer ends here, though the policy did not end it."""

CROWD = 0.25
"""Ended rows are dropped when they are more than this share: not one by one, since the others' keys must move."""


@dataclass(frozen=True)
class Drawn:
    """Samples, and what was done to them."""

    samples: Samples
    """`mask` is true on what was drawn, and `logp_tok` is 0 elsewhere, also on what was forced."""
    forced: Tensor
    """[B * n, T] bool, true on the tokens that were given and not drawn."""
    stopped: Tensor
    """[B * n] bool: `stop` ended the answer. It counts as finished."""


def draw(
    policy: Policy,
    x: Sequence[Tensor],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
    *,
    forced: Sequence[Tensor] | None = None,
    hook: Hook | None = None,
    stop: Stop | None = None,
) -> Drawn:
    """n answers to each prompt, each of at most max_new tokens drawn behind those that its prompt forces on it.

    `forced` has one tensor of ids [F_b] a prompt, which may be empty.
    """
    with torch.inference_mode():
        y, logp_tok, finished, stopped, given = _draw(
            policy, x, n, max_new, temperature, generator, forced, hook, stop
        )
    # Out of inference mode, or no loss could be computed with them.
    y, logp_tok, finished, stopped = y.clone(), logp_tok.clone(), finished.clone(), stopped.clone()
    mask = policy.mask(y)
    fixed = torch.zeros_like(mask)
    if given is not None:
        fixed = (torch.arange(y.shape[1], device=y.device) < given.clone()[:, None]) & mask
    samples = Samples([ids for ids in x for _ in range(n)], y, logp_tok, mask & ~fixed, finished)
    return Drawn(samples, fixed, stopped)


def sample(
    policy: Policy,
    x: Sequence[Tensor],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
) -> Samples:
    """n answers to each prompt, from the whole distribution: every policy's `sample`."""
    return draw(policy, x, n, max_new, temperature, generator).samples


def _draw(
    policy: Policy,
    x: Sequence[Tensor],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
    forced: Sequence[Tensor] | None,
    hook: Hook | None,
    stop: Stop | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """(y, logp_tok, finished, stopped, how many tokens of each row were given)."""
    prefix, given = _spread(policy, x, n, forced)
    width = max_new + (prefix.shape[1] if prefix is not None else 0)
    decoding = policy.decoding(x, n, width)
    total = len(x) * n
    device = policy.device
    y = torch.full((total, width), policy.pad, device=device)
    logp_tok = torch.zeros(total, width, device=device, dtype=decoding.logits.dtype)
    finished = torch.zeros(total, dtype=torch.bool, device=device)
    stopped = torch.zeros_like(finished)
    rows = torch.arange(total, device=device)  # which row of y each row of the decoding writes
    done = torch.zeros_like(finished)  # nothing more is written
    ended = done  # by itself or at a stop; without forced beginnings the same as `done`
    for t in range(width):
        logits = decoding.logits if hook is None else hook(decoding.logits, y[rows, :t])
        logp = F.log_softmax(logits if temperature == 1.0 else logits / temperature, dim=-1)
        token = pick(logp, generator)
        silent = done
        if prefix is not None and given is not None and t < prefix.shape[1]:
            fixed = t < given[rows]
            token = torch.where(fixed, prefix[rows, t], token)
            silent = done | fixed
        y[rows, t] = token.masked_fill(done, policy.pad)
        logp_tok[rows, t] = logp.gather(1, token[:, None])[:, 0].masked_fill(silent, 0.0)
        ends = decoding.ends(token)
        if stop is not None:
            for row in rows[~(silent | ends)].tolist():
                stopped[row] = stop(row, y[row, : t + 1])
            ends = ends | stopped[rows]
        if given is None:
            ended = done = done | ends
        else:
            ended = ended | (ends & ~done)
            done = done | ends | (t + 1 >= given[rows] + max_new)
        still = len(done) - int(done.sum())
        over = t + 1 == width or still == 0
        if over or still < (1 - CROWD) * len(done):
            finished[rows] = ended
            if over:
                break
            stay = (~done).nonzero()[:, 0]
            decoding.keep(stay)
            rows, token, done, ended = rows[stay], token[stay], done[stay], ended[stay]
        decoding.advance(token)
    return y[:, : t + 1], logp_tok[:, : t + 1], finished, stopped, given


def pick(logp: Tensor, generator: torch.Generator) -> Tensor:
    """[R] a token for each row of log-probabilities [R, V]: the one at which a uniform number falls.

    One number a row, where torch.multinomial draws one for every token of the vocabulary. Summed in double precision,
    or the rare tokens of a large vocabulary would lose their chance. A token of probability 0 is never picked.
    """
    reached = logp.exp().double().cumsum(dim=-1)
    at = torch.rand(len(logp), 1, generator=generator, device=logp.device, dtype=torch.float64)
    return torch.searchsorted(reached, at * reached[:, -1:], right=True)[:, 0]


def _spread(
    policy: Policy, x: Sequence[Tensor], n: int, forced: Sequence[Tensor] | None
) -> tuple[Tensor | None, Tensor | None]:
    """(ids [B * n, F] that are given, how many [B * n]) of the tokens forced on each prompt's answers."""
    if forced is None or not any(len(ids) for ids in forced):
        return None, None
    if len(forced) != len(x):
        raise ValueError(
            f"There are {len(x)} prompts and {len(forced)} forced beginnings: give each prompt one."
        )
    lengths = torch.tensor([len(ids) for ids in forced for _ in range(n)])
    ids = pad_right([ids.long() for ids in forced for _ in range(n)], policy.pad)
    inside = torch.arange(ids.shape[1]) < lengths[:, None]
    ending = policy.pad if policy.eos is None else policy.eos
    if ((ids == ending) | (ids == policy.pad))[inside].any():
        raise ValueError("A forced beginning holds the token that ends an answer, or padding: leave it out.")
    return ids.to(policy.device), lengths.to(policy.device)
