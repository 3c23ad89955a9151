"""What it costs to freeze and to export a large study: the first byte, the whole, and the memory it takes.

    python benchmarks/export.py [--tasks 5000 50000] [--what nothing freeze dataset]

A PostgreSQL with fsync and rows made in SQL, which are not measured: comparisons of two answers of some 200 characters,
each answered by one of eight people. Every measurement is a process of its own, so that its peak of memory is its own;
memory is what it holds beyond a process that has only started. CPU is the process's own, without PostgreSQL's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARS = {"first byte": 1.0, "seconds": 20.0}
MEASURED = ("nothing", "freeze", "kibitz", "trl", "trl_chat", "csv", "dataset")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--what", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "STUDY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
    if asked.measure:
        measure(asked.measure[0], int(asked.measure[1]))
        return
    with tempfile.TemporaryDirectory(prefix="kibitz-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
        os.environ |= {"KIBITZ_HOME": folder, "BROKER_URL": "memory://"}
        from webapp import embedded

        with embedded.database():
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            bars = ", ".join(f"{name} {value:g} s" for name, value in BARS.items())
            print(f"{os.cpu_count()} cores for everything; bars for 50,000 tasks: {bars}\n")
            print(
                f"{'tasks':>9} {'what':>9} {'first byte s':>13} {'all s':>7} {'CPU s':>6} {'MB':>7}"
                f" {'peak MiB':>9} {'extra':>6}"
            )
            for tasks in asked.tasks:
                study = study_of(tasks)
                start = 0.0
                for what in asked.what:
                    found = apart(what, study)
                    start = start or found["peak"]
                    print(
                        f"{tasks:>9,} {what:>9} {found['first']:>13.2f} {found['all']:>7.1f} {found['cpu']:>6.1f}"
                        f" {found['size'] / 1e6:>7.1f} {found['peak']:>9.0f} {found['peak'] - start:>6.0f}",
                        flush=True,
                    )


def apart(what: str, study: int) -> dict:
    """Measures in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, str(study)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def measure(what: str, pk: int) -> None:
    import django

    django.setup()
    from annotation import exporters, snapshots
    from annotation.models import Study

    study = Study.objects.get(pk=pk)
    size, first, began, used = 0, 0.0, time.perf_counter(), time.process_time()
    if what == "freeze":
        frozen = snapshots.freeze(study=study, by=study.created_by)
        size = (frozen.folder / "records.jsonl").stat().st_size
    elif what != "nothing":
        for block in exporters.export(study, exporters.Asked(format=what)):
            first = first or time.perf_counter() - began
            size += len(block)
    spent = time.perf_counter() - began
    cpu = time.process_time() - used
    peak = peak_memory()
    print(json.dumps({"first": first or spent, "all": spent, "cpu": cpu, "size": size, "peak": peak}))


def peak_memory() -> float:
    """The most MiB this process ever held. Not ru_maxrss: a child's begins with what its parent had."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def study_of(tasks: int) -> int:
    from uuid import uuid4

    from django.contrib.auth import get_user_model
    from django.db import connection

    from annotation.models import Role
    from annotation.services import create_study, join_study

    users = [get_user_model().objects.create(username=f"person-{tasks}-{n}") for n in range(8)]
    study = create_study(
        name=f"{tasks:,} tasks {uuid4().hex[:6]}", owner=users[0], licence="CC-BY-4.0", guidelines="Be fair."
    )
    for user in users[1:]:
        join_study(study=study, user=user, role=Role.ANNOTATOR)
    text = "A fairly ordinary answer. " * 8
    with connection.cursor() as cursor:
        cursor.execute(
            ROWS, {"study": study.pk, "tasks": tasks, "text": text, "people": [user.pk for user in users]}
        )
        cursor.execute(LABELS, {"study": study.pk})
        cursor.execute(
            "VACUUM ANALYZE annotation_task, annotation_item, annotation_candidate, annotation_assignment,"
            " annotation_label"
        )
    return study.pk


ROWS = """
WITH items AS (
    INSERT INTO annotation_item (study_id, context, position, external_id, source, licence, collector, jurisdiction,
        signal, withdrawn_reason, created_at)
    SELECT %(study)s, jsonb_build_object('prompt', 'Question ' || n || '?'), n, '', '{}', '', '', '', 'unknown', '',
        now()
    FROM generate_series(1, %(tasks)s) n RETURNING id, position
), candidates AS (
    INSERT INTO annotation_candidate (item_id, index, text, policy, source)
    SELECT items.id, side, %(text)s || side || items.id, 'peer', '{}' FROM items, generate_series(0, 1) side
    RETURNING id, item_id, index
), tasks AS (
    INSERT INTO annotation_task (study_id, item_id, kind, candidates, position, part, overlap, open, done, waiting)
    SELECT %(study)s, items.id, 'pairwise', answers.ids, items.position, 'queue', 1, 0, 1, false
    FROM items JOIN (
        SELECT item_id, array_agg(id ORDER BY index) AS ids FROM candidates GROUP BY item_id
    ) answers ON answers.item_id = items.id
    RETURNING id, candidates
)
INSERT INTO annotation_assignment (study_id, task_id, annotator_id, state, lease_until, "order", reason)
SELECT %(study)s, id, (%(people)s::bigint[])[1 + id %% 8], 'submitted', now(), candidates, '' FROM tasks
"""
LABELS = """
INSERT INTO annotation_label (study_id, task_id, assignment_id, annotator_id, kind, answer, key, withdrawn, seconds,
    source)
SELECT study_id, task_id, id, annotator_id, 'pairwise', jsonb_build_object('choice', 'chosen', 'chosen', "order"[1],
    'rejected', "order"[2], 'strength', 1, 'reason', ''), gen_random_uuid(), false, 4.5, '{}'
FROM annotation_assignment WHERE study_id = %(study)s
"""


if __name__ == "__main__":
    main()
