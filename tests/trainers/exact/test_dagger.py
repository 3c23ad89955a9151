"""DAgger: on a track whose expert never shows the way back, it finds it; cloning on more labels does not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.trainers.test_methods_exact import method
from tests.trainers.toys import entries, rows, snapshot
from trainers.envs import registry
from trainers.episodes import PERSON, POLICY, About, Episodes
from trainers.nn import load_pilot, save
from trainers.nn.direct import DirectConfig, DirectPolicy
from trainers.records import Drive, LanguageCorrection
from trainers.run import Run, Spec
from trainers.sampling.episodes import Lived, Setting, live

SMALL = {"world": "track", "tasks": "track", "tests": 0, "hidden": 32, "batch_size": 64, "longest": 100}
CLONED, GATHERED = {"rounds": 1, "episodes": 8, "steps": 1500}, {"rounds": 8, "episodes": 1, "steps": 188}


@pytest.fixture(autouse=True)
def winding_track(monkeypatch):
    torch.set_num_threads(1)
    entry = registry.WorldEntry("tests.trainers.exact.track", "Track", ("track",), drawn=False, talks=True)
    monkeypatch.setitem(registry.WORLDS, "track", entry)


def driven(dagger: ModuleType, home: Path, seed: int = 0, **config: int) -> tuple[float, int]:
    """(the share of fresh tracks that is driven before they are left, the labels that were asked for)."""
    run = Run(Spec("control/dagger", home, seed=seed))
    dagger.train(dagger.Config(**{**SMALL, **config}), run)
    run.finished()
    lived = live(load_pilot(home / "robot_policy"), Setting("track"), range(50))
    labels = [row["dagger/labels"] for row in rows(home) if "dagger/labels" in row][-1]
    return sum(one.score for one in lived) / len(lived), int(labels)


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_it_finds_the_way_back_that_no_demonstration_shows_from_no_more_labels(seed, tmp_path):
    cloned, more = driven(method("control/dagger"), tmp_path / "cloned", seed, **CLONED)
    gathered, fewer = driven(method("control/dagger"), tmp_path / "gathered", seed, **GATHERED)
    assert fewer <= more
    assert cloned < 0.3 and gathered > 0.9


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("right = np.asarray(place.demonstrate(), dtype=np.float32)", "right = actions[row]"),
        ("beta = config.mixing**number", "beta = 1.0"),
        ("right if chance.random() < beta else actions[row]", "right"),
    ],
    ids=["its own actions as labels", "the expert always acts", "only the expert's states"],
)
def test_wrong_dagger_leaves_the_track(right, wrong, tmp_path):
    assert driven(method("control/dagger", right, wrong), tmp_path, **GATHERED)[0] < 0.9


def test_a_policy_that_it_goes_on_from_keeps_its_own_scale(tmp_path):
    given = DirectPolicy(DirectConfig(3, 1, hidden=32, world="track"), 0)
    given.scale(torch.tensor([[0.0, 1.0, 5.0], [2.0, 1.5, 9.0]]))
    inputs = {"robot_policy": str(save(given, tmp_path / "given"))}
    run = Run(Spec("control/dagger", tmp_path / "run", inputs=inputs))
    dagger = method("control/dagger")
    dagger.train(dagger.Config(**{**SMALL, "rounds": 1, "episodes": 1, "steps": 2}), run)
    run.finished()
    after = load_pilot(tmp_path / "run" / "robot_policy")
    assert torch.equal(after.middle, given.middle) and torch.equal(after.spread, given.spread)
    assert not torch.equal(after.net[0].weight, given.net[0].weight)


def test_what_was_driven_elsewhere_is_refused_with_how_much_was_seen_there(tmp_path):
    store = Episodes(tmp_path)
    drives = []
    for size in (2, 4):
        writer = store.begin(About("reach", "red", 0, size, 1, 0, 0.1))
        writer.step(np.zeros(size), np.zeros(1), actor=PERSON)
        drives.append(Drive(f"d{size}", "go", writer.end("time").name, 0, 1))
    with pytest.raises(ValueError, match=f"2 in {drives[0].episode}; 4 in {drives[1].episode}"):
        method("control/dagger").taken_over(store, drives)
    where = snapshot(tmp_path / "snapshot", drives[:1])
    run = Run(Spec("control/dagger", tmp_path / "run", snapshot=where, episodes=store.root))
    dagger = method("control/dagger")
    with pytest.raises(ValueError, match="2 in what was driven; 3 in track"):
        dagger.train(dagger.Config(**SMALL), run)


def test_the_report_tells_what_was_before_from_what_came_after(tmp_path, monkeypatch):
    found = iter([[Lived(0, 9, float(one), one, {}, (), (0, 0), {}, ())] for one in (False, True)])
    dagger = method("control/dagger")
    monkeypatch.setattr(dagger, "tested", lambda *given: next(found))
    run = Run(Spec("control/dagger", tmp_path))
    dagger.train(dagger.Config(**{**SMALL, "rounds": 1, "episodes": 1, "steps": 1, "tests": 1}), run)
    run.finished()
    (told,) = [entry["report"] for entry in entries(tmp_path) if entry["type"] == "report"]
    assert "0 of 1 before, 1 of 1 after (1 gained, 0 lost)" in told["text"]


def kept(dagger: ModuleType) -> list[float]:
    """What is learned from after two rounds, and after a checkpoint between them was read."""
    gathered = dagger.Gathered()
    for number in (1.0, 2.0):
        gathered.add(*(torch.full(shape, number) for shape in ((2, 3), (2, 16), (2, 1), (2,))))
        again = dagger.Gathered()
        again.load_state_dict(gathered.state_dict())
        gathered = again
    return [len(gathered), *gathered.observations[:, 0].tolist(), *gathered.weights.tolist()]


def test_all_rounds_are_learned_from_and_not_only_the_newest():
    assert kept(method("control/dagger")) == [4, 1, 1, 2, 2, 1, 1, 2, 2]
    newest = method(
        "control/dagger", "tensor if self._empty else torch.cat([getattr(self, name), tensor])", "tensor"
    )
    assert kept(newest) == [2, 2, 2, 2, 2]


def test_the_expert_alone_acts_in_the_first_round_and_the_robot_alone_afterwards():
    dagger = method("control/dagger")
    config = dagger.Config(**{**SMALL, "episodes": 3})
    policy = DirectPolicy(DirectConfig(3, 1, hidden=8), 0)
    (seen, _, right, _), told = dagger.visited(config, policy, ["track"], 0, 0)
    assert len(seen) == 300 and float(seen[:, 2].abs().max()) < 1e-5, "an expert stays in the middle"
    assert told["dagger/disagreement"] > 0.1
    (seen, _, right, _), _ = dagger.visited(config, policy, ["track"], 1, 0)
    assert float(seen[:, 2].abs().max()) > 0.3, "an untrained robot does not"
    bend = 0.5 * seen[:, 0] + 0.2 * (3 * seen[:, 0] - 4 * seen[:, 0] ** 3)  # sin 3a = 3 sin a - 4 sin^3 a
    assert torch.allclose(right[:, 0], (bend - 0.6 * seen[:, 2]).clamp(-1, 1), atol=1e-5)


def test_of_a_stretch_that_somebody_drove_the_robots_own_steps_and_rejected_ones_are_not_learned(tmp_path):
    store = Episodes(tmp_path)
    writer = store.begin(About("reach", "red", 0, 2, 1, 0, 0.1))
    for step in range(10):
        actor = PERSON if step >= 4 else POLICY
        writer.step(np.full(2, step), np.full(1, step / 10), actor=actor)
    episode = writer.end("time").name
    records = [
        Drive("d", "go", episode, 2, 9, weight=2.0),
        LanguageCorrection("r", "go", episode, 6, 7, "", "", type="rejected"),
    ]
    seen, tasks, done, weights = method("control/dagger").taken_over(store, records)
    assert seen[:, 0].tolist() == [4, 5, 7, 8] and weights.tolist() == [2.0] * 4
    assert done[:, 0].tolist() == pytest.approx([0.4, 0.5, 0.7, 0.8]) and len(tasks) == 4
    with pytest.raises(ValueError, match="Nobody drove"):
        method("control/dagger").taken_over(store, [Drive("d", "go", episode, 0, 3)])
