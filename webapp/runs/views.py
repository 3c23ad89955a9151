"""The pages about runs. They translate and call: rows come through access.py, changes go through services.py."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from annotation.access import membership_for, study_for
from annotation.errors import Conflict, Invalid
from annotation.models import Snapshot
from trainers import registry
from trainers.metrics import METRICS, PRIMARY
from webapp.runs import artifacts, cards, console, lineage, offers, reports, samples, services
from webapp.runs.access import MAY_CONTROL, MAY_WATCH, loop_for, run_for, withdrawn_from
from webapp.runs.forms import LoopForm, RunForm
from webapp.runs.models import HELD, SILENT_AFTER, Artifact, Run, Status, Worker

RUNS_A_PAGE = 50
WORKER_COMMAND = (
    "celery -A webapp.celery worker --pool threads --concurrency 2 --queues {queue} --hostname train@%h"
)
# What a person may ask of a run, and in which states the button is there.
ACTIONS = [
    {"kind": "pause", "word": "Pause", "when": "running", "tone": "", "help": "Waits after the current step"},
    {"kind": "resume", "word": "Resume", "when": "paused stopped failed", "tone": "primary",
     "help": "Goes on from where it stopped, or from its last checkpoint"},
    {"kind": "stop", "word": "Stop", "when": "queued running paused", "tone": "danger",
     "help": "Saves a checkpoint and stops; it can be resumed"},
]  # fmt: skip


@login_required
def every(request: HttpRequest) -> HttpResponse:
    """Every run this person may follow, whatever its study."""
    return _listed(request, Run.objects.seen_by(request.user), study=None)


@login_required
def of_study(request: HttpRequest, pk: int) -> HttpResponse:
    membership = membership_for(request.user, pk, MAY_WATCH)
    study = membership.study
    return _listed(request, study.runs.all(), study=study, may_control=membership.may(MAY_CONTROL))


def _listed(request: HttpRequest, runs, *, study, may_control: bool = False) -> HttpResponse:
    page = Paginator(
        runs.select_related("study", "snapshot", "created_by").order_by("-pk"), RUNS_A_PAGE
    ).get_page(request.GET.get("page"))
    shown = list(page)
    signs = lineage.vital_signs(shown)
    now = timezone.now()
    rows = [
        {
            "run": run,
            "signs": signs[run.pk][:3],
            "silent": run.status in HELD
            and run.heartbeat_at is not None
            and now - run.heartbeat_at > SILENT_AFTER,
            "seconds": ((run.finished_at or now) - run.started_at).total_seconds()
            if run.started_at
            else None,
        }
        for run in shown
    ]
    queued = {run.queue for run in shown if run.status == Status.QUEUED}
    deserted = [queue for queue in sorted(queued) if not Worker.objects.alive().taking(queue).exists()]
    context = {
        "study": study,
        "page": page,
        "rows": rows,
        "may_control": may_control,
        "deserted": [(queue, WORKER_COMMAND.format(queue=queue)) for queue in deserted],
    }
    return render(request, "runs/list.html", context)


@login_required
def page(request: HttpRequest, pk: int) -> HttpResponse:
    run = run_for(request.user, pk)
    held = list(run.series.all())
    last = {one.name: one.last for one in held}
    ended = run.finished_at or timezone.now()
    waits = run.status == Status.QUEUED and not Worker.objects.alive().taking(run.queue).exists()
    entry = registry.METHODS.get(run.method)
    context = {
        "run": run,
        "series": held,
        "vitals": [
            {"name": name, "label": METRICS[name].label, "help": METRICS[name].help, "last": last.get(name)}
            for name in PRIMARY.get(run.method, [])
        ],
        "clock": (ended - run.started_at).total_seconds() if run.started_at else None,
        "waits_for_worker": waits,
        "worker_command": WORKER_COMMAND.format(queue=run.queue),
        "actions": [{**action, "statuses": action["when"].split()} for action in ACTIONS],
        "knobs": [{"name": name, "value": run.config.get(name)} for name in (entry.knobs if entry else ())],
        "facts": {
            "method": run.method,
            "status": run.status,
            "started": run.started_at.timestamp() if run.started_at else None,
            "finished": run.finished_at.timestamp() if run.finished_at else None,
        },
        "config": _config(run),
        "provenance": _provenance(run),
    }
    for name in PARTS:
        context |= _part(request, run, name)
    return render(request, "runs/run.html", context)


# The parts of a run page that are HTML: rendered with the page, and fetched again when they have changed.
PARTS = {
    "samples": lambda run, asked: samples.compared(run, step=asked.get("step"), before=asked.get("before")),
    "console": lambda run, asked: console.tail(run),
    "events": lambda run, asked: run.events.select_related("by").order_by("-pk")[:200],
    "lineage": lambda run, asked: lineage.of_run(run),
    "report": lambda run, asked: reports.shown(run.report),
}


@login_required
def part(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    if name not in PARTS:
        raise Http404(f"A run page has no part {name!r}. It has {', '.join(PARTS)}.")
    run = run_for(request.user, pk)
    return render(request, f"runs/{name}.html", {"run": run, **_part(request, run, name)})


def _part(request: HttpRequest, run: Run, name: str) -> dict[str, Any]:
    return {name: PARTS[name](run, request.GET), "may_control": _may_control(request, run)}


def _may_control(request: HttpRequest, run: Run) -> bool:
    try:
        run_for(request.user, run.pk, MAY_CONTROL)
    except Http404:
        return False
    return True


def _config(run: Run) -> list[dict[str, Any]]:
    """The settings as they were, those that differ from the default marked."""
    known = {one.name: one for one in registry.fields(run.method)} if run.method in registry.METHODS else {}
    found = []
    for name in [
        *(name for name in known if name in run.config),
        *(name for name in run.config if name not in known),
    ]:
        field, value = known.get(name), run.config[name]
        changed = field is not None and field.default != value
        found.append(
            {"name": name, "value": value, "doc": field.doc if field else "", "changed": changed,
             "default": field.default if field else None}
        )  # fmt: skip
    return found


def _provenance(run: Run) -> list[dict[str, Any]]:
    found = []
    for name, value in run.provenance.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items() if not isinstance(one, dict))
        if value:
            found.append({"name": name.replace("_", " "), "value": value})
    return found


@login_required
@require_POST
def command(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause, resume, stop, kill, checkpoint, set."""
    run = run_for(request.user, pk, MAY_CONTROL)
    kind = request.POST.get("kind", "")
    args = {"name": request.POST.get("name"), "value": request.POST.get("value")} if kind == "set" else {}
    return _done(request, run, lambda: services.command_run(run=run, kind=kind, args=args, by=request.user))


@login_required
@require_POST
def send_samples(request: HttpRequest, pk: int) -> HttpResponse:
    run = run_for(request.user, pk, MAY_CONTROL)
    if run.study_id is None:
        raise Http404(f"Run {run.pk} belongs to no study, so there is nobody to send samples to.")
    try:
        asked = {name: int(request.POST.get(name, "")) for name in ("before", "step", "index")}
    except ValueError:
        asked = {"before": -1, "step": -1, "index": -1}
    return _done(request, run, lambda: samples.send_to_annotators(run=run, **asked))


def _done(request: HttpRequest, run: Run, act) -> HttpResponse:
    """Acts; then back to the page, or, to a script, an empty answer or the API's shape of error."""
    scripted = request.headers.get("Accept") == "application/json"
    try:
        act()
    except (Conflict, Invalid) as problem:
        if not scripted:
            messages.error(request, str(problem))
            return redirect("runs:run", run.pk)
        status, code = (409, "conflict") if isinstance(problem, Conflict) else (422, "invalid")
        field = getattr(problem, "field", None)
        error = {"code": code, "message": str(problem), "field": field, "details": {}}
        return JsonResponse({"error": error}, status=status)
    return HttpResponse(status=204) if scripted else redirect("runs:run", run.pk)


@login_required
def new(request: HttpRequest, pk: int) -> HttpResponse:
    """Three choices down one page: the snapshot, a method that can learn from it, and the method's settings."""
    study = study_for(request.user, pk, MAY_CONTROL)
    snapshots = list(Snapshot.objects.filter(study=study).order_by("-pk"))
    like = (
        get_object_or_404(study.runs, pk=request.GET["like"])
        if request.GET.get("like", "").isdecimal()
        else None
    )
    asked = request.POST or request.GET
    snapshot = _chosen(snapshots, asked.get("snapshot"), otherwise=like.snapshot_id if like else None)
    families = offers.offers(study, snapshot)
    possible = [name for family in families for name in family["possible"]]
    method = asked.get("method") or (like.method if like else None)
    if method not in registry.METHODS:
        method = possible[0] if possible else None
    form = None
    if method in possible:
        posted = request.POST if "start" in request.POST else None
        form = RunForm(
            posted, study=study, method=method, snapshot=snapshot,
            initial=RunForm.like(like) if like and like.method == method else None,
        )  # fmt: skip
        if posted is not None and form.is_valid():
            try:
                run = services.start_run(**form.asked(), by=request.user)
                return redirect("runs:run", run.pk)
            except Invalid as problem:
                form.refuse(problem)
    context = {
        "study": study,
        "snapshots": snapshots,
        "snapshot": snapshot,
        "families": families,
        "method": method,
        "chosen": next(
            (one for family in families for one in family["methods"] if one["name"] == method), None
        ),
        "card": cards.page(method) if form else "",
        "form": form,
        "like": like,
    }
    return render(request, "runs/new.html", context, status=422 if form and form.errors else 200)


def _chosen(snapshots: list[Snapshot], asked: str | None, *, otherwise: int | None) -> Snapshot | None:
    wanted = int(asked) if asked and asked.isdecimal() else otherwise
    return next((one for one in snapshots if one.pk == wanted), snapshots[0] if snapshots else None)


@login_required
def models(request: HttpRequest, pk: int) -> HttpResponse:
    """The study's models and other artifacts, the newest first, with their files."""
    membership = membership_for(request.user, pk, MAY_WATCH)
    study = membership.study
    found = (
        Artifact.objects.filter(study=study)
        .select_related("run")
        .prefetch_related("uses__run")
        .order_by("-pk")
    )
    listed = Paginator(found, RUNS_A_PAGE).get_page(request.GET.get("page"))
    rows = [
        {
            "artifact": one,
            "word": lineage.KIND_WORDS.get(one.kind, one.kind),
            "files": artifacts.listing(one) if one.location.exists() else [],
            "uses": list(one.uses.all()),
        }
        for one in listed
    ]
    context = {"study": study, "page": listed, "rows": rows, "may_control": membership.may(MAY_CONTROL)}
    return render(request, "runs/models.html", context)


@login_required
def affected(request: HttpRequest, pk: int) -> HttpResponse:
    """What was frozen and trained with an item, or with a person's labels, before they were withdrawn."""
    study = study_for(request.user, pk, MAY_WATCH)
    held = withdrawn_from(study, request.GET)
    context = {"study": study, "asked": request.GET, "snapshots": held, "rows": lineage.trained_on(held)}
    return render(request, "runs/affected.html", context)


@login_required
def loop(request: HttpRequest, pk: int) -> HttpResponse:
    """The study's loop: its switches, what it does now, its lineage. A fragment for the study page, or a page."""
    membership = membership_for(request.user, pk, MAY_WATCH)
    row = loop_for(request.user, pk)
    form = LoopForm(initial=LoopForm.of(row))
    if request.method == "POST":
        study = study_for(request.user, pk, MAY_CONTROL)
        form = LoopForm(request.POST)
        if form.is_valid():
            try:
                row = services.set_loop(study=study, by=request.user, **form.cleaned_data)
                if not request.htmx:
                    return redirect("runs:loop", pk)
            except Invalid as problem:
                form.add_error(None, str(problem))
    context = {
        "study": membership.study,
        "loop": row,
        "form": form,
        "may_control": membership.may(MAY_CONTROL),
        "state": lineage.of_loop(row),
    }
    template = "runs/loop.html"
    if request.GET.get("part") == "now":
        template = "runs/loop_now.html"
    elif not request.htmx:
        template = "runs/loop_page.html"
    return render(request, template, context)
