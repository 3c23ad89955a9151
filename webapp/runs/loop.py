"""The loop of a study: enough new labels, a reward model, a policy, new questions; round again.

A state machine over rows. What a round has done is seen from its runs, what is next follows from that, so a
step may be tried at any time, by any worker, any number of times:

    labels ──retrain_every──▶ snapshot ──▶ reward model ──▶ policy ──▶ proposed items ──▶ labels

A round whose run failed or was stopped waits: for a person to resume that run, or for enough new labels to
begin the next round.
"""

from __future__ import annotations

from django.db import transaction

from annotation.errors import Invalid
from annotation.models import Label
from annotation.snapshots import freeze
from trainers import registry
from webapp.runs.models import Artifact, Event, Loop, Run, Status
from webapp.runs.services import propose, start_run

PROPOSED = "proposed"


def advance(loop: Loop) -> None:
    """Takes the loop as far as it can go now; does nothing where another worker is at it."""
    with transaction.atomic():
        held = Loop.objects.select_for_update(of=["self"], skip_locked=True).select_related(
            "study", "snapshot"
        )
        loop = held.filter(pk=loop.pk).first()
        if loop is None or loop.study.archived_at:
            return
        before = (loop.problem, loop.round, loop.snapshot_id, loop.labels_seen)
        try:
            with transaction.atomic():
                loop.problem = ""
                _step(loop, stages(loop))
        except Invalid as problem:
            loop.problem = str(problem)
        if (loop.problem, loop.round, loop.snapshot_id, loop.labels_seen) != before:
            loop.save(update_fields=["problem", "round", "snapshot", "labels_seen"])


def stages(loop: Loop) -> dict[str, Run]:
    """The runs of the newest round, by what they make: reward_model, policy, items."""
    runs = Run.objects.filter(study=loop.study_id, trigger="loop", round=loop.round).order_by("pk")
    return {registry.entry(run.method).produces: run for run in runs}


def new_labels(loop: Loop) -> int:
    """Labels that stand and came after the newest round's snapshot."""
    return Label.objects.current().filter(study=loop.study_id, pk__gt=loop.labels_seen).count()


def policies(study) -> list[Artifact]:
    """The study's policies, the first one first."""
    return list(Artifact.objects.filter(study=study, kind=Artifact.Kind.POLICY).order_by("pk"))


def _step(loop: Loop, runs: dict[str, Run]) -> None:
    reward, policy, items = (runs.get(kind) for kind in ("reward_model", "policy", "items"))
    if items and items.status == Status.FINISHED and loop.propose_on and not proposed(items):
        propose(run=items, by=loop.changed_by)
    elif policy and policy.status == Status.FINISHED and not items and loop.propose_on:
        _start_questions(loop, policy)
    elif reward and reward.status == Status.FINISHED and not policy and loop.retrain_on:
        _start_policy(loop, reward)
    elif loop.retrain_on and _is_over(loop, reward, policy, items) and new_labels(loop) >= loop.retrain_every:
        _begin(loop)
    else:
        broken = [run for run in runs.values() if run.status in (Status.FAILED, Status.STOPPED)]
        if broken:
            loop.problem = (
                f"Round {loop.round} waits: run {broken[0].pk} ({broken[0].method}) {broken[0].status}. "
                "Resume it, or wait for the next round's labels."
            )


def proposed(run: Run) -> bool:
    return Event.objects.filter(run=run, key=PROPOSED).exists()


def _is_over(loop: Loop, reward: Run | None, policy: Run | None, items: Run | None) -> bool:
    runs = [run for run in (reward, policy, items) if run]
    if any(not run.ended for run in runs):
        return False
    if any(run.status != Status.FINISHED for run in runs):
        return True
    if loop.round == 0 or not reward:
        return True
    return policy is not None and (not loop.propose_on or (items is not None and proposed(items)))


def _begin(loop: Loop) -> None:
    newest = Label.objects.filter(study=loop.study_id).order_by("-pk").values_list("pk", flat=True).first()
    known = policies(loop.study)
    if not known:
        raise Invalid(
            "The study has no policy to improve. Bring one on the study's page, or with register_model."
        )
    loop.round += 1
    loop.labels_seen = newest
    loop.snapshot = freeze(study=loop.study, by=_starter(loop), name=f"Round {loop.round}")
    start_run(
        study=loop.study, snapshot=loop.snapshot, method=loop.reward_method, config=loop.reward_config,
        by=_starter(loop), seed=loop.seed, name=f"Round {loop.round}: reward model", gold=loop.gold,
        trigger="loop", round=loop.round, inputs=_backbone(loop, known[0]),
    )  # fmt: skip


def _backbone(loop: Loop, first: Artifact) -> dict[str, Artifact]:
    """A reward model whose backbone is a policy grows from the first one."""
    return {"policy": first} if loop.reward_config.get("backbone") == "policy" else {}


def _start_policy(loop: Loop, reward: Run) -> None:
    known = policies(loop.study)
    start_run(
        study=loop.study, snapshot=loop.snapshot, method=loop.policy_method, config=loop.policy_config,
        by=_starter(loop), seed=loop.seed, name=f"Round {loop.round}: policy", gold=loop.gold,
        trigger="loop", round=loop.round,
        inputs={"policy": known[-1], "reference": known[0], "reward_model": reward.artifacts.last()},
    )  # fmt: skip


def _start_questions(loop: Loop, policy: Run) -> None:
    start_run(
        study=loop.study, snapshot=loop.snapshot, method=loop.query_method,
        config={**loop.query_config, "count": loop.propose_count}, by=_starter(loop), seed=loop.seed + loop.round,
        name=f"Round {loop.round}: questions", gold=loop.gold, trigger="loop", round=loop.round,
        inputs={"policy": policy.artifacts.last(), "rival": policy.inputs.get(role="policy").artifact},
    )  # fmt: skip


def _starter(loop: Loop):
    """Whose runs these are: the person who set the switches."""
    return loop.changed_by or loop.study.created_by
