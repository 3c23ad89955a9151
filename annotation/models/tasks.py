"""Questions, and whose turn it is at them."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from annotation.models.items import Item
from annotation.models.studies import Study


class Part(models.TextChoices):
    """What a task is for. All look the same to whoever answers."""

    QUEUE = "queue", "asked of as many people as its overlap says"
    GOLD = "gold", "known answer, mixed into everyone's queue"
    CALIBRATION = "calibration", "asked of everyone, to compare them"
    QUALIFICATION = "qualification", "known answer, told at once, before the real work"
    REPEAT = "repeat", "asked of the same person once more, sides swapped"


EVERYONE = 32_767
"""The overlap of a task that everybody is asked."""


class TaskQuerySet(models.QuerySet):
    def arrived(self) -> TaskQuerySet:
        """Leaves out what an unfinished import has stored so far."""
        on_their_way = Item.objects.filter(pk=models.OuterRef("item_id"), upload__isnull=False)
        return self.filter(~models.Exists(on_their_way))


class Task(models.Model):
    """One question about one item, to be answered by `overlap` people.

    `open` counts the places nobody has taken: a lease takes one, and gives it back if it ends without a
    label. A waiting task has none until its item is first judged (then it asks about the preferred answer).
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="tasks")
    kind = models.CharField(max_length=40)
    candidates = ArrayField(models.BigIntegerField(), help_text="The candidates it asks about, by index.")
    position = models.BigIntegerField(
        help_text="Where the study's policy put it; tasks at one position follow by id."
    )
    part = models.CharField(max_length=15, choices=Part.choices, default=Part.QUEUE)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Whom alone it is for: a repeat, or a second qualification.",
    )
    overlap = models.PositiveSmallIntegerField()
    open = models.SmallIntegerField()
    done = models.SmallIntegerField(default=0, help_text="How many people's answers stand.")
    waiting = models.BooleanField(default=False)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]
        indexes = [
            models.Index(
                fields=["study", "position", "id"],
                name="task_open",
                condition=models.Q(open__gt=0, part=Part.QUEUE),
            ),
            models.Index(
                fields=["study", "kind", "position", "id"],
                name="task_open_by_kind",
                condition=models.Q(open__gt=0, part=Part.QUEUE),
            ),
            models.Index(fields=["study", "position", "id"], name="task_in_order"),
            models.Index(
                fields=["study", "part", "id"],
                name="task_aside",
                condition=~models.Q(part=Part.QUEUE),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["item", "kind", "candidates"],
                condition=models.Q(part__in=[Part.QUEUE, Part.CALIBRATION]),
                name="task_once",
            ),
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


class Exchange(models.Model):
    """One turn of a live conversation: what the person said, what was answered, and which answer they took.

    The answers are candidates of the item, in the order shown. In a conversation of both seats the person writes
    the answer too.
    """

    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="exchanges")
    number = models.PositiveSmallIntegerField(help_text="From 0.")
    said = models.TextField()
    wanted = models.PositiveSmallIntegerField(help_text="How many answers models owe.")
    replies = ArrayField(models.BigIntegerField(), default=list, help_text="Candidates, in the order shown.")
    chosen = models.BigIntegerField(null=True, blank=True, help_text="The candidate it goes on from.")
    outcome = models.CharField(
        max_length=10, blank=True, help_text="How the answers compared: chosen, tie or both_bad."
    )
    problem = models.CharField(max_length=500, blank=True, help_text="Why no model answered.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["assignment", "number"]
        constraints = [models.UniqueConstraint(fields=["assignment", "number"], name="exchange_once")]

    def __str__(self):
        return f"turn {self.number} of assignment {self.assignment_id}"
