"""Records in the spellings of TRL, in which data comes from and goes to other tools."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from trainers.records.comparisons import Pair
from trainers.records.kinds import Record
from trainers.records.prompts import Message, Prompt, prompt_json, read_messages, read_prompt
from trainers.records.reading import Json, RecordError, canonical, shown, text
from trainers.records.texts import Correction, Demonstration


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
        prompt = read_prompt(row.get("prompt"), "prompt", number)
        answer = _answer(row["completion"], "completion", number)
    elif "messages" in row:
        messages = _list(row["messages"], "messages", number)
        prompt, answer = _last_turn(read_messages(messages, "messages", number), "messages", number)
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
    """The record in TRL's spelling; None for what it has no word for: ties, both bad, ratings, labelled steps.

    Of a ranking, its `pairs()` can be spelled. A critique's rewrite goes out as the correction that is written with it;
    given here too, one person's one rewrite would count twice.
    """
    prompt = prompt_json(record.prompt)
    chat = not isinstance(record.prompt, str)

    def answer(said: str) -> Any:
        return [{"role": "assistant", "content": said}] if chat else said

    if isinstance(record, Demonstration):
        return {"prompt": prompt, "completion": answer(record.answer)}
    if isinstance(record, Correction):
        return {"prompt": prompt, "chosen": answer(record.edited), "rejected": answer(record.original)}
    if not isinstance(record, Pair) or record.outcome != "chosen":
        return None
    return {"prompt": prompt, "chosen": answer(record.chosen), "rejected": answer(record.rejected)}


def _trl_id(row: Json, content: Json, number: int) -> str:
    if "id" not in row:
        return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]
    given = row["id"]
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise RecordError(number, "id", f"found {shown(given)}.", "Expected text or a whole number.")
    return text({"id": str(given)}, "id", number)


def _trl_preference(row: Json, number: int) -> tuple[Prompt, str, str]:
    for name in ("chosen", "rejected"):
        if name not in row:
            raise RecordError(number, name, "is missing.", "A preference needs both chosen and rejected.")
    if "prompt" in row:
        prompt = read_prompt(row["prompt"], "prompt", number)
        return prompt, _answer(row["chosen"], "chosen", number), _answer(row["rejected"], "rejected", number)
    if isinstance(row["chosen"], str) and isinstance(row["rejected"], str):
        chosen, rejected = text(row, "chosen", number), text(row, "rejected", number)
        start = _shared_text(chosen, rejected)
        if chosen.startswith(HUMAN) and rejected.startswith(HUMAN):
            return _shared_dialogue(chosen, rejected, start, number)
        return chosen[:start], chosen[start:], rejected[start:]
    sides = [read_messages(_list(row[name], name, number), name, number) for name in ("chosen", "rejected")]
    return _shared_turns(sides[0], sides[1], number)


def _list(value: Any, name: str, number: int) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RecordError(
            number,
            name,
            f"found {shown(value)}, expected a list of messages.",
            f'Write "{name}": [{{"role": "user", "content": "…"}}, {{"role": "assistant", "content": "…"}}].',
        )
    return value


def _answer(value: Any, name: str, number: int) -> str:
    """An answer given as text, or as a list of one message by the assistant."""
    if isinstance(value, str):
        return text({name: value}, name, number)
    messages = read_messages(_list(value, name, number), name, number)
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
