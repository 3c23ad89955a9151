"""Toy tasks, small enough to be learned in a second, on which every method must keep the same promises.

The language has 64 strings of the letters a to d, and people like the letter a.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.trainers import clip_toys, robot_toys
from trainers import api, checkpoints, journal, nn
from trainers.nn.ensemble import EnsembleReward
from trainers.nn.table import SeqTable, TableConfig, TableReward
from trainers.records import Correction, Demonstration, Pair, Ranking, Rating, Record, dumps
from trainers.run import Run, Spec

PROMPTS = tuple(f"prompt {number}" for number in range(12))
TABLE = TableConfig(prompts=PROMPTS)
STRINGS = ["".join(letters) for letters in itertools.product(TABLE.symbols, repeat=TABLE.length)]


def liking(answer: str) -> int:
    return answer.count("a")


def pairs(count: int = 240) -> list[Record]:
    chance = random.Random(1)
    found: list[Record] = []
    while len(found) < count:
        one, other = chance.sample(STRINGS, 2)
        worse, better = sorted((one, other), key=liking)
        outcome = "chosen" if liking(better) > liking(worse) else "tie"
        number = len(found)
        annotator = ("ann", "bob")[number % 2]
        found.append(
            Pair(f"pair-{number}", PROMPTS[number % 12], better, worse, outcome=outcome, annotator=annotator)
        )
    return found


def rankings(count: int = 60) -> list[Record]:
    """Four strings each, by how many are liked better; the last is left without a rank now and then."""
    chance = random.Random(4)
    found: list[Record] = []
    for number in range(count):
        answers = tuple(chance.sample(STRINGS, 4))
        likings = sorted({liking(answer) for answer in answers[: 4 - number % 2]}, reverse=True)
        ranks = [1 + likings.index(liking(answer)) for answer in answers[: 4 - number % 2]]
        found.append(
            Ranking(f"rank-{number}", PROMPTS[number % 12], answers, (*ranks, *[None] * (number % 2)))
        )
    return found


def ratings(count: int = 120) -> list[Record]:
    """One string each, on a scale of four by how much it is liked, and a thumb by another person."""
    chance = random.Random(5)
    found: list[Record] = []
    for number, answer in enumerate(chance.choices(STRINGS, k=count)):
        scores = {"liking": 1 + liking(answer), "thumb": 1 + (liking(answer) > 0)}
        scale = {"liking": 4, "thumb": 2}
        found.append(Rating(f"rating-{number}", PROMPTS[number % 12], answer, scores, scale))
    return found


def corrections(count: int = 60) -> list[Record]:
    originals = random.Random(2).choices([string for string in STRINGS if "a" not in string], k=count)
    return [
        Correction(f"edit-{i}", PROMPTS[i % 12], text, "a" + text[1:]) for i, text in enumerate(originals)
    ]


def demonstrations(count: int = 60) -> list[Record]:
    answers = random.Random(3).choices([string for string in STRINGS if liking(string) >= 2], k=count)
    return [Demonstration(f"demo-{i}", PROMPTS[i % 12], text) for i, text in enumerate(answers)]


def snapshot(folder: Path, records: list[Record]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(dumps(one) + "\n" for one in records), encoding="utf-8")
    return folder


def policy(folder: Path, seed: int = 0) -> str:
    return str(nn.save(SeqTable(TABLE, seed), folder))


def reward_model(folder: Path) -> str:
    model = TableReward(TABLE)
    with torch.no_grad():
        model.values.copy_(torch.tensor([[float(liking(string)) for string in STRINGS]] * len(PROMPTS)))
    return str(nn.save(model, folder))


def reward_ensemble(folder: Path) -> str:
    """Three models that like the letter a, and each one other letter besides."""
    members = []
    for other in "bcd":
        member = TableReward(TABLE)
        values = [float(liking(string) + 2 * string.count(other)) for string in STRINGS]
        with torch.no_grad():
            member.values.copy_(torch.tensor([values] * len(PROMPTS)))
        members.append(member)
    return str(nn.save(EnsembleReward(members), folder))


@dataclass(frozen=True)
class Toy:
    """A task for a method, and how to see from its log that it was learned."""

    config: dict[str, Any]
    learned: Callable[[list[dict[str, float]]], bool]
    inputs: dict[str, Callable[[Path], str]] = field(default_factory=dict)
    made: str = "policy"
    """What it leaves behind, in its home."""
    records: Callable[[], list[Record]] = lambda: [*pairs(), *corrections(), *demonstrations()]
    """What it learns from."""
    episodes: Callable[[Path], Path] | None = None
    """Writes the episodes that its records name."""


def first(rows: list[dict[str, float]], name: str) -> float:
    return next(row[name] for row in rows if name in row)


def last(rows: list[dict[str, float]], name: str, count: int = 1) -> float:
    """The mean of the last `count` values."""
    values = [row[name] for row in rows if name in row][-count:]
    return sum(values) / len(values)


# A table learns each prompt by itself, so only the byte transformer can be asked about prompts it has not seen.
TOYS: dict[str, Toy] = {
    "reward/bradley_terry": Toy(
        {"backbone": "byte_transformer", "d": 16, "layers": 1, "lr": 1e-2, "epochs": 3, "batch_size": 32},
        lambda rows: (
            last(rows, "eval_accuracy") > 0.9 and abs(last(rows, "control/shuffled_accuracy") - 0.5) < 0.3
        ),
        made="reward_model",
    ),
    "reward/plackett_luce": Toy(
        {"backbone": "byte_transformer", "d": 16, "layers": 1, "lr": 1e-2, "epochs": 3, "batch_size": 16},
        lambda rows: last(rows, "eval_accuracy") > 0.9 and last(rows, "eval_best_first") > 0.9,
        made="reward_model",
    ),
    "reward/ordinal": Toy(
        {"backbone": "byte_transformer", "d": 16, "layers": 1, "lr": 1e-2, "epochs": 6, "batch_size": 16},
        lambda rows: (
            last(rows, "eval_concordance") > 0.9
            and last(rows, "eval_rating/error") < 0.3
            and abs(last(rows, "control/shuffled_concordance") - 0.5) < 0.3
        ),
        made="reward_model",
        records=ratings,
    ),
    "reward/ensemble": Toy(
        {
            "backbone": "byte_transformer",
            "d": 16,
            "layers": 1,
            "lr": 1e-2,
            "epochs": 3,
            "batch_size": 32,
            "members": 3,
        },
        lambda rows: last(rows, "eval_accuracy") > 0.9 and 0 < last(rows, "ensemble/std") < 1,
        made="reward_model",
    ),
    "direct/dpo": Toy(
        {"lr": 0.2, "beta": 0.5, "epochs": 3, "batch_size": 32},
        lambda rows: (
            first(rows, "loss") > 0.693
            and last(rows, "loss", 3) < 0.5
            and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "direct/ipo": Toy(
        {"lr": 0.2, "beta": 0.2, "epochs": 3, "batch_size": 32},
        lambda rows: abs(first(rows, "loss") - 6.25) < 1e-9 and last(rows, "rewards/accuracies", 3) > 0.9,
        {"policy": policy},
    ),
    "direct/cdpo": Toy(
        {"lr": 0.2, "beta": 0.5, "epochs": 3, "batch_size": 32},
        lambda rows: (
            first(rows, "loss") > 0.693
            and last(rows, "loss", 3) < 0.5
            and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "direct/kto": Toy(
        {"lr": 0.2, "beta": 0.5, "epochs": 3, "batch_size": 32},
        lambda rows: (
            first(rows, "loss") == 0.5
            and last(rows, "loss", 3) < 0.35
            and last(rows, "rewards/margins", 3) > 1
        ),
        {"policy": policy},
    ),
    "direct/simpo": Toy(
        {"lr": 0.2, "epochs": 3, "batch_size": 32},
        lambda rows: (
            last(rows, "loss", 3) < first(rows, "loss") - 0.5 and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "direct/orpo": Toy(
        {"lr": 0.2, "beta": 1.0, "epochs": 3, "batch_size": 32},
        lambda rows: (
            last(rows, "nll_loss", 3) < first(rows, "nll_loss") - 0.2
            and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "correction/sft": Toy(
        {"lr": 0.2, "batch_size": 32},
        lambda rows: last(rows, "loss", 3) < first(rows, "loss") - 0.4,
        {"policy": policy},
    ),
    "correction/edits": Toy(
        {"lr": 0.2, "beta": 0.5, "epochs": 6, "batch_size": 16},
        lambda rows: (
            first(rows, "loss") > 0.693
            and last(rows, "loss", 3) < 0.5
            and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "correction/edits_masked": Toy(
        {"lr": 0.2, "beta": 0.5, "epochs": 6, "batch_size": 16},
        lambda rows: (
            first(rows, "loss") > 0.693
            and last(rows, "loss", 3) < 0.5
            and last(rows, "rewards/accuracies", 3) > 0.9
        ),
        {"policy": policy},
    ),
    "online/rloo": Toy(
        {"lr": 0.2, "steps": 60, "kl_coef": 0.02, "max_new_tokens": 3, "watch": 2},
        lambda rows: last(rows, "objective/scores", 5) > first(rows, "objective/scores") + 1,
        {"policy": policy, "reward_model": reward_model},
    ),
    "search/best_of_n": Toy(
        {"count": 40, "n": 4, "max_new_tokens": 3, "batch_size": 4},
        lambda rows: last(rows, "search/best_score", 5) > last(rows, "search/score", 5) + 0.5,
        {"policy": policy, "reward_model": reward_model},
        made="items.jsonl",
    ),
    # Buffers of three or six steps: a checkpoint every four falls inside them.
    "online/reinforce": Toy(
        {"lr": 0.2, "steps": 40, "k": 3, "kl_coef": 0.02, "max_new_tokens": 3, "watch": 2},
        lambda rows: last(rows, "objective/scores", 5) > first(rows, "objective/scores") + 0.8,
        {"policy": policy, "reward_model": reward_model},
    ),
    "online/grpo": Toy(
        {
            "lr": 0.3,
            "steps": 60,
            "epochs": 3,
            "minibatches": 2,
            "k": 8,
            "clip_low": 0.5,
            "clip_high": 1.0,
            "kl_coef": 0.02,
            "max_new_tokens": 3,
            "watch": 2,
        },
        lambda rows: last(rows, "objective/scores", 3) > first(rows, "objective/scores") + 0.8,
        {"policy": policy, "reward_model": reward_model},
    ),  # fmt: skip
    "online/ppo": Toy(
        {
            "lr": 0.2,
            "steps": 40,
            "k": 3,
            "epochs": 3,
            "critic_warmup": 1,
            "critic_lr": 0.1,
            "kl_coef": 0.02,
            "max_new_tokens": 3,
            "watch": 2,
        },
        lambda rows: last(rows, "objective/scores", 3) > first(rows, "objective/scores") + 0.8,
        {"policy": policy, "reward_model": reward_model},
    ),  # fmt: skip
    "online/p3o": Toy(
        {
            "lr": 0.3,
            "steps": 48,
            "epochs": 3,
            "clip_ratio": 0.3,
            "kl_coef": 0.02,
            "max_new_tokens": 3,
            "watch": 2,
        },
        lambda rows: last(rows, "objective/scores", 3) > first(rows, "objective/scores") + 0.5,
        {"policy": policy, "reward_model": reward_model},
    ),
    "control/bc": Toy(
        {
            "steps": 40,
            "demonstrations": 2,
            "drills": 1,
            "width": 32,
            "low_batch": 64,
            "batch_size": 16,
            "tests": 0,
            "lr": 2e-2,
            "high_lr": 1e-2,
        },
        lambda rows: last(rows, "loss", 5) < first(rows, "loss") / 2 and last(rows, "high/accuracy", 5) > 0.8,
        made="robot_policy",
        records=robot_toys.drives,
        episodes=robot_toys.episodes,
    ),  # fmt: skip
    "correction/yay": Toy(
        {"steps": 40, "demonstrations": 2, "batch_size": 32, "tests": 0, "lr": 3e-2},
        lambda rows: (
            last(rows, "high/corrected", 5) > 0.7 and last(rows, "loss", 5) < first(rows, "loss") / 2
        ),
        {"robot_policy": robot_toys.robot_policy},
        made="robot_policy",
        records=lambda: [*robot_toys.corrections(), *robot_toys.drives()],
        episodes=robot_toys.episodes,
    ),
    "control/dagger": Toy(
        {
            "world": "table_talk",
            "tasks": "pack",
            "rounds": 2,
            "episodes": 2,
            "longest": 20,
            "steps": 15,
            "hidden": 16,
            "tests": 0,
            "lr": 1e-2,
            "batch_size": 64,
        },
        lambda rows: (
            last(rows, "loss", 5) < first(rows, "loss") / 2 and last(rows, "dagger/labels") == 3 * 40 + 4 * 20
        ),
        made="robot_policy",
        records=robot_toys.drives,
        episodes=robot_toys.episodes,
    ),  # fmt: skip
    "control/rt_h_base": Toy(
        {
            "world": "table_talk",
            "tasks": "pack",
            "demonstrations": 2,
            "play": 0,
            "hidden": 32,
            "steps": 40,
            "lr": 1e-2,
            "batch_size": 64,
            "held_out": 0.4,
        },
        lambda rows: (
            last(rows, "loss", 5) < first(rows, "loss") / 2
            and last(rows, "motion/action_loss", 5) < first(rows, "motion/action_loss") / 2
        ),
        made="robot_policy",
        records=robot_toys.drives,
        episodes=robot_toys.episodes,
    ),  # fmt: skip
    "correction/rt_h": Toy(
        {"steps": 40, "batch_size": 64, "lr": 2e-2},
        lambda rows: (
            last(rows, "motion/corrected_accuracy", 5) > 0.7
            and last(rows, "loss", 5) < first(rows, "loss") / 2
        ),
        {"robot_policy": robot_toys.motion_policy},
        made="robot_policy",
        records=robot_toys.motions,
        episodes=robot_toys.episodes,
    ),
    "reward/clip_preferences": Toy(
        {"width": 16, "epochs": 12, "batch_size": 32},
        lambda rows: (
            last(rows, "eval_accuracy") > 0.7
            and last(rows, "loss", 3) < first(rows, "loss") - 0.1
            and abs(last(rows, "control/shuffled_accuracy") - 0.5) < 0.3
        ),
        made="reward_model",
        records=clip_toys.pairs,
        episodes=clip_toys.episodes,
    ),
    # Stretches that end inside of episodes: a checkpoint every four steps finds some of them under way.
    "control/ppo": Toy(
        {"steps": 10, "copies": 8, "horizon": 32, "minibatch": 64, "epochs": 3, "width": 16, "judged": 2},
        lambda rows: last(rows, "episode/reward", 3) > first(rows, "episode/reward") + 0.1,
        {"reward_model": clip_toys.reward_model},
        made="robot_policy",
        records=clip_toys.pairs,
    ),
    "control/preference_ppo": Toy(
        {
            "annotator": "script",
            "steps": 10,
            "copies": 8,
            "horizon": 32,
            "minibatch": 64,
            "epochs": 3,
            "width": 16,
            "judged": 2,
            "comparisons": 30,
            "rounds": 2,
            "reward_steps": 20,
            "length": 10,
            "first": 0.5,
        },
        lambda rows: last(rows, "reward/accuracy") > 0.75 and last(rows, "reward/comparisons") == 150,
        made="robot_policy",
        records=clip_toys.pairs,
        episodes=clip_toys.episodes,
    ),
    "query/clips": Toy(
        {"count": 10, "episodes": 20, "copies": 1, "length": 10},
        lambda rows: last(rows, "query/items") == 10 and last(rows, "query/worth") > 0.1,
        {"robot_policy": clip_toys.reaching, "reward_model": clip_toys.judging_reach},
        made="items.jsonl",
        records=clip_toys.pairs,
        episodes=clip_toys.episodes,
    ),
    "query/disagreement": Toy(
        {"count": 40, "max_new_tokens": 3, "batch_size": 4},
        lambda rows: last(rows, "query/items") == 40 and last(rows, "query/worth") > 0.1,
        {"policy": policy, "reward_model": reward_ensemble},
        made="items.jsonl",
    ),
    "query/information": Toy(
        {"count": 40, "max_new_tokens": 3, "batch_size": 4},
        lambda rows: last(rows, "query/items") == 40 and last(rows, "query/worth") > 0.2,
        {"policy": policy, "reward_model": reward_ensemble},
        made="items.jsonl",
    ),
    "query/random": Toy(
        {"count": 40, "max_new_tokens": 3, "batch_size": 4},
        lambda rows: last(rows, "query/items") == 40,
        {"policy": policy},
        made="items.jsonl",
    ),
}


def toy_spec(method: str, folder: Path, name: str = "run", **changes: Any) -> Spec:
    """The toy task of a method, in a home of its own below `folder`."""
    toy = TOYS[method]
    inputs = {role: make(folder / role) for role, make in toy.inputs.items()}
    config = {**toy.config, **changes.pop("config", {})}
    records = changes.pop("records", None) or toy.records()
    where = snapshot(folder / "snapshot", records)
    if toy.episodes is not None:
        changes = {"episodes": toy.episodes(folder / "episodes"), **changes}
    return Spec(
        method, folder / name, config, inputs=inputs, snapshot=where, **{"checkpoint_every": 4, **changes}
    )


def entries(home: Path) -> list[dict[str, Any]]:
    """The journal's entries that are no rows."""
    return [entry for entry in journal.read(home / "journal.bin")[0] if isinstance(entry, dict)]


def rows(home: Path) -> list[dict[str, float]]:
    """The log as a supervisor keeps it: each row once, in order, none missing."""
    found: list[dict[str, float]] = []
    for entry in journal.read(home / "journal.bin")[0]:
        fresh = entry.after(len(found)) if isinstance(entry, journal.Chunk) else None
        if fresh is not None:
            assert fresh.seq_from == len(found) + 1, "rows are missing"
            for index, step in enumerate(fresh.step.tolist()):
                values = dict(zip(fresh.names, fresh.columns[:, index].tolist(), strict=True))
                found.append({"step": step, **values})
    return found


def outcome(spec: Spec) -> dict[str, Any]:
    """All that a run leaves behind, but for the time it took."""
    made = spec.home / TOYS[spec.method].made
    files = [made] if made.is_file() else sorted(made.rglob("*"))
    found = entries(spec.home)
    return {
        "files": {path.name: path.read_bytes() for path in files if path.is_file()},
        "rows": rows(spec.home),
        "samples": {
            (e["step"], row["index"]): row for e in found if e["type"] == "samples" for row in e["rows"]
        },
        "artifacts": {(e["kind"], e["name"], e["step"]): e for e in found if e["type"] == "artifact"},
        "report": [e["report"] for e in found if e["type"] == "report"][-1:],
        "ended": found[-1]["type"],
    }


def in_child(spec: Spec, prepare: Callable[[], None] | None = None) -> int:
    """Executes a run in a process of its own; the exit code, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if prepare:
                prepare()
            os._exit(api.execute(spec))
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(moment: int) -> None:
    """Arms this process to kill itself, as `kill -9` would, at the n-th of the moments at which it hurts most:
    between two steps, in the middle of a journal entry, and anywhere within the saving of a checkpoint."""
    moments = itertools.count(1)

    def strike() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    log, append, sync, rename = Run.log, journal.Writer._append, checkpoints._sync, Path.rename

    def torn_append(self: journal.Writer, tag: bytes, payload: bytes) -> None:
        if next(moments) == moment:
            os.write(self._fd, journal.HEADER.pack(tag, len(payload), 0) + payload[: len(payload) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, tag, payload)

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def struck(*args: Any, **kwargs: Any) -> Any:
            strike()
            return real(*args, **kwargs)

        return struck

    journal.Writer._append = torn_append  # type: ignore[method-assign]
    Run.log = before(log)  # type: ignore[method-assign]
    checkpoints._sync = before(sync)
    Path.rename = before(rename)  # type: ignore[method-assign]
