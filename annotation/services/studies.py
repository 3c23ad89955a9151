"""Studies and who is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from annotation import policies
from annotation.consent import agree, reword
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import read_interfaces
from annotation.models import (
    Membership,
    Role,
    Study,
    Wording,
)
from annotation.rules import RULES, read_rules
from annotation.services.items import LONGEST_TEXT, read_text

WORDS = {
    "name": 200,
    "guidelines": LONGEST_TEXT,
    "licence": 200,
    "consent": LONGEST_TEXT,
    "pay": LONGEST_TEXT,
}


def create_study(
    *,
    name: str,
    owner,
    guidelines: str = "",
    interfaces: list | None = None,
    overlap: int = 1,
    names_hidden: bool = True,
    licence: str = "",
    consent: str = "",
    pay: str = "",
    **given: Any,
) -> Study:
    """A new study; its owner is its first member. Without `interfaces` it compares answers in pairs.

    `given` are rules of its queue and its quality, as in `annotation.rules`.
    """
    words = {"name": name, "guidelines": guidelines, "licence": licence, "consent": consent, "pay": pay}
    words = _read_words(words)
    for unknown in set(given) - set(RULES):
        raise Invalid(f"A study has no {unknown}. Its rules: {', '.join(RULES)}.", field=unknown)
    if not 1 <= overlap <= 100:
        raise Invalid(f"Found an overlap of {overlap}; expected 1 to 100 people for a task.", field="overlap")
    with transaction.atomic():
        study = Study.objects.create(
            **words,
            **read_rules(given),
            interfaces=read_interfaces([{"kind": "pairwise"}] if interfaces is None else interfaces),
            overlap=overlap,
            names_hidden=names_hidden,
            created_by=owner,
        )
        for field in Wording.Field.values:
            if words[field]:
                reword(study=study, field=field, text=words[field], by=owner)
        membership = join_study(study=study, user=owner, role=Role.OWNER)
        if study.consent:
            agree(membership)  # to what they ask of others they agree by asking it
    return study


@transaction.atomic
def change_study(*, study: Study, by=None, **changes: Any) -> Study:
    """Changes what may change once people are at work: its words, its rules, and whether names are hidden.

    A new guideline or consent text is a new version of it, by whoever wrote it (the study's maker, if not said).
    """
    known = (*WORDS, *RULES, "names_hidden")
    for field in changes:
        if field not in known:
            raise Invalid(f"{field} cannot be changed. What can: {', '.join(known)}.", field=field)
    words = _read_words({field: value for field, value in changes.items() if field in WORDS})
    before = {name: getattr(study, name) for name in (*Wording.Field.values, "policy", "stratum")}
    changes = {**changes, **words, **read_rules(changes)}
    for field, value in changes.items():
        setattr(study, field, value)
    study.save(update_fields=list(changes))
    for field in Wording.Field.values:
        if getattr(study, field) != before[field]:
            reword(study=study, field=field, text=getattr(study, field), by=by or study.created_by)
    author = study.memberships.filter(user=by).first() if by else None
    if author and study.consent and study.consent != before["consent"]:
        agree(author)
    if (study.policy, study.stratum) != (before["policy"], before["stratum"]):
        transaction.on_commit(lambda: policies.arrange(study))
    return study


def _read_words(words: Mapping[str, str]) -> dict[str, str]:
    """The texts of a study, checked; only the name must not be empty."""
    read = {field: read_text(value, field, most=WORDS[field]) for field, value in words.items()}
    if "name" in read:
        read["name"] = read["name"].strip()
        if not read["name"]:
            raise Invalid("A study needs a name.", field="name")
    return read


def archive_study(*, study: Study, archived: bool = True) -> None:
    """Stops handing out tasks, or starts again. What people still have open may be submitted."""
    study.archived_at = timezone.now() if archived else None
    study.save(update_fields=["archived_at"])


def join_study(*, study: Study, user, role: str) -> Membership:
    """Makes someone a member; a member already there takes the role."""
    if role not in Role.values:
        raise Invalid(f"No role called {role!r}. Roles: {', '.join(Role.values)}.", field="role")
    membership, made = Membership.objects.update_or_create(study=study, user=user, defaults={"role": role})
    if made and user.simulated:  # a program has nothing to agree to, and its rule is stated
        membership.standing = Membership.Standing.PASSED
        membership.consent_version = study.consent_version
        membership.save(update_fields=["standing", "consent_version"])
    return membership


def add_member(*, study: Study, username: str, role: str) -> Membership:
    """Makes somebody who has an account a member."""
    name = read_text(username, "username", most=150)
    user = get_user_model().objects.filter(username__iexact=name, is_active=True).first()
    if user is None:
        raise Invalid(f"Nobody here is called {username!r}. Invite them with a link.", field="username")
    if study.memberships.filter(user=user).exists():
        raise Conflict(f"{user.username} is a member already. Change the role on the study's page.")
    return join_study(study=study, user=user, role=role)
