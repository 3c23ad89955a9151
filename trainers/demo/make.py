"""`python -m trainers.demo.make` trains the demo's policy and writes its first answers, ready to be compared.

The policy is a byte transformer with the corpus's frequent words as pieces. It learns the grammar of `corpus.py` by
maximum likelihood, answers only. One thread and about ten minutes, once: what it writes is in the repository
(`policy/`, `items.jsonl`), so that nobody who tries Kibitz has to wait for it. The same seed on the same machine
writes the same files. (Byte by byte, which answer fits which message is too small a part of the loss: after eight
minutes a model of this size wrote fluently, and answered one message in seven.)
"""

import argparse
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from trainers.demo import corpus
from trainers.envs import hotel
from trainers.nn import digest, save
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.policy import Batch, collate

HERE = Path(__file__).parent
BATCH = 64
WARM_UP = 50
COMMON = 30
"""A word this frequent among COUNTED answers and their messages is one token."""
COUNTED = 20_000
ITEMS = 160
MAX_NEW = 140


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000, help="updates of 64 answers each")
    parser.add_argument("--lr", type=float, default=2e-3, help="the highest learning rate; it falls to zero")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE, help="where policy/ and items.jsonl go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = ByteTransformerConfig(d=128, layers=4, heads=4, context=512, pieces=frequent_words(options.seed))
    policy = ByteTransformer(shape, seed=options.seed)
    learn(policy, options.steps, options.lr, options.seed)
    save(policy, options.out / "policy")
    items = first_items(policy, ITEMS, options.seed, digest(options.out / "policy"))
    lines = [json.dumps(item, ensure_ascii=False, sort_keys=True) for item in items]
    (options.out / "items.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    report(policy, options.seed)


def frequent_words(seed: int) -> tuple[str, ...]:
    """Words with the space before them, in the order of the alphabet."""
    text = (part for pair in corpus.pairs(COUNTED, seed) for part in pair)
    found = Counter(word for part in text for word in re.findall(r" ?[A-Za-z0-9']+", part))
    return tuple(sorted(word for word, count in found.items() if count >= COMMON and len(word) > 1))


def learn(policy: ByteTransformer, steps: int, lr: float, seed: int) -> None:
    """Maximise log pi(answer | message) over the corpus; AdamW, linear warm-up, cosine to zero."""
    optimiser = torch.optim.AdamW(policy.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.01)
    began = time.monotonic()
    for step, batch in enumerate(batches(policy, steps, seed)):
        rate = lr * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = -policy.logp_tok(batch.x, batch.y).sum() / batch.mask.sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99:
            spent = time.monotonic() - began
            print(f"step {step + 1:5d}  loss {loss.item():.4f} nats a token  {spent:.0f} s", flush=True)


def batches(policy: ByteTransformer, steps: int, seed: int) -> Iterator[Batch]:
    """Fresh text every time. Answers of about one length share a batch, so that little of it is padding."""
    rng = random.Random(seed)
    pool: list[list[tuple[str, str]]] = []
    for step in range(steps):
        if not pool:
            text = sorted(corpus.pairs(16 * BATCH, seed=seed + step), key=lambda pair: len(pair[1]))
            pool = [text[i : i + BATCH] for i in range(0, len(text), BATCH)]
            rng.shuffle(pool)
        yield collate(policy, [policy.encode_pair(prompt, answer) for prompt, answer in pool.pop()])


def first_items(policy: ByteTransformer, count: int, seed: int, made_by: str) -> list[dict[str, object]]:
    """Messages with two answers that differ: the comparisons a newcomer sees first.

    The messages come in a shuffled order, each once before any comes again.
    """
    rng = random.Random(seed)
    prompts = list(hotel.PROMPTS["train"])
    source = {"digest": made_by, "step": 0, "temperature": 1.0}
    items: list[dict[str, object]] = []
    while len(items) < count:
        rng.shuffle(prompts)
        for prompt in prompts[: count - len(items)]:
            answers = sorted(set(answers_to(policy, [prompt], 8, seed + len(items))))
            rng.shuffle(answers)
            one, other = [answer for answer in answers if len(answer) >= 8][:2]
            candidates = [{"text": text, "policy": "demo", "source": source} for text in (one, other)]
            items.append({"context": {"prompt": prompt}, "candidates": candidates})
    return items


def answers_to(policy: ByteTransformer, prompts: list[str], n: int, seed: int) -> list[str]:
    """n sampled answers to each prompt, in order."""
    generator = torch.Generator().manual_seed(seed)
    samples = policy.sample([policy.encode(prompt) for prompt in prompts], n, MAX_NEW, 1.0, generator)
    return [policy.decode(y) for y in samples.y]


def report(policy: ByteTransformer, seed: int) -> None:
    """Print forty answers to messages the policy never read, and how good and how well spelt they are."""
    prompts = [prompt for prompt in hotel.PROMPTS["held_out"] for _ in range(8)]
    answers = answers_to(policy, list(hotel.PROMPTS["held_out"]), 8, seed)
    scores = [hotel.gold(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    for prompt, answer, score in list(zip(prompts, answers, scores, strict=True))[::6][:40]:
        print(f"{score:6.2f}  {prompt}  ->  {answer}")
    known = corpus.vocabulary()
    words = [word for answer in answers for word in corpus.words_of(answer)]
    print(f"mean gold score {sum(scores) / len(scores):.2f} of at most 10, over {len(scores)} answers")
    print(f"well-formed words {sum(word in known for word in words) / len(words):.1%}")


if __name__ == "__main__":
    main()
