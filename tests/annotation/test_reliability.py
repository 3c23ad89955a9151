"""Statistics against published worked examples; the models against crowds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from annotation.reliability import agreement, alarms, bradley_terry, dawid_skene, weighing
from tests.annotation import crowds

# --- published examples


def table(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Two people's answers out of the table of how often they went together."""
    cells = [(i, j) for i, row in enumerate(rows) for j, count in enumerate(row) for _ in range(count)]
    return tuple(np.array(cells).T)


COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
"""Cohen 1960, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, 37-46."""


def test_cohens_kappa_is_the_one_of_his_paper():
    assert agreement.cohen(*table(COHEN)) == pytest.approx(0.492, abs=5e-4)


def test_quadratic_kappa_of_cohens_table_is_the_one_worked_by_hand():
    # Squared distances: observed (40 * 1 + 20 * 4) / 200 = 0.6; expected 0.42 * 1 + 0.17 * 4 = 1.1.
    assert agreement.cohen(*table(COHEN), weights="quadratic") == pytest.approx(1 - 0.6 / 1.1)


FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
"""Fleiss 1971, Measuring nominal scale agreement among many raters, Psychological Bulletin 76, 378-382: how many of
six psychiatrists gave each of five diagnoses to each of 30 patients."""


def test_fleiss_kappa_is_the_one_of_his_paper():
    counts = np.array([[int(digit) for digit in row] for row in FLEISS.split()])
    found = agreement.fleiss(counts)
    assert found == {"value": pytest.approx(0.430, abs=5e-4), "people": 6, "tasks": 30}
    raw = agreement.raw(counts)
    assert raw["share"] == pytest.approx(0.556, abs=5e-4) and raw["chance"] == pytest.approx(0.220, abs=5e-4)
    assert raw["pairs"] == 30 * 15


def krippendorff() -> tuple[np.ndarray, np.ndarray]:
    """Krippendorff 2011, Computing Krippendorff's alpha-reliability: four observers, twelve units, gaps."""
    rows = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    said = [(unit, int(mark) - 1) for row in rows for unit, mark in enumerate(row) if mark != "."]
    unit, answer = np.array(said).T
    return unit, answer


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_alpha_is_the_one_of_his_paper(level, alpha):
    counts = agreement.counted(*krippendorff(), answers=5)
    assert len(counts) == 11, "the last unit has one observer, and says nothing of agreement"
    assert agreement.alpha(counts, level)["value"] == pytest.approx(alpha, abs=5e-4)


def test_alphas_interval_is_around_it_and_narrows_with_more_tasks():
    counts = agreement.counted(*krippendorff(), answers=5)
    few, many = (agreement.alpha(np.tile(counts, (times, 1)), resamples=200) for times in (1, 10))
    assert few["low"] < many["low"] < 0.743 < many["high"] < few["high"]


DAWID_SKENE = """
111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3|222 2 2 2 3
232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1|111 1 1 1 1|111 1 1 1 1
222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2|111 1 1 1 1|111 1 1 1 1|232 2 2 2 2
111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3|111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3
221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1|111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2
"""
"""Dawid and Skene 1979, table 1: 45 patients, by five anaesthetists, the first of whom judged three times."""


def test_dawid_and_skenes_anaesthetists_come_out_as_in_their_paper():
    said = [
        (patient, observer, int(mark) - 1)
        for patient, row in enumerate(DAWID_SKENE.replace("\n", "|").strip("|").split("|"))
        for observer, marks in enumerate(row.split())
        for mark in marks
    ]
    unit, person, answer = np.array(said).T
    fit = dawid_skene.fit(unit, person, answer, units=45, people=5, answers=4, smoothing=0.0)
    assert fit.share.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    assert fit.confusion[0].round(2).tolist() == [
        [0.89, 0.11, 0, 0],
        [0.07, 0.88, 0.05, 0],
        [0, 0.34, 0.66, 0],
        [0, 0, 0.56, 0.44],
    ]


def test_what_cannot_be_said_of_agreement_is_none_and_not_a_number():
    nobody = agreement.counted(np.array([], dtype=int), np.array([], dtype=int), 3)
    assert (
        agreement.raw(nobody) is None and agreement.alpha(nobody) is None and agreement.fleiss(nobody) is None
    )
    all_one = np.array([[3, 0], [2, 0]])
    assert agreement.alpha(all_one) is None and agreement.fleiss(all_one)["value"] is None
    assert agreement.cohen(np.array([1, 1]), np.array([1, 1])) is None
    assert agreement.raw(all_one)["share"] == 1 == agreement.raw(all_one)["chance"]


def test_a_persons_agreement_counts_the_others_and_not_themselves():
    unit, person, answer = np.array([[0, 0, 1], [0, 1, 1], [0, 2, 0], [1, 0, 1], [1, 1, 0], [2, 0, 1]]).T
    share, tasks = agreement.with_others(unit, person, answer, 3, 2)
    assert share.tolist() == [0.25, 0.25, 0.0] and tasks.tolist() == [2, 2, 1]
    assert agreement.pairs_of_people(unit, person, 3, least=2, most=9) == [(0, 1)]
    mine, theirs = agreement.shared(unit, person, 0, 1)
    assert answer[mine].tolist() == [1, 1] and answer[theirs].tolist() == [1, 0]


# --- the model of comparisons


def test_the_gradient_is_that_of_the_loss():
    found = crowds.crowd(1, tasks=40)
    data = bradley_terry._comparisons(found.unit, found.person, found.answer, found.side, 40, 12, None, None)
    at = np.random.default_rng(2).normal(size=2 + 3 * 12)
    _, gradient = bradley_terry._loss(at, data)
    for place in range(len(at)):
        step = np.eye(len(at))[place] * 1e-5
        slope = (bradley_terry._loss(at + step, data)[0] - bradley_terry._loss(at - step, data)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, abs=1e-4)


def ranks_and_signs(side_known: bool = True) -> tuple[float, bool]:
    """The mean rank correlation with the true reliabilities over six crowds, and whether all side biases are found."""
    from scipy.stats import spearmanr

    correlations, found = [], True
    for seed in range(6):
        crowd = crowds.crowd(seed, "spread", tasks=2400)
        fit = crowd.fit(None if side_known else np.zeros_like(crowd.side))
        correlations.append(spearmanr(fit.alpha, crowd.alpha)[0])
        leaning = (np.abs(fit.beta) > 1.96 * fit.beta_error) & (np.abs(fit.beta) >= alarms.LEANING)
        found &= np.flatnonzero(leaning).tolist() == sorted(n % 12 for n in crowds.LEANING)
        found &= bool((np.sign(fit.beta) == np.sign(crowd.beta))[crowds.LEANING].all())
    return float(np.mean(correlations)), found


def test_the_model_ranks_people_by_their_reliability_and_finds_who_leans_to_which_side():
    correlation, found = ranks_and_signs()
    assert correlation >= 0.9 and found


def test_a_model_that_does_not_know_the_sides_finds_nobody_leaning():
    assert not ranks_and_signs(side_known=False)[1]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = []
    for seed in range(8):
        crowd = crowds.crowd(seed, "spread", tasks=800)
        fit = crowd.fit()
        inside += (np.abs(fit.alpha - crowd.alpha) < 1.96 * fit.alpha_error).tolist()
        inside += (np.abs(fit.beta - crowd.beta) < 1.96 * fit.beta_error).tolist()
    assert 0.9 <= np.mean(inside) <= 0.99, f"{np.mean(inside):.3f} of {len(inside)}"


def test_hard_items_and_weak_people_are_told_apart():
    crowd = crowds.crowd(3, "groups", tasks=1500, overlap=8)
    fit = crowd.fit()
    distance = np.abs([crowd.worth[x, i] - crowd.worth[x, j] for x, i, j in crowd.asked])
    hard, clear = distance < 0.25, distance > 1.5
    assert fit.difficulty[hard].mean() > fit.difficulty[clear].mean() + 0.1
    careful, careless = fit.accuracy[:4], fit.accuracy[-4:]
    assert careful.min() > careless.max() + 0.1


def test_errors_with_others_taken_as_known_are_close_to_the_full_ones(monkeypatch):
    crowd = crowds.crowd(4, "spread", tasks=1200)
    full = crowd.fit()
    monkeypatch.setattr(bradley_terry, "DENSEST", 0)
    quick = crowd.fit()
    ratio = quick.alpha_error / full.alpha_error
    assert ratio.min() > 0.7 and ratio.max() <= 1.0 + 1e-9


def test_a_known_answer_tells_reliability_where_nobody_else_answered():
    rng = np.random.default_rng(0)
    truth = rng.choice([-1, 1], size=200)
    good, coin = truth.copy(), rng.choice([-1, 1], size=200)
    unit, person = np.arange(400), np.repeat([0, 1], 200)
    answer, known = np.concatenate([good, coin]), np.concatenate([truth, truth])
    sides = rng.choice([-1, 1], size=400)
    told = bradley_terry.fit(unit, person, answer, sides, units=400, people=2, known=known)
    alone = bradley_terry.fit(unit, person, answer, sides, units=400, people=2)
    assert told.accuracy[0] > 0.9 and told.accuracy[1] < 0.6
    assert abs(alone.accuracy[0] - alone.accuracy[1]) < 0.05


def test_no_label_and_one_label_give_a_fit_that_claims_nothing():
    one = np.array([0])
    fit = bradley_terry.fit(one, one, np.array([1]), np.array([1]), units=1, people=2)
    assert np.isfinite(fit.alpha).all() and (fit.alpha_error > 0.9).all()
    assert weighing.weights(fit.log_odds, fit.log_odds_error, np.array([1, 0])).tolist() == [1, 1]


# --- weights


def test_the_spread_between_people_is_that_of_the_textbook_example():
    # Worked by hand: precisions 1 / (1 + tau^2) are equal, so sum (y - 0)^2 / (1 + tau^2) = 2 gives tau^2 = 3.
    mean, variance = weighing.spread(np.array([-2.0, 0.0, 2.0]), np.ones(3))
    assert mean == pytest.approx(0) and variance == pytest.approx(3, abs=1e-6)
    assert weighing.shrunk(np.array([-2.0, 0.0, 2.0]), np.ones(3)).tolist() == pytest.approx([-1.5, 0, 1.5])
    assert weighing.spread(np.array([-0.5, 0.0, 0.5]), np.ones(3))[1] == 0


def test_weights_are_one_on_average_over_the_labels_and_never_negative():
    odds, errors, labels = np.array([3.0, 1.0, -2.0]), np.full(3, 0.1), np.array([10, 50, 40])
    weights = weighing.weights(odds, errors, labels)
    assert (weights * labels).sum() == pytest.approx(100)
    assert weights[0] > weights[1] > weights[2] == 0
    assert weighing.weights(np.array([-1.0, -2.0]), np.full(2, 0.1), labels[:2]).tolist() == [1, 1]


def test_people_who_do_not_differ_weigh_about_the_same():
    furthest = [np.abs(crowds.crowd(seed, "alike").weights() - 1).max() for seed in range(10)]
    assert np.median(furthest) < 0.02 and max(furthest) < 0.3


def gains(kind: str, seeds: int, inverted: bool = False) -> list[float]:
    """What weighing by reliability adds to a reward model's accuracy against the truth, for each crowd."""
    found = []
    for seed in range(seeds):
        crowd = crowds.crowd(seed, kind)
        weights = crowd.weights()
        if inverted:
            weights = weights.max() - weights
            weights *= crowd.labels.sum() / (weights * crowd.labels).sum()
        found.append(crowds.accuracy(crowd, weights) - crowds.accuracy(crowd, np.ones(12)))
    return found


def test_a_reward_model_learns_more_from_labels_weighed_by_reliability(capfd):
    mean, low, _ = crowds.interval(gains("groups", 5))
    assert mean > 0.01 and low > 0


def test_inverted_weights_make_a_reward_model_worse(capfd):
    assert max(gains("groups", 2, inverted=True)) < -0.03


def test_weighing_changes_nothing_where_people_do_not_differ(capfd):
    mean, low, high = crowds.interval(gains("alike", 4))
    assert low <= 0 <= high and abs(mean) < 0.01


# --- alarms


def test_too_fast_is_a_median_below_a_third_of_the_studys():
    assert alarms.fast([2.0] * 20, [9.0] * 100, "compare")["kind"] == "speed"
    assert alarms.fast([3.1] * 20, [9.0] * 100, "compare") is None
    assert alarms.fast([2.0] * 19, [9.0] * 100, "compare") is None, "too few to say"
    assert alarms.fast([0.0] * 50, [9.0] * 100, "compare") is None, "not measured"


def test_a_run_of_equal_answers_is_weighed_against_how_often_they_are_given_otherwise():
    mixed = list("abcabdacbd") * 5
    assert alarms.straight_lining(mixed) is None
    assert "15 times in a row" in alarms.straight_lining([*mixed, *"e" * 15])["text"]
    assert alarms.straight_lining(["a"] * 60)["kind"] == "straight-lining"
    mostly = (["a"] * 19 + ["b"]) * 10
    assert alarms.straight_lining(mostly) is None, "19 in a row is no wonder of somebody who says a in 95 %"


def test_the_run_alarm_is_rarely_false():
    rng = np.random.default_rng(5)
    false = sum(
        alarms.straight_lining(list(rng.choice(list("abcd"), p=[0.5, 0.3, 0.1, 0.1], size=300))) is not None
        for _ in range(2000)
    )
    assert false <= 4, "p < 1e-4, found from the data, in 2000 tries"


def test_a_side_bias_is_told_when_it_is_sure_and_large():
    told = alarms.leaning(1.2, 0.8, 1.6, 70, 100)
    assert "shown first" in told["text"] and "70 of 100" in told["text"] and "77 %" in told["text"]
    assert "shown second" in alarms.leaning(-1.2, -1.6, -0.8, 30, 100)["text"]
    assert alarms.leaning(0.3, 0.1, 0.5, 60, 100) is None and alarms.leaning(1.2, -0.1, 2.5, 9, 30) is None


def test_drift_is_a_fall_in_the_last_fifty_that_chance_does_not_explain():
    rng = np.random.default_rng(1)
    steady = (rng.random(200) < 0.75).astype(float).tolist()
    fallen = [*steady[:150], *(rng.random(50) < 0.3).astype(float).tolist()]
    assert alarms.drift(steady, "Agreement") is None
    assert "before" in alarms.drift(fallen, "Agreement")["text"]
    assert alarms.drift([1.0] * 60 + [0.0] * 39, "Agreement") is None, "too few before"
