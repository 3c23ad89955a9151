"""The words between the halves: what people said, as files that any method can learn from.

One JSON object a line. Interfaces write records, methods read them, and neither knows the other.
TRL's spellings are read and written too, so that data can come from, and go to, other tools.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any, ClassVar, Literal, cast

ROLES = ("system", "user", "assistant", "tool")
OUTCOMES = ("chosen", "tie", "both_bad")
POINTS = (2, 7)
"""The fewest and the most points of a criterion."""
RANKED = (2, 9)
"""The fewest and the most answers in a ranking."""

Json = dict[str, Any]
Outcome = Literal["chosen", "tie", "both_bad"]


class RecordError(ValueError):
    """A line that is no record: which line, which field, what was found, and how to mend it."""

    def __init__(self, line: int, field: str, message: str, cure: str) -> None:
        where = f"Line {line}" + (f", field '{field}'" if field else "")
        super().__init__(f"{where}: {message} {cure}")
        self.line, self.field, self.message, self.cure = line, field, message, cure


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]


def prompt_json(prompt: Prompt) -> Any:
    """A prompt as JSON: a string, or a list of {"role", "content"}."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]


def prompt_text(prompt: Prompt) -> str:
    """A prompt as people read it: itself, or one turn a paragraph."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)


def canonical(value: Any) -> str:
    """The one way to write a JSON value, so that equal values have equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, and which of them a person found better.

    For a tie, and where both are bad, `chosen` and `rejected` are just the two answers in a fixed order.
    """

    kind: ClassVar[str] = "pair"

    id: str
    prompt: Prompt
    chosen: str
    rejected: str
    outcome: Outcome = "chosen"
    strength: float = 1.0
    """How clearly: 1 slightly, 2 clearly, 3 much."""
    weight: float = 1.0
    annotator: str = ""
    reason: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return _to_json(self)

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Pair:
        return cast(Pair, _from_json(cls, row, line))


@dataclass(frozen=True)
class Correction:
    """An answer as a person rewrote it: `edited` is better than `original`."""

    kind: ClassVar[str] = "correction"

    id: str
    prompt: Prompt
    original: str
    edited: str
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return _to_json(self)

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Correction:
        return cast(Correction, _from_json(cls, row, line))


@dataclass(frozen=True)
class Demonstration:
    """An answer that a person wrote."""

    kind: ClassVar[str] = "demonstration"

    id: str
    prompt: Prompt
    answer: str
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return _to_json(self)

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Demonstration:
        return cast(Demonstration, _from_json(cls, row, line))


@dataclass(frozen=True)
class Rating:
    """How good a person found an answer, by criterion: from 1, the worst, to the criterion's point in `scale`."""

    kind: ClassVar[str] = "rating"

    id: str
    prompt: Prompt
    answer: str
    scores: Mapping[str, int]
    scale: Mapping[str, int]
    """How many points each criterion had: 2 for thumbs."""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return _to_json(self)

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Rating:
        return cast(Rating, _from_json(cls, row, line))


@dataclass(frozen=True)
class Ranking:
    """Answers to one prompt as a person ordered them: the best have rank 1, equally good ones the same rank.

    An answer that was left out has no rank (None), and nothing is known of it.
    """

    kind: ClassVar[str] = "ranking"

    id: str
    prompt: Prompt
    answers: tuple[str, ...]
    ranks: tuple[int | None, ...]
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return _to_json(self)

    @classmethod
    def from_json(cls, row: Json, line: int = 0) -> Ranking:
        return cast(Ranking, _from_json(cls, row, line))

    def pairs(self) -> list[Pair]:
        """Every two ranked answers as a pair: the better over the worse, or a tie.

        The m (m - 1) / 2 pairs of m answers follow from m - 1 decisions, so each counts 2 / m times: a ranking of two
        answers counts like one pair, and a ranking of nine like eight.
        """
        ranked = [(rank, place) for place, rank in enumerate(self.ranks) if rank is not None]
        found = []
        for (rank, place), (other_rank, other) in combinations(ranked, 2):
            first, second = (other, place) if other_rank < rank else (place, other)
            found.append(
                Pair(
                    f"{self.id}-{place}-{other}",
                    self.prompt,
                    self.answers[first],
                    self.answers[second],
                    "tie" if rank == other_rank else "chosen",
                    weight=self.weight * 2 / len(ranked),
                    annotator=self.annotator,
                    source=self.source,
                )
            )
        return found


Record = Pair | Correction | Demonstration | Rating | Ranking
RecordType = type[Pair] | type[Correction] | type[Demonstration] | type[Rating] | type[Ranking]
KINDS: dict[str, RecordType] = {
    "pair": Pair,
    "correction": Correction,
    "demonstration": Demonstration,
    "rating": Rating,
    "ranking": Ranking,
}


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
            f"found {_shown(kind)}, expected one of {', '.join(KINDS)}.",
            'Add "kind" to the row, or import it as TRL.',
        )
    return KINDS[kind].from_json(row, number)


def read_row(line: str, number: int) -> Json:
    """The JSON object on a line, or a RecordError that says what is there instead."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordError(
            number, "", f"not JSON: {error.msg} at column {error.colno}.", "Write one JSON object a line."
        ) from None
    if not isinstance(row, dict):
        raise RecordError(
            number, "", f"found {_shown(row)}, expected an object.", "Write one JSON object a line."
        )
    return row


def _to_json(record: Record) -> Json:
    row: Json = {"kind": record.kind}
    for one in fields(record):
        value = getattr(record, one.name)
        row[one.name] = prompt_json(value) if one.name == "prompt" else value
    row["source"] = dict(record.source)
    return row


def _from_json(cls: RecordType, row: Json, line: int) -> Record:
    if row.get("kind", cls.kind) != cls.kind:
        raise RecordError(line, "kind", f"found {_shown(row['kind'])}.", f"Expected '{cls.kind}'.")
    known = {one.name for one in fields(cls)}
    for name in row:
        if name not in known | {"kind"}:
            raise RecordError(
                line,
                name,
                f"no such field in a {cls.kind}.",
                f"Known fields: {', '.join(sorted(known))}. Put what is your own under 'source'.",
            )
    values: Json = {"id": _text(row, "id", line)}
    if not values["id"]:
        raise RecordError(line, "id", "is empty.", "Give every record an id of its own.")
    values["prompt"] = _prompt(row.get("prompt"), "prompt", line)
    for one in fields(cls):
        if one.name in values:
            continue
        if one.type == "str":
            optional = one.name in ("annotator", "reason")
            values[one.name] = "" if optional and one.name not in row else _text(row, one.name, line)
        elif one.type == "float":
            values[one.name] = _number(row.get(one.name, 1.0), one.name, line)
        elif one.type == "Mapping[str, int]":
            values[one.name] = _whole_numbers(row, one.name, line)
        elif one.name == "answers":
            values[one.name] = tuple(
                _text({f"answers[{n}]": text}, f"answers[{n}]", line)
                for n, text in enumerate(_some(row, "answers", line))
            )
        elif one.name == "ranks":
            values[one.name] = tuple(_some(row, "ranks", line))
    source = row.get("source", {})
    if not isinstance(source, dict):
        raise RecordError(
            line, "source", f"found {_shown(source)}, expected an object.", "Leave it out or write {}."
        )
    values["source"] = source
    if cls is Pair:
        values["outcome"] = row.get("outcome", "chosen")
        if values["outcome"] not in OUTCOMES:
            raise RecordError(
                line,
                "outcome",
                f"found {_shown(values['outcome'])}.",
                f"Expected one of {', '.join(OUTCOMES)}.",
            )
    if cls is Rating:
        _check_scores(values["scores"], values["scale"], line)
    if cls is Ranking:
        _check_ranks(values["answers"], values["ranks"], line)
    return cls(**values)


def _some(row: Json, name: str, line: int) -> list[Any]:
    value = row.get(name)
    fewest, most = RANKED
    if not isinstance(value, list) or not fewest <= len(value) <= most:
        raise RecordError(
            line,
            name,
            f"found {_shown(value)}.",
            f"Expected a list of {fewest} to {most}, one for each answer.",
        )
    return value


def _check_ranks(answers: tuple[str, ...], ranks: tuple[Any, ...], line: int) -> None:
    if len(ranks) != len(answers):
        raise RecordError(
            line, "ranks", f"found {len(ranks)} for {len(answers)} answers.", "Give each a rank, or null."
        )
    given = [rank for rank in ranks if rank is not None]
    for rank in given:
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise RecordError(line, "ranks", f"found {_shown(rank)}.", "Expected whole numbers, or null.")
    if len(given) < 2 or set(given) != set(range(1, max(given) + 1)):
        raise RecordError(
            line,
            "ranks",
            f"found {_shown(list(ranks))}.",
            "Expected 1 for the best, then 2 and so on with none left out; two answers must have a rank.",
        )


def _check_scores(scores: Mapping[str, int], scale: Mapping[str, int], line: int) -> None:
    if not scores or set(scores) != set(scale):
        raise RecordError(
            line,
            "scores",
            f"judge {_listed(scores)}; the scale is of {_listed(scale)}.",
            "Both must name the same criteria, at least one.",
        )
    fewest, most = POINTS
    for name, points in scale.items():
        if not fewest <= points <= most:
            raise RecordError(
                line, f"scale.{name}", f"found {points}.", f"Expected {fewest} to {most} points."
            )
        if not 1 <= scores[name] <= points:
            raise RecordError(line, f"scores.{name}", f"found {scores[name]}.", f"Expected 1 to {points}.")


def _listed(names: Mapping[str, int]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _text(row: Json, name: str, line: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise RecordError(line, name, f"found {_shown(value)}, expected text.", f'Write "{name}": "…".')
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        # JSON can spell half a surrogate pair; no UTF-8 file can hold it.
        raise RecordError(line, name, "holds half a surrogate pair.", "Save the file again as UTF-8.")
    if "\x00" in value:
        raise RecordError(line, name, "holds a NUL character.", "Remove it: no database text can hold one.")
    return value


def _number(value: Any, name: str, line: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(line, name, f"found {_shown(value)}, expected a number.", f'Write "{name}": 1.0.')
    if not math.isfinite(value) or value < 0:
        raise RecordError(line, name, f"found {value}.", "Expected a number of at least 0.")
    return float(value)


def _whole_numbers(row: Json, name: str, line: int) -> dict[str, int]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise RecordError(
            line,
            name,
            f"found {_shown(value)}, expected numbers by criterion.",
            f'Write "{name}": {{"quality": 2}}.',
        )
    for criterion, number in value.items():
        _text({"criterion": criterion}, "criterion", line)
        if isinstance(number, bool) or not isinstance(number, int):
            raise RecordError(
                line, f"{name}.{criterion}", f"found {_shown(number)}.", "Expected a whole number."
            )
    return value


def _prompt(value: Any, name: str, line: int) -> Prompt:
    if isinstance(value, str):
        return _text({name: value}, name, line)
    if not isinstance(value, list) or not value:
        raise RecordError(
            line,
            name,
            f"found {_shown(value)}, expected text or a list of messages.",
            f'Write "{name}": "…", or "{name}": [{{"role": "user", "content": "…"}}].',
        )
    return _messages(value, name, line)


def _messages(value: list[Any], name: str, line: int) -> tuple[Message, ...]:
    found = []
    for index, message in enumerate(value):
        where = f"{name}[{index}]"
        if not isinstance(message, dict):
            raise RecordError(
                line,
                where,
                f"found {_shown(message)}, expected a message.",
                'Write {"role": "user", "content": "…"}.',
            )
        role = message.get("role")
        if role not in ROLES:
            raise RecordError(
                line, f"{where}.role", f"found {_shown(role)}.", f"Expected one of {', '.join(ROLES)}."
            )
        content = message.get("content")
        if not isinstance(content, str):
            raise RecordError(
                line, f"{where}.content", f"found {_shown(content)}, expected text.", "Only text can be read."
            )
        found.append(Message(role, _text({"content": content}, "content", line)))
    return tuple(found)


# --- TRL's spellings -------------------------------------------------------------------------------


def from_trl(row: Json, number: int) -> Record:
    """A record from a row in one of TRL's formats.

    Preference: `prompt`, `chosen`, `rejected`, as text or as messages; without `prompt`, what both
    answers begin with is the prompt (TRL's "implicit prompt"; dialogues written `\\n\\nHuman: …` are read
    as messages). Demonstration: `prompt` and `completion`, or `messages` that end with the assistant's.
    A row may bring its own `id`; otherwise the id is a hash of its content.
    """
    if "chosen" in row or "rejected" in row:
        prompt, chosen, rejected = _trl_preference(row, number)
        content: Json = {"prompt": prompt_json(prompt), "chosen": chosen, "rejected": rejected}
        return Pair(_trl_id(row, content, number), prompt, chosen, rejected)
    if "completion" in row:
        if "label" in row:
            raise RecordError(
                number,
                "label",
                "rows with a label for a single answer are not read yet.",
                "Import preferences (prompt, chosen, rejected) or demonstrations (prompt, completion).",
            )
        prompt = _prompt(row.get("prompt"), "prompt", number)
        answer = _answer(row["completion"], "completion", number)
    elif "messages" in row:
        messages = _list(row["messages"], "messages", number)
        prompt, answer = _last_turn(_messages(messages, "messages", number), "messages", number)
    else:
        raise RecordError(
            number,
            "",
            f"found the fields {', '.join(sorted(row)) or 'none'}.",
            "Expected chosen and rejected (with or without prompt), prompt and completion, or messages.",
        )
    content = {"prompt": prompt_json(prompt), "answer": answer}
    return Demonstration(_trl_id(row, content, number), prompt, answer)


def to_trl(record: Record) -> Json | None:
    """The record in TRL's spelling; None for what its preferences have no word for: ties, both bad, ratings.

    Of a ranking, its `pairs()` can be spelled.
    """
    prompt = prompt_json(record.prompt)
    chat = not isinstance(record.prompt, str)

    def answer(text: str) -> Any:
        return [{"role": "assistant", "content": text}] if chat else text

    if isinstance(record, Demonstration):
        return {"prompt": prompt, "completion": answer(record.answer)}
    if isinstance(record, Correction):
        return {"prompt": prompt, "chosen": answer(record.edited), "rejected": answer(record.original)}
    if isinstance(record, Rating | Ranking) or record.outcome != "chosen":
        return None
    return {"prompt": prompt, "chosen": answer(record.chosen), "rejected": answer(record.rejected)}


def _trl_id(row: Json, content: Json, number: int) -> str:
    if "id" not in row:
        return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]
    given = row["id"]
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise RecordError(number, "id", f"found {_shown(given)}.", "Expected text or a whole number.")
    return _text({"id": str(given)}, "id", number)


def _trl_preference(row: Json, number: int) -> tuple[Prompt, str, str]:
    for name in ("chosen", "rejected"):
        if name not in row:
            raise RecordError(number, name, "is missing.", "A preference needs both chosen and rejected.")
    if "prompt" in row:
        prompt = _prompt(row["prompt"], "prompt", number)
        return prompt, _answer(row["chosen"], "chosen", number), _answer(row["rejected"], "rejected", number)
    if isinstance(row["chosen"], str) and isinstance(row["rejected"], str):
        chosen, rejected = _text(row, "chosen", number), _text(row, "rejected", number)
        start = _shared_text(chosen, rejected)
        if chosen.startswith(HUMAN) and rejected.startswith(HUMAN):
            return _shared_dialogue(chosen, rejected, start, number)
        return chosen[:start], chosen[start:], rejected[start:]
    sides = [_messages(_list(row[name], name, number), name, number) for name in ("chosen", "rejected")]
    return _shared_turns(sides[0], sides[1], number)


def _list(value: Any, name: str, number: int) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RecordError(
            number,
            name,
            f"found {_shown(value)}, expected a list of messages.",
            f'Write "{name}": [{{"role": "user", "content": "…"}}, {{"role": "assistant", "content": "…"}}].',
        )
    return value


def _answer(value: Any, name: str, number: int) -> str:
    """An answer given as text, or as a list of one message by the assistant."""
    if isinstance(value, str):
        return _text({name: value}, name, number)
    messages = _messages(_list(value, name, number), name, number)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise RecordError(
            number,
            name,
            f"found {len(messages)} messages ending with the {messages[-1].role}'s.",
            "Expected one message by the assistant; put the earlier turns into the prompt.",
        )
    return messages[0].content


def _last_turn(messages: tuple[Message, ...], name: str, number: int) -> tuple[tuple[Message, ...], str]:
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise RecordError(
            number,
            name,
            f"found {len(messages)} messages ending with the {messages[-1].role}'s.",
            "Expected a conversation that ends with the assistant's answer.",
        )
    return messages[:-1], messages[-1].content


def _shared_turns(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...], number: int
) -> tuple[tuple[Message, ...], str, str]:
    prompt, better = _last_turn(chosen, "chosen", number)
    other, worse = _last_turn(rejected, "rejected", number)
    if prompt != other:
        raise RecordError(
            number,
            "rejected",
            "its earlier turns differ from those of chosen.",
            "Both must share every message but the last; or give the prompt in a field of its own.",
        )
    return prompt, better, worse


def _shared_text(chosen: str, rejected: str) -> int:
    """Where two texts part, stepping back over one space as TRL does: answers then begin alike."""
    end = min(len(chosen), len(rejected))
    start = next((index for index in range(end) if chosen[index] != rejected[index]), end)
    return start - 1 if start and chosen[start - 1] == " " else start


HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def _shared_dialogue(chosen: str, rejected: str, start: int, number: int) -> tuple[Prompt, str, str]:
    """Two dialogues in HH-RLHF's spelling: the turns they share, and all that follows as the answers.

    In a few rows the answers hold turns of their own; those stay part of the answer, as they are there.
    """
    end = chosen.rfind(ASSISTANT, 0, start)
    if end < 0:
        raise RecordError(
            number,
            "rejected",
            "shares no turn of the assistant with chosen.",
            "Both dialogues must begin alike; or give the prompt in a field of its own.",
        )
    end += len(ASSISTANT)
    prompt = _dialogue(chosen[:end])[:-1]
    return prompt, chosen[end:].strip(), rejected[end:].strip()


def _dialogue(text: str) -> tuple[Message, ...]:
    """A dialogue in the spelling of HH-RLHF, as messages."""
    turns = []
    for part in re.split(f"(?={HUMAN}|{ASSISTANT})", text)[1:]:
        role, tag = ("user", HUMAN) if part.startswith(HUMAN) else ("assistant", ASSISTANT)
        turns.append(Message(role, part.removeprefix(tag).strip()))
    return tuple(turns)
