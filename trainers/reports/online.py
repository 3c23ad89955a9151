"""What a run that learns from its own samples says at its end: reward against KL, and whether the score was gamed.

Reward grows about like the square root of the KL to the reference (Bai et al. 2022, arXiv:2204.05862, 4.3), and past
some distance the true reward falls while the learned one still grows (Gao et al. 2023, arXiv:2210.10760). Both are
read off what the run has logged: they describe what has happened, and warn of nothing before it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = list[float | None]
"""[step, KL, mean score, mean gold score or None] of one batch of samples; a list, since a checkpoint is JSON."""

STRETCHES = 10
"""The run is cut into so many stretches of points, whose means are compared: one batch says too little."""
LABELS = {"score": "Score", "gold": "Gold score", "kl": "KL to reference", "length": "Tokens an answer"}


def thin(points: list[Point], most: int = 400) -> list[Point]:
    """At most `most` points, evenly spread: beyond that, every second one is dropped."""
    return points if len(points) <= most else points[::2]


def proxy_gap(before: dict[str, float], score: float, gold: float | None) -> float | None:
    """How far the score's gain since the start is ahead of gold's, each in deviations at the start."""
    if gold is None or not before["score_std"] or not before.get("gold_std"):
        return None
    ahead = (score - before["score"]) / before["score_std"]
    return ahead - (gold - before["gold"]) / before["gold_std"]


def report(before: dict[str, float], after: dict[str, float], points: Sequence[Point]) -> dict[str, object]:
    """First policy beside last, on the same prompts with the same chances; the frontier; how gold went.

    `before` and `after` hold the means that LABELS names, and the deviations `score_std` and `gold_std`.
    """
    readings: dict[str, dict[str, object]] = {
        f"{name}_{when}": {"label": f"{label}, {when}", "value": found[name]}
        for name, label in LABELS.items()
        for when, found in (("before", before), ("after", after))
        if name in found
    }
    gap = proxy_gap(before, after["score"], after.get("gold"))
    if gap is not None:
        readings["proxy_gap"] = {"label": "Score's gain less gold's, in deviations", "value": gap}
    text = f"Score {before['score']:.3g} to {after['score']:.3g} at a KL of {max(after['kl'], 0):.3g} nats."
    found = peak(points)
    if found is not None:
        readings["gold_peak"] = {"label": "Gold score at its peak", "value": found["gold"]}
        readings["gold_peak_kl"] = {"label": "KL at gold's peak", "value": found["kl"]}
        readings["gold_since_peak"] = {
            "label": "Gold score since its peak",
            "value": 0.0 - found["fall"],
            "low": -found["fall"] - 2 * found["error"],
            "high": -found["fall"] + 2 * found["error"],
        }
        text += " " + _said(found)
    return {"readings": readings, "curves": {"frontier": frontier(points)}, "text": text}


def frontier(points: Sequence[Point]) -> dict[str, object]:
    """Score, and gold score where there is a gold rule, against the square root of the KL; a point a batch."""
    curve: dict[str, object] = {
        "label": "Reward against √KL",
        "x_label": "√KL to the reference",
        "y_label": "Score",
        "gold_label": "Gold score",
        "step": [point[0] for point in points],
        "x": [math.sqrt(max(point[1] or 0.0, 0.0)) for point in points],
        "kl": [point[1] for point in points],
        "y": [point[2] for point in points],
    }
    if points and all(point[3] is not None for point in points):
        curve["gold"] = [point[3] for point in points]
    return curve


def peak(points: Sequence[Point]) -> dict[str, float] | None:
    """Where the mean gold score of a stretch was highest, and how far it has fallen from there to the last stretch.

    `error` is the standard error of that fall, from the spread of the batches within the two stretches. None without
    a gold rule, or with fewer than two batches a stretch.
    """
    gold = [point[3] for point in points if point[3] is not None]
    if len(gold) < len(points) or len(gold) < 2 * STRETCHES:
        return None
    edges = [round(index * len(gold) / STRETCHES) for index in range(STRETCHES + 1)]
    means, errors = [], []
    for start, end in zip(edges, edges[1:], strict=False):
        stretch = gold[start:end]
        mean = sum(stretch) / len(stretch)
        means.append(mean)
        errors.append(sum((one - mean) ** 2 for one in stretch) / (len(stretch) - 1) / len(stretch))
    top = max(range(STRETCHES), key=means.__getitem__)
    there = [point[1] or 0.0 for point in points[edges[top] : edges[top + 1]]]
    last = top == STRETCHES - 1
    return {
        "step": points[edges[top + 1] - 1][0] or 0.0,
        "kl": sum(there) / len(there),
        "gold": means[top],
        "fall": means[top] - means[-1],
        "error": 0.0 if last else math.sqrt(errors[top] + errors[-1]),
    }


def _said(found: dict[str, float]) -> str:
    if found["fall"] > 2 * found["error"]:
        return (
            f"Gold score was highest about step {found['step']:.0f}, at a KL of {found['kl']:.3g} nats, and has fallen "
            f"by {found['fall']:.3g} (± {2 * found['error']:.2g}) since: the score was over-optimised."
        )
    return "Gold score has not fallen clearly below its peak."
