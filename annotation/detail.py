"""What somebody said, in full and to be read by others: texts with what is marked in them, rewrites, turns, steps.

A verdict in a few words is `review.words_of`. This is for what does not go into a few words; of a comparison, an
order or a rating nothing is left over but the criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from annotation.interfaces import error_types
from annotation.models import Candidate, Task

STEPS = {1: ("✓", "right"), 0: ("○", "neutral"), -1: ("✗", "wrong"), None: ("·", "not judged")}


def detail_of(task: Task, answer: Mapping[str, Any], candidates: Iterable[Candidate]) -> dict[str, Any]:
    """What the template `said.html` needs to show an answer in full; empty where its words say it all.

    `candidates` are all answers of the task's item.
    """
    read = DETAILS.get(task.kind)
    return read(answer, {one.pk: one for one in candidates}, task) if read else {}


def _pairwise(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    names = dict(zip(task.candidates, "AB", strict=False))
    asked = {one["name"]: one["label"] for one in task.study.options("pairwise").get("criteria", [])}
    criteria = [
        (asked.get(name, name), f"{names[one['better']]} is better" if one["better"] in names else "tie")
        for name, one in (answer.get("criteria") or {}).items()
    ]
    return {"criteria": criteria} if criteria else {}


def _critique(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    candidate = candidates.get(answer["candidate"])
    if candidate is None:
        return {}
    asked = task.study.options("critique").get("types")
    types = error_types.read_types(asked) if asked else error_types.DEFAULT
    places = {one.key: place for place, one in enumerate(types, 1)}
    labels = {one.key: one.label for one in types}
    spans = [
        {
            **span,
            "number": number,
            "label": labels.get(span["type"], span["type"]),
            "colour": min(places.get(span["type"], 0), 9),
            "text": candidate.text[span["start"] : span["end"]],
        }
        for number, span in enumerate(answer["spans"], 1)
    ]
    return {
        "pieces": pieces(candidate.text, spans),
        "spans": spans,
        "missing": answer.get("missing", []),
        "note": answer.get("note", ""),
        "rewrite": answer.get("rewrite", ""),
    }


def pieces(text: str, spans: list[dict]) -> list[dict[str, Any]]:
    """The text cut wherever a stretch begins or ends; each piece with the stretches over it and those that begin."""
    cuts = sorted({0, len(text), *(one["start"] for one in spans), *(one["end"] for one in spans)})
    return [
        {
            "text": text[start:end],
            "over": [one for one in spans if one["start"] <= start and end <= one["end"]],
            "begins": [one for one in spans if one["start"] == start],
        }
        for start, end in pairwise(cuts)
    ]


def _edit(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    original = candidates.get(answer["candidate"])
    return {"original": original.text if original else "", "rewrite": answer["text"]}


def _demonstration(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    return {"turns": [{"who": one["role"], "text": one["content"]} for one in answer["turns"]]}


def _steps(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    text = candidates[answer["candidate"]].text if answer["candidate"] in candidates else ""
    cuts = answer.get("cuts") or []
    return {
        "steps": [
            {"sign": STEPS[label][0], "word": STEPS[label][1], "text": text[slice(*cut)]}
            for label, cut in zip(answer["labels"], cuts, strict=False)
        ]
    }


def _conversation(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    for turn in answer["turns"]:
        turns.append({"who": "said", "text": turn["said"]})
        taken = turn["written"] or turn["chosen"]
        word = {"tie": "answered; the other was as good", "both_bad": "answered; both were bad"}
        for pk in dict.fromkeys([*(turn.get("replies") or []), taken]):
            who = "written instead" if pk == turn["written"] else "answered"
            if pk == turn["chosen"] and len(turn.get("replies") or []) > 1:
                who = word.get(turn["outcome"], "chosen")
            if pk in candidates:
                turns.append({"who": who, "text": candidates[pk].text, "passed": pk != taken})
    return {"turns": turns}


def _clips(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    names = dict(zip(task.candidates, "AB", strict=False))
    marks = [
        (f"Marked on {names.get(one['candidate'], '?')}", f"steps {one['start']} to {one['stop'] - 1}")
        for one in answer.get("marks", [])
    ]
    return {"facts": marks} if marks else {}


def _hindsight(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    facts = []
    for one in answer["corrections"]:
        said = "rejected" if one["type"] == "rejected" and not one["command"] else one["command"]
        before = "was" if one["type"] == "rejected" else "instead of"
        parts = [
            f"“{one['text']}”" if one["text"] and one["text"] != said else "",
            f"{before} “{one['predicted']}”" if one["predicted"] else "",
            "said live" if one["live"] else "",
        ]
        rest = ", ".join(filter(None, parts))
        facts.append((f"Steps {one['start']} to {one['stop'] - 1}", f"{said} ({rest})" if rest else said))
    facts += [(name, "done" if done else "not done") for name, done in answer["stages"].items()]
    return {"facts": facts} if facts else {}


def _driving(answer: Mapping, candidates: Mapping[int, Candidate], task: Task) -> dict[str, Any]:
    return {"facts": [("Note", answer["note"])]} if answer["note"] else {}


DETAILS: dict[str, Callable[[Mapping, Mapping[int, Candidate], Task], dict[str, Any]]] = {
    "pairwise": _pairwise,
    "critique": _critique,
    "edit": _edit,
    "demonstration": _demonstration,
    "steps": _steps,
    "conversation": _conversation,
    "clips": _clips,
    "hindsight": _hindsight,
    "driving": _driving,
}
