"""What online methods share: which rows a step learns from, and an alarm for a KL that cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.trainers.toys import entries, toy_spec
from trainers import api
from trainers.sampling import rollouts
from trainers.sampling.rollouts import Buffer, cuts, due, minibatch, negative


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
