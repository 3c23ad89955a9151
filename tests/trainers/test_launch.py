"""Processes that a spec starts: they end together, and go on together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainers.groups import (
    pair_of,
    same,
    until,
)
from tests.trainers.toys import entries, rows, toy_spec
from tests.webapp.runs import study_of
from trainers import api, launch, processes, tasks
from trainers.run import Spec
from webapp.runs import models


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def started(spec: Spec, path: Path, **more: Any) -> subprocess.Popen:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**asdict(spec), **more}, default=str))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KIBITZ")}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "KIBITZ_CACHE": str(path.parent / "cache"),
    }
    log = open(path.with_suffix(".log"), "a")  # noqa: SIM115, the process writes to it
    return subprocess.Popen(
        [sys.executable, "-m", "trainers", "run", str(path)], env=environment, stdout=log, stderr=log
    )


def workers(launcher: int) -> list[int]:
    """The processes that a launcher started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == launcher:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_how_a_group_ended_is_told_from_how_its_members_did():
    assert launch.outcome({1: -9, 0: processes.LOST}) == processes.LOST == tasks.LOST
    assert launch.outcome({0: -9, 1: 1}) == processes.LOST, "whoever is left may take it for a failure"
    assert launch.outcome({0: processes.LOST}) == processes.LOST, "the one that died was on another machine"
    assert launch.outcome({0: 3}) == launch.outcome({1: 3, 0: processes.LOST}) == 3 == tasks.STOPPED
    assert launch.outcome({1: 1, 0: processes.LOST}) == 1


def test_what_the_launcher_ends_itself_is_not_taken_for_a_kill():
    ended = -signal.SIGTERM
    assert launch.outcome({0: 1, 1: ended}) == launch.outcome({0: ended, 1: 1, 2: processes.LOST}) == 1
    assert launch.outcome({0: 3, 1: ended}) == 3, "stopped"
    assert launch.outcome({0: ended}) == launch.outcome({0: ended, 1: processes.LOST}) == processes.LOST
    assert launch.outcome({0: 1, 1: ended, 2: -9}) == processes.LOST, "a real kill is one"


@pytest.mark.slow
def test_a_spec_starts_its_processes_and_one_killed_ends_all_and_goes_on(tmp_path):
    alone, both = pair_of("correction/sft", tmp_path, "ddp", config={"epochs": 12})
    assert api.execute(alone) == 0
    both = replace(both, processes=2)
    path = both.home.parent / "spec.json"
    group = started(both, path)
    until(lambda: len([*both.home.glob("checkpoints/step-*")]) > 1 or group.poll() is not None)
    members = workers(group.pid)
    assert len(members) == 2, path.with_suffix(".log").read_text()
    os.kill(members[1], signal.SIGKILL)
    assert group.wait(60) == processes.LOST, path.with_suffix(".log").read_text()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))
    assert not any(entry["type"] in ("failed", "finished") for entry in entries(both.home))
    assert started(both, path).wait(120) == 0, path.with_suffix(".log").read_text()
    assert "resumed from step-" in path.with_suffix(".log").read_text()
    same(alone, both, 1e-9)


@pytest.mark.slow
def test_its_processes_end_with_the_launcher_and_it_with_its_supervisor(tmp_path):
    spec = replace(
        toy_spec("correction/sft", tmp_path, config={"epochs": 10000}), sharding="ddp", processes=2
    )
    group = started(spec, tmp_path / "spec.json")
    until(lambda: (spec.home / "journal.bin").exists() and rows(spec.home))
    members = workers(group.pid)
    assert len(members) == 2
    group.kill()
    group.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members), 15)


@pytest.mark.slow
def test_one_run_over_two_machines_with_a_shared_store(tmp_path):
    """Two launchers that meet at one address, as on two machines; their caches and homes are apart."""
    alone = toy_spec("direct/dpo", tmp_path, "alone")
    assert api.execute(alone) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = {
        "sharding": "ddp", "processes": 1, "nodes": 2, "rendezvous": f"127.0.0.1:{port}", "run": 7,
        "snapshot": f"file://{alone.snapshot}", "inputs": {"policy": f"file://{alone.inputs['policy']}"},
        "storage": f"file://{tmp_path}/store",
    }  # fmt: skip
    one, other = (replace(alone, home=tmp_path / name / "run") for name in ("one", "other"))
    nodes = [started(spec, spec.home.parent / "spec.json", **more) for spec in (one, other)]
    codes = [node.wait(150) for node in nodes]
    logs = [(spec.home.parent / "spec.log").read_text() for spec in (one, other)]
    assert codes == [0, 0], "\n".join(logs)
    first, second = (one, other) if (one.home / "policy").exists() else (other, one)
    same(alone, first, 1e-9)
    assert not (second.home / "policy").exists(), "what a run makes is made once"
    brought = load_file(tmp_path / "store" / "policy" / "model.safetensors")
    torch.testing.assert_close(
        brought, load_file(first.home / "policy" / "model.safetensors"), rtol=0, atol=0
    )
    assert sorted(path.name for path in (tmp_path / "store" / "checkpoints").iterdir()) == sorted(
        path.name for path in (first.home / "checkpoints").iterdir()
    )
    for spec in (one, other):
        assert len([*(spec.home.parent / "cache").iterdir()]) >= 2, "snapshot and policy were fetched"


@pytest.mark.slow
@pytest.mark.django_db
def test_the_supervisor_starts_a_whole_group_again_when_one_of_it_was_killed(tmp_path):
    """With the real supervisor and its rows; only what the child trains is a toy."""
    alone = toy_spec("direct/dpo", tmp_path, "alone", config={"epochs": 12})
    assert api.execute(alone) == 0

    class Toy(tasks.Supervision):
        def command(self, spec: Path) -> list[str]:
            told = {**json.loads(spec.read_text()), "checkpoint_every": 4}
            told |= {"config": alone.config, "inputs": alone.inputs, "snapshot": str(alone.snapshot)}
            spec.write_text(json.dumps(told))
            return super().command(spec)

    asked = {"processes": 2, "sharding": "ddp", "threads": 1}
    row = models.Run.objects.create(
        study=study_of(), method="direct/dpo", status=models.Status.QUEUED, provenance=asked
    )
    killed = []

    def strike() -> None:
        until(lambda: len([*row.home.glob("checkpoints/step-*")]) > 1)
        launcher = json.loads((row.home / "child.lock").read_bytes())["pid"]
        killed.extend(workers(launcher)[:1])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=strike)
    killer.start()
    Toy(tasks.claim(row.pk)).see_through()
    killer.join()
    row.refresh_from_db()
    assert (row.status, row.attempt) == (models.Status.FINISHED, 2), row.reason
    assert killed and (row.home / "console.log").read_text().count("resumed from step-") == 1
    assert models.Event.objects.filter(
        run=row, kind="restart", text__contains="One of its processes"
    ).exists()
    assert row.last_seq == len(rows(alone.home)), "each row once"
    same(alone, replace(alone, home=row.home), 1e-9)
