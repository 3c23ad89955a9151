"""Texts that are longer than a policy reads: counted, said once, and left out where nothing is left to tell apart."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.test_nn_hugging_face import chat_policy
from tests.trainers.toys import entries, snapshot
from trainers import api, nn
from trainers.data import Preference, preferences
from trainers.data.lazy import Lazy
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.records import Pair
from trainers.run import Run, Spec
from trainers.sampling import pairs


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


PAIRED = ("direct/dpo", "direct/ipo", "direct/cdpo", "direct/simpo", "direct/orpo")


@pytest.mark.parametrize("method", [*PAIRED, "direct/kto", "correction/sft"])
def test_what_a_policy_cannot_read_of_its_texts_is_said_once_and_pairs_it_cannot_tell_apart_are_left_out(
    method, tmp_path
):
    long, story = "a room " * 60, "and then " * 60
    said = [
        Pair("same", "one", story + "yes", story + "no"),
        Pair("fine", "two", "yes", "no"),
        Pair("long", long, "yes", "no"),
        Pair("half", "three", "yes", story),
    ]
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1, context=128)), tmp_path / "policy")
    snapshot(tmp_path / "snapshot", said)
    settings = {"epochs": 1, "batch_size": 4, "held_out": 0.0, "warmup": 0.0}
    spec = Spec(method, tmp_path / "run", settings, 0, tmp_path / "snapshot", {"policy": str(policy)})
    assert api.execute(spec) == 0
    [event] = [one for one in entries(spec.home) if one["type"] == "event" and one["kind"] == "truncated"]
    found, paired = event["data"], method in PAIRED
    each = 1 if method == "correction/sft" else 2
    assert found["cut_prompts"] == (1 if paired or each == 1 else 2)
    assert (found["answers"], found["cut_answers"]) == ((8, 3) if each == 2 else (4, 1))
    assert found["alike"] == paired
    assert ("1 of 4 pairs are left out" in event["text"]) == paired
    assert "Raise context in the policy's kibitz.json" in event["text"]


def test_of_both_parts_those_pairs_are_left_out_whose_answers_are_the_same_to_the_policy(tmp_path):
    story = "and then " * 60

    def asked(*prompts: str) -> Lazy[Preference]:
        return preferences(
            [
                Pair(one, one, *([story + "yes", story + "no"] if one[0] == "-" else ["yes", "no"]))
                for one in prompts
            ]
        )

    policy = ByteTransformer(ByteTransformerConfig(d=16, layers=1, context=128))
    run = Run(
        Spec("direct/dpo", tmp_path / "run", inputs={"policy": str(nn.save(policy, tmp_path / "policy"))})
    )
    parts = asked("-a", "b", "-c", "d"), asked("e", "-f", "g")
    wanted, held_out, kept, lengths = pairs.readable(run, policy, *parts)
    assert [one.prompt for one in wanted] == ["b", "d"] and [one.prompt for one in held_out] == ["e", "g"]
    whole = [policy.encode_pair(prompt, "yes") for prompt in "bdeg"]
    for (x, y_w, y_l), (prompt, yes) in zip(kept, whole, strict=True):
        assert torch.equal(x, prompt) and torch.equal(y_w, yes) and not torch.equal(y_l, yes)
    assert lengths.tolist() == pairs.lengths(kept, torch.device("cpu")).tolist() == [[4, 3]] * 4


def test_texts_that_a_policy_reads_whole_are_not_spoken_of(tmp_path):
    """To the last token: a prompt that just fits is no cut one."""
    policy = ByteTransformer(ByteTransformerConfig(d=16, layers=1, context=128))
    fits, over = "r" * 61, "r" * 62
    assert len(policy.encode(fits)) == len(policy.encode(over)) == 64
    assert not policy.cut(fits, policy.encode(fits)) and policy.cut(over, policy.encode(over))
    saved = nn.save(policy, tmp_path / "policy")
    snapshot(tmp_path / "snapshot", [Pair("fits", fits, "y" * 63, "n" * 63)])
    settings = {"epochs": 1, "held_out": 0.0}
    spec = Spec("direct/dpo", tmp_path / "run", settings, 0, tmp_path / "snapshot", {"policy": str(saved)})
    assert api.execute(spec) == 0
    assert not [one for one in entries(spec.home) if one["type"] == "event" and one["kind"] == "truncated"]


def test_a_hugging_face_policy_knows_which_prompts_it_cut():
    policy = chat_policy(context=64)
    short, over = "a", "the quiet room " * 40
    assert not policy.cut(short, policy.encode(short)) and policy.cut(over, policy.encode(over))
    _, y = policy.encode_pair(short, over)
    assert int(y[-1]) != policy.eos and int(policy.encode_pair(short, "hi")[1][-1]) == policy.eos
