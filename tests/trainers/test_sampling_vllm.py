"""Our side of the vLLM adapter, against a stand-in for the interface that vLLM documents. vLLM itself is not run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest
import torch

from tests.trainers.test_nn_hugging_face import chat_policy
from trainers.sampling.vllm import Engine


@dataclass
class Logprob:
    logprob: float


@dataclass
class CompletionOutput:
    index: int
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


@dataclass
class SamplingParams:
    n: int
    temperature: float
    max_tokens: int
    seed: int
    logprobs: int
    stop_token_ids: list[int]
    allowed_token_ids: list[int]
    detokenize: bool
    top_p: float = field(default=1.0, init=False)


class LLM:
    """Draws with the policy itself, and hands the answers over as vLLM would: ids and dicts, in any order."""

    policy = None
    opened: dict[str, object] = {}
    asked: list[SamplingParams] = []

    def __init__(self, **options):
        type(self).opened = options

    def generate(self, prompts, sampling_params, use_tqdm=True):
        type(self).asked = sampling_params
        return [
            self._answer(one["prompt_token_ids"], how)
            for one, how in zip(prompts, sampling_params, strict=True)
        ]

    def _answer(self, ids, how):
        chance = torch.Generator().manual_seed(how.seed)
        drawn = self.policy.sample([torch.tensor(ids)], how.n, how.max_tokens, how.temperature, chance)
        outputs = []
        for row in range(how.n):
            tokens = drawn.y[row][drawn.mask[row]].tolist()
            logps = drawn.logp_tok[row].tolist()
            at = [{token: Logprob(logp)} for token, logp in zip(tokens, logps, strict=False)]
            ended = "stop" if tokens[-1] in how.stop_token_ids else "length"
            outputs.append(CompletionOutput(row, tokens, at, ended))
        return RequestOutput(outputs[::-1])


@pytest.fixture
def policy(monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    made = chat_policy()
    monkeypatch.setattr(LLM, "policy", made)
    return made


def test_samples_are_those_that_the_policy_would_have_given(policy):
    engine = Engine("folder", policy, tensor_parallel_size=2)
    x = [policy.encode(one) for one in ("hi", "what is two plus two? it is")]
    samples = engine.sample(x, 3, 20, 0.8, torch.Generator().manual_seed(0))
    assert [ids.tolist() for ids in samples.x] == [ids.tolist() for ids in x for _ in range(3)]
    assert torch.allclose(policy.logp_tok(samples.x, samples.y, 0.8), samples.logp_tok, atol=1e-4)
    assert torch.equal(samples.mask, samples.y != policy.pad) and not samples.logp_tok[~samples.mask].any()
    assert torch.equal(samples.finished, (samples.y == policy.eos).any(dim=1))
    first = policy.sample(x[:1], 3, 20, 0.8, torch.Generator().manual_seed(LLM.asked[0].seed))
    width = first.y.shape[1]
    assert torch.equal(samples.y[:3, :width], first.y), "rows in the order of their index"


def test_the_whole_distribution_is_asked_for_and_nothing_that_the_policy_never_says(policy):
    Engine("folder", policy).sample([policy.encode("hi")] * 2, 1, 4, 1.0, torch.Generator().manual_seed(0))
    assert LLM.opened == {
        "model": "folder",
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
    }
    one, other = LLM.asked
    assert one.seed != other.seed, "two equal prompts would be answered alike"
    assert one.logprobs == 0 and one.stop_token_ids == sorted(policy.text.stops)
    assert set(one.allowed_token_ids) == set(range(len(policy.never))) - set(
        policy.never.nonzero()[:, 0].tolist()
    )
    assert policy.pad not in one.allowed_token_ids


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: setattr(one, "logprobs", None), "gave 0 log-probabilities"),
        (lambda one: one.logprobs.pop(), "log-probabilities for"),
        (lambda one: one.logprobs.__setitem__(0, {}), "no finite log-probability"),
        (
            lambda one: one.logprobs.__setitem__(0, {one.token_ids[0]: Logprob(float("nan"))}),
            "no finite log-probability",
        ),
    ],
)
def test_what_is_missing_is_noticed(policy, spoil, said, monkeypatch):
    answer = LLM._answer

    def spoilt(self, ids, how):
        reply = answer(self, ids, how)
        spoil(reply.outputs[0])
        return reply

    monkeypatch.setattr(LLM, "_answer", spoilt)
    with pytest.raises(RuntimeError, match=said):
        Engine("folder", policy).sample([policy.encode("hi")], 2, 4, 1.0, torch.Generator())


def test_without_vllm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RuntimeError, match="pip install vllm"):
        Engine("folder", chat_policy())


def test_adapters_are_to_be_folded_in_and_the_temperature_is_above_0(policy):
    with pytest.raises(ValueError, match="fold them in first"):
        Engine("folder", chat_policy(lora_rank=2))
    with pytest.raises(ValueError, match="temperature is 0"):
        Engine("folder", policy).sample([policy.encode("hi")], 1, 4, 0.0, torch.Generator())
