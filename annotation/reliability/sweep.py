"""Fits a study anew as labels arrive, beside the heartbeat of a worker, and keeps the newest reports.

A heartbeat must not wait for a fit, so that the worker is not taken for dead: `sweep` starts a thread, of which a
process has one at most. Of several workers, the one that holds a study's advisory lock fits it.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from django.db import connection, connections
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from annotation.models import Label, Reliability, Study

LOOK_EVERY = 10.0
"""Seconds between two looks for studies with new labels."""
FIT_EVERY = timedelta(minutes=1)
NEW_LABELS = 20
NEW_SHARE = 0.1
"""A fit is due after so many new labels, or so large a share of those that are in the last one."""
KEPT = 50
LOCK = 0x2E11  # the first half of the advisory lock of a study's fit

log = logging.getLogger(__name__)
_busy = threading.Lock()
_looked = float("-inf")


def sweep() -> None:
    """Starts the fits that are due, in a thread. Returns at once."""
    global _looked
    if time.monotonic() - _looked < LOOK_EVERY or not _busy.acquire(blocking=False):
        return
    _looked = time.monotonic()
    threading.Thread(target=_fit_and_let_go, name="reliability", daemon=True).start()


def _fit_and_let_go() -> None:
    try:
        fit_due()
    except Exception:
        log.exception("The labels' reliability could not be fitted, and is tried again.")
    finally:
        connections.close_all()
        _busy.release()


def fit_due() -> int:
    """Fits every study whose labels have changed enough; returns how many it fitted."""
    return sum(fit(study) is not None for study in due())


def due() -> list[Study]:
    """Studies with enough new labels since their last fit, which is at least a minute ago."""
    newest = Reliability.objects.filter(study=OuterRef("pk")).order_by("-pk")
    studies = Study.objects.active().annotate(
        fitted_label=Subquery(newest.values("last_label")[:1]),
        fitted_labels=Subquery(newest.values("report__labels")[:1]),
        fitted_at=Subquery(newest.values("created_at")[:1]),
    )
    now = timezone.now()
    return [
        study
        for study in studies.order_by("pk")
        if (study.fitted_at is None or now - study.fitted_at >= FIT_EVERY)
        and _enough_new(study.pk, study.fitted_label or 0, study.fitted_labels or 0)
    ]


def _enough_new(study: int, last: int, labels: int) -> bool:
    wanted = max(1, min(NEW_LABELS, round(NEW_SHARE * labels)))
    fresh = Label.objects.filter(study=study, pk__gt=last).order_by().values("pk")[:wanted]
    return len(fresh) >= wanted


def fit(study: Study) -> Reliability | None:
    """Fits a study's labels and stores the report; None where another process is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, study.pk])
        if not cursor.fetchone()[0]:
            return None
        try:
            return _fit(study)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, study.pk])


def _fit(study: Study) -> Reliability:
    from annotation.reliability.report import (
        report,
    )  # numpy, scipy, scikit-learn, statsmodels: not for the web

    seen = Label.objects.filter(study=study).order_by("-pk").values_list("pk", flat=True).first() or 0
    row = Reliability.objects.create(study=study, last_label=seen, report=report(study))
    old = study.reliabilities.order_by("-pk").values_list("pk", flat=True)[KEPT:]
    Reliability.objects.filter(pk__in=list(old)).delete()
    return row
