"""One answer, and how good it is by each criterion of the study. Writes a `Rating`.

A criterion has a name, a question and two to seven points, each said in words. Thumbs are the smallest form: one
criterion of two points. Of a single criterion, pressing a point sends the answer.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import criteria as shared
from annotation.interfaces import screen
from annotation.models import Candidate, Label
from trainers.records import POINTS, Rating

key = "rating"
label = "Rate an answer"
template = "annotation/interfaces/rating.html"

ORDER = "random"
FOLLOWS = ()
LEAST = 1
KEYS = [
    ("1 … 7", "the point of the criterion that is marked"),
    ("Enter", "send the ratings, where there are several"),
]

FEWEST_POINTS, MOST_POINTS = POINTS


@dataclass(frozen=True)
class Criterion:
    """What to judge an answer by, and what each point of its scale means, the worst first."""

    name: str
    question: str
    anchors: tuple[str, ...]

    def __post_init__(self):
        shared.check_name(self.name)
        if not FEWEST_POINTS <= len(self.anchors) <= MOST_POINTS:
            raise Invalid(
                f"{self.name} has {len(self.anchors)} points; expected {FEWEST_POINTS} to {MOST_POINTS}, each "
                "with its meaning.",
                field="options.criteria",
            )
        shared.check_words(self.name, (self.question, *self.anchors))


def read_criteria(value: Any) -> tuple[Criterion, ...]:
    """Criteria from JSON: [{"name", "question", "anchors": ["what 1 means", …]}, …]."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= shared.MOST:
        raise Invalid(f"Expected a list of 1 to {shared.MOST} criteria.", field="options.criteria")
    found = tuple(one if isinstance(one, Criterion) else _read_criterion(one) for one in value)
    shared.check_each_once(found)
    return found


def _read_criterion(value: Any) -> Criterion:
    expected = {"name", "question", "anchors"}
    if (
        not isinstance(value, Mapping)
        or set(value) != expected
        or not isinstance(value["anchors"], list | tuple)
        or not all(isinstance(one, str) for one in (value["name"], value["question"], *value["anchors"]))
    ):
        raise Invalid(
            f'Found {str(value)[:60]!r}; expected {{"name": "…", "question": "…", "anchors": ["…", "…"]}}.',
            field="options.criteria",
        )
    texts = [screen.read_text(one, "options.criteria").strip() for one in value["anchors"]]
    name, question = (
        screen.read_text(value[one], "options.criteria").strip() for one in ("name", "question")
    )
    return Criterion(name, question, tuple(texts))


@dataclass(frozen=True)
class Options:
    criteria: tuple[Criterion, ...] = (
        Criterion(
            "quality", "How good is this answer?", ("Useless", "Poor", "Acceptable", "Good", "Excellent")
        ),
    )
    """A line “name: question” for each criterion, and under it a line for each of its 2 to 7 points, the worst first:
    “1 Wrong”, “2 Right”. A blank line between criteria. Left empty: quality in five points."""

    def __post_init__(self):
        object.__setattr__(self, "criteria", read_criteria(self.criteria))


def as_text(criteria: tuple[Criterion, ...]) -> str:
    """Criteria as the study form shows them."""
    return "\n\n".join(
        "\n".join(
            [f"{one.name}: {one.question}", *(f"{n} {words}" for n, words in enumerate(one.anchors, 1))]
        )
        for one in criteria
    )


def from_text(text: str) -> tuple[Criterion, ...]:
    """Criteria as a person wrote them into the study form."""
    found = []
    for block in re.split(r"(?:\n[ \t]*){2,}", text.replace("\r\n", "\n").strip()):
        head, *points = block.split("\n")
        name, colon, question = head.partition(":")
        if not colon:
            raise Invalid(
                f"Found {head!r}; expected a criterion: “name: question”.", field="options.criteria"
            )
        anchors = []
        for number, line in enumerate(points, 1):
            said = re.fullmatch(rf"\s*{number}[.):]?\s+(.*)", line)
            if not said:
                raise Invalid(
                    f"Found {line!r} under {name.strip()}; expected “{number}” and what it means. Leave a blank "
                    "line before the next criterion.",
                    field="options.criteria",
                )
            anchors.append(said[1])
        found.append({"name": name, "question": question, "anchors": anchors})
    return read_criteria(found)


@dataclass(frozen=True)
class Answer:
    """A score for every criterion, and how many points each had."""

    candidate: int
    scores: dict[str, int]
    scale: dict[str, int]

    def __post_init__(self):
        for name, points in self.scale.items():
            score = self.scores.get(name)
            if score is None:
                raise Invalid(
                    f"There is no score for {name}. Judge every criterion, or skip.", field=f"scores.{name}"
                )
            if type(score) is not int or not 1 <= score <= points:
                raise Invalid(
                    f"Found the score {score!r} for {name}; expected 1 to {points}.", field=f"scores.{name}"
                )
        for name in self.scores:
            if name not in self.scale:
                raise Invalid(
                    f"{name!r} is no criterion here. The criteria: {', '.join(self.scale)}.",
                    field=f"scores.{name}",
                )

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """Each answer is judged by itself."""
    return [[candidate] for candidate in candidates]


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is what was said."""
    options = Options(**claim.task.study.options(key))
    given = claim.answer["scores"] if claim.answer else {}
    return {
        **screen.context(claim.item),
        "candidate": screen.answers(claim, names=("Answer",))[0],
        "options": options,
        "criteria": [
            {
                "name": one.name,
                "question": one.question,
                "points": list(enumerate(one.anchors, 1)),
                "given": given.get(one.name),
            }
            for one in options.criteria
        ],
        "answer": {"scores": given} if claim.answer else None,
    }


def read(post: Mapping[str, Any], claim) -> Answer:
    """The scores in a JSON object, `scores` by criterion; or in a form, `score.NAME` for each criterion."""
    scale = scale_of(Options(**claim.task.study.options(key)))
    scores = post.get("scores")
    if scores is None:
        scores = {name: post[f"score.{name}"] for name in scale if f"score.{name}" in post}
    if not isinstance(scores, Mapping):
        raise Invalid(f"Found {scores!r}; expected scores by criterion.", field="scores")
    read = {name: int(one) if one in DIGITS else one for name, one in scores.items()}
    return Answer(claim.candidates[0].pk, read, scale)


DIGITS = tuple(str(number) for number in range(1, MOST_POINTS + 1))


def scale_of(options: Options) -> dict[str, int]:
    """How many points each criterion has."""
    return {one.name: len(one.anchors) for one in options.criteria}


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    return ", ".join(f"{name} {score} of {answer['scale'][name]}" for name, score in answer["scores"].items())


def records(given: Label) -> list[Rating]:
    answer = Answer(**given.answer)
    item = given.task.item
    rated = next(candidate for candidate in item.candidates.all() if candidate.pk == answer.candidate)
    return [
        Rating(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            answer=rated.text,
            scores=answer.scores,
            scale=answer.scale,
            weight=screen.weight(given),
            annotator=given.annotator.username,
            source=screen.lineage(given, answer=rated),
        )
    ]
