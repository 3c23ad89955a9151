"""Models in a live conversation: a real child that answers, dies, is too slow, is closed; and what people are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from annotation import exchanges, services
from annotation.models import Candidate, Exchange
from tests.annotation import studies
from webapp.celery import app
from webapp.runs import chat
from webapp.runs.models import Artifact, Worker
from webapp.runs.services import register_model

POLICY = settings.BASE_DIR / "trainers" / "demo" / "policy"
TOWEL = [{"role": "user", "content": "There are no towels in my room."}]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    """A pool of the test's own, whose children end with it."""
    pool = chat.Pool()
    monkeypatch.setattr(chat, "pool", pool)
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    yield pool
    for child in pool.children.values():
        child.kill()


def scripted(monkeypatch, script: str) -> None:
    """Every child runs this script instead of models; it begins by being ready."""
    ready = "import json, os, signal, sys, time\nsay = lambda row: print(json.dumps(row), flush=True)\n"
    command = [sys.executable, "-c", ready + script]
    monkeypatch.setattr(chat.Child, "command", lambda self, policies: command)


def talking(policies: int = 2, wanted: int = 2) -> Exchange:
    """A message that waits, in a study with so many policies."""
    study = studies.study({"kind": "conversation", "options": {"models": wanted}}, items=0, members=1)
    for number in range(policies):
        artifact = register_model(
            study=study, path=POLICY, kind=Artifact.Kind.POLICY, name="first policy", meta={"copy": number}
        )
        if number:  # the same files are one artifact: another round's policy is a row of its own
            Artifact.objects.create(
                study=study, kind=artifact.kind, name=f"policy {number + 1}", path=artifact.path, digest=f"{number}",
                size=artifact.size,
            )  # fmt: skip
    services.add_items(study=study, items=[{"context": {"prompt": "You are a guest."}}])
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    return exchanges.say(task=turn.task.pk, annotator=ada, number=0, text=TOWEL[0]["content"])


def answered(exchange: Exchange) -> Exchange:
    chat.converse(exchange.pk)
    exchange.refresh_from_db()
    return exchange


def replies(exchange: Exchange) -> list[Candidate]:
    return [Candidate.objects.get(pk=pk) for pk in exchange.replies]


# --- with the demo's policy


def test_two_policies_answer_and_each_answer_says_how_it_was_drawn(pool):
    exchange = answered(talking(policies=3))
    shown = replies(exchange)
    newest, rival = Artifact.objects.filter(kind="policy").order_by("-pk")[:2]
    assert {one.policy for one in shown} == {newest.name, rival.name}
    assert {one.source["sampling"]["artifact"] for one in shown} == {newest.pk, rival.pk}
    for one in shown:
        sampling = one.source["sampling"]
        request = {name: sampling[name] for name in ("seed", "temperature", "max_new_tokens")}
        (again,) = pool.ask([newest.location, rival.location], [{"messages": TOWEL, **request}])
        assert again == one.text and one.text.strip()  # the two hold the same weights
    assert len(pool.children) == 1  # warm: nothing was loaded twice


def test_of_a_single_policy_both_answers_come_and_differ_by_their_seeds(pool):
    exchange = answered(talking(policies=1))
    shown = replies(exchange)
    assert {one.policy for one in shown} == {"first policy"}
    assert len({one.source["sampling"]["seed"] for one in shown}) == 2
    (policy,) = Artifact.objects.filter(kind="policy")
    drawn = [
        pool.ask([policy.location], [{"messages": TOWEL, "seed": seed, "max_new_tokens": 64}])[0]
        for seed in range(6)
    ]
    assert len(set(drawn)) > 1
    assert drawn[0] == pool.ask([policy.location], [{"messages": TOWEL, "max_new_tokens": 64}])[0]


def test_a_child_that_was_killed_comes_back_and_the_message_is_answered(pool):
    exchange = talking(policies=1)
    (policy,) = Artifact.objects.filter(kind="policy")
    pool.ask([policy.location], [{"messages": TOWEL, "max_new_tokens": 8}])
    (first,) = pool.children.values()
    os.killpg(first.process.pid, signal.SIGKILL)
    assert len(replies(answered(exchange))) == 2
    (second,) = pool.children.values()
    assert second.process.pid != first.process.pid


def test_a_child_ends_when_whoever_asks_is_gone():
    child = subprocess.Popen(
        [sys.executable, "-m", "trainers", "serve", str(POLICY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
    )  # fmt: skip
    assert json.loads(child.stdout.readline()) == {"ready": True}
    child.stdin.close()
    assert child.wait(timeout=60) == 0
    child.stdout.close()


def test_a_request_that_cannot_be_is_answered_in_words_and_the_next_is_served():
    lines = [
        "nonsense",
        "[]",
        '{"id": 1}',
        '{"id": 2, "prompt": "Hi", "n": 0}',
        '{"id": 3, "prompt": "Hi", "seeds": 1}',
        '{"id": 4, "messages": [{"role": "guest", "content": "Hi"}]}',
        '{"id": 5, "prompt": "Hi", "temperature": 0}',
        '{"id": 6, "prompt": "Hi", "max_new_tokens": 4000}',
        '{"id": 7, "prompt": "Hi", "policy": 1}',
        '{"id": 8, "prompt": "Hi", "n": 3, "max_new_tokens": 8, "seed": 5}',
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "trainers", "serve", str(POLICY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
    )  # fmt: skip
    child.stdin.write(("\n".join(lines) + "\n").encode())
    child.stdin.flush()
    said = [json.loads(child.stdout.readline()) for _ in range(len(lines) + 1)][1:]
    child.stdin.close()
    child.wait(timeout=60)
    child.stdout.close()
    assert [one["id"] for one in said] == [None, None, 1, 2, 3, 4, 5, 6, 7, 8]
    assert all(one["problem"] for one in said[:-1]) and "context" in said[7]["problem"]
    assert len(said[-1]["texts"]) == 3


def test_where_there_is_no_policy_it_is_said_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trainers", "serve", str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=settings.BASE_DIR,
    )  # fmt: skip
    assert done.returncode == 1 and "holds no model" in done.stderr and "Traceback" not in done.stderr


# --- with children that go wrong


def test_a_study_without_a_policy_says_what_to_do():
    exchange = answered(talking(policies=0))
    assert "A researcher trains a policy, or brings one" in exchange.problem and not exchange.replies


def test_a_model_whose_files_are_gone_is_a_problem_that_names_no_model():
    exchange = talking(policies=1)
    Artifact.objects.update(path="models/elsewhere", name="secret")
    assert "not on the machine" in answered(exchange).problem and "secret" not in exchange.problem


def test_an_answer_that_takes_too_long_is_called_off_and_asked_for_again(monkeypatch, pool):
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", 1.5)
    scripted(monkeypatch, "say({'ready': True})\nfor line in sys.stdin: time.sleep(60)")
    exchange = answered(talking())
    assert "No answer came within 2 seconds. Ask again" in exchange.problem
    (child,) = pool.children.values()
    assert child.process.poll() == -signal.SIGKILL
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", 20.0)
    echo = "say({'ready': True})\nfor line in sys.stdin: say({'id': json.loads(line)['id'], 'texts': ['At once.']})"
    scripted(monkeypatch, echo)
    turn = exchange.assignment
    exchanges.ask_again(task=turn.task_id, annotator=turn.annotator, number=0)
    assert [one.text for one in replies(answered(exchange))] == ["At once."] * 2


def test_a_model_that_loads_for_long_goes_on_loading(monkeypatch, pool):
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", 0.5)
    scripted(
        monkeypatch,
        "time.sleep(2); say({'ready': True})\n"
        "for line in sys.stdin: say({'id': json.loads(line)['id'], 'texts': ['x']})",
    )
    exchange = answered(talking())
    assert "still being loaded" in exchange.problem
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", 20.0)
    (child,) = pool.children.values()
    turn = exchange.assignment
    exchanges.ask_again(task=turn.task_id, annotator=turn.annotator, number=0)
    assert len(replies(answered(exchange))) == 2
    assert list(pool.children.values()) == [child]


def test_a_child_that_dies_twice_is_a_problem_with_its_signal(monkeypatch, pool, tmp_path):
    scripted(
        monkeypatch,
        f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); say({{'ready': True}}); sys.stdin.readline(); "
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    exchange = answered(talking())
    assert "SIGKILL" in exchange.problem and "logs/chat.log" in exchange.problem
    assert (tmp_path / "starts").read_text() == "xx"


def test_one_answer_that_fails_does_not_mix_with_the_next_messages_answers(monkeypatch, pool):
    scripted(
        monkeypatch,
        "say({'ready': True}); asked = 0\n"
        "for line in sys.stdin:\n"
        "    asked += 1; row = json.loads(line)\n"
        "    say({'id': row['id'], **({'problem': 'too long'} if asked == 1 else {'texts': [str(asked)]})})",
    )
    exchange = answered(talking())
    assert exchange.problem == chat.REFUSED  # and not what the model said, which could tell which one it is
    turn = exchange.assignment
    exchanges.ask_again(task=turn.task_id, annotator=turn.annotator, number=0)
    assert {one.text for one in replies(answered(exchange))} == {"3", "4"}


def test_an_idle_child_is_closed_and_a_busy_one_is_not(monkeypatch, pool):
    scripted(
        monkeypatch,
        "say({'ready': True})\n"
        "for line in sys.stdin: time.sleep(0.5); say({'id': json.loads(line)['id'], 'texts': ['x']})",
    )
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(pool.ask([POLICY], [{"messages": TOWEL}])))
    thread.start()
    while not pool.children or not next(iter(pool.children.values())).asking.locked():
        time.sleep(0.01)
    assert pool.close_idle(after=0.0) == 0
    thread.join()
    (child,) = pool.children.values()
    assert found == ["x"] and pool.close_idle() == 0
    assert pool.close_idle(after=0.0) == 1 and child.process.poll() is not None and not pool.children


# --- messages that come twice, or not at all


@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_twice_at_once_is_answered_once(monkeypatch):
    exchange = talking()
    asked = []

    def slow(found):
        asked.append(found.pk)
        time.sleep(0.3)
        return [exchanges.Answer("One.", "", {}), exchanges.Answer("Two.", "", {})]

    monkeypatch.setattr(chat, "answers_to", slow)

    def work():
        chat.converse(exchange.pk)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [exchange.pk] and Candidate.objects.count() == 2


def test_what_no_worker_took_up_is_sent_again_now_and_then(monkeypatch):
    exchange = talking()
    sent: list[int] = []
    monkeypatch.setattr(exchanges, "send", sent.append)
    monkeypatch.setattr(chat, "_sent_again", {})
    Exchange.objects.update(created_at=Now() - chat.LOST_AFTER * 2)
    assert chat.send_again() == 0  # no worker lives that could take it
    Worker.objects.create(name="jobs", host="", machine="", pid=1, queues=["jobs"], slots=2)
    assert chat.send_again() == 1 and sent == [exchange.pk]
    assert chat.send_again() == 0
    with exchanges.answering(exchange.pk):
        monkeypatch.setattr(chat, "_sent_again", {})
        assert chat.send_again() == 0
    exchanges.fail(exchange.pk, "It went wrong.")
    assert chat.send_again() == 0


def test_the_task_is_known_by_its_name_and_waits_behind_no_training():
    assert chat.__name__ in app.conf.include and chat.converse.name == "runs.converse"
    assert app.amqp.router.route({}, "runs.converse")["queue"].name == "jobs"
