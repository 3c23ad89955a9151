"""Whose turn it is at which task: each step one SQL statement, so that the database decides every race.

A task has `open` places. A lease takes one (`claim`), a label keeps it (`keep`), a skip or an expiry gives it
back. Rows are taken with SKIP LOCKED, so that people claiming at once never wait for, nor get, the same place.
Where a statement does wait, it locks the task before the assignment: one order everywhere, so no deadlock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.http import Http404

from annotation import prepared
from annotation.interfaces.registry import INTERFACES, interface
from annotation.models import Assignment, Candidate, Item, Label, Study, Task

LEASE = timedelta(minutes=5)
"""How long a task stays with someone who shows no sign of life; the page renews it every minute."""
MOST_HELD = 20
"""How many tasks one person may hold in a study at once, of the kind they ask for where they ask for one: enough to
work ahead, too few to empty the queue."""
APART = 10
"""How many other tasks lie between two questions about one item, where the second is gold, calibration or a repeat."""
NEAR = 50
"""A claim looks first from where this person was so many tasks ago, so that it need not step over all they did."""


@dataclass(frozen=True)
class Claim:
    """One person's turn at a task, with all that a page needs to ask the question."""

    assignment: Assignment
    task: Task
    item: Item
    candidates: list[Candidate]
    """In the order this person is shown them."""
    answer: dict | None
    """What they said before, when an undo or a reviewer brought the task back."""
    sent_back: str = ""
    """A reviewer's words, where a label was sent back to be given anew."""
    told: bool = False
    """Whether somebody elsewhere wants to hear of each label."""
    label: Label | None = None
    """The label already stored under the key that was asked for."""

    @property
    def lease_until(self) -> datetime:
        return self.assignment.lease_until


# The columns that make a Claim, from the rows s (study), t (task), i (item) and turn (assignment).
CLAIM = """
    s.id, s.name, s.guidelines, s.interfaces::text, s.overlap, s.names_hidden, s.created_by_id, s.archived_at,
    s.more_people, s.wide_spread, s.repeat_rate, s.pass_bar, s.drift_bar,
    t.id, t.kind, t.candidates, t.position, t.overlap, t.open, t.done, t.part,
    i.id, i.context::text, i.position, i.external_id, i.source::text,
    turn.id, turn.state, turn.lease_until, turn."order",
    (SELECT jsonb_agg(jsonb_build_object('id', c.id, 'index', c.index, 'text', c.text, 'policy', c.policy,
            'source', c.source) ORDER BY array_position(turn."order", c.id))
     FROM annotation_candidate c WHERE c.id = ANY(turn."order"))::text,
    (SELECT CASE WHEN last.withdrawn THEN last.answer END
     FROM annotation_label last WHERE last.assignment_id = turn.id ORDER BY last.id DESC LIMIT 1)::text,
    (SELECT said.text FROM annotation_label back JOIN annotation_remark said ON said.label_id = back.id
     WHERE back.assignment_id = turn.id AND said.kind = 'sent_back' ORDER BY said.id DESC LIMIT 1),
    EXISTS (SELECT FROM annotation_webhook hook
            WHERE hook.study_id = s.id AND hook.active AND 'label.submitted' = ANY(hook.events))
"""
STUDY, TASK, ITEM, TURN_AT, CLAIM_COLUMNS = 0, 13, 21, 26, 34
"""Where in a row each part of a Claim begins, and where the Claim ends."""

# An item that was taken out is asked about no more: no place at a task of it comes back.
STAYS = (
    "NOT EXISTS (SELECT FROM annotation_item out WHERE out.id = t.item_id AND out.withdrawn_at IS NOT NULL)"
)

# What one person has had of a task; only an expired turn may be had again.
HAD = """
    SELECT FROM annotation_assignment had
    WHERE had.task_id = {task} AND had.annotator_id = %(person)s AND had.state <> 'expired'
"""

# What a label `said` speaks for an answer `c`: a comparison won, each answer placed below it, or, less than any of
# these, its mean share of the points.
WINS = """CASE said.kind
    WHEN 'pairwise' THEN (said.answer->>'chosen' = c.id::text)::int
    WHEN 'clips' THEN (said.answer->>'chosen' = c.id::text)::int
    WHEN 'ranking' THEN (
        SELECT count(*) FROM jsonb_array_elements_text(said.answer->'candidates') WITH ORDINALITY mine (id, nth),
            jsonb_array_elements_text(said.answer->'ranks') below
        WHERE mine.id = c.id::text AND below::int > (said.answer->'ranks'->>(mine.nth::int - 1))::int)
    WHEN 'rating' THEN (
        SELECT avg(given.value::numeric / (said.answer->'scale'->>given.key)::numeric) / 2
        FROM jsonb_each_text(said.answer->'scores') given WHERE said.answer->>'candidate' = c.id::text)
    END"""

# The task of a turn, found by its id whatever the planner believes: just after a large import its statistics of the
# turns are old, and a join in the order of ids would walk over a million tasks that nobody has had.
TASK_OF = "CROSS JOIN LATERAL (SELECT * FROM annotation_task WHERE id = {turn}.task_id LIMIT 1) t"

# `count` is written into the statement: a plan made for all counts expects a tenth of the table, and sorts it.
# `mine` what this person holds already · `aside` what is mixed in: the qualification of who has not passed it, else
# gold, calibration and repeats, as often as the study's rates draw them, and none about an item just seen · `near`,
# `far` open places · `lapsed` leases of others that ran out, looked at only when nothing is open · `picked` what to
# take · `won` what was taken: of two tabs of one person, one wins.
CLAIM_TASKS = f"""
WITH me AS MATERIALIZED (
    SELECT m.id, (SELECT count(*) FROM annotation_assignment held {TASK_OF.format(turn="held")}
                  WHERE held.annotator_id = %(person)s AND held.study_id = %(study)s AND held.state = 'leased'
                  {{of_kind}}) AS held,
        CASE WHEN s.archived_at IS NOT NULL THEN 'nothing'
             WHEN s.consent <> '' AND m.consent_version <> s.consent_version THEN 'nothing'
             WHEN s.pass_bar > 0 AND m.role = 'annotator' AND m.standing <> 'passed' THEN 'qualify'
             ELSE 'work' END AS may,
        s.gold_rate, s.calibration_rate, s.repeat_rate
    FROM annotation_membership m JOIN annotation_study s ON s.id = m.study_id
    WHERE m.study_id = %(study)s AND m.user_id = %(person)s
), mine AS MATERIALIZED (
    SELECT a.id FROM annotation_assignment a {TASK_OF.format(turn="a")}
    WHERE a.annotator_id = %(person)s AND a.study_id = %(study)s AND a.state = 'leased'
      AND a.task_id <> ALL(%(besides)s) {{of_kind}} AND EXISTS (SELECT FROM me WHERE may <> 'nothing')
    ORDER BY t.position, t.id LIMIT {{count}} FOR UPDATE OF a SKIP LOCKED
), room AS MATERIALIZED (
    SELECT least({{count}} - (SELECT count(*) FROM mine), {MOST_HELD} - me.held) AS places FROM me
    WHERE may <> 'nothing'
), drawn AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE random() < me.gold_rate) AS gold,
        count(*) FILTER (WHERE random() < me.calibration_rate) AS calibration,
        count(*) FILTER (WHERE random() < me.repeat_rate) AS repeat
    FROM me, generate_series(1, (SELECT greatest(places, 0) FROM room)) WHERE me.may = 'work'
), aside AS MATERIALIZED (
    SELECT t.id FROM annotation_task t JOIN (
        SELECT t.id, t.part, row_number() OVER (PARTITION BY t.part ORDER BY md5(t.id || '-' || %(person)s)) AS nth
        FROM annotation_task t
        WHERE t.study_id = %(study)s AND t.part <> 'queue' AND t.open > 0 {{of_kind}}
          AND (SELECT may = 'qualify' OR gold + calibration + repeat > 0 FROM me, drawn)
          AND (t.person_id IS NULL OR t.person_id = %(person)s)
          AND NOT EXISTS ({HAD.format(task="t.id")})
          AND (t.part = 'qualification' OR t.item_id NOT IN (
              SELECT seen.item_id FROM (
                  SELECT a.task_id FROM annotation_assignment a
                  WHERE a.annotator_id = %(person)s AND a.study_id = %(study)s ORDER BY a.id DESC LIMIT {APART}
              ) recent CROSS JOIN LATERAL (SELECT item_id FROM annotation_task WHERE id = recent.task_id LIMIT 1) seen))
    ) found ON found.id = t.id, me, drawn
    WHERE nth <= CASE WHEN may = 'qualify' THEN CASE found.part WHEN 'qualification' THEN (SELECT places FROM room) END
        ELSE CASE found.part WHEN 'gold' THEN gold WHEN 'calibration' THEN calibration WHEN 'repeat' THEN repeat END END
    ORDER BY nth, md5(t.id || '-' || %(person)s) LIMIT (SELECT greatest(places, 0) FROM room)
    FOR NO KEY UPDATE OF t SKIP LOCKED
), rest AS MATERIALIZED (
    SELECT CASE may WHEN 'work' THEN places - (SELECT count(*) FROM aside) ELSE 0 END AS places FROM room, me
), place AS MATERIALIZED (
    SELECT t.position, t.id FROM annotation_assignment a {TASK_OF.format(turn="a")}
    WHERE a.annotator_id = %(person)s AND a.study_id = %(study)s AND t.part = 'queue'
    ORDER BY a.id DESC OFFSET {NEAR} LIMIT 1
), near AS MATERIALIZED (
    SELECT t.id FROM annotation_task t
    WHERE t.study_id = %(study)s AND t.open > 0 AND t.part = 'queue' {{of_kind}} AND (SELECT places FROM rest) > 0
      AND (t.position, t.id) >= (coalesce((SELECT position FROM place), -1), coalesce((SELECT id FROM place), -1))
      AND NOT EXISTS ({HAD.format(task="t.id")})
    ORDER BY t.position, t.id LIMIT {{count}} FOR NO KEY UPDATE OF t SKIP LOCKED
), far AS MATERIALIZED (
    SELECT t.id FROM annotation_task t
    WHERE t.study_id = %(study)s AND t.open > 0 AND t.part = 'queue' {{of_kind}}
      AND (SELECT places FROM rest) > (SELECT count(*) FROM near)
      AND (t.position, t.id) < ((SELECT position FROM place), (SELECT id FROM place))
      AND NOT EXISTS ({HAD.format(task="t.id")})
    ORDER BY t.position, t.id LIMIT {{count}} FOR NO KEY UPDATE OF t SKIP LOCKED
), lapsed AS MATERIALIZED (
    SELECT a.id, a.task_id FROM annotation_assignment a {TASK_OF.format(turn="a")}
    WHERE a.study_id = %(study)s AND a.state = 'leased' AND a.lease_until < now() AND a.annotator_id <> %(person)s
      AND (SELECT places FROM rest) > (SELECT count(*) FROM near) + (SELECT count(*) FROM far)
      AND t.part = 'queue' {{of_kind}} AND {STAYS}
      AND NOT EXISTS ({HAD.format(task="a.task_id")})
      AND NOT EXISTS (SELECT FROM annotation_assignment earlier WHERE earlier.task_id = a.task_id
                      AND earlier.id < a.id AND earlier.state = 'leased' AND earlier.lease_until < now())
      AND a.task_id NOT IN (SELECT id FROM near UNION ALL SELECT id FROM far)
    ORDER BY a.lease_until, a.id LIMIT {{count}} FOR UPDATE OF a SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT id AS task_id, NULL::bigint AS from_assignment FROM aside
    UNION ALL SELECT task_id, from_assignment FROM (
        SELECT * FROM (
            SELECT id AS task_id, NULL::bigint AS from_assignment, 1 AS rank FROM near
            UNION ALL SELECT id, NULL, 2 FROM far
            UNION ALL SELECT task_id, id, 3 FROM lapsed
        ) found ORDER BY rank LIMIT greatest((SELECT places FROM rest), 0)
    ) queued
), expired AS (
    UPDATE annotation_assignment a SET state = 'expired', changed_at = now()
    FROM picked WHERE a.id = picked.from_assignment
), won AS (
    INSERT INTO annotation_assignment AS a
        (study_id, task_id, annotator_id, state, lease_until, "order", reason, created_at, changed_at)
    SELECT t.study_id, t.id, %(person)s, 'leased', now() + %(lease)s,
        coalesce(CASE WHEN t.kind = ANY(%(preferred_first)s) THEN
            (SELECT array_agg(c.id ORDER BY (
                 SELECT sum({WINS}) FROM annotation_label said JOIN annotation_task judged ON judged.id = said.task_id
                 WHERE judged.item_id = t.item_id AND NOT said.withdrawn
                   AND NOT EXISTS (SELECT FROM annotation_label later WHERE later.supersedes_id = said.id)
             ) DESC NULLS LAST, c.index) FROM annotation_candidate c WHERE c.id = ANY(t.candidates))
        WHEN t.part = 'repeat' THEN
            (SELECT array_agg(one ORDER BY nth DESC) FROM unnest((
                 SELECT before."order" FROM annotation_assignment before
                 JOIN annotation_task asked ON asked.id = before.task_id
                 WHERE before.annotator_id = %(person)s AND asked.item_id = t.item_id AND asked.kind = t.kind
                   AND asked.candidates = t.candidates AND before.state = 'submitted' ORDER BY before.id LIMIT 1
             )) WITH ORDINALITY seen (one, nth))
        END, (SELECT array_agg(one ORDER BY random()) FROM unnest(t.candidates) one), '{{{{}}}}'),
        '', now(), now()
    FROM picked JOIN annotation_task t ON t.id = picked.task_id
    ON CONFLICT (task_id, annotator_id) DO UPDATE
        SET state = 'leased', lease_until = EXCLUDED.lease_until, changed_at = now() WHERE a.state = 'expired'
    RETURNING a.id, a.task_id, a.state, a.lease_until, a."order"
), places AS (
    UPDATE annotation_task t SET open = t.open + CASE WHEN won.id IS NULL THEN 1 ELSE -1 END
    FROM picked LEFT JOIN won ON won.task_id = picked.task_id
    WHERE t.id = picked.task_id AND (picked.from_assignment IS NULL) = (won.id IS NOT NULL)
), renewed AS (
    UPDATE annotation_assignment a SET lease_until = now() + %(lease)s FROM mine WHERE a.id = mine.id
    RETURNING a.id, a.task_id, a.state, a.lease_until, a."order"
)
SELECT {CLAIM}
FROM me JOIN annotation_study s ON s.id = %(study)s
LEFT JOIN (SELECT *, 0 AS rank FROM renewed UNION ALL SELECT *, 1 FROM won) turn ON true
LEFT JOIN annotation_task t ON t.id = turn.task_id
LEFT JOIN annotation_item i ON i.id = t.item_id
ORDER BY turn.rank, t.position, t.id
"""


def claim(*, study: int, person: int, kind: str | None, count: int, besides: list[int]) -> list[Claim]:
    """Leases up to `count` tasks to a member: those they hold already, then open ones, then lapsed ones.

    `besides` are tasks that the member's page has in hand. A stranger to the study gets a 404.
    """
    rows = _rows(
        CLAIM_TASKS.format(of_kind="AND t.kind = %(kind)s" if kind else "", count=int(count)),
        study=study,
        person=person,
        kind=kind,
        besides=besides,
        lease=LEASE,
        preferred_first=[name for name in INTERFACES if interface(name).ORDER == "preferred"],
    )
    if not rows:
        raise Http404("There is no such study, or it is not yours to see.")
    return [_claim(row, person) for row in rows if row[TASK] is not None]


TURN = f"""
SELECT {CLAIM}, stored.id, stored.study_id, stored.task_id, stored.assignment_id, stored.annotator_id, stored.kind,
    stored.answer::text, stored.created_at
FROM annotation_task t
JOIN annotation_study s ON s.id = t.study_id
JOIN annotation_membership m ON m.study_id = t.study_id AND m.user_id = %(person)s
JOIN annotation_item i ON i.id = t.item_id
LEFT JOIN annotation_assignment turn ON turn.task_id = t.id AND turn.annotator_id = %(person)s
LEFT JOIN annotation_label stored ON stored.key = %(key)s::uuid
WHERE t.id = %(task)s
"""


def turn(*, task: int, person: int, key: UUID | None = None) -> Claim | None:
    """A member's turn at a task, in whatever state, and the label already stored under `key`.

    None when they never had it; 404 when it is not of a study of theirs.
    """
    rows = _rows(TURN, task=task, person=person, key=key)
    if not rows:
        raise Http404("There is no such task, or it is not yours to see.")
    (row,) = rows
    return None if row[TURN_AT] is None else _claim(row, person, key)


# The place is kept: a live lease has one, and a late answer takes one again if there still is one.
KEEP = """
WITH place AS MATERIALIZED (
    SELECT t.id FROM annotation_task t WHERE t.id = %(task)s FOR NO KEY UPDATE
), held AS MATERIALIZED (
    SELECT a.id, a.state FROM place JOIN annotation_assignment a ON a.task_id = place.id
    WHERE a.annotator_id = %(person)s FOR NO KEY UPDATE OF a
), kept AS (
    UPDATE annotation_task t
    SET done = t.done + 1, open = t.open - CASE WHEN held.state = 'leased' THEN 0 ELSE 1 END
    FROM held
    WHERE t.id = %(task)s
      AND (held.state = 'leased' OR (held.state IN ('expired', 'skipped') AND t.open > 0))
    RETURNING t.id, t.study_id, t.item_id, t.kind, t.part, t.overlap, t.open, t.done, held.id AS assignment_id
), closed AS (
    UPDATE annotation_assignment a SET state = 'submitted', changed_at = now(), reason = ''
    FROM kept WHERE a.id = kept.assignment_id
), awakened AS (
    UPDATE annotation_task w SET waiting = false, open = w.overlap
    FROM kept WHERE w.item_id = kept.item_id AND w.waiting AND w.id <> kept.id
), stored AS (
    INSERT INTO annotation_label
        (study_id, task_id, assignment_id, annotator_id, kind, answer, key, supersedes_id, withdrawn, seconds, source,
         created_at)
    SELECT kept.study_id, kept.id, kept.assignment_id, %(person)s, kept.kind, %(answer)s::jsonb, %(key)s::uuid,
        (SELECT max(id) FROM annotation_label l WHERE l.assignment_id = kept.assignment_id), false, %(seconds)s, '{}',
        now()
    FROM kept
    RETURNING id, study_id, task_id, assignment_id, annotator_id, kind, answer::text, created_at
)
SELECT stored.*, kept.overlap, kept.open, kept.done FROM stored, kept
"""


def keep(*, turn: Claim, answer: dict, key: UUID, seconds: float) -> Label | None:
    """Stores an answer in its place; None when this person has no place (any more). `turn.task` learns its places."""
    task, person = turn.task, turn.assignment.annotator_id
    rows = _rows(KEEP, task=task.pk, person=person, answer=json.dumps(answer), key=key, seconds=seconds)
    if not rows:
        return None
    task.overlap, task.open, task.done = rows[0][8:]
    label = _label(rows[0][:8], key)
    label.task = task
    return label


SKIP = f"""
WITH place AS MATERIALIZED (
    SELECT t.id FROM annotation_task t WHERE t.id = %(task)s FOR NO KEY UPDATE
), held AS MATERIALIZED (
    SELECT a.id, a.state FROM place JOIN annotation_assignment a ON a.task_id = place.id
    WHERE a.annotator_id = %(person)s FOR NO KEY UPDATE OF a
), given_back AS (
    UPDATE annotation_task t SET open = t.open + 1 FROM held
    WHERE t.id = %(task)s AND held.state = 'leased' AND {STAYS}
), closed AS (
    UPDATE annotation_assignment a SET state = 'skipped', reason = %(reason)s, changed_at = now()
    FROM held WHERE a.id = held.id AND held.state IN ('leased', 'expired')
)
SELECT state FROM held
"""


def skip(*, task: int, person: int, reason: str) -> str | None:
    """Gives a task to somebody else. Returns the state it was found in; None when this person never had it."""
    rows = _rows(SKIP, task=task, person=person, reason=reason)
    return rows[0][0] if rows else None


EXTEND = """
WITH held AS MATERIALIZED (
    SELECT id FROM annotation_assignment
    WHERE annotator_id = %(person)s AND task_id = ANY(%(tasks)s) AND state = 'leased'
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE annotation_assignment a SET lease_until = now() + %(lease)s FROM held
WHERE a.id = held.id AND a.state = 'leased' RETURNING a.task_id, a.lease_until
"""


def extend(*, person: int, tasks: list[int]) -> dict[int, datetime]:
    return dict(_rows(EXTEND, person=person, tasks=tasks, lease=LEASE))


# Never waits: a task or a lease that somebody is at just now is left for the next sweep.
RELEASE = f"""
WITH lapsed AS MATERIALIZED (
    SELECT a.id, a.task_id FROM annotation_assignment a JOIN annotation_task t ON t.id = a.task_id
    WHERE a.state = 'leased' AND a.lease_until < now() FOR NO KEY UPDATE OF a, t SKIP LOCKED
), expired AS (
    UPDATE annotation_assignment a SET state = 'expired', changed_at = now() FROM lapsed WHERE a.id = lapsed.id
), given_back AS (
    UPDATE annotation_task t SET open = t.open + back.places
    FROM (SELECT task_id, count(*) AS places FROM lapsed GROUP BY task_id) back WHERE t.id = back.task_id AND {STAYS}
)
SELECT count(*) FROM lapsed
"""


def release() -> int:
    """Gives back the places of leases that ran out, in every study. Returns how many."""
    return _rows(RELEASE)[0][0]


LEFT = f"""
WITH me AS MATERIALIZED (
    SELECT s.archived_at IS NOT NULL AS archived, s.consent <> '' AND m.consent_version <> s.consent_version AS unasked,
        s.pass_bar > 0 AND m.role = 'annotator' AND m.standing <> 'passed' AS qualifies, m.standing
    FROM annotation_membership m JOIN annotation_study s ON s.id = m.study_id
    WHERE m.study_id = %(study)s AND m.user_id = %(person)s
)
SELECT
    (SELECT count(*) FROM annotation_task t WHERE t.study_id = %(study)s AND t.open > 0 {{of_kind}}
        AND t.part = CASE WHEN (SELECT qualifies FROM me) THEN 'qualification' ELSE 'queue' END
        AND (t.person_id IS NULL OR t.person_id = %(person)s)
        AND NOT EXISTS ({HAD.format(task="t.id")})),
    (SELECT min(a.lease_until) FROM annotation_assignment a JOIN annotation_task t ON t.id = a.task_id
        WHERE a.study_id = %(study)s AND a.state = 'leased' AND a.annotator_id <> %(person)s AND t.part = 'queue'
        {{of_kind}} AND NOT EXISTS ({HAD.format(task="t.id")})),
    (SELECT count(*) FROM annotation_assignment a JOIN annotation_task t ON t.id = a.task_id
        WHERE a.study_id = %(study)s AND a.annotator_id = %(person)s AND a.state = 'leased' {{of_kind}}),
    EXISTS (SELECT FROM annotation_task t WHERE t.study_id = %(study)s),
    me.archived, me.unasked, me.qualifies, me.standing
FROM me
"""


@dataclass(frozen=True)
class Left:
    """What there still is for one person in a study."""

    open: int
    held_by_others_until: datetime | None
    held: int
    any_tasks: bool
    archived: bool
    unasked: bool
    """They have not agreed to what the study asks them to."""
    qualifies: bool
    """They get the qualification, and nothing else until it is passed."""
    standing: str

    @property
    def available(self) -> bool:
        """A claim now should find something."""
        return self.open > 0 and not self.archived and not self.unasked and self.held < MOST_HELD


def left(*, study: int, person: int, kind: str | None) -> Left:
    of_kind = "AND t.kind = %(kind)s" if kind else ""
    return Left(*_rows(LEFT.format(of_kind=of_kind), study=study, person=person, kind=kind)[0])


def _rows(statement: str, **values) -> list[tuple]:
    return prepared.rows(statement, values)


STUDY_FIELDS = (
    "id", "name", "guidelines", "interfaces", "overlap", "names_hidden", "created_by_id", "archived_at",
    "more_people", "wide_spread", "repeat_rate", "pass_bar", "drift_bar",
)  # fmt: skip
TASK_FIELDS = ("id", "kind", "candidates", "position", "overlap", "open", "done", "part")
ITEM_FIELDS = ("id", "context", "position", "external_id", "source")


def _claim(row: tuple, person: int, key: UUID | None = None) -> Claim:
    study = Study(**dict(zip(STUDY_FIELDS, row[STUDY:TASK], strict=True)))
    study.interfaces = json.loads(study.interfaces)
    item = Item(study=study, **dict(zip(ITEM_FIELDS, row[ITEM:TURN_AT], strict=True)))
    item.context, item.source = json.loads(item.context), json.loads(item.source)
    task = Task(study=study, item=item, **dict(zip(TASK_FIELDS, row[TASK:ITEM], strict=True)))
    turn, state, until, order, candidates, answer, sent_back, told = row[TURN_AT:CLAIM_COLUMNS]
    assignment = Assignment(
        id=turn, study=study, task=task, annotator_id=person, state=state, lease_until=until, order=order
    )
    label = None
    if len(row) > CLAIM_COLUMNS and row[CLAIM_COLUMNS] is not None:
        label = _label(row[CLAIM_COLUMNS:], key)
    return Claim(
        assignment=assignment,
        task=task,
        item=item,
        candidates=[Candidate(item=item, **candidate) for candidate in json.loads(candidates or "[]")],
        answer=json.loads(answer) if answer else None,
        sent_back=sent_back or "",
        told=told,
        label=label,
    )


def _label(row: tuple, key: UUID | None) -> Label:
    return Label(
        id=row[0], study_id=row[1], task_id=row[2], assignment_id=row[3], annotator_id=row[4], kind=row[5],
        answer=json.loads(row[6]), created_at=row[7], key=key,
    )  # fmt: skip
