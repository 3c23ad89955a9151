"""Which task comes next: a policy is a small function that says where a task stands in the queue.

The queue always hands out the open task with the lowest position, by an index, so that it costs the same whatever the
policy and however many tasks there are. A policy only sets positions: when tasks are made (`place`), when a researcher
chooses another policy (`arrange`), and when models have looked at the open tasks again (`bring_forward`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import connection
from django.db.models import F

from annotation.interfaces.registry import interface
from annotation.models import Label, Part, Policy, Study, Task

AT_ONCE = 2_000
"""Tasks whose positions are set in one statement: few enough that nobody who claims meanwhile waits for it."""
BITS = 40
"""Random positions have so many bits: two tasks share one almost never, and where they do, their ids decide."""

Order = str
"""SQL for a task's position, over its row t, its item i, and the item's place in its stratum, line.nth."""

LINE = """
    JOIN (SELECT id, row_number() OVER (PARTITION BY source->>%(stratum)s ORDER BY position, id) - 1 AS nth
          FROM annotation_item WHERE study_id = %(study)s) line ON line.id = i.id
"""
"""Every item's place in its stratum, counted once for a statement."""


def sequential() -> Order:
    """In the order in which the items came."""
    return "i.position"


def random() -> Order:
    """By a hash of the id: the same order however often it is asked for."""
    return f"('x' || substr(md5('order' || t.id), 1, {BITS // 4}))::bit({BITS})::bigint"


def round_robin() -> Order:
    """The first of each stratum, then the second of each, and so on."""
    return "line.nth"


ORDERS: dict[str, Callable[[], Order]] = {
    Policy.SEQUENTIAL: sequential,
    Policy.RANDOM: random,
    Policy.ROUND_ROBIN: round_robin,
    Policy.UNCERTAIN: sequential,  # until models have looked
    Policy.DISPUTED: sequential,
}
BY_MODELS = (Policy.UNCERTAIN, Policy.DISPUTED)
"""The policies for which reward models look at the open tasks."""


def order_of(study: Study) -> tuple[Order, str]:
    """The SQL of the study's policy: a task's position, and what its statement must join."""
    order = ORDERS[study.policy]()
    return order, LINE if "line." in order else ""


PLACED = """
UPDATE annotation_task t SET position = {order}
FROM annotation_item i {line} WHERE i.id = t.item_id AND t.id = ANY(%(tasks)s)
"""


def arrange(study: Study, tasks: Sequence[int] | None = None) -> None:
    """Puts these tasks where the study's policy wants them; or all that nobody has begun, some at a time."""
    if tasks is None:
        fresh = study.tasks.filter(part=Part.QUEUE, open=F("overlap")) | study.tasks.filter(waiting=True)
        tasks = list(fresh.values_list("pk", flat=True))
    order, line = order_of(study)
    for first in range(0, len(tasks), AT_ONCE):
        some = list(tasks[first : first + AT_ONCE])
        with connection.cursor() as cursor:
            cursor.execute(
                PLACED.format(order=order, line=line),
                {"tasks": some, "study": study.pk, "stratum": study.stratum},
            )


FORWARD = """
WITH wanted AS (
    SELECT t.id, t.position, ranked.nth FROM unnest(%(tasks)s::bigint[]) WITH ORDINALITY ranked (id, nth)
    JOIN annotation_task t ON t.id = ranked.id
    WHERE t.study_id = %(study)s AND t.part = 'queue' AND t.open = t.overlap AND t.open > 0
    FOR NO KEY UPDATE OF t SKIP LOCKED
), free AS (
    SELECT t.id, t.position FROM annotation_task t
    WHERE t.study_id = %(study)s AND t.part = 'queue' AND t.open > 0 AND t.open = t.overlap
    ORDER BY t.position, t.id LIMIT (SELECT count(*) FROM wanted)
), slots AS (
    SELECT position, row_number() OVER (ORDER BY position) AS nth FROM (
        SELECT position FROM free UNION ALL SELECT position FROM wanted WHERE id NOT IN (SELECT id FROM free)
    ) places
), line AS (
    SELECT id, row_number() OVER (ORDER BY rank, nth) AS nth FROM (
        SELECT id, 0 AS rank, nth FROM wanted
        UNION ALL SELECT id, 1, row_number() OVER (ORDER BY position, id) FROM free
        WHERE id NOT IN (SELECT id FROM wanted)
    ) everyone
)
UPDATE annotation_task t SET position = slots.position
FROM line JOIN slots ON slots.nth = line.nth
WHERE t.id = line.id AND t.position <> slots.position
"""


def bring_forward(study: Study, tasks: Sequence[int]) -> int:
    """Puts these tasks first, in this order, by changing places with those that stood there; returns how many moved.

    Only tasks that nobody has begun move, and only among places that are taken, so that whoever labels meanwhile goes
    on from where they were.
    """
    with connection.cursor() as cursor:
        cursor.execute(FORWARD, {"study": study.pk, "tasks": list(tasks)})
        return cursor.rowcount


# --- more people where they differ


def ask_more(task: Task) -> bool:
    """Opens a task to more people where the answers so far lie far apart; once for each task."""
    study = task.study
    said = Label.objects.current().filter(task=task).values_list("answer", flat=True)
    if spread(task.kind, list(said), task.candidates) < study.wide_spread:
        return False
    more = study.more_people
    once = Task.objects.filter(pk=task.pk, part=Part.QUEUE, overlap=study.overlap)
    return bool(once.update(overlap=F("overlap") + more, open=F("open") + more))


def spread(kind: str, answers: list[dict], candidates: list[int]) -> float:
    """How far the answers lie apart on the interface's scale; answers of different sorts are as far as can be."""
    module = interface(kind)
    if hasattr(module, "spread"):
        return module.spread(answers)
    if not hasattr(module, "judgement"):
        return 0.0
    judged = [module.judgement(one, candidates) for one in answers]
    judged = [one for one in judged if one is not None]
    if len(judged) < 2:
        return 0.0
    if len({isinstance(one, str) for one in judged}) > 1 or any(isinstance(one, str) for one in judged):
        return float("inf") if len(set(judged)) > 1 else 0.0
    return float(max(judged) - min(judged))
