"""The kinds of file that can be imported, each read row by row: what to ask, and what people said already.

A reader yields a `Row` for what it can use and a `RecordError` for what it cannot, and goes on to the next row.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from django.conf import settings

from annotation import told
from annotation.qa_feedback import qa_row
from annotation.said import Criticism, Judgement, Order, Rewrite, Row, Said, Score, Walk
from annotation.told import Gathered, StepsOf, Told
from trainers import records
from trainers.episodes import Episodes
from trainers.records import Correction, Critique, Pair, Ranking, Rating, RecordError, StepLabels

LONGEST_LINE = 8 * 2**20
MOST_UNPACKED = 8 * 2**30
"""A gzip file may hold more than is sent; this much is read of one."""
MOST_CANDIDATES = 20
ITEM_FACTS = ("licence", "collected_on", "collector", "jurisdiction", "signal", "gold")
"""What an item of Kibitz JSONL may say of where it comes from, and the answer to it that is known."""

Judged = Pair | Correction | Rating | Ranking | Critique | StepLabels
"""The records that are about answers which are there already."""

Reader = Callable[[BinaryIO], Iterator[Row | RecordError]]


def lines(file: BinaryIO) -> Iterator[tuple[int, str] | RecordError]:
    """The lines of a file, unpacked if it is a gzip, with their numbers."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    plain = gzip.GzipFile(fileobj=file) if packed else file
    number, unpacked = 0, 0
    while True:
        number += 1
        try:
            line = plain.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as problem:
            yield RecordError(number, "", f"the gzip is damaged: {problem}.", "Pack the file again.")
            return
        if not line:
            return
        unpacked += len(line)
        if len(line) > LONGEST_LINE or unpacked > MOST_UNPACKED:
            yield RecordError(
                number,
                "",
                f"over {LONGEST_LINE:,} bytes in a line, or {MOST_UNPACKED:,} in the file.",
                "Split it into smaller rows or files.",
            )
            return
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as problem:
            yield RecordError(number, "", f"not UTF-8: {problem.reason}.", "Save the file as UTF-8.")
            continue
        yield number, text


def objects(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]] | RecordError]:
    """The JSON object on each line that is not blank."""
    for found in lines(file):
        if isinstance(found, RecordError):
            yield found
            continue
        number, text = found
        if not text.strip():
            continue
        try:
            yield number, records.read_row(text, number)
        except RecordError as problem:
            yield problem
        except RecursionError:
            yield RecordError(number, "", "is nested too deeply.", "Flatten the object.")


def each_row(read: Callable[[int, dict[str, Any]], Row]) -> Reader:
    """A reader of JSON lines of which every one is a row of its own."""

    def rows(file: BinaryIO) -> Iterator[Row | RecordError]:
        for found in objects(file):
            try:
                yield found if isinstance(found, RecordError) else read(*found)
            except RecordError as problem:
                yield problem

    return rows


# --- Kibitz's own records, and items that wait for labels


@dataclass
class Group:
    """Records about one item, gathered while they stand next to each other."""

    line: int
    key: str
    item: dict[str, Any]
    said: list[Said] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """The text of each candidate -> its place."""
    had: set[tuple] = field(default_factory=set)
    """Who said something about what: the same person twice is two items."""

    def takes(self, record: Judged) -> bool:
        room = MOST_CANDIDATES - len(self.places)
        return (
            self.key == key_of(record)
            and len(set(texts_of(record)) - set(self.places)) <= room
            and sign(record) not in self.had
        )

    def add(self, record: Judged, line: int) -> None:
        self.had.add(sign(record))
        source = {"record": record.id, "line": line}
        if record.weight != 1.0:
            source["weight"] = record.weight
        if isinstance(record, Critique):
            self.add_criticism(record, source)
            return
        if isinstance(record, StepLabels):
            self.add_walk(record, source)
            return
        if isinstance(record, Correction):
            if self.wrote(record):
                return
            place = self.place(record.original, record.source.get("original"))
            self.said.append(Rewrite(place, record.edited, record.annotator, source))
            return
        if isinstance(record, Rating):
            place = self.place(record.answer, record.source.get("answer"))
            self.said.append(Score(place, dict(record.scores), dict(record.scale), record.annotator, source))
            return
        if isinstance(record, Ranking):
            places = self.place_all(record.answers, record.source.get("answers"))
            self.said.append(Order(places, record.ranks, record.annotator, source))
            return
        first = self.place(record.chosen, record.source.get("chosen"))
        second = self.place(record.rejected, record.source.get("rejected"))
        if first == second:  # two equal answers are two candidates all the same
            second = self.append(record.rejected, record.source.get("rejected"))
        winner = first if record.outcome == "chosen" else None
        self.said.append(
            Judgement(
                (first, second),
                winner,
                record.outcome,
                record.strength,
                record.reason,
                record.annotator,
                source,
            )
        )

    def add_criticism(self, record: Critique, source: dict[str, Any]) -> None:
        place = self.place(record.answer, record.source.get("answer"))
        if isinstance(before := record.source.get("imported"), Mapping) and "missing" in before:
            source["missing"] = before["missing"]
        self.said.append(
            Criticism(
                place, record.spans, record.missing, record.note, record.rewrite, record.annotator, source
            )
        )

    def wrote(self, record: Correction) -> bool:
        """Whether this is the rewrite of a critique that stands here already: said twice, it would count twice."""
        return any(
            isinstance(one, Criticism)
            and (one.annotator, one.rewrite) == (record.annotator, record.edited)
            and self.item["candidates"][one.candidate]["text"] == record.original
            for one in self.said
        )

    def add_walk(self, record: StepLabels, source: dict[str, Any]) -> None:
        """The steps are the answer: its text is theirs, and it keeps where they were cut."""
        text = text_of(record.steps)
        origin = record.source.get("answer")
        origin = dict(origin) if isinstance(origin, Mapping) else {}
        kept = origin.get("source") if isinstance(origin.get("source"), Mapping) else {}
        place = self.place(text, {**origin, "source": {"steps": list(record.steps), **kept}})
        self.said.append(
            Walk(place, record.steps, record.labels, cuts_of(record.steps), record.annotator, source)
        )

    def place(self, text: str, origin: Any) -> int:
        return self.places[text] if text in self.places else self.append(text, origin)

    def place_all(self, texts: tuple[str, ...], origins: Any) -> tuple[int, ...]:
        """A place for each of several answers; equal texts have a place each."""
        origins = origins if isinstance(origins, list) else []
        places: list[int] = []
        for number, text in enumerate(texts):
            there = [place for place, one in enumerate(self.item["candidates"]) if one["text"] == text]
            free = [place for place in there if place not in places]
            places.append(
                free[0] if free else self.append(text, origins[number] if number < len(origins) else None)
            )
        return tuple(places)

    def append(self, text: str, origin: Any) -> int:
        origin = origin if isinstance(origin, Mapping) else {}
        self.item["candidates"].append(
            {"text": text, "policy": origin.get("policy", ""), "source": origin.get("source")}
        )
        self.places.setdefault(text, len(self.item["candidates"]) - 1)
        return len(self.item["candidates"]) - 1

    def row(self) -> Row:
        return Row(self.line, self.item, self.said)


def key_of(record: Judged) -> str:
    return records.canonical([records.prompt_json(record.prompt), record.source.get("item")])


def texts_of(record: Judged) -> tuple[str, ...]:
    """The answers that a record is about."""
    if isinstance(record, Pair):
        return record.chosen, record.rejected
    if isinstance(record, Ranking):
        return record.answers
    if isinstance(record, StepLabels):
        return (text_of(record.steps),)
    return (record.original if isinstance(record, Correction) else record.answer,)


def text_of(steps: tuple[str, ...]) -> str:
    """Steps as one answer, a blank line between them."""
    return "\n\n".join(steps)


def cuts_of(steps: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Where each step begins and ends in that answer."""
    cuts, start = [], 0
    for step in steps:
        cuts.append((start, start + len(step)))
        start += len(step) + 2
    return tuple(cuts)


def sign(record: Judged) -> tuple:
    """Who said something of which kind about which answers."""
    return record.kind, record.annotator, frozenset(texts_of(record))


def steps_in_store(episode: str) -> int | None:
    """How many steps an episode has that ended and is in this studio's store."""
    store = Episodes(settings.EPISODES)
    found = store.open(episode) if episode in store else None
    return len(found) if found is not None and found.ended is not None else None


def kibitz(file: BinaryIO, steps_of: StepsOf = steps_in_store) -> Iterator[Row | RecordError]:
    """Kibitz JSONL: what was said about answers, neighbours on one item gathered; and items still to be labelled.

    An item is {"kind": "item", "id", "prompt", "candidates": ["…", {"text", "policy", "source"}], "source"}.
    """
    group: Group | Gathered | None = None
    for found in objects(file):
        try:
            if isinstance(found, RecordError):
                raise found
            number, row = found
            if row.get("kind") == "item":
                if group:
                    yield group.row()
                    group = None
                yield plain_item(number, row)
                continue
            record = records.parse(json.dumps(row), number)
            if not isinstance(record, Judged | Told):
                raise demonstrations_have_no_place(number)
        except RecordError as problem:
            yield problem
            continue
        about_robots = isinstance(record, Told)
        if group is None or isinstance(group, Gathered) != about_robots or not group.takes(record):
            if group:
                yield group.row()
            external_id = record.source.get("external_id") or record.id
            item = {"context": context(record.prompt), "candidates": [], "external_id": external_id}
            if about_robots:
                group = Gathered(number, told.key_of(record), item, steps_of)
            else:
                group = Group(number, key_of(record), item)
        try:
            group.add(record, number)
        except RecordError as problem:
            yield problem
            group = None
    if group:
        yield group.row()


def plain_item(number: int, row: dict[str, Any]) -> Row:
    unknown = set(row) - {"kind", "id", "prompt", "candidates", "source", *ITEM_FACTS}
    if unknown:
        raise RecordError(
            number,
            min(unknown),
            "no such field in an item.",
            f"Known fields: id, prompt, candidates, source, {', '.join(ITEM_FACTS)}. Put your own under 'source'.",
        )
    prompt = row.get("prompt")
    item = {
        "context": {"messages": prompt} if isinstance(prompt, list) else {"prompt": prompt},
        "candidates": row.get("candidates"),
        "external_id": row.get("id", ""),
        "source": row.get("source"),
        **{name: row[name] for name in ITEM_FACTS if name in row},
    }
    return Row(number, item)


def context(prompt: records.Prompt) -> dict[str, Any]:
    return {"prompt" if isinstance(prompt, str) else "messages": records.prompt_json(prompt)}


def demonstrations_have_no_place(number: int) -> RecordError:
    return RecordError(
        number,
        "",
        "a demonstration has one answer and nothing to judge.",
        "Import preferences (chosen and rejected), or items with answers to judge.",
    )


# --- TRL, and dialogues in the spelling of HH-RLHF


def trl_row(number: int, row: dict[str, Any]) -> Row:
    """TRL's preferences: plain, conversational, or with an implicit prompt."""
    record = records.from_trl(row, number)
    if not isinstance(record, Pair):
        raise demonstrations_have_no_place(number)
    item = {
        "context": context(record.prompt),
        "candidates": [record.chosen, record.rejected],
        "external_id": record.id if "id" in row else "",
    }
    return Row(number, item, [Judgement((0, 1), winner=0, source={"line": number})])


# --- CSV


def table(file: BinaryIO) -> Iterator[Row | RecordError]:
    """CSV with a header: `prompt`, and either `chosen` and `rejected`, or `answer_1`, `answer_2`, … to be judged.

    `id` is kept as the item's name elsewhere; other columns are kept with the item.
    """
    broken: list[RecordError] = []

    def texts() -> Iterator[str]:
        for found in lines(file):
            if isinstance(found, RecordError):
                broken.append(found)
            yield "\n" if isinstance(found, RecordError) else found[1]

    reader = csv.DictReader(texts(), strict=True)
    try:
        header = list(reader.fieldnames or [])
        answers = [name for name in header if name.startswith("answer_")]
        judged = {"chosen", "rejected"} <= set(header)
        if "prompt" not in header or not (judged or answers):
            yield RecordError(
                1,
                "",
                f"found the columns {', '.join(header) or 'none'}.",
                "Expected prompt, and chosen and rejected, or answer_1, answer_2, ….",
            )
            return
        for row in reader:
            yield from broken
            broken.clear()
            yield table_row(reader.line_num, row, ["chosen", "rejected"] if judged else answers)
    except csv.Error as problem:
        yield RecordError(
            reader.reader.line_num, "", f"not CSV: {problem}.", "Quote texts that hold quotes or line ends."
        )
    yield from broken


def table_row(number: int, row: dict[str | None, Any], answers: list[str]) -> Row | RecordError:
    if None in row or None in row.values():
        return RecordError(
            number,
            "",
            "has more or fewer columns than the header.",
            "Quote texts that hold commas or line ends.",
        )
    given = [row[name] for name in answers if row[name] != "" or answers[0] == "chosen"]
    own = {name: value for name, value in row.items() if name not in (*answers, "prompt", "id")}
    item = {
        "context": {"prompt": row["prompt"]},
        "candidates": given,
        "external_id": row.get("id") or "",
        "source": {"columns": own} if own else {},
    }
    said = [Judgement((0, 1), winner=0, source={"line": number})] if answers[0] == "chosen" else []
    return Row(number, item, said)


FORMATS: dict[str, tuple[str, Reader]] = {
    "kibitz": ("Kibitz JSONL: records, or items to be labelled", kibitz),
    "trl": ("TRL JSONL: prompt, chosen, rejected; also dialogues as in HH-RLHF", each_row(trl_row)),
    "csv": ("CSV: prompt, and chosen and rejected, or answer_1, answer_2, …", table),
    "qa_feedback": ("Questions with answers judged in pairs, criticised and rewritten", each_row(qa_row)),
}
