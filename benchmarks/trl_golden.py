"""What the real TRL makes of a tiny model and a few texts: losses, logged numbers, gradients, for a test to meet.

    python -m venv trl
    trl/bin/pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0 peft==0.21.2
    trl/bin/python benchmarks/trl_golden.py          # writes tests/trainers/trl_golden.json

Each trainer is TRL's own, as it comes: it tokenises the texts, collates them, runs the models and computes the loss in
training mode. Nothing of it is replaced but its optimiser, which is never called, and GRPO's sampler, which is told
what to draw. Model, texts and the vectors that gradients are measured along: `tests/trainers/tiny_llama.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import (  # noqa: E402
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer  # noqa: E402
from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # noqa: E402

from tests.trainers import tiny_llama  # noqa: E402

OUT = ROOT / "tests" / "trainers" / "trl_golden.json"
PACKAGES = ("trl", "transformers", "torch", "accelerate", "datasets", "peft")

DPO_CASES: dict[str, dict[str, Any]] = {
    "sigmoid": {"loss_type": ["sigmoid"], "beta": 0.1},
    "ipo": {"loss_type": ["ipo"], "beta": 0.1},
    "robust": {"loss_type": ["robust"], "beta": 0.5, "label_smoothing": 0.2},
}
KTO_CASES: dict[str, dict[str, Any]] = {
    "kl_above_0": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.5},
    "kl_clamped": {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.0},
}
SIMPO = {"beta": 2.0, "simpo_gamma": 1.0}
ORPO = {"beta": 0.5}
REWARD_CASES: dict[str, dict[str, Any]] = {
    "plain": {"center_rewards_coefficient": None, "margin": 0.0},
    "centred": {"center_rewards_coefficient": 0.01, "margin": 0.0},
    "margin": {"center_rewards_coefficient": None, "margin": 0.5},
    "centred_margin": {"center_rewards_coefficient": 0.01, "margin": 0.5},
}
GRPO_CASES: dict[str, dict[str, Any]] = {
    # What draws the samples is the policy itself, or one that is a little behind it.
    "on_policy": {"beta": 0.04, "scale_rewards": "batch", "behind": False},
    "off_policy": {"beta": 0.04, "scale_rewards": "batch", "behind": True},
    "group_deviation": {"beta": 0.0, "scale_rewards": "group", "behind": True},
    "no_deviation": {"beta": 0.1, "scale_rewards": "none", "behind": True},
    "truncated_masked": {"beta": 0.04, "scale_rewards": "batch", "behind": True, "mask_truncated_completions": True},
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    found = {
        "versions": {name: version(name) for name in PACKAGES},
        "dpo": dpo(),
        "kto": kto(),
        "simpo": without_reference(CPOTrainer, CPOConfig, {**SIMPO, "loss_type": "simpo", "cpo_alpha": 0.0}),
        "orpo": without_reference(ORPOTrainer, ORPOConfig, ORPO),
        "reward": reward(),
        "grpo": grpo(),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size:,} bytes")


def arguments(folder: str, size: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
    }


def step(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The loss of one batch in training mode, its gradient, and what the trainer logs of it."""
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1  # as Trainer.train sets it
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    logged = {name: sum(values) / len(values) for name, values in trainer._metrics["train"].items()}
    return {"loss": loss.item(), "logged": logged, "gradient": tiny_llama.summary(trainer.model)}


def lists(batch: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: batch[name].tolist() for name in names if name in batch}


def dpo() -> dict[str, Any]:
    rows = [{"prompt": x, "chosen": better, "rejected": worse} for x, better, worse, _ in tiny_llama.PAIRS]
    cases = {}
    for name, settings in DPO_CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            trainer = DPOTrainer(
                model=tiny_llama.policy(),
                ref_model=tiny_llama.reference(),
                args=DPOConfig(**arguments(folder, len(rows)), **settings),
                train_dataset=Dataset.from_list(rows),
                processing_class=tiny_llama.tokenizer(),
            )
            batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
            cases[name] = {"settings": settings, **step(trainer, batch)}
    return {"batch": lists(batch, "input_ids", "completion_mask"), "cases": cases}


def kto() -> dict[str, Any]:
    rows = [{"prompt": x, "completion": answer, "label": good} for x, answer, good in tiny_llama.OPINIONS]
    cases = {}
    for name, settings in KTO_CASES.items():
        models = tiny_llama.policy(), tiny_llama.reference()
        model, reference = models if name == "kl_above_0" else models[::-1]
        with tempfile.TemporaryDirectory() as folder:
            trainer = KTOTrainer(
                model=model,
                ref_model=reference,
                args=KTOConfig(**arguments(folder, len(rows)), **settings),
                train_dataset=Dataset.from_list(rows),
                processing_class=tiny_llama.tokenizer(),
            )
            batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
            cases[name] = {"settings": settings, **step(trainer, batch)}
    names = ("input_ids", "completion_mask", "KL_input_ids", "KL_completion_mask", "label")
    return {"batch": lists(batch, *names), "cases": cases}


def without_reference(kind: Any, config: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """CPO's and ORPO's trainers, which are older and have no `_metrics`."""
    rows = [{"prompt": x, "chosen": better, "rejected": worse} for x, better, worse, _ in tiny_llama.PAIRS]
    with tempfile.TemporaryDirectory() as folder:
        trainer = kind(
            model=tiny_llama.policy(),
            args=config(**arguments(folder, len(rows)), **settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny_llama.tokenizer(),
        )
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
        trainer.model.train()
        loss, logged = trainer.get_batch_loss_metrics(trainer.model, batch)
        loss.backward()
    case = {"loss": loss.item(), "logged": logged, "gradient": tiny_llama.summary(trainer.model)}
    return {
        "batch": lists(batch, "chosen_input_ids", "rejected_input_ids"),
        "cases": {"": {"settings": settings, **case}},
    }


def reward() -> dict[str, Any]:
    cases = {}
    for name, settings in REWARD_CASES.items():
        margin, coefficient = settings["margin"], settings["center_rewards_coefficient"]
        rows = [
            {"prompt": x, "chosen": better, "rejected": worse, "margin": margin * (strength - 1)}
            for x, better, worse, strength in tiny_llama.PAIRS
        ]
        with tempfile.TemporaryDirectory() as folder:
            trainer = RewardTrainer(
                model=tiny_llama.scorer(),
                args=RewardConfig(**arguments(folder, len(rows)), center_rewards_coefficient=coefficient),
                train_dataset=Dataset.from_list(rows),
                processing_class=tiny_llama.tokenizer(),
            )
            batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
            cases[name] = {"settings": settings, **step(trainer, batch)}
    return {"batch": lists(batch, "input_ids", "attention_mask"), "cases": cases}


def grpo() -> dict[str, Any]:
    """TRL scores what it is told it drew: rewards to advantages, old and reference log-probabilities, and the loss."""
    reads, answers = tiny_llama.tokenizer(), tiny_llama.SAMPLES
    k = len(answers[0][1])
    rows = [{"prompt": x} for x, drawn, _ in answers for _ in drawn]
    rewards = [value for *_, values in answers for value in values]

    def drawn(prompts: list[str], trainer: Any) -> dict[str, Any]:
        completions = [reads(text)["input_ids"] for _, texts, _ in answers for text in texts]
        return {
            "prompt_ids": [reads(x)["input_ids"] for x in prompts],
            "completion_ids": completions,
            "logprobs": None,
        }

    cases = {}
    for name, settings in GRPO_CASES.items():
        more = {key: value for key, value in settings.items() if key != "behind"}
        with tempfile.TemporaryDirectory() as folder:
            policy = tiny_llama.policy()
            tiny_llama.reference().save_pretrained(f"{folder}/reference")
            policy.config._name_or_path = f"{folder}/reference"  # where TRL looks for the reference
            trainer = GRPOTrainer(
                model=policy,
                reward_funcs=lambda completions, **_: rewards,
                args=GRPOConfig(
                    **arguments(folder, len(rows)),
                    **more,
                    num_generations=k,
                    num_iterations=2 if settings["behind"] else 1,
                    max_completion_length=8,
                    loss_type="dapo",
                    epsilon=0.2,
                    epsilon_high=0.28,
                    temperature=0.7,
                    disable_dropout=True,
                ),
                train_dataset=Dataset.from_list([{"prompt": x} for x, *_ in answers]),
                processing_class=tiny_llama.tokenizer(),
                rollout_func=drawn,
            )
            trainer.model.train()
            if settings["behind"]:
                trainer.model.load_state_dict(tiny_llama.old_policy().state_dict())
            batch = trainer._generate_and_score_completions(rows)
            trainer.model.load_state_dict(tiny_llama.policy().state_dict())
            trainer._metrics["train"].clear()
            cases[name] = {
                "settings": settings,
                "rewards": rewards,
                "advantages": batch["advantages"].tolist(),
                "tokens": batch["num_items_in_batch"].item(),
                **lists(batch, "completion_mask", "old_per_token_logps", "ref_per_token_logps"),
                **step(trainer, batch),
            }
    fixed = {"temperature": 0.7, "clip_low": 0.2, "clip_high": 0.28, "k": k}
    return {
        "fixed": fixed,
        "batch": lists(batch, "prompt_ids", "prompt_mask", "completion_ids"),
        "cases": cases,
    }


if __name__ == "__main__":
    main()
