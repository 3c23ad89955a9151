"""What a study's page tells: how far it is, how fast it goes, who gives how much."""

from datetime import timedelta

from django.db.models import Aggregate, Count, F, FloatField, Max, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from annotation.interfaces.registry import interface
from annotation.models import Label, Part, Study, Task
from annotation.quality import agreement

DAYS = 14


class Median(Aggregate):
    """PostgreSQL's percentile_cont(0.5)."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


def studies_of(user) -> list[Study]:
    """A person's studies with how far each is and what they did in it; archived ones last."""
    tasks = Task.objects.arrived().filter(study=OuterRef("pk"), part=Part.QUEUE).order_by().values("study")
    labels = Label.objects.current().filter(study=OuterRef("pk"), annotator=user).order_by().values("study")
    today = labels.filter(created_at__date=timezone.localdate())

    def number(rows, value):
        return Coalesce(Subquery(rows.annotate(number=value).values("number")), 0)

    studies = (
        Study.objects.seen_by(user)
        .annotate(
            role=F("memberships__role"),
            wanted=number(tasks, Sum("overlap")),
            given=number(tasks, Sum("done")),
            mine=number(labels, Count("pk")),
            today=number(today, Count("pk")),
        )
        .order_by(F("archived_at").asc(nulls_first=True), "-pk")
    )
    for study in studies:
        study.percent = round(100 * study.given / study.wanted) if study.wanted else 0
    return list(studies)


def asked(study: Study) -> list[dict]:
    """For each way of asking: how many tasks, and how many of the wanted answers are in."""
    counts = {
        row["kind"]: row
        for row in Task.objects.arrived()
        .filter(study=study, part=Part.QUEUE)
        .values("kind")
        .annotate(
            tasks=Count("pk"),
            given=Sum("done"),
            wanted=Sum("overlap"),
            waiting=Count("pk", filter=Q(waiting=True)),
        )
        .order_by()
    }
    rows = []
    for kind in study.kinds:
        row = counts.get(kind, {"tasks": 0, "given": 0, "wanted": 0, "waiting": 0})
        share = row["given"] / row["wanted"] if row["wanted"] else 0.0
        module = interface(kind)
        options = vars(module.Options(**study.options(kind)))
        rows.append(
            {
                **row,
                "kind": kind,
                "options": {name: value for name, value in options.items() if not isinstance(value, tuple)},
                "written": [module.as_text(value) for value in options.values() if isinstance(value, tuple)],
                "label": module.label,
                "percent": round(100 * share),
            }
        )
    return rows


def pace(study: Study, still_wanted: int) -> dict:
    """Labels a day over the last fortnight, and when the rest would be done at the last week's pace."""
    today = timezone.localdate()
    first = today - timedelta(days=DAYS - 1)
    counts = dict(
        Label.objects.current()
        .filter(study=study, created_at__date__gte=first)
        .annotate(day=TruncDate("created_at"))
        .values_list("day")
        .annotate(Count("pk"))
        .order_by()
    )
    days = [{"day": first + timedelta(days=n), "count": 0} for n in range(DAYS)]
    for row in days:
        row["count"] = counts.get(row["day"], 0)
    most = max(row["count"] for row in days)
    for row in days:
        row["percent"] = round(100 * row["count"] / most) if most else 0
    last_week = sum(row["count"] for row in days[-7:])
    return {
        "days": days,
        "most": most,
        "last_week": last_week,
        "days_left": -(-still_wanted * 7 // last_week) if last_week and still_wanted else None,
    }


def annotators(study: Study) -> list[dict]:
    """Who gave how many labels, how long one took them (the median), and when the last came."""
    return list(
        Label.objects.current()
        .filter(study=study)
        .values("annotator__username", "annotator__simulated", "annotator__source")
        .annotate(
            total=Count("pk"),
            median=Median("seconds", filter=Q(seconds__gt=0)),
            last=Max("created_at"),
        )
        .order_by("-total", "annotator__username")[:50]
    )


def results(study: Study) -> dict:
    """What came out, for those who may read everyone's labels."""
    return {
        "annotators": annotators(study),
        "agreement": agreement(study),
        "snapshots": study.snapshots.select_related("created_by")[:20],
        "unfrozen": unfrozen(study),
    }


def unfrozen(study: Study) -> int:
    """How many labels came since the newest snapshot."""
    newest = study.snapshots.first()
    labels = Label.objects.current().filter(study=study)
    return (labels.filter(created_at__gt=newest.created_at) if newest else labels).count()
