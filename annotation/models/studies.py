"""Studies, who is in them, and what they agreed to."""

from __future__ import annotations

from functools import cached_property

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation import richtext


class Role(models.TextChoices):
    OWNER = "owner"
    RESEARCHER = "researcher"
    REVIEWER = "reviewer"
    ANNOTATOR = "annotator"

    @property
    def rank(self) -> int:
        """How much this role may do: whoever may do more may also do everything below."""
        return [Role.ANNOTATOR, Role.REVIEWER, Role.RESEARCHER, Role.OWNER].index(self)


class Policy(models.TextChoices):
    """Which task comes next; `annotation/policies.py` says how each puts them in order."""

    SEQUENTIAL = "sequential", "In the order in which they came"
    RANDOM = "random", "In a random order"
    ROUND_ROBIN = "round_robin", "One of each stratum in turn"
    UNCERTAIN = "uncertain", "First what the newest reward model is least sure of"
    DISPUTED = "disputed", "First what the newest reward models disagree about most"


class StudyQuerySet(models.QuerySet):
    def seen_by(self, user) -> StudyQuerySet:
        return self.filter(memberships__user=user)

    def active(self) -> StudyQuerySet:
        return self.filter(archived_at=None)


class Study(models.Model):
    """A set of questions put to a group of people, with the rules they are asked by."""

    name = models.CharField(max_length=200)
    guidelines = models.TextField(blank=True, help_text="What annotators should look for, in Markdown.")
    interfaces = models.JSONField(help_text='Ways of asking: [{"kind": "pairwise", "options": {}}, …].')
    overlap = models.PositiveSmallIntegerField(default=1, help_text="How many people answer each task.")
    names_hidden = models.BooleanField(default=True, help_text="Do not show which model wrote an answer.")
    licence = models.CharField(
        max_length=200, blank=True, help_text="Under which terms the labels may be used."
    )
    consent = models.TextField(blank=True, help_text="What annotators agreed to.")
    consent_version = models.PositiveIntegerField(
        default=0, help_text="Counts the changes of what people agree to; 0 where nothing is asked."
    )
    pay = models.TextField(blank=True, help_text="What annotators get for their work, and on what terms.")
    by_reliability = models.BooleanField(
        default=False, help_text="Weigh labels in snapshots by how reliable whoever gave them is."
    )
    policy = models.CharField(max_length=20, choices=Policy.choices, default=Policy.SEQUENTIAL)
    stratum = models.CharField(
        max_length=100, blank=True, help_text="The key of an item's source that names its stratum."
    )
    more_people = models.PositiveSmallIntegerField(
        default=0, help_text="How many more are asked where the answers to a task lie far apart."
    )
    wide_spread = models.FloatField(
        default=2.0, help_text="How far apart, on the scale of the interface, is far."
    )
    gold_rate = models.FloatField(default=0.0, help_text="The share of tasks with a known answer, 0 to 0.5.")
    calibration_rate = models.FloatField(default=0.0, help_text="The share that everyone is asked, 0 to 0.5.")
    repeat_rate = models.FloatField(default=0.0, help_text="The share asked again, sides swapped, 0 to 0.5.")
    share_gold = models.BooleanField(default=False, help_text="Show people how often they match the gold.")
    pass_bar = models.FloatField(
        default=0.0, help_text="The share of the qualification to get right, 0 to 1; 0 asks for none."
    )
    drift_bar = models.FloatField(
        default=0.0, help_text="Who falls below this share of right gold answers qualifies anew; 0 for never."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = StudyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name_plural = "studies"
        constraints = [
            models.CheckConstraint(condition=models.Q(overlap__gte=1), name="study_overlap_positive")
        ]

    def __str__(self):
        return self.name

    @property
    def guidelines_html(self):
        return richtext.render(self.guidelines)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of interface of this study, in the order in which they are asked."""
        return [entry["kind"] for entry in self.interfaces]

    def options(self, kind: str) -> dict:
        """What this study set for an interface; empty for one it does not ask."""
        return next((entry["options"] for entry in self.interfaces if entry["kind"] == kind), {})


class Wording(models.Model):
    """A text of a study as it stood from some moment on: which guideline a label was given under."""

    class Field(models.TextChoices):
        GUIDELINES = "guidelines"
        CONSENT = "consent"

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="wordings")
    field = models.CharField(max_length=20, choices=Field.choices)
    version = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["version"]
        constraints = [
            models.UniqueConstraint(fields=["study", "field", "version"], name="wording_version_once")
        ]

    def __str__(self):
        return f"{self.field} {self.version} of {self.study}"


class Membership(models.Model):
    """What one person may do in one study. No membership, no study."""

    class Standing(models.TextChoices):
        """Where an annotator stands with the qualification."""

        NEW = "new", "has not done it"
        PASSED = "passed", "passed"
        FAILED = "failed", "did not pass; a researcher decides"
        AGAIN = "again", "drifted, and does it anew"

    class Attribution(models.TextChoices):
        """How a person's labels name them in what leaves the studio."""

        PSEUDONYM = "pseudonym", "by a pseudonym"
        NAMED = "named", "by name"
        NONE = "none", "not at all"

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    standing = models.CharField(max_length=10, choices=Standing.choices, default=Standing.NEW)
    standing_at = models.DateTimeField(null=True, blank=True, help_text="When the standing last changed.")
    consent_version = models.PositiveIntegerField(
        default=0,
        help_text="What they agreed to last and still do; 0 for nothing. `Consent` has the history.",
    )
    attribution = models.CharField(max_length=10, choices=Attribution.choices, default=Attribution.PSEUDONYM)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["study", "user"], name="membership_once")]

    def __str__(self):
        return f"{self.user} is {self.role} of {self.study}"

    def may(self, role: Role) -> bool:
        return Role(self.role).rank >= role.rank


class Consent(models.Model):
    """One person's yes to what a study asks them to agree to, and when they took it back."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="consents")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="consents")
    version = models.PositiveIntegerField()
    given_at = models.DateTimeField(db_default=Now())
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return f"{self.user_id} to version {self.version}"
