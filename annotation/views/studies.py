"""The pages about studies: which there are, how one stands, what it asks, what goes in and what comes out."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import live, overview, richtext
from annotation.access import membership_for, study_for
from annotation.errors import Invalid
from annotation.forms import NewStudyForm, StudyForm
from annotation.interfaces.registry import interface
from annotation.models import Role
from annotation.services import archive_study, change_study, create_study, progress


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
        "now": live.figures(mine.study.pk),
        "about_robots": any(getattr(interface(kind), "CLIPS", False) for kind in mine.study.kinds),
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
