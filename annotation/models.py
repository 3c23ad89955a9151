"""What people are asked, and what they answered.

    Study ─▶ Item (a prompt or a chat) ─▶ Candidate (an answer to it)
      │        └─▶ Task (one question about it) ─▶ Assignment (whose turn) ─▶ Label (what they said)
      └─▶ Snapshot (labels, frozen into a file)

A label is never edited: a change of mind is a new row that supersedes the old one.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
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


class Membership(models.Model):
    """What one person may do in one study. No membership, no study."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["study", "user"], name="membership_once")]

    def __str__(self):
        return f"{self.user} is {self.role} of {self.study}"

    def may(self, role: Role) -> bool:
        return Role(self.role).rank >= role.rank


class Item(models.Model):
    """A prompt or a chat that answers are about: {"prompt": "…"} or {"messages": [{"role", "content"}, …]}."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="items")
    context = models.JSONField()
    position = models.BigIntegerField(help_text="Where it stands in the queue.")
    external_id = models.CharField(max_length=200, blank=True)
    source = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "pk"]
        indexes = [models.Index(fields=["study", "position", "id"], name="item_in_order")]
        constraints = [
            models.UniqueConstraint(
                fields=["study", "external_id"],
                condition=~models.Q(external_id=""),
                name="item_external_id_once",
            )
        ]

    def __str__(self):
        return f"item {self.pk}"


class Candidate(models.Model):
    """One possible answer to an item, and where it came from."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="candidates")
    index = models.PositiveSmallIntegerField()
    text = models.TextField()
    policy = models.CharField(max_length=200, blank=True, help_text="Who or what wrote it.")
    source = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["item", "index"]
        constraints = [models.UniqueConstraint(fields=["item", "index"], name="candidate_index_once")]

    def __str__(self):
        return f"candidate {self.pk}"


class Task(models.Model):
    """One question about one item, to be answered by `overlap` people.

    `open` counts the places nobody has taken: a lease takes one, and gives it back if it ends without a
    label. A waiting task has none until its item is first judged (then it asks about the preferred answer).
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="tasks")
    kind = models.CharField(max_length=40)
    candidates = ArrayField(models.BigIntegerField(), help_text="The candidates it asks about, by index.")
    position = models.BigIntegerField(help_text="Its item's; tasks at one position follow by id.")
    overlap = models.PositiveSmallIntegerField()
    open = models.SmallIntegerField()
    done = models.SmallIntegerField(default=0, help_text="How many people's answers stand.")
    waiting = models.BooleanField(default=False)

    class Meta:
        ordering = ["position", "pk"]
        indexes = [
            models.Index(
                fields=["study", "position", "id"], name="task_open", condition=models.Q(open__gt=0)
            ),
            models.Index(
                fields=["study", "kind", "position", "id"],
                name="task_open_by_kind",
                condition=models.Q(open__gt=0),
            ),
            models.Index(fields=["study", "position", "id"], name="task_in_order"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["item", "kind", "candidates"], name="task_once"),
            models.CheckConstraint(
                condition=models.Q(open__gte=0, done__gte=0)
                & models.Q(overlap__gte=models.F("open") + models.F("done")),
                name="task_overlap_never_exceeded",
            ),
        ]

    def __str__(self):
        return f"{self.kind} task {self.pk}"


class Assignment(models.Model):
    """One person's turn at one task: leased for a short while, then answered, skipped or given up."""

    class State(models.TextChoices):
        LEASED = "leased"
        SUBMITTED = "submitted"
        SKIPPED = "skipped"
        EXPIRED = "expired"

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="+", db_index=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="assignments", db_index=False
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.LEASED)
    lease_until = models.DateTimeField()
    order = ArrayField(models.BigIntegerField(), help_text="The candidates as this person was shown them.")
    reason = models.TextField(blank=True, help_text="Why it was skipped.")
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["annotator", "study", "id"], name="assignment_of_annotator"),
            models.Index(
                fields=["annotator", "study"], name="assignment_held", condition=models.Q(state="leased")
            ),
            models.Index(
                fields=["study", "lease_until"], name="assignment_by_end", condition=models.Q(state="leased")
            ),
        ]
        constraints = [models.UniqueConstraint(fields=["task", "annotator"], name="assignment_once")]

    def __str__(self):
        return f"{self.annotator_id} at task {self.task_id}: {self.state}"


class LabelQuerySet(models.QuerySet):
    def current(self) -> LabelQuerySet:
        """What people hold today: neither withdrawn nor replaced by a change of mind."""
        return self.filter(withdrawn=False, superseded_by=None)


class Label(models.Model):
    """What one person said, kept forever. The database refuses to change a row (see the migration).

    A withdrawal is a row too: `withdrawn`, superseding the label it takes back, by whoever took it back.
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="labels", db_index=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="labels")
    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="labels")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="labels", db_index=False
    )
    kind = models.CharField(max_length=40)
    answer = models.JSONField()
    key = models.UUIDField(
        unique=True, help_text="Made where the answer was given, so that a retry is the same label."
    )
    supersedes = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="superseded_by"
    )
    withdrawn = models.BooleanField(default=False)
    seconds = models.FloatField(default=0.0, help_text="How long the person took.")
    source = models.JSONField(
        default=dict, blank=True, help_text="Where it came from when it was not given here."
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = LabelQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["study", "id"], name="label_of_study"),
            models.Index(fields=["annotator", "study", "created_at"], name="label_of_annotator"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"], condition=models.Q(supersedes=None), name="label_first_once"
            ),
        ]

    def __str__(self):
        return f"{self.kind} label {self.pk}"


class Snapshot(models.Model):
    """The labels of a study as they stood, frozen into files named by their SHA-256."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="snapshots")
    name = models.CharField(max_length=200, blank=True)
    digest = models.CharField(max_length=64)
    counts = models.JSONField(help_text='How many records of which kind: {"pair": 120}.')
    records = models.PositiveIntegerField()
    card = models.TextField(help_text="Licence, consent, provenance, who and when; Markdown.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["study", "digest"], name="snapshot_once")]

    def __str__(self):
        return self.name or f"snapshot {self.digest[:8]}"

    @property
    def folder(self) -> Path:
        return settings.SNAPSHOTS / self.digest

    @property
    def card_html(self):
        return richtext.render(self.card)


class ImportJob(models.Model):
    """One file on its way into a study: all of it, or nothing."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        CHECKING = "checking"
        STORING = "storing"
        FINISHED = "finished"
        FAILED = "failed"

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="imports")
    format = models.CharField(max_length=20)
    filename = models.CharField(max_length=200)
    path = models.CharField(max_length=500, blank=True, help_text="The uploaded file, until it is imported.")
    digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the file.")
    licence = models.CharField(max_length=200, blank=True, help_text="Under which terms the file came.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    total = models.PositiveIntegerField(
        null=True, blank=True, help_text="Rows in the file, once it is checked."
    )
    done = models.PositiveIntegerField(default=0, help_text="Rows checked, then rows stored.")
    counts = models.JSONField(
        default=dict, blank=True, help_text='What it brought: {"items": 400, "labels": 2790}.'
    )
    errors = models.JSONField(
        default=list, blank=True, help_text='[{"line", "field", "message", "cure"}, …].'
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(db_default=Now(), help_text="When a worker was last called.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self):
        return f"{self.filename} into {self.study}"
