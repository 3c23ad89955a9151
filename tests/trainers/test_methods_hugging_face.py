"""The methods on a Hugging Face model with adapters: the same files, the same promises."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainers import toys
from tests.trainers.test_nn_hugging_face import chat_policy, classifier
from trainers import api, nn
from trainers.records import Message, Pair, Record
from trainers.run import Spec


def liked() -> list[Record]:
    """People like the long answer, in a chat as after a plain prompt."""
    asked = [
        "what is two plus two?",
        (Message("user", "the room"), Message("assistant", "hi"), Message("user", "a")),
    ]
    return [
        Pair(f"pair-{i}", asked[i % 2] if i < 20 else f"the room {i}", "four is it", "no") for i in range(24)
    ]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    policy = nn.save(chat_policy(lora_rank=4), tmp_path / "policy")
    snapshot = toys.snapshot(tmp_path / "snapshot", liked())
    settings = {"lr": 1e-2, "epochs": 4, "batch_size": 8, "held_out": 0.1}
    return Spec("direct/dpo", tmp_path / "run", settings, 0, snapshot, {"policy": str(policy)})


def test_dpo_learns_with_adapters_and_leaves_the_base_alone(spec: Spec) -> None:
    assert api.execute(spec) == api.FINISHED
    rows = toys.rows(spec.home)
    assert toys.first(rows, "loss") == pytest.approx(0.6931472, abs=1e-6)
    assert toys.last(rows, "loss") < 0.3
    before, after = nn.load_policy(spec.inputs["policy"]), nn.load_policy(spec.home / "policy")
    plain = {name: value for name, value in before.named_parameters() if "lora_" not in name}
    assert plain
    assert all(torch.equal(value, dict(after.named_parameters())[name]) for name, value in plain.items())
    asked, answer = before.encode_pair("what is two plus two?", "four is it")
    assert after.logp_tok([asked], answer[None]).sum() > before.logp_tok([asked], answer[None]).sum()


def test_dpo_with_adapters_goes_on_exactly_after_a_kill(spec: Spec, tmp_path: Path) -> None:
    spec = replace(spec, checkpoint_every=3)
    again = replace(spec, home=tmp_path / "again")
    assert toys.in_child(spec) == api.FINISHED
    assert toys.in_child(again, lambda: toys.die_at(20)) == -signal.SIGKILL
    assert toys.in_child(again) == api.FINISHED
    assert (again.home / "checkpoints").is_dir()
    assert toys.outcome(again) == toys.outcome(spec)


def test_rloo_improves_a_model_with_adapters_against_a_classifier(spec: Spec, tmp_path: Path) -> None:
    reward = classifier(tmp_path / "reward")
    settings = {"lr": 1e-2, "steps": 12, "k": 8, "prompts_per_step": 2, "max_new_tokens": 8, "kl_coef": 0.0,
                "missing_eos_penalty": 0.0, "watch": 0, "held_out": 0.1}  # fmt: skip
    inputs = {**spec.inputs, "reward_model": str(reward)}
    online = Spec("online/rloo", tmp_path / "online", settings, 0, spec.snapshot, inputs)
    assert api.execute(online) == api.FINISHED
    rows = toys.rows(online.home)
    scores = [row["objective/scores"] for row in rows if "objective/scores" in row]
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.05
    assert toys.first(rows, "objective/kl") == pytest.approx(0.0, abs=1e-4)
