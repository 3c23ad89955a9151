"""The pages of reviewers: which tasks to look at, one task with all that was said of it, and an item's whole story."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotation import gold, remarks, review
from annotation.access import item_for, label_for, membership_for, remark_for, task_for
from annotation.detail import detail_of
from annotation.errors import Conflict, Invalid
from annotation.history import Event, story
from annotation.interfaces.registry import interface
from annotation.models import Item, Label, Part, Remark, Role, Task
from annotation.views.label import style_of


@login_required
@never_cache
@require_GET
def tasks(request, pk):
    """The reviewer's three queues; `?which=` chooses one."""
    mine = membership_for(request.user, pk, Role.REVIEWER)
    which = request.GET.get("which", "")
    which = which if which in review.WHICH else "disputed"
    found = review.to_review(mine.study, which)
    page = {
        "study": mine.study,
        "which": which,
        "counts": review.counts(mine.study),
        "rows": [row_of(task) for task in found],
        "may_review": True,
        "may_research": mine.may(Role.RESEARCHER),
    }
    return render(request, "annotation/review.html", page)


def row_of(task: Task) -> dict:
    context = task.item.context
    return {
        "task": task,
        "asked": interface(task.kind).label,
        "prompt": context["messages"][-1]["content"] if "messages" in context else context["prompt"],
        "said": [one.words for one in said_of(task)],
        "flags": task.remarks.filter(kind=Remark.Kind.FLAG, resolved_at=None),
    }


def said_of(task: Task) -> list[Label]:
    """The labels of a task that stand, each with its words for answers in the task's own order."""
    labels = Label.objects.current().filter(task=task).select_related("annotator", "assignment")
    candidates = list(task.item.candidates.all())
    for one in labels:
        one.detail = detail_of(task, one.answer, candidates)
        one.words = review.words_of(one.kind, one.answer, task.candidates)
        one.reason = one.answer.get("reason", "")
    return list(labels)


@login_required
@never_cache
def task(request, pk):
    """One task: what everyone said, side by side, and the reviewer's own answer, which settles it."""
    asked = task_for(request.user, pk, Role.REVIEWER)
    which = request.POST.get("which") or request.GET.get("which", "disputed")
    error = ""
    if request.method == "POST":
        try:
            review.settle(
                task=asked, by=request.user, answer=request.POST, reason=request.POST.get("why", "")
            )
        except (Conflict, Invalid) as problem:
            error = str(problem)
        else:
            messages.success(request, "Settled. Those who had answered otherwise see your reason.")
            return redirect(after(asked, which))
    return render(
        request,
        "annotation/review_task.html",
        page_of(request.user, asked, which, error, begin=request.GET.get("begin", "")),
        status=422 if error else 200,
    )


def page_of(user, asked: Task, which: str, error: str, begin: str) -> dict:
    """What the page shows. The reviewer's form holds the verdict, or begins with the answer of the label `begin`."""
    claim = review.as_claim(asked, user)
    given = said_of(asked)
    first = next((one for one in given if str(one.pk) == begin), None)
    claim = replace(claim, answer=first.answer) if first else claim
    module = interface(asked.kind)
    mine = membership_for(user, asked.study_id, Role.REVIEWER)
    return {
        **module.show(claim),
        "claim": claim,
        "study": asked.study,
        "template": module.template,
        "sheet": style_of(asked.kind),
        "asked": module.label,
        "which": which,
        "error": error,
        "reviewing": True,
        "given": given,
        "begun": first,
        "remarks": asked.remarks.select_related("author", "resolved_by"),
        "verdict": review.verdict_of(asked),
        "known": getattr(asked, "gold", None),
        "judged": asked.part in review.JUDGED and asked.kind != "conversation",
        "may_research": mine.may(Role.RESEARCHER),
    }


def after(asked: Task, which: str):
    """Where a reviewer goes from one task: to the next of the same queue, or back to the queues."""
    rest = [one for one in review.to_review(asked.study, which, most=2) if one.pk != asked.pk]
    query = f"?{urlencode({'which': which})}"
    if rest:
        return reverse("annotation:review_task", args=[rest[0].pk]) + query
    return reverse("annotation:review", args=[asked.study_id]) + query


@login_required
@require_POST
def take_back(request, pk):
    """Ends the verdict on a task; its labels count again."""
    asked = task_for(request.user, pk, Role.REVIEWER)
    try:
        review.take_back(task=asked, by=request.user, reason=request.POST.get("why", ""))
    except Conflict as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, "The verdict is taken back; the labels count again.")
    return redirect("annotation:review_task", asked.pk)


@login_required
@require_POST
def send_back(request, pk):
    """Sends a label back to whoever gave it, with words."""
    label = label_for(request.user, pk)
    membership_for(request.user, label.study_id, Role.REVIEWER)
    try:
        review.send_back(label=label, by=request.user, words=request.POST.get("words", ""))
    except (Conflict, Invalid) as problem:
        messages.error(request, str(problem))
    else:
        messages.success(
            request, f"Sent back: {label.annotator.username} finds the task first, with your words."
        )
    return redirect("annotation:review_task", label.task_id)


@login_required
@require_POST
def resolve(request, pk):
    """Marks a flag or a note as dealt with."""
    found = remark_for(request.user, pk)
    remarks.resolve(found, by=request.user)
    messages.success(request, "Marked as dealt with.")
    return redirect("annotation:review_task", found.task_id)


@login_required
@require_POST
def make_gold(request, pk):
    """Makes the verdict on a task its known answer, mixed into everyone's queue or asked before the work."""
    asked = task_for(request.user, pk, Role.RESEARCHER)
    verdict = review.verdict_of(asked)
    part = request.POST.get("part", Part.GOLD)
    try:
        if request.POST.get("unmake"):
            gold.unmake(task=asked)
            messages.success(request, "It has no known answer any more.")
        elif verdict is None:
            messages.error(request, "Settle the task first: the verdict becomes the known answer.")
        else:
            made = gold.make_gold(
                task=asked, answer=verdict.answer, by=request.user, reason=verdict.reason, part=part
            )
            where = "everyone's queue" if part == Part.GOLD else "the qualification"
            messages.success(request, f"The verdict is now a known answer, in {where} (task {made.pk}).")
    except (Conflict, Invalid) as problem:
        messages.error(request, str(problem))
    return redirect("annotation:review_task", asked.pk)


@login_required
@never_cache
@require_GET
def item(request, pk):
    """An item with its answers, its tasks, and all that happened to it."""
    shown = item_for(request.user, pk)
    mine = membership_for(request.user, shown.study_id, Role.REVIEWER)
    page = {
        "study": shown.study,
        "item": shown,
        "candidates": shown.candidates.all(),
        "tasks": [(one, interface(one.kind).label) for one in shown.tasks.filter(person=None).order_by("pk")],
        "story": full_story(shown),
        "may_review": True,
        "may_research": mine.may(Role.RESEARCHER),
    }
    return render(request, "annotation/item.html", page)


def full_story(shown: Item) -> list[tuple[Event, dict, str]]:
    """The item's story: each answer in it in full, and which of several texts it is about."""
    tasks = {one.pk: one for one in shown.tasks.select_related("study")}
    candidates = list(shown.candidates.all())
    numbers = {one.pk: one.index + 1 for one in candidates}
    found = []
    for event in story(shown):
        task = tasks.get(event.task)
        detail = detail_of(task, event.answer, candidates) if task and event.answer else {}
        about = [numbers[pk] for pk in task.candidates if pk in numbers] if task and len(numbers) > 1 else []
        found.append((event, detail, " and ".join(str(one) for one in about) if len(about) < 3 else ""))
    return found
