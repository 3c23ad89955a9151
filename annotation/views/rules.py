"""The page of a study's rules: which task comes next, how many people, known answers, and who is let in."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import gold
from annotation.access import study_for
from annotation.errors import Invalid
from annotation.forms import RulesForm
from annotation.models import Gold, Part, Role, Study
from annotation.rules import rules_of
from annotation.services import change_study


@login_required
def rules(request, pk):
    """Shows the rules, and changes them; they hold from the next task that is handed out."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    form = RulesForm(request.POST or None, initial=rules_of(study))
    if request.method == "POST" and form.is_valid():
        try:
            change_study(study=study, by=request.user, **form.cleaned_data)
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            messages.success(request, "Saved. The rules hold from the next task that is handed out.")
            return redirect("annotation:rules", study.pk)
    return render(request, "annotation/rules.html", page_of(study, form))


def page_of(study: Study, form: RulesForm) -> dict:
    parts = {part: study.tasks.arrived().filter(part=part, person=None).count() for part in Part.values}
    known = Gold.objects.filter(task__study=study, task__person=None).select_related("task")
    people = study.memberships.filter(role=Role.ANNOTATOR).select_related("user")
    return {
        "study": study,
        "form": form,
        "parts": parts,
        "known": known.order_by("-task")[:50],
        "people": [(one, gold.score(study, one.user)) for one in people[:200]],
        "may_review": True,
        "may_research": True,
    }


@login_required
@require_POST
def calibration(request, pk):
    """Adds untouched tasks, drawn by chance, to the slice that everyone is asked."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    count = request.POST.get("count", "")
    if not count.isdecimal() or not 1 <= int(count) <= 1000:
        messages.error(request, "Say how many tasks, from 1 to 1,000.")
    else:
        total = gold.set_calibration(study=study, count=int(count))
        messages.success(request, f"Everyone is now asked {total} tasks of the calibration, at its rate.")
    return redirect("annotation:rules", study.pk)


@login_required
@require_POST
def standing(request, pk, member):
    """Lets an annotator in, keeps them out, or has them do the qualification anew."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    membership = study.memberships.select_related("user").filter(pk=member).first()
    if membership is None:
        raise Http404("There is no such member.")
    wanted = request.POST.get("standing", "")
    try:
        if wanted == gold.Standing.AGAIN:
            gold.requalify(membership=membership)
        else:
            gold.set_standing(membership=membership, standing=wanted)
    except Invalid as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, f"{membership.user.username}: {membership.get_standing_display()}.")
    return redirect("annotation:rules", study.pk)
