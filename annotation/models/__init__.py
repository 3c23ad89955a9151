"""What people are asked, and what they answered.

    Study ─▶ Item (a prompt or a chat) ─▶ Candidate (an answer to it)
      │        └─▶ Task (one question about it) ─▶ Assignment (whose turn) ─▶ Label (what they said)
      │              ├─▶ Gold (its known answer)      └─▶ Remark (a flag, a note, a reviewer's words)
      │              └─▶ Verdict (what a reviewer settled it to)
      ├─▶ Membership ─▶ Consent (what this person agreed to, by version)
      ├─▶ Recording (a robot's episode, as clips of which items are made)
      └─▶ Snapshot (labels, frozen into a file)

A label is never edited: a change of mind is a new row that supersedes the old one. So it is with verdicts.
"""

from annotation.models.files import Delivery, ImportJob, Snapshot, Webhook
from annotation.models.items import Candidate, Item, Signal
from annotation.models.labels import Gold, Label, Reliability, Remark, Verdict
from annotation.models.recordings import Recording
from annotation.models.studies import Consent, Membership, Policy, Role, Study, Wording
from annotation.models.tasks import EVERYONE, Assignment, Exchange, Part, Task

__all__ = [
    "Assignment",
    "Candidate",
    "Consent",
    "Delivery",
    "EVERYONE",
    "Exchange",
    "Gold",
    "ImportJob",
    "Item",
    "Label",
    "Membership",
    "Part",
    "Policy",
    "Recording",
    "Reliability",
    "Remark",
    "Role",
    "Signal",
    "Snapshot",
    "Study",
    "Task",
    "Verdict",
    "Webhook",
    "Wording",
]
