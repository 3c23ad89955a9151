"""What a run on its own samples reports: the frontier, and whether the score was gamed."""

from __future__ import annotations

import math

import pytest

from tests.trainers.toys import entries, rows, toy_spec
from trainers import api
from trainers.reports.online import frontier, peak, proxy_gap, report, thin
from trainers.run import Run

BEFORE = {"score": 1.0, "score_std": 2.0, "kl": 0.0, "length": 5.0, "gold": 3.0, "gold_std": 0.5}


def points(golds: list[float | None]) -> list[list[float | None]]:
    """A batch every third step, whose KL grows by a quarter and whose score by one."""
    return [[3.0 * i, 0.25 * i, float(i), gold] for i, gold in enumerate(golds)]


def hill(top: int, count: int = 40) -> list[float]:
    """A gold score that rises to `top` and falls after it, one a batch, jumping a little."""
    return [-abs(i - top) + 0.1 * (-1) ** i for i in range(count)]


def test_the_gap_is_the_scores_gain_less_golds_each_in_deviations_at_the_start():
    """(5 - 1) / 2 - (2 - 3) / 0.5 = 4; without gold, or where nothing differs, there is none."""
    assert proxy_gap(BEFORE, 5.0, 2.0) == pytest.approx(4.0)
    assert proxy_gap(BEFORE, 5.0, None) is None
    assert proxy_gap({**BEFORE, "gold_std": 0.0}, 5.0, 2.0) is None


def test_the_frontier_is_score_and_gold_against_the_root_of_the_kl():
    curve = frontier([[1.0, -0.01, 2.0, 3.0], [2.0, 4.0, 5.0, 1.0]])
    assert (curve["x"], curve["y"], curve["gold"]) == ([0.0, 2.0], [2.0, 5.0], [3.0, 1.0])
    assert (curve["step"], curve["kl"]) == ([1.0, 2.0], [-0.01, 4.0])
    assert "gold" not in frontier([[1.0, 1.0, 2.0, None]]) and frontier([])["x"] == []


def test_a_gold_score_that_fell_is_found_and_said_with_how_sure_it_is():
    found = peak(points(hill(16)))
    assert found["step"] == pytest.approx(3 * 17.5, abs=6) and 3.0 < found["kl"] < 5.0
    assert found["fall"] == pytest.approx(21.0, abs=2.0) and 0 < found["error"] < 2.0
    said = report(BEFORE, {**BEFORE, "score": 9.0, "gold": 1.0, "kl": 10.0}, points(hill(16)))
    assert "over-optimised" in said["text"]
    since = said["readings"]["gold_since_peak"]
    assert since["low"] < since["value"] < since["high"] < 0
    assert said["readings"]["proxy_gap"]["value"] == pytest.approx(4.0 + 4.0)


def test_one_that_rises_to_the_end_or_only_jumps_is_not_called_over_optimised():
    jumping = [(-1.0) ** i for i in range(40)]
    for golds in (hill(39), jumping, [1.0] * 40):
        said = report(BEFORE, BEFORE, points(golds))
        assert "over-optimised" not in said["text"] and "not fallen clearly" in said["text"]


def test_without_gold_or_with_few_batches_nothing_is_said_of_a_peak():
    assert peak(points([None] * 40)) is None and peak(points([1.0] * 19)) is None and peak([]) is None
    without = {key: value for key, value in BEFORE.items() if not key.startswith("gold")}
    found = report(without, without, points([None] * 40))
    assert set(found["readings"]) == {
        f"{n}_{w}" for n in ("score", "kl", "length") for w in ("before", "after")
    }


def test_long_runs_keep_an_even_share_of_their_points():
    kept: list[list[float | None]] = []
    for step in range(5000):
        kept = thin([*kept, [float(step), 0.0, 0.0, None]])
    assert len(kept) <= 400 and kept[0][0] == 0.0 and kept[-1][0] > 4900


@pytest.mark.parametrize(
    "method", ["online/rloo", "online/grpo", "online/ppo", "online/p3o", "online/reinforce"]
)
def test_every_online_run_reports_its_frontier_and_gold_beside_it(method, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "gold", property(lambda run: lambda prompt, answer: float(answer.count("b"))))
    spec = toy_spec(method, tmp_path, checkpoint_every=None)
    assert api.execute(spec) == 0
    (found,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    curve = found["curves"]["frontier"]
    fresh = [row for row in rows(spec.home) if "objective/kl" in row]
    assert curve["step"] == [row["step"] for row in fresh]
    assert curve["x"] == pytest.approx([math.sqrt(max(row["objective/kl"], 0)) for row in fresh])
    assert curve["x"] == pytest.approx([row["objective/sqrt_kl"] for row in fresh])
    assert curve["y"] == pytest.approx([row["objective/scores"] for row in fresh])
    assert len(curve["gold"]) == len(fresh) and "proxy_gap" in found["readings"]
