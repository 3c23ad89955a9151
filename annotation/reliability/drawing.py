"""Where the marks of the quality page's pictures stand: plain numbers in the units of each SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

ITEMS = {"width": 420, "height": 300, "left": 46, "right": 22, "top": 10, "bottom": 40}
WEEKS = {"width": 480, "height": 190, "left": 44, "right": 12, "top": 10, "bottom": 34}
PEOPLE = {"width": 420, "left": 130, "right": 24, "top": 8, "bottom": 40, "row": 22}
HARDEST = 0.5
"""The right end of the items' picture: of two equal answers, everybody tosses a coin."""
LEAST_RIGHT = 0.4
MOST_PEOPLE = 40
MOST_NAME = 18


def items(points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Items by how hard the fit takes them to be, and by how far people disagreed about them."""
    box = ITEMS
    across, up = (
        _scale(box["left"], box["width"] - box["right"]),
        _scale(box["height"] - box["bottom"], box["top"]),
    )
    dots = []
    for number, (difficulty, disagreement, people, item) in enumerate(points):
        # Of two or three people, few shares of disagreement are possible: spread them a little, to see how many.
        apart = ((number * 0.618) % 1 - 0.5) * 0.05
        dots.append(
            {
                "x": round(across(min(difficulty, HARDEST) / HARDEST), 1),
                "y": round(up(min(1, max(0, disagreement)) * 0.93 + 0.035 + apart), 1),
                "r": round(min(6.0, 1.6 + 0.6 * people), 1),
                "item": item,
                "difficulty": difficulty,
                "disagreement": disagreement,
                "people": people,
            }
        )
    return {
        **_frame(box),
        "dots": dots,
        "ticks": [{"at": round(across(n / 5), 1), "words": f"{10 * n} %"} for n in range(6)],
        "rungs": [{"at": round(up(0.035 + 0.93 * n / 4), 1), "words": f"{25 * n} %"} for n in range(5)],
        "half": round(across(0.5), 1),
    }


def people(rows: Sequence[dict[str, Any]], chance: float) -> dict[str, Any]:
    """People by how often they side with what people have in common, each with its interval; the best first."""
    ordered = sorted(rows, key=lambda row: -row["accuracy"]["value"])
    shown = ordered[:MOST_PEOPLE]
    box = {**PEOPLE, "height": PEOPLE["top"] + PEOPLE["bottom"] + PEOPLE["row"] * max(1, len(shown))}
    low = min(LEAST_RIGHT, chance)
    across = _scale(box["left"], box["width"] - box["right"])

    def place(value: float) -> float:
        return round(across((min(1.0, max(low, value)) - low) / (1 - low)), 1)

    marks = []
    for number, row in enumerate(shown):
        accuracy = row["accuracy"]
        name = row["name"] if len(row["name"]) <= MOST_NAME else row["name"][: MOST_NAME - 1] + "…"
        marks.append(
            {
                "name": name,
                "y": box["top"] + box["row"] * (number + 0.5),
                "x": place(accuracy["value"]),
                "low": place(accuracy["low"]),
                "high": place(accuracy["high"]),
                "accuracy": accuracy,
                "full_name": row["name"],
            }
        )
    ticks = [n / 10 for n in range(round(low * 10 + 0.499), 11) if n % 2 == 0 or low >= 0.4]
    return {
        **_frame(box),
        "marks": marks,
        "chance": place(chance),
        "ticks": [{"at": place(one), "words": f"{100 * one:.0f} %"} for one in ticks],
        "left_out": len(ordered) - len(shown),
    }


def weeks(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Agreement by week with its interval, beside what chance would give; None for fewer than two weeks."""
    if len(rows) < 2:
        return None
    box = WEEKS
    across, up = (
        _scale(box["left"], box["width"] - box["right"]),
        _scale(box["height"] - box["bottom"], box["top"]),
    )
    marks = []
    for number, row in enumerate(rows):
        raw = row["agreement"]
        marks.append(
            {
                "x": round(across((number + 0.5) / len(rows)), 1),
                "y": round(up(raw["share"]), 1),
                "low": round(up(raw["low"]), 1),
                "high": round(up(raw["high"]), 1),
                "chance": round(up(raw["chance"]), 1),
                "week": row["week"],
                "short": _short(row["week"]),
                "named": number % (1 + len(rows) // 8) == 0,
                **{key: raw[key] for key in ("share", "tasks")},
            }
        )
    return {
        **_frame(box),
        "marks": marks,
        "line": " ".join(f"{mark['x']},{mark['y']}" for mark in marks),
        "chance": " ".join(f"{mark['x']},{mark['chance']}" for mark in marks),
        "rungs": [{"at": round(up(n / 4), 1), "words": f"{25 * n} %"} for n in range(5)],
    }


def _short(day: str) -> str:
    """“12 Oct” of 2026-10-12."""
    return f"{date.fromisoformat(day):%-d %b}"


def _scale(start: float, end: float):
    return lambda share: start + share * (end - start)


def _frame(box: dict[str, int]) -> dict[str, int]:
    return {
        "width": box["width"],
        "height": box["height"],
        "left": box["left"],
        "end": box["width"] - box["right"],
        "top": box["top"],
        "floor": box["height"] - box["bottom"],
        "middle": (box["left"] + box["width"] - box["right"]) // 2,
    }
