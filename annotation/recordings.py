"""Robots' episodes in a study: which there are, what is asked about them, and what was said while they were lived.

The steps are files (`trainers.episodes`, in `settings.EPISODES`); a row of `Recording` says whose study they are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from annotation import queue
from annotation.errors import Conflict, Invalid
from annotation.interfaces.registry import interface
from annotation.models import Assignment, Candidate, Item, Label, Recording, Study, Task
from annotation.services import add_items, lock_positions, place_items, read_item, revise_label, submit_label
from annotation.services.items import read_text
from trainers.episodes import Clip, Episode, Episodes, NoEpisode
from trainers.records import canonical

SESSIONS = UUID("4b6a2a1e-6d0f-4f3b-9a53-2d1c7b1e9f00")
"""The namespace of the keys of labels that were given while an episode was lived."""


def store() -> Episodes:
    return Episodes(settings.EPISODES)


def episode_of(recording: Recording) -> Episode:
    return store().open(recording.episode)


def record(study: Study, episode: str, by=None, source: Mapping[str, Any] | None = None) -> Recording:
    """The row of an episode in the store, made or brought up to date. Asked twice, it is the same row.

    An episode is of one study: Invalid for another's, and for one that the store does not have.
    """
    try:
        lived = store().open(episode)
    except NoEpisode as problem:
        raise Invalid(str(problem), field="episode") from None
    facts = facts_of(lived)
    made = {**facts, "study": study, "by": by, "source": dict(source or {})}
    with transaction.atomic():
        row, _ = Recording.objects.update_or_create(episode=episode, defaults=facts, create_defaults=made)
        if row.study_id != study.pk:
            raise Invalid(
                f"The episode {episode} is another study's. Record one of your own.", field="episode"
            )
    return row


def facts_of(lived: Episode) -> dict[str, Any]:
    """What the row of an episode says of it. Invalid where the episode says what no row can hold."""
    about, ended = lived.about, lived.ended or {}
    facts = {
        "world": read_text(about.world, "world", most=100),
        "task": read_text(about.task, "task", most=200),
        "seed": about.seed,
        "policy": read_text(str(about.policy.get("name", "")), "policy", most=200),
        "steps": len(lived),
        "score": ended.get("score"),
        "ended": bool(ended),
    }
    if ended.get("success") is not None:
        facts["success"] = ended["success"]
    return facts


# --- questions


def clip_items(
    study: Study, pairs: Iterable[tuple[Clip | str, Clip | str]], source: Mapping[str, Any] | None = None
) -> list[Item]:
    """Adds an item for each pair of clips, to be compared. A pair that the study has already is left as it is.

    Invalid where a clip is not of an ended recording of this study, or the two were asked to do different things.
    """
    given = [
        (_clip(one, f"pairs[{n}][0]"), _clip(two, f"pairs[{n}][1]")) for n, (one, two) in enumerate(pairs)
    ]
    here = _opened(study, [clip.episode for pair in given for clip in pair])
    items = []
    for number, pair in enumerate(given):
        shown = [_shown(here, clip, f"pairs[{number}]") for clip in pair]
        asked = {episode.about.asked for _, episode in shown}
        if len(asked) > 1:
            raise Invalid(
                f"The two clips show different things to do: {' and '.join(sorted(asked))}. Pair clips of one task.",
                field=f"pairs[{number}]",
            )
        items.append(
            {
                "context": {"prompt": asked.pop()},
                "candidates": [_candidate(row, clip) for (row, _), clip in zip(shown, pair, strict=True)],
                "external_id": " ".join(sorted(map(str, pair))),
                "source": dict(source or {}),
            }
        )
    return add_items(study=study, items=items)


def episode_items(
    study: Study, recordings: Iterable[Recording], source: Mapping[str, Any] | None = None
) -> list[Item]:
    """Adds an item for each whole episode, to be looked at in hindsight; one that is asked about already stays."""
    names = [row.episode for row in recordings]
    here = _opened(study, names)
    items = [_episode_item(here, name, f"episode:{name}", source) for name in names]
    return add_items(study=study, items=items)


def _episode_item(
    here: Mapping[str, Opened], episode: str, name: str, source: Mapping[str, Any] | None
) -> dict[str, Any]:
    lived = here[episode][1] if episode in here else None
    whole = Clip(episode, 0, max(1, len(lived) if lived is not None else 1))
    row, lived = _shown(here, whole, "recordings")
    return {
        "context": {"prompt": lived.about.asked},
        "candidates": [_candidate(row, whole)],
        "external_id": name,
        "source": dict(source or {}),
    }


def _clip(value: Clip | str, where: str) -> Clip:
    try:
        return value if isinstance(value, Clip) else Clip.read(value)
    except ValueError as problem:
        raise Invalid(str(problem), field=where) from None


Opened = tuple[Recording, Episode | None]
"""A recording with its episode; None where its files are gone."""


def _opened(study: Study, names: Iterable[str]) -> dict[str, Opened]:
    """The study's recordings of these episodes by their names, each opened once."""
    here, found = store(), {}
    for row in study.recordings.filter(episode__in=set(names)):
        found[row.episode] = row, here.open(row.episode) if row.episode in here else None
    return found


def _shown(here: Mapping[str, Opened], clip: Clip, where: str) -> tuple[Recording, Episode]:
    """The recording and the episode that a clip is of; Invalid where it cannot be shown."""
    row, episode = here.get(clip.episode, (None, None))
    if row is None:
        raise Invalid(f"This study has no recording of the episode {clip.episode}.", field=where)
    if episode is None:
        raise Invalid(
            f"The files of the episode {clip.episode} are missing from this studio's store. Bring them back, or leave "
            "it out.",
            field=where,
        )
    if clip.stop > len(episode):
        raise Invalid(
            f"Found the steps {clip.start} to {clip.stop}; the episode {clip.episode} has {len(episode)}.",
            field=where,
        )
    if not row.ended:
        raise Invalid(f"The episode {clip.episode} has not ended. Ask about it when it has.", field=where)
    return row, episode


def _candidate(row: Recording, clip: Clip) -> dict[str, Any]:
    source = {"world": row.world, "task": row.task, "seed": row.seed, "policy": row.policy}
    if not row.policy:
        source["driven"] = True
    return {"text": str(clip), "policy": row.policy, "source": source}


# --- what was said while it was lived


def keep_session(
    study: Study,
    recording: Recording,
    annotator,
    answer: Any,
    kind: str = "hindsight",
    seconds: float = 0.0,
    source: Mapping[str, Any] | None = None,
) -> Label:
    """A person's label of an episode that they steered or drove; item, task and label in one transaction.

    `answer` is what the interface `kind` reads, or its Answer. Sent again, it is the same label, whatever became of it.
    Another answer than the last one sent is a change of mind, and supersedes what the person says today; so is one that
    they gave up before. The task is theirs alone: nobody is handed it.
    """
    if kind not in study.kinds:
        raise Invalid(
            f"The study “{study}” does not ask “{interface(kind).label}”, so it cannot keep such a label. Make a study "
            f"whose interfaces name {kind!r}; this one asks {', '.join(study.kinds)}.",
            field="interfaces",
        )
    with transaction.atomic():
        task = _task_of_session(study, recording, annotator, kind, source)
        turn = queue.turn(task=task.pk, person=annotator.pk)
        if turn is None:
            raise Conflict("Another request about this session was faster. Send yours again.")
        said = interface(kind).read(answer, turn) if isinstance(answer, Mapping) else answer
        before, key = _last_sent(study, recording, annotator, kind, turn.assignment)
        if before and canonical(before.answer) == canonical(said.to_json()):
            transaction.set_rollback(True)  # it was sent before: no place at the task is wanted
            return before
        again = turn.assignment.state == Assignment.State.SUBMITTED
        submit = revise_label if again else submit_label
        return submit(task=task, annotator=annotator, answer=said, key=key, seconds=seconds)


def _last_sent(
    study: Study, recording: Recording, annotator, kind: str, assignment: Assignment
) -> tuple[Label | None, UUID]:
    """What was kept last of a session by this person, and the key of what is kept next: the keys count up.

    What they said of it in the labelling room, under a key of its own, is not among it.
    """
    given = {one.key: one for one in Label.objects.filter(assignment=assignment)}
    before = None
    for number in count():
        key = uuid5(SESSIONS, f"{study.pk} {recording.episode} {kind} {annotator.pk} {number}")
        if key not in given:
            return before, key
        before = given[key]


def _task_of_session(
    study: Study, recording: Recording, annotator, kind: str, source: Mapping[str, Any] | None
) -> Task:
    """The task of this kind about a lived episode, with a place for this person at it."""
    name = f"lived:{recording.episode}"
    lock_positions(study)
    item = study.items.filter(external_id=name).first()
    if item is None:
        asked = _episode_item(_opened(study, [recording.episode]), recording.episode, name, source)
        read = read_item(study, asked, judged=True)
        place_items(study, [read])
        item = read[0]
    task = Task.objects.select_for_update(no_key=True).filter(item=item, kind=kind).first()
    if task is None:
        candidates = list(Candidate.objects.filter(item=item).values_list("pk", flat=True))
        task = Task.objects.create(
            study=study,
            item=item,
            kind=kind,
            candidates=candidates,
            position=item.position,
            overlap=1,
            open=1,
        )
    _seat(task, annotator)
    return task


def _seat(task: Task, annotator) -> None:
    """A place at a task for somebody who need not ask the queue for it."""
    mine = Assignment.objects.select_for_update(no_key=True).filter(task=task, annotator=annotator).first()
    if mine and mine.state in (Assignment.State.SUBMITTED, Assignment.State.LEASED):
        return
    if task.open:
        Task.objects.filter(pk=task.pk).update(open=F("open") - 1)
    else:
        Task.objects.filter(pk=task.pk).update(overlap=F("overlap") + 1)
    if mine:
        mine.state, mine.lease_until, mine.changed_at = Assignment.State.LEASED, Now() + queue.LEASE, Now()
        mine.save(update_fields=["state", "lease_until", "changed_at"])
        return
    try:
        Assignment.objects.create(
            study_id=task.study_id, task=task, annotator=annotator, order=task.candidates,
            lease_until=Now() + queue.LEASE,
        )  # fmt: skip
    except IntegrityError:
        raise Conflict("Another request about this session was faster. Send yours again.") from None
