"""Two web processes under one session: on either one sees the same, and the wheel goes over from one to the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.annotation.studies import person
from tests.flows.conftest import environment_of_parts, kill, wait_for
from tests.flows.test_kill import serve
from tests.webapp.robots import Broker, Flight, Page, session_of, study_of
from webapp.robots.models import Said, Session, Status

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def webs(transactional_db, broker: Broker) -> Iterator[dict[int, int]]:
    """The process of each of two web servers, by its port."""
    with ExitStack() as running:
        found = {}
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            web = serve(port, environment_of_parts(broker.url))
            running.callback(web.wait)
            running.callback(web.terminate)
            found[port] = web.pid
        yield found


def page_on(port: int, user, session: Session) -> Page:
    def opened() -> Page | None:
        with suppress(OSError, EOFError):
            return Page(f"http://127.0.0.1:{port}", user, session.pk)
        return None

    return wait_for(opened)


def states(page: Page, first: int, last: int) -> list[dict]:
    page.until("state", step=last)
    return [one for one in page.heard if one["type"] == "state" and first <= one["step"] <= last]


def test_pages_on_two_web_processes_see_the_same_and_hand_the_wheel_over(webs: dict[int, int]):
    ada = person("ada")
    session = session_of(study_of(ada, members=("bob",)), ada, hold=600)
    bob = session.study.memberships.get(user__username="bob").user
    one, two = (page_on(port, user, session) for port, user in zip(webs, (ada, bob), strict=True))
    for page in (one, two):
        page.until("people", watchers=["ada", "bob"], steerer="ada")
    flight = Flight(session)
    for page in (one, two):
        page.until("state", step=5)
    assert states(one, 6, 15) == states(two, 6, 15)

    ref = one.send("say", text="move a bit up")
    obeyed = [page.until("correction", ref=ref, status="in_force") for page in (one, two)]
    assert obeyed[0] == obeyed[1]
    assert "ada steers" in two.refused("say", text="move a bit to the left")
    assert "ada steers" in two.refused("drive", action=[1, 0, 0])
    two.ask("steer")
    assert one.until("people", asking=["bob"])["steerer"] == "ada"
    one.send("give", to="bob")  # whom this process knows to be here by the other one alone
    for page in (one, two):
        page.until("people", steerer="bob", asking=[])
    assert "bob steers" in one.refused("say", text="open the gripper")
    theirs = two.send("say", text="move a bit to the left")
    for page in (one, two):
        page.until("correction", ref=theirs, status="in_force")
    assert Said.objects.get(ref=theirs).by == bob
    two.ask("drive", action=[0.5, 0, 0])
    one.until("state", by="person", command="")

    # The steerer's own web process dies: the other one's pages are told, and may take over.
    kill(list(webs.values())[1])
    assert "bob was lost" in one.until("status", status="paused")["why"]
    if not any(said["type"] == "people" and said["watchers"] == ["ada"] for said in one.heard):
        one.until("people", watchers=["ada"])
    one.ask("steer")
    one.ask("resume")
    one.until("status", status="running")
    flight.end()
    assert flight.problem is None and Session.objects.get().status == Status.ENDED
