"""What a study sets about its queue and its quality: each rule's bounds, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation.errors import Invalid
from annotation.models import Policy, Study

SHARES = {
    "gold_rate": 0.5,
    "calibration_rate": 0.5,
    "repeat_rate": 0.5,
    "pass_bar": 1.0,
    "drift_bar": 1.0,
}
"""The most each share may be; the least is 0, which switches it off."""
SWITCHES = ("share_gold", "by_reliability")
MOST_MORE = 20
RULES = ("policy", "stratum", "more_people", "wide_spread", *SHARES, *SWITCHES)


def read_rules(given: Mapping[str, Any]) -> dict[str, Any]:
    """The rules among `given`, checked; a wrong one is an error that names it."""
    return {name: _read(name, value) for name, value in given.items() if name in RULES}


def _read(name: str, value: Any) -> Any:
    if name == "policy":
        if value not in Policy.values:
            raise Invalid(f"Found {value!r}; expected one of {', '.join(Policy.values)}.", field=name)
        return value
    if name == "stratum":
        if not isinstance(value, str) or len(value) > 100 or "\x00" in value:
            raise Invalid("Expected the name of a key of the items' source, up to 100 letters.", field=name)
        return value
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise Invalid(f"Found {value!r}; expected true or false.", field=name)
        return value
    least, most = (0, MOST_MORE) if name == "more_people" else (0.0, SHARES.get(name, 100.0))
    whole = name != "more_people" or isinstance(value, int)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not whole or not least <= value <= most:
        raise Invalid(f"Found {value!r}; expected a number from {least} to {most}.", field=name)
    return value


def rules_of(study: Study) -> dict[str, Any]:
    return {name: getattr(study, name) for name in RULES}
