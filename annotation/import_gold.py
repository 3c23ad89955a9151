"""Known answers that come with imported items: {"answer": {"chosen": 0}, "reason": "…", "purpose": "gold"}.

In a file an answer names candidates by their places, from 0; stored, it names them by their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation import gold
from annotation.errors import Invalid
from annotation.interfaces import pairwise
from annotation.models import EVERYONE, Candidate, Gold, Item, Part, Study, Task
from annotation.services import tasks_of

PURPOSES = (Part.GOLD, Part.QUALIFICATION)
FIELDS = {"answer", "reason", "purpose", "kind"}


def check_gold(study: Study, given: Any, answers: int) -> None:
    """Finds what is wrong with a known answer before its item is stored."""
    places = [Candidate(pk=place, index=place) for place in range(answers)]
    tasks = tasks_of(study, Item(study=study, position=0), places)
    known(given, tasks, list(range(answers)), by=None)


def known(given: Any, tasks: list[Task], keys: list[int], by) -> Gold:
    """The known answer to one of an item's tasks; the task, not stored yet, becomes one that everyone is asked."""
    if not isinstance(given, Mapping) or set(given) - FIELDS or not isinstance(given.get("answer"), Mapping):
        raise Invalid(
            f'Found {given!r}; expected {{"answer": {{"chosen": 0}}, "reason": "…", "purpose": "gold"}}.',
            field="gold",
        )
    purpose, reason = given.get("purpose", Part.GOLD), given.get("reason", "")
    if purpose not in PURPOSES:
        raise Invalid(f"Found {purpose!r}; expected {' or '.join(PURPOSES)}.", field="gold.purpose")
    if not isinstance(reason, str) or len(reason) > 20_000 or "\0" in reason:
        raise Invalid(f"Found {reason!r}; expected a text of up to 20,000 characters.", field="gold.reason")
    answer = _by_key(given["answer"], keys)
    named = {answer[name] for name in ("chosen", "rejected", "candidate") if answer.get(name) is not None}
    named |= set(answer.get("candidates") or [])
    kind = given.get("kind")
    fitting = [task for task in tasks if kind in (None, task.kind) and named <= set(task.candidates)]
    if not fitting:
        raise Invalid(
            "The study asks nothing about this item that this could be the answer to.", field="gold"
        )
    task = fitting[0]
    try:
        stored = gold.check_answer(task, _whole(answer, task))
    except Invalid as problem:
        raise Invalid(str(problem), field="gold.answer") from None
    task.part, task.overlap, task.open, task.waiting = Part(purpose), EVERYONE, EVERYONE, False
    return Gold(task=task, answer=stored, reason=reason.strip(), created_by=by)


def _by_key(answer: Mapping[str, Any], keys: list[int]) -> dict[str, Any]:
    """An answer whose candidates are named by id."""

    def key(place: Any) -> int:
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(keys):
            raise Invalid(
                f"Found the place {place!r}; expected 0 to {len(keys) - 1}, one of the item's candidates.",
                field="gold.answer",
            )
        return keys[place]

    named = dict(answer)
    for name in ("chosen", "rejected", "candidate"):
        if named.get(name) is not None:
            named[name] = key(named[name])
    if isinstance(named.get("candidates"), list):
        named["candidates"] = [key(place) for place in named["candidates"]]
    return named


def _whole(answer: dict[str, Any], task: Task) -> dict[str, Any]:
    """Of a comparison it is enough to say which answer is the better one."""
    if task.kind != pairwise.key or answer.get("chosen") is None:
        return answer
    other = [one for one in task.candidates if one != answer["chosen"]]
    return {"choice": "chosen", "rejected": other[0], **answer}
