"""One step down, and the loop around it where the loop is nothing special.

The loss of a batch comes in parts, each already divided by what the *whole* batch is normalised by (its
tokens, its weight): the gradients of the parts then add up to that of the batch however it is cut. A mean
of the parts' means would weigh a short part as much as a long one.

A run may have several processes, which all run the whole method. While `descend` takes a loss, `parts` gives each
process its own share of the rows; the gradients are added up over processes, and so are the numbers that were
tallied within a share. Everywhere else (sampling, measuring, references) each process sees all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from trainers import processes
from trainers.checkpoints import HasState
from trainers.metrics import METRICS
from trainers.run import Run


class Trainable(HasState, Protocol):
    """A module, as far as training it goes."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class Pretrained(Protocol):
    """A module of which some weights know something before it trains: other data taught them."""

    def pretrained(self) -> Iterator[nn.Parameter]: ...


class Order(HasState, Protocol):
    """An endless series of batches of row numbers, such as `trainers.data.Batches`."""

    @property
    def epoch(self) -> float: ...
    def __len__(self) -> int: ...
    def __next__(self) -> list[int]: ...


class Pace(Protocol):
    """The settings of a method whose loop is `fit`."""

    @property
    def epochs(self) -> int: ...
    @property
    def warmup(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def eval_every(self) -> int: ...


def adamw(module: Trainable, weight_decay: float = 0.0, pace: float = 1.0) -> torch.optim.AdamW:
    """AdamW over what may be trained; only matrices decay, not gains and biases. `descend` sets the rate.

    Weights that a module has `pretrained` move at `pace` times the rate, and do not decay: towards 0 there is nothing
    of what they know.

    Where the run divides its model, this is where it does: the weights are the processes' own parts from here on.
    """
    divided = processes.place().sharding == "fsdp" and isinstance(module, nn.Module)
    if divided:
        from trainers import sharding  # here, since it takes a while to import

        sharding.divide(module)  # type: ignore[arg-type]
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    known = {id(weight) for weight in module.pretrained()} if isinstance(module, Pretrained) else set()
    fresh = [weight for weight in trained if id(weight) not in known]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in fresh if weight.dim() >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in fresh if weight.dim() < 2], "weight_decay": 0.0},
        {"params": [weight for weight in trained if id(weight) in known], "weight_decay": 0.0, "pace": pace},
    ]
    optimiser = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True
    )
    if divided:
        sharding.whole(sharding.shards_of(trained))
    return optimiser


def anneal(step: int, total: int, warmup: float) -> float:
    """The share of the learning rate at step 1 … total: a linear rise over `warmup` of them, then linearly to 0.

    A function of the step alone: there is no scheduler whose position a checkpoint could miss.
    """
    rising = warmup * total
    if step <= rising:
        return step / (rising + 1)
    return (total - step + 1) / (total - rising)


def descend(
    optimiser: torch.optim.Optimizer, losses: Iterable[Tensor], lr: float, clip: float
) -> dict[str, float]:
    """One step down the sum of `losses`, its gradient cut to length `clip`. Returns what there is to log of it.

    `losses` is read while the step is taken: a generator whose `parts` are then this process's. What it yields
    outside of `parts` counts once, though every process yields it.
    """
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    optimiser.zero_grad(set_to_none=True)
    if processes.place().size == 1:
        loss = float(sum(_backward(part) for part in losses))
        norm = _finite(nn.utils.clip_grad_norm_(weights, clip).item())
        models = []
    else:
        models = _models(weights)
        with _shared(models):
            loss = float(sum(_backward(part * _counts()) for part in losses))
        loss = _add_up(weights, loss)
        norm = _clip(weights, clip)
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("pace", 1.0)
    optimiser.step()
    if models:
        from trainers import sharding

        sharding.whole(models)
    return {"loss": loss, "grad_norm": norm, "learning_rate": lr}


def _backward(part: Tensor) -> float:
    part.backward()  # type: ignore[no-untyped-call]
    return part.item()


# --- over processes ------------------------------------------------------------------------------------


class _Share:
    """Where `descend` and `parts` stand, for each other and for Tally."""

    taking = False
    """A step is being taken."""
    within = False
    """The loop over this process's parts is at one of them."""
    filler = False
    """That part is there to keep step with the other processes, and counts for nothing."""
    divided = False
    """Weights are fetched from other processes, so all must go forwards equally often."""


@contextmanager
def _shared(models: Sequence[nn.Module]) -> Iterator[None]:
    if models:
        from trainers import sharding

        sharding.apart(models)
    _Share.taking, _Share.divided = True, bool(models)
    try:
        yield
    finally:
        _Share.taking = _Share.within = _Share.filler = _Share.divided = False


def _counts() -> float:
    """How much of a loss is this process's: all of its own share, its part of what every process has."""
    if _Share.filler:
        return 0.0
    return 1.0 if _Share.within else 1 / processes.place().size


def _models(weights: Sequence[Tensor]) -> list[nn.Module]:
    """The models among these weights that are divided."""
    if processes.place().sharding != "fsdp":
        return []
    from trainers import sharding

    return sharding.shards_of(weights)


def _add_up(weights: Sequence[Tensor], loss: float) -> float:
    """Sums the gradients over processes, but for those that were summed while being divided; returns the loss's sum."""
    said = processes.gather({"loss": loss, "has": [weight.grad is not None for weight in weights]})
    gradients = []
    for weight, has in zip(weights, zip(*(one["has"] for one in said), strict=True), strict=True):
        if any(has) and not hasattr(weight, "to_local"):
            # A process whose share was empty adds nothing; a weight that no process used stays without a gradient.
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients.append(weight.grad)
    processes.add_up(gradients)
    return float(sum(one["loss"] for one in said))


def _clip(weights: Sequence[Tensor], clip: float) -> float:
    """Cuts the whole gradient to length `clip`, wherever its parts lie, and returns the length it had."""
    mine = [weight.grad for weight in weights if weight.grad is not None]
    square = 0.0
    for gradient in mine:
        local = getattr(gradient, "to_local", None)
        # What is whole on every process is counted by the first.
        if local or processes.place().rank == 0:
            square += (local() if local else gradient).double().square().sum().item()
    norm = _finite(math.sqrt(sum(processes.gather(square))))
    for gradient in mine:
        gradient.mul_(min(1.0, clip / (norm + 1e-6)))
    return norm


def _finite(norm: float) -> float:
    if not math.isfinite(norm):
        raise RuntimeError(f"The gradient's length is {norm}: a loss has overflowed, or is not a number.")
    return norm


class Tally:
    """Collects the values behind a step's numbers, and reduces each as `metrics.py` says it is aggregated."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._shares: dict[str, list[Tensor]] = {}
        """What was added within this process's share of the rows; what is in `_values`, every process has."""

    def add(self, name: str, values: Tensor) -> None:
        """More values of `name`: one for each sequence, or for each (unmasked) token."""
        if not _Share.filler:
            kept = self._shares if _Share.within else self._values
            kept.setdefault(name, []).append(values.detach().flatten())

    def numbers(self) -> dict[str, float]:
        """One number a name; a name without any value (no decided pair in the batch) is left out.

        The same on every process. All must ask, at the same moment.
        """
        whole = {name: torch.cat(parts).double() for name, parts in self._values.items()}
        if processes.place().size > 1:
            whole = _joined(whole, self._shares)
        return {
            name: _REDUCE[METRICS[name].aggregate](values).item()
            for name, values in whole.items()
            if len(values)
        }


def _joined(whole: Mapping[str, Tensor], shares: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """`whole`, and behind it what each process has in its share, in the order of the rows.

    Only what each process's values come to travels, with their count: a mean of n values is joined as n times itself.
    """
    mine = {}
    for name, parts in shares.items():
        values = torch.cat(parts).double()
        if len(values):
            mine[name] = [len(values), _REDUCE[METRICS[name].aggregate](values).item()]
    found = dict(whole)
    for said in processes.gather(mine):
        for name, (count, number) in said.items():
            found[name] = torch.cat(
                [found.get(name, torch.zeros(0)).double().cpu(), _stand_in(name, count, number)]
            )
    return found


def _stand_in(name: str, count: int, number: float) -> Tensor:
    """Values that count as much in their name's aggregate as those that were reduced to `number`."""
    if METRICS[name].aggregate in ("mean", "token_mean", "sequence_mean"):
        return torch.full((count,), number, dtype=torch.float64)
    return torch.tensor([number], dtype=torch.float64)


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "token_mean": torch.mean,
    "sequence_mean": torch.mean,
    "min": torch.min,
    "max": torch.max,
    "sum": torch.sum,
    "count": torch.sum,
    "last": lambda values: values[-1],
}


T = TypeVar("T")


def parts(rows: Sequence[T], size: int) -> Iterator[list[T]]:
    """The rows, `size` at a time: as many as fit the memory at once.

    While a step is taken, with gradients, these are this process's share of the rows: an equal stretch of them. One
    loop over parts may lie in another, but only the outer one is shared out.
    """
    share = _Share.taking and torch.is_grad_enabled() and not _Share.within
    if not share:
        for start in range(0, len(rows), size):
            yield list(rows[start : start + size])
        return
    place = processes.place()
    mine = _stretch(rows, place.rank)
    longest = math.ceil(len(rows) / place.size) if _Share.divided else len(mine)
    try:
        _Share.within = True
        for turn in range(math.ceil(longest / size)):
            # Where weights are fetched from each other, whoever has no row left goes along with one that counts 0.
            _Share.filler = turn * size >= len(mine)
            yield list(rows[:1]) if _Share.filler else list(mine[turn * size : (turn + 1) * size])
    finally:
        _Share.within = _Share.filler = False


def parts_of_all(rows: Sequence[T], size: int) -> Iterator[list[T]]:
    """The parts that all processes together take of a batch's rows in a step."""
    for rank in range(processes.place().size):
        yield from parts(_stretch(rows, rank), size)


def _stretch(rows: Sequence[T], rank: int) -> Sequence[T]:
    """The share of the process of this rank."""
    size = processes.place().size
    return rows[len(rows) * rank // size : len(rows) * (rank + 1) // size]


def fit(
    run: Run,
    model: Trainable,
    batches: Order,
    loss: Callable[[Sequence[int], Tally], Iterable[Tensor]],
    evaluate: Callable[[], dict[str, float]],
    config: Pace,
) -> int:
    """For every batch: descend(loss(batch)). Returns the number of steps.

    `loss(rows, tally)` yields the parts of the batch's loss; `evaluate()` returns the held-out numbers.
    """
    optimiser = adamw(model, config.weight_decay)
    total = config.epochs * len(batches)
    for step in run.steps(total, {"model": model, "optimiser": optimiser, "batches": batches}):
        tally = Tally()
        lr = run.knobs["lr"] * anneal(step, total, config.warmup)
        taken = descend(optimiser, loss(next(batches), tally), lr, config.clip)
        run.log(step, {**taken, "epoch": batches.epoch, **tally.numbers()})
        if (step % config.eval_every == 0 or step == total) and (held_out := evaluate()):
            run.log(step, held_out)
    return total
