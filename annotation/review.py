"""What reviewers do with labels: look at the disputed, the flagged and a random few, settle them, or send one back.

Nothing is edited. A verdict is a row, another verdict supersedes it, and a label sent back is withdrawn by a row of its
own. Where a verdict stands, snapshots hold it in place of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from annotation import gold
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.models import Assignment, Label, Part, Remark, Study, Task, Verdict
from annotation.queue import Claim
from annotation.services import withdraw
from annotation.webhooks import tell

HELD_FOR = timedelta(days=7)
"""How long a label that was sent back waits for whoever gave it, before the task goes to somebody else."""
LONGEST_REASON = 5_000
WHICH = ("disputed", "flagged", "random")
JUDGED = (Part.QUEUE, Part.CALIBRATION)


# --- what there is to review

# One answer in a form that can be compared: the side of a preference, or else the whole of it.
SAID = "coalesce(l.answer->>'chosen', l.answer->>'choice', (l.answer - 'reason' - 'strength')::text)"

STANDS = """
    l.study_id = %(study)s AND NOT l.withdrawn
    AND NOT EXISTS (SELECT FROM annotation_label later WHERE later.supersedes_id = l.id)
"""
UNSETTLED = """
    NOT EXISTS (SELECT FROM annotation_verdict v WHERE v.task_id = t.id AND NOT v.withdrawn
                AND NOT EXISTS (SELECT FROM annotation_verdict later WHERE later.supersedes_id = v.id))
"""
QUEUES = {
    "disputed": f"""
        SELECT t.id FROM annotation_task t JOIN annotation_label l ON l.task_id = t.id
        WHERE {STANDS} AND t.part IN ('queue', 'calibration') AND {UNSETTLED}
        GROUP BY t.id HAVING count(DISTINCT {SAID}) > 1
        ORDER BY count(DISTINCT {SAID})::float / count(*) DESC, count(*) DESC, t.id
    """,
    "flagged": """
        SELECT t.id FROM annotation_task t JOIN annotation_remark r ON r.task_id = t.id
        WHERE r.study_id = %(study)s AND r.kind = 'flag' AND r.resolved_at IS NULL
        GROUP BY t.id ORDER BY count(*) DESC, min(r.id)
    """,
    "random": f"""
        SELECT t.id FROM annotation_task t
        WHERE t.study_id = %(study)s AND t.done > 0 AND t.part IN ('queue', 'calibration') AND {UNSETTLED}
        ORDER BY md5('review' || t.id)
    """,
}


def to_review(study: Study, which: str, most: int = 50) -> list[Task]:
    """The tasks of one of the reviewer's queues, the most pressing first."""
    if which not in QUEUES:
        raise Invalid(f"No queue called {which!r}. There are: {', '.join(WHICH)}.", field="which")
    with connection.cursor() as cursor:
        cursor.execute(f"{QUEUES[which]} LIMIT %(most)s", {"study": study.pk, "most": most})
        order = [row[0] for row in cursor.fetchall()]
    tasks = Task.objects.arrived().select_related("item", "study").in_bulk(order)
    return [tasks[pk] for pk in order if pk in tasks]


def counts(study: Study) -> dict[str, int]:
    """How many tasks each queue holds, counted up to 1,000."""
    found = {}
    with connection.cursor() as cursor:
        for which, statement in QUEUES.items():
            cursor.execute(
                f"SELECT count(*) FROM ({statement} LIMIT 1000) queue", {"study": study.pk, "most": 0}
            )
            (found[which],) = cursor.fetchone()
    return found


# --- settling


def as_claim(task: Task, reviewer) -> Claim:
    """The task as a reviewer sees it: its answers in their own order, and the verdict so far filled in."""
    by_pk = {one.pk: one for one in task.item.candidates.all()}
    standing = verdict_of(task)
    return Claim(
        assignment=Assignment(study=task.study, task=task, annotator=reviewer, order=list(task.candidates)),
        task=task,
        item=task.item,
        candidates=[by_pk[pk] for pk in task.candidates],
        answer=standing.answer if standing else None,
    )


def verdict_of(task: Task) -> Verdict | None:
    """The verdict that stands; None where there is none, or it was taken back."""
    return task.verdicts.filter(superseded_by=None, withdrawn=False).select_related("reviewer").first()


def settle(*, task: Task, by, answer: Any, reason: str = "") -> Verdict:
    """A verdict on a task: an interface's Answer, or a form or JSON to be read as the reviewer saw the task."""
    if task.kind == "conversation":
        raise Conflict("A conversation is its speaker's own; send it back, or let it stand.")
    if task.part not in JUDGED:
        raise Conflict("This task has a known answer, or repeats another. There is nothing to settle.")
    if isinstance(answer, Mapping):
        answer = interface(task.kind).read(answer, as_claim(task, by))
    return _next(task, by, answer.to_json(), _read_reason(reason), withdrawn=False)


def take_back(*, task: Task, by, reason: str = "") -> Verdict:
    """Ends the verdict that stands; the labels count again."""
    standing = verdict_of(task)
    if standing is None:
        raise Conflict("No verdict stands on this task.")
    return _next(task, by, standing.answer, _read_reason(reason), withdrawn=True)


def _next(task: Task, by, answer: dict, reason: str, withdrawn: bool) -> Verdict:
    """The verdict that follows the last one, whatever that was."""
    try:
        with transaction.atomic():
            Task.objects.select_for_update(no_key=True).get(pk=task.pk)
            made = Verdict.objects.create(
                study_id=task.study_id,
                task=task,
                reviewer=by,
                answer=answer,
                reason=reason,
                supersedes=task.verdicts.filter(superseded_by=None).first(),
                withdrawn=withdrawn,
            )
            tell(task.study, "task.settled", {"task": task.pk, "verdict": made.pk, "withdrawn": withdrawn})
            return made
    except IntegrityError:
        raise Conflict("Another reviewer settled this task just now. Look at it again.") from None


def _read_reason(reason: str) -> str:
    reason = reason.replace("\x00", "").replace("\r\n", "\n").strip()
    if len(reason) > LONGEST_REASON:
        raise Invalid(
            f"The reason has {len(reason):,} characters; shorten it to {LONGEST_REASON:,}.", field="reason"
        )
    return reason


@transaction.atomic
def send_back(*, label: Label, by, words: str) -> Remark:
    """Asks whoever gave a label to give it anew: it is withdrawn, and its task waits for them with these words."""
    words = _read_reason(words)
    if not words:
        raise Invalid("Say what is amiss: whoever gave the answer reads it.", field="words")
    task = Task.objects.select_for_update(no_key=True).get(pk=label.task_id)
    turn = Assignment.objects.select_for_update(no_key=True).get(pk=label.assignment_id)
    if not Label.objects.current().filter(pk=label.pk).exists():
        raise Conflict("This label does not stand any more: it was withdrawn or replaced.")
    if not label.annotator.is_active:
        raise Conflict(
            "Nobody can answer for this account: the label came from a file. Settle the task instead."
        )
    withdraw(label, by=by)
    Task.objects.filter(pk=task.pk).update(done=F("done") - 1)
    Assignment.objects.filter(pk=turn.pk).update(
        state=Assignment.State.LEASED, lease_until=Now() + HELD_FOR, changed_at=Now()
    )
    return Remark.objects.create(
        study_id=label.study_id,
        task=task,
        author=by,
        kind=Remark.Kind.SENT_BACK,
        text=words,
        label=label,
        key=uuid4(),
    )


# --- what annotators see of it


@dataclass(frozen=True)
class Difference:
    """A verdict that says otherwise than somebody's label, with the reviewer's reason."""

    label: Label
    verdict: Verdict

    @property
    def said(self) -> str:
        return words_of(self.label.kind, self.label.answer, self.label.assignment.order)

    @property
    def settled(self) -> str:
        return words_of(self.label.kind, self.verdict.answer, self.label.assignment.order)


def differences(study: Study, user, most: int = 50) -> list[Difference]:
    """Where a reviewer settled a task otherwise than this person had answered it, the newest first."""
    verdicts = Verdict.objects.filter(
        study=study, withdrawn=False, superseded_by=None, task__assignments__annotator=user
    )
    by_task = {one.task_id: one for one in verdicts.select_related("task").order_by("-pk")[: 4 * most]}
    labels = Label.objects.current().filter(annotator=user, task__in=by_task)
    found = [
        Difference(label, by_task[label.task_id])
        for label in labels.select_related("task__item", "assignment")
        if not gold.right(label.kind, label.answer, by_task[label.task_id].answer, label.task.candidates)
    ]
    return sorted(found, key=lambda one: -one.verdict.pk)[:most]


def words_of(kind: str, answer: dict, order: list[int]) -> str:
    """An answer in words, for answers that stood in this order."""
    module = interface(kind)
    return module.words(answer, order) if hasattr(module, "words") else module.label
