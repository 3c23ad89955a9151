"""What is wrong inside one answer: stretches of it with a type of error, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from trainers.records.line import Line, only
from trainers.records.reading import Json, RecordError, listed, shown, text, text_or_none, texts, whole


@dataclass(frozen=True)
class Span:
    """A stretch of an answer: the characters from `start` up to, but not including, `end`.

    Characters are Unicode code points, as Python counts them: an emoji is one, whatever a browser says.
    """

    start: int
    end: int
    type: str
    note: str = ""


@dataclass(frozen=True)
class Critique(Line):
    """What a person found wrong with an answer, and where. With nothing marked, nothing was found wrong.

    Spans may overlap. `rewrite` is the answer as it should have been, if the person wrote that too. It says the same
    as a `Correction`, which is what methods learn from: who writes a critique with a rewrite writes both.
    """

    kind: ClassVar[str] = "critique"

    answer: str
    spans: tuple[Span, ...]
    missing: tuple[str, ...] = ()
    """What the answer leaves out, an entry each."""
    note: str = ""
    rewrite: str = ""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return {**super().to_json(), "spans": [asdict(span) for span in self.spans]}

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        answer = text(row, "answer", line)
        if "spans" not in row:
            raise RecordError(line, "spans", "is missing.", 'Write "spans": [] where nothing is wrong.')
        spans = [
            read_span(value, f"spans[{n}]", answer, line)
            for n, value in enumerate(listed(row, "spans", line))
        ]
        return {
            "answer": answer,
            "spans": tuple(spans),
            "missing": texts(listed(row, "missing", line), "missing", line),
            "note": text_or_none(row, "note", line),
            "rewrite": text_or_none(row, "rewrite", line),
        }


def read_span(value: Any, name: str, answer: str, line: int) -> Span:
    """A stretch of `answer` from JSON; an error names its part, as in `spans[0].end`."""
    if not isinstance(value, dict):
        raise RecordError(
            line, name, f"found {shown(value)}.", 'Expected {"start": 0, "end": 5, "type": "…", "note": "…"}.'
        )
    only({"start", "end", "type", "note"}, value, "a span", line, where=f"{name}.")
    start = whole(value.get("start"), f"{name}.start", line)
    end = whole(value.get("end"), f"{name}.end", line)
    if not 0 <= start < end <= len(answer):
        raise RecordError(
            line,
            f"{name}.end" if 0 <= start < len(answer) else f"{name}.start",
            f"found characters {start} to {end}.",
            f"Expected a stretch of the answer's {len(answer)} characters, the start before the end.",
        )
    kind = text({f"{name}.type": value.get("type")}, f"{name}.type", line)
    if not kind:
        raise RecordError(line, f"{name}.type", "is empty.", "Name the type of the error.")
    return Span(start, end, kind, text({f"{name}.note": value.get("note", "")}, f"{name}.note", line))
