"""What a process that keeps policies in memory answers: plain draws, likelier ones, and the best of some."""

from __future__ import annotations

import json

import pytest
import torch

from trainers.nn.table import SeqTable, TableConfig, TableReward
from trainers.sampling import sample_answers
from trainers.sampling.serve import reply

TABLE = TableConfig(prompts=("p",), symbols="abcd", length=3)


@pytest.fixture(scope="module")
def policy():
    return SeqTable(TABLE, seed=1)


@pytest.fixture(scope="module")
def liking_a():
    model = TableReward(TABLE)
    with torch.no_grad():
        strings = SeqTable(TABLE).enumerate()
        model.values.copy_((strings == 0).sum(dim=1, dtype=torch.float64)[None])
    return model


def ask(policy, reward_model=None, **more):
    request = {"id": 7, "prompt": "p", "n": 8, "seed": 3, "max_new_tokens": 3, **more}
    return reply([policy], json.dumps(request), reward_model)


def test_a_plain_request_is_answered_as_ever(policy):
    generator = torch.Generator().manual_seed(3)
    texts = sample_answers(policy, ["p"], 8, 3, 1.0, generator).texts
    assert ask(policy) == {"id": 7, "texts": texts} == ask(policy, top_p=1.0, top_k=0, best_of=1, stop=[])


def test_the_likeliest_token_alone_is_greedy(policy):
    y = torch.zeros(1, 3, dtype=torch.int64)
    for t in range(3):
        y[0, t] = policy.logits([torch.tensor([0])], y)[0, t].argmax()
    wanted = {"id": 7, "texts": [policy.decode(y[0])] * 8}
    assert ask(policy, top_k=1) == wanted == ask(policy, top_p=1e-6)


def test_texts_end_before_a_stop_string(policy):
    cut = ask(policy, n=32, stop=["ab", "d"])["texts"]
    assert any(len(text) < 3 for text in cut)
    assert not any("ab" in text or "d" in text for text in cut)


def test_the_best_of_some_comes_with_its_score(policy, liking_a):
    best = ask(policy, liking_a, best_of=16)
    assert len(best["texts"]) == 8
    assert best["scores"] == [text.count("a") for text in best["texts"]]
    plain = [text.count("a") for text in ask(policy, n=64)["texts"]]
    assert sum(best["scores"]) / 8 > sum(plain) / 64 + 0.5
    assert ask(policy, liking_a, best_of=16) == best


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": True}, "top_p is True"),
        ({"top_k": -1}, "top_k is -1"),
        ({"stop": "ab"}, "stop is 'ab'"),
        ({"stop": [""]}, "none empty"),
        ({"stop": ["x"] * 9}, "at most 8"),
        ({"best_of": 33}, "best_of is 33; expected a whole number from 1 to 32"),
        ({"best_of": 2}, "started without one"),
        ({"best_of": 2, "top_p": 0.9}, "leave out top_p and top_k"),
        ({"nucleus": 0.9}, "Found nucleus"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0, at most 10"),
    ],
)
def test_what_cannot_be_is_answered_in_words(policy, wrong, said):
    assert said in ask(policy, **wrong)["problem"]
