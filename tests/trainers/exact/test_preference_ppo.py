"""Learning while people label: what is asked, what reaches a run, and what it does with it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers import clip_toys
from tests.trainers.exact.variants import variant
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import die_at, entries, in_child, outcome, rows, snapshot, toy_spec
from trainers import api
from trainers.episodes import Clip, Episodes
from trainers.nn import load_pilot
from trainers.nn.clips import ClipReward, ClipRewardConfig
from trainers.records import ClipPair, dumps
from trainers.run import Run, Spec
from trainers.sampling import clips as asking
from trainers.sampling.clips import Piece, disputed, pieces, questions
from trainers.sampling.experience import Lived

NAME = "control/preference_ppo"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# --- which clips to ask about ---------------------------------------------------------------------


def test_worth_is_the_variance_of_what_members_say():
    """0.9 and 0.1: 0.16. 0.9 and 0.9: nothing. 0.5 and 0.5: nothing either."""
    p = torch.tensor([[0.9, 0.9, 0.5], [0.1, 0.9, 0.5]])
    assert disputed(p).tolist() == pytest.approx([0.16, 0.0, 0.0], abs=1e-7)


def lived(count: int = 6, length: int = 47) -> list[Lived]:
    chance = np.random.default_rng(0)
    return [
        Lived(n, chance.normal(size=(length, 4)).astype(np.float32), np.full(length, n, np.float32), False)
        for n in range(count)
    ]


def test_episodes_are_cut_into_clips_without_overlap():
    found = pieces(lived(), 10, torch.Generator().manual_seed(0))
    assert len(found) == 24 and {one.stop - one.start for one in found} == {10}
    for one in lived():
        places = sorted((p.start, p.stop) for p in found if p.lived.seed == one.seed)
        assert all(a[1] == b[0] for a, b in zip(places, places[1:], strict=False)) and places[-1][1] <= 47
    assert len({one.start % 10 for one in found}) > 1, "they begin anywhere"
    assert pieces(lived(length=9), 10, torch.Generator()) == []


def test_no_clip_is_compared_with_itself_and_no_pair_is_asked_twice():
    found = pieces(lived(2, 20), 10, torch.Generator().manual_seed(0))
    asked = questions(found, None, 50, 10, torch.Generator().manual_seed(0))
    pairs = [frozenset((id(one.first), id(one.second))) for one in asked]
    assert all(len(pair) == 2 for pair in pairs) and len(set(pairs)) == len(pairs) == 6
    wrong = variant(asking, "second = second + (second >= first)", "second = second + 0 * first")
    asked = wrong.questions(found, None, 50, 10, torch.Generator().manual_seed(0))
    assert any(one.first is one.second for one in asked)
    with pytest.raises(ValueError, match="Make clips shorter"):
        questions(found[:1], None, 5, 10, torch.Generator())


def mean_worth(module: Any) -> float:
    """Of ten questions, by the members' own variance."""
    model = ClipReward(ClipRewardConfig(3, 1, 4, 8), torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.weights[2].mul_(20)
    found = pieces(lived(20), 10, torch.Generator().manual_seed(0))
    asked = module.questions(found, model, 10, 20, torch.Generator().manual_seed(1))
    sums = torch.stack(
        [torch.stack([model.opinions(p.steps).sum(1) for p in (one.first, one.second)]) for one in asked]
    )
    return disputed(torch.sigmoid(sums[:, 0] - sums[:, 1]).T.detach()).mean().item()


def test_what_members_dispute_is_asked_about():
    by_chance = mean_worth(variant(asking, "if model is not None:", "if False:"))
    least = mean_worth(variant(asking, "worth.argsort(descending=True", "worth.argsort(descending=False"))
    assert mean_worth(asking) > 2 * by_chance > 4 * least


def test_an_episode_is_written_once_and_is_what_was_lived(tmp_path):
    page = clip_toys.shown(tmp_path)
    one = clip_toys.lived()[3]
    clip = page.clip(Piece(one, 5, 15))
    assert str(page.clip(Piece(one, 5, 15))) == str(clip) and len(list(Episodes(tmp_path))) == 1
    episode = Episodes(tmp_path).open(clip.episode)
    steps = np.concatenate([episode.steps["observation"], episode.steps["action"]], axis=1)
    assert np.array_equal(steps, one.steps) and np.allclose(episode.steps["reward"], one.rewards)
    assert episode.ended and episode.about.seed == one.seed
    assert page.words == "Swing the pendulum up, and keep it there"
    other = replace(one, seed=one.seed + 1)
    with pytest.raises(ValueError, match="the same from the same seed"):
        page.keep(other)


def test_all_that_may_be_asked_is_asked_by_the_last_turn():
    module = method(NAME)
    for count, turns, first in ((200, 8, 4), (7, 3, 1), (30, 2, 7)):
        config = module.Config(comparisons=count, rounds=turns)
        plan = module.asked_by(config, first)
        assert sum(plan.values()) == count and min(plan) == first and max(plan) <= 60


# --- labels that come while it runs ---------------------------------------------------------------


def more_labels(folder: Path, count: int = 40) -> dict[str, Any]:
    """A snapshot as the site sends it."""
    where = snapshot(folder, clip_toys.pairs(160)[-count:])
    return {
        "folder": str(where),
        "digest": hashlib.sha256((where / "records.jsonl").read_bytes()).hexdigest(),
    }


def send_at(step: int, args: dict[str, Any]) -> Callable[[], None]:
    """Arms this process to send labels to a run after a step, as its supervisor would."""
    log = Run.log

    def and_send(run: Run, at: int, numbers: Any) -> None:
        log(run, at, numbers)
        path = run.home / "control.jsonl"
        if at == step and not path.exists():
            path.write_text(json.dumps({"id": 7, "kind": "labels", "args": args}) + "\n")

    def arm() -> None:
        Run.log = and_send  # type: ignore[method-assign]

    return arm


def learned_from(home: Path) -> list[float]:
    return [row["reward/comparisons"] for row in rows(home)]


@pytest.mark.parametrize("moment", [4, 13, 24])
def test_labels_that_come_while_it_runs_are_taken_in_and_a_kill_changes_nothing(moment, tmp_path):
    args = more_labels(tmp_path / "more")
    calm, killed = toy_spec(NAME, tmp_path, "calm"), toy_spec(NAME, tmp_path, "killed")
    arm = send_at(3, args)
    assert in_child(calm, arm) == 0
    found = learned_from(calm.home)
    assert found[2] == 120 and found[3] == 40, (
        "the newest snapshot holds all labels: it takes the place of the first"
    )
    assert {"type": "applied", "command": 7, "step": 3} in entries(calm.home)

    def struck() -> None:
        arm()
        die_at(moment)

    assert in_child(killed, struck) == -signal.SIGKILL
    assert in_child(killed, arm) == 0
    assert outcome(killed) == outcome(calm)


def test_where_taken_labels_are_not_remembered_a_resumed_run_is_another_one(tmp_path):
    from trainers import run as running

    wrong = variant(
        running,
        'self.memory["labels"] = [*self.memory.get("labels", []), taken]',
        "self._newest_labels = taken",
    )
    spec = toy_spec(NAME, tmp_path)
    args = more_labels(tmp_path / "more")
    for kind, takes in ((Run, True), (wrong.Run, False)):
        made = kind(replace(spec, home=tmp_path / kind.__module__))
        made._take(7, 3, args)
        assert (str(made.labels) == args["folder"]) is takes
        made.finished()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (NAME, {"digest": "0" * 64}, "not those that were sent"),
        (NAME, {"folder": "/nowhere"}, "No such file"),
        ("reward/clip_preferences", {}, "takes no labels while it runs"),
    ],
)
def test_labels_that_cannot_be_taken_are_refused_in_words_and_the_run_goes_on(name, change, says, tmp_path):
    spec = toy_spec(name, tmp_path)
    args = {**more_labels(tmp_path / "more"), **change}
    spec.home.mkdir()
    (spec.home / "control.jsonl").write_text(json.dumps({"id": 7, "kind": "labels", "args": args}) + "\n")
    assert api.execute(spec) == 0
    (event,) = [entry for entry in entries(spec.home) if entry["type"] == "event"]
    assert event["kind"] == "refused" and says in event["text"]


def test_with_people_it_waits_for_answers_before_it_asks_more(tmp_path):
    spec = toy_spec(NAME, tmp_path, config={"annotator": "people", "wait": 1.0}, records=clip_toys.pairs(1))
    spec = replace(spec, snapshot=None)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(api.execute(spec))
    try:
        said: list[ClipPair] = []
        for turn in range(3):
            items = asked(spec.home, turn + 1)
            before = len(rows(spec.home))
            time.sleep(0.3)
            assert len(rows(spec.home)) == before, "it waits"
            new = items[len(said) :]
            said += [answer(item, spec.episodes) for item in new]
            tell(spec.home, tmp_path / f"labels-{turn}", said, 10 + turn)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert len(said) == 30 and learned_from(spec.home)[-1] == 30
    report = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"][-1]
    assert "30 comparisons by people" in report["text"]


def asked(home: Path, turns: int, seconds: float = 40) -> list[dict[str, Any]]:
    """All that was asked, once there were so many turns."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (home / "journal.bin").exists():
            told = [
                entry for entry in entries(home) if entry["type"] == "artifact" and entry["kind"] == "items"
            ]
            if len(told) >= turns:
                return [
                    json.loads(line)
                    for entry in told
                    for line in (home / entry["path"]).read_text().splitlines()
                ]
        time.sleep(0.05)
    raise AssertionError(f"it did not ask {turns} times in {seconds} s")


def answer(item: dict[str, Any], store: Path | None) -> ClipPair:
    """By a script, named as such: what earned more."""
    texts = [candidate["text"] for candidate in item["candidates"]]

    def earned(text: str) -> float:
        clip = Clip.read(text)
        return float(Episodes(store or "").open(clip.episode).steps["reward"][clip.start : clip.stop].sum())

    worse, better = sorted(texts, key=earned)
    return ClipPair(item["external_id"], item["context"]["prompt"], better, worse, annotator="script")


def tell(home: Path, folder: Path, said: list[ClipPair], number: int) -> None:
    folder.mkdir()
    (folder / "records.jsonl").write_text("".join(dumps(one) + "\n" for one in said))
    digest = hashlib.sha256((folder / "records.jsonl").read_bytes()).hexdigest()
    command = {"id": number, "kind": "labels", "args": {"folder": str(folder), "digest": digest}}
    with (home / "control.jsonl").open("a") as control:
        control.write(json.dumps(command) + "\n")


# --- learning -------------------------------------------------------------------------------------

SHORT = {"steps": 36, "comparisons": 100, "rounds": 4, "judged": 20}


def learned(folder: Path, seed: int, module: Any = None, **config: Any) -> tuple[float, float, Path]:
    """(the world's own return before, after, the run's home)"""
    spec = Spec(NAME, folder / "run", config, seed=seed, episodes=folder / "episodes")
    run = Run(spec)
    module = module or method(NAME)
    module.train(module.Config(**run.config), run)
    run.finished()
    report = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"][-1]
    before, after = (report["readings"][f"return_{name}"]["value"] for name in ("before", "after"))
    return before, after, spec.home


def test_the_pendulum_improves_by_what_was_compared_and_not_by_a_coin(tmp_path):
    before, after, home = learned(tmp_path / "script", 21, annotator="script", **SHORT)
    assert after > before + 200
    answers = [json.loads(line) for line in (home / "records.jsonl").read_text().splitlines()]
    assert len(answers) == 100 and {one["annotator"] for one in answers} == {"script"}
    before, after, _ = learned(tmp_path / "coin", 21, annotator="coin", **SHORT)
    assert after < before + 100


@pytest.mark.slow
def test_a_policy_that_learned_from_the_worlds_own_reward_would_improve_by_a_coin(tmp_path):
    short = {**SHORT, "annotator": "coin", "comparisons": 10}
    wrong = method(NAME, 'if run.memory.get("heard"):', "if True:")
    wrong.ClipReward.forward, kept = lambda self, steps: rewards_of(steps), wrong.ClipReward.forward
    try:
        before, after, _ = learned(tmp_path, 21, wrong, **short)
    finally:
        wrong.ClipReward.forward = kept
    assert after > before + 200


def rewards_of(steps: torch.Tensor) -> torch.Tensor:
    """Gymnasium's reward of the pendulum, from what is seen and done."""
    angle = torch.atan2(steps[..., 1], steps[..., 0])
    return -(angle**2 + 0.1 * steps[..., 2] ** 2 + 0.004 * steps[..., 3] ** 2) / 8


@pytest.mark.slow
def test_two_hundred_comparisons_swing_the_pendulum_up(tmp_path):
    """Median over seeds that no setting was chosen by."""
    found = [learned(tmp_path / str(seed), seed, annotator="script", judged=100)[1] for seed in range(30, 33)]
    assert sorted(found)[1] > -400
    controls = [
        learned(tmp_path / f"coin-{seed}", seed, annotator="coin", judged=100) for seed in range(30, 33)
    ]
    assert sorted(after - before for before, after, _ in controls)[1] < 100


def test_the_policy_it_leaves_is_one_that_live_sessions_can_show(tmp_path):
    spec = toy_spec(NAME, tmp_path)
    assert api.execute(spec) == 0
    pilot = load_pilot(spec.home / "robot_policy")
    pilot.begin({}, 0)
    pilot.see(np.zeros(3, dtype=np.float32))
    assert math.isfinite(float(pilot.act("")[0]))
