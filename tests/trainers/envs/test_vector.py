"""Many copies of a world are the same worlds, whoever steps them, and each has its own row of seeds."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.envs import vector
from trainers.envs.registry import WORLDS, world
from trainers.envs.vector import Copies, OneByOne, episode_seed

COUNT = 3


def needed(name):
    if not WORLDS[name].here:
        pytest.skip(f"{WORLDS[name].title} needs the package {WORLDS[name].missing}, which is not installed")


def actions_for(copies, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, copies.count, copies.action)).astype(np.float32)


def as_lists(steps):
    return [getattr(steps, name).tolist() for name in ("observations", "rewards", "done", "over", "last")]


@pytest.mark.parametrize("name", ["table_talk", "pendulum", "cartpole"])
def test_each_copy_plays_what_one_world_alone_would_play_at_its_seeds(name):
    needed(name)
    copies = Copies(name, COUNT, most_steps=17)
    actions = actions_for(copies, 60)
    seeds = [11, 4, 900]
    first = copies.reset(seeds)
    steps = [copies.step(one) for one in actions]
    for number, seed in enumerate(seeds):
        alone, episode, taken = world(name), 0, 0
        assert alone.reset(seed).tolist() == first[number].tolist()
        for step, action in zip(steps, actions[:, number], strict=True):
            told, taken = alone.step(action), taken + 1
            over = told.done or taken == 17
            np.testing.assert_allclose(step.last[number], told.observation, rtol=1e-6, atol=1e-6)
            assert step.rewards[number] == pytest.approx(told.reward, abs=1e-5)
            assert (step.done[number], step.over[number]) == (told.done, over)
            if over:
                episode, taken = episode + 1, 0
                alone.reset(episode_seed(seed, episode))
            np.testing.assert_allclose(step.observations[number], alone.observe(), rtol=1e-6, atol=1e-6)
        assert copies.episodes[number] == episode >= 3


def test_pendulums_as_arrays_are_gymnasiums_own_to_the_last_digit_of_a_float():
    needed("pendulum")
    quick, slow = Copies("pendulum", COUNT), Copies("pendulum", COUNT)
    slow._engine = OneByOne([world("pendulum") for _ in range(COUNT)], "", {})
    assert not isinstance(quick._engine, OneByOne), "it is not quick any more"
    actions = actions_for(quick, 450) * 1.4
    np.testing.assert_allclose(quick.reset(40), slow.reset(40), atol=1e-7)
    for one in actions:
        a, b = quick.step(one), slow.step(one)
        for name in ("observations", "rewards", "last"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=2e-6, atol=2e-6)
        assert (a.over == b.over).all()
    assert quick.episodes.tolist() == slow.episodes.tolist() == [2] * COUNT


def test_a_copys_episodes_depend_neither_on_how_many_there_are_nor_on_the_others(monkeypatch):
    begun: list[tuple[int, int]] = []
    keep = OneByOne.begin

    def begin(self, which, seeds):
        begun.extend(zip(which.tolist(), seeds, strict=True))
        keep(self, which, seeds)

    monkeypatch.setattr(vector.OneByOne, "begin", begin)

    def seeds_of(count, most_steps):
        begun.clear()
        copies = Copies("table_talk", count, most_steps=most_steps)
        copies.reset(5)
        for one in actions_for(copies, 12):
            copies.step(one)
        return [seed for number, seed in begun if number == 1]

    assert seeds_of(2, 3) == seeds_of(4, 3) == [6] + [episode_seed(6, episode) for episode in (1, 2, 3, 4)]
    assert seeds_of(2, 4) == seeds_of(2, 3)[:4]
    assert len({episode_seed(seed, episode) for seed in range(50) for episode in range(50)}) == 2500


@pytest.mark.parametrize("name", ["table_talk", "pendulum", "reacher"])
def test_a_moment_of_all_copies_goes_on_exactly_as_it_did_through_ends_of_episodes(name):
    needed(name)
    copies = Copies(name, COUNT, most_steps=9)
    actions = actions_for(copies, 30, 3)
    copies.reset([5, 6, 5])
    for one in actions[:13]:
        copies.step(one)
    moment, seen = copies.snapshot(), copies.observe().tolist()
    first = [as_lists(copies.step(one)) for one in actions[13:]]
    other = Copies(name, COUNT, most_steps=9)
    for again in (other, copies):
        assert again.restore(moment).tolist() == seen and again.snapshot() == moment
        assert [as_lists(again.step(one)) for one in actions[13:]] == first
    with pytest.raises(ValueError, match="2 copies"):
        Copies(name, 2).restore(moment)


def test_what_cannot_be_stepped_is_refused():
    copies = Copies("table_talk", 2, task="sort", dials={"things": 5})
    assert copies.reset([1, 2]).shape == (2, 17) and copies.action == 3
    for wrong in (np.zeros((2, 2)), np.zeros(3), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match=r"Expected finite numbers of shape \(2, 3\)"):
            copies.step(wrong)
    with pytest.raises(ValueError, match="Expected one each"):
        copies.reset([1])
    with pytest.raises(ValueError, match="at least one"):
        Copies("table_talk", 0)
    with pytest.raises(ValueError, match="Known tasks"):
        Copies("table_talk", 1, task="juggle")
