"""What is asked about: prompts, and the answers to them."""

from __future__ import annotations

from django.db import models

from annotation.models.studies import Study


class Signal(models.TextChoices):
    """What whoever a text is from said about training on it."""

    UNKNOWN = "unknown", "nothing known"
    TRAIN = "train", "may be trained on"
    NO_TRAIN = "no_train", "must not be trained on"


class Item(models.Model):
    """A prompt or a chat that answers are about: {"prompt": "…"} or {"messages": [{"role", "content"}, …]}."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="items")
    context = models.JSONField()
    position = models.BigIntegerField(help_text="Where it stands in the queue.")
    external_id = models.CharField(max_length=200, blank=True)
    source = models.JSONField(default=dict, blank=True)
    licence = models.CharField(
        max_length=200, blank=True, help_text="An SPDX id or named terms; empty: the study's."
    )
    collected_on = models.DateField(null=True, blank=True, help_text="When the text was collected.")
    collector = models.CharField(max_length=200, blank=True, help_text="Who collected it.")
    jurisdiction = models.CharField(max_length=100, blank=True, help_text="Whose law it was collected under.")
    signal = models.CharField(max_length=10, choices=Signal.choices, default=Signal.UNKNOWN)
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is kept out of queue and snapshots."
    )
    withdrawn_reason = models.TextField(blank=True)
    upload = models.ForeignKey(
        "ImportJob",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="items",
        help_text="The import that brings it and is not finished; null once it is, or without one.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "pk"]
        indexes = [
            models.Index(fields=["study", "position", "id"], name="item_in_order"),
            models.Index(
                fields=["study", "id"], name="item_withdrawn", condition=~models.Q(withdrawn_at=None)
            ),
        ]
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
