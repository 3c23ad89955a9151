"""Training, beside TRL: the same model, batch and data through our methods and through TRL's trainers.

    python benchmarks/training.py --trl VENV/bin/python --trl-ppo VENV/bin/python
    python benchmarks/training.py --bfloat16 --width 256 1024

Each pair of processes runs one after the other, several times, one thread each, and the median step's CPU time is
compared: load on the machine hits both. The model is a Llama with random weights (4 layers, width 256, 4 heads,
feed-forward 688, vocabulary 1024, tied), the tokenizer a byte-level BPE trained here, a batch 16 sequences of a prompt
and 64 new tokens: 8 pairs, or 2 prompts with 8 answers each. Preference losses see one batch again and again with one
schedule, so both sides must end at the same loss. TRL runs in single precision without checkpointing, as ours does.

With --bfloat16 both sides are ours, in float32 and in bfloat16; a model of another width has a head for every 64
numbers, and a feed-forward in proportion.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEW = 64
DROPPED = 3
"""First steps that are not counted."""
EPOCHS = 4
"""PPO's, over one buffer."""
TASKS = ("dpo", "reward", "grpo", "grpo_free", "ppo", "ppo_shared")
GRPO = {"grpo": 0.04, "grpo_free": 0.0}
"""With the KL to a reference in the loss, and without: TRL then reads no reference. The coefficient, on both sides."""
PPO = ("ppo", "ppo_shared")
"""With a critic of its own, as TRL's; and with a head on the policy's trunk."""
SHAPES = {"short": 32, "long": 256}
LR = {"dpo": 1e-4, "reward": 1e-4, "grpo": 1e-3, "grpo_free": 1e-3, "ppo": 3e-4, "ppo_shared": 3e-4}


# ------------------------------------------------------------------------------ what both sides are given


def prepare(folder: Path, width: int = 256) -> None:
    """The model, its classifier, and for each shape the prompts and answers as text, all made from seeds."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=4)) for _ in range(600)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator([" " + " ".join(chance.choices(words, k=400)) for _ in range(200)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")
    single = [f" {word}" for word in words if len(made.encode(f" {word}").ids) == 1]
    assert made.get_vocab_size() == 1024 and len(single) > 100, (made.get_vocab_size(), len(single))

    shape: dict[str, Any] = {
        "vocab_size": 1024, "hidden_size": width, "intermediate_size": width * 43 // 16, "num_hidden_layers": 4,
        "num_attention_heads": width // 64, "num_key_value_heads": width // 64, "max_position_embeddings": 1024,
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder / "model")
    torch.manual_seed(0)
    LlamaForSequenceClassification(LlamaConfig(**shape, num_labels=1)).save_pretrained(folder / "classifier")
    for name in ("model", "classifier"):
        tokenizer.save_pretrained(folder / name)

    half = len(single) // 2
    for name, length in SHAPES.items():
        rows = [
            {
                "prompt": "".join(chance.choices(single, k=length)),
                "chosen": "".join(chance.choices(single[:half], k=NEW - 1)),  # and EOS
                "rejected": "".join(chance.choices(single[half:], k=NEW - 1)),
            }
            for _ in range(64)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))


def liked(text: str) -> float:
    """The rule that GRPO is rewarded by on both sides: the share of a's among the letters."""
    return text.count("a") / max(1, len(text))


class Rule:
    """`liked` as a reward model: what a GRPO run of ours is given."""

    kind = "rule"

    @classmethod
    def read(cls, directory: Path, config: Any) -> Rule:
        return cls()

    def to(self, device: Any) -> Rule:
        return self

    def eval(self) -> Rule:
        return self

    def score(self, prompts: Any, answers: Any) -> Any:
        import torch

        return torch.tensor([liked(one) for one in answers])


def report(task: str, marks: list[float], losses: list[float], extra: dict[str, float]) -> None:
    """One line for the parent. `marks` are CPU seconds at the steps' beginnings and at the end."""
    steps = [(after - before) * 1e3 for before, after in zip(marks, marks[1:], strict=False)]
    found = {
        "cpu_ms": statistics.median(steps[DROPPED:]),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": losses[-1],
        **extra,
    }
    print("ROW " + json.dumps(found), flush=True)


# ------------------------------------------------------------------------------ our side


def ours(task: str, shape: str, steps: int, folder: Path, side: str) -> None:
    sys.path.insert(0, str(ROOT))
    import torch

    from trainers import api, records
    from trainers.nn import gemm, storage
    from trainers.run import Run, Spec

    torch.set_num_threads(1)
    if side == "plain":
        gemm.quicker = lambda: False  # type: ignore[assignment]
    rows = json.loads((folder / f"{shape}.json").read_text())
    rows = rows[:8] if task in ("dpo", "reward") else rows
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "records").mkdir()
    pairs = [
        records.Pair(f"pair-{i}", row["prompt"], row["chosen"], row["rejected"]) for i, row in enumerate(rows)
    ]
    (home / "records" / "records.jsonl").write_text("".join(records.dumps(one) + "\n" for one in pairs))

    marks: list[float] = []
    losses: list[float] = []
    took = {"once_ms": 0.0}
    original, logged, once = Run.steps, Run.log, Run.once

    def timed(self: Run, *args: Any, **kwargs: Any) -> Iterator[int]:
        for step in original(self, *args, **kwargs):
            marks.append(time.process_time())
            yield step
        marks.append(time.process_time())

    def listened(self: Run, step: int, numbers: Any, *args: Any, **kwargs: Any) -> None:
        if "loss" in numbers:
            losses.append(numbers["loss"])
        logged(self, step, numbers, *args, **kwargs)

    def counted(self: Run, *args: Any, **kwargs: Any) -> torch.Tensor:
        began = time.process_time()
        value = once(self, *args, **kwargs)
        took["once_ms"] += (time.process_time() - began) * 1e3
        return value

    Run.steps, Run.log, Run.once = timed, listened, counted  # type: ignore[method-assign, assignment]
    config: dict[str, Any] = {"lr": LR[task], "warmup": 0.0, "held_out": 0.0, "weight_decay": 0.0}
    inputs = {"policy": str(folder / "model")}
    if task in ("dpo", "reward"):
        config |= {"epochs": steps, "batch_size": 8, "micro_batch": 8, "eval_every": 10_000}
        if task == "reward":
            config |= {"backbone": "policy", "policy_lr": LR[task], "centre": 0.0}
            config["control"] = False  # TRL has none
    else:
        config |= {
            "steps": steps, "prompts_per_step": 2, "k": 8, "max_new_tokens": NEW, "kl_coef": GRPO.get(task, 0.05),
            "missing_eos_penalty": 0.0, "watch": 0, "watch_every": 10_000, "micro_batch": 16,
        }  # fmt: skip
        storage.KINDS["rule"] = storage.REWARD_MODELS["rule"] = "benchmarks.training:Rule"
        (folder / "rule").mkdir(exist_ok=True)
        (folder / "rule" / "kibitz.json").write_text('{"kind": "rule", "config": {}}')
        inputs["reward_model"] = str(folder / ("rule" if task in GRPO else "classifier"))
        if task in PPO:
            config |= {"critic": "own" if task == "ppo" else "shared"}
            config |= {"steps": EPOCHS * steps, "epochs": EPOCHS, "critic_warmup": 0}
    method = {
        "dpo": "direct/dpo",
        "reward": "reward/bradley_terry",
        "grpo": "online/grpo",
        "grpo_free": "online/grpo",
        "ppo": "online/ppo",
        "ppo_shared": "online/ppo",
    }
    precision = "bfloat16" if side == "bfloat16" else "float32"
    spec = Spec(method[task], home / "run", config, 0, home / "records", inputs, precision=precision)
    if (ended := api.execute(spec)) != api.FINISHED:
        raise SystemExit(ended)
    if task in PPO:
        marks = marks[::EPOCHS]
    report(task, marks, losses, took)


# ------------------------------------------------------------------------------ TRL's side


def theirs(task: str, shape: str, steps: int, folder: Path) -> None:
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )

    torch.set_num_threads(1)
    rows = json.loads((folder / f"{shape}.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    marks: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.process_time())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.process_time())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and ("loss" in logs or "loss/policy_avg" in logs):
                losses.append(float(logs.get("loss", logs.get("loss/policy_avg"))))

    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(dir=folder), "learning_rate": LR[task], "lr_scheduler_type": "linear",
        "report_to": [], "save_strategy": "no", "logging_steps": 10 if task in PPO else 1, "bf16": False,
        "use_cpu": True, "gradient_checkpointing": False, "disable_tqdm": True, "seed": 0,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    common: dict[str, Any] = {"processing_class": tokenizer, "callbacks": [Clock()]}
    if task == "dpo":
        from trl import DPOConfig, DPOTrainer

        chosen = DPOConfig(
            **settings, per_device_train_batch_size=8, num_train_epochs=steps, beta=0.1, max_length=1024
        )
        trainer = DPOTrainer(
            model=str(folder / "model"), args=chosen, train_dataset=Dataset.from_list(rows[:8]), **common
        )
    elif task == "reward":
        from trl import RewardConfig, RewardTrainer

        chosen = RewardConfig(
            **settings, per_device_train_batch_size=8, num_train_epochs=steps, max_length=1024
        )
        model = AutoModelForSequenceClassification.from_pretrained(folder / "classifier")
        trainer = RewardTrainer(model=model, args=chosen, train_dataset=Dataset.from_list(rows[:8]), **common)
    elif task in GRPO:
        from trl import GRPOConfig, GRPOTrainer

        chosen = GRPOConfig(
            **settings, per_device_train_batch_size=16, num_generations=8, max_completion_length=NEW, beta=GRPO[task],
            max_steps=steps,
        )  # fmt: skip

        def rule(completions: list[str], **kwargs: Any) -> list[float]:
            return [liked(one) for one in completions]

        asked = Dataset.from_list([{"prompt": row["prompt"]} for row in rows])
        trainer = GRPOTrainer(
            model=str(folder / "model"), args=chosen, train_dataset=asked, reward_funcs=rule, **common
        )
    else:
        from trl.experimental.ppo import PPOConfig, PPOTrainer

        chosen = PPOConfig(
            **settings, per_device_train_batch_size=16, num_ppo_epochs=EPOCHS, total_episodes=16 * steps,
            response_length=NEW, temperature=1.0, num_sample_generations=0, stop_token="eos",
        )  # fmt: skip
        policy, reference = (AutoModelForCausalLM.from_pretrained(folder / "model") for _ in range(2))
        judge, value = (
            AutoModelForSequenceClassification.from_pretrained(folder / "classifier") for _ in range(2)
        )
        # 2 prompts with 8 answers each, as on our side.
        asked = Dataset.from_list(
            [{"input_ids": tokenizer(row["prompt"])["input_ids"]} for row in rows for _ in range(8)]
        )
        tokenizer.padding_side = "left"
        trainer = PPOTrainer(
            args=chosen, model=policy, ref_model=reference, reward_model=judge, value_model=value,
            train_dataset=asked, eval_dataset=asked.select(range(16)), **common,
        )  # fmt: skip
    trainer.train()
    report(task, marks, losses or [float("nan")], {})


# ------------------------------------------------------------------------------ both


def pair(task: str, shape: str, args: argparse.Namespace, folder: Path) -> None:
    sides = {"ours": sys.executable, "trl": args.trl_ppo if task in PPO else args.trl}
    steps = max(DROPPED + 3, args.steps // 3) if task in PPO else args.steps
    found: dict[str, list[dict[str, float]]] = {side: [] for side in (*sides, "plain")}
    for _ in range(args.rounds):
        for side, python in (*sides.items(), *([("plain", sys.executable)] if args.plain else [])):
            if python is not None:
                found[side].append(child(python, side, task, shape, steps, folder))
    middle = {
        side: {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for side, rows in found.items()
        if rows
    }
    print(line(task, shape, middle), flush=True)


def precisions(task: str, shape: str, width: int, args: argparse.Namespace, folder: Path) -> None:
    """One row: ours in float32 beside ours in bfloat16."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bfloat16": []}
    for _ in range(args.rounds):
        for side, rows in found.items():
            rows.append(child(sys.executable, side, task, shape, args.steps, folder))
    one, other = (
        {name: statistics.median(row[name] for row in rows) for name in rows[0]} for rows in found.values()
    )
    cells = [
        f"{task}, {shape}, {width}", f"{one['cpu_ms']:.0f}", f"{other['cpu_ms']:.0f}",
        f"{one['cpu_ms'] / other['cpu_ms']:.2f}", f"{one['rss_mb']:.0f}", f"{other['rss_mb']:.0f}",
        f"{one['loss']:.4f}", f"{other['loss']:.4f}",
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def child(python: str, side: str, task: str, shape: str, steps: int, folder: Path) -> dict[str, float]:
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    command = [python, __file__, "--child", side, task, shape, str(steps), str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    rows = [line for line in ended.stdout.splitlines() if line.startswith("ROW ")]
    if not rows:
        raise SystemExit(f"{' '.join(command)} gave no row:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
    row: dict[str, float] = json.loads(rows[-1][4:])
    return row


def line(task: str, shape: str, middle: dict[str, dict[str, float]]) -> str:
    """One row of the table; tokens a second are new ones where there is sampling, all of the batch's elsewhere."""
    tokens = 16 * (NEW if task in (*GRPO, *PPO) else SHAPES[shape] + NEW)
    us, them = (
        middle["ours"],
        middle.get("trl", {"cpu_ms": float("nan"), "rss_mb": float("nan"), "loss": float("nan")}),
    )
    cells = [
        f"{task}, {shape}", f"{us['cpu_ms']:.0f}", f"{them['cpu_ms']:.0f}", f"{them['cpu_ms'] / us['cpu_ms']:.2f}",
        f"{us['rss_mb']:.0f}", f"{them['rss_mb']:.0f}", f"{us['loss']:.4f}", f"{them['loss']:.4f}",
        f"{tokens / us['cpu_ms'] * 1e3:,.0f}", f"{tokens / them['cpu_ms'] * 1e3:,.0f}",
    ]  # fmt: skip
    if task == "dpo":
        cells.append(
            f"with the reference's pass in each step {them['cpu_ms'] / (us['cpu_ms'] + us['once_ms']):.2f}"
        )
    if "plain" in middle:
        cells.append(f"with torch's own products {middle['plain']['cpu_ms']:.0f} ms")
    return "| " + " | ".join(cells) + " |"


def imports(args: argparse.Namespace) -> None:
    """CPU seconds and memory of importing what a run needs, in a fresh process each."""
    probe = "import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    for name, python, what in (
        ("import torch", sys.executable, "import torch"),
        ("import trainers.api", sys.executable, "import trainers.api"),
        ("from trl import DPOTrainer", args.trl, "from trl import DPOTrainer"),
    ):
        if python is None:
            continue
        said = [
            subprocess.run(
                [python, "-c", f"{what}\n{probe}"], capture_output=True, text=True, cwd=ROOT, check=True
            )
            for _ in range(args.rounds + 1)  # the first warms the disk's cache
        ]
        both = [[float(one) for one in each.stdout.split()[-2:]] for each in said[1:]]
        cpu, memory = (statistics.median(column) for column in zip(*both, strict=True))
        print(f"| {name} | {cpu:.1f} CPU-s | {memory:.0f} MB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--trl", help="Python of an environment with trl 1.16; without, only ours is measured."
    )
    parser.add_argument(
        "--trl-ppo", help="Python of an environment with trl 1.12, the last with a PPO trainer."
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="Pairs of processes; medians are printed.")
    parser.add_argument("--only", nargs="+", choices=(*TASKS, "import"), default=(*TASKS, "import"))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=tuple(SHAPES))
    parser.add_argument(
        "--plain", action="store_true", help="Ours once more, with torch's own matrix products."
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="Ours in float32 beside ours in bfloat16, and no TRL."
    )
    parser.add_argument(
        "--width", type=int, nargs="+", default=[256, 1024], help="Of the models of --bfloat16."
    )
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, task, shape, steps, folder = args.child
        if side == "trl":
            theirs(task, shape, int(steps), Path(folder))
        else:
            ours(task, shape, int(steps), Path(folder), side)
        return
    if args.bfloat16:
        print("| | CPU-ms a step | bfloat16 | ratio | peak MB | bfloat16 | last loss | bfloat16 |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for width in args.width:
            with tempfile.TemporaryDirectory() as folder:
                prepare(Path(folder), width)
                for task in [one for one in ("dpo", "reward") if one in args.only]:
                    for shape in args.shapes:
                        precisions(task, shape, width, args, Path(folder))
        return
    if "import" in args.only:
        imports(args)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        print("| | CPU-ms a step | TRL | ratio | peak MB | TRL | last loss | TRL | tokens/CPU-s | TRL | |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
        for task in args.only:
            for shape in args.shapes:
                if task in TASKS:
                    pair(task, shape, args, Path(folder))


if __name__ == "__main__":
    main()
