"""What is added up over parts and processes, and how: gradients, numbers, and the step that comes of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.trainers.groups import (
    TRAINED,
    spread,
    stops_after,
)
from tests.trainers.toys import TOYS, rows, toy_spec
from trainers import api, fit, processes, sharding
from trainers.fit import Tally, adamw, descend, parts
from trainers.run import Run


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


LENGTHS = [30, 9, 2, 2, 7, 1, 1, 1]
"""Tokens of eight answers: of unequal length, so that a mean of means is not the mean."""


def tallied(rank: int = 0, size: int = 3) -> dict[str, float]:
    """Numbers of a step whose rows are the answers, of which token t of answer i counts 10 i + t."""
    tally = Tally()
    weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def losses():
        for part in parts(range(len(LENGTHS)), size):
            tokens = torch.cat([10 * i + torch.arange(LENGTHS[i], dtype=torch.float64) for i in part])
            tally.add("entropy", tokens)
            tally.add("val/ratio_min", tokens)
            tally.add("val/ratio_max", tokens)
            tally.add("completions/mean_length", torch.tensor([float(LENGTHS[i]) for i in part]))
            decided = torch.tensor([i % 4 == 0 for i in part])
            tally.add("rewards/accuracies", torch.tensor([float(i > 0) for i in part])[decided])
            yield (weight * tokens).sum() / sum(LENGTHS)
        tally.add("num_tokens", torch.tensor(sum(LENGTHS)))

    taken = descend(torch.optim.SGD([weight], lr=1.0), losses(), 1.0, 1e9)
    return {
        **tally.numbers(),
        "loss": taken["loss"],
        "grad_norm": taken["grad_norm"],
        "weight": weight.item(),
    }


@pytest.mark.parametrize("size", [2, 3, 8, 11])
def test_numbers_are_the_whole_batchs_over_unequal_parts_and_processes(size, tmp_path):
    everything = [10.0 * i + t for i, count in enumerate(LENGTHS) for t in range(count)]
    wanted = {
        "entropy": sum(everything) / len(everything),
        "val/ratio_min": 0.0,
        "val/ratio_max": max(everything),
        "completions/mean_length": sum(LENGTHS) / 8,
        "rewards/accuracies": 0.5,
        "num_tokens": 53.0,
        "loss": 0.0,
        "grad_norm": sum(everything) / len(everything),
        "weight": -sum(everything) / len(everything),
    }
    assert tallied() == pytest.approx(wanted, rel=1e-12)
    found = spread(size, tmp_path, tallied)
    for numbers in found:
        assert numbers == pytest.approx(wanted, rel=1e-12)
    assert all(numbers == found[0] for numbers in found), "to the last bit the same in every process"


def test_a_mean_of_the_processes_means_would_be_another_number(tmp_path):
    """The wrong variant, so that the test above is known to tell the two apart."""

    def wrong(rank: int) -> float:
        place = processes.place()
        mine = LENGTHS[8 * rank // place.size : 8 * (rank + 1) // place.size]
        means = processes.gather(sum(mine) / len(mine))
        return sum(means) / len(means)

    assert spread(3, tmp_path, wrong)[0] != pytest.approx(sum(LENGTHS) / 8, rel=0.05)


def test_what_every_process_yields_outside_of_parts_counts_once(tmp_path):
    def act(rank: int = 0) -> float:
        weight = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def losses():
            for part in parts([1.0, 2.0, 3.0], 1):
                yield weight * sum(part)
            yield 5 * weight.square()

        descend(torch.optim.SGD([weight], lr=1.0), losses(), 1.0, 1e9)
        return weight.item()

    assert act() == 2 - (6 + 20)
    assert spread(2, tmp_path, act) == [act(), act()]


def test_measuring_and_sampling_see_all_rows_also_while_a_step_is_taken(tmp_path):
    def act(rank: int) -> list[int]:
        seen = [sum(len(part) for part in parts(range(7), 2))]
        weight = torch.nn.Parameter(torch.zeros(()))

        def losses():
            with torch.no_grad():
                seen.append(sum(len(part) for part in parts(range(7), 2)))
            mine = 0
            for part in parts(range(7), 2):
                mine += len(part)
                inner = sum(len(one) for one in parts(part, 1))
                assert inner == len(part), "the share is shared out once"
                yield weight * 1.0
            seen.append(mine)

        descend(torch.optim.SGD([weight], lr=1.0), losses(), 1.0, 1.0)
        return seen

    assert spread(2, tmp_path, act) == [[7, 7, 3], [7, 7, 4]]


def test_a_loss_that_is_no_number_in_one_share_is_said_by_every_process(tmp_path):
    def act(rank: int) -> str:
        weight = torch.nn.Parameter(torch.ones(()))
        values = [1.0, math.inf]
        losses = (weight * value for part in parts(range(2), 1) for value in [values[part[0]]])
        with pytest.raises(RuntimeError) as problem:
            descend(torch.optim.SGD([weight], lr=1.0), losses, 1.0, 1.0)
        return str(problem.value)

    words = "The gradient's length is inf: a loss has overflowed, or is not a number."
    assert spread(2, tmp_path, act) == [words] * 2


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_more_processes_than_rows_take_the_same_step(sharding, tmp_path):
    """Whoever has no row goes along, since under FSDP the others' weights are partly theirs."""

    def act(rank: int = 0) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 5).double()
        optimiser = adamw(model, 0.1)
        for count in (1, 4, 2):
            inputs = torch.arange(3.0 * count, dtype=torch.float64).view(count, 3).sin()

            def losses(inputs=inputs, count=count):
                for part in parts(range(count), 1):
                    yield model(inputs[part]).square().sum() / count

            taken = descend(optimiser, losses(), 0.1, 0.5)
        return [*model.state_dict()["weight"].flatten().tolist(), taken["loss"], taken["grad_norm"]]

    wanted = act()
    for found in spread(3, tmp_path, act, sharding):
        assert found == pytest.approx(wanted, rel=1e-9)


def test_a_divided_model_holds_its_part_of_the_optimiser_and_of_the_weights_while_a_step_is_taken(tmp_path):
    def act(rank: int) -> list[int]:
        model = torch.nn.Linear(4, 10, bias=False)
        optimiser = adamw(model)
        held = []

        def losses():
            held.append(sum(one.to_local().numel() for one in model.parameters()))
            for part in parts(range(4), 1):
                yield model(torch.ones(len(part), 4)).sum()

        descend(optimiser, losses(), 0.1, 1.0)
        state = next(iter(optimiser.state.values()))
        return [*held, state["exp_avg"].to_local().numel(), sum(one.numel() for one in model.parameters())]

    assert spread(2, tmp_path, act, "fsdp") == [[20, 20, 40]] * 2


SMALLEST = {"online/p3o": 2}
"""It reads the two answers of a pair together."""


@pytest.mark.parametrize(
    "method", [name for name in TRAINED if "micro_batch" in {f.name for f in api.fields(name)}]
)
def test_a_batch_cut_in_eight_gives_the_step_of_the_batch_in_one(method, tmp_path):
    size = next((f.name for f in api.fields(method) if f.name == "batch_size"), None)
    config = {size: 8} if size else {}
    config |= {"epochs": 1} if "epochs" in TOYS[method].config else {}
    whole = toy_spec(method, tmp_path, "whole", config={**config, "micro_batch": 1000})
    cut = toy_spec(method, tmp_path, "cut", config={**config, "micro_batch": SMALLEST.get(method, 1)})
    log = Run.log
    for spec in (whole, cut):
        stops_after(4)(0)
        try:
            assert api.execute(spec) == 3
        finally:
            Run.log = log
    found = rows(cut.home)
    for left, right in zip(rows(whole.home), found, strict=True):
        for name in left:
            slack = 0.15 if "accura" in name else 2e-4
            assert right[name] == pytest.approx(left[name], rel=slack, abs=slack), (name, left["step"])


def mean_of_means(name: str, count: int, number: float) -> torch.Tensor:
    return torch.tensor([number], dtype=torch.float64)


def fillers_count() -> float:
    return 1.0 if fit._Share.within else 1 / processes.place().size


def everything_counts_fully() -> float:
    return 0.0 if fit._Share.filler else 1.0


WAYS = ("ddp", "fsdp")


WRONG = {
    "a mean of the processes' means": (fit, "_stand_in", mean_of_means),
    "gradients left as they are": (processes, "add_up", lambda gradients: None),
    "a filler's loss counted": (fit, "_counts", fillers_count),
    "what everyone has counted by each": (fit, "_counts", everything_counts_fully),
    "gradients averaged": (sharding.FSDPModule, "set_gradient_divide_factor", lambda self, factor: None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_variant_is_found_out(wrong, tmp_path, monkeypatch):
    """Each breaks one of three: numbers over unequal parts, rows fewer than processes, a whole run's gradients."""

    def stepped(rank: int = 0) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 5).double()
        optimiser = adamw(model)

        def losses():
            for part in parts(range(2), 1):
                yield model(torch.ones(len(part), 3, dtype=torch.float64)).square().sum()
            yield model(torch.ones(1, 3, dtype=torch.float64)).sum()

        return [*descend(optimiser, losses(), 0.1, 1e9).values()]

    def all_right(folder: Path) -> bool:
        numbers = spread(3, folder / "numbers", tallied)[0] == pytest.approx(tallied(), rel=1e-9)
        steps = [
            spread(3, folder / way, stepped, way)[0] == pytest.approx(stepped(), rel=1e-9) for way in WAYS
        ]
        return numbers and all(steps)

    assert all_right(tmp_path / "right")
    monkeypatch.setattr(*WRONG[wrong])
    assert not all_right(tmp_path / "wrong")
