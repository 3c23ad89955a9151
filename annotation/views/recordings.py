"""The recordings of a study, and what a page needs to show one: what it is, its steps as numbers, its pictures.

What was lived never changes once it has ended, so a browser keeps it; what is said about it may, and is asked for anew.
"""

import hashlib
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import parse_etags

from annotation import pairing
from annotation.access import membership_for, recording_for
from annotation.errors import Invalid
from annotation.forms import PairsForm
from annotation.interfaces import clips
from annotation.models import Role, Task
from annotation.played import about, picture_of, rows
from annotation.recordings import episode_of
from trainers.episodes import NoEpisode

FOREVER = "private, max-age=31536000, immutable"
ASK = "private, no-cache"
A_PAGE = 50


@login_required
def of_study(request, pk):
    """What a study has recorded, the same work together; sent as a form, it adds pairs of clips to compare."""
    posted = request.method == "POST"
    mine = membership_for(request.user, pk, Role.RESEARCHER if posted else Role.REVIEWER)
    form = PairsForm(request.POST if posted else None, study=mine.study)
    if posted and form.is_valid():
        try:
            messages.success(request, str(pairing.pair_clips(study=mine.study, **form.cleaned_data)))
        except Invalid as problem:
            form.add_error(problem.field if problem.field in form.fields else None, str(problem))
        else:
            work = urlencode({name: form.cleaned_data[name] for name in ("world", "task")})
            return redirect(f"{reverse('annotation:recordings', args=[pk])}?{work}")
    works = pairing.works(mine.study)
    here = pairing.chosen(works, request.POST if posted else request.GET)
    found = mine.study.recordings.filter(world=here["world"], task=here["task"]) if here else []
    page = {
        "study": mine.study,
        "works": works,
        "here": here,
        "page": Paginator(found, A_PAGE).get_page(request.GET.get("page")),
        "ticked": request.POST.getlist("recordings"),
        "form": form,
        "pairs": clips.key in mine.study.kinds,
        "asked": Task.objects.arrived().filter(study=mine.study, kind=clips.key).count(),
        "may_review": True,
        "may_research": mine.may(Role.RESEARCHER),
    }
    return render(request, "annotation/recordings.html", page, status=422 if form.errors else 200)


@login_required
def recording(request, episode):
    """What an episode is, and what is said about it now."""
    row, lived = _lived(request.user, episode)
    response = JsonResponse(about(row, lived))
    return _known(request, response, hashlib.sha256(response.content).hexdigest()[:32], ASK)


@login_required
def steps(request, episode):
    """[T, S + 3] little-endian float32: of each step its state, then score, number of its command, who commanded."""
    _, lived = _lived(request.user, episode)
    start, stop = _number(request, "from", 0), _number(request, "to", None)
    found = rows(lived, start, stop)
    response = HttpResponse(found.tobytes(), content_type="application/octet-stream")
    response["X-Columns"], response["X-From"] = str(found.shape[1]), str(start)
    if lived.ended is None:
        response["Cache-Control"] = "private, no-store"
        return response
    return _known(request, response, f"{lived.digest[:32]}-{start}-{len(found)}", FOREVER)


@login_required
def picture(request, episode, step):
    """A JPEG of the moment before a step."""
    row, lived = _lived(request.user, episode)
    size = min(max(_number(request, "size", 256), 32), 1024)
    found = picture_of(lived, step, size)
    if found is None:
        raise Http404(f"There is no picture of step {step}: the world {row.world} is drawn from its steps.")
    tag = hashlib.sha256(found).hexdigest()[:32]
    return _known(
        request, HttpResponse(found, content_type="image/jpeg"), tag, FOREVER if lived.ended else ASK
    )


def _lived(user, episode):
    """A recording that this person may see, with its episode; 404 where its files are gone."""
    row = recording_for(user, episode)
    try:
        return row, episode_of(row)
    except NoEpisode as problem:
        raise Http404(str(problem)) from None


def _known(request, response, tag, keep):
    """The response with its tag; without its body where the browser has it already."""
    quoted = f'"{tag}"'
    if quoted in parse_etags(request.headers.get("If-None-Match", "")):
        response = HttpResponseNotModified()
    response["ETag"], response["Cache-Control"] = quoted, keep
    return response


def _number(request, name, default):
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else default
