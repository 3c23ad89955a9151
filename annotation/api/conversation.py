"""The HTTP API of live conversations: say something, see what models answer, choose, and say on.

Claim a task of the kind `conversation`, say something, ask for the state until it is `choose` (or `yours`, where one
model alone answers), choose, and so on; then submit the task with an empty answer: its turns are kept already.
"""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema

from annotation import exchanges
from annotation.errors import Invalid
from annotation.exchanges import Turn
from annotation.services import turn_at

router = Router(tags=["conversations"])


class ReplyOut(Schema):
    id: int
    text: str
    policy: str | None = Field(description="Who wrote it; null where the study hides that.")


class TurnOut(Schema):
    number: int = Field(description="From 0.")
    said: str
    replies: list[ReplyOut] = Field(description="a, then b: in an order drawn by chance.")
    chosen: int | None = Field(description="The answer of a model that was taken.")
    written: ReplyOut | None = Field(description="What you wrote in its place, or yourself.")
    outcome: str = Field(description="Of two answers: chosen, tie or both_bad. Empty where nothing was said.")
    problem: str = Field(description="Why no model answered.")


class ConversationOut(Schema):
    task: int
    state: Literal["yours", "choose", "waiting", "problem"] = Field(
        description="yours: say something, or submit; choose: of the last turn's replies; waiting: for models."
    )
    progress: str = Field(
        description="While waiting: sent, answering, or away (no worker has taken the message up; it is kept)."
    )
    next_turn: int = Field(description="The number of the turn that you may begin, or have to finish.")
    turns_left: int
    messages: list[dict[str, Any]] = Field(description="What models were given before the first turn.")
    opening: str = Field(description="What the scenario has you say first.")
    turns: list[TurnOut]

    @staticmethod
    def of(request: HttpRequest, pk: int) -> dict[str, Any]:
        claim = turn_at(task=pk, annotator=request.user)
        if claim.task.kind != exchanges.KIND:
            raise Invalid(f"Task {pk} is no conversation; it asks for: {claim.task.kind}.", field="task")
        turns = exchanges.turns_of(claim.assignment.pk)
        state = exchanges.state_of(turns)
        return {
            "task": pk,
            "state": state,
            "progress": exchanges.progress_of(turns[-1].exchange) if state == "waiting" else "",
            "next_turn": len(turns) if state == "yours" else len(turns) - 1,
            "turns_left": claim.task.study.options(exchanges.KIND)["most_turns"] - len(turns),
            "messages": exchanges.begun(claim.item),
            "opening": exchanges.opening(claim.item),
            "turns": [turn_json(turn, claim.task.study.names_hidden) for turn in turns],
        }


def turn_json(turn: Turn, hidden: bool) -> dict[str, Any]:
    def reply(one):
        return {"id": one.pk, "text": one.text, "policy": None if hidden else one.policy}

    return {
        **turn.to_json(),
        "number": turn.number,
        "replies": [reply(one) for one in turn.replies],
        "written": turn.written and reply(turn.written),
        "problem": turn.exchange.problem,
    }


class SayIn(Schema):
    turn: int = Field(
        description="`next_turn`: the same text for the same turn, sent again, changes nothing."
    )
    text: str


class ChooseIn(Schema):
    turn: int
    choice: Literal["a", "b", "tie", "both_bad"] = Field(
        description="After tie and both_bad the conversation goes on from a."
    )


class TurnIn(Schema):
    turn: int = Field(description="The last turn: no other can be changed.")


@router.get("/tasks/{pk}/conversation", response=ConversationOut)
def conversation(request: HttpRequest, pk: int):
    """How your conversation stands. While it is `waiting`, ask again, each time a little later."""
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/say", response=ConversationOut)
def say(request: HttpRequest, pk: int, given: SayIn):
    """Begins a turn, and has the study's models answer it."""
    exchanges.say(task=pk, annotator=request.user, number=given.turn, text=given.text)
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/choose", response=ConversationOut)
def choose(request: HttpRequest, pk: int, given: ChooseIn):
    """Says which answer of the last turn is better; the conversation goes on from it."""
    exchanges.choose(task=pk, annotator=request.user, number=given.turn, choice=given.choice)
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/write", response=ConversationOut)
def write(request: HttpRequest, pk: int, given: SayIn):
    """Your own answer to the last turn, in a study of both seats; models need not have answered."""
    exchanges.write(task=pk, annotator=request.user, number=given.turn, text=given.text)
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/rewrite", response=ConversationOut)
def rewrite(request: HttpRequest, pk: int, given: SayIn):
    """The chosen answer of the last turn as it should have been, in a study of both seats."""
    exchanges.rewrite(task=pk, annotator=request.user, number=given.turn, text=given.text)
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/again", response=ConversationOut)
def again(request: HttpRequest, pk: int, given: TurnIn):
    """Asks the models once more, where none answered."""
    exchanges.ask_again(task=pk, annotator=request.user, number=given.turn)
    return ConversationOut.of(request, pk)


@router.post("/tasks/{pk}/conversation/back", response=ConversationOut)
def back(request: HttpRequest, pk: int, given: TurnIn):
    """Takes the last turn back, with its answers."""
    exchanges.take_back(task=pk, annotator=request.user, number=given.turn)
    return ConversationOut.of(request, pk)
