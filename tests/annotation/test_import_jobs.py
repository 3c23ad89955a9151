"""An import as a job: what it stores is nobody's before its end, and killed, stopped or failed it leaves no half."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from django.db import connection, connections
from django.test import Client

from annotation import import_jobs, importers, overview, services, snapshots
from annotation.errors import Conflict, Invalid
from annotation.models import Candidate, Gold, ImportJob, Item, Label, Part, Signal, Task
from tests.annotation import studies
from tests.flows.conftest import environment_of_parts

pytestmark = pytest.mark.django_db

ROWS = importers.BATCH * 3 + 7


def to_judge(count: int, start: int = 0) -> bytes:
    rows = (
        {"kind": "item", "id": f"q{n}", "prompt": f"Question {n}?", "candidates": ["Yes.", "No."]}
        for n in range(start, start + count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def judged(count: int) -> bytes:
    rows = ({"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    sent = []
    broker = SimpleNamespace(send_task=lambda name, *rest, **_: sent.append(name))
    monkeypatch.setattr(import_jobs, "current_app", broker)
    return sent


def job_of(study, content: bytes, format="kibitz") -> ImportJob:
    return import_jobs.keep(
        study=study, by=study.created_by, chunks=[content], filename="rows.jsonl", format=format
    )


def nothing_is_left(study) -> None:
    assert not Item.objects.filter(study=study).exists() and not Task.objects.filter(study=study).exists()
    assert not Candidate.objects.exists() and not Label.objects.filter(study=study).exists()


def stop_after(monkeypatch, batches: int, what) -> None:
    """Lets `what` happen in place of the batch after so many."""
    store, calls = importers.store_batch, []

    def stop(*args):
        calls.append(args)
        if len(calls) > batches:
            what()
        store(*args)

    monkeypatch.setattr(importers, "store_batch", stop)


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it."""


def die() -> None:
    raise Killed


@pytest.mark.parametrize(("content", "format"), [(to_judge(ROWS), "kibitz"), (judged(ROWS), "trl")])
def test_until_it_is_finished_nothing_of_an_import_is_asked_counted_listed_or_frozen(
    monkeypatch, content, format
):
    study = studies.study(items=0, members=1)
    (annotator,) = studies.annotators(study)
    job = job_of(study, content, format)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 2, die)
        import_jobs.run(job.pk)
    assert Item.objects.filter(study=study).count() == 2 * importers.BATCH
    assert studies.claim(study, annotator) is None
    assert overview.asked(study)[0]["tasks"] == 0 and overview.unfrozen(study) == 0
    assert overview.studies_of(study.created_by)[0].wanted == 0
    assert services.progress(study, annotator)["open"] == 0
    with pytest.raises(Invalid, match="nothing to freeze|no labels"):
        snapshots.freeze(study=study, by=study.created_by)
    page = Client()
    page.force_login(study.created_by)
    assert page.get(f"/api/studies/{study.pk}/items").json() == []
    assert page.get(f"/api/studies/{study.pk}/labels?history=true").json() == []
    for label in Label.objects.filter(study=study)[:1]:
        assert page.post(f"/api/labels/{label.pk}/withdraw").status_code == 404
    import_jobs.run(job.pk)
    assert len(page.get(f"/api/studies/{study.pk}/items?limit=200").json()) == 200
    (row,) = overview.asked(study)
    assert (row["tasks"], row["given"]) == (ROWS, ROWS if format == "trl" else 0)
    assert (studies.claim(study, annotator) is None) == (format == "trl")


def test_a_killed_import_goes_on_after_its_last_batch_and_doubles_no_row(monkeypatch):
    study = studies.study(items=2)
    job = job_of(study, judged(ROWS), "trl")
    for batches in (1, 0, 2):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            stop_after(patch, batches, die)
            import_jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == ("storing", 3 * importers.BATCH)
    import_jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done, job.counts) == ("finished", ROWS, {"items": ROWS, "comparisons": ROWS})
    prompts = [item.context["prompt"] for item in study.items.order_by("position")[2:]]
    assert prompts == [f"Question {n}?" for n in range(ROWS)]
    assert Label.objects.count() == ROWS and not Item.objects.exclude(upload=None).exists()
    assert not list(import_jobs.settings.UPLOADS.iterdir())


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_with_sigkill_leaves_an_import_that_the_next_one_ends():
    study = studies.study(items=0)
    job = job_of(study, to_judge(4000))
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import django; django.setup(); from annotation import import_jobs; import_jobs.run({job.pk})",
        ],
        env=environment_of_parts("memory://"),
    )
    deadline = time.monotonic() + 60
    while not 0 < (now := ImportJob.objects.get(pk=job.pk)).done < 4000 or now.status != "storing":
        assert time.monotonic() < deadline and worker.poll() is None
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    while (
        ImportJob.objects.get(pk=job.pk).status != "finished"
    ):  # PostgreSQL drops the dead one's lock in a moment
        import_jobs.run(job.pk)
        assert time.monotonic() < deadline
    names = list(study.items.order_by("position").values_list("external_id", flat=True))
    assert names == [f"q{n}" for n in range(4000)]
    assert Task.objects.filter(study=study, open=1).count() == 4000


def test_a_wish_to_stop_is_heard_within_a_batch_and_removes_all_that_was_stored(monkeypatch):
    study = studies.study(items=0)
    job = job_of(study, judged(ROWS), "trl")
    stored = []

    def wish():
        if not stored:
            stored.append(Item.objects.count())
            import_jobs.cancel(ImportJob.objects.get(pk=job.pk))

    stop_after(monkeypatch, 1, wish)
    import_jobs.run(job.pk)
    job.refresh_from_db()
    assert stored == [importers.BATCH]
    assert (job.status, job.done, job.counts, job.errors) == ("cancelled", 0, {}, [])
    nothing_is_left(study)
    assert not list(import_jobs.settings.UPLOADS.iterdir())
    with pytest.raises(Conflict, match="cancelled already"):
        import_jobs.cancel(job)


def test_an_import_that_no_worker_began_is_stopped_at_once_and_never_begun():
    study = studies.study(items=0)
    job = job_of(study, to_judge(3))
    assert import_jobs.cancel(job).status == "cancelled"
    assert not list(import_jobs.settings.UPLOADS.iterdir())
    import_jobs.run(job.pk)
    nothing_is_left(study)


def test_what_a_failed_import_stored_is_removed_even_where_the_removal_is_killed(monkeypatch):
    study = studies.study(items=0)
    job = job_of(study, judged(ROWS), "trl")

    def fail():
        raise OSError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(import_jobs, "_remove", lambda job: die())
        stop_after(patch, 2, fail)
        import_jobs.run(job.pk)
    job.refresh_from_db()
    assert job.status == "storing" and Item.objects.exists()
    import_jobs.run(job.pk)
    job.refresh_from_db()
    assert job.status == "failed" and "the disk is full" in job.errors[0]["message"]
    nothing_is_left(study)


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_while_somebody_labels_lose_and_double_nothing():
    study = studies.study(items=40, members=1)
    (annotator,) = studies.annotators(study)
    jobs = [job_of(study, to_judge(600)), job_of(study, to_judge(600, start=600))]

    def work(pk: int) -> None:
        import_jobs.run(pk)
        connections.close_all()

    threads = [threading.Thread(target=work, args=[job.pk]) for job in jobs]
    for thread in threads:
        thread.start()
    given = 0
    while any(thread.is_alive() for thread in threads) or given < 40:
        if turn := studies.claim(study, annotator):
            assert turn.item.upload_id is None
            studies.answer(turn)
            given += 1
    for thread in threads:
        thread.join()
    assert [ImportJob.objects.get(pk=job.pk).status for job in jobs] == ["finished", "finished"]
    positions = list(study.items.values_list("position", flat=True))
    assert sorted(positions) == list(range(1240))
    assert Label.objects.filter(study=study).count() == given
    assert study.tasks.filter(open=1).count() + given == 1240


def test_of_two_imports_that_bring_the_same_ids_the_second_names_the_line_and_leaves_nothing(monkeypatch):
    study = studies.study(items=0)
    clash = importers.BATCH + 40
    first, second = job_of(study, to_judge(clash + 5)), job_of(study, to_judge(10, start=clash))

    def other():
        patch.undo()
        import_jobs.run(second.pk)

    with monkeypatch.context() as patch:
        stop_after(patch, 0, other)
        import_jobs.run(first.pk)
    first.refresh_from_db()
    assert first.status == "failed" and f"'q{clash}' is in this study already" in first.errors[0]["message"]
    assert first.errors[0]["line"] == clash + 1
    assert sorted(study.items.values_list("external_id", flat=True)) == [
        f"q{n}" for n in range(clash, clash + 10)
    ]


def test_one_file_twice_at_once_comes_in_once(monkeypatch):
    study = studies.study(items=0)
    first, second = job_of(study, judged(300), "trl"), job_of(study, judged(300), "trl")

    def other():
        patch.undo()
        import_jobs.run(second.pk)

    with monkeypatch.context() as patch:
        stop_after(patch, 0, other)
        import_jobs.run(first.pk)
    second.refresh_from_db()
    assert (
        second.status == "failed" and f"is being imported (import {first.pk})" in second.errors[0]["message"]
    )
    assert study.items.count() == 300


def test_a_worker_that_was_thought_dead_writes_no_row_more(monkeypatch):
    study = studies.study(items=0)
    job = job_of(study, to_judge(ROWS))

    rows_of = importers.rows_of

    def interrupted(format, path):
        for number, row in enumerate(rows_of(format, path)):
            if number == importers.BATCH and ImportJob.objects.get(pk=job.pk).status == "storing":
                patch.undo()
                import_jobs.import_file(ImportJob.objects.get(pk=job.pk), path)
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(importers, "rows_of", interrupted)
        import_jobs.run(job.pk)
    job.refresh_from_db()
    assert job.status == "finished" and study.items.count() == ROWS


def test_a_database_that_goes_away_ends_no_import(monkeypatch):
    study = studies.study(items=0)
    job = job_of(study, to_judge(ROWS))

    def away():
        raise import_jobs.OperationalError("terminating connection")

    with monkeypatch.context() as patch, pytest.raises(import_jobs.OperationalError):
        stop_after(patch, 1, away)
        import_jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == ("storing", importers.BATCH)
    import_jobs.run(job.pk)
    assert study.items.count() == ROWS


@pytest.mark.parametrize(("policy", "wanted"), [("sequential", [0, 1, 2, 3]), ("round_robin", [0, 1, 0, 2])])
def test_imported_tasks_stand_where_the_policy_wants_them(policy, wanted):
    study = studies.study(items=0)
    study.policy, study.stratum = policy, "topic"
    study.save()
    rows = [
        {"kind": "item", "prompt": str(n), "candidates": ["a", "b"], "source": {"topic": topic}}
        for n, topic in enumerate("aaba")
    ]
    import_jobs.run(job_of(study, "\n".join(map(json.dumps, rows)).encode()).pk)
    tasks = study.tasks.order_by("item__position")
    assert list(tasks.values_list("position", flat=True)) == wanted


# --- what an item says of itself


def test_an_item_says_where_it_comes_from_and_else_has_the_licence_of_its_file():
    study = studies.study(items=0)
    plain = {"kind": "item", "prompt": "A?", "candidates": ["a", "b"]}
    said = {
        **plain,
        "licence": "CC0-1.0",
        "collected_on": "2026-01-31",
        "collector": "ada",
        "jurisdiction": "EU",
        "signal": "no_train",
    }
    content = f"{json.dumps(plain)}\n{json.dumps(said)}".encode()
    job = job_of(study, content)
    ImportJob.objects.filter(pk=job.pk).update(licence="CC-BY-4.0")
    import_jobs.run(job.pk)
    first, second = study.items.order_by("position")
    assert (first.licence, first.signal, first.collected_on) == ("CC-BY-4.0", Signal.UNKNOWN, None)
    assert (second.licence, second.signal, str(second.collected_on)) == ("CC0-1.0", "no_train", "2026-01-31")
    assert (second.collector, second.jurisdiction) == ("ada", "EU")


@pytest.mark.parametrize(
    ("fact", "field"),
    [
        ({"signal": "perhaps"}, "signal"),
        ({"collected_on": "yesterday"}, "collected_on"),
        ({"licence": 5}, "licence"),
        ({"gold": {"answer": {"chosen": 2}}}, "gold.answer"),
        ({"gold": {"answer": {"choice": "chosen"}}}, "gold.answer"),
        ({"gold": {"answer": {"chosen": 0}, "purpose": "fun"}}, "gold.purpose"),
        ({"gold": "a"}, "gold"),
        ({"gold": {"answer": {"text": "x"}, "kind": "edit"}}, "gold"),
    ],
)
def test_a_wrong_fact_of_an_item_names_its_field(fact, field):
    study = studies.study(items=0)
    row = {"kind": "item", "prompt": "A?", "candidates": ["a", "b"], **fact}
    job = job_of(study, json.dumps(row).encode())
    import_jobs.run(job.pk)
    job.refresh_from_db()
    assert [(one["line"], one["field"]) for one in job.errors] == [(1, field)]
    nothing_is_left(study)


def test_a_known_answer_in_the_file_makes_a_task_that_everyone_is_asked():
    study = studies.study(items=0, members=2)
    rows = [
        {
            "kind": "item",
            "prompt": "2 + 2?",
            "candidates": ["5", "4"],
            "gold": {"answer": {"chosen": 1}, "reason": "Two and two are four.", "purpose": purpose},
        }
        for purpose in ("gold", "qualification")
    ]
    import_jobs.run(job_of(study, "\n".join(map(json.dumps, rows)).encode()).pk)
    first, second = Gold.objects.order_by("pk").select_related("task")
    assert (first.task.part, second.task.part) == (Part.GOLD, Part.QUALIFICATION)
    four = Candidate.objects.get(item=first.task.item, text="4")
    assert first.answer["chosen"] == four.pk and first.answer["choice"] == "chosen"
    assert first.reason == "Two and two are four." and first.created_by == study.created_by
    assert first.task.open == first.task.overlap > 1000


# --- the page and the API


@pytest.fixture
def page(client):
    def login(study):
        client.force_login(study.created_by)
        return client

    return login


def test_the_page_shows_rate_and_time_left_and_that_no_worker_runs(page):
    study = studies.study(items=0)
    job = job_of(study, to_judge(1))
    client = page(study)
    assert "No worker is running" not in client.get(f"/imports/{job.pk}/").text
    ImportJob.objects.update(sent_at="2020-01-01T00:00:00Z")
    assert "No worker is running" in client.get(f"/imports/{job.pk}/").text
    ImportJob.objects.update(status="storing", total=1000, done=600)
    seen = f"?phase=storing&had=100&since={time.time() - 10:.1f}"
    text = client.get(f"/imports/{job.pk}/{seen}", headers={"HX-Request": "true"}).text
    assert '<span class="number">50</span> a second' in text and "about 8 s left" in text
    assert f"had=100&amp;since={seen.rpartition('=')[2]}" in text
    for odd in (
        "?phase=storing&had=x&since=y",
        "?phase=storing&had=-5&since=nan",
        "?phase=checking&had=0&since=1",
    ):
        assert client.get(f"/imports/{job.pk}/{odd}").status_code == 200


def test_the_button_stops_an_import_and_needs_a_post_and_a_researcher(page, client):
    study = studies.study(items=0, members=1)
    job = job_of(study, to_judge(1))
    client = page(study)
    assert client.get(f"/imports/{job.pk}/cancel/").status_code == 405
    assert "Stop the import" in client.get(f"/imports/{job.pk}/").text
    client.force_login(studies.annotators(study)[0])
    assert client.post(f"/imports/{job.pk}/cancel/").status_code == 404
    client.force_login(study.created_by)
    assert client.post(f"/imports/{job.pk}/cancel/").status_code == 302
    assert "Stopped: nothing was imported" in client.get(f"/imports/{job.pk}/").text


def test_the_api_stops_an_import_once(page):
    study = studies.study(items=0)
    client, job = page(study), job_of(study, to_judge(1))
    assert client.post(f"/api/imports/{job.pk}/cancel").json()["status"] == "cancelled"
    answer = client.post(f"/api/imports/{job.pk}/cancel")
    assert answer.status_code == 409 and "cancelled already" in answer.json()["error"]["message"]
    client.force_login(studies.person())
    assert client.post(f"/api/imports/{job.pk}/cancel").status_code == 404


def test_a_worker_at_an_import_is_not_called_again(no_broker):
    study = studies.study(items=0)
    job = job_of(study, to_judge(importers.BATCH))
    ImportJob.objects.update(sent_at="2020-01-01T00:00:00Z")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE annotation_importjob SET sent_at = now() - interval '20 s' WHERE id = %s", [job.pk]
        )
    assert import_jobs.resend() == 1
    import_jobs._advance(ImportJob.objects.get(pk=job.pk), done=0)
    assert import_jobs.resend() == 0
