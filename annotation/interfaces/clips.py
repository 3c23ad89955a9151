"""Two clips of robots at work, played side by side: which is better, and how clearly. Writes a `ClipPair`.

The verdict is the one of comparing two answers, key by key. Whoever likes marks on either clip what decided it. Which
clip stood left is chance, drawn for each person; no record knows of it.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from annotation.errors import Invalid
from annotation.interfaces import pairwise as verdicts
from annotation.interfaces import recorded, screen
from annotation.models import Candidate, Label
from trainers.episodes import Clip
from trainers.records.robots import ClipPair

key = "clips"
label = "Compare two clips of a robot"
template = "annotation/interfaces/clips.html"

CLIPS = True
"""It asks about clips and not about texts."""
VERSION = 1
ORDER = "random"
FOLLOWS = ()
LEAST = 2
ACTIONS = {
    "neither": ("n", "neither: both are bad"),
    "reason": ("r", "give a reason with the answer"),
    **recorded.PLAYER,
    "side": ("a", "mark on the other clip"),
    "mark_in": ("i", "here begins what decided it"),
    "mark_out": ("o", "here ends what decided it"),
    "unmark": ("x", "take the last mark out"),
}
KEYS = [*verdicts.KEYS, *recorded.PLAYER_KEYS]

NAMES = ("A", "B")
MOST_MARKS = 20
MARK = re.compile(r"\s*([ABab])\s*:?\s*(\d{1,9})\s*(?:-|–|to)\s*(\d{1,9})\s*", re.ASCII)


@dataclass(frozen=True)
class Options:
    strength: bool = True
    """Ask how clearly the better clip is better."""
    reason: bool = True
    """Offer a field for a reason."""
    marks: bool = True
    """Let people mark on either clip what decided it."""
    pairs: Literal["all", "neighbours"] = "all"
    """Of an item with more than two clips: compare every two, or each with the next."""


@dataclass(frozen=True)
class Answer:
    """What was preferred, by candidate and not by side."""

    choice: Literal["chosen", "tie", "both_bad"]
    chosen: int | None = None
    rejected: int | None = None
    strength: int = 1
    reason: str = ""
    marks: list[dict] = field(default_factory=list)
    """What decided it: {"candidate", "start", "stop"}, in steps of the candidate's episode."""

    def __post_init__(self):
        self.verdict  # noqa: B018 - it checks itself
        if not isinstance(self.marks, list) or len(self.marks) > MOST_MARKS:
            raise Invalid(f"Expected a list of up to {MOST_MARKS} marks.", field="marks")
        for number, mark in enumerate(self.marks):
            _check_mark(mark, f"marks[{number}]")

    @property
    def verdict(self) -> verdicts.Answer:
        return verdicts.Answer(self.choice, self.chosen, self.rejected, self.strength, self.reason)

    def to_json(self) -> dict:
        return asdict(self)


def _check_mark(mark: Any, where: str) -> None:
    if (
        not isinstance(mark, Mapping)
        or set(mark) != {"candidate", "start", "stop"}
        or not all(type(value) is int for value in mark.values())
    ):
        raise Invalid(
            f'Found {str(mark)[:60]!r}; expected {{"candidate": 1, "start": 0, "stop": 9}}.', field=where
        )
    if not 0 <= mark["start"] < mark["stop"]:
        raise Invalid(
            f"Found the steps {mark['start']} to {mark['stop']}; expected at least one.",
            field=f"{where}.stop",
        )


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """The comparisons that an item asks for; of what is no clip, none."""
    return verdicts.compared([one for one in candidates if recorded.clip_of(one)], options.pairs)


# --- showing and reading


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is what was chosen, as it stands on this screen."""
    answer = _as_shown(claim)
    return {
        **screen.context(claim.item),
        "candidates": recorded.shown(claim, NAMES),
        "options": Options(**claim.task.study.options(key)),
        "marks": answer["marks"] if answer else "",
        "answer": answer,
    }


def _as_shown(claim) -> dict | None:
    if claim.answer is None:
        return None
    given = Answer(**claim.answer)
    order = [candidate.pk for candidate in claim.candidates]
    return {**verdicts.verdict_as_shown(given.verdict, order), "marks": _written(given.marks, claim)}


def _written(marks: list[dict], claim) -> str:
    """Marks as the form has them: "A 0-12, B 30-41", in steps of the clip, counted from 0."""
    order = [candidate.pk for candidate in claim.candidates]
    found = []
    for mark in marks:
        side = order.index(mark["candidate"])
        clip = recorded.clip_of(claim.candidates[side])
        start = clip.start if clip else 0
        found.append(f"{NAMES[side]} {mark['start'] - start}-{mark['stop'] - start}")
    return ", ".join(found)


def read(post: Mapping[str, Any], claim) -> Answer:
    """The answer in a form or a JSON object: `choice` is a, b, tie or both_bad, as the person saw them; see `pairwise`.

    `marks` is a text, "A 0-12, B 30-41" in steps of the clips counted from 0, the last not included; or a list of
    {"candidate", "start", "stop"} in steps of the episodes.
    """
    options = Options(**claim.task.study.options(key))
    marks = _read_marks(post.get("marks"), claim) if options.marks else []
    return Answer(**verdicts.read_verdict(post, claim), marks=marks)


def _read_marks(value: Any, claim) -> list[dict]:
    if value in (None, ""):
        return []
    if isinstance(value, str):
        value = _read_written(value, claim)
    if not isinstance(value, list):
        raise Invalid(f"Found {str(value)[:60]!r}; expected marks such as “A 0-12, B 30-41”.", field="marks")
    clips = {candidate.pk: recorded.clip_of(candidate) for candidate in claim.candidates}
    for number, mark in enumerate(value):
        _check_mark(mark, f"marks[{number}]")
        clip = clips.get(mark["candidate"])
        if clip is None:
            raise Invalid(
                f"{mark['candidate']} is neither of the two clips.", field=f"marks[{number}].candidate"
            )
        if mark["start"] < clip.start or mark["stop"] > clip.stop:
            raise Invalid(
                f"Found the steps {mark['start']} to {mark['stop']}; the clip has {clip.start} to {clip.stop}.",
                field=f"marks[{number}].stop",
            )
    order = list(clips)
    return sorted(
        (dict(mark) for mark in value),
        key=lambda one: (order.index(one["candidate"]), one["start"], one["stop"]),
    )


def _read_written(text: str, claim) -> list[dict]:
    found = []
    for part in filter(str.strip, screen.read_text(text, "marks").split(",")):
        match = MARK.fullmatch(part)
        if not match:
            raise Invalid(
                f"Found {part.strip()[:40]!r}; expected the clip and its steps, as in “A 0-12”.",
                field="marks",
            )
        candidate = claim.candidates["AB".index(match[1].upper())]
        clip = recorded.clip_of(candidate)
        start = clip.start if clip else 0
        found.append(
            {"candidate": candidate.pk, "start": start + int(match[2]), "stop": start + int(match[3])}
        )
    return found


# --- what it means


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it; `order` is how the clips stood before them."""
    given = Answer(**answer)
    said = verdicts.words(given.verdict.to_json(), order)
    marks = len(given.marks)
    return f"{said}, {marks} {'mark' if marks == 1 else 'marks'}" if marks else said


def judgement(answer: dict, candidates: list[int]) -> int | str:
    """What was said, whatever stood where: 1 to 3 for the first of these clips, -1 to -3 for the second."""
    return verdicts.judgement(answer, candidates)


def records(given: Label) -> list[ClipPair]:
    """One pair. Of a tie, and of two bad clips, the one with the lower index stands first."""
    answer = Answer(**given.answer)
    item = given.task.item
    first, second = verdicts.winner_first(given, answer.verdict)
    clips = {one.pk: one for one in (first, second)}
    source = screen.lineage(given, chosen=first, rejected=second)
    if answer.reason:
        source["reason"] = answer.reason
    return [
        ClipPair(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            chosen=first.text,
            rejected=second.text,
            outcome=answer.choice,
            strength=float(answer.strength),
            weight=screen.weight(given),
            annotator=given.annotator.username,
            marks=tuple(_mark(mark, clips) for mark in answer.marks),
            source=source,
        )
    ]


def _mark(mark: dict, clips: Mapping[int, Candidate]) -> str:
    return str(Clip(Clip.read(clips[mark["candidate"]].text).episode, mark["start"], mark["stop"]))
