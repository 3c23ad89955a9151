"""The pages about what goes in: files, and how far each one is."""

import time

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import import_jobs
from annotation.access import import_for, study_for
from annotation.errors import Conflict, Invalid
from annotation.forms import ImportForm
from annotation.models import ImportJob, Role


@login_required
def imports(request, pk):
    """Takes a file, and lists the ones that came before."""
    target = study_for(request.user, pk, role=Role.RESEARCHER)
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            job = import_jobs.receive(
                study=target,
                by=request.user,
                chunks=file.chunks(),
                filename=file.name,
                format=form.cleaned_data["format"],
                licence=form.cleaned_data["licence"],
            )
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            return redirect("annotation:import_job", job.pk)
    page = {
        "study": target,
        "form": form,
        "jobs": target.imports.select_related("created_by")[:50],
        "may_review": True,
        "may_research": True,
    }
    return render(request, "annotation/imports.html", page, status=422 if form.errors else 200)


@login_required
def import_job(request, pk):
    """How far an import is, or what was wrong with its file. Asked by htmx for the changing part alone."""
    job = import_for(request.user, pk)
    template = "annotation/import_now.html" if request.htmx else "annotation/import.html"
    page = {
        "job": job,
        "study": job.study,
        "under_way": job.status in import_jobs.UNDER_WAY,
        "removing": job.status in import_jobs.UNDER_WAY and (job.cancel_asked or job.errors),
        "nobody_calls": import_jobs.nobody_calls(job),
        "counts": list(job.counts.items()),  # in a template, job.counts.items is the number of items
        **pace(job, request.GET, time.time()),
    }
    return render(request, template, page)


def pace(job: ImportJob, seen: dict, now: float) -> dict:
    """Rows a second since this page first saw the import in this phase, and the seconds left at that.

    The page carries what it saw first (`phase`, `had`, `since`) from one asking to the next.
    """
    try:
        had, since = int(seen.get("had", "")), float(seen.get("since", ""))
    except ValueError:
        had, since = job.done, now
    if seen.get("phase") != job.status or not 0 <= had <= job.done or not 0 < since <= now:
        had, since = job.done, now
    rate = (job.done - had) / (now - since) if now - since >= 1 else 0
    left = (job.total or 0) - job.done
    return {
        "had": had,
        "since": f"{since:.1f}",
        "rate": round(rate),
        "seconds_left": round(left / rate) if rate and job.status == job.Status.STORING else None,
    }


@login_required
@require_POST
def cancel(request, pk):
    """Stops an import; what it stored is removed."""
    job = import_for(request.user, pk)
    try:
        import_jobs.cancel(job)
    except Conflict as problem:
        messages.error(request, str(problem))
    return redirect("annotation:import_job", pk)
