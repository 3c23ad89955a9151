"""What interfaces share: an item as a person sees it, and as a record keeps it."""

from typing import Any

from annotation import richtext
from annotation.errors import Invalid
from annotation.models import Candidate, Item, Label
from trainers.records import Message, Prompt


def context(item: Item) -> dict:
    """The turns that led to the answers, oldest first, and passages to judge by where the item brings some.

    A plain prompt is one turn of the user.
    """
    messages = item.context.get("messages") or [{"role": "user", "content": item.context["prompt"]}]
    return {
        "turns": [{"role": turn["role"], **shown(turn["content"])} for turn in messages],
        "passages": _passages(item),
    }


def shown(text: str) -> dict:
    """A text, its safe HTML, and as it was written. `plain`: too long to be rendered, the HTML is as written too."""
    return {
        "text": text,
        "html": richtext.render(text),
        "written": richtext.written(text),
        "plain": richtext.is_plain(text),
    }


def _passages(item: Item) -> list[dict]:
    """A source is whatever its sender wrote: only what looks like passages is shown."""
    given = item.source.get("passages")
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def answers(claim, names: tuple[str, ...]) -> list[dict]:
    """The candidates in the order shown. Who wrote them is named only where the study says so."""
    hidden = claim.task.study.names_hidden
    return [
        {
            "name": name,
            "id": candidate.pk,
            **shown(candidate.text),
            "policy": "" if hidden else candidate.policy,
        }
        for name, candidate in zip(names, claim.candidates, strict=False)
    ]


def read_text(value: Any, field: str) -> str:
    """Text as a person typed it; a browser's CRLF becomes LF."""
    if not isinstance(value, str):
        raise Invalid(f"Found {value!r}; expected text.", field=field)
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Invalid("Holds half of a character. Send it as UTF-8.", field=field)
    return value.replace("\r\n", "\n").replace("\x00", "")


def prompt(item: Item) -> Prompt:
    if "prompt" in item.context:
        return item.context["prompt"]
    return tuple(Message(turn["role"], turn["content"]) for turn in item.context["messages"])


def record_id(given: Label) -> str:
    """Sorts by item, so that everything said about one item stands together in a file; its verdicts stand last."""
    number = f"v{given.verdict.pk:09d}" if given.pk is None else f"{given.pk:010d}"
    return f"{given.task.item_id:010d}-{number}"


def weight(given: Label) -> float:
    """How much a record counts: what the file it was imported from says, and otherwise as much as any."""
    return given.source.get("weight", 1.0)


def lineage(given: Label, **candidates: Candidate) -> dict:
    """Where a record comes from: its label, its item, and who or what wrote each answer."""
    item = given.task.item
    source: dict = {"label": given.pk, "task": given.task_id, "item": item.pk}
    if item.external_id:
        source["external_id"] = item.external_id
    if given.source:
        source["imported"] = given.source
    for role, candidate in candidates.items():
        source[role] = origin(candidate)
    return source


def origin(candidate: Candidate) -> dict:
    """Which answer it is, and who or what wrote it."""
    found: dict = {"candidate": candidate.pk, "index": candidate.index}
    if candidate.policy:
        found["policy"] = candidate.policy
    if candidate.source:
        found["source"] = candidate.source
    return found
