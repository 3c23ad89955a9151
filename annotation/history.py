"""All that happened to one item, in the order in which it happened: a story to read, and rows to export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from annotation import consent
from annotation.interfaces.registry import interface
from annotation.models import Gold, Item, Label, Remark, Signal, Study, Verdict
from annotation.review import words_of
from annotation.snapshots.names import People


@dataclass(frozen=True)
class Event:
    """One thing that happened. `who` is an account; `what` is answered, changed, withdrew, flagged, …"""

    at: datetime
    who: str
    what: str
    words: str = ""
    task: int | None = None
    kind: str = ""
    label: int | None = None
    answer: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        row = {name: value for name, value in asdict(self).items() if value not in ("", None)}
        return {**row, "at": self.at.isoformat()}


def story(item: Item) -> list[Event]:
    """The events of an item, the oldest first."""
    events = list(_labels(item))
    events += _remarks(item)
    events += _verdicts(item)
    golds = Gold.objects.filter(task__item=item, task__person=None).select_related("created_by", "task")
    for one in golds:
        words = f"{_words(one.task.kind, one.answer, one.task.candidates)} {one.reason}".strip()
        events.append(
            Event(
                one.created_at, one.created_by.username, "known", words, one.task_id, one.task.kind,
                answer=one.answer,
            )
        )  # fmt: skip
    if item.withdrawn_at:
        events.append(Event(item.withdrawn_at, "", "opted_out", item.withdrawn_reason))
    added = Event(item.created_at, item.study.created_by.username, "added")
    return [added, *sorted(events, key=lambda one: one.at)]


def _labels(item: Item) -> Iterator[Event]:
    labels = Label.objects.arrived().filter(task__item=item)
    for one in labels.select_related("annotator", "task", "assignment").order_by("pk"):
        what = "withdrew" if one.withdrawn else "changed" if one.supersedes_id else "answered"
        yield Event(
            one.created_at,
            one.annotator.username,
            what,
            ". ".join(
                part
                for part in (_words(one.kind, one.answer, one.task.candidates), one.answer.get("reason"))
                if part
            ),
            one.task_id,
            one.kind,
            one.pk,
            one.answer,
        )


def _remarks(item: Item) -> Iterator[Event]:
    names = {Remark.Kind.FLAG: "flagged", Remark.Kind.NOTE: "noted", Remark.Kind.SENT_BACK: "sent_back"}
    for one in Remark.objects.filter(task__item=item).select_related("author", "resolved_by", "task"):
        words = ": ".join(part for part in (one.get_reason_display(), one.text) if part)
        yield Event(
            one.created_at, one.author.username, names[one.kind], words, one.task_id, one.task.kind,
            one.label_id,
        )  # fmt: skip
        if one.resolved_at:
            yield Event(
                one.resolved_at, one.resolved_by.username, "resolved", words, one.task_id, one.task.kind
            )


def _verdicts(item: Item) -> Iterator[Event]:
    for one in Verdict.objects.filter(task__item=item).select_related("reviewer", "task"):
        what = "took_back" if one.withdrawn else "settled"
        words = _words(one.task.kind, one.answer, one.task.candidates)
        words = f"{words}. {one.reason}" if one.reason else words
        yield Event(
            one.created_at, one.reviewer.username, what, words, one.task_id, one.task.kind, answer=one.answer
        )


def _words(kind: str, answer: dict, candidates: list[int]) -> str:
    said = words_of(kind, answer, candidates)
    return f"{interface(kind).label}: {said}" if not hasattr(interface(kind), "words") else said


def stories(study: Study) -> Iterator[dict[str, Any]]:
    """Every item of a study with its story, for an export; one item at a time in memory.

    People are called as they chose. What the study leaves out of its data is not told either: items that were taken out
    or must not be trained on, and all that was said by people who took their consent back.
    """
    people = People(study)
    people.learn(set(study.labels.values_list("annotator", flat=True).distinct()))
    people.learn(set(study.memberships.values_list("user", flat=True)) | {study.created_by_id})
    names = {account.username: people.name(pk) for pk, account in people.accounts.items()}
    gone = {people.accounts[pk].username for pk in consent.withdrawn(study) if pk in people.accounts}
    items = study.items.filter(upload=None, withdrawn_at=None).exclude(signal=Signal.NO_TRAIN)
    for item in items.select_related("study__created_by").order_by("pk").iterator(chunk_size=200):
        events = [replace(one, who=names.get(one.who, "")) for one in story(item) if one.who not in gone]
        yield {
            "item": item.pk,
            "external_id": item.external_id,
            "context": item.context,
            "candidates": [
                {"id": one.pk, "text": one.text, "policy": one.policy} for one in item.candidates.all()
            ],
            "history": [event.to_json() for event in events],
        }
