"""The labels of a study as records, with where each came from, and with what is left out counted by its reason.

Items are read some hundreds at a time, each with its labels and verdicts, so that memory and the number of
statements for each label stay the same however large the study is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from annotation import consent
from annotation.interfaces.registry import interface
from annotation.models import (
    Candidate,
    Consent,
    Item,
    Label,
    Part,
    Remark,
    Signal,
    Study,
    Task,
    Verdict,
    Wording,
)
from annotation.snapshots.episodes import GONE, WITHDRAWN, Stands
from annotation.snapshots.names import People
from trainers import records

ITEMS_AT_ONCE = 500

FILTERS = {
    "item_withdrawn": "the item was withdrawn",
    "no_train": "whoever the text is from does not want it trained on",
    "gold": "a known answer, asked to check people",
    "qualification": "a known answer, asked to let people in",
    "repeat": "the same question, asked of the same person again",
    "consent_withdrawn": "the annotator took their consent back",
    "personal_data": "somebody reported personal data, and nobody has looked into it",
    GONE: "the episode that it is about has not ended, or is not in this studio's store",
    WITHDRAWN: "whoever drove or steered the episode took their consent back",
    "settled": "a reviewer settled the task: the verdict stands in place of the labels",
}
"""Why a label is left out, by name, in the order in which it is asked."""

ASIDE = (Part.GOLD, Part.QUALIFICATION, Part.REPEAT)


@dataclass
class Process:
    """What went in, what each filter left out, and what came in beside the labels."""

    labels: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    verdicts: int = 0
    never_asked: int = 0
    """Labels of people who were never asked for their consent, because the study did not ask then: they are kept."""
    people: Counter[int] = field(default_factory=Counter)
    """Whose labels and verdicts are in. Kept with the snapshot's row, never in its files."""
    by_reliability: bool = False

    def steps(self) -> list[dict[str, Any]]:
        """Each filter with its counts in and out."""
        found, left = [], self.labels
        for name, why in FILTERS.items():
            out = left - self.left_out[name]
            found.append({"name": name, "why": why, "in": left, "left_out": self.left_out[name], "out": out})
            left = out
        return found

    def log(self) -> dict[str, Any]:
        """What may be told to everyone."""
        return {
            "labels": self.labels,
            "filters": self.steps(),
            "verdicts": self.verdicts,
            "never_asked": self.never_asked,
            "by_reliability": self.by_reliability,
        }


def read(study: Study, process: Process | None = None) -> Iterator[records.Record]:
    """The records of a study as it stands, in the order of their ids."""
    process = Process() if process is None else process
    reader = Reader(study, process)
    keys = judged_items(study)
    for start in range(0, len(keys), ITEMS_AT_ONCE):
        yield from reader.page(list(keys[start : start + ITEMS_AT_ONCE]))


JUDGED = """
SELECT t.item_id FROM annotation_label l JOIN annotation_task t ON t.id = l.task_id WHERE l.study_id = %(study)s
UNION SELECT t.item_id FROM annotation_verdict v JOIN annotation_task t ON t.id = v.task_id
WHERE v.study_id = %(study)s
ORDER BY 1
"""


def judged_items(study: Study) -> array:
    """The ids of the items that anything was said about: eight bytes each."""
    keys = array("q")
    with connection.cursor() as cursor:
        cursor.execute(JUDGED, {"study": study.pk})
        while rows := cursor.fetchmany(10_000):
            keys.extend(row[0] for row in rows)
    return keys


class Reader:
    """Reads a study page by page; what concerns the whole study is looked up once."""

    def __init__(self, study: Study, process: Process) -> None:
        self.study, self.process = study, process
        self.people = People(study)
        self.gone = consent.withdrawn(study)
        self.episodes = Stands(study, self.gone)
        self.reported = set(
            Remark.objects.filter(
                study=study, kind=Remark.Kind.FLAG, reason=Remark.Reason.PERSONAL, resolved_at=None
            ).values_list("task__item", flat=True)
        )
        wordings = study.wordings.filter(field=Wording.Field.GUIDELINES).order_by("version")
        self.guidelines = list(wordings.values_list("created_at", "version"))
        self.consents: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
        given = Consent.objects.filter(study=study).order_by("given_at", "pk")
        for user, when, version in given.values_list("user", "given_at", "version"):
            self.consents[user].append((when, version))
        self.weights = reliability_of(study) if study.by_reliability else None
        process.by_reliability = self.weights is not None

    def page(self, keys: list[int]) -> Iterator[records.Record]:
        items = Item.objects.filter(pk__in=keys, upload=None).in_bulk()
        hand_out_candidates(items)
        tasks = Task.objects.filter(item__in=list(items)).in_bulk()
        said = standing(Label.objects.filter(task__in=list(tasks)).select_related("assignment"))
        said.sort(key=lambda one: (tasks[one.task_id].item_id, one.pk))
        verdicts = {
            one.task_id: one
            for one in standing(Verdict.objects.filter(task__in=list(tasks)))
            if one.reviewer_id not in self.gone  # whoever took their consent back settles nothing
        }
        for task in tasks.values():
            task.item, task.study = items[task.item_id], self.study
        for one in (*said, *verdicts.values()):
            one.task = tasks[one.task_id]
        self.people.learn({one.annotator_id for one in said} | {one.reviewer_id for one in verdicts.values()})
        settles: dict[int, list[int]] = defaultdict(list)
        kept: list[Label] = []
        for label in said:
            self.process.labels += 1
            reason = self._reason(label.task, label.annotator_id)
            if reason is None and label.task_id in verdicts:
                reason = "settled"
                settles[label.task_id].append(label.pk)
            if reason:
                self.process.left_out[reason] += 1
            else:
                kept.append(label)
        for verdict in verdicts.values():
            if self._reason(verdict.task, verdict.reviewer_id) is None:
                kept.append(as_label(verdict, settles[verdict.task_id]))
        kept.sort(key=lambda one: (one.task.item_id, one.pk is None, one.pk or one.verdict.pk))
        for label in kept:
            yield from self._records(label)

    def _reason(self, task, who: int) -> str | None:
        """Why this is left out, or None."""
        if task.item.withdrawn_at:
            return "item_withdrawn"
        if task.item.signal == Signal.NO_TRAIN:
            return "no_train"
        if task.part in ASIDE:
            return str(task.part)
        if who in self.gone:
            return "consent_withdrawn"
        if task.item_id in self.reported:
            return "personal_data"
        if getattr(interface(task.kind), "CLIPS", False):
            return self.episodes.reason(task.item.candidates.all())
        return None

    def _records(self, label: Label) -> list[records.Record]:
        """The records of a label or a verdict, by the name its giver chose, with where they come from."""
        who = label.annotator_id
        label.annotator = self.people.accounts[who]
        label.study = self.study
        self.process.people[who] += 1
        if self.study.consent and who not in self.consents and self.people.what(who) == "a person":
            self.process.never_asked += 1
        beside: dict[str, Any] = {"terms": terms_of(label.task.item, self.study), "given": self._given(label)}
        if label.pk is None:
            self.process.verdicts += 1
            beside |= {"verdict": label.verdict.pk, "settles": label.settles}
        reliable = 1.0 if self.weights is None or label.pk is None else self.weights.get(who, 1.0)
        name = self.people.name(who)
        return [
            replace(
                one, annotator=name, weight=one.weight * reliable, source=merged(one.source, beside, label.pk)
            )
            for one in interface(label.kind).records(label)
        ]

    def _given(self, label: Label) -> dict[str, Any]:
        """When, how and under which words a label was given."""
        who, at = label.annotator_id, label.created_at
        given = {
            "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "by": self.people.what(who),
            "interface": {"kind": label.kind, "version": getattr(interface(label.kind), "VERSION", 1)},
            "guidelines": newest(self.guidelines, at),
            "consent": newest(self.consents.get(who, []), at),
        }
        if label.pk is None:
            return given
        given |= {
            "assignment": label.assignment_id,
            "order": label.assignment.order,
            "seconds": label.seconds,
        }
        if self.weights is not None:
            given["reliability"] = self.weights.get(who, 1.0)
        return given


def hand_out_candidates(items: dict[int, Item]) -> None:
    """What prefetch_related does, without its queryset for each item: that took a third of the time."""
    answers: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in Candidate.objects.filter(item__in=list(items)).order_by("item_id", "index"):
        answers[candidate.item_id].append(candidate)
    for pk, item in items.items():
        item._prefetched_objects_cache = {"candidates": answers[pk]}


def standing(rows: Iterable[Any]) -> list[Any]:
    """Labels or verdicts that were neither taken back nor replaced. All about one task must be among the rows."""
    found = list(rows)
    replaced = {one.supersedes_id for one in found}
    return [one for one in found if not one.withdrawn and one.pk not in replaced]


def merged(source: Any, beside: dict[str, Any], label: int | None) -> dict[str, Any]:
    """Where a record comes from. A verdict has no label of its own."""
    found = {**source, **beside}
    if label is None:
        found.pop("label", None)
    return found


def as_label(verdict: Verdict, settles: list[int]) -> Label:
    """A verdict in the shape that interfaces read; never stored."""
    label = Label(
        study_id=verdict.study_id,
        task=verdict.task,
        annotator_id=verdict.reviewer_id,
        kind=verdict.task.kind,
        answer=verdict.answer,
        created_at=verdict.created_at,
    )
    label.verdict, label.settles = verdict, settles
    return label


def terms_of(item: Item, study: Study) -> dict[str, Any]:
    """Under which terms an item may be used, and where it was collected; what is not known is left out."""
    found = {
        "licence": item.licence or study.licence,
        "signal": item.signal,
        "source": source_of(item),
        "collected_on": item.collected_on.isoformat() if item.collected_on else "",
        "collector": item.collector,
        "jurisdiction": item.jurisdiction,
    }
    return {name: value for name, value in found.items() if value}


def source_of(item: Item) -> str:
    """Which import or which run brought an item."""
    for name in ("import", "run"):
        if isinstance(number := item.source.get(name), int):
            return f"{name} {number}"
    return "added here"


def newest(versions: list[tuple[datetime, int]], at: datetime) -> int:
    """The version that held at a moment; 0 before the first."""
    place = bisect_right(versions, at, key=lambda one: one[0])
    return versions[place - 1][1] if place else 0


def reliability_of(study: Study) -> dict[int, float]:
    """How much each person's labels count by the newest fitted report; without one, all the same."""
    from annotation import reliability

    fitted = study.reliabilities.first()
    weights: Callable[[dict], dict[int, float]] = reliability.weights
    return {int(user): float(weight) for user, weight in weights(fitted.report).items()} if fitted else {}
