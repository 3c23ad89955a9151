"""What people said of robots' episodes in a study, as segments of those episodes: in what leaves the studio alone.

In the studio it is labels, and the stored episodes are left as they are. In an export it stands a second time, as the
newest version of a segment each, so that whoever opens an episode by itself sees what was said of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from annotation.interfaces import driving, hindsight
from annotation.models import Study
from trainers import records
from trainers.episodes import Segment
from trainers.records import Drive, EpisodeMark, LanguageCorrection

PREFIX = "label-"
"""What the name of such a segment begins with."""
KINDS = (hindsight.key, driving.key)


class Segments:
    """The segments that records make, by the episodes they are of. On disk: memory holds a number for each."""

    def __init__(self, study: Study, steps_of: Callable[[str], int]) -> None:
        """`steps_of`: how many steps an episode has."""
        self.steps_of = steps_of
        self.here = _token(study)
        self.labels = _versions(study.labels.filter(kind__in=KINDS), "assignment")
        self.verdicts = _versions(study.verdicts.filter(task__kind__in=KINDS), "task")
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` lets it go
        self.places: dict[str, array] = defaultdict(lambda: array("q"))

    def note(self, record: records.Record) -> None:
        """Keeps the segment of a record, where it makes one."""
        found = self.of(record)
        if found is not None:
            self.places[record.episode].append(self.file.seek(0, os.SEEK_END))
            self.file.write(json.dumps(asdict(found), ensure_ascii=False).encode() + b"\n")

    def lines(self, episode: str) -> bytes:
        """The segments of an episode, the oldest first, as the lines of its segments.jsonl."""
        found = []
        for place in self.places.get(episode, ()):
            self.file.seek(place)
            found.append(self.file.readline())
        return b"".join(sorted(found, key=lambda line: json.loads(line)["at"]))

    def close(self) -> None:
        """Lets the file go."""
        self.file.close()

    def of(self, record: records.Record) -> Segment | None:
        """A record as a segment; None for what is about no stretch of one episode."""
        match record:
            case LanguageCorrection(type="rejected"):
                kind = "rejected"
            case LanguageCorrection(layer="motion"):
                kind = "motion"
            case LanguageCorrection():
                kind = "correction"
            case Drive():
                kind = "action"
            case EpisodeMark():
                kind = "success" if record.success else "failure"
            case _:
                return None
        whole = isinstance(record, EpisodeMark)
        said = record.to_json()
        beside = ("text", "layer", "live", "predicted", "stages")
        return Segment(
            name=self._name(record),
            start=0 if whole else record.start,
            stop=self.steps_of(record.episode) if whole else record.stop,
            kind=kind,
            label=said.get("command", ""),
            by=record.annotator,
            at=_at(record),
            version=self._version(record),
            source={"record": record.id, **{name: said[name] for name in beside if said.get(name)}},
        )

    def _name(self, record: records.Record) -> str:
        """The same for a person's say in a task whatever they change in it, and another in every study anywhere."""
        whose = record.source.get("given", {}).get("assignment", "verdict")
        part = record.id.rpartition("-")[2]  # which correction of the label, or its mark
        return f"{PREFIX}{self.here}-{record.source.get('task')}-{whose}-{part}"

    def _version(self, record: records.Record) -> int:
        verdict, label = record.source.get("verdict"), record.source.get("label")
        return self.verdicts.get(verdict, 1) if verdict else self.labels.get(label, 1)


def _token(study: Study) -> str:
    """Eight digits that no other study has, in this studio or another."""
    keyed = hmac.new(settings.SECRET_KEY.encode(), f"segments {study.pk}".encode(), hashlib.sha256)
    return keyed.hexdigest()[:8]


def _versions(rows, of: str) -> dict[int, int]:
    """The how-manieth each label or verdict is of those with one `of`, withdrawals counted; of all but the first."""
    counted = Window(RowNumber(), partition_by=[F(of)], order_by="pk")
    return dict(rows.annotate(version=counted).filter(version__gt=1).order_by().values_list("pk", "version"))


def _at(record: records.Record) -> float:
    """When it was said, in seconds since 1970; 0 where nobody knows."""
    at = record.source.get("given", {}).get("at", "")
    return datetime.fromisoformat(at).timestamp() if at else 0.0


def without_labels(place: Path) -> None:
    """Takes out of an episode's folder what an export put there: its records say the same, and come in as labels."""
    path = place / "segments.jsonl"
    if not path.is_file():
        return
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if not _is_label(line)]
    path.write_bytes(b"".join(kept))


def _is_label(line: bytes) -> bool:
    try:
        return json.loads(line)["name"].startswith(PREFIX)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False  # whoever checks the episode says what is wrong with it
