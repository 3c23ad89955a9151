"""The pages about studies: which there are, how one stands, what it asks, what goes in and what comes out."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import exporters, importers, overview, richtext
from annotation.access import import_for, membership_for, snapshot_for, study_for
from annotation.errors import Invalid
from annotation.forms import ImportForm, NewStudyForm, StudyForm
from annotation.models import Role
from annotation.services import archive_study, change_study, create_study, progress
from annotation.snapshots import freeze
from trainers.registry import METHODS, learns_from


@login_required
def home(request):
    """A person's studies, the ones with something to do first."""
    return render(request, "annotation/home.html", {"studies": overview.studies_of(request.user)})


@login_required
def new_study(request):
    form = NewStudyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        words = {name: form.cleaned_data[name] for name in StudyForm.base_fields}
        try:
            made = create_study(
                owner=request.user,
                interfaces=form.interfaces(),
                overlap=form.cleaned_data["overlap"],
                **words,
            )
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            messages.success(request, "The study is there. Import items next, then invite people.")
            return redirect("annotation:study", made.pk)
    return render(request, "annotation/new.html", {"form": form})


@login_required
def study(request, pk):
    """How a study stands. Annotators see what is asked and how far it is; researchers also what comes out."""
    mine = membership_for(request.user, pk)
    rows = overview.asked(mine.study)
    wanted = sum(row["wanted"] for row in rows)
    given = sum(row["given"] for row in rows)
    page = {
        "study": mine.study,
        "mine": mine,
        "asked": rows,
        "given": given,
        "wanted": wanted,
        "percent": round(100 * given / wanted) if wanted else 0,
        "pace": overview.pace(mine.study, wanted - given),
        "progress": progress(mine.study, request.user),
        "may_review": mine.may(Role.REVIEWER),
        "may_research": mine.may(Role.RESEARCHER),
    }
    if page["may_review"]:
        page |= overview.results(mine.study)
    return render(request, "annotation/study.html", page)


@login_required
def settings(request, pk):
    """Changes a study's words. How it asks stays: its tasks were made by that."""
    changed = study_for(request.user, pk, role=Role.RESEARCHER)
    names = list(StudyForm.base_fields)
    form = StudyForm(request.POST or None, initial={name: getattr(changed, name) for name in names})
    if request.method == "POST" and form.is_valid():
        try:
            change_study(study=changed, **{name: form.cleaned_data[name] for name in names})
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            messages.success(request, "Saved.")
            return redirect("annotation:study", changed.pk)
    return render(
        request,
        "annotation/settings.html",
        {"study": changed, "form": form, "asked": overview.asked(changed)},
    )


@login_required
@require_POST
def archive(request, pk):
    """Stops handing out tasks, or starts again."""
    stopped = study_for(request.user, pk, role=Role.OWNER)
    archive_study(study=stopped, archived="archive" in request.POST)
    messages.success(
        request,
        "The study is archived: nobody gets new tasks."
        if stopped.archived_at
        else "The study is open again.",
    )
    return redirect("annotation:study", stopped.pk)


@login_required
@require_POST
def preview(request):
    """The guideline as annotators will see it."""
    return HttpResponse(richtext.render(request.POST.get("guidelines", "")))


@login_required
@require_POST
def freeze_labels(request, pk):
    """Freezes the labels as they stand into a snapshot; frozen twice without a new label, it is the same one."""
    frozen_of = study_for(request.user, pk, role=Role.RESEARCHER)
    try:
        frozen = freeze(study=frozen_of, by=request.user, name=request.POST.get("name", "").strip()[:200])
    except Invalid as problem:
        messages.error(request, str(problem))
        return redirect("annotation:study", pk)
    messages.success(request, f"Frozen: {frozen.records:,} records, {frozen.digest[:12]}.")
    return redirect("annotation:snapshot", frozen.pk)


@login_required
def snapshot(request, pk):
    """What a snapshot holds, its card, its files, and which methods can learn from it."""
    frozen = snapshot_for(request.user, pk)
    able = learns_from(frozen.counts)
    return render(
        request,
        "annotation/snapshot.html",
        {
            "snapshot": frozen,
            "study": frozen.study,
            "methods": [
                (
                    name,
                    entry,
                    name in able,
                    " and ".join(f"a {role.replace('_', ' ')}" for role in entry.inputs),
                )
                for name, entry in METHODS.items()
            ],
            "may_research": membership_for(request.user, frozen.study_id).may(Role.RESEARCHER),
        },
    )


@login_required
def download(request, pk, format):
    """The records as a file, streamed."""
    frozen = snapshot_for(request.user, pk)
    if format not in exporters.FORMATS:
        raise Http404(f"No format called {format!r}. Formats: {', '.join(exporters.FORMATS)}.")
    response = StreamingHttpResponse(exporters.stream(frozen, format), content_type="application/jsonl")
    response["Content-Disposition"] = f'attachment; filename="{exporters.filename(frozen, format)}"'
    return response


@login_required
def imports(request, pk):
    """Takes a file, and lists the ones that came before."""
    target = study_for(request.user, pk, role=Role.RESEARCHER)
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            job = importers.receive(
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
    page = {"study": target, "form": form, "jobs": target.imports.select_related("created_by")[:50]}
    return render(request, "annotation/imports.html", page, status=422 if form.errors else 200)


@login_required
def import_job(request, pk):
    """How far an import is, or what was wrong with its file. Asked by htmx for the changing part alone."""
    job = import_for(request.user, pk)
    template = "annotation/import_now.html" if request.htmx else "annotation/import.html"
    page = {
        "job": job,
        "study": job.study,
        "under_way": job.status in importers.UNDER_WAY,
        "counts": list(job.counts.items()),  # in a template, job.counts.items is the number of items
    }
    return render(request, template, page)
