"""Rewards from comparisons of clips, against numbers worked by hand; and the usual mistakes, which must fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.trainers import clip_toys
from tests.trainers.exact.variants import variant
from tests.trainers.toys import entries, toy_spec
from trainers import api
from trainers.data import clips as data
from trainers.data.clips import Clips, Comparison, apart, comparisons, counts, lessons, regularised
from trainers.episodes import Clip, Episodes
from trainers.maths import segments
from trainers.nn.clips import ClipReward, ClipRewardConfig
from trainers.records import ClipPair

NAMES = [f"{number:032x}" for number in range(400)]


def said(first: str = "", second: str = "", share: float = 1.0, **rest) -> Comparison:
    first, second = first or f"clip:{NAMES[0]}:0-3", second or f"clip:{NAMES[1]}:0-3"
    values = {"weight": 1.0, "strength": 1.0, "annotator": "ann", "prompt": "Go.", "key": "one"}
    return Comparison(first, second, share, **{**values, **rest})


# --- the loss -------------------------------------------------------------------------------------


def by_hand(module) -> bool:
    """Clips of rewards 1, 0, 2 and 2, 1 (the third step is padding): R = 3 and 3 and h = 0; with 1/2 more on the first
    clip's first step h = 1/2, P = sigmoid(1/2) = 0.6225, the loss of "the first" is 0.4741, and its slope P - 1."""
    rewards = torch.tensor([[1.5, 0.0, 2.0], [2.0, 1.0, 9.0]], dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    sums = module.summed(rewards, mask)
    loss = module.surprise(sums[0] - sums[1], torch.tensor(1.0), torch.tensor(0.0, dtype=torch.double))
    loss.backward()
    slope = 1 / (1 + math.exp(-0.5)) - 1
    wanted = torch.tensor([[slope] * 3, [-slope, -slope, 0.0]], dtype=torch.double)
    return (
        loss.item() == pytest.approx(0.474077, abs=1e-6)
        and rewards.grad is not None
        and torch.allclose(rewards.grad, wanted, atol=1e-9)
    )


def test_the_loss_and_its_gradient_are_those_worked_by_hand():
    assert by_hand(segments)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".sum(dim=-1)", ".mean(dim=-1)"),
        ("torch.where(mask, rewards, torch.zeros_like(rewards))", "rewards"),
        ("F.logsigmoid(h)", "F.logsigmoid(-h)"),
    ],
    ids=["mean of a clip", "padding counted", "the worse one is better"],
)
def test_another_loss_is_found_out(right, wrong):
    assert not by_hand(variant(segments, right, wrong))


def test_a_share_of_random_answers_bounds_what_one_wrong_answer_costs():
    """At h = -50 the first is preferred with probability e / 2 = 0.05: 2.9957 nat, and no slope to speak of."""
    h = torch.tensor(-50.0, requires_grad=True)
    loss = segments.surprise(h, torch.tensor(1.0), torch.tensor(0.1))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(0.05), abs=1e-5) and abs(h.grad.item()) < 1e-6
    without = segments.surprise(torch.tensor(-50.0), torch.tensor(1.0), torch.tensor(0.0))
    assert without.item() == pytest.approx(50.0)


def least_at(share: float) -> float:
    """Where the loss of a judgement is least."""
    h = torch.linspace(-6, 6, 1201)
    loss = segments.surprise(h, torch.full_like(h, share), torch.full_like(h, 0.1))
    return h[loss.argmin()].item()


def test_a_tie_is_least_surprising_where_the_two_are_alike():
    assert least_at(0.5) == pytest.approx(0.0, abs=0.011)
    assert least_at(1.0) > 5, "a preference is not"
    (tie,) = comparisons([ClipPair("t", "Go.", f"clip:{NAMES[1]}:0-3", f"clip:{NAMES[0]}:0-3", "tie")])
    assert tie.share == 0.5 and not tie.decided
    right = 'share = 0.5 if one.outcome == "tie" else float(first == one.chosen)'
    wrong = variant(data, right, "share = float(first == one.chosen)")
    (taken,) = wrong.comparisons(
        [ClipPair("t", "Go.", f"clip:{NAMES[1]}:0-3", f"clip:{NAMES[0]}:0-3", "tie")]
    )
    assert taken.share != 0.5


# --- records and draws ----------------------------------------------------------------------------


def test_a_record_is_the_same_comparison_whoever_was_preferred():
    one, two = f"clip:{NAMES[1]}:0-3", f"clip:{NAMES[0]}:5-9"
    better, worse = comparisons(
        [
            ClipPair("a", "Go.", one, two, strength=3.0, weight=0.5, annotator="bob"),
            ClipPair("b", "Go.", two, one),
        ]
    )
    assert (better.first, better.second, better.share) == (two, one, 0.0)
    assert (worse.first, worse.second, worse.share) == (two, one, 1.0)
    assert (better.better, better.worse) == (one, two)
    assert (better.strength, better.weight, better.annotator) == (3.0, 0.5, "bob")
    nothing = [
        ClipPair("c", "Go.", one, two, "both_bad"),
        ClipPair("d", "Go.", one, one),
        ClipPair("e", "Go.", one, two, weight=0.0),
    ]
    assert comparisons(nothing) == []


def test_a_draw_leaves_out_one_in_e_and_stays_as_it_is_when_more_comes():
    every = [
        said(f"clip:{one}:0-3", f"clip:{other}:0-3") for one, other in zip(NAMES, NAMES[1:], strict=False)
    ]
    drawn = counts(every, 4, 0)
    assert drawn.shape == (4, 399)
    assert ((drawn == 0).double().mean().item()) == pytest.approx(1 / math.e, abs=0.04)
    assert drawn.mean().item() == pytest.approx(1.0, abs=0.08)
    assert torch.equal(counts(every[100:], 4, 0), drawn[:, 100:])
    assert not torch.equal(counts(every, 4, 1), drawn) and not torch.equal(drawn[0], drawn[1])
    twice = counts([every[0], said(every[0].first, every[0].second, 0.0, annotator="bob")], 4, 0)
    assert torch.equal(twice[:, 0], twice[:, 1]), "one question stands or falls together"


def test_where_every_member_learns_from_everything_nothing_is_left_to_set_l2_by():
    wrong = variant(data, ".poisson(1.0, members)", ".poisson(1.0, members) * 0 + 1")
    every = [said(f"clip:{one}:0-3", f"clip:{NAMES[0]}:5-9") for one in NAMES[1:40]]
    assert (counts(every, 3, 0) == 0).any() and not (wrong.counts(every, 3, 0) == 0).any()


def test_what_is_held_out_shows_an_episode_that_nothing_was_learned_from():
    chance = np.random.default_rng(0)
    pairs = [chance.choice(200, 2, replace=False) for _ in range(500)]
    every = [said(f"clip:{NAMES[a]}:0-3", f"clip:{NAMES[b]}:4-7") for a, b in pairs]
    learned, kept = apart(every, 0.2)
    assert sorted([*learned, *kept]) == list(range(500)), "each is on one side"
    assert 0.1 < len(kept) / 500 < 0.3
    episodes = [{Clip.read(text).episode for text in (one.first, one.second)} for one in every]
    seen = set().union(*(episodes[row] for row in learned))
    assert all(episodes[row] - seen for row in kept)
    assert apart(every, 0.0) == (list(range(500)), [])


def test_the_l2_coefficient_follows_the_ratio_of_the_losses():
    assert regularised(0.1, 1.0, 1.6) == pytest.approx(0.15)
    assert regularised(0.1, 1.0, 1.3) == 0.1
    assert regularised(0.1, 1.0, 1.05) == pytest.approx(0.1 / 1.5)
    assert regularised(10.0, 1.0, 9.0) == 10.0 and regularised(1e-3, 1.0, 0.5) == 1e-3
    assert regularised(0.1, 1.0, math.nan) == 0.1, "nothing was kept from anybody"


# --- batches and models ---------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path) -> tuple[Clips, list[Comparison]]:
    store = Episodes(clip_toys.episodes(tmp_path / "episodes"))
    return Clips(lambda: store), comparisons(clip_toys.pairs(40))


def test_a_padded_clip_is_worth_what_it_is_worth_alone(toy):
    clips, every = toy
    long = Clip.read(every[0].first)
    short = str(Clip(long.episode, long.start, long.start + 4))
    model = ClipReward(ClipRewardConfig(3, 1, 3, 8), torch.Generator().manual_seed(0))
    steps, mask = clips.stack([said(every[0].first, short)])
    assert steps.shape == (1, 2, 10, 4) and mask.sum().item() == 14
    alone = model.opinions(clips[short]).sum(dim=1)
    assert torch.allclose(model.sums(steps, mask)[:, 0, 1], alone, atol=1e-6)


def test_strength_weight_and_annotator_reach_the_loss(toy):
    clips, every = toy
    taught = lessons(every, clips, 3, 0.1, 0)
    for row, one in enumerate(every):
        assert taught.noise[row].item() == pytest.approx(0.1 / one.strength)
        assert taught.weight[row].item() == one.weight and taught.share[row].item() == one.share
    on, off = taught.both(torch.ones(3, len(every)))
    assert on.item() == off.item() == 1.0
    sums = torch.stack([taught.share, 1 - taught.share], dim=1).expand(3, -1, -1)
    right, told = taught.unseen(sums)
    assert right == told == int(((taught.often == 0).any(dim=0) & (taught.share != 0.5)).sum())


def test_each_member_is_normalised_by_itself_and_the_reward_is_their_mean(toy):
    clips, every = toy
    steps = torch.cat([clips[one.first] for one in every])
    model = ClipReward(ClipRewardConfig(3, 1, 3, 8), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.weights[2][0] *= 100  # one member that shouts
    model.normalise(steps)
    with torch.no_grad():
        own = (model.opinions(steps) - model.mean[:, None]) / model.std[:, None]
        assert torch.allclose(own.std(dim=1, correction=0), torch.ones(3), atol=1e-4)
        assert torch.allclose(model(steps), own.mean(dim=0), atol=1e-6)


def test_clips_of_different_worlds_and_cut_episodes_are_refused_with_what_to_do(toy):
    clips, every = toy
    clips._kept["other"] = torch.zeros(10, 7)
    with pytest.raises(ValueError, match="different worlds"):
        clips.stack([said("other", every[0].first)])
    whole = Clip.read(every[0].first).episode
    with pytest.raises(ValueError, match="Bring the whole episode back"):
        clips[str(Clip(whole, 25, 60))]


def test_where_nothing_is_left_to_learn_from_it_says_what_to_do(tmp_path):
    bad = [ClipPair(one.id, one.prompt, one.chosen, one.rejected, "both_bad") for one in clip_toys.pairs(4)]
    spec = toy_spec("reward/clip_preferences", tmp_path, records=bad)
    assert api.execute(spec) == 1
    assert "Compare more clips" in entries(spec.home)[-1]["message"]
