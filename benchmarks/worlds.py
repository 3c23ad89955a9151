"""How many steps and pictures a second each world makes, and how long it takes to keep a moment and to come back to it.

The numpy TableTalk is measured in turn with every other world, so that a ratio to it says more on a busy machine than
steps a second do. CPU time, random actions, episodes begun anew as they end; the median of the rounds.

    python benchmarks/worlds.py [--worlds pendulum reacher ...] [--rounds 5] [--size 256]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainers.envs.registry import WORLDS, world  # noqa: E402
from trainers.envs.vector import Copies  # noqa: E402
from trainers.envs.worlds import World, WorldError  # noqa: E402

REFERENCE = "table_talk"
ROUND = 0.25
"""Seconds that one round of one thing takes at most, about."""


def rate(once: Callable[[], object]) -> float:
    """Times a second of CPU."""
    once()
    count, start, end = 0, time.process_time(), time.perf_counter() + ROUND
    while time.perf_counter() < end:
        once()
        count += 1
    return count / max(time.process_time() - start, 1e-9)


def stepper(one: World, task: str) -> Callable[[], None]:
    chance = np.random.default_rng(0)
    actions = chance.uniform(-1, 1, (512, len(one.actions)))
    count = 0
    one.reset(0, task)

    def once() -> None:
        nonlocal count
        step = one.step(actions[count % 512])
        count += 1
        if step.done or count % one.most_steps == 0:
            one.reset(count, task)

    return once


def moments(one: World, task: str) -> tuple[float, float]:
    """Milliseconds of CPU to keep the moment after a hundred steps, and to come back to it."""
    once = stepper(one, task)
    for _ in range(100):
        once()
    moment = one.snapshot()
    return 1000 / rate(one.snapshot), 1000 / rate(lambda: one.restore(moment))


def measured(name: str, rounds: int, size: int) -> list[str]:
    task = WORLDS[name].tasks[0]
    one, reference = world(name), world(REFERENCE)
    step, plain = stepper(one, task), stepper(reference, "pack")
    pairs = [(rate(step), rate(plain)) for _ in range(rounds)]
    steps = statistics.median(own for own, _ in pairs)
    share = statistics.median(own / other for own, other in pairs)
    try:
        pictures = f"{statistics.median(rate(lambda: one.picture(size)) for _ in range(rounds)):,.0f}"
    except WorldError:
        pictures = "no GL"
    keep, back = moments(one, task)
    return [name, task, f"{steps:,.0f}", f"{share:.3f}", pictures, f"{keep:.2f}", f"{back:.2f}"]


def together(name: str, count: int, rounds: int) -> list[str]:
    copies = Copies(name, count)
    copies.reset(0)
    actions = np.random.default_rng(0).uniform(-1, 1, (count, copies.action)).astype(np.float32)
    one = stepper(world(name), "")
    pairs = [(count * rate(lambda: copies.step(actions)), rate(one)) for _ in range(rounds)]
    steps = statistics.median(own for own, _ in pairs)
    return [
        name,
        str(count),
        f"{steps:,.0f}",
        f"{statistics.median(own / alone for own, alone in pairs):.1f}",
    ]


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--size", type=int, default=256)
    told = asked.parse_args()
    here = [name for name in told.worlds if WORLDS[name].here]
    for name in told.worlds:
        if name not in here:
            print(f"{name} is left out: the package {WORLDS[name].missing} is not installed.")
    head = [
        "world",
        "task",
        "steps/s",
        f"of {REFERENCE}",
        f"pictures/s at {told.size}",
        "keep, ms",
        "come back, ms",
    ]
    table(head, [measured(name, told.rounds, told.size) for name in here])
    print()
    many = [
        (name, count) for name in ("pendulum", "cartpole", REFERENCE) if name in here for count in (16, 64)
    ]
    table(
        ["copies of", "N", "steps/s", "of one"], [together(name, count, told.rounds) for name, count in many]
    )


if __name__ == "__main__":
    main()
