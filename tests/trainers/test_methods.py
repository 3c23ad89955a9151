"""The promises that every registered method makes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.trainers import clip_toys, robot_toys
from tests.trainers.toys import (
    TOYS,
    corrections,
    demonstrations,
    die_at,
    entries,
    in_child,
    last,
    outcome,
    pairs,
    rankings,
    ratings,
    rows,
    toy_spec,
)
from trainers import api, registry
from trainers.metrics import ALIASES, METRICS, PRIMARY
from trainers.registry import METHODS
from trainers.run import Run, Spec

GOLDEN = Path(__file__).with_name("golden.json")
RECORDS = {"pair": pairs, "ranking": rankings, "correction": corrections, "demonstration": demonstrations}
RECORDS["rating"] = ratings
RECORDS["clip_pair"] = clip_toys.pairs
RECORDS |= {"drive": robot_toys.drives, "language_correction": robot_toys.corrections}

every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory) -> Callable[[str], Spec]:
    """The toy run of a method at seed 0 that nobody disturbed; made once, when it is first asked for."""

    @cache
    def undisturbed(method: str) -> Spec:
        spec = toy_spec(method, tmp_path_factory.mktemp("left-alone"))
        assert api.execute(spec) == 0
        return spec

    return undisturbed


def test_every_method_has_a_toy_task_and_golden_numbers():
    assert set(TOYS) == set(METHODS) == set(PRIMARY) == set(json.loads(GOLDEN.read_text()))


@every_method
def test_it_learns_its_toy_task(method, left_alone):
    spec = left_alone(method)
    assert TOYS[method].learned(rows(spec.home)), rows(spec.home)[-2:]
    assert entries(spec.home)[-1]["type"] == "finished"
    made = [entry for entry in entries(spec.home) if entry["type"] == "artifact"]
    (artifact,) = [entry for entry in made if entry["kind"] == METHODS[method].produces]
    assert (spec.home / artifact["path"]).exists()


@every_method
def test_it_repeats_at_a_seed_and_not_at_another(method, tmp_path, left_alone):
    once, again, other = (
        left_alone(method),
        *(toy_spec(method, tmp_path, name) for name in ("again", "other")),
    )
    for spec in (again, other := replace(other, seed=1)):
        assert api.execute(spec) == 0
    assert outcome(once) == outcome(again)
    assert outcome(once)["files"] != outcome(other)["files"]


@every_method
def test_it_stops_when_asked_and_goes_on_as_if_it_had_not(method, tmp_path, monkeypatch, left_alone):
    undisturbed, stopped = left_alone(method), toy_spec(method, tmp_path, "stopped")
    log = Run.log

    def ask_after_step_3(run, step, numbers):
        log(run, step, numbers)
        if step == 3:
            (run.home / "control.jsonl").write_text('{"id": 1, "kind": "stop", "args": {}}\n')

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", ask_after_step_3)
        assert api.execute(stopped) == 3
    assert {"type": "applied", "command": 1, "step": 3} in entries(stopped.home)
    assert last(rows(stopped.home), "step") == 3
    assert (stopped.home / "checkpoints" / "step-00000003" / "state.json").exists()
    assert not any(entry["type"] in ("artifact", "finished", "failed") for entry in entries(stopped.home))

    assert api.execute(stopped) == 0
    assert outcome(stopped) == outcome(undisturbed)


@every_method
@pytest.mark.parametrize("moment", [3, 20, 41])
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(method, moment, tmp_path, left_alone):
    undisturbed, killed = left_alone(method), toy_spec(method, tmp_path, "killed")
    assert in_child(killed, lambda: die_at(moment)) == -signal.SIGKILL
    assert api.execute(killed) == 0
    assert outcome(killed) == outcome(undisturbed)


@every_method
def test_it_logs_only_names_that_metrics_py_knows(method, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "gold", property(lambda run: lambda prompt, answer: float(answer.count("b"))))
    spec = toy_spec(method, tmp_path)
    assert api.execute(spec) == 0
    logged = {name for row in rows(spec.home) for name in row} - {"step"}
    assert logged and logged <= set(METRICS)
    assert set(PRIMARY[method]) <= logged, "its vital signs must be among what it logs"


def test_no_alias_points_nowhere_or_hides_a_name():
    assert set(ALIASES.values()) <= set(METRICS)
    assert not set(ALIASES) & set(METRICS)


@every_method
def test_it_reads_only_what_it_declares(method, tmp_path, monkeypatch):
    """Records of other kinds hold text that no model of the toy language can read; other roles do not exist."""
    declared = METHODS[method]
    records = [
        record
        for kind, make in RECORDS.items()
        for record in (make() if kind in declared.reads else poison(make()))
    ]
    spec = toy_spec(method, tmp_path, records=records)

    class Asked(dict):
        roles: set[str] = set()

        def __getitem__(self, role):
            self.roles.add(role)
            return super().__getitem__(role)

    assert api.execute(replace(spec, inputs=Asked(spec.inputs))) == 0
    assert Asked.roles <= {*declared.inputs, *declared.optional_inputs, "gold"}


def poison(records):
    return [replace(record, prompt="no such question") for record in records]


@every_method
def test_any_one_kind_that_it_reads_is_enough(method, tmp_path):
    for kind in METHODS[method].reads:
        spec = toy_spec(method, tmp_path / kind, records=RECORDS[kind](), config={})
        assert api.execute(spec) == 0, kind


@every_method
def test_without_a_needed_input_it_fails_and_says_which(method, tmp_path):
    spec = toy_spec(method, tmp_path)
    for role in METHODS[method].inputs:
        left = {name: path for name, path in spec.inputs.items() if name != role}
        assert api.execute(replace(spec, inputs=left, home=tmp_path / role)) == 1
        assert f"'{role}'" in entries(tmp_path / role)[-1]["message"]


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.produces == "reward_model"])
def test_a_reward_model_without_a_learning_curve_says_why(method, tmp_path):
    spec = toy_spec(method, tmp_path, config={"epochs": 1})
    assert api.execute(spec) == 0
    (report,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    assert "learning" not in report["curves"] and re.search(
        "No learning curve: .* trained anew at every size", report["text"]
    )


@every_method
def test_its_card_has_the_table_of_its_settings(method):
    card = registry.card(method)
    table = "\n".join(
        ["| setting | default | what it does |", "|---|---|---|"]
        + [f"| `{field.name}` | {field.default} | {field.doc} |" for field in registry.fields(method)]
    )
    assert table in card, f"the card of {method} should hold this table:\n\n{table}"
    assert f"`{method}`" in card and METHODS[method].title in card
    assert re.search(r"^## Wrong variants", card, re.M), "say which mistakes its tests catch"


@every_method
def test_its_first_numbers_at_seed_0_are_the_golden_ones(method, left_alone):
    """A change to anything shared shows here which methods moved. If one should have: put these numbers there."""
    logged = rows(left_alone(method).home)
    name = "loss" if any("loss" in row for row in logged) else PRIMARY[method][0]
    found = [row[name] for row in logged if name in row][:5]
    assert found == pytest.approx(json.loads(GOLDEN.read_text())[method], rel=1e-4), f"{method}: {found}"


@pytest.mark.parametrize("moment", range(1, 60, 4))
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(moment, tmp_path, left_alone):
    spec = toy_spec("correction/sft", tmp_path)
    assert in_child(spec, lambda: die_at(moment)) in (-signal.SIGKILL, 0)
    assert in_child(spec, lambda: die_at(moment // 2 + 1)) in (-signal.SIGKILL, 0)  # and again, sooner
    assert in_child(spec) == 0
    assert outcome(spec) == outcome(left_alone("correction/sft"))
