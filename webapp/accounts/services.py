"""What happens to people: joining by invitation, changing roles, leaving a study."""

from django.contrib.auth import get_user_model
from django.db import transaction

from annotation import keys
from annotation.models import Membership, Role
from annotation.services import join_study
from webapp.accounts.models import Invitation, digest_of

NOT_KEYS = ("csrfmiddlewaretoken", "reset")


class NotPossible(Exception):
    """A request about people that cannot be met; the message says why and what to do."""


def open_invitation(token: str) -> Invitation | None:
    """The invitation behind a link, while it can still be accepted."""
    return (
        Invitation.objects.open()
        .select_related("study", "created_by")
        .filter(digest=digest_of(token))
        .first()
    )


@transaction.atomic
def accept_invitation(*, invitation: Invitation, user) -> Membership:
    """Makes the person a member. A role may rise by it but never falls; opening the link twice costs one use."""
    membership = Membership.objects.filter(study=invitation.study, user=user).first()
    if membership and membership.may(Role(invitation.role)):
        return membership
    if not invitation.spend():
        raise NotPossible("This invitation was used up or withdrawn a moment ago. Ask for a new one.")
    return join_study(study=invitation.study, user=user, role=invitation.role)


@transaction.atomic
def accept_as_newcomer(*, invitation: Invitation, username: str, password: str):
    """Creates the account and joins; if the invitation is gone by then, no account is left behind."""
    user = get_user_model().objects.create_user(username=username, password=password)
    accept_invitation(invitation=invitation, user=user)
    return user


def owners_but(membership: Membership):
    """The study's other owners, locked: two owners stepping down at once must not leave none."""
    owners = Membership.objects.select_for_update().filter(study=membership.study, role=Role.OWNER)
    return [owner for owner in owners if owner.pk != membership.pk]


@transaction.atomic
def change_role(*, membership: Membership, role: str) -> None:
    if membership.role == Role.OWNER and role != Role.OWNER and not owners_but(membership):
        raise NotPossible("A study needs an owner. Make someone else an owner first.")
    membership.role = role
    membership.save(update_fields=["role"])


@transaction.atomic
def remove_member(*, membership: Membership) -> None:
    """Ends the membership. The labels stay: they are facts, and name who gave them."""
    if membership.role == Role.OWNER and not owners_but(membership):
        raise NotPossible("A study needs an owner. Make someone else an owner first.")
    membership.delete()


@transaction.atomic
def change_keys(*, user, changes, reset: bool = False) -> None:
    """Gives a person other keys in the labelling room, or with `reset` those that everybody begins with."""
    held = get_user_model().objects.select_for_update().get(pk=user.pk)
    wanted = {name: key for name, key in changes.items() if name not in NOT_KEYS}
    held.keys = {} if reset else keys.change(held.keys, wanted)
    held.save(update_fields=["keys"])
    user.keys = held.keys
