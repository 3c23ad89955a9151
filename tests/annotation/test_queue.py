"""Who gets which task, and that a race never has two winners."""

import contextlib
import re
import threading
from collections import Counter
from uuid import uuid4

import pytest
from django.db import connection, connections
from django.http import Http404
from django.test.utils import CaptureQueriesContext

from annotation import queue, services
from annotation.consent import withdraw_item
from annotation.errors import Conflict, Invalid
from annotation.models import Assignment, Candidate, Item, Label, Task
from tests.annotation import studies

pytestmark = pytest.mark.django_db


def test_a_claim_is_one_statement_and_a_submission_two():
    study = studies.study(items=5, members=1)
    (ada,) = studies.annotators(study)
    with CaptureQueriesContext(connection) as asked:
        turn = studies.claim(study, ada)
    assert len(asked) == 1
    with CaptureQueriesContext(connection) as asked:
        services.submit_label(task=turn.task, annotator=ada, answer={"choice": "a"}, key=uuid4())
    assert len(asked) == 2


def test_a_turns_task_is_found_by_its_id_and_never_by_walking_all_tasks():
    """Joined in the order of ids, a claim walks over all tasks before those of the person: a million of an import."""
    study = studies.study(items=3, members=1)
    (ada,) = studies.annotators(study)
    values = {
        "study": study.pk, "person": ada.pk, "kind": None, "besides": [], "lease": queue.LEASE, "preferred_first": [],
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_nestloop = off"
        )  # any other way of joining that is possible is now taken
        cursor.execute("EXPLAIN " + queue.CLAIM_TASKS.format(of_kind="", count=1), values)
        plan = [line for (line,) in cursor.fetchall()]
    joins = [line for line in plan if "Merge Cond" in line or "Hash Cond" in line]
    turns = r"\b(a(_\d+)?|held|recent)\.task_id"
    tasks = r"\b(t|seen)(_\d+)?\.id"
    assert joins, "nothing was joined: the plan is not the claim's"
    assert not [line for line in joins if re.search(turns, line) and re.search(tasks, line)]


def test_tasks_come_in_the_order_of_the_items_and_carry_all_that_a_page_needs():
    study = studies.study(items=3, members=1)
    (ada,) = studies.annotators(study)
    turns = services.claim_tasks(study=study, annotator=ada, count=2)
    with CaptureQueriesContext(connection) as asked:
        assert [turn.item.context["prompt"] for turn in turns] == ["Question 0?", "Question 1?"]
        assert {c.text for c in turns[0].candidates} == {"Answer 0 to 0.", "Answer 1 to 0."}
        assert turns[0].task.study.name == study.name
        assert turns[0].answer is None
    assert not asked.captured_queries


def test_a_stranger_gets_no_task_and_learns_nothing():
    study = studies.study(items=1)
    with pytest.raises(Http404):
        studies.claim(study, studies.person())
    task = study.tasks.get()
    with pytest.raises(Http404):
        services.submit_label(task=task, annotator=studies.person(), answer={"choice": "a"}, key=uuid4())


def test_who_claims_again_gets_back_what_they_hold_and_a_page_can_ask_for_what_it_lacks():
    study = studies.study(items=4, members=1)
    (ada,) = studies.annotators(study)
    held = [turn.task.pk for turn in services.claim_tasks(study=study, annotator=ada, count=2)]
    again = services.claim_tasks(study=study, annotator=ada, count=3)
    assert [turn.task.pk for turn in again][:2] == held
    assert len(again) == 3
    (fresh,) = services.claim_tasks(study=study, annotator=ada, count=3, besides=[t.task.pk for t in again])
    assert fresh.task.pk not in held


def test_the_order_shown_is_kept_and_differs_between_people():
    study = studies.study(items=40, members=2, overlap=2)
    ada, bob = studies.annotators(study)
    shown = {ada: [], bob: []}
    for user in shown:
        while turn := studies.claim(study, user):
            assert turn.assignment.order == [candidate.pk for candidate in turn.candidates]
            assert studies.claim(study, user).assignment.order == turn.assignment.order
            shown[user].append(turn.assignment.order)
            studies.answer(turn)
    assert shown[ada] != shown[bob]
    swapped = sum(order != sorted(order) for order in shown[ada] + shown[bob])
    assert 15 < swapped < 65  # 80 fair coins: outside this range once in 10^8 runs


def test_one_person_cannot_empty_the_queue():
    study = studies.study(items=queue.MOST_HELD + 5, members=1)
    (ada,) = studies.annotators(study)
    held = []
    for _ in range(5):
        held += services.claim_tasks(
            study=study, annotator=ada, count=10, besides=[turn.task.pk for turn in held]
        )
    assert len(held) == queue.MOST_HELD
    assert f"You hold {queue.MOST_HELD} tasks" in services.why_empty(study=study, annotator=ada)


def test_a_lease_that_lapsed_goes_to_the_next_person_when_nothing_is_open():
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    turn = studies.claim(study, ada)
    assert studies.claim(study, bob) is None
    assert "Others hold the rest" in services.why_empty(study=study, annotator=bob)
    studies.let_lapse(turn)
    with CaptureQueriesContext(connection) as asked:
        taken = studies.claim(study, bob)
    assert len(asked) == 1
    assert taken.task.pk == turn.task.pk
    assert studies.state(turn) == "expired"
    with pytest.raises(Conflict) as refusal:
        studies.answer(turn)
    assert refusal.value.holder == bob.username
    assert bob.username in str(refusal.value)
    studies.answer(taken)
    task = Task.objects.get()
    assert (task.open, task.done) == (0, 1)


def test_an_open_task_is_handed_out_before_a_lapsed_one():
    study = studies.study(items=2, members=2)
    ada, bob = studies.annotators(study)
    first = studies.claim(study, ada)
    studies.let_lapse(first)
    assert studies.claim(study, bob).task.pk != first.task.pk
    assert studies.state(first) == "leased"


def test_a_late_answer_counts_while_its_place_is_free():
    study = studies.study(items=1, members=2)
    ada, _ = studies.annotators(study)
    turn = studies.claim(study, ada)
    studies.let_lapse(turn)
    assert services.release_expired() == 1
    assert studies.state(turn) == "expired"
    assert Task.objects.get().open == 1
    studies.answer(turn)
    task = Task.objects.get()
    assert (task.open, task.done) == (0, 1)


def test_the_owner_of_a_lapsed_lease_may_have_it_again():
    study = studies.study(items=1, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    studies.let_lapse(turn)
    services.release_expired()
    again = studies.claim(study, ada)
    assert again.assignment.pk == turn.assignment.pk
    assert again.assignment.order == turn.assignment.order


def test_a_heartbeat_renews_what_is_held_and_names_what_was_lost():
    study = studies.study(items=2, members=2)
    ada, bob = studies.annotators(study)
    kept, lost = services.claim_tasks(study=study, annotator=ada, count=2)
    studies.let_lapse(lost)
    assert studies.claim(study, bob).task.pk == lost.task.pk
    renewed = services.extend_leases(annotator=ada, tasks=[kept.task.pk, lost.task.pk])
    assert list(renewed) == [kept.task.pk]
    studies.let_lapse(kept)
    renewed = services.extend_leases(annotator=ada, tasks=[kept.task.pk])
    assert renewed[kept.task.pk] >= kept.lease_until


def test_the_same_key_is_the_same_label_and_never_a_second():
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    first, second = services.claim_tasks(study=study, annotator=ada, count=2)
    key = uuid4()
    label = studies.answer(first, key=key)
    again = studies.answer(first, {"choice": "tie"}, key=key)
    assert again.pk == label.pk and again.answer == label.answer
    assert Label.objects.count() == 1
    with pytest.raises(Invalid) as refusal:
        studies.answer(second, key=key)
    assert refusal.value.field == "key"
    with pytest.raises(Conflict):
        studies.answer(first, key=uuid4())


def test_overlap_is_never_exceeded():
    study = studies.study(items=1, members=3, overlap=2)
    ada, bob, eve = studies.annotators(study)
    studies.label_next(study, ada)
    studies.claim(study, bob)
    assert studies.claim(study, eve) is None
    assert studies.claim(study, ada) is None
    assert "Done" in services.why_empty(study=study, annotator=ada)


def test_a_skip_passes_the_task_on_and_is_safe_to_repeat():
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    turn = studies.claim(study, ada)
    for _ in range(2):
        services.skip_task(task=turn.task, annotator=ada, reason="Not my field.")
    assert Task.objects.get().open == 1
    assert Assignment.objects.get().reason == "Not my field."
    assert studies.claim(study, ada) is None
    studies.label_next(study, bob)
    with pytest.raises(Conflict) as refusal:
        services.skip_task(task=turn.task, annotator=bob)
    assert "Undo" in str(refusal.value)


def test_undo_withdraws_the_label_and_brings_the_task_back_with_what_was_chosen():
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    label = studies.answer(turn, {"choice": "b", "strength": "3", "reason": "Shorter."})
    back = services.undo_last(study=study, annotator=ada)
    assert back.task.pk == turn.task.pk
    assert back.assignment.order == turn.assignment.order
    assert back.answer == label.answer
    assert not Label.objects.current().exists()
    assert studies.claim(study, ada).task.pk == turn.task.pk
    changed = studies.answer(back, {"choice": "tie"})
    history = list(Label.objects.order_by("pk"))
    assert [(row.withdrawn, row.supersedes_id) for row in history] == [
        (False, None),
        (True, history[0].pk),
        (False, history[1].pk),
    ]
    assert [row.pk for row in Label.objects.current()] == [changed.pk]
    task = Task.objects.get(pk=turn.task.pk)
    assert (task.open, task.done) == (0, 1)


def test_undo_goes_back_one_thing_at_a_time_through_skips_too():
    study = studies.study(items=3, members=1)
    (ada,) = studies.annotators(study)
    assert services.undo_last(study=study, annotator=ada) is None
    answered = studies.claim(study, ada)
    studies.answer(answered)
    skipped = studies.claim(study, ada)
    services.skip_task(task=skipped.task, annotator=ada)
    assert services.undo_last(study=study, annotator=ada).task.pk == skipped.task.pk
    assert services.undo_last(study=study, annotator=ada).task.pk == answered.task.pk
    assert services.undo_last(study=study, annotator=ada) is None


def test_a_skip_that_somebody_else_took_up_cannot_be_undone():
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    turn = studies.claim(study, ada)
    services.skip_task(task=turn.task, annotator=ada)
    studies.claim(study, bob)
    with pytest.raises(Conflict) as refusal:
        services.undo_last(study=study, annotator=ada)
    assert refusal.value.holder == bob.username


def test_a_reviewer_withdraws_a_label_and_its_place_opens_again():
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    label = studies.label_next(study, ada)
    withdrawal = services.withdraw_label(label=label, by=study.created_by)
    assert withdrawal.annotator == study.created_by and withdrawal.supersedes_id == label.pk
    with pytest.raises(Conflict):
        services.withdraw_label(label=label, by=study.created_by)
    assert studies.claim(study, bob).answer is None
    task = Task.objects.get()
    assert (task.open, task.done) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_the_database_refuses_to_change_a_label():
    study = studies.study(items=1, members=1)
    label = studies.label_next(study, studies.annotators(study)[0])
    with pytest.raises(Exception, match="never edited"):
        Label.objects.filter(pk=label.pk).update(answer={"choice": "tie"})


def test_an_archived_study_hands_out_nothing_and_says_so():
    study = studies.study(items=1, members=1)
    (ada,) = studies.annotators(study)
    services.archive_study(study=study)
    assert studies.claim(study, ada) is None
    assert "archived" in services.why_empty(study=study, annotator=ada)


def test_an_edit_waits_for_the_comparison_and_opens_on_the_preferred_answer():
    study = studies.study("pairwise", "edit", items=2, answers=3, members=1)
    (ada,) = studies.annotators(study)
    assert studies.claim(study, ada, kind="edit") is None
    best = Candidate.objects.get(item=Item.objects.first(), index=2)
    kinds = []
    for _ in range(4):
        turn = studies.claim(study, ada)
        kinds.append(turn.task.kind)
        if turn.task.kind == "edit":
            assert turn.candidates[0].pk == best.pk
            assert studies.answer(turn).answer["candidate"] == best.pk
            break
        sides = [candidate.pk for candidate in turn.candidates]
        preferred = best.pk if best.pk in sides else sides[0]
        studies.answer(turn, {"choice": "ab"[sides.index(preferred)]})
    assert kinds == ["pairwise", "pairwise", "pairwise", "edit"]


def test_an_edit_opens_on_the_answer_that_was_ranked_first_or_rated_best():
    study = studies.study("ranking", "edit", items=1, answers=4, members=1)
    (user,) = studies.annotators(study)
    turn = studies.claim(study, user)
    best, worst, nowhere, second = turn.candidates
    ranks = {str(best.pk): 1, str(second.pk): 2, str(worst.pk): 3, str(nowhere.pk): None}
    studies.answer(turn, {"ranks": ranks})
    order = [one.pk for one in studies.claim(study, user).candidates]
    assert order[:2] == [best.pk, second.pk] and set(order[2:]) == {worst.pk, nowhere.pk}

    study = studies.study("rating", "edit", items=1, answers=2, members=1)
    (user,) = studies.annotators(study)
    for points in (2, 5):
        turn = studies.claim(study, user, kind="rating")
        studies.answer(turn, {"scores": {"quality": points}})
    assert studies.claim(study, user, kind="edit").candidates[0].pk == turn.candidates[0].pk


def test_what_one_holds_of_one_kind_stands_in_the_way_of_no_other():
    study = studies.study("pairwise", "rating", items=30, members=1)
    (user,) = studies.annotators(study)
    for _ in range(3):
        have = list(Assignment.objects.filter(state="leased").values_list("task", flat=True))
        services.claim_tasks(study=study, annotator=user, kind="pairwise", count=10, besides=have)
    assert Assignment.objects.filter(state="leased").count() == queue.MOST_HELD
    assert studies.claim(study, user, kind="rating").task.kind == "rating"


def test_an_edit_alone_does_not_wait_and_opens_on_the_first_answer():
    study = studies.study("edit", items=1, answers=2, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    assert turn.candidates[0].index == 0


def test_a_task_that_came_back_is_found_even_far_behind():
    """A claim looks first near where its person works, so it must not forget what lies before."""
    study = studies.study(items=queue.NEAR + 20, members=2)
    ada, bob = studies.annotators(study)
    early = studies.claim(study, bob)
    for _ in range(queue.NEAR + 10):
        assert studies.label_next(study, ada).task_id != early.task.pk
    services.skip_task(task=early.task, annotator=bob)
    left = [studies.label_next(study, ada).task_id for _ in range(10)]
    assert left[-1] == early.task.pk
    assert studies.claim(study, ada) is None


class Crowd:
    """Threads that work at a study at once, each on a connection of its own."""

    def __init__(self, study, people, work):
        self.problems = []
        self.barrier = threading.Barrier(len(people))
        self.threads = [threading.Thread(target=self.run, args=(work, study, one)) for one in people]

    def run(self, work, study, user):
        try:
            self.barrier.wait(timeout=30)
            work(study, user)
        except Exception as problem:
            self.problems.append(problem)
        finally:
            connections.close_all()

    def finish(self):
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in self.threads)
        if self.problems:
            raise self.problems[0]


def check_the_books(study, overlap):
    """Every task is answered by exactly `overlap` different people, and the counters agree with the rows."""
    people = Counter(Label.objects.current().values_list("task_id", "annotator_id"))
    assert set(people.values()) == {1}
    answered = Counter(task for task, _ in people)
    for task in Task.objects.filter(study=study):
        leased = task.assignments.filter(state="leased").count()
        assert answered[task.pk] == overlap == task.done
        assert (task.open, leased) == (0, 0)
    assert Label.objects.count() == Task.objects.filter(study=study).count() * overlap


@pytest.mark.parametrize("overlap", [1, 3])
@pytest.mark.django_db(transaction=True)
def test_32_people_at_once_answer_each_task_exactly_overlap_times(overlap):
    study = studies.study(items=160 // overlap, members=32, overlap=overlap)
    stored, refused = [], []

    def work(study, user):
        """Prefetches, loses answers on the way and sends them again, lets every seventh lease lapse."""
        steps = 0
        while True:
            turns = services.claim_tasks(study=study, annotator=user, count=2)
            if not turns:
                if not Task.objects.filter(study=study, done__lt=overlap).exists():
                    return
                if Label.objects.filter(annotator=user).count() == study_size:
                    return
                continue
            for turn in turns:
                steps += 1
                key = uuid4()
                if steps % 7 == 0:
                    studies.let_lapse(turn)
                    services.claim_tasks(study=study, annotator=user, count=1, besides=[turn.task.pk])
                try:
                    sent = {studies.answer(turn, key=key).pk for _ in range(1 + steps % 3)}
                except Conflict as refusal:
                    assert refusal.holder != user.username
                    refused.append(refusal)
                else:
                    assert len(sent) == 1
                    stored.extend(sent)

    study_size = Task.objects.filter(study=study).count()
    Crowd(study, studies.annotators(study), work).finish()
    check_the_books(study, overlap)
    assert sorted(stored) == sorted(Label.objects.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_one_answer_sent_16_times_at_once_is_one_label():
    study = studies.study(items=1, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    key, seen = uuid4(), []
    Crowd(study, [ada] * 16, lambda study, user: seen.append(studies.answer(turn, key=key).pk)).finish()
    assert len(seen) == 16 and len(set(seen)) == 1
    check_the_books(study, 1)


@pytest.mark.django_db(transaction=True)
def test_one_person_in_16_tabs_gets_no_task_twice():
    study = studies.study(items=30, members=1, overlap=2)
    (ada,) = studies.annotators(study)

    def work(study, user):
        for _ in range(4):
            for turn in services.claim_tasks(study=study, annotator=user, count=2):
                with contextlib.suppress(Conflict):  # another tab was faster
                    studies.answer(turn)

    Crowd(study, [ada] * 16, work).finish()
    for task in Task.objects.filter(study=study):
        states = Counter(task.assignments.values_list("state", flat=True))
        assert task.done == states["submitted"]
        assert task.open + task.done + states["leased"] == 2


@pytest.mark.django_db(transaction=True)
def test_a_lapsed_place_has_one_taker_among_16():
    study = studies.study(items=1, members=17)
    first, *others = studies.annotators(study)
    studies.let_lapse(studies.claim(study, first))
    takers = []

    def work(study, user):
        if studies.claim(study, user):
            takers.append(user)

    Crowd(study, others, work).finish()
    assert len(takers) == 1
    assert Task.objects.get().open == 0


def test_no_place_comes_back_at_an_item_that_was_taken_out():
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    label = studies.label_next(study, ada)
    withdraw_item(item=label.task.item, by=study.created_by, reason="Its author asked.")
    turn = services.undo_last(study=study, annotator=ada)
    studies.let_lapse(turn)
    assert studies.claim(study, bob) is None
    services.release_expired()
    assert studies.claim(study, bob) is None
    assert (Task.objects.get().open, Task.objects.get().done) == (0, 0)
