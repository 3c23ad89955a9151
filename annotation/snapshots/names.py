"""What people are called in what leaves the studio: a pseudonym, their name, or nothing, as each of them chose."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings
from django.contrib.auth import get_user_model

from annotation.models import Membership, Study

IMPORTED = "imported"


def pseudonym(study: int, user: int) -> str:
    """The same for one person throughout a study, different in every other, and not to be undone without the key."""
    keyed = hmac.new(settings.SECRET_KEY.encode(), f"annotator {study} {user}".encode(), hashlib.sha256)
    return f"annotator-{keyed.hexdigest()[:8]}"


class People:
    """Whoever gave a study's labels: their accounts, what to call them, and what each is."""

    def __init__(self, study: Study) -> None:
        self.study = study.pk
        self.chosen = dict(study.memberships.values_list("user", "attribution"))
        self.accounts: dict = {}

    def learn(self, keys: set[int]) -> None:
        """Looks up the accounts that were not met yet."""
        missing = keys - set(self.accounts)
        if missing:
            self.accounts |= get_user_model().objects.in_bulk(missing)

    def name(self, user: int) -> str:
        """Who came with a file has the name that the file gave; nobody here can ask them for another."""
        account = self.accounts[user]
        if account.source == IMPORTED:
            return account.username
        match self.chosen.get(user, Membership.Attribution.PSEUDONYM):
            case Membership.Attribution.NAMED:
                return account.username
            case Membership.Attribution.NONE:
                return ""
        return pseudonym(self.study, user)

    def what(self, user: int) -> str:
        account = self.accounts[user]
        return "a program" if account.simulated else account.source or "a person"
