"""Answers drawn by vLLM: the same `Samples` as `policy.sample` gives, from a faster engine on a GPU.

    engine = Engine(folder, policy)
    samples = engine.sample(x, n, max_new, temperature, generator)

Ids go in and ids come out; no text is tokenised twice. The log-probabilities are those of the distribution that vLLM
drew from (`logprobs_mode="processed_logprobs"`: at the temperature, over the tokens that the policy allows), computed
by its kernels in its precision. The policy's own are a little different, and a policy that has learned since `folder`
was written differs more. Whoever trains on these samples weighs them by exp(policy.logp_tok - samples.logp_tok), or
accepts the difference: that is the method's choice and not made here.

vLLM is no requirement of this project, and wants an environment of its own: it asks for other versions of torch and
transformers than those pinned here (0.33.0 for torch 2.14 and transformers below 5.21). This was written against the
interface that vLLM documents and that 0.33.0's source has (`LLM.generate`, `SamplingParams`, `RequestOutput`), and is
tested against a stand-in for it, which checks our side alone. It has not been run on a GPU with vLLM itself.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.nn import Samples, pad_right

if TYPE_CHECKING:
    from trainers.nn.hugging_face import HuggingFacePolicy


class Engine:
    """A Hugging Face policy's folder, opened by vLLM. Adapters must be folded in first (`python -m trainers merge`)."""

    def __init__(self, folder: Path | str, policy: HuggingFacePolicy, **options: Any) -> None:
        """`options` go to `vllm.LLM`: tensor_parallel_size, gpu_memory_utilization, dtype and the like."""
        if policy.config.lora_rank:
            raise ValueError(
                f"{folder} holds a policy with adapters: fold them in first, then name the result."
            )
        try:
            self.vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise RuntimeError(
                "vLLM is not installed here, so it can draw no answers. Install it (pip install vllm) on a machine "
                "with a GPU, or draw with policy.sample."
            ) from error
        self.policy = policy
        self.allowed = (~policy.never).nonzero()[:, 0].tolist()
        # generation_config="vllm": no top_k or repetition penalty from the model's folder, which would change what is
        # drawn from.
        self.llm = self.vllm.LLM(
            model=str(folder), logprobs_mode="processed_logprobs", generation_config="vllm", **options
        )

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        """n answers to each prompt, from the whole distribution, as `Policy.sample`. The temperature is above 0."""
        if not temperature > 0:
            raise ValueError(f"The temperature is {temperature}; expected a number above 0.")
        # A seed of its own for each prompt: with a common one all prompts would be answered by the same chances.
        seeds = torch.randint(2**31, (len(x),), generator=generator, device=generator.device).tolist()
        asked = [{"prompt_token_ids": ids.tolist()} for ids in x]
        how = [self._settings(n, max_new, temperature, seed) for seed in seeds]
        replies = self.llm.generate(asked, how, use_tqdm=False)
        found = [one for reply in replies for one in sorted(reply.outputs, key=lambda one: one.index)]
        if len(found) != len(x) * n:
            raise RuntimeError(f"vLLM gave {len(found)} answers where {len(x) * n} were asked for.")
        device = self.policy.device
        rows = [torch.tensor(list(one.token_ids), dtype=torch.int64) for one in found]
        y = pad_right(rows, self.policy.pad).to(device)
        logp = torch.nn.utils.rnn.pad_sequence([_logps(one) for one in found], batch_first=True).to(device)
        finished = torch.tensor([one.finish_reason == "stop" for one in found], device=device)
        return Samples([ids for ids in x for _ in range(n)], y, logp, self.policy.mask(y), finished)

    def _settings(self, n: int, max_new: int, temperature: float, seed: int) -> Any:
        return self.vllm.SamplingParams(
            n=n,
            temperature=temperature,
            max_tokens=max_new,
            seed=seed,
            logprobs=0,  # of the drawn token alone
            stop_token_ids=sorted(self.policy.text.stops),
            allowed_token_ids=self.allowed,
            detokenize=False,
        )


def _logps(one: Any) -> Tensor:
    """[T] the log-probability of each token of an answer."""
    if one.logprobs is None or len(one.logprobs) != len(one.token_ids):
        count = 0 if one.logprobs is None else len(one.logprobs)
        raise RuntimeError(f"vLLM gave {count} log-probabilities for {len(one.token_ids)} tokens.")
    values = []
    for token, at in zip(one.token_ids, one.logprobs, strict=True):
        if token not in at or not math.isfinite(at[token].logprob):
            raise RuntimeError(
                f"vLLM gave no finite log-probability for the token {token} that it drew; found {at!r}."
            )
        values.append(at[token].logprob)
    return torch.tensor(values, dtype=torch.float32)
