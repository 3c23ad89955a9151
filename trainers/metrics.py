"""What each logged name means: how a chart labels it, which way is better, and how a step's number is made.

The names are TRL's, so that a curve from elsewhere can lie on ours; ALIASES reads other peers' spellings.
`aggregate` says, for every name, what its number is a mean (or minimum, or sum) of: an average of
per-batch minima is no minimum, and a mean over padded rows is no mean over tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["up", "down", "none"]
Aggregate = Literal["mean", "token_mean", "sequence_mean", "min", "max", "sum", "count", "last"]


@dataclass(frozen=True)
class Metric:
    """One name that a run may log."""

    label: str
    unit: str
    better: Better
    group: str
    aggregate: Aggregate
    help: str


METRICS: dict[str, Metric] = {
    # every method
    "loss": Metric("Loss", "", "down", "Training", "mean", "What the optimiser descends, this batch."),
    "grad_norm": Metric(
        "Gradient norm", "", "none", "Training", "last", "Length of the whole gradient before clipping."
    ),
    "learning_rate": Metric(
        "Learning rate", "", "none", "Training", "last", "The rate this step was taken at."
    ),
    "epoch": Metric("Epoch", "", "none", "Training", "last", "Times the training records were gone through."),
    "num_tokens": Metric("Tokens", "tokens", "none", "Training", "sum", "Answer tokens learned from so far."),
    "step_time": Metric("Time a step", "s", "down", "Speed", "last", "Wall time of the whole step."),
    "eval_loss": Metric(
        "Held-out loss", "", "down", "Held out", "mean", "The loss on records kept from training."
    ),
    # reward models
    "accuracy": Metric(
        "Accuracy",
        "share",
        "up",
        "Reward",
        "sequence_mean",
        "Decided pairs of the batch that score in order.",
    ),
    "margin": Metric(
        "Margin", "", "up", "Reward", "sequence_mean", "Score of the better answer less that of the other."
    ),
    "min_reward": Metric("Lowest score", "", "none", "Reward", "min", "The lowest score of the batch."),
    "mean_reward": Metric(
        "Mean score", "", "none", "Reward", "sequence_mean", "The mean score of the batch."
    ),
    "max_reward": Metric("Highest score", "", "none", "Reward", "max", "The highest score of the batch."),
    "eval_accuracy": Metric(
        "Held-out accuracy",
        "share",
        "up",
        "Held out",
        "sequence_mean",
        "Decided pairs in order, on prompts kept from training. Chance is one half.",
    ),
    "eval_margin": Metric(
        "Held-out margin", "", "up", "Held out", "sequence_mean", "The margin on prompts kept from training."
    ),
    "eval_ece": Metric(
        "Calibration error",
        "",
        "down",
        "Held out",
        "sequence_mean",
        "How far the stated probability is from how often it is right (expected calibration error).",
    ),
    "control/shuffled_accuracy": Metric(
        "Accuracy, shuffled labels",
        "share",
        "none",
        "Held out",
        "sequence_mean",
        "The same training on labels drawn by a coin, measured on the true ones: near one half, or something is wrong.",
    ),
    # DPO and its kin
    "rewards/chosen": Metric(
        "Reward of the chosen",
        "",
        "up",
        "Preferences",
        "sequence_mean",
        "Implied reward of the better answer: beta (log pi - log ref).",
    ),
    "rewards/rejected": Metric(
        "Reward of the rejected",
        "",
        "down",
        "Preferences",
        "sequence_mean",
        "Implied reward of the other answer.",
    ),
    "rewards/margins": Metric(
        "Reward margin",
        "",
        "up",
        "Preferences",
        "sequence_mean",
        "Reward of the chosen less that of the rejected.",
    ),
    "rewards/accuracies": Metric(
        "Accuracy",
        "share",
        "up",
        "Preferences",
        "sequence_mean",
        "Pairs whose chosen answer has the higher reward.",
    ),
    "logps/chosen": Metric(
        "log p, chosen",
        "nat",
        "up",
        "Preferences",
        "sequence_mean",
        "Log-probability of the chosen answers. Falling, while margins rise, is the usual way DPO fails.",
    ),
    "logps/rejected": Metric(
        "log p, rejected",
        "nat",
        "down",
        "Preferences",
        "sequence_mean",
        "Log-probability of the rejected answers.",
    ),
    "eval_rewards/accuracies": Metric(
        "Held-out accuracy",
        "share",
        "up",
        "Held out",
        "sequence_mean",
        "Pairs in order on prompts kept from training.",
    ),
    "eval_rewards/margins": Metric(
        "Held-out margin",
        "",
        "up",
        "Held out",
        "sequence_mean",
        "The reward margin on prompts kept from training.",
    ),
    # supervised fine-tuning
    "mean_token_accuracy": Metric(
        "Token accuracy",
        "share",
        "up",
        "Training",
        "token_mean",
        "Tokens that were the model's first choice.",
    ),
    "entropy": Metric(
        "Entropy",
        "nat",
        "none",
        "Training",
        "token_mean",
        "Of the next token's distribution, mean over answers' tokens.",
    ),
    "eval_mean_token_accuracy": Metric(
        "Held-out token accuracy",
        "share",
        "up",
        "Held out",
        "token_mean",
        "Tokens that were the model's first choice, on prompts kept from training.",
    ),
    # learning from samples
    "objective/scores": Metric(
        "Score", "", "up", "Objective", "sequence_mean", "The reward model's score of sampled answers."
    ),
    "objective/gold": Metric(
        "Gold score",
        "",
        "up",
        "Objective",
        "sequence_mean",
        "A rule that training never sees. When it falls while the score rises, the score is being gamed.",
    ),
    "objective/proxy_gap": Metric(
        "Score less gold",
        "",
        "down",
        "Objective",
        "sequence_mean",
        "How far the score's gain since the start has run ahead of gold's, in deviations at the start.",
    ),
    "objective/kl": Metric(
        "KL to reference",
        "nat",
        "none",
        "Objective",
        "sequence_mean",
        "Mean over answers of log pi - log ref. Below zero for many batches is a sign of a sampling error.",
    ),
    "objective/sqrt_kl": Metric(
        "√KL",
        "",
        "none",
        "Objective",
        "sequence_mean",
        "Square root of the KL, against which reward grows in a line.",
    ),
    "objective/non_score_reward": Metric(
        "Penalties",
        "",
        "none",
        "Objective",
        "sequence_mean",
        "What the KL to the reference, and a missing end, take from the reward.",
    ),
    "objective/rlhf_reward": Metric(
        "Reward", "", "up", "Objective", "sequence_mean", "Score less the penalties: what is maximised."
    ),
    "objective/entropy": Metric(
        "Entropy", "nat", "none", "Objective", "sequence_mean", "-log pi of whole answers, mean over answers."
    ),
    "frac_reward_zero_std": Metric(
        "Groups without a difference",
        "share",
        "down",
        "Objective",
        "mean",
        "Prompts whose answers all got the same reward: they teach nothing.",
    ),
    "val/ratio": Metric(
        "Ratio",
        "",
        "none",
        "Health",
        "token_mean",
        "Trainer's over sampler's probability of sampled tokens. On policy it is 1, or something is wrong.",
    ),
    "val/ratio_min": Metric(
        "Lowest ratio", "", "none", "Health", "min", "The lowest ratio of any sampled token."
    ),
    "val/ratio_max": Metric(
        "Highest ratio", "", "none", "Health", "max", "The highest ratio of any sampled token."
    ),
    "rewards/length_corr": Metric(
        "Length correlation",
        "",
        "none",
        "Health",
        "sequence_mean",
        "Correlation of score and length in the batch. Near 1: length is what is being rewarded.",
    ),
    "completions/mean_length": Metric(
        "Mean length",
        "tokens",
        "none",
        "Answers",
        "sequence_mean",
        "Tokens of sampled answers, EOS included.",
    ),
    "completions/min_length": Metric(
        "Shortest", "tokens", "none", "Answers", "min", "The shortest sampled answer."
    ),
    "completions/max_length": Metric(
        "Longest", "tokens", "none", "Answers", "max", "The longest sampled answer."
    ),
    "completions/clipped_ratio": Metric(
        "Cut off",
        "share",
        "down",
        "Answers",
        "sequence_mean",
        "Answers that did not end within the allowed length.",
    ),
    # proposing questions
    "query/items": Metric(
        "Comparisons written", "", "up", "Questions", "count", "Comparisons written so far."
    ),
    "query/duplicates": Metric(
        "Equal answers drawn",
        "",
        "down",
        "Questions",
        "count",
        "Answers drawn and put aside so far because they equalled the other of their pair.",
    ),
}

# Other tools' spellings of the same things.
ALIASES: dict[str, str] = {
    # OpenRLHF
    "train/loss_mean": "loss",
    "train/acc": "accuracy",
    "train/acc_mean": "accuracy",
    "train/lr": "learning_rate",
    "train/grad_norm": "grad_norm",
    "train/kl": "objective/kl",
    "train/reward": "objective/scores",
    "train/response_length": "completions/mean_length",
    "eval/eval_loss": "eval_loss",
    "eval/acc_mean": "eval_accuracy",
    # open-instruct
    "train/rm/accuracy": "accuracy",
    "train/rm/loss": "loss",
    "train/rm/reward_margin": "margin",
    "eval/rm/accuracy": "eval_accuracy",
    "val/sequence_lengths": "completions/mean_length",
    # verl
    "actor/grad_norm": "grad_norm",
    "actor/entropy": "entropy",
    "critic/score/mean": "objective/scores",
    "critic/rewards/mean": "objective/rlhf_reward",
    "response_length/mean": "completions/mean_length",
    "response_length/max": "completions/max_length",
    "response_length/min": "completions/min_length",
    "response_length/clip_ratio": "completions/clipped_ratio",
    # the original DPO repository, and HALOs
    "loss/train": "loss",
    "loss/eval": "eval_loss",
    "rewards_train/chosen": "rewards/chosen",
    "rewards_train/rejected": "rewards/rejected",
    "rewards_train/accuracies": "rewards/accuracies",
    "rewards_train/margins": "rewards/margins",
    "rewards_eval/accuracies": "eval_rewards/accuracies",
    "rewards_eval/margins": "eval_rewards/margins",
    "logps_train/chosen": "logps/chosen",
    "logps_train/rejected": "logps/rejected",
    # OpenAI 2019
    "objective/score": "objective/scores",
    "objective/score_total": "objective/rlhf_reward",
    # TRL's GRPO and RLOO
    "reward": "objective/rlhf_reward",
    "kl": "objective/kl",
}

# The vital signs of each method: what its page shows first, in this order.
PRIMARY: dict[str, list[str]] = {
    "reward/bradley_terry": [
        "loss",
        "accuracy",
        "eval_accuracy",
        "control/shuffled_accuracy",
        "margin",
        "eval_ece",
    ],
    "direct/dpo": [
        "loss",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "eval_rewards/accuracies",
    ],
    "correction/sft": ["loss", "eval_loss", "mean_token_accuracy", "entropy"],
    "online/rloo": [
        "objective/scores",
        "objective/gold",
        "objective/kl",
        "objective/proxy_gap",
        "completions/mean_length",
        "objective/entropy",
    ],
    "query/random": ["query/items", "query/duplicates"],
}
