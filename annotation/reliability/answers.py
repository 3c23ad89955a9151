"""Labels as plain arrays: who said what about which question, and how it stood before them.

A question is one judgement that people may agree on: of a comparison, which answer is better, overall and by each
criterion; of a rating, each criterion; of steps, the first wrong one; of a ranking, every two of its answers. The
policy for comparisons:

- raw agreement, Cohen's and Fleiss' kappa and the nominal alpha compare what was said without its strength, in four
  answers: the first is better, tie, the second is better, both bad;
- weighted kappa and the ordinal alpha compare the signed strength, from -3 to 3 with a tie at 0. "Both bad" has no
  place on that scale and counts as missing there, as in the fitted model.

The same question may stand in several tasks (in the queue, and as gold); a person's last answer to it counts. What
people say in the qualification, where they are told the answer, is not in; a repeat is compared with the person's
first answer and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation import gold
from annotation.interfaces.registry import interface
from annotation.models import Gold, Label, Part, Study, Verdict

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIGNS = {1: "the first is better", 0: "tie", -1: "the second is better"}
BOTH_BAD = "both bad"
PAIRS = ("pairwise", "clips")
"""The kinds that say which of two is better, and how clearly."""


@dataclass(frozen=True)
class Point:
    """One judgement out of an answer: about which unit of which question, and where it stands on a scale."""

    question: str
    unit: tuple
    said: str
    grade: float | None = None
    direction: int | None = None
    """Of a comparison: 1, 0 or -1."""
    weight: float = 1.0


@dataclass
class Given:
    """One label, for what is asked of people and not of questions."""

    user: int
    kind: str
    task: int
    item: int
    seconds: float
    day: float
    """Days since 1970."""
    stratum: str
    pressed: str
    """What was answered, as it stood on the screen."""
    gold: bool | None = None
    """Whether a known answer was matched."""


@dataclass
class Question:
    """All judgements of one kind, as parallel arrays, row i by one person about one unit."""

    name: str
    kind: str
    ordered: bool
    units: list[tuple[int, ...]]
    """The item first; of a comparison, then its two answers."""
    tasks: list[int]
    said: list[str]
    unit: Ints
    person: Ints
    answer: Ints
    grade: Floats
    direction: Ints
    side: Ints
    weight: Floats
    day: Floats
    stratum: list[str]
    """Of each unit."""
    known: dict[int, Point] = field(default_factory=dict)
    """Units whose answer is known: gold, or settled by a reviewer."""

    @property
    def comparison(self) -> bool:
        return self.name in (*PAIRS, "ranking")


@dataclass
class Labels:
    """Everything that was said in a study."""

    people: list[int]
    """The ids of those who said something, in the order of `person`."""
    given: list[Given]
    questions: list[Question]
    repeats: dict[int, list[bool]]
    """For each user, whether they said the same when asked again."""
    last: int
    """The newest label that is in."""


def points(kind: str, answer: dict, candidates: list[int], item: int) -> Iterator[Point]:
    """The judgements in an answer; none for a kind that people cannot agree on (an edit, a conversation)."""
    module = interface(kind)
    if kind == "rating":
        for criterion, score in answer["scores"].items():
            yield Point(f"rating: {criterion}", (item, answer["candidate"]), str(score), float(score))
    elif kind == "ranking":
        yield from _of_ranking(answer, item)
    elif hasattr(module, "judgement"):
        known = sorted(candidates)
        said = module.judgement(answer, known)
        if said is None:
            return
        if kind not in PAIRS:
            yield Point(kind, (item, *known), str(said))
            return
        if isinstance(said, int):
            yield Point(kind, (item, *known), SIGNS[_sign(said)], float(said), _sign(said))
        else:
            yield Point(kind, (item, *known), BOTH_BAD)
        for criterion, by in (answer.get("criteria") or {}).items():
            said = 0 if by["better"] is None else by["strength"] * (1 if by["better"] == known[0] else -1)
            yield Point(f"pairwise: {criterion}", (item, *known), SIGNS[_sign(said)], float(said))


def _sign(strength: int) -> int:
    return (strength > 0) - (strength < 0)


def _of_ranking(answer: dict, item: int) -> Iterator[Point]:
    """Every two placed answers; m (m - 1) / 2 pairs follow from m - 1 decisions, so each counts 2 / m."""
    placed = sorted(
        (one, rank)
        for one, rank in zip(answer["candidates"], answer["ranks"], strict=True)
        if rank is not None
    )
    for (one, rank), (other, its_rank) in combinations(placed, 2):
        sign = (its_rank > rank) - (its_rank < rank)
        yield Point("ranking", (item, one, other), SIGNS[sign], float(sign), sign, 2 / len(placed))


def read(study: Study) -> Labels:
    """The labels of a study that stand, in one reading."""
    rows = (
        Label.objects.current()
        .filter(study=study, task__item__withdrawn_at=None)
        .exclude(task__part=Part.QUALIFICATION)
        .order_by("pk")
        .values_list(
            "pk", "annotator_id", "kind", "answer", "seconds", "created_at", "source", "task_id",
            "task__item_id", "task__candidates", "task__part", "assignment__order", "task__item__source",
        )
    )  # fmt: skip
    known = {one.task_id: one.answer for one in Gold.objects.filter(task__study=study)}
    people: dict[int, int] = {}
    given: list[Given] = []
    judged: dict[tuple, tuple] = {}  # (question, unit, user) -> the last judgement
    again: list[tuple[int, Point]] = []
    last = 0
    for row in rows.iterator(chunk_size=5000):
        pk, user, kind, answer, seconds, at, source, task, item, candidates, part, order, about = row
        last = max(last, pk)
        found = list(points(kind, answer, candidates, item))
        if part == Part.REPEAT:
            again += [(user, point) for point in found]
            continue
        people.setdefault(user, len(people))
        day = at.timestamp() / 86_400
        stratum = str(about.get(study.stratum, "")) if study.stratum and isinstance(about, dict) else ""
        one = Given(user, kind, task, item, seconds, day, stratum, _pressed(kind, answer, order))
        if task in known:
            one.gold = gold.right(kind, answer, known[task], candidates)
        given.append(one)
        for point in found:
            side = 0 if source else _side(point, order)
            judged[point.question, point.unit, user] = (point, side, one)
    said_first = {key: value[0].said for key, value in judged.items()}
    repeats: dict[int, list[bool]] = {}
    for user, point in again:
        before = said_first.get((point.question, point.unit, user))
        if before is not None:
            repeats.setdefault(user, []).append(before == point.said)
    questions = _questions(judged.values(), people, study)
    for question in questions:
        _settle(question, study)
    return Labels(list(people), given, questions, repeats, last)


def _side(point: Point, order: list[int]) -> int:
    """Of a comparison, 1 where the first answer was shown before the second, and -1 where after it."""
    if point.direction is None or not {*point.unit[1:]} <= {*order}:
        return 0
    one, other = point.unit[1:]
    return 1 if order.index(one) < order.index(other) else -1


def _pressed(kind: str, answer: dict, order: list[int]) -> str:
    """The answer by places on the screen: somebody who presses one key again and again gives equal ones."""
    if kind in PAIRS:
        if answer["choice"] != "chosen":
            return answer["choice"]
        place = order.index(answer["chosen"]) + 1 if answer["chosen"] in order else 0
        return f"answer {place}, strength {answer['strength']}"
    if kind == "ranking":
        ranks = dict(zip(answer["candidates"], answer["ranks"], strict=True))
        return json.dumps([ranks.get(one) for one in order])
    if kind == "rating":
        return json.dumps(answer["scores"], sort_keys=True)
    return ""


def _questions(judged: Iterable[tuple], people: dict[int, int], study: Study) -> list[Question]:
    """The judgements by question, each as arrays; in the order in which the study asks."""
    by_name: dict[str, list[tuple]] = {}
    for one in judged:
        by_name.setdefault(one[0].question, []).append(one)
    places = {kind: place for place, kind in enumerate(study.kinds)}
    names = sorted(by_name, key=lambda name: (places.get(name.split(":")[0], len(places)), name))
    return [_question(name, by_name[name], people) for name in names]


def _question(name: str, rows: list[tuple], people: dict[int, int]) -> Question:
    units: dict[tuple, int] = {}
    tasks: list[int] = []
    strata: list[str] = []
    said = sorted({point.said for point, _, _ in rows})
    columns: list[list[Any]] = [[] for _ in range(8)]
    for point, side, one in rows:
        if point.unit not in units:
            units[point.unit] = len(units)
            tasks.append(one.task)
            strata.append(one.stratum)
        grade = np.nan if point.grade is None else point.grade
        direction = 9 if point.direction is None else point.direction  # 9: says nothing of which is better
        row = (
            units[point.unit], people[one.user], said.index(point.said), grade, direction, side, point.weight, one.day
        )  # fmt: skip
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    unit, person, answer, grade, direction, side, weight, day = columns
    whole = [np.array(column, dtype=np.int64) for column in (unit, person, answer, direction, side)]
    kind = name.split(":")[0]
    return Question(
        name, kind, kind in (*PAIRS, "rating"), list(units), tasks, said, whole[0], whole[1], whole[2],
        np.array(grade, dtype=float), whole[3], whole[4], np.array(weight), np.array(day), strata,
    )  # fmt: skip


def _settle(question: Question, study: Study) -> None:
    """Notes the known answers: gold, and what a reviewer settled."""
    places = {unit: place for place, unit in enumerate(question.units)}
    verdicts = Verdict.objects.filter(
        study=study, task__kind=question.kind, withdrawn=False, superseded_by=None
    )
    golds = Gold.objects.filter(task__study=study, task__kind=question.kind)
    for rows in (golds, verdicts):
        told = rows.values_list("answer", "task__candidates", "task__item_id")
        for answer, candidates, item in told:
            for point in points(question.kind, answer, candidates, item):
                if point.question == question.name and point.unit in places:
                    question.known[places[point.unit]] = point
