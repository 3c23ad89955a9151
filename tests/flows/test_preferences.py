"""A run that learns while people label: it asks about clips of what it does, and their answers reach it while it runs.

The annotator is a script, named as such: it finds better the clip in which the gripper is further right.
"""

from __future__ import annotations

import pytest
import torch
from django.conf import settings

from annotation.models import Role, Task
from annotation.services import create_study, join_study
from tests.annotation import studies
from tests.annotation.studies import person
from tests.flows.conftest import Workers, child_of, kill, wait_for
from trainers.episodes import Clip, Episodes
from trainers.nn import load_pilot
from webapp.runs import services
from webapp.runs.models import Command, Event, Run, Status

CONFIG = {
    "world": "reach",
    "task": "red",
    "annotator": "people",
    "comparisons": 40,
    "first": 0.5,
    "rounds": 3,
    "wait": 1.0,
    "length": 15,
    "steps": 40,
    "copies": 16,
    "horizon": 30,
    "minibatch": 128,
    "width": 32,
    "reward_steps": 40,
    "judged": 2,
}


def rightwards(candidate) -> float:
    """How far right the gripper is in a clip."""
    clip = Clip.read(candidate.text)
    steps = Episodes(settings.EPISODES).open(clip.episode).steps[clip.start : clip.stop]
    return float(steps["observation"][:, 0].sum())


def answer_all(study, script) -> int:
    """The script answers whatever is asked now; how much that was."""
    count = 0
    while Task.objects.filter(study=study, open__gt=0).exists():
        turn = studies.claim(study, script)
        first, second = map(rightwards, turn.candidates)
        studies.answer(turn, {"choice": "a" if first > second else "b"})
        count += 1
    return count


@pytest.mark.timeout(240)
def test_the_policy_improves_by_what_people_say_while_it_runs(workers: Workers):
    owner, script = person("ada"), person("script")
    study = create_study(name="Which goes right?", owner=owner, interfaces=["clips"])
    join_study(study=study, user=script, role=Role.ANNOTATOR)
    run = services.start_run(
        study=study, snapshot=None, method="control/preference_ppo", config=CONFIG, by=owner, seed=2
    )
    worker = workers.start()
    first = wait_for(lambda: study.items.count() or None, 90)
    assert first == 20
    assert not Command.objects.filter(run=run).exists(), "nothing was answered yet"
    assert now(run).status == Status.RUNNING

    answered = answer_all(study, script)
    wait_for(lambda: study.items.count() > answered, 60)
    kill(child_of(worker, run).pid)  # what was taken in before is remembered
    while not (found := now(run)).ended:
        answered += answer_all(study, script)
        wait_for(lambda: now(run).ended or Task.objects.filter(study=study, open__gt=0).exists(), 90)
    assert found.status == Status.FINISHED, found.reason

    assert answered == study.items.count() == 40
    assert len({item.external_id for item in study.items.all()}) == 40, "no pair is asked twice"
    clips = {c.text for item in study.items.all() for c in item.candidates.all()}
    assert {Clip.read(one).episode for one in clips} <= set(
        study.recordings.values_list("episode", flat=True)
    )

    taken = list(Command.objects.filter(run=run, kind=Command.Kind.LABELS).order_by("pk"))
    steps = [command.applied_step for command in taken if command.applied_step is not None]
    assert len(steps) >= 3 and steps == sorted(steps)
    marked = Event.objects.filter(run=run, kind="labels").order_by("pk")
    assert [event.step for event in marked] == steps and "new label" in marked[0].text
    assert Event.objects.filter(run=run, kind="proposed").count() == 4

    assert found.report["readings"]["comparisons"]["value"] >= 30
    policy = load_pilot(run.artifacts.get(kind="robot_policy").location)
    seen = torch.from_numpy(observations(study))
    assert policy.best(seen)[:, 0].mean() > 0.3, "it moves to the right"


def observations(study):
    recording = study.recordings.first()
    return Episodes(settings.EPISODES).open(recording.episode).steps["observation"].copy()


def now(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)
