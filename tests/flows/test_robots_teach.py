"""The whole loop: a learned robot is told what to do, taught it, and tries alone on the same seeds."""

from __future__ import annotations

import pytest

from annotation.models import Label
from tests.annotation.studies import person
from tests.flows.conftest import Workers, wait_for
from tests.webapp.robots import Page
from webapp.robots import teaching
from webapp.robots.demo import make_demo
from webapp.robots.models import Session, Status
from webapp.robots.services import start_session
from webapp.runs.models import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_robot_is_corrected_taught_and_tries_alone_on_the_same_seeds(workers: Workers, site):
    ada = person("ada")
    study = make_demo(owner=ada)
    workers.start(slots=2, queues="robots,cpu")
    policy = study.artifacts.get(kind=Artifact.Kind.ROBOT_POLICY)
    session = start_session(
        study=study, by=ada, world="table_talk", task="pack", policy=policy, dials={"camera_shift": 0.1}, seed=5,
    )  # fmt: skip
    page = Page(site.url, ada, session.pk)
    state = page.until("state", seconds=90, step=12)
    assert state["by"] == "policy" and len(state["choices"]) == 5
    assert abs(sum(share for _, share in state["choices"])) <= 1.001
    for words in ("move a bit to the left", "open the gripper", "move a bit up"):
        ref = page.send("say", text=words)
        page.until("correction", ref=ref, status="in_force")
        moved = page.until("state", by="person", command=words)
    assert moved["action"][1] > 0.05, "it does not move up when it is told to"
    page.ask("begin")
    page.until("kept", labels=1)
    assert len(Label.objects.get(kind="hindsight").answer["corrections"]) == 3

    run = teaching.teach(
        session=session, by=ada, config={"steps": 60, "demonstrations": 10, "tests": 2, "eval_every": 30}
    )
    assert run.method == "correction/yay" and teaching.taught(session) == run
    page.ask("end")
    page.until("status", status="ended")

    def finished():
        run.refresh_from_db()
        assert run.status not in ("failed", "stopped"), run.reason
        return run.status == "finished"

    wait_for(finished, 240)
    alone = teaching.try_alone(session=session, by=ada)
    assert alone.policy.run == run and alone.alone
    wait_for(lambda: Session.objects.get(pk=alone.pk).status == Status.ENDED, 240)
    mine, theirs = (list(one.takes.values_list("seed", flat=True)) for one in (session, alone))
    assert mine == theirs == [5, 6]
    assert all(take.steps and take.kept_at for take in alone.takes.all())
