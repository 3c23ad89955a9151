"""vLLM itself, on a CPU, drawing for the policies of this project. Runs where it is installed: `make test-vllm`.

One process, one engine after the other: each takes seconds to open, so a test asks much of one.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tests.trainers import toys
from tests.trainers.test_methods_hugging_face import liked
from tests.trainers.test_nn_hugging_face import classifier, tokenizer
from tests.trainers.test_resume import stopped_after_every_step
from trainers import api, nn
from trainers.__main__ import main
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.run import Spec
from trainers.sampling.rollouts import MOST
from trainers.sampling.vllm import Engine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here: make test-vllm has it"
)

ONLINE = ("online/reinforce", "online/rloo", "online/grpo", "online/ppo", "online/p3o")
BRIEF: dict[str, dict[str, Any]] = {
    "online/grpo": {"k": 4, "minibatches": 2},
    "online/rloo": {"k": 4},
    "online/ppo": {"k": 4, "critic_warmup": 0},
}


LEARNS = {"lr": 3e-2, "steps": 20, "k": 8, "prompts_per_step": 4}


def llama(**config: Any) -> HuggingFacePolicy:
    """Of heads as wide as vLLM's kernels can read."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, initializer_range=0.2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return HuggingFacePolicy(
        LlamaForCausalLM(shape), tokenizer(chat=True), HuggingFaceConfig(**config)
    ).eval()


def gpt2() -> HuggingFacePolicy:
    torch.manual_seed(0)
    shape = GPT2Config(
        vocab_size=300, n_embd=64, n_layer=2, n_head=2, n_positions=256, bos_token_id=0, eos_token_id=1
    )
    return HuggingFacePolicy(GPT2LMHeadModel(shape), tokenizer(chat=False), HuggingFaceConfig()).eval()


def asked(policy: HuggingFacePolicy) -> list[torch.Tensor]:
    return [policy.encode(one) for one in ("hi", "what is two plus two? it is", "a quiet room, please")]


def apart(policy: HuggingFacePolicy, samples: nn.Samples, temperature: float) -> float:
    """The most that a token's log-probability differs from the policy's own."""
    own = policy.logp_tok(samples.x, samples.y, temperature)
    return (own - samples.logp_tok).abs().max().item()


def move(policy: HuggingFacePolicy) -> None:
    """Changes every weight that can learn."""
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=chance))


@pytest.mark.parametrize("made", [llama, gpt2, lambda: llama(lora_rank=4)], ids=["llama", "gpt2", "adapters"])
def test_vllm_draws_from_the_policy_as_it_is_now(made: Any) -> None:
    policy = made()
    engine = Engine(policy)
    x = asked(policy)
    for temperature in (1.0, 0.7):
        samples = engine.sample(x, 8, 24, temperature, torch.Generator().manual_seed(0))
        assert samples.y.shape[0] == 24 and [row.tolist() for row in samples.x[:8]] == [x[0].tolist()] * 8
        assert apart(policy, samples, temperature) < 1e-4
        assert not samples.logp_tok[~samples.mask].any() and torch.equal(
            samples.mask, samples.y != policy.pad
        )
        ends = torch.isin(samples.y, torch.tensor(sorted(policy.text.stops))).any(dim=1)
        assert torch.equal(samples.finished, ends)
        assert not policy.never[samples.y[samples.mask]].any()
    assert len({tuple(row) for row in samples.y.tolist()}) > 12, "answers to one prompt differ"

    again = engine.sample(x, 8, 24, 0.7, torch.Generator().manual_seed(0))
    assert torch.equal(again.y, samples.y) and torch.equal(again.logp_tok, samples.logp_tok)
    assert not torch.equal(engine.sample(x, 8, 24, 0.7, torch.Generator().manual_seed(1)).y, samples.y)

    kept = {name: value.clone() for name, value in policy.state_dict().items()}
    move(policy)
    assert apart(policy, samples, 0.7) > 0.1, "the policy has moved"
    after = engine.sample(x, 8, 24, 0.7, torch.Generator().manual_seed(0))
    assert apart(policy, after, 0.7) < 1e-4, "and the engine with it"
    policy.load_state_dict(kept)
    back = engine.sample(x, 8, 24, 0.7, torch.Generator().manual_seed(0))
    assert torch.equal(back.y, samples.y)


def test_more_prompts_than_are_read_at_once() -> None:
    policy = llama()
    samples = Engine(policy).sample(
        [torch.cat([one] * 4) for one in asked(policy)] * 30, 4, 8, 1.0, torch.Generator()
    )
    assert len(samples.y) == 360 and sum(len(ids) for ids in samples.x) > 2 * 2048
    assert apart(policy, samples, 1.0) < 1e-4


@torch.no_grad()
def test_first_tokens_come_as_often_as_the_policy_says() -> None:
    policy = llama()
    x = asked(policy)[1]
    drawn = Engine(policy).sample([x], 4000, 1, 1.0, torch.Generator().manual_seed(0)).y[:, 0]
    tokens = torch.arange(len(policy.never))[~policy.never]
    likely = policy.logp_tok([x] * len(tokens), tokens[:, None])[:, 0].exp()
    often = torch.stack([(drawn == token).float().mean() for token in tokens])
    assert likely.sum().item() == pytest.approx(1.0, abs=1e-4)
    error = (likely * (1 - likely) / len(drawn)).sqrt()
    assert ((often - likely).abs() < 4.5 * error + 1 / len(drawn)).all()


def spec(method: str, folder: Path, name: str = "run", **changes: Any) -> Spec:
    folder.mkdir(exist_ok=True)
    if not (folder / "policy").exists():
        nn.save(llama(lora_rank=4), folder / "policy")
        classifier(folder / "reward")
        toys.snapshot(folder / "snapshot", liked())
    brief = {
        "lr": 1e-2, "steps": 4, "prompts_per_step": 2, "max_new_tokens": 8, "kl_coef": 0.0, "missing_eos_penalty": 0.0,
        "watch": 2, "watch_every": 2, "held_out": 0.1,
    }  # fmt: skip
    settings = brief | BRIEF.get(method, {})
    inputs = {"policy": str(folder / "policy"), "reward_model": str(folder / "reward")}
    made = Spec(method, folder / name, settings, 0, folder / "snapshot", inputs, sampler="vllm")
    return replace(made, **{**changes, "config": settings | changes.get("config", {})})


@pytest.mark.parametrize("method", ONLINE)
def test_a_method_learns_the_same_from_vllm_wherever_it_was_stopped(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, broken = (spec(method, tmp_path, name, checkpoint_every=1000) for name in ("calm", "broken"))
    assert api.execute(calm) == api.FINISHED
    rows = toys.rows(calm.home)
    drawn = [row for row in rows if "objective/kl" in row]
    assert toys.first(rows, "objective/kl") == pytest.approx(0.0, abs=1e-4)
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-4 for row in drawn)
    assert all(row["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4) for row in drawn)
    assert all(row["val/first_ratio_min"] == 1 for row in rows if "val/first_ratio_min" in row)
    assert stopped_after_every_step(broken, monkeypatch, most=4) == 4
    wanted, found = toys.outcome(calm), toys.outcome(broken)
    for name in wanted:
        assert found[name] == wanted[name], f"{name} differ"


def test_rloo_improves_a_policy_that_vllm_draws_for(tmp_path: Path) -> None:
    for sampler, error in (("vllm", 1e-4), ("vllm-bfloat16", 0.5)):
        run = spec("online/rloo", tmp_path, sampler, sampler=sampler, config=LEARNS)
        assert api.execute(run) == api.FINISHED
        rows = toys.rows(run.home)
        scores = [row["objective/scores"] for row in rows if "objective/scores" in row]
        assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.5
        worst = max(row["sampling/sampling_logp_difference/max"] for row in rows if "objective/kl" in row)
        assert worst < error
        if sampler == "vllm-bfloat16":
            assert worst > 1e-3, "eight bits are not enough for the same numbers"
            ratios = [row["sampling/importance_sampling_ratio/mean"] for row in rows if "objective/kl" in row]
            assert all(0.9 < ratio < 1.1 for ratio in ratios)
            assert (
                max(row["sampling/importance_sampling_ratio/max"] for row in rows if "objective/kl" in row)
                < MOST
            )


def test_the_command_line_trains_with_vllm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = spec("online/rloo", tmp_path)
    given = [f"--set={name}={value}" for name, value in (told.config | {"steps": 2}).items()]
    code = main(
        ["train", "online/rloo", str(told.snapshot), "--out", str(told.home), "--json", "--sampler", "vllm",
         "--policy", told.inputs["policy"], "--reward-model", told.inputs["reward_model"], *given]
    )  # fmt: skip
    out = capfd.readouterr().out
    assert code == 0 and json.loads(out)["code"] == 0
    assert json.loads((told.home / "spec.json").read_text())["sampler"] == "vllm"
