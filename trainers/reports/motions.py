"""What a policy of motions says of itself at the end: which phrases it takes for which, and what people said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.maths.accuracy import wilson

MOST = 12
"""So many of the most frequent mistakes are listed."""


def told(label: str, rights: int, count: int) -> dict[str, Any]:
    """A share with its Wilson 95 % interval. Steps of one episode are alike, so it is narrower than it should be."""
    low, high = wilson(rights, count)
    return {"label": label, "value": rights / count if count else 0.0, "low": low, "high": high, "n": count}


def confusion(phrases: Sequence[str], wanted: Sequence[int], chosen: Sequence[int]) -> dict[str, Any]:
    """{"phrases": the names of rows and columns, "counts": rows are what was right, columns what was chosen}.

    Only phrases that occur are there, most frequent first.
    """
    pairs = Counter(zip(wanted, chosen, strict=True))
    often = Counter([*wanted, *chosen])
    order = [number for number, _ in sorted(often.items(), key=lambda one: (-one[1], one[0]))]
    return {
        "phrases": [phrases[number] for number in order],
        "counts": [[pairs[row, column] for column in order] for row in order],
    }


def mistakes(phrases: Sequence[str], wanted: Sequence[int], chosen: Sequence[int]) -> dict[str, Any]:
    """Readings: the most frequent confusions, as shares of all steps."""
    pairs = Counter(pair for pair in zip(wanted, chosen, strict=True) if pair[0] != pair[1])
    return {
        f"mistake/{phrases[right]}/{phrases[wrong]}": {
            "label": f"“{phrases[right]}” taken for “{phrases[wrong]}”", "value": count / len(wanted), "n": count,
        }
        for (right, wrong), count in sorted(pairs.items(), key=lambda one: (-one[1], one[0]))[:MOST]
    }  # fmt: skip


def per_phrase(said: Sequence[str]) -> dict[str, Any]:
    """Readings: how often people said each phrase."""
    return {
        f"said/{phrase}": {"label": f"Said: “{phrase}”", "value": count}
        for phrase, count in sorted(Counter(said).items(), key=lambda one: (-one[1], one[0]))
    }


def left_out(left: Mapping[str, int]) -> str:
    """A sentence about the corrections that nothing was learned from; empty where there are none."""
    if not left:
        return ""
    return " Left out: " + ", ".join(f"{count} {why}" for why, count in sorted(left.items())) + "."
