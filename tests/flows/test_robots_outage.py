"""A broker or a database that goes away under a live session: it is said, nothing is lost, and all goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from tests.annotation.studies import person
from tests.flows.conftest import environment_of_parts, wait_for
from tests.webapp.robots import Broker, Flight, Page, obeyed_and_kept, session_of, study_of
from trainers.episodes import Episode, Episodes
from webapp.robots.models import Said, Session, Status

pytestmark = pytest.mark.timeout(180)


@contextmanager
def postgres_away() -> Iterator[None]:
    """The test's database ends every connection, and takes none, as while its server is restarted."""
    url = urlsplit(environment_of_parts("memory://")["DATABASE_URL"])
    name = url.path.strip("/")
    connection.close()
    with psycopg.connect(urlunsplit(url._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def told_once(site) -> tuple[Session, Page, Flight, str]:
    """A robot at work that obeys what its steerer said; with the ref of that."""
    ada = person("ada")
    session = session_of(study_of(ada), ada, hold=600)
    page, flight = Page(site.url, ada, session.pk), Flight(session)
    page.until("state", step=3)
    first = page.send("say", text="move a bit up")
    page.until("correction", ref=first, status="in_force")
    return session, page, flight, first


def stands_still(episode: Episode) -> int:
    """How many steps are recorded, where none is added in five times the time of one; else 0."""
    before = len(episode)
    time.sleep(0.5)
    return before if len(episode) == before else 0


def test_while_the_broker_is_away_words_are_obeyed_by_their_rows_and_the_robot_is_paused(
    broker: Broker, site, settings
):
    session, page, flight, first = told_once(site)

    broker.kill()
    assert "Valkey cannot be reached" in page.until("status", status="lost")["why"]
    second = page.ask("say", text="move a bit to the left")
    wait_for(lambda: Said.objects.get(ref=second).status == Said.State.IN_FORCE)
    paused = wait_for(lambda: Session.objects.filter(status=Status.PAUSED).first())
    assert "Valkey could not be reached" in paused.why
    third = page.ask("say", text="open the gripper")

    broker.start()  # empty: whatever was in it is lost
    hello = page.until("hello")  # on the same socket: what came meanwhile could not be sent
    assert hello["session"]["status"] == "paused" and hello["steerer"] == "ada"
    told = {one["ref"]: one["status"] for one in hello["corrections"]}
    assert (told[first], told[second]) == ("over", "in_force") and third in told
    page.ask("resume")
    page.until("correction", ref=third, status="in_force")
    page.until("state", by="person", command="open the gripper")
    flight.end()
    assert flight.problem is None and flight.row().attempt == 1
    obeyed_and_kept(session, [first, second, third], settings.EPISODES)


def test_while_the_database_is_away_the_robot_stands_still_and_words_are_taken_after(
    broker: Broker, site, settings
):
    session, page, flight, first = told_once(site)
    episode = Episodes(settings.EPISODES).open(session.takes.get().episode)
    with postgres_away():
        assert "PostgreSQL cannot be reached" in page.until("status", status="lost")["why"]
        still = wait_for(lambda: stands_still(episode))
    second = page.insist("say", text="move a bit to the left")
    page.until("correction", ref=second, status="in_force", seconds=40)
    page.until("state", step=still + 5)
    wait_for(lambda: Session.objects.get().status == Status.RUNNING)
    flight.end()
    assert flight.problem is None and flight.row().attempt == 1
    obeyed_and_kept(session, [first, second], settings.EPISODES)
