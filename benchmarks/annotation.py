"""What it costs to hand out a task and to take its answer, over the HTTP API, with many annotators at once.

    python benchmarks/annotation.py [--clients 1 8 32] [--tasks 2000 50000] [--labels 400]

A real uvicorn over a real PostgreSQL (with fsync), each annotator a thread with a connection and a token of its own,
without time to think: next, submit, next, submit. Overlap is 1, so a task that two people answered is a duplicate.
CPU is the server's alone, read from /proc; SQL statements are counted by the server's own log of one next and submit.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
BARS = {"next p95": 50.0, "submit p95": 50.0, "labels/s": 100.0, "web CPU": 15.0, "statements": 6, "MiB": 250}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2_000, 50_000])
    parser.add_argument("--labels", type=int, default=400, help="by all clients of one measurement together")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kibitz-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
        os.environ |= {"KIBITZ_HOME": folder, "BROKER_URL": "memory://"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        sys.path.insert(0, str(ROOT))
        from webapp import embedded

        with embedded.database():
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            tokens = people(max(asked.clients))
            print(f"SQL statements for next and submit, signing in included: {statements(tokens[0])}")
            port = free_port()
            options = ["--port", str(port), "--lifespan", "off", "--log-level", "warning"]
            web = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "webapp.asgi:application", *options], cwd=ROOT
            )
            try:
                wait_for_port(port)
                results = [
                    measure(port, web.pid, study_of(tasks, tokens), tasks, tokens[:clients], asked.labels)
                    for tasks in asked.tasks
                    for clients in asked.clients
                ]
            finally:
                web.terminate()
                web.wait()
            report(results)


# --- the studio to be measured


def people(count: int) -> list[str]:
    from django.contrib.auth import get_user_model

    from webapp.accounts.models import ApiToken

    users = [get_user_model().objects.create(username=f"annotator-{number}") for number in range(count)]
    return [ApiToken.issue(user, "benchmark")[1] for user in users]


def study_of(tasks: int, tokens: list[str]) -> int:
    """A study of that many comparisons, all annotators its members. Rows are made in SQL: they are not measured."""
    from django.contrib.auth import get_user_model
    from django.db import connection

    from annotation.models import Role
    from annotation.services import create_study, join_study

    users = list(get_user_model().objects.order_by("pk")[: len(tokens)])
    study = create_study(name=f"{tasks:,} tasks {uuid4().hex[:6]}", owner=users[0])
    for user in users[1:]:
        join_study(study=study, user=user, role=Role.ANNOTATOR)
    with connection.cursor() as cursor:
        cursor.execute(ROWS, {"study": study.pk, "tasks": tasks, "text": "A fairly ordinary answer. " * 8})
        cursor.execute("VACUUM ANALYZE annotation_task, annotation_item, annotation_candidate")
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
)
INSERT INTO annotation_task (study_id, item_id, kind, candidates, position, part, overlap, open, done, waiting)
SELECT %(study)s, items.id, 'pairwise', answers.ids, items.position, 'queue', 1, 1, 0, false
FROM items JOIN (
    SELECT item_id, array_agg(id ORDER BY index) AS ids FROM candidates GROUP BY item_id
) answers ON answers.item_id = items.id
"""


def statements(token: str) -> int:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    study = study_of(5, [token])
    client = Client(headers={"authorization": f"Bearer {token}", "host": "localhost"})
    client.get("/api/studies")  # the token notes its first use of the hour
    with CaptureQueriesContext(connection) as captured:
        task = client.post(f"/api/studies/{study}/next", {}, content_type="application/json").json()["tasks"][
            0
        ]
        body = {"answer": {"choice": "a"}, "key": str(uuid4())}
        stored = client.post(f"/api/tasks/{task['id']}/submit", body, content_type="application/json")
    assert stored.status_code == 200, stored.content
    return len(captured)


# --- one measurement


def measure(port: int, server: int, study: int, tasks: int, tokens: list[str], labels: int) -> dict:
    before, began = cpu(server), time.perf_counter()
    found: list[dict] = [{} for _ in tokens]
    each = max(1, labels // len(tokens))
    threads = [
        threading.Thread(target=annotate, args=(port, study, token, each, found, number))
        for number, token in enumerate(tokens)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    answered = Counter(task for one in found for task in one["tasks"])
    given = sum(answered.values())
    return {
        "tasks": tasks,
        "clients": len(tokens),
        "labels": given,
        "duplicates": sum(times - 1 for times in answered.values()),
        "next": [value for one in found for value in one["next"]],
        "submit": [value for one in found for value in one["submit"]],
        "rate": given / seconds,
        "cpu": (cpu(server) - before) / given * 1000,
        "memory": memory(server),
    }


def annotate(port: int, study: int, token: str, count: int, found: list[dict], number: int) -> None:
    mine: dict = {"next": [], "submit": [], "tasks": []}
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(path: str, body: dict) -> tuple[dict, float]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        began = time.perf_counter()
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
        spent = (time.perf_counter() - began) * 1000
        if reply.status != 200:
            raise RuntimeError(f"{path} answered {reply.status}: {text[:300]!r}")
        return json.loads(text), spent

    for _ in range(count):
        reply, spent = post(f"/api/studies/{study}/next", {})
        task = reply["tasks"][0]["id"]
        mine["next"].append(spent)
        _, spent = post(f"/api/tasks/{task}/submit", {"answer": {"choice": "a"}, "key": str(uuid4())})
        mine["submit"].append(spent)
        mine["tasks"].append(task)
    found[number] = mine


def cpu(pid: int) -> float:
    """Seconds of CPU the process has used, in user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"The server did not come up on port {port}.")


# --- the table


def report(results: list[dict]) -> None:
    bars = ", ".join(f"{name} {value:g}" for name, value in BARS.items())
    print(
        f"milliseconds unless said; {os.cpu_count()} cores for clients, server and PostgreSQL; bars: {bars}\n"
    )
    print(
        f"{'tasks':>9} {'clients':>7} {'labels':>6} {'next p50':>9} {'p95':>6} {'submit p50':>11} {'p95':>6}"
        f" {'labels/s':>9} {'web CPU/label':>14} {'MiB':>5} {'duplicates':>10}"
    )
    for one in results:
        print(
            f"{one['tasks']:>9,} {one['clients']:>7} {one['labels']:>6} {statistics.median(one['next']):>9.1f}"
            f" {percentile(one['next'], 95):>6.1f} {statistics.median(one['submit']):>11.1f}"
            f" {percentile(one['submit'], 95):>6.1f} {one['rate']:>9.1f} {one['cpu']:>14.1f}"
            f" {one['memory']:>5.0f} {one['duplicates']:>10}"
        )


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


if __name__ == "__main__":
    main()
