"""The pages about what leaves the studio: under which terms, with whose consent, frozen into what, exported how."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from annotation import consent, exporters, governance, personal_data
from annotation.access import item_for, membership_for, snapshot_for, study_for
from annotation.errors import Conflict, Invalid
from annotation.forms import ExportForm
from annotation.models import Membership, Role
from annotation.snapshots import freeze
from trainers.registry import METHODS, learns_from


@login_required
def data(request, pk):
    """Terms, consents, withdrawals, snapshots and exports of a study."""
    mine = membership_for(request.user, pk, Role.REVIEWER)
    page = {
        "study": mine.study,
        "may_review": True,
        "may_research": mine.may(Role.RESEARCHER),
        "form": ExportForm(),
        "formats": exporters.FORMATS,
        "kinds_found": personal_data.KINDS,
        **governance.terms(mine.study),
        **governance.people(mine.study),
        **governance.withdrawals(mine.study),
        "snapshots": mine.study.snapshots.select_related("created_by")[:50],
        "looked": governance.look(mine.study) if "look" in request.GET else None,
    }
    return render(request, "annotation/data.html", page)


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
    page = {
        "snapshot": frozen,
        "study": frozen.study,
        "form": ExportForm(frozen=True),
        "steps": [step for step in frozen.process.get("filters", []) if step["left_out"]],
        "since": governance.withdrawn_since(frozen),
        "methods": [
            (name, entry, name in able, " and ".join(f"a {role.replace('_', ' ')}" for role in entry.inputs))
            for name, entry in METHODS.items()
        ],
        "may_research": membership_for(request.user, frozen.study_id).may(Role.RESEARCHER),
    }
    return render(request, "annotation/snapshot.html", page)


@login_required
def download(request, pk, format):
    """A snapshot as JSON lines, whole."""
    frozen = snapshot_for(request.user, pk)
    if format not in exporters.FORMATS or exporters.FORMATS[format].ending != "jsonl":
        raise Http404(f"No format of lines called {format!r}.")
    return _file(request, frozen, exporters.Asked(format=format), "annotation:snapshot")


@login_required
def export_snapshot(request, pk):
    """A snapshot as a file of the asked format, filtered and split as asked."""
    return _asked_file(request, snapshot_for(request.user, pk), "annotation:snapshot")


@login_required
def export_study(request, pk):
    """A study as it stands now, as a file."""
    return _asked_file(request, study_for(request.user, pk, Role.RESEARCHER), "annotation:data")


def _asked_file(request, source, back):
    try:
        asked = exporters.read({name: ",".join(request.GET.getlist(name)) for name in request.GET})
    except Invalid as problem:
        messages.error(request, f"{problem.field}: {problem}")
        return redirect(back, source.pk)
    return _file(request, source, asked, back)


def _file(request, source, asked, back):
    """An export, streamed; or the page it was asked from, which then says why there is none."""
    try:
        format = exporters.format_of(asked.format)
        response = StreamingHttpResponse(exporters.stream(source, asked), content_type=format.media)
    except (Invalid, Conflict) as problem:
        messages.error(request, str(problem))
        return redirect(back, source.pk)
    response["Content-Disposition"] = f'attachment; filename="{exporters.filename(source, asked)}"'
    return response


# --- taking back


@login_required
def my_consent(request, pk):
    """What a member agrees to, what they held before, and what their labels call them."""
    mine = membership_for(request.user, pk)
    if request.method == "POST":
        try:
            said = _change_consent(mine, request.POST)
        except (Invalid, Conflict) as problem:
            messages.error(request, str(problem))
            return redirect("annotation:consent", pk)
        messages.success(request, said)
        return redirect("annotation:label" if "agree" in request.POST else "annotation:consent", pk)
    page = {
        "study": mine.study,
        "mine": mine,
        "may_review": mine.may(Role.REVIEWER),
        "may_research": mine.may(Role.RESEARCHER),
        "may_label": not mine.study.consent or mine.consent_version == mine.study.consent_version,
        "held": request.user.consents.filter(study=mine.study).order_by("-pk"),
        "wording": governance.consent_html(mine.study),
        "withdrawn": mine.user_id in consent.withdrawn(mine.study),
        "attributions": Membership.Attribution.choices,
        "pseudonym": governance.pseudonym(pk, request.user.pk),
    }
    return render(request, "annotation/consent.html", page)


def _change_consent(mine, post) -> str:
    """Does what the form asks, and says what was done."""
    if "agree" in post:
        version = post.get("version", "")
        consent.agree(mine, int(version) if version.isdecimal() else None)
        return "Thank you. You can take this back at any time, on the page “Consent”."
    if "withdraw" in post:
        touched = consent.withdraw(mine)
        frozen = (
            f" {len(touched)} snapshots from before hold them; its researchers see which." if touched else ""
        )
        return f"Taken back. No new snapshot of this study will hold your labels.{frozen}"
    consent.name_as(mine, post.get("attribution", ""))
    return "Saved. Snapshots from now on call you so."


@login_required
@require_POST
def withdraw_item(request, pk):
    """Takes an item out of queue and future snapshots: one of this study, by its number or its name elsewhere."""
    study = study_for(request.user, pk, Role.RESEARCHER)
    name = request.POST.get("item", "").replace("\x00", "").strip()
    found = study.items.filter(external_id=name).first() if name else None
    if found is None and name.isdecimal() and len(name) < 19:
        found = study.items.filter(pk=int(name)).first()
    if found is None:
        messages.error(request, f"This study has no item {name!r}. Give its number, or its id in the file.")
        return redirect("annotation:data", pk)
    item = item_for(request.user, found.pk, Role.RESEARCHER)
    touched = consent.withdraw_item(item=item, by=request.user, reason=request.POST.get("reason", ""))
    messages.success(
        request, f"Item {item.pk} is withdrawn. Snapshots from before that hold it: {len(touched)}."
    )
    return redirect("annotation:data", pk)
