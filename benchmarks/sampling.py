"""Answers drawn by the policy itself and by vLLM, on this machine: CPU time a token.

    make test-vllm && .venv-vllm/bin/python benchmarks/sampling.py

The same Llama (4 layers, width 256, vocabulary 1024), prompts of 32 tokens and up to 64 new ones, one thread, single
precision. vLLM takes the policy's weights over before it draws, as in a run. On a CPU this says what the adapter costs;
what vLLM is for, a GPU, it does not show.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.trainers.test_nn_hugging_face import tokenizer
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.sampling.vllm import Engine

ROUNDS = 5


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=1024, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    policy = HuggingFacePolicy(
        LlamaForCausalLM(shape), tokenizer(chat=False), HuggingFaceConfig(context=512)
    ).eval()
    engine = Engine(policy)
    print("answers   policy, us a token   vLLM, us a token   ratio")
    for prompts in (4, 16, 64):
        x = [torch.randint(5, 290, (32,)) for _ in range(prompts)]
        own, other = (cost(one, x) for one in (policy, engine))
        print(f"{4 * prompts:7}   {own:18.0f}   {other:16.0f}   {other / own:5.1f}")


def cost(sampler: HuggingFacePolicy | Engine, x: list[torch.Tensor]) -> float:
    """Microseconds of CPU a token: the median of some rounds, the first of which is dropped."""
    found = []
    for seed in range(ROUNDS + 1):
        began = time.process_time()
        samples = sampler.sample(x, 4, 64, 1.0, torch.Generator().manual_seed(seed))
        found.append((time.process_time() - began) / int(samples.mask.sum()) * 1e6)
    return statistics.median(found[1:])


if __name__ == "__main__":
    main()
