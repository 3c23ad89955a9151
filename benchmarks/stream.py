"""From log() to every socket: gaps, duplicates, latency, CPU and bytes of the live stream, measured.

    python benchmarks/stream.py [--sockets 20 200] [--points 20000] [--seconds 20]

Everything is the real thing in processes of its own: a child that logs through `trainers.run.Run`, the worker's
supervisor that carries its journal into PostgreSQL (with fsync), uvicorn with the hub, and websocket clients in
two more processes. One client is cut for three seconds and comes back. Every row of every client is checked,
number and value. The clock is the machine's: a row's time is when it was logged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from parts import ROOT, cpu, free_port, served, started, studio

SERIES = 10
CUT_AT, CUT_FOR = 8.0, 3.0
BIN_MS, BINS = 0.5, 20_000
TARGET_P50, TARGET_P95 = 50, 150
HEADER = struct.Struct("<6IHHI")
METRIC = "objective/scores"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sockets", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--points", type=int, default=20_000, help="a second, in rows of ten")
    parser.add_argument("--seconds", type=int, default=20)
    asked = parser.parse_args()
    with studio("memory://"):
        report([measure(sockets, asked.points, asked.seconds) for sockets in asked.sockets])


# --- one measurement


def measure(sockets: int, points: int, seconds: int) -> dict:
    from django.db import connection

    run, cookie = prepare(points, seconds)
    port = free_port()
    web = served(port)
    shares = [sockets - sockets // 2, sockets // 2]
    clients = [
        started(
            __file__,
            "watch",
            str(port),
            cookie,
            str(run.pk),
            str(share),
            str(seconds),
            str(index),
            piped=True,
        )  # fmt: skip
        for index, share in enumerate(shares)
    ]
    for client in clients:
        client.stdout.readline()  # every socket of it is open
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE runs_chunk")
    worker = started(__file__, "carry", str(run.pk))
    parts = {"web": web, "worker": worker}
    busy = watch_cpu(parts, run)
    found = [json.loads(client.communicate(timeout=seconds + 120)[0].splitlines()[-1]) for client in clients]
    worker.wait(timeout=60)
    web.send_signal(signal.SIGTERM)
    web.wait(timeout=20)
    run.refresh_from_db()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('runs_chunk'), count(*) FROM runs_chunk")
        table, chunks = cursor.fetchone()
    rows = run.last_seq
    histogram = [sum(column) for column in zip(*(one["histogram"] for one in found), strict=True)]
    return {
        "sockets": sockets,
        "rows": rows,
        "status": run.status,
        "expected": rows * sockets,
        "received": sum(one["rows"] for one in found),
        "gaps": sum(one["gaps"] for one in found),
        "duplicates": sum(one["duplicates"] for one in found),
        "wrong": sum(one["wrong"] for one in found),
        "cut": next(one["cut"] for one in found if one["cut"]),
        "p50": percentile(histogram, 0.50),
        "p95": percentile(histogram, 0.95),
        "p99": percentile(histogram, 0.99),
        "messages": sum(one["messages"] for one in found) / sockets / seconds,
        "wire": sum(one["bytes"] for one in found) / (rows * SERIES * sockets),
        "table": table / (rows * SERIES),
        "chunks": chunks,
        "busy": busy,
        "clients_busy": sum(one["cpu"] for one in found) / seconds,
        "log_us": run.report["log_us_a_point"],
        "points": points,
        "seconds": seconds,
    }


def prepare(points: int, seconds: int):
    """A queued run of a study, and the cookie of somebody who may watch it."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    from annotation.services import create_study
    from webapp.runs.models import Run

    ada, _ = get_user_model().objects.get_or_create(username="ada")
    study = create_study(name="Benchmark", owner=ada)
    config = {"points": points, "seconds": seconds}
    run = Run.objects.create(
        study=study, method="online/rloo", config={}, name=json.dumps(config), created_by=ada
    )
    client = Client()
    client.force_login(ada)
    return run, f"sessionid={client.cookies['sessionid'].value}"


def watch_cpu(parts: dict[str, subprocess.Popen], run) -> dict[str, float]:
    """The share of one core that each part takes while rows flow, from the second of the first row on."""
    import psutil

    from webapp.runs.models import Run

    def spent() -> dict[str, float]:
        total = {name: cpu(psutil.Process(part.pid)) for name, part in parts.items()}
        logger = next(iter(psutil.Process(parts["worker"].pid).children()), None)
        total["child"] = cpu(logger) if logger else 0.0
        pid_file = Path(os.environ["KIBITZ_HOME"]) / "postgres" / "postmaster.pid"
        postgres = psutil.Process(int(pid_file.read_text().split()[0]))
        total["postgres"] = sum(cpu(one) for one in [postgres, *postgres.children()])
        return total

    while Run.objects.get(pk=run.pk).last_seq == 0:
        time.sleep(0.05)
    before, began = spent(), time.monotonic()
    time.sleep(json.loads(run.name)["seconds"] * 0.8)
    after, took = spent(), time.monotonic() - began
    return {name: (after[name] - before[name]) / took for name in after}


# --- the worker and its child


def carry(pk: int) -> None:
    import django

    django.setup()
    from trainers.tasks import Supervision, claim

    class Bench(Supervision):
        def command(self, spec: Path) -> list[str]:
            return [sys.executable, __file__, "log", str(spec), self.run.name]

    Bench(claim(pk)).see_through()


def log(spec: Path, asked: dict) -> None:
    """Logs rows at a steady rate, ten series each, and says what a point costs the one who logs."""
    from trainers.run import Run, Spec, die_with

    told = Spec.read(spec)
    die_with(told.parent)
    run = Run(told)
    names = [METRIC] + [f"bench/{index}" for index in range(1, SERIES)]
    rate = asked["points"] / SERIES
    began, row, spent = time.perf_counter(), 0, 0.0
    while (now := time.perf_counter() - began) < asked["seconds"]:
        due = int(now * rate)
        before = time.perf_counter()
        for number in range(row + 1, due + 1):
            run.log(number, {name: number + index / 16 for index, name in enumerate(names)})
        row = due
        spent += time.perf_counter() - before
        time.sleep(0.005)
    run.report({"log_us_a_point": spent / row / SERIES * 1e6})
    run.finished()


# --- the clients


class Socket:
    """One watcher: checks that each row is the next one and holds what was logged."""

    def __init__(self, share: Share, cut: bool) -> None:
        self.share, self.cut = share, cut
        self.last = 0
        self.catching_up = 0.0
        self.ended = False

    async def watch(self) -> None:
        from websockets.exceptions import ConnectionClosed

        cut_at = None
        while True:
            async with self.share.connect() as page:
                await page.send(
                    json.dumps({"op": "open", "run": self.share.run, "epoch": 0, "after": self.last})
                )
                self.share.opened.release()
                try:
                    while True:
                        message = await page.recv()
                        if isinstance(message, bytes):
                            self.take(message)
                            if self.cut and cut_at is None:
                                cut_at = time.monotonic() + CUT_AT
                        elif self.over(json.loads(message)):
                            return
                        if self.cut and cut_at and time.monotonic() > cut_at:
                            page.transport.abort()
                            break
                except ConnectionClosed:
                    if not self.cut:
                        raise
            self.cut = False
            await asyncio.sleep(CUT_FOR)
            self.catching_up = time.time()

    def over(self, said: dict) -> bool:
        self.ended = self.ended or said.get("status") in ("finished", "failed", "stopped")
        return self.ended and self.last >= said.get("last_seq", 0)

    def take(self, message: bytes) -> None:
        import numpy as np

        share, at, now = self.share, 0, time.time()
        share.messages += 1
        share.bytes += len(message)
        while at < len(message):
            length, _, _, rows, seq_from, seq_to, series, _, _ = HEADER.unpack_from(message, at)
            start = at + HEADER.size + (2 * series + 7) // 8 * 8
            values = np.frombuffer(message, "<f8", (2 + series) * rows, start).reshape(2 + series, rows)
            share.gaps += max(0, seq_from - self.last - 1)
            share.duplicates += max(0, self.last + 1 - seq_from)
            seq = np.arange(seq_from, seq_to + 1)
            expected = seq + np.arange(series)[:, None] / 16
            share.wrong += int((values[2:] != expected).sum() + (values[0] != seq).sum())
            late = np.clip((now - values[1]) * 1000 / BIN_MS, 0, BINS - 1).astype(int)
            if values[1][0] >= self.catching_up:  # what a cut client missed is late by the cut
                share.histogram += np.bincount(late, minlength=BINS)
            else:
                share.missed += rows
                share.caught_up = now - self.catching_up
            share.rows += rows
            self.last = seq_to
            at += length


class Share:
    """The sockets of one client process."""

    def __init__(self, port: int, cookie: str, run: int, sockets: int, cuts: bool) -> None:
        import numpy as np

        self.address, self.cookie, self.run = f"ws://127.0.0.1:{port}/ws/", cookie, run
        self.origin = f"http://127.0.0.1:{port}"
        self.sockets = [Socket(self, cuts and index == 0) for index in range(sockets)]
        self.rows = self.gaps = self.duplicates = self.wrong = self.messages = self.bytes = 0
        self.missed, self.caught_up = 0, 0.0
        self.histogram = np.zeros(BINS, dtype=int)
        self.opened = asyncio.Semaphore(0)

    def connect(self):
        from websockets.asyncio.client import connect

        return connect(
            self.address, origin=self.origin, additional_headers={"Cookie": self.cookie}, compression=None,
            max_size=None, open_timeout=60,
        )  # fmt: skip

    async def watch(self) -> None:
        tasks = [asyncio.create_task(one.watch()) for one in self.sockets]
        for _ in tasks:
            await self.opened.acquire()
        print("open", flush=True)
        await asyncio.gather(*tasks)


def watch(port: int, cookie: str, run: int, sockets: int, seconds: int, index: int) -> None:
    share = Share(port, cookie, run, sockets, cuts=index == 0)
    asyncio.run(share.watch())
    names = ("rows", "gaps", "duplicates", "wrong", "messages", "bytes")
    cut = {"rows": share.missed, "seconds": share.caught_up} if index == 0 else None
    found = {
        **{name: getattr(share, name) for name in names},
        "histogram": share.histogram.tolist(),
        "cut": cut,
    }
    print(json.dumps({**found, "cpu": time.process_time()}))


# --- telling


def report(results: list[dict]) -> None:
    first = results[0]
    print(
        f"\n{first['points']:,} points/s for {first['seconds']} s, ten series a row; {os.cpu_count()} cores for all\n"
    )
    lines = [
        ("", lambda r: f"{r['sockets']} sockets"),
        ("rows logged, run", lambda r: f"{r['rows']:,} {r['status']}"),
        ("rows received / expected", lambda r: f"{r['received']:,} / {r['expected']:,}"),
        ("gaps, duplicates, wrong values", lambda r: f"{r['gaps']}, {r['duplicates']}, {r['wrong']}"),
        ("cut for 3 s: rows it missed", lambda r: f"{r['cut']['rows']:,}"),
        ("all of them there after", lambda r: f"{r['cut']['seconds'] * 1000:.0f} ms"),
        (f"log() to socket p50 (target {TARGET_P50})", lambda r: f"{r['p50']:.0f} ms"),
        (f"log() to socket p95 (target {TARGET_P95})", lambda r: f"{r['p95']:.0f} ms"),
        ("log() to socket p99", lambda r: f"{r['p99']:.0f} ms"),
        ("log() costs the trainer (target 20)", lambda r: f"{r['log_us']:.2f} us a point"),
        ("messages a socket and second", lambda r: f"{r['messages']:.1f}"),
        ("bytes a point, on the wire", lambda r: f"{r['wire']:.2f}"),
        ("bytes a point, in PostgreSQL with index", lambda r: f"{r['table']:.2f} ({r['chunks']} chunks)"),
        ("CPU, web process", lambda r: f"{r['busy']['web']:.0%} of a core"),
        ("CPU, worker's supervisor", lambda r: f"{r['busy']['worker']:.0%}"),
        ("CPU, child that logs", lambda r: f"{r['busy']['child']:.0%}"),
        ("CPU, PostgreSQL", lambda r: f"{r['busy']['postgres']:.0%}"),
        ("CPU, the clients themselves", lambda r: f"{r['clients_busy']:.0%}"),
    ]
    for label, cell in lines:
        print(f"{label:46}" + "".join(f"{cell(result):>28}" for result in results))


def percentile(histogram: list[int], share: float) -> float:
    wanted, seen = share * sum(histogram), 0
    for index, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return (index + 1) * BIN_MS
    return float("nan")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    match sys.argv[1:]:
        case ["carry", run]:
            carry(int(run))
        case ["log", spec, asked]:
            log(Path(spec), json.loads(asked))
        case ["watch", port, cookie, run, sockets, seconds, index]:
            watch(int(port), cookie, int(run), int(sockets), int(seconds), int(index))
        case _:
            main()
