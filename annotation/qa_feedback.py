"""Questions with several answers, judged in pairs, and the first of them criticised and rewritten.

As in FineGrainedRLHF (arXiv:2306.01693); one JSON object a line.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from annotation.said import Criticism, Judgement, Rewrite, Row, Said
from trainers.records import RecordError, Span, read_span

VERDICTS = {0: None, 1: 0, 2: 1}


def qa_row(number: int, row: dict[str, Any]) -> Row:
    """`question`, `answers`, `preference` (a verdict for each two: 1, 2, or 0 for a tie); and of the first answer
    `errors` (stretches of it), `missing` (by passage and sentence) and `correction`.
    """
    answers = row.get("answers")
    if not isinstance(answers, list) or len(answers) < 2:
        raise RecordError(number, "answers", f"found {answers!r}.", "Expected a list of two or more texts.")
    pairs = list(combinations(range(len(answers)), 2))
    verdicts = row.get("preference")
    if not isinstance(verdicts, list) or len(verdicts) != len(pairs):
        raise RecordError(
            number,
            "preference",
            f"found {verdicts!r}.",
            f"Expected {len(pairs)} verdicts, one for each two answers.",
        )
    said: list[Said] = []
    for place, (pair, verdict) in enumerate(zip(pairs, verdicts, strict=True)):
        if isinstance(verdict, bool) or verdict not in VERDICTS:
            raise RecordError(
                number,
                f"preference[{place}]",
                f"found {verdict!r}.",
                "Expected 1 (the first is better), 2 (the second is) or 0 (neither is).",
            )
        side = VERDICTS[verdict]
        winner, choice = (None, "tie") if side is None else (pair[side], "chosen")
        said.append(Judgement(pair, winner, choice, source={"line": number}))
    correction = row.get("correction") or ""
    if not isinstance(correction, str):
        raise RecordError(
            number, "correction", f"found {correction!r}.", "Expected text, empty where there is none."
        )
    if correction.strip() and correction != answers[0]:
        said.append(Rewrite(0, correction, source={"line": number}))
    if isinstance(answers[0], str) and ("errors" in row or "missing" in row):
        said.append(qa_criticism(number, row, answers[0]))
    kept = {"reference": row["reference"]} if row.get("reference") else {}
    if row.get("passages"):
        kept["passages"] = [passage(number, one) for one in row["passages"]]
    item = {
        "context": {"prompt": row.get("question")},
        "candidates": answers,
        "external_id": row.get("id", ""),
        "source": kept,
    }
    return Row(number, item, said)


def qa_criticism(number: int, row: dict[str, Any], answer: str) -> Criticism:
    """What is wrong with the first answer: `errors` as spans, an `explanation` as their note; and what is `missing`.

    A missing thing is said in words, "Missing-Answer (passage 2, sentence 10): …" with the sentence itself, and stands
    in the label's source as numbers: {"type", "passage", "sentences"}, counted from 1; sentence 0 is the title.
    """
    errors = row.get("errors", [])
    if not isinstance(errors, list):
        raise RecordError(number, "errors", f"found {str(errors)[:60]!r}.", "Expected a list of errors.")
    spans = [qa_span(number, f"errors[{place}]", one, answer) for place, one in enumerate(errors)]
    missing = row.get("missing", [])
    if not isinstance(missing, list):
        raise RecordError(number, "missing", f"found {str(missing)[:60]!r}.", "Expected a list.")
    gaps = [qa_gap(number, f"missing[{place}]", one) for place, one in enumerate(missing)]
    passages = row.get("passages") or []
    said = [qa_words(number, f"missing[{place}]", gap, passages) for place, gap in enumerate(gaps)]
    source: dict[str, Any] = {"line": number}
    if gaps:
        source["missing"] = gaps
    if row.get("correction") == answer:
        source["correction"] = "unchanged"  # which is no rewrite, but was said
    return Criticism(0, tuple(spans), tuple(said), source=source)


def qa_span(number: int, where: str, value: Any, answer: str) -> Span:
    if not isinstance(value, dict):
        raise RecordError(
            number, where, f"found {str(value)[:60]!r}.", 'Expected {"type", "start", "end", "explanation"}.'
        )
    explanation = value.get("explanation") or ""
    if not isinstance(explanation, str):
        raise RecordError(number, f"{where}.explanation", f"found {explanation!r}.", "Expected text.")
    known = {name: one for name, one in value.items() if name != "explanation"}
    return read_span({**known, "note": explanation}, where, answer, number)


def qa_gap(number: int, where: str, value: Any) -> dict[str, Any]:
    found = value if isinstance(value, dict) else {}
    kind, place, sentences = found.get("error type"), found.get("passage_id"), found.get("sentence_id")
    if (
        not isinstance(kind, str)
        or not kind
        or type(place) is not int
        or not isinstance(sentences, list)
        or not all(type(one) is int for one in sentences)
    ):
        raise RecordError(
            number,
            where,
            f"found {str(value)[:60]!r}.",
            'Expected {"error type": "…", "passage_id": 1, "sentence_id": [2, 3]}.',
        )
    return {"type": kind, "passage": place, "sentences": sentences}


def qa_words(number: int, where: str, gap: dict[str, Any], passages: list[Any]) -> str:
    place, sentences = gap["passage"], gap["sentences"]
    try:
        lines = [passages[place - 1]["title"], *passages[place - 1]["sentences"]]
        if place < 1 or min(sentences, default=0) < 0:
            raise IndexError
        quoted = " ".join(" ".join(lines[one].split()) for one in sentences)
    except (IndexError, TypeError, KeyError, AttributeError):
        raise RecordError(
            number,
            where,
            f"found passage {place}, sentence {', '.join(map(str, sentences))}; the row has no such sentence.",
            "Count passages from 1, and sentences from 1 (0 is the title).",
        ) from None
    which = f"sentence{'s' if len(sentences) > 1 else ''} {', '.join(map(str, sentences))}"
    return f"{gap['type']} (passage {place}, {which}): {quoted}"


def passage(number: int, value: Any) -> dict[str, str]:
    try:
        return {"title": value["title"], "text": "\n\n".join(value["sentences"])}
    except (TypeError, KeyError):
        raise RecordError(
            number, "passages", f"found {str(value)[:60]!r}.", 'Expected {"title": "…", "sentences": ["…"]}.'
        ) from None
