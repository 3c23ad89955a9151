"""`python -m trainers.demo.measure POLICY…` prints how good fresh answers of each policy are, by the gold rule.

The answers are to messages that no policy ever trained on. Each message counts once, by the mean of its answers:
the 95 % interval (Student's t) is over messages, so that many answers to one cannot make it look sharper than it is.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

from trainers.demo.make import answers_to
from trainers.envs import hotel
from trainers.nn import load
from trainers.nn.byte_transformer import ByteTransformer

# Student's t, two-sided 95 %, for the 31 degrees of freedom of 32 held-out messages.
T_95 = 2.040


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="+", type=Path, metavar="POLICY")
    parser.add_argument("--answers", type=int, default=8, help="fresh answers to each held-out message")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.policies:
        print(json.dumps(measure(path, options.answers, options.seed)), flush=True)


def measure(path: Path, answers: int, seed: int) -> dict[str, object]:
    """Mean gold score with its interval, and two answers to look at."""
    policy = load(path).eval()
    assert isinstance(policy, ByteTransformer), f"{path} is no byte transformer"
    prompts = list(hotel.PROMPTS["held_out"])
    texts = answers_to(policy, prompts, answers, seed)
    scores = [hotel.gold(prompts[i // answers], text) for i, text in enumerate(texts)]
    means = [statistics.fmean(scores[i : i + answers]) for i in range(0, len(scores), answers)]
    mean, half = statistics.fmean(means), T_95 * statistics.stdev(means) / len(means) ** 0.5
    shown = [{"prompt": prompts[i], "answer": texts[i * answers]} for i in range(0, len(prompts), 8)]
    return {"mean": mean, "low": mean - half, "high": mean + half, "answers": len(texts), "shown": shown}


if __name__ == "__main__":
    main()
