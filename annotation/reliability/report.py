"""The reliability of a study's labels as one JSON object: what a `Reliability` row keeps and the quality page shows.

    {"labels", "last_label", "questions": [agreement …], "annotators": [{"user", "weight", …}],
     "fits": [what the models say of items], "alarms": [{"user", "kind", "text", "advice"}], "seconds"}

People stand in it by the ids of their accounts: names change, and are looked up by whoever shows it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import date, timedelta
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.interfaces.registry import interface
from annotation.models import Study
from annotation.reliability import agreement, alarms, answers, weighing
from annotation.reliability.answers import Labels, Question
from annotation.reliability.fits import fits_of, table_of

VERSION = 1
FEWEST_TASKS = 5
"""Tasks below which a pair of people, a week or a stratum gets no line of its own."""
MOST_PAIRS = 30
MOST_PERIODS = 26
MOST_STRATA = 30


def report(study: Study) -> dict[str, Any]:
    """Reads a study's labels, and says how far people agree and how much each one's labels say."""
    began = time.monotonic()
    labels = answers.read(study)
    fits = fits_of(labels)
    rows = _annotators(labels, fits)
    return {
        "version": VERSION,
        "labels": len(labels.given),
        "last_label": labels.last,
        "questions": [_agreement(question, labels.people, study) for question in labels.questions],
        "annotators": rows,
        "fits": [fit["items"] for fit in fits],
        "alarms": _alarms(labels, rows),
        "seconds": round(time.monotonic() - began, 2),
    }


# --- how far people agree


def _agreement(question: Question, people: list[int], study: Study) -> dict[str, Any]:
    """A question's numbers: over all of its tasks, by pair of people, by week and by stratum."""
    everything = np.ones(len(question.unit), dtype=bool)
    found = {
        "name": question.name,
        "kind": question.kind,
        "labels": len(question.unit),
        "tasks": len(question.units),
        "people": len(np.unique(question.person)),
        "answers": {
            said: int(n) for said, n in zip(question.said, np.bincount(question.answer), strict=True)
        },
        **_numbers(question, everything, resamples=agreement.RESAMPLES),
        "pairs": _pairs(question, people),
        "weeks": _weeks(question),
        "strata": _strata(question) if study.stratum else [],
    }
    kappas = [(row["kappa"], row["tasks"]) for row in found["pairs"] if row["kappa"] is not None]
    if kappas:
        total = sum(tasks for _, tasks in kappas)
        found["kappa"] = {
            "value": sum(kappa * tasks for kappa, tasks in kappas) / total,
            "pairs": len(kappas),
            "tasks": total,
        }
    return found


def _numbers(question: Question, rows: NDArray[np.bool_], resamples: int = 0) -> dict[str, Any]:
    """Raw agreement, Fleiss' kappa and both alphas over some of the rows."""
    unit = question.unit[rows]
    counts = agreement.counted(unit, question.answer[rows], len(question.said))
    found = {
        "agreement": agreement.raw(counts),
        "fleiss": agreement.fleiss(counts),
        "alpha": agreement.alpha(counts, "nominal", resamples=resamples),
        "alpha_ordinal": None,
    }
    if question.ordered:
        graded = rows & np.isfinite(question.grade)
        values, place = np.unique(question.grade[graded], return_inverse=True)
        counts = agreement.counted(question.unit[graded], place, len(values))
        found["alpha_ordinal"] = agreement.alpha(counts, "ordinal", values, resamples)
    return found


def _pairs(question: Question, people: list[int]) -> list[dict[str, Any]]:
    """The pairs of people with the most tasks in common."""
    found = []
    pairs = agreement.pairs_of_people(question.unit, question.person, len(people), FEWEST_TASKS, MOST_PAIRS)
    for one, other in pairs:
        mine, theirs = agreement.shared(question.unit, question.person, one, other)
        first, second = question.answer[mine], question.answer[theirs]
        row = {
            "people": [people[one], people[other]],
            "tasks": len(mine),
            "share": float((first == second).mean()),
            "kappa": agreement.cohen(first, second),
            "weighted": None,
        }
        if question.ordered:
            graded = np.isfinite(question.grade[mine]) & np.isfinite(question.grade[theirs])
            # Whole grades, so that scikit-learn takes them for classes in order.
            given = (question.grade[rows][graded].astype(np.int64) for rows in (mine, theirs))
            row["weighted"] = agreement.cohen(*given, weights="quadratic")
        found.append(row)
    return found


def _weeks(question: Question) -> list[dict[str, Any]]:
    """By the week, from Monday (UTC), in which a task got its last answer."""
    ended = np.zeros(len(question.units))
    np.maximum.at(ended, question.unit, question.day)
    monday = ((ended.astype(np.int64) + 3) // 7) * 7 - 3  # 1970 began on a Thursday
    found = []
    for week in np.unique(monday)[-MOST_PERIODS:]:
        numbers = _numbers(question, monday[question.unit] == week)
        if numbers["agreement"] and numbers["agreement"]["tasks"] >= FEWEST_TASKS:
            found.append({"week": str(date(1970, 1, 1) + timedelta(days=int(week))), **numbers})
    return found


def _strata(question: Question) -> list[dict[str, Any]]:
    names = np.array(question.stratum)
    found = []
    for name in sorted(set(question.stratum)):
        numbers = _numbers(question, names[question.unit] == name)
        if numbers["agreement"] and numbers["agreement"]["tasks"] >= FEWEST_TASKS:
            found.append({"stratum": name, **numbers})
    found.sort(key=lambda row: -row["agreement"]["tasks"])
    return found[:MOST_STRATA]


# --- people


def _annotators(labels: Labels, fits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for everybody who said something; the one with the most labels first."""
    weight = _weights(labels, fits)
    given: dict[int, list] = defaultdict(list)
    for one in labels.given:
        given[one.user].append(one)
    agreed = _agreed(labels)
    rows = []
    for place, user in enumerate(labels.people):
        own = given[user]
        seconds = [one.seconds for one in own if one.seconds > 0]
        gold = [one.gold for one in own if one.gold is not None]
        again = labels.repeats.get(user, [])
        rows.append(
            {
                "user": user,
                "labels": len(own),
                "seconds": round(median(seconds), 2) if seconds else None,
                "with_others": agreed.get(place),
                "gold": {"right": sum(gold), "of": len(gold)},
                "repeats": {"same": sum(again), "of": len(again)},
                "fits": [_standing(fit, place) for fit in fits if fit["labels"][place]],
                "weight": round(float(weight[place]), 4),
            }
        )
    return sorted(rows, key=lambda row: (-row["labels"], row["user"]))


def _standing(fit: dict[str, Any], place: int) -> dict[str, Any]:
    """What a fit says of one person. `accuracy` is q, how often they side with what people have in common."""
    base = np.log((1 - fit["chance"]) / fit["chance"])  # log-odds count from chance
    middle, error = float(fit["log_odds"][place]), float(fit["log_odds_error"][place])
    ends = [alarms.chance(float(at - base)) for at in (middle, middle - 1.96 * error, middle + 1.96 * error)]
    found: dict[str, Any] = {
        "name": fit["name"],
        "labels": int(fit["labels"][place]),
        "chance": fit["chance"],
        "accuracy": dict(zip(("value", "low", "high"), (round(one, 4) for one in ends), strict=True)),
    }
    if "alpha" in fit:
        found["reliability"] = _interval(fit["alpha"][place], fit["alpha_error"][place])
        found["side"] = {
            **_interval(fit["beta"][place], fit["beta_error"][place]),
            "first": int(fit["chose_first"][place]),
            "decided": int(fit["decided"][place]),
        }
    return found


def _interval(value: float, error: float) -> dict[str, float]:
    low, high = value - 1.96 * error, value + 1.96 * error
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _weights(labels: Labels, fits: list[dict[str, Any]]) -> NDArray:
    """Of each person, the mean of what the fits say, by how many labels each fit has of them."""
    people = len(labels.people)
    total, count = np.zeros(people), np.zeros(people)
    for fit in fits:
        there = fit["labels"] > 0
        own = weighing.weights(fit["log_odds"][there], fit["log_odds_error"][there], fit["labels"][there])
        total[there] += own * fit["labels"][there]
        count[there] += fit["labels"][there]
    return np.divide(total, count, out=np.ones(people), where=count > 0)


def _agreed(labels: Labels) -> dict[int, dict[str, Any]]:
    """Of each person, over all questions: the share of others' answers that are theirs, and over how many tasks."""
    people = len(labels.people)
    total, tasks = np.zeros(people), np.zeros(people, dtype=np.int64)
    for question in labels.questions:
        share, count = agreement.with_others(
            question.unit, question.person, question.answer, people, len(question.said)
        )
        total += np.where(count > 0, share, 0.0) * count
        tasks += count
    return {
        place: {"share": float(total[place] / tasks[place]), "tasks": int(tasks[place])}
        for place in range(people)
        if tasks[place]
    }


# --- alarms


def _alarms(labels: Labels, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What to look at, by person, in the order of the table."""
    seconds: dict[tuple[int, str], list[float]] = defaultdict(list)
    everyones: dict[str, list[float]] = defaultdict(list)
    pressed: dict[tuple[int, str], list[str]] = defaultdict(list)
    gold: dict[int, list[float]] = defaultdict(list)
    for one in labels.given:
        seconds[one.user, one.kind].append(one.seconds)
        everyones[one.kind].append(one.seconds)
        pressed[one.user, one.kind].append(one.pressed)
        if one.gold is not None:
            gold[one.user].append(float(one.gold))
    agreed = _agreed_in_order(labels)
    found = []
    for place, row in sorted(
        ((labels.people.index(row["user"]), row) for row in rows), key=lambda pair: -pair[1]["labels"]
    ):
        user = row["user"]
        raised = [
            alarms.fast(seconds[user, kind], everyones[kind], interface(kind).label.lower())
            for kind in everyones
        ]
        raised += [alarms.straight_lining(pressed[user, kind]) for kind in everyones]
        for standing in row["fits"]:
            if side := standing.get("side"):
                raised.append(
                    alarms.leaning(side["value"], side["low"], side["high"], side["first"], side["decided"])
                )
        raised.append(
            alarms.drift(gold[user], "The share of known answers matched")
            or alarms.drift(agreed.get(place, []), "Agreement with the others")
        )
        found += [{"user": user, **alarm} for alarm in raised if alarm]
    return found


def _agreed_in_order(labels: Labels) -> dict[int, list[float]]:
    """For each person, how far the others agreed with each of their answers, the oldest first."""
    timed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for question in labels.questions:
        table = table_of(question.unit, question.answer, len(question.units), len(question.said))
        others = table.sum(axis=1)[question.unit] - 1
        same = table[question.unit, question.answer] - 1
        for row in np.flatnonzero(others > 0):
            timed[int(question.person[row])].append(
                (float(question.day[row]), float(same[row] / others[row]))
            )
    return {place: [score for _, score in sorted(rows)] for place, rows in timed.items()}
