"""Learning from comparisons of clips: how far a policy comes, and what it costs.

    python benchmarks/preferences.py pendulum [--seeds 5] [--imitation PYTHON]
    python benchmarks/preferences.py cheetah [--seeds 3]

Pendulum: everything learned from at most 200 comparisons by a scripted annotator (it sees the world's own reward, and
prefers the clip that earned more; nobody else sees it), beside the same with labels by a coin, and beside PPO on the
world's own reward, the ceiling. With `--imitation`, or where this Python has it, the package imitation does the same
task with 300 comparisons and 40,000 steps. HalfCheetah (MuJoCo): the return against the number of comparisons.

Each run is a process of its own. CPU is all the time it used, user and system, with the imports. Returns are the
world's own, mean of 100 episodes of the policy's mean actions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

COMPARISONS = 200
BUDGETS = (25, 50, 100, 200, 400)
"""Comparisons for HalfCheetah."""
CHEETAH = {"world": "half_cheetah", "steps": 150, "gamma": 0.99, "lr": 1e-3, "std": 0.5}
JUDGED = 100


def one(method: str, seed: int, config: dict[str, Any]) -> dict[str, float]:
    """A run in this process: {"before", "after", "cpu"}."""
    import torch

    from trainers import api, journal
    from trainers.run import Spec

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "run"
        spec = Spec(method, home, {**config, "judged": JUDGED}, seed=seed, episodes=Path(folder) / "episodes")
        if api.execute(spec):
            raise SystemExit(f"The run of {method} with seed {seed} failed.")
        entries = journal.read(home / "journal.bin")[0]
        (report,) = [
            entry["report"] for entry in entries if isinstance(entry, dict) and entry["type"] == "report"
        ]
    found = {name: report["readings"][f"return_{name}"]["value"] for name in ("before", "after")}
    return {**found, "cpu": time.process_time()}


def measured(command: list[str]) -> dict[str, float]:
    """What a process that prints JSON on its last line found out."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ours(method: str, seed: int, **config: Any) -> dict[str, float]:
    return measured([sys.executable, __file__, "one", method, str(seed), json.dumps(config)])


def pendulum(seeds: int, python: str) -> None:
    cases = {
        f"Kibitz, {COMPARISONS} comparisons by a script": lambda seed: ours(
            "control/preference_ppo", seed, annotator="script", comparisons=COMPARISONS
        ),
        f"Kibitz, {COMPARISONS} labels by a coin (control)": lambda seed: ours(
            "control/preference_ppo", seed, annotator="coin", comparisons=COMPARISONS
        ),
        "Kibitz, PPO on the world's own reward (ceiling)": lambda seed: ours("control/ppo", seed),
    }
    if python:
        theirs = str(ROOT / "benchmarks" / "preferences_imitation.py")
        cases["imitation, 300 comparisons, 40,000 steps"] = lambda seed: measured(
            [python, theirs, "--seed", str(seed)]
        )
    print(
        "| Pendulum, median (each seed) | return before | return after | CPU-s |\n|---|---|---|---|",
        flush=True,
    )
    for name, run in cases.items():
        found = [run(seed) for seed in range(seeds)]
        print(
            f"| {name} | {each(found, 'before')} | {each(found, 'after')} | {each(found, 'cpu')} |",
            flush=True,
        )
    if not python:
        print("imitation is not installed here; name a Python that has it with --imitation.")


def cheetah(seeds: int) -> None:
    print(
        "| HalfCheetah, median (each seed) | return before | return after | CPU-s |\n|---|---|---|---|",
        flush=True,
    )
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (
            f"{budget} comparisons by a script",
            "control/preference_ppo",
            {"annotator": "script", "comparisons": budget},
        )
        for budget in BUDGETS
    ]
    coin = {"annotator": "coin", "comparisons": COMPARISONS}
    cases += [
        (f"{COMPARISONS} labels by a coin (control)", "control/preference_ppo", coin),
        ("PPO on the world's own reward (ceiling)", "control/ppo", {}),
    ]
    for name, method, more in cases:
        found = [ours(method, seed, **CHEETAH, **more) for seed in range(seeds)]
        print(
            f"| {name} | {each(found, 'before')} | {each(found, 'after')} | {each(found, 'cpu')} |",
            flush=True,
        )


def each(found: list[dict[str, float]], name: str) -> str:
    values = [one[name] for one in found]
    digits = 1 if max(map(abs, values)) < 100 else 0
    return f"{median(values):,.{digits}f} ({', '.join(f'{value:,.{digits}f}' for value in values)})"


def main() -> None:
    reading = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = reading.add_subparsers(dest="what", required=True)
    swing = kinds.add_parser("pendulum")
    swing.add_argument("--seeds", type=int, default=5)
    swing.add_argument(
        "--imitation", default=sys.executable if find_spec("imitation") else "", metavar="PYTHON"
    )
    kinds.add_parser("cheetah").add_argument("--seeds", type=int, default=3)
    single = kinds.add_parser("one")
    single.add_argument("method")
    single.add_argument("seed", type=int)
    single.add_argument("config", type=json.loads)
    asked = reading.parse_args()
    if asked.what == "one":
        print(json.dumps(one(asked.method, asked.seed, asked.config)))
    elif asked.what == "pendulum":
        pendulum(asked.seeds, asked.imitation)
    else:
        cheetah(asked.seeds)


if __name__ == "__main__":
    main()
