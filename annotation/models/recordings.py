"""Robots' episodes that a study has seen: who may look at which. Their steps are files (`trainers.episodes`)."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.models.studies import Study


class Recording(models.Model):
    """An episode of a study. Its arrays never change once it has ended."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="recordings")
    episode = models.CharField(max_length=32, unique=True, help_text="Its name in the store of episodes.")
    world = models.CharField(max_length=100)
    task = models.CharField(max_length=200, blank=True)
    seed = models.BigIntegerField(default=0)
    policy = models.CharField(max_length=200, blank=True, help_text="What acted; empty where a person drove.")
    steps = models.PositiveIntegerField(default=0)
    score = models.FloatField(null=True, help_text="How much of the task was done, from 0 to 1.")
    success = models.BooleanField(null=True)
    ended = models.BooleanField(default=False)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+",
        help_text="Who steered or drove it.",
    )  # fmt: skip
    source = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["study", "-id"], name="recording_of_study")]

    def __str__(self):
        return f"episode {self.episode[:8]}"
