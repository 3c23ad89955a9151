"""The real thing: a Valkey, Celery workers in processes of their own, and something small to train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import torch
from django.conf import settings
from django.db import connections

from annotation.services import add_items, create_study
from annotation.snapshots import freeze
from tests.annotation.studies import label_next, person
from tests.webapp.robots import Broker, valkey
from trainers.nn import load, save
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from webapp.runs.models import Artifact, Run
from webapp.runs.services import register_model

T = TypeVar("T")


def wait_for(found: Callable[[], T], seconds: float = 60) -> T:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"nothing came of it in {seconds} s"
        time.sleep(0.05)
    return value


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker, to which this process sends too."""
    with valkey() as broker:
        yield broker


def environment_of_parts(broker: str) -> dict[str, str]:
    """For a process that works on the test's database and files."""
    database = connections["default"].settings_dict
    url = (
        f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}&port={database['PORT']}"
    )
    return {
        **os.environ,
        "DATABASE_URL": url,
        "BROKER_URL": broker,
        "KIBITZ_HOME": str(settings.KIBITZ_HOME),
        "KIBITZ_SECRET_KEY": settings.SECRET_KEY,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass
class Workers:
    """Celery workers over the test's database, broker and files."""

    broker: Broker
    log: Path
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, slots: int = 1, queues: str = "cpu") -> subprocess.Popen:
        environment = environment_of_parts(self.broker.url)
        options = [
            "--pool",
            "threads",
            "--concurrency",
            str(slots),
            "--queues",
            queues,
            "--hostname",
            "train@%h",
        ]
        quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "webapp.celery", "worker", *options, *quiet],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        child.kill()
                process.kill()
            process.wait()


@pytest.fixture
def workers(transactional_db, broker, tmp_path) -> Iterator[Workers]:
    workers = Workers(broker, tmp_path / "worker.log")
    yield workers
    workers.stop()
    print(workers.log.read_text())  # pytest shows it where a test fails


@dataclass
class Lesson:
    """A study with labels, frozen, and a tiny policy to train on them."""

    owner: Any
    study: Any
    snapshot: Any
    policy: Artifact


@pytest.fixture
def lesson(transactional_db, tmp_path) -> Lesson:
    owner = person("ada")
    study = create_study(name="Greetings", owner=owner)
    add_items(
        study=study,
        items=[
            {
                "context": {"prompt": f"Guest {n} says hello."},
                "candidates": [{"text": f"Good day, guest {n}!"}, {"text": f"What do you want, {n}?"}],
            }
            for n in range(48)
        ],
    )
    for _ in range(48):
        label_next(study, owner)
    torch.manual_seed(0)
    folder = tmp_path / "policy"
    save(ByteTransformer(ByteTransformerConfig(d=32, layers=1, heads=2, context=256)), folder)
    policy = register_model(study=study, path=folder, kind="policy", name="tiny")
    return Lesson(owner, study, freeze(study=study, by=owner), policy)


def child_of(worker: subprocess.Popen, run: Run) -> psutil.Process:
    """The process that trains this run."""

    def found() -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(worker.pid).children(recursive=True):
                if str(run.home / "spec.json") in child.cmdline():
                    return child
        return None

    return wait_for(found)


def weights_of(artifact: Artifact) -> dict[str, torch.Tensor]:
    return load(artifact.location).state_dict()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
