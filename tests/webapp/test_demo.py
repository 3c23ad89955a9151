"""The demo study is made once, its first comparison needs no model, and simulated annotators hold by the rule."""

import random
import xml.etree.ElementTree as ElementTree
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Item, Label, Study, Task
from annotation.services import claim_tasks
from annotation.simulation import simulate, simulated_annotators
from trainers.envs import hotel
from webapp.accounts.models import User
from webapp.runs.demo import find_demo, make_demo
from webapp.runs.models import Artifact, Loop
from webapp.runs.rounds_chart import chart

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner():
    return User.objects.create_user(username="owner")


@pytest.fixture
def study(owner) -> Study:
    return make_demo(owner=owner)


def demo(owner: str) -> str:
    out = StringIO()
    call_command("demo", owner=owner, stdout=out)
    return out.getvalue()


def test_the_demo_is_made_once_even_when_it_was_renamed(owner):
    assert "Made the demo study Hotel desk" in demo("owner")
    counts = Item.objects.count(), Task.objects.count(), Artifact.objects.count(), Loop.objects.count()
    assert counts == (160, 320, 1, 1)
    Study.objects.update(name="My own name")
    assert "My own name" in demo("owner")
    assert (
        Item.objects.count(),
        Task.objects.count(),
        Artifact.objects.count(),
        Loop.objects.count(),
    ) == counts


def test_an_unknown_owner_is_named_in_the_error(db):
    with pytest.raises(CommandError, match="no account 'nobody'"):
        demo("nobody")
    assert not Study.objects.exists()


def test_the_first_comparison_is_there_at_once_and_knows_where_its_answers_came_from(study, owner):
    (claim,) = claim_tasks(study=study, annotator=owner)
    assert claim.task.kind == "pairwise"
    policy = Artifact.objects.get(study=study)
    for candidate in claim.candidates:
        assert (candidate.source["artifact"], candidate.source["digest"]) == (policy.pk, policy.digest)


def test_the_demo_comes_with_its_loop_on(study):
    assert study.loop.retrain_on
    assert study.loop.propose_on
    assert study.loop.retrain_every <= 100
    assert find_demo() == study


def test_a_second_study_of_the_demos_is_not_taken_for_it(study, owner):
    make_demo(owner=owner, name="Another desk", seed=3)
    assert find_demo() == study


def test_simulated_annotators_are_marked_and_no_person_is_taken_for_one(study):
    people = simulated_annotators(study, 2)
    assert [(one.username, one.simulated) for one in people] == [("simulated-1", True), ("simulated-2", True)]
    assert not any(one.has_usable_password() for one in people)
    assert simulated_annotators(study, 2) == people
    User.objects.create_user(username="simulated-3")
    with pytest.raises(ValueError, match="belongs to a person"):
        simulated_annotators(study, 3)


def test_without_noise_their_labels_are_the_rules_and_their_rewrites_are_better(study):
    given = list(simulate(study, simulated_annotators(study, 4), 80, noise=0.0, seed=1))
    assert len(given) == 80
    kinds = [label.kind for label in given]
    assert kinds.count("pairwise") >= 55
    assert kinds.count("edit") >= 3
    agreed = [agrees_with_the_rule(label) for label in given]
    assert sum(agreed) / len(agreed) > 0.95
    assert {label.annotator.username for label in given} == {f"simulated-{n}" for n in range(1, 5)}


def test_noise_is_the_share_of_answers_given_by_a_coin(study):
    given = list(simulate(study, simulated_annotators(study, 1), 60, noise=1.0, seed=1))
    pairs = [label for label in given if label.kind == "pairwise"]
    assert all(label.answer["choice"] == "chosen" for label in pairs)
    wrong = sum(not agrees_with_the_rule(label) for label in pairs) / len(pairs)
    assert 0.2 < wrong < 0.75


def test_the_command_says_when_no_task_is_left(study):
    out = StringIO()
    call_command("simulate", study=study.pk, annotators=2, labels=500, seed=0, stdout=out)
    assert Label.objects.count() > 80
    assert "No task is left" in out.getvalue()


def test_the_command_names_the_studies_there_are(study):
    with pytest.raises(CommandError, match=f"There are: {study.pk} \\(Hotel desk\\)"):
        call_command("simulate", study=study.pk + 1)


def test_the_chart_draws_every_seed_and_every_round():
    rng = random.Random(0)
    seeds = [
        {
            "seed": seed,
            "rounds": [
                {"mean": m, "low": m - 1, "high": m + 1} for m in sorted(rng.random() for _ in "1234")
            ],
        }
        for seed in range(3)
    ]
    drawing = ElementTree.fromstring(chart(seeds))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawing.findall(f"{space}polyline")) == 3
    assert len(drawing.findall(f"{space}circle/{space}title")) == 12


def agrees_with_the_rule(label: Label) -> bool:
    """Whether the rule says the same; where it hardly sees a difference, anything does."""
    prompt = label.task.item.context["prompt"]
    answers = {candidate.pk: candidate.text for candidate in label.task.item.candidates.all()}
    if label.kind == "edit":
        return hotel.gold(prompt, label.answer["text"]) > hotel.gold(
            prompt, answers[label.answer["candidate"]]
        )
    if label.answer["choice"] != "chosen":
        first, second = answers.values()
        return abs(hotel.gold(prompt, first) - hotel.gold(prompt, second)) < 0.3
    chosen, rejected = answers[label.answer["chosen"]], answers[label.answer["rejected"]]
    return hotel.gold(prompt, chosen) > hotel.gold(prompt, rejected) - 0.3
