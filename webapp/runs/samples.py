"""What a model wrote at one step beside what it wrote at an earlier one, and the way of such a pair to annotators."""

from __future__ import annotations

from typing import Any

from annotation.errors import Invalid
from annotation.models import Item
from annotation.services import add_items
from trainers.metrics import METRICS, Metric
from webapp.runs.models import Run, Sample

MOST_SHOWN = 24


def compared(run: Run, *, step: str | None = None, before: str | None = None) -> dict[str, Any]:
    """The samples of a step (the newest unless chosen) with those of an earlier one (the first unless chosen)."""
    steps = list(run.samples.order_by("step").values_list("step", flat=True).distinct())
    if not steps:
        return {"steps": []}
    now = _step(step, steps, otherwise=steps[-1])
    earlier = _step(before, steps, otherwise=steps[0])
    rows = list(run.samples.filter(step=now).order_by("index")[: MOST_SHOWN + 1])
    past = {one.index: one for one in run.samples.filter(step=earlier)} if earlier != now else {}
    sent = set(
        Item.objects.filter(study=run.study_id, external_id__startswith=f"run-{run.pk}-samples-").values_list(
            "external_id", flat=True
        )
    )
    pairs = []
    for one in rows[:MOST_SHOWN]:
        old = past.get(one.index)
        if old and old.prompt != one.prompt:
            old = None
        key = external_id(run, earlier, now, one.index)
        pairs.append({"now": one, "before": old, "scores": _scores(one, old), "sent": key in sent})
    return {
        "steps": steps,
        "now": now,
        "before": earlier,
        "newest": steps[-1],
        "chosen": bool(step),
        "pairs": pairs,
        "more": run.samples.filter(step=now).count() - MOST_SHOWN if len(rows) > MOST_SHOWN else 0,
    }


def _step(asked: str | None, steps: list[int], *, otherwise: int) -> int:
    return int(asked) if asked and asked.isdecimal() and int(asked) in steps else otherwise


def _scores(now: Sample, before: Sample | None) -> list[dict[str, Any]]:
    found = []
    for name, value in {**now.scores, "length": now.length or None}.items():
        if value is None:
            continue
        old = None
        if before:
            old = before.length if name == "length" else before.scores.get(name)
        change = value - old if isinstance(value, int | float) and isinstance(old, int | float) else None
        metric = _metric(name)
        better = metric.better if metric else "none"
        tone = "" if not change or better == "none" else "good" if (change > 0) == (better == "up") else "bad"
        label = metric.label if metric else name.replace("_", " ").capitalize()
        found.append({"label": label, "now": value, "before": old, "change": change, "tone": tone})
    return found


def _metric(name: str) -> Metric | None:
    """What a sample's score means: `gold` here is `objective/gold` in the logs."""
    spellings = (name, f"objective/{name}", f"objective/{name}s")
    return next((METRICS[known] for known in spellings if known in METRICS), None)


def external_id(run: Run, before: int, now: int, index: int) -> str:
    return f"run-{run.pk}-samples-{before}-{now}-{index}"


def send_to_annotators(*, run: Run, before: int, step: int, index: int) -> bool:
    """Asks the study's people to compare a run's two answers to a prompt. False where they are asked already."""
    pair = {one.step: one for one in run.samples.filter(index=index, step__in=(before, step))}
    if len(pair) < 2:
        raise Invalid(
            f"Run {run.pk} has no sample {index} at both steps {before} and {step}. Choose two steps of the list.",
            field="step",
        )
    if pair[before].prompt != pair[step].prompt:
        raise Invalid(
            f"Sample {index} answers different prompts at steps {before} and {step}.", field="index"
        )
    candidates = [
        {
            "text": one.text,
            "policy": f"run {run.pk}, step {one.step}",
            "source": {"run": run.pk, "step": one.step, "sample": index},
        }
        for one in (pair[before], pair[step])
    ]
    item = {
        "context": {"prompt": pair[step].prompt},
        "candidates": candidates,
        "external_id": external_id(run, before, step, index),
        "source": {"run": run.pk, "samples": [before, step]},
    }
    return bool(add_items(study=run.study, items=[item]))
