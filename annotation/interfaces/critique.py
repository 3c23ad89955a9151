"""Mark what is wrong inside an answer, and what it leaves out. Writes a `Critique`, and a `Correction` of a rewrite.

The person marks stretches of the answer and gives each a type from the study's list, as in FineGrainedRLHF
(arXiv:2306.01693). Stretches may overlap. That nothing is wrong is an answer too, and has to be said.

A stretch is counted in characters of the answer as it is stored, the end not included. A browser with script sends the
stretches so. A form without script sends what was copied from the answer, row by row, and it is looked up.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from annotation.errors import Invalid
from annotation.interfaces import quotes, screen
from annotation.interfaces.error_types import DEFAULT, Type, as_text, from_text, read_types  # noqa: F401 - the form
from annotation.models import Candidate, Label
from trainers.records import Correction, Critique, Span

key = "critique"
label = "Criticise an answer"
template = "annotation/interfaces/critique.html"

ORDER = "random"
FOLLOWS = ()
LEAST = 1
VERSION = 1
ACTIONS = {
    "mark": ("t", "into the text of the answer, to mark what is wrong"),
    "sentence": ("x", "mark the whole sentence; again, and the next one too"),
    "missing": ("m", "what is missing"),
    "overall": ("o", "a note on the answer as a whole"),
    "rewrite": ("w", "write the answer as it should be, where the study asks for it"),
    "fine": ("n", "no problem found"),
}
KEYS = [
    ("← →", "in the text: by a word; with Ctrl by a character, with Shift to mark"),
    ("1 … 9", "the marked stretch is of this type; on a stretch in the list, its type becomes this"),
    ("Tab", "through the stretches; there Enter writes a note, Backspace removes"),
    ("Ctrl Enter", "send the critique"),
]

MOST_SPANS, MOST_MISSING = 500, 100
LONGEST_NOTE, LONGEST_TEXT = 5_000, 100_000
ROWS = 20
"""How many stretches a form without script takes at least."""


# --- what a study may set


@dataclass(frozen=True)
class Options:
    types: tuple[Type, ...] = DEFAULT
    """What may be wrong: a line “key | label | plain meaning” for each type of error, 9 at the most. The key stands in
    the records, the label on the screen. Left empty: the types of FineGrainedRLHF."""
    missing: bool = True
    """Ask what the answer leaves out."""
    rewrite: bool = False
    """Offer a field to rewrite the answer in."""

    def __post_init__(self):
        object.__setattr__(self, "types", read_types(self.types))


# --- what is said


@dataclass(frozen=True)
class Answer:
    """What is wrong and where, the stretches in the order of the text; or that nothing is."""

    candidate: int
    spans: list[dict] = field(default_factory=list)
    """{"start", "end", "type", "note"} each."""
    missing: list[str] = field(default_factory=list)
    note: str = ""
    rewrite: str = ""
    fine: bool = False
    """No problem was found, and that was said."""

    @classmethod
    def of(cls, candidate: int, spans: list[Span], **said: Any) -> "Answer":
        ordered = sorted(spans, key=lambda one: (one.start, one.end, one.type))
        return cls(candidate, [asdict(span) for span in ordered], **said)

    def __post_init__(self):
        for number, span in enumerate(self.spans):
            _check_span(span, f"spans[{number}]")
        if len(self.spans) > MOST_SPANS or len(self.missing) > MOST_MISSING:
            raise Invalid(
                f"Found {len(self.spans)} stretches and {len(self.missing)} missing things; the most are {MOST_SPANS} "
                f"and {MOST_MISSING}.",
                field="spans" if len(self.spans) > MOST_SPANS else "missing",
            )
        for number, entry in enumerate(self.missing):
            _check_length(entry, LONGEST_NOTE, f"missing[{number}]")
        _check_length(self.note, LONGEST_NOTE, "note")
        _check_length(self.rewrite, LONGEST_TEXT, "rewrite")
        found = bool(self.spans or self.missing or self.rewrite)
        if self.fine and found:
            raise Invalid(
                "Something is marked, missing or rewritten: then it is not without a problem.", "fine"
            )
        if not (self.fine or found or self.note):
            raise Invalid(
                "Nothing is marked. Mark what is wrong, say that no problem was found, or skip.",
                field="spans",
            )

    def to_json(self) -> dict:
        return asdict(self)


def _check_span(span: dict, where: str) -> None:
    if not 0 <= span["start"] < span["end"]:
        raise Invalid(f"Found characters {span['start']} to {span['end']}.", field=f"{where}.end")
    if not span["type"]:
        raise Invalid("The stretch has no type. Choose one.", field=f"{where}.type")
    _check_length(span["note"], LONGEST_NOTE, f"{where}.note")


def _check_length(text: str, most: int, where: str) -> None:
    if len(text) > most:
        raise Invalid(f"Has {len(text):,} characters; the most is {most:,}.", field=where)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """Each answer by itself."""
    return [[candidate] for candidate in candidates]


# --- showing and reading


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` and the rows hold what was said."""
    options = Options(**claim.task.study.options(key))
    candidate = claim.candidates[0]
    said = Answer(**claim.answer) if claim.answer else None
    spans = said.spans if said else []
    unknown = Counter(span["type"] for span in spans) - Counter(
        {one.key: MOST_SPANS for one in options.types}
    )
    types = [*options.types, *(Type(name, name) for name in unknown)]
    return {
        **screen.context(claim.item),
        "candidate": {
            "id": candidate.pk,
            "policy": "" if claim.task.study.names_hidden else candidate.policy,
            "text": candidate.text,
            "raw": _raw(candidate.text),
        },
        "options": options,
        "types": [(number, one) for number, one in enumerate(types, 1)],
        "rows": [_row(candidate.text, spans, number) for number in range(max(ROWS, len(spans) + 5))],
        "said": json.dumps(spans),
        "answer": {
            "missing": "\n".join(said.missing) if said else "",
            "note": said.note if said else "",
            "rewrite": said and said.rewrite or candidate.text,
            "rewritten": bool(said and said.rewrite),
            "fine": bool(said and said.fine),
        },
    }


def _raw(text: str) -> SafeString:
    """An answer as HTML whose text is the answer, character by character: HTML would drop a carriage return."""
    return mark_safe(escape(text).replace("\r", "&#13;"))  # noqa: S308 - it is escaped


def _row(text: str, spans: list[dict], number: int) -> dict:
    """A row of the form without script: what was copied, and which of several places it is."""
    row = {name: f"{name}.{number}" for name in ("quote", "which", "type", "note")}
    if number >= len(spans):
        return {"number": number + 1, "fields": row, "quote": "", "which": "", "type": "", "note": ""}
    span = spans[number]
    quote, which = quotes.quoted(text, span["start"], span["end"])
    said = {"quote": quote, "which": which, "type": span["type"], "note": span["note"]}
    return {"number": number + 1, "fields": row, **said}


def read(post: Mapping[str, Any], claim) -> Answer:
    """The stretches in JSON, `spans`: [{"start", "end", "type", "note"}, …], as an object or as a form's field.

    In a form without script: `quote.0`, `type.0`, `note.0` and, where what is quoted stands in several places,
    `which.0` (1 for the first), and so on. `missing` is a list, or a line for each thing; `note`, `rewrite`, `fine`.
    """
    options = Options(**claim.task.study.options(key))
    candidate = claim.candidates[0]
    given = post.get("spans")
    spans = (
        quotes.read_rows(post, candidate.text) if given in (None, "") else _read_spans(given, candidate.text)
    )
    for number, span in enumerate(spans):
        if span.type not in {one.key for one in options.types}:
            known = ", ".join(one.key for one in options.types)
            raise Invalid(f"Found the type {span.type!r}; expected {known}.", field=f"spans[{number}].type")
    missing = _read_missing(post.get("missing")) if options.missing else []
    rewrite = screen.read_text(post.get("rewrite") or "", "rewrite") if options.rewrite else ""
    if not rewrite.strip() or rewrite == candidate.text.replace("\r\n", "\n"):
        rewrite = ""
    note = screen.read_text(post.get("note") or "", "note").strip()
    fine = post.get("fine") in (True, "1", "true")
    return Answer.of(candidate.pk, spans, missing=missing, note=note, rewrite=rewrite, fine=fine)


def _read_spans(value: Any, text: str) -> list[Span]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Invalid(f"Found {value[:60]!r}; expected a list in JSON.", field="spans") from None
    if not isinstance(value, list):
        raise Invalid(f"Found {str(value)[:60]!r}; expected a list of stretches.", field="spans")
    return [_read_span(one, text, f"spans[{number}]") for number, one in enumerate(value)]


def _read_span(value: Any, text: str, where: str) -> Span:
    if not isinstance(value, Mapping) or set(value) - {"start", "end", "type", "note"}:
        raise Invalid(
            f'Found {str(value)[:60]!r}; expected {{"start": 0, "end": 5, "type": "…", "note": "…"}}.', where
        )
    start, end = value.get("start"), value.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise Invalid(
            f"Found characters {start!r} to {end!r}; expected a stretch of the answer's {len(text):,}.",
            field=f"{where}.end",
        )
    kind = screen.read_text(value.get("type"), f"{where}.type")
    return Span(start, end, kind, screen.read_text(value.get("note", ""), f"{where}.note").strip())


def _read_missing(value: Any) -> list[str]:
    lines = value.splitlines() if isinstance(value, str) else value or []
    if not isinstance(lines, list):
        raise Invalid(
            f"Found {str(value)[:60]!r}; expected a list, or a line for each thing.", field="missing"
        )
    found = [screen.read_text(line, f"missing[{n}]").strip() for n, line in enumerate(lines)]
    for number, entry in enumerate(found):
        if len(entry.splitlines()) > 1:
            raise Invalid("Say each missing thing in one line.", field=f"missing[{number}]")
    return [entry for entry in found if entry]


# --- what it means


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    if answer["fine"]:
        return "no problem found"
    kinds = Counter(span["type"] for span in answer["spans"])
    parts = [f"{name} × {count}" if count > 1 else name for name, count in kinds.items()]
    if answer["missing"]:
        parts.append(f"{len(answer['missing'])} missing")
    if answer["rewrite"]:
        parts.append("rewritten")
    return ", ".join(parts) or "a note"


def judgement(answer: dict, candidates: list[int]) -> str:
    """Whether a problem was found at all: people who mark one problem rarely mark the same characters."""
    return "fine" if not (answer["spans"] or answer["missing"] or answer["rewrite"]) else "problem"


def matches(answer: dict, known: dict) -> bool:
    """Whether each says the same of the same places: every stretch overlaps one of its type in the other."""

    def covered(these: list[dict], others: list[dict]) -> bool:
        return all(
            any(
                one["type"] == other["type"] and one["start"] < other["end"] and other["start"] < one["end"]
                for other in others
            )
            for one in these
        )

    return (
        judgement(answer, []) == judgement(known, [])
        and covered(answer["spans"], known["spans"])
        and covered(known["spans"], answer["spans"])
    )


def records(given: Label) -> list[Critique | Correction]:
    answer = Answer(**given.answer)
    item = given.task.item
    judged = next(candidate for candidate in item.candidates.all() if candidate.pk == answer.candidate)
    shared = {
        "prompt": screen.prompt(item),
        "weight": screen.weight(given),
        "annotator": given.annotator.username,
    }
    found: list[Critique | Correction] = [
        Critique(
            id=screen.record_id(given),
            answer=judged.text,
            spans=tuple(Span(**span) for span in answer.spans),
            missing=tuple(answer.missing),
            note=answer.note,
            rewrite=answer.rewrite,
            source=screen.lineage(given, answer=judged),
            **shared,
        )
    ]
    if answer.rewrite:
        found.append(
            Correction(
                id=f"{screen.record_id(given)}-rewrite",
                original=judged.text,
                edited=answer.rewrite,
                source=screen.lineage(given, original=judged),
                **shared,
            )
        )
    return found
