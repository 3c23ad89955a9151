"""Asking for runs, stopping them, and what happens to them when workers and brokers do not live up to it."""

from __future__ import annotations

import json
import subprocess
import sys

import kombu.exceptions
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from annotation.errors import Conflict, Invalid
from annotation.models import Snapshot
from tests.annotation.studies import person
from tests.webapp.runs import held_run, study_of
from trainers.tasks import claim
from webapp.runs import services
from webapp.runs.artifacts import digest_of
from webapp.runs.models import SILENT_AFTER, Artifact, Command, Event, Run, Status, Worker
from webapp.runs.services import machine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sent(monkeypatch) -> list[tuple[int, str]]:
    """What the broker was given: (run, queue)."""
    messages = []
    monkeypatch.setattr(
        services.app, "send_task", lambda name, args, queue, **_: messages.append((args[0], queue))
    )
    return messages


@pytest.fixture
def ada(db):
    return person("ada")


@pytest.fixture
def study(ada):
    return study_of(ada)


@pytest.fixture
def snapshot(study, ada):
    return Snapshot.objects.create(
        study=study, digest="d" * 64, counts={"pair": 40}, records=40, card="", created_by=ada
    )


def model(study, kind="policy", name="first") -> Artifact:
    return Artifact.objects.create(
        study=study, kind=kind, name=name, path="models/x", digest="0" * 64, size=1
    )


def ask(study, snapshot, ada, **values) -> Run:
    given = {"method": "direct/dpo", "config": {}, "inputs": {"policy": model(study)}}
    return services.start_run(study=study, snapshot=snapshot, by=ada, **(given | values))


def worker(name="w", slots=1, queues=("cpu",), pid=1, here=False) -> Worker:
    place = machine() if here else "elsewhere"
    return Worker.objects.create(
        name=name, host="h", machine=place, pid=pid, queues=list(queues), slots=slots
    )


def silence(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(heartbeat_at=Now() - 2 * SILENT_AFTER)


# --- asking


def test_a_run_is_a_row_before_it_is_a_message(
    study, snapshot, ada, sent, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks() as after:
        run = ask(study, snapshot, ada, config={"lr": "3e-4"}, seed=7)
        assert sent == []
    for tell in after:
        tell()
    assert sent == [(run.pk, "cpu")]
    run.refresh_from_db()
    assert (run.status, run.config["lr"], run.config["beta"], run.seed) == ("queued", 3e-4, 0.1, 7)
    assert run.sent_at is not None
    assert run.provenance["snapshot"] == snapshot.digest
    assert run.provenance["inputs"]["policy"]["digest"] == "0" * 64


def test_a_run_can_be_asked_for_while_the_broker_is_away(
    study, snapshot, ada, monkeypatch, django_capture_on_commit_callbacks
):
    def away(*_, **__):
        raise kombu.exceptions.OperationalError("connection refused")

    monkeypatch.setattr(services.app, "send_task", away)
    with django_capture_on_commit_callbacks(execute=True):
        run = ask(study, snapshot, ada)
    run.refresh_from_db()
    assert (run.status, run.sent_at) == (Status.QUEUED, None)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"method": "direct/dppo"}, "method", "Known methods"),
        ({"config": {"lr": -1}}, "lr", "above 0"),
        ({"config": {"rate": 1}}, "rate", "no setting"),
        ({"snapshot": None}, "snapshot", "Freeze one"),
        ({"inputs": {}}, "policy", "needs a policy"),
        ({"method": "reward/bradley_terry"}, "policy", "Choose the backbone policy"),
        ({"gold": "castle"}, "gold", "hotel"),
        ({"config": {"held_out": 1}}, "held_out", "below 1"),
        ({"method": "query/random", "config": {"prompts": "rule"}}, "prompts", "names no rule"),
        ({"seed": -1}, "seed", "from 0 to"),
        ({"threads": 0}, "threads", "expected 1 to 256"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_field_and_the_cure(
    study, snapshot, ada, wrong, field, words
):
    given = {"snapshot": snapshot, **wrong}
    with pytest.raises(Invalid, match=words) as refusal:
        ask(study, given.pop("snapshot"), ada, **given)
    assert refusal.value.field == field
    assert not Run.objects.exists()


def test_a_model_is_refused_in_a_role_it_cannot_play(study, snapshot, ada):
    with pytest.raises(Invalid, match="reward_model"):
        ask(study, snapshot, ada, inputs={"policy": model(study, kind="reward_model")})
    with pytest.raises(Invalid, match="takes no 'judge'"):
        ask(study, snapshot, ada, inputs={"policy": model(study), "judge": model(study, name="j")})


def test_a_snapshot_without_the_records_a_method_reads_is_refused(study, snapshot, ada):
    snapshot.counts = {"demonstration": 4}
    with pytest.raises(Invalid, match="this snapshot holds 4 demonstration"):
        ask(study, snapshot, ada)


# --- claiming


def test_a_message_that_comes_twice_starts_one_attempt(study, snapshot, ada):
    run = ask(study, snapshot, ada)
    first, second = claim(run.pk), claim(run.pk)
    assert (first.attempt, first.status, second) == (1, Status.RUNNING, None)


# --- stopping, resuming, commanding


def test_a_queued_run_is_stopped_at_once_and_is_not_claimed_after(study, snapshot, ada):
    run = ask(study, snapshot, ada)
    assert services.stop_run(run=run, by=ada).status == Status.STOPPED
    assert claim(run.pk) is None
    with pytest.raises(Conflict, match="stopped already"):
        services.stop_run(run=run, by=ada)


def test_a_running_run_is_asked_to_stop_once(study, ada):
    run = held_run(study)
    for _ in range(2):
        assert services.stop_run(run=run, by=ada).status == Status.STOPPING
    assert list(Command.objects.values_list("kind", "by")) == [("stop", ada.pk)]
    services.stop_run(run=run, by=ada, now=True)
    assert list(Command.objects.values_list("kind", flat=True)) == ["stop", "kill"]


def test_what_was_stopped_goes_on_where_it_was(study, ada, sent, django_capture_on_commit_callbacks):
    run = held_run(study, last_seq=40, step=40)
    Run.objects.filter(pk=run.pk).update(status=Status.STOPPED, strikes=2)
    with django_capture_on_commit_callbacks(execute=True):
        run = services.resume_run(run=run, by=ada)
    assert (run.status, run.last_seq, run.strikes, sent) == (Status.QUEUED, 40, 0, [(run.pk, "cpu")])
    with pytest.raises(Conflict, match="is queued"):
        services.resume_run(run=run, by=ada)


def test_a_paused_run_is_told_to_go_on(study, ada):
    run = held_run(study)
    Run.objects.filter(pk=run.pk).update(status=Status.PAUSED)
    services.resume_run(run=run, by=ada)
    assert Command.objects.get().kind == "resume"


def test_a_knob_is_checked_before_it_is_turned(study, ada):
    run = held_run(study)
    turned = services.command_run(run=run, kind="set", args={"name": "lr", "value": "2e-5"}, by=ada)
    assert turned.args == {"name": "lr", "value": 2e-5}
    for args, words in [
        ({"name": "beta", "value": 1}, "one can set lr"),
        ({"name": "lr", "value": 0}, "above 0"),
        ({}, "one can set lr"),
    ]:
        with pytest.raises(Invalid, match=words):
            services.command_run(run=run, kind="set", args=args, by=ada)
    Run.objects.filter(pk=run.pk).update(status=Status.FINISHED)
    with pytest.raises(Conflict, match="needs a run under way"):
        services.command_run(run=run, kind="pause", by=ada)
    with pytest.raises(Invalid, match="no command 'dance'"):
        services.command_run(run=run, kind="dance", by=ada)


# --- sweeping


def test_a_silent_workers_run_goes_back_on_the_queue_and_to_the_next_free_place(study, sent):
    run = held_run(study)
    services.sweep()
    assert Run.objects.get().status == Status.RUNNING
    silence(run)
    worker()
    services.sweep()
    run.refresh_from_db()
    assert (run.status, run.worker, sent) == (Status.QUEUED, "", [(run.pk, "cpu")])
    assert "worker is gone" in Event.objects.get(run=run).text
    again = claim(run.pk)
    assert again.attempt == 2


def test_a_dead_process_on_this_machine_is_known_at_once(study):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    worker("dead", pid=gone.pid, here=True)
    worker("quiet", pid=1, here=False)
    run, other = held_run(study), held_run(study)
    Run.objects.filter(pk=run.pk).update(worker="dead")
    Run.objects.filter(pk=other.pk).update(worker="quiet")
    services.sweep()
    assert list(Run.objects.order_by("pk").values_list("status", flat=True)) == ["queued", "running"]
    assert list(Worker.objects.values_list("name", flat=True)) == ["quiet"]


def test_a_run_that_was_stopping_when_its_worker_died_is_stopped(study, ada):
    run = held_run(study)
    services.stop_run(run=run, by=ada)
    silence(run)
    services.sweep()
    run.refresh_from_db()
    assert run.status == Status.STOPPED and "was gone before" in run.reason
    assert not Command.objects.filter(applied_at=None).exists()


def test_a_lost_message_is_sent_again_once_and_only_where_a_place_is_free(study, snapshot, ada, sent):
    first, second = ask(study, snapshot, ada), ask(study, snapshot, ada)
    ask(study, snapshot, ada, queue="gpu")
    services.sweep()
    assert sent == []  # nobody is there
    busy = worker("busy")
    run = held_run(study)
    Run.objects.filter(pk=run.pk).update(worker=busy.name)
    services.sweep()
    assert sent == []  # nobody is free
    worker("free")
    services.sweep()
    services.sweep()
    assert sent == [(first.pk, "cpu"), (second.pk, "cpu")]  # each once: the first sending is still fresh
    Run.objects.filter(pk=first.pk).update(sent_at=Now() - 2 * services.LOST_AFTER)
    services.sweep()
    assert sent[2:] == [(first.pk, "cpu")]


@pytest.mark.django_db(transaction=True)
def test_one_worker_at_a_time_sweeps(study):
    run = held_run(study)
    silence(run)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [services.SWEEPING])
            services.sweep()
            assert Run.objects.get().status == Status.RUNNING
            cursor.execute("COMMIT")
    finally:
        other.close()
    services.sweep()
    assert Run.objects.get().status == Status.QUEUED


# --- models that people bring


def test_a_model_is_kept_by_its_content_once(study, tmp_path, settings):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "kibitz.json").write_text(json.dumps({"kind": "table", "config": {}}))
    (folder / "model.safetensors").write_bytes(b"weights")
    made = services.register_model(study=study, path=folder, kind="policy", name="first")
    again = services.register_model(study=study, path=folder, kind="policy", name="first")
    assert made == again and made.meta == {"model": "table"}
    assert made.size == (folder / "kibitz.json").stat().st_size + 7
    assert made.location.is_relative_to(settings.MODELS)
    (folder / "model.safetensors").write_bytes(b"others.")
    assert (made.location / "model.safetensors").read_bytes() == b"weights"
    other = services.register_model(study=study, path=folder, kind="policy", name="second")
    assert other.digest != made.digest
    assert list(settings.MODELS.glob(".coming-*")) == []


def test_the_digest_of_a_model_is_the_one_that_training_computes(tmp_path):
    from trainers.nn import digest

    (tmp_path / "part").mkdir()
    (tmp_path / "kibitz.json").write_text("{}")
    (tmp_path / "part" / "a.bin").write_bytes(bytes(range(256)))
    assert digest_of(tmp_path) == (digest(tmp_path), 258)


def test_what_is_no_model_is_refused(study, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(Invalid, match="holds no model"):
        services.register_model(study=study, path=folder, kind="policy", name="x")
    (folder / "kibitz.json").write_text("{}")
    with pytest.raises(Invalid, match="policy, reward_model, robot_policy"):
        services.register_model(study=study, path=folder, kind="items", name="x")
    with pytest.raises(CommandError, match="no study 999"):
        call_command("register_model", "999", str(folder))
    call_command("register_model", str(study.pk), str(folder))
    assert Artifact.objects.get().name == "mine"
