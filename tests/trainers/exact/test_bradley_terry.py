"""Bradley-Terry's loss against enumeration and hand-worked numbers, and the mistakes that must not pass for it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import corrections, entries, outcome, pairs, rows, toy_spec
from trainers import api, nn
from trainers.data import preferences
from trainers.maths.ties import davidson, rao_kupper
from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.reward import ByteReward
from trainers.nn.table import TableConfig, TableReward
from trainers.run import Run, Spec

NAME = "reward/bradley_terry"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def losses(bt: ModuleType, scores, *, decided=True, strength=1.0, share=0.0, **config) -> list[float]:
    """The loss of each pair of scores (of the better answer, of the other)."""
    settings = bt.Config(**{"centre": 0.0, **config})
    table = torch.tensor(scores, dtype=torch.double)
    found = bt.preference_loss(
        table,
        torch.full((len(table),), decided),
        torch.full((len(table),), strength, dtype=torch.double),
        bt.Likelihood(settings.ties, share).double(),
        settings,
    )
    return found.tolist()


# --- what is learned --------------------------------------------------------------------------------


def recovered(
    bt: ModuleType, ties: str = "both_orders", truth_ties: str = "both_orders"
) -> tuple[float, float]:
    """Largest errors of score differences and of the threshold, learned from the exact probability of every outcome
    of every pair of 16 strings whose utilities are known."""
    truth = torch.randn(16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    threshold = torch.tensor(-0.3, dtype=torch.float64)
    i, j = torch.triu_indices(16, 16, offset=1)
    h = truth[i] - truth[j]
    model = TableReward(TableConfig(prompts=("p",), symbols="abcd", length=2))
    settings, likelihood = bt.Config(ties=ties, centre=0.0), bt.Likelihood(ties, 0.4).double()
    if truth_ties == "both_orders":
        says_i, says_j = torch.sigmoid(h), torch.sigmoid(-h)
    else:
        outcomes = {"rao_kupper": rao_kupper, "davidson": davidson}[truth_ties]
        says_i, says_j = outcomes(h, threshold)[0].exp(), outcomes(-h, threshold)[0].exp()
    tied = 1 - says_i - says_j
    strength = torch.ones(len(h))

    def population_loss():
        values = model.scale(model.values[0])
        ij, ji = torch.stack([values[i], values[j]], dim=1), torch.stack([values[j], values[i]], dim=1)
        sure, unsure = torch.ones(len(h), dtype=torch.bool), torch.zeros(len(h), dtype=torch.bool)

        def said(scores, decided):
            return bt.preference_loss(scores, decided, strength, likelihood, settings)

        # A tie arrives as both orders, each at half its weight.
        tie = (said(ij, unsure) + said(ji, unsure)) / 2
        return (says_i * said(ij, sure) + says_j * said(ji, sure) + tied * tie).mean()

    minimise([*model.parameters(), *likelihood.parameters()], population_loss)
    found = model.values.detach()[0]
    error = ((found - found.mean()) - (truth - truth.mean())).abs().max().item()
    learned = getattr(likelihood, "log_threshold", threshold)
    return error, (learned - threshold).abs().item()


def test_it_recovers_the_utilities_behind_exact_probabilities():
    assert recovered(method(NAME))[0] < 1e-4


@pytest.mark.parametrize("ties", ["rao_kupper", "davidson"])
def test_with_ties_as_outcomes_it_recovers_utilities_and_threshold(ties):
    error, of_threshold = recovered(method(NAME), ties, ties)
    assert error < 1e-4 and of_threshold < 1e-4


@pytest.mark.parametrize(("ties", "other"), [("rao_kupper", "davidson"), ("davidson", "rao_kupper")])
def test_one_model_of_ties_is_not_the_other(ties, other):
    assert recovered(method(NAME), ties, other)[0] > 0.05


@pytest.mark.parametrize("truth_ties", ["rao_kupper", "davidson"])
def test_ties_as_both_orders_draw_scores_together(truth_ties):
    assert recovered(method(NAME), "both_orders", truth_ties)[0] > 0.1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("return F.logsigmoid(h), F.logsigmoid(h)", "return F.logsigmoid(-h), F.logsigmoid(-h)"),
        ("h = scores[:, 0] - scores[:, 1]\n    margin", "h = scores[:, 0] + 0 * scores[:, 1]\n    margin"),
    ],
    ids=["better and worse swapped", "the better answer's score alone"],
)
def test_a_wrong_loss_recovers_other_utilities(right, wrong):
    assert recovered(method(NAME, right, wrong))[0] > 0.05


@pytest.mark.parametrize("ties", ["rao_kupper", "davidson"])
def test_ties_dropped_where_they_are_an_outcome_leave_no_threshold(ties):
    right, wrong = "-torch.where(decided, said, tie)", "-torch.where(decided, said, 0.0 * tie)"
    assert recovered(method(NAME, right, wrong), ties, ties)[1] > 1


# --- numbers worked by hand -------------------------------------------------------------------------


def plain_error(bt: ModuleType) -> float:
    """log(1 + e^-1) + 0.01 (1 + 0)^2 = 0.313262 + 0.01; log(1 + e^1.5) + 0.01 2.5^2 = 1.701413 + 0.0625."""
    first, second = losses(bt, [[1.0, 0.0], [0.5, 2.0]], centre=0.01)
    return max(abs(first - 0.323262), abs(second - 1.763913))


def smoothed_error(bt: ModuleType) -> float:
    """0.9 log(1 + e^-1) + 0.1 log(1 + e^1) = 0.9 * 0.313262 + 0.1 * 1.313262."""
    return abs(losses(bt, [[1.0, 0.0]], smoothing=0.1)[0] - 0.413262)


def margin_error(bt: ModuleType) -> float:
    """Much better (strength 3) at margin 0.5: log(1 + e^-(2 - 1)). Flipped it would be log(1 + e^(2 + 1)) = 3.048587.
    A tie has no margin: log(1 + e^-2) = 0.126928. Slightly better has none either."""
    (much,) = losses(bt, [[2.0, 0.0]], strength=3.0, margin=0.5)
    (smooth,) = losses(bt, [[2.0, 0.0]], strength=3.0, margin=0.5, smoothing=0.1)
    (tie,) = losses(bt, [[2.0, 0.0]], strength=3.0, margin=0.5, decided=False)
    (slightly,) = losses(bt, [[2.0, 0.0]], margin=0.5)
    return max(
        abs(much - 0.313262), abs(smooth - 0.9 * 0.313262 - 0.1 * 3.048587),
        abs(tie - 0.126928), abs(slightly - 0.126928),
    )  # fmt: skip


def tie_error(bt: ModuleType) -> float:
    """At a share of ties of 0.4. Rao-Kupper: eta = 2 atanh 0.4 = ln(7/3), theta = 7/3; with h = ln 2, P(better) =
    2 / (2 + 7/3) = 6/13, P(tie) = (49/9 - 1) 2 / ((2 + 7/3) (1 + 14/3)) = 80/221. Davidson: nu = 4/3; with h = ln 4,
    P(better) = 2 / (2 + 4/3 + 1/2) = 12/23 and P(tie) = 8/23."""
    away = 0.0
    for ties, h, better, tie in (
        ("rao_kupper", math.log(2), 6 / 13, 80 / 221),
        ("davidson", math.log(4), 12 / 23, 8 / 23),
    ):
        (sure,) = losses(bt, [[h, 0.0]], ties=ties, share=0.4)
        (same,) = losses(bt, [[h, 0.0]], ties=ties, share=0.4, decided=False)
        away = max(away, abs(math.exp(-sure) - better), abs(math.exp(-same) - tie))
    return away


CHECKS = [plain_error, smoothed_error, margin_error, tie_error]


@pytest.mark.parametrize("error", CHECKS)
def test_the_loss_is_the_number_worked_by_hand(error):
    assert error(method(NAME)) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("scores.sum(dim=1).square()", "h.square()", plain_error),
        ("(1 - config.smoothing) * win + config", "win - config", smoothed_error),
        ("flipped, _ = likelihood(-h - margin)", "flipped, _ = likelihood(-h + margin)", margin_error),
        ("win, tie = likelihood(h - margin)", "win, tie = likelihood(h + margin)", margin_error),
        ("config.margin * (strength - 1) * decided", "config.margin * strength * decided", margin_error),
        ("config.margin * (strength - 1) * decided", "config.margin * (strength - 1)", margin_error),
        ("return davidson(h, self", "return rao_kupper(h, self", tie_error),
    ],
    ids=[
        "difference held near 0 in place of the sum", "robust (unbiased) in place of smoothed",
        "a flipped label's margin the wrong way", "margin added", "a margin where no strength was said",
        "a margin for ties", "Rao-Kupper under Davidson's name",
    ],
)  # fmt: skip
def test_a_wrong_loss_has_another_number(right, wrong, error):
    assert error(method(NAME, right, wrong)) > 1e-2


@pytest.mark.parametrize("ties", ["both_orders", "rao_kupper", "davidson"])
@pytest.mark.parametrize("decided", [True, False])
def test_the_loss_never_overflows(ties, decided):
    found = losses(
        method(NAME), [[0.0, 1000.0], [1000.0, 0.0]], ties=ties, share=0.2, decided=decided, smoothing=0.1
    )
    assert all(math.isfinite(one) for one in found) and max(found) > 90


def test_the_overflowing_spelling_of_the_loss_is_noticed():
    wrong = method(NAME, "return F.logsigmoid(h), F.logsigmoid(h)", "return -torch.log(1 + torch.exp(-h)), h")
    assert not math.isfinite(losses(wrong, [[0.0, 1000.0]])[0])


def test_stated_odds_are_those_of_a_decided_pair():
    """Rao-Kupper with theta = 7/3 and h = ln 2: P(first) = 6/13, P(second) = 1 / (1 + 14/3) = 3/17."""
    bt, h = method(NAME), torch.tensor([math.log(2)])
    assert bt.Likelihood("rao_kupper", 0.4).log_odds(h).item() == pytest.approx(math.log(6 / 13 * 17 / 3))
    assert bt.Likelihood("davidson", 0.4).log_odds(h).item() == h.item()


# --- whole runs -------------------------------------------------------------------------------------


def weighted_spec(folder: Path, name: str, **config) -> Spec:
    """The toy task in one batch: weights that differ, strengths that differ, ties."""
    records = [replace(one, weight=1 + i % 3, strength=1 + i % 2) for i, one in enumerate(pairs(60))]
    config = {"batch_size": 200, "micro_batch": 200, "held_out": 0, "margin": 0.5, "centre": 0.1, **config}
    return toy_spec(NAME, folder, name, records=records, config=config)


def first_loss_by_hand(spec: Spec) -> float:
    model = ByteReward(ByteTransformerConfig(d=16, layers=1), spec.seed).eval()
    above = below = 0.0
    for one in api.read_records(spec.snapshot, ("pair",)):
        better, worse = model.score([one.prompt] * 2, [one.chosen, one.rejected]).tolist()
        margin = 0.5 * (one.strength - 1) if one.outcome == "chosen" else 0.0
        orders = [better - worse] if one.outcome == "chosen" else [better - worse, worse - better]
        for h in orders:
            weight = one.weight / len(orders)
            above += weight * (math.log1p(math.exp(-(h - margin))) + 0.1 * (better + worse) ** 2)
            below += weight
    return above / below


def run_error(bt: ModuleType, folder: Path, **config) -> float:
    """How far the first loss of a run is from the one worked by hand, a few pairs at a time."""
    spec = weighted_spec(folder, "run", epochs=1, **config)
    run = Run(spec)
    bt.train(bt.Config(**run.config), run)
    run.finished()
    return abs(rows(spec.home)[0]["loss"] - first_loss_by_hand(spec))


def test_weights_and_strengths_of_labels_reach_the_loss(tmp_path):
    assert run_error(method(NAME), tmp_path, micro_batch=7) < 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(weights[part] * losses).sum() / whole", "losses.sum() / len(batch)"),
        ("(weights[part] * losses).sum() / whole", "(weights[part] * losses).sum() / weights[part].sum()"),
        ("decided[part], strength[part], said", "decided[part], 1 + 0 * strength[part], said"),
    ],
    ids=["labels all weigh the same", "parts normalised by themselves", "strength ignored"],
)  # fmt: skip
def test_a_run_that_ignores_them_has_another_loss(right, wrong, tmp_path):
    assert run_error(method(NAME, right, wrong), tmp_path, micro_batch=7) > 1e-3


def test_it_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = (
        weighted_spec(tmp_path, name, batch_size=16, micro_batch=size, epochs=1)
        for name, size in (("whole", 16), ("cut", 2))
    )
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-4)


def test_the_threshold_of_ties_survives_stopping(tmp_path, monkeypatch):
    undisturbed, stopped = (
        toy_spec(NAME, tmp_path, name, config={"ties": "rao_kupper", "epochs": 1})
        for name in ("undisturbed", "stopped")
    )
    assert api.execute(undisturbed) == 0
    log = Run.log

    def ask_after_step_3(run, step, numbers):
        log(run, step, numbers)
        if step == 3:
            (run.home / "control.jsonl").write_text('{"id": 1, "kind": "stop", "args": {}}\n')

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", ask_after_step_3)
        assert api.execute(stopped) == 3
    assert api.execute(stopped) == 0
    assert outcome(stopped) == outcome(undisturbed)


def test_without_ties_their_model_makes_no_difference(tmp_path):
    plain, davidsons = (
        toy_spec(NAME, tmp_path, ties, records=corrections(), config={"ties": ties, "epochs": 1})
        for ties in ("both_orders", "davidson")
    )
    assert api.execute(plain) == api.execute(davidsons) == 0
    assert rows(plain.home) == rows(davidsons.home)


def test_after_training_scores_have_mean_0_and_variance_1_on_the_training_answers(tmp_path):
    spec = toy_spec(NAME, tmp_path, records=pairs(60), config={"held_out": 0, "epochs": 1})
    assert api.execute(spec) == 0
    model = nn.load_reward_model(spec.home / "reward_model")
    wanted = preferences(pairs(60))
    asked = [one.prompt for one in wanted for _ in range(2)]
    scores = model.score(asked, [text for one in wanted for text in (one.better, one.worse)])
    assert scores.mean().item() == pytest.approx(0, abs=1e-3)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_labels_that_decide_nothing_are_refused(tmp_path):
    records = [replace(one, outcome="both_bad") for one in pairs(30)]
    spec = toy_spec(NAME, tmp_path, records=records)
    assert api.execute(spec) == 1
    assert "Nothing is left to learn from" in entries(spec.home)[-1]["message"]


def test_smoothing_of_a_half_or_more_is_refused(tmp_path):
    spec = toy_spec(NAME, tmp_path, config={"smoothing": 0.5})
    with pytest.raises(ValueError, match="'smoothing' is 0.5"):
        Run(spec)


def test_a_run_ends_with_the_report(tmp_path):
    spec = toy_spec(NAME, tmp_path, config={"held_out": 0.5, "epochs": 6})  # prompts in more than one part
    assert api.execute(spec) == 0
    (report,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    found = report["readings"]
    accuracy, control = found["accuracy"], found["shuffled_control"]
    assert accuracy["low"] < accuracy["value"] <= accuracy["high"] and accuracy["value"] > 0.9
    assert accuracy["n"] == control["n"] > 20
    assert found["chance"]["value"] == 0.5
    assert 0 <= found["ece_after"]["value"] <= 1
    assert found["longer_answer"]["value"] < accuracy["value"]
    assert found["accuracy/annotator/ann"]["n"] + found["accuracy/annotator/bob"]["n"] < accuracy["n"] + 1
    assert f"{accuracy['n']} decided pairs" in report["text"]
    assert "frozen sentence encoder alone" in report["text"]
    assert report["curves"]["reliability"]["n"] and report["train"] > 100


def test_without_its_control_the_model_is_the_same_and_nothing_is_said_of_one(tmp_path):
    beside, alone = (
        toy_spec("reward/bradley_terry", tmp_path, f"control-{control}", config={"control": control})
        for control in (True, False)
    )
    assert api.execute(beside) == api.execute(alone) == 0
    weights = [(spec.home / "reward_model" / "model.safetensors").read_bytes() for spec in (beside, alone)]
    assert weights[0] == weights[1]
    logged = [{name for row in rows(spec.home) for name in row} for spec in (beside, alone)]
    assert logged[0] - logged[1] == {"control/shuffled_accuracy"}
    reports = [
        next(one["report"] for one in entries(spec.home) if one["type"] == "report")
        for spec in (beside, alone)
    ]
    assert set(reports[0]["readings"]) - set(reports[1]["readings"]) == {"shuffled_control"}
