"""Labels, frozen into files that never change: records.jsonl, manifest.json and card.md, named by their SHA-256.

The same labels give the same bytes, so the same digest, so the same snapshot. No clock of freezing enters any
of the three files; who froze when is in the row.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.models import ImportJob, Label, Snapshot, Study
from trainers import records
from trainers.registry import learns_from

FORMAT = "kibitz-records-1"


class Damaged(Conflict):
    """The files of a snapshot are not what was frozen."""


@dataclass
class Facts:
    """What is in a file of records, counted while it is written."""

    sha256: str = ""
    records: int = 0
    size: int = 0
    last_label: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    people: Counter[tuple[str, str]] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    days: list[date] = field(default_factory=list)
    """The first and the last day of labelling."""

    def manifest(self, study: Study) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "study": {"id": study.pk, "name": study.name},
            "sha256": self.sha256,
            "records": self.records,
            "bytes": self.size,
            "counts": self.counts,
            "outcomes": self.outcomes,
            "methods": learns_from(self.counts),
            "last_label": self.last_label,
        }


def freeze(*, study: Study, by, name: str = "") -> Snapshot:
    """The study's current labels as a snapshot: a new one, or the one that holds the very same records."""
    settings.SNAPSHOTS.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=settings.SNAPSHOTS))
    try:
        facts = _write_records(study, draft / "records.jsonl")
        if not facts.records:
            raise Invalid("There is nothing to freeze: this study has no labels yet.", field="study")
        card = _card(study, facts)
        _write(draft / "manifest.json", records.canonical(facts.manifest(study)) + "\n")
        _write(draft / "card.md", card)
        _publish(draft, settings.SNAPSHOTS / facts.sha256)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    snapshot, _ = Snapshot.objects.get_or_create(
        study=study,
        digest=facts.sha256,
        defaults={
            "name": name.replace("\x00", "")[:200],
            "counts": facts.counts,
            "records": facts.records,
            "card": card,
            "created_by": by,
            "parent": study.snapshots.first(),
        },
    )
    verify(snapshot)
    return snapshot


def _write_records(study: Study, path: Path) -> Facts:
    """Writes the records, sorted by id, in one reading of the labels; a label that comes meanwhile is not in."""
    labels = (
        Label.objects.current()
        .filter(study=study)
        .select_related("task__item", "annotator")
        .prefetch_related("task__item__candidates")
        .order_by("task__item_id", "pk")  # the order of the records' ids
    )
    facts = Facts()
    hasher = hashlib.sha256()
    with path.open("wb") as file:
        for label in labels.iterator(chunk_size=1000):
            for record in interface(label.kind).records(label):
                line = records.dumps(record).encode() + b"\n"
                file.write(line)
                hasher.update(line)
                facts.size += len(line)
                facts.records += 1
                facts.counts[record.kind] += 1
                if isinstance(record, records.Pair):
                    facts.outcomes[record.outcome] += 1
            _note(facts, label)
        file.flush()
        os.fsync(file.fileno())
    facts.sha256 = hasher.hexdigest()
    return facts


def _note(facts: Facts, label: Label) -> None:
    """Counts who gave a label, when, and about whose answers."""
    who = "a program" if label.annotator.simulated else label.annotator.source or "a person"
    facts.people[label.annotator.username, who] += 1
    facts.policies.update({one.policy for one in label.task.item.candidates.all() if one.policy})
    facts.last_label = max(facts.last_label, label.pk)
    day = label.created_at.date()
    facts.days = [min([day, *facts.days[:1]]), max([day, *facts.days[1:]])]


def _publish(draft: Path, folder: Path) -> None:
    """Gives the finished draft its name in one step: a reader finds all of a snapshot, or none."""
    if folder.exists():
        return
    for path in draft.iterdir():
        path.chmod(0o444)
    try:
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # another freeze of the same labels was faster
            raise


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


# --- the card


def _card(study: Study, facts: Facts) -> str:
    """What a stranger must know before using the data."""
    first, last = facts.days
    words = {"chosen": "decided", "tie": "ties", "both_bad": "both bad"}
    lines = [
        f"# {study.name}",
        "",
        f"{facts.records:,} records: {_listed(facts.counts)}.",
        "",
        f"- **Records**: `records.jsonl`, one JSON object a line, SHA-256 `{facts.sha256}`",
        f"- **Licence**: {study.licence or 'not stated'}",
        f"- **Consent**: {study.consent or 'not stated'}",
        f"- **Period**: {first} to {last} (UTC)",
        f"- **Overlap**: {study.overlap} per task",
    ]
    if facts.outcomes:
        lines.append(f"- **Comparisons**: {_listed({words[key]: n for key, n in facts.outcomes.items()})}")
    lines.append(f"- **Can be learned from by**: {', '.join(learns_from(facts.counts)) or 'no known method'}")
    lines += ["", "## Annotators", "", "| annotator | labels | who |", "|---|---:|---|"]
    lines += [f"| {_cell(name)} | {n:,} | {_cell(who)} |" for (name, who), n in sorted(facts.people.items())]
    lines += ["", "## Where it comes from", "", *_provenance(study, facts)]
    if study.guidelines:
        lines += ["", "## What annotators were asked", "", study.guidelines]
    return "\n".join(lines) + "\n"


def _provenance(study: Study, facts: Facts) -> list[str]:
    imported = ImportJob.objects.filter(study=study, status=ImportJob.Status.FINISHED).order_by("pk")
    lines = [
        f"- imported file `{job.filename}` ({job.format}; {_listed(job.counts)}; "
        f"licence {job.licence or 'not stated'}; SHA-256 `{job.digest}`)"
        for job in imported
    ]
    if facts.policies:
        lines.append(f"- answers written by {', '.join(sorted(facts.policies))}")
    return lines or ["- not stated"]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- opening


def verify(snapshot: Snapshot) -> Path:
    """The folder of a snapshot whose records are byte for byte what was frozen; Damaged otherwise."""
    path = snapshot.folder / "records.jsonl"
    if not path.exists():
        raise Damaged(f"The files of {snapshot} are gone: {path} is missing. Restore them, or freeze again.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != snapshot.digest:
        raise Damaged(
            f"The records of {snapshot} were changed after freezing: expected SHA-256 {snapshot.digest}, "
            f"found {found}. Restore {path}, or delete its folder and freeze again."
        )
    return snapshot.folder


def lines_of(snapshot: Snapshot) -> Iterator[bytes]:
    """The records, one canonical line each. The file is verified before the first."""
    path = verify(snapshot) / "records.jsonl"

    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from file

    return read()
