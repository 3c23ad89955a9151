"""Closes the loop with simulated annotators, and measures whether each round made the policy better.

Each seed gets a demo study of its own. In every round its annotators answer as many questions as its loop waits for;
the loop freezes the labels, trains a reward model, improves the policy against it and proposes new questions. At the
end fresh answers of every policy to held-out messages are scored by the gold rule, which no method ever saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from annotation.simulation import simulate, simulated_annotators
from webapp import embedded
from webapp.runs.demo import LOOP, make_demo
from webapp.runs.loop import policies, proposed, stages
from webapp.runs.models import DEFAULT_QUEUE, Loop, Worker
from webapp.runs.rounds_chart import chart

ANNOTATORS = 4
KL_COEF = 0.15
"""Half the demo's own: a reward model of three times its labels can be trusted further."""
LOOK_SECONDS = 1.0
WORKER_SECONDS = 60
ROUND_SECONDS = 900


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser) -> None:
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--labels", type=int, default=150, help="labels in a round")
        parser.add_argument(
            "--noise", type=float, default=0.1, help="share of comparisons answered by a coin"
        )
        parser.add_argument(
            "--chart", type=Path, required=True, help="the SVG to write; the numbers go beside it"
        )

    def handle(self, *, rounds, seeds, labels, noise, chart: Path, **options) -> None:
        if rounds < 1 or seeds < 1:
            raise CommandError("Expected at least one round and one seed.")
        began = time.monotonic()
        owner = get_user_model().objects.filter(is_superuser=True).order_by("pk").first()
        owner = owner or get_user_model().objects.create_superuser(username="owner", password=None)
        with a_worker(self.stdout):
            loops = [self.study(owner, seed, labels) for seed in range(seeds)]
            for number in range(1, rounds + 1):
                for loop in loops:
                    self.label(loop, number, noise)
                self.wait_for_round(loops, number)
                self.stdout.write(f"Round {number} is done after {time.monotonic() - began:.0f} s.")
        found = [{"seed": loop.seed, "rounds": measured(loop)} for loop in loops]
        result = {"seconds": round(time.monotonic() - began), "noise": noise, "seeds": found}
        self.write(chart, result)

    def study(self, owner, seed: int, labels: int) -> Loop:
        name = f"Hotel desk, rounds, seed {seed}"
        policy = {**LOOP["policy_config"], "kl_coef": KL_COEF}
        every = {"retrain_every": labels, "propose_count": labels}
        return make_demo(owner=owner, name=name, seed=seed, policy_config=policy, **every).loop

    def label(self, loop: Loop, number: int, noise: float) -> None:
        people = simulated_annotators(loop.study, ANNOTATORS)
        given = sum(
            1 for _ in simulate(loop.study, people, loop.retrain_every, noise, 1000 * loop.seed + number)
        )
        if given < loop.retrain_every:
            raise CommandError(
                f"Round {number} of study {loop.study.pk} had only {given} of {loop.retrain_every} labels to give: "
                "propose more questions a round."
            )

    def wait_for_round(self, loops: list[Loop], number: int) -> None:
        """Until every study's newest run has written its questions, and they are in the study."""
        deadline = time.monotonic() + ROUND_SECONDS
        waiting = loops
        while waiting:
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Round {number} took longer than {ROUND_SECONDS} s. Look at the runs' pages."
                )
            time.sleep(LOOK_SECONDS)
            for loop in waiting:
                loop.refresh_from_db()
                if loop.problem:
                    raise CommandError(f"The loop of study {loop.study.pk} cannot go on: {loop.problem}")
            waiting = [loop for loop in waiting if not round_is_done(loop, number)]

    def write(self, path: Path, result: dict) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chart(result["seeds"]), "utf-8")
        path.with_suffix(".json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for one in result["seeds"]:
            line = ", ".join(f"{p['mean']:.2f} ({p['low']:.2f} to {p['high']:.2f})" for p in one["rounds"])
            self.stdout.write(f"seed {one['seed']}: gold score {line}")
        self.stdout.write(f"{result['seconds']} s. Chart: {path}")


def round_is_done(loop: Loop, number: int) -> bool:
    questions = stages(loop).get("items")
    return loop.round == number and questions is not None and proposed(questions)


def measured(loop: Loop) -> list[dict]:
    """Every policy of the study, the first one first. In a process of its own: the web loads no torch."""
    command = [sys.executable, "-m", "trainers.demo.measure", "--seed", str(loop.seed)]
    command += [str(policy.location) for policy in policies(loop.study)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=settings.BASE_DIR)
    if done.returncode:
        raise CommandError(f"Measuring failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def a_worker(stdout) -> Iterator[None]:
    """The worker of `make run` where one lives; otherwise one for this command, with a broker of its own if need be."""
    if Worker.objects.alive().taking(DEFAULT_QUEUE).exists():
        yield
        return
    broker = None if os.environ.get("BROKER_URL") else embedded.valkey_server()
    command = [
        sys.executable, "-m", "celery", "-A", "webapp.celery", "worker", "--pool", "threads", "--queues", DEFAULT_QUEUE,
        "--concurrency", str(settings.KIBITZ_SLOTS), "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        if broker:
            broker.start()
        with subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR) as worker:
            try:
                wait_for_worker(worker)
                stdout.write("No worker was there: started one for these rounds.")
                yield
            finally:
                worker.terminate()
    finally:
        if broker and broker.is_running():
            broker.stop()


def wait_for_worker(worker: subprocess.Popen) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    while not Worker.objects.alive().taking(DEFAULT_QUEUE).exists():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise CommandError("The worker did not start; what it said is above.")
        time.sleep(0.2)
