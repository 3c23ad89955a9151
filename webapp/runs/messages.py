"""The JSON shapes of runs, the same over the socket and over HTTP."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from trainers.metrics import METRICS, PRIMARY
from webapp.runs.models import HELD

# SQL rather than the ORM: the hub reads it with its own asynchronous connection.
STATE = """
SELECT run.id AS run, run.epoch, run.status, run.reason, run.step, run.total_steps AS total, run.last_seq,
       run.worker, greatest(0, extract(epoch FROM now() - run.heartbeat_at))::float AS silent_for,
       (SELECT count(*) FROM runs_worker AS worker
         WHERE worker.heartbeat_at >= now() - %(silent_after)s AND run.queue = ANY (worker.queues)) AS workers_alive,
       CASE WHEN run.status = 'queued' THEN
           (SELECT count(*) FROM runs_run AS other
             WHERE other.status = 'queued' AND other.queue = run.queue AND other.id <= run.id)
       END AS queue_position
  FROM runs_run AS run WHERE run.id = ANY (%(runs)s)
"""

SERIES = "SELECT index, name FROM runs_series WHERE run_id = %(run)s ORDER BY index"

EVENTS = """
SELECT event.id, event.key, event.step, event.seq, event.kind, event.text, person.username AS by, event.at, event.data
  FROM runs_event AS event LEFT JOIN accounts_user AS person ON person.id = event.by_id
 WHERE event.run_id = %(run)s AND event.id <> ALL (%(known)s) ORDER BY event.id
"""

NEWEST_SAMPLE = "SELECT coalesce(max(step), -1) AS step FROM runs_sample WHERE run_id = %(run)s"


def state(row: dict[str, Any]) -> dict[str, Any]:
    """Where a run stands, from a row of STATE. A worker is named while it holds the run."""
    held = row["status"] in HELD
    worker = (
        {"name": row["worker"], "silent_for": round(row["silent_for"], 1)} if held and row["worker"] else None
    )
    shape = {name: row[name] for name in ("run", "epoch", "status", "reason", "step", "total", "last_seq")}
    return {
        **shape,
        "worker": worker,
        "workers_alive": row["workers_alive"],
        "queue_position": row["queue_position"],
    }


def series(index: int, name: str, method: str) -> dict[str, Any]:
    """A logged name with what it means; one nobody described keeps its name and stands among the others."""
    metric = METRICS.get(name)
    vital = PRIMARY.get(method, [])
    return {
        "id": index,
        "name": name,
        "label": metric.label if metric else name,
        "unit": metric.unit if metric else "",
        "better": metric.better if metric else "none",
        "group": metric.group if metric else "Other",
        "help": metric.help if metric else "",
        "vital": vital.index(name) if name in vital else None,
    }


def event(row: dict[str, Any]) -> dict[str, Any]:
    at = row["at"]
    return {**row, "at": at.isoformat() if isinstance(at, datetime) else at}


def number(value: float | None) -> float | str | None:
    """JSON has no NaN: what is not finite is said in a word."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
