"""A person drove the robot: trim the recording to what is worth imitating, keep or discard it. Writes a `Drive`.

The driving itself is done on the robot's live page, which keeps the recording; here its ends are set, now or later.
Marking success or failure writes an `EpisodeMark` too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from annotation.errors import Invalid
from annotation.interfaces import recorded, screen
from annotation.models import Candidate, Label
from trainers.records.robots import Drive, EpisodeMark

key = "driving"
label = "Trim a driven demonstration"
template = "annotation/interfaces/driving.html"

CLIPS = True
"""It asks about clips and not about texts."""
VERSION = 1
ORDER = "random"
FOLLOWS = ()
LEAST = 1
ACTIONS = {
    **recorded.PLAYER,
    "mark_in": ("i", "it begins here"),
    "mark_out": ("o", "it ends here"),
    "untrim": ("x", "the whole of it again"),
    "success": ("w", "it succeeded; again, and nothing is said of it"),
    "failure": ("n", "it failed; again, and nothing is said of it"),
    "about": ("t", "a note with it"),
    "discard": ("d", "discard it: nothing is learned from it"),
}
KEYS = [
    *recorded.PLAYER_KEYS,
    ("Ctrl Enter", "keep what lies between the ends"),
]

LONGEST_NOTE = 5_000


@dataclass(frozen=True)
class Options:
    note: bool = True
    """Offer a field for a note."""


@dataclass(frozen=True)
class Answer:
    """What of a driven recording is worth imitating, in steps of the episode."""

    candidate: int
    start: int
    stop: int
    success: bool | None = None
    note: str = ""
    kept: bool = True
    """False where nothing may be learned from it."""

    def __post_init__(self):
        if type(self.start) is not int or type(self.stop) is not int or not 0 <= self.start < self.stop:
            raise Invalid(
                f"Found the steps {self.start!r} to {self.stop!r}; expected at least one step, from 0 on.",
                field="stop",
            )
        if not isinstance(self.success, bool | None):
            raise Invalid(f"Found {self.success!r}; expected true, false or null.", field="success")
        if not isinstance(self.kept, bool):
            raise Invalid(f"Found {self.kept!r}; expected true or false.", field="kept")
        if not isinstance(self.note, str) or len(self.note) > LONGEST_NOTE:
            raise Invalid(f"Expected a note of up to {LONGEST_NOTE:,} characters.", field="note")

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One for an item that is one recording which a person drove: its source says {"driven": true}."""
    one = recorded.alone(candidates)
    return [[one]] if one and recorded.is_driven(one) else []


# --- showing and reading


def show(claim) -> dict:
    """What the template needs, steps counted from the beginning of the recording."""
    (clip,) = recorded.shown(claim, ("",))
    said = Answer(**claim.answer) if claim.answer else None
    begins, length = clip.get("start", 0), clip.get("length", 1)
    return {
        **screen.context(claim.item),
        "clip": clip,
        "options": Options(**claim.task.study.options(key)),
        "marked": recorded.FLAGS[said.success if said else None],
        "noted": said.note if said else "",
        "first": said.start - begins if said else 0,
        "end": said.stop - begins if said else length,
        "answer": {name: value for name, value in asdict(said).items() if name != "candidate"}
        if said
        else None,
    }


def read(post: Mapping[str, Any], claim) -> Answer:
    """`start` and `stop` in steps of the episode; in a form `from` and `to`, in steps of the recording shown.

    Left out, the whole of it. `success`, `note`; `kept` is 0 where it is discarded.
    """
    candidate = claim.candidates[0]
    clip = recorded.clip_of(candidate)
    if clip is None:
        raise Invalid("This is no recording; there is nothing to trim. Skip it.", field="start")
    start = _step(post, "start", "from", clip.start, clip.start)
    stop = _step(post, "stop", "to", clip.stop, clip.start)
    if not clip.start <= start < stop <= clip.stop:
        raise Invalid(
            f"Found the steps {start} to {stop}; the recording has {clip.start} to {clip.stop}.",
            field="stop" if stop > clip.stop or start < stop else "start",
        )
    note = screen.read_text(post.get("note") or "", "note").strip()
    return Answer(
        candidate.pk,
        start,
        stop,
        recorded.read_flag(post.get("success"), "success"),
        note,
        recorded.read_flag(post.get("kept", True), "kept"),
    )


def _step(post: Mapping[str, Any], name: str, in_form: str, default: int, begins: int) -> int:
    value = post.get(name)
    if value is None and post.get(in_form) not in (None, ""):
        text = post[in_form]
        if not isinstance(text, str) or not text.strip().isdecimal() or len(text) > 9:
            raise Invalid(f"Found {str(text)[:20]!r}; expected a step, counted from 0.", field=in_form)
        return begins + int(text)
    if value is None:
        return default
    if type(value) is not int:
        raise Invalid(f"Found {value!r}; expected a step of the episode.", field=name)
    return value


# --- what it means


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    parts = [f"kept, steps {answer['start']} to {answer['stop']}" if answer["kept"] else "discarded"]
    if answer["success"] is not None:
        parts.append("success" if answer["success"] else "failure")
    return ", ".join(parts)


def judgement(answer: dict, candidates: list[int]) -> str:
    return "kept" if answer["kept"] else "discarded"


def records(given: Label) -> list[Drive | EpisodeMark]:
    """A drive where it was kept, and a mark of the episode where success or failure was marked."""
    answer = Answer(**given.answer)
    candidate, episode = recorded.asked_about(given, answer.candidate)
    source = screen.lineage(given, clip=candidate)
    if answer.note:
        source["note"] = answer.note
    shared = {
        "prompt": screen.prompt(given.task.item),
        "episode": episode,
        "weight": screen.weight(given),
        "annotator": given.annotator.username,
        "source": source,
    }
    found: list[Drive | EpisodeMark] = []
    if answer.kept:
        found.append(Drive(id=screen.record_id(given), start=answer.start, stop=answer.stop, **shared))
    if answer.success is not None:
        found.append(EpisodeMark(id=f"{screen.record_id(given)}-mark", success=answer.success, **shared))
    return found
