"""What should make a reviewer look at somebody's labels: each alarm says its evidence, and what to do.

An alarm is a reason to look, never a verdict: it says what was seen, out of how many, and how rare that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import exp, sqrt
from statistics import mean, median
from typing import Any

FEWEST = 20
"""Labels below which nothing is said of somebody's speed or habits."""
FAST = 1 / 3
"""A median below this share of the study's is fast."""
IMPROBABLE = 1e-4
"""A run of equal answers that is rarer than this is straight-lining."""
LEANING = 0.5
"""A side bias this strong is large: of two equal answers, the one shown first is chosen in 62 % and not in half."""
WINDOW = 50
"""The last labels, which drift compares with those before."""
FALLEN = 0.1
"""The least fall in gold or agreement that is called drift, if it is also three standard errors."""

Alarm = dict[str, Any]


def fast(seconds: Sequence[float], everyones: Sequence[float], what: str) -> Alarm | None:
    """A median time below a third of the study's for the same kind of task. Times of 0 were not measured."""
    own = [one for one in seconds if one > 0]
    others = [one for one in everyones if one > 0]
    if len(own) < FEWEST or not others or median(own) >= FAST * median(others):
        return None
    return {
        "kind": "speed",
        "text": f"Takes {median(own):.1f} s to {what} (the median of {len(own):,}); the study's median is "
        f"{median(others):.1f} s.",
        "advice": "Look at ten of these labels. If they are careless, say what a good answer needs, and ask again.",
    }


def straight_lining(pressed: Sequence[str]) -> Alarm | None:
    """The longest run of equal answers, if it is too long to be chance.

    With p the share of that answer outside the run, a run of r or more begins at a given place with probability p^r
    at the first, (1 - p) p^r at each other; of n answers, at one of n - r + 1.
    """
    said = [one for one in pressed if one]
    if len(said) < FEWEST:
        return None
    runs = [(len(list(group)), answer) for answer, group in groupby(said)]
    length, answer = max(runs)
    outside = said.count(answer) - length
    rate = (outside + 1) / (len(said) - length + 2)
    chance = min(1.0, rate**length * (1 + (len(said) - length) * (1 - rate)))
    if chance >= IMPROBABLE:
        return None
    return {
        "kind": "straight-lining",
        "text": f"Gave the same answer ({answer}) {length} times in a row, of {len(said):,} answers. At the rate of "
        f"that answer in the rest, {percent(rate)}, such a run has a probability of {_small(chance)}.",
        "advice": "Look at the run. Where the tasks differ, send these labels back, or leave them out.",
    }


def leaning(bias: float, low: float, high: float, first: int, decided: int) -> Alarm | None:
    """A side bias whose interval leaves 0 out, and which is large."""
    if low <= 0 <= high or abs(bias) < LEANING or decided < FEWEST:
        return None
    side = "first" if bias > 0 else "second"
    chosen = first if bias > 0 else decided - first
    ends = sorted(chance(one if bias > 0 else -one) for one in (low, high))
    return {
        "kind": "side bias",
        "text": f"Leans to the answer shown {side}: chose it in {chosen:,} of {decided:,} decided comparisons; of two "
        f"equal answers, the fit expects it in {percent(chance(abs(bias)))} (95 % interval {percent(ends[0])} to "
        f"{percent(ends[1])}).",
        "advice": "Which side an answer stands on is drawn by chance, so this is habit. Tell them, and watch it.",
    }


def drift(scores: Sequence[float], what: str) -> Alarm | None:
    """The mean of the last labels against that of all before, where it fell. `scores` are 0 to 1, the oldest first."""
    before, last = scores[:-WINDOW], scores[-WINDOW:]
    if len(before) < WINDOW:
        return None
    fall = mean(before) - mean(last)
    error = sqrt(_variance(before) / len(before) + _variance(last) / len(last))
    if fall < FALLEN or fall < 3 * error:
        return None
    return {
        "kind": "drift",
        "text": f"{what} fell to {percent(mean(last))} in the last {len(last)}, from {percent(mean(before))} in the "
        f"{len(before):,} before.",
        "advice": "Ask whether something changed: the guideline, the tasks, or how tired they are.",
    }


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def chance(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds))


def _variance(scores: Sequence[float]) -> float:
    """Of 0 to 1 scores, one more of each counted in, so that a perfect past is not without doubt."""
    padded = [*scores, 0.0, 1.0]
    middle = mean(padded)
    return mean((one - middle) ** 2 for one in padded)


def _small(probability: float) -> str:
    return f"{probability:.1g}" if probability >= 1e-12 else "less than 1e-12"
