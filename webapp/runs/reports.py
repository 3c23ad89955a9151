"""A run's report as its page shows it: intervals on one scale beside chance and the control, the rest in a table."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any

from webapp.runs.templatetags.run_words import said

# What a result is compared with stands below it: {key of a reading: its place after the others}.
LAST = {"longer_answer": 1, "shuffled_control": 2}
# What results are broken down by.
BY = {"length": "length", "margin": "how much better", "annotator": "annotator", "source": "source"}
# Distances between two ticks of a scale.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000, math.inf)
LEGIBLE = 21
"""Characters below a scale, above which its numbers would run into each other: every second is then left out."""


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """The readings with an interval, placed on a scale from 0 to 100; the others, those before and after together."""
    readings = [{"key": key, **reading} for key, reading in _ordered(report, "readings").items()]
    intervals = [one for one in readings if one.get("low") is not None and one.get("high") is not None]
    intervals.sort(key=lambda one: LAST.get(one["key"], 0))
    marks = [one for one in readings if one["key"] == "chance"]
    rows = [one for one in readings if one not in intervals and one not in marks]
    charts = _charts(_ordered(report, "curves"))
    return {
        "any": bool(readings or charts or report.get("text")),
        "charts": charts,
        "scale": _scale(intervals, marks) if intervals else None,
        "rows": _rows(rows),
        "text": report.get("text", ""),
    }


def _ordered(report: dict[str, Any], name: str) -> dict[str, Any]:
    """What was said under a name, in the order it was said in."""
    found = report.get(name, {})
    order = [key for key in report.get("order", {}).get(name, []) if key in found]
    return {key: found[key] for key in [*order, *(key for key in found if key not in order)]}


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
    every = 1 if sum(len(f"{tick:g}") for tick in ticks) <= LEGIBLE else 2

    def place(value: float) -> float:
        return round(100 * (value - start) / width, 2)

    groups: dict[str, list[dict[str, Any]]] = {}
    for one in intervals:
        placed = {
            "beside": one["key"] in LAST,
            "at": place(one["value"]),
            "from": place(one["low"]),
            "width": place(one["high"]) - place(one["low"]),
        }
        groups.setdefault(_group(one["key"]), []).append({**one, **placed})
    return {
        "ticks": [
            {"value": tick, "at": place(tick), "named": number % every == 0}
            for number, tick in enumerate(ticks)
        ],
        "intervals": groups.pop("", []),
        "groups": [
            {"title": BY.get(name, name.replace("_", " ")), "intervals": rows}
            for name, rows in groups.items()
        ],
        "marks": [{**one, "at": place(one["value"])} for one in marks],
    }


def _group(key: str) -> str:
    """What a reading is broken down by: of "accuracy/annotator/ann" the annotator."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 else ""


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


def _charts(curves: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Curves over the same two axes share a chart; each chart has its numbers as a table too."""
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for name, curve in curves.items():
        for key, one in _lines(name, curve).items():
            axes = (curve.get("x_label", "x"), curve.get("y_label", curve.get("label", name)))
            groups.setdefault(axes, {})[key] = one
    charts = []
    for number, ((x_label, y_label), lines) in enumerate(groups.items()):
        known = {name.partition("_")[0].partition("/")[0] for name in lines}
        charts.append(
            {
                "id": f"report-chart-{number}",
                "title": f"{y_label} against {x_label[:1].lower()}{x_label[1:]}",
                "data": {
                    "curves": list(lines.values()),
                    "x_label": x_label,
                    "y_label": y_label,
                    "log": known == {"learning"},
                    "diagonal": known == {"reliability"},
                },
                "table": [_table(one) for one in lines.values()],
                "alternative": ". ".join(_sentence(one) for one in lines.values()) + ".",
            }
        )
    return charts


def _lines(name: str, curve: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A curve; and, of a frontier with a gold rule, the gold score as a second one."""
    shown = {key: curve[key] for key in ("x", "y", "low", "high", "n") if curve.get(key)}
    if not shown.get("x"):
        return {}
    lines = {name: {**shown, "label": curve.get("label", name), "fit": name.endswith("_fit")}}
    if curve.get("gold"):
        lines[name]["label"] = curve.get("y_label", "Score")
        lines[f"{name}/gold"] = {
            "x": curve["x"], "y": curve["gold"], "label": curve.get("gold_label", "Gold score"), "fit": False,
        }  # fmt: skip
    return lines


def _table(line: dict[str, Any]) -> dict[str, Any]:
    bounds = [line.get(name, []) for name in ("low", "high")]
    rows = zip_longest(line["x"], line["y"], *bounds, line.get("n", []))
    return {"label": line["label"], "bounds": all(bounds), "counts": "n" in line, "rows": list(rows)}


def _sentence(line: dict[str, Any]) -> str:
    (x, y), (last_x, last_y) = ((line["x"][at], line["y"][at]) for at in (0, -1))
    return f"{line['label']}: {said(y, 3)} at {said(x, 3)}, {said(last_y, 3)} at {said(last_x, 3)}"
