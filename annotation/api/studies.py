"""The HTTP API of studies and of who is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Reply

from annotation import services
from annotation.access import membership_for, study_for
from annotation.models import Membership, Role, Study

router = Router(tags=["studies"])


class StudyIn(Schema):
    name: str
    guidelines: str = ""
    interfaces: list[dict[str, Any] | str] = Field(["pairwise"], description='Kinds, or {"kind", "options"}.')
    overlap: int = Field(1, description="How many people answer each task.")
    names_hidden: bool = True
    licence: str = ""
    consent: str = ""


class StudyChanges(Schema):
    name: str | None = None
    guidelines: str | None = None
    names_hidden: bool | None = None
    licence: str | None = None
    consent: str | None = None
    archived: bool | None = None


class StudyOut(Schema):
    id: int
    name: str
    guidelines: str
    interfaces: list[dict[str, Any]]
    overlap: int
    names_hidden: bool
    licence: str
    consent: str
    created_at: datetime
    archived_at: datetime | None
    role: str = Field(description="Yours.")

    @staticmethod
    def of(membership: Membership) -> Study:
        membership.study.role = membership.role
        return membership.study


class MemberIn(Schema):
    username: str
    role: str


class MemberOut(Schema):
    username: str = Field(alias="user.username")
    role: str
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
    made = services.create_study(owner=request.user, **asked.dict())
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
    services.change_study(study=membership.study, **changes)
    if archived is not None:
        services.archive_study(study=membership.study, archived=archived)
    return StudyOut.of(membership)


@router.get("/studies/{pk}/progress", response=dict[str, int])
def progress(request: HttpRequest, pk: int):
    """Your labels today and in all, and the tasks open in the study, counted up to 1,000."""
    return services.progress(study_for(request.user, pk), request.user)


@router.get("/studies/{pk}/members", response=list[MemberOut])
def members(request: HttpRequest, pk: int):
    return study_for(request.user, pk, Role.RESEARCHER).memberships.select_related("user")


@router.post("/studies/{pk}/members", response={201: MemberOut})
def add_member(request: HttpRequest, pk: int, asked: MemberIn):
    """Makes somebody who has an account a member."""
    joined = study_for(request.user, pk, Role.OWNER)
    return Reply(201, services.add_member(study=joined, username=asked.username, role=asked.role))
