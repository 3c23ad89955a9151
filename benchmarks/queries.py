"""How many labels it takes to reach an accuracy, when questions are chosen by chance, by dispute, or by information.

A world whose truth is known: an answer is 18 numbers, its utility a hidden linear function of 16 of them, and a
simulated annotator prefers by sigmoid(difference). Half of the prompts are about what nobody cares about: their answers
differ in the other two numbers, all have the same utility, and labels on them are coin tosses. In every round a way of
asking looks at four prompts a label, four answers each, and chooses with the project's own `worth` and `choose`; then
an ensemble of eight logistic heads is fitted anew to all labels so far. Accuracy is agreement with the true order of
random pairs that have one. Random questions are two answers of every prompt that comes.

    python benchmarks/queries.py [--seeds 20]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainers.methods.query import disagreement, information  # noqa: E402
from trainers.sampling.questions import choose  # noqa: E402

MATTER, COINS = 16, 2
"""Numbers of an answer that its utility follows, and those that it does not."""
TOSSED = 0.5
"""Share of prompts about what nobody cares about."""
MEMBERS, PENALTY = 8, 1.0
LOOK, CANDIDATES = 4, 4
FIRST, ROUND = 20, 10
"""Labels before anything is chosen, and labels a round."""

Worth = Callable[[Tensor], Tensor]


@dataclass
class World:
    """Prompts and answers without end, and the truth about them."""

    seed: int

    def __post_init__(self) -> None:
        self.chance = torch.Generator().manual_seed(self.seed)
        truth = torch.randn(MATTER, generator=self.chance, dtype=torch.double)
        self.truth = torch.cat([truth / truth.norm() * 3, torch.zeros(COINS, dtype=torch.double)])

    def answers(self, prompts: int, candidates: int, tossed: float = TOSSED) -> Tensor:
        """[prompts, candidates, 18]"""
        found = torch.randn(prompts, candidates, MATTER + COINS, generator=self.chance, dtype=torch.double)
        coins = (torch.rand(prompts, generator=self.chance) < tossed)[:, None, None]
        found[..., :MATTER] *= ~coins
        found[..., MATTER:] *= coins * math.sqrt(MATTER / COINS)  # as far apart as the others
        return found

    def labels(self, differences: Tensor) -> Tensor:
        """[B] 1 or -1 for differences [B, 18]: what an annotator says."""
        p = torch.sigmoid(differences @ self.truth)
        return 1 - 2 * (torch.rand(len(p), generator=self.chance, dtype=torch.double) >= p).double()


def fitted(differences: Tensor, labels: Tensor, chance: torch.Generator) -> Tensor:
    """[N, 18] heads, each fitted to a draw of the labels and held near a start of its own, by Newton's method."""
    n, width = differences.shape
    starts = torch.randn(MEMBERS, width, generator=chance, dtype=torch.double) / math.sqrt(PENALTY)
    drawn = torch.randint(n, (MEMBERS, n), generator=chance)
    counts = torch.zeros(MEMBERS, n, dtype=torch.double).scatter_add_(
        1, drawn, torch.ones(MEMBERS, n).double()
    )
    signed = differences * labels[:, None]
    heads = starts.clone()
    for _ in range(60):
        p = torch.sigmoid(-heads @ signed.T)
        slope = -(counts * p) @ signed + PENALTY * (heads - starts)
        curve = torch.einsum("mn,ni,nj->mij", counts * p * (1 - p), signed, signed)
        curve += PENALTY * torch.eye(width, dtype=torch.double)
        move = torch.linalg.solve(curve, slope)
        # Newton's step overshoots where the loss is nearly straight: none is longer than 1.
        heads = heads - move / move.norm(dim=1, keepdim=True).clamp_min(1)
        if move.abs().max() < 1e-8:
            break
    return heads


def chosen(world: World, heads: Tensor, worth: Worth | None, count: int) -> Tensor:
    """[count, 18] differences of the pairs to ask about; without `worth`, two answers of each of `count` prompts."""
    if worth is None:
        answers = world.answers(count, 2)
        return answers[:, 0] - answers[:, 1]
    answers = world.answers(count * LOOK, CANDIDATES)
    first, second = torch.triu_indices(CANDIDATES, CANDIDATES, offset=1)
    differences = answers[:, first] - answers[:, second]  # [prompts, pairs, 18]
    values = worth(torch.sigmoid(heads @ differences.flatten(0, 1).T)).view(differences.shape[:2]).tolist()
    pool = [
        {"prompt": str(prompt), "texts": [str(pair)], "worth": value, "place": (prompt, pair)}
        for prompt, row in enumerate(values)
        for pair, value in enumerate(row)
    ]
    return torch.stack([differences[one["place"]] for one in choose(pool, count)])


def curve(seed: int, worth: Worth | None, labels: int) -> list[float]:
    """Accuracy after FIRST, FIRST + ROUND, … labels."""
    world = World(seed)
    test = world.answers(2000, 2, tossed=0.0)
    test_differences = test[:, 0] - test[:, 1]
    truth = torch.sign(test_differences @ world.truth)
    asked = chosen(world, torch.zeros(0), None, FIRST)
    said = world.labels(asked)
    found = []
    while True:
        heads = fitted(asked, said, torch.Generator().manual_seed(seed))
        found.append((torch.sign(test_differences @ heads.mean(dim=0)) == truth).double().mean().item())
        if len(said) >= labels:
            return found
        fresh = chosen(world, heads, worth, ROUND)
        asked, said = torch.cat([asked, fresh]), torch.cat([said, world.labels(fresh)])


def needed(accuracy: list[float], target: float) -> float:
    """Labels after which accuracy stays at `target` or above for three rounds; inf where it never does."""
    for place in range(len(accuracy) - 2):
        if min(accuracy[place : place + 3]) >= target:
            return FIRST + ROUND * place
    return math.inf


def marginal(p: Tensor) -> Tensor:
    """A wrong worth: how uncertain the label is, by the members' mean, whether a label can change that or not."""
    return information.entropy(p.mean(dim=0))


WAYS: dict[str, Worth | None] = {
    "query/random": None,
    "query/disagreement": disagreement.worth,
    "query/information": information.worth,
    "wrong: least disagreement": lambda p: 1 - disagreement.worth(p),
    "wrong: marginal entropy": marginal,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--target", type=float, default=0.9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    base: list[float] = []
    print(f"Labels to reach {given.target:.0%} (at most {given.labels}), {given.seeds} seeds\n")
    print("| questions | labels, mean | share of random's, mean and 95 % interval | accuracy after 200 |")
    print("|---|---|---|---|")
    for name, worth in WAYS.items():
        curves = [curve(seed, worth, given.labels) for seed in range(given.seeds)]
        counts = [min(needed(one, given.target), given.labels) for one in curves]
        base = base or counts
        ratios = torch.tensor([mine / random for mine, random in zip(counts, base, strict=True)])
        after = sum(one[(200 - FIRST) // ROUND] for one in curves) / len(curves)
        spread = 1.96 * ratios.std().item() / math.sqrt(len(ratios))
        said = "1" if worth is None else f"{ratios.mean():.2f} ± {spread:.2f}"
        never = sum(needed(one, given.target) == math.inf for one in curves)
        reached = f"{sum(counts) / len(counts):.0f}" + (f" (never in {never})" if never else "")
        print(f"| {name} | {reached} | {said} | {after:.1%} |", flush=True)


if __name__ == "__main__":
    main()
