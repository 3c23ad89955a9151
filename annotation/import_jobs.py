"""A file's way into a study as a job: checked, stored a batch at a time, and then there all at once, or not at all.

What is stored carries the job in `Item.upload` and has no open place until the last transaction of the import, so
that until then nobody is asked about it and nothing counts, lists, freezes or exports it. Each batch is a
transaction that also says how far the job is: a worker that takes up a dead one's import goes on after the last
batch. A failure, or a wish to stop, takes away what was stored.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import uuid4

import kombu.exceptions
import redis.exceptions
from celery import current_app
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now

from annotation import import_robots, importers, policies, webhooks
from annotation.errors import Conflict, Invalid
from annotation.formats import FORMATS
from annotation.models import Assignment, ImportJob, Item, Label, Study, Task
from annotation.services import lock_positions
from trainers.records import RecordError

log = logging.getLogger(__name__)

UNDER_WAY = (ImportJob.Status.WAITING, ImportJob.Status.CHECKING, ImportJob.Status.STORING)
LOCK = 0x1B17  # the first half of the advisory lock of an import
FORGOTTEN_AFTER = timedelta(seconds=15)
"""A worker at an import says so with every batch; and any worker calls again for one that nobody spoke of so long."""
AWAY_AFTER = timedelta(seconds=25)
"""An import that nobody even called for this long: no worker is there to call."""
REMOVED_AT_ONCE = 500
MANY = 1_000
"""After an import of so many rows the database takes stock, so that the queue's statements are planned anew."""


class Cancelled(Exception):
    """Somebody asked to stop the import."""


class Superseded(Exception):
    """Another worker took the import up: this one was thought dead."""


# --- asking for an import


def receive(
    *, study: Study, by, chunks: Iterable[bytes], filename: str, format: str, licence: str = ""
) -> ImportJob:
    """Keeps an uploaded file, and has a worker import it."""
    job = keep(
        study=study,
        by=by,
        chunks=chunks,
        filename=filename,
        format=format,
        licence=licence,
        most=settings.KIBITZ_UPLOAD_BYTES,
    )
    transaction.on_commit(lambda: send(job))
    return job


def keep(
    *,
    study: Study,
    by,
    chunks: Iterable[bytes],
    filename: str,
    format: str,
    licence: str = "",
    most: int | None = None,
) -> ImportJob:
    """The job of importing a file, and a copy of the file until it is done."""
    if format not in FORMATS:
        raise Invalid(f"No format called {format!r}. Known formats: {', '.join(FORMATS)}.", field="format")
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    path = settings.UPLOADS / uuid4().hex
    size = 0
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if most is not None and size > most:
                    raise Invalid(
                        f"The file is larger than {most // 2**20} MiB. Split it, pack it with gzip, or set "
                        "KIBITZ_UPLOAD_MB.",
                        field="file",
                    )
                file.write(chunk)
        return ImportJob.objects.create(
            study=study,
            format=format,
            filename=filename[:200],
            path=str(path),
            licence=licence[:200],
            created_by=by,
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def send(job: ImportJob) -> None:
    """Wakes a worker. May be lost or come twice: whoever holds the import's lock does it."""
    ImportJob.objects.filter(pk=job.pk).update(sent_at=Now())
    try:
        current_app.send_task("annotation.import", [job.pk], retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning("The broker did not take import %s (%s). The sweep sends it again.", job.pk, problem)


def resend(after: timedelta = FORGOTTEN_AFTER) -> int:
    """Sends again what no worker is at: the message was lost, or the worker died. Returns how many."""
    forgotten = list(
        ImportJob.objects.exclude(path="").filter(status__in=UNDER_WAY, sent_at__lt=Now() - after)
    )
    for job in forgotten:
        send(job)
    return len(forgotten)


def cancel(job: ImportJob) -> ImportJob:
    """Stops an import: at once where none has begun it, or within a batch; what it stored is removed."""
    waiting = ImportJob.objects.filter(pk=job.pk, status=ImportJob.Status.WAITING)
    begun = ImportJob.objects.filter(pk=job.pk, status__in=UNDER_WAY)
    if waiting.update(status=ImportJob.Status.CANCELLED, finished_at=Now()):
        forget_file(job)
    elif begun.update(cancel_asked=True):
        transaction.on_commit(lambda: send(job))
    else:
        job.refresh_from_db()
        raise Conflict(f"Import {job.pk} is {job.status} already; there is nothing to stop.")
    job.refresh_from_db()
    return job


def nobody_calls(job: ImportJob) -> bool:
    """Whether the import stands still because no worker is running: any that ran would have called for it."""
    return ImportJob.objects.filter(pk=job.pk, status__in=UNDER_WAY, sent_at__lt=Now() - AWAY_AFTER).exists()


# --- doing it


def run(job_pk: int) -> None:
    """Imports an uploaded file, unless it is done or somebody is at it; then forgets the file."""
    job = ImportJob.objects.get(pk=job_pk)
    with _only_one(job) as mine:
        job.refresh_from_db()
        if mine and job.status in UNDER_WAY:
            import_file(job, Path(job.path))
            if job.status not in UNDER_WAY:
                forget_file(job)


def forget_file(job: ImportJob) -> None:
    if job.path:
        Path(job.path).unlink(missing_ok=True)


@contextmanager
def _only_one(job: ImportJob) -> Iterator[bool]:
    """A lock that PostgreSQL drops when its holder dies, so that a dead worker's import can be taken up."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, job.pk])
        (mine,) = cursor.fetchone()
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, job.pk])


def import_file(job: ImportJob, path: Path) -> ImportJob:
    """Takes an import from wherever it stands to its end: all of the file is there then, or nothing of it.

    A database that went away is no end: the error goes up, and whoever takes the import up goes on.
    """
    try:
        if not job.errors:
            if job.status != ImportJob.Status.STORING:
                _check(job, path)
            _store(job, path)
            _open(job)
            return job
    except Superseded:
        log.warning("Import %s is another worker's now.", job.pk)
        return job
    except Cancelled:
        pass
    except importers.Refused as problem:
        job.errors = [describe(one) for one in problem.errors]
    except (OperationalError, InterfaceError):
        raise
    except Exception as problem:
        log.exception("Import %s failed.", job.pk)
        job.errors = [
            describe(RecordError(0, "", f"{type(problem).__name__}: {problem}", "Nothing was stored."))
        ]
    # First, so that whoever takes it up goes on removing; unless somebody has, and all is well.
    if ImportJob.objects.filter(pk=job.pk, status=job.status, done=job.done).update(errors=job.errors):
        _remove(job)
    return job


def describe(problem: RecordError) -> dict:
    return {"line": problem.line, "field": problem.field, "message": problem.message, "cure": problem.cure}


def _advance(job: ImportJob, **changes) -> None:
    """Says how far the import is, unless it was to stop, or went on without this worker."""
    mine = ImportJob.objects.filter(pk=job.pk, status=job.status, done=job.done, cancel_asked=False)
    if not mine.update(sent_at=Now(), **changes):
        now = ImportJob.objects.get(pk=job.pk)
        raise Cancelled if now.cancel_asked and now.status in UNDER_WAY else Superseded
    for name, value in changes.items():
        setattr(job, name, value)


def _check(job: ImportJob, path: Path) -> None:
    """The first reading: everything that is wrong with the file, before anything is stored."""
    _advance(job, status=ImportJob.Status.CHECKING, done=0)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _advance(job, digest=digest)
    _refuse_twice(job)
    for checked in importers.check(job, path):
        _advance(job, done=checked)
    with transaction.atomic():
        lock_positions(job.study)  # of two jobs with one file, one gets here first
        _refuse_twice(job)
        _advance(job, status=ImportJob.Status.STORING, total=job.done, done=0, counts={})


def _refuse_twice(job: ImportJob) -> None:
    same = ImportJob.objects.filter(
        study=job.study_id,
        digest=job.digest,
        status__in=[ImportJob.Status.STORING, ImportJob.Status.FINISHED],
    ).exclude(pk=job.pk)
    if other := same.first():
        done = "was imported already" if other.status == ImportJob.Status.FINISHED else "is being imported"
        raise importers.Refused(
            [RecordError(0, "", f"this file {done} (import {other.pk}).", "Nothing to do.")]
        )


def _store(job: ImportJob, path: Path) -> None:
    """The second reading, from after the last batch that was stored."""
    counts = Counter(job.counts)
    if taken := import_robots.take_in(job, path):
        counts["episodes"] = taken
        _advance(job, counts=dict(counts))
    people = importers.People()
    rows = islice(importers.rows_of(job.format, path), job.done, None)
    while batch := list(islice(rows, importers.BATCH)):
        with transaction.atomic():
            _advance(job)  # holds the row: of two workers, one stores this batch
            lock_positions(job.study)
            importers.store_batch(job, batch, people)
            counts.update(importers.counted(batch))
            _advance(job, done=job.done + len(batch), counts=dict(counts))


# Of a task that waits for its item to be judged, nothing is open before that. All stand where the policy wants them.
OPEN_TASKS = """
UPDATE annotation_task t
SET open = CASE WHEN t.waiting THEN 0 ELSE t.overlap - t.done END, position = {position}
FROM annotation_item i {line}
WHERE i.upload_id = %(job)s AND t.item_id = i.id
  AND ((NOT t.waiting AND t.overlap > t.done) OR t.position <> {position})
"""


def _open(job: ImportJob) -> None:
    """Lets the stored rows be there: in one transaction, over rows that nobody else knows."""
    with transaction.atomic():
        _advance(job, status=ImportJob.Status.FINISHED, finished_at=Now())
        with connection.cursor() as cursor:
            position, line = policies.order_of(job.study)
            cursor.execute(
                OPEN_TASKS.format(position=position, line=line),
                {"job": job.pk, "study": job.study_id, "stratum": job.study.stratum},
            )
            cursor.execute("UPDATE annotation_item SET upload_id = NULL WHERE upload_id = %s", [job.pk])
        webhooks.tell(
            job.study,
            "import.finished",
            {"import": job.pk, "filename": job.filename, "counts": job.counts},
        )
    if (job.total or 0) >= MANY:
        with connection.cursor() as cursor:
            # A plan made for the small tables of before reads all of the large ones.
            cursor.execute("ANALYZE annotation_item, annotation_candidate, annotation_task")
    job.refresh_from_db()


def _remove(job: ImportJob) -> None:
    """Takes away what was stored, some items at a time, and ends the job."""
    while items := list(job.items.order_by("-pk").values_list("pk", flat=True)[:REMOVED_AT_ONCE]):
        with transaction.atomic():
            # The many rows first, by one statement each; `delete` then follows every other relation there may be.
            tasks = Task.objects.filter(item__in=items)
            for rows in (Label.objects.filter(task__in=tasks), Assignment.objects.filter(task__in=tasks)):
                rows.order_by()._raw_delete(rows.db)
            Item.objects.filter(pk__in=items).delete()
            job.done = max(0, job.done - len(items))
            ImportJob.objects.filter(pk=job.pk).update(done=job.done, sent_at=Now())
    import_robots.take_out(job)
    job.status = ImportJob.Status.FAILED if job.errors else ImportJob.Status.CANCELLED
    job.done, job.counts = 0, {}
    job.finished_at = Now()
    job.save(update_fields=["done", "counts", "status", "finished_at"])
    job.refresh_from_db()
