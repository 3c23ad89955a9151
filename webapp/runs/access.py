"""The one way a view, an API call or a socket gets a row about runs. What is not yours does not exist: 404."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404
from django.shortcuts import get_object_or_404

from annotation import consent
from annotation.access import UNKNOWN, membership_for, study_for
from annotation.models import Role, Snapshot, Study
from webapp.runs.models import Artifact, Loop, Run

# Annotators judge blind: a run page shows which model wrote what.
MAY_WATCH = Role.REVIEWER
MAY_CONTROL = Role.RESEARCHER


def run_for(user, pk: int, role: Role = MAY_WATCH) -> Run:
    run = Run.objects.select_related("study", "snapshot", "created_by").filter(pk=pk).first()
    if run is None:
        raise Http404(UNKNOWN.format("run"))
    _enter(user, run.study_id, run.created_by_id, role, "run")
    return run


def artifact_for(user, pk: int, role: Role = MAY_WATCH) -> Artifact:
    artifact = Artifact.objects.select_related("run").filter(pk=pk).first()
    if artifact is None:
        raise Http404(UNKNOWN.format("artifact"))
    _enter(user, artifact.study_id, artifact.run and artifact.run.created_by_id, role, "artifact")
    return artifact


def loop_for(user, study_pk: int, role: Role = MAY_WATCH) -> Loop:
    """The study's loop; one that is switched off where none was set up yet."""
    study = study_for(user, study_pk, role)
    return Loop.objects.filter(study=study).first() or Loop(study=study)


def withdrawn_from(study: Study, asked: Mapping[str, Any]) -> list[Snapshot]:
    """The snapshots that hold the item or the person of this study that a request names; 404 for others."""
    name, given = next(((name, asked[name]) for name in ("item", "person") if asked.get(name)), ("", ""))
    if not str(given).isdecimal() or len(str(given)) > 18:
        raise Http404("Say of what: ?item= and its number, or ?person= and the number of a member.")
    if name == "item":
        return consent.affected(study, item=get_object_or_404(study.items, pk=int(given)))
    user = int(given)
    if not (study.labels.filter(annotator=user) or study.memberships.filter(user=user)):
        raise Http404("Nobody with this number labelled in this study.")
    return consent.affected(study, user=user)


def _enter(user, study: int | None, owner: int | None, role: Role, what: str) -> None:
    """By membership of the study; what belongs to none is its maker's alone."""
    if study is not None:
        membership_for(user, study, role, what)
    elif owner is None or owner != user.pk:
        raise Http404(UNKNOWN.format(what))
