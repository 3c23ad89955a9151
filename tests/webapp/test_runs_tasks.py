"""A supervisor and its child, whatever the child does: here small scripts that write a journal and end badly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from annotation.models import Snapshot
from tests.annotation.studies import person
from tests.webapp.runs import held_run, kept, rows_of, study_of
from trainers import tasks
from trainers.tasks import Supervision, claim
from webapp.runs import artifacts, services
from webapp.runs.models import Artifact, Command, Event, Run, RunInput, Status
from webapp.runs.progress import Superseded

pytestmark = pytest.mark.django_db

BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
from trainers.journal import Writer
spec = json.loads(Path(sys.argv[1]).read_text())
home, attempt = Path(spec["home"]), spec["attempt"]
journal = Writer(home / "journal.bin")
def log(first, last):
    rows = list(map(float, range(first, last + 1)))
    journal.chunk(first, ("loss",), rows, rows, [rows])
    os.write(spec["nudge_fd"], b"x")
def killed():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr(services, "send", lambda run: True)


def queued(**values) -> Run:
    return Run.objects.create(study=study_of(), method="direct/dpo", status=Status.QUEUED, **values)


def supervised(run: Run, script: str) -> Run:
    """Sees the run through with this script as its child."""

    class Scripted(Supervision):
        def command(self, spec: Path) -> list[str]:
            return [sys.executable, "-c", BEGIN + script, str(spec)]

    claimed = claim(run.pk)
    assert claimed is not None
    Scripted(claimed).see_through()
    run.refresh_from_db()
    return run


def test_all_that_the_child_wrote_is_there_when_it_has_finished():
    run = supervised(queued(), "log(1, 5); log(6, 9); journal.json({'type': 'finished', 'step': 9})")
    assert (run.status, run.last_seq, run.attempt, run.strikes) == (Status.FINISHED, 9, 1, 0)
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 10)]
    assert run.finished_at is not None and set(run.provenance) >= {"commit", "versions", "threads"}


def test_a_child_that_is_killed_is_started_again_as_long_as_it_gets_further():
    script = "log(max(1, attempt * 3 - 4), attempt * 3)\nif attempt < 6: killed()"
    run = supervised(queued(), script)
    assert (run.status, run.attempt, run.last_seq) == (Status.FINISHED, 6, 18)
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 19)]
    restarts = Event.objects.filter(run=run, kind="restart")
    assert len(restarts) == 5 and "SIGKILL, perhaps for want of memory" in restarts[0].text


def test_a_child_that_dies_again_and_again_at_the_same_place_has_failed():
    run = supervised(queued(), "print('loading', flush=True); log(1, 4); killed()")
    assert (run.status, run.last_seq) == (Status.FAILED, 4)
    assert "died 3 times without getting further" in run.reason and "loading" in run.reason
    assert run.attempt == 4  # the first got somewhere


def test_a_failed_child_says_why():
    run = supervised(
        queued(), "journal.json({'type': 'failed', 'message': 'ValueError: no pairs'}); sys.exit(1)"
    )
    assert (run.status, run.reason, run.attempt) == (Status.FAILED, "ValueError: no pairs", 1)


@pytest.mark.parametrize("end", ["sys.exit(75)", "killed()"])
def test_a_child_that_said_why_it_failed_is_not_started_again_however_it_ended(end):
    run = supervised(queued(), "journal.json({'type': 'failed', 'message': 'ValueError: no pairs'}); " + end)
    assert (run.status, run.reason, run.attempt) == (Status.FAILED, "ValueError: no pairs", 1)


def test_a_child_that_lost_one_of_its_processes_is_started_again():
    run = supervised(queued(), "log(1, 2)\nif attempt < 2: sys.exit(75)")
    assert (run.status, run.attempt) == (Status.FINISHED, 2)
    assert "One of its processes was killed" in Event.objects.get(run=run, kind="restart").text


def test_a_child_that_fails_without_a_word_leaves_its_consoles_end():
    run = supervised(queued(), "raise RuntimeError('out of luck')")
    assert run.status == Status.FAILED and "out of luck" in run.reason and "code 1" in run.reason


def test_an_earlier_attempts_failure_is_not_blamed_on_a_later_one():
    run = supervised(queued(), "journal.json({'type': 'failed', 'message': 'first'}); sys.exit(1)")
    run = supervised(services.resume_run(run=run, by=person()), "sys.exit('second')")
    assert "second" in run.reason and "first" not in run.reason


def test_a_stop_is_carried_out_and_closed():
    script = """
log(1, 3)
while not (home / "control.jsonl").read_text(): time.sleep(0.01)
line = json.loads((home / "control.jsonl").read_text())
journal.json({"type": "applied", "command": line["id"], "step": 3})
sys.exit(3 if line["kind"] == "stop" else 1)
"""
    run = queued()
    claimed = claim(run.pk)
    services.stop_run(run=claimed, by=person("ada"))
    Run.objects.filter(pk=run.pk).update(status=Status.QUEUED)  # so that supervised() can claim it
    Run.objects.filter(pk=run.pk).update(attempt=0)
    before = tasks.TICK_SECONDS
    tasks.TICK_SECONDS = 0.1
    try:
        run = supervised(run, script)
    finally:
        tasks.TICK_SECONDS = before
    assert run.status == Status.STOPPED
    command = Command.objects.get()
    assert (command.applied_step, command.kind) == (3, "stop")
    assert Event.objects.get(run=run, kind="stop").text == "Asked to stop by ada"


def test_a_run_that_is_killed_by_a_person_is_stopped_and_can_go_on(monkeypatch):
    monkeypatch.setattr(tasks, "TICK_SECONDS", 0.1)
    ada = person("ada")
    run = queued()
    real = Supervision._start

    def start(self):
        Command.objects.create(run=self.run, kind="kill", by=ada)
        Run.objects.filter(pk=self.run.pk).update(status=Status.STOPPING)
        return real(self)

    monkeypatch.setattr(Supervision, "_start", start)
    run = supervised(run, "log(1, 3); time.sleep(60)")
    assert (run.status, run.reason) == (Status.STOPPED, "Killed by ada.")
    monkeypatch.setattr(Supervision, "_start", real)
    run = supervised(services.resume_run(run=run, by=ada), "log(1, 5)")
    assert (run.status, run.last_seq) == (Status.FINISHED, 5)


def test_a_command_overtaken_by_the_end_is_not_obeyed_by_the_next_attempt(monkeypatch):
    ada = person("ada")
    run = queued()
    done = Command.objects.create(
        run=run, kind="set", args={"name": "lr", "value": 1}, by=ada, applied_step=4
    )
    Command.objects.filter(pk=done.pk).update(applied_at="2026-01-01T00:00Z")
    Command.objects.create(run=run, kind="stop", by=ada, applied_at="2026-01-01T00:00Z")
    waiting = Command.objects.create(run=run, kind="pause", by=ada)
    supervised(run, "sys.exit(0)")
    lines = [json.loads(line) for line in (run.home / "control.jsonl").read_text().splitlines()]
    assert [(line["id"], line["kind"]) for line in lines] == [(done.pk, "set"), (waiting.pk, "pause")]


def test_a_supervisor_that_lost_the_run_ends_its_child_and_writes_nothing(monkeypatch):
    monkeypatch.setattr(tasks, "TICK_SECONDS", 0.1)
    run = queued()
    real = Supervision._start
    children = []

    def start(self):
        children.append(real(self))
        Run.objects.filter(pk=self.run.pk).update(attempt=7, worker="another")
        return children[0]

    monkeypatch.setattr(Supervision, "_start", start)
    with pytest.raises(Superseded):
        supervised(run, "time.sleep(60)")
    assert children[0].process.returncode == -9
    run.refresh_from_db()
    assert (run.status, run.attempt, run.worker) == (Status.RUNNING, 7, "another")


def test_a_child_left_over_by_a_lost_supervisor_is_ended_before_the_next_begins(tmp_path):
    run = queued()
    run.home.mkdir(parents=True)
    code = (
        "import fcntl, json, os, sys, time; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(f, 2);"
        "os.write(f, json.dumps({'machine': sys.argv[2], 'pid': os.getpid()}).encode()); print('held', flush=True);"
        "time.sleep(60)"
    )
    left = subprocess.Popen(
        [sys.executable, "-c", code, str(run.home / "child.lock"), services.machine()],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    left.stdout.readline()
    run = supervised(run, "log(1, 2)")
    assert run.status == Status.FINISHED
    assert left.wait(timeout=5) == -9


def test_a_child_held_by_another_machine_is_not_joined_by_a_second(monkeypatch):
    monkeypatch.setattr(tasks, "LOCK_SECONDS", 0.3)
    run = queued()
    run.home.mkdir(parents=True)
    with tasks.the_only_child(run.home) as lock:
        os.pwrite(lock, json.dumps({"machine": "elsewhere", "pid": os.getpid()}).encode(), 0)
        run = supervised(run, "log(1, 2)")
    assert run.status == Status.FAILED and "on another machine" in run.reason
    assert run.last_seq == 0


def test_a_run_whose_files_are_gone_begins_a_new_epoch():
    run = supervised(queued(), "log(1, 9); sys.exit(3)")
    assert run.status == Status.STOPPED
    for file in run.home.iterdir():
        file.unlink()
    run = supervised(services.resume_run(run=run, by=person()), "log(1, 4)")
    assert (run.status, run.epoch, run.last_seq) == (Status.FINISHED, 1, 4)
    assert [(block.epoch, block.seq_to) for block in kept(run)] == [(0, 9), (1, 4)]
    assert (run.series.get().count, run.series.get().maximum) == (4, 4.0)
    assert "begins again" in Event.objects.get(run=run, kind="restart").text


def test_a_model_that_was_changed_after_it_was_chosen_is_refused(tmp_path, settings):
    run = queued()
    folder = settings.MODELS / "m"
    folder.mkdir(parents=True)
    (folder / "kibitz.json").write_text("{}")
    digest, size = artifacts.digest_of(folder)
    policy = Artifact.objects.create(
        study=run.study, kind="policy", name="first", path="models/m", digest=digest, size=size
    )
    RunInput.objects.create(run=run, role="policy", artifact=policy)
    (folder / "kibitz.json").write_text("{ }")
    run = supervised(run, "log(1, 2)")
    assert run.status == Status.FAILED
    assert "policy (first) has changed" in run.reason and digest in run.reason


def test_a_snapshot_that_is_gone_is_said(tmp_path):
    study = study_of()
    snapshot = Snapshot.objects.create(
        study=study, digest="d" * 64, counts={}, records=0, card="", created_by=study.created_by
    )
    run = Run.objects.create(study=study, snapshot=snapshot, method="direct/dpo", status=Status.QUEUED)
    run = supervised(run, "log(1, 2)")
    assert run.status == Status.FAILED and "are gone" in run.reason


def test_the_child_is_given_what_it_needs_and_no_secrets(monkeypatch):
    monkeypatch.setenv("KIBITZ_SECRET_KEY", "hush")
    asked = queued(seed=5, gold="hotel", provenance={"precision": "bfloat16"})
    run = supervised(asked, "print(json.dumps(dict(os.environ))); log(1, 1)")
    given = json.loads((run.home / "console.log").read_text().splitlines()[1])
    assert not {"KIBITZ_SECRET_KEY", "DATABASE_URL", "BROKER_URL"} & given.keys()
    assert given["OMP_WAIT_POLICY"] == "PASSIVE" and given["OMP_NUM_THREADS"] == str(
        run.provenance["threads"]
    )
    spec = json.loads((run.home / "spec.json").read_text())
    assert (spec["seed"], spec["inputs"]["gold"], spec["parent"]) == (5, "hotel", os.getpid())
    from trainers.run import Spec

    told = Spec.read(run.home / "spec.json")
    assert (told.run, told.precision) == (run.pk, "bfloat16")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_costs_nothing_but_time(monkeypatch):
    monkeypatch.setattr(tasks, "TICK_SECONDS", 0.2)
    run = queued()

    def cut() -> None:
        time.sleep(0.8)
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        other.close()

    saboteur = threading.Thread(target=cut)
    saboteur.start()
    run = supervised(run, "for n in range(1, 31): log(n, n); time.sleep(0.05)")
    saboteur.join()
    assert (run.status, run.attempt) == (Status.FINISHED, 1)
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 31)]


def test_a_run_held_by_nobody_else_is_not_claimed_twice():
    run = held_run()
    assert claim(run.pk) is None
