"""The turns of a live conversation: what a person may say and when, and what becomes of what models answer.

    say ─▶ models answer ─▶ choose ─▶ say …      (a person of both seats may `write` the answer, or `rewrite` it)

A turn is an `Exchange`. Each change locks the person's assignment first, so that of two tabs one is first and the
other is told. What was answered is a candidate of the item, seen in this conversation alone. A worker holds a lock
while it answers: whoever looks can tell a slow model from a worker that is away.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import kombu
import redis
from celery import current_app
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils import timezone

from annotation.errors import Conflict, Invalid
from annotation.models import Assignment, Candidate, Exchange, Item
from annotation.queue import LEASE
from annotation.services import UNSTORABLE, turn_at

log = logging.getLogger(__name__)

KIND = "conversation"
LONGEST_TEXT = 20_000
SIDES = ("a", "b")
OUTCOMES = ("chosen", "tie", "both_bad")
AWAY = timedelta(seconds=6)
"""A message that no worker has taken up for so long is waiting for a worker that is away."""
LOCK = 0x1B18  # the first half of the advisory lock of an exchange that is being answered


@dataclass(frozen=True)
class Turn:
    """One turn as it stands."""

    exchange: Exchange
    replies: list[Candidate]
    """What models answered, in the order shown."""
    chosen: Candidate | None
    """The answer of a model that was taken."""
    written: Candidate | None
    """What the person wrote in place of `chosen`, or instead of every answer."""
    outcome: str
    """What was said of two answers: chosen, tie or both_bad; empty where nothing was."""

    @property
    def number(self) -> int:
        return self.exchange.number

    @property
    def said(self) -> str:
        return self.exchange.said

    @property
    def goes_on(self) -> Candidate | None:
        """The answer that the conversation goes on from."""
        return self.written or self.chosen

    def to_json(self) -> dict[str, Any]:
        """As a label keeps it."""
        return {
            "said": self.said,
            "replies": [one.pk for one in self.replies],
            "chosen": self.chosen and self.chosen.pk,
            "written": self.written and self.written.pk,
            "outcome": self.outcome,
        }


def turns_of(assignment: int) -> list[Turn]:
    """The turns of one person's conversation, oldest first; two statements."""
    exchanges = list(Exchange.objects.filter(assignment=assignment).order_by("number"))
    # Whose conversation a candidate is of stands in the turns that name it, and nowhere else.
    wanted = {pk for one in exchanges for pk in (*one.replies, one.chosen) if pk}
    found = Candidate.objects.in_bulk(wanted)
    return [_turn(one, found) for one in exchanges]


def _turn(exchange: Exchange, found: dict[int, Candidate]) -> Turn:
    replies = [found[pk] for pk in exchange.replies]
    last = found.get(exchange.chosen)
    own = last if last and exchange.chosen not in exchange.replies else None
    chosen = found.get(own.source.get("rewrites")) if own else last
    outcome = (exchange.outcome or "chosen") if chosen and len(replies) == 2 else ""
    return Turn(exchange, replies, chosen, own, outcome)


def state_of(turns: Sequence[Turn]) -> str:
    """yours (to speak), choose, problem, or waiting: then `progress_of` says for whom."""
    last = turns[-1] if turns else None
    if last is None or last.goes_on:
        return "yours"
    if last.replies:
        return "choose"
    return "problem" if last.exchange.problem else "waiting"


def progress_of(exchange: Exchange) -> str:
    """Of a turn that waits: answering (a worker is at it), sent (a moment ago), or away."""
    if being_answered(exchange.pk):
        return "answering"
    return "sent" if timezone.now() - exchange.created_at < AWAY else "away"


def opening(item: Item) -> str:
    """What the person is to say first, where the scenario's messages end with a turn of the user."""
    messages = item.context.get("messages") or []
    return messages[-1]["content"] if messages and messages[-1]["role"] == "user" else ""


def begun(item: Item) -> list[dict[str, str]]:
    """The messages that the conversation goes on from. A plain prompt is for the person, and no model reads it."""
    messages = list(item.context.get("messages") or [])
    return messages[:-1] if opening(item) else messages


def messages_before(item: Item, turns: Sequence[Turn], said: str) -> list[dict[str, str]]:
    """What models read: the scenario's messages, the turns so far, and what was just said."""
    messages = begun(item)
    for turn in turns:
        messages.append({"role": "user", "content": turn.said})
        if turn.goes_on:
            messages.append({"role": "assistant", "content": turn.goes_on.text})
    return [*messages, {"role": "user", "content": said}]


# --- what a person does


def say(*, task: int, annotator, number: int, text: str) -> Exchange:
    """Begins turn `number` and asks the models. The same again is the same turn, so a retry changes nothing."""
    text = _text(text, "said")
    with _conversation(task, annotator) as (claim, turns):
        options = _options(claim)
        if 0 <= number < len(turns) and turns[number].said == text:
            return turns[number].exchange
        if number != len(turns):
            raise Conflict("The conversation went on in another window. This one now shows how it stands.")
        if turns and not turns[-1].goes_on:
            raise Conflict("Choose an answer to your last message first, or take that message back.")
        if len(turns) >= options["most_turns"]:
            raise Invalid(f"The conversation has its {options['most_turns']} turns. Finish it.", field="said")
        exchange = Exchange.objects.create(
            assignment=claim.assignment, number=number, said=text, wanted=options["models"]
        )
        transaction.on_commit(lambda: send(exchange.pk))
    return exchange


def choose(*, task: int, annotator, number: int, choice: str) -> None:
    """Takes answer a or b of the turn; after `tie` and `both_bad` it goes on from the first one shown."""
    with _last_turn(task, annotator, number) as (_, turn):
        if not turn.replies:
            raise Conflict("There is no answer to choose from yet.")
        if len(turn.replies) == 2 and choice in ("tie", "both_bad"):
            taken, outcome = turn.replies[0], choice
        elif choice in SIDES[: len(turn.replies)]:
            taken, outcome = turn.replies[SIDES.index(choice)], "chosen"
        else:
            raise Invalid(f"Found {choice!r}; expected a, b, tie or both_bad.", field="choice")
        if turn.goes_on:
            if turn.written is None and (turn.chosen, turn.outcome) == (taken, outcome):
                return
            raise Conflict("You chose an answer to this turn already. Take the turn back to choose anew.")
        _go_on_from(turn, taken, outcome)


def write(*, task: int, annotator, number: int, text: str) -> None:
    """The person's own answer, in place of all that models may have answered."""
    text = _text(text, "written")
    with _last_turn(task, annotator, number) as (claim, turn):
        _both_seats(claim)
        if turn.goes_on:
            if turn.goes_on.text == text:
                return
            raise Conflict("This turn has its answer already. Change that one, or take the turn back.")
        _go_on_from(turn, _keep_own(claim, turn, text, {"written": True}))


def rewrite(*, task: int, annotator, number: int, text: str) -> None:
    """The answer of the turn as the person would rather have it; the conversation goes on from that."""
    text = _text(text, "rewritten")
    with _last_turn(task, annotator, number) as (claim, turn):
        _both_seats(claim)
        if not turn.goes_on:
            raise Conflict("Choose an answer first, then change it.")
        if turn.goes_on.text.replace("\r\n", "\n").strip() == text:
            raise Invalid("Nothing was changed. Change what could be better, or go on.", field="rewritten")
        how = {"rewrites": turn.chosen.pk} if turn.chosen else {"written": True}
        _go_on_from(turn, _keep_own(claim, turn, text, how))
        if turn.written:
            _forget(claim.assignment, [turn.written])


def ask_again(*, task: int, annotator, number: int) -> None:
    """Asks the models once more, where none answered."""
    with _last_turn(task, annotator, number) as (_, turn):
        if turn.goes_on or turn.replies:
            raise Conflict("This turn has its answers already.")
        Exchange.objects.filter(pk=turn.exchange.pk).update(problem="", created_at=Now())
        transaction.on_commit(lambda: send(turn.exchange.pk))


def take_back(*, task: int, annotator, number: int) -> str:
    """Forgets the last turn with its answers, even while a model is at it. Returns what had been said."""
    with _last_turn(task, annotator, number) as (claim, turn):
        turn.exchange.delete()
        _forget(claim.assignment, [*turn.replies, *([turn.written] if turn.written else [])])
    return turn.said


@contextmanager
def _conversation(task: int, annotator) -> Iterator[tuple[Any, list[Turn]]]:
    """The person's turn at the task, locked and renewed, with the conversation so far; Conflict where it is lost."""
    claim = turn_at(task=task, annotator=annotator)  # 404 for a stranger
    if claim.task.kind != KIND:
        raise Invalid(f"Task {task} is no conversation; it asks for: {claim.task.kind}.", field="task")
    with transaction.atomic():
        held = Assignment.objects.select_for_update(no_key=True).filter(
            pk=claim.assignment.pk, state=Assignment.State.LEASED
        )
        if not held:
            raise Conflict("You do not hold this task now. Ask for the next one.")
        Assignment.objects.filter(pk=claim.assignment.pk).update(lease_until=Now() + LEASE)
        yield claim, turns_of(claim.assignment.pk)


@contextmanager
def _last_turn(task: int, annotator, number: int) -> Iterator[tuple[Any, Turn]]:
    """The turn that may still be changed, which must be the one that was on the person's screen."""
    with _conversation(task, annotator) as (claim, turns):
        if not turns or number != len(turns) - 1:
            raise Conflict("The conversation went on in another window. This one now shows how it stands.")
        yield claim, turns[-1]


def _options(claim) -> dict[str, Any]:
    """What the study set, every option spelled out, as it is stored."""
    return claim.task.study.options(KIND)


def _both_seats(claim) -> None:
    if _options(claim)["seats"] != "both":
        raise Invalid("In this study models alone answer. Choose one of theirs.", field="written")


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"Found {value!r}; expected text.", field=field)
    text = value.replace("\r\n", "\n").strip()
    if not text:
        raise Invalid("There is nothing written. Write something first.", field=field)
    if len(text) > LONGEST_TEXT:
        raise Invalid(f"Has {len(text):,} characters; the most is {LONGEST_TEXT:,}.", field=field)
    if UNSTORABLE.search(text):
        raise Invalid("Holds a NUL or half a character. Take it out.", field=field)
    return text


def _go_on_from(turn: Turn, candidate: Candidate, outcome: str = "chosen") -> None:
    Exchange.objects.filter(pk=turn.exchange.pk).update(chosen=candidate.pk, outcome=outcome, problem="")


def _keep_own(claim, turn: Turn, text: str, how: dict[str, Any]) -> Candidate:
    source = {"exchange": turn.exchange.pk, "assignment": claim.assignment.pk, **how}
    (kept,) = _keep(claim.item.pk, [Candidate(text=text, source=source)])
    return kept


def _keep(item: int, candidates: list[Candidate]) -> list[Candidate]:
    """Stores candidates behind those the item has; others may talk about the same item just now."""
    locked = Item.objects.select_for_update(no_key=True).get(pk=item)
    last = locked.candidates.aggregate(last=Max("index"))["last"]
    for index, candidate in enumerate(candidates, 0 if last is None else last + 1):
        candidate.item_id, candidate.index = item, index
    return Candidate.objects.bulk_create(candidates)


def _forget(assignment: Assignment, candidates: list[Candidate]) -> None:
    """Deletes what was taken back, unless a label names it: labels are kept forever, withdrawn ones too."""
    if not assignment.labels.exists():
        Candidate.objects.filter(pk__in=[one.pk for one in candidates]).delete()


# --- what a worker does


def send(exchange: int) -> None:
    """Wakes a worker. May be lost or come twice: whoever holds the exchange's lock answers it."""
    try:
        current_app.send_task("runs.converse", [exchange], retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning("The broker did not take exchange %s (%s). The sweep sends it again.", exchange, problem)


def waiting(exchange: int) -> Exchange | None:
    """The exchange with its study and item, while models owe it answers; None once it is over or taken back."""
    found = Exchange.objects.select_related("assignment__study", "assignment__task__item")
    return found.filter(pk=exchange, chosen=None, replies=[], problem="").first()


def unanswered(older_than: timedelta, younger_than: timedelta = timedelta(hours=1)) -> list[int]:
    """Exchanges that have waited for so long, in conversations that somebody still holds."""
    rows = Exchange.objects.filter(chosen=None, replies=[], problem="", assignment__state="leased")
    rows = rows.filter(created_at__lt=Now() - older_than, created_at__gt=Now() - younger_than)
    return list(rows.values_list("pk", flat=True)[:100])


@dataclass(frozen=True)
class Answer:
    """What a model answered, who it was, and how it was drawn."""

    text: str
    policy: str
    sampling: dict[str, Any]


def take_answers(exchange: int, answers: Sequence[Answer]) -> bool:
    """Shows the answers, each on a side drawn by chance. False where the turn was taken back or is over.

    Candidates are made in the order shown, so that no id tells which model is which.
    """
    shown = list(answers)
    random.SystemRandom().shuffle(shown)
    with transaction.atomic():
        found = _still_waiting(exchange)
        if found is None:
            return False
        source = {"exchange": found.pk, "assignment": found.assignment_id}
        candidates = [
            Candidate(text=one.text, policy=one.policy, source={**source, "sampling": one.sampling})
            for one in shown
        ]
        kept = _keep(found.assignment.task.item_id, candidates)
        found.replies = [one.pk for one in kept]
        if len(kept) == 1:  # there is nothing to choose from: it goes on from the one
            found.chosen = kept[0].pk
        found.save(update_fields=["replies", "chosen"])
    return True


def fail(exchange: int, problem: str) -> None:
    """Says why no model answered; the person may ask again."""
    with transaction.atomic():
        found = _still_waiting(exchange)
        if found:
            found.problem = UNSTORABLE.sub("", problem)[:500]
            found.save(update_fields=["problem"])


def _still_waiting(exchange: int) -> Exchange | None:
    """The exchange if it waits, its assignment locked: in the order in which a person's change locks."""
    of = Assignment.objects.filter(exchanges=exchange).values_list("pk", flat=True)
    if not list(Assignment.objects.select_for_update(no_key=True).filter(pk__in=list(of))):
        return None
    return waiting(exchange)


@contextmanager
def answering(exchange: int) -> Iterator[bool]:
    """A lock that PostgreSQL drops when its holder dies: one worker at a time answers, and pages see that it does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, exchange % 2**31])
        (mine,) = cursor.fetchone()
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, exchange % 2**31])


def being_answered(exchange: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s"
            " AND objsubid = 2 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [LOCK, exchange % 2**31],
        )
        return cursor.fetchone()[0]
