"""What was asked: a text, or the turns of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.records.reading import RecordError, shown, text

ROLES = ("system", "user", "assistant", "tool")


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


def read_prompt(value: Any, name: str, line: int) -> Prompt:
    if isinstance(value, str):
        return text({name: value}, name, line)
    if not isinstance(value, list) or not value:
        raise RecordError(
            line,
            name,
            f"found {shown(value)}, expected text or a list of messages.",
            f'Write "{name}": "…", or "{name}": [{{"role": "user", "content": "…"}}].',
        )
    return read_messages(value, name, line)


def read_messages(value: list[Any], name: str, line: int) -> tuple[Message, ...]:
    found = []
    for index, message in enumerate(value):
        where = f"{name}[{index}]"
        if not isinstance(message, dict):
            raise RecordError(
                line,
                where,
                f"found {shown(message)}, expected a message.",
                'Write {"role": "user", "content": "…"}.',
            )
        role = message.get("role")
        if role not in ROLES:
            raise RecordError(
                line, f"{where}.role", f"found {shown(role)}.", f"Expected one of {', '.join(ROLES)}."
            )
        content = message.get("content")
        if not isinstance(content, str):
            raise RecordError(
                line, f"{where}.content", f"found {shown(content)}, expected text.", "Only text can be read."
            )
        found.append(Message(role, text({"content": content}, "content", line)))
    return tuple(found)
