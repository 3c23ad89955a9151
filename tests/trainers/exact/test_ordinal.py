"""Proportional odds against hand-worked numbers, logistic regression and exact probabilities; and its mistakes."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import PROMPTS, ratings, rows, toy_spec
from trainers import api, nn
from trainers.data.split import position
from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.ordinal import OrdinalReward, rising
from trainers.nn.reward import ByteReward
from trainers.records import Rating


def test_the_loss_is_the_number_worked_by_hand():
    """Thresholds -1, 1 and score 0.5: P(1) = sigmoid(-1.5) = 0.182426, P(2) = 0.622459 - 0.182426, P(3) = 0.377541."""
    loss = method("reward/ordinal").ordinal_loss
    found = loss(torch.full((3,), 0.5), torch.tensor([1, 2, 3]), torch.tensor([-1.0, 1.0]))
    assert found.exp().reciprocal().tolist() == pytest.approx([0.182426, 0.440034, 0.377541], abs=1e-5)


def test_probabilities_of_all_points_sum_to_1():
    loss = method("reward/ordinal").ordinal_loss
    theta = torch.tensor([-2.0, -0.5, 0.1, 3.0], dtype=torch.float64)
    for score in (-4.0, 0.0, 2.5):
        found = loss(torch.full((5,), score, dtype=torch.float64), torch.arange(1, 6), theta)
        assert (-found).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_thumbs_are_a_logistic_regression():
    s = torch.linspace(-3, 3, 7, dtype=torch.float64)
    theta = torch.tensor([0.3], dtype=torch.float64)
    loss = method("reward/ordinal").ordinal_loss
    assert torch.allclose(loss(s, torch.full((7,), 2), theta), -F.logsigmoid(s - 0.3), atol=1e-12)
    assert torch.allclose(loss(s, torch.full((7,), 1), theta), -F.logsigmoid(0.3 - s), atol=1e-12)


def far_loss(ordinal: ModuleType) -> float:
    """Of a score so far off that both sigmoids are 1 in floating point."""
    found = ordinal.ordinal_loss(torch.tensor([-200.0]), torch.tensor([2]), torch.tensor([-1.0, 1.0]))
    return found.item()


def test_a_score_far_off_has_a_finite_loss():
    """-log(sigmoid(201) - sigmoid(199)) = 199 - log(1 - e^-2) = 199.145."""
    assert far_loss(method("reward/ordinal")) == pytest.approx(199.1454, abs=1e-3)


def test_the_difference_of_sigmoids_would_be_noticed():
    right = "return -(F.logsigmoid(upper - scores) + F.logsigmoid(scores - lower) + apart)"
    wrong = "return -torch.log(torch.sigmoid(upper - scores) - torch.sigmoid(lower - scores))"
    assert not math.isfinite(far_loss(method("reward/ordinal", right, wrong)))


def recovered(ordinal: ModuleType) -> float:
    """Largest error of 16 scores and 4 thresholds, from the exact probabilities of 5 points."""
    chance = torch.Generator().manual_seed(3)
    truth = torch.randn(16, generator=chance, dtype=torch.float64)
    truth -= truth.mean()  # a constant of scores and thresholds together is in no rating
    theta = torch.tensor([-1.5, -0.4, 0.2, 2.0], dtype=torch.float64)
    ends = torch.tensor([math.inf], dtype=torch.float64)
    below = torch.sigmoid(torch.cat([-ends, theta, ends]) - truth[:, None])  # [16, 6]
    p = below.diff(dim=1)
    scores = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    raw = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def population_loss():
        found = [ordinal.ordinal_loss(scores, torch.full((16,), j), rising(raw)) for j in range(1, 6)]
        return (p * torch.stack(found, dim=1)).sum(dim=1).mean()

    minimise([scores, raw], population_loss)
    shift = scores.detach().mean()
    return max(
        (scores.detach() - shift - truth).abs().max().item(),
        (rising(raw).detach() - shift - theta).abs().max().item(),
    )


def test_it_recovers_scores_and_thresholds_from_exact_probabilities():
    assert recovered(method("reward/ordinal")) < 1e-3


MISTAKES = {
    "points off by one": (
        "around[points - 1], around[points]",
        "around[points - 1], around[-1].expand(len(points))",
    ),
    "score turned round": (
        "F.logsigmoid(upper - scores) + F.logsigmoid(scores - lower)",
        "F.logsigmoid(upper + scores) + F.logsigmoid(-scores - lower)",
    ),
    "the two sides as if independent": (
        "F.logsigmoid(scores - lower) + apart)",
        "F.logsigmoid(scores - lower))",
    ),
}


@pytest.mark.parametrize(("right", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_ordinal_recovers_others(right, wrong):
    assert recovered(method("reward/ordinal", right, wrong)) > 0.05


def test_thresholds_start_at_the_shares_of_points_that_were_seen_and_stay_in_order():
    reader = ByteReward(ByteTransformerConfig(d=16, layers=1))
    model = OrdinalReward([("taste", 5), ("taste", 3), ("thumb", 2)], reader)
    assert model.criteria == ["taste", "thumb"]
    model.start_at(("taste", 5), torch.tensor([1, 0, 4, 10, 5]))
    theta = model.thresholds(("taste", 5))
    wanted = torch.tensor([1.5, 2.0, 6.5, 17.0]) / 22.5
    assert torch.allclose(torch.sigmoid(theta), wanted, atol=1e-5)
    assert (rising(torch.randn(6, generator=torch.Generator().manual_seed(0)) * 5).diff() >= 0).all()


def test_its_score_is_the_mean_of_its_criteria_and_opens_as_a_reward_model(tmp_path):
    model = OrdinalReward([("a", 5), ("b", 2)], ByteReward(ByteTransformerConfig(d=16, layers=1), seed=1))
    rows_ = model.encode(["p"] * 3, ["x", "yy", "zzz"])
    parts = model.by_criterion(rows_)
    assert parts.shape == (3, 2) and not torch.allclose(parts[:, 0], parts[:, 1])
    model.normalise(0.5, 2.0)
    opened = nn.load_reward_model(nn.save(model, tmp_path / "model"))
    assert torch.allclose(
        opened.score(["p"] * 3, ["x", "yy", "zzz"]), (parts.mean(dim=1).detach() - 0.5) / 2, atol=1e-5
    )


def test_a_rater_of_two_answers_says_which_is_better_and_how_likely_that_was():
    ordinal = method("reward/ordinal")
    scale = {"a": 5, "b": 3}
    found = [
        Rating("1", "p", "x", {"a": 5, "b": 1}, scale, annotator="ann"),  # 1 and 0: 0.5
        Rating("2", "p", "y", {"a": 1, "b": 2}, scale, annotator="ann"),  # 0 and 0.5: 0.25
        Rating("3", "p", "z", {"a": 1, "b": 1}, scale, annotator="bob"),
        Rating("4", "q", "z", {"a": 1, "b": 1}, scale, annotator="ann"),
    ]
    compared, places = ordinal.comparisons(found)
    assert [(one.better, one.worse, one.annotator) for one in compared] == [("x", "y", "ann")]
    assert places == ([0], [1])
    assert ordinal.comparisons(found, 7)[1] == ([7], [8])


def test_one_criterion_is_said_less_surely_than_two_that_agree():
    """Differences of two logistic errors: of variance 2 pi^2 / 3 for one criterion, of half that for two."""
    for scale, stated in (([("a", 5)], 0.5**0.5), ([("a", 5), ("b", 3)], 1.0)):
        model = OrdinalReward(scale, ByteReward(ByteTransformerConfig(d=8, layers=1), seed=3)).eval()
        with torch.no_grad():
            model.scale.gain.fill_(7.0)
        apart = (model.score(["p"], ["x"]) - model.score(["p"], ["yy"])).item() / 7
        assert abs(apart) > 0.01 and model.margins(["p"], ["x"], ["yy"]).item() == pytest.approx(
            stated * apart
        )


def test_concordance_counts_answers_with_different_points():
    ordinal = method("reward/ordinal")
    found = [Rating(str(n), "p", "x", {"a": points}, {"a": 3}) for n, points in enumerate((1, 2, 2, 3))]
    scores = torch.tensor([[0.0], [1.0], [3.0], [2.0]])
    given = ordinal.by_scale(found)
    assert ordinal.concordance(scores, given, ["a"]) == pytest.approx(4 / 5), (
        "all but the second 2 over the 3"
    )
    assert ordinal.concordance(scores[:1], ordinal.cut(given, range(1)), ["a"]) is None


def test_online_methods_learn_from_its_scores(tmp_path):
    spec = toy_spec("reward/ordinal", tmp_path)
    assert api.execute(spec) == 0
    online = toy_spec("online/rloo", tmp_path, "online")
    inputs = {**online.inputs, "reward_model": str(spec.home / "reward_model")}
    assert api.execute(replace(online, inputs=inputs)) == 0
    liked = [row["objective/scores"] for row in rows(online.home) if "objective/scores" in row]
    assert sum(liked[-5:]) / 5 > liked[0] + 0.5


def test_it_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = (
        toy_spec("reward/ordinal", tmp_path, name, config={"epochs": 1, "micro_batch": size})
        for name, size in (("whole", 16), ("cut", 3))
    )
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_a_scale_that_only_held_out_prompts_have_is_left_alone(tmp_path):
    records = [
        *ratings(),
        *(Rating(f"new-{i}", PROMPTS[i], "aaa", {"new": 2}, {"new": 4}) for i in range(12)),
    ]
    kept = [one for one in records if "new" not in one.scores or out(one.prompt)]
    assert len(kept) > 120
    spec = toy_spec("reward/ordinal", tmp_path, records=kept, config={"epochs": 1})
    assert api.execute(spec) == 0


def out(prompt: str) -> bool:
    return position(prompt) < 0.2
