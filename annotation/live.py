"""How a study is going, in figures that a page shows live: one reading of the tables, whoever watches."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

FIGURES = """
WITH recent AS (
    SELECT l.annotator_id, l.seconds, l.created_at FROM annotation_label l
    WHERE l.study_id = %(study)s AND l.created_at > now() - interval '1 hour' AND NOT l.withdrawn
      AND l.source = '{}'
), queue AS (
    SELECT coalesce(sum(done), 0) AS given, coalesce(sum(overlap), 0) AS wanted,
        count(*) FILTER (WHERE open > 0) AS open
    FROM annotation_task t WHERE t.study_id = %(study)s AND t.part = 'queue'
)
SELECT queue.given, queue.wanted, queue.open,
    (SELECT count(*) FROM recent), (SELECT count(DISTINCT annotator_id) FROM recent),
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM recent WHERE seconds > 0),
    (SELECT extract(epoch FROM now() - min(created_at)) FROM recent),
    (SELECT count(*) FROM annotation_assignment a WHERE a.study_id = %(study)s AND a.state = 'leased'
        AND a.lease_until > now()),
    (SELECT count(*) FROM annotation_remark r WHERE r.study_id = %(study)s AND r.kind = 'flag'
        AND r.resolved_at IS NULL),
    (SELECT max(id) FROM annotation_label l WHERE l.study_id = %(study)s),
    (SELECT r.report->'questions'->0 FROM annotation_reliability r WHERE r.study_id = %(study)s
        ORDER BY r.id DESC LIMIT 1)::text
FROM queue
"""
LEAST_SECONDS = 300.0
"""A pace is taken over at least so long: three answers in the first ten seconds are no thousand an hour."""


def figures(study: int) -> dict[str, Any]:
    """Answers given and wanted, the depth of the queue, labels an hour, the median seconds of one, hours to go.

    Counts are of the queue alone: gold and calibration are asked without end. The pace is of the last hour.
    """
    with connection.cursor() as cursor:
        cursor.execute(FIGURES, {"study": study})
        given, wanted, queue, lately, people, median, span, held, flags, last, fit = cursor.fetchone()
    pace = 3600 * lately / max(float(span), LEAST_SECONDS) if lately else 0.0
    return {
        "given": int(given),
        "wanted": int(wanted),
        "percent": round(100 * given / wanted) if wanted else 0,
        "queue": queue,
        "held": held,
        "people": people,
        "pace": round(pace, 1),
        "seconds": round(median, 1) if median else None,
        "hours": round(float(wanted - given) / pace, 1) if pace and wanted > given else None,
        "flags": flags,
        "last_label": last or 0,
        **_agreement(json.loads(fit) if fit else {}),
    }


def _agreement(question: dict[str, Any]) -> dict[str, int | None]:
    """By the newest fit, for the study's main question: agreement over all, and in the newest week, in per cent."""
    weeks = question.get("weeks") or [{}]
    return {"agreement": _percent(question), "agreement_week": _percent(weeks[-1])}


def _percent(numbers: dict[str, Any]) -> int | None:
    found = numbers.get("agreement")
    return round(100 * found["share"]) if found else None


def for_everyone(found: dict[str, Any]) -> dict[str, Any]:
    """What annotators see of it: not how far they agree with each other, nor what is flagged."""
    return {
        name: value for name, value in found.items() if name not in ("agreement", "agreement_week", "flags")
    }
