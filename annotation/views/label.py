"""The labelling room: the page that asks, and the few addresses its script talks to.

Every address answers a plain form too (with a redirect), so that the page works without script.
"""

from urllib.parse import urlencode
from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotation.access import study_for, task_for
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import INTERFACES, interface
from annotation.models import Study
from annotation.queue import Claim
from annotation.services import (
    claim_tasks,
    extend_leases,
    progress,
    skip_task,
    submit_label,
    turn_at,
    undo_last,
    why_empty,
)


@login_required
@never_cache
@require_GET
def label(request, pk):
    """One task to answer, or why there is none. `?task=` shows a task that an undo brought back."""
    study = study_for(request.user, pk)
    return label_page(request, study, kind_of(request.GET), wanted=request.GET.get("task", ""))


def label_page(
    request, study: Study, kind: str | None, wanted="", claim=None, posted=None, error="", status=200
):
    if claim is None and wanted.isdecimal():
        try:
            claim = turn_at(task=int(wanted), annotator=request.user)
        except Conflict as problem:
            messages.error(request, str(problem))
    if claim is None:
        claim = next(iter(claim_tasks(study=study, annotator=request.user, kind=kind)), None)
    words = [(name, interface(name).label) for name in study.kinds]
    page = {"study": study, "kind": kind, "kinds": words, "progress": progress(study, request.user)}
    if claim:
        page |= task_context(claim, kind, posted=posted, error=error)
    else:
        page |= nothing_context(request.user, study, kind)
    return render(request, "annotation/label.html", page, status=status)


@login_required
@never_cache
@require_GET
def next_tasks(request, pk):
    """Leases the next tasks for a page that has some in hand; each comes as the HTML the page would have shown."""
    kind = kind_of(request.GET)
    claims = claim_tasks(
        study=pk,
        annotator=request.user,
        kind=kind,
        count=number(request.GET.get("count"), 3),
        besides=numbers(request.GET.get("have", "")),
    )
    reply = {"tasks": [task_json(request, claim, kind) for claim in claims], "why_empty": None}
    if not claims:
        empty = nothing_context(request.user, study_for(request.user, pk), kind)
        reply["why_empty"] = empty["why_empty"]
        reply["nothing"] = render_to_string("annotation/nothing.html", empty, request)
    return JsonResponse(reply)


@login_required
@require_POST
def submit(request, pk):
    """Takes an answer. The key the browser made for it turns a retry into the same label."""
    if refusal := someone_else(request):
        return refusal
    kind = kind_of(request.POST)
    try:
        given = submit_label(
            task=pk,
            annotator=request.user,
            answer=request.POST,
            key=request.POST.get("key", ""),
            seconds=seconds(request.POST.get("seconds")),
        )
    except Conflict as problem:
        if wants_json(request):
            return refuse(409, "conflict", str(problem), details={"holder": problem.holder})
        messages.error(request, str(problem))
        return back_to_label(task_for(request.user, pk).study_id, kind)
    except Invalid as problem:
        if wants_json(request):
            return refuse(422, "invalid", str(problem), field=problem.field)
        study = task_for(request.user, pk).study
        turn = turn_at(task=pk, annotator=request.user)
        return label_page(
            request, study, kind, claim=turn, posted=request.POST, error=str(problem), status=422
        )
    if wants_json(request):
        return JsonResponse({"label": given.pk})
    return back_to_label(task_for(request.user, pk).study_id, kind)


@login_required
@require_POST
def skip(request, pk):
    """Passes the task on to somebody else."""
    if refusal := someone_else(request):
        return refusal
    try:
        skip_task(task=pk, annotator=request.user, reason=request.POST.get("reason", ""))
    except Conflict as problem:
        if wants_json(request):
            return refuse(409, "conflict", str(problem), details={"holder": problem.holder})
        messages.error(request, str(problem))
    if wants_json(request):
        return JsonResponse({"skipped": pk})
    return back_to_label(task_for(request.user, pk).study_id, kind_of(request.POST))


@login_required
@require_POST
def undo(request, pk):
    """Takes back the last answer or skip, and shows its task again with what was chosen."""
    study = study_for(request.user, pk)
    kind = kind_of(request.POST)
    try:
        claim = undo_last(study=study, annotator=request.user)
    except Conflict as problem:
        if wants_json(request):
            return refuse(409, "conflict", str(problem), details={"holder": problem.holder})
        messages.error(request, str(problem))
        return back_to_label(pk, kind)
    if wants_json(request):
        shown = task_json(request, claim, kind) if claim else None
        return JsonResponse({"task": shown, "progress": progress(study, request.user)})
    if claim is None:
        messages.info(request, "There is nothing to undo in this study.")
    return back_to_label(pk, kind, task=claim.task.pk if claim else None)


@login_required
@require_POST
def heartbeat(request, pk):
    """Keeps the leases of whoever is still there; names the tasks that were lost meanwhile."""
    study_for(request.user, pk)
    tasks = numbers(request.POST.get("tasks", ""))
    kept = extend_leases(annotator=request.user, tasks=tasks)
    return JsonResponse({"kept": kept, "lost": [task for task in tasks if task not in kept]})


# --- what the pages above share


def task_context(claim: Claim, kind: str | None, posted=None, error="") -> dict:
    module = interface(claim.task.kind)
    return {
        **module.show(claim),
        "claim": claim,
        "template": module.template,
        "key": uuid4(),
        "kind": kind,
        "posted": posted,
        "error": error,
    }


def task_json(request, claim: Claim, kind: str | None) -> dict:
    return {
        "id": claim.task.pk,
        "kind": claim.task.kind,
        "lease_until": claim.lease_until,
        "answer": claim.answer,
        "html": render_to_string("annotation/task.html", task_context(claim, kind), request),
    }


def nothing_context(user, study: Study, kind: str | None) -> dict:
    """Why there is nothing, and where else there is something."""
    others = Study.objects.seen_by(user).active().exclude(pk=study.pk)
    elsewhere = others.filter(tasks__open__gt=0).distinct()[:5]
    return {
        "study": study,
        "kind": kind,
        "why_empty": why_empty(study=study, annotator=user, kind=kind),
        "elsewhere": elsewhere,
    }


def back_to_label(study_pk: int, kind: str | None, task: int | None = None):
    query = urlencode({name: value for name, value in {"kind": kind, "task": task}.items() if value})
    return redirect(reverse("annotation:label", args=[study_pk]) + (f"?{query}" if query else ""))


def wants_json(request) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


def refuse(status: int, code: str, message: str, field: str | None = None, details: dict | None = None):
    error = {"message": message, "field": field, "code": code, "details": details or {}}
    return JsonResponse({"error": error}, status=status)


def someone_else(request):
    """Answers kept in a browser carry who gave them: never store Ada's under Bob, who signed in after her."""
    given_by = request.POST.get("annotator", "")
    if given_by and given_by != str(request.user.pk):
        return refuse(
            403, "forbidden", "These answers were given by someone else, who must sign in to send them."
        )
    return None


def kind_of(values) -> str | None:
    return values.get("kind") if values.get("kind") in INTERFACES else None


def number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


def numbers(text: str) -> list[int]:
    """The ids in "3,5,8"; what is no number is dropped, and so are more than a page could hold."""
    return [int(part) for part in text.split(",")[:200] if part.isdecimal() and len(part) < 19]


def seconds(text: str | None) -> float:
    """How long the person took, as their browser says; 0 where it says nothing sensible."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
