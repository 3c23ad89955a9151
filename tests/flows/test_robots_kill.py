"""Whatever is killed while a robot is at work, it goes on where it was, and every correction is there exactly once."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil
import pytest

from tests.annotation.studies import person
from tests.flows.conftest import Workers, environment_of_parts, kill, wait_for
from tests.flows.test_kill import serve
from tests.webapp.robots import Page, obeyed_and_kept, session_of, study_of
from webapp.robots.models import Session, Status, Take

pytestmark = pytest.mark.timeout(240)


def robot_of(session: Session) -> psutil.Process:
    """The process that is the robot, whoever started it."""

    def found() -> psutil.Process | None:
        for one in psutil.process_iter(["cmdline"]):
            if str(session.home / "spec.json") in (one.info["cmdline"] or ()):
                return one
        return None

    return wait_for(found)


def test_a_robot_whose_process_and_worker_are_killed_goes_on_and_keeps_every_word(
    workers: Workers, site, settings
):
    ada = person("ada")
    worker = workers.start(slots=2, queues="robots")
    session = session_of(study_of(ada), ada, hold=600)
    page = Page(site.url, ada, session.pk)
    page.until("state", seconds=60, step=5)
    first = page.send("say", text="move a bit up")
    page.until("correction", ref=first, status="in_force")

    kill(robot_of(session).pid)
    page.until("status", status="lost")
    step = page.until("scene", seconds=60)["step"]
    assert step > 5
    page.until("state", step=step + 5)
    second = page.send("say", text="move a bit to the left")
    page.until("correction", ref=second, status="in_force")

    robot = robot_of(session)
    kill(worker.pid)
    worker.wait()
    third = page.send("say", text="open the gripper")
    page.until("correction", ref=third, status="waiting")
    page.until("status", seconds=30, status="lost")
    wait_for(lambda: not robot.is_running() or robot.status() == psutil.STATUS_ZOMBIE, 10)
    workers.start(slots=2, queues="robots")
    again = page.until("scene", seconds=60)
    assert again["step"] > step and again["number"] == 1
    if (
        page.until("status")["status"] == "paused"
    ):  # whoever steers had not been heard of by the new worker yet
        page.ask("resume")
    page.until("correction", ref=third, status="in_force")
    page.ask("end")
    page.until("status", seconds=30, status="ended")

    wait_for(lambda: Take.objects.get().kept_at)
    assert Session.objects.get().attempt == 2
    obeyed_and_kept(session, [first, second, third], settings.EPISODES)
    page.close()


@pytest.mark.slow
def test_a_web_server_that_is_killed_pauses_the_robot_and_pages_come_back(workers: Workers, tmp_path):
    ada = person("ada")
    workers.start(slots=2, queues="robots")
    session = session_of(study_of(ada), ada)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = environment_of_parts(workers.broker.url)
    web = serve(port, environment)
    try:
        page = wait_for(lambda: opened(port, ada, session))
        page.until("state", seconds=60, step=5)
        kill(web.pid)
        web.wait()
        paused = wait_for(lambda: Session.objects.filter(status=Status.PAUSED).first())
        assert "ada was lost" in paused.why
        web = serve(port, environment)
        page = wait_for(lambda: opened(port, ada, session))
        assert page.hello["session"]["status"] == "paused" and page.hello["scene"]
        page.ask("resume")
        step = page.until("state")["step"]
        page.until("state", step=step + 5)
        page.ask("end")
        page.until("status", seconds=30, status="ended")
    finally:
        web.terminate()
        web.wait()


def opened(port: int, user, session: Session) -> Page | None:
    with suppress(OSError, EOFError):
        return Page(f"http://127.0.0.1:{port}", user, session.pk)
    return None
