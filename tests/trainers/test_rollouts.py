"""What online methods share: which rows a step learns from, and an alarm for a KL that cannot be."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch

from tests.trainers.exact.sampled import byte_spec
from tests.trainers.toys import entries, rows, toy_spec
from trainers import api, nn
from trainers.fit import Tally
from trainers.run import Run
from trainers.sampling import rollouts
from trainers.sampling.rollouts import Buffer, Rollouts, cuts, due, minibatch, negative


def test_a_buffer_is_gone_through_in_order_first_and_shuffled_after_and_wholly_each_time():
    steps = range(1, 13)
    assert [step for step in steps if due(step, 3, 2)] == [1, 7]
    taken = [minibatch(step, 5, 3, 2, seed=4) for step in steps]
    assert taken[:2] == taken[6:8] == cuts(5, 2) == [[0, 1, 2], [3, 4]]
    for start in (0, 2, 4, 6, 8, 10):
        assert sorted(taken[start] + taken[start + 1]) == [0, 1, 2, 3, 4]
    assert taken[2:4] != taken[:2] and taken[2:4] != taken[8:10], (
        "every buffer and epoch has an order of its own"
    )
    assert taken == [minibatch(step, 5, 3, 2, seed=4) for step in steps]


def test_a_buffer_with_fewer_rows_than_minibatches_leaves_no_step_without_rows():
    assert [minibatch(step, 1, 1, 3, seed=0) for step in (1, 2, 3)] == [[0], [0], [0]]


def test_a_buffer_comes_back_from_its_state():
    buffer, again = Buffer(torch.device("cpu")), Buffer(torch.device("cpu"))
    assert "y" not in buffer and len(buffer) == 0
    buffer.fill([torch.tensor([1]), torch.tensor([2, 3])], y=torch.tensor([[4], [5]]))
    again.load_state_dict(buffer.state_dict())
    assert len(again) == 2 and again.x[1].tolist() == [2, 3] and torch.equal(again["y"], buffer["y"])


def test_one_batch_may_have_a_kl_below_zero_and_many_may_not():
    below = [-0.1 + 0.01 * (-1) ** i for i in range(20)]
    assert negative(below)
    assert not negative([-value for value in below])
    assert not negative([(-1) ** i * 0.5 - 0.01 for i in range(20)])
    assert not negative([-1e-6] * 20), "rounding is no alarm"


@pytest.mark.parametrize("method", ["online/rloo", "online/ppo"])
def test_a_sampler_that_lies_about_its_log_probabilities_raises_an_alarm_once(method, tmp_path, monkeypatch):
    honest = rollouts.sample_answers

    def lying(*args):
        answers = honest(*args)
        return replace(answers, samples=replace(answers.samples, logp_tok=answers.samples.logp_tok - 0.5))

    config = {"steps": 70, "kl_coef": 1.0, "lr": 1e-3, "watch": 0}
    for sampler, alarms in ((honest, 0), (lying, 1)):
        monkeypatch.setattr(rollouts, "sample_answers", sampler)
        spec = toy_spec(method, tmp_path, f"alarms {alarms}", config=config, checkpoint_every=None)
        assert api.execute(spec) == 0
        found = [entry for entry in entries(spec.home) if entry["type"] == "event"]
        assert len(found) == alarms and all(entry["kind"] == "alarm" for entry in found)


ONLINE = {
    "online/rloo": {"k": 2},
    "online/reinforce": {"k": 2},
    "online/grpo": {"k": 2, "epochs": 2, "minibatches": 2},
    "online/ppo": {"k": 2, "epochs": 2, "critic_warmup": 0},
    "online/p3o": {"epochs": 2},
}
OF_THE_KL = {"objective/kl", "objective/sqrt_kl", "kl", "policy/ref_ppl"}


def outcome(spec):
    """The weights and the log that a run ends with."""
    assert api.execute(spec) == 0
    return nn.load_policy(spec.home / "policy").state_dict(), rows(spec.home)


@pytest.mark.parametrize("method", ONLINE)
def test_where_the_kl_costs_nothing_only_its_charts_know_that_the_reference_read_a_part(
    method, tmp_path, monkeypatch
):
    """Steps are the same to the last bit, and not even the charts see what stands where the reference did not read."""
    config = {"steps": 5, "lr": 1e-2, "kl_coef": 0.0, "prompts_per_step": 8, "watch": 0, **ONLINE[method]}
    weights, log = outcome(byte_spec(method, tmp_path, "part", **config))
    honest = Rollouts._draw

    def poisoned(self, *args):
        scored = honest(self, *args)
        if scored.looked_at is not None:
            assert scored.looked_at.view(8, 2).all(dim=1).sum() == 4, "whole prompts, to 8 answers"
            scored.logp_ref[~scored.looked_at] = 40.0
        return scored

    monkeypatch.setattr(Rollouts, "_draw", poisoned)
    others = outcome(byte_spec(method, tmp_path, "poisoned", **config))
    assert all(torch.equal(weights[name], others[0][name]) for name in weights) and log == others[1]

    monkeypatch.setattr(Rollouts, "_draw", honest)
    monkeypatch.setattr(Rollouts, "_some", lambda self, prompts, k: torch.ones(prompts * k, dtype=torch.bool))
    whole = outcome(byte_spec(method, tmp_path, "whole", **config))
    assert all(torch.equal(weights[name], whole[0][name]) for name in weights)
    for part, all_read in zip(log, whole[1], strict=True):
        assert {k: v for k, v in part.items() if k not in OF_THE_KL} == {
            k: v for k, v in all_read.items() if k not in OF_THE_KL
        }
    assert [row.get("objective/kl") for row in log] != [row.get("objective/kl") for row in whole[1]]


def test_every_prompt_is_as_likely_as_the_others_to_be_read_under_the_reference(tmp_path):
    made = Run(byte_spec("online/rloo", tmp_path, "run", kl_coef=0.0))
    drawing = object.__new__(Rollouts)
    drawing.run = made
    times = torch.zeros(16)
    for _ in range(2000):
        made.count("num_tokens", 7)
        part = drawing._some(16, 2).view(16, 2)
        assert torch.equal(part[:, 0], part[:, 1]) and part[:, 0].sum() == 4
        times += part[:, 0]
    assert (times / 2000 - 0.25).abs().max() < 0.05, "five standard errors"
    assert drawing._some(2, 8).sum() == 8 and drawing._some(3, 2).all() and drawing._some(100, 4).sum() == 100


def test_a_kl_that_is_to_cost_again_is_read_whole_from_the_next_draw_on(tmp_path):
    """Until then its cost is left out: a part's would be another's."""
    run = Run(byte_spec("online/grpo", tmp_path, "run", kl_coef=0.0, watch=0))
    grpo = importlib.import_module("trainers.methods.online.grpo")
    config = grpo.Config(**run.config)
    policy = nn.load_policy(run.input("policy"))
    drawing = Rollouts(run, config, policy)
    buffer, tally = Buffer(run.device), Tally()
    with torch.no_grad():
        drawing.reference.norm.weight.mul_(4.0)  # something to be far from

    def loss(beta: float) -> float:
        given = (policy, buffer, range(len(buffer)), beta, config, tally, False)
        return sum(part.item() for part in grpo.policy_loss(*given))

    grpo.fill(buffer, drawing, drawing.draw(range(4), 4, run.generator), 0.0, config, tally)
    assert loss(0.5) == loss(0.0)
    run.knobs["kl_coef"] = 0.5
    scored = drawing.draw(range(4), 4, run.generator)
    assert scored.looked_at is None
    grpo.fill(buffer, drawing, scored, 0.5, config, tally)
    assert loss(0.5) > loss(0.0) + 1e-3
