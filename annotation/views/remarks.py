"""Where the labelling room sends a flag or a note. The person keeps the task, and answers or skips it then."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from annotation import remarks
from annotation.access import task_for
from annotation.errors import Conflict, Invalid
from annotation.models import Remark
from annotation.views.label import back_to_label, kind_of, refuse, someone_else, wants_json


@login_required
@require_POST
def remark(request, pk):
    """Takes a flag or a note. The key the browser made for it turns a retry into the same remark."""
    if refusal := someone_else(request):
        return refusal
    task = task_for(request.user, pk)
    fields = {
        name: request.POST.get(f"remark_{name}", "")
        for name in ("kind", "key", "reason", "text", "candidate")
    }
    try:
        given = remarks.remark(task=task, author=request.user, **fields)
    except Conflict as problem:
        if wants_json(request):
            return refuse(409, "conflict", str(problem), details={"holder": problem.holder})
        messages.error(request, str(problem))
    except Invalid as problem:
        if wants_json(request):
            return refuse(422, "invalid", str(problem), field=problem.field)
        messages.error(request, str(problem))
    else:
        if wants_json(request):
            return JsonResponse({"remark": given.pk})
        said = "Flagged" if given.kind == Remark.Kind.FLAG else "Your note is with the researchers"
        messages.success(request, f"{said}. Now answer, or skip.")
    return back_to_label(task.study_id, kind_of(request.POST), task=task.pk)
