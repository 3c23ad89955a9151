"""Tasks whose answer is known: making them, judging people by them, and who stands where.

Gold is mixed into everyone's queue and looks like anything else. A qualification is gold too, told at once, with the
reason, before the real work. A repeat has no known answer but the person's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.models import EVERYONE, Gold, Label, Membership, Part, Role, Study, Task

WINDOW = 20
"""Drift is looked for in a person's last so many gold answers; fewer than that say too little."""
MOST_CALIBRATION = 1000
KNOWN = (Part.GOLD, Part.QUALIFICATION)
Standing = Membership.Standing


@dataclass(frozen=True)
class Score:
    """How many known answers somebody matched, of how many."""

    right: int
    of: int

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0


# --- making gold


@transaction.atomic
def make_gold(*, task: Task, answer: Any, by, reason: str = "", part: str = Part.GOLD) -> Task:
    """A task with a known answer, which everyone is asked: this task, or a twin of it where people had it already.

    `answer` is as an interface's Answer is stored. Making gold of gold changes its answer.
    """
    if part not in KNOWN:
        raise Invalid(f"Found {part!r}; expected {' or '.join(KNOWN)}.", field="part")
    answer = check_answer(task, answer)
    if not task.candidates:
        raise Conflict(
            "What people write or say themselves has no known answer. Choose a task that judges answers."
        )
    task = Task.objects.select_for_update(no_key=True).get(pk=task.pk)
    if task.person_id or task.part == Part.REPEAT:
        raise Conflict("This task is one person's own. Make gold of the question it repeats.")
    if task.part not in KNOWN:
        task = _apart(task, part)
    elif task.part != part:
        task.part = part
        task.save(update_fields=["part"])
    Gold.objects.update_or_create(
        task=task, defaults={"answer": answer, "reason": reason.strip(), "created_by": by}
    )
    return task


def check_answer(task: Task, answer: Any) -> dict:
    """A stored answer that fits the task's interface; the interface says what is wrong with another."""
    module = interface(task.kind)
    if not isinstance(answer, Mapping):
        raise Invalid(f"Found {answer!r}; expected an answer as an object.", field="answer")
    try:
        read = module.Answer(**answer).to_json()
    except TypeError as problem:
        raise Invalid(f"This is no answer to {task.kind}: {problem}.", field="answer") from None
    named = [read[name] for name in ("chosen", "rejected", "candidate") if read.get(name) is not None]
    strangers = [one for one in [*named, *(read.get("candidates") or [])] if one not in task.candidates]
    if strangers:
        raise Invalid(
            f"{strangers[0]} is none of the task's answers: {', '.join(map(str, task.candidates))}.",
            field="answer",
        )
    return read


def _apart(task: Task, part: str) -> Task:
    """The task taken out of the queue; or, where somebody had it, a twin, so that their answers stay what they were."""
    if not task.assignments.exists():
        Task.objects.filter(pk=task.pk).update(part=part, overlap=EVERYONE, open=EVERYONE, waiting=False)
        task.refresh_from_db()
        return task
    return _twin(task, part, person=None)


def _twin(task: Task, part: str, person) -> Task:
    places = 1 if person else EVERYONE
    return Task.objects.create(
        study_id=task.study_id,
        item_id=task.item_id,
        kind=task.kind,
        candidates=task.candidates,
        position=task.position,
        part=part,
        person=person,
        overlap=places,
        open=places,
    )


def set_calibration(*, study: Study, count: int, kind: str | None = None) -> int:
    """Makes tasks that nobody has had yet into the slice that everyone is asked; returns how many it has now."""
    if not 1 <= count <= MOST_CALIBRATION:
        raise Invalid(f"Found {count}; expected 1 to {MOST_CALIBRATION:,} tasks at once.", field="count")
    fresh = study.tasks.filter(part=Part.QUEUE, open=F("overlap"), waiting=False, assignments=None)
    if kind:
        fresh = fresh.filter(kind=kind)
    chosen = list(fresh.order_by("?").values_list("pk", flat=True)[:count])
    Task.objects.filter(pk__in=chosen, open=F("overlap")).update(
        part=Part.CALIBRATION, overlap=EVERYONE, open=EVERYONE
    )
    return study.tasks.filter(part=Part.CALIBRATION).count()


def unmake(*, task: Task) -> None:
    """Takes a task out of gold or calibration; it goes back to the queue where nobody answered it, else to rest."""
    with transaction.atomic():
        task = Task.objects.select_for_update(no_key=True).select_related("study").get(pk=task.pk)
        Gold.objects.filter(task=task).delete()
        if task.assignments.exists():
            task.overlap, task.open = task.overlap - task.open, 0
        elif Task.objects.filter(
            item=task.item_id, kind=task.kind, candidates=task.candidates, part=Part.QUEUE
        ).exists():
            task.delete()
            return
        else:
            task.part, task.overlap, task.open = Part.QUEUE, task.study.overlap, task.study.overlap
        task.save(update_fields=["part", "overlap", "open"])


# --- judging by it


def right(kind: str, answer: dict, known: dict, candidates: list[int]) -> bool:
    """Whether an answer says what the known answer says. How strongly plays no part."""
    module = interface(kind)
    if hasattr(module, "matches"):
        return module.matches(answer, known)
    if hasattr(module, "judgement"):
        given, wanted = module.judgement(answer, candidates), module.judgement(known, candidates)
        return _side(given) == _side(wanted)
    return answer == known


def _side(judged: int | str | None) -> int | str | None:
    """Of a strength, its side: clearly better and slightly better say the same."""
    return (judged > 0) - (judged < 0) if isinstance(judged, int) else judged


def score(study: Study, user, part: str = Part.GOLD, last: int | None = None, since=None) -> Score:
    """Of a person's answers to tasks of a part, the newest `last` of them."""
    labels = Label.objects.current().filter(study=study, annotator=user, task__part=part)
    if since is not None:
        labels = labels.filter(created_at__gt=since)
    labels = labels.filter(task__gold__isnull=False).select_related("task__gold").order_by("-pk")
    judged = [
        right(one.kind, one.answer, one.task.gold.answer, one.task.candidates)
        for one in (labels[:last] if last else labels)
    ]
    return Score(sum(judged), len(judged))


def feedback(label: Label) -> dict | None:
    """What a person is told at once about an answer of the qualification; None about any other task."""
    task = label.task
    if task.part != Part.QUALIFICATION:
        return None
    gold = Gold.objects.filter(task=task.pk).first()
    if gold is None:
        return None
    return {
        "right": right(label.kind, label.answer, gold.answer, task.candidates),
        "reason": gold.reason,
        "gold": gold.answer,
    }


# --- who stands where


def qualification_of(study: Study, user) -> dict[str, Any]:
    """How far a person is with the qualification: their standing, questions done, of how many, and right ones."""
    membership = study.memberships.get(user=user)
    asked = _asked(membership)
    done = _answers(membership)
    judged = [right(one.kind, one.answer, one.task.gold.answer, one.task.candidates) for one in done]
    return {"standing": membership.standing, "done": len(done), "of": len(asked), "right": sum(judged)}


def _asked(membership: Membership) -> list[int]:
    """The tasks of the qualification that this person is put to: everyone's, or the second time their own."""
    tasks = membership.study.tasks.arrived().filter(part=Part.QUALIFICATION, gold__isnull=False)
    own = list(tasks.filter(person=membership.user_id).order_by("-pk").values_list("pk", flat=True))
    if own and membership.standing_at:
        common = tasks.filter(person=None).count()
        return own[:common]
    return list(tasks.filter(person=None).values_list("pk", flat=True))


def _answers(membership: Membership) -> list[Label]:
    labels = Label.objects.current().filter(
        study=membership.study_id, annotator=membership.user_id, task__in=_asked(membership)
    )
    return list(labels.select_related("task__gold"))


def update_standing(task: Task, user) -> None:
    """After an answer to a known task: who has finished the qualification passes or not; who drifted does it anew."""
    study = Study.objects.get(pk=task.study_id)
    membership = study.memberships.filter(user=user).first()
    if membership is None or membership.role != Role.ANNOTATOR or not study.pass_bar:
        return
    if task.part == Part.QUALIFICATION and membership.standing in (Standing.NEW, Standing.AGAIN):
        asked, done = _asked(membership), _answers(membership)
        if asked and len(done) >= len(asked):
            judged = [right(one.kind, one.answer, one.task.gold.answer, one.task.candidates) for one in done]
            passed = sum(judged) / len(judged) >= study.pass_bar
            set_standing(membership=membership, standing=Standing.PASSED if passed else Standing.FAILED)
    elif task.part == Part.GOLD and membership.standing == Standing.PASSED and study.drift_bar:
        lately = score(study, user, last=WINDOW, since=membership.standing_at)
        if lately.of >= WINDOW and lately.share < study.drift_bar:
            requalify(membership=membership)


def set_standing(*, membership: Membership, standing: str) -> None:
    """Lets somebody in, or not; a researcher may do so by hand."""
    if standing not in Standing.values:
        raise Invalid(f"Found {standing!r}; expected one of {', '.join(Standing.values)}.", field="standing")
    membership.standing, membership.standing_at = standing, timezone.now()
    membership.save(update_fields=["standing", "standing_at"])


@transaction.atomic
def requalify(*, membership: Membership) -> None:
    """Puts somebody to the qualification anew, with tasks of their own, since they have had the others."""
    common = membership.study.tasks.arrived().filter(part=Part.QUALIFICATION, person=None, gold__isnull=False)
    for task in common.select_related("gold"):
        own = _twin(task, Part.QUALIFICATION, person=membership.user)
        Gold.objects.create(
            task=own, answer=task.gold.answer, reason=task.gold.reason, created_by=task.gold.created_by
        )
    set_standing(membership=membership, standing=Standing.AGAIN)


# --- repeats


def repeat_later(task: Task, user) -> Task | None:
    """Asks a person the same question once more, some tasks on, with the sides swapped; once for each task."""
    again = Task.objects.filter(item=task.item_id, kind=task.kind, part=Part.REPEAT, person=user)
    if len(task.candidates) < 2 or again.filter(candidates=task.candidates).exists():
        return None
    return _twin(task, Part.REPEAT, person=user)
