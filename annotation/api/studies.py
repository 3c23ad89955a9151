"""The HTTP API of studies and of who is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import services
from annotation.access import membership_for, study_for
from annotation.models import Membership, Policy, Role, Study
from annotation.rules import rules_of

router = Router(tags=["studies"])


class RulesIn(Schema):
    """What a study sets about its queue and its quality; what is left out stays as it is."""

    policy: str | None = Field(None, description=", ".join(Policy.values))
    stratum: str | None = Field(None, description="The key of an item's source that names its stratum.")
    more_people: int | None = Field(None, description="How many more are asked where answers lie far apart.")
    wide_spread: float | None = Field(None, description="How far apart is far, on the interface's scale.")
    gold_rate: float | None = Field(None, description="The share of tasks with a known answer, 0 to 0.5.")
    calibration_rate: float | None = Field(None, description="The share that everyone is asked, 0 to 0.5.")
    repeat_rate: float | None = Field(None, description="The share asked again, sides swapped, 0 to 0.5.")
    pass_bar: float | None = Field(None, description="The share of the qualification to get right; 0: none.")
    drift_bar: float | None = Field(None, description="Below this share of right gold, one qualifies anew.")
    share_gold: bool | None = Field(None, description="Show people how often they match the gold.")
    by_reliability: bool | None = Field(None, description="Weigh labels in snapshots by reliability.")


class StudyIn(Schema):
    name: str
    guidelines: str = ""
    interfaces: list[dict[str, Any] | str] = Field(["pairwise"], description='Kinds, or {"kind", "options"}.')
    overlap: int = Field(1, description="How many people answer each task.")
    names_hidden: bool = True
    licence: str = ""
    consent: str = ""
    pay: str = Field("", description="What annotators get for their work, and on what terms.")
    rules: RulesIn = Field(default_factory=RulesIn)


class StudyChanges(Schema):
    name: str | None = None
    guidelines: str | None = None
    names_hidden: bool | None = None
    licence: str | None = None
    consent: str | None = None
    pay: str | None = None
    archived: bool | None = None
    rules: RulesIn | None = None


class StudyOut(Schema):
    id: int
    name: str
    guidelines: str
    interfaces: list[dict[str, Any]]
    overlap: int
    names_hidden: bool
    licence: str
    consent: str
    pay: str
    rules: dict[str, Any]
    created_at: datetime
    archived_at: datetime | None
    role: str = Field(description="Yours.")

    @staticmethod
    def of(membership: Membership) -> Study:
        membership.study.role = membership.role
        membership.study.rules = rules_of(membership.study)
        return membership.study


class ScoreOut(Schema):
    right: int
    of: int


class ProgressOut(Schema):
    today: int = Field(description="Your labels since midnight, UTC.")
    total: int
    open: int = Field(description="Tasks open in the study, counted up to 1,000.")
    gold: ScoreOut | None = Field(description="Known answers you matched, where the study shares that.")


class MemberIn(Schema):
    username: str
    role: str


class MemberOut(Schema):
    username: str = Field(alias="user.username")
    role: str
    standing: str = Field(description="With the qualification: new, passed, failed or again.")
    simulated: bool = Field(alias="user.simulated")
    created_at: datetime


@router.get("/studies", response=list[StudyOut])
def studies(request: HttpRequest):
    """The studies you are a member of, the newest first."""
    mine = Membership.objects.filter(user=request.user).select_related("study").order_by("-study_id")
    return [StudyOut.of(membership) for membership in mine]


@router.post("/studies", response={201: StudyOut})
def create(request: HttpRequest, asked: StudyIn):
    """Creates a study; you own it."""
    given = asked.dict()
    rules = given.pop("rules")
    rules = {name: value for name, value in rules.items() if value is not None}
    made = services.create_study(owner=request.user, **given, **rules)
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
    changes |= changes.pop("rules", {})
    services.change_study(study=membership.study, by=request.user, **changes)
    if archived is not None:
        services.archive_study(study=membership.study, archived=archived)
    return StudyOut.of(membership)


@router.get("/studies/{pk}/progress", response=ProgressOut)
def progress(request: HttpRequest, pk: int):
    """How far you are."""
    return services.progress(study_for(request.user, pk), request.user)


@router.get("/studies/{pk}/members", response=list[MemberOut])
def members(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.RESEARCHER).memberships.select_related("user")


@router.post("/studies/{pk}/members", response={201: MemberOut})
def add_member(request: HttpRequest, pk: int, asked: MemberIn):
    """Makes somebody who has an account a member."""
    joined = study_for(request.user, pk, Role.OWNER)
    return Reply(201, services.add_member(study=joined, username=asked.username, role=asked.role))
