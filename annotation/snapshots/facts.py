"""What is in a file of records, counted from the records alone: whoever has the file can count again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from trainers import records
from trainers.records.robots import episodes_of
from trainers.registry import learns_from


@dataclass
class Facts:
    """Counts over records, in the order in which they stand in the file."""

    records: int = 0
    labels: int = 0
    last_label: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    people: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Labels and verdicts, by the annotator's name in the file and what gave them."""
    policies: set[str] = field(default_factory=set)
    """Who or what wrote the answers."""
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Records, by where their item came from, its licence, and what its owner said about training."""
    consents: Counter[int] = field(default_factory=Counter)
    """Labels of people, by the version of the consent text that they had agreed to."""
    guidelines: Counter[int] = field(default_factory=Counter)
    collectors: Counter[str] = field(default_factory=Counter)
    jurisdictions: Counter[str] = field(default_factory=Counter)
    days: tuple[str, str] = ("", "")
    """The first and the last day of labelling."""
    collected: tuple[str, str] = ("", "")
    """The first and the last day on which texts were collected, as far as it is known."""
    unlicensed: int = 0
    first_unlicensed: str = ""
    """The item of the first record without a licence."""
    episodes: Counter[str] = field(default_factory=Counter)
    """Records, by the episodes that they stand on."""
    _last: Any = None

    def note(self, record: records.Record) -> None:
        self.records += 1
        self.counts[record.kind] += 1
        self.episodes.update(episodes_of(record))
        if isinstance(record, records.Pair | records.ClipPair):
            self.outcomes[record.outcome] += 1
        source = record.source
        given, terms = source.get("given", {}), source.get("terms", {})
        mark = (source.get("label"), source.get("verdict"), record.id if not given else "")
        if mark != self._last:  # several records of one label stand together
            self._last = mark
            self.labels += 1
            self.people[record.annotator, given.get("by", "")] += 1
            if given.get("by") == "a person":
                self.consents[given["consent"]] += 1
            self.guidelines[given.get("guidelines", 0)] += 1
        self.last_label = max(self.last_label, source.get("label") or 0)
        self.days = span(self.days, given.get("at", "")[:10])
        self.collected = span(self.collected, terms.get("collected_on", ""))
        self.policies |= written_by(source)
        licence = terms.get("licence", "")
        self.sources[terms.get("source", ""), licence, terms.get("signal", "unknown")] += 1
        for name, counter in (("collector", self.collectors), ("jurisdiction", self.jurisdictions)):
            if terms.get(name):
                counter[terms[name]] += 1
        if not licence:
            self.unlicensed += 1
            self.first_unlicensed = self.first_unlicensed or item_of(record)

    def to_json(self) -> dict[str, Any]:
        """The counts as the manifest keeps them."""
        return {
            "records": self.records,
            "labels": self.labels,
            "counts": dict(self.counts),
            "outcomes": dict(self.outcomes),
            "methods": learns_from(self.counts),
            "last_label": self.last_label,
            "annotators": [
                {"name": name, "who": who, "labels": n} for (name, who), n in sorted(self.people.items())
            ],
            "sources": [
                {"source": source, "licence": licence, "signal": signal, "records": n}
                for (source, licence, signal), n in sorted(self.sources.items())
            ],
            "consent_versions": {str(version): n for version, n in self.consents.items()},
            "guideline_versions": {str(version): n for version, n in self.guidelines.items()},
            "unlicensed": {"records": self.unlicensed, "first_item": self.first_unlicensed},
        }


def item_of(record: records.Record) -> str:
    """The item of a record: its name elsewhere where it has one, or else its number."""
    return str(record.source.get("external_id") or record.source.get("item") or record.id)


def span(known: tuple[str, str], day: str) -> tuple[str, str]:
    if not day:
        return known
    first, last = known
    return min(first or day, day), max(last, day)


def written_by(source: Any) -> set[str]:
    """The policies that are named in a record's source."""
    parts = [part for one in source.values() for part in (one if isinstance(one, list) else [one])]
    return {
        part["policy"] for part in parts if isinstance(part, dict) and isinstance(part.get("policy"), str)
    }
