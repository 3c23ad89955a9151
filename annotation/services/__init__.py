"""What can be done with a study: each a verb, each a change that holds or does not happen."""

from annotation.services.items import UNSTORABLE, add_items, lock_positions, place_items, read_item, tasks_of
from annotation.services.labelling import (
    claim_tasks,
    extend_leases,
    past,
    progress,
    release_expired,
    revise_label,
    skip_task,
    submit_label,
    turn_at,
    undo_last,
    why_empty,
    withdraw,
    withdraw_label,
)
from annotation.services.studies import add_member, archive_study, change_study, create_study, join_study

__all__ = [
    "UNSTORABLE",
    "add_items",
    "add_member",
    "archive_study",
    "change_study",
    "claim_tasks",
    "create_study",
    "extend_leases",
    "join_study",
    "lock_positions",
    "past",
    "place_items",
    "progress",
    "read_item",
    "release_expired",
    "revise_label",
    "skip_task",
    "submit_label",
    "tasks_of",
    "turn_at",
    "undo_last",
    "why_empty",
    "withdraw",
    "withdraw_label",
]
