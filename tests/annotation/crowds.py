"""Made-up crowds whose reliability, side bias and items are known, and what a reward model learns from them.

`crowd` answers comparisons by the law that `annotation/reliability/bradley_terry.py` fits. `accuracy` trains the
project's own reward/bradley_terry on its labels, with a weight for each person, on a table: a number for every answer
to every prompt, so that what it learned can be compared with the truth for every two answers.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np

from annotation.reliability import bradley_terry, weighing

PROMPTS = tuple(f"prompt {number}" for number in range(6))
STRINGS = ["".join(letters) for letters in product("ab", repeat=4)]
LEANING = [1, -3, -1]
"""Who leans to a side: one careful person, two careless ones."""
EVERY = [(x, i, j) for x in range(len(PROMPTS)) for i, j in combinations(range(len(STRINGS)), 2)]


@dataclass(frozen=True)
class Crowd:
    alpha: np.ndarray
    beta: np.ndarray
    worth: np.ndarray
    """How good each answer to each prompt really is, [X, Y]."""
    asked: list[tuple[int, int, int]]
    """The prompt and the two answers of each comparison."""
    unit: np.ndarray
    person: np.ndarray
    side: np.ndarray
    answer: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """How many each person gave."""
        return np.bincount(self.person, minlength=len(self.alpha))

    def fit(self, side: np.ndarray | None = None) -> bradley_terry.Fit:
        shown = self.side if side is None else side
        return bradley_terry.fit(
            self.unit, self.person, self.answer, shown, units=len(self.asked), people=len(self.alpha)
        )

    def weights(self, side: np.ndarray | None = None) -> np.ndarray:
        fit = self.fit(side)
        return weighing.weights(fit.log_odds, fit.log_odds_error, self.labels)


def crowd(seed: int, kind: str = "groups", *, tasks: int = 480, overlap: int = 3, people: int = 12) -> Crowd:
    """People who differ, some of them leaning to a side, in three `groups` (careful, middling, near chance) or evenly
    `spread` from careful to chance; or who are all `alike`, and lean to none."""
    rng = np.random.default_rng(seed)
    beta = np.zeros(people)
    if kind == "alike":
        alpha = np.full(people, 1.5)
    else:
        groups = np.repeat([4.0, 1.3, 0.2], people // 3)
        alpha = groups if kind == "groups" else np.linspace(4.0, 0.0, people)
        beta[LEANING] = [1.2, 2.5, -2.5]
    worth = rng.normal(scale=0.5**0.5, size=(len(PROMPTS), len(STRINGS)))
    chosen = rng.choice(len(EVERY), size=tasks, replace=tasks > len(EVERY))
    asked = [EVERY[n] for n in chosen]
    distance = np.array([worth[x, i] - worth[x, j] for x, i, j in asked])
    unit = np.repeat(np.arange(tasks), overlap)
    person = np.concatenate([rng.permutation(people)[:overlap] for _ in range(tasks)])
    side = rng.choice([-1, 1], size=len(unit))
    z = alpha[person] * distance[unit] + beta[person] * side
    scores = np.exp(np.stack([-z / 2, np.full(len(z), -1.5), z / 2], axis=1))
    chances = scores / scores.sum(axis=1, keepdims=True)
    answer = (rng.random((len(z), 1)) > chances.cumsum(axis=1)).sum(axis=1) - 1
    return Crowd(alpha, beta, worth, asked, unit, person, side, answer)


def accuracy(found: Crowd, weights: np.ndarray, seed: int = 0) -> float:
    """The share of all pairs of answers that a reward model trained on these labels puts in the true order.

    Only a part of the pairs was ever asked about. A prompt that the method keeps for its own measurements is not
    counted.
    """
    import torch

    from trainers import api, nn
    from trainers.data import read_records, split
    from trainers.nn.table import TableConfig, TableReward
    from trainers.records import Pair, dumps
    from trainers.sampling import scorers

    torch.set_num_threads(1)
    table = TableConfig(prompts=PROMPTS, symbols="ab", length=4)
    records = []
    for n, (unit, person, answer) in enumerate(zip(found.unit, found.person, found.answer, strict=True)):
        x, i, j = found.asked[unit]
        better, worse = (i, j) if answer >= 0 else (j, i)
        records.append(
            Pair(
                f"{n:06d}", PROMPTS[x], STRINGS[better], STRINGS[worse], "chosen" if answer else "tie",
                weight=float(weights[person]), annotator=f"person-{person}",
            )
        )  # fmt: skip
    real = scorers.fresh
    scorers.fresh = lambda *asked: TableReward(table)
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / "records.jsonl").write_text("".join(dumps(one) + "\n" for one in records))
            out = api.train(
                "reward/bradley_terry", snapshot=home, out=home / "run", seed=seed, backbone="byte_transformer",
                lr=0.05, epochs=6, batch_size=64, micro_batch=64, weight_decay=0.1, held_out=0.01, eval_every=10_000,
            )  # fmt: skip
            learned, _ = split(read_records(home, ("pair",)), 0.01)
            seen = {one.prompt for one in learned}
            model = nn.load_reward_model(out / "reward_model")
            values = model.values.detach().numpy()
    finally:
        scorers.fresh = real
    right = [
        (values[x, i] - values[x, j]) * (found.worth[x, i] - found.worth[x, j]) > 0
        for x, i, j in EVERY
        if PROMPTS[x] in seen
    ]
    return float(np.mean(right))


def interval(differences: list[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval (Student's t)."""
    from scipy.stats import t

    values = np.array(differences)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)
