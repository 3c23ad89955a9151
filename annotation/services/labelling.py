"""Tasks handed out, and labels given, taken back and given anew."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import datetime
from time import sleep
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.timesince import timeuntil

from annotation import gold, policies, queue
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.models import (
    Assignment,
    Item,
    Label,
    Membership,
    Part,
    Study,
    Task,
)
from annotation.queue import Claim
from annotation.services.items import UNSTORABLE
from annotation.webhooks import tell

MOST_CLAIMED = 10
"""How many tasks one claim may ask for."""


def claim_tasks(
    *, study: Study | int, annotator, kind: str | None = None, count: int = 1, besides: Iterable[int] = ()
) -> list[Claim]:
    """Leases tasks to a member: what they hold already comes first. `besides` are those their page has in hand."""
    pk = study if isinstance(study, int) else study.pk
    count, besides = max(1, min(count, MOST_CLAIMED)), _ids(besides)
    if kind:
        interface(kind)  # an unknown one is an error, not an empty queue
    for _ in range(3):
        claims = queue.claim(study=pk, person=annotator.pk, kind=kind, count=count, besides=besides)
        # Empty-handed while a place is open: others were taking the rows next to it. They are done in a moment.
        if claims or not queue.left(study=pk, person=annotator.pk, kind=kind).available:
            break
        sleep(0.02)
    return claims


def why_empty(*, study: Study, annotator, kind: str | None = None) -> str:
    """In a sentence, why there is no task for this person now."""
    left = queue.left(study=study.pk, person=annotator.pk, kind=kind)
    if left.archived:
        return "This study is archived. Its owner can open it again."
    if left.unasked:
        return "This study asks you to agree to something first. Read it on the labelling page."
    if not left.any_tasks:
        return "This study has no items yet."
    if left.open and left.held >= queue.MOST_HELD:
        return f"You hold {left.held} tasks, the most there may be. Answer or skip some of them first."
    if left.held:
        return "You hold every task that is left for you."
    if left.qualifies and left.standing == Membership.Standing.FAILED:
        return "You did not pass the qualification of this study. A researcher decides whether you may try again."
    if left.qualifies:
        return "There is no question of the qualification left for you. A researcher must add some, or let you in."
    if left.held_by_others_until:
        return f"Others hold the rest; some may come back in {timeuntil(left.held_by_others_until) or 'a moment'}."
    return "Done: every task is answered, or was answered by you."


def turn_at(*, task: Task | int, annotator) -> Claim:
    """The person's own turn at a task, for showing it again; Conflict when they do not hold it."""
    pk = task if isinstance(task, int) else task.pk
    turn = queue.turn(task=pk, person=annotator.pk)
    if turn is None or turn.assignment.state != Assignment.State.LEASED:
        raise _taken(pk, annotator)
    return turn


def extend_leases(*, annotator, tasks: Iterable[int]) -> dict[int, datetime]:
    """Renews the leases this person still holds, and returns until when; a task that is missing was lost."""
    return queue.extend(person=annotator.pk, tasks=_ids(tasks))


def _ids(numbers: Iterable[int]) -> list[int]:
    """Numbers that can be ids: a page may send anything."""
    return [number for number in numbers if 0 < number < 2**63]


def release_expired() -> int:
    """Gives back the places of leases that ran out. Claims do it where they need to; this is for a sweep."""
    return queue.release()


def submit_label(*, task: Task | int, annotator, answer, key: UUID | str, seconds: float = 0.0) -> Label:
    """Stores what a person said; two statements. `answer` is an interface's Answer, or a form or JSON to be read.

    The same key again is the same label. A late answer counts if its place was not given to somebody else.
    """
    pk = task if isinstance(task, int) else task.pk
    key = _read_key(key)
    turn = queue.turn(task=pk, person=annotator.pk, key=key)
    if turn is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if turn.label:
        return _same_label(turn.label, pk, annotator)
    if isinstance(answer, Mapping):
        answer = interface(turn.task.kind).read(answer, turn)
    try:
        with transaction.atomic() if turn.told else nullcontext():
            label = queue.keep(turn=turn, answer=answer.to_json(), key=key, seconds=_read_seconds(seconds))
            if label and turn.told:
                tell_of(label)
    except IntegrityError:
        raise Conflict("Two requests about this task met. Send yours again.") from None
    if label is None:
        twin = Label.objects.filter(key=key).first()  # the same answer, sent twice at once
        if twin:
            return _same_label(twin, pk, annotator)
        raise _taken(pk, annotator)
    _follow_up(turn.task, annotator)
    return label


def tell_of(label: Label, event: str = "label.submitted") -> None:
    """Lets webhooks know of a label."""
    tell(
        label.study_id,
        event,
        {
            "label": label.pk,
            "task": label.task_id,
            "kind": label.kind,
            "answer": label.answer,
            "supersedes": label.supersedes_id,
        },
    )


def _follow_up(task: Task, annotator) -> None:
    """What an answer leads to: more people, a question asked again, another standing. Nothing, most of the time."""
    study = task.study
    if task.part == Part.QUEUE:
        if study.more_people and task.overlap == task.done == study.overlap:
            policies.ask_more(task)
        if study.repeat_rate and random.random() < study.repeat_rate:
            gold.repeat_later(task, annotator)
    elif task.part in (Part.GOLD, Part.QUALIFICATION):
        gold.update_standing(task, annotator)


def past(*, study: Study, annotator, before: int | None = None) -> Claim | None:
    """The turn at which a person gave the newest of their labels that stands, or the newest with an id below `before`.

    What they said is its `answer`, and the label its `label`. A qualification is not looked back on: its answers are
    known by then.
    """
    labels = Label.objects.current().filter(study=study, annotator=annotator)
    if before is not None:
        labels = labels.filter(pk__lt=before)
    label = labels.exclude(task__part=Part.QUALIFICATION).order_by("-pk").first()
    if label is None:
        return None
    turn = queue.turn(task=label.task_id, person=annotator.pk)
    return replace(turn, answer=label.answer, label=label) if turn else None


@transaction.atomic
def revise_label(*, task: Task | int, annotator, answer, key: UUID | str, seconds: float = 0.0) -> Label:
    """A change of mind: a new label that supersedes this person's label of the task. The same key is the same label."""
    pk = task if isinstance(task, int) else task.pk
    key = _read_key(key)
    turn = queue.turn(task=pk, person=annotator.pk, key=key)
    if turn is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if turn.label:
        return _same_label(turn.label, pk, annotator)
    if turn.task.part == Part.QUALIFICATION:
        raise Conflict("An answer of the qualification stays as it was given.")
    Task.objects.select_for_update(no_key=True).get(pk=pk)
    old = Label.objects.current().filter(assignment=turn.assignment).first()
    if old is None:
        raise Conflict("You have no answer to this task that stands. Ask for the task, and answer it.")
    if isinstance(answer, Mapping):
        answer = interface(turn.task.kind).read(answer, turn)
    label = Label.objects.create(
        study_id=old.study_id,
        task_id=pk,
        assignment_id=old.assignment_id,
        annotator=annotator,
        kind=old.kind,
        answer=answer.to_json(),
        key=key,
        supersedes=old,
        seconds=_read_seconds(seconds),
    )
    tell_of(label)
    return label


def _read_key(key: UUID | str) -> UUID:
    try:
        return key if isinstance(key, UUID) else UUID(key)
    except (ValueError, TypeError, AttributeError):
        raise Invalid(f"Found the key {key!r}; expected a UUID made for this answer.", field="key") from None


def _read_seconds(value: float | str) -> float:
    """How long somebody took, as their browser says: a number of no more than a day, or else not known."""
    try:
        seconds = float(value)
    except (ValueError, TypeError):
        return 0.0
    return seconds if 0 <= seconds <= 86_400 else 0.0


def _same_label(label: Label, task: int, annotator) -> Label:
    if (label.task_id, label.annotator_id) != (task, annotator.pk):
        raise Invalid("This key belongs to another answer. Make a new UUID for each answer.", field="key")
    return label


def _holder(task: int, annotator) -> str | None:
    """Who answered a task, or else who holds it, other than this person."""
    others = Assignment.objects.filter(task=task, state__in=["submitted", "leased"]).exclude(
        annotator=annotator.pk
    )
    names = others.order_by("-state", "-changed_at").values_list("annotator__username", flat=True)
    return ", ".join(names) or None


def _taken(task: int, annotator) -> Conflict:
    own = Assignment.objects.filter(task=task, annotator=annotator.pk).first()
    if own and own.state == Assignment.State.SUBMITTED:
        return Conflict(
            "You answered this task already. Undo that answer to change it.", holder=annotator.username
        )
    if own and own.state == Assignment.State.SKIPPED:
        return Conflict("You skipped this task, and it went to others.", holder=_holder(task, annotator))
    holder = _holder(task, annotator)
    if holder is None:
        return Conflict("You do not hold this task now. Ask for the next one.")
    return Conflict(f"This task is {holder}'s now: your turn ended before your answer came.", holder=holder)


def skip_task(*, task: Task | int, annotator, reason: str = "") -> None:
    """Passes a task on to somebody else. Skipping it again changes nothing, so a retry needs no key."""
    pk = task if isinstance(task, int) else task.pk
    state = queue.skip(task=pk, person=annotator.pk, reason=UNSTORABLE.sub("", reason)[:1000])
    if state is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if state == Assignment.State.SUBMITTED:
        raise Conflict("You answered this task already. Undo that answer first.", holder=annotator.username)


@transaction.atomic
def undo_last(*, study: Study, annotator) -> Claim | None:
    """Takes back the last thing a person did: their answer is withdrawn, or their skip forgotten.

    The task is theirs again with what they had chosen; the history stays. None when there is nothing to undo.
    """
    done = Assignment.objects.filter(study=study, annotator=annotator, state__in=["submitted", "skipped"])
    last = done.order_by("-changed_at", "-pk").first()
    if last is None:
        return None
    Task.objects.select_for_update(no_key=True).get(pk=last.task_id)
    last = done.select_for_update(no_key=True).filter(pk=last.pk).first()
    if last is None:
        raise Conflict("Another request changed this task just now. Try again.")
    if last.state == Assignment.State.SUBMITTED:
        label = last.labels.current().get()
        withdraw(label, by=annotator)
        Task.objects.filter(pk=last.task_id).update(done=F("done") - 1)
    elif not Task.objects.filter(pk=last.task_id, open__gt=0).update(open=F("open") - 1):
        raise _taken(last.task_id, annotator)
    last.state, last.reason = Assignment.State.LEASED, ""
    last.changed_at, last.lease_until = Now(), Now() + queue.LEASE
    last.save(update_fields=["state", "reason", "lease_until", "changed_at"])
    return queue.turn(task=last.task_id, person=annotator.pk)


@transaction.atomic
def withdraw_label(*, label: Label, by) -> Label:
    """Takes a label back for good: its place is open again, to its annotator too. Returns the withdrawal."""
    Task.objects.select_for_update(no_key=True).get(pk=label.task_id)
    assignment = Assignment.objects.select_for_update(no_key=True).get(pk=label.assignment_id)
    if not Label.objects.current().filter(pk=label.pk).exists():
        raise Conflict("This label does not stand any more: it was withdrawn or replaced.")
    withdrawal = withdraw(label, by=by)
    gone = Item.objects.filter(tasks=label.task_id).exclude(withdrawn_at=None).exists()
    Task.objects.filter(pk=label.task_id).update(done=F("done") - 1, open=F("open") + (0 if gone else 1))
    assignment.state = Assignment.State.EXPIRED
    assignment.save(update_fields=["state"])
    return withdrawal


def withdraw(label: Label, by) -> Label:
    """The row that takes a label back; its place is the caller's to settle."""
    withdrawal = Label.objects.create(
        study_id=label.study_id,
        task_id=label.task_id,
        assignment_id=label.assignment_id,
        annotator=by,
        kind=label.kind,
        answer=label.answer,
        key=uuid4(),
        supersedes=label,
        withdrawn=True,
    )
    tell_of(withdrawal, "label.withdrawn")
    return withdrawal


PROGRESS = """
SELECT count(*) FILTER (WHERE l.created_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'),
       count(*),
       (SELECT count(*) FROM (SELECT FROM annotation_task t WHERE t.study_id = %(study)s AND t.open > 0
                              AND t.part = 'queue' LIMIT 1000) t)
FROM annotation_label l
WHERE l.annotator_id = %(person)s AND l.study_id = %(study)s AND NOT l.withdrawn
  AND NOT EXISTS (SELECT FROM annotation_label later WHERE later.supersedes_id = l.id)
"""


def progress(study: Study, user) -> dict[str, Any]:
    """A person's labels today (UTC) and in all, and the tasks still open in the study, counted up to 1,000.

    `gold` is how many known answers they matched, of how many, where the study shares that; or None.
    """
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS, {"study": study.pk, "person": user.pk})
        today, total, open_tasks = cursor.fetchone()
    share = asdict(gold.score(study, user)) if study.share_gold else None
    return {"today": today, "total": total, "open": open_tasks, "gold": share}
