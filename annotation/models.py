"""What people are asked, and what they answered.

    Study ─▶ Item (a prompt or a chat) ─▶ Candidate (an answer to it)
      │        └─▶ Task (one question about it) ─▶ Assignment (whose turn) ─▶ Label (what they said)
      │              ├─▶ Gold (its known answer)      └─▶ Remark (a flag, a note, a reviewer's words)
      │              └─▶ Verdict (what a reviewer settled it to)
      ├─▶ Membership ─▶ Consent (what this person agreed to, by version)
      └─▶ Snapshot (labels, frozen into a file)

A label is never edited: a change of mind is a new row that supersedes the old one. So it is with verdicts.
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


class Policy(models.TextChoices):
    """Which task comes next; `annotation/policies.py` says how each puts them in order."""

    SEQUENTIAL = "sequential", "In the order in which they came"
    RANDOM = "random", "In a random order"
    ROUND_ROBIN = "round_robin", "One of each stratum in turn"
    UNCERTAIN = "uncertain", "First what the newest reward model is least sure of"
    DISPUTED = "disputed", "First what the newest reward models disagree about most"


class Signal(models.TextChoices):
    """What whoever a text is from said about training on it."""

    UNKNOWN = "unknown", "nothing known"
    TRAIN = "train", "may be trained on"
    NO_TRAIN = "no_train", "must not be trained on"


class Part(models.TextChoices):
    """What a task is for. All look the same to whoever answers."""

    QUEUE = "queue", "asked of as many people as its overlap says"
    GOLD = "gold", "known answer, mixed into everyone's queue"
    CALIBRATION = "calibration", "asked of everyone, to compare them"
    QUALIFICATION = "qualification", "known answer, told at once, before the real work"
    REPEAT = "repeat", "asked of the same person once more, sides swapped"


EVERYONE = 32_767
"""The overlap of a task that everybody is asked."""


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
