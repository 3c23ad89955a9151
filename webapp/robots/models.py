"""What is kept of robots at work: sessions, their episodes, and every word that was said to them.

PostgreSQL is the only truth. A correction is a row before the robot hears of it, and what a session should be doing
stands in its own row, so that a supervisor that comes anew knows it. The steps are files (`trainers.episodes`).
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

# A supervisor writes its heartbeat every second; one silent for this long is taken for dead.
SILENT_AFTER = timedelta(seconds=6)


def a_name() -> str:
    """For an episode that is still to be lived."""
    return secrets.token_hex(16)


class Status(models.TextChoices):
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    """The episode is over; somebody may begin another."""
    LOST = "lost"
    """Its worker or its process is gone; the next one goes on from the last snapshot."""
    ENDED = "ended"


# Its supervisor is at work, or was when it was last heard of.
HELD = (Status.RUNNING, Status.PAUSED, Status.WAITING)


class Pilot(models.TextChoices):
    POLICY = "policy", "A learned policy"
    SCRIPTED = "scripted", "The world's own rules (scripted)"
    NOBODY = "nobody", "Nobody: it is driven"


class SessionQuerySet(models.QuerySet):
    def open(self) -> SessionQuerySet:
        return self.exclude(status=Status.ENDED)

    def mine(self, pk: int, attempt: int) -> SessionQuerySet:
        """The session, if this supervisor still holds it: every write of a supervisor goes through here."""
        return self.open().filter(pk=pk, attempt=attempt)


class Session(models.Model):
    """A robot in a world, from the moment it is asked for until it is sent away: one episode after another."""

    study = models.ForeignKey("annotation.Study", models.CASCADE, related_name="sessions")
    policy = models.ForeignKey(
        "runs.Artifact", models.PROTECT, null=True, blank=True, related_name="sessions"
    )
    pilot = models.CharField(max_length=10, choices=Pilot.choices, default=Pilot.POLICY)
    world = models.CharField(max_length=100)
    task = models.CharField(max_length=200, blank=True)
    dials = models.JSONField(default=dict, blank=True)
    seed = models.BigIntegerField(
        default=0, help_text="Of the first episode; the next ones count up from it."
    )
    hold = models.PositiveIntegerField(default=30, help_text="Steps for which what was said is obeyed.")
    speed = models.FloatField(default=1.0, help_text="1 is the world's own time.")
    alone = models.BooleanField(default=False, help_text="It tries by itself; nobody steers.")
    repeats = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="repeated_by",
        help_text="The session whose seeds it plays again.",
    )  # fmt: skip

    # What it should be doing, as people asked for it.
    paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    ending = models.BooleanField(default=False)
    wanted = models.PositiveIntegerField(default=1, help_text="Episodes that were asked for so far.")
    wanted_seed = models.BigIntegerField(null=True, blank=True, help_text="Of the newest of them.")
    wanted_ref = models.UUIDField(null=True, blank=True)
    steerer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    asking = models.JSONField(default=list, blank=True, help_text="Names of those who ask to steer.")

    # What it is doing, as its supervisor saw it last.
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.STARTING)
    why = models.TextField(blank=True)
    seconds = models.FloatField(default=0.1)
    layer = models.CharField(max_length=10, blank=True)
    motions = models.JSONField(default=dict, blank=True)
    bank = models.JSONField(default=list, blank=True)
    actions = models.JSONField(default=list, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    attempt = models.IntegerField(default=0)
    strikes = models.IntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="robot_sessions"
    )
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["status"], name="session_by_status")]

    def __str__(self) -> str:
        return f"session {self.pk}"

    @property
    def home(self) -> Path:
        return settings.KIBITZ_HOME / "robots" / str(self.pk)

    @property
    def flown_by(self) -> str:
        """Who acts when nobody drives, in words."""
        if self.pilot == Pilot.POLICY and self.policy:
            return self.policy.name
        return Pilot(self.pilot).label


class Take(models.Model):
    """One episode of a session. Its steps are in the store of episodes, under its name."""

    session = models.ForeignKey(Session, models.CASCADE, related_name="takes")
    number = models.PositiveIntegerField()
    episode = models.CharField(max_length=32, unique=True, default=a_name)
    seed = models.BigIntegerField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    scene = models.JSONField(default=dict, blank=True)
    state = models.JSONField(default=list, blank=True, help_text="At its beginning.")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    steps = models.PositiveIntegerField(default=0)
    score = models.FloatField(null=True, blank=True)
    success = models.BooleanField(null=True, blank=True, help_text="In the world's own eyes.")
    why = models.TextField(blank=True)
    done = models.JSONField(default=dict, blank=True, help_text="The stages, in the world's own eyes.")
    marked = models.BooleanField(null=True, blank=True, help_text="A success in a person's eyes.")
    stages = models.JSONField(default=dict, blank=True)
    marked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    recording = models.ForeignKey(
        "annotation.Recording", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    kept_at = models.DateTimeField(null=True, blank=True, help_text="Since when its labels are stored.")
    problem = models.TextField(blank=True, help_text="Why they are not, where they cannot be.")

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["session", "number"], name="take_once")]

    def __str__(self) -> str:
        return f"episode {self.number} of session {self.session_id}"


class Said(models.Model):
    """What a person told a robot to do, from the moment it was sent to the last step that obeyed it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        """The robot has yet to hear of it."""
        IN_FORCE = "in_force"
        OVER = "over"
        LOST = "lost"
        """The episode ended before the robot could obey it."""

    session = models.ForeignKey(Session, models.CASCADE, related_name="said")
    take = models.ForeignKey(Take, models.CASCADE, related_name="said")
    ref = models.UUIDField(help_text="Made in the browser: the same one again is the same message.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    layer = models.CharField(max_length=10, default="command")
    key = models.CharField(max_length=10, blank=True, help_text="The motion key that was pressed.")
    text = models.TextField(blank=True, help_text="As it was typed, said or pressed.")
    command = models.TextField(help_text="As it was understood, and confirmed.")
    matched = models.IntegerField(null=True, blank=True, help_text="Which of the policy's commands it is.")
    predicted = models.TextField(blank=True, help_text="What the policy wanted itself at that moment.")
    choices = models.JSONField(default=list, blank=True, help_text="Its five likeliest, with probabilities.")
    hold = models.CharField(max_length=20, help_text="steps:N, or held until let go.")
    paused_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the robot was paused for it."
    )
    sent_at = models.DateTimeField(db_default=Now())
    let_go_at = models.DateTimeField(null=True, blank=True)
    step = models.IntegerField(null=True, blank=True, help_text="The step under way when the robot heard it.")
    start = models.IntegerField(null=True, blank=True, help_text="The first step that obeyed it.")
    stop = models.IntegerField(null=True, blank=True, help_text="The step after the last one that did.")
    status = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    outcome = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["session", "ref"], name="said_once")]
        indexes = [models.Index(fields=["take", "id"], name="said_in_take")]

    def __str__(self) -> str:
        return self.text or self.command


class Drive(models.Model):
    """A stretch of an episode that a person drove and recorded as a demonstration."""

    take = models.ForeignKey(Take, models.CASCADE, related_name="drives")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    ref = models.UUIDField(unique=True)
    start = models.IntegerField(null=True, blank=True)
    stop = models.IntegerField(null=True, blank=True)
    closed = models.BooleanField(default=False)
    discarded = models.BooleanField(default=False)
    kept = models.BooleanField(default=False, help_text="Whether a label was ever made of it.")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"a drive in {self.take}"
