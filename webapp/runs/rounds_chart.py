"""The chart of `manage.py rounds`: the gold score of fresh answers, round by round, one line a seed. Plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 64, 56
COLOURS = ("#2f6fde", "#c2561a", "#1f8a5b", "#8a4fc9", "#b3305d")
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 17px; font-weight: 600 } .quiet { fill: #5d6670 } .grid { stroke: #d9dee3 } rect { fill: #fff }
  @media (prefers-color-scheme: dark) {
    rect { fill: #14181d } text { fill: #e4e8ec } .quiet { fill: #9aa4ae } .grid { stroke: #333b44 }
  }
"""


def chart(seeds: Sequence[dict[str, Any]], highest: float = 10.0) -> str:
    """`seeds` are [{"seed", "rounds": [{"mean", "low", "high"}, …]}, …]; the first round is the first policy."""
    rounds = max(len(one["rounds"]) for one in seeds)
    lowest = min(0.0, *(point["low"] for one in seeds for point in one["rounds"]))

    def x(number: int, seed: int) -> float:
        aside = (
            seed - (len(seeds) - 1) / 2
        ) * 9  # so that the intervals of one round stand beside each other
        return LEFT + 30 + number * (WIDTH - LEFT - RIGHT - 60) / max(1, rounds - 1) + aside

    def y(score: float) -> float:
        return HEIGHT - BOTTOM - (score - lowest) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Gold score of fresh answers by round">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="28">Gold score of fresh answers to held-out messages</text>',
        f'<text class="quiet" x="{LEFT}" y="48">mean and 95 % interval; 10 is the most the rule gives</text>',
    ]
    for score in range(int(lowest), int(highest) + 1, 2):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(score):.1f}" y2="{y(score):.1f}"/>'
        )
        parts.append(
            f'<text class="quiet" x="{LEFT - 10}" y="{y(score) + 5:.1f}" text-anchor="end">{score}</text>'
        )
    for number in range(rounds):
        name = f"round {number}" if number else "first policy"
        middle = x(number, 0) + (x(number, len(seeds) - 1) - x(number, 0)) / 2
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 26}" text-anchor="middle">{name}</text>')
    for index, one in enumerate(seeds):
        parts.append(_line(index, one, x, y))
    return "\n".join([*parts, "</svg>", ""])


def _line(index: int, one: dict[str, Any], x, y) -> str:
    """One seed: a line through its means, a bar for each interval, its name at the end."""
    colour = COLOURS[index % len(COLOURS)]
    points = [(x(number, index), point) for number, point in enumerate(one["rounds"])]
    path = " ".join(f"{at:.1f},{y(point['mean']):.1f}" for at, point in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for at, point in points:
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(point["low"]):.1f}" y2="{y(point["high"]):.1f}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{at:.1f}" cy="{y(point["mean"]):.1f}" r="4.5" fill="{colour}">'
            f"<title>{point['mean']:.2f} ({point['low']:.2f} to {point['high']:.2f})</title></circle>"
        )
    at = WIDTH - RIGHT - 80 * (3 - index % 4)
    parts.append(f'<circle cx="{at - 12}" cy="{HEIGHT - 14}" r="4.5" fill="{colour}"/>')
    parts.append(f'<text class="quiet" x="{at}" y="{HEIGHT - 9}">seed {one["seed"]}</text>')
    return "".join(parts)
