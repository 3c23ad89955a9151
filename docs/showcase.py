"""Studies that ask in every way, and one answered by simulated annotators: what the pictures of the documentation show.

`manage.py shell -c "from docs.showcase import build; build()"` in a studio of its own; see docs/screenshots.py.
"""

from __future__ import annotations

import json
import random
from uuid import uuid4

from django.contrib.auth import get_user_model

from annotation import consent, exchanges, gold, remarks, review, services, snapshots
from annotation.models import Remark, Study, Task
from annotation.reliability import sweep
from annotation.simulation import simulated_annotators
from trainers.envs import hotel

CRITERIA = [
    {"name": "tone", "label": "Tone", "question": "Which is kinder?"},
    {"name": "facts", "label": "Facts", "question": "Which is right?"},
]
WAYS = {
    "pairwise": {"criteria": CRITERIA},
    "ranking": {},
    "rating": {},
    "edit": {},
    "critique": {"rewrite": True},
    "steps": {"mode": "every"},
    "demonstration": {"turns": "many"},
    "conversation": {},
}
GUIDELINE = "An answer is good when it **answers what was asked**, is true of this hotel, and is kind.\n"
LATE = "Could I check out at two tomorrow? My train leaves at four."
ANSWERS = [
    "Gladly: we keep your room until two, at no cost. May we look after your luggage until the train?",
    "Check-out is at eleven. Late check-out is subject to availability. Check-out is at eleven.",
    "Yes.",
    "Our spa opens at nine, and the pool was voted the best in town. Until two you may stay for 20 euros.",
]
PASSAGES = [
    {
        "title": "House rules",
        "text": "Check-out is at 11:00. Until 14:00 a room is kept at no cost where it is free.",
    }
]
TRACE = (
    "The room costs 80 euros a night, so three nights are 3 × 80 = 240 euros.\n\n"
    "The third night is 25 % cheaper: 0.25 × 80 = 20 euros.\n\n"
    "Breakfast is 12 euros a day for two guests: 3 × 12 = 36 euros.\n\n"
    "Together: 240 − 20 + 36 = 256 euros."
)
TALK = "You arrive late, you are tired, and your room has no towels. Find out when you can have some."


def build() -> None:
    """Makes the studies, and prints in JSON the numbers of what is to be photographed."""
    owner = get_user_model().objects.filter(memberships__role="owner").order_by("pk").first()
    shown = {kind: to_label(kind, options, owner) for kind, options in WAYS.items()}
    study, task = to_review(owner)
    print("showcase", json.dumps({**shown, "study": study.pk, "task": task.pk, "item": task.item_id}))


def to_label(kind: str, options: dict, owner) -> int:
    """A study with one thing to label, which nobody has answered yet."""
    study = services.create_study(
        name="Front desk", owner=owner, interfaces=[{"kind": kind, "options": options}], guidelines=GUIDELINE
    )
    about = {"context": {"prompt": LATE}, "candidates": ANSWERS, "source": {"passages": PASSAGES}}
    if kind in ("critique", "edit"):
        about["candidates"] = [ANSWERS[1]]
    if kind == "steps":
        about = {"context": {"prompt": "What do three nights cost two guests?"}, "candidates": [TRACE]}
    if kind == "conversation":
        about = {"context": {"prompt": TALK}, "candidates": []}
    services.add_items(study=study, items=[about])
    if kind == "conversation":
        talk_a_little(study, owner)
    return study.pk


def to_review(owner) -> tuple[Study, Task]:
    """A study that several have answered, with all that reviewers look at; and the task of a critique in it."""
    study = services.create_study(
        name="Front desk", owner=owner, interfaces=["pairwise", "critique", "rating"], overlap=3,
        guidelines=GUIDELINE, licence="CC-BY-4.0",
        consent="Your answers train a small model and are published under CC-BY-4.0.",
    )  # fmt: skip
    first = {"context": {"prompt": LATE}, "candidates": ANSWERS[:2], "source": {"passages": PASSAGES}}
    services.add_items(study=study, items=[first, *questions(30)])
    people = simulated_annotators(study, 4)
    for member in study.memberships.all():
        consent.agree(member, study.consent_version)
    answered(study, people, random.Random(1))
    shown = review_some(study, owner)
    sweep.fit(study)
    snapshots.freeze(study=study, by=owner, name="First labels")
    return study, shown


def questions(count: int) -> list[dict]:
    """Questions of the demo's guests with two answers each, as they are in the first study of a new studio."""
    found = Study.objects.order_by("pk")[0].items.order_by("pk")[:count]
    return [
        {"context": one.context, "candidates": [answer.text for answer in one.candidates.all()[:2]]}
        for one in found
    ]


def answered(study: Study, people: list, rng: random.Random) -> None:
    """Everybody answers most comparisons, some surer and some at random, and a few of each other kind."""
    for noise, person in zip((0.05, 0.1, 0.2, 0.6), people, strict=True):
        for _ in range(24):
            give(study, person, "pairwise", lambda turn, noise=noise: compared(turn, noise, rng))
    for person in people[:2]:
        for _ in range(4):
            give(study, person, "critique", criticised)
            give(study, person, "rating", lambda turn: {"scores": {"quality": rng.randint(2, 5)}})


def give(study: Study, person, kind: str, say) -> None:
    for turn in services.claim_tasks(study=study, annotator=person, kind=kind):
        services.submit_label(
            task=turn.task, annotator=person, answer=say(turn), key=uuid4(), seconds=6 + turn.task.pk % 9
        )


def compared(turn, noise: float, rng: random.Random) -> dict:
    prompt = turn.item.context["prompt"]
    first, second = (one.text for one in turn.candidates)
    choice = rng.choice("ab") if rng.random() < noise else hotel.gold_preference(prompt, first, second, rng)
    return {"choice": choice, **({"strength": rng.randint(1, 3)} if choice in ("a", "b") else {})}


def criticised(turn) -> dict:
    text = turn.candidates[0].text
    if text != ANSWERS[1]:
        return {"fine": True}
    again = text.rindex("Check-out is at eleven.")
    if turn.assignment.annotator.username.endswith("2"):  # people see different things
        said_twice = {"start": again, "end": len(text), "type": "Redundant", "note": "Word for word."}
        return {"spans": [said_twice], "note": "Cold, but not wrong."}
    hedge = text.index("Late check-out")
    return {
        "spans": [
            {"start": hedge, "end": again - 1, "type": "Unverifiable", "note": "The house rules say when."},
            {"start": again, "end": len(text), "type": "Redundant", "note": ""},
        ],
        "missing": ["That two o'clock is possible, and at no cost"],
        "rewrite": ANSWERS[0],
    }


def review_some(study: Study, owner) -> Task:
    """A flag, a settled task, and known answers; the task of the critique that is shown."""
    first, second, *_ = Task.objects.filter(study=study, kind="pairwise", done__gte=2).order_by("-pk")
    remarks.remark(
        task=first, author=first.labels.first().annotator, kind=Remark.Kind.FLAG, key=uuid4(),
        reason=Remark.Reason.PERSONAL, text="The guest's telephone number is in it.",
    )  # fmt: skip
    review.settle(task=second, by=owner, answer={"choice": "a", "strength": 2}, reason="It answers at once.")
    known = review.verdict_of(second)
    gold.make_gold(task=second, answer=known.answer, by=owner, reason=known.reason)
    return next(
        task
        for task in Task.objects.filter(study=study, kind="critique", done__gte=1).select_related("item")
        if task.labels.filter(answer__fine=False).exists()
    )


def talk_a_little(study: Study, owner) -> None:
    """The owner's own conversation, with two answers to choose from."""
    (turn,) = services.claim_tasks(study=study, annotator=owner, kind="conversation")
    said = exchanges.say(
        task=turn.task.pk, annotator=owner, number=0, text="Good evening. There are no towels in my room."
    )
    exchanges.take_answers(
        said.pk,
        [
            exchanges.Answer("I am sorry. Somebody brings four of them up in ten minutes.", "a", {}),
            exchanges.Answer("Housekeeping begins at nine tomorrow.", "b", {}),
        ],
    )
