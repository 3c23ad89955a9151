"""Less work, the same numbers: our loop over Llama-like models, prompts read once, logits a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.trainers import toys
from tests.trainers.test_nn_hugging_face import classifier, gpt2, tokenizer
from trainers import api, nn
from trainers.maths import logprobs
from trainers.nn import gemm
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.hugging_face_reward import HuggingFaceReward, PolicyReward
from trainers.nn.llama import Llama, reads
from trainers.records import Pair
from trainers.run import Spec

SHAPE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 256, "initializer_range": 0.2, "bos_token_id": 0,
    "eos_token_id": 1,
}  # fmt: skip
ROPE = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
LIKE_LLAMA: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "grouped": lambda: LlamaForCausalLM(LlamaConfig(**{**SHAPE, "num_key_value_heads": 2})),
    "wide_heads": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=16)),
    "biases": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "scaled_rope": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=ROPE)),
    "linear_rope": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0})
    ),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**{**SHAPE, "num_key_value_heads": 1}, sliding_window=None)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**{**SHAPE, "num_key_value_heads": 2}, head_dim=8)),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2,
    "sliding": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)),
    "dynamic_rope": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0})
    ),
    "gelu": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, hidden_act="gelu")),
}
ASKED = [
    "the room",
    "what is two plus two? it is",
    "the room",
    "a",
    "what is two plus two? it is",
    "the room",
]
ANSWERS = [" was clean and quiet", " four", "", " room", " a quiet room, please, at four", " is"]


def policy(make: Callable[[], Any], **config: Any) -> HuggingFacePolicy:
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():  # at birth biases are 0 and gains 1: nobody would miss them
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.3 * torch.randn_like(weight)
    return HuggingFacePolicy(model, tokenizer(chat=False), HuggingFaceConfig(**config)).eval()


def batch(made: HuggingFacePolicy) -> nn.Batch:
    return nn.collate(made, [made.encode_pair(x, y) for x, y in zip(ASKED, ANSWERS, strict=True)])


def one_by_one(made: HuggingFacePolicy, given: nn.Batch) -> list[Tensor]:
    """[T_b, V] logits of transformers' own forward for every answer, alone and without padding."""
    found = []
    for x, y, mask in zip(given.x, given.y, given.mask, strict=True):
        ids = torch.cat((x, y[mask]))[None]
        found.append(made.model(input_ids=ids, use_cache=False).logits[0, len(x) - 1 : -1])
    return found


def objective(logp: Sequence[Tensor]) -> Tensor:
    """A number to which every token and every answer contributes with a weight of its own."""
    return sum(((i + 1) * torch.arange(1, len(row) + 1) * row).sum() for i, row in enumerate(logp))  # type: ignore[return-value]


def gradients(made: HuggingFacePolicy, value: Tensor) -> dict[str, Tensor]:
    named = {name: weight for name, weight in made.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {name: torch.zeros(()) if one is None else one for name, one in zip(named, found, strict=True)}


def same_as_transformers(made: HuggingFacePolicy) -> None:
    """Values and gradients, to 1e-5 of their size."""
    given = batch(made)
    plain = [
        logits.masked_fill(made.never, -1e9).log_softmax(-1).gather(1, y[mask][:, None])[:, 0]
        for logits, y, mask in zip(one_by_one(made, given), given.y, given.mask, strict=True)
    ]
    ours = made.logp_tok(given.x, given.y)
    assert not ours[~given.mask].any()
    rows = [row[mask] for row, mask in zip(ours, given.mask, strict=True)]
    for mine, expected in zip(rows, plain, strict=True):
        assert torch.allclose(mine, expected, atol=1e-5)
    expected_gradients = gradients(made, objective(plain))
    for name, mine in gradients(made, objective(rows)).items():
        expected = expected_gradients[name]
        assert (mine - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item()), name
    assert any(one.abs().max() > 1e-2 for one in expected_gradients.values())


@pytest.fixture(params=LIKE_LLAMA)
def like_llama(request: pytest.FixtureRequest) -> HuggingFacePolicy:
    made = policy(LIKE_LLAMA[request.param])
    assert made.llama is not None, f"{request.param} is left to transformers: the test shows nothing"
    return made


@pytest.fixture(params=[False, True], ids=["torch", "onednn"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either library multiplies, whatever the processor."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(gemm, "quicker", lambda: request.param)


def test_our_loop_computes_what_transformers_does_and_its_gradients(
    like_llama: HuggingFacePolicy, library: None
) -> None:
    same_as_transformers(like_llama)


@pytest.mark.parametrize("name", OTHERS)
def test_what_our_loop_does_not_know_is_left_to_transformers_with_the_same_numbers(name: str) -> None:
    made = policy(OTHERS[name])
    assert made.llama is None
    same_as_transformers(made)


@pytest.mark.parametrize("make", [LIKE_LLAMA["qwen2"], OTHERS["gpt2"]], ids=["llama", "gpt2"])
def test_adapters_get_the_same_gradients(make: Callable[[], Any], library: None) -> None:
    made = policy(make, lora_rank=4)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight += 0.1 * torch.randn_like(weight)
    same_as_transformers(made)


def test_recomputing_changes_neither_values_nor_gradients() -> None:
    plain, again = policy(LIKE_LLAMA["llama"]), policy(LIKE_LLAMA["llama"], recompute=True)
    given = batch(plain)
    before, after = (made.logp_tok(given.x, given.y) for made in (plain, again))
    assert torch.equal(before, after)
    expected = gradients(plain, before.sum())
    assert all(torch.equal(one, expected[name]) for name, one in gradients(again, after.sum()).items())
    assert kept_bytes(again, given) < 0.6 * kept_bytes(plain, given)
    with pytest.raises(ValueError, match="recompute"):
        policy(gpt2, recompute=True)


def kept_bytes(made: HuggingFacePolicy, given: nn.Batch) -> int:
    """Bytes that the graph of a forward keeps for the way back, weights left out; each storage once."""
    weights = {one.untyped_storage().data_ptr() for one in made.parameters()}
    kept: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        graph = made.logp_tok(given.x, given.y)
    assert graph.requires_grad
    return sum(kept.values())


@contextmanager
def tokens_read(module: Any) -> Iterator[list[int]]:
    """How many token ids go through a module that reads ids."""
    counts: list[int] = []
    hook = module.register_forward_pre_hook(lambda _, given: counts.append(given[0].numel()))
    yield counts
    hook.remove()


def test_equal_prompts_are_read_once_and_padding_never() -> None:
    made = policy(LIKE_LLAMA["llama"])
    given = batch(made)
    different = {tuple(x.tolist()) for x in given.x}
    with tokens_read(made.model.get_input_embeddings()) as counts:
        made.logp_tok(given.x, given.y)
    # Each prompt but its last token; each answer behind that one, but for its own last.
    assert counts == [sum(len(x) - 1 for x in different) + int(given.mask.sum())]
    assert counts[0] < given.mask.numel() + sum(map(len, given.x))


def test_transformers_reads_equal_prompts_once_too() -> None:
    made = policy(gpt2)
    x, chosen = made.encode_pair("what is two plus two? it is", " four")
    given = nn.collate(made, [(x, chosen), (x, made.encode("a quiet room"))])
    with tokens_read(made.model.get_input_embeddings()) as counts:
        made.logp_tok(given.x, given.y)
    assert counts == [len(x), given.y[:, :-1].numel()]


def test_logits_of_a_large_vocabulary_are_made_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy(LIKE_LLAMA["llama"])
    given = batch(made)
    whole = made.logp_tok(given.x, given.y, 0.7)
    expected = gradients(made, whole.sum())
    sizes: list[int] = []
    head = made.head

    def watched(states: Tensor) -> Tensor:
        logits = head(states)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(made, "head", watched)
    monkeypatch.setattr(logprobs, "HELD", 4 * len(made.never))
    found = made.logp_tok(given.x, given.y, 0.7)
    assert torch.allclose(found, whole, atol=1e-6)
    for name, one in gradients(made, found.sum()).items():
        assert torch.allclose(one, expected[name], atol=1e-4 * max(1.0, expected[name].abs().max().item()))
    assert max(sizes) == 4 * len(made.never) < given.mask.sum() * len(made.never)
    assert sum(sizes) == 2 * given.mask.sum() * len(made.never)  # there, and once more on the way back


def test_what_is_sampled_has_the_log_probabilities_of_training(
    like_llama: HuggingFacePolicy, library: None
) -> None:
    x = [like_llama.encode(text) for text in ("the room", "what is two plus two? it is", "a")]
    drawn = like_llama.sample(x, 3, 24, 0.8, torch.Generator().manual_seed(0))
    again = like_llama.logp_tok(drawn.x, drawn.y, 0.8)
    assert torch.allclose(again, drawn.logp_tok, atol=1e-5)
    assert (like_llama.mask(drawn.y).sum(1) > 1).any()


@pytest.mark.parametrize("rank", [0, 4])
def test_decoding_gives_transformers_logits_whatever_rows_are_kept(rank: int) -> None:
    made = policy(LIKE_LLAMA["grouped"], lora_rank=rank)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight += 0.1 * torch.randn_like(weight)
    x = [made.encode(text) for text in ("the room", "what is two plus two? it is", "the room")]
    texts = [[*x[b].tolist()] for b in range(3) for _ in range(2)]
    decoding = made.decoding(x, 2, 6)

    def check() -> None:
        for row, ids in zip(decoding.logits, texts, strict=True):
            expected = made.model(input_ids=torch.tensor([ids])).logits[0, -1].masked_fill(made.never, -1e9)
            assert torch.allclose(row[~made.never], expected[~made.never], atol=1e-5)
            assert row[made.never].max() < -1e8

    chance = torch.Generator().manual_seed(0)
    check()
    for kept in (None, [5, 0, 3, 3], None, [1, 2], None):
        if kept is not None:
            decoding.keep(torch.tensor(kept))
            texts = [list(texts[row]) for row in kept]
        tokens = torch.randint(2, 290, (len(texts),), generator=chance)
        decoding.advance(tokens)
        for ids, token in zip(texts, tokens.tolist(), strict=True):
            ids.append(token)
        check()
    assert decoding.ends(torch.tensor([1, 5])).tolist() == [True, False]


def test_a_large_model_is_sampled_without_a_copy_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy(LIKE_LLAMA["biases"])
    x = [made.encode("the room")]
    small = made.decoding(x, 2, 4).logits
    monkeypatch.setattr("trainers.nn.llama_decoding.COPIED", 0)
    assert torch.allclose(made.decoding(x, 2, 4).logits, small, atol=1e-5)


def test_a_model_that_drops_out_or_is_watched_is_left_to_transformers() -> None:
    dropping = policy(lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_dropout=0.5)))
    assert dropping.llama is not None and dropping.llama.usable
    dropping.train()
    assert not dropping.llama.usable
    watched = policy(LIKE_LLAMA["llama"])
    assert watched.llama is not None
    hook = watched.model.model.layers[0].register_forward_hook(lambda *_: None)
    assert not watched.llama.usable  # FSDP gathers a layer's weights when the layer is called
    same_as_transformers(watched)
    hook.remove()
    assert watched.llama.usable


@pytest.mark.parametrize("make", [LIKE_LLAMA["qwen3"], OTHERS["gpt2"]], ids=["llama", "gpt2"])
def test_states_are_what_the_head_reads(make: Callable[[], Any]) -> None:
    made = policy(make)
    given = batch(made)
    real = torch.nn.functional.pad(given.mask, (1, 0), value=True)
    states = made.states(given.x, given.y, real)
    last = made.states(given.x, given.y, real, last=True)
    at = 0
    for b, (x, y, mask) in enumerate(zip(given.x, given.y, given.mask, strict=True)):
        ids = torch.cat((x, y[mask]))[None]
        expected = made.body(input_ids=ids).last_hidden_state[0, len(x) - 1 :]
        assert torch.allclose(states[at : at + len(expected)], expected, atol=1e-5)
        assert torch.allclose(last[b], expected[-1], atol=1e-5)
        at += len(expected)
    assert at == len(states)


def test_a_classifier_reads_a_prompt_once_and_scores_as_transformers_does(tmp_path: Path) -> None:
    model = nn.load_reward_model(classifier(tmp_path))
    assert isinstance(model, HuggingFaceReward) and model.llama is not None
    rows = model.encode(["what is two plus two?"] * 2 + ["hi"], ["four", "a quiet room, please", ""])
    with tokens_read(model.model.get_input_embeddings()) as counts:
        scores = model(rows)
    x = len(rows[0][0]) - int(rows[0][1].sum())
    assert counts == [
        sum(len(ids) for ids, _ in rows) - x + 1
    ]  # the prompt's last token is read with each answer
    own = gradients(model, scores.square().sum())  # type: ignore[arg-type]
    model.llama = None
    with tokens_read(model.model.get_input_embeddings()):
        plain = model(rows)
    assert torch.allclose(scores, plain, atol=1e-5)
    for name, expected in gradients(model, plain.square().sum()).items():  # type: ignore[arg-type]
        assert torch.allclose(own[name], expected, atol=1e-5 * max(1.0, expected.abs().max().item())), name


@pytest.mark.parametrize("rank", [0, 4])
def test_a_policy_with_a_reward_head_is_kept_and_opened_as_itself(rank: int, tmp_path: Path) -> None:
    model = PolicyReward(policy(LIKE_LLAMA["llama"], lora_rank=rank), seed=1)
    asked, answers = ["the room", "the room", "a"], [" was clean", " is", " room, please"]
    before = model.score(asked, answers)
    alone = torch.cat([model.score([x], [y]) for x, y in zip(asked, answers, strict=True)])
    assert torch.allclose(before, alone, atol=1e-5) and before.std() > 0
    optimiser = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.05)
    model(model.encode(asked, answers)).square().sum().backward()
    optimiser.step()
    model.normalise(0.5, 2.0)
    changed = model.score(asked, answers)
    assert not torch.allclose(changed, (before - 0.5) / 2, atol=1e-4)
    again = nn.load_reward_model(nn.save(model, tmp_path / "model"))
    assert torch.allclose(again.score(asked, answers), changed, atol=1e-6)
    assert nn.digest(nn.save(again, tmp_path / "again")) == nn.digest(tmp_path / "model")
    kept = model.state_dict()
    assert {"head.weight", "head.bias", "scale.gain"} <= kept.keys()
    assert rank == 0 or all("lora_" in name or name.startswith(("head", "scale")) for name in kept)
    restored = PolicyReward(policy(LIKE_LLAMA["llama"], lora_rank=rank), seed=2)
    restored.load_state_dict(kept)  # as a checkpoint does
    assert torch.allclose(restored.score(asked, answers), changed, atol=1e-6)
    with pytest.raises(ValueError, match="do not fit"):
        restored.load_state_dict({"head.weight": kept["head.weight"]})


def test_bradley_terry_learns_with_a_hugging_face_policy(tmp_path: Path) -> None:
    start = nn.save(policy(LIKE_LLAMA["llama"], lora_rank=4), tmp_path / "policy")
    liked = [Pair(f"pair-{i}", f"the room {i}", " four is it", " no") for i in range(24)]
    settings = {
        "backbone": "policy", "lr": 1e-2, "policy_lr": 1e-2, "epochs": 2, "batch_size": 8, "held_out": 0.1
    }  # fmt: skip
    snapshot = toys.snapshot(tmp_path / "snapshot", liked)
    spec = Spec("reward/bradley_terry", tmp_path / "run", settings, 0, snapshot, {"policy": str(start)})
    assert api.execute(spec) == api.FINISHED
    learned = nn.load_reward_model(spec.home / "reward_model")
    assert isinstance(learned, PolicyReward)
    scores = learned.score(["the room 3"] * 2, [" four is it", " no"])
    assert scores[0] > scores[1] + 1


@pytest.mark.parametrize("method", ["reward/bradley_terry", "reward/plackett_luce", "reward/ensemble"])
def test_a_policy_to_start_from_is_not_shrunk_by_the_decay_of_its_head(method: str, tmp_path: Path) -> None:
    before = policy(LIKE_LLAMA["llama"])
    start = nn.save(before, tmp_path / "policy")
    liked = [Pair(f"pair-{i}", f"the room {i}", " four is it", " no") for i in range(16)]
    settings = {
        "backbone": "policy",
        "lr": 0.02,
        "weight_decay": 20.0,
        "epochs": 2,
        "batch_size": 8,
        "held_out": 0,
    }
    settings |= {"members": 2} if method == "reward/ensemble" else {}
    snapshot = toys.snapshot(tmp_path / "snapshot", liked)
    spec = Spec(method, tmp_path / "run", settings, 0, snapshot, {"policy": str(start)})
    assert api.execute(spec) == api.FINISHED
    (row, *_) = [row for row in toys.rows(spec.home) if "learning_rate" in row]
    assert row["learning_rate"] == pytest.approx(0.02, rel=0.1)
    found = spec.home / "reward_model"
    learned = nn.load_reward_model(found / "member-0" if method == "reward/ensemble" else found)
    assert isinstance(learned, PolicyReward)
    moved = 0.0
    for (name, now), then in zip(learned.policy.named_parameters(), before.parameters(), strict=True):
        assert now.norm().item() == pytest.approx(then.norm().item(), rel=1e-3), name
        moved = max(moved, (now - then).abs().max().item())
    assert 1e-6 < moved < 1e-4  # at most four steps of policy_lr, 1e-5
    fresh = PolicyReward(before, 0).head.weight.norm().item()
    assert learned.head.weight.norm().item() < 0.5 * fresh


def test_only_models_whose_every_part_is_known_are_read() -> None:
    assert reads(LIKE_LLAMA["llama"]().model)
    assert not reads(OTHERS["sliding"]().model)
    assert not reads(OTHERS["dynamic_rope"]().model)
    assert not reads(OTHERS["gpt2"]().base_model)


def test_in_double_precision_our_loop_is_exact() -> None:
    model = LIKE_LLAMA["grouped"]().double().eval()
    ids = torch.randint(0, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    real = torch.ones(2, 8, dtype=torch.bool)
    ours = Llama(model.model).states([ids[0, :5], ids[1, :5]], ids[:, 5:], real)
    expected = model.model(input_ids=ids).last_hidden_state[:, 4:].flatten(0, 1)
    assert torch.allclose(ours, expected, atol=1e-6)  # angles are single precision in both
