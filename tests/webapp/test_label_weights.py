"""From what a person pressed to what a method learns of it: strength, ties, and how reliable its giver was found.

Nothing between is replaced: labels are submitted, a report of reliability is stored, the snapshot is frozen, and a
method is trained on the snapshot's folder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from annotation import services, snapshots
from annotation.models import Label, Reliability, Role
from tests.annotation import studies
from tests.trainers.toys import rows, snapshot
from trainers import api, nn
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.records import Record, parse

pytestmark = pytest.mark.django_db

SAID = {"ann": ("first", 3), "bob": ("tie", None), "cleo": ("second", 1)}
ITEMS = 3
METHODS = {
    "reward/bradley_terry": {"backbone": "byte_transformer", "d": 8, "layers": 1, "lr": 0.01, "margin": 0.5},
    "direct/dpo": {"lr": 0.01, "beta": 0.5},
}


@pytest.fixture
def study():
    """On each item ann finds the first answer much better, bob finds both alike, cleo the second slightly better."""
    made = studies.study(items=ITEMS, overlap=3)
    for name, (which, strength) in SAID.items():
        user = studies.person(name)
        services.join_study(study=made, user=user, role=Role.ANNOTATOR)
        for _ in range(ITEMS):
            turn = studies.claim(made, user)
            sides = dict(zip(("a", "b"), (one.index for one in turn.candidates), strict=True))
            choice = {"first": 0, "second": 1}.get(which)
            said = {"choice": next((side for side, index in sides.items() if index == choice), "tie")}
            studies.answer(turn, said | ({"strength": strength} if strength else {}))
    return made


def frozen(study, **weights: float) -> Path:
    """The folder of the labels as they stand, each giver's weighed as a stored report says."""
    people = {one.user.username: one.user for one in study.memberships.select_related("user")}
    report = {"annotators": [{"user": people[name].pk, "weight": weight} for name, weight in weights.items()]}
    Reliability.objects.create(study=study, last_label=Label.objects.latest("pk").pk, report=report)
    study.by_reliability = True
    study.save()
    return snapshots.verify(snapshots.freeze(study=study, by=study.created_by))


def records(folder: Path) -> list[Record]:
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").split("\n")
    return [parse(line, number) for number, line in enumerate(lines, start=1) if line]


def by(study, folder: Path) -> dict[str, list[Record]]:
    """The records of each person, whose name in the files is not their own."""
    said = {("chosen", 3.0): "ann", ("tie", 1.0): "bob", ("chosen", 1.0): "cleo"}
    found: dict[str, list[Record]] = {name: [] for name in SAID}
    for one in records(folder):
        found[said[one.outcome, one.strength]].append(one)
    assert {name: len(theirs) for name, theirs in found.items()} == dict.fromkeys(SAID, ITEMS)
    return found


def learned(method: str, folder: Path, out: Path, **config) -> list[tuple[float, float]]:
    """(loss, length of the gradient) at each of three steps over all records at once."""
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=8, layers=1, heads=2), seed=1), out / "policy")
    inputs = {"policy": policy} if method == "direct/dpo" else {}
    asked = {**METHODS[method], "epochs": 3, "batch_size": 100, "held_out": 0.0, **config}
    home = api.train(method, snapshot=folder, out=out / "run", inputs=inputs, **asked)
    found = [(row["loss"], row["grad_norm"]) for row in rows(home) if "loss" in row]
    assert len(found) == 3
    return found


def close(one, other, within: float = 1e-4) -> bool:
    return all(a == pytest.approx(b, rel=within) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_label_of_weight_0_changes_nothing_and_one_of_weight_2_counts_like_two(study, tmp_path, method):
    weighed = frozen(study, ann=2.0, bob=0.0, cleo=1.0)
    theirs = by(study, weighed)
    assert [{one.weight for one in theirs[name]} for name in SAID] == [{2.0}, {0.0}, {1.0}]

    twice = [replace(one, weight=1.0) for one in theirs["ann"]]
    twice += [replace(one, id=f"{one.id}-again") for one in twice] + theirs["cleo"]
    plain = snapshot(tmp_path / "twice", twice)
    found = learned(method, weighed, tmp_path / "weighed")
    assert close(found, learned(method, plain, tmp_path / "plain"))

    for other in ({"ann": 1.0, "bob": 0.0, "cleo": 1.0}, {"ann": 2.0, "bob": 1.0, "cleo": 1.0}):
        name = "-".join(f"{weight:g}" for weight in other.values())
        assert not close(found, learned(method, frozen(study, **other), tmp_path / name), within=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_tie_pulls_both_ways_with_half_its_weight_each(study, tmp_path, method):
    found = by(study, frozen(study, ann=0.0, bob=1.0, cleo=0.0))["bob"]
    orders = [replace(one, outcome="chosen", weight=0.5) for one in found]
    orders += [replace(one, id=f"{one.id}-b", chosen=one.rejected, rejected=one.chosen) for one in orders]
    alone, both = snapshot(tmp_path / "ties", found), snapshot(tmp_path / "orders", orders)
    one_way = snapshot(tmp_path / "one", orders[:ITEMS])
    # The first step alone: two equal pulls leave DPO a gradient of rounding errors, which AdamW blows up.
    tied, apart, pulled = (
        learned(method, folder, tmp_path / f"out-{n}")[0] for n, folder in enumerate((alone, both, one_way))
    )
    assert tied == pytest.approx(apart, rel=1e-4, abs=1e-5)
    assert abs(pulled[1] - tied[1]) > 0.05


def test_how_much_better_an_answer_was_said_to_be_reaches_the_margin(study, tmp_path):
    folder = frozen(study, ann=1.0, bob=0.0, cleo=0.0)
    assert {one.strength for one in by(study, folder)["ann"]} == {3.0}
    slightly = [replace(one, strength=1.0) for one in by(study, folder)["ann"]]
    weaker = snapshot(tmp_path / "slightly", slightly)

    def first_loss(folder: Path, margin: float) -> float:
        out = tmp_path / f"{folder.name[:8]}-{margin}"
        return learned("reward/bradley_terry", folder, out, margin=margin, centre=0.0)[0][0]

    assert first_loss(folder, 0.5) > first_loss(weaker, 0.5) + 0.3
    assert first_loss(folder, 0.0) == pytest.approx(first_loss(weaker, 0.5), rel=1e-5)
