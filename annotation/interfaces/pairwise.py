"""Two answers side by side: which is better, and how clearly. Writes a `Pair`.

A tie ("equally good") and both bad are different answers, because they mean opposite things to a method that
learns what to write. Which answer stood left is chance, drawn for each person; no record knows of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any, Literal

from annotation.errors import Invalid
from annotation.interfaces import screen
from annotation.models import Candidate, Label
from trainers.records import Pair

key = "pairwise"
label = "Compare two answers"
template = "annotation/interfaces/pairwise.html"

ORDER = "random"
FOLLOWS = ()

SIDES = ("a", "b")
STRENGTHS = {1: "slightly", 2: "clearly", 3: "much"}
LONGEST_REASON = 5_000


@dataclass(frozen=True)
class Options:
    strength: bool = True
    """Ask how clearly the better answer is better."""
    reason: bool = True
    """Offer a field for a reason."""
    pairs: Literal["all", "neighbours"] = "all"
    """Of an item with more than two answers: compare every two, or each with the next."""


@dataclass(frozen=True)
class Answer:
    """What was preferred, by candidate and not by side."""

    choice: Literal["chosen", "tie", "both_bad"]
    chosen: int | None = None
    rejected: int | None = None
    strength: int = 1
    reason: str = ""

    def __post_init__(self):
        if self.choice not in ("chosen", "tie", "both_bad"):
            raise Invalid(f"Found {self.choice!r}; expected chosen, tie or both_bad.", field="choice")
        if (self.choice == "chosen") != (self.chosen is not None and self.rejected is not None):
            raise Invalid(
                "A preference names the chosen and the rejected answer; a tie names neither.", field="chosen"
            )
        if self.strength not in STRENGTHS:
            raise Invalid(f"Found the strength {self.strength!r}; expected 1, 2 or 3.", field="strength")
        if self.choice != "chosen" and self.strength != 1:
            raise Invalid(
                "Only a preference has a strength. Leave it out for a tie and for both bad.", field="strength"
            )
        if len(self.reason) > LONGEST_REASON:
            raise Invalid(
                f"The reason has {len(self.reason):,} characters; shorten it to {LONGEST_REASON:,}.",
                field="reason",
            )

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """The comparisons that an item asks for."""
    pairs = combinations(candidates, 2) if options.pairs == "all" else pairwise(candidates)
    return [list(pair) for pair in pairs]


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is what was chosen, as it stands on this screen."""
    return {
        **screen.context(claim.item),
        "candidates": screen.answers(claim, names=("A", "B")),
        "options": Options(**claim.task.study.options(key)),
        "strengths": STRENGTHS,
        "answer": _as_shown(claim),
    }


def _as_shown(claim) -> dict | None:
    if claim.answer is None:
        return None
    given = Answer(**claim.answer)
    choice = given.choice
    if given.choice == "chosen":
        choice = SIDES[[candidate.pk for candidate in claim.candidates].index(given.chosen)]
    return {"choice": choice, "strength": given.strength, "reason": given.reason}


def read(post: Mapping[str, Any], claim) -> Answer:
    """The answer in a form or a JSON object: `choice` is a, b, tie or both_bad, as the person saw them.

    `strength` stands beside a and b, or behind them: a3.
    """
    choice, strength = post.get("choice"), post.get("strength")
    if isinstance(choice, str) and choice[:-1] in SIDES:  # a button sends one value: a3 is "A, much better"
        choice, strength = choice[:-1], choice[-1]
    reason = screen.read_text(post.get("reason") or "", "reason").strip()
    if choice in SIDES:
        side = SIDES.index(choice)
        chosen, rejected = claim.candidates[side], claim.candidates[1 - side]
        return Answer("chosen", chosen.pk, rejected.pk, _strength(strength), reason)
    if choice in ("tie", "both_bad"):
        return Answer(choice, reason=reason)
    raise Invalid(f"Found {choice!r}; expected a, b, tie or both_bad.", field="choice")


def _strength(value: Any) -> int:
    if value in (None, ""):
        return 1
    if str(value) not in ("1", "2", "3"):
        raise Invalid(
            f"Found the strength {value!r}; expected 1 (slightly), 2 (clearly) or 3 (much).", field="strength"
        )
    return int(value)


def records(given: Label) -> list[Pair]:
    """One pair. Of a tie, and of two bad answers, the one with the lower index stands first."""
    answer = Answer(**given.answer)
    item = given.task.item
    answers = {candidate.pk: candidate for candidate in item.candidates.all()}
    first, second = (answers[pk] for pk in given.task.candidates)
    if answer.choice == "chosen":
        first, second = answers[answer.chosen], answers[answer.rejected]
    return [
        Pair(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            chosen=first.text,
            rejected=second.text,
            outcome=answer.choice,
            strength=float(answer.strength),
            weight=screen.weight(given),
            annotator=given.annotator.username,
            reason=answer.reason,
            source=screen.lineage(given, chosen=first, rejected=second),
        )
    ]
