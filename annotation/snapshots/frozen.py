"""Labels, frozen into files that never change: records.jsonl, manifest.json and card.md, named by their SHA-256.

The same labels give the same bytes, so the same digest, so the same snapshot. No clock of freezing enters any
of the three files; who froze when is in the row.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from annotation.errors import Conflict, Invalid
from annotation.models import Snapshot, Study
from annotation.snapshots import card, episodes
from annotation.snapshots.facts import Facts
from annotation.snapshots.reading import Process, read
from annotation.webhooks import tell
from trainers import records
from trainers.episodes import NoEpisode

FORMAT = "kibitz-records-1"


class Damaged(Conflict):
    """The files of a snapshot are not what was frozen."""


def freeze(*, study: Study, by, name: str = "") -> Snapshot:
    """The study's current labels as a snapshot: a new one, or the one that holds the very same records."""
    settings.SNAPSHOTS.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=settings.SNAPSHOTS))
    facts, process = Facts(), Process()
    try:
        with _as_of_now():
            study.refresh_from_db()
            about = card.about(study)
            digest, size = _write_records(study, draft / "records.jsonl", facts, process)
        if not facts.records:
            raise Invalid(_nothing(process), field="study")
        stands_on = episodes.described(facts.episodes)
        manifest = {
            "format": FORMAT,
            "study": {"id": study.pk, "name": study.name},
            "sha256": digest,
            "bytes": size,
            **facts.to_json(),
            "about": about,
            "process": process.log(),
            **({"episodes": stands_on} if stands_on else {}),
        }
        text = card.body(
            about,
            facts,
            process.log(),
            records=f"`records.jsonl`, one JSON object a line, SHA-256 `{digest}`",
            more=episodes.section(stands_on),
        )
        _write(draft / "manifest.json", records.canonical(manifest) + "\n")
        _write(draft / "card.md", text)
        _publish(draft, settings.SNAPSHOTS / digest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    with transaction.atomic():
        snapshot, made = Snapshot.objects.get_or_create(
            study=study,
            digest=digest,
            defaults={
                "name": name.replace("\x00", "")[:200],
                "counts": facts.counts,
                "records": facts.records,
                "process": process.log() | {"people": {str(user): n for user, n in process.people.items()}},
                "card": text,
                "created_by": by,
                "parent": study.snapshots.first(),
            },
        )
        if made:
            told = {
                "snapshot": snapshot.pk,
                "digest": digest,
                "records": facts.records,
                "counts": facts.counts,
            }
            tell(study, "snapshot.frozen", told)
    verify(snapshot)
    return snapshot


@contextmanager
def _as_of_now() -> Iterator[None]:
    """One moment for every statement within. Inside somebody else's transaction, each item is read as of one moment."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _write_records(study: Study, path: Path, facts: Facts, process: Process) -> tuple[str, int]:
    """Writes the records in the order of their ids; their SHA-256 and how many bytes they are."""
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for record in read(study, process):
            line = records.dumps(record).encode() + b"\n"
            file.write(line)
            hasher.update(line)
            size += len(line)
            facts.note(record)
        file.flush()
        os.fsync(file.fileno())
    return hasher.hexdigest(), size


def _nothing(process: Process) -> str:
    if not process.labels:
        return "There is nothing to freeze: this study has no labels yet."
    why = "; ".join(f"{step['left_out']:,}: {step['why']}" for step in process.steps() if step["left_out"])
    return f"There is nothing to freeze: each of its {process.labels:,} labels is left out ({why})."


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


# --- opening


def verify(snapshot: Snapshot) -> Path:
    """The folder of a snapshot whose records, and episodes, are byte for byte what was frozen; Damaged otherwise."""
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
    try:
        episodes.check(manifest_of(snapshot).get("episodes", []))
    except (NoEpisode, ValueError) as problem:
        raise Damaged(f"{snapshot} stands on an episode that is not as it was. {problem}") from None
    return snapshot.folder


def lines_of(snapshot: Snapshot) -> Iterator[bytes]:
    """The records, one canonical line each. The file is verified before the first."""
    path = verify(snapshot) / "records.jsonl"

    def lines() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from file

    return lines()


def manifest_of(snapshot: Snapshot) -> dict[str, Any]:
    """What the manifest says; empty where there is none to read."""
    try:
        return json.loads((snapshot.folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
