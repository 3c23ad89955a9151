"""How numbers and states of runs are said on pages: the same words as static/js/run_lines.js says them in."""

from __future__ import annotations

import math
import re
from typing import Any

from django import template

from trainers import registry
from webapp.runs.offers import counted

register = template.Library()

STATUS_TONES = {
    "running": "accent", "finished": "good", "failed": "bad", "paused": "warn", "stopping": "warn", "stopped": "warn",
}  # fmt: skip
EVENT_TONES = {
    "failed": "bad",
    "worker_lost": "bad",
    "alarm": "bad",
    "truncated": "warn",
    "set": "warn",
    "stop": "warn",
    "pause": "warn",
}


@register.filter
def said(value: Any, digits: int = 4) -> str:
    """Significant digits, a true minus, thousands with commas."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    sign, size = "−" if value < 0 else "", abs(value)
    if math.isinf(size):
        return f"{sign or '+'}Inf"
    if size == 0:
        return "0"
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{size:.2e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}".replace("e-", "e−")
    if size >= 1000:
        return f"{sign}{size:,.0f}"
    return f"{sign}{float(f'{size:.{digits}g}'):g}"


@register.filter
def signed(value: float) -> str:
    return f"+{said(value, 2)}" if value > 0 else said(value, 2)


@register.filter
def setting(value: Any) -> str:
    """A setting as one would type it: 1.0 is 1."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@register.filter
def expected(one: registry.Field) -> str:
    """What a setting may be and what it is when left alone: default 0.1, above 0."""
    if one.type == "bool":
        return f"default {'on' if one.default else 'off'}"
    low = "" if one.low is None else f"above {one.low:g}" if one.above else f"at least {one.low:g}"
    high = "" if one.high is None else f"{'below' if one.below else 'at most'} {one.high:g}"
    return ", ".join(filter(None, [f"default {setting(one.default) or 'empty'}", low, high]))


register.filter("counted", counted)


@register.filter
def clock(seconds: float | None) -> str:
    """2:14, or 1:02:09."""
    if seconds is None:
        return "not started"
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def status_tone(status: str) -> str:
    return STATUS_TONES.get(status, "")


@register.filter
def event_tone(kind: str) -> str:
    return EVENT_TONES.get(kind, "")


@register.filter
def spaced(name: str) -> str:
    return name.replace("_", " ")


@register.filter
def slug_of(name: str) -> str:
    """A metric's name as part of an id: the same as run_chart.js makes of it."""
    return re.sub(r"[^\w]+", "-", name, flags=re.ASCII)
