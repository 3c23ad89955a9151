"""The HTTP API of runs: methods, runs and their points, artifacts, workers, loops."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from ninja import Field, File, Form, Router, Schema
from ninja.files import UploadedFile
from ninja.responses import Status as Reply

from annotation.access import snapshot_for, study_for
from annotation.errors import Conflict, Invalid
from trainers import registry
from webapp.runs import artifacts, frames, lineage, messages, services
from webapp.runs.access import MAY_CONTROL, MAY_WATCH, artifact_for, loop_for, run_for, withdrawn_from
from webapp.runs.loop import new_labels
from webapp.runs.models import SILENT_AFTER, Artifact, Chunk, Loop, Run, Worker

router = Router(tags=["runs"])

PIECE_BYTES = 8 * 2**20
CONSOLE_BYTES = 2**20
MODEL_FILES = (".json", ".safetensors", ".txt", ".model", ".jinja")


class SettingOut(Schema):
    name: str
    type: str
    default: Any
    doc: str
    choices: list[Any]
    low: float | None
    high: float | None


class MethodOut(Schema):
    name: str
    title: str
    family: str
    produces: str
    reads: list[str]
    inputs: list[str]
    optional_inputs: list[str]
    knobs: list[str]
    settings: list[SettingOut]


class RunIn(Schema):
    method: str
    study: int | None = None
    snapshot: int | None = None
    config: dict[str, Any] = {}
    inputs: dict[str, int] = Field({}, description="Role -> artifact, e.g. {'policy': 5}.")
    seed: int = 0
    name: str = ""
    gold: str = ""
    queue: str = Field("cpu", description="cpu, gpu, or a queue of your own workers.")
    threads: int | None = Field(
        None, description="Of the processor; left out, the worker's share for each run."
    )
    processes: int = Field(1, description="That train together on the worker's machine.")
    sharding: str = Field("none", description="Of several processes: ddp or fsdp.")
    sampler: str = Field(
        "policy", description="What draws an online method's answers: policy, vllm or vllm-bfloat16."
    )
    precision: str = Field(
        "float32", description="Of a model's products while it trains: float32 or bfloat16."
    )


class RunOut(Schema):
    id: int
    name: str
    method: str
    study: int | None = Field(alias="study_id")
    snapshot: int | None = Field(alias="snapshot_id")
    config: dict[str, Any]
    seed: int
    gold: str
    queue: str
    trigger: str
    round: int | None
    status: str
    reason: str
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker: str
    attempt: int
    epoch: int
    step: int
    total_steps: int | None
    last_seq: int
    report: dict[str, Any]
    provenance: dict[str, Any]

    @staticmethod
    def resolve_created_by(run: Run) -> str | None:
        return run.created_by.username if run.created_by else None


class RunDetail(RunOut):
    inputs: dict[str, int] = Field(description="Role -> artifact.")
    workers_alive: int
    silent_for: float | None = Field(description="Seconds since the worker that holds it was heard of.")
    queue_position: int | None

    @staticmethod
    def resolve_inputs(run: Run) -> dict[str, int]:
        return {one.role: one.artifact_id for one in run.inputs.all()}


class ArtifactOut(Schema):
    id: int
    run: int | None = Field(alias="run_id")
    study: int | None = Field(alias="study_id")
    kind: str
    name: str
    step: int
    digest: str
    size: int
    meta: dict[str, Any]
    created_at: datetime
    files: list[dict[str, Any]]

    @staticmethod
    def resolve_files(artifact: Artifact) -> list[dict[str, Any]]:
        return artifacts.listing(artifact)


class CommandIn(Schema):
    kind: str = Field(description="stop, kill, pause, resume, checkpoint or set")
    args: dict[str, Any] = Field({}, description='For set: {"name": "lr", "value": 0.0001}.')


class CommandOut(Schema):
    id: int
    kind: str
    args: dict[str, Any]
    by: str | None
    at: datetime
    applied_at: datetime | None
    applied_step: int | None

    @staticmethod
    def resolve_by(command) -> str | None:
        return command.by.username if command.by else None


class WorkerOut(Schema):
    name: str
    host: str
    queues: list[str]
    slots: int
    alive: bool
    started_at: datetime
    heartbeat_at: datetime
    runs: list[int]


class LoopIn(Schema):
    retrain_on: bool | None = None
    retrain_every: int | None = None
    propose_on: bool | None = None
    propose_count: int | None = None
    reward_method: str | None = None
    reward_config: dict[str, Any] | None = None
    policy_method: str | None = None
    policy_config: dict[str, Any] | None = None
    query_method: str | None = None
    query_config: dict[str, Any] | None = None
    gold: str | None = None
    seed: int | None = None


class LoopOut(Schema):
    retrain_on: bool
    retrain_every: int
    propose_on: bool
    propose_count: int
    reward_method: str
    reward_config: dict[str, Any]
    policy_method: str
    policy_config: dict[str, Any]
    query_method: str
    query_config: dict[str, Any]
    gold: str
    seed: int
    round: int
    problem: str
    new_labels: int

    @staticmethod
    def resolve_new_labels(loop: Loop) -> int:
        return new_labels(loop)


@router.get("/methods", response=list[MethodOut])
def methods(request: HttpRequest):
    """The training methods, with every setting each has."""
    return [_method(name) for name in registry.METHODS]


def _method(name: str) -> dict[str, Any]:
    entry = registry.entry(name)
    shown = ("title", "family", "produces", "reads", "inputs", "optional_inputs", "knobs")
    settings_of = [
        {key: getattr(field, key) for key in SettingOut.model_fields} for field in registry.fields(name)
    ]
    return {"name": name, **{key: getattr(entry, key) for key in shown}, "settings": settings_of}


@router.get("/workers", response=list[WorkerOut])
def workers(request: HttpRequest):
    """The worker processes heard of within a day, and which runs of yours each holds."""
    alive = set(Worker.objects.alive().values_list("pk", flat=True))
    held = list(Run.objects.seen_by(request.user).held().values_list("worker", "pk"))
    return [
        {
            **{
                key: getattr(worker, key)
                for key in ("name", "host", "queues", "slots", "started_at", "heartbeat_at")
            },
            "alive": worker.pk in alive,
            "runs": [run for name, run in held if name == worker.name],
        }
        for worker in Worker.objects.all()
    ]


@router.get("/runs", response=list[RunOut])
def runs(
    request: HttpRequest,
    study: int | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int = 50,
):
    """The runs you may watch, the newest first; `before` (an id) goes on from the last page."""
    found = Run.objects.seen_by(request.user).select_related("created_by")
    wanted = {"study": study, "status": status, "pk__lt": before}
    return found.filter(**{key: value for key, value in wanted.items() if value is not None})[
        : max(1, min(limit, 200))
    ]


@router.post("/runs", response={201: RunDetail})
def start(request: HttpRequest, asked: RunIn):
    """Starts a run. It is queued at once, and trained when a worker is free."""
    snapshot = snapshot_for(request.user, asked.snapshot, MAY_CONTROL) if asked.snapshot is not None else None
    if asked.study is not None:
        study = study_for(request.user, asked.study, MAY_CONTROL)
    else:
        study = snapshot.study if snapshot else None
    run = services.start_run(
        study=study, snapshot=snapshot, method=asked.method, config=asked.config, seed=asked.seed, name=asked.name,
        gold=asked.gold, queue=asked.queue, by=request.user,
        threads=asked.threads, processes=asked.processes, sharding=asked.sharding,
        sampler=asked.sampler, precision=asked.precision,
        inputs={role: artifact_for(request.user, pk) for role, pk in asked.inputs.items()},
    )  # fmt: skip
    return Reply(201, _detail(run))


@router.get("/runs/{pk}", response=RunDetail)
def run(request: HttpRequest, pk: int):
    """One run, and how it stands."""
    return _detail(run_for(request.user, pk))


def _detail(run: Run) -> Run:
    with connection.cursor() as cursor:
        cursor.execute(messages.STATE, {"runs": [run.pk], "silent_after": SILENT_AFTER})
        row = dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
    state = messages.state(row)
    run.silent_for = state["worker"]["silent_for"] if state["worker"] else None
    run.workers_alive, run.queue_position = state["workers_alive"], state["queue_position"]
    return run


@router.post("/runs/{pk}/stop", response=RunDetail)
def stop(request: HttpRequest, pk: int, now: bool = False):
    """Lets the run save and stop after its step; `now` kills it, to be resumed from its last checkpoint."""
    return _detail(services.stop_run(run=run_for(request.user, pk, MAY_CONTROL), by=request.user, now=now))


@router.post("/runs/{pk}/resume", response=RunDetail)
def resume(request: HttpRequest, pk: int):
    """Lets a paused, stopped or failed run go on."""
    return _detail(services.resume_run(run=run_for(request.user, pk, MAY_CONTROL), by=request.user))


@router.post("/runs/{pk}/commands", response={201: RunDetail})
def command(request: HttpRequest, pk: int, asked: CommandIn):
    """Asks something of a run under way. GET the same address for what was asked, by whom, and when it took effect."""
    run = run_for(request.user, pk, MAY_CONTROL)
    services.command_run(run=run, kind=asked.kind, args=asked.args, by=request.user)
    return Reply(201, _detail(run_for(request.user, pk)))


@router.get("/runs/{pk}/commands", response=list[CommandOut])
def commands(request: HttpRequest, pk: int):
    """What was asked of the run, the oldest first."""
    return run_for(request.user, pk).commands.select_related("by")


@router.post("/runs/{pk}/propose", response=dict[str, int])
def propose(request: HttpRequest, pk: int):
    """Adds the items that the run wrote to its study; asking twice adds them once."""
    return {"items": len(services.propose(run=run_for(request.user, pk, MAY_CONTROL), by=request.user))}


@router.get("/runs/{pk}/points")
def points(request: HttpRequest, pk: int, after: int = 0, epoch: int | None = None, format: str = "binary"):
    """The log rows after row `after`, as the stream's blocks, or as JSON with `format=json`.

    At most 8 MiB of blocks at once: ask again after the last row until `X-Last-Seq` is reached.
    """
    run = run_for(request.user, pk)
    if epoch is not None and epoch != run.epoch:
        raise Conflict(
            f"Epoch {epoch} of run {pk} is over; it is in epoch {run.epoch} now. Read it from row 0."
        )
    rows = Chunk.objects.filter(run=run, epoch=run.epoch, seq_to__gt=after).order_by("seq_to")
    found: list[bytes] = []
    size = 0
    for seq_from, frame in rows.values_list("seq_from", "frame").iterator(chunk_size=100):
        found.append(frames.after(bytes(frame), seq_from, after))
        size += len(found[-1])
        if size > PIECE_BYTES:
            break
    if format == "json":
        response: HttpResponse = JsonResponse(_rows(run, found))
    else:
        response = HttpResponse(b"".join(found), content_type="application/octet-stream")
    response["X-Epoch"], response["X-Last-Seq"] = run.epoch, run.last_seq
    return response


def _rows(run: Run, found: list[bytes]) -> dict[str, Any]:
    names = dict(run.series.values_list("index", "name"))
    rows = []
    for frame in found:
        block = frames.unpack(frame)
        for at, (step, time, *values) in enumerate(block.values.T.tolist()):
            named = {
                names[index]: messages.number(value) for index, value in zip(block.ids, values, strict=True)
            }
            rows.append({"seq": block.seq_from + at, "step": step, "time": time, "values": named})
    return {"run": run.pk, "epoch": run.epoch, "last_seq": run.last_seq, "rows": rows}


@router.get("/runs/{pk}/series")
def series(request: HttpRequest, pk: int) -> list[dict[str, Any]]:
    """What the run logs, what each name means, and a summary of each."""
    run = run_for(request.user, pk)
    return [
        {
            **messages.series(one.index, one.name, run.method),
            **{
                key: messages.number(getattr(one, key))
                for key in ("last_step", "last", "minimum", "maximum", "count")
            },
        }
        for one in run.series.all()
    ]


@router.get("/runs/{pk}/events")
def events(request: HttpRequest, pk: int) -> list[dict[str, Any]]:
    """What happened to the run, the oldest first."""
    run = run_for(request.user, pk)
    shown = ("id", "key", "step", "seq", "kind", "text", "by", "at", "data")
    found = run.events.select_related("by")
    return [
        messages.event(
            {key: getattr(one, key) for key in shown} | {"by": one.by.username if one.by else None}
        )
        for one in found
    ]


@router.get("/runs/{pk}/samples")
def samples(
    request: HttpRequest, pk: int, step: int | None = None, before: int | None = None, limit: int = 50
):
    """Sampled answers, the newest step first: of one `step`, or of the steps `before` one."""
    found = run_for(request.user, pk).samples.order_by("-step", "index")
    if step is not None:
        found = found.filter(step=step)
    if before is not None:
        found = found.filter(step__lt=before)
    rows = found.values("step", "index", "prompt", "text", "scores", "length")[: max(1, min(limit, 500))]
    return JsonResponse({"samples": list(rows)})


@router.get("/runs/{pk}/histograms")
def histograms(request: HttpRequest, pk: int, name: str | None = None):
    """How quantities were spread, step by step."""
    found = run_for(request.user, pk).histograms.all()
    rows = (found.filter(name=name) if name else found).values("name", "step", "edges", "counts")
    return JsonResponse({"histograms": list(rows)})


@router.get("/runs/{pk}/console")
def console(request: HttpRequest, pk: int, tail: int = 65536):
    """The end of what the process printed."""
    path = run_for(request.user, pk).home / "console.log"
    tail = max(0, min(tail, CONSOLE_BYTES))
    if not path.exists():
        return HttpResponse("", content_type="text/plain; charset=utf-8")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tail))
        text = file.read().decode("utf-8", "replace")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@router.get("/runs/{pk}/artifacts", response=list[ArtifactOut])
def artifacts_of_run(request: HttpRequest, pk: int):
    """What the run made."""
    return run_for(request.user, pk).artifacts.all()


@router.get("/runs/{pk}/artifacts/{artifact}/download/{path:file}")
def download_of_run(request: HttpRequest, pk: int, artifact: int, file: str):
    """One file of what the run made."""
    run_for(request.user, pk)
    return download(request, artifact, file)


@router.get("/artifacts/{pk}", response=ArtifactOut)
def artifact(request: HttpRequest, pk: int):
    """One model or other artifact, with its files."""
    return artifact_for(request.user, pk)


@router.get("/artifacts/{pk}/download/{path:file}")
def download(request: HttpRequest, pk: int, file: str):
    """One file of an artifact."""
    path = artifacts.file_of(artifact_for(request.user, pk), file)
    return FileResponse(
        path.open("rb"), as_attachment=True, filename=path.name, content_type="application/octet-stream"
    )


@router.get("/studies/{pk}/artifacts", response=list[ArtifactOut])
def artifacts_of_study(request: HttpRequest, pk: int, kind: str | None = None):
    """The models and other artifacts of a study, the oldest first."""
    found = Artifact.objects.filter(study=study_for(request.user, pk, MAY_WATCH))
    return found.filter(kind=kind) if kind else found


@router.post("/studies/{pk}/artifacts", response={201: ArtifactOut})
def bring_model(
    request: HttpRequest, pk: int, kind: Form[str], name: Form[str], files: File[list[UploadedFile]]
):
    """Brings a model: its files (kibitz.json or a Hugging Face config.json, weights as safetensors)."""
    study = study_for(request.user, pk, MAY_CONTROL)
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.UPLOADS) as folder:
        for file in files:
            plain = Path(file.name).name
            if not plain.endswith(MODEL_FILES) or plain.startswith("."):
                raise Invalid(
                    f"{plain} is not a file of a model. Weights come as .safetensors; beside them "
                    f"{', '.join(MODEL_FILES)} are taken.",
                    field="files",
                )
            with (Path(folder) / plain).open("wb") as kept:
                for part in file.chunks():
                    kept.write(part)
        made = services.register_model(study=study, path=folder, kind=kind, name=name)
    return Reply(201, made)


@router.get("/studies/{pk}/loop", response=LoopOut)
def loop(request: HttpRequest, pk: int):
    """What the study does by itself, and how far it is."""
    return loop_for(request.user, pk)


@router.put("/studies/{pk}/loop", response=LoopOut)
def change_loop(request: HttpRequest, pk: int, asked: LoopIn):
    """Switches retraining and proposing, and sets how; what is left out stays as it is."""
    study = study_for(request.user, pk, MAY_CONTROL)
    return services.set_loop(study=study, by=request.user, **asked.dict(exclude_none=True))


# --- what a withdrawal touches


class AffectedRunOut(Schema):
    run: int
    method: str
    status: str
    snapshot: int | None
    learned: list[int] = Field(
        description="Of the snapshots above, those it began with or was sent while it learned."
    )
    through: list[int] = Field(description="Runs whose models it started from.")
    models: list[int] = Field(description="The artifacts it left.")


class AffectedOut(Schema):
    snapshots: list[int]
    runs: list[AffectedRunOut]


@router.get("/studies/{pk}/affected", response=AffectedOut)
def affected(request: HttpRequest, pk: int, item: int | None = None, person: int | None = None):
    """The snapshots that hold an item, or a person's labels, and every run that learned from them at any remove."""
    held = withdrawn_from(study_for(request.user, pk, MAY_WATCH), {"item": item, "person": person})
    rows = lineage.trained_on(held)
    return {
        "snapshots": [one.pk for one in held],
        "runs": [
            {
                "run": row["run"].pk,
                "method": row["run"].method,
                "status": row["run"].status,
                "snapshot": row["run"].snapshot_id,
                "learned": [one.pk for one in row["snapshots"]],
                "through": row["through"],
                "models": [one.pk for one in row["models"]],
            }
            for row in rows
        ],
    }
