"""What people say about robots at work. The steps themselves are arrays, kept as episodes; a record names its stretch.

In all of them the prompt is what the robot was asked to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from trainers.episodes import NAME, Clip
from trainers.records.comparisons import OUTCOMES, Outcome
from trainers.records.line import Line
from trainers.records.reading import (
    Json,
    RecordError,
    mapping,
    number,
    shown,
    text,
    text_or_none,
    whole,
)

CORRECTIONS = ("correction", "rejected")
LAYERS = ("command", "motion")


@dataclass(frozen=True)
class ClipPair(Line):
    """Two stretches of robots' work, and which of them a person found better.

    For a tie, and where both are bad, `chosen` and `rejected` are just the two clips in a fixed order.
    """

    kind: ClassVar[str] = "clip_pair"

    chosen: str
    """clip:<episode>:<start>-<stop>"""
    rejected: str
    outcome: Outcome = "chosen"
    strength: float = 1.0
    """How clearly: 1 slightly, 2 clearly, 3 much."""
    weight: float = 1.0
    annotator: str = ""
    marks: tuple[str, ...] = ()
    """Stretches of the two that were marked as what decided it, as clips."""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        outcome = row.get("outcome", "chosen")
        if outcome not in OUTCOMES:
            raise RecordError(
                line, "outcome", f"found {shown(outcome)}.", f"Expected one of {', '.join(OUTCOMES)}."
            )
        marks = row.get("marks", [])
        if not isinstance(marks, list | tuple):
            raise RecordError(line, "marks", f"found {shown(marks)}.", "Expected a list of clips.")
        chosen, rejected = (clip(row.get(name), name, line) for name in ("chosen", "rejected"))
        if chosen == rejected:
            raise RecordError(
                line, "rejected", f"is the chosen clip, {shown(chosen)}.", "Compare two clips that differ."
            )
        return {
            "chosen": chosen,
            "rejected": rejected,
            "outcome": outcome,
            "strength": number(row.get("strength", 1.0), "strength", line),
            "marks": tuple(mark(one, (chosen, rejected), f"marks[{n}]", line) for n, one in enumerate(marks)),
        }


@dataclass(frozen=True)
class LanguageCorrection(Line):
    """What a person told a robot to do instead, from one step of an episode up to another."""

    kind: ClassVar[str] = "language_correction"

    episode: str
    start: int
    """The first step at which the command was (or should have been) obeyed."""
    stop: int
    """The step after the last one."""
    text: str
    """As it was typed, said or pressed; empty for a stretch that is only rejected."""
    command: str
    """As it was understood, and confirmed; empty for a stretch that is only rejected."""
    layer: Literal["command", "motion"] = "command"
    """Which of a policy's layers it replaces: what to do, or how to move."""
    type: Literal["correction", "rejected"] = "correction"
    """A rejected stretch is never imitated; nobody said what should have been done instead."""
    live: bool = True
    """Whether the robot obeyed it at once; else it was said about a recording."""
    predicted: str = ""
    """What the policy itself wanted to do at that moment."""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        kind, layer = row.get("type", "correction"), row.get("layer", "command")
        if kind not in CORRECTIONS:
            raise RecordError(
                line, "type", f"found {shown(kind)}.", f"Expected one of {', '.join(CORRECTIONS)}."
            )
        if layer not in LAYERS:
            raise RecordError(
                line, "layer", f"found {shown(layer)}.", f"Expected one of {', '.join(LAYERS)}."
            )
        live = row.get("live", True)
        if not isinstance(live, bool):
            raise RecordError(line, "live", f"found {shown(live)}.", "Expected true or false.")
        command = text_or_none(row, "command", line)
        if kind == "correction" and not command.strip():
            raise RecordError(line, "command", "is empty.", "Say what should have been done, or reject it.")
        return {
            **stretch(row, line),
            "text": text_or_none(row, "text", line),
            "command": command,
            "layer": layer,
            "type": kind,
            "live": live,
            "predicted": text_or_none(row, "predicted", line),
        }


@dataclass(frozen=True)
class Drive(Line):
    """A stretch of an episode in which a person (or a script, named as such) showed how it is done."""

    kind: ClassVar[str] = "drive"

    episode: str
    start: int
    stop: int
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        return stretch(row, line)


@dataclass(frozen=True)
class EpisodeMark(Line):
    """Whether an episode was a success in a person's eyes, and how far it came."""

    kind: ClassVar[str] = "episode_mark"

    episode: str
    success: bool
    stages: Mapping[str, bool] = field(default_factory=dict)
    """By stage, whether it was done."""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        success = row.get("success")
        if not isinstance(success, bool):
            raise RecordError(line, "success", f"found {shown(success)}.", "Expected true or false.")
        return {
            "episode": episode(row, line),
            "success": success,
            "stages": stages(row, line),
        }


def clip(value: Any, name: str, line: int) -> str:
    """The text of a clip, checked."""
    try:
        return str(Clip.read(str(value)))
    except ValueError as problem:
        raise RecordError(line, name, f"found {shown(value)}.", str(problem)) from None


def mark(value: Any, compared: tuple[str, ...], name: str, line: int) -> str:
    """The text of a clip that lies within one of those that were compared."""
    found = clip(value, name, line)
    if not any(Clip.read(found) in Clip.read(one) for one in compared):
        raise RecordError(line, name, f"found {shown(found)}.", "Expected a stretch of one of the two clips.")
    return found


def episode(row: Json, line: int) -> str:
    name = text(row, "episode", line)
    if not NAME.fullmatch(name):
        raise RecordError(
            line, "episode", f"found {shown(name)}.", "Expected its name: 32 hexadecimal digits."
        )
    return name


def stages(row: Json, line: int) -> dict[str, bool]:
    found = mapping(row, "stages", line)
    for name, done in found.items():
        text({"stage": name}, "stage", line)
        if not isinstance(done, bool):
            raise RecordError(line, f"stages.{name}", f"found {shown(done)}.", "Expected true or false.")
    return found


def stretch(row: Json, line: int) -> Json:
    """An episode, and the steps of it that a record is about."""
    start, stop = whole(row.get("start"), "start", line), whole(row.get("stop"), "stop", line)
    if not 0 <= start < stop:
        raise RecordError(line, "stop", f"found {start} to {stop}.", "Expected at least one step, from 0 on.")
    return {"episode": episode(row, line), "start": start, "stop": stop}


def episodes_of(record: object) -> tuple[str, ...]:
    """The episodes that a record stands on, each once; none for what is about texts."""
    if isinstance(record, ClipPair):
        return tuple(dict.fromkeys(Clip.read(one).episode for one in (record.chosen, record.rejected)))
    if isinstance(record, LanguageCorrection | Drive | EpisodeMark):
        return (record.episode,)
    return ()
