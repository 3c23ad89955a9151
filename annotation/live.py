"""How a study is going, in figures that a page shows live: one reading of the tables, whoever watches."""

from __future__ import annotations

from typing import Any

from django.db import connection

from annotation.models import Reliability, Study

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
    (SELECT max(id) FROM annotation_label l WHERE l.study_id = %(study)s)
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
        given, wanted, queue, lately, people, median, span, held, flags, last = cursor.fetchone()
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
    }


def agreement(study: Study | int) -> dict[str, Any] | None:
    """The newest fit's agreement, for those who may see it; None before the first."""
    pk = study if isinstance(study, int) else study.pk
    newest = Reliability.objects.filter(study=pk).first()
    return newest.report.get("agreement") if newest else None
