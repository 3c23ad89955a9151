"""From what was said to a robot to a robot that needs not be told: a run that learns it, and a session to show it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from annotation.errors import Conflict, Invalid
from annotation.snapshots import freeze
from trainers import registry
from webapp.robots import keeping, services
from webapp.robots.models import Pilot, Session, Take
from webapp.runs.models import Artifact, Run
from webapp.runs.services import start_run

METHODS = {"command": "correction/yay", "motion": "correction/rt_h"}
"""Which method learns what was said, by the layer of the policy that it replaced."""


def method_of(session: Session) -> str:
    """The method that the session's policy is taught by; empty where there is none."""
    if session.pilot != Pilot.POLICY:
        return ""
    name = METHODS.get(session.layer or "command", "")
    return name if name in registry.METHODS else ""


def teach(*, session: Session, by, config: dict[str, Any] | None = None, seed: int = 0) -> Run:
    """Freezes the study's labels and starts the run that learns from them, with the session's policy to begin with."""
    if session.pilot != Pilot.POLICY or session.policy is None:
        raise Conflict(
            "Nothing learned acts in this session, so there is nothing to teach. Start one with a policy."
        )
    method = method_of(session)
    if not method:
        raise Conflict(f"No method here learns from corrections of the layer {session.layer!r}.")
    for take in Take.objects.filter(session=session, ended_at__isnull=False, kept_at=None):
        keeping.keep(take)
    snapshot = freeze(study=session.study, by=by)
    with transaction.atomic():  # a worker hears of the run when all of it is written
        run = start_run(
            study=session.study, snapshot=snapshot, method=method, config=config or {}, by=by, seed=seed,
            inputs={"robot_policy": session.policy}, name=f"taught in session {session.pk}",
        )  # fmt: skip
        run.provenance["session"] = session.pk
        run.save(update_fields=["provenance"])
    return run


def taught(session: Session) -> Run | None:
    """The newest run that learned from this session."""
    return Run.objects.filter(study=session.study_id, provenance__session=session.pk).order_by("-pk").first()


def try_alone(*, session: Session, by, run: Any = None) -> Session:
    """A session without people on the seeds of this one: by the policy that a run made, or by the very same policy.

    `run`: the run's number; None for the newest that was taught here, "before" for the policy as it was.
    """
    policy = session.policy
    if run != "before":
        found = _run(session, run)
        policy = Artifact.objects.filter(run=found, kind=Artifact.Kind.ROBOT_POLICY).order_by("pk").last()
        if policy is None:
            raise Conflict(f"Run {found.pk} is {found.status} and has made no policy yet. Wait until it has.")
    if policy is None and session.pilot == Pilot.POLICY:
        raise Conflict("The session's policy is gone.")
    return services.start_session(
        study=session.study, by=by, world=session.world, task=session.task,
        pilot=Pilot.POLICY if policy else session.pilot, policy=policy, seed=session.seed,
        dials=session.dials, hold=session.hold, alone=True, repeats=session,
    )  # fmt: skip


def _run(session: Session, asked: Any) -> Run:
    if asked in (None, ""):
        found = taught(session)
        if found is None:
            raise Conflict("Nothing was taught in this session yet.")
        return found
    if not str(asked).isdecimal():
        raise Invalid(f"Found {str(asked)[:40]!r} as a run; expected its number.", field="run")
    found = Run.objects.filter(pk=int(asked), study=session.study_id).first()
    if found is None:
        raise Invalid(f"This study has no run {asked}.", field="run")
    return found
