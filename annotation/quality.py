"""How far people agree: the raw agreement of a study, and what its quality page shows of the newest fit."""

from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from typing import Any

from django.contrib.auth import get_user_model

from annotation.interfaces.registry import INTERFACES, interface
from annotation.models import Label, Study
from annotation.reliability import drawing, newest
from annotation.reliability.alarms import chance
from annotation.reliability.answers import PAIRS


@dataclass(frozen=True)
class Agreement:
    """A share of pairs of answers, with its 95 % interval (Wilson's, on the number of comparisons)."""

    tasks: int
    share: float
    low: float
    high: float


def agreement(study: Study) -> Agreement | None:
    """Raw agreement on comparisons that two or more people judged; None where there is none yet.

    Each comparison counts once, however many judged it: pairs of answers to one comparison are not independent.
    """
    labels = Label.objects.current().filter(study=study, kind__in=PAIRS).order_by("task_id")
    said = labels.values_list("task_id", "answer__choice", "answer__chosen")
    shares = []
    for _, answers in groupby(said.iterator(), key=lambda row: row[0]):
        given = [row[1:] for row in answers]
        pairs = len(given) * (len(given) - 1) // 2
        if pairs:
            same = sum(a == b for n, a in enumerate(given) for b in given[:n])
            shares.append(same / pairs)
    if not shares:
        return None
    share = sum(shares) / len(shares)
    low, high = wilson(share, len(shares))
    return Agreement(len(shares), share, low, high)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion, which stays inside 0 and 1 for few and for extreme counts."""
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - spread) / scale, (middle + spread) / scale


# --- the quality page

SHOWN_ITEMS = 20
FEW_TASKS = 30
"""Shared tasks below which the page says that little can be known."""
MEASURES = (
    (
        "kappa",
        "Cohen's kappa",
        "agreement of two people beyond chance, the mean over pairs of people, by tasks",
    ),
    ("fleiss", "Fleiss' kappa", "agreement beyond chance where the same number of people answer each task"),
    ("alpha", "alpha, nominal", "Krippendorff's: agreement beyond chance, for any number of people and gaps"),
    ("alpha_ordinal", "alpha, ordinal", "Krippendorff's, where a near miss counts less than a far one"),
)


def page(study: Study) -> dict[str, Any]:
    """What the newest fit of a study says, with names in place of ids; it reads rows and computes nothing anew."""
    row = newest(study)
    if row is None:
        return {"row": None, "labels": Label.objects.current().filter(study=study).count()}
    report = row.report
    people = _people(report)
    questions = [_question(one, people) for one in report["questions"]]
    annotators = [{**one, **people[one["user"]], **_fitted(one)} for one in report["annotators"]]
    main = next((one for one in questions if one["agreement"]), None)
    fit = report["fits"][0] if report["fits"] else None
    fitted = [
        {**one, "accuracy": found["accuracy"]}
        for one in annotators
        for found in one["fits"]
        if fit and found["name"] == fit["name"]
    ]
    return {
        "row": row,
        "report": report,
        "fresh": Label.objects.filter(study=study, pk__gt=row.last_label).count(),
        "questions": questions,
        "main": main,
        "few": bool(main) and main["agreement"]["tasks"] < FEW_TASKS,
        "few_tasks": FEW_TASKS,
        "annotators": annotators,
        "alarms": [{**one, **people[one["user"]]} for one in report["alarms"]],
        "weeks": drawing.weeks(main["weeks"]) if main else None,
        "fit": fit,
        "fit_label": question_label(fit["name"]) if fit else "",
        "items_picture": drawing.items(fit["points"]) if fit and fit["points"] else None,
        "people_picture": drawing.people(fitted, fit["chance"]) if fitted else None,
        "several": len(report["fits"]) > 1,
        "hardest": [_hardest(one) for one in fit["hardest"][:SHOWN_ITEMS]] if fit else [],
    }


def question_label(name: str) -> str:
    """A question of a report in words: “Rate an answer: clarity”."""
    kind, _, criterion = name.partition(": ")
    if kind == "comparisons":
        return "comparisons of two answers"
    label = interface(kind).label if kind in INTERFACES else kind
    if kind == "ranking":
        label += ", every two of them"
    return f"{label}: {criterion}" if criterion else label


def _people(report: dict[str, Any]) -> dict[int, dict[str, Any]]:
    users = {one["user"] for one in report["annotators"]}
    rows = get_user_model().objects.filter(pk__in=users)
    return {one.pk: {"name": one.username, "simulated": one.simulated, "source": one.source} for one in rows}


def _question(found: dict[str, Any], people: dict[int, dict[str, Any]]) -> dict[str, Any]:
    pairs = [{**row, "names": [people[one]["name"] for one in row["people"]]} for row in found["pairs"]]
    measures = [
        {"name": name, "words": words, **(found.get(key) or {"value": None})} for key, name, words in MEASURES
    ]
    parts = [("by week", [{**row, "name": row["week"]} for row in found["weeks"]], "week of")]
    if found["strata"]:
        parts.append(("by stratum", [{**row, "name": row["stratum"]} for row in found["strata"]], "stratum"))
    label = question_label(found["name"])
    return {**found, "label": label, "pairs": pairs, "measures": measures, "parts": parts}


def _fitted(row: dict[str, Any]) -> dict[str, Any]:
    """Each fit of a person, with words; and how often they choose, of two equal answers, the one shown first."""
    fits = [{**one, "label": question_label(one["name"])} for one in row["fits"]]
    side = next((one["side"] for one in row["fits"] if one.get("side", {}).get("decided")), None)
    if side:
        side = {**side, **{f"share_{key}": chance(side[key]) for key in ("value", "low", "high")}}
    return {"fits": fits, "side": side}


def _hardest(row: dict[str, Any]) -> dict[str, Any]:
    """A hard item, and what was said of it, the commonest first."""
    said = sorted(((count, words) for words, count in row["answers"].items() if count), reverse=True)
    return {**row, "said": [(words, count) for count, words in said]}
