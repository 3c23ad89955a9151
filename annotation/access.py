"""The one door to a study's rows. A row is found only through a membership, so that a stranger's is a 404."""

from django.http import Http404

from annotation.models import (
    ImportJob,
    Item,
    Label,
    Membership,
    Recording,
    Remark,
    Role,
    Snapshot,
    Study,
    Task,
    Webhook,
)

UNKNOWN = "There is no such {}, or it is not yours to see."


def membership_for(user, study_pk: int, role: Role = Role.ANNOTATOR, what: str = "study") -> Membership:
    """The user's membership of a study, with the study; 404 for strangers and for lesser roles."""
    membership = Membership.objects.select_related("study").filter(study=study_pk, user=user.pk).first()
    if membership is None:
        raise Http404(UNKNOWN.format(what))
    if not membership.may(Role(role)):
        raise Http404(
            f"This needs the role {Role(role)} in the study; yours is {membership.role}. Ask an owner."
        )
    return membership


def study_for(user, pk: int, role: Role = Role.ANNOTATOR) -> Study:
    return membership_for(user, pk, role).study


def member_for(user, study_pk: int, username: str) -> Membership:
    """Another member of a study, for who may change what members may do."""
    study = study_for(user, study_pk, Role.RESEARCHER)
    people = study.memberships.select_related("user", "study")
    found = None if "\x00" in username else people.filter(user__username__iexact=username).first()
    if found is None:
        raise Http404(f"{username!r} is no member of this study.")
    return found


def task_for(user, pk: int, role: Role = Role.ANNOTATOR) -> Task:
    return _member_row(Task.objects.arrived().select_related("study", "item"), user, pk, role, "task")


def item_for(user, pk: int, role: Role = Role.REVIEWER) -> Item:
    """Annotators meet an item through its tasks, where nothing says which model wrote what."""
    return _member_row(Item.objects.filter(upload=None).select_related("study"), user, pk, role, "item")


def label_for(user, pk: int) -> Label:
    """Annotators see their own labels, reviewers everybody's."""
    labels = Label.objects.arrived().select_related("study", "task", "annotator")
    own = labels.filter(pk=pk, annotator=user.pk, study__memberships__user=user.pk).first()
    return own or _member_row(labels, user, pk, Role.REVIEWER, "label")


def remark_for(user, pk: int) -> Remark:
    return _member_row(Remark.objects.select_related("study", "task"), user, pk, Role.REVIEWER, "remark")


def snapshot_for(user, pk: int, role: Role = Role.REVIEWER) -> Snapshot:
    return _member_row(Snapshot.objects.select_related("study"), user, pk, role, "snapshot")


def import_for(user, pk: int) -> ImportJob:
    return _member_row(ImportJob.objects.select_related("study"), user, pk, Role.RESEARCHER, "import")


def webhook_for(user, pk: int) -> Webhook:
    return _member_row(Webhook.objects.select_related("study"), user, pk, Role.RESEARCHER, "webhook")


def recording_for(user, episode: str, role: Role = Role.ANNOTATOR) -> Recording:
    """By the name of its episode: what annotators are shown names no row."""
    rows = Recording.objects.select_related("study")
    found = None if "\x00" in episode else rows.filter(episode=episode).values_list("pk", flat=True).first()
    return _member_row(rows, user, found or 0, role, "recording")


def _member_row(rows, user, pk: int, role: Role, what: str):
    roles = [one for one in Role if one.rank >= role.rank]
    row = rows.filter(pk=pk, study__memberships__user=user.pk, study__memberships__role__in=roles).first()
    if row is None:
        raise Http404(UNKNOWN.format(what))
    return row
