"""One step down, and the loop around it where the loop is nothing special.

The loss of a batch comes in parts, each already divided by what the *whole* batch is normalised by (its
tokens, its weight): the gradients of the parts then add up to that of the batch however it is cut. A mean
of the parts' means would weigh a short part as much as a long one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from trainers.checkpoints import HasState
from trainers.metrics import METRICS
from trainers.run import Run


class Trainable(HasState, Protocol):
    """A module, as far as training it goes."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


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


def adamw(module: Trainable, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """AdamW over what may be trained; only matrices decay, not gains and biases. `descend` sets the rate."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.dim() >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.999), eps=1e-8
    )


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
    """One step down the sum of `losses`, its gradient cut to length `clip`. Returns what there is to log of it."""
    optimiser.zero_grad(set_to_none=True)
    loss = 0.0
    for part in losses:
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.item()
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    norm = nn.utils.clip_grad_norm_(weights, clip, error_if_nonfinite=True)
    for group in optimiser.param_groups:
        group["lr"] = lr
    optimiser.step()
    return {"loss": loss, "grad_norm": norm.item(), "learning_rate": lr}


class Tally:
    """Collects the values behind a step's numbers, and reduces each as `metrics.py` says it is aggregated."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, name: str, values: Tensor) -> None:
        """More values of `name`: one for each sequence, or for each (unmasked) token."""
        self._values.setdefault(name, []).append(values.detach().flatten())

    def numbers(self) -> dict[str, float]:
        """One number a name; a name without any value (no decided pair in the batch) is left out."""
        whole = {name: torch.cat(parts).double() for name, parts in self._values.items()}
        return {
            name: _REDUCE[METRICS[name].aggregate](values).item()
            for name, values in whole.items()
            if len(values)
        }


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
    """The rows, `size` at a time: as many as fit the memory at once."""
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


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
