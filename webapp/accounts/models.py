"""People, and the three kinds of secret that let them in: API tokens, one-time links, invitations.

A secret is shown once, when it is made. The database keeps its SHA-256 alone, so whoever reads a
backup can enter nowhere. The secrets are 256 random bits, so a plain fast hash is enough: there is
nothing to guess.
"""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import F
from django.db.models.functions import Lower
from django.utils import timezone

from annotation.models import Role


def digest_of(secret: str) -> str:
    """The form in which a secret is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


class PeopleManager(UserManager):
    use_in_migrations = False

    def get_by_natural_key(self, username):
        """Ada signs in as ada too: names differ by more than case, so there is one at most."""
        return self.get(username__iexact=username)


class User(AbstractUser):
    """Someone who labels, asks, or watches; or a program that labels in a person's place."""

    simulated = models.BooleanField(
        default=False, help_text="A program that answers by a stated rule, never a person."
    )
    source = models.CharField(
        max_length=100,
        blank=True,
        help_text="Where the account came from when nobody signed up, e.g. imported.",
    )
    keys = models.JSONField(
        default=dict,
        blank=True,
        help_text='The keys this person changed in the labelling room: {"skip": "x"}.',
    )

    objects = PeopleManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("username"),
                name="user_username_any_case",
                violation_error_message="Someone already has this name. Choose another.",
            )
        ]


class ApiTokenQuerySet(models.QuerySet):
    def live(self):
        return self.filter(revoked_at=None)


class ApiToken(models.Model):
    """Lets a program act as its owner over the API, until revoked."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(
        max_length=12, help_text="The first letters, so that its owner can tell tokens apart."
    )
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self):
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(cls, user, name: str) -> "tuple[ApiToken, str]":
        """Makes a token; the second value is the secret, which can never be read again."""
        plain = "kbz_" + secrets.token_urlsafe(32)
        return cls.objects.create(user=user, name=name, prefix=plain[:12], digest=digest_of(plain)), plain

    def revoke(self) -> None:
        ApiToken.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())


class LoginLink(models.Model):
    """Signs one person in, once, within minutes: what `make run` prints."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_links")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    @classmethod
    def issue(cls, user, minutes: int = 60) -> str:
        plain = secrets.token_urlsafe(32)
        cls.objects.create(
            user=user, digest=digest_of(plain), expires_at=timezone.now() + timedelta(minutes=minutes)
        )
        return plain

    @classmethod
    def redeem(cls, plain: str) -> "User | None":
        """The person the link signs in, or None. Of two clicks at once, the database lets one win."""
        fresh = cls.objects.filter(digest=digest_of(plain), used_at=None, expires_at__gt=timezone.now())
        if fresh.update(used_at=timezone.now()) != 1:
            return None
        return User.objects.filter(login_links__digest=digest_of(plain), is_active=True).first()


class InvitationQuerySet(models.QuerySet):
    def open(self):
        return self.filter(revoked_at=None, uses_left__gt=0, expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A link that lets whoever holds it join a study in one role."""

    study = models.ForeignKey("annotation.Study", on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=20, choices=Role.choices)
    digest = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    uses_left = models.PositiveIntegerField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self):
        return f"{self.get_role_display()} in study {self.study_id}"

    @classmethod
    def issue(cls, *, study, role: str, created_by, days: int, uses: int) -> "tuple[Invitation, str]":
        plain = secrets.token_urlsafe(32)
        row = cls.objects.create(
            study=study,
            role=role,
            digest=digest_of(plain),
            created_by=created_by,
            expires_at=timezone.now() + timedelta(days=days),
            uses_left=uses,
        )
        return row, plain

    def spend(self) -> bool:
        """Takes one use; False when another person took the last one, or it was revoked meanwhile."""
        return Invitation.objects.open().filter(pk=self.pk).update(uses_left=F("uses_left") - 1) == 1

    def revoke(self) -> None:
        Invitation.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
