"""What goes in and out: imports, snapshots, letters to other programs."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from annotation import richtext
from annotation.models.studies import Study


class Snapshot(models.Model):
    """The labels of a study as they stood, frozen into files named by their SHA-256."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="snapshots")
    name = models.CharField(max_length=200, blank=True)
    digest = models.CharField(max_length=64)
    counts = models.JSONField(help_text='How many records of which kind: {"pair": 120}.')
    records = models.PositiveIntegerField()
    process = models.JSONField(
        default=dict, blank=True, help_text="What was asked for, and what each filter took in and left out."
    )
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
        CANCELLED = "cancelled"

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
    cancel_asked = models.BooleanField(default=False)
    sent_at = models.DateTimeField(db_default=Now(), help_text="When a worker was last called.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self):
        return f"{self.filename} into {self.study}"


class Webhook(models.Model):
    """An address that is told what happens in a study, in signed letters."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    secret = models.CharField(max_length=100, help_text="Signs every letter; starts with whsec_.")
    events = ArrayField(models.CharField(max_length=40), help_text="What it wants to hear of.")
    active = models.BooleanField(default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.url


class Delivery(models.Model):
    """One letter to a webhook, until it arrives or is given up."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    letter = models.UUIDField(unique=True, help_text="Its id, the same at every attempt.")
    payload = models.JSONField()
    attempts = models.PositiveSmallIntegerField(default=0)
    status = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="What the address last answered."
    )
    problem = models.CharField(max_length=300, blank=True)
    next_at = models.DateTimeField(null=True, blank=True, db_default=Now(), help_text="Null once it is over.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "deliveries"
        indexes = [models.Index(fields=["next_at"], name="delivery_due", condition=~models.Q(next_at=None))]

    def __str__(self):
        return f"{self.event} to {self.webhook}"
