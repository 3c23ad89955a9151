"""What a page needs to show a robot's episode: what it is, its steps as numbers, and its pictures where it has some.

What was lived never changes once it has ended, so a browser keeps it; what is said about it may, and is asked for anew.
"""

import hashlib

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseNotModified, JsonResponse
from django.utils.http import parse_etags

from annotation.access import recording_for
from annotation.played import about, picture_of, rows
from annotation.recordings import episode_of

FOREVER = "private, max-age=31536000, immutable"
ASK = "private, no-cache"


@login_required
def recording(request, episode):
    """What an episode is, and what is said about it now."""
    row = recording_for(request.user, episode)
    response = JsonResponse(about(row, episode_of(row)))
    return _known(request, response, hashlib.sha256(response.content).hexdigest()[:32], ASK)


@login_required
def steps(request, episode):
    """[T, S + 3] little-endian float32: of each step its state, then score, number of its command, who commanded."""
    row = recording_for(request.user, episode)
    lived = episode_of(row)
    start, stop = _number(request, "from", 0), _number(request, "to", None)
    found = rows(lived, start, stop)
    ended = lived.ended
    response = HttpResponse(found.tobytes(), content_type="application/octet-stream")
    response["X-Columns"], response["X-From"] = str(found.shape[1]), str(start)
    if ended is None:
        response["Cache-Control"] = "private, no-store"
        return response
    return _known(request, response, f"{ended['sha256'][:32]}-{start}-{len(found)}", FOREVER)


@login_required
def picture(request, episode, step):
    """A JPEG of the moment before a step."""
    row = recording_for(request.user, episode)
    lived = episode_of(row)
    size = min(max(_number(request, "size", 256), 32), 1024)
    found = picture_of(lived, step, size)
    if found is None:
        raise Http404(f"There is no picture of step {step}: the world {row.world} is drawn from its steps.")
    tag = hashlib.sha256(found).hexdigest()[:32]
    return _known(
        request, HttpResponse(found, content_type="image/jpeg"), tag, FOREVER if lived.ended else ASK
    )


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
