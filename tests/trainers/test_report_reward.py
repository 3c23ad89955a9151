"""What a reward model's report says, on preferences and margins whose answers are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainers.toys import (
    PROMPTS,
    STRINGS,
    TABLE,
    corrections,
    entries,
    liking,
    pairs,
    rankings,
    ratings,
    reward_model,
    toy_spec,
)
from trainers import api, nn
from trainers.data import Preference, preferences, read_records, split
from trainers.methods.reward import ordinal
from trainers.nn.table import TableReward
from trainers.records import Pair
from trainers.reports import learning
from trainers.reports.reward import evaluate, findings, fold


def judged(count: int = 40, **changes) -> list[Preference]:
    one = Preference("", "longer one", "short", 1.0, True, "")
    return [replace(one, prompt=f"p{number}", **changes) for number in range(count)]


def test_accuracy_is_told_apart_by_strength_length_annotator_and_source():
    said = [
        *judged(10, annotator="ann", strength=1.0, source="comparison, import 1"),
        *judged(10, annotator="bob", strength=3.0, source="edit", better="short", worse="a longer one"),
        *judged(20, annotator="cleo", strength=2.0, source="comparison, import 1", worse="longer two"),
    ]
    said = [replace(one, prompt=f"q{number}") for number, one in enumerate(said)]
    margins = torch.tensor([1.0] * 7 + [-1.0] * 3 + [1.0] * 10 + [1.0] * 15 + [-1.0] * 4 + [0.0])
    found = findings(margins, -margins, said)["readings"]
    assert {name: (one["value"], one.get("n")) for name, one in found.items() if "/" in name} == {
        "accuracy/margin/slightly better": (0.7, 10),
        "accuracy/margin/clearly better": (15.5 / 20, 20),
        "accuracy/margin/much better": (1.0, 10),
        "accuracy/length/shorter": (1.0, 10),
        "accuracy/length/about as long": (15.5 / 20, 20),
        "accuracy/length/longer": (0.7, 10),
        "accuracy/annotator/ann": (0.7, 10),
        "accuracy/annotator/bob": (1.0, 10),
        "accuracy/annotator/cleo": (15.5 / 20, 20),
        "accuracy/source/comparison, import 1": (22.5 / 30, 30),
        "accuracy/source/edit": (1.0, 10),
    }
    assert all(one["low"] <= one["value"] <= one["high"] for name, one in found.items() if "/" in name)
    assert found["accuracy"]["value"] == 32.5 / 40 and found["shuffled_control"]["value"] == 7.5 / 40
    assert found["longer_answer"]["value"] == (10 + 20 / 2) / 40


def test_many_annotators_are_the_largest_and_the_others():
    said = [replace(one, annotator=f"person {int(number**0.5)}") for number, one in enumerate(judged(400))]
    found = findings(torch.ones(400), None, said)["readings"]
    names = [name for name in found if name.startswith("accuracy/annotator/")]
    assert len(names) == 8 and names[0].endswith("person 19") and names[-1].endswith("13 others")
    assert sum(found[name]["n"] for name in names) == 400


def test_labels_of_one_prompt_widen_the_interval():
    margins = torch.tensor([1.0, 1.0, 1.0, -1.0] * 30)
    apart = judged(120)
    together = [replace(one, prompt=f"p{number % 4}") for number, one in enumerate(apart)]
    wide, narrow = (findings(margins, None, said)["readings"]["accuracy"] for said in (together, apart))
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])


def test_nothing_held_out_is_said():
    assert "No decided pair" in findings(torch.zeros(0), torch.zeros(0), [])["text"]


def overconfident(count: int = 1000) -> torch.Tensor:
    """Margins of a model that is right as often as it states at a third of them."""
    chance = torch.Generator().manual_seed(0)
    honest = torch.randn(count, generator=chance) * 1.5
    return 3 * torch.where(torch.rand(count, generator=chance) < torch.sigmoid(honest), honest, -honest)


def test_statements_that_are_too_sure_are_seen_and_a_temperature_mends_them():
    report = findings(overconfident(), None, judged(1000))
    found = {name: one["value"] for name, one in report["readings"].items()}
    assert found["ece_before"] > 0.1 and found["ece_after"] < 0.05
    assert found["temperature"] == pytest.approx(3, rel=0.15)
    assert found["ece_honest"] == pytest.approx(0.03, abs=0.015)
    before, after = report["curves"]["reliability"], report["curves"]["reliability_after"]
    assert sum(before["n"]) == sum(after["n"]) == 1000
    assert before["x"][-1] - before["y"][-1] > 0.05 and before["high"][-1] < before["x"][-1]
    assert all(low <= y <= high for low, y, high in zip(after["low"], after["y"], after["high"], strict=True))


def test_prompts_that_are_all_in_one_part_have_no_temperature_and_it_is_said():
    said = judged(1000)
    together = [one for one in said if fold(one.prompt) == fold(said[0].prompt)]
    report = findings(overconfident(len(together)), None, together)
    assert set(report["readings"]) & {"ece_after", "temperature"} == set()
    assert report["readings"]["ece_before"]["value"] > 0.1 > report["readings"]["ece_honest"]["value"] > 0
    assert "reliability_after" not in report["curves"] and "reliability" in report["curves"]
    assert (
        f"No temperature: it is fitted on other prompts than it is judged on, and {len(together)} held"
        in (report["text"])
    )
    assert "over a temperature" not in report["text"]


def test_the_report_is_json_and_the_same_again():
    report = findings(overconfident(), overconfident(), judged(1000), seed=3)
    again = findings(overconfident(), overconfident(), judged(1000), seed=3)
    assert json.loads(json.dumps(report)) == report == again


# --- labels against accuracy --------------------------------------------------------------------------


def linear(count: int, seed: int, scale: float = 1.5, width: int = 40) -> torch.Tensor:
    """[count, width] differences of features, the better answer's first, by a hidden linear utility."""
    weights = torch.randn(width, generator=torch.Generator().manual_seed(11), dtype=torch.double)
    chance = torch.Generator().manual_seed(seed)
    away = torch.randn(count, width, generator=chance, dtype=torch.double)
    says = torch.sigmoid(scale / math.sqrt(width) * away @ weights)
    return torch.where(torch.rand(count, generator=chance) < says, 1.0, -1.0)[:, None] * away


def grown(count: int, seed: int = 0) -> learning.Curve:
    held_out = [replace(one, prompt=f"held {one.prompt}") for one in judged(400)]
    found = learning.curve(linear(count, 2 * seed), judged(count), linear(400, 2 * seed + 1), held_out, seed)
    assert isinstance(found, learning.Curve)
    return found


def test_accuracy_grows_with_labels_and_the_forecast_is_what_more_of_them_bring():
    forecasts = [grown(300, seed) for seed in range(3)]
    first = forecasts[0]
    assert first.labels == [38, 75, 150, 300]
    assert first.accuracy[0] < first.accuracy[-1]
    assert first.more == 200 and "200 more labels should give +" in first.text
    gain = sum(grown(500, seed).accuracy[-1] - grown(300, seed).accuracy[-1] for seed in range(5, 9)) / 4
    said = sum(one.gain for one in forecasts) / 3
    assert said == pytest.approx(gain, abs=sum(one.spread for one in forecasts) / 3)


def test_labels_that_say_nothing_promise_nothing():
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(700, 40, generator=chance, dtype=torch.double)
    held_out = [replace(one, prompt=f"held {one.prompt}") for one in judged(300)]
    found = learning.curve(noise[:400], judged(400), noise[400:], held_out, 0)
    assert abs(found.gain) <= found.spread + 0.005 and found.spread > 0
    assert abs(found.accuracy[-1] - 0.5) < 0.1


def test_the_parts_of_a_size_share_no_prompt_and_use_every_label():
    said = [replace(one, prompt=f"p{number // 3}") for number, one in enumerate(judged(120))]
    rows, ends = learning.shuffled_by_prompt(said, torch.Generator().manual_seed(0))
    assert sorted(rows) == list(range(120)) and ends[-1] == 120
    prompts = [said[row].prompt for row in rows]
    assert all(len({row for row, one in enumerate(prompts) if one == p}) == 3 for p in set(prompts))
    starts = [row for row in range(120) if prompts[row] not in prompts[:row]]
    assert starts == list(range(0, 120, 3)), "the labels of a prompt stand together"
    pieces = learning.cut(ends, 4)
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, 30), (30, 60), (60, 90), (90, 120)]


def test_no_prompt_is_cut_in_two():
    said = [replace(one, prompt=f"p{number // 5}") for number, one in enumerate(judged(60))]
    _, ends = learning.shuffled_by_prompt(said, torch.Generator().manual_seed(0))
    pieces = learning.cut(ends, 8)
    assert all(piece.start % 5 == piece.stop % 5 == 0 for piece in pieces) and pieces[-1].stop == 60


def test_of_very_many_labels_a_part_is_looked_at_and_all_are_counted(monkeypatch):
    monkeypatch.setattr(learning, "MOST", 200)
    found = grown(400)
    assert found.labels[-1] == 200 and found.sizes[-2:] == [400, 600]
    assert 0 < found.gain < 0.1


def test_a_tie_is_one_label():
    tie = Preference("p", "a", "b", 0.5, False, "")
    _, ends = learning.shuffled_by_prompt([tie, replace(tie, better="b", worse="a")], torch.Generator())
    assert ends == [1, 1]


def test_too_few_labels_for_a_curve_are_said():
    found = learning.curve(linear(30, 0), judged(30), linear(400, 1), judged(400), 0)
    assert isinstance(found, str) and "80 labels" in found and "are 30" in found
    assert found in findings(torch.ones(400), None, judged(400), found)["text"]


def test_the_curves_go_into_the_report():
    curve = grown(300)
    report = findings(torch.ones(400), None, judged(400), curve)
    assert curve.text in report["text"]
    assert report["forecast"] == {"labels": 200, "gain": curve.gain, "spread": curve.spread}
    drawn = report["curves"]["learning"]
    assert drawn["x"][-1] == 300 and report["curves"]["learning_fit"]["x"][-1] == 500
    assert all(low <= y <= high for low, y, high in zip(drawn["low"], drawn["y"], drawn["high"], strict=True))
    json.dumps(report)


# --- a trained model on records -------------------------------------------------------------------------


def test_a_model_is_evaluated_on_records(tmp_path):
    model = nn.load_reward_model(reward_model(tmp_path / "model"))
    found = evaluate(model, [*pairs(), *rankings(), *corrections()])["readings"]
    assert found["accuracy"]["value"] == 1.0 and found["accuracy"]["n"] > 300
    assert found["exchanged_prompts"]["value"] == 1.0, "this model does not look at prompts"
    assert {name for name in found if name.startswith("accuracy/source/")} == {
        "accuracy/source/comparison", "accuracy/source/ranking", "accuracy/source/edit"
    }  # fmt: skip


def test_a_model_that_needs_the_prompt_is_at_a_loss_with_anothers():
    model = TableReward(TABLE)
    with torch.no_grad():
        for place in range(len(PROMPTS)):
            model.values[place] = (-1) ** place * torch.tensor([float(liking(one)) for one in STRINGS])
    records = [one for one in pairs() if isinstance(one, Pair)]
    records = [
        one if PROMPTS.index(one.prompt) % 2 == 0 else replace(one, chosen=one.rejected, rejected=one.chosen)
        for one in records
    ]
    found = evaluate(model, records)["readings"]
    assert found["accuracy"]["value"] == 1.0 and found["exchanged_prompts"]["value"] < 0.3


def test_what_a_model_states_does_not_depend_on_how_its_scores_were_scaled(tmp_path):
    model = nn.load_reward_model(reward_model(tmp_path / "model"))
    before = evaluate(model, pairs())["readings"]
    model.normalise(3.0, 7.0)
    after = evaluate(model, pairs())["readings"]
    assert after["ece_before"]["value"] == pytest.approx(before["ece_before"]["value"], abs=1e-9)


STATING = {
    "both_orders": ("reward/bradley_terry", {"ties": "both_orders"}),
    "rao_kupper": ("reward/bradley_terry", {"ties": "rao_kupper"}),
    "davidson": ("reward/bradley_terry", {"ties": "davidson"}),
    "plackett_luce": ("reward/plackett_luce", {}),
    "ensemble": ("reward/ensemble", {"pessimism": 3.0}),
}


@pytest.mark.parametrize(("method", "config"), STATING.values(), ids=STATING)
def test_a_saved_model_states_what_its_own_run_reported(method, config, tmp_path):
    spec = toy_spec(method, tmp_path, config={"epochs": 1, "held_out": 0.5, **config}, records=pairs())
    assert api.execute(spec) == 0
    (own,) = [entry["report"]["readings"] for entry in entries(spec.home) if entry["type"] == "report"]
    _, kept = split(read_records(spec.snapshot, ("pair",)), 0.5)
    found = evaluate(nn.load_reward_model(spec.home / "reward_model"), kept)["readings"]
    for name in ("accuracy", "ece_before", "temperature"):
        assert found[name]["value"] == pytest.approx(own[name]["value"], rel=1e-3), name


def test_a_saved_model_states_of_two_rated_answers_what_its_own_run_reported(tmp_path):
    thumbs = [replace(one, scores={"thumb": one.scores["thumb"]}, scale={"thumb": 2}) for one in ratings()]
    spec = toy_spec("reward/ordinal", tmp_path, config={"epochs": 1}, records=thumbs)
    assert api.execute(spec) == 0
    (own,) = [entry["report"]["readings"] for entry in entries(spec.home) if entry["type"] == "report"]
    _, kept = split(read_records(spec.snapshot, ("rating",)), 0.2)
    compared, _ = ordinal.comparisons(ordinal.ratings(kept))
    as_pairs = [Pair(str(n), one.prompt, one.better, one.worse) for n, one in enumerate(compared)]
    found = evaluate(nn.load_reward_model(spec.home / "reward_model"), as_pairs)["readings"]
    assert found["ece_before"]["value"] == pytest.approx(own["ece_before"]["value"], rel=1e-3)


def test_a_model_saved_without_a_threshold_of_ties_opens_with_none(tmp_path):
    path = Path(reward_model(tmp_path / "model")) / "model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "scale.eta"}, path)
    model = nn.load_reward_model(path.parent)
    assert model.margins(["prompt 0"], ["aaa"], ["abc"]).tolist() == pytest.approx([2.0])


def test_records_that_decide_nothing_are_refused(tmp_path):
    model = nn.load_reward_model(reward_model(tmp_path / "model"))
    with pytest.raises(ValueError, match="None of the records says which"):
        evaluate(model, [replace(one, outcome="both_bad") for one in pairs()])


def test_a_preference_says_where_it_comes_from():
    pair = replace(pairs(1)[0], outcome="chosen", source={"terms": {"source": "import 3", "licence": "MIT"}})
    edit = replace(corrections(1)[0], source={"source": "a file"})
    found = preferences([pair, edit, rankings(1)[0]])
    assert [one.source for one in found[:3]] == ["comparison, import 3", "edit, a file", "ranking"]
