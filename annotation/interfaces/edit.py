"""Rewrite an answer. Writes a `Correction`: the edited text is better than the original.

Where a study also compares, ranks or rates answers, the edit of an item waits until one of these is in, and then
opens on the answer preferred so far; where it does not, on the first answer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import screen
from annotation.models import Candidate, Label
from trainers.records import Correction

key = "edit"
label = "Rewrite an answer"
template = "annotation/interfaces/edit.html"

VERSION = 1
ORDER = "preferred"
FOLLOWS = ("pairwise", "ranking", "rating")
LEAST = 1
ACTIONS = {"preview": ("v", "show the rewritten answer as it will be read, or what was changed")}
KEYS = [("Enter", "write, where an answer is to be rewritten"), ("Ctrl Enter", "send the rewritten answer")]

LONGEST_TEXT = 100_000


@dataclass(frozen=True)
class Options:
    every: bool = False
    """Ask for a rewrite of every answer, instead of one rewrite for an item."""


@dataclass(frozen=True)
class Answer:
    """The text a person wrote in place of a candidate's."""

    candidate: int
    text: str

    def __post_init__(self):
        if not self.text.strip():
            raise Invalid("The text is empty. Write the better answer, or skip.", field="text")
        if len(self.text) > LONGEST_TEXT:
            raise Invalid(
                f"The text has {len(self.text):,} characters; the most is {LONGEST_TEXT:,}.", field="text"
            )

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One task over all answers of an item (the queue puts the preferred one first), or one for each answer."""
    if options.every:
        return [[candidate] for candidate in candidates]
    return [candidates] if candidates else []


def show(claim) -> dict:
    """What the template needs: the answer to rewrite, and the text to begin with."""
    original = claim.candidates[0]
    return {
        **screen.context(claim.item),
        "candidate": screen.answers(claim, names=("Answer",))[0],
        "options": Options(**claim.task.study.options(key)),
        "answer": {"text": claim.answer["text"] if claim.answer else original.text},
    }


def read(post: Mapping[str, Any], claim) -> Answer:
    """The rewritten answer in a form or a JSON object: `text`."""
    original = claim.candidates[0]
    text = screen.read_text(post.get("text"), "text")
    if text == original.text.replace("\r\n", "\n"):
        raise Invalid("Nothing was changed. Change what could be better, or skip.", field="text")
    return Answer(original.pk, text)


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    return f"rewritten: {shorten(answer['text'], 160, placeholder='…')}"


def records(given: Label) -> list[Correction]:
    answer = Answer(**given.answer)
    item = given.task.item
    original = next(candidate for candidate in item.candidates.all() if candidate.pk == answer.candidate)
    return [
        Correction(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            original=original.text,
            edited=answer.text,
            weight=screen.weight(given),
            annotator=given.annotator.username,
            source=screen.lineage(given, original=original),
        )
    ]
