"""The pages about robots at work. Rows come through access.py, changes go through services.py and teaching.py."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Prefetch, Subquery, prefetch_related_objects
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation.access import membership_for
from annotation.errors import Conflict, Invalid
from annotation.models import Role
from trainers.envs.registry import WORLDS
from webapp.robots import services, teaching
from webapp.robots.access import MAY_START, MAY_WATCH, session_for
from webapp.robots.forms import StartForm
from webapp.robots.models import Said, Session, Status, Take
from webapp.runs.models import Worker

SESSIONS_A_PAGE = 50
WORKER_COMMAND = (
    "celery -A webapp.celery worker --pool threads --concurrency 4 --queues robots --hostname robots@%h"
)


@login_required
def of_study(request: HttpRequest, pk: int) -> HttpResponse:
    """The sessions of a study; sent as a form, it starts one."""
    least = MAY_START if request.method == "POST" else MAY_WATCH
    membership = membership_for(request.user, pk, least)
    study = membership.study
    form = StartForm(request.POST if request.method == "POST" else None, study=study)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.start_session(study=study, by=request.user, **form.asked())
            return redirect("robots:session", made.pk)
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
    sessions = Session.objects.filter(study=study).select_related("policy", "steerer", "created_by")
    sessions = sessions.annotate(episodes=_count(Take), words=_count(Said))
    context = {
        "study": study,
        "form": form,
        "may_start": membership.may(MAY_START),
        "may_review": membership.may(Role.REVIEWER),
        "may_research": membership.may(Role.RESEARCHER),
        "page": Paginator(sessions, SESSIONS_A_PAGE).get_page(request.GET.get("page")),
        "worlds": {name: {"title": entry.title, "tasks": entry.tasks, "talks": entry.talks, "here": entry.here}
                   for name, entry in WORLDS.items()},
        "no_worker": not Worker.objects.alive().taking(services.QUEUE).exists(),
        "worker_command": WORKER_COMMAND,
    }  # fmt: skip
    return render(request, "robots/list.html", context, status=422 if form.errors else 200)


@login_required
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """A session: what happens in it comes by the socket."""
    session = session_for(request.user, pk)
    membership = membership_for(request.user, session.study_id, MAY_WATCH)
    takes = session.takes.select_related("recording", "marked_by")
    if session.repeats:
        told = Take.objects.annotate(told=Count("said"))
        prefetch_related_objects([session.repeats], "repeated_by__takes", Prefetch("takes", told))
    context = {
        "session": session,
        "study": session.study,
        "takes": takes,
        "world": WORLDS.get(session.world),
        "may_start": membership.may(MAY_START),
        "method": teaching.method_of(session),
        "taught": teaching.taught(session),
        "alone": session.repeated_by.filter(alone=True).select_related("policy"),
        "no_worker": session.status in (Status.STARTING, Status.LOST)
        and not Worker.objects.alive().taking(services.QUEUE).exists(),
        "worker_command": WORKER_COMMAND,
    }
    return render(request, "robots/session.html", context)


@require_POST
@login_required
def teach(request: HttpRequest, pk: int) -> HttpResponse:
    """Freezes what was said and starts learning from it. JSON where a script asks, else on to the run's page."""
    session = session_for(request.user, pk, MAY_START)
    try:
        run = teaching.teach(session=session, by=request.user)
    except (Conflict, Invalid) as problem:
        return _refused(request, session, problem)
    if _wants_json(request):
        return JsonResponse({"run": run.pk, "url": f"/runs/{run.pk}/"}, status=201)
    return redirect("runs:run", run.pk)


@require_POST
@login_required
def again(request: HttpRequest, pk: int) -> HttpResponse:
    """Lets the policy that was taught try alone, on the seeds of this session."""
    session = session_for(request.user, pk, MAY_START)
    try:
        made = teaching.try_alone(session=session, by=request.user, run=request.POST.get("run"))
    except (Conflict, Invalid) as problem:
        return _refused(request, session, problem)
    if _wants_json(request):
        return JsonResponse({"session": made.pk, "url": f"/robots/{made.pk}/"}, status=201)
    return redirect("robots:session", made.pk)


@require_POST
@login_required
def end(request: HttpRequest, pk: int) -> HttpResponse:
    session = session_for(request.user, pk)
    try:
        services.end(session=session, by=request.user)
    except Conflict as problem:
        return _refused(request, session, problem)
    return redirect("robots:study", session.study_id)


def _count(rows: type[Take] | type[Said]) -> Coalesce:
    """How many of these each session has, in the query that finds the sessions."""
    mine = rows.objects.filter(session=OuterRef("pk")).order_by().values("session")
    return Coalesce(Subquery(mine.annotate(count=Count("pk")).values("count")), 0)


def _refused(request: HttpRequest, session: Session, problem: Conflict | Invalid) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"problem": str(problem)}, status=422 if isinstance(problem, Invalid) else 409)
    messages.error(request, str(problem))
    return redirect("robots:session", session.pk)


def _wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")
