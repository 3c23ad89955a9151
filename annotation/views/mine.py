"""What a person said in a study: their own answers, newest first, with what was remarked about them."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotation.access import study_for
from annotation.interfaces.registry import interface
from annotation.models import Label, Part, Remark
from annotation.review import differences, words_of

PER_PAGE = 25


@login_required
@never_cache
@require_GET
def mine(request, pk):
    study = study_for(request.user, pk)
    labels = Label.objects.current().filter(study=study, annotator=request.user)
    labels = labels.select_related("task__item", "assignment").order_by("-pk")
    page = Paginator(labels, PER_PAGE).get_page(request.GET.get("page"))
    remarks = remarks_about(request.user, [label.task_id for label in page])
    rows = [
        {
            "label": label,
            "words": in_words(label),
            "asked": interface(label.kind).label,
            "prompt": last_turn(label.task.item.context),
            "remarks": remarks.get(label.task_id, []),
            "back_from": label.pk + 1,
            "may_change": label.task.part != Part.QUALIFICATION,
        }
        for label in page
    ]
    overruled = differences(study, request.user)
    return render(
        request,
        "annotation/mine.html",
        {"study": study, "page": page, "rows": rows, "differences": overruled},
    )


def in_words(label: Label) -> str:
    """What a label says, as the person who gave it saw the answers."""
    said = words_of(label.kind, label.answer, label.assignment.order)
    reason = label.answer.get("reason")
    return f"{said}: {reason}" if reason else said


def last_turn(context: dict) -> str:
    messages = context.get("messages")
    return messages[-1]["content"] if messages else context.get("prompt", "")


def remarks_about(user, tasks: list[int]) -> dict[int, list[Remark]]:
    """By task: what this person remarked, and what a reviewer wrote when a label of theirs was sent back."""
    rows = Remark.objects.filter(task__in=tasks).order_by("pk")
    rows = rows.filter(author=user) | rows.filter(kind=Remark.Kind.SENT_BACK, label__annotator=user)
    found: dict[int, list[Remark]] = {}
    for row in rows.select_related("author"):
        found.setdefault(row.task_id, []).append(row)
    return found
