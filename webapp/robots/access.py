"""The one way a view, an API call or a socket gets a session. What is not yours does not exist: 404."""

from __future__ import annotations

from django.http import Http404

from annotation.access import UNKNOWN, membership_for
from annotation.models import Role
from webapp.robots.models import Session

MAY_WATCH = Role.ANNOTATOR
"""Who may watch a session may steer it too, in turn."""
MAY_START = Role.RESEARCHER
"""A session takes a place on a worker; and what was learned from it is a run."""


def session_for(user, pk: int, role: Role = MAY_WATCH) -> Session:
    found = Session.objects.select_related("study", "policy", "steerer").filter(pk=pk).first()
    if found is None:
        raise Http404(UNKNOWN.format("session"))
    membership_for(user, found.study_id, role, "session")
    return found
