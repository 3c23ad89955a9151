"""Carries a run's journal into PostgreSQL: once each, whatever is read twice.

One transaction a flush: the rows, their summaries, samples and events, the run's position, and the nudge to
whoever watches, which PostgreSQL delivers on commit alone. The run's row is written first and only where this
attempt still holds it: a supervisor that lost the run changes nothing.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models.functions import Now

from trainers.journal import Chunk as Rows
from trainers.journal import Entry
from webapp.runs import artifacts
from webapp.runs.frames import Block, join
from webapp.runs.models import Artifact, Chunk, Command, Event, Histogram, Run, Sample, Series, Status

CHANNEL = "kibitz"
ROWS_A_CHUNK = 4096
ENTRIES_A_FLUSH = 500
log = logging.getLogger(__name__)


class Superseded(Exception):
    """Another attempt holds the run now: whoever gets this must leave the run alone."""


def nudge(payload: str) -> None:
    """Tells the web processes where to look, once this transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])


def note(
    run: Run, *, key: str, kind: str, text: str, by: Any = None, data: dict[str, Any] | None = None
) -> None:
    """Keeps an event that did not come from the child: a restart, a command's arrival, a lost worker."""
    position = Run.objects.values_list("step", "last_seq").get(pk=run.pk)
    values = {
        "step": position[0],
        "seq": position[1],
        "kind": kind,
        "text": text,
        "by": by,
        "data": data or {},
    }
    Event.objects.get_or_create(run=run, key=key, defaults=values)
    nudge(f"run:{run.pk}")


@dataclass
class Outcome:
    """What the journal said of the run's failure, if anything; tracebacks stay in the console."""

    failure: str = ""

    def forget(self) -> None:
        """What was carried so far was an earlier attempt's."""
        self.failure = ""


@dataclass
class Carrier:
    """Carries the entries of one attempt; knows by heart what only this attempt may change."""

    run: Run
    attempt: int
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        row = Run.objects.get(pk=self.run.pk)
        self.epoch, self.last_seq, self.step = row.epoch, row.last_seq, row.step
        self.begun_at = row.last_seq
        self.total, self.report = row.total_steps, row.report
        self.series = {one.name: one for one in Series.objects.filter(run=self.run)}

    def carry(self, entries: list[Entry]) -> None:
        for start in range(0, len(entries), ENTRIES_A_FLUSH):
            part = entries[start : start + ENTRIES_A_FLUSH]
            kept = [self._artifact(entry) for entry in part if _is(entry, "artifact")]
            before = (self.last_seq, self.step, self.total, self.report, dict(self.series))
            try:
                with transaction.atomic():
                    self._flush(part, kept)
            except BaseException:
                # Nothing of it was kept: what is known by heart must say so too, or the retry would skip it.
                self.last_seq, self.step, self.total, self.report, _ = before
                self.series = {one.name: one for one in Series.objects.filter(run=self.run)}
                raise

    def _flush(self, entries: list[Entry], kept: list[Artifact]) -> None:
        status: dict[str, Any] = {}
        fresh: list[Rows] = []
        others: list[dict[str, Any]] = []
        for entry in entries:
            if isinstance(entry, Rows):
                rows = entry.after(self.last_seq)
                if rows is not None:
                    if rows.seq_from != self.last_seq + 1:
                        raise ValueError(
                            f"Run {self.run.pk}: the journal goes from row {self.last_seq} to {rows.seq_from}. "
                            "Rows must be numbered without a gap."
                        )
                    self.last_seq = rows.seq_to
                    self.step = max(self.step, int(rows.step.max()))
                    fresh.append(rows)
            elif entry["type"] == "start":
                self.total = entry["total"]
            elif entry["type"] == "report":
                found = clean(entry["report"])
                # PostgreSQL's JSON forgets in which order things were said.
                order = {name: list(found[name]) for name in ("readings", "curves") if name in found}
                self.report = {**self.report, **found, "order": order}
            elif entry["type"] == "state":
                status["status"] = Status.PAUSED if entry["state"] == "paused" else Status.RUNNING
            elif entry["type"] == "finished":
                continue  # the process's exit code says it too, after everything is carried
            elif entry["type"] == "failed":
                self.outcome.failure = clean(entry["message"])
            else:
                others.append(entry)
        self._hold(status)
        self._keep_rows(fresh)
        for artifact in kept:
            Artifact.objects.update_or_create(
                run=self.run, kind=artifact.kind, name=artifact.name, step=artifact.step,
                defaults={name: getattr(artifact, name) for name in ("study_id", "path", "digest", "size", "meta")},
            )  # fmt: skip
        self._keep_samples([entry for entry in others if entry["type"] == "samples"])
        for entry in others:
            self._keep(entry)
        if fresh:
            nudge(f"points:{self.run.pk}:{self.epoch}:{self.last_seq}")
        if any(isinstance(entry, dict) for entry in entries):
            nudge(f"run:{self.run.pk}")

    def _hold(self, status: dict[str, Any]) -> None:
        """Writes the run's position, where this attempt still holds it; takes its lock for the transaction."""
        held = Run.objects.mine(self.run.pk, self.attempt).update(
            last_seq=self.last_seq,
            step=self.step,
            total_steps=self.total,
            report=self.report,
            heartbeat_at=Now(),
            **({"strikes": 0} if self.last_seq > self.begun_at else {}),
        )
        if not held:
            raise Superseded(f"Run {self.run.pk} is no longer held by attempt {self.attempt}.")
        if status:
            # A stop that was asked for stays on the page until it has happened.
            Run.objects.filter(pk=self.run.pk).exclude(status=Status.STOPPING).update(**status)

    def _keep_rows(self, fresh: list[Rows]) -> None:
        blocks = [self._block(rows) for rows in fresh]
        joined: list[Block] = []
        group: list[Block] = []
        for block in blocks:
            if group and (block.ids != group[0].ids or block.seq_to - group[0].seq_from >= ROWS_A_CHUNK):
                joined.append(join(group))
                group = []
            group.append(block)
        if group:
            joined.append(join(group))
        Chunk.objects.bulk_create(
            [
                Chunk(
                    run=self.run, epoch=self.epoch, seq_from=block.seq_from, seq_to=block.seq_to,
                    step_min=block.values[0].min(), step_max=block.values[0].max(), frame=block.pack(),
                )
                for block in joined
            ],
            ignore_conflicts=True,
        )  # fmt: skip
        changed = {index for block in joined for index in block.ids}
        if changed:
            Series.objects.bulk_create(
                [one for one in self.series.values() if one.index in changed],
                update_conflicts=True,
                unique_fields=["run", "index"],
                update_fields=["last_step", "last", "minimum", "maximum", "count"],
            )

    def _block(self, rows: Rows) -> Block:
        ids = []
        for name, column in zip(rows.names, rows.columns, strict=True):
            series = self.series.get(name)
            if series is None:
                series = Series(run=self.run, index=len(self.series), name=name)
            self.series[name] = summed(series, rows.step, column)
            ids.append(series.index)
        values = np.vstack([rows.step, rows.time, rows.columns])
        return Block(self.run.pk, self.epoch, rows.seq_from, rows.seq_to, tuple(ids), values)

    def _artifact(self, entry: dict[str, Any]) -> Artifact:
        """The row of what the child left in its home. Reads the files, so it is done before the transaction."""
        place = (self.run.home / entry["path"]).resolve()
        if not place.is_relative_to(self.run.home.resolve()):
            raise ValueError(f"Run {self.run.pk} names an artifact outside its home: {entry['path']!r}.")
        digest, size = artifacts.digest_of(place)
        return Artifact(
            run=self.run, study_id=self.run.study_id, kind=entry["kind"], name=entry["name"], step=entry["step"],
            path=artifacts.relative(place), digest=digest, size=size, meta=clean(entry.get("meta") or {}),
        )  # fmt: skip

    def _keep_samples(self, entries: list[dict[str, Any]]) -> None:
        Sample.objects.bulk_create(
            [
                Sample(
                    run=self.run, step=entry["step"], index=row["index"], prompt=clean(row["prompt"]),
                    text=clean(row["text"]), scores=clean(row["scores"]), length=row["length"],
                )
                for entry in entries
                for row in entry["rows"]
            ],
            ignore_conflicts=True,
        )  # fmt: skip

    def _keep(self, entry: dict[str, Any]) -> None:
        match entry["type"]:
            case "event":
                self._event(entry["key"], entry["step"], entry["kind"], entry["text"], data=entry.get("data"))
            case "checkpoint":
                step = entry["step"]
                self._event(f"checkpoint-{step}", step, "checkpoint", f"Checkpoint at step {step}")
            case "histogram":
                Histogram.objects.bulk_create(
                    [
                        Histogram(
                            run=self.run, name=entry["name"], step=entry["step"],
                            edges=entry["edges"], counts=entry["counts"],
                        )
                    ],
                    ignore_conflicts=True,
                )  # fmt: skip
            case "applied":
                self._applied(entry["command"], entry["step"])

    def _applied(self, pk: int, step: int) -> None:
        """A command took effect: its row says where, and every chart shows who did what."""
        command = Command.objects.filter(pk=pk, run=self.run, applied_at=None).select_related("by").first()
        if command is None:
            return
        command.applied_at, command.applied_step = Now(), step
        command.save(update_fields=["applied_at", "applied_step"])
        text = said(command)
        self._event(f"command-{pk}", step, command.kind, text, by=command.by, data=command.args)

    def _event(
        self, key: str, step: int, kind: str, text: str, by: Any = None, data: dict[str, Any] | None = None
    ) -> None:
        Event.objects.bulk_create(
            [
                Event(
                    run=self.run, key=key[:200], step=step, seq=self.last_seq, kind=kind, text=clean(text),
                    by=by, data=clean(data or {}),
                )
            ],
            ignore_conflicts=True,
        )  # fmt: skip


def said(command: Command) -> str:
    """The command in words, for the charts."""
    who = f" by {command.by.username}" if command.by else ""
    match command.kind:
        case Command.Kind.SET:
            return f"{command.args['name']} set to {command.args['value']:g}{who}"
        case Command.Kind.STOP:
            return f"Asked to stop{who or ': ' + command.args['because']}"
        case Command.Kind.PAUSE:
            return f"Paused{who}"
        case Command.Kind.RESUME:
            return f"Resumed{who}"
        case Command.Kind.CHECKPOINT:
            return f"Checkpoint asked for{who}"
        case Command.Kind.LABELS:
            count = command.args["labels"]
            return f"{count:,} new label{'s' * (count != 1)}"
        case _:
            return f"Killed{who}"


def summed(series: Series, step: np.ndarray, column: np.ndarray) -> Series:
    """The series' summary with these points counted in. A new row, so that a failed flush leaves the old one."""
    finite = column[np.isfinite(column)]
    low = [
        value for value in (series.minimum, float(finite.min()) if finite.size else None) if value is not None
    ]
    high = [
        value for value in (series.maximum, float(finite.max()) if finite.size else None) if value is not None
    ]
    return Series(
        run_id=series.run_id, index=series.index, name=series.name, last_step=float(step[-1]),
        last=float(column[-1]), minimum=min(low, default=None), maximum=max(high, default=None),
        count=series.count + len(column),
    )  # fmt: skip


def clean(value: Any) -> Any:
    """What PostgreSQL can keep of what a model wrote: no NUL, no half of a surrogate pair, no NaN inside JSON."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {clean(key): clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    return value


def _is(entry: Entry, kind: str) -> bool:
    return isinstance(entry, dict) and entry["type"] == kind
