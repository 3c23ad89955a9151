"""What all criteria have in common: a name that is a key everywhere, and words of one line."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from annotation.errors import Invalid

MOST = 12
LONGEST_NAME, LONGEST_WORDS = 40, 300
FIELD = "options.criteria"


def check_name(name: str) -> None:
    if not re.fullmatch(rf"\w[\w -]{{0,{LONGEST_NAME - 1}}}", name):
        raise Invalid(
            f"{name!r} cannot name a criterion; expected up to {LONGEST_NAME} letters, digits, spaces, hyphens.",
            field=FIELD,
        )


def check_words(name: str, every: Iterable[str]) -> None:
    for words in every:
        if not words.strip() or len(words) > LONGEST_WORDS or "\n" in words:
            raise Invalid(
                f"{name} has the words {words[:40]!r}; expected one line of 1 to {LONGEST_WORDS} characters.",
                field=FIELD,
            )


def check_each_once(found: Sequence[Any]) -> None:
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise Invalid("Two criteria have the same name. Name each once.", field=FIELD)
