"""Files that lie elsewhere, and what a machine keeps for later runs."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.groups import (
    spread,
    stops_after,
)
from tests.trainers.toys import outcome, toy_spec
from trainers import api, processes, store
from trainers.run import Run


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KIBITZ_CACHE_GB", "1")
    return tmp_path / "cache"


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_run_goes_on_on_another_machine_from_its_storage(scheme, tmp_path, cache):
    """The first machine is gone with its disk; what it had shown is numbered on, not shown again as something else."""
    alone = toy_spec("correction/sft", tmp_path, "alone")
    assert api.execute(alone) == 0
    root = f"{scheme}://{tmp_path}/far"
    store.push(alone.snapshot, f"{root}/snapshot")
    store.push(Path(alone.inputs["policy"]), f"{root}/policy")
    first, second = (
        replace(
            alone, home=tmp_path / name, snapshot=f"{root}/snapshot", inputs={"policy": f"{root}/policy"},
            storage=f"{root}/run",
        )
        for name in ("first", "second")
    )  # fmt: skip
    log = Run.log
    try:
        stops_after(6)(0)
        assert api.execute(first) == 3
    finally:
        Run.log = log
    store.remove(f"{root}/run/checkpoints/step-00000005")  # never there: nothing happens
    assert api.execute(replace(second, attempt=2)) == 0
    assert outcome(second) == outcome(alone)
    assert store.names(f"{root}/run/checkpoints") == ["step-00000012", "step-00000014"]
    assert "policy" in store.names(f"{root}/run")
    (fetched := tmp_path / "journal.bin").unlink(missing_ok=True)
    assert store.fetch(f"{root}/run/journal.bin", fetched)
    assert fetched.read_bytes() == (second.home / "journal.bin").read_bytes()


def test_a_checkpoint_that_was_not_wholly_brought_is_not_used(tmp_path, cache):
    spec = replace(toy_spec("correction/sft", tmp_path, "first"), storage=f"file://{tmp_path}/far")
    assert api.execute(spec) == 0
    for path in (tmp_path / "far" / "checkpoints").glob("*/state.json"):
        if "14" in path.parent.name:
            path.unlink()
    run = Run(replace(spec, home=tmp_path / "second"))
    assert (run._newest() / "state.json").exists()
    assert json.loads((run._newest() / "state.json").read_text())["own"]["step"] == 12
    run.stopped(None)


def test_what_lies_elsewhere_is_fetched_once_and_again_when_it_changed(tmp_path, cache, monkeypatch):
    (far := tmp_path / "far").mkdir()
    (far / "records.jsonl").write_text("one")
    url = f"file://{far}"
    place = store.local(url)
    assert (place / "records.jsonl").read_text() == "one"
    with monkeypatch.context() as patch:
        patch.setattr(store, "keep", lambda key, write: store.kept(key))
        assert store.local(url) == place
    (far / "records.jsonl").write_text("another")
    assert (store.local(url) / "records.jsonl").read_text() == "another"
    assert store.local(f"{url}/records.jsonl").read_text() == "another"
    assert store.local(str(far)) == far, "a path is a path"
    with pytest.raises(FileNotFoundError, match="holds no file"):
        store.local(f"file://{tmp_path}/nowhere")


def test_the_cache_drops_what_was_not_used_for_longest_and_nothing_in_use(cache, monkeypatch):
    for name in ("old", "older", "fresh"):
        store.keep(name, lambda place: (place / "file").write_bytes(b"0" * 1000) and None)
    for name, days in (("old", 2), ("older", 3)):
        then = time.time() - days * 24 * 3600
        os.utime(cache / name, (then, then))
    monkeypatch.setenv("KIBITZ_CACHE_GB", "2.5e-6")
    store.make_room()
    assert sorted(path.name for path in cache.iterdir()) == ["fresh", "old"]
    monkeypatch.setenv("KIBITZ_CACHE_GB", "0")
    store.make_room()
    assert [path.name for path in cache.iterdir()] == ["fresh"], "a run may still be reading it"


def test_many_processes_that_keep_the_same_thing_keep_it_once_and_whole(tmp_path, cache):
    def act(rank: int) -> str:
        def write(place: Path) -> None:
            (place / "half").write_text("1")
            processes.wait_for_all()
            (place / "file").write_text("2")

        place = store.keep("thing", write)
        return (place / "half").read_text() + (place / "file").read_text()

    assert spread(3, tmp_path / "group", act) == ["12"] * 3
    assert [path.name for path in cache.iterdir()] == ["thing"]


def test_a_reference_is_computed_once_for_several_runs_and_anew_for_other_models(tmp_path, cache):
    calls = []

    def compute():
        calls.append(1)
        return torch.full((2,), float(len(calls)))

    def value(name: str, key: str, **changes: Any) -> list[float]:
        run = Run(toy_spec("direct/dpo", tmp_path, name, **changes))
        found = run.once("reference", key, compute, for_later_runs=True).tolist()
        run.stopped(None)
        return found

    assert value("one", "model a") == value("two", "model a", config={"lr": 0.1}) == [1, 1]
    assert value("three", "model b") == [2, 2]
    assert value("four", "model a", config={"micro_batch": 3}) == [3, 3], "its sums may round otherwise"
    assert len(calls) == 3
