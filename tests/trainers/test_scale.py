"""A run of several processes: it learns what one process learns, obeys, dies and goes on as one."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch

from tests.trainers.groups import (
    TRAINED,
    command,
    dies_at,
    pair_of,
    same,
    spread,
    stops_after,
    together,
    trained,
)
from tests.trainers.toys import entries, outcome, rows, toy_spec
from trainers import api, checkpoints, processes, sharding
from trainers.fit import Tally, adamw
from trainers.registry import METHODS
from trainers.run import Run, Spec


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


QUICK = {
    ("direct/dpo", "fsdp"), ("direct/dpo", "ddp"), ("correction/sft", "ddp"), ("online/rloo", "fsdp"),
    ("reward/bradley_terry", "ddp"),
}  # fmt: skip
"""The others take minutes together."""


@pytest.mark.parametrize(
    ("method", "sharding"),
    [
        pytest.param(method, sharding, marks=[] if (method, sharding) in QUICK else pytest.mark.slow)
        for method in TRAINED
        for sharding in ("ddp", "fsdp")
    ],
)
def test_two_processes_learn_what_one_learns(method, sharding, tmp_path):
    alone, both = pair_of(method, tmp_path, sharding)
    assert api.execute(alone) == 0
    numbers = Tally.numbers

    def shared_out(rank: int) -> None:
        """Notes that this process had rows of its own: were everything done by each, sums would be right, too."""

        def noted(tally: Tally) -> dict[str, float]:
            if tally._shares:
                (tmp_path / f"shared-{rank}").touch()
            return numbers(tally)

        Tally.numbers = noted

    assert trained(both, prepare=shared_out) == [0, 0]
    # Tables are in double precision; the byte transformer of the reward models is not.
    same(alone, both, 1e-9 if METHODS[method].produces == "policy" else 2e-4)
    assert len([*tmp_path.glob("shared-*")]) == 2


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("query/random", "query/random trains nothing that could be shared out"),
        ("correction/yay", "correction/yay trains networks too small to be shared out"),
    ],
)
def test_a_method_that_has_nothing_to_share_out_runs_in_one_process(method, why, tmp_path):
    spec = replace(toy_spec(method, tmp_path), sharding="ddp")

    def refused(rank: int) -> str:
        with pytest.raises(ValueError, match=why):
            Run(spec)
        return "refused"

    assert together(tmp_path / "group", 2, refused) == ["refused", "refused"]


def test_several_processes_without_a_way_to_share_are_refused(tmp_path):
    spec = toy_spec("correction/sft", tmp_path)

    def refused(rank: int) -> str:
        with pytest.raises(ValueError, match="one of 2, but the run's sharding is 'none'"):
            Run(spec)
        return "refused"

    assert together(tmp_path / "group", 2, refused) == ["refused", "refused"]
    with pytest.raises(ValueError, match="wants 2 processes, and this is one alone"):
        Run(replace(spec, processes=2, sharding="ddp"))


@pytest.mark.parametrize(
    ("method", "config", "sharding", "victim"),
    [("online/rloo", {"steps": 8}, "ddp", 0), ("correction/sft", {}, "fsdp", 1)],
)
def test_when_one_process_is_killed_the_group_goes_on_as_if_it_had_not_been(
    method, config, sharding, victim, tmp_path
):
    undisturbed, killed = (
        replace(toy_spec(method, tmp_path, name, config=config), sharding=sharding)
        for name in ("undisturbed", "killed")
    )
    assert trained(undisturbed) == [0, 0]
    codes = trained(killed, prepare=dies_at(6, victim))
    assert codes[victim] == f"exit {-signal.SIGKILL}"
    assert codes[1 - victim] == f"exit {processes.LOST}", "the other one ends, and calls it no failure"
    assert not any(entry["type"] == "failed" for entry in entries(killed.home))
    assert trained(killed) == [0, 0]
    assert outcome(killed) == outcome(undisturbed), "to the last bit"


@pytest.mark.parametrize(
    ("size", "sharding"),
    [
        (1, "none"),
        pytest.param(3, "fsdp", marks=pytest.mark.slow),
        pytest.param(2, "ddp", marks=pytest.mark.slow),
    ],
)
def test_a_divided_checkpoint_is_read_by_any_number_of_processes(size, sharding, tmp_path):
    alone, both = pair_of("direct/dpo", tmp_path, "fsdp")
    assert api.execute(alone) == 0
    assert trained(both, prepare=stops_after(6)) == [3, 3]
    path = checkpoints.newest(both.home / "checkpoints")
    assert path.name == "step-00000006"
    shards = [one.name for one in path.glob("*.shard-*.safetensors")]
    assert len(shards) == 4, "the model's and the optimiser's, of each process"
    assert {one.suffix for one in path.iterdir()} == {".json", ".safetensors"}, "nothing is pickled"

    on = replace(both, sharding=sharding)
    assert (api.execute(on) if size == 1 else set(trained(on, size))) in (0, {0})
    same(alone, on, 1e-9)


def test_machines_that_do_not_see_the_same_folder_are_told_so(tmp_path):
    """A divided checkpoint needs every process's part."""
    spec = replace(toy_spec("correction/sft", tmp_path), sharding="fsdp")

    def act(rank: int) -> int:
        return api.execute(replace(spec, home=tmp_path / f"home-{rank}"))

    assert together(tmp_path / "group", 2, act) == [1, f"exit {processes.LOST}"]
    message = entries(tmp_path / "home-0")[-1]["message"]
    assert "do not see the same folder" in message and "shard-1" in message
    assert checkpoints.newest(tmp_path / "home-0" / "checkpoints") is None


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_checkpoint_of_one_process_is_gone_on_with_by_two(sharding, tmp_path):
    alone, both = pair_of("direct/dpo", tmp_path, sharding)
    assert api.execute(alone) == 0
    log = Run.log
    try:
        stops_after(6)(0)
        assert api.execute(replace(both, sharding="none")) == 3
    finally:
        Run.log = log
    assert trained(both) == [0, 0]
    same(alone, both, 1e-9)


def test_commands_are_obeyed_by_all_at_the_same_step(tmp_path):
    alone, both = pair_of("correction/sft", tmp_path, "ddp")
    log = Run.log

    def asks(rank: int) -> None:
        def logged(run, at, numbers):
            log(run, at, numbers)
            if at == 5 and rank == 0 and "loss" in numbers:
                command(run.spec.home, 1, "set", name="lr", value=0.01)
                command(run.spec.home, 2, "pause")
                command(run.spec.home, 3, "resume")
                command(run.spec.home, 4, "checkpoint")
            if at == 9 and rank == 0:
                command(run.spec.home, 5, "stop")

        Run.log = logged

    try:
        asks(0)
        assert api.execute(alone) == 3
    finally:
        Run.log = log
    assert trained(both, prepare=asks) == [3, 3]
    applied = [
        [(one["command"], one["step"]) for one in entries(spec.home) if one["type"] == "applied"]
        for spec in (alone, both)
    ]
    assert applied[0] == applied[1] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 9)]
    for left, right in zip(rows(alone.home), rows(both.home), strict=True):
        assert right == pytest.approx(left, rel=1e-9, abs=1e-9)


def test_a_process_that_strays_from_the_others_is_noticed(tmp_path):
    spec = replace(toy_spec("correction/sft", tmp_path), sharding="ddp")
    log = Run.log

    def strays(rank: int) -> None:
        def logged(run, at, numbers):
            log(run, at, numbers)
            run.count("seen", rank)

        Run.log = logged

    assert trained(spec, prepare=strays) == [1, 1]
    assert "are in different states" in entries(spec.home)[-1]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapters", "llama", "gpt2"])
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_hugging_face_model_is_divided_too(kind, way, tmp_path):
    """GPT-2's layers are units each; a Llama, which a loop of ours goes through, is one."""
    from tests.trainers import tiny_llama, toys
    from tests.trainers.test_methods_hugging_face import liked
    from tests.trainers.test_nn_hugging_face import chat_policy, gpt2, tokenizer
    from trainers import nn
    from trainers.nn import hugging_face
    from trainers.records import Pair

    if kind == "adapters":
        given, records = str(nn.save(chat_policy(lora_rank=4), tmp_path / "policy")), liked()
    elif kind == "gpt2":
        torch.manual_seed(0)
        plain = hugging_face.HuggingFacePolicy(
            gpt2(), tokenizer(chat=False), hugging_face.HuggingFaceConfig()
        )
        given = str(nn.save(plain, tmp_path / "policy"))
        records = [Pair(f"pair-{i}", f"the room {i}", "four is it", "no") for i in range(24)]
    else:
        tiny_llama.policy().save_pretrained(given := str(tmp_path / "policy"))
        tiny_llama.tokenizer().save_pretrained(given)
        records = [
            Pair(f"pair-{i}", asked, better, worse)
            for i, (asked, better, worse, _) in enumerate(tiny_llama.PAIRS * 4)
        ]
    settings = {"lr": 1e-2, "epochs": 2, "batch_size": 7, "micro_batch": 2, "held_out": 0.1}
    snapshot = toys.snapshot(tmp_path / "snapshot", records)
    alone = Spec(
        "direct/dpo", tmp_path / "alone", settings, 0, snapshot, {"policy": given}, checkpoint_every=3
    )
    both = replace(alone, home=tmp_path / "both", sharding=way)
    assert api.execute(alone) == 0
    assert trained(both, prepare=stops_after(4)) == [3, 3]
    assert trained(both) == [0, 0]
    same(alone, both, 1e-4)
    if kind == "gpt2" and way == "fsdp":

        def units(rank: int) -> int:
            adamw(model := nn.load_policy(given))
            return sum(isinstance(one, sharding.FSDPModule) for one in model.modules())

        layers = nn.load_policy(given).model.config.n_layer
        assert spread(2, tmp_path / "group", units, "fsdp") == [layers + 1] * 2
