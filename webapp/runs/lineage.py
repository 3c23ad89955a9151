"""Where a run comes from and what came of it; and the loop of a study as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Count

from annotation.models import Candidate, Item, Label, Snapshot, Task
from trainers import registry
from trainers.metrics import METRICS, PRIMARY
from webapp.runs.loop import new_labels
from webapp.runs.models import Artifact, Command, Loop, Run, RunInput, Series, Status

KIND_WORDS = {"policy": "Policy", "reward_model": "Reward model", "items": "Proposals", "report": "Report"}
ROLE_WORDS = {
    "policy": "From policy",
    "reference": "Reference",
    "reward_model": "Reward model",
    "rival": "Rival",
}
# What says in one number how good a model is, where its method logs it.
TELLING = (
    "eval_accuracy",
    "objective/gold",
    "objective/scores",
    "eval_rewards/accuracies",
    "eval_mean_token_accuracy",
)
ACTIVE = (Status.QUEUED, Status.RUNNING, Status.PAUSED, Status.STOPPING)


def of_run(run: Run) -> dict[str, Any]:
    """The chain that a run is a link of."""
    found: dict[str, Any] = {"records": "", "candidates": 0, "judged": 0}
    if run.snapshot:
        counts = run.snapshot.counts.items()
        found["records"] = ", ".join(f"{count:,} {kind}{'s' * (count != 1)}" for kind, count in counts)
    found["inputs"] = [
        {"word": ROLE_WORDS.get(one.role, one.role), "artifact": one.artifact}
        for one in run.inputs.select_related("artifact__run").order_by("pk")
    ]
    outputs = run.artifacts.prefetch_related("uses__run").order_by("step", "pk")
    found["outputs"] = [
        {"word": KIND_WORDS.get(one.kind, one.kind), "artifact": one, "uses": list(one.uses.all())}
        for one in outputs
    ]
    if run.study_id:
        written = Candidate.objects.filter(item__study=run.study_id, source__run=run.pk)
        found["candidates"] = written.count()
        if found["candidates"]:
            judged = written.filter(item__tasks__done__gt=0)
            found["judged"] = judged.distinct().count()
    return found


def trained_on(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    """Every run that learned from one of these snapshots, at whatever remove, with the models it left.

    A run that starts from a model has in it what that model was trained on: `through` says which runs handed it on,
    `snapshots` what it was given of these itself: to begin with, or while it learned.
    """
    found: dict[int, dict[str, Any]] = {}
    given = _given({one.pk: one for one in snapshots})

    def listed(run: Run) -> dict[str, Any]:
        return {"run": run, "models": [], "through": [], "snapshots": given.get(run.pk, [])}

    layer = list(Run.objects.filter(pk__in=given).select_related("snapshot"))
    while layer:
        for run in layer:
            found.setdefault(run.pk, listed(run))
        made = Artifact.objects.filter(run__in=[run.pk for run in layer]).order_by("step", "pk")
        for artifact in made:
            found[artifact.run_id]["models"].append(artifact)
        uses = RunInput.objects.filter(artifact__in=made).select_related("run__snapshot", "artifact")
        layer = []
        for use in uses.order_by("run", "pk"):
            if use.run_id not in found:
                found[use.run_id] = listed(use.run)
                layer.append(use.run)
            through = found[use.run_id]["through"]
            if use.artifact.run_id not in through:
                through.append(use.artifact.run_id)
    return sorted(found.values(), key=lambda one: -one["run"].pk)


def _given(snapshots: Mapping[int, Snapshot]) -> dict[int, list[Snapshot]]:
    """Which runs began with one of these snapshots, or were sent it while they learned from people; by the run."""
    found: dict[int, list[Snapshot]] = {}
    begun = Run.objects.filter(snapshot__in=snapshots).values_list("pk", "snapshot")
    sent = Command.objects.filter(kind=Command.Kind.LABELS, args__snapshot__in=list(snapshots))
    for run, snapshot in [*begun, *sent.order_by("pk").values_list("run", "args__snapshot")]:
        mine = found.setdefault(run, [])
        if snapshots[snapshot] not in mine:
            mine.append(snapshots[snapshot])
    return found


def of_loop(loop: Loop) -> dict[str, Any]:
    """The round trip of a study: labels, snapshot, reward model, policy, proposals, with counts and what moves."""
    study = loop.study
    made = {
        row["kind"]: row["made"]
        for row in Artifact.objects.filter(study=study).values("kind").annotate(made=Count("pk"))
    }
    newest = {
        kind: Artifact.objects.filter(study=study, kind=kind).select_related("run").order_by("-pk").first()
        for kind in (Artifact.Kind.REWARD_MODEL, Artifact.Kind.POLICY)
    }
    active = {_stage(run): run for run in Run.objects.filter(study=study, status__in=ACTIVE).order_by("-pk")}
    fresh = new_labels(loop)
    proposed = Item.objects.filter(study=study, source__has_key="run").count()
    return {
        "labels": {
            "count": Label.objects.current().filter(study=study).count(),
            "fresh": fresh,
            "left": max(0, loop.retrain_every - fresh),
            "share": min(1.0, fresh / loop.retrain_every),
        },
        "snapshot": {
            "count": Snapshot.objects.filter(study=study).count(),
            "newest": Snapshot.objects.filter(study=study).order_by("-pk").first(),
        },
        "reward": _stop(Artifact.Kind.REWARD_MODEL, made, newest, active),
        "policy": _stop(Artifact.Kind.POLICY, made, newest, active),
        "proposals": {
            "count": proposed,
            "open": Task.objects.filter(study=study, open__gt=0, item__source__has_key="run").count(),
            "run": active.get(Artifact.Kind.ITEMS),
        },
    }


def _stage(run: Run) -> str:
    return registry.METHODS[run.method].produces if run.method in registry.METHODS else ""


def _stop(kind: str, made: dict, newest: dict, active: dict) -> dict[str, Any]:
    artifact = newest[kind]
    signs = vital_signs([artifact.run])[artifact.run_id] if artifact and artifact.run else []
    # Not the loss: what the model is for.
    telling = [sign for sign in signs if sign["name"] in TELLING]
    return {
        "count": made.get(kind, 0),
        "newest": artifact,
        "run": active.get(kind),
        "sign": telling[0] if telling else None,
    }


def vital_signs(runs: list[Run]) -> dict[int, list[dict[str, Any]]]:
    """The newest values of each run's vital signs, in their order, from the summaries alone. One query."""
    wanted = {name for run in runs for name in PRIMARY.get(run.method, [])}
    values: dict[int, dict[str, float | None]] = {run.pk: {} for run in runs}
    for series in Series.objects.filter(run__in=values, name__in=wanted):
        values[series.run_id][series.name] = series.last
    return {
        run.pk: [
            {
                "name": name,
                "label": METRICS[name].label if name in METRICS else name,
                "value": values[run.pk][name],
            }
            for name in PRIMARY.get(run.method, [])
            if name in values[run.pk]
        ]
        for run in runs
    }
