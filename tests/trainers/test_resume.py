"""Resumed at every step, a run of any method ends as if it had never been stopped, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.trainers.toys import outcome, rows, toy_spec
from trainers import api
from trainers.registry import METHODS
from trainers.run import Run

STEPS = 12
"""Enough to go through several batches of samples, with several passes over each."""


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def stopped_after_every_step(spec, monkeypatch, most=STEPS):
    """Executes a run that is stopped after step 1, goes on in a fresh Run, is stopped after step 2, and so on."""
    log = Run.log
    stops = iter(range(1, most + 1))
    wanted = next(stops)

    def logged(run, step, numbers):
        nonlocal wanted
        log(run, step, numbers)
        if step == wanted:
            with open(run.home / "control.jsonl", "a") as file:
                file.write(json.dumps({"id": wanted, "kind": "stop", "args": {}}) + "\n")
            wanted = next(stops, 0)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", logged)
        count = 0
        while (code := api.execute(spec)) == 3:
            count += 1
            assert count <= most
    assert code == 0
    return count


@pytest.mark.parametrize("method", METHODS)
def test_a_run_stopped_after_each_of_its_first_steps_equals_one_left_alone(method, tmp_path, monkeypatch):
    calm, broken = (toy_spec(method, tmp_path, name) for name in ("calm", "broken"))
    calm, broken = (replace(spec, checkpoint_every=1000) for spec in (calm, broken))
    assert api.execute(calm) == 0
    stops = stopped_after_every_step(broken, monkeypatch)
    total = int(max(row["step"] for row in rows(calm.home)))
    assert stops == min(STEPS, total)
    wanted, found = outcome(calm), outcome(broken)
    counted = [row["num_tokens"] for row in wanted["rows"] if "num_tokens" in row]
    assert counted == sorted(counted), "a counter goes up"
    for name in wanted:
        assert found[name] == wanted[name], f"{name} differ"


@pytest.mark.parametrize("lost", ["generator", "memory", "knobs"])
def test_a_run_that_forgets_something_is_found_out(lost, tmp_path, monkeypatch):
    """The wrong variants: what is not restored shows in the numbers."""
    method = "online/rloo"
    calm, broken = (toy_spec(method, tmp_path, name, config={"steps": 6}) for name in ("calm", "broken"))
    assert api.execute(calm) == 0
    restore = Run._restore

    def forgetful(run, state):
        kept = run.generator.get_state(), dict(run.memory), dict(run.knobs)
        done = restore(run, state)
        if lost == "generator":
            run.generator.set_state(kept[0])
        elif lost == "memory":
            run.memory = {**run.memory, "num_tokens": 0}
        else:
            run.knobs = {**kept[2], "lr": 0.1}
        return done

    monkeypatch.setattr(Run, "_restore", forgetful)
    stopped_after_every_step(broken, monkeypatch, most=2)
    assert outcome(broken)["rows"] != outcome(calm)["rows"]
