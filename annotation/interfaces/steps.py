"""Judge an answer step by step: right, neutral or wrong, or just the first wrong step. Writes `StepLabels`.

The steps are those that came with the answer, in its source: `"steps": ["…", {"role": "tool", "text": "…"}]`. Of an
answer without them, the text is cut at blank lines, or at every line. A label keeps where the cuts were when it was
given and a digest of the steps, so that it means the same whatever the study, or this file, does later.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from annotation import richtext
from annotation.errors import Conflict, Invalid
from annotation.interfaces import screen
from annotation.models import Candidate, Label, Study
from trainers.records import StepLabels, canonical

key = "steps"
label = "Judge step by step"
template = "annotation/interfaces/steps.html"

ORDER = "random"
FOLLOWS = ()
LEAST = 1
VERSION = 1
ACTIONS = {
    "step_on": ("j", "the next step; so does the down arrow"),
    "step_back": ("u", "the step before; so does the up arrow"),
    "first_wrong": ("x", "this step is the first wrong one: what stands before it is right"),
    "all_right": ("a", "no step is wrong"),
}
KEYS = [
    ("1 … 3", "the step in focus is right, neutral, wrong"),
    ("Enter", "send what was said about the steps"),
]

RIGHT, NEUTRAL, WRONG = 1, 0, -1
"""As in PRM800K (arXiv:2305.20050)."""
FORM = {"1": RIGHT, "0": NEUTRAL, "-1": WRONG, "": None}
"""The labels as a form spells them."""
MOST_STEPS = 500
MACHINE = re.compile(
    r"tool|function|code|output|result|observation|console|terminal|shell|python|sql|json", re.I
)
"""What a step is called that a machine wrote or reads: its text is shown letter by letter."""
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


@dataclass(frozen=True)
class Options:
    mode: Literal["first_wrong", "every"] = "first_wrong"
    """Ask only which step is the first wrong one, or ask about every step."""
    split: Literal["paragraphs", "lines"] = "paragraphs"
    """Where to cut an answer that came without steps. A block of code is never cut."""


# --- an answer as steps


@dataclass(frozen=True)
class Step:
    text: str
    name: str = ""
    """Who or what it is by, or what it is called, where the sender says so."""

    @property
    def machine(self) -> bool:
        return bool(MACHINE.search(self.name))


@dataclass(frozen=True)
class Trace:
    """The steps of an answer, and where in its text each begins and ends: no cuts where the steps came with it."""

    steps: tuple[Step, ...]
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(step.text for step in self.steps)

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical(list(self.texts)).encode()).hexdigest()[:16]


def trace_of(candidate: Candidate, split: str) -> Trace:
    """The steps that came with an answer, or else its text in pieces."""
    given = _given(candidate.source.get("steps"))
    return Trace(given) if given else _at(candidate.text, _cuts(candidate.text, split))


def _given(value: Any) -> tuple[Step, ...]:
    """A source is whatever its sender wrote: what does not look like steps from end to end is not taken for any."""
    if not isinstance(value, list):
        return ()
    found = []
    for one in value:
        row = {"text": one} if isinstance(one, str) else one
        if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
            return ()
        name = row.get("title") or row.get("role") or ""
        found.append(Step(row["text"], name if isinstance(name, str) else ""))
    return tuple(found)


def _at(text: str, cuts) -> Trace:
    return Trace(
        tuple(Step(text[start:end]) for start, end in cuts), tuple((start, end) for start, end in cuts)
    )


def _cuts(text: str, split: str) -> list[tuple[int, int]]:
    """Where the steps of a text begin and end."""
    found: list[tuple[int, int]] = []
    place, begin, fence = 0, None, ""
    for line in text.splitlines(keepends=True):
        end = place + len(line.rstrip())
        blank = not line.strip()
        if not fence and (blank or split == "lines"):
            begin = None  # what follows is a step of its own
        if begin is None and not blank:
            begin = place
            found.append((begin, end))
        elif begin is not None and not blank:
            found[-1] = (begin, end)
        fence = _fence_after(line, fence)
        place += len(line)
    return found


def _fence_after(line: str, fence: str) -> str:
    """The fence of the code block that is open after this line; empty for none."""
    mark = FENCE.match(line)
    if not mark:
        return fence
    if not fence:
        return mark[1]
    return "" if mark[1].startswith(fence) and line.strip() == mark[1] else fence


# --- what is said about them


@dataclass(frozen=True)
class Answer:
    """For each step 1 (right), 0 (neutral), -1 (wrong) or None (not judged); and which steps these were."""

    candidate: int
    labels: list[int | None]
    digest: str
    cuts: list[list[int]] = field(default_factory=list)

    @classmethod
    def about(cls, candidate: Candidate, trace: Trace, labels: list[int | None]) -> "Answer":
        if len(labels) != len(trace.steps):
            raise Invalid(f"Found {len(labels)} labels for {len(trace.steps)} steps.", field="labels")
        return cls(candidate.pk, labels, trace.digest, [list(cut) for cut in trace.cuts])

    def __post_init__(self):
        for number, one in enumerate(self.labels):
            if one is not None and (type(one) is not int or one not in (RIGHT, NEUTRAL, WRONG)):
                raise Invalid(
                    f"Found {one!r} for step {number + 1}; expected 1 (right), 0 (neutral) or -1 (wrong).",
                    field=f"labels[{number}]",
                )
        for number, one in enumerate(self.labels[: self.first_wrong]):
            if one is None:
                raise Invalid(
                    f"Step {number + 1} is not judged. Judge every step up to the first wrong one, or skip.",
                    field=f"labels[{number}]",
                )

    @property
    def first_wrong(self) -> int | None:
        return self.labels.index(WRONG) if WRONG in self.labels else None

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """Each answer by itself. Not one without a step, nor one of more than 500."""
    return [
        [candidate]
        for candidate in candidates
        if 1 <= len(trace_of(candidate, options.split).steps) <= MOST_STEPS
    ]


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` is what was said, if it was said of these steps."""
    options = Options(**claim.task.study.options(key))
    candidate = claim.candidates[0]
    trace = trace_of(candidate, options.split)
    said = Answer(**claim.answer) if claim.answer else None
    if said and said.digest != trace.digest:
        said = None
    labels = said.labels if said else [None] * len(trace.steps)
    shown = screen.answers(claim, names=("Answer",))[0]
    return {
        **screen.context(claim.item),
        "candidate": shown,
        "options": options,
        "digest": trace.digest,
        "steps": [
            {
                "index": index,
                "number": index + 1,
                "name": step.name,
                "machine": step.machine,
                "text": step.text,
                "html": "" if step.machine else richtext.render(step.text),
                "field": f"step.{index}",
                "given": given,
            }
            for index, (step, given) in enumerate(zip(trace.steps, labels, strict=True))
        ],
        "outcome": "" if trace.cuts or _says_no_more(candidate.text, trace) else shown["html"],
        "answer": {"labels": said.labels, "first_wrong": said.first_wrong} if said else None,
    }


def parts(candidate: Candidate, study: Study) -> dict:
    """What a program must see of an answer besides its text: the steps that it is asked about."""
    trace = trace_of(candidate, Options(**study.options(key)).split)
    return {"steps": [asdict(step) for step in trace.steps]}


def _says_no_more(text: str, trace: Trace) -> bool:
    """Whether an answer's text holds nothing that its steps do not."""
    return "".join(text.split()) in "".join("".join(trace.texts).split())


def read(post: Mapping[str, Any], claim) -> Answer:
    """`first_wrong`: the index of the first wrong step, or none (null) where all are right; from a form or JSON.

    Where every step is asked about: `labels`, a list, or in a form `step.0`, `step.1` and so on. Both together say
    that what stands before the first wrong step is right unless it was called neutral, and nothing of what follows.
    """
    options = Options(**claim.task.study.options(key))
    candidate = claim.candidates[0]
    trace = trace_of(candidate, options.split)
    if post.get("steps", trace.digest) != trace.digest:
        raise Invalid("The answer is cut into other steps by now. Load the page again.", field="steps")
    count = len(trace.steps)
    labels = _read_labels(post, count) if options.mode == "every" else [None] * count
    if "first_wrong" in post:
        first = _read_first(post["first_wrong"], count)
        before = [NEUTRAL if one == NEUTRAL else RIGHT for one in labels[:first]]
        labels = before if first is None else [*before, WRONG, *[None] * (count - first - 1)]
    elif options.mode == "first_wrong":
        raise Invalid("Say which step is the first wrong one, or that all are right.", field="first_wrong")
    return Answer.about(candidate, trace, labels)


def _read_first(value: Any, count: int) -> int | None:
    if value is None or value == "none":
        return None
    if isinstance(value, bool) or str(value) not in [str(number) for number in range(count)]:
        raise Invalid(f"Found {value!r}; expected 0 to {count - 1}, or none.", field="first_wrong")
    return int(value)


def _read_labels(post: Mapping[str, Any], count: int) -> list[int | None]:
    labels = post.get("labels")
    if labels is None:
        said = [post.get(f"step.{number}") for number in range(count)]
        labels = [FORM.get(one, one) if isinstance(one, str) else one for one in said]
    if not isinstance(labels, list):
        raise Invalid(f"Found {labels!r}; expected a list with a label for each step.", field="labels")
    return labels


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    first, count = judgement(answer, order), len(answer["labels"])
    return (
        f"no wrong step among {count}" if first < 0 else f"step {first + 1} of {count} is the first wrong one"
    )


def judgement(answer: dict, candidates: list[int]) -> int:
    """The index of the first wrong step; -1 where there is none."""
    return answer["labels"].index(WRONG) if WRONG in answer["labels"] else -1


def records(given: Label) -> list[StepLabels]:
    answer = Answer(**given.answer)
    item = given.task.item
    judged = next(candidate for candidate in item.candidates.all() if candidate.pk == answer.candidate)
    return [
        StepLabels(
            id=screen.record_id(given),
            prompt=screen.prompt(item),
            steps=_judged(answer, judged),
            labels=tuple(answer.labels),
            first_wrong=answer.first_wrong,
            weight=screen.weight(given),
            annotator=given.annotator.username,
            source=screen.lineage(given, answer=judged),
        )
    ]


def _judged(answer: Answer, candidate: Candidate) -> tuple[str, ...]:
    """The very steps that were judged, wherever the study would cut the answer today."""
    trace = _at(candidate.text, answer.cuts) if answer.cuts else Trace(_given(candidate.source.get("steps")))
    if trace.digest != answer.digest:
        raise Conflict(
            f"The steps of answer {candidate.pk} are not those that were judged: its text or its source was changed. "
            "Restore it, or withdraw the labels about it."
        )
    return trace.texts
