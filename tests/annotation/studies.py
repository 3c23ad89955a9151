"""Small studies to test with."""

from itertools import count
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.db import connection

from annotation import services
from annotation.models import Assignment, Role, Study
from tests.annotation import robots

numbers = count(1)
SAID = {
    "pairwise": {"choice": "a"},
    "edit": {"text": "A kinder answer."},
    "rating": {"scores": {"quality": 4}},
}


def person(name: str = ""):
    return get_user_model().objects.create_user(username=name or f"person-{next(numbers)}")


def study(
    *kinds: str | dict,
    items: int = 3,
    answers: int = 2,
    overlap: int = 1,
    members: int = 0,
    owner=None,
    **rest,
) -> Study:
    """A study over numbered prompts and answers, or over recordings of robots; `members` annotators join it."""
    made = services.create_study(
        name=rest.pop("name", "Which is kinder?"),
        owner=owner or person(),
        interfaces=list(kinds) or ["pairwise"],
        overlap=overlap,
        licence=rest.pop("licence", "CC-BY-4.0"),
        **rest,
    )
    if items and all(kind in robots.KINDS for kind in made.kinds):
        robots.ask(made, items)
    elif items:
        services.add_items(
            study=made,
            items=[
                {
                    "context": {"prompt": f"Question {n}?"},
                    "candidates": [
                        {"text": f"Answer {k} to {n}.", "policy": f"model-{k}"} for k in range(answers)
                    ],
                }
                for n in range(items)
            ],
        )
    for _ in range(members):
        services.join_study(study=made, user=person(), role=Role.ANNOTATOR)
    return made


def annotators(study: Study) -> list:
    return [one.user for one in study.memberships.select_related("user").filter(role=Role.ANNOTATOR)]


def claim(study: Study, user, **rest):
    """The one task handed to this person, or None."""
    return next(iter(services.claim_tasks(study=study, annotator=user, **rest)), None)


def answer(turn, said: dict | None = None, key=None):
    """Submits an answer to a task in hand: by default that the first candidate shown is better."""
    said = said or SAID.get(turn.task.kind) or {"ranks": in_the_order_shown(turn)}
    return services.submit_label(
        task=turn.task, annotator=turn.assignment.annotator, answer=said, key=key or uuid4(), seconds=1.5
    )


def in_the_order_shown(turn) -> dict[str, int]:
    return {str(candidate.pk): place for place, candidate in enumerate(turn.candidates, 1)}


def label_next(study: Study, user, said: dict | None = None, **rest):
    """Claims and answers one task; the stored label."""
    return answer(claim(study, user, **rest), said)


def let_lapse(*turns) -> None:
    """Moves the end of these leases into the past."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE annotation_assignment SET lease_until = now() - interval '1 second' WHERE id = ANY(%s)",
            [[turn.assignment.pk for turn in turns]],
        )


def state(turn) -> str:
    return Assignment.objects.get(pk=turn.assignment.pk).state
