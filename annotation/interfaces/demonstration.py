"""Write the answer yourself: one, or both sides of a chat. Writes a `Demonstration` for each answer written.

An item needs no answers of its own. Those it brings are shown only where the study says so, and are not part of the
task otherwise, so that nobody copies what they were asked to write.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any, Literal

from annotation.errors import Invalid
from annotation.interfaces import screen
from annotation.models import Candidate, Item, Label
from trainers.records import Demonstration, Message, Prompt

key = "demonstration"
label = "Write an answer"
template = "annotation/interfaces/demonstration.html"

ORDER = "random"
FOLLOWS = ()
LEAST = 0
VERSION = 1
ACTIONS = {
    "add_round": ("m", "one more round of the chat"),
    "remove_round": ("d", "take the last round of the chat out"),
}
KEYS = [("Enter", "write"), ("Ctrl Enter", "send what was written")]

MOST_ROUNDS = 20
LONGEST_TEXT = 100_000
LONGEST_CHAT = 400_000
NAMES = {"user": "message", "assistant": "answer"}


@dataclass(frozen=True)
class Options:
    turns: Literal["one", "many"] = "one"
    """Ask for one answer, or for as many rounds of the chat as the person likes, up to 20: the user's messages too."""
    shown: bool = False
    """Show the answers that the item brings, as inspiration."""


@dataclass(frozen=True)
class Answer:
    """The turns a person wrote, oldest first; the last is the assistant's."""

    turns: list[dict[str, str]]

    def __post_init__(self):
        for number, turn in enumerate(self.turns):
            self._check(turn["role"], turn["content"], f"turns[{number}]")
            if number and turn["role"] == self.turns[number - 1]["role"]:
                raise Invalid(
                    f"Two turns of the {turn['role']} follow each other. They take turns.",
                    field=f"turns[{number}].role",
                )
        if not self.turns or self.turns[-1]["role"] != "assistant":
            raise Invalid("The chat must end with an answer. Write it, or skip.", field="turns")
        if self.rounds > MOST_ROUNDS:
            raise Invalid(f"Found {self.rounds} rounds; the most is {MOST_ROUNDS}.", field="turns")
        length = sum(len(turn["content"]) for turn in self.turns)
        if length > LONGEST_CHAT:
            raise Invalid(f"The chat has {length:,} characters; the most is {LONGEST_CHAT:,}.", field="turns")

    def _check(self, role: str, text: str, where: str) -> None:
        if role not in NAMES:
            raise Invalid(f"Found the role {role!r}; expected user or assistant.", field=f"{where}.role")
        if not text.strip():
            raise Invalid(f"The {NAMES[role]} is empty. Write it, or skip.", field=f"{where}.content")
        if len(text) > LONGEST_TEXT:
            raise Invalid(
                f"The {NAMES[role]} has {len(text):,} characters; the most is {LONGEST_TEXT:,}.",
                field=f"{where}.content",
            )

    @property
    def rounds(self) -> int:
        """How many answers were written."""
        return sum(turn["role"] == "assistant" for turn in self.turns)

    def to_json(self) -> dict:
        return asdict(self)


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One for an item, with its answers only where they are shown."""
    return [candidates if options.shown else []]


def show(claim) -> dict:
    """What the template needs: as many rounds to fill in as there may be. After an undo, `answer` is what was written.

    A form without script shows them all, folded; empty ones at the end say nothing.
    """
    options = Options(**claim.task.study.options(key))
    written = claim.answer["turns"] if claim.answer else []
    names = tuple(str(number) for number in range(1, len(claim.candidates) + 1))
    rounds = _rounds(written, asks_first(claim.item), most=1 if options.turns == "one" else MOST_ROUNDS)
    return {
        **screen.context(claim.item),
        "candidates": screen.answers(claim, names),
        "options": options,
        "round": rounds[0],
        "more_rounds": rounds[1:],
        "answer": {"turns": written} if written else None,
    }


def asks_first(item: Item) -> bool:
    """Whether it is the user's turn: nobody has asked anything yet, or what was asked is answered."""
    messages = item.context.get("messages")
    return bool(messages) and messages[-1]["role"] in ("assistant", "system")


def _rounds(turns: list[dict[str, str]], asks: bool, most: int) -> list[dict]:
    """The fields of each round: what the user says, unless that waits for its answer already, and the answer."""
    texts = [*([] if asks else [""]), *(turn["content"] for turn in turns)]
    texts += [""] * (2 * most - len(texts))
    return [
        {
            "number": number + 1,
            "user": {"field": f"user.{number}", "text": texts[2 * number]} if asks or number else None,
            "answer": {
                "field": "text" if most == 1 and not asks else f"answer.{number}",
                "text": texts[2 * number + 1],
            },
            "written": bool(texts[2 * number] or texts[2 * number + 1]),
        }
        for number in range(most)
    ]


def read(post: Mapping[str, Any], claim) -> Answer:
    """The turns in a JSON object, `turns`: [{"role", "content"}, …]; in a form, `user.0`, `answer.0`, `user.1`, ….

    Of one answer, `text` is enough.
    """
    options = Options(**claim.task.study.options(key))
    asks = asks_first(claim.item)
    if post.get("turns") is not None:
        turns = _read_turns(post["turns"])
    elif post.get("text") is not None:
        turns = [{"role": "assistant", "content": screen.read_text(post["text"], "text")}]
    else:
        turns = _read_rounds(post, asks)
    if turns and (turns[0]["role"] == "user") != asks:
        expected = "a message of the user" if asks else "the answer to what was said last"
        raise Invalid(f"The chat must go on with {expected}.", field="turns[0].role")
    answer = Answer(turns)
    if options.turns == "one" and answer.rounds > 1:
        raise Invalid(f"Found {answer.rounds} answers; this study asks for one.", field="turns")
    return answer


def _read_turns(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list):
        raise Invalid(f"Found {str(value)[:60]!r}; expected a list of turns.", field="turns")
    found = []
    for number, one in enumerate(value):
        if (
            not isinstance(one, Mapping)
            or set(one) != {"role", "content"}
            or not isinstance(one["role"], str)
        ):
            raise Invalid('Expected {"role": "assistant", "content": "…"}.', field=f"turns[{number}]")
        content = screen.read_text(one["content"], f"turns[{number}].content")
        found.append({"role": one["role"], "content": content})
    return found


def _read_rounds(post: Mapping[str, Any], asks: bool) -> list[dict[str, str]]:
    """The rounds of a form up to the last one in which anything was written."""
    turns = [
        (name, who, screen.read_text(post.get(name) or "", name))
        for number in range(MOST_ROUNDS)
        for name, who in ((f"user.{number}", "user"), (f"answer.{number}", "assistant"))
    ]
    if not asks:
        del turns[0]
    last = max((number for number, (_, _, text) in enumerate(turns) if text.strip()), default=0)
    if turns[last][1] == "user":
        last += 1  # what was asked wants an answer
    del turns[last + 1 :]
    for name, who, text in turns:
        if not text.strip():
            raise Invalid(
                f"The {NAMES[who]} of round {int(name.split('.')[1]) + 1} is empty. Write it, or skip.",
                field=name,
            )
    return [{"role": who, "content": text} for _, who, text in turns]


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    return f"written: {shorten(answer['turns'][-1]['content'], 160, placeholder='…')}"


def records(given: Label) -> list[Demonstration]:
    """One for each answer that was written; its prompt is all that stands before it."""
    answer = Answer(**given.answer)
    item = given.task.item
    prompt = screen.prompt(item)
    found: list[Demonstration] = []
    for number, turn in enumerate(answer.turns):
        if turn["role"] != "assistant":
            continue
        before = tuple(Message(**said) for said in answer.turns[:number])
        found.append(
            Demonstration(
                id=screen.record_id(given) + (f"-{len(found):02d}" if answer.rounds > 1 else ""),
                prompt=(*_messages(prompt), *before) if before else prompt,
                answer=turn["content"],
                weight=screen.weight(given),
                annotator=given.annotator.username,
                source=screen.lineage(given),
            )
        )
    return found


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt
