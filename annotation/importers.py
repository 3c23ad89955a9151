"""The rows of a file: checked, and stored with what was said about them. `import_jobs.py` does it for a whole file.

A file is read twice. The first reading checks every row and collects what is wrong, with line, field and cure;
the second stores the rows. Neither keeps more than a batch in memory. Judgements and rewrites that a file records
become labels of the annotator "imported": kept, frozen and never edited, like all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation import import_robots
from annotation.bulk import insert
from annotation.errors import Conflict, Invalid
from annotation.formats import FORMATS
from annotation.import_gold import check_gold, known
from annotation.interfaces import (
    clips,
    critique,
    driving,
    edit,
    hindsight,
    pairwise,
    ranking,
    rating,
    steps,
)
from annotation.models import Assignment, Candidate, ImportJob, Item, Label, Study, Task
from annotation.said import (
    Corrected,
    Criticism,
    Driven,
    Judgement,
    Order,
    Rewrite,
    Row,
    Said,
    Score,
    Walk,
    Watched,
)
from annotation.services import place_items, read_item, tasks_of
from trainers.records import RecordError

BATCH = 500
MOST_ERRORS = 20
"""A file with more errors than this has one cause: reading on would only repeat it."""
IMPORTED = "imported"
COUNTED = {
    Judgement: "comparisons",
    Rewrite: "rewrites",
    Score: "ratings",
    Order: "rankings",
    Criticism: "critiques",
    Walk: "step judgements",
    Watched: "comparisons of clips",
    Corrected: "episodes corrected",
    Driven: "driven demonstrations",
}
KIND_OF = {
    Rewrite: edit.key,
    Score: rating.key,
    Criticism: critique.key,
    Walk: steps.key,
    Corrected: hindsight.key,
    Driven: driving.key,
}
"""The interface that asks what was said about one answer."""


class Refused(Exception):
    """The file, or something in it, is wrong; the errors say what, where, and how to mend it."""

    def __init__(self, errors: list[RecordError]):
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def rows_of(format: str, path: Path) -> Iterator[Row | RecordError]:
    _, reader = FORMATS[format]
    with path.open("rb") as file:
        yield from reader(file)


def _batches(format: str, path: Path) -> Iterator[list[Row | RecordError]]:
    rows = rows_of(format, path)
    while batch := list(islice(rows, BATCH)):
        yield batch


# --- the first reading


def check(job: ImportJob, path: Path) -> Iterator[int]:
    """How many rows are checked, a batch at a time. Refused with what is wrong (the first of it, if it is much)."""
    errors: list[RecordError] = import_robots.check_episodes(job, path)
    brought = import_robots.coming(job, path)
    ids: dict[int, int] = {}  # the hash of an external id -> its line
    total = 0
    for batch in _batches(job.format, path):
        for row in batch:
            try:
                if isinstance(row, RecordError):
                    raise row
                total += 1
                _check_row(job.study, row)
                import_robots.check_clips(job.study, row.item["candidates"] or [], brought, row.line)
                _check_id(row, ids)
            except RecordError as problem:
                errors.append(problem)
        errors += known_ids(job.study, [row for row in batch if isinstance(row, Row)])
        if len(errors) >= MOST_ERRORS:
            break
        yield total
    if not total and not errors and not brought:
        errors.append(RecordError(1, "", "the file holds no rows.", "Check that it is the right file."))
    if errors:
        raise Refused(sorted(errors, key=lambda one: one.line)[:MOST_ERRORS])


def _check_row(study: Study, row: Row) -> None:
    try:
        read_item(study, row.item, judged=bool(row.said))
        if row.item.get("gold") is not None:
            check_gold(study, row.item["gold"], len(row.item["candidates"]))
        for said in row.said:
            _answer(said, list(range(len(row.item["candidates"]))))
            if isinstance(said, Score):
                _check_scale(study, said)
    except Invalid as problem:
        line, field = _place(row, problem.field or "")
        raise RecordError(line, field, str(problem), "Mend this row.") from None


def _place(row: Row, field: str) -> tuple[int, str]:
    """The line and the field of what is wrong: of several records that are one answer, the one that is meant."""
    found = re.fullmatch(r"corrections\[(\d+)\]\.(.+)", field)
    lines = [one.lines for one in row.said if isinstance(one, Corrected)]
    if found and len(lines) == 1 and int(found[1]) < len(lines[0]):
        return lines[0][int(found[1])], found[2]
    return row.line, field


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


def known_ids(study: Study, rows: list[Row]) -> list[RecordError]:
    lines = {row.item["external_id"]: row.line for row in rows if isinstance(row.item["external_id"], str)}
    lines.pop("", None)
    known = study.items.filter(external_id__in=lines).values_list("external_id", flat=True)
    return [
        RecordError(
            lines[name], "id", f"{name!r} is in this study already.", "Leave out what was imported before."
        )
        for name in known
    ]


# --- the second reading


def store_batch(job: ImportJob, rows: list[Row], people: People) -> None:
    """Stores rows as items on their way: nobody is asked about them until the import is finished."""
    if taken := known_ids(job.study, rows):  # by somebody who added the same meanwhile
        raise Refused(taken)
    items = [read_item(job.study, row.item, judged=bool(row.said)) for row in rows]
    for item, _ in items:
        item.source["import"] = job.pk
        item.upload_id = job.pk
        item.licence = item.licence or job.licence
    place_items(job.study, items)
    asked = [
        Asked(job, item, candidates).hear(row.said, people)
        for row, (item, candidates) in zip(rows, items, strict=True)
    ]
    golds = [
        known(row.item["gold"], one.tasks, one.keys, by=job.created_by)
        for row, one in zip(rows, asked, strict=True)
        if row.item.get("gold") is not None
    ]
    tasks = [task for one in asked for task in one.tasks]
    for task in tasks:
        task.open = 0
    insert(tasks)
    for one in golds:
        one.task_id = one.task.pk
    insert(golds)
    labels = [label for one in asked for label in one.labels]
    for label in labels:
        label.assignment.task_id = label.task_id = label.task.pk
    insert([label.assignment for label in labels])
    for label in labels:
        label.assignment_id = label.assignment.pk
    insert(labels)


def counted(rows: list[Row]) -> Counter[str]:
    """How many items, and what was said about them."""
    said = Counter(COUNTED[type(one)] for row in rows for one in row.said)
    return Counter({"items": len(rows)}) + said


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
        if isinstance(said, Judgement | Watched):
            kind = pairwise.key if isinstance(said, Judgement) else clips.key
            about = [self.keys[place] for place in sorted(said.pair)]
        elif isinstance(said, Order):
            kind, about = ranking.key, [self.keys[place] for place in sorted(said.candidates)]
        else:
            kind, about = KIND_OF[type(said)], [self.keys[said.candidate]]
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


Answer = (
    pairwise.Answer
    | edit.Answer
    | rating.Answer
    | ranking.Answer
    | critique.Answer
    | steps.Answer
    | clips.Answer
    | hindsight.Answer
    | driving.Answer
)


def _answer(said: Said, keys: list[int]) -> Answer:
    """What was said, about the candidates with these keys."""
    if isinstance(said, Criticism):
        words = {"missing": list(said.missing), "note": said.note, "rewrite": said.rewrite}
        fine = not (said.spans or any(words.values()))
        return critique.Answer.of(keys[said.candidate], list(said.spans), **words, fine=fine)
    if isinstance(said, Walk):
        trace = steps.Trace(tuple(steps.Step(text) for text in said.steps), said.cuts)
        cuts = [list(cut) for cut in said.cuts]
        return steps.Answer(keys[said.candidate], list(said.labels), trace.digest, cuts)
    if isinstance(said, Score):
        return rating.Answer(keys[said.candidate], said.scores, said.scale)
    if isinstance(said, Order):
        return ranking.Answer.of(
            {keys[place]: rank for place, rank in zip(said.candidates, said.ranks, strict=True)}
        )
    if isinstance(said, Rewrite):
        return edit.Answer(keys[said.candidate], said.text)
    if isinstance(said, Corrected):
        return hindsight.Answer(
            keys[said.candidate], [dict(one) for one in said.corrections], said.success, said.stages
        )
    if isinstance(said, Driven):
        return driving.Answer(keys[said.candidate], said.start, said.stop, said.success, said.note)
    chosen = rejected = None
    if said.winner is not None:
        first, second = said.pair
        chosen, rejected = keys[said.winner], keys[second if said.winner == first else first]
    if said.strength not in pairwise.STRENGTHS:
        raise Invalid(f"Found the strength {said.strength}; expected 1, 2 or 3.", field="strength")
    if isinstance(said, Watched):
        marks = [
            {"candidate": keys[place], "start": start, "stop": stop} for place, start, stop in said.marks
        ]
        return clips.Answer(said.choice, chosen, rejected, int(said.strength), said.reason, marks)
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
            try:
                with transaction.atomic():
                    return users.create_user(
                        username=username, password=None, is_active=False, source=IMPORTED
                    )
            except IntegrityError:  # another import named them just now
                account = users.get(username__iexact=username)
        if account.source != IMPORTED:
            raise Conflict(
                f"{username!r} is the account of a person, who did not give these labels. Rename it."
            )
        return account
