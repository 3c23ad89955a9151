"""Files into a study: all of a file, or nothing of it.

A file is read twice. The first reading checks every row and collects what is wrong, with line, field and cure;
the second stores the rows in one transaction. Neither keeps more than a batch in memory. Judgements and
rewrites that a file records become labels of the annotator "imported": kept, frozen and never edited, like all.
"""

from __future__ import annotations

import hashlib
import logging
import re
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
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from annotation.errors import Conflict, Invalid
from annotation.formats import FORMATS, Judgement, Order, Rewrite, Row, Said, Score
from annotation.interfaces import edit, pairwise, ranking, rating
from annotation.models import Assignment, Candidate, ImportJob, Item, Label, Study, Task
from annotation.services import lock_positions, place_items, read_item, tasks_of
from trainers.records import RecordError

log = logging.getLogger(__name__)

BATCH = 250
MOST_ERRORS = 20
"""A file with more errors than this has one cause: reading on would only repeat it."""
UNDER_WAY = (ImportJob.Status.WAITING, ImportJob.Status.CHECKING, ImportJob.Status.STORING)
IMPORTED = "imported"
COUNTED = {Judgement: "comparisons", Rewrite: "rewrites", Score: "ratings", Order: "rankings"}
LOCK = 0x1B17  # the first half of the advisory lock of an import


# --- asking for an import


def receive(
    *, study: Study, by, chunks: Iterable[bytes], filename: str, format: str, licence: str = ""
) -> ImportJob:
    """Keeps an uploaded file, and has a worker import it."""
    check_format(format)
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    path = settings.UPLOADS / uuid4().hex
    size = 0
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > settings.KIBITZ_UPLOAD_BYTES:
                    raise Invalid(
                        f"The file is larger than {settings.KIBITZ_UPLOAD_BYTES // 2**20} MiB. Split it, pack it "
                        "with gzip, or set KIBITZ_UPLOAD_MB.",
                        field="file",
                    )
                file.write(chunk)
        job = ImportJob.objects.create(
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
    transaction.on_commit(lambda: send(job))
    return job


def check_format(format: str) -> None:
    if format not in FORMATS:
        raise Invalid(f"No format called {format!r}. Known formats: {', '.join(FORMATS)}.", field="format")


def send(job: ImportJob) -> None:
    """Wakes a worker. May be lost or come twice: whoever holds the import's lock does it."""
    ImportJob.objects.filter(pk=job.pk).update(sent_at=Now())
    try:
        current_app.send_task("annotation.import", [job.pk], retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning("The broker did not take import %s (%s). The sweep sends it again.", job.pk, problem)


def resend(after: timedelta = timedelta(seconds=30)) -> int:
    """Sends again what no worker finished: the message was lost, or the worker died. Returns how many."""
    forgotten = list(
        ImportJob.objects.exclude(path="").filter(status__in=UNDER_WAY, sent_at__lt=Now() - after)
    )
    for job in forgotten:
        send(job)
    return len(forgotten)


# --- doing it


def run(job_pk: int) -> None:
    """Imports an uploaded file, unless it is done or somebody is at it; then forgets the file."""
    job = ImportJob.objects.get(pk=job_pk)
    with _only_one(job) as mine:
        job.refresh_from_db()
        if mine and job.status in UNDER_WAY:
            import_file(job, Path(job.path))
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
    """Checks a file and stores it; the job then says what came in, or what was wrong and that nothing came in."""
    progress = Progress(job)
    try:
        job.digest = _digest(path)
        job.errors, job.total = _check(job, path, progress)
        if not job.errors:
            with transaction.atomic():
                job.counts = _store(job, path, progress)
        job.done = 0 if job.errors else job.total
        job.status = ImportJob.Status.FAILED if job.errors else ImportJob.Status.FINISHED
    except Exception as problem:
        log.exception("Import %s failed.", job.pk)
        job.status, job.done = ImportJob.Status.FAILED, 0
        job.errors = [
            _error(RecordError(0, "", f"{type(problem).__name__}: {problem}", "Nothing was stored."))
        ]
    finally:
        progress.close()
    job.finished_at = timezone.now()
    job.save(update_fields=["digest", "errors", "total", "counts", "done", "status", "finished_at"])
    return job


class Progress:
    """Says how far an import is, on a connection of its own: the import's own transaction shows nothing until done."""

    def __init__(self, job: ImportJob):
        self.job = job.pk
        self.connection = connection.copy()

    def say(self, status: str, done: int) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE annotation_importjob SET status = %s, done = %s WHERE id = %s",
                [status, done, self.job],
            )

    def close(self) -> None:
        self.connection.close()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _batches(format: str, path: Path) -> Iterator[list[Row | RecordError]]:
    _, reader = FORMATS[format]
    with path.open("rb") as file:
        rows = reader(file)
        while batch := list(islice(rows, BATCH)):
            yield batch


# --- the first reading


def _check(job: ImportJob, path: Path, progress: Progress) -> tuple[list[dict], int]:
    """Everything that is wrong with a file (the first of it, if it is much), and how many rows it has."""
    before = ImportJob.objects.filter(
        study=job.study, digest=job.digest, status=ImportJob.Status.FINISHED
    ).first()
    if before:
        return [
            _error(
                RecordError(0, "", f"this file was imported already (import {before.pk}).", "Nothing to do.")
            )
        ], 0
    errors: list[RecordError] = []
    ids: dict[int, int] = {}  # the hash of an external id -> its line
    total = 0
    for batch in _batches(job.format, path):
        for row in batch:
            try:
                if isinstance(row, RecordError):
                    raise row
                total += 1
                _check_row(job.study, row)
                _check_id(row, ids)
            except RecordError as problem:
                errors.append(problem)
        errors += _known_ids(job.study, [row for row in batch if isinstance(row, Row)])
        if len(errors) >= MOST_ERRORS:
            break
        progress.say(ImportJob.Status.CHECKING, total)
    if not total and not errors:
        errors.append(RecordError(1, "", "the file holds no rows.", "Check that it is the right file."))
    return [_error(problem) for problem in sorted(errors, key=lambda one: one.line)[:MOST_ERRORS]], total


def _check_row(study: Study, row: Row) -> None:
    try:
        read_item(study, row.item, judged=bool(row.said))
        for said in row.said:
            _answer(said, list(range(len(row.item["candidates"]))))
            if isinstance(said, Score):
                _check_scale(study, said)
    except Invalid as problem:
        raise RecordError(row.line, problem.field or "", str(problem), "Mend this row.") from None


def _check_scale(study: Study, said: Score) -> None:
    """One task has one scale: what the study asks people must be what the file asked."""
    if rating.key not in study.kinds:
        return
    asked = rating.scale_of(rating.Options(**study.options(rating.key)))
    if asked != said.scale:
        raise Invalid(f"Found {said.scale}; this study rates by {asked}.", field="scale")


def _check_id(row: Row, ids: dict[int, int]) -> None:
    name = row.item["external_id"]
    if name and (first := ids.setdefault(hash(name), row.line)) != row.line:
        raise RecordError(
            row.line, "id", f"{name!r} stands in line {first} too.", "Give every item an id of its own."
        )


def _known_ids(study: Study, rows: list[Row]) -> list[RecordError]:
    lines = {row.item["external_id"]: row.line for row in rows if isinstance(row.item["external_id"], str)}
    lines.pop("", None)
    known = study.items.filter(external_id__in=lines).values_list("external_id", flat=True)
    return [
        RecordError(
            lines[name], "id", f"{name!r} is in this study already.", "Leave out what was imported before."
        )
        for name in known
    ]


def _error(problem: RecordError) -> dict:
    return {"line": problem.line, "field": problem.field, "message": problem.message, "cure": problem.cure}


# --- the second reading


def _store(job: ImportJob, path: Path, progress: Progress) -> dict[str, int]:
    counts: Counter[str] = Counter()
    people = People()
    lock_positions(job.study)
    for batch in _batches(job.format, path):
        _store_batch(job, batch, people)
        counts["items"] += len(batch)
        counts.update(COUNTED[type(said)] for row in batch for said in row.said)
        progress.say(ImportJob.Status.STORING, counts["items"])
    return dict(counts)


def _store_batch(job: ImportJob, rows: list[Row], people: People) -> None:
    items = [read_item(job.study, row.item, judged=bool(row.said)) for row in rows]
    for item, _ in items:
        item.source["import"] = job.pk
    place_items(job.study, items)
    asked = [
        Asked(job, item, candidates).hear(row.said, people)
        for row, (item, candidates) in zip(rows, items, strict=True)
    ]
    Task.objects.bulk_create([task for one in asked for task in one.tasks], batch_size=1000)
    labels = [label for one in asked for label in one.labels]
    for label in labels:
        label.assignment.task_id = label.task_id = label.task.pk
    Assignment.objects.bulk_create([label.assignment for label in labels], batch_size=1000)
    for label in labels:
        label.assignment_id = label.assignment.pk
    Label.objects.bulk_create(labels, batch_size=1000)


class Asked:
    """The tasks of one new item, and the labels that were given before it came here."""

    def __init__(self, job: ImportJob, item: Item, candidates: list[Candidate]):
        self.job, self.item = job, item
        self.keys = [candidate.pk for candidate in candidates]
        self.tasks = tasks_of(job.study, item, candidates)
        self.labels: list[Label] = []

    def hear(self, said: list[Said], people: People) -> Asked:
        """Makes a label of each thing said, and lets each take a place at its task."""
        for one in said:
            self._keep(one, people.named(one.annotator))
        given = Counter(id(label.task) for label in self.labels)
        for task in self.tasks:
            if given:
                task.waiting = False
            if not task.waiting:
                task.done = given[id(task)]
                task.overlap = max(task.overlap, task.done)
                task.open = task.overlap - task.done
        return self

    def _keep(self, said: Said, person) -> None:
        if isinstance(said, Judgement):
            kind, about = pairwise.key, [self.keys[place] for place in sorted(said.pair)]
        elif isinstance(said, Order):
            kind, about = ranking.key, [self.keys[place] for place in sorted(said.candidates)]
        else:
            kind, about = (rating if isinstance(said, Score) else edit).key, [self.keys[said.candidate]]
        task = self._task(kind, person, about)
        turn = Assignment(
            study=self.job.study,
            task=task,
            annotator=person,
            state=Assignment.State.SUBMITTED,
            lease_until=timezone.now(),
            order=about + [key for key in task.candidates if key not in about],
        )
        label = Label(
            study=self.job.study,
            task=task,
            assignment=turn,
            annotator=person,
            kind=task.kind,
            answer=_answer(said, self.keys).to_json(),
            key=uuid4(),
            source={"import": self.job.pk, "file": self.job.filename, **said.source},
        )
        self.labels.append(label)

    def _task(self, kind: str, person, about: list[int]) -> Task:
        """The task of the study that fits, or else one made to hold what was said, which asks nobody."""
        taken = {id(label.task) for label in self.labels if label.annotator == person}
        fitting = (about, self.keys) if kind == edit.key else (about,)  # an edit is asked about the preferred
        for task in self.tasks:
            if task.kind == kind and task.candidates in fitting and id(task) not in taken:
                return task
        made = Task(
            study=self.job.study,
            item=self.item,
            kind=kind,
            candidates=about,
            position=self.item.position,
            overlap=1,
            open=0,
        )
        self.tasks.append(made)
        return made


def _answer(said: Said, keys: list[int]) -> pairwise.Answer | edit.Answer | rating.Answer | ranking.Answer:
    """What was said, about the candidates with these keys."""
    if isinstance(said, Score):
        return rating.Answer(keys[said.candidate], said.scores, said.scale)
    if isinstance(said, Order):
        return ranking.Answer.of(
            {keys[place]: rank for place, rank in zip(said.candidates, said.ranks, strict=True)}
        )
    if isinstance(said, Rewrite):
        return edit.Answer(keys[said.candidate], said.text)
    chosen = rejected = None
    if said.winner is not None:
        first, second = said.pair
        chosen, rejected = keys[said.winner], keys[second if said.winner == first else first]
    if said.strength not in pairwise.STRENGTHS:
        raise Invalid(f"Found the strength {said.strength}; expected 1, 2 or 3.", field="strength")
    return pairwise.Answer(said.choice, chosen, rejected, int(said.strength), said.reason)


class People:
    """The accounts that stand for whoever gave imported labels. Nobody can sign in as one of them."""

    def __init__(self) -> None:
        self.known: dict[str, object] = {}

    def named(self, name: str):
        """The account imported, or imported-NAME where the file says who it was."""
        name = re.sub(f"^{IMPORTED}-?", "", name)
        username = f"{IMPORTED}-{name}"[:150] if name else IMPORTED
        if username not in self.known:
            self.known[username] = self._account(username)
        return self.known[username]

    def _account(self, username: str):
        users = get_user_model().objects
        account = users.filter(username__iexact=username).first()
        if account is None:
            return users.create_user(username=username, password=None, is_active=False, source=IMPORTED)
        if account.source != IMPORTED:
            raise Conflict(
                f"{username!r} is the account of a person, who did not give these labels. Rename it."
            )
        return account
