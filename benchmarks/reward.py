"""How well reward models learn what people preferred: accuracy, calibration and foresight on held-out dialogues.

    python benchmarks/reward.py DATA [--models frozen tuned ensemble] [--folds 5] [--seeds 1]
    python benchmarks/reward.py DATA --models ensemble alike --seeds 3
    python benchmarks/reward.py DATA --models decay

`alike` is an ensemble whose members all start at 0; `decay` is the frozen encoder's head under other weight decays, and
for more epochs.

DATA is a file of preferences in TRL's spelling (JSON lines, gzipped or not), or a folder with hh_harmless.jsonl.gz;
without it KIBITZ_DATA names that folder. Dialogues fall into folds by their first turn, so that no dialogue, and none
that begins like it, is both learned from and judged. Each model is trained on all folds but one, by the loss and with
the settings of reward/bradley_terry, and judged on that one; the figures are of all dialogues together, each judged by
the model that has not seen it. Temperatures are fitted on other folds than they are judged on.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trainers.data import Batches, Preference, preferences
from trainers.fit import adamw, anneal, descend, parts
from trainers.maths.accuracy import calibration_error, honest_error, tempered
from trainers.methods.reward import bradley_terry
from trainers.nn import RewardModel
from trainers.nn.encoder import EncoderReward, EncoderRewardConfig
from trainers.nn.tuned_encoder import TunedEncoderConfig, TunedEncoderReward
from trainers.records import Pair, Prompt, Record, from_trl
from trainers.reports.reward import right, share
from trainers.sampling import scorers

FROZEN = bradley_terry.Config()
TUNED = replace(FROZEN, epochs=3)
DECAYS, EPOCHS = (0.1, 3.0, 10.0), (3, 5, 8)
MEMBERS, SPREAD = 8, 1.0
"""Of an ensemble: heads on the frozen encoder, and how far their scores differ before training."""

Rows = list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


def read(path: Path) -> list[Pair]:
    """The decided pairs of a file of preferences."""
    path = path / "hh_harmless.jsonl.gz" if path.is_dir() else path
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = data.decode().splitlines()
    found: list[Record] = [from_trl(json.loads(line), number) for number, line in enumerate(lines, 1)]
    return [one for one in found if isinstance(one, Pair)]


def fold_of(prompt: Prompt, folds: int) -> int:
    """By the dialogue's first turn."""
    first = prompt if isinstance(prompt, str) else prompt[0].content
    return int.from_bytes(hashlib.sha256(first.encode()).digest()[:8], "big") % folds


def learn(
    model: RewardModel, rows: Rows, chosen: Sequence[int], config: bradley_terry.Config, seed: int
) -> RewardModel:
    """Trains `model` in place on the chosen rows: the method's loop, without its twin and its report."""
    optimiser = adamw(model, config.weight_decay)
    batches = Batches([sum(map(scorers.length, rows[i])) for i in chosen], config.batch_size, seed)
    total = config.epochs * len(batches)
    likelihood = bradley_terry.Likelihood("both_orders", 0.0)

    def losses(batch: Sequence[int]) -> Iterator[Tensor]:
        for part in parts(batch, config.micro_batch):
            scores = bradley_terry.both(model, rows, part)
            sure, strength = torch.ones(len(part), dtype=torch.bool), torch.ones(len(part))
            loss = bradley_terry.preference_loss(scores, sure, strength, likelihood, config)
            yield loss.sum() / len(batch)

    for step in range(1, total + 1):
        batch = [chosen[place] for place in next(batches)]
        descend(optimiser, losses(batch), config.lr * anneal(step, total, config.warmup), config.clip)
    return model


@torch.no_grad()
def margins(model: RewardModel, rows: Rows, chosen: Sequence[int]) -> Tensor:
    """[N] log-odds of the better answers."""
    found = torch.cat([bradley_terry.both(model, rows, part) for part in parts(chosen, 64)])
    return (found[:, 0] - found[:, 1]).double()


def encoded(model: RewardModel, judged: Sequence[Preference]) -> Rows:
    asked = [one.prompt for one in judged for _ in range(2)]
    rows = model.encode(asked, [text for one in judged for text in (one.better, one.worse)])
    return list(zip(rows[::2], rows[1::2], strict=True))


def crossed(
    fold: Sequence[int], made: Callable[[Sequence[int], int], Tensor], said: str, shape: tuple[int, ...] = ()
) -> tuple[Tensor, float]:
    """[…, N] what `made(rows to learn from, fold)` gives for every fold's rows, in their places; CPU-s a fold."""
    found, began = torch.zeros(*shape, len(fold), dtype=torch.double), time.process_time()
    for one in sorted(set(fold)):
        inside = [row for row, where in enumerate(fold) if where == one]
        found[..., inside] = made([row for row, where in enumerate(fold) if where != one], one)
        print(f"  {said}, fold {one}: {right(found[..., inside]).mean():.1%} of {len(inside)}", flush=True)
    return found, (time.process_time() - began) / len(set(fold))


def line(name: str, found: Tensor, judged: Sequence[Preference], fold: Sequence[int], seconds: float) -> str:
    """A row of the table."""
    one = share("", right(found), judged)
    after = tempered(found, fold)
    floor = honest_error(after, torch.Generator().manual_seed(0))
    return (
        f"| {name} | {one['value']:.1%} | {one['low']:.1%} to {one['high']:.1%} | "
        f"{calibration_error(found):.3f} | {calibration_error(after):.3f} | {floor:.3f} | {seconds:.1f} |"
    )


def measure(name: str, judged: Sequence[Preference], fold: Sequence[int], seed: int) -> list[str]:
    """Trains one kind of model on every fold but one, and returns its rows of the table."""
    began = time.process_time()
    if name == "tuned":
        fresh: Callable[[], RewardModel] = lambda: TunedEncoderReward(TunedEncoderConfig()).eval()  # noqa: E731
        config = TUNED
    else:
        fresh, config = lambda: EncoderReward(EncoderRewardConfig()).eval(), FROZEN
    rows = encoded(fresh(), judged)
    print(f"  {name}: texts read in {time.process_time() - began:.0f} CPU-s", flush=True)
    if name == "decay":
        table = []
        for decay, epochs in product(DECAYS, EPOCHS):
            changed = replace(FROZEN, weight_decay=decay, epochs=epochs)
            found, cost = crossed(
                fold,
                lambda chosen, one, given=changed: margins(
                    learn(fresh(), rows, chosen, given, seed), rows, held(fold, one)
                ),
                f"weight decay {decay:g}, {epochs} epochs",
            )
            table.append(line(f"frozen, weight decay {decay:g}, {epochs} epochs", found, judged, fold, cost))
        return table
    if name not in ("ensemble", "alike"):
        inside, cost = crossed(
            fold,
            lambda chosen, one: margins(learn(fresh(), rows, chosen, config, seed), rows, held(fold, one)),
            name,
        )
        table = [line(name, inside, judged, fold, cost)]
        if name == "frozen":
            coin = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed)) < 0.5
            flipped = [row[::-1] if heads else row for row, heads in zip(rows, coin.tolist(), strict=True)]
            control, cost = crossed(
                fold,
                lambda chosen, one: margins(
                    learn(fresh(), flipped, chosen, config, seed), rows, held(fold, one)
                ),
                "shuffled labels",
            )
            table.append(line("frozen, shuffled labels", control, judged, fold, cost))
        return table
    from trainers.maths.disagreement import auroc, conflict

    opinions, cost = crossed(
        fold,
        lambda chosen, one: torch.stack(
            members(
                fresh(), rows, judged, chosen, held(fold, one), seed, SPREAD if name == "ensemble" else 0.0
            )
        ),
        name,
        (MEMBERS,),
    )
    together = opinions.mean(dim=0)
    area, low, high = auroc(conflict(opinions), together <= 0)
    plain, *_ = auroc(-together.abs(), together <= 0)
    print(
        f"  {name}, seed {seed}: a single member {right(opinions).mean():.1%}; errors foreseen by its members' "
        f"disagreement, AUROC {area:.3f} ({low:.3f} to {high:.3f}); by small margins {plain:.3f}.",
        flush=True,
    )
    return [line(f"{name} of {MEMBERS}, seed {seed}", together, judged, fold, cost)]


def held(fold: Sequence[int], one: int) -> list[int]:
    return [row for row, where in enumerate(fold) if where == one]


def members(
    first: RewardModel,
    rows: Rows,
    judged: Sequence[Preference],
    chosen: Sequence[int],
    apart: Sequence[int],
    seed: int,
    spread: float,
) -> list[Tensor]:
    """Each member's margins: a start and a draw of the prompts of its own, as in reward/ensemble."""
    from trainers.methods.reward.ensemble import draw
    from trainers.nn.ensemble import beside

    found = []
    for number in range(MEMBERS):
        member = beside(first)
        chance = torch.Generator().manual_seed(MEMBERS * seed + number)
        for weight in member.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=spread * weight.shape[1] ** -0.5, generator=chance)
        drawn = [chosen[place] for place in draw([judged[row].prompt for row in chosen], seed, number)]
        found.append(margins(learn(member, rows, drawn, FROZEN, seed + number), rows, apart))
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("data", type=Path, nargs="?", default=os.environ.get("KIBITZ_DATA"))
    asked.add_argument("--models", nargs="+", default=["frozen", "tuned", "ensemble"])
    asked.add_argument("--folds", type=int, default=5)
    asked.add_argument("--seeds", type=int, default=1)
    asked.add_argument("--first", type=int, default=None, help="only so many pairs")
    given = asked.parse_args()
    if given.data is None:
        asked.error("name the data, or the folder that holds it in KIBITZ_DATA")
    torch.set_num_threads(1)
    judged = list(preferences(read(Path(given.data))))[: given.first]
    fold = [fold_of(one.prompt, given.folds) for one in judged]
    table = [
        "| model | accuracy | 95 % interval | ECE | with temperature | an honest model's | CPU-s to train |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    longer = torch.tensor([float(len(one.better) - len(one.worse)) for one in judged])
    rule = share("", right(longer), judged)
    table.append(
        f"| rule: the longer answer | {rule['value']:.1%} | {rule['low']:.1%} to {rule['high']:.1%} | | | | |"
    )
    print(f"{len(judged)} pairs, {given.folds} folds by dialogue, one thread", flush=True)
    for seed in range(given.seeds):
        for name in given.models:
            table += measure(name, judged, fold, seed)
    print("\n".join(table))


if __name__ == "__main__":
    main()
