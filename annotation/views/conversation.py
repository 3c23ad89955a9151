"""A live conversation on the labelling page: one address that says how it stands, and takes what the person does."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotation import exchanges
from annotation.access import membership_for, task_for
from annotation.errors import Conflict, Invalid
from annotation.services import turn_at
from annotation.views.label import (
    back_to_label,
    kind_of,
    label_page,
    number,
    refuse,
    someone_else,
    task_context,
    wants_json,
)

PARTS = "annotation/interfaces/conversation_"
NOT_THIS = "Found the action {!r}; expected say, a, b, tie, both_bad, write, rewrite, again or back."


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def conversation(request, pk):
    """The state of the person's conversation, after what they did if they did something."""
    task = task_for(request.user, pk)
    if refusal := someone_else(request):
        return refusal
    kind = kind_of(request.POST)
    try:
        if request.method == "POST":
            act(request, pk)
        claim = turn_at(task=pk, annotator=request.user)
    except Conflict as problem:
        if wants_json(request):
            return refuse(409, "conflict", str(problem), details={"holder": problem.holder})
        messages.error(request, str(problem))
        return back_to_label(task.study_id, kind, task=pk)
    except Invalid as problem:
        if wants_json(request):
            return refuse(422, "invalid", str(problem), field=problem.field)
        claim = turn_at(task=pk, annotator=request.user)
        membership = membership_for(request.user, task.study_id)
        return label_page(
            request, membership, kind, claim=claim, posted=request.POST, error=str(problem), status=422
        )
    if wants_json(request) and task.kind == exchanges.KIND:
        return JsonResponse(state_json(request, claim, kind))
    return back_to_label(task.study_id, kind, task=pk)


def act(request, pk: int) -> None:
    """Does what the pressed button says: a message begins the next turn, all else is about the last."""
    do, post = request.POST.get("do", ""), request.POST
    place = "turn" if do == "say" else "last"
    turn = {"task": pk, "annotator": request.user, "number": number(post.get(place), 0)}
    if do == "say":
        exchanges.say(**turn, text=post.get("said"))
    elif do in (*exchanges.SIDES, "tie", "both_bad"):
        exchanges.choose(**turn, choice=do)
    elif do == "write":
        exchanges.write(**turn, text=post.get("written"))
    elif do == "rewrite":
        exchanges.rewrite(**turn, text=post.get("rewritten"))
    elif do == "again":
        exchanges.ask_again(**turn)
    elif do == "back":
        exchanges.take_back(**turn)
    else:
        raise Invalid(NOT_THIS.format(do), field="do")


def state_json(request, claim, kind: str | None) -> dict:
    """The state, and the parts of the page that show it."""
    page = task_context(claim, kind)
    return {
        "state": page["state"],
        "progress": page["progress_word"],
        "turns": [render_to_string(f"{PARTS}turn.html", {"turn": turn}, request) for turn in page["chat"]],
        "bar": render_to_string(f"{PARTS}bar.html", page, request),
    }
