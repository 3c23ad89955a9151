"""The HTTP API of the annotation half: studies, items, imports, labelling, snapshots."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Field, File, Form, Router, Schema
from ninja.files import UploadedFile
from ninja.responses import Status as Reply

from annotation import exporters, importers, services, snapshots
from annotation.access import import_for, label_for, membership_for, snapshot_for, study_for, task_for
from annotation.errors import Invalid
from annotation.interfaces.registry import interface
from annotation.models import ImportJob, Label, Membership, Role, Snapshot, Study
from annotation.queue import Claim
from trainers.registry import learns_from

router = Router(tags=["annotation"])

MOST_ROWS = 200


class StudyIn(Schema):
    name: str
    guidelines: str = ""
    interfaces: list[dict[str, Any] | str] = Field(["pairwise"], description='Kinds, or {"kind", "options"}.')
    overlap: int = Field(1, description="How many people answer each task.")
    names_hidden: bool = True
    licence: str = ""
    consent: str = ""


class StudyChanges(Schema):
    name: str | None = None
    guidelines: str | None = None
    names_hidden: bool | None = None
    licence: str | None = None
    consent: str | None = None
    archived: bool | None = None


class StudyOut(Schema):
    id: int
    name: str
    guidelines: str
    interfaces: list[dict[str, Any]]
    overlap: int
    names_hidden: bool
    licence: str
    consent: str
    created_at: datetime
    archived_at: datetime | None
    role: str = Field(description="Yours.")

    @staticmethod
    def of(membership: Membership) -> Study:
        membership.study.role = membership.role
        return membership.study


class MemberIn(Schema):
    username: str
    role: str


class MemberOut(Schema):
    username: str = Field(alias="user.username")
    role: str
    simulated: bool = Field(alias="user.simulated")
    created_at: datetime


class ItemsIn(Schema):
    items: list[dict[str, Any]] = Field(
        description='[{"context": {"prompt"} or {"messages"}, "candidates": [{"text", "policy", "source"}], '
        '"external_id", "source"}]'
    )


class CandidateOut(Schema):
    id: int
    index: int
    text: str
    policy: str
    source: dict[str, Any]


class ItemOut(Schema):
    id: int
    position: int
    context: dict[str, Any]
    external_id: str
    source: dict[str, Any]
    candidates: list[CandidateOut]


class ImportOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    format: str
    filename: str
    status: str
    total: int | None
    done: int
    counts: dict[str, int]
    errors: list[dict[str, Any]]
    created_at: datetime
    finished_at: datetime | None


class NextIn(Schema):
    kind: str | None = Field(None, description="Only tasks of this interface.")
    count: int = 1
    besides: list[int] = Field([], description="Tasks that you have in hand and do not want again.")


class TaskOut(Schema):
    id: int
    kind: str
    study: int
    item: int
    context: dict[str, Any]
    candidates: list[dict[str, Any]] = Field(description="In the order in which you are shown them.")
    options: dict[str, Any]
    lease_until: datetime
    answer: dict[str, Any] | None = Field(description="What you had said, where you took it back.")

    @staticmethod
    def of(turn: Claim) -> dict[str, Any]:
        study = turn.task.study
        shown = [{"id": one.pk, "text": one.text} for one in turn.candidates]
        if not study.names_hidden:
            shown = [{**row, "policy": one.policy} for row, one in zip(shown, turn.candidates, strict=True)]
        return {
            "id": turn.task.pk,
            "kind": turn.task.kind,
            "study": study.pk,
            "item": turn.item.pk,
            "context": turn.item.context,
            "candidates": shown,
            "options": study.options(turn.task.kind),
            "lease_until": turn.lease_until,
            "answer": interface(turn.task.kind).show(turn)["answer"] if turn.answer else None,
        }


class NextOut(Schema):
    tasks: list[TaskOut]
    why_empty: str | None


class SubmitIn(Schema):
    answer: dict[str, Any] = Field(
        description='pairwise: {"choice": "a", "b", "tie" or "both_bad", "strength": 1 to 3, "reason"}; '
        'edit: {"text"}; rating: {"scores": {"quality": 4}}; '
        'ranking: {"ranks": {"17": 1, "18": null}} by candidate'
    )
    key: str = Field(description="A UUID that you make for this answer: sent again, it is the same label.")
    seconds: float = 0.0


class LabelOut(Schema):
    id: int
    task: int = Field(alias="task_id")
    kind: str
    annotator: str = Field(alias="annotator.username")
    answer: dict[str, Any]
    withdrawn: bool
    supersedes: int | None = Field(alias="supersedes_id")
    seconds: float
    created_at: datetime


class SubmittedOut(Schema):
    label: int
    task: int
    answer: dict[str, Any]
    created_at: datetime


class SkipIn(Schema):
    reason: str = ""


class HeartbeatIn(Schema):
    tasks: list[int]


class HeartbeatOut(Schema):
    kept: dict[int, datetime]
    lost: list[int]


class UndoneOut(Schema):
    task: TaskOut | None = Field(description="Yours again; null where there was nothing to undo.")


class FreezeIn(Schema):
    name: str = ""


class SnapshotOut(Schema):
    id: int
    study: int = Field(alias="study_id")
    name: str
    digest: str
    records: int
    counts: dict[str, int]
    methods: list[str] = Field(description="The training methods that can learn from it.")
    card: str
    created_at: datetime
    parent: int | None = Field(alias="parent_id")

    @staticmethod
    def resolve_methods(snapshot: Snapshot) -> list[str]:
        return learns_from(snapshot.counts)


# --- studies


@router.get("/studies", response=list[StudyOut])
def studies(request: HttpRequest):
    """The studies you are a member of, the newest first."""
    mine = Membership.objects.filter(user=request.user).select_related("study").order_by("-study_id")
    return [StudyOut.of(membership) for membership in mine]


@router.post("/studies", response={201: StudyOut})
def create(request: HttpRequest, asked: StudyIn):
    """Creates a study; you own it."""
    made = services.create_study(owner=request.user, **asked.dict())
    return Reply(201, StudyOut.of(membership_for(request.user, made.pk)))


@router.get("/studies/{pk}", response=StudyOut)
def study(request: HttpRequest, pk: int):
    return StudyOut.of(membership_for(request.user, pk))


@router.patch("/studies/{pk}", response=StudyOut)
def change(request: HttpRequest, pk: int, asked: StudyChanges):
    """Changes a study's words, or archives it; how it asks stays, since its tasks were made by that."""
    changes = asked.dict(exclude_unset=True, exclude_none=True)
    archived = changes.pop("archived", None)
    membership = membership_for(request.user, pk, Role.RESEARCHER if archived is None else Role.OWNER)
    services.change_study(study=membership.study, **changes)
    if archived is not None:
        services.archive_study(study=membership.study, archived=archived)
    return StudyOut.of(membership)


@router.get("/studies/{pk}/progress", response=dict[str, int])
def progress(request: HttpRequest, pk: int):
    """Your labels today and in all, and the tasks open in the study, counted up to 1,000."""
    return services.progress(study_for(request.user, pk), request.user)


@router.get("/studies/{pk}/members", response=list[MemberOut])
def members(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.RESEARCHER).memberships.select_related("user")


@router.post("/studies/{pk}/members", response={201: MemberOut})
def add_member(request: HttpRequest, pk: int, asked: MemberIn):
    """Makes somebody who has an account a member."""
    joined = study_for(request.user, pk, Role.OWNER)
    return Reply(201, services.add_member(study=joined, username=asked.username, role=asked.role))


# --- items and imports


@router.get("/studies/{pk}/items", response=list[ItemOut])
def items(request: HttpRequest, pk: int, after: int = -1, limit: int = 50):
    """The items in their order; `after` (a position) goes on from the last page."""
    rows = study_for(request.user, pk, Role.REVIEWER).items.filter(position__gt=after)
    return rows.prefetch_related("candidates")[: max(1, min(limit, MOST_ROWS))]


@router.post("/studies/{pk}/items", response={201: dict[str, list[int]]})
def add_items(request: HttpRequest, pk: int, asked: ItemsIn):
    """Adds items; those whose external id is there already are left as they are."""
    added = services.add_items(study=study_for(request.user, pk, Role.RESEARCHER), items=asked.items)
    return Reply(201, {"added": [item.pk for item in added]})


@router.post("/studies/{pk}/imports", response={202: ImportOut})
def upload(
    request: HttpRequest,
    pk: int,
    file: File[UploadedFile],
    format: Form[str],
    licence: Form[str] = "",
):
    """Takes a file and has a worker import it: all of it, or nothing. Ask `/imports/{pk}` how far it is."""
    job = importers.receive(
        study=study_for(request.user, pk, Role.RESEARCHER),
        by=request.user,
        chunks=file.chunks(),
        filename=file.name or "upload",
        format=format,
        licence=licence,
    )
    return Reply(202, ImportJob.objects.get(pk=job.pk))


@router.get("/studies/{pk}/imports", response=list[ImportOut])
def imports(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.RESEARCHER).imports.all()[:MOST_ROWS]


@router.get("/imports/{pk}", response=ImportOut)
def import_job(request: HttpRequest, pk: int):
    """How far an import is; its errors name line, field and cure."""
    return import_for(request.user, pk)


# --- labelling


@router.post("/studies/{pk}/next", response=NextOut)
def next_tasks(request: HttpRequest, pk: int, asked: NextIn):
    """Leases tasks to you; those you hold already come first. Renew the leases with `heartbeat`."""
    turns = services.claim_tasks(
        study=pk, annotator=request.user, kind=asked.kind, count=asked.count, besides=asked.besides
    )
    why = None
    if not turns:
        why = services.why_empty(study=study_for(request.user, pk), annotator=request.user, kind=asked.kind)
    return {"tasks": [TaskOut.of(turn) for turn in turns], "why_empty": why}


@router.post("/tasks/{pk}/submit", response=SubmittedOut)
def submit(request: HttpRequest, pk: int, given: SubmitIn):
    """Stores your answer. A late one counts unless its place went to somebody else, whom the 409 names."""
    label = services.submit_label(
        task=pk, annotator=request.user, answer=given.answer, key=given.key, seconds=given.seconds
    )
    return {"label": label.pk, "task": pk, "answer": label.answer, "created_at": label.created_at}


@router.post("/tasks/{pk}/skip", response=dict[str, int])
def skip(request: HttpRequest, pk: int, asked: SkipIn):
    """Passes a task of yours on to somebody else."""
    services.skip_task(task=task_for(request.user, pk), annotator=request.user, reason=asked.reason)
    return {"skipped": pk}


@router.post("/studies/{pk}/undo", response=UndoneOut)
def undo(request: HttpRequest, pk: int):
    """Takes back the last thing you did in a study, and leases its task to you again."""
    turn = services.undo_last(study=study_for(request.user, pk), annotator=request.user)
    return {"task": TaskOut.of(turn) if turn else None}


@router.post("/studies/{pk}/heartbeat", response=HeartbeatOut)
def heartbeat(request: HttpRequest, pk: int, asked: HeartbeatIn):
    """Renews the leases you still hold, and names those you lost."""
    study_for(request.user, pk)
    kept = services.extend_leases(annotator=request.user, tasks=asked.tasks)
    return {"kept": kept, "lost": [task for task in asked.tasks if task not in kept]}


@router.get("/studies/{pk}/labels", response=list[LabelOut])
def labels(request: HttpRequest, pk: int, after: int = 0, limit: int = 50, history: bool = False):
    """The labels that stand, by id (with `history`, every row); annotators see their own, reviewers everybody's."""
    membership = membership_for(request.user, pk)
    rows = Label.objects.filter(study=pk, pk__gt=after).select_related("annotator").order_by("pk")
    if not history:
        rows = rows.current()
    if not membership.may(Role.REVIEWER):
        rows = rows.filter(annotator=request.user)
    return rows[: max(1, min(limit, MOST_ROWS))]


@router.post("/labels/{pk}/withdraw", response=LabelOut)
def withdraw(request: HttpRequest, pk: int):
    """Takes a label back: annotators their own, reviewers anybody's. Its row stays; the withdrawal is returned."""
    return services.withdraw_label(label=label_for(request.user, pk), by=request.user)


# --- snapshots


@router.get("/studies/{pk}/snapshots", response=list[SnapshotOut])
def snapshots_of(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.REVIEWER).snapshots.all()[:MOST_ROWS]


@router.post("/studies/{pk}/snapshots", response={201: SnapshotOut})
def freeze(request: HttpRequest, pk: int, asked: FreezeIn):
    """Freezes the labels that stand. The same labels are the same snapshot."""
    frozen = study_for(request.user, pk, Role.RESEARCHER)
    return Reply(201, snapshots.freeze(study=frozen, by=request.user, name=asked.name))


@router.get("/snapshots/{pk}", response=SnapshotOut)
def snapshot(request: HttpRequest, pk: int):
    return snapshot_for(request.user, pk)


@router.get("/snapshots/{pk}/download")
def download(request: HttpRequest, pk: int, format: str = "kibitz"):
    """The records as JSON lines, in Kibitz's format or TRL's (without ties, for which TRL has no word)."""
    frozen = snapshot_for(request.user, pk)
    if format not in exporters.FORMATS:
        raise Invalid(
            f"No format called {format!r}. Known formats: {', '.join(exporters.FORMATS)}.", field="format"
        )
    response = StreamingHttpResponse(exporters.stream(frozen, format), content_type="application/jsonl")
    response["Content-Disposition"] = f'attachment; filename="{exporters.filename(frozen, format)}"'
    return response
