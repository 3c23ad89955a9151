"""In which order tasks come, and how many people a task is asked of."""

from __future__ import annotations

import pytest

from annotation import policies
from annotation.errors import Invalid
from annotation.models import Label, Task
from annotation.services import add_items, change_study
from tests.annotation import studies

pytestmark = pytest.mark.django_db


def items(*strata: str, prefix: str = "item") -> list[dict]:
    return [
        {
            "context": {"prompt": f"{prefix} {n}"},
            "candidates": ["One.", "Two."],
            "external_id": f"{prefix}-{n}",
            "source": {"topic": stratum},
        }
        for n, stratum in enumerate(strata)
    ]


def handed_out(study, user) -> list[str]:
    """The prompts in the order in which this person is asked them."""
    found = []
    while turn := studies.claim(study, user):
        found.append(turn.item.context["prompt"])
        studies.answer(turn)
    return found


def test_round_robin_takes_one_of_each_stratum_in_turn():
    study = studies.study(items=0, members=1, policy="round_robin", stratum="topic")
    add_items(study=study, items=items("a", "a", "a", "b", "b", "c"))
    (user,) = studies.annotators(study)
    order = [int(prompt.split()[1]) for prompt in handed_out(study, user)]
    assert order == [0, 3, 5, 1, 4, 2]


def test_random_is_a_shuffle_that_is_the_same_for_everyone():
    study = studies.study(items=0, members=2, overlap=2, policy="random")
    add_items(study=study, items=items(*"a" * 30))
    first, second = studies.annotators(study)
    order = handed_out(study, first)
    assert order == handed_out(study, second)
    assert sorted(order) != order and len(set(order)) == 30


def test_another_policy_rearranges_what_nobody_has_begun(django_capture_on_commit_callbacks):
    study = studies.study(items=0, members=1)
    add_items(study=study, items=items("a", "a", "b", "b"))
    (user,) = studies.annotators(study)
    begun = studies.claim(study, user)
    with django_capture_on_commit_callbacks(execute=True):
        change_study(study=study, policy="round_robin", stratum="topic")
    assert Task.objects.get(pk=begun.task.pk).position == begun.task.position
    assert [prompt.split()[1] for prompt in handed_out(study, user)] == ["0", "2", "1", "3"]


def test_what_models_bring_forward_comes_next_and_changes_places_with_what_stood_there():
    study = studies.study(items=8, members=1)
    (user,) = studies.annotators(study)
    tasks = list(study.tasks.order_by("position"))
    studies.label_next(study, user)
    policies.bring_forward(study, [tasks[6].pk, tasks[0].pk, tasks[4].pk])
    assert [prompt.split()[1] for prompt in handed_out(study, user)] == [
        "6?",
        "4?",
        "3?",
        "1?",
        "5?",
        "2?",
        "7?",
    ]


def test_bringing_forward_again_and_again_loses_no_task_and_no_place():
    study = studies.study(items=12)
    tasks = list(study.tasks.order_by("position"))
    places = sorted(task.position for task in tasks)
    for shift in range(5):
        policies.bring_forward(study, [task.pk for task in tasks[shift::3]])
        assert sorted(study.tasks.values_list("position", flat=True)) == places


def test_more_people_are_asked_once_where_the_answers_lie_far_apart():
    study = studies.study(items=2, overlap=2, members=5, more_people=2, wide_spread=2.0)
    one, two, *others = studies.annotators(study)
    apart, alike = study.tasks.order_by("position")
    for user, strength in ((one, "1"), (two, "1")):
        turn = studies.claim(study, user)
        assert turn.task.pk == apart.pk
        side = "ab"[turn.assignment.order.index(apart.candidates[user == two])]
        studies.answer(turn, {"choice": side, "strength": strength})
    apart.refresh_from_db()
    assert (apart.overlap, apart.open, apart.done) == (4, 2, 2)
    for user in (one, two):
        turn = studies.claim(study, user)
        studies.answer(turn, {"choice": "tie"})
    alike.refresh_from_db()
    assert (alike.overlap, alike.open, alike.done) == (2, 0, 2)
    for user in others[:2]:
        studies.answer(studies.claim(study, user), {"choice": "tie"})
    apart.refresh_from_db()
    assert (apart.overlap, apart.open, apart.done) == (4, 0, 4)
    assert Label.objects.filter(task=apart).count() == 4


def test_a_wrong_rule_is_named():
    for rule, value in (
        ("policy", "best"),
        ("gold_rate", 0.9),
        ("gold_rate", "much"),
        ("pass_bar", -1),
        ("more_people", 1.5),
        ("share_gold", 1),
    ):
        with pytest.raises(Invalid) as problem:
            studies.study(items=0, **{rule: value})
        assert problem.value.field == rule
