"""SFT: supervised fine-tuning on what people wrote, or chose.

    L = - sum_i w_i sum_t log pi(y_i,t | x_i, y_i,<t) / sum_i w_i |y_i|

over demonstrations, corrections (the edited text) and the chosen answers of decided pairs. Normalised by the
tokens of the whole batch, however it is cut to fit the memory: a mean of means would weigh a token in a short
answer more (TRL issue 2617 found that error in eighteen trainers). The prompt and the padding carry no loss,
the end of the answer does. Left out: packing, loss on prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.data import Batches, demonstrated, each, flattened, read_records, split
from trainers.fit import Tally, fit, parts
from trainers.maths.logprobs import entropy, gather_logp
from trainers.nn import collate, digest, load_policy, save
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.run import Run
from trainers.sampling.truncation import Truncation


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-4
    """Learning rate after warm-up. Around 1e-5 for models of billions of parameters."""
    epochs: Count = 2
    """Times to go through the answers."""
    batch_size: Count = 16
    """Answers a step."""
    micro_batch: Count = 16
    """Answers in memory at once; the step does not depend on it."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    records = read_records(run.snapshot, ("demonstration", "correction", "pair"))
    wanted, kept = (flattened(part, demonstrated) for part in split(records, config.held_out))
    rows = each(wanted + kept, lambda one: policy.encode_pair(one[0], one[1]))
    truncation = Truncation(policy)
    for (prompt, _, _), (x, y) in zip(wanted + kept, rows, strict=True):
        truncation.add(prompt, x, (y,))
    truncation.tell(run)
    weights = torch.tensor([weight for _, _, weight in wanted + kept], device=run.device)
    lengths = torch.tensor([len(y) for _, y in rows], device=run.device)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = (weights[batch] * lengths[batch]).sum()
        for part in parts(batch, config.micro_batch):
            one = collate(policy, [rows[i] for i in part])
            logits = policy.logits(one.x, one.y)  # [B, T, V]
            logp = gather_logp(logits, one.y, one.mask)  # [B, T]
            yield -(weights[part] * logp.sum(dim=1)).sum() / whole
            right = logits.detach().argmax(dim=-1) == one.y
            tally.add(f"{prefix}mean_token_accuracy", right[one.mask].float())
            if not prefix:
                tally.add("entropy", entropy(logits.detach())[one.mask])

    def counted(batch: Sequence[int], tally: Tally) -> Iterator[Tensor]:
        yield from loss(batch, tally)
        tally.add("num_tokens", torch.tensor(run.count("num_tokens", int(lengths[batch].sum()))))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not kept:
            return {}
        tally = Tally()
        value = sum(part.item() for part in loss(range(len(wanted), len(rows)), tally, "eval_"))
        return {"eval_loss": value, **tally.numbers()}

    batches = Batches([len(y) for _, y in rows[: len(wanted)]], config.batch_size, run.seed)
    total = fit(run, policy, batches, counted, evaluate, config)

    path = save(policy, run.home / "policy")
    run.artifact("policy", "policy", path, total, {"digest": digest(path)})
