"""What may be wrong in an answer: the types of error that a study marks, as JSON and as lines that a person writes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import screen

MOST = 9
"""As many as there are digits to press."""
LONGEST_KEY, LONGEST_WORDS = 40, 300


@dataclass(frozen=True)
class Type:
    """A type of error: what a record calls it, what the screen calls it, and what it means."""

    key: str
    label: str
    meaning: str = ""


DEFAULT = (
    Type("Irrelevant", "Irrelevant", "Nobody asked for this"),
    Type("Redundant", "Redundant", "It was said already"),
    Type("Incoherent", "Incoherent", "It does not hang together"),
    Type("Wrong-Grounding", "Contradicted", "The passages say something else"),
    Type("Unverifiable", "Unverifiable", "The passages do not say this"),
)


def read_types(value: Any) -> tuple[Type, ...]:
    """Types from JSON: [{"key", "label", "meaning"}, …]; without a label, the key is shown."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST:
        raise Invalid(f"Expected a list of 1 to {MOST} types of error.", field="options.types")
    found = tuple(one if isinstance(one, Type) else _read_type(one) for one in value)
    for one in found:
        _check_type(one)
    if len({one.key for one in found}) < len(found):
        raise Invalid("Two types of error have the same key. Name each once.", field="options.types")
    return found


def _read_type(value: Any) -> Type:
    known = {"key", "label", "meaning"}
    if (
        not isinstance(value, Mapping)
        or "key" not in value
        or set(value) - known
        or not all(isinstance(one, str) for one in value.values())
    ):
        raise Invalid(
            f'Found {str(value)[:60]!r}; expected {{"key": "…", "label": "…", "meaning": "…"}}.',
            field="options.types",
        )
    texts = {name: screen.read_text(text, "options.types").strip() for name, text in value.items()}
    return Type(texts["key"], texts.get("label") or texts["key"], texts.get("meaning", ""))


def _check_type(one: Type) -> None:
    if not re.fullmatch(rf"\w[\w .-]{{0,{LONGEST_KEY - 1}}}", one.key):
        raise Invalid(
            f"{one.key!r} cannot name a type of error; expected up to {LONGEST_KEY} letters, digits, spaces, hyphens.",
            field="options.types",
        )
    for words in (one.label, one.meaning):
        if len(words) > LONGEST_WORDS or "\n" in words or "|" in words:
            raise Invalid(
                f"{one.key} has the words {words[:40]!r}; expected one line of up to {LONGEST_WORDS} characters, "
                "without “|”.",
                field="options.types",
            )


def as_text(types: tuple[Type, ...]) -> str:
    """Types as the study form shows them."""
    return "\n".join(" | ".join((one.key, one.label, one.meaning)) for one in types)


def from_text(text: str) -> tuple[Type, ...]:
    """Types as a person wrote them into the study form."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) > 3:
            raise Invalid(f"Found {line!r}; expected “key | label | plain meaning”.", field="options.types")
        if any(parts):
            found.append(dict(zip(("key", "label", "meaning"), parts, strict=False)))
    return read_types(found)
