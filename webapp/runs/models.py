"""What is kept of training: runs and their points, samples and events; artifacts; workers; the loop of a study.

PostgreSQL is the only truth. A run that is queued or running is a row here; the broker merely wakes a worker.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

# A worker writes its heartbeat every two seconds; one silent for this long is taken for dead.
SILENT_AFTER = timedelta(seconds=15)
# A run is put on the queue for runs unless its asker names another (a machine's GPU, say).
DEFAULT_QUEUE = "cpu"


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


# A worker holds the run: only that worker's current attempt may write to it.
HELD = (Status.RUNNING, Status.PAUSED, Status.STOPPING)
ENDED = (Status.STOPPED, Status.FINISHED, Status.FAILED)


class RunQuerySet(models.QuerySet):
    def seen_by(self, user) -> RunQuerySet:
        """Runs of the studies this person may follow, and those they started outside any study."""
        from annotation.models import Membership, Role

        roles = [role for role in Role if role.rank >= Role.REVIEWER.rank]
        studies = Membership.objects.filter(user=user, role__in=roles)
        return self.filter(
            models.Q(study__in=studies.values("study")) | models.Q(study__isnull=True, created_by=user.pk)
        )

    def held(self) -> RunQuerySet:
        return self.filter(status__in=HELD)

    def silent(self) -> RunQuerySet:
        """Runs whose worker has not been heard of for too long."""
        return self.held().filter(heartbeat_at__lt=Now() - SILENT_AFTER)

    def mine(self, run: int, attempt: int) -> RunQuerySet:
        """The run, if this attempt still holds it: every write of a supervisor goes through here."""
        return self.held().filter(pk=run, attempt=attempt)


class Run(models.Model):
    """One training of one method on one snapshot, from the moment it is asked for."""

    study = models.ForeignKey("annotation.Study", models.CASCADE, null=True, blank=True, related_name="runs")
    snapshot = models.ForeignKey(
        "annotation.Snapshot", models.PROTECT, null=True, blank=True, related_name="runs"
    )
    name = models.CharField(max_length=200, blank=True)
    method = models.CharField(max_length=100)
    config = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    gold = models.CharField(
        max_length=100, blank=True
    )  # a rule of trainers.envs, plotted beside what was learned
    queue = models.CharField(max_length=50, default=DEFAULT_QUEUE)
    trigger = models.CharField(
        max_length=10, default="person", choices=[("person", "person"), ("loop", "loop")]
    )
    round = models.IntegerField(null=True, blank=True)
    provenance = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="runs")
    created_at = models.DateTimeField(db_default=Now())

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    reason = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    worker = models.CharField(max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempt = models.IntegerField(default=0)
    strikes = models.SmallIntegerField(default=0)  # deaths in a row without one new row logged

    epoch = models.IntegerField(default=0)  # a new epoch begins where the files of the last are gone
    step = models.BigIntegerField(default=0)
    total_steps = models.BigIntegerField(null=True, blank=True)
    last_seq = models.BigIntegerField(default=0)
    report = models.JSONField(default=dict, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["status"], name="run_under_way", condition=models.Q(status__in=[Status.QUEUED, *HELD])
            ),
            models.Index(fields=["study", "-id"], name="run_of_study"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} {self.method}" + (f" ({self.name})" if self.name else "")

    @property
    def home(self) -> Path:
        """The directory of its journal, checkpoints, console and artifacts."""
        return settings.RUNS / str(self.pk)

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Artifact(models.Model):
    """A file or directory that a run made or a person brought: a model, proposed items, a report."""

    class Kind(models.TextChoices):
        POLICY = "policy"
        REWARD_MODEL = "reward_model"
        ROBOT_POLICY = "robot_policy"
        ITEMS = "items"
        REPORT = "report"

    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="artifacts")
    study = models.ForeignKey(
        "annotation.Study", models.CASCADE, null=True, blank=True, related_name="artifacts"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    name = models.CharField(max_length=200)
    path = models.CharField(max_length=500)  # relative to KIBITZ_HOME
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    meta = models.JSONField(default=dict, blank=True)
    step = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["run", "kind", "name", "step"], name="artifact_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def location(self) -> Path:
        return settings.KIBITZ_HOME / self.path


class RunInput(models.Model):
    """An earlier artifact that a run starts from, by the role it plays there."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="inputs")
    role = models.CharField(max_length=50)
    artifact = models.ForeignKey(Artifact, models.PROTECT, related_name="uses")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "role"], name="input_once")]

    def __str__(self) -> str:
        return f"{self.role}: {self.artifact}"


class Series(models.Model):
    """One logged name of a run, and its summary: lists and vital signs never touch the chunks."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="series")
    index = models.SmallIntegerField()  # its number on the wire
    name = models.CharField(max_length=200)
    last_step = models.FloatField(null=True)
    last = models.FloatField(null=True)
    minimum = models.FloatField(null=True)  # of the finite values; null while there is none
    maximum = models.FloatField(null=True)
    count = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["run", "index"], name="series_number"),
            models.UniqueConstraint(fields=["run", "name"], name="series_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Chunk(models.Model):
    """Some log rows of a run as one block of bytes, exactly as it goes over the wire (see frames.py)."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="chunks", db_index=False)
    epoch = models.IntegerField()
    seq_from = models.BigIntegerField()
    seq_to = models.BigIntegerField()
    step_min = models.FloatField()
    step_max = models.FloatField()
    frame = models.BinaryField()

    class Meta:
        ordering = ["run", "epoch", "seq_to"]
        constraints = [models.UniqueConstraint(fields=["run", "epoch", "seq_to"], name="chunk_once")]

    def __str__(self) -> str:
        return f"rows {self.seq_from} to {self.seq_to}"


class Sample(models.Model):
    """A text the model wrote at a step, with its scores."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="samples", db_index=False)
    step = models.BigIntegerField()
    index = models.IntegerField()
    prompt = models.TextField()
    text = models.TextField()
    scores = models.JSONField(default=dict)
    length = models.IntegerField(default=0)

    class Meta:
        ordering = ["run", "step", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "index"], name="sample_once")]

    def __str__(self) -> str:
        return f"sample {self.index} at step {self.step}"


class Histogram(models.Model):
    """How a quantity was spread at a step."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="histograms", db_index=False)
    name = models.CharField(max_length=200)
    step = models.BigIntegerField()
    edges = ArrayField(models.FloatField())
    counts = ArrayField(models.FloatField())

    class Meta:
        ordering = ["run", "name", "step"]
        constraints = [models.UniqueConstraint(fields=["run", "name", "step"], name="histogram_once")]

    def __str__(self) -> str:
        return f"{self.name} at step {self.step}"


class Event(models.Model):
    """Something that happened to a run and is marked on its charts: a checkpoint, a changed knob, a restart."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    key = models.CharField(max_length=200)
    step = models.BigIntegerField()
    seq = models.BigIntegerField()  # the newest row when it was kept
    kind = models.CharField(max_length=30)
    text = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(db_default=Now())
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["run", "pk"]
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="event_once")]

    def __str__(self) -> str:
        return self.text


class Command(models.Model):
    """What a person asked of a run under way. The child reads it between steps; the row is the audit."""

    class Kind(models.TextChoices):
        STOP = "stop"
        KILL = "kill"
        PAUSE = "pause"
        RESUME = "resume"
        CHECKPOINT = "checkpoint"
        SET = "set"
        LABELS = "labels"  # what people said while it runs: the site sends it, nobody asks for it

    run = models.ForeignKey(Run, models.CASCADE, related_name="commands")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    args = models.JSONField(default=dict)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)
    applied_step = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.args or ''}".strip()


class WorkerQuerySet(models.QuerySet):
    def alive(self) -> WorkerQuerySet:
        return self.filter(heartbeat_at__gte=Now() - SILENT_AFTER)

    def taking(self, queue: str) -> WorkerQuerySet:
        return self.filter(queues__contains=[queue])


class Worker(models.Model):
    """A Celery worker process: one row while it lives, written every two seconds."""

    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=200)
    machine = models.CharField(max_length=100)  # within one machine a dead pid proves a dead worker
    pid = models.IntegerField()
    queues = ArrayField(models.CharField(max_length=50))
    slots = models.IntegerField()
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Loop(models.Model):
    """A study that retrains itself: enough new labels, a reward model, a policy, new questions; round again."""

    study = models.OneToOneField("annotation.Study", models.CASCADE, related_name="loop")
    retrain_on = models.BooleanField(default=False)
    retrain_every = models.IntegerField(default=50)
    propose_on = models.BooleanField(default=False)
    propose_count = models.IntegerField(default=20)
    reward_method = models.CharField(max_length=100, default="reward/bradley_terry")
    reward_config = models.JSONField(default=dict, blank=True)
    policy_method = models.CharField(max_length=100, default="online/rloo")
    policy_config = models.JSONField(default=dict, blank=True)
    query_method = models.CharField(max_length=100, default="query/random")
    query_config = models.JSONField(default=dict, blank=True)
    gold = models.CharField(max_length=100, blank=True)
    seed = models.BigIntegerField(default=0)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    round = models.IntegerField(default=0)  # the newest round begun
    snapshot = models.ForeignKey("annotation.Snapshot", models.SET_NULL, null=True, related_name="+")
    labels_seen = models.BigIntegerField(default=0)  # the newest label frozen into that snapshot
    problem = models.TextField(blank=True)  # why the round cannot go on, in words for the study page

    def __str__(self) -> str:
        return f"the loop of {self.study}"
