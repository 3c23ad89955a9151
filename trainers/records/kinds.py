"""Every kind of record, and how a line of a file becomes one."""

from __future__ import annotations

from trainers.records.comparisons import Pair, Ranking
from trainers.records.critique import Critique
from trainers.records.rating import Rating
from trainers.records.reading import RecordError, canonical, read_row, shown
from trainers.records.robots import ClipPair, Drive, EpisodeMark, LanguageCorrection
from trainers.records.steps import StepLabels
from trainers.records.texts import Correction, Demonstration

Record = (
    Pair
    | Correction
    | Demonstration
    | Rating
    | Ranking
    | Critique
    | StepLabels
    | ClipPair
    | LanguageCorrection
    | Drive
    | EpisodeMark
)
RecordType = (
    type[Pair]
    | type[Correction]
    | type[Demonstration]
    | type[Rating]
    | type[Ranking]
    | type[Critique]
    | type[StepLabels]
    | type[ClipPair]
    | type[LanguageCorrection]
    | type[Drive]
    | type[EpisodeMark]
)
TYPES: tuple[RecordType, ...] = (
    Pair,
    Correction,
    Demonstration,
    Rating,
    Ranking,
    Critique,
    StepLabels,
    ClipPair,
    LanguageCorrection,
    Drive,
    EpisodeMark,
)
KINDS: dict[str, RecordType] = {one.kind: one for one in TYPES}


def dumps(record: Record) -> str:
    """The record as one canonical line, without the newline."""
    return canonical(record.to_json())


def parse(line: str, number: int) -> Record:
    """The record on line `number` of a file in Kibitz's own format, or a RecordError."""
    row = read_row(line, number)
    kind = row.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordError(
            number,
            "kind",
            f"found {shown(kind)}, expected one of {', '.join(KINDS)}.",
            'Add "kind" to the row, or import it as TRL.',
        )
    return KINDS[kind].from_json(row, number)
