"""The labelling room: the page that asks, and the few addresses its script talks to.

Every address answers a plain form too (with a redirect), so that the page works without script.
"""

import json
from functools import cache
from urllib.parse import urlencode
from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.staticfiles import finders
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotation import gold, governance, keys, services
from annotation.access import membership_for, study_for, task_for
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import INTERFACES, interface
from annotation.models import Label, Membership, Study
from annotation.queue import Claim
from annotation.review import words_of
from annotation.services import (
    claim_tasks,
    extend_leases,
    progress,
    revise_label,
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
    membership = membership_for(request.user, pk)
    return label_page(request, membership, kind_of(request.GET), wanted=request.GET.get("task", ""))


def label_page(
    request,
    membership: Membership,
    kind: str | None,
    wanted="",
    claim=None,
    looking_back=False,
    posted=None,
    error="",
    status=200,
):
    study = membership.study
    if claim is None and wanted.isdecimal():
        try:
            claim = turn_at(task=int(wanted), annotator=request.user)
        except Conflict as problem:
            messages.error(request, str(problem))
    if claim is None and not asks_consent(membership):
        claim = next(iter(claim_tasks(study=study, annotator=request.user, kind=kind)), None)
    page = room_context(request.user, study, kind)
    if claim:
        page |= task_context(claim, kind, looking_back=looking_back, posted=posted, error=error)
    else:
        page |= nothing_context(membership, kind)
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
        empty = nothing_context(membership_for(request.user, pk), kind)
        reply["why_empty"] = empty["why_empty"]
        reply["nothing"] = render_to_string("annotation/nothing.html", empty, request)
    return JsonResponse(reply)


@login_required
@require_POST
def submit(request, pk):
    """Takes an answer. The key the browser made for it turns a retry into the same label."""
    return take_answer(request, pk, submit_label)


@login_required
@require_POST
def revise(request, pk):
    """Takes a change of mind: a label that supersedes the one this person gave the task before."""
    return take_answer(request, pk, revise_label, looking_back=True)


def take_answer(request, pk: int, take, looking_back=False):
    if refusal := someone_else(request):
        return refusal
    kind = kind_of(request.POST)
    try:
        given = take(
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
        membership = membership_for(request.user, task_for(request.user, pk).study_id)
        turn = (answered_turn if looking_back else turn_at)(task=pk, annotator=request.user)
        return label_page(
            request,
            membership,
            kind,
            claim=turn,
            looking_back=looking_back,
            posted=request.POST,
            error=str(problem),
            status=422,
        )
    told = told_at_once(request, given)
    if wants_json(request):
        return JsonResponse({"label": given.pk, **told})
    if told:
        messages.info(request, told["feedback"]["words"])
    return back_to_label(given.study_id, kind)


def told_at_once(request, given: Label) -> dict:
    """Of a question of the qualification: whether the answer was right, why, and how far this person is."""
    feedback = gold.feedback(given) if "told" in request.POST else None
    if feedback is None:
        return {}
    study = given.task.study
    return {
        "feedback": {**feedback, "words": feedback_words(given, feedback)},
        "progress": gold.qualification_of(study, request.user),
    }


def feedback_words(given: Label, feedback: dict) -> str:
    """Whether it was right and, where it was not, what is; in the words of the screen."""
    said = "Right."
    if not feedback["right"]:
        known = words_of(given.kind, feedback["gold"], given.assignment.order)
        said = f"Not what was looked for: that is “{known}”."
    return f"{said} {feedback['reason']}".strip()


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
@never_cache
@require_GET
def past(request, pk):
    """Steps back: the newest of this person's answers, or the newest `?before=` a label, with what they said marked."""
    membership = membership_for(request.user, pk)
    kind, before = kind_of(request.GET), request.GET.get("before", "")
    claim = services.past(
        study=membership.study,
        annotator=request.user,
        before=int(before) if before.isdecimal() and len(before) < 19 else None,
    )
    if wants_json(request):
        return JsonResponse({"task": claim and task_json(request, claim, kind, looking_back=True)})
    if claim is None:
        messages.info(request, "There is no earlier answer of yours in this study.")
        return back_to_label(pk, kind)
    return label_page(request, membership, kind, claim=claim, looking_back=True)


@login_required
@require_POST
def heartbeat(request, pk):
    """Keeps the leases of whoever is still there; names the tasks that were lost meanwhile."""
    study_for(request.user, pk)
    tasks = numbers(request.POST.get("tasks", ""))
    kept = extend_leases(annotator=request.user, tasks=tasks)
    return JsonResponse({"kept": kept, "lost": [task for task in tasks if task not in kept]})


# --- what the pages above share


def room_context(user, study: Study, kind: str | None) -> dict:
    """What stands around the task: the study, its keys, this person's progress, the files the page needs."""
    return {
        "study": study,
        "kind": kind,
        "kinds": [(name, interface(name).label) for name in study.kinds],
        "styles": [path for path in map(style_of, study.kinds) if path],
        "progress": progress(study, user),
        "own_keys": json.dumps(user.keys),
        "keys": keys.table(user.keys, study.kinds),
        "fixed_keys": keys.fixed(study.kinds),
    }


@cache
def style_of(kind: str) -> str | None:
    """An interface may bring a style sheet of its own: `css/interfaces/<kind>.css`."""
    path = f"css/interfaces/{kind}.css"
    return path if finders.find(path) else None


def task_context(claim: Claim, kind: str | None, looking_back=False, posted=None, error="") -> dict:
    module = interface(claim.task.kind)
    shown = module.show(claim)
    return {
        **shown,
        "claim": claim,
        "template": module.template,
        "key": uuid4(),
        "flag_key": uuid4(),
        "note_key": uuid4(),
        "kind": kind,
        "looking_back": looking_back,
        "answers": [(one["id"], one["name"]) for one in shown.get("candidates", [])],
        "posted": posted,
        "error": error,
    }


def task_json(request, claim: Claim, kind: str | None, looking_back=False) -> dict:
    context = task_context(claim, kind, looking_back=looking_back)
    return {
        "id": claim.task.pk,
        "kind": claim.task.kind,
        "lease_until": claim.lease_until,
        "answer": claim.answer,
        "html": render_to_string("annotation/task.html", context, request),
    }


def answered_turn(*, task: int, annotator) -> Claim | None:
    """The turn at which this person answered a task, with what they said."""
    label = Label.objects.current().select_related("study").filter(task=task, annotator=annotator).first()
    return label and services.past(study=label.study, annotator=annotator, before=label.pk + 1)


def asks_consent(membership: Membership) -> bool:
    """Whether this person has yet to agree to what the study asks, as it is worded now."""
    study = membership.study
    return bool(study.consent.strip()) and membership.consent_version != study.consent_version


def nothing_context(membership: Membership, kind: str | None) -> dict:
    """Why there is nothing, and where else there is something; or what to agree to first."""
    study, user = membership.study, membership.user
    others = Study.objects.seen_by(user).active().exclude(pk=study.pk)
    elsewhere = others.filter(tasks__open__gt=0).distinct()[:5]
    return {
        "study": study,
        "kind": kind,
        "membership": membership,
        "asks_consent": asks_consent(membership),
        "consent_html": governance.consent_html(study) if asks_consent(membership) else "",
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
