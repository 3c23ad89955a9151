"""Known answers, mixed in so that nobody can tell; who passes, who drifts, who says the same twice."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from django.db import connection

from annotation import gold
from annotation.errors import Conflict, Invalid
from annotation.models import EVERYONE, Assignment, Label, Membership, Part, Role, Task
from annotation.services import change_study, claim_tasks, join_study, past, revise_label, why_empty
from tests.annotation import studies

pytestmark = pytest.mark.django_db
Standing = Membership.Standing


@pytest.fixture(autouse=True)
def the_same_draws(db):
    """What is mixed in is drawn by the database, and what is repeated by Python: the same draws in every test."""
    random.seed(7)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.42)")


def chosen(task: Task, side: int = 0) -> dict:
    """The stored answer that the task's candidate on that place is better."""
    return {"choice": "chosen", "chosen": task.candidates[side], "rejected": task.candidates[1 - side]}


def prefer(turn, wanted: int) -> dict:
    """What to send, as this person sees the sides, to choose the candidate with this id."""
    return {"choice": "ab"[[one.pk for one in turn.candidates].index(wanted)]}


def with_gold(count: int, part: str = Part.GOLD, reason: str = "", **rest):
    """A study in which the answer with the lower index is the right one of `count` tasks."""
    study = studies.study(**rest)
    for task in list(study.tasks.order_by("pk"))[:count]:
        gold.make_gold(task=task, answer=chosen(task), by=study.created_by, part=part, reason=reason)
    return study


def work(study, user, count: int, side: int = 0) -> list[Label]:
    """Answers so many tasks, always with the answer on that place of its task."""
    given = []
    for _ in range(count):
        turn = studies.claim(study, user)
        if turn is None:
            break
        given.append(studies.answer(turn, prefer(turn, turn.task.candidates[side])))
    return given


def parts(labels: list[Label]) -> Counter:
    return Counter(Task.objects.get(pk=one.task_id).part for one in labels)


def test_gold_comes_at_about_its_rate_to_everyone_and_each_gold_once():
    study = with_gold(12, items=120, overlap=2, members=2, gold_rate=0.25)
    for user in studies.annotators(study):
        counts = parts(work(study, user, 40))
        assert counts["gold"] + counts["queue"] == 40
        assert 4 <= counts["gold"] <= 12
    assert Task.objects.filter(part=Part.GOLD, open=EVERYONE).count() < 12


def test_without_a_rate_gold_is_never_asked():
    study = with_gold(3, items=6, members=1)
    (user,) = studies.annotators(study)
    assert parts(work(study, user, 10)) == {"queue": 3}


def test_nothing_a_person_is_sent_tells_gold_from_the_rest(client):
    study = with_gold(3, items=6, members=1, gold_rate=0.5)
    (user,) = studies.annotators(study)
    client.force_login(user)
    shapes, pages = set(), []
    for _ in range(6):
        reply = client.post(
            f"/api/studies/{study.pk}/next", {"count": 1}, content_type="application/json"
        ).json()
        if not reply["tasks"]:
            break
        (task,) = reply["tasks"]
        shapes.add(tuple(sorted(task)))
        page = client.get(f"/studies/{study.pk}/label/").content.decode()
        pages.append(page)
        turn = studies.claim(study, user)
        studies.answer(turn)
    assert len(shapes) == 1
    assert not any(word in page for page in pages for word in ("gold", "calibration", "qualification"))


def test_a_task_somebody_had_stays_theirs_and_its_twin_becomes_gold():
    study = studies.study(items=2, members=1)
    (user,) = studies.annotators(study)
    label = studies.label_next(study, user)
    task = Task.objects.get(pk=label.task_id)
    made = gold.make_gold(task=task, answer=chosen(task), by=study.created_by)
    task.refresh_from_db()
    assert (task.part, task.done, made.part, made.pk != task.pk) == ("queue", 1, "gold", True)


def test_a_known_answer_must_be_about_the_task():
    study = studies.study(items=2)
    first, second = study.tasks.order_by("pk")
    with pytest.raises(Invalid, match="none of the task's answers"):
        gold.make_gold(task=first, answer=chosen(second), by=study.created_by)
    with pytest.raises(Invalid, match="expected chosen, tie or both_bad"):
        gold.make_gold(task=first, answer={"choice": "left"}, by=study.created_by)
    with pytest.raises(Invalid, match="expected gold or qualification"):
        gold.make_gold(task=first, answer=chosen(first), by=study.created_by, part="queue")
    assert set(study.tasks.values_list("part", flat=True)) == {"queue"}


def test_right_is_the_same_side_however_strongly():
    study = studies.study(items=1)
    (task,) = study.tasks.all()
    a, b = task.candidates
    known = {"choice": "chosen", "chosen": a, "rejected": b, "strength": 1}
    assert gold.right("pairwise", {**known, "strength": 3}, known, [a, b])
    assert not gold.right("pairwise", {**known, "chosen": b, "rejected": a}, known, [a, b])
    assert not gold.right("pairwise", {"choice": "tie"}, known, [a, b])
    assert not gold.right("pairwise", {"choice": "both_bad"}, {"choice": "tie"}, [a, b])


def test_the_qualification_comes_first_tells_at_once_and_lets_in():
    study = with_gold(
        4, part=Part.QUALIFICATION, reason="The first names a time.", items=8, members=1, pass_bar=0.75
    )
    (user,) = studies.annotators(study)
    given = work(study, user, 3) + work(study, user, 1, side=1)
    assert parts(given) == {"qualification": 4}
    told = [gold.feedback(Label.objects.select_related("task").get(pk=one.pk)) for one in given]
    assert [one["right"] for one in told] == [True, True, True, False]
    assert told[3]["reason"] == "The first names a time."
    assert study.memberships.get(user=user).standing == Standing.PASSED
    assert parts(work(study, user, 1)) == {"queue": 1}


def test_who_does_not_reach_the_bar_gets_no_work_and_hears_why():
    study = with_gold(2, part=Part.QUALIFICATION, items=6, members=1, pass_bar=0.9)
    (user,) = studies.annotators(study)
    assert len(work(study, user, 6, side=1)) == 2
    assert study.memberships.get(user=user).standing == Standing.FAILED
    assert "did not pass" in why_empty(study=study, annotator=user)
    gold.set_standing(membership=study.memberships.get(user=user), standing=Standing.PASSED)
    assert parts(work(study, user, 1)) == {"queue": 1}


def test_researchers_and_programs_need_no_qualification():
    study = with_gold(1, part=Part.QUALIFICATION, items=4, pass_bar=0.9)
    program = studies.person("simulated-9")
    program.simulated = True
    program.save()
    join_study(study=study, user=program, role=Role.ANNOTATOR)
    assert parts(work(study, program, 1)) == {"queue": 1}
    assert parts(work(study, study.created_by, 1)) == {"queue": 1}


@pytest.mark.django_db(transaction=True)
def test_who_drifts_below_the_bar_qualifies_anew_with_questions_of_their_own(monkeypatch):
    monkeypatch.setattr(gold, "WINDOW", 4)
    study = with_gold(2, part=Part.QUALIFICATION, items=30, members=1, pass_bar=0.5)
    change_study(study=study, gold_rate=0.5, drift_bar=0.8)
    for task in study.tasks.filter(part=Part.QUEUE).order_by("pk")[:10]:
        gold.make_gold(task=task, answer=chosen(task), by=study.created_by)
    (user,) = studies.annotators(study)
    work(study, user, 2)
    assert study.memberships.get(user=user).standing == Standing.PASSED
    for _ in range(30):
        work(study, user, 1, side=1)
        if study.memberships.get(user=user).standing != Standing.PASSED:
            break
    assert study.memberships.get(user=user).standing == Standing.AGAIN
    again = work(study, user, 2)
    assert parts(again) == {"qualification": 2}
    assert study.memberships.get(user=user).standing == Standing.PASSED


def test_everyone_is_asked_the_calibration_and_its_answers_are_labels_like_any():
    study = studies.study(items=40, members=3, calibration_rate=0.5)
    assert gold.set_calibration(study=study, count=5) == 5
    for user in studies.annotators(study):
        work(study, user, 13)
    slice_ = study.tasks.filter(part=Part.CALIBRATION)
    shared = Label.objects.filter(task__in=slice_).values("task").distinct().count()
    assert shared >= 1
    assert max(slice_.values_list("done", flat=True)) >= 2  # more than the study's overlap of one


def test_a_repeat_shows_the_same_two_answers_with_the_sides_swapped():
    study = studies.study(items=40, members=1, repeat_rate=0.5)
    (user,) = studies.annotators(study)
    work(study, user, 40)
    again = list(Assignment.objects.filter(task__part=Part.REPEAT).select_related("task"))
    assert again
    for turn in again:
        first = Assignment.objects.get(
            task__item=turn.task.item_id, task__part=Part.QUEUE, annotator=user, state="submitted"
        )
        assert turn.order == first.order[::-1]
        between = Assignment.objects.filter(annotator=user, pk__gt=first.pk, pk__lt=turn.pk).count()
        assert between >= 9
    assert all(task.person_id == user.pk for task in study.tasks.filter(part=Part.REPEAT))


def test_a_repeat_is_nobody_elses():
    study = studies.study(items=2, members=2, repeat_rate=0.5)
    first, second = studies.annotators(study)
    label = studies.label_next(study, first)
    gold.repeat_later(Task.objects.get(pk=label.task_id), first)
    assert parts(work(study, second, 5)).get("repeat") is None


def test_taking_gold_back_gives_an_untouched_task_to_the_queue_and_rests_one_that_was_answered():
    study = with_gold(2, items=40, members=1, gold_rate=0.5)
    (user,) = studies.annotators(study)
    while not study.tasks.filter(part=Part.GOLD, done=1).exists():
        assert work(study, user, 1) or pytest.fail("no gold came")
    answered, fresh = study.tasks.filter(part=Part.GOLD).order_by("-done")
    for task in (answered, fresh):
        gold.unmake(task=task)
        task.refresh_from_db()
    assert (answered.part, answered.open, answered.done) == ("gold", 0, 1)
    assert (fresh.part, fresh.open, fresh.overlap) == ("queue", 1, 1)
    assert not gold.Gold.objects.exists()


def test_a_change_of_mind_is_a_new_label_that_supersedes_the_old_one():
    study = studies.study(items=3, members=1)
    (user,) = studies.annotators(study)
    old = studies.label_next(study, user)
    turn = past(study=study, annotator=user)
    assert (turn.label.pk, turn.answer) == (old.pk, old.answer)
    key = "6f8c3f0e-5e43-4b9a-93c5-0a4b0c8a6f11"
    new = revise_label(task=old.task_id, annotator=user, answer={"choice": "tie"}, key=key)
    assert (new.supersedes_id, new.answer["choice"]) == (old.pk, "tie")
    same = revise_label(task=old.task_id, annotator=user, answer={"choice": "tie"}, key=key)
    assert same.pk == new.pk
    assert list(Label.objects.current().filter(study=study)) == [new]
    assert Task.objects.get(pk=old.task_id).done == 1
    assert past(study=study, annotator=user, before=new.pk) is None


def test_nobody_revises_what_they_never_answered():
    study = studies.study(items=1, members=1)
    (user,) = studies.annotators(study)
    claim_tasks(study=study, annotator=user)
    (task,) = study.tasks.all()
    key = "6f8c3f0e-5e43-4b9a-93c5-0a4b0c8a6f12"
    with pytest.raises(Conflict, match="no answer to this task that stands"):
        revise_label(task=task, annotator=user, answer={"choice": "tie"}, key=key)
