"""Resumed at every step, a run of any method ends as if it had never been stopped, to the last bit."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainers import clip_toys
from tests.trainers.toys import entries, outcome, policy, rows, snapshot, toy_spec
from trainers import api, checkpoints, nn
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


def stopped(spec, monkeypatch, step=5):
    """Executes a run that is asked to stop after a step."""
    log = Run.log

    def logged(run, at, numbers):
        log(run, at, numbers)
        if at == step:
            (run.home / "control.jsonl").write_text('{"id": 1, "kind": "stop", "args": {}}\n')

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", logged)
        assert api.execute(spec) == 3


def other_records(spec):
    path = spec.snapshot / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[60:]))


def other_reward_model(spec):
    model = nn.load_reward_model(spec.inputs["reward_model"])
    with torch.no_grad():
        model.values.neg_()
    nn.save(model, spec.inputs["reward_model"])


@pytest.mark.parametrize(
    ("change", "named"), [(other_records, "records"), (other_reward_model, "reward_model")]
)
def test_a_run_does_not_go_on_with_other_records_or_another_model_under_the_same_path(
    change, named, tmp_path, monkeypatch
):
    spec = toy_spec("online/rloo", tmp_path, config={"steps": 8})
    stopped(spec, monkeypatch)
    place = spec.snapshot if named == "records" else Path(spec.inputs[named])
    shutil.copytree(place, tmp_path / "kept")
    change(spec)
    before = rows(spec.home)
    assert api.execute(spec) == 1 and rows(spec.home) == before
    message = entries(spec.home)[-1]["message"]
    assert f"step-00000005 was learned with other {named}: found {place} with the SHA-256" in message
    assert "Bring what it began with back to go on, or begin a new run in another folder" in message
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "kept", place)
    assert api.execute(spec) == 0, "what it began with is back"


def test_a_model_more_or_less_is_another_run(tmp_path, monkeypatch):
    spec = toy_spec("direct/dpo", tmp_path)
    stopped(spec, monkeypatch)
    more = replace(spec, inputs={**spec.inputs, "reference": policy(tmp_path / "reference", seed=3)})
    assert api.execute(more) == 1
    assert "was learned with other reference" in entries(spec.home)[-1]["message"]
    assert api.execute(spec) == 0


def test_a_checkpoint_from_before_the_records_were_kept_in_mind_is_gone_on_with(tmp_path, monkeypatch):
    spec = toy_spec("direct/dpo", tmp_path)
    stopped(spec, monkeypatch)
    for path in spec.home.glob("checkpoints/*/state.json"):
        state = json.loads(path.read_text())
        assert set(state["own"].pop("learns_from")) == {"records", "policy"}
        path.write_text(json.dumps(state))
    other_records(spec)
    assert api.execute(spec) == 0
    state = json.loads((checkpoints.newest(spec.home / "checkpoints") / "state.json").read_text())
    assert set(state["own"]["learns_from"]) == {"records", "policy"}


def test_labels_that_came_while_a_run_was_under_way_must_still_be_the_ones_that_were_sent(
    tmp_path, monkeypatch
):
    spec = toy_spec("control/preference_ppo", tmp_path, config={"steps": 4})
    fresh = snapshot(tmp_path / "labels", clip_toys.pairs()[:20])
    sent = {
        "folder": str(fresh),
        "digest": hashlib.sha256((fresh / "records.jsonl").read_bytes()).hexdigest(),
    }
    spec.home.mkdir()
    lines = [{"id": 1, "kind": "labels", "args": sent}, {"id": 2, "kind": "stop", "args": {}}]
    (spec.home / "control.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert api.execute(spec) == 3
    records = (fresh / "records.jsonl").read_text()
    (fresh / "records.jsonl").write_text("".join(records.splitlines(keepends=True)[:5]))
    assert api.execute(spec) == 1
    assert f"other labels: found {fresh} with the SHA-256" in entries(spec.home)[-1]["message"]
    (fresh / "records.jsonl").write_text(records)
    assert api.execute(spec) == 0
