"""The page about the quality of a study's labels: how far people agree, and how much each one's labels say."""

from django.contrib.auth.decorators import login_required
from django.shortcuts import render

from annotation import quality
from annotation.access import membership_for
from annotation.models import Role


@login_required
def study(request, pk):
    """Reads the newest fit: a worker makes them as labels arrive."""
    mine = membership_for(request.user, pk, Role.REVIEWER)
    page = {
        "study": mine.study,
        "mine": mine,
        "may_review": True,
        "may_research": mine.may(Role.RESEARCHER),
        **quality.page(mine.study),
    }
    return render(request, "annotation/quality.html", page)
