"""What words mean to the robot of a recording, before anything is stored."""

from django.contrib.auth.decorators import login_required
from django.http import Http404, JsonResponse
from django.views.decorators.http import require_POST

from annotation.access import task_for
from annotation.interfaces import recorded, screen
from annotation.models import Candidate, Recording
from annotation.recordings import episode_of
from trainers.episodes import NoEpisode
from trainers.records.robots import LAYERS

LONGEST = 2_000


@login_required
@require_POST
def understand(request, pk):
    """{"command", "ask", "others"}: a command to be confirmed, or what to ask back; nothing is guessed."""
    task = task_for(request.user, pk)
    candidate = Candidate.objects.filter(pk__in=task.candidates[:1]).first()
    clip = recorded.clip_of(candidate) if candidate else None
    recording = clip and Recording.objects.filter(study=task.study_id, episode=clip.episode).first()
    if not recording:
        raise Http404("This task is not about a recording of its study.")
    try:
        episode = episode_of(recording)
    except NoEpisode as problem:
        raise Http404(str(problem)) from None
    layer = request.POST.get("layer")
    text = screen.read_text(request.POST.get("text", ""), "text")[:LONGEST]
    meant = recorded.meaning(episode, text, layer if layer in LAYERS else "command")
    return JsonResponse({"command": meant.command, "ask": meant.ask, "others": list(meant.others)})
