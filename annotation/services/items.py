"""Items into a study, each checked, with the tasks they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.db import transaction
from django.db.models import Max

from annotation import policies
from annotation.bulk import insert
from annotation.errors import Invalid
from annotation.interfaces.registry import interface, read_options
from annotation.models import (
    Candidate,
    Item,
    Policy,
    Signal,
    Study,
    Task,
)
from trainers.episodes import CLIP
from trainers.records import RANKED

LONGEST_TEXT = 200_000
MOST_SOURCE = 500_000
MOST_CANDIDATES = 20
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
ROLES = ("system", "user", "assistant", "tool")


def add_items(*, study: Study, items: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Adds items and the tasks they ask for; all of them, or none when one is wrong.

    Each is {"context": {"prompt"} or {"messages"}, "candidates": [{"text", "policy", "source"}], "external_id",
    "source"}. One whose external id the study has already is left as it is and not returned, so that adding the
    same items again changes nothing.
    """
    rows = [read_item(study, given, f"items[{number}].") for number, given in enumerate(items)]
    with transaction.atomic():
        lock_positions(study)
        known = study.items.filter(external_id__in={item.external_id for item, _ in rows} - {""})
        seen = set(known.values_list("external_id", flat=True))
        fresh = []
        for item, candidates in rows:
            if item.external_id in seen:
                continue
            seen |= {item.external_id} - {""}
            fresh.append((item, candidates))
        place_items(study, fresh)
        tasks = [task for item, candidates in fresh for task in tasks_of(study, item, candidates)]
        Task.objects.bulk_create(tasks, batch_size=1000)
        if study.policy not in (Policy.SEQUENTIAL, *policies.BY_MODELS):
            policies.arrange(study, [task.pk for task in tasks])
    return [item for item, _ in fresh]


def lock_positions(study: Study) -> None:
    """Two who add items at once must not share positions; people go on labelling meanwhile."""
    Study.objects.select_for_update(no_key=True).get(pk=study.pk)


def place_items(study: Study, rows: list[tuple[Item, list[Candidate]]]) -> None:
    """Stores items with their candidates, behind the last item of the study."""
    last = study.items.aggregate(last=Max("position"))["last"]
    position = 0 if last is None else last + 1
    for offset, (item, _) in enumerate(rows):
        item.position = position + offset
    insert([item for item, _ in rows])
    for item, candidates in rows:
        for index, candidate in enumerate(candidates):
            candidate.item_id, candidate.index = item.pk, index
    insert([one for _, candidates in rows for one in candidates])


def tasks_of(study: Study, item: Item, candidates: list[Candidate]) -> list[Task]:
    """What the study asks about a stored item, in the order of its interfaces; not stored yet.

    Clips of robots are for the interfaces about clips, and texts for all others: nobody is asked to rate an address.
    """
    found: dict[str, list[list[Candidate]]] = {}
    for entry in study.interfaces:
        module = interface(entry["kind"])
        clips = getattr(module, "CLIPS", False)
        asked = [one for one in candidates if bool(CLIP.fullmatch(one.text)) == clips]
        if candidates and not asked:
            continue
        found[entry["kind"]] = module.tasks(asked, read_options(module.Options, entry["options"]))
    tasks = []
    for kind, questions in found.items():
        waiting = any(found.get(before) for before in interface(kind).FOLLOWS)
        for asked in questions:
            tasks.append(
                Task(
                    study=study,
                    item=item,
                    kind=kind,
                    candidates=[candidate.pk for candidate in asked],
                    position=item.position,
                    overlap=study.overlap,
                    open=0 if waiting else study.overlap,
                    waiting=waiting,
                )
            )
    return tasks


def read_item(
    study: Study, given: Mapping[str, Any], where: str = "", judged: bool = False
) -> tuple[Item, list[Candidate]]:
    """An item and its candidates, checked; an error names the field, behind the prefix `where`.

    It takes as many answers as one of the study's ways of asking needs: to compare or to rank two, to write one none.
    An item that was `judged` elsewhere may come with one. More than can be ranked at once are refused where the study
    ranks.
    """
    external_id = read_text(given.get("external_id") or "", f"{where}external_id", most=200)
    context = _read_context(given.get("context"), f"{where}context")
    source = _read_source(given.get("source"), f"{where}source")
    answers = [] if given.get("candidates") is None else given["candidates"]
    least = min(getattr(interface(kind), "LEAST", 1) for kind in study.kinds)
    if judged:
        least = min(least, 1)
    most = RANKED[1] if "ranking" in study.kinds else MOST_CANDIDATES
    if not isinstance(answers, list | tuple) or not least <= len(answers) <= most:
        found = len(answers) if isinstance(answers, list | tuple) else repr(answers)
        raise Invalid(f"Found {found} answers; expected {least} to {most}.", field=f"{where}candidates")
    candidates = [_read_candidate(one, f"{where}candidates[{n}]") for n, one in enumerate(answers)]
    facts = _read_facts(given, where)
    return Item(study=study, context=context, external_id=external_id, source=source, **facts), candidates


def _read_facts(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Where an item comes from and what may be done with it, as far as that is said."""
    facts: dict[str, Any] = {
        name: read_text(given[name], f"{where}{name}", most=most)
        for name, most in {"licence": 200, "collector": 200, "jurisdiction": 100}.items()
        if given.get(name) is not None
    }
    if given.get("signal") is not None:
        facts["signal"] = given["signal"]
        if facts["signal"] not in Signal.values:
            raise Invalid(
                f"Found {facts['signal']!r}; expected {', '.join(Signal.values)}.", field=f"{where}signal"
            )
    if given.get("collected_on") is not None:
        try:
            facts["collected_on"] = date.fromisoformat(given["collected_on"])
        except (TypeError, ValueError):
            raise Invalid(
                f"Found {given['collected_on']!r}; expected a day as 2026-01-31.",
                field=f"{where}collected_on",
            ) from None
    return facts


def _read_candidate(value: Any, where: str) -> Candidate:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, Mapping):
        raise Invalid(f'Found {value!r}; expected {{"text": "…", "policy": "…"}}.', field=where)
    return Candidate(
        text=read_text(value.get("text"), f"{where}.text"),
        policy=read_text(value.get("policy", ""), f"{where}.policy", most=200),
        source=_read_source(value.get("source"), f"{where}.source"),
    )


def _read_context(value: Any, where: str) -> dict:
    if isinstance(value, Mapping) and set(value) == {"prompt"}:
        return {"prompt": read_text(value["prompt"], f"{where}.prompt")}
    if (
        isinstance(value, Mapping)
        and set(value) == {"messages"}
        and isinstance(value["messages"], list | tuple)
    ):
        if not value["messages"]:
            raise Invalid("The chat has no messages.", field=f"{where}.messages")
        turns = enumerate(value["messages"])
        return {"messages": [_read_message(one, f"{where}.messages[{n}]") for n, one in turns]}
    raise Invalid(
        'Expected {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}.', field=where
    )


def _read_message(value: Any, where: str) -> dict:
    if not isinstance(value, Mapping) or set(value) != {"role", "content"} or value["role"] not in ROLES:
        raise Invalid(f'Expected {{"role", "content"}} with a role of {", ".join(ROLES)}.', field=where)
    return {"role": value["role"], "content": read_text(value["content"], f"{where}.content")}


def read_text(value: Any, where: str, most: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str):
        raise Invalid(f"Found {value!r}; expected text.", field=where)
    if len(value) > most:
        raise Invalid(f"Has {len(value):,} characters; the most is {most:,}.", field=where)
    if UNSTORABLE.search(value):
        raise Invalid(
            "Holds a NUL or half a character, which no database text can. Save the file as UTF-8.",
            field=where,
        )
    return value


def _read_source(value: Any, where: str) -> dict:
    """What the sender wants kept with a row: any JSON object."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(f"Found {value!r}; expected an object.", field=where)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise Invalid(f"Cannot be kept as JSON: {problem}.", field=where) from None
    if len(text) > MOST_SOURCE or "\\u0000" in text or UNSTORABLE.search(text):
        raise Invalid(
            f"Has over {MOST_SOURCE:,} characters, or a NUL or half a character in it.", field=where
        )
    return dict(value)
