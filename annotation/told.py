"""Records about robots in a file: gathered into the items they are about, each with what every person said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from annotation.said import Corrected, Driven, Row, Said, Watched
from trainers import records
from trainers.episodes import Clip
from trainers.records import ClipPair, Drive, EpisodeMark, LanguageCorrection, RecordError

Told = ClipPair | LanguageCorrection | Drive | EpisodeMark
StepsOf = Callable[[str], int | None]
"""How many steps an episode has; None for one that nobody knows."""
DETAILS = ("start", "stop", "text", "command", "layer", "type", "live", "predicted")


@dataclass
class Person:
    """What one person said of one episode."""

    line: int
    source: dict[str, Any]
    corrections: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    drive: Drive | None = None
    mark: EpisodeMark | None = None


@dataclass
class Gathered:
    """Records about one item, gathered while they stand next to each other."""

    line: int
    key: str
    item: dict[str, Any]
    steps_of: StepsOf
    clips: tuple[str, ...] = ()
    """What the item asks about."""
    said: list[Said] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)
    had: set[str] = field(default_factory=set)

    def takes(self, record: Told) -> bool:
        if self.key != key_of(record):
            return False
        if isinstance(record, ClipPair):
            return record.annotator not in self.had
        person = self.people.get(record.annotator)
        if person is None:
            return True
        if person.source.get("label") != record.source.get("label"):
            return False
        if isinstance(record, Drive):
            return person.drive is None and not person.corrections
        if isinstance(record, EpisodeMark):
            return person.mark is None
        return person.drive is None

    def add(self, record: Told, line: int) -> None:
        if isinstance(record, ClipPair):
            self._compare(record, line)
            return
        steps = self._steps(record.episode, "episode", line)
        stop = 0 if isinstance(record, EpisodeMark) else record.stop
        if stop > steps:
            raise RecordError(
                line,
                "stop",
                f"found {stop}; the episode {record.episode} has {steps} steps.",
                "Mend this row.",
            )
        self._ask((str(Clip(record.episode, 0, steps)),), record.source.get("clip"))
        person = self.people.setdefault(record.annotator, Person(line, _source(record, line)))
        person.source["label"] = record.source.get("label")
        if isinstance(record, Drive):
            person.drive = record
            self.item["candidates"][0]["source"].setdefault("driven", True)
        elif isinstance(record, EpisodeMark):
            person.mark = record
        else:
            details = record.source.get("details")
            one = {name: getattr(record, name) for name in DETAILS}
            person.corrections.append(
                {**one, "source": dict(details) if isinstance(details, Mapping) else {}}
            )
            person.lines.append(line)

    def _compare(self, record: ClipPair, line: int) -> None:
        for name in ("chosen", "rejected"):
            clip = Clip.read(getattr(record, name))
            steps = self._steps(clip.episode, name, line)
            if clip.stop > steps:
                raise RecordError(
                    line,
                    name,
                    f"found the steps {clip.start} to {clip.stop}; the episode has {steps}.",
                    "Mend this row.",
                )
        first = int(_index(record, "chosen") > _index(record, "rejected"))
        clips = (record.chosen, record.rejected)
        origins = (record.source.get("chosen"), record.source.get("rejected"))
        self._ask(clips[::-1] if first else clips, *(origins[::-1] if first else origins))
        pair = self.clips.index(record.chosen), self.clips.index(record.rejected)
        marks = [Clip.read(mark) for mark in record.marks]
        places = [next(n for n, one in enumerate(self.clips) if mark in Clip.read(one)) for mark in marks]
        reason = record.source.get("reason")
        self.had.add(record.annotator)
        self.said.append(
            Watched(
                pair,
                pair[0] if record.outcome == "chosen" else None,
                record.outcome,
                record.strength,
                tuple((place, mark.start, mark.stop) for place, mark in zip(places, marks, strict=True)),
                reason if isinstance(reason, str) else "",
                record.annotator,
                _source(record, line),
            )
        )

    def _steps(self, episode: str, name: str, line: int) -> int:
        steps = self.steps_of(episode)
        if not steps:
            raise RecordError(
                line,
                name,
                f"names the episode {episode}, which is not here.",
                "Import the zip that has the episodes too, or record the episode in this study first.",
            )
        return steps

    def _ask(self, clips: tuple[str, ...], *origins: Any) -> None:
        if self.clips:
            return
        self.clips = clips
        for text, origin in zip(clips, origins, strict=True):
            known = origin if isinstance(origin, Mapping) else {}
            source = known.get("source") if isinstance(known.get("source"), Mapping) else {}
            policy = known.get("policy") if isinstance(known.get("policy"), str) else ""
            self.item["candidates"].append({"text": text, "policy": policy, "source": dict(source)})

    def row(self) -> Row:
        said = [one for name, person in self.people.items() for one in _said(name, person)]
        return Row(self.line, self.item, [*self.said, *said])


def _said(name: str, person: Person) -> list[Said]:
    mark, source = person.mark, {key: value for key, value in person.source.items() if key != "label"}
    success = mark.success if mark else None
    if person.drive:
        drive = person.drive
        note = drive.source.get("note")
        return [
            Driven(0, drive.start, drive.stop, success, note if isinstance(note, str) else "", name, source)
        ]
    stages = dict(mark.stages) if mark else {}
    return [Corrected(0, tuple(person.corrections), success, stages, tuple(person.lines), name, source)]


def _source(record: Told, line: int) -> dict[str, Any]:
    weight = {"weight": record.weight} if record.weight != 1.0 else {}
    return {"record": record.id, "line": line, **weight}


def _index(record: ClipPair, name: str) -> int:
    """Where a clip stood with the item it came from."""
    origin = record.source.get(name)
    index = origin.get("index") if isinstance(origin, Mapping) else None
    return index if isinstance(index, int) else int(name == "rejected")


def key_of(record: Told) -> str:
    """Records with one key are about one item."""
    about = sorted([record.chosen, record.rejected]) if isinstance(record, ClipPair) else [record.episode]
    return records.canonical([records.prompt_json(record.prompt), record.source.get("item"), about])
