"""Flags and notes: who may leave one, what it must say, and that a retry is the same remark."""

from uuid import uuid4

import pytest
from django.test import Client

from annotation.errors import Conflict, Invalid
from annotation.models import Remark, Role
from annotation.remarks import remark, resolve
from annotation.services import join_study
from tests.annotation import studies


@pytest.fixture
def turn(db):
    study = studies.study(items=2, members=2)
    return studies.claim(study, studies.annotators(study)[0])


@pytest.fixture
def ada(turn):
    return turn.assignment.annotator


def browser_of(user) -> Client:
    client = Client(headers={"accept": "application/json"})
    client.force_login(user)
    return client


def test_a_flag_keeps_its_reason_its_words_and_the_answer_it_means(turn, ada):
    meant = turn.candidates[1].pk
    flag = remark(
        task=turn.task,
        author=ada,
        kind="flag",
        key=uuid4(),
        reason="personal_data",
        text=" A phone number. ",
        candidate=str(meant),
    )
    flag.refresh_from_db()
    assert (flag.study_id, flag.reason, flag.text, flag.candidate_id) == (
        turn.task.study_id,
        "personal_data",
        "A phone number.",
        meant,
    )
    assert studies.state(turn) == "leased"  # the person keeps the task


def test_the_same_key_again_is_the_same_remark_and_of_another_person_is_refused(turn, ada):
    key = uuid4()
    first = remark(task=turn.task, author=ada, kind="note", key=key, text="Twice the same prompt.")
    again = remark(task=turn.task, author=ada, kind="note", key=str(key), text="Twice the same prompt.")
    assert again == first
    assert Remark.objects.count() == 1
    bob = studies.annotators(turn.task.study)[1]
    with pytest.raises(Invalid) as refusal:
        remark(task=turn.task, author=bob, kind="note", key=key, text="Mine.")
    assert refusal.value.field == "key"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "flag"}, "reason"),
        ({"kind": "flag", "reason": "boring"}, "reason"),
        ({"kind": "note", "text": "  "}, "text"),
        ({"kind": "note", "text": "Well", "reason": "harmful"}, "reason"),
        ({"kind": "sent_back", "text": "Again, please."}, "kind"),
        ({"kind": "flag", "reason": "broken", "text": "x" * 5_001}, "text"),
        ({"kind": "flag", "reason": "broken", "text": "\ud800"}, "text"),
        ({"kind": "flag", "reason": "broken", "candidate": 0}, "candidate"),
        ({"kind": "flag", "reason": "broken", "candidate": "first"}, "candidate"),
        ({"kind": "flag", "reason": "broken", "key": "one"}, "key"),
    ],
)
def test_what_is_wrong_with_a_remark_is_named(turn, ada, given, field):
    with pytest.raises(Invalid) as refusal:
        remark(**{"task": turn.task, "author": ada, "key": uuid4(), **given})
    assert refusal.value.field == field
    assert Remark.objects.count() == 0


def test_only_whoever_has_or_had_the_task_may_remark_on_it(turn, ada):
    bob = studies.annotators(turn.task.study)[1]
    with pytest.raises(Conflict):
        remark(task=turn.task, author=bob, kind="note", key=uuid4(), text="Never seen it.")
    studies.answer(turn)
    assert remark(task=turn.task.pk, author=ada, kind="note", key=uuid4(), text="On second thoughts.")


def test_a_remark_is_resolved_once_by_whoever_was_first(turn, ada):
    study = turn.task.study
    given = remark(task=turn.task, author=ada, kind="flag", key=uuid4(), reason="harmful")
    resolve(given, by=study.created_by)
    settled = given.resolved_at
    assert given.resolved_by == study.created_by
    assert resolve(given, by=ada).resolved_by == study.created_by
    assert given.resolved_at == settled


def test_the_room_sends_a_remark_and_a_stranger_finds_no_such_task(turn, ada):
    address = f"/tasks/{turn.task.pk}/remark/"
    fields = {"remark_kind": "flag", "remark_key": str(uuid4()), "remark_reason": "nonsense"}
    stored = [browser_of(ada).post(address, fields).json()["remark"] for _ in range(2)]
    assert stored == [Remark.objects.get().pk] * 2
    assert browser_of(studies.person()).post(address, fields).status_code == 404
    assert browser_of(ada).post(address, {**fields, "remark_key": ""}).json()["error"]["field"] == "key"
    bob = studies.annotators(turn.task.study)[1]
    assert browser_of(bob).post(address, {**fields, "annotator": ada.pk}).status_code == 403
    assert browser_of(bob).post(address, {**fields, "remark_key": str(uuid4())}).status_code == 409


def test_over_the_api_people_remark_and_reviewers_read_and_resolve(turn, ada):
    study = turn.task.study
    address = f"/api/tasks/{turn.task.pk}/remarks"
    body = {"kind": "flag", "key": str(uuid4()), "reason": "harmful", "candidate": turn.candidates[0].pk}
    given = browser_of(ada).post(address, body, content_type="application/json").json()
    note = {"kind": "note", "key": str(uuid4()), "text": "The same prompt came before."}
    browser_of(ada).post(address, note, content_type="application/json")
    assert given["reason"] == "harmful" and given["author"] == ada.username

    everything = f"/api/studies/{study.pk}/remarks"
    assert browser_of(ada).get(everything).status_code == 404
    reviewer = studies.person()
    join_study(study=study, user=reviewer, role=Role.REVIEWER)
    eve = browser_of(reviewer)
    assert [row["kind"] for row in eve.get(everything).json()] == ["flag", "note"]
    assert [row["id"] for row in eve.get(everything + "?kind=flag").json()] == [given["id"]]
    assert len(eve.get(f"{everything}?after={given['id']}").json()) == 1

    resolving = f"/api/remarks/{given['id']}/resolve"
    assert browser_of(ada).post(resolving).status_code == 404
    assert browser_of(studies.person()).post(resolving).status_code == 404
    assert eve.post(resolving).json()["resolved_by"] == reviewer.username
    assert [row["kind"] for row in eve.get(everything + "?open=true").json()] == ["note"]
