"""Words about a task beside its answer: a flag says what is wrong with it, a note tells the researchers something."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from annotation.errors import Conflict, Invalid
from annotation.models import Assignment, Remark, Task

LONGEST = 5_000


def remark(
    *,
    task: Task | int,
    author,
    kind: str,
    key: UUID | str,
    reason: str = "",
    text: str = "",
    candidate: int | str | None = None,
) -> Remark:
    """Stores a flag or a note by somebody who has, or had, the task in hand. The same key again is the same remark.

    A flag has a reason and may have words; a note has words. `candidate` is the answer that is meant, if it is one.
    """
    pk = task if isinstance(task, int) else task.pk
    key = _read_key(key)
    if found := Remark.objects.filter(key=key).first():
        return _same(found, pk, author)
    turn = Assignment.objects.select_related("task").filter(task=pk, annotator=author.pk).first()
    if turn is None:
        raise Conflict("This task was not handed to you, so there is nothing for you to remark on.")
    words = _read_text(text)
    row = Remark(
        study_id=turn.study_id,
        task_id=pk,
        author=author,
        kind=_read_kind(kind),
        reason=_read_reason(kind, reason),
        text=words,
        candidate_id=_read_candidate(candidate, turn.task),
        key=key,
    )
    if kind == Remark.Kind.NOTE and not words:
        raise Invalid("The note is empty. Write what the researchers should know.", field="text")
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:  # the same remark, sent twice at once
        return _same(Remark.objects.get(key=key), pk, author)
    return row


def resolve(remark: Remark, by) -> Remark:
    """Marks a remark as dealt with, by whom and when. Once it is, it stays as it was settled first."""
    Remark.objects.filter(pk=remark.pk, resolved_at=None).update(resolved_at=Now(), resolved_by=by)
    remark.refresh_from_db()
    return remark


def _same(found: Remark, task: int, author) -> Remark:
    if (found.task_id, found.author_id) != (task, author.pk):
        raise Invalid("This key belongs to another remark. Make a new UUID for each remark.", field="key")
    return found


def _read_key(key: UUID | str) -> UUID:
    try:
        return key if isinstance(key, UUID) else UUID(key)
    except (ValueError, TypeError, AttributeError):
        raise Invalid(f"Found the key {key!r}; expected a UUID made for this remark.", field="key") from None


def _read_kind(kind: str) -> str:
    if kind not in (Remark.Kind.FLAG, Remark.Kind.NOTE):
        raise Invalid(f"Found a remark of the kind {kind!r}; expected flag or note.", field="kind")
    return kind


def _read_reason(kind: str, reason: str) -> str:
    if kind == Remark.Kind.FLAG and reason not in Remark.Reason.values:
        raise Invalid(
            f"Found the reason {reason!r}; expected one of {', '.join(Remark.Reason.values)}.", field="reason"
        )
    if kind == Remark.Kind.NOTE and reason:
        raise Invalid("Only a flag has a reason. Write it into the note instead.", field="reason")
    return reason


def _read_text(text: str) -> str:
    if not isinstance(text, str):
        raise Invalid(f"Found {text!r}; expected text.", field="text")
    words = text.replace("\x00", "").strip()
    if any("\ud800" <= letter <= "\udfff" for letter in words):
        raise Invalid("Holds half of a character. Send it as UTF-8.", field="text")
    if len(words) > LONGEST:
        raise Invalid(f"Has {len(words):,} characters; shorten it to {LONGEST:,}.", field="text")
    return words


def _read_candidate(candidate: int | str | None, task: Task) -> int | None:
    if candidate in (None, ""):
        return None
    known = {str(pk): pk for pk in task.candidates}
    if str(candidate) not in known:
        raise Invalid(f"{candidate!r} is none of this task's answers: {', '.join(known)}.", field="candidate")
    return known[str(candidate)]
