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
    clips: list[str] = field(default_factory=list)
    """What the item asks about."""
    said: list[Said] = field(default_factory=list)
    people: dict[tuple[str, Any], Person] = field(default_factory=dict)
    """By the annotator and the label: who steered and drove in one episode gave two."""
    had: set[tuple[str, frozenset[str]]] = field(default_factory=set)
    """Who compared which two clips."""

    def takes(self, record: Told) -> bool:
        if self.key != key_of(record):
            return False
        if isinstance(record, ClipPair):
            return _compared(record) not in self.had
        person = self.people.get(_whose(record))
        if person is None:
            return True
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
        self._ask(str(Clip(record.episode, 0, steps)), record.source.get("clip"))
        person = self.people.setdefault(_whose(record), Person(line, _source(record, line)))
        if isinstance(record, Drive):
            person.drive = record
            candidate = self.item["candidates"][0]
            if not candidate["policy"]:  # else a person took over from it for a while
                candidate["source"].setdefault("driven", True)
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
        for name in sorted(("chosen", "rejected"), key=lambda name: _index(record, name)):
            self._ask(getattr(record, name), record.source.get(name))
        pair = self.clips.index(record.chosen), self.clips.index(record.rejected)
        marks = [Clip.read(mark) for mark in record.marks]
        places = [next(n for n in pair if mark in Clip.read(self.clips[n])) for mark in marks]
        reason = record.source.get("reason")
        self.had.add(_compared(record))
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

    def _ask(self, clip: str, origin: Any) -> None:
        """Lets the item ask about a clip too, if it does not yet."""
        if clip in self.clips:
            return
        self.clips.append(clip)
        known = origin if isinstance(origin, Mapping) else {}
        source = known.get("source") if isinstance(known.get("source"), Mapping) else {}
        policy = known.get("policy") if isinstance(known.get("policy"), str) else ""
        self.item["candidates"].append({"text": clip, "policy": policy, "source": dict(source)})

    def row(self) -> Row:
        said = [one for (name, _), person in self.people.items() for one in _said(name, person)]
        return Row(self.line, self.item, [*self.said, *said])


def _said(name: str, person: Person) -> list[Said]:
    mark, source = person.mark, person.source
    success = mark.success if mark else None
    if person.drive:
        drive = person.drive
        note = drive.source.get("note")
        return [
            Driven(0, drive.start, drive.stop, success, note if isinstance(note, str) else "", name, source)
        ]
    stages = dict(mark.stages) if mark else {}
    return [Corrected(0, tuple(person.corrections), success, stages, tuple(person.lines), name, source)]


def _whose(record: Told) -> tuple[str, Any]:
    return record.annotator, record.source.get("label")


def _compared(record: ClipPair) -> tuple[str, frozenset[str]]:
    return record.annotator, frozenset((record.chosen, record.rejected))


def _source(record: Told, line: int) -> dict[str, Any]:
    weight = {"weight": record.weight} if record.weight != 1.0 else {}
    return {"record": record.id, "line": line, **weight}


def _index(record: ClipPair, name: str) -> int:
    """Where a clip stood with the item it came from."""
    origin = record.source.get(name)
    index = origin.get("index") if isinstance(origin, Mapping) else None
    return index if isinstance(index, int) else int(name == "rejected")


def key_of(record: Told) -> str:
    """Records with one key are about one item: the one that they came from, or else the very same clips."""
    item = record.source.get("item")
    if isinstance(record, ClipPair):
        about = sorted([record.chosen, record.rejected]) if item is None else []
    else:
        about = [record.episode]
    return records.canonical([records.prompt_json(record.prompt), item, about])
