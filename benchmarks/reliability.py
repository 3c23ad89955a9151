"""What a fit of people's reliability costs, and what its weights are worth to a reward model.

    python benchmarks/reliability.py [--labels 5000 50000] [--people 200] [--seeds 10] [--skip-training]

First the CPU time of the two models, on crowds made up with known truth, with one thread of numpy. Then, for crowds
whose people differ and for crowds whose people do not, the accuracy of the project's own reward/bradley_terry against
the true preference, trained with the fitted weights and with equal ones: the mean difference over the seeds with its
95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from annotation.reliability import bradley_terry, dawid_skene, weighing  # noqa: E402
from tests.annotation import crowds  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--skip-training", action="store_true")
    asked = parser.parse_args()
    for labels in asked.labels:
        cost(labels, asked.people)
    if not asked.skip_training:
        for kind in ("groups", "spread", "alike"):
            worth(kind, asked.seeds)


def cost(labels: int, people: int) -> None:
    """Seconds of each fit on so many labels, three a comparison."""
    rng = np.random.default_rng(0)
    units = labels // 3
    alpha = rng.uniform(0, 4, people)
    beta = np.where(rng.random(people) < 0.2, rng.choice([-1.5, 1.5], people), 0.0)
    unit = np.repeat(np.arange(units), 3)
    person = np.concatenate([rng.choice(people, 3, replace=False) for _ in range(units)])
    side = rng.choice([-1, 1], len(unit))
    z = alpha[person] * rng.normal(size=units)[unit] + beta[person] * side
    scores = np.exp(np.stack([-z / 2, np.full(len(z), -1.5), z / 2], axis=1))
    chances = (scores / scores.sum(axis=1, keepdims=True)).cumsum(axis=1)
    answer = (rng.random((len(z), 1)) > chances).sum(axis=1) - 1
    began = time.process_time()
    fit = bradley_terry.fit(unit, person, answer, side, units=units, people=people)
    weighing.weights(fit.log_odds, fit.log_odds_error, np.bincount(person, minlength=people))
    comparisons = time.process_time() - began
    began = time.process_time()
    dawid_skene.fit(unit, person, answer + 1, units=units, people=people, answers=3)
    answers = time.process_time() - began
    print(
        f"{len(unit):,} labels by {people} people: comparisons with errors {comparisons:.2f} s of CPU, "
        f"Dawid and Skene {answers:.2f} s; Spearman with the truth {spearmanr(fit.alpha, alpha)[0]:.3f}, "
        f"intervals of alpha that hold it {np.mean(np.abs(fit.alpha - alpha) < 1.96 * fit.alpha_error):.1%}, "
        f"of beta {np.mean(np.abs(fit.beta - beta) < 1.96 * fit.beta_error):.1%}"
    )


def worth(kind: str, seeds: int) -> None:
    """What weights add to a reward model's accuracy."""
    gains, plain, furthest = [], [], []
    for seed in range(seeds):
        crowd = crowds.crowd(seed, kind)
        weights = crowd.weights()
        with contextlib.redirect_stdout(io.StringIO()):
            uniform = crowds.accuracy(crowd, np.ones(len(weights)))
            gains.append(crowds.accuracy(crowd, weights) - uniform)
        plain.append(uniform)
        furthest.append(float(np.abs(weights - 1).max()))
    mean, low, high = crowds.interval(gains)
    print(
        f"{kind}: equal weights {np.mean(plain):.1%} right, fitted weights {100 * mean:+.2f} points "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f}, {seeds} seeds); furthest weight from 1: median "
        f"{np.median(furthest):.2f}, most {max(furthest):.2f}"
    )


if __name__ == "__main__":
    main()
