"""The page about addresses that are told what happens in a study."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import webhooks as letters
from annotation.access import study_for, webhook_for
from annotation.errors import Invalid
from annotation.forms import WebhookForm
from annotation.models import Delivery, Role

SHOWN = 20


@login_required
def webhooks(request, pk):
    """Lists a study's webhooks with their last letters, and adds one; its secret is shown on this answer alone."""
    study = study_for(request.user, pk, role=Role.RESEARCHER)
    form = WebhookForm(request.POST or None)
    made = None
    if request.method == "POST" and form.is_valid():
        try:
            made = letters.add_webhook(study=study, by=request.user, **form.cleaned_data)
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            form = WebhookForm()
    page = {
        "study": study,
        "form": form,
        "made": made,
        "webhooks": study.webhooks.select_related("created_by"),
        "deliveries": Delivery.objects.filter(webhook__study=study).select_related("webhook")[:SHOWN],
        "may_review": True,
        "may_research": True,
    }
    answer = render(request, "annotation/webhooks.html", page, status=422 if form.errors else 200)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def change(request, pk):
    """Pauses a webhook, lets it go on, sends it a test letter, or removes it."""
    webhook = webhook_for(request.user, pk)
    match request.POST.get("do"):
        case "pause" | "go_on" as wish:
            letters.change_webhook(webhook=webhook, active=wish == "go_on")
            messages.success(request, "Paused: letters wait." if wish == "pause" else "Letters go out again.")
        case "test":
            letters.send_test(webhook)
            messages.success(request, "A test letter is on its way. Reload the page to see how it went.")
        case "remove":
            webhook.delete()
            messages.success(request, f"{webhook.url} is told nothing any more.")
        case other:
            messages.error(request, f"Found {other!r}; expected pause, go_on, test or remove.")
    return redirect("annotation:webhooks", webhook.study_id)
