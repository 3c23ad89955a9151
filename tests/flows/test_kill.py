"""Killed at any moment, a run ends with the weights and the charts it would have had."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress

import numpy as np
import psutil
import pytest
import torch

from tests.annotation.studies import person
from tests.flows.conftest import Lesson, Workers, child_of, environment_of_parts, kill, wait_for, weights_of
from tests.webapp.pages import Page
from tests.webapp.runs import Source, kept, rows_of, study_of
from webapp.runs import services
from webapp.runs.models import Event, Run, Status, Worker


def start(lesson: Lesson, epochs: int = 40) -> Run:
    return services.start_run(
        study=lesson.study,
        snapshot=lesson.snapshot,
        method="direct/dpo",
        # One pair at a time: slow enough to be killed halfway, on any machine.
        config={
            "lr": 1e-3,
            "batch_size": 16,
            "micro_batch": 1,
            "epochs": epochs,
            "held_out": 0.15,
            "eval_every": 7,
        },
        inputs={"policy": lesson.policy},
        by=lesson.owner,
        seed=3,
    )


def now(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def wait_until(run: Run, status: Status, seconds: float = 90) -> Run:
    def there() -> Run | None:
        found = now(run)
        assert not found.ended or found.status == status, f"{found.status}: {found.reason}"
        return found if found.status == status else None

    return wait_for(there, seconds)


def chart(run: Run) -> dict[tuple[int, str], tuple[float, float]]:
    """(row, name) -> (step, value), for every point in the database; wall-clock times are left out."""
    names = dict(run.series.values_list("index", "name"))
    found: dict[tuple[int, str], tuple[float, float]] = {}
    for block in kept(run):
        for index, column in zip(block.ids, block.values[2:], strict=True):
            for at, (step, value) in enumerate(zip(block.values[0], column, strict=True)):
                place = (block.seq_from + at, names[index])
                assert place not in found, "a point came twice"
                if names[index] != "step_time":
                    found[place] = (float(step), float(value))
    return found


def same(run: Run, other: Run) -> None:
    """Equal in every weight, every point and every sample."""
    ours, theirs = chart(run), chart(other)
    assert ours.keys() == theirs.keys()
    assert {seq for seq, _ in ours} == set(range(1, run.last_seq + 1))
    np.testing.assert_array_equal([*ours.values()], [theirs[place] for place in ours])
    mine, yours = (weights_of(one.artifacts.get(kind="policy")) for one in (run, other))
    assert mine.keys() == yours.keys()
    for name in mine:
        assert torch.equal(mine[name], yours[name]), name
    assert run.report == other.report
    summary = ("name", "last_step", "last", "minimum", "maximum", "count")
    left, right = (one.series.exclude(name="step_time").values_list(*summary) for one in (run, other))
    assert list(left) == list(right)


@pytest.mark.timeout(240)
def test_a_run_whose_child_and_worker_are_killed_equals_one_left_alone(lesson, workers: Workers, site):
    calm = start(lesson)
    shaken = start(lesson)
    page = Page(site.url, lesson.owner)
    page.open(shaken.pk)
    worker = workers.start(slots=2)

    reach(shaken, 10)
    services.command_run(run=shaken, kind="checkpoint", by=lesson.owner)
    wait_for(lambda: Event.objects.filter(run=shaken, key__startswith="checkpoint-").exists())
    kill(child_of(worker, shaken).pid)
    wait_for(lambda: now(shaken).attempt == 2)
    reach(shaken, now(shaken).step + 10)

    child = child_of(worker, shaken)
    kill(worker.pid)
    worker.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    workers.start(slots=2)

    shaken, calm = wait_until(shaken, Status.FINISHED), wait_until(calm, Status.FINISHED)
    assert shaken.attempt == 3
    assert (shaken.home / "console.log").read_text().count("resumed from step-") == 2
    same(shaken, calm)
    # The page that watched all along holds every row once: Page refuses a gap or a row that comes twice.
    watched = page.until_row(shaken.pk, shaken.last_seq)
    assert watched[-1].seq_to == shaken.last_seq
    told = list(Event.objects.filter(run=shaken).values_list("kind", flat=True))
    assert "restart" in told and "worker_lost" in told
    page.close()


def reach(run: Run, step: int) -> None:
    """Waits until the run has come that far, and sees that it is not over already."""
    wait_for(lambda: now(run).step >= step)
    assert not now(run).ended, "the run was too fast for the test: give it more steps"


@pytest.mark.timeout(240)
def test_a_run_goes_on_while_the_broker_is_gone_and_the_next_is_found_after(lesson, workers: Workers):
    worker = workers.start()
    first = start(lesson, epochs=48)
    reach(first, 5)
    workers.broker.kill()
    second = start(lesson, epochs=2)  # the row is there; nobody could be told
    assert now(second).status == Status.QUEUED and now(second).sent_at is None
    step = now(first).step
    reach(first, step + 20)
    workers.broker.start()  # empty: whatever was in it is lost

    first, second = wait_until(first, Status.FINISHED), wait_until(second, Status.FINISHED)
    assert (first.attempt, second.attempt) == (1, 1)
    assert worker.poll() is None
    for run in (first, second):
        assert {seq for seq, _ in chart(run)} == set(range(1, run.last_seq + 1))


@pytest.mark.timeout(240)
def test_a_worker_that_shuts_down_saves_its_run_for_the_next(lesson, workers: Workers):
    worker = workers.start()
    run = start(lesson, epochs=48)
    reach(run, 10)
    worker.terminate()
    worker.wait(timeout=30)
    left = now(run)
    assert (left.status, left.worker) == (Status.QUEUED, "")
    assert not Worker.objects.exists()
    assert left.step >= 10
    workers.start()
    again = wait_until(run, Status.FINISHED)
    assert again.attempt == 2
    assert {seq for seq, _ in chart(again)} == set(range(1, again.last_seq + 1))


def test_a_page_outlives_its_web_server(transactional_db, tmp_path):
    ada = person("ada")
    source = Source(study_of(ada))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    web = serve(port)
    try:
        page = wait_for(lambda: opened(port, ada))
        page.open(source.run.pk)
        source.log(30)
        page.until_row(source.run.pk, 30)
        kill(web.pid)
        web.wait()
        source.log(30)
        web = serve(port)
        wait_for(lambda: reconnected(page))
        page.open(source.run.pk)
        page.until_row(source.run.pk, 60)
        source.log(30)
        assert rows_of(page.until_row(source.run.pk, 90)) == source.rows()
        page.close()
    finally:
        web.terminate()
        web.wait()


def serve(port: int, environment: dict[str, str] | None = None) -> subprocess.Popen:
    options = ["--port", str(port), "--lifespan", "off", "--log-level", "warning"]
    return subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "webapp.asgi:application", *options],
        env=environment or environment_of_parts("memory://"),
    )


def opened(port: int, user) -> Page | None:
    with suppress(OSError):
        return Page(f"http://127.0.0.1:{port}", user)
    return None


def reconnected(page: Page) -> bool:
    with suppress(OSError):
        page.connect()
        return True
    return False
