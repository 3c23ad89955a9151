"""Two to nine answers, put in order from the best to the worst. Writes a `Ranking`.

Answers may be equally good, and some may be left without a place: then nothing is said of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import screen
from annotation.models import Candidate, Label
from trainers.records import RANKED, Ranking

key = "ranking"
label = "Put answers in order"
template = "annotation/interfaces/ranking.html"

ORDER = "random"
FOLLOWS = ()
ACTIONS = {"tie": ("=", "the next answer is as good as the last")}
KEYS = [
    ("1 … 9", "the next best answer"),
    ("Backspace", "take the last answer out of the order; the arrows move the one that is focused"),
    ("Enter", "send the order"),
]

FEWEST, MOST = RANKED
LEAST = FEWEST
PLACES = tuple(enumerate(("1st", "2nd", "3rd", *(f"{n}th" for n in range(4, MOST + 1))), 1))


@dataclass(frozen=True)
class Options:
    partial: bool = True
    """Allow answers to be left without a place."""


@dataclass(frozen=True)
class Answer:
    """The candidates, in the order of their ids, and the rank of each: 1 for the best, None for no place."""

    candidates: list[int]
    ranks: list[int | None]

    @classmethod
    def of(cls, places: dict[int, int | None]) -> "Answer":
        """From the place of each candidate. Only their order counts: places 2, 5, 5 are the ranks 1, 2, 2."""
        used = sorted({place for place in places.values() if place is not None})
        candidates = sorted(places)
        ranks = [None if places[one] is None else 1 + used.index(places[one]) for one in candidates]
        return cls(candidates, ranks)

    def __post_init__(self):
        placed = sum(rank is not None for rank in self.ranks)
        if placed < FEWEST:
            raise Invalid(
                f"Found {placed} with a place. Place at least {FEWEST} answers, or skip.", field="ranks"
            )

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One question over all answers of an item."""
    return [candidates] if FEWEST <= len(candidates) <= MOST else []


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is the rank that each candidate was given."""
    given = None
    if claim.answer:
        said = Answer(**claim.answer)
        given = {str(one): rank for one, rank in zip(said.candidates, said.ranks, strict=True)}
    shown = screen.answers(claim, names=tuple(str(number) for number, _ in PLACES))
    return {
        **screen.context(claim.item),
        "candidates": [{**one, "given": (given or {}).get(str(one["id"]))} for one in shown],
        "places": PLACES[: len(shown)],
        "options": Options(**claim.task.study.options(key)),
        "answer": {"ranks": given} if given else None,
    }


def read(post: Mapping[str, Any], claim) -> Answer:
    """The places in a JSON object, `ranks` by the id of the candidate; or in a form, `rank.ID` for each.

    An answer without a place is left out, or has null, or an empty text.
    """
    known = {str(candidate.pk): candidate.pk for candidate in claim.candidates}
    ranks = post.get("ranks")
    if ranks is None:
        ranks = {name: post[f"rank.{name}"] for name in known if f"rank.{name}" in post}
    if not isinstance(ranks, Mapping):
        raise Invalid(f"Found {ranks!r}; expected a place by the id of each answer.", field="ranks")
    for name in ranks:
        if name not in known:
            raise Invalid(f"{name!r} is none of these answers: {', '.join(known)}.", field=f"ranks.{name}")
    places = {pk: _place(ranks.get(name), name, len(known)) for name, pk in known.items()}
    answer = Answer.of(places)
    if None in answer.ranks and not Options(**claim.task.study.options(key)).partial:
        raise Invalid("An answer has no place. This study wants every answer placed.", field="ranks")
    return answer


def _place(value: Any, name: str, most: int) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or str(value) not in [str(number) for number in range(1, most + 1)]:
        raise Invalid(f"Found the place {value!r}; expected 1 to {most}, or none.", field=f"ranks.{name}")
    return int(value)


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it; answers go by their number on the screen."""
    places: dict[int, list[str]] = {}
    for candidate, rank in zip(answer["candidates"], answer["ranks"], strict=True):
        if rank is not None:
            places.setdefault(rank, []).append(str(order.index(candidate) + 1))
    return " > ".join(" = ".join(sorted(places[rank])) for rank in sorted(places))


def records(given: Label) -> list[Ranking]:
    answer = Answer(**given.answer)
    item = given.task.item
    every = {candidate.pk: candidate for candidate in item.candidates.all()}
    ranked = [every[pk] for pk in answer.candidates]
    source = screen.lineage(given)
    source["answers"] = [screen.origin(candidate) for candidate in ranked]
    return [
        Ranking(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            answers=tuple(candidate.text for candidate in ranked),
            ranks=tuple(answer.ranks),
            weight=screen.weight(given),
            annotator=given.annotator.username,
            source=source,
        )
    ]
