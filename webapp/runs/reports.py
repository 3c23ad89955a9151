"""A run's report as its page shows it: intervals on one scale beside chance and the control, the rest in a table."""

from __future__ import annotations

import math
from typing import Any

# What a result is compared with stands below it: {key of a reading: its place after the others}.
LAST = {"longer_answer": 1, "shuffled_control": 2}
# Distances between two ticks of a scale.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000, math.inf)


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """The readings with an interval, placed on a scale from 0 to 100; the others, those before and after together."""
    readings = [{"key": key, **reading} for key, reading in report.get("readings", {}).items()]
    intervals = [one for one in readings if one.get("low") is not None and one.get("high") is not None]
    intervals.sort(key=lambda one: LAST.get(one["key"], 0))
    marks = [one for one in readings if one["key"] == "chance"]
    rows = [one for one in readings if one not in intervals and one not in marks]
    return {
        "any": bool(readings),
        "scale": _scale(intervals, marks) if intervals else None,
        "rows": _rows(rows),
        "text": report.get("text", ""),
    }


def _scale(intervals: list[dict[str, Any]], marks: list[dict[str, Any]]) -> dict[str, Any]:
    """From a round number below everything to one above, shares never beyond 0 and 1."""
    ends = [one[name] for one in intervals for name in ("low", "high")] + [one["value"] for one in marks]
    low, high = min(ends), max(ends)
    step = next(size for size in STEPS if high - low <= 6 * size)
    first, past = int(low // step), -int(-high // step)
    if past == first:
        past += 1
    if low >= 0 and high <= 1:
        past = min(past, round(1 / step))
    ticks = [round(step * i, 6) for i in range(first, past + 1)]
    start, width = ticks[0], ticks[-1] - ticks[0]

    def place(value: float) -> float:
        return round(100 * (value - start) / width, 2)

    return {
        "ticks": [{"value": tick, "at": place(tick)} for tick in ticks],
        "intervals": [
            {
                **one,
                "beside": one["key"] in LAST,
                "at": place(one["value"]),
                "from": place(one["low"]),
                "width": place(one["high"]) - place(one["low"]),
            }
            for one in intervals
        ],
        "marks": [{**one, "at": place(one["value"])} for one in marks],
    }


def _rows(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`score_before` and `score_after` are one row with their difference; every other reading is a row of its own."""
    by_key = {one["key"]: one for one in readings}
    rows = []
    for one in readings:
        name, _, when = one["key"].rpartition("_")
        pair = when in ("before", "after") and {f"{name}_before", f"{name}_after"} <= set(by_key)
        if not pair:
            rows.append({"label": one["label"], "value": one["value"]})
        elif when == "before":
            after = by_key[f"{name}_after"]["value"]
            label = one["label"].partition(",")[0]
            rows.append(
                {"label": label, "before": one["value"], "value": after, "change": after - one["value"]}
            )
    return rows
