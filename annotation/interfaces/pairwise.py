"""Two answers side by side: which is better, and how clearly. Writes a `Pair`.

A tie ("equally good") and both bad are different answers, because they mean opposite things to a method that
learns what to write. Which answer stood left is chance, drawn for each person; no record knows of it.

A study may also ask by criteria: which answer is better in tone, which in accuracy. They stand beside the verdict and
do not have to agree with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations, pairwise
from typing import Any, Literal

from annotation.errors import Invalid
from annotation.interfaces import criteria as shared
from annotation.interfaces import screen
from annotation.models import Candidate, Label
from trainers.records import Pair

key = "pairwise"
label = "Compare two answers"
template = "annotation/interfaces/pairwise.html"

VERSION = 1
ORDER = "random"
FOLLOWS = ()
LEAST = 2
ACTIONS = {
    "neither": ("n", "neither: both are bad"),
    "reason": ("r", "give a reason with the answer"),
    "link": ("l", "scroll both answers together"),
    "differences": ("d", "mark where the answers differ"),
    "plain": ("t", "show the texts as they were written, or as they are rendered"),
    "criteria": (
        "c",
        "judge by criteria, where the study has some; the digits answer the one that is marked",
    ),
}
KEYS = [("1 … 7", "from “A is much better” over “tie” to “B is much better”")]

SIDES = ("a", "b")
POSITIONS = {
    "a3": "A much better",
    "a2": "A better",
    "a1": "A slightly better",
    "tie": "tie",
    "b1": "B slightly better",
    "b2": "B better",
    "b3": "B much better",
}
"""The scale from left to right, as the digits 1 to 7 press it."""
STRENGTHS = {1: "slightly", 2: "clearly", 3: "much"}
LONGEST_REASON = 5_000


@dataclass(frozen=True)
class Criterion:
    """What else to compare two answers by."""

    name: str
    label: str
    question: str

    def __post_init__(self):
        shared.check_name(self.name)
        shared.check_words(self.name, (self.label, self.question))


def read_criteria(value: Any) -> tuple[Criterion, ...]:
    """Criteria from JSON: [{"name", "label", "question"}, …]."""
    if not isinstance(value, list | tuple) or len(value) > shared.MOST:
        raise Invalid(f"Expected a list of up to {shared.MOST} criteria.", field=shared.FIELD)
    found = tuple(one if isinstance(one, Criterion) else _read_criterion(one) for one in value)
    shared.check_each_once(found)
    return found


def _read_criterion(value: Any) -> Criterion:
    if (
        not isinstance(value, Mapping)
        or set(value) != {"name", "label", "question"}
        or not all(isinstance(one, str) for one in value.values())
    ):
        raise Invalid(
            f'Found {str(value)[:60]!r}; expected {{"name": "…", "label": "…", "question": "…"}}.',
            field=shared.FIELD,
        )
    return Criterion(**{name: screen.read_text(one, shared.FIELD).strip() for name, one in value.items()})


def as_text(criteria: tuple[Criterion, ...]) -> str:
    """Criteria as the study form shows them."""
    return "\n".join(f"{one.name} | {one.label} | {one.question}" for one in criteria)


def from_text(text: str) -> tuple[Criterion, ...]:
    """Criteria as a person wrote them into the study form."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3:
            raise Invalid(
                f"Found {line.strip()[:60]!r}; expected a line “key | label | question” for each criterion.",
                field=shared.FIELD,
            )
        found.append(dict(zip(("name", "label", "question"), parts, strict=True)))
    return read_criteria(found)


@dataclass(frozen=True)
class Options:
    strength: bool = True
    """Ask how clearly the better answer is better."""
    reason: bool = True
    """Offer a field for a reason."""
    pairs: Literal["all", "neighbours"] = "all"
    """Of an item with more than two answers: compare every two, or each with the next."""
    criteria: tuple[Criterion, ...] = ()
    """What else to compare by, a line “key | label | question” for each: “tone | Tone | Which one sounds kinder?”.
    Left empty: only the one verdict."""
    criteria_required: bool = False
    """Take no verdict without one on every criterion."""

    def __post_init__(self):
        object.__setattr__(self, "criteria", read_criteria(self.criteria))


@dataclass(frozen=True)
class Answer:
    """What was preferred, by candidate and not by side."""

    choice: Literal["chosen", "tie", "both_bad"]
    chosen: int | None = None
    rejected: int | None = None
    strength: int = 1
    reason: str = ""
    criteria: dict[str, dict] = field(default_factory=dict)
    """By the name of a criterion: {"better": a candidate's id, "strength": 1 to 3}, or {"better": None, "strength": 0}
    where neither is better by it."""

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
        said = asdict(self)
        if not self.criteria:
            del said["criteria"]
        return said

    def signed(self, candidate: int) -> dict[str, int]:
        """The verdict by each criterion: 1 to 3 where this candidate is the better one, -1 to -3 where the other is."""
        return {
            name: one["strength"] if one["better"] == candidate else -one["strength"]
            for name, one in self.criteria.items()
        }


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """The comparisons that an item asks for."""
    return compared(candidates, options.pairs)


def compared(candidates: list[Candidate], which: Literal["all", "neighbours"]) -> list[list[Candidate]]:
    """Every two of these, or each with the next."""
    pairs = combinations(candidates, 2) if which == "all" else pairwise(candidates)
    return [list(pair) for pair in pairs]


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is what was chosen, as it stands on this screen."""
    options = Options(**claim.task.study.options(key))
    answer = _as_shown(claim)
    given = answer["criteria"] if answer else {}
    return {
        **screen.context(claim.item),
        "candidates": screen.answers(claim, names=("A", "B")),
        "options": options,
        "strengths": STRENGTHS,
        "criteria": [{**asdict(one), "given": given.get(one.name)} for one in options.criteria],
        "positions": _positions(options),
        "answer": answer,
    }


def _positions(options: Options) -> list[dict]:
    """The points of a criterion, each with the digit that stands at its place in the verdict's own scale."""
    if options.strength:
        found = [(value, digit, said) for digit, (value, said) in enumerate(POSITIONS.items(), 1)]
    else:
        found = [("a1", 1, "A better"), ("tie", 4, "tie"), ("b1", 7, "B better")]
    return [{"value": value, "digit": digit, "words": said} for value, digit, said in found]


def _as_shown(claim) -> dict | None:
    if claim.answer is None:
        return None
    given = Answer(**claim.answer)
    order = [candidate.pk for candidate in claim.candidates]
    criteria = {
        name: "tie" if one["better"] is None else f"{SIDES[order.index(one['better'])]}{one['strength']}"
        for name, one in given.criteria.items()
    }
    return {**verdict_as_shown(given, order), "criteria": criteria}


def verdict_as_shown(given: Answer, order: list[int]) -> dict[str, Any]:
    """A verdict as it stands on a screen with the answers in this order."""
    choice = SIDES[order.index(given.chosen)] if given.choice == "chosen" else given.choice
    return {"choice": choice, "strength": given.strength, "reason": given.reason}


def read(post: Mapping[str, Any], claim) -> Answer:
    """The answer in a form or a JSON object: `choice` is a, b, tie or both_bad, as the person saw them.

    `strength` stands beside a and b, or behind them: a3. `criteria` has a3 to b3 or tie by the name of each criterion
    that was judged; in a form, `criterion.NAME`.
    """
    verdict = read_verdict(post, claim)
    return Answer(**verdict, criteria=_read_verdicts(post, claim))


def read_verdict(post: Mapping[str, Any], claim) -> dict[str, Any]:
    """Which of the two is better, how clearly, and why: the fields of an answer but for the criteria."""
    choice, strength = post.get("choice"), post.get("strength")
    if isinstance(choice, str) and choice[:-1] in SIDES:  # a button sends one value: a3 is "A, much better"
        choice, strength = choice[:-1], choice[-1]
    reason = screen.read_text(post.get("reason") or "", "reason").strip()
    if choice not in (*SIDES, "tie", "both_bad"):
        raise Invalid(f"Found {choice!r}; expected a, b, tie or both_bad.", field="choice")
    if choice not in SIDES:
        return {"choice": choice, "reason": reason}
    side = SIDES.index(choice)
    chosen, rejected = claim.candidates[side], claim.candidates[1 - side]
    return {
        "choice": "chosen",
        "chosen": chosen.pk,
        "rejected": rejected.pk,
        "strength": _strength(strength),
        "reason": reason,
    }


def _read_verdicts(post: Mapping[str, Any], claim) -> dict[str, dict]:
    """What was said by each criterion; one that is left out, or empty, was not judged."""
    options = Options(**claim.task.study.options(key))
    names = [one.name for one in options.criteria]
    given = post.get("criteria")
    if given is None:
        given = {name: post[f"criterion.{name}"] for name in names if f"criterion.{name}" in post}
    if not isinstance(given, Mapping):
        raise Invalid(f"Found {given!r}; expected a verdict by the name of each criterion.", field="criteria")
    for name in given:
        if name not in names:
            raise Invalid(
                f"{name!r} is no criterion here. The criteria: {', '.join(names) or 'none'}.",
                field=f"criteria.{name}",
            )
    found = {name: _verdict(given[name], name, claim) for name in names if given.get(name) not in (None, "")}
    missing = [one for one in options.criteria if one.name not in found]
    if options.criteria_required and missing:
        raise Invalid(
            f"{missing[0].label} is not judged yet. Judge by every criterion, or skip.",
            field=f"criteria.{missing[0].name}",
        )
    return found


def _verdict(value: Any, name: str, claim) -> dict:
    if not isinstance(value, str) or value not in POSITIONS:
        raise Invalid(
            f"Found {value!r} for {name}; expected one of {', '.join(POSITIONS)}.", field=f"criteria.{name}"
        )
    if value == "tie":
        return {"better": None, "strength": 0}
    return {"better": claim.candidates[SIDES.index(value[0])].pk, "strength": int(value[1])}


def _strength(value: Any) -> int:
    if value in (None, ""):
        return 1
    if str(value) not in ("1", "2", "3"):
        raise Invalid(
            f"Found the strength {value!r}; expected 1 (slightly), 2 (clearly) or 3 (much).", field="strength"
        )
    return int(value)


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it; `order` is how the answers stood before them."""
    given = Answer(**answer)
    if given.choice != "chosen":
        return {"tie": "tie", "both_bad": "neither, both bad"}[given.choice]
    side = "AB"[order.index(given.chosen)]
    return f"{side}, {'better' if given.strength == 2 else STRENGTHS[given.strength] + ' better'}"


def judgement(answer: dict, candidates: list[int]) -> int | str:
    """What was said, whatever stood where: 1 to 3 for the first of these candidates, -1 to -3 for the second."""
    if answer["choice"] != "chosen":
        return 0 if answer["choice"] == "tie" else "both_bad"
    strength = answer.get("strength", 1)
    return strength if answer["chosen"] == candidates[0] else -strength


def records(given: Label) -> list[Pair]:
    """One pair. Of a tie, and of two bad answers, the one with the lower index stands first.

    What was said by criteria is signed toward the one that stands first.
    """
    answer = Answer(**given.answer)
    item = given.task.item
    first, second = winner_first(given, answer)
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
            criteria=answer.signed(first.pk),
            source=screen.lineage(given, chosen=first, rejected=second),
        )
    ]


def winner_first(given: Label, answer: Answer) -> tuple[Candidate, Candidate]:
    """The two that were compared, the better one first; where neither is, as the task has them."""
    answers = {candidate.pk: candidate for candidate in given.task.item.candidates.all()}
    first, second = (answers[pk] for pk in given.task.candidates)
    if answer.choice == "chosen":
        first, second = answers[answer.chosen], answers[answer.rejected]
    return first, second
