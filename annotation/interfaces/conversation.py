"""Talk with one or two models and choose an answer at every turn. Writes `Pair`s, and what the person wrote.

The conversation goes on from the chosen answer, as in HH-RLHF (Bai et al. 2022, arXiv:2204.05862). Its models are the
study's newest policy and the one before it, and nothing says which answered where. A tie and both bad go on from the
first answer shown, which chance put there.

An item is a scenario. Its messages are what models read first; where they end with a turn of the user, the person
begins by saying that. A plain prompt is for the person alone: who they are, and what they want.

In a conversation of both seats the person may also write the answer (a `Demonstration`), or rewrite the chosen one
(a `Correction`, and the conversation goes on from it).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from annotation import exchanges, richtext
from annotation.errors import Invalid
from annotation.exchanges import OUTCOMES, SIDES, Turn
from annotation.interfaces import screen
from annotation.models import Assignment, Candidate, Label
from trainers.records import Correction, Demonstration, Message, Pair, Prompt

key = exchanges.KIND
label = "Talk with models"
template = "annotation/interfaces/conversation.html"
VERSION = 1

ORDER = "random"
FOLLOWS = ()
LEAST = 0
ACTIONS = {
    "write": ("enter", "write; Enter sends what is written, Shift+Enter begins a line"),
    "equal": ("t", "both answers are as good: go on from A"),
    "neither": ("n", "neither: both are bad, go on from A"),
    "own": ("w", "write the answer yourself, where both seats are yours"),
    "change": ("c", "change the answer you took"),
    "again": ("a", "ask the models again"),
    "take_back": ("backspace", "take your last message back"),
    "send": ("ctrl+enter", "finish the conversation and send it"),
}
KEYS = [("1 2", "take answer A or B, and go on from it")]


@dataclass(frozen=True)
class Options:
    models: Literal[1, 2] = 2
    """How many answers come to each message. Of one, nothing is compared: it needs both seats to be learned from."""
    seats: Literal["model", "both"] = "model"
    """Who answers: models alone; or both seats are the person's, who may write an answer or rewrite the chosen one."""
    most_turns: Literal[1, 2, 4, 6, 8, 12, 16, 24] = 8
    """After how many turns a conversation must end."""


@dataclass(frozen=True)
class Answer:
    """The conversation: in each turn what was said, which candidates answered, and what was said of them."""

    turns: list[dict[str, Any]]

    def __post_init__(self):
        if not self.turns:
            raise Invalid("Nothing was said yet. Say something, or skip.", field="turns")
        for number, turn in enumerate(self.turns):
            if turn["chosen"] is None and turn["written"] is None:
                raise Invalid(
                    "Your last message has no answer yet. Choose one, or take the message back.",
                    field=f"turns[{number}]",
                )
            if turn["outcome"] not in ("", *OUTCOMES):
                raise Invalid(f"Found {turn['outcome']!r}; expected one of {', '.join(OUTCOMES)}.", "turns")

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One conversation about an item, whatever answers it came with."""
    return [[]]


def show(claim) -> dict:
    """What the template needs: the scenario, the turns so far, and whose turn it is."""
    turns = exchanges.turns_of(claim.assignment.pk)
    # Only whoever has the task in hand may speak: not who looks back, nor a reviewer, who was never handed it.
    held = claim.assignment.pk is not None and claim.assignment.state == Assignment.State.LEASED
    state = exchanges.state_of(turns) if held else "over"
    options = Options(**claim.task.study.options(key))
    last = turns[-1] if turns else None
    hidden = claim.task.study.names_hidden
    return {
        **_scenario(claim.item),
        "options": options,
        "chat": [_shown(turn, hidden) for turn in turns],
        "state": state,
        "progress_word": exchanges.progress_of(last.exchange) if state == "waiting" else "",
        "problem": last.exchange.problem if last and state == "problem" else "",
        "number": len(turns),
        "last_number": len(turns) - 1,
        "room_left": options.most_turns - len(turns),
        "both_seats": options.seats == "both",
        "opening": exchanges.opening(claim.item) if not turns else "",
        "answer": {"turns": [turn.to_json() for turn in turns]} if claim.answer else None,
    }


def _scenario(item) -> dict:
    """A prompt is a scenario for the person; messages are the turns before, less the one the person begins with."""
    shown = screen.context(item)
    if "prompt" in item.context:
        return {**shown, "turns": [], "scenario": richtext.render(item.context["prompt"])}
    return {**shown, "turns": shown["turns"][: len(exchanges.begun(item))], "scenario": ""}


def _shown(turn: Turn, hidden: bool) -> dict:
    """A turn as the page shows it; who wrote an answer only where the study says so."""
    return {
        "number": turn.number,
        "said": richtext.render(turn.said),
        "replies": [
            {
                "name": side.upper(),
                "side": side,
                "id": one.pk,
                "text": one.text,
                "html": richtext.render(one.text),
                "taken": one == turn.chosen,
                "policy": "" if hidden else one.policy,
            }
            for side, one in zip(SIDES, turn.replies, strict=False)
        ],
        "taken": turn.chosen and richtext.render(turn.chosen.text),
        "written": turn.written and richtext.render(turn.written.text),
        "text": turn.goes_on.text if turn.goes_on else "",
        "outcome": turn.outcome,
        "open": not turn.goes_on,
    }


def read(post: Mapping[str, Any], claim) -> Answer:
    """The conversation as it stands in the turns that are kept: nothing that is sent with it counts."""
    return Answer([turn.to_json() for turn in exchanges.turns_of(claim.assignment.pk)])


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    count = len(answer["turns"])
    return f"a conversation of {count} turn{'' if count == 1 else 's'}"


def judgement(answer: dict, candidates: list[int]) -> None:
    """No two people have the same conversation, so nothing in it can be compared between them."""


def records(given: Label) -> list[Pair | Demonstration | Correction]:
    """What each turn says: which of two answers is better, what a person would have answered, how they mended one."""
    item = given.task.item
    answers = {one.pk: one for one in item.candidates.all()}
    before = [Message(one["role"], one["content"]) for one in exchanges.begun(item)]
    found: list[Pair | Demonstration | Correction] = []
    for number, turn in enumerate(Answer(**given.answer).turns):
        before.append(Message("user", turn["said"]))
        found += _records_of(given, f"{screen.record_id(given)}-{number:02d}", tuple(before), turn, answers)
        before.append(Message("assistant", answers[turn["written"] or turn["chosen"]].text))
    return found


def _records_of(
    given: Label, name: str, prompt: Prompt, turn: dict, answers: dict[int, Candidate]
) -> list[Pair | Demonstration | Correction]:
    shared = {"prompt": prompt, "weight": screen.weight(given), "annotator": given.annotator.username}
    chosen, written = answers.get(turn["chosen"]), answers.get(turn["written"])
    found: list[Pair | Demonstration | Correction] = []
    if len(turn["replies"]) == 2 and turn["outcome"]:
        first, second = (answers[pk] for pk in sorted(turn["replies"]))
        if turn["outcome"] == "chosen" and chosen == second:
            first, second = second, first
        source = screen.lineage(given, chosen=first, rejected=second)
        pair = Pair(
            id=name, chosen=first.text, rejected=second.text, outcome=turn["outcome"], source=source, **shared
        )
        found.append(pair)
    if written and chosen:
        source = screen.lineage(given, original=chosen)
        found.append(
            Correction(
                id=f"{name}-rewritten", original=chosen.text, edited=written.text, source=source, **shared
            )
        )
    elif written:
        source = screen.lineage(given, answer=written)
        found.append(Demonstration(id=f"{name}-written", answer=written.text, source=source, **shared))
    return found
