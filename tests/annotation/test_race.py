"""Thirty-two people at once, with everything that a day of labelling brings: no label lost, doubled or too many."""

from __future__ import annotations

import random
import threading
from collections import Counter
from uuid import uuid4

import pytest
from django.db import connections

from annotation import gold, services
from annotation.errors import Conflict
from annotation.models import Label, Part, Task
from annotation.services import release_expired, revise_label, skip_task, undo_last
from tests.annotation import studies
from tests.annotation.test_queue import Crowd

PEOPLE = 32


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_32_people_with_gold_lapses_skips_undo_and_second_thoughts_keep_the_books_right(overlap):
    study = studies.study(
        items=120 // overlap + 14,
        members=PEOPLE,
        overlap=overlap,
        gold_rate=0.2,
        calibration_rate=0.1,
        repeat_rate=0.2,
    )
    for task in list(study.tasks.order_by("pk"))[:8]:
        answer = {"choice": "chosen", "chosen": task.candidates[0], "rejected": task.candidates[1]}
        gold.make_gold(task=task, answer=answer, by=study.created_by)
    gold.set_calibration(study=study, count=6)
    kept: list[tuple] = []  # (key, label) of every answer that was taken
    lock = threading.Lock()

    def work(study, user):
        rng = random.Random(user.pk)
        empty = 0
        while empty < 8:
            turns = services.claim_tasks(study=study, annotator=user, count=2)
            if not turns:
                if not study.tasks.filter(part=Part.QUEUE, open__gt=0).exists():
                    empty += 1
                release_expired()
                continue
            for turn in turns:
                act(turn, user, rng)

    def act(turn, user, rng):
        event, key = rng.random(), uuid4()
        try:
            if event < 0.08:
                studies.let_lapse(turn)
                services.claim_tasks(study=study, annotator=user, count=1, besides=[turn.task.pk])
            elif event < 0.12 and turn.task.part == Part.QUEUE:
                skip_task(task=turn.task, annotator=user)
                return
            labels = {studies.answer(turn, key=key).pk for _ in range(rng.choice((1, 1, 2)))}
            assert len(labels) == 1
            with lock:
                kept.append((key, labels.pop()))
            if event > 0.95:
                undo_last(study=study, annotator=user)
            elif event > 0.9:
                second = uuid4()
                label = revise_label(task=turn.task, annotator=user, answer={"choice": "tie"}, key=second)
                with lock:
                    kept.append((second, label.pk))
        except Conflict as refusal:
            assert refusal.holder != user.username or "answered this task already" in str(refusal)

    stop = threading.Event()

    def sweep():
        while not stop.wait(0.05):
            release_expired()
        connections.close_all()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        Crowd(study, studies.annotators(study), work).finish()
    finally:
        stop.set()
        sweeper.join()

    stored = dict(Label.objects.filter(withdrawn=False).values_list("key", "pk"))
    assert stored == dict(kept), "every answer that was taken is there, once, and no other"
    people = Counter(Label.objects.current().values_list("task_id", "annotator_id"))
    assert set(people.values()) == {1}
    answered = Counter(task for task, _ in people)
    for task in Task.objects.filter(study=study):
        leased = task.assignments.filter(state="leased").count()
        assert task.done == answered[task.pk]
        assert task.open + leased + task.done == task.overlap
        if task.part == Part.QUEUE:
            assert task.done <= overlap == task.overlap
        if task.part == Part.REPEAT:
            assert {person for one, person in people if one == task.pk} <= {task.person_id}
    asked = Counter(Task.objects.filter(pk__in=answered).values_list("part", flat=True))
    assert asked["gold"] and asked["queue"], asked
    assert Label.objects.current().filter(task__part=Part.GOLD).count() >= PEOPLE / 4
