"""What all records share: how one becomes a line of JSON, and how a line becomes one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from trainers.records.prompts import Prompt, prompt_json, read_prompt
from trainers.records.reading import Json, RecordError, mapping, number, shown, text, text_or_none


@dataclass(frozen=True)
class Line:
    """A record. Each kind adds what was said, and ends with `weight`, `annotator` and `source`."""

    kind: ClassVar[str]

    id: str
    prompt: Prompt

    def to_json(self) -> Json:
        row: Json = {"kind": self.kind}
        for one in fields(self):
            value = getattr(self, one.name)
            row[one.name] = prompt_json(value) if one.name == "prompt" else value
        row["source"] = dict(row["source"])
        return row

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Self:
        if row.get("kind", cls.kind) != cls.kind:
            raise RecordError(line, "kind", f"found {shown(row['kind'])}.", f"Expected '{cls.kind}'.")
        only({one.name for one in fields(cls)}, row, f"a {cls.kind}", line, also=("kind",))
        record_id = text(row, "id", line)
        if not record_id:
            raise RecordError(line, "id", "is empty.", "Give every record an id of its own.")
        prompt = read_prompt(row.get("prompt"), "prompt", line)
        said = cls.said(row, line)
        return cls(record_id, prompt, **said, **_by_whom(row, line))

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        """The fields that only this kind has, read and checked."""
        raise NotImplementedError(f"{cls.__name__} must say how its own fields are read.")


def _by_whom(row: Json, line: int) -> Mapping[str, Any]:
    return {
        "weight": number(row.get("weight", 1.0), "weight", line),
        "annotator": text_or_none(row, "annotator", line),
        "source": mapping(row, "source", line),
    }


def only(
    known: set[str], row: Json, what: str, line: int, where: str = "", also: tuple[str, ...] = ()
) -> None:
    """Refuses a field that nobody would read."""
    for name in row:
        if name not in known and name not in also:
            raise RecordError(
                line,
                f"{where}{name}",
                f"no such field in {what}.",
                f"Known fields: {', '.join(sorted(known))}. Put what is your own under 'source'.",
            )
