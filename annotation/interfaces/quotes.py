"""Stretches of an answer as a form without script says them: copied into a row, and looked up."""

import re
from collections.abc import Mapping
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import screen
from trainers.records import Span

MOST_PLACES = 1000
"""Nobody counts further than this in one answer."""


def quoted(text: str, start: int, end: int) -> tuple[str, int | str]:
    """A stretch as it is copied, and which of several places it is; empty where there is only one."""
    quote = text[start:end]
    places = places_of(text, quote)
    return quote, places.index((start, end)) + 1 if len(places) > 1 and (start, end) in places else ""


def read_rows(post: Mapping[str, Any], text: str) -> list[Span]:
    """The stretches in `quote.0`, `which.0`, `type.0`, `note.0` and so on; rows may be left empty."""
    numbers = sorted(int(name[6:]) for name in post if re.fullmatch(r"quote\.\d{1,3}", name))
    spans = []
    for number in numbers:
        row = {
            name: screen.read_text(post.get(f"{name}.{number}", ""), f"{name}.{number}")
            for name in ("quote", "which", "type", "note")
        }
        if row["quote"].strip():
            spans.append(_read_row(row, text, number))
        elif row["type"] or row["note"].strip():
            raise Invalid(
                f"Row {number + 1} does not say where. Copy the stretch from the answer into it, or empty the row.",
                field=f"quote.{number}",
            )
    return spans


def _read_row(row: dict[str, str], text: str, number: int) -> Span:
    if not row["type"]:
        raise Invalid(f"The stretch in row {number + 1} has no type. Choose one.", field=f"type.{number}")
    places = places_of(text, row["quote"])
    if not places:
        raise Invalid(
            f"The answer does not hold what stands in row {number + 1}. Copy the stretch as it is.",
            field=f"quote.{number}",
        )
    which = row["which"].strip()
    if not which and len(places) > 1:
        raise Invalid(
            f"What stands in row {number + 1} is in the answer {len(places)} times. Say which one is meant.",
            field=f"which.{number}",
        )
    if which and not (which.isdecimal() and len(which) < 5 and 1 <= int(which) <= len(places)):
        raise Invalid(
            f"Found {which!r} for which one in row {number + 1}; expected 1 to {len(places)}.",
            field=f"which.{number}",
        )
    start, end = places[int(which) - 1 if which else 0]
    return Span(start, end, row["type"], row["note"].strip())


def places_of(text: str, quote: str) -> list[tuple[int, int]]:
    """Where a quoted stretch stands: as it is, or else with other spaces and line ends between its words."""
    return _found(text, quote, r"\r\n", "\n") or _found(text, quote.strip(), r"\s+", " ")


def _found(text: str, quote: str, run: str, one: str) -> list[tuple[int, int]]:
    """Where `quote` stands in `text`, a `run` in either counting as `one`."""
    plain, places = [], []
    for part in re.finditer(f"({run})|.", text, re.DOTALL):
        plain.append(one if part[1] else part[0])
        places.append(part.start())
    places.append(len(text))
    sought, within = re.sub(run, one, quote), "".join(plain)
    found: list[tuple[int, int]] = []
    at = within.find(sought) if sought else -1
    while at >= 0 and len(found) < MOST_PLACES:
        found.append((places[at], places[at + len(sought)]))
        at = within.find(sought, at + 1)
    return found
