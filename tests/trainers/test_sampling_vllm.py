"""Our side of the vLLM adapter, against a stand-in that reads and draws as vLLM does; test_vllm.py has vLLM itself."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from tests.trainers import toys
from tests.trainers.test_nn_hugging_face import chat_policy
from trainers import api
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.hugging_face import HuggingFacePolicy
from trainers.registry import METHODS
from trainers.sampling import rollouts, vllm
from trainers.sampling.rollouts import MOST, as_drawn
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
    """Draws with a copy of the policy, read from the folder; hands the answers over as vLLM would: ids and dicts."""

    opened: dict[str, object] = {}
    asked: list[SamplingParams] = []

    def __init__(self, model, **options):
        type(self).opened = options
        self.policy = HuggingFacePolicy.read(Path(model), {})
        self.shut = []
        self.llm_engine = SimpleNamespace(
            engine_core=SimpleNamespace(shutdown=partial(self.shut.append, True))
        )
        self.forgot = 0

    def reset_prefix_cache(self):
        self.forgot += 1

    def collective_rpc(self, method, kwargs):
        assert method == "reload_weights"
        self.policy.model.load_state_dict(dict(kwargs["weights_iterator"]))

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


@pytest.fixture(params=[0, 4], ids=["whole", "adapters"])
def policy(request, monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    return chat_policy(lora_rank=request.param)


def test_samples_are_those_that_the_policy_would_have_given_as_it_is_now(policy):
    engine = Engine(policy)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    x = [policy.encode(one) for one in ("hi", "what is two plus two? it is")]
    samples = engine.sample(x, 3, 20, 0.8, torch.Generator().manual_seed(0))
    assert engine.llm.forgot == 1
    assert [ids.tolist() for ids in samples.x] == [ids.tolist() for ids in x for _ in range(3)]
    assert torch.allclose(policy.logp_tok(samples.x, samples.y, 0.8), samples.logp_tok, atol=1e-4)
    assert torch.equal(samples.mask, samples.y != policy.pad) and not samples.logp_tok[~samples.mask].any()
    assert torch.equal(samples.finished, (samples.y == policy.eos).any(dim=1))
    first = policy.sample(x[:1], 3, 20, 0.8, torch.Generator().manual_seed(LLM.asked[0].seed))
    width = first.y.shape[1]
    assert torch.equal(samples.y[:3, :width], first.y), "rows in the order of their index"


def test_the_whole_distribution_is_asked_for_and_nothing_that_the_policy_never_says(policy):
    Engine(policy, dtype="bfloat16", tensor_parallel_size=1).sample(
        [policy.encode("hi")] * 2, 1, 4, 1.0, torch.Generator().manual_seed(0)
    )
    assert LLM.opened == {
        "max_model_len": 256,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        "dtype": "bfloat16",
        "kv_cache_memory_bytes": 2**28,
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 2048,
        "tensor_parallel_size": 1,
    }
    one, other = LLM.asked
    assert one.seed != other.seed, "two equal prompts would be answered alike"
    assert one.logprobs == 0 and one.stop_token_ids == sorted(policy.text.stops)
    assert set(one.allowed_token_ids) == set(range(len(policy.never))) - set(
        policy.never.nonzero()[:, 0].tolist()
    )
    assert policy.pad not in one.allowed_token_ids


def test_an_engine_that_is_no_longer_used_gives_its_memory_back(policy):
    engine = Engine(policy)
    shut = engine.llm.shut
    assert not shut
    del engine
    assert shut == [True]


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
        Engine(policy).sample([policy.encode("hi")], 2, 4, 1.0, torch.Generator())


def test_without_vllm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RuntimeError, match="extra vllm"):
        Engine(chat_policy())


def test_what_it_cannot_draw_is_refused(policy):
    with pytest.raises(ValueError, match="reads Hugging Face models, and this policy is a ByteTransformer"):
        Engine(ByteTransformer(ByteTransformerConfig(layers=1, d=16, heads=2)))
    engine, x = Engine(policy), [policy.encode("hi")]
    with pytest.raises(ValueError, match="temperature is 0"):
        engine.sample(x, 1, 4, 0.0, torch.Generator())
    with pytest.raises(ValueError, match=f"of {len(x[0])} tokens and 250 new ones do not fit the 256"):
        engine.sample(x, 1, 250, 1.0, torch.Generator())


def test_weights_that_vllm_reads_by_other_names_are_refused(policy, monkeypatch):
    monkeypatch.setattr(
        HuggingFacePolicy,
        "write_plain",
        lambda self, folder: save_file({"a.b": torch.zeros(1)}, folder / "model.safetensors"),
    )
    with pytest.raises(ValueError, match="1 of them have other names on disk than in memory, such as a.b"):
        Engine(policy)


def test_the_share_of_a_gpu_is_the_machines_to_say(monkeypatch):
    gpu = torch.device("cuda")
    assert vllm._machine(gpu, 256) == {"gpu_memory_utilization": 0.3}
    monkeypatch.setenv(vllm.MEMORY, "0.5")
    assert vllm._machine(gpu, 256) == {"gpu_memory_utilization": 0.5}
    for wrong in ("half", "0", "1.5"):
        monkeypatch.setenv(vllm.MEMORY, wrong)
        with pytest.raises(ValueError, match=f"KIBITZ_VLLM_MEMORY is '{wrong}'"):
            vllm._machine(gpu, 256)


# --- what is learned from such samples ------------------------------------------------------------------


def test_a_token_counts_as_often_as_its_weight_says_and_stays_what_it_is():
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], requires_grad=True)
    weights = torch.tensor([[9.0, 9.0], [0.5, 2.0], [1.0, 0.25]])
    weighed = as_drawn(logp, weights, [1, 2])
    assert torch.equal(weighed, logp)
    weighed.sum().backward()
    assert torch.equal(logp.grad, weights[1:])
    assert as_drawn(logp, None, [0]) is logp


class Off:
    """An engine whose log-probabilities are off by as much as it is told, token by token."""

    def __init__(self, policy, off):
        self.policy, self.off = policy, off

    def sample(self, x, n, max_new, temperature, generator):
        samples = self.policy.sample(x, n, max_new, temperature, generator)
        shift = self.off * torch.where(torch.arange(samples.y.shape[1]) % 2 == 0, 1.0, -1.0)
        return replace(samples, logp_tok=(samples.logp_tok + shift) * samples.mask)


@pytest.mark.parametrize(
    "method", ["online/reinforce", "online/rloo", "online/grpo", "online/ppo", "online/p3o"]
)
def test_every_online_method_weighs_what_another_drew(method, tmp_path, monkeypatch):
    seen = []

    def noting(logp_tok, weights, rows):
        if weights is not None:
            seen.append(weights[rows])
        return as_drawn(logp_tok, weights, rows)

    module = importlib.import_module(METHODS[method].module)
    ends = {}
    for off in (0.0, 1.0):
        seen.clear()
        monkeypatch.setattr(rollouts, "_engine", lambda run, policy, off=off: Off(policy, off))
        monkeypatch.setattr(module, "as_drawn", noting)
        brief = {"steps": 2} | ({"critic_warmup": 0} if method == "online/ppo" else {})
        spec = toys.toy_spec(method, tmp_path, f"off-{off}", config=brief)
        assert api.execute(spec) == api.FINISHED
        row = toys.rows(spec.home)[0]
        assert row["sampling/sampling_logp_difference/max"] == pytest.approx(off, abs=1e-4)
        assert row["sampling/importance_sampling_ratio/max"] == pytest.approx(math.exp(off), rel=1e-3)
        assert row["sampling/importance_sampling_ratio/min"] == pytest.approx(math.exp(-off), rel=1e-3)
        counted = torch.cat([one.flatten() for one in seen])
        assert counted.max().item() == pytest.approx(min(math.exp(off), MOST), rel=1e-3)
        ends[off] = row["grad_norm"]
    assert ends[0.0] != pytest.approx(ends[1.0], rel=1e-3), "the weights reach the gradient"
