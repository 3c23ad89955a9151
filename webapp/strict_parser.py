"""What a request to the API may hold: JSON as its standard has it, and text that a database can keep.

Said at the door, once, so that no operation meets a NUL, half a character, NaN, or a number beyond every range.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser

from annotation.errors import Invalid

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
DEEPEST = 100


class StrictParser(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        body = parse(request.body)
        check(body)
        return body

    def parse_querydict(
        self, data: MultiValueDict, list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        found = super().parse_querydict(data, list_fields, request)
        check(found)
        return found


def parse(text: str | bytes) -> Any:
    """JSON as its standard has it. Raises ValueError, RecursionError; or Invalid for a number that it does not have."""
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite)


def _refuse_number(text: str) -> float:
    raise Invalid(f"Found {text}, which is no number in JSON. Send null where there is none.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def check(value: Any) -> None:
    """Every text within, at any depth, without recursion: what is nested too deeply is refused too."""
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    while waiting:
        found, place, depth = waiting.pop()
        if depth > DEEPEST:
            raise Invalid(f"Is nested more than {DEEPEST} levels deep.", field=place[:200])
        text = found.name if isinstance(found, UploadedFile) else found
        if isinstance(text, str) and UNSTORABLE.search(text):
            raise Invalid(
                "Holds a NUL or half a character, which no database text can. Send Unicode text.",
                field=place or None,
            )
        waiting += [(inner, where, depth + 1) for inner, where in _within(found, place)]


def _within(value: Any, place: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, place
            yield inner, f"{place}.{key}".lstrip(".")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield inner, f"{place}[{number}]"
