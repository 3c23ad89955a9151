"""What may be done about runs: start, stop, resume, command; bring a model; send proposals; sweep up after workers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import kombu.exceptions
import psutil
import redis.exceptions
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Model, Q
from django.db.models.functions import Now

from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.recordings import record
from annotation.services import add_items
from annotation.webhooks import tell
from trainers import registry
from trainers.envs.registry import RULES, place_problem
from trainers.episodes import CLIP, Clip
from webapp.celery import app
from webapp.runs import artifacts
from webapp.runs.alone import alone
from webapp.runs.models import (
    DEFAULT_QUEUE,
    Artifact,
    Command,
    Loop,
    Run,
    RunInput,
    Status,
    Worker,
)
from webapp.runs.progress import note, nudge

log = logging.getLogger(__name__)

# What each role of a run's inputs is made of.
KIND_OF_ROLE = {
    "policy": Artifact.Kind.POLICY,
    "reference": Artifact.Kind.POLICY,
    "rival": Artifact.Kind.POLICY,
    "value": Artifact.Kind.POLICY,
    "reward_model": Artifact.Kind.REWARD_MODEL,
}
# A run still queued this long while a worker has a free place was not heard of: its message is lost.
LOST_AFTER = timedelta(seconds=5)
# The advisory lock under which one worker at a time sweeps; any number, so long as it is this one.
SWEEPING = 0x6B696269
MODELS = (Artifact.Kind.POLICY, Artifact.Kind.REWARD_MODEL, Artifact.Kind.ROBOT_POLICY)


def start_run(
    *,
    study,
    snapshot,
    method: str,
    config: Mapping[str, Any],
    by,
    inputs: Mapping[str, Artifact] | None = None,
    seed: int = 0,
    name: str = "",
    gold: str = "",
    queue: str = DEFAULT_QUEUE,
    threads: int | None = None,
    processes: int = 1,
    sharding: str = "none",
    sampler: str = "policy",
    precision: str = "float32",
    trigger: str = "person",
    round: int | None = None,
) -> Run:
    """Asks for a run: a row first, a message to the workers once it is committed.

    `threads` None: as many as the worker has for each of its runs. Of several `processes`, `sharding` says whether each
    holds the whole model ("ddp") or a part of it ("fsdp"). `sampler` draws the answers that an online method learns
    from: the policy itself, or one of registry.SAMPLERS. With the `precision` bfloat16 models read in it while they
    train; methods that sample while they train refuse it.
    """
    inputs = dict(inputs or {})
    try:
        entry = registry.entry(method)
        full = registry.read_config(method, config)
        registry.check_precision(method, precision)
        registry.check_scale(method, seed, threads, processes, sharding)
    except registry.ConfigError as problem:
        raise Invalid(str(problem), field=problem.field) from problem
    _check_snapshot(snapshot, method, entry)
    _check_inputs(inputs, method, entry)
    kinds = {role: artifacts.made_as(one.location) for role, one in inputs.items()}
    if problem := place_problem(method, full) or registry.inputs_problem(method, full, kinds, gold):
        raise Invalid(problem[1], field=problem[0])
    if gold and gold not in RULES:
        raise Invalid(f"There is no gold rule {gold!r}. Known rules: {', '.join(RULES)}.", field="gold")
    provenance = {
        "snapshot": snapshot.digest if snapshot else None,
        "inputs": {role: {"artifact": one.pk, "digest": one.digest} for role, one in inputs.items()},
        **_scale(threads, processes, sharding),
        **_drawn_by(method, sampler, processes, inputs),
        **({"precision": precision} if precision != "float32" else {}),
    }
    run = Run(
        study=study, snapshot=snapshot, method=method, config=full, seed=seed, name=name, gold=gold,
        queue=queue, trigger=trigger, round=round, created_by=by, provenance=provenance,
    )  # fmt: skip
    _check_fits(run, "seed", "name", "queue")
    with transaction.atomic():
        run.save(force_insert=True)
        RunInput.objects.bulk_create(
            RunInput(run=run, role=role, artifact=one) for role, one in inputs.items()
        )
        transaction.on_commit(lambda: send(run))
    run.refresh_from_db()
    return run


def _scale(threads: int | None, processes: int, sharding: str) -> dict[str, Any]:
    """How much of a machine a run takes, as the worker reads it; what is left alone is the worker's to say."""
    found: dict[str, Any] = {} if threads is None else {"threads": threads}
    return found | ({"processes": processes, "sharding": sharding} if processes > 1 else {})


def _drawn_by(method: str, sampler: str, processes: int, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Who draws the answers to learn from, as the worker reads it; the policy itself need not be named."""
    if sampler == "policy":
        return {}
    problem = registry.sampler_problem(method, sampler, processes)
    problem = problem or registry.drawn_problem(sampler, artifacts.made_as(inputs["policy"].location))
    if problem:
        raise Invalid(problem, field="sampler")
    return {"sampler": sampler}


def _check_fits(row: Model, *names: str) -> None:
    """Whether the database can hold what these fields were given."""
    try:
        row.clean_fields(exclude={field.name for field in row._meta.fields} - set(names))
    except ValidationError as problem:
        field, words = next(iter(problem.message_dict.items()))
        raise Invalid(f"{field}: {words[0]}", field=field) from None


def _check_snapshot(snapshot, method: str, entry: registry.Entry) -> None:
    if not entry.reads or (entry.live and snapshot is None):
        return
    if snapshot is None:
        raise Invalid(f"{method} learns from a snapshot. Freeze one on the study's page.", field="snapshot")
    if not any(snapshot.counts.get(kind) for kind in entry.reads):
        held = ", ".join(f"{count} {kind}" for kind, count in snapshot.counts.items()) or "nothing"
        raise Invalid(
            f"{method} learns from {' or '.join(entry.reads)}, but this snapshot holds {held}. "
            "Choose a snapshot or a method that match.",
            field="snapshot",
        )


def _check_inputs(inputs: Mapping[str, Artifact], method: str, entry: registry.Entry) -> None:
    known = (*entry.inputs, *entry.optional_inputs)
    for role, artifact in inputs.items():
        if role not in known:
            raise Invalid(
                f"{method} takes no {role!r}. It takes {', '.join(known) or 'no models'}.", field=role
            )
        if artifact.kind != KIND_OF_ROLE.get(role, role):
            raise Invalid(
                f"{artifact} is a {artifact.kind}; as {role!r} {method} needs a {KIND_OF_ROLE.get(role, role)}.",
                field=role,
            )
    for role in entry.inputs:
        if role not in inputs:
            raise Invalid(f"{method} needs a {role}. Choose one among the study's models.", field=role)


def send(run: Run) -> bool:
    """Wakes a worker for a queued run. May be lost, or come twice: the worker's claim of the row decides."""
    try:
        app.send_task("trainers.train", [run.pk], queue=run.queue, retry=False)
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as problem:
        log.warning(
            "The broker did not take run %s (%s). It stays queued; the sweep sends it again.", run.pk, problem
        )
        return False
    Run.objects.filter(pk=run.pk, status=Status.QUEUED).update(sent_at=Now())
    return True


def stop_run(*, run: Run, by, now: bool = False) -> Run:
    """Asks a run to save and stop after its step; `now` kills it, to be resumed from its last checkpoint."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=["self"]).get(pk=run.pk)
        if run.status == Status.QUEUED:
            run.status, run.reason, run.finished_at = Status.STOPPED, "Stopped before it began.", Now()
            run.save(update_fields=["status", "reason", "finished_at"])
            note(
                run, key=f"stopped-{run.attempt}", kind="stop", text=f"Stopped by {by} before it began", by=by
            )
            tell_ended(run, run.status, run.reason)
        elif run.status in (Status.RUNNING, Status.PAUSED) or (now and run.status == Status.STOPPING):
            Command.objects.create(run=run, kind=Command.Kind.KILL if now else Command.Kind.STOP, by=by)
            run.status = Status.STOPPING
            run.save(update_fields=["status"])
        elif run.status != Status.STOPPING:
            raise Conflict(f"Run {run.pk} is {run.status} already; there is nothing to stop.")
        nudge(f"run:{run.pk}")
    run.refresh_from_db()
    return run


def tell_ended(run: Run, status: str, reason: str) -> None:
    """Tells the study's webhooks that a run ended; in the transaction that ends it."""
    if run.study_id:
        told = {"run": run.pk, "name": run.name, "method": run.method, "status": str(status)}
        tell(run.study_id, "run.finished", told | {"reason": reason[:2000]})


def resume_run(*, run: Run, by) -> Run:
    """Lets a paused run go on, or puts a stopped or failed one on the queue from its last checkpoint."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=["self"]).get(pk=run.pk)
        if run.status == Status.PAUSED:
            Command.objects.create(run=run, kind=Command.Kind.RESUME, by=by)
        elif run.status in (Status.STOPPED, Status.FAILED):
            run.status, run.reason, run.strikes = Status.QUEUED, "", 0
            run.finished_at = run.sent_at = None
            run.save(update_fields=["status", "reason", "strikes", "finished_at", "sent_at"])
            note(run, key=f"resumed-{run.attempt}", kind="resume", text=f"Resumed by {by}", by=by)
            transaction.on_commit(lambda: send(run))
        else:
            raise Conflict(
                f"Run {run.pk} is {run.status}; only a paused, stopped or failed run can be resumed."
            )
        nudge(f"run:{run.pk}")
    run.refresh_from_db()
    return run


def command_run(*, run: Run, kind: str, by, args: Mapping[str, Any] | None = None) -> Command | None:
    """Asks something of a run under way. Stop and resume, which may concern an idle run, return no command."""
    args = dict(args or {})
    if kind in (Command.Kind.STOP, Command.Kind.KILL):
        stop_run(run=run, by=by, now=kind == Command.Kind.KILL)
        return None
    if kind == Command.Kind.RESUME:
        resume_run(run=run, by=by)
        return None
    known = [one for one in Command.Kind.values if one != Command.Kind.LABELS]
    if kind not in known:
        raise Invalid(f"There is no command {kind!r}. Known: {', '.join(known)}.", field="kind")
    if kind == Command.Kind.SET:
        args = _checked_knob(run, args)
    elif args:
        raise Invalid(f"{kind} takes no arguments.", field="args")
    with transaction.atomic():
        run = Run.objects.select_for_update(of=["self"]).get(pk=run.pk)
        if run.status not in (Status.RUNNING, Status.PAUSED):
            raise Conflict(f"Run {run.pk} is {run.status}; a {kind} needs a run under way.")
        command = Command.objects.create(run=run, kind=kind, args=args, by=by)
        nudge(f"run:{run.pk}")
    return command


def _checked_knob(run: Run, args: dict[str, Any]) -> dict[str, Any]:
    knobs = registry.entry(run.method).knobs
    if set(args) != {"name", "value"} or args["name"] not in knobs:
        raise Invalid(
            f"Of a running {run.method} one can set {', '.join(knobs) or 'nothing'}: "
            '{"name": "lr", "value": 0.0001}.',
            field="args",
        )
    try:
        value = registry.read_setting(run.method, args["name"], args["value"])
    except registry.ConfigError as problem:
        raise Invalid(str(problem), field=problem.field) from problem
    return {"name": args["name"], "value": value}


def register_model(
    *, study, path: Path | str, kind: str, name: str, meta: Mapping[str, Any] | None = None
) -> Artifact:
    """Brings a model into a study: its files are copied under their digest; the same files twice are one artifact."""
    path = Path(path)
    if kind not in MODELS:
        raise Invalid(f"A model is one of {', '.join(MODELS)}, not a {kind!r}.", field="kind")
    if not (path / "kibitz.json").is_file() and not (path / "config.json").is_file():
        raise Invalid(
            f"{path} holds no model: expected a directory with kibitz.json (a model of Kibitz) "
            "or config.json (a Hugging Face model).",
            field="path",
        )
    place, digest, size = artifacts.keep(path)
    known = {
        "name": name,
        "path": artifacts.relative(place),
        "size": size,
        "meta": {"model": artifacts.made_as(path), **(meta or {})},
    }
    artifact, _ = Artifact.objects.get_or_create(
        study=study, run=None, kind=kind, digest=digest, defaults=known
    )
    return artifact


def propose(*, run: Run, by=None) -> list:
    """Adds the items that a finished run wrote to its study; those added before are left as they are."""
    artifact = run.artifacts.filter(kind=Artifact.Kind.ITEMS).last()
    if run.study is None or artifact is None:
        raise Invalid(
            f"Run {run.pk} wrote no items for a study. Run a query method or best of n, then propose."
        )
    return add_proposed(run, artifact, by)


def proposal_key(run: Run, artifact: Artifact) -> str:
    """The event that says an artifact's items were added: a run that asks while it learns has several."""
    return f"proposed-{artifact.step}" if registry.entry(run.method).live else "proposed"


def add_proposed(run: Run, artifact: Artifact, by=None) -> list:
    """Adds the items of an artifact to its run's study, with a recording of every episode that their clips show."""
    with artifact.location.open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    episodes = {name for one in items for name in _episodes_of(one)}
    if episodes and not any(getattr(interface(kind), "CLIPS", False) for kind in run.study.kinds):
        raise Invalid(
            f"Run {run.pk} asks about clips, and the study asks {', '.join(run.study.kinds)}. Start it in a study "
            "whose interface is “clips”.",
            field="interfaces",
        )
    with transaction.atomic():
        for episode in episodes:
            record(run.study, episode, source={"run": run.pk})
        added = add_items(study=run.study, items=items)
        text = f"{len(added)} comparisons added to the study"
        note(
            run,
            key=proposal_key(run, artifact),
            kind="proposed",
            text=text,
            by=by,
            data={"items": [item.pk for item in added]},
        )
    return added


def _episodes_of(item: Mapping[str, Any]) -> list[str]:
    """The episodes that an item's clips are cut from; none where it asks about texts."""
    texts = [str(candidate.get("text", "")) for candidate in item.get("candidates", [])]
    return [Clip.read(text).episode for text in texts if CLIP.fullmatch(text)]


def set_loop(*, study, by, **changes: Any) -> Loop:
    """Sets what a study does by itself; configs are checked as those of runs are."""
    loop = Loop.objects.filter(study=study).first() or Loop(study=study)
    fields = {field.name for field in Loop._meta.fields} - {"id", "study", "changed_by", "round", "snapshot"}
    for name, value in changes.items():
        if name not in fields - {"labels_seen", "problem"}:
            raise Invalid(f"A loop has no setting {name!r}.", field=name)
        setattr(loop, name, value)
    for stage in ("reward", "policy", "query"):
        try:
            registry.read_config(getattr(loop, f"{stage}_method"), getattr(loop, f"{stage}_config"))
        except registry.ConfigError as problem:
            raise Invalid(str(problem), field=f"{stage}_config") from problem
    if loop.retrain_every < 1 or loop.propose_count < 1:
        raise Invalid("A round needs at least one label and one comparison.", field="retrain_every")
    _check_fits(loop, "retrain_every", "propose_count", "gold", "seed")
    loop.changed_by, loop.problem = by, ""
    loop.save()
    return loop


# What keeps runs going when workers, brokers and machines do not.


def sweep() -> None:
    """Puts the runs of dead workers back on the queue, and sends what no live worker has heard of. Once each."""
    with transaction.atomic():
        if not alone(SWEEPING):
            return
        dead = _dead_workers()
        orphans = Run.objects.held().filter(Q(worker__in=dead) | Q(pk__in=Run.objects.silent().values("pk")))
        for run in orphans.select_for_update(of=["self"], skip_locked=True):
            _take_back(run)
        Worker.objects.filter(Q(name__in=dead) | Q(heartbeat_at__lt=Now() - timedelta(days=1))).delete()
        lost = _unheard_of()
    for run in lost:
        log.info("Run %s is queued while a worker has a free place: sent again.", run.pk)
        if not send(run):
            break


def _dead_workers() -> list[str]:
    """Workers of this machine whose process is gone: known at once, where silence takes its time to tell."""
    here = Worker.objects.filter(machine=machine()).values_list("name", "pid")
    return [name for name, pid in here if not _alive(pid)]


def _take_back(run: Run) -> None:
    worker = run.worker or "its worker"
    if run.status == Status.STOPPING:
        run.status, run.reason = Status.STOPPED, f"{worker} was gone before the run had stopped."
        run.finished_at = Now()
        Command.objects.filter(run=run, applied_at=None).update(applied_at=Now())
        tell_ended(run, run.status, run.reason)
    else:
        run.status, run.reason, run.sent_at = Status.QUEUED, "", None
    run.worker, run.heartbeat_at = "", None
    run.save(update_fields=["status", "reason", "finished_at", "sent_at", "worker", "heartbeat_at"])
    text = f"{worker} is gone: the run goes on from its last checkpoint when another is free"
    note(run, key=f"lost-{run.attempt}", kind="worker_lost", text=text)


def _unheard_of() -> list[Run]:
    """Queued runs whose message must be lost: places are free, and nobody came. Their place in time is renewed."""
    busy = dict(Run.objects.held().values_list("worker").annotate(Count("pk")))
    found: list[Run] = []
    for worker in Worker.objects.alive():
        free = worker.slots - busy.get(worker.name, 0)
        if free > 0:
            waiting = Run.objects.filter(status=Status.QUEUED, queue__in=worker.queues)
            waiting = waiting.filter(Q(sent_at=None) | Q(sent_at__lt=Now() - LOST_AFTER))
            found += waiting.exclude(pk__in=[run.pk for run in found]).order_by("pk")[:free]
    return found


def advance_loops() -> None:
    """Takes every study's loop as far as it can go now."""
    from webapp.runs.loop import advance

    for loop in Loop.objects.filter(Q(retrain_on=True) | Q(propose_on=True)):
        try:
            advance(loop)
        except Exception:
            log.exception("The loop of study %s could not go on.", loop.study_id)


def machine() -> str:
    """This machine since it booted, as processes see each other on it: where a pid means the same to all."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
