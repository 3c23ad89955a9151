"""Reads JSON with care: what is found is checked, and an error names the line, the field and the cure."""

from __future__ import annotations

import json
import math
from typing import Any

Json = dict[str, Any]


class RecordError(ValueError):
    """A line that is no record: which line (of which file), which field, what was found, and how to mend it."""

    def __init__(self, line: int, field: str, message: str, cure: str, file: str = "") -> None:
        where = f"Line {line}" + (f", field '{field}'" if field else "")
        super().__init__(f"{file}: {where}: {message} {cure}" if file else f"{where}: {message} {cure}")
        self.line, self.field, self.message, self.cure = line, field, message, cure

    def of(self, file: object) -> RecordError:
        """The same, with the name of the file."""
        return RecordError(self.line, self.field, self.message, self.cure, str(file))


def canonical(value: Any) -> str:
    """The one way to write a JSON value, so that equal values have equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decoded(line: bytes, number: int) -> str:
    """A line of a file as text, or a RecordError that says where it is none."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            number,
            "",
            f"not UTF-8: found the byte 0x{line[error.start]:02x} at column {error.start + 1}.",
            "Save the file again as UTF-8.",
        ) from None


def read_row(line: str, number: int) -> Json:
    """The JSON object on a line, or a RecordError that says what is there instead."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordError(
            number, "", f"not JSON: {error.msg} at column {error.colno}.", "Write one JSON object a line."
        ) from None
    if not isinstance(row, dict):
        raise RecordError(
            number, "", f"found {shown(row)}, expected an object.", "Write one JSON object a line."
        )
    return row


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def text(row: Json, name: str, line: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise RecordError(line, name, f"found {shown(value)}, expected text.", f'Write "{name}": "…".')
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        # JSON can spell half a surrogate pair; no UTF-8 file can hold it.
        raise RecordError(line, name, "holds half a surrogate pair.", "Save the file again as UTF-8.")
    if "\x00" in value:
        raise RecordError(line, name, "holds a NUL character.", "Remove it: no database text can hold one.")
    return value


def text_or_none(row: Json, name: str, line: int) -> str:
    """A text that may be left out, and is then empty."""
    return text(row, name, line) if name in row else ""


def texts(values: list[Any], name: str, line: int) -> tuple[str, ...]:
    """A list of texts; an error names the place, as in `answers[1]`."""
    return tuple(text({f"{name}[{n}]": value}, f"{name}[{n}]", line) for n, value in enumerate(values))


def listed(row: Json, name: str, line: int, fewest: int = 0, most: int | None = None) -> list[Any]:
    """A list of so many; one that may be empty may be left out."""
    value = row.get(name, [] if fewest == 0 else None)
    if not isinstance(value, list) or len(value) < fewest or (most is not None and len(value) > most):
        size = "" if not fewest else f" of {fewest} to {most}" if most else f" of at least {fewest}"
        raise RecordError(line, name, f"found {shown(value)}.", f"Expected a list{size}.")
    return value


def whole(value: Any, name: str, line: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RecordError(line, name, f"found {shown(value)}.", "Expected a whole number.")
    return value


def number(value: Any, name: str, line: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(line, name, f"found {shown(value)}, expected a number.", f'Write "{name}": 1.0.')
    if not math.isfinite(value) or value < 0:
        raise RecordError(line, name, f"found {value}.", "Expected a number of at least 0.")
    return float(value)


def whole_numbers(value: Any, name: str, line: int) -> dict[str, int]:
    """Whole numbers by criterion."""
    if not isinstance(value, dict):
        raise RecordError(
            line,
            name,
            f"found {shown(value)}, expected numbers by criterion.",
            f'Write "{name}": {{"quality": 2}}.',
        )
    for criterion, points in value.items():
        text({"criterion": criterion}, "criterion", line)
        whole(points, f"{name}.{criterion}", line)
    return value


def mapping(row: Json, name: str, line: int) -> Json:
    """An object that may be left out, and is then empty."""
    value = row.get(name, {})
    if not isinstance(value, dict):
        raise RecordError(
            line, name, f"found {shown(value)}, expected an object.", "Leave it out or write {}."
        )
    return value
