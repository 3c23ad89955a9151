"""The engine: commands, checkpoints, knobs, a real `kill -9`, and the death of the supervisor."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.toys import die_at, entries, in_child, outcome, rows, toy_spec
from trainers import api, checkpoints
from trainers.checkpoints import GlobalRandom
from trainers.registry import METHODS
from trainers.run import Run, Spec


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def spec_file(spec: Spec, **changes) -> Path:
    spec.home.mkdir(parents=True, exist_ok=True)
    path = spec.home / "spec.json"
    path.write_text(json.dumps({**asdict(spec), **changes}, default=str))
    return path


def until(what, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def command(home: Path, number: int, kind: str, **args) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "control.jsonl", "a") as file:
        file.write(json.dumps({"id": number, "kind": kind, "args": args}) + "\n")


def at_step(wanted: int, act):
    """A Run.log that does something when the row of a step is logged, whoever runs it."""
    log = Run.log

    def logged(run, step, numbers):
        log(run, step, numbers)
        if step == wanted:
            act(run)

    return logged


def test_a_child_that_was_really_killed_ends_with_the_weights_and_the_log_of_one_that_was_not(tmp_path):
    config = {"epochs": 30, "batch_size": 16}
    undisturbed = toy_spec("correction/sft", tmp_path, "undisturbed", config=config)
    assert in_child(undisturbed) == 0
    killed = toy_spec("correction/sft", tmp_path, "killed", config=config)
    # The supervisor's environment: one thread, no telling of progress but by the journal and a pipe.
    reader, writer = os.pipe()
    path = spec_file(killed, nudge_fd=writer, parent=os.getpid())
    start = [sys.executable, "-m", "trainers", "run", str(path)]
    child = subprocess.Popen(start, pass_fds=[writer], stdout=subprocess.DEVNULL)
    until(lambda: len(list(killed.home.glob("checkpoints/step-*"))) > 1)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert os.read(reader, 100), "news in the journal are nudged"
    assert not any(entry["type"] == "finished" for entry in entries(killed.home))

    again = subprocess.run(start, pass_fds=[writer], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "resumed from step-" in again.stdout and "loss" in again.stdout
    assert outcome(killed) == outcome(undisturbed)


def test_a_child_does_not_outlive_its_supervisor(tmp_path):
    spec = toy_spec("correction/sft", tmp_path, config={"epochs": 100000})
    program = (
        "import json, os, subprocess, sys, time\n"
        f"path = {str(spec_file(spec))!r}\n"
        "row = json.load(open(path)) | {'parent': os.getpid()}\n"
        "json.dump(row, open(path, 'w'))\n"
        "child = subprocess.Popen([sys.executable, '-m', 'trainers', 'run', path])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(supervisor.stdout.readline())
    until(lambda: (spec.home / "journal.bin").exists() and rows(spec.home))
    supervisor.kill()
    supervisor.wait()
    until(lambda: not running(child), seconds=10)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_paused_run_waits_and_goes_on_when_told(tmp_path, monkeypatch):
    spec = toy_spec("correction/sft", tmp_path)
    pause, seen = at_step(3, lambda run: command(run.home, 1, "pause")), []
    monkeypatch.setattr(Run, "log", pause)

    def resume_when_waiting(seconds):
        seen.append([entry["state"] for entry in entries(spec.home) if entry["type"] == "state"])
        if seen[-1]:
            command(spec.home, 2, "resume")
        nap(seconds)

    nap = time.sleep
    monkeypatch.setattr("trainers.run.time.sleep", resume_when_waiting)
    assert api.execute(spec) == 0
    assert seen[-1] == ["paused"] and rows(spec.home)[2]["step"] == 3
    assert [entry["state"] for entry in entries(spec.home) if entry["type"] == "state"] == [
        "paused",
        "running",
    ]


def test_a_run_that_was_paused_when_it_was_killed_is_still_paused(tmp_path, monkeypatch):
    spec = toy_spec("correction/sft", tmp_path)
    command(spec.home, 1, "pause")
    naps = []

    def stop_soon(seconds):
        naps.append(len(rows(spec.home)))
        if len(naps) == 3:
            command(spec.home, 2, "stop")

    monkeypatch.setattr("trainers.run.time.sleep", stop_soon)
    assert api.execute(spec) == 3
    assert naps == [0, 0, 0]
    assert api.execute(spec) == 0, "stopping a paused run ends the pause too"


@pytest.mark.parametrize("death", [7, 10], ids=["before the next checkpoint", "after it"])
def test_a_changed_learning_rate_holds_from_the_next_step_on_and_from_that_same_step_after_a_kill(
    death, tmp_path, monkeypatch
):
    plain, changed, killed = (
        toy_spec("correction/sft", tmp_path, name) for name in ("plain", "changed", "killed")
    )
    assert api.execute(plain) == 0
    with monkeypatch.context() as patch:
        change = at_step(6, lambda run: command(run.home, 1, "set", name="lr", value=0.02))
        patch.setattr(Run, "log", change)
        assert api.execute(changed) == 0
        die = at_step(death, lambda run: (run._outbox.flush(), os.kill(os.getpid(), signal.SIGKILL)))
        assert in_child(killed, lambda: setattr(Run, "log", die)) == -signal.SIGKILL
    before, after = (
        {row["step"]: row["learning_rate"] for row in rows(spec.home) if "learning_rate" in row}
        for spec in (plain, changed)
    )
    for step, rate in after.items():
        assert rate == pytest.approx(before[step] * (1 if step <= 6 else 0.1))
    assert api.execute(killed) == 0
    assert outcome(killed) == outcome(changed)


def test_a_knob_that_cannot_be_is_refused_and_the_run_goes_on(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    command(spec.home, 1, "set", name="lr", value=-1)
    command(spec.home, 2, "set", name="epochs", value=9)
    assert api.execute(spec) == 0
    refused = [entry["text"] for entry in entries(spec.home) if entry["type"] == "event"]
    assert refused == [
        "'lr' is -1. Expected a number above 0.",
        "'epochs' cannot be changed while correction/sft runs; lr can.",
    ]


def test_a_checkpoint_can_be_asked_for_and_half_a_command_is_not_a_command(tmp_path):
    spec = replace(toy_spec("correction/sft", tmp_path), checkpoint_every=1000)
    command(spec.home, 1, "checkpoint")
    with open(spec.home / "control.jsonl", "a") as file:
        file.write('{"id": 2, "kind": "st')
    assert api.execute(spec) == 0
    steps = [entry["step"] for entry in entries(spec.home) if entry["type"] == "checkpoint"]
    assert steps == [0, 14]


@pytest.mark.parametrize("asked", ["checkpoint", "stop"])
def test_a_checkpoint_that_a_kill_was_faster_than_is_made_when_its_command_comes_again(asked, tmp_path):
    spec = replace(toy_spec("correction/sft", tmp_path), checkpoint_every=1000)
    command(spec.home, 1, asked)

    def die(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(spec, lambda: setattr(checkpoints, "save", die)) == -signal.SIGKILL
    assert [entry["step"] for entry in entries(spec.home) if entry["type"] == "applied"] == [0]
    assert api.execute(spec) == (3 if asked == "stop" else 0)
    assert 0 in [entry["step"] for entry in entries(spec.home) if entry["type"] == "checkpoint"]
    assert api.execute(spec) == 0


def test_only_the_last_two_checkpoints_are_kept(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    assert api.execute(spec) == 0
    assert sorted(path.name for path in (spec.home / "checkpoints").iterdir()) == [
        "step-00000012",
        "step-00000014",
    ]


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    assert api.execute(spec) == 0
    files = list((spec.home / "checkpoints").rglob("*.*"))
    assert {path.suffix for path in files if path.is_file()} == {".json", ".safetensors"}


def test_a_half_written_checkpoint_is_never_taken_for_one(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    (spec.home / "checkpoints" / ".partial").mkdir(parents=True)
    (spec.home / "checkpoints" / ".partial" / "state.json").write_text("{")
    assert checkpoints.newest(spec.home / "checkpoints") is None
    assert api.execute(spec) == 0


def test_a_run_killed_and_run_again_after_it_had_finished_leaves_the_same(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    assert api.execute(spec) == 0
    before = outcome(spec)
    assert api.execute(spec) == 0
    assert outcome(spec) == before


def test_another_methods_checkpoint_is_refused(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    assert api.execute(spec) == 0
    assert api.execute(replace(toy_spec("direct/dpo", tmp_path), home=spec.home)) == 1
    assert "saved by correction/sft" in entries(spec.home)[-1]["message"]


def test_a_failing_run_says_why_in_its_journal(tmp_path):
    spec = toy_spec("correction/sft", tmp_path, config={"held_out": 0.999999})
    assert api.execute(spec) == 1
    last = entries(spec.home)[-1]
    assert last["type"] == "failed" and "Error" in last["message"] and "Traceback" in last["traceback"]


@pytest.mark.parametrize("generator", ["python", "numpy", "torch"])
def test_every_global_generator_goes_on_where_it_was(generator, tmp_path):
    draw = {"python": random.random, "numpy": np.random.rand, "torch": lambda: torch.rand(()).item()}[
        generator
    ]
    np.random.randn(), random.gauss(0, 1)  # numpy and Python keep half a pair of normal numbers
    checkpoints.save(tmp_path, 1, {"random": GlobalRandom()}, {})
    wanted = [draw() for _ in range(5)]
    assert [draw() for _ in range(5)] != wanted
    checkpoints.load(tmp_path / "step-00000001", {"random": GlobalRandom()})
    assert [draw() for _ in range(5)] == wanted


def test_a_state_comes_back_as_it_was_to_the_last_bit(tmp_path):
    class Anything:
        def __init__(self, state):
            self.state = state

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    shared = torch.randn(3, dtype=torch.bfloat16)
    state = {
        0: {"step": torch.tensor(7.0), "nested": [1, 2.5, None, True, "x", (1, (2,))]},
        "tied": shared, "same": shared, "view": torch.arange(6).view(2, 3).T, "none": torch.zeros(0),
        "number": 0.1 + 0.2, "infinite": float("inf"), "big": 2**70,
    }  # fmt: skip
    checkpoints.save(tmp_path, 1, {"one": Anything(state)}, {"seq": 3})
    found = Anything(None)
    assert checkpoints.load(tmp_path / "step-00000001", {"one": found}) == {"seq": 3}
    assert str(found.state) == str(state) and list(found.state) == list(state)
    with pytest.raises(TypeError, match=r"'one\.bad'|'bad'"):
        checkpoints.save(tmp_path, 2, {"one": Anything({"bad": object()})}, {})


def test_what_is_costly_is_computed_once_for_what_it_was_computed_from(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return torch.full((2,), float(len(calls)))

    run = Run(toy_spec("correction/sft", tmp_path))
    assert run.once("features", "of these", compute).tolist() == [1, 1]
    assert run.once("features", "of these", compute).tolist() == [1, 1]
    assert run.once("features", "of those", compute).tolist() == [2, 2]
    assert len(calls) == 2
    run.finished()


def test_logging_costs_under_20_microseconds_a_point_and_loses_none(tmp_path):
    run = Run(toy_spec("correction/sft", tmp_path))
    numbers = {f"value/{index}": float(index) for index in range(10)}
    began = time.thread_time()
    for step in range(5000):
        run.log(step, numbers)
    taken = time.thread_time() - began
    run.finished()
    assert taken / 50_000 < 20e-6
    found = rows(run.home)
    assert [row["step"] for row in found] == list(range(5000)) and found[-1]["value/9"] == 9


def test_a_row_is_in_the_journal_a_moment_after_it_was_logged(tmp_path):
    run = Run(toy_spec("correction/sft", tmp_path))
    run.log(1, {"loss": 0.5})
    until(lambda: rows(run.home), seconds=10)
    run.finished()


def test_what_learns_of_robots_is_on_the_cpu_whatever_device_is_asked_for(tmp_path):
    """Their worlds are there, and every number that they draw; other methods are where they are told to be."""
    small = sorted(name for name, entry in METHODS.items() if entry.on_cpu)
    assert small == sorted(
        ["control/bc", "control/dagger", "control/rt_h_base", "control/ppo", "control/preference_ppo"]
        + ["correction/yay", "correction/rt_h", "reward/clip_preferences", "query/clips"]
    )
    for name in small:
        run = Run(replace(toy_spec(name, tmp_path / name), device="cuda"))
        assert (run.device.type, run.generator.device.type) == ("cpu", "cpu")
        run.finished()


def test_a_spec_with_a_word_that_nobody_reads_is_refused(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    with pytest.raises(ValueError, match="learning_rate"):
        Spec.read(spec_file(spec, learning_rate=3))
    assert Spec.read(spec_file(spec)).config == spec.config


def test_a_model_is_trained_from_the_command_line_without_the_web(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    line = [
        sys.executable,
        "-m",
        "trainers",
        "train",
        "correction/sft",
        "--out",
        str(tmp_path / "out"),
        "--lr",
        "0.2",
    ]
    line += ["--snapshot", str(spec.snapshot), "--policy", spec.inputs["policy"], "--batch-size", "32"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0 and "done:" in done.stdout, done.stderr
    assert in_child(spec) == 0
    assert (tmp_path / "out/policy/model.safetensors").read_bytes() == (
        spec.home / "policy/model.safetensors"
    ).read_bytes()
    wrong = subprocess.run([*line, "--epochs", "0"], capture_output=True, text=True)
    assert (
        wrong.returncode == 2 and wrong.stderr == "'epochs' is '0'. Expected a whole number of at least 1.\n"
    )


def test_it_can_be_scripted(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)
    out = api.train(
        "correction/sft", out=tmp_path / "out", snapshot=spec.snapshot, inputs=spec.inputs, lr=0.2
    )
    assert api.load_policy(out / "policy")
    with pytest.raises(ValueError, match="needs a model as its 'policy'"):
        api.train("correction/sft", out=tmp_path / "other", snapshot=spec.snapshot)


def test_the_moments_of_death_are_many(tmp_path):
    """Guards the kill tests: were the moments few, they would test nothing."""
    spec = toy_spec("correction/sft", tmp_path)
    assert in_child(spec, lambda: die_at(50)) == -signal.SIGKILL
