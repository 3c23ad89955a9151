"""Choosing what to ask: worth by hand, who may choose, and that it saves labels where the truth is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from benchmarks import queries
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import (
    TABLE,
    entries,
    reward_model,
    toy_spec,
)
from trainers import api, nn
from trainers.nn.ensemble import EnsembleReward
from trainers.nn.table import SeqTable
from trainers.run import Run, Spec
from trainers.sampling.questions import choose

BOTH = ["query/disagreement", "query/information"]


# --- worth ----------------------------------------------------------------------------------------


def test_dispute_is_the_variance_of_the_members_probabilities():
    """0.75 and 0.25: 1/16. 0 and 1: 1/4, the most. All the same: 0."""
    worth = method("query/disagreement").worth
    p = torch.tensor([[0.75, 0.0, 0.9], [0.25, 1.0, 0.9]])
    assert worth(p).tolist() == pytest.approx([1 / 16, 1 / 4, 0])


def test_information_is_the_entropy_of_the_mean_less_the_mean_entropy():
    """0.75 and 0.25: log 2 - 0.562335 = 0.130812 nats. 0 and 1: log 2. 0.5 and 0.5: a coin that nobody learns from."""
    worth = method("query/information").worth
    p = torch.tensor([[0.75, 0.0, 0.9, 0.5], [0.25, 1.0, 0.9, 0.5]], dtype=torch.float64)
    assert worth(p).tolist() == pytest.approx([0.130812, math.log(2), 0, 0], abs=1e-6)
    many = torch.rand(8, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (worth(many) >= 0).all() and (worth(many) <= math.log(2)).all()


# --- who chooses, and what is written -------------------------------------------------------------


def proposed(spec: Spec, query: ModuleType) -> list[dict]:
    run = Run(spec)
    query.train(query.Config(**run.config), run)
    run.finished()
    return [json.loads(line) for line in (spec.home / "items.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", BOTH)
def test_a_single_reward_model_is_refused_with_what_to_do(name, tmp_path):
    spec = toy_spec(name, tmp_path)
    single = replace(spec, inputs={**spec.inputs, "reward_model": reward_model(tmp_path / "single")})
    assert api.execute(single) == 1
    message = entries(single.home)[-1]["message"]
    assert "'table_reward'" in message and "Train reward/ensemble" in message and "query/random" in message


@pytest.mark.parametrize("name", BOTH)
def test_what_is_written_names_its_writers_and_its_worth_and_comes_in_order_of_it(name, tmp_path):
    spec = toy_spec(name, tmp_path, config={"count": 10})
    rival = nn.save(SeqTable(TABLE, seed=5), tmp_path / "rival")
    sources = {"policy": {"run": 4, "name": "second"}, "rival": {"run": 2, "name": "first"}}
    items = proposed(
        replace(spec, run=7, inputs={**spec.inputs, "rival": str(rival)}, sources=sources), method(name)
    )
    assert len(items) == 10 and len({one["context"]["prompt"] for one in items}) == 10
    worths = [one["source"]["worth"] for one in items]
    assert worths == sorted(worths, reverse=True) and worths[-1] > 0
    for number, one in enumerate(items):
        assert {answer["policy"] for answer in one["candidates"]} == {"second, run 4", "first, run 2"}
        assert one["candidates"][0]["text"] != one["candidates"][1]["text"]
        assert one["external_id"] == f"run-7-{number}"


def gap(items: list[dict]) -> float:
    """How many more of the letters that the members differ about one answer has, on average: they all like a alike."""
    texts = [[answer["text"] for answer in one["candidates"]] for one in items]
    return sum(max(abs(a.count(c) - b.count(c)) for c in "bcd") for a, b in texts) / len(texts)


@pytest.mark.parametrize("name", BOTH)
def test_it_asks_about_what_members_dispute_and_random_does_not(name, tmp_path):
    chosen = proposed(toy_spec(name, tmp_path / "chosen", config={"count": 20}), method(name))
    random = proposed(
        toy_spec("query/random", tmp_path / "random", config={"count": 20}), method("query/random")
    )
    assert gap(chosen) > gap(random) + 0.4


@pytest.mark.parametrize("name", BOTH)
def test_members_that_agree_leave_nothing_worth_asking(name, tmp_path):
    spec = toy_spec(name, tmp_path, config={"count": 5})
    members = [nn.load_reward_model(reward_model(tmp_path / str(seed))) for seed in range(3)]
    agreed = nn.save(EnsembleReward(members), tmp_path / "agreed")
    items = proposed(replace(spec, inputs={**spec.inputs, "reward_model": str(agreed)}), method(name))
    assert max(one["source"]["worth"] for one in items) < 1e-12


def test_a_policy_with_one_thing_to_say_is_told_so(tmp_path):
    spec = toy_spec("query/information", tmp_path, config={"temperature": 1e-6})
    assert api.execute(spec) == 1
    assert "Raise the temperature" in entries(spec.home)[-1]["message"]


# --- choosing among many --------------------------------------------------------------------------


def waiting(*rows: tuple[str, str, float]) -> list[dict]:
    return [{"prompt": prompt, "texts": [text, "other"], "worth": worth} for prompt, text, worth in rows]


def test_a_prompts_second_comparison_counts_half_and_none_comes_twice():
    pool = waiting(
        ("p", "a", 1.0), ("p", "b", 0.9), ("p", "c", 0.8), ("q", "a", 0.5), ("q", "a", 0.5), ("r", "a", 0.4)
    )
    found = [(one["prompt"], one["texts"][0]) for one in choose(pool, 5)]
    assert found == [("p", "a"), ("q", "a"), ("p", "b"), ("r", "a"), ("p", "c")]


def greedy(pool: list[dict], count: int) -> list[dict]:
    """Taken one after another, by what each is worth now."""
    left, taken = list(pool), []
    while left and len(taken) < count:
        best = max(
            left, key=lambda one: one["worth"] / (1 + sum(one["prompt"] == t["prompt"] for t in taken))
        )
        taken.append(left.pop(left.index(best)))
    return taken


def test_choosing_is_greedy_and_a_pool_can_be_replaced_by_what_was_chosen_from_it():
    chance = torch.Generator().manual_seed(0)
    values = torch.rand(60, generator=chance).tolist()
    pool = waiting(*((f"p{n % 7}", str(n), value) for n, value in enumerate(values)))
    assert choose(pool, 20) == greedy(pool, 20)
    assert choose([*choose(pool[:30], 20), *pool[30:]], 20) == choose(pool, 20)


# --- labels saved, in a world whose truth is known ------------------------------------------------

SEEDS = range(4)
LABELS = 120


def accuracy(worth) -> float:
    """After LABELS labels, mean over a few worlds. Random questions: 0.86."""
    return sum(queries.curve(seed, worth, LABELS)[-1] for seed in SEEDS) / len(SEEDS)


@pytest.fixture(scope="module")
def by_chance() -> float:
    torch.set_num_threads(1)
    return accuracy(None)


@pytest.mark.parametrize("name", BOTH)
def test_chosen_questions_teach_more_than_random_ones(name, by_chance):
    assert accuracy(method(name).worth) > by_chance + 0.02


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("query/disagreement", "p.var(dim=0, correction=0)", "-p.var(dim=0, correction=0)"),
        ("query/information", "return entropy(p.mean(dim=0)) - ", "return entropy(p).mean(dim=0) - 2 * "),
    ],
    ids=["least disputed", "least entropy"],
)
def test_questions_chosen_the_wrong_way_teach_less_than_random_ones(name, right, wrong, by_chance):
    assert accuracy(method(name, right, wrong).worth) < by_chance


def coins_asked(worth) -> float:
    """The share of coin tosses among the questions asked after 120 labels."""
    shares = []
    for seed in SEEDS:
        world = queries.World(seed)
        asked = queries.chosen(world, torch.zeros(0), None, LABELS)
        heads = queries.fitted(asked, world.labels(asked), torch.Generator().manual_seed(seed))
        chosen = queries.chosen(world, heads, worth, 50)
        shares.append((chosen[:, : queries.MATTER].abs().sum(dim=1) == 0).double().mean().item())
    return sum(shares) / len(shares)


def test_information_leaves_coin_tosses_alone_and_marginal_entropy_keeps_asking_about_them():
    information = method("query/information")
    marginal = method("query/information", " - entropy(p).mean(dim=0)", "")
    assert coins_asked(information.worth) < 0.1
    assert coins_asked(method("query/disagreement").worth) < 0.1
    assert coins_asked(marginal.worth) > 0.4
