"""Disputed, flagged and random tasks; verdicts, labels sent back, and the story of an item."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from annotation import consent, exporters, review
from annotation.errors import Conflict, Invalid
from annotation.history import stories, story
from annotation.models import Assignment, Label, Remark, Role, Task, Verdict
from annotation.remarks import remark
from annotation.services import join_study, revise_label, withdraw_label
from tests.annotation import studies

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return studies.study(items=3, overlap=2, members=2)


@pytest.fixture
def reviewer(study):
    user = studies.person("rita")
    join_study(study=study, user=user, role=Role.REVIEWER)
    return user


def prefer(study, user, task: Task, side: int):
    """This person's answer that the task's candidate on that place is better."""
    turn = studies.claim(study, user)
    while turn.task.pk != task.pk:
        studies.answer(turn, {"choice": "tie"})
        turn = studies.claim(study, user)
    shown = "ab"[turn.assignment.order.index(task.candidates[side])]
    return studies.answer(turn, {"choice": shown, "strength": 2, "reason": "It names a time."})


def dispute(study) -> tuple[Task, Label, Label]:
    one, two = studies.annotators(study)
    task = study.tasks.order_by("position").first()
    return task, prefer(study, one, task, 0), prefer(study, two, task, 1)


def test_a_task_is_disputed_where_people_chose_differently_and_not_where_one_was_only_surer(study):
    task, *_ = dispute(study)
    assert [one.pk for one in review.to_review(study, "disputed")] == [task.pk]
    one, two = studies.annotators(study)
    second = study.tasks.order_by("position")[1]
    for user, strength in ((one, "1"), (two, "3")):
        turn = studies.claim(study, user)
        side = "ab"[turn.assignment.order.index(second.candidates[0])]
        studies.answer(turn, {"choice": side, "strength": strength})
    assert [one.pk for one in review.to_review(study, "disputed")] == [task.pk]
    assert review.counts(study) == {"disputed": 1, "flagged": 0, "random": 2}


def test_a_flagged_task_waits_until_it_is_dealt_with(study, client, reviewer):
    one, _ = studies.annotators(study)
    turn = studies.claim(study, one)
    flag = remark(task=turn.task, author=one, kind="flag", reason="harmful", text="It insults.", key=uuid4())
    assert [task.pk for task in review.to_review(study, "flagged")] == [turn.task.pk]
    client.force_login(reviewer)
    page = client.get(f"/studies/{study.pk}/review/?which=flagged").content.decode()
    assert "flag: harmful" in page
    client.post(f"/remarks/{flag.pk}/resolve/")
    assert review.to_review(study, "flagged") == []
    assert Remark.objects.get(pk=flag.pk).resolved_by == reviewer


def test_a_verdict_is_a_row_and_another_one_supersedes_it(study, reviewer):
    task, *_ = dispute(study)
    first = review.settle(task=task, by=reviewer, answer={"choice": "a"}, reason="It answers.")
    assert review.to_review(study, "disputed") == []
    second = review.settle(task=task, by=reviewer, answer={"choice": "tie"})
    assert (second.supersedes_id, review.verdict_of(task).pk) == (first.pk, second.pk)
    review.take_back(task=task, by=reviewer)
    assert review.verdict_of(task) is None
    assert [one.pk for one in review.to_review(study, "disputed")] == [task.pk]
    third = review.settle(task=task, by=reviewer, answer={"choice": "b"})
    assert review.verdict_of(task).pk == third.pk
    assert Label.objects.current().filter(task=task).count() == 2
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        Verdict.objects.filter(pk=first.pk).update(reason="Something else.")


def test_a_label_sent_back_waits_for_its_annotator_with_the_words(study, reviewer):
    task, mine, _ = dispute(study)
    one, two = studies.annotators(study)
    review.send_back(label=mine, by=reviewer, words="Read the second sentence again.")
    assert Task.objects.get(pk=task.pk).done == 1
    turn = studies.claim(study, one)
    assert (turn.task.pk, turn.sent_back) == (task.pk, "Read the second sentence again.")
    assert turn.answer == mine.answer
    studies.answer(turn, {"choice": "tie"})
    labels = Label.objects.current().filter(task=task)
    assert {label.annotator_id: label.answer["choice"] for label in labels} == {
        one.pk: "tie",
        two.pk: "chosen",
    }
    assert Task.objects.get(pk=task.pk).done == 2


def test_nobody_else_gets_a_task_that_was_sent_back(study, reviewer):
    task, mine, _ = dispute(study)
    review.send_back(label=mine, by=reviewer, words="Again, please.")
    third = studies.person()
    join_study(study=study, user=third, role=Role.ANNOTATOR)
    handed = []
    while turn := studies.claim(study, third):
        handed.append(turn.task.pk)
        studies.answer(turn)
    assert task.pk not in handed


def test_what_cannot_be_sent_back_is_said(study, reviewer):
    _, mine, _ = dispute(study)
    with pytest.raises(Invalid, match="Say what is amiss"):
        review.send_back(label=mine, by=reviewer, words="  ")
    withdraw_label(label=mine, by=reviewer)
    with pytest.raises(Conflict, match="does not stand any more"):
        review.send_back(label=mine, by=reviewer, words="Again.")


def test_annotators_see_where_they_were_overruled_and_why(study, reviewer, client):
    task, mine, theirs = dispute(study)
    one, two = studies.annotators(study)
    review.settle(task=task, by=reviewer, answer={"choice": "a"}, reason="Only this one names a time.")
    assert review.differences(study, one) == []
    (difference,) = review.differences(study, two)
    assert (difference.label.pk, difference.verdict.reason) == (theirs.pk, "Only this one names a time.")
    client.force_login(two)
    assert "Only this one names a time." in client.get(f"/studies/{study.pk}/mine/").content.decode()
    client.force_login(one)
    assert "Only this one names a time." not in client.get(f"/studies/{study.pk}/mine/").content.decode()


def test_an_items_history_reads_in_the_order_in_which_it_happened(study, reviewer):
    task, mine, theirs = dispute(study)
    one, two = studies.annotators(study)
    revise_label(task=task, annotator=two, answer={"choice": "tie"}, key=uuid4())
    remark(task=task, author=one, kind="note", text="Both are short.", key=uuid4())
    review.send_back(label=mine, by=reviewer, words="Again.")
    review.settle(task=task, by=reviewer, answer={"choice": "a"}, reason="It answers.")
    told = [(event.who, event.what) for event in story(task.item)]
    assert told[0] == (study.created_by.username, "added")
    assert set(told[1:]) == {
        (one.username, "answered"),
        (two.username, "answered"),
        (two.username, "changed"),
        (one.username, "noted"),
        ("rita", "withdrew"),
        ("rita", "sent_back"),
        ("rita", "settled"),
    }
    (exported,) = [row for row in stories(study) if row["item"] == task.item_id]
    assert [event["what"] for event in exported["history"]] == [what for _, what in told]
    assert exported["history"][1]["answer"]["choice"] == "chosen"


def test_an_exported_history_calls_people_as_they_chose_and_leaves_out_who_took_consent_back():
    study = studies.study(items=1, overlap=2, members=2, consent="For science.")
    one, two = studies.annotators(study)
    for user in (one, two):
        consent.agree(study.memberships.get(user=user))
    task, *_ = dispute(study)
    (row,) = stories(study)
    who = [event.get("who") for event in row["history"]]
    assert len(set(who)) == 3 and not {one.username, two.username} & set(who)
    consent.withdraw(study.memberships.get(user=two))
    (row,) = stories(study)
    assert [event.get("who") for event in row["history"]] == who[:2]
    text = b"".join(exporters.export(study, exporters.Asked(format="history"))).decode()
    assert [json.loads(line)["item"] for line in text.splitlines()] == [task.item_id]
    with pytest.raises(Invalid, match="leave the filters"):
        exporters.export(study, exporters.Asked(format="history", agreement=0.5))


def test_a_reviewer_settles_on_the_page_and_goes_on_to_the_next(study, reviewer, client):
    task, *_ = dispute(study)
    client.force_login(reviewer)
    page = client.get(f"/tasks/{task.pk}/review/?which=disputed").content.decode()
    assert page.count("It names a time.") == 2 and "Send back" in page
    reply = client.post(
        f"/tasks/{task.pk}/review/", {"choice": "a2", "why": "It answers.", "which": "disputed"}
    )
    assert reply.headers["Location"] == f"/studies/{study.pk}/review/?which=disputed"
    verdict = review.verdict_of(task)
    assert (verdict.answer["chosen"], verdict.reason) == (task.candidates[0], "It answers.")
    assert client.post(f"/tasks/{task.pk}/review/", {"choice": "left"}).status_code == 422
    story_page = client.get(f"/items/{task.item_id}/").content.decode()
    assert "settled it" in story_page and "It names a time." in story_page


def test_a_reviewer_may_begin_with_what_somebody_said(study, reviewer, client):
    task, mine, _ = dispute(study)
    client.force_login(reviewer)
    assert client.get(f"/tasks/{task.pk}/review/").context["answer"] is None
    begun = client.get(f"/tasks/{task.pk}/review/?begin={mine.pk}").context["answer"]
    assert (begun["choice"], begun["strength"]) == ("a", 2)
    assert client.get(f"/tasks/{task.pk}/review/?begin=x").context["answer"] is None


def test_annotators_and_strangers_see_none_of_it(study, client):
    task, mine, _ = dispute(study)
    one, _ = studies.annotators(study)
    for user in (one, studies.person()):
        client.force_login(user)
        for path in (f"/studies/{study.pk}/review/", f"/tasks/{task.pk}/review/", f"/items/{task.item_id}/"):
            assert client.get(path).status_code == 404
        assert client.post(f"/tasks/{task.pk}/review/", {"choice": "a"}).status_code == 404
        assert client.post(f"/labels/{mine.pk}/send-back/", {"words": "Again."}).status_code == 404
    assert not Verdict.objects.exists() and Assignment.objects.filter(state="leased").count() == 0
