"""Reward models look at the open tasks, and what a person's answer would tell most about comes first."""

from __future__ import annotations

import pytest
from django.conf import settings

from annotation.models import Policy
from annotation.services import add_items, change_study
from tests.annotation import studies
from trainers.nn import digest, save
from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.ensemble import EnsembleReward
from trainers.nn.reward import ByteReward
from webapp.runs import ranking
from webapp.runs.models import Artifact

pytestmark = pytest.mark.django_db


def reward_model(study, seed: int) -> Artifact:
    """A reward model with chance weights: it has opinions, if no good ones."""
    path = settings.MODELS / f"reward-{seed}"
    path.parent.mkdir(exist_ok=True)
    save(ByteReward(ByteTransformerConfig(d=16, layers=1, heads=2), seed=seed), path)
    return Artifact.objects.create(
        study=study,
        kind=Artifact.Kind.REWARD_MODEL,
        name=path.name,
        path=str(path.relative_to(settings.KIBITZ_HOME)),
        digest=digest(path),
        size=1,
    )


def ensemble(study, seeds: tuple[int, ...]) -> Artifact:
    """One model of several members with chance weights."""
    path = settings.MODELS / "ensemble"
    path.parent.mkdir(exist_ok=True)
    shape = ByteTransformerConfig(d=16, layers=1, heads=2)
    save(EnsembleReward([ByteReward(shape, seed=seed) for seed in seeds]), path)
    return Artifact.objects.create(
        study=study,
        kind=Artifact.Kind.REWARD_MODEL,
        name=path.name,
        path=str(path.relative_to(settings.KIBITZ_HOME)),
        digest=digest(path),
        size=1,
        meta={"members": len(seeds)},
    )


def texts(n: int) -> tuple[str, str]:
    """Two answers; of every fourth item they say the same, so that no model can tell them apart."""
    first = f"Breakfast is at {6 + n} o'clock."
    return (first, first if n % 4 == 0 else f"I do not know, ask somebody else {n} times, please!")


@pytest.fixture
def study():
    made = studies.study(items=0, members=1)
    add_items(
        study=made,
        items=[{"context": {"prompt": f"When is breakfast? {n}"}, "candidates": texts(n)} for n in range(12)],
    )
    return made


def next_prompts(study, count: int) -> list[int]:
    (user,) = studies.annotators(study)
    found = []
    for _ in range(count):
        turn = studies.claim(study, user)
        found.append(int(turn.item.context["prompt"].split()[-1]))
        studies.answer(turn)
    return found


def test_what_the_newest_model_cannot_tell_apart_comes_first(study):
    reward_model(study, seed=1)
    change_study(study=study, policy=Policy.UNCERTAIN)
    assert ranking.rank(study.pk) > 0
    assert sorted(next_prompts(study, 3)) == [0, 4, 8]


def test_disputed_puts_first_what_models_differ_about_and_last_what_none_can_tell_apart(study):
    for seed in (1, 2, 3):
        reward_model(study, seed)
    change_study(study=study, policy=Policy.DISPUTED)
    assert ranking.rank(study.pk) > 0
    assert sorted(next_prompts(study, 12)[-3:]) == [0, 4, 8]


@pytest.mark.parametrize("policy", [Policy.DISPUTED, Policy.UNCERTAIN])
def test_one_ensemble_is_asked_for_what_its_members_dispute_or_find_even(study, policy):
    reward_model(study, seed=9)
    made = ensemble(study, seeds=(1, 2, 3))
    change_study(study=study, policy=policy)
    assert ranking.models_for(study) == [made], "an older single model is no member of it"
    assert ranking.rank(study.pk) > 0
    found = next_prompts(study, 12)
    assert sorted(found[-3:] if policy == Policy.DISPUTED else found[:3]) == [0, 4, 8]


def test_a_study_of_another_policy_keeps_its_order(study):
    reward_model(study, seed=1)
    assert ranking.rank(study.pk) == 0
    assert next_prompts(study, 3) == [0, 1, 2]


def test_the_order_is_renewed_for_a_newer_model_and_for_enough_answers(study, monkeypatch):
    sent = []
    monkeypatch.setattr(ranking.current_app, "send_task", lambda name, args, **_: sent.append((name, *args)))
    monkeypatch.setattr(ranking, "seen", {})
    monkeypatch.setattr(ranking, "AFTER_LABELS", 3)
    change_study(study=study, policy=Policy.UNCERTAIN)
    assert ranking.sweep() == 0, "no model has looked yet"
    reward_model(study, seed=1)
    assert (ranking.sweep(), ranking.sweep()) == (1, 0)
    next_prompts(study, 2)
    assert ranking.sweep() == 0
    next_prompts(study, 1)
    assert ranking.sweep() == 1
    reward_model(study, seed=2)
    assert ranking.sweep() == 1
    assert sent == [("runs.rank", study.pk)] * 3


def test_the_worth_of_an_answer_follows_its_formula():
    assert ranking.uncertainty([[1.0, 1.0]]) == 1.0
    assert ranking.uncertainty([[0.0, 50.0]]) == pytest.approx(0.0, abs=1e-12)
    # Two that are certain of opposite things are together as unsure as can be.
    assert ranking.uncertainty([[0.0, 50.0], [50.0, 0.0]]) == pytest.approx(1.0)
    # Odds of 3 : 1 and 1 : 3 are P = 0.75 and 0.25: their variance is 1/16.
    three_to_one = 1.0986122886681098
    assert ranking.disagreement([[three_to_one, 0.0], [0.0, three_to_one]]) == pytest.approx(1 / 16)
    assert ranking.disagreement([[1.0, 0.0], [3.0, 2.0]]) == pytest.approx(0.0)
