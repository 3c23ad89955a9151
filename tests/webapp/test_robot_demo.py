"""The robots' demo study is made once, has a robot to talk to, and clips to compare at once."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Item, Recording, Study, Task
from annotation.recordings import episode_of
from annotation.services import claim_tasks
from webapp.accounts.models import User
from webapp.robots.demo import find_demo, make_demo
from webapp.runs.models import Artifact

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner():
    return User.objects.create_user(username="owner")


def demo(owner: str) -> str:
    out = StringIO()
    call_command("demo_robot", owner=owner, stdout=out)
    return out.getvalue()


def test_it_is_made_once_even_when_it_was_renamed(owner):
    assert "Made the demo study Talk to the robot" in demo("owner")
    counts = Item.objects.count(), Task.objects.count(), Artifact.objects.count(), Recording.objects.count()
    assert counts == (12, 12, 1, 12)
    Study.objects.update(name="My own name")
    assert "My own name" in demo("owner")
    assert counts == (
        Item.objects.count(), Task.objects.count(), Artifact.objects.count(), Recording.objects.count(),
    )  # fmt: skip


def test_an_unknown_owner_is_named_in_the_error(db):
    with pytest.raises(CommandError, match="no account 'nobody'"):
        demo("nobody")
    assert not Study.objects.exists()


def test_its_first_question_is_two_clips_that_a_script_drove_with_more_and_less_skill(owner):
    study = make_demo(owner=owner)
    (claim,) = claim_tasks(study=study, annotator=owner)
    assert claim.task.kind == "clips"
    steps = {row.policy: [] for row in study.recordings.all()}
    for row in study.recordings.all():
        episode = episode_of(row)
        episode.verify()
        assert episode.about.by == "script"
        steps[row.policy].append(len(episode))
    mean = {skill: sum(found) / len(found) for skill, found in steps.items()}
    assert mean["sure hand"] < mean["shaky hand"] < mean["drowsy hand"]


def test_its_robot_is_the_one_that_is_shipped(owner):
    study = make_demo(owner=owner)
    robot = Artifact.objects.get(study=study)
    assert robot.kind == Artifact.Kind.ROBOT_POLICY and robot.meta["dials"] == {"camera_shift": 0.1}
    assert find_demo() == study
