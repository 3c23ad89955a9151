"""Reward models on the sentence encoder, frozen and learning, from records to report; and on real judgements."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainers.toys import entries, outcome, rows, snapshot
from trainers import api, nn
from trainers.records import Pair, Ranking, Rating, Record
from trainers.run import Spec

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("KIBITZ_DATA")
KIND = [
    "Of course, with pleasure.",
    "Thank you for asking.",
    "I would be glad to help.",
    "You are very welcome.",
]
RUDE = ["Find it yourself.", "What a stupid question.", "I will not help you.", "Leave me alone."]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def manners(count: int) -> list[Pair]:
    """Kind answers are better than rude ones, nine times in ten."""
    chance = random.Random(0)
    found = []
    for number in range(count):
        kind, rude = (
            f"{chance.choice(KIND)} {chance.choice(KIND)}",
            f"{chance.choice(RUDE)} {chance.choice(RUDE)}",
        )
        better, worse = (kind, rude) if chance.random() < 0.9 else (rude, kind)
        found.append(Pair(f"pair-{number}", f"Where is room {number}?", better, worse))
    return found


def spec(folder: Path, name: str, count: int, **config) -> Spec:
    where = snapshot(folder / "snapshot", manners(count))
    return Spec("reward/bradley_terry", folder / name, config, snapshot=where, checkpoint_every=100)


def test_on_the_frozen_encoder_the_report_says_what_more_labels_would_bring(tmp_path):
    run = spec(tmp_path, "run", 130)
    assert api.execute(run) == 0
    (report,) = [entry["report"] for entry in entries(run.home) if entry["type"] == "report"]
    assert report["readings"]["accuracy"]["value"] > 0.75
    drawn = report["curves"]["learning"]
    assert drawn["x"][-1] == report["train"] and len(drawn["x"]) > 2
    assert f"{report['forecast']['labels']} more labels should give" in report["text"]
    (artifact,) = [entry for entry in entries(run.home) if entry["type"] == "artifact"]
    assert artifact["meta"]["temperature"] == report["readings"]["temperature"]["value"]


def as_ranking(one: Pair) -> list[Record]:
    return [Ranking(one.id, one.prompt, (one.chosen, one.rejected), (1, 2))]


def as_ratings(one: Pair) -> list[Record]:
    """A thumb up and a thumb down."""
    return [
        Rating(f"{one.id}-{points}", one.prompt, text, {"thumb": points}, {"thumb": 2}, annotator="ann")
        for points, text in ((2, one.chosen), (1, one.rejected))
    ]


@pytest.mark.parametrize(
    ("method", "told"), [("reward/plackett_luce", as_ranking), ("reward/ordinal", as_ratings)]
)
def test_rankings_and_ratings_have_the_learning_curve_of_the_pairs_they_are(method, told, tmp_path):
    said = manners(130)
    curves = []
    for name, records in (
        (method, [row for one in said for row in told(one)]),
        ("reward/bradley_terry", said),
    ):
        where = snapshot(tmp_path / name / "snapshot", records)
        run = Spec(name, tmp_path / name / "run", {"epochs": 1}, snapshot=where)
        assert api.execute(run) == 0
        (report,) = [entry["report"] for entry in entries(run.home) if entry["type"] == "report"]
        assert f"{report['forecast']['labels']} more labels should give" in report["text"]
        curves.append(report["curves"]["learning"])
    assert curves[0]["x"] == curves[1]["x"] and len(curves[0]["x"]) > 2
    assert curves[0]["y"] == pytest.approx(curves[1]["y"], abs=1e-6)


def test_a_tuned_encoder_learns_and_repeats(tmp_path):
    once, again = (
        spec(tmp_path, name, 16, backbone="tuned_encoder", epochs=2, batch_size=8)
        for name in ("once", "again")
    )
    assert api.execute(once) == api.execute(again) == 0
    losses = [row["loss"] for row in rows(once.home) if "loss" in row]
    assert losses[0] == pytest.approx(0.693147, abs=1e-4) and losses[-1] < 0.6
    assert outcome_of(once) == outcome_of(again)
    model = nn.load_reward_model(once.home / "reward_model")
    assert model.kind == "tuned_encoder_reward"
    kind, rude = model.score(["Where is it?"] * 2, [KIND[0], RUDE[0]]).tolist()
    assert kind > rude


def test_without_anything_to_learn_it_says_so(tmp_path):
    run = spec(tmp_path, "run", 4)
    snapshot(tmp_path / "snapshot", [replace(one, outcome="both_bad") for one in manners(4)])
    assert api.execute(run) == 1
    assert "Nothing is left to learn from" in entries(run.home)[-1]["message"]


def outcome_of(run: Spec) -> dict:
    found = outcome(run)
    return {name: found[name] for name in ("rows", "report", "files")}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA, reason="KIBITZ_DATA names no folder with hh_harmless")
def test_on_dialogues_that_it_has_not_seen_the_frozen_encoder_is_right_and_honest_and_shuffled_labels_teach_nothing():
    command = [sys.executable, "benchmarks/reward.py", str(DATA), "--models", "frozen"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=800)
    found = {name: tuple(map(float, numbers)) for name, *numbers in TABLE.findall(done.stdout)}
    accuracy, low, high, _, after = found["frozen"]
    assert accuracy >= 63 and low > 60 and high < 75 and after < 0.05
    assert found["frozen, shuffled labels"][1] < 50 < found["frozen, shuffled labels"][2]


TABLE = re.compile(r"^\| ([^|]+) \| ([\d.]+)% \| ([\d.]+)% to ([\d.]+)% \| ([\d.]+) \| ([\d.]+) \|", re.M)
