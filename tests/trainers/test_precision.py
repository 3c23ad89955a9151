"""Runs whose models read in bfloat16: close to single precision, exact at their start and after a kill, or refused."""

from __future__ import annotations

import json
import math
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers import toys
from tests.trainers.groups import trained, weights
from tests.trainers.test_methods_hugging_face import liked as liked_in_chats
from tests.trainers.test_nn_hugging_face import chat_policy, gpt2, tokenizer
from trainers import api, nn, registry
from trainers.maths.logprobs import gather_logp
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.hugging_face_reward import PolicyReward
from trainers.nn.precision import reading_in
from trainers.nn.reward import ByteReward
from trainers.nn.tuned_encoder import TunedEncoderConfig, TunedEncoderReward
from trainers.records import Correction, Pair, Record
from trainers.registry import METHODS, ConfigError
from trainers.run import Run, Spec

REFERRING = (
    "direct/dpo", "direct/ipo", "direct/cdpo", "direct/kto", "correction/edits", "correction/edits_masked",
)  # fmt: skip
ABLE = (
    *REFERRING, "direct/simpo", "direct/orpo", "correction/sft",
    "reward/bradley_terry", "reward/plackett_luce", "reward/ordinal", "reward/ensemble",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def liked() -> list[Record]:
    """Answers of many lengths, of which those with the letter a are liked; and edits that put one in."""
    chance = random.Random(0)
    found: list[Record] = []
    for i in range(60):
        prompt = f"prompt {'.' * chance.randrange(30)} {i % 20}"
        a, b = ("".join(chance.choices(letters, k=chance.randint(1, 40))) for letters in ("aab", "bcd"))
        found += [Pair(f"pair-{i}", prompt, a, b), Correction(f"edit-{i}", prompt, b, b + a)]
    return found


def spec_of(method: str, folder: Path, name: str = "run", precision: str = "bfloat16", **config: Any) -> Spec:
    """A run on transformers that multiply something; the toys' tables do not."""
    toy = toys.toy_spec(method, folder, name)
    if "policy" not in toy.inputs:
        return replace(toy, config={**toy.config, **config}, precision=precision)
    path = folder / "transformer"
    if not path.exists():
        nn.save(ByteTransformer(ByteTransformerConfig(d=64, layers=2)), path)
    records = toys.snapshot(folder / "liked", liked())
    settings = {"lr": 3e-3, "epochs": 2, "batch_size": 16, "held_out": 0.2, **config}
    return replace(
        toy,
        snapshot=records,
        inputs={"policy": str(path)},
        config={**toy.config, **settings},
        precision=precision,
    )


def losses(spec: Spec) -> list[float]:
    return [row["loss"] for row in toys.rows(spec.home) if "loss" in row]


# --- what it computes ----------------------------------------------------------------------------------


def models(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Each model that may train in bfloat16, and what a loss is made of from it."""
    byte = ByteTransformer(ByteTransformerConfig(d=64, layers=2)).eval()
    llama, adapted = chat_policy().eval(), chat_policy(lora_rank=4).eval()

    def logp(model: Any) -> torch.Tensor:
        rows = [model.encode_pair(f"the room {'a' * i}", "four is it " * (1 + i % 3)) for i in range(6)]
        batch = nn.collate(model, [*rows, *rows])
        found: torch.Tensor = model.logp_tok(batch.x, batch.y)
        return found

    def score(model: Any) -> torch.Tensor:
        found: torch.Tensor = model(model.encode(["the room", "four"], ["is it", "no"]))
        return found

    return {
        "byte transformer": (byte, logp), "llama": (llama, logp), "adapters": (adapted, logp),
        "gpt2": (HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig()).eval(), logp),
        "byte reward": (ByteReward(ByteTransformerConfig(d=64, layers=2)).eval(), score),
        "policy reward": (PolicyReward(chat_policy()).eval(), score),
    }  # fmt: skip


def gradients(model: Any, read: Any, precision: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    with reading_in(precision, torch.device("cpu")):
        found = read(model)
        found.square().sum().backward()
    named = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return found.detach(), named


@pytest.mark.parametrize(
    "name", ["byte transformer", "llama", "adapters", "gpt2", "byte reward", "policy reward"]
)
def test_a_model_reads_in_bfloat16_and_gives_back_single_precision(name, tmp_path):
    model, read = models(tmp_path)[name]
    exact, wanted = gradients(model, read, "float32")
    found, got = gradients(model, read, "bfloat16")
    assert found.dtype == torch.float32 and {one.dtype for one in got.values()} == {torch.float32}
    assert not torch.equal(found, exact), "it was read in eight bits"
    assert found.bfloat16().float().ne(found).any(), "losses are not made of numbers of eight bits"
    torch.testing.assert_close(found, exact, rtol=0.03, atol=0.03)
    assert got.keys() == wanted.keys()
    whole, other = (torch.cat([one[key].flatten() for key in wanted]) for one in (wanted, got))
    assert torch.cosine_similarity(whole, other, dim=0) > 0.999
    again, _ = gradients(model, read, "float32")
    assert torch.equal(again, exact), "nothing is left behind"


def test_layers_and_logits_that_are_computed_again_on_the_way_back_are_the_same(monkeypatch, tmp_path):
    read = models(tmp_path)["llama"][1]
    plain, again = (chat_policy(recompute=recompute).eval() for recompute in (False, True))
    again.load_state_dict(plain.state_dict())
    found, wanted = gradients(plain, read, "bfloat16")
    same, got = gradients(again, read, "bfloat16")
    assert torch.equal(same, found) and all(torch.equal(got[name], wanted[name]) for name in wanted)
    monkeypatch.setattr("trainers.maths.logprobs.HELD", 3 * 384)
    cut, got = gradients(plain, read, "bfloat16")
    torch.testing.assert_close(cut, found, rtol=1e-3, atol=1e-3)
    for name in wanted:
        torch.testing.assert_close(
            got[name], wanted[name], rtol=0.02, atol=0.02 * wanted[name].abs().max().item()
        )


def test_the_layer_of_an_encoder_that_learns_is_read_in_bfloat16(tmp_path):
    model = TunedEncoderReward(TunedEncoderConfig()).eval()
    torch.nn.init.ones_(model.head.weight)
    rows = model.encode(["is it warm?"] * 2, ["it is", "no, and the room is dark"])
    exact, wanted = gradients(model, lambda model: model(rows), "float32")
    found, got = gradients(model, lambda model: model(rows), "bfloat16")
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.03, atol=0.3)
    assert got.keys() == wanted.keys() and {one.dtype for one in got.values()} == {torch.float32}


def test_what_is_written_token_by_token_is_exact_in_a_run_of_bfloat16(tmp_path):
    model = ByteTransformer(ByteTransformerConfig(d=64, layers=2)).eval()
    x = [model.encode("the room")]

    def drawn() -> torch.Tensor:
        return model.sample(x, 4, 8, 1.0, torch.Generator().manual_seed(0)).logp_tok

    exact = drawn()
    y = torch.tensor([model.encode_pair("the room", "is")[1].tolist()])
    before = model.logp_tok(x, y)
    with reading_in("bfloat16", torch.device("cpu")):
        assert torch.equal(drawn(), exact)
        assert not torch.equal(model.logp_tok(x, y), before)
    assert torch.equal(model.logp_tok(x, y), before), "and after the run all is"


@pytest.mark.parametrize("name", ["byte transformer", "llama", "gpt2"])
def test_log_probabilities_are_those_of_the_logits_in_bfloat16_too(name, tmp_path):
    model, _ = models(tmp_path)[name]
    rows = [model.encode_pair("the room", text) for text in ("four is it", "no")]
    batch = nn.collate(model, rows)
    with torch.no_grad(), reading_in("bfloat16", torch.device("cpu")):
        found = model.logp_tok(batch.x, batch.y)
        assert torch.equal(found, gather_logp(model.logits(batch.x, batch.y), batch.y, batch.mask))


# --- what a run learns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", REFERRING)
def test_a_policy_that_is_its_reference_has_margins_of_exactly_0(method, tmp_path):
    spec = spec_of(method, tmp_path, epochs=1, batch_size=24, micro_batch=10)
    assert api.execute(spec) == 0
    first = toys.rows(spec.home)[0]
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0
    wanted = {"direct/kto": 0.5, "direct/ipo": 1 / (2 * 0.2) ** 2}.get(method, math.log(2))
    assert first["loss"] == pytest.approx(wanted, rel=2e-7)


def test_dpo_learns_with_adapters_on_a_hugging_face_model_too(tmp_path):
    policy = nn.save(chat_policy(lora_rank=4), tmp_path / "policy")
    snapshot = toys.snapshot(tmp_path / "snapshot", liked_in_chats())
    settings = {"lr": 1e-2, "epochs": 4, "batch_size": 8, "held_out": 0.1}
    spec = Spec(
        "direct/dpo", tmp_path / "run", settings, 0, snapshot, {"policy": str(policy)}, precision="bfloat16"
    )
    assert api.execute(spec) == 0
    rows = toys.rows(spec.home)
    assert rows[0]["rewards/chosen"] == rows[0]["rewards/rejected"] == 0
    assert toys.last(rows, "loss") < 0.3


@pytest.mark.parametrize("method", ABLE)
def test_it_learns_in_bfloat16_what_it_learns_in_single_precision(method, tmp_path):
    """Losses within 0.05, or a twentieth, at each step, and weights that differ."""
    slow = {"lr": 3e-4} if method == "direct/ipo" else {}  # its squares grow too fast to be followed
    exact = spec_of(method, tmp_path, "exact", "float32", **slow)
    eight = spec_of(method, tmp_path, "eight", **slow)
    assert api.execute(exact) == api.execute(eight) == 0
    assert losses(eight) != losses(exact)
    assert losses(eight) == pytest.approx(losses(exact), rel=0.05, abs=0.05)
    assert {value.dtype for value in weights(eight).values()} == {torch.float32}


def test_dpo_ends_at_the_same_loss_and_the_same_accuracy(tmp_path):
    found = []
    for precision in ("float32", "bfloat16"):
        spec = spec_of("direct/dpo", tmp_path, precision, precision, epochs=4)
        assert api.execute(spec) == 0
        found.append(toys.rows(spec.home))
    (loss, close), (right, also) = (
        [toys.last(rows, name) for rows in found] for name in ("eval_loss", "eval_rewards/accuracies")
    )
    assert loss < 0.4 and right > 0.9
    assert close == pytest.approx(loss, abs=0.02)
    assert also == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize("method", ["direct/dpo", "correction/sft"])
def test_a_step_does_not_depend_on_how_a_batch_is_cut(method, tmp_path):
    whole = spec_of(method, tmp_path, "whole", epochs=1, batch_size=8, micro_batch=8)
    cut = spec_of(method, tmp_path, "cut", epochs=1, batch_size=8, micro_batch=1)
    assert api.execute(whole) == api.execute(cut) == 0
    assert losses(cut) == pytest.approx(losses(whole), abs=0.02)


@pytest.mark.parametrize("method", ["direct/dpo", "reward/bradley_terry"])
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(method, tmp_path):
    calm, killed = (
        replace(spec_of(method, tmp_path, name), checkpoint_every=3) for name in ("calm", "killed")
    )
    assert api.execute(calm) == 0
    assert toys.in_child(killed, lambda: toys.die_at(8)) == -signal.SIGKILL
    assert api.execute(killed) == 0
    assert toys.outcome(killed) == toys.outcome(calm)


@pytest.mark.parametrize(
    ("method", "sharding"), [("direct/dpo", "ddp"), ("direct/dpo", "fsdp"), ("reward/bradley_terry", "fsdp")]
)
def test_two_processes_learn_what_one_learns(method, sharding, tmp_path):
    alone = spec_of(method, tmp_path, "alone", epochs=1)
    both = replace(spec_of(method, tmp_path, "both", epochs=1), sharding=sharding)
    assert api.execute(alone) == 0
    assert trained(both) == [0, 0]
    assert losses(both) == pytest.approx(losses(alone), abs=0.02)
    if method == "direct/dpo":
        assert toys.rows(both.home)[0]["rewards/margins"] == 0, "each process's share is read as it was"


# --- what is kept, and what is refused ---------------------------------------------------------------------


def test_what_is_kept_beside_a_run_is_that_of_its_precision(tmp_path):
    spec = replace(toys.toy_spec("direct/dpo", tmp_path), precision="float32")
    said = iter((1.0, 2.0))

    def compute() -> torch.Tensor:
        return torch.tensor([next(said)])

    assert Run(spec).once("reference", "of these", compute) == 1
    assert Run(replace(spec, precision="bfloat16")).once("reference", "of these", compute) == 2


def test_every_method_that_reads_given_answers_may_and_no_other(tmp_path):
    assert {name for name, one in METHODS.items() if not one.exact} == set(ABLE)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (
            "online/grpo",
            "it samples while it trains, and with eight bits the log-probabilities of both would not agree",
        ),
        ("query/random", "it trains nothing"),
        ("control/bc", "the networks of robots"),
        ("reward/clip_preferences", "the networks of robots and of clips are too small"),
    ],
)
def test_who_cannot_have_it_refuses_it_before_anything_starts_and_says_why(method, why, tmp_path):
    spec = replace(toys.toy_spec(method, tmp_path), precision="bfloat16")
    for act in (api.check, Run):
        with pytest.raises(ConfigError, match=f"{method} cannot be trained in bfloat16: {why}") as caught:
            act(spec)
        assert caught.value.field == "precision"
    assert not spec.home.exists()


def test_an_unknown_precision_is_named():
    with pytest.raises(ConfigError, match="There is no precision 'float16'. Expected float32 or bfloat16."):
        registry.check_precision("direct/dpo", "float16")


def test_a_run_is_not_gone_on_with_in_another_precision(tmp_path):
    spec = toys.toy_spec("direct/dpo", tmp_path)
    path = api.written(spec)
    with pytest.raises(ConfigError, match="a run whose precision is 'float32', and not 'bfloat16'"):
        api.written(replace(spec, precision="bfloat16"))
    before = {name: value for name, value in json.loads(path.read_text()).items() if name != "precision"}
    path.write_text(json.dumps(before))
    assert api.written(spec) == path, "runs from before there was a choice go on"
