"""Simulated annotators: members of a study that answer by a stated rule, with its mistakes stated too.

They go the way that people go, claim and submit, so that what is tried with them holds for people. Nobody can take
them for people: they are called simulated-1, simulated-2, …, and their accounts say `simulated`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from uuid import uuid4

from django.contrib.auth import get_user_model

from annotation.interfaces import edit, pairwise
from annotation.models import Label, Role, Study
from annotation.queue import Claim
from annotation.services import claim_tasks, join_study, skip_task, submit_label
from trainers.envs import hotel

EDITS = 0.1
"""How often one of them would rather rewrite an answer than compare two, while there is both to do."""
GOOD_ENOUGH = 9.5
"""Nobody rewrites an answer that the rule gives so much."""


def simulated_annotators(study: Study, count: int) -> list:
    """The first `count` simulated annotators, members of the study from now on."""
    users = get_user_model().objects
    found = []
    for number in range(1, count + 1):
        user = users.filter(username=f"simulated-{number}").first()
        if user is None:
            user = users.create_user(username=f"simulated-{number}", password=None, simulated=True)
        if not user.simulated:
            raise ValueError(
                f"The account {user} belongs to a person; rename it, the name is that of a program."
            )
        if not study.memberships.filter(user=user).exists():
            join_study(study=study, user=user, role=Role.ANNOTATOR)
        found.append(user)
    return found


def simulate(study: Study, annotators: list, labels: int, noise: float, seed: int) -> Iterator[Label]:
    """Up to `labels` labels, the annotators taking turns; ends early when there is nothing left for any of them.

    `noise` is the share of comparisons that are answered by a coin.
    """
    rng = random.Random(seed)
    given = idle = 0
    while given < labels and idle < len(annotators):
        annotator = annotators[(given + idle) % len(annotators)]
        label = answer_next(study, annotator, noise, rng)
        if label:
            yield label
        given, idle = (given + 1, 0) if label else (given, idle + 1)


def answer_next(study: Study, annotator, noise: float, rng: random.Random) -> Label | None:
    """One label by this annotator, or None when the study has no task for them."""
    kinds = ["edit", "pairwise"] if rng.random() < EDITS else ["pairwise", "edit"]
    for kind in kinds:
        while claims := claim_tasks(study=study, annotator=annotator, kind=kind):
            (claim,) = claims
            answer = compare(claim, noise, rng) if kind == "pairwise" else rewrite(claim)
            if answer:
                return submit_label(task=claim.task, annotator=annotator, answer=answer, key=uuid4())
            skip_task(task=claim.task, annotator=annotator, reason="Nothing to improve by the rule.")
    return None


def compare(claim: Claim, noise: float, rng: random.Random) -> pairwise.Answer:
    """Which of two answers the rule prefers; `strength` says by how much. Their order on the screen plays no part."""
    first, second = sorted(claim.candidates, key=lambda candidate: candidate.index)
    prompt = prompt_of(claim)
    choice = hotel.gold_preference(prompt, first.text, second.text, rng)
    if rng.random() < noise:
        choice = rng.choice(("a", "b"))
    if choice in ("tie", "both_bad"):
        return pairwise.Answer(choice)
    apart = abs(hotel.gold(prompt, first.text) - hotel.gold(prompt, second.text))
    chosen, rejected = (first, second) if choice == "a" else (second, first)
    return pairwise.Answer("chosen", chosen.pk, rejected.pk, 1 if apart < 1 else 2 if apart < 4 else 3)


def rewrite(claim: Claim) -> edit.Answer | None:
    """The answer mended by the rule, or None where it is good as it is."""
    (original,) = claim.candidates[:1]
    prompt = prompt_of(claim)
    if hotel.gold(prompt, original.text) >= GOOD_ENOUGH:
        return None
    return edit.Answer(original.pk, hotel.rewrite(prompt, original.text))


def prompt_of(claim: Claim) -> str:
    """The guest's message: the prompt, or the last message of a chat."""
    context = claim.item.context
    return context["prompt"] if "prompt" in context else context["messages"][-1]["content"]
