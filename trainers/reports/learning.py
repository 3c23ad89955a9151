"""What more labels would bring: a reward model's held-out accuracy against the number of labels it learned from.

At n, n / 2, n / 4, … labels the head on frozen features is fitted anew, at n / 2^j on 2^j parts of the labels that
share no prompt: independent of each other, and together as costly as one fit of them all. The head is the convex
one of `maths/logistic.py`, fitted to its minimum, with the penalty under which all labels are likeliest: nothing
held out is looked at. Through the means goes a power law. Its interval comes from drawing the held-out prompts
anew, and from how far the parts of one size lie apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.maths import logistic, power_law

if TYPE_CHECKING:
    from trainers.data import Preference

FEWEST = 20
"""Labels that are still a part."""
MOST = 3000
"""Labels that are looked at; of more, a random part. The cost grows with their third power."""
ELSEWHERE = (
    "No learning curve: it is drawn for the frozen sentence encoder alone, since another model would have to be "
    "trained anew at every size."
)
"""What is said where a head on frozen features is not what was trained."""
LEVELS = 6
DRAWS = 400
PENALTIES = tuple(10.0**power for power in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5))


@dataclass(frozen=True)
class Curve:
    """Accuracy against labels, and what follows for more of them."""

    labels: list[int]
    """Sizes that were tried."""
    accuracy: list[float]
    """The mean over the parts of each size."""
    low: list[float]
    high: list[float]
    more: int
    """So many labels more …"""
    gain: float
    """… should change accuracy by this,"""
    spread: float
    """give or take this (half of a 95 % interval)."""
    sizes: list[int]
    """Those that were tried, all labels there are, and `more`."""
    fitted: list[float]
    """The law at these sizes."""

    @property
    def text(self) -> str:
        said = (
            f"{self.more:,} more labels should give {100 * self.gain:+.1f} ± {100 * self.spread:.1f} points"
        )
        if self.gain - self.spread <= 0:
            return f"{said}: more labels of this kind need not help."
        return f"{said}."

    def plots(self) -> dict[str, Any]:
        axes = {"x_label": "Labels learned from", "y_label": "Held-out accuracy"}
        return {
            "learning": {
                "label": "Accuracy against labels", "x": self.labels, "y": self.accuracy, "low": self.low,
                "high": self.high, **axes,
            },
            "learning_fit": {"label": "Fitted power law", "x": self.sizes, "y": self.fitted, **axes},
        }  # fmt: skip


def curve(
    train: Tensor, labels: Sequence[Preference], held_out: Tensor, judged: Sequence[Preference], seed: int
) -> Curve | str:
    """The curve; or, in words, why there is none.

    `train` [N, D] and `held_out` [M, D] are the features of the better answer less those of the other, of the
    preferences `labels` and of the decided ones `judged`.
    """
    chance = torch.Generator().manual_seed(seed)
    rows, ends = shuffled_by_prompt(labels, chance)
    total = ends[-1] if ends else 0
    kept = sum(1 for end in ends if end <= MOST)
    rows, ends = rows[:kept], ends[:kept]
    if min(total, kept) < 4 * FEWEST or len({one.prompt for one in judged}) < FEWEST:
        return (
            f"No learning curve: it takes {4 * FEWEST} labels to learn from and {FEWEST} prompts held out, and there "
            f"are {total} and {len({one.prompt for one in judged})}."
        )
    train, held_out = train[rows].double().cpu(), held_out.double().cpu()
    weights = torch.tensor([labels[row].weight for row in rows])
    levels = min(LEVELS, int(math.log2(ends[-1] / FEWEST)) + 1)
    products, across = train @ train.T, held_out @ train.T
    penalty = logistic.most_evident(products, weights, PENALTIES)
    sizes: list[int] = []
    means: list[Tensor] = []
    apart: list[float] = []
    for level in reversed(range(levels)):
        rights = []
        for part in cut(ends, 2**level):
            inside = products[part, part]
            a, _ = logistic.fit(inside, weights[part], penalty)
            rights.append((torch.sign(across[:, part] @ a) + 1) / 2)
        sizes.append(round(ends[-1] / 2**level))
        stacked = torch.stack(rights)  # [parts, M]
        means.append(stacked.mean(dim=0))
        scores = stacked.mean(dim=1)
        # Of one part alone nothing is known to lie apart: it is taken to do so like two halves.
        apart.append(apart[-1] if level == 0 else (scores.std() / 2 ** (level / 2)).item())
    return summed_up(sizes, total, torch.stack(means), torch.tensor(apart), judged, chance)


def shuffled_by_prompt(labels: Sequence[Preference], chance: torch.Generator) -> tuple[list[int], list[int]]:
    """(rows, ends): rows in an order in which prompts come at random but whole; and for each, how many labels there
    are up to the end of its prompt. A tie is two rows and one label."""
    prompts = list(dict.fromkeys(one.prompt for one in labels))
    places = dict(zip(prompts, torch.randperm(len(prompts), generator=chance).tolist(), strict=True))
    rows = sorted(range(len(labels)), key=lambda row: (places[labels[row].prompt], row))
    counted = torch.tensor([1.0 if labels[row].decided else 0.5 for row in rows]).cumsum(0)
    ends = {
        places[labels[row].prompt]: end for row, end in zip(rows, counted.ceil().long().tolist(), strict=True)
    }
    return rows, [ends[places[labels[row].prompt]] for row in rows]


def cut(ends: Sequence[int], parts: int) -> list[slice]:
    """The rows in so many runs of about as many labels each, no prompt in two of them."""
    total = ends[-1]
    bounds = [0]
    for part in range(1, parts + 1):
        wanted = total * part / parts
        bounds.append(sum(1 for end in ends if end <= wanted))
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False) if stop > start]


def summed_up(
    sizes: list[int],
    total: int,
    rights: Tensor,
    apart: Tensor,
    judged: Sequence[Preference],
    chance: torch.Generator,
) -> Curve:
    """Fits the law to the means of rights [K, M], and to DRAWS of what they might have been."""
    more = step_up(total)
    fitted = [*sizes, *([total] if total > sizes[-1] else []), total + more]
    n, further = torch.tensor(sizes), torch.tensor(fitted)
    accuracy = rights.mean(dim=1).double()
    counts = drawn(judged, chance)  # [DRAWS, M]
    might = counts @ rights.double().T / counts.sum(dim=1, keepdim=True)  # [DRAWS, K]
    might = might + apart.double() * torch.randn(DRAWS, len(sizes), generator=chance, dtype=torch.double)
    law = power_law.at(power_law.fit(n, accuracy[None]), further)[0]
    laws = power_law.at(power_law.fit(n, might), further)
    low, high = torch.quantile(might, torch.tensor([0.025, 0.975], dtype=torch.double), dim=0)
    gains = laws[:, -1] - laws[:, -2]
    return Curve(
        sizes, accuracy.tolist(), low.tolist(), high.tolist(), more,
        (law[-1] - law[-2]).item(), 1.96 * gains.std().item(), fitted, law.tolist(),
    )  # fmt: skip


def drawn(judged: Sequence[Preference], chance: torch.Generator) -> Tensor:
    """[DRAWS, M]: how often each judged preference is in a sample of as many prompts, drawn with replacement."""
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(one.prompt for one in judged))}
    taken = torch.randint(len(prompts), (DRAWS, len(prompts)), generator=chance)
    counts = torch.zeros(DRAWS, len(prompts), dtype=torch.double)
    counts.scatter_add_(1, taken, torch.ones_like(counts))
    return counts[:, [prompts[one.prompt] for one in judged]]


def step_up(labels: int) -> int:
    """A round number of more labels, worth planning for: as many again, 200, 1,000, …"""
    if labels < 200:
        return labels
    return 200 if labels < 2000 else 10 ** int(math.log10(labels / 2))
