"""Which records an export holds, and in which part each stands; every filter with its counts.

It reads a snapshot's file, or a study as it stands now, one item at a time.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from annotation import personal_data, snapshots
from annotation.errors import Invalid
from annotation.exporters.asked import Asked
from annotation.models import Item, Label, Snapshot, Study
from annotation.snapshots import card
from annotation.snapshots.facts import item_of
from trainers import records

Source = Snapshot | Study

WHY = {
    "kind": "of another kind",
    "annotator": "by another annotator",
    "source": "about items from elsewhere",
    "time": "labelled before or after",
    "agreement": "on tasks with too little agreement, or judged by one person",
    "personal_data": "personal data was found in a text",
    "split": "in another part",
}
"""Why a record is left out of an export, in the order in which it is asked."""


@dataclass
class Counts:
    """What was read, what each filter left out, and what came out in which part."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    process: snapshots.Process = field(default_factory=snapshots.Process)
    """How a study was read; unused where a snapshot is."""

    def steps(self) -> list[dict[str, Any]]:
        found, left = [], self.read
        for name, why in WHY.items():
            out = left - self.left_out[name]
            if self.left_out[name]:
                found.append(
                    {"name": name, "why": why, "in": left, "left_out": self.left_out[name], "out": out}
                )
            left = out
        return found


def check(source: Source, asked: Asked) -> None:
    """Refuses, before the first byte, an export of records without a licence, or with personal data if so asked."""
    if isinstance(source, Snapshot):
        snapshots.verify(source)
    nameless = unlicensed(source)
    if nameless:
        raise Invalid(
            f"Item {nameless}, field licence: it has none, and its study has none either. Whoever gets the export "
            "must know what they may do with it: give the study a licence in its settings, or import with one.",
            field="licence",
        )
    if asked.personal == "refuse":
        for record in _read(source, Counts()):
            for place, found in screen(record):
                raise Invalid(
                    f"Item {item_of(record)}, field {place}: holds {personal_data.KINDS[found.kind]} at character "
                    f"{found.start}. Withdraw the item, or leave such records out (personal=leave_out).",
                    field=place,
                )


def unlicensed(source: Source) -> str:
    """An item that has no licence of its own nor its study's; empty where all have one."""
    study = source.study if isinstance(source, Snapshot) else source
    if study.licence:
        return ""
    if isinstance(source, Study):
        judged = Label.objects.current().filter(study=source).values("task__item")
        item = Item.objects.filter(pk__in=judged, licence="", withdrawn_at=None).order_by("pk").first()
        return str(item.external_id or item.pk) if item else ""
    counted = snapshots.manifest_of(source).get("unlicensed")
    if counted is not None:
        return counted["first_item"]
    first = next(_read(source, Counts()), None)  # frozen before records said under which terms
    return item_of(first) if first and not first.source.get("terms", {}).get("licence") else ""


def about(source: Source) -> dict[str, Any]:
    """What a card says of the study: as it was when it was frozen, or as it is."""
    if isinstance(source, Study):
        return card.about(source)
    return snapshots.manifest_of(source).get("about") or card.about(source.study)


def process(source: Source, counts: Counts) -> dict[str, Any]:
    if isinstance(source, Study):
        return counts.process.log()
    return snapshots.manifest_of(source).get("process", {})


def choose(source: Source, asked: Asked, counts: Counts) -> Iterator[tuple[str, records.Record]]:
    """The records that are asked for, each with its part, in the order of their ids."""
    for _, group in groupby(_read(source, counts), key=lambda one: one.id[:10]):
        said = list(group)
        agreed = agreements(said) if asked.agreement else {}
        for record in said:
            counts.read += 1
            split = split_of(record, asked)
            reason = _reason(record, asked, agreed, split)
            if reason:
                counts.left_out[reason] += 1
                continue
            counts.splits[split] += 1
            yield split, record


def _read(source: Source, counts: Counts) -> Iterator[records.Record]:
    if isinstance(source, Study):
        return snapshots.read(source, counts.process)
    lines = enumerate(snapshots.lines_of(source), 1)
    return (records.parse(line.decode(), number) for number, line in lines)


def _reason(record: records.Record, asked: Asked, agreed: dict[int, float | None], split: str) -> str | None:
    """Why a record is left out, or None."""
    given, terms = record.source.get("given", {}), record.source.get("terms", {})
    day = given.get("at", "")[:10]
    if asked.kinds and record.kind not in asked.kinds:
        return "kind"
    if asked.annotators and record.annotator not in asked.annotators:
        return "annotator"
    if asked.source and terms.get("source") != asked.source:
        return "source"
    if (asked.since and day < asked.since.isoformat()) or (asked.until and day > asked.until.isoformat()):
        return "time"
    if asked.agreement and "verdict" not in record.source:  # a reviewer has settled what they disagreed on
        share = agreed.get(record.source.get("task", 0))
        if share is None or share < asked.agreement:
            return "agreement"
    if asked.personal == "leave_out" and next(screen(record), None):
        return "personal_data"
    if asked.split and asked.split != split:
        return "split"
    return None


# --- how far people agree


def agreements(said: list[records.Record]) -> dict[int, float | None]:
    """For each task of an item, the share of pairs of people who said the same; None where one person did."""
    tasks: dict[int, dict[Any, list[str]]] = {}
    for record in said:
        by_label = tasks.setdefault(record.source.get("task", 0), {})
        by_label.setdefault(record.source.get("label"), []).append(verdict_of(record))
    found: dict[int, float | None] = {}
    for task, labels in tasks.items():
        counts = Counter(tuple(parts) for parts in labels.values())
        pairs = len(labels) * (len(labels) - 1) // 2
        same = sum(n * (n - 1) // 2 for n in counts.values())
        found[task] = same / pairs if pairs else None
    return found


def verdict_of(record: records.Record) -> str:
    """What a record says, so that equal judgements are equal: which answer won, without how clearly or why."""
    if isinstance(record, records.Pair | records.ClipPair):
        winner = record.chosen if record.outcome == "chosen" else ""
        return records.canonical([record.outcome, winner])
    row = record.to_json()
    beside = ("id", "annotator", "source", "weight", "reason", "note", "prompt")
    return records.canonical({name: value for name, value in row.items() if name not in beside})


# --- parts


def split_of(record: records.Record, asked: Asked) -> str:
    """The part of a record. All records with one prompt share it, and so do those that go on from one beginning."""
    if not asked.test and not asked.validation:
        return "train"
    hashed = hashlib.sha256(f"{asked.seed}\n{beginning(record.prompt)}".encode()).digest()
    place = int.from_bytes(hashed[:8], "big") / 2**64
    if place < asked.test:
        return "test"
    return "validation" if place < asked.test + asked.validation else "train"


def beginning(prompt: records.Prompt) -> str:
    """A prompt up to the first turn of the user, in one spelling: case, white space and letters' forms are one."""
    if isinstance(prompt, str):
        text = prompt
    else:
        roles = [message.role for message in prompt]
        end = roles.index("user") + 1 if "user" in roles else len(roles)
        text = "\n".join(message.content for message in prompt[:end])
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


# --- personal data

NO_TEXT = ("id", "kind", "annotator", "source", "outcome", "weight", "strength")


def screen(record: records.Record) -> Iterator[tuple[str, personal_data.Finding]]:
    """What personal data is in a record's texts, with the field it is in."""
    for name, value in record.to_json().items():
        if name not in NO_TEXT:
            for place, text in texts(name, value):
                for found in personal_data.find(text):
                    yield place, found


def texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from texts(f"{place}[{number}]", one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from texts(f"{place}.{name}", one)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from texts(f"{place}.{name}", getattr(value, name))
