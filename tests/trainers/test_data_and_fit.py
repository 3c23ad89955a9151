"""Splits without leaks, batches that resume, losses that add up, and numbers aggregated as they say."""

from __future__ import annotations

import random

import pytest
import torch

from tests.trainers.toys import pairs, snapshot
from trainers.data import Batches, demonstrated, preferences, prompts, read_records, split
from trainers.data.split import position
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.accuracy import calibration_error, wilson
from trainers.records import Correction, Demonstration, Message, Pair, Ranking


def test_no_prompt_is_on_both_sides_of_a_split_and_each_keeps_its_side():
    many = [Pair(f"{i}", f"prompt {i % 500}", "a", "b") for i in range(2000)]
    train, held_out = split(many, 0.2)
    assert len(train) + len(held_out) == 2000
    assert not set(prompts(train)) & set(prompts(held_out))
    assert 70 < len(prompts(held_out)) < 130
    again, _ = split([*reversed(many), Pair("new", "a new prompt", "a", "b")], 0.2)
    assert set(prompts(train)) <= set(prompts(again))
    assert set(prompts(split(many, 0.1)[1])) <= set(prompts(held_out)), (
        "a smaller share is a part of the larger"
    )


def test_the_place_of_a_prompt_is_the_same_on_every_machine():
    assert position("Hello") == pytest.approx(0.7592159, abs=1e-6)
    assert position((Message("user", "Hello"),)) != position("Hello")


def test_a_split_that_leaves_nothing_to_learn_from_says_so():
    with pytest.raises(ValueError, match="held_out to 0"):
        split([Pair("1", "p", "a", "b")], 1.0)


def test_a_snapshot_without_the_records_wanted_says_what_it_holds(tmp_path):
    folder = snapshot(tmp_path, [Demonstration("1", "p", "a")])
    with pytest.raises(ValueError, match="holds demonstration. Expected records of kind pair or correction"):
        read_records(folder, ("pair", "correction"))


def test_a_tie_is_both_orders_at_half_the_weight_and_both_bad_says_nothing():
    found = preferences(
        [
            Pair("1", "p", "a", "b", weight=2.0, annotator="ann"),
            Pair("2", "p", "a", "b", outcome="tie", weight=3.0),
            Pair("3", "p", "a", "b", outcome="both_bad"),
            Pair("4", "p", "same", "same"),
            Pair("5", "p", "a", "b", weight=0.0),
            Correction("6", "p", "before", "after"),
            Demonstration("7", "p", "a"),
        ]
    )
    assert [(one.better, one.worse, one.weight, one.decided) for one in found] == [
        ("a", "b", 2.0, True),
        ("a", "b", 1.5, False),
        ("b", "a", 1.5, False),
        ("after", "before", 1.0, True),
    ]


def test_a_ranking_is_learned_from_as_its_pairs():
    found = preferences(
        [Ranking("1", "p", ("a", "b", "c", "d"), (2, 1, 2, None), weight=3.0, annotator="ann")]
    )
    assert [(one.better, one.worse, one.weight, one.decided) for one in found] == [
        ("b", "a", 2.0, True),
        ("a", "c", 1.0, False),
        ("c", "a", 1.0, False),
        ("b", "c", 2.0, True),
    ]
    assert {one.annotator for one in found} == {"ann"}


def test_every_epoch_has_every_row_once_in_an_order_of_its_own():
    lengths = [random.Random(0).randint(1, 100) for _ in range(203)]
    batches = Batches(lengths, 10, seed=0)
    assert len(batches) == 21
    first, second = ([row for _ in range(21) for row in next(batches)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(203))
    assert first != second
    again, other = Batches(lengths, 10, seed=0), Batches(lengths, 10, seed=1)
    assert (
        first
        == [row for _ in range(21) for row in next(again)]
        != [row for _ in range(21) for row in next(other)]
    )
    assert batches.epoch == 2


def test_rows_of_about_one_length_come_together():
    lengths = list(range(160))
    random.Random(0).shuffle(lengths)
    batches = Batches(lengths, 10, seed=0)
    for _ in range(len(batches)):
        batch = [lengths[row] for row in next(batches)]
        assert max(batch) - min(batch) < 10


def test_batches_go_on_in_mid_epoch_where_they_were():
    kept, straight = Batches([1] * 50, 7, 3), Batches([1] * 50, 7, 3)
    for _ in range(11):
        next(kept), next(straight)
    resumed = Batches([1] * 50, 7, 3)
    resumed.load_state_dict(kept.state_dict())
    assert [next(resumed) for _ in range(20)] == [next(straight) for _ in range(20)]


def test_no_rows_at_all_is_said_in_words():
    with pytest.raises(ValueError, match="Nothing is left to learn from"):
        Batches([], 4, 0)


def test_the_learning_rate_rises_and_then_falls_to_nearly_0():
    shares = [anneal(step, 100, 0.1) for step in range(1, 101)]
    assert shares[:2] == pytest.approx([1 / 11, 2 / 11]) and shares[10] == 1
    assert shares[99] == pytest.approx(1 / 90)
    assert shares == sorted(shares[:11]) + sorted(shares[11:], reverse=True)
    assert anneal(1, 1, 0.0) == 1


def test_a_step_is_the_same_however_its_batch_is_cut():
    def trained(size: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimiser = adamw(model, 0.1)
        x, y, weight = torch.randn(10, 4), torch.randn(10), torch.rand(10)
        for _ in range(3):
            losses = (
                (weight[part] * (model(x[part])[:, 0] - y[part]).square()).sum() / weight.sum()
                for part in parts(range(10), size)
            )
            descend(optimiser, losses, 0.01, 1.0)
        return torch.cat([weight.flatten() for weight in model.parameters()]).detach()

    torch.testing.assert_close(trained(10), trained(3))
    torch.testing.assert_close(trained(10), trained(1))


def test_the_gradient_is_cut_to_the_length_asked_for_and_its_own_length_is_logged():
    weight = torch.nn.Parameter(torch.tensor([0.0]))
    optimiser = torch.optim.SGD([weight], lr=0.0)
    taken = descend(optimiser, [3 * weight.sum(), 4 * weight.sum()], 0.5, 1.0)
    assert taken == {"loss": 0.0, "grad_norm": 7.0, "learning_rate": 0.5}
    assert weight.item() == pytest.approx(-0.5)


def test_a_loss_that_is_no_number_is_said_and_nothing_is_learned_of_it():
    weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(
        RuntimeError, match="gradient's length is nan: a loss has overflowed, or is not a number"
    ):
        descend(torch.optim.SGD([weight], lr=1.0), [weight.sum() * float("nan")], 0.5, 1.0)
    assert weight.tolist() == [0.0, 0.0]


def test_only_matrices_decay():
    model = torch.nn.Linear(2, 2)
    optimiser = adamw(model, 0.3)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.3, 0.0]
    assert [
        group["params"][0] is one
        for group, one in zip(optimiser.param_groups, model.parameters(), strict=True)
    ]


def test_a_minimum_is_a_minimum_and_a_mean_weighs_every_value_once():
    tally = Tally()
    for part in ([1.0, 5.0, 3.0], [7.0]):
        for name in ("min_reward", "mean_reward", "max_reward"):
            tally.add(name, torch.tensor(part))
    tally.add("accuracy", torch.zeros(0))
    assert tally.numbers() == {"min_reward": 1.0, "mean_reward": 4.0, "max_reward": 7.0}


def test_wilsons_interval_is_the_published_one():
    """15 of 50: 0.1910 to 0.4375; 0 of 10 reaches up to 0.2775 (Newcombe 1998, method 3)."""
    assert wilson(15, 50) == pytest.approx((0.1910, 0.4375), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_calibration_error_is_the_number_worked_by_hand():
    """Says 0.75 four times, right three times: honest. Says 0.95 twice, right once: 0.45 off, for 2 of 6."""
    log3, log19 = 1.0986123, 2.9444390
    honest = torch.tensor([log3, log3, log3, -log3])
    assert calibration_error(honest).item() == pytest.approx(0, abs=1e-6)
    both = torch.cat([honest, torch.tensor([log19, -log19])])
    assert calibration_error(both).item() == pytest.approx(0.45 * 2 / 6, abs=1e-5)


def test_the_toy_language_has_ties_and_decided_pairs():
    outcomes = {record.outcome for record in pairs()}
    assert outcomes == {"chosen", "tie"}


def test_what_was_written_or_chosen_is_imitated_and_ties_are_not():
    records = [
        Demonstration("1", "p", "shown"),
        Correction("2", "p", "before", "after", weight=2.0),
        Pair("3", "p", "better", "worse"),
        Pair("4", "p", "one", "other", outcome="tie"),
        Pair("5", "p", "bad", "worse", outcome="both_bad"),
        Demonstration("6", "p", "retracted", weight=0.0),
    ]
    assert [one for record in records for one in demonstrated(record)] == [
        ("p", "shown", 1.0),
        ("p", "after", 2.0),
        ("p", "better", 1.0),
    ]
