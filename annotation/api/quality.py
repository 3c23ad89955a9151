"""The HTTP API of how far people agree and how much each one's labels say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.http import Http404, HttpRequest
from ninja import Field, Router, Schema

from annotation.access import study_for
from annotation.models import Role
from annotation.reliability import newest

router = Router(tags=["quality"])


class Between(Schema):
    value: float
    low: float
    high: float


class FitOut(Schema):
    name: str = Field(description='"comparisons", or the question: "rating: clarity", "steps".')
    labels: int
    accuracy: Between = Field(description="How often they side with what people have in common.")
    chance: float = Field(description="What accuracy would be by chance.")
    reliability: Between | None = Field(None, description="Of comparisons: the model's alpha.")
    side: dict[str, float] | None = Field(
        None, description="Of comparisons: the model's beta, log-odds for the answer shown first, and counts."
    )


class AnnotatorOut(Schema):
    username: str
    labels: int
    seconds: float | None = Field(description="The median a task; null where none was measured.")
    with_others: dict[str, float] | None = Field(
        description="The share of others' answers that are theirs, and over how many tasks."
    )
    gold: dict[str, int] = Field(description="Known answers matched, of how many.")
    repeats: dict[str, int] = Field(description="The same said when asked again, of how many.")
    weight: float = Field(description="How much one of their labels counts; 1 on average over the labels.")
    fits: list[FitOut]


class AlarmOut(Schema):
    username: str
    kind: str = Field(description="speed, straight-lining, side bias or drift.")
    text: str
    advice: str


class ReliabilityOut(Schema):
    fitted_at: datetime
    last_label: int = Field(description="The newest label that it could have in.")
    labels: int
    annotators: list[AnnotatorOut]
    questions: list[dict[str, Any]] = Field(
        description="For each question agreement, kappa, Fleiss' kappa and alphas; by pair of people (their ids), by "
        "week and by stratum."
    )
    items: list[dict[str, Any]] = Field(description="For each fit, what it says of items: the hardest first.")
    alarms: list[AlarmOut]


@router.get("/studies/{pk}/reliability", response=ReliabilityOut)
def reliability(request: HttpRequest, pk: int):
    """The newest fit of the study's labels; 404 before the first. For reviewers and up."""
    study = study_for(request.user, pk, Role.REVIEWER)
    row = newest(study)
    if row is None:
        raise Http404("The labels of this study are not fitted yet: a worker does it once there are some.")
    report = row.report
    users = [one["user"] for one in report["annotators"]]
    names = dict(get_user_model().objects.filter(pk__in=users).values_list("pk", "username"))
    return {
        "fitted_at": row.created_at,
        "last_label": row.last_label,
        "labels": report["labels"],
        "annotators": [{**one, "username": names[one["user"]]} for one in report["annotators"]],
        "questions": report["questions"],
        "items": report["fits"],
        "alarms": [{**one, "username": names[one["user"]]} for one in report["alarms"]],
    }
