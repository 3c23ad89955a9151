"""What people agreed to, in which words, what they took back, and which frozen data that touches.

A withdrawal never changes a frozen file. It keeps the labels, or the item, out of every snapshot from then on, and
`affected` names the snapshots that were frozen before with them in.
"""

from __future__ import annotations

import json
import os

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotation.errors import Conflict, Invalid
from annotation.models import Assignment, Consent, Item, Label, Membership, Snapshot, Study, Task, Wording
from annotation.webhooks import tell

LONGEST_REASON = 2_000


# --- the words


def reword(*, study: Study, field: str, text: str, by) -> Wording:
    """Keeps a text of the study as a new version; a new consent text is one that everyone must agree to anew."""
    last = study.wordings.filter(field=field).aggregate(last=Max("version"))["last"] or 0
    wording = Wording.objects.create(study=study, field=field, version=last + 1, text=text, created_by=by)
    if field == Wording.Field.CONSENT:
        study.consent_version = wording.version
        study.save(update_fields=["consent_version"])
    return wording


# --- people


@transaction.atomic
def agree(membership: Membership, version: int | None = None) -> Membership:
    """This person agrees to the consent text as it stands. `version` is the one they read: a newer one is refused."""
    study = Study.objects.select_for_update(no_key=True).get(pk=membership.study_id)
    if not study.consent:
        raise Conflict("This study asks for no consent: there is nothing to agree to.")
    if version is not None and version != study.consent_version:
        raise Conflict("The text was changed while you read it. Read it again, then agree.")
    held = Membership.objects.select_for_update(no_key=True).get(pk=membership.pk)
    if held.consent_version != study.consent_version:
        Consent.objects.create(study=study, user_id=held.user_id, version=study.consent_version)
        held.consent_version = study.consent_version
        held.save(update_fields=["consent_version"])
    membership.consent_version = held.consent_version
    return held


@transaction.atomic
def withdraw(membership: Membership) -> list[Snapshot]:
    """This person takes their consent back: no new snapshot holds a label of theirs. Returns those that do.

    Somebody who was never asked may withdraw too; so may somebody whose study asks for nothing any more.
    """
    held = Membership.objects.select_for_update(no_key=True).get(pk=membership.pk)
    mine = Consent.objects.filter(study=held.study_id, user=held.user_id)
    standing = mine.filter(withdrawn_at=None).update(withdrawn_at=timezone.now())
    if not standing and not mine.exists():
        Consent.objects.create(
            study_id=held.study_id,
            user_id=held.user_id,
            version=held.consent_version,
            withdrawn_at=timezone.now(),
        )
    held.consent_version = membership.consent_version = 0
    held.save(update_fields=["consent_version"])
    return affected(held.study, user=held.user_id)


def withdrawn(study: Study) -> set[int]:
    """Who took their consent back and has not given it again."""
    given = Consent.objects.filter(study=study)
    taken_back = set(given.exclude(withdrawn_at=None).values_list("user", flat=True))
    return taken_back - set(given.filter(withdrawn_at=None).values_list("user", flat=True))


def name_as(membership: Membership, attribution: str) -> None:
    """How this person's labels name them in what is frozen and exported from now on."""
    if attribution not in Membership.Attribution.values:
        raise Invalid(
            f"Found {attribution!r}; expected one of {', '.join(Membership.Attribution.values)}.",
            field="attribution",
        )
    membership.attribution = attribution
    membership.save(update_fields=["attribution"])


# --- items


@transaction.atomic
def withdraw_item(*, item: Item, by, reason: str = "") -> list[Snapshot]:
    """Takes an item out of queue and future snapshots, for good. Returns the snapshots that hold it.

    The row stays, as a tombstone. Who has one of its tasks in hand loses their turn.
    """
    reason = reason.replace("\x00", "").strip()[:LONGEST_REASON]
    tasks = Task.objects.filter(item=item).order_by("pk")
    list(tasks.select_for_update(no_key=True).values_list("pk"))  # tasks before assignments, as everywhere
    first = Item.objects.filter(pk=item.pk, withdrawn_at=None).update(
        withdrawn_at=timezone.now(), withdrawn_reason=reason
    )
    if first:
        Assignment.objects.filter(task__item=item, state=Assignment.State.LEASED).update(
            state=Assignment.State.EXPIRED, changed_at=timezone.now()
        )
        tasks.update(open=0, waiting=False)
        tell(
            item.study_id,
            "item.withdrawn",
            {"item": item.pk, "external_id": item.external_id, "reason": reason},
        )
    item.refresh_from_db()
    return affected(item.study, item=item)


# --- what was frozen before


def affected(study: Study, *, user: int | None = None, item: Item | None = None) -> list[Snapshot]:
    """The snapshots of a study that hold labels of this person, or anything about this item; the newest first."""
    holds = (lambda one: holds_item(one, item.pk)) if item else (lambda one: holds_person(one, user))
    return [snapshot for snapshot in study.snapshots.select_related("study") if holds(snapshot)]


def holds_person(snapshot: Snapshot, user: int) -> bool:
    """A snapshot says whose labels it holds; one frozen before that was written down may hold all there were."""
    people = snapshot.process.get("people")
    if people is not None:
        return str(user) in people
    before = Label.objects.filter(study=snapshot.study_id, annotator=user, created_at__lt=snapshot.created_at)
    return before.filter(withdrawn=False).exists()


def holds_item(snapshot: Snapshot, item: int) -> bool:
    """Whether a record is about this item. Records stand in the order of their ids, which begin with the item's."""
    path = snapshot.folder / "records.jsonl"
    if not path.exists():
        return False
    wanted = f"{item:010d}"
    with path.open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)
        while low < high:  # the first line whose item is not before the wanted one begins in [low, high]
            middle = (low + high) // 2
            file.seek(middle)
            if middle:
                file.seek(middle - 1)
                file.readline()
            line = file.readline()
            if line and _item_of(line) < wanted:
                low = file.tell()
            else:
                high = middle
        file.seek(low)
        line = file.readline()
    return bool(line) and _item_of(line) == wanted


def _item_of(line: bytes) -> str:
    return json.loads(line)["id"][:10]
