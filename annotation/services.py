"""What can be done with a study: each a verb, each a change that holds or does not happen."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import date, datetime
from time import sleep
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.timesince import timeuntil

from annotation import gold, policies, queue
from annotation.bulk import insert
from annotation.consent import agree, reword
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface, read_interfaces, read_options
from annotation.models import (
    Assignment,
    Candidate,
    Item,
    Label,
    Membership,
    Part,
    Policy,
    Role,
    Signal,
    Study,
    Task,
    Wording,
)
from annotation.queue import Claim
from annotation.rules import RULES, read_rules
from annotation.webhooks import tell
from trainers.records import RANKED

MOST_CLAIMED = 10
"""How many tasks one claim may ask for."""
LONGEST_TEXT = 200_000
MOST_SOURCE = 500_000
MOST_CANDIDATES = 20
WORDS = {
    "name": 200,
    "guidelines": LONGEST_TEXT,
    "licence": 200,
    "consent": LONGEST_TEXT,
    "pay": LONGEST_TEXT,
}
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
ROLES = ("system", "user", "assistant", "tool")


# --- studies and who is in them


def create_study(
    *,
    name: str,
    owner,
    guidelines: str = "",
    interfaces: list | None = None,
    overlap: int = 1,
    names_hidden: bool = True,
    licence: str = "",
    consent: str = "",
    pay: str = "",
    **given: Any,
) -> Study:
    """A new study; its owner is its first member. Without `interfaces` it compares answers in pairs.

    `given` are rules of its queue and its quality, as in `annotation.rules`.
    """
    words = {"name": name, "guidelines": guidelines, "licence": licence, "consent": consent, "pay": pay}
    words = _read_words(words)
    for unknown in set(given) - set(RULES):
        raise Invalid(f"A study has no {unknown}. Its rules: {', '.join(RULES)}.", field=unknown)
    if not 1 <= overlap <= 100:
        raise Invalid(f"Found an overlap of {overlap}; expected 1 to 100 people for a task.", field="overlap")
    with transaction.atomic():
        study = Study.objects.create(
            **words,
            **read_rules(given),
            interfaces=read_interfaces([{"kind": "pairwise"}] if interfaces is None else interfaces),
            overlap=overlap,
            names_hidden=names_hidden,
            created_by=owner,
        )
        for field in Wording.Field.values:
            if words[field]:
                reword(study=study, field=field, text=words[field], by=owner)
        membership = join_study(study=study, user=owner, role=Role.OWNER)
        if study.consent:
            agree(membership)  # to what they ask of others they agree by asking it
    return study


@transaction.atomic
def change_study(*, study: Study, by=None, **changes: Any) -> Study:
    """Changes what may change once people are at work: its words, its rules, and whether names are hidden.

    A new guideline or consent text is a new version of it, by whoever wrote it (the study's maker, if not said).
    """
    known = (*WORDS, *RULES, "names_hidden")
    for field in changes:
        if field not in known:
            raise Invalid(f"{field} cannot be changed. What can: {', '.join(known)}.", field=field)
    words = _read_words({field: value for field, value in changes.items() if field in WORDS})
    before = {name: getattr(study, name) for name in (*Wording.Field.values, "policy", "stratum")}
    changes = {**changes, **words, **read_rules(changes)}
    for field, value in changes.items():
        setattr(study, field, value)
    study.save(update_fields=list(changes))
    for field in Wording.Field.values:
        if getattr(study, field) != before[field]:
            reword(study=study, field=field, text=getattr(study, field), by=by or study.created_by)
    author = study.memberships.filter(user=by).first() if by else None
    if author and study.consent and study.consent != before["consent"]:
        agree(author)
    if (study.policy, study.stratum) != (before["policy"], before["stratum"]):
        transaction.on_commit(lambda: policies.arrange(study))
    return study


def _read_words(words: Mapping[str, str]) -> dict[str, str]:
    """The texts of a study, checked; only the name must not be empty."""
    read = {field: _read_text(value, field, most=WORDS[field]) for field, value in words.items()}
    if "name" in read:
        read["name"] = read["name"].strip()
        if not read["name"]:
            raise Invalid("A study needs a name.", field="name")
    return read


def archive_study(*, study: Study, archived: bool = True) -> None:
    """Stops handing out tasks, or starts again. What people still have open may be submitted."""
    study.archived_at = timezone.now() if archived else None
    study.save(update_fields=["archived_at"])


def join_study(*, study: Study, user, role: str) -> Membership:
    """Makes someone a member; a member already there takes the role."""
    if role not in Role.values:
        raise Invalid(f"No role called {role!r}. Roles: {', '.join(Role.values)}.", field="role")
    membership, made = Membership.objects.update_or_create(study=study, user=user, defaults={"role": role})
    if made and user.simulated:  # a program has nothing to agree to, and its rule is stated
        membership.standing = Membership.Standing.PASSED
        membership.consent_version = study.consent_version
        membership.save(update_fields=["standing", "consent_version"])
    return membership


def add_member(*, study: Study, username: str, role: str) -> Membership:
    """Makes somebody who has an account a member."""
    name = _read_text(username, "username", most=150)
    user = get_user_model().objects.filter(username__iexact=name, is_active=True).first()
    if user is None:
        raise Invalid(f"Nobody here is called {username!r}. Invite them with a link.", field="username")
    if study.memberships.filter(user=user).exists():
        raise Conflict(f"{user.username} is a member already. Change the role on the study's page.")
    return join_study(study=study, user=user, role=role)


# --- items


def add_items(*, study: Study, items: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Adds items and the tasks they ask for; all of them, or none when one is wrong.

    Each is {"context": {"prompt"} or {"messages"}, "candidates": [{"text", "policy", "source"}], "external_id",
    "source"}. One whose external id the study has already is left as it is and not returned, so that adding the
    same items again changes nothing.
    """
    rows = [read_item(study, given, f"items[{number}].") for number, given in enumerate(items)]
    with transaction.atomic():
        lock_positions(study)
        known = study.items.filter(external_id__in={item.external_id for item, _ in rows} - {""})
        seen = set(known.values_list("external_id", flat=True))
        fresh = []
        for item, candidates in rows:
            if item.external_id in seen:
                continue
            seen |= {item.external_id} - {""}
            fresh.append((item, candidates))
        place_items(study, fresh)
        tasks = [task for item, candidates in fresh for task in tasks_of(study, item, candidates)]
        Task.objects.bulk_create(tasks, batch_size=1000)
        if study.policy not in (Policy.SEQUENTIAL, *policies.BY_MODELS):
            policies.arrange(study, [task.pk for task in tasks])
    return [item for item, _ in fresh]


def lock_positions(study: Study) -> None:
    """Two who add items at once must not share positions; people go on labelling meanwhile."""
    Study.objects.select_for_update(no_key=True).get(pk=study.pk)


def place_items(study: Study, rows: list[tuple[Item, list[Candidate]]]) -> None:
    """Stores items with their candidates, behind the last item of the study."""
    last = study.items.aggregate(last=Max("position"))["last"]
    position = 0 if last is None else last + 1
    for offset, (item, _) in enumerate(rows):
        item.position = position + offset
    insert([item for item, _ in rows])
    for item, candidates in rows:
        for index, candidate in enumerate(candidates):
            candidate.item_id, candidate.index = item.pk, index
    insert([one for _, candidates in rows for one in candidates])


def tasks_of(study: Study, item: Item, candidates: list[Candidate]) -> list[Task]:
    """What the study asks about a stored item, in the order of its interfaces; not stored yet."""
    found: dict[str, list[list[Candidate]]] = {}
    for entry in study.interfaces:
        module = interface(entry["kind"])
        found[entry["kind"]] = module.tasks(candidates, read_options(module.Options, entry["options"]))
    tasks = []
    for kind, questions in found.items():
        waiting = any(found.get(before) for before in interface(kind).FOLLOWS)
        for asked in questions:
            tasks.append(
                Task(
                    study=study,
                    item=item,
                    kind=kind,
                    candidates=[candidate.pk for candidate in asked],
                    position=item.position,
                    overlap=study.overlap,
                    open=0 if waiting else study.overlap,
                    waiting=waiting,
                )
            )
    return tasks


def read_item(
    study: Study, given: Mapping[str, Any], where: str = "", judged: bool = False
) -> tuple[Item, list[Candidate]]:
    """An item and its candidates, checked; an error names the field, behind the prefix `where`.

    It takes as many answers as one of the study's ways of asking needs: to compare or to rank two, to write one none.
    An item that was `judged` elsewhere may come with one. More than can be ranked at once are refused where the study
    ranks.
    """
    external_id = _read_text(given.get("external_id") or "", f"{where}external_id", most=200)
    context = _read_context(given.get("context"), f"{where}context")
    source = _read_source(given.get("source"), f"{where}source")
    answers = [] if given.get("candidates") is None else given["candidates"]
    least = min(getattr(interface(kind), "LEAST", 1) for kind in study.kinds)
    if judged:
        least = min(least, 1)
    most = RANKED[1] if "ranking" in study.kinds else MOST_CANDIDATES
    if not isinstance(answers, list | tuple) or not least <= len(answers) <= most:
        found = len(answers) if isinstance(answers, list | tuple) else repr(answers)
        raise Invalid(f"Found {found} answers; expected {least} to {most}.", field=f"{where}candidates")
    candidates = [_read_candidate(one, f"{where}candidates[{n}]") for n, one in enumerate(answers)]
    facts = _read_facts(given, where)
    return Item(study=study, context=context, external_id=external_id, source=source, **facts), candidates


def _read_facts(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Where an item comes from and what may be done with it, as far as that is said."""
    facts: dict[str, Any] = {
        name: _read_text(given[name], f"{where}{name}", most=most)
        for name, most in {"licence": 200, "collector": 200, "jurisdiction": 100}.items()
        if given.get(name) is not None
    }
    if given.get("signal") is not None:
        facts["signal"] = given["signal"]
        if facts["signal"] not in Signal.values:
            raise Invalid(
                f"Found {facts['signal']!r}; expected {', '.join(Signal.values)}.", field=f"{where}signal"
            )
    if given.get("collected_on") is not None:
        try:
            facts["collected_on"] = date.fromisoformat(given["collected_on"])
        except (TypeError, ValueError):
            raise Invalid(
                f"Found {given['collected_on']!r}; expected a day as 2026-01-31.", field=f"{where}collected_on"
            ) from None
    return facts


def _read_candidate(value: Any, where: str) -> Candidate:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, Mapping):
        raise Invalid(f'Found {value!r}; expected {{"text": "…", "policy": "…"}}.', field=where)
    return Candidate(
        text=_read_text(value.get("text"), f"{where}.text"),
        policy=_read_text(value.get("policy", ""), f"{where}.policy", most=200),
        source=_read_source(value.get("source"), f"{where}.source"),
    )


def _read_context(value: Any, where: str) -> dict:
    if isinstance(value, Mapping) and set(value) == {"prompt"}:
        return {"prompt": _read_text(value["prompt"], f"{where}.prompt")}
    if (
        isinstance(value, Mapping)
        and set(value) == {"messages"}
        and isinstance(value["messages"], list | tuple)
    ):
        if not value["messages"]:
            raise Invalid("The chat has no messages.", field=f"{where}.messages")
        turns = enumerate(value["messages"])
        return {"messages": [_read_message(one, f"{where}.messages[{n}]") for n, one in turns]}
    raise Invalid(
        'Expected {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}.', field=where
    )


def _read_message(value: Any, where: str) -> dict:
    if not isinstance(value, Mapping) or set(value) != {"role", "content"} or value["role"] not in ROLES:
        raise Invalid(f'Expected {{"role", "content"}} with a role of {", ".join(ROLES)}.', field=where)
    return {"role": value["role"], "content": _read_text(value["content"], f"{where}.content")}


def _read_text(value: Any, where: str, most: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str):
        raise Invalid(f"Found {value!r}; expected text.", field=where)
    if len(value) > most:
        raise Invalid(f"Has {len(value):,} characters; the most is {most:,}.", field=where)
    if UNSTORABLE.search(value):
        raise Invalid(
            "Holds a NUL or half a character, which no database text can. Save the file as UTF-8.",
            field=where,
        )
    return value


def _read_source(value: Any, where: str) -> dict:
    """What the sender wants kept with a row: any JSON object."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(f"Found {value!r}; expected an object.", field=where)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise Invalid(f"Cannot be kept as JSON: {problem}.", field=where) from None
    if len(text) > MOST_SOURCE or "\\u0000" in text or UNSTORABLE.search(text):
        raise Invalid(
            f"Has over {MOST_SOURCE:,} characters, or a NUL or half a character in it.", field=where
        )
    return dict(value)


# --- tasks and labels


def claim_tasks(
    *, study: Study | int, annotator, kind: str | None = None, count: int = 1, besides: Iterable[int] = ()
) -> list[Claim]:
    """Leases tasks to a member: what they hold already comes first. `besides` are those their page has in hand."""
    pk = study if isinstance(study, int) else study.pk
    count, besides = max(1, min(count, MOST_CLAIMED)), _ids(besides)
    if kind:
        interface(kind)  # an unknown one is an error, not an empty queue
    for _ in range(3):
        claims = queue.claim(study=pk, person=annotator.pk, kind=kind, count=count, besides=besides)
        # Empty-handed while a place is open: others were taking the rows next to it. They are done in a moment.
        if claims or not queue.left(study=pk, person=annotator.pk, kind=kind).available:
            break
        sleep(0.02)
    return claims


def why_empty(*, study: Study, annotator, kind: str | None = None) -> str:
    """In a sentence, why there is no task for this person now."""
    left = queue.left(study=study.pk, person=annotator.pk, kind=kind)
    if left.archived:
        return "This study is archived. Its owner can open it again."
    if left.unasked:
        return "This study asks you to agree to something first. Read it on the labelling page."
    if not left.any_tasks:
        return "This study has no items yet."
    if left.open and left.held >= queue.MOST_HELD:
        return f"You hold {left.held} tasks, the most there may be. Answer or skip some of them first."
    if left.held:
        return "You hold every task that is left for you."
    if left.qualifies and left.standing == Membership.Standing.FAILED:
        return "You did not pass the qualification of this study. A researcher decides whether you may try again."
    if left.qualifies:
        return "There is no question of the qualification left for you. A researcher must add some, or let you in."
    if left.held_by_others_until:
        return f"Others hold the rest; some may come back in {timeuntil(left.held_by_others_until) or 'a moment'}."
    return "Done: every task is answered, or was answered by you."


def turn_at(*, task: Task | int, annotator) -> Claim:
    """The person's own turn at a task, for showing it again; Conflict when they do not hold it."""
    pk = task if isinstance(task, int) else task.pk
    turn = queue.turn(task=pk, person=annotator.pk)
    if turn is None or turn.assignment.state != Assignment.State.LEASED:
        raise _taken(pk, annotator)
    return turn


def extend_leases(*, annotator, tasks: Iterable[int]) -> dict[int, datetime]:
    """Renews the leases this person still holds, and returns until when; a task that is missing was lost."""
    return queue.extend(person=annotator.pk, tasks=_ids(tasks))


def _ids(numbers: Iterable[int]) -> list[int]:
    """Numbers that can be ids: a page may send anything."""
    return [number for number in numbers if 0 < number < 2**63]


def release_expired() -> int:
    """Gives back the places of leases that ran out. Claims do it where they need to; this is for a sweep."""
    return queue.release()


def submit_label(*, task: Task | int, annotator, answer, key: UUID | str, seconds: float = 0.0) -> Label:
    """Stores what a person said; two statements. `answer` is an interface's Answer, or a form or JSON to be read.

    The same key again is the same label. A late answer counts if its place was not given to somebody else.
    """
    pk = task if isinstance(task, int) else task.pk
    key = _read_key(key)
    turn = queue.turn(task=pk, person=annotator.pk, key=key)
    if turn is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if turn.label:
        return _same_label(turn.label, pk, annotator)
    if isinstance(answer, Mapping):
        answer = interface(turn.task.kind).read(answer, turn)
    try:
        with transaction.atomic() if turn.told else nullcontext():
            label = queue.keep(turn=turn, answer=answer.to_json(), key=key, seconds=_read_seconds(seconds))
            if label and turn.told:
                tell_of(label)
    except IntegrityError:
        raise Conflict("Two requests about this task met. Send yours again.") from None
    if label is None:
        twin = Label.objects.filter(key=key).first()  # the same answer, sent twice at once
        if twin:
            return _same_label(twin, pk, annotator)
        raise _taken(pk, annotator)
    _follow_up(turn.task, annotator)
    return label


def tell_of(label: Label, event: str = "label.submitted") -> None:
    """Lets webhooks know of a label."""
    tell(
        label.study_id,
        event,
        {
            "label": label.pk,
            "task": label.task_id,
            "kind": label.kind,
            "answer": label.answer,
            "supersedes": label.supersedes_id,
        },
    )


def _follow_up(task: Task, annotator) -> None:
    """What an answer leads to: more people, a question asked again, another standing. Nothing, most of the time."""
    study = task.study
    if task.part == Part.QUEUE:
        if study.more_people and task.overlap == task.done == study.overlap:
            policies.ask_more(task)
        if study.repeat_rate and random.random() < study.repeat_rate:
            gold.repeat_later(task, annotator)
    elif task.part in (Part.GOLD, Part.QUALIFICATION):
        gold.update_standing(task, annotator)


def past(*, study: Study, annotator, before: int | None = None) -> Claim | None:
    """The turn at which a person gave the newest of their labels that stands, or the newest with an id below `before`.

    What they said is its `answer`, and the label its `label`. A qualification is not looked back on: its answers are
    known by then.
    """
    labels = Label.objects.current().filter(study=study, annotator=annotator)
    if before is not None:
        labels = labels.filter(pk__lt=before)
    label = labels.exclude(task__part=Part.QUALIFICATION).order_by("-pk").first()
    if label is None:
        return None
    turn = queue.turn(task=label.task_id, person=annotator.pk)
    return replace(turn, answer=label.answer, label=label) if turn else None


@transaction.atomic
def revise_label(*, task: Task | int, annotator, answer, key: UUID | str, seconds: float = 0.0) -> Label:
    """A change of mind: a new label that supersedes this person's label of the task. The same key is the same label."""
    pk = task if isinstance(task, int) else task.pk
    key = _read_key(key)
    turn = queue.turn(task=pk, person=annotator.pk, key=key)
    if turn is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if turn.label:
        return _same_label(turn.label, pk, annotator)
    if turn.task.part == Part.QUALIFICATION:
        raise Conflict("An answer of the qualification stays as it was given.")
    Task.objects.select_for_update(no_key=True).get(pk=pk)
    old = Label.objects.current().filter(assignment=turn.assignment).first()
    if old is None:
        raise Conflict("You have no answer to this task that stands. Ask for the task, and answer it.")
    if isinstance(answer, Mapping):
        answer = interface(turn.task.kind).read(answer, turn)
    label = Label.objects.create(
        study_id=old.study_id,
        task_id=pk,
        assignment_id=old.assignment_id,
        annotator=annotator,
        kind=old.kind,
        answer=answer.to_json(),
        key=key,
        supersedes=old,
        seconds=_read_seconds(seconds),
    )
    tell_of(label)
    return label


def _read_key(key: UUID | str) -> UUID:
    try:
        return key if isinstance(key, UUID) else UUID(key)
    except (ValueError, TypeError, AttributeError):
        raise Invalid(f"Found the key {key!r}; expected a UUID made for this answer.", field="key") from None


def _read_seconds(value: float | str) -> float:
    """How long somebody took, as their browser says: a number of no more than a day, or else not known."""
    try:
        seconds = float(value)
    except (ValueError, TypeError):
        return 0.0
    return seconds if 0 <= seconds <= 86_400 else 0.0


def _same_label(label: Label, task: int, annotator) -> Label:
    if (label.task_id, label.annotator_id) != (task, annotator.pk):
        raise Invalid("This key belongs to another answer. Make a new UUID for each answer.", field="key")
    return label


def _holder(task: int, annotator) -> str | None:
    """Who answered a task, or else who holds it, other than this person."""
    others = Assignment.objects.filter(task=task, state__in=["submitted", "leased"]).exclude(
        annotator=annotator.pk
    )
    names = others.order_by("-state", "-changed_at").values_list("annotator__username", flat=True)
    return ", ".join(names) or None


def _taken(task: int, annotator) -> Conflict:
    own = Assignment.objects.filter(task=task, annotator=annotator.pk).first()
    if own and own.state == Assignment.State.SUBMITTED:
        return Conflict(
            "You answered this task already. Undo that answer to change it.", holder=annotator.username
        )
    if own and own.state == Assignment.State.SKIPPED:
        return Conflict("You skipped this task, and it went to others.", holder=_holder(task, annotator))
    holder = _holder(task, annotator)
    if holder is None:
        return Conflict("You do not hold this task now. Ask for the next one.")
    return Conflict(f"This task is {holder}'s now: your turn ended before your answer came.", holder=holder)


def skip_task(*, task: Task | int, annotator, reason: str = "") -> None:
    """Passes a task on to somebody else. Skipping it again changes nothing, so a retry needs no key."""
    pk = task if isinstance(task, int) else task.pk
    state = queue.skip(task=pk, person=annotator.pk, reason=UNSTORABLE.sub("", reason)[:1000])
    if state is None:
        raise Conflict(
            "This task was not handed to you. Ask for the next one.", holder=_holder(pk, annotator)
        )
    if state == Assignment.State.SUBMITTED:
        raise Conflict("You answered this task already. Undo that answer first.", holder=annotator.username)


@transaction.atomic
def undo_last(*, study: Study, annotator) -> Claim | None:
    """Takes back the last thing a person did: their answer is withdrawn, or their skip forgotten.

    The task is theirs again with what they had chosen; the history stays. None when there is nothing to undo.
    """
    done = Assignment.objects.filter(study=study, annotator=annotator, state__in=["submitted", "skipped"])
    last = done.order_by("-changed_at", "-pk").first()
    if last is None:
        return None
    Task.objects.select_for_update(no_key=True).get(pk=last.task_id)
    last = done.select_for_update(no_key=True).filter(pk=last.pk).first()
    if last is None:
        raise Conflict("Another request changed this task just now. Try again.")
    if last.state == Assignment.State.SUBMITTED:
        label = last.labels.current().get()
        withdraw(label, by=annotator)
        Task.objects.filter(pk=last.task_id).update(done=F("done") - 1)
    elif not Task.objects.filter(pk=last.task_id, open__gt=0).update(open=F("open") - 1):
        raise _taken(last.task_id, annotator)
    last.state, last.reason = Assignment.State.LEASED, ""
    last.changed_at, last.lease_until = Now(), Now() + queue.LEASE
    last.save(update_fields=["state", "reason", "lease_until", "changed_at"])
    return queue.turn(task=last.task_id, person=annotator.pk)


@transaction.atomic
def withdraw_label(*, label: Label, by) -> Label:
    """Takes a label back for good: its place is open again, to its annotator too. Returns the withdrawal."""
    Task.objects.select_for_update(no_key=True).get(pk=label.task_id)
    assignment = Assignment.objects.select_for_update(no_key=True).get(pk=label.assignment_id)
    if not Label.objects.current().filter(pk=label.pk).exists():
        raise Conflict("This label does not stand any more: it was withdrawn or replaced.")
    withdrawal = withdraw(label, by=by)
    gone = Item.objects.filter(tasks=label.task_id).exclude(withdrawn_at=None).exists()
    Task.objects.filter(pk=label.task_id).update(done=F("done") - 1, open=F("open") + (0 if gone else 1))
    assignment.state = Assignment.State.EXPIRED
    assignment.save(update_fields=["state"])
    return withdrawal


def withdraw(label: Label, by) -> Label:
    """The row that takes a label back; its place is the caller's to settle."""
    withdrawal = Label.objects.create(
        study_id=label.study_id,
        task_id=label.task_id,
        assignment_id=label.assignment_id,
        annotator=by,
        kind=label.kind,
        answer=label.answer,
        key=uuid4(),
        supersedes=label,
        withdrawn=True,
    )
    tell_of(withdrawal, "label.withdrawn")
    return withdrawal


PROGRESS = """
SELECT count(*) FILTER (WHERE l.created_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'),
       count(*),
       (SELECT count(*) FROM (SELECT FROM annotation_task t WHERE t.study_id = %(study)s AND t.open > 0
                              AND t.part = 'queue' LIMIT 1000) t)
FROM annotation_label l
WHERE l.annotator_id = %(person)s AND l.study_id = %(study)s AND NOT l.withdrawn
  AND NOT EXISTS (SELECT FROM annotation_label later WHERE later.supersedes_id = l.id)
"""


def progress(study: Study, user) -> dict[str, Any]:
    """A person's labels today (UTC) and in all, and the tasks still open in the study, counted up to 1,000.

    `gold` is how many known answers they matched, of how many, where the study shares that; or None.
    """
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS, {"study": study.pk, "person": user.pk})
        today, total, open_tasks = cursor.fetchone()
    share = asdict(gold.score(study, user)) if study.share_gold else None
    return {"today": today, "total": total, "open": open_tasks, "gold": share}
