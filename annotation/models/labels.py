"""What people said, what is known, and what reviewers made of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.models.items import Candidate, Item
from annotation.models.studies import Study
from annotation.models.tasks import Assignment, Task


class LabelQuerySet(models.QuerySet):
    def current(self) -> LabelQuerySet:
        """What people hold today: neither withdrawn nor replaced by a change of mind."""
        return self.arrived().filter(withdrawn=False, superseded_by=None)

    def arrived(self) -> LabelQuerySet:
        """Leaves out what an unfinished import has stored so far: a file is in whole, or not at all."""
        on_their_way = Item.objects.filter(tasks=models.OuterRef("task_id"), upload__isnull=False)
        return self.filter(~models.Exists(on_their_way))


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
            models.Index(fields=["study", "created_at"], name="label_by_time"),
            models.Index(fields=["annotator", "study", "created_at"], name="label_of_annotator"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"], condition=models.Q(supersedes=None), name="label_first_once"
            ),
        ]

    def __str__(self):
        return f"{self.kind} label {self.pk}"


class Gold(models.Model):
    """The known answer to a task, by whom, and the reason that people are told."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="gold")
    answer = models.JSONField(help_text="As a label's answer.")
    reason = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self):
        return f"gold of task {self.task_id}"


class Remark(models.Model):
    """Words about a task beside its answer: a flag, a note to the researchers, or a label sent back."""

    class Kind(models.TextChoices):
        FLAG = "flag"
        NOTE = "note"
        SENT_BACK = "sent_back", "sent back"

    class Reason(models.TextChoices):
        """Why a task is flagged."""

        HARMFUL = "harmful", "harmful"
        PERSONAL = "personal_data", "personal data"
        NONSENSE = "nonsense", "nonsense"
        BROKEN = "broken", "broken"

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="remarks")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="remarks")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="remarks")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    reason = models.CharField(max_length=20, choices=Reason.choices, blank=True)
    text = models.TextField(blank=True)
    candidate = models.ForeignKey(
        Candidate, on_delete=models.CASCADE, null=True, blank=True, related_name="+",
        help_text="The answer that is meant, where it is one of them.",
    )  # fmt: skip
    label = models.ForeignKey(
        Label, on_delete=models.CASCADE, null=True, blank=True, related_name="remarks",
        help_text="The label that is sent back.",
    )  # fmt: skip
    key = models.UUIDField(unique=True, help_text="Made where it was written, so that a retry is the same.")
    created_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["study", "id"], name="remark_flag_open",
                condition=models.Q(kind="flag", resolved_at=None),
            )
        ]  # fmt: skip

    def __str__(self):
        return f"{self.kind} about task {self.task_id}"


class Verdict(models.Model):
    """What a reviewer settled a task to: it stands in snapshots in place of the labels. Never edited."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="verdicts")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="verdicts")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="verdicts")
    answer = models.JSONField(help_text="As a label's answer.")
    reason = models.TextField(blank=True, help_text="Told to those who had answered otherwise.")
    supersedes = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="superseded_by"
    )
    withdrawn = models.BooleanField(default=False, help_text="Takes back the verdict it supersedes.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["task"], condition=models.Q(supersedes=None), name="verdict_first_once"
            )
        ]

    def __str__(self):
        return f"verdict on task {self.task_id}"


class Reliability(models.Model):
    """How far people agree and how much each one's labels say, as fitted on the labels up to `last_label`."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="reliabilities")
    last_label = models.BigIntegerField()
    report = models.JSONField(help_text="As `annotation.reliability.report` makes it.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "reliabilities"

    def __str__(self):
        return f"reliability of {self.study} up to label {self.last_label}"
