"""A page that steers a robot: over the real socket, with a real Valkey; where it matters with a real robot too."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.db import OperationalError

from annotation.models import Label
from tests.annotation.studies import person
from tests.webapp.robots import Broker, Flight, Page, send_to, session_of, study_of, valkey, wait_for
from trainers.envs.registry import world
from trainers.episodes import Episodes
from webapp.robots import flood, hub, services
from webapp.robots.models import Drive, Said, Session, Status, Take


@pytest.fixture
def line(transactional_db) -> Iterator[Broker]:
    with valkey() as broker:
        yield broker


@pytest.fixture
def ada():
    return person("ada")


@pytest.fixture
def idle(line, ada) -> Session:
    """A session with an episode under way, though no robot is at work."""
    made = session_of(study_of(ada, members=("bob", "cleo")), ada)
    here = world("table_talk")
    here.reset(3)
    Session.objects.filter(pk=made.pk).update(layer="command")
    Take.objects.create(
        session=made, number=1, seed=3, scene=here.scene(), state=here.state().tolist(), by=ada
    )
    made.refresh_from_db()
    return made


def member(session: Session, name: str):
    return session.study.memberships.get(user__username=name).user


def open_pages(site, session: Session, *names: str) -> list[Page]:
    return [Page(site.url, member(session, name), session.pk) for name in names]


# --- with a robot at work


def test_what_is_said_is_obeyed_at_the_next_step_and_kept(line, site, ada, settings):
    session = session_of(study_of(ada), ada, hold=5)
    page = Page(site.url, ada, session.pk)
    assert page.hello["you"] == {"name": "ada", "steers": True, "may": True}
    flight = Flight(session)
    scene = page.until("scene")
    assert scene["seed"] == 3 and scene["scene"]["things"]
    page.until("status", status="running")
    page.until("state", step=5)
    ref = page.send("say", text="move a bit to the left")
    waiting = page.until("correction", ref=ref)
    assert waiting["status"] == "waiting" and waiting["command"] == "move a bit to the left"
    obeyed = page.until("correction", ref=ref, status="in_force")
    moved = page.until("state", by="person")
    assert moved["step"] == obeyed["start"] + 1 == obeyed["said"] + 2
    assert moved["action"][0] < 0 and moved["said"] == str(obeyed["id"])
    over = page.until("correction", ref=ref, status="over")
    assert over["stop"] == obeyed["said"] + 5 and over["outcome"] == "expired"

    # A key, as long as it is down.
    down = page.send("motion", key="up", down=True)
    page.until("correction", ref=down, status="in_force")
    page.ask("motion", key="up", down=False)
    assert page.until("correction", ref=down, status="over")["outcome"] == "handed back"

    # Paused, it stands still; what is said meanwhile is obeyed when it goes on.
    page.ask("pause")
    assert page.until("status", status="paused")["why"] == "Paused by ada."
    still = page.until("state")["step"]
    late = page.send("say", text="open the gripper")
    page.until("correction", ref=late, status="waiting")
    assert page.until("state")["step"] == still
    page.ask("resume")
    page.until("status", status="running")
    assert page.until("correction", ref=late, status="in_force")["start"] == still
    assert Said.objects.get(ref=late).paused_at is not None

    # Driven by hand, and recorded.
    page.ask("record")
    page.until("recording", stop=None)
    for _ in range(8):
        page.send("drive", action=[0.5, 0, 0])
        page.until("state", by="person", command="")
    page.ask("record")
    drive = page.until("recording")
    assert drive["stop"] > drive["start"]
    page.ask("hand_back")
    page.until("state", by="policy")

    # The episode ends; its labels are kept, and a success that is marked afterwards too.
    episode = flight.row().takes.get().episode
    second = page.ask("begin", seed=8)
    page.until("episode_end", episode=episode)
    assert page.until("kept", episode=episode)["problem"] == ""
    assert page.until("scene")["seed"] == 8
    page.send("begin", ref=second)  # the page did not hear that it was taken
    page.until("ack", ref=second)
    assert Session.objects.get().wanted == 2
    page.ask("end")
    page.until("status", status="ended")
    flight.thread.join(20)
    assert flight.problem is None
    assert sorted(Label.objects.values_list("kind", flat=True)) == ["driving", "hindsight"]
    kept = Label.objects.get(kind="hindsight").answer["corrections"]
    assert [one["text"] for one in kept] == ["move a bit to the left", "up", "open the gripper"]
    recorded = Episodes(settings.EPISODES).open(episode)
    recorded.verify()
    said = Said.objects.get(ref=ref)
    assert (said.status, said.start, said.stop) == ("over", obeyed["start"], over["stop"])
    assert recorded.said()[said.start : said.stop] == ["move a bit to the left"] * (said.stop - said.start)


def test_a_dropped_steering_socket_pauses_the_robot_and_loses_nothing(line, site, ada):
    session = session_of(study_of(ada, members=("bob",)), ada)
    page, watcher = open_pages(site, session, "ada", "bob")
    flight = Flight(session)
    page.until("state", step=3)
    page.cut()  # without a word, and back at once
    page.connect()
    page.until("hello")
    page.until("state", step=20)
    assert Session.objects.get().status == Status.RUNNING

    ref = str(uuid4())
    page.socket.send(json.dumps({"type": "say", "ref": ref, "text": "move a bit up"}))
    page.cut()  # nobody heard whether it was taken
    paused = watcher.until("status", status="paused")
    assert "ada was lost" in paused["why"]
    page.connect()
    assert page.until("hello")["session"]["status"] == "paused"
    page.send("say", ref=ref, text="move a bit up")
    page.until("correction", ref=ref)
    page.until("ack", ref=ref)
    assert Said.objects.filter(ref=ref).count() == 1
    page.ask("resume")
    watcher.until("correction", ref=ref, status="over")
    page.cut()
    watcher.until("people", watchers=["bob"])
    watcher.until("status", status="paused")
    watcher.send("steer")  # who had the wheel is gone, so it is free
    watcher.until("people", steerer="bob")
    watcher.ask("resume")
    watcher.until("status", status="running")
    flight.end()
    assert flight.problem is None


def test_an_episode_begun_while_another_is_under_way_ends_that_one_and_goes_on_itself(line, site, ada):
    session = session_of(study_of(ada), ada)
    page = Page(site.url, ada, session.pk)
    flight = Flight(session)
    first = page.until("scene")
    page.until("state", step=5)
    page.send("begin", seed=9)
    assert page.until("episode_end")["episode"] == first["episode"]
    second = page.until("scene", seed=9)
    assert second["episode"] != first["episode"]
    page.until("state", step=10)
    assert flight.row().status == Status.RUNNING
    flight.end()
    assert flight.problem is None


def test_a_killed_robot_goes_on_where_it_was_and_every_correction_is_there_once(line, site, ada, settings):
    session = session_of(study_of(ada), ada, hold=600)
    page = Page(site.url, ada, session.pk)
    flight = Flight(session)
    page.until("state", step=4)
    over = page.send("say", text="move a bit up")
    page.until("correction", ref=over, status="in_force")
    held = page.send("say", text="move a bit to the left")
    page.until("correction", ref=held, status="in_force")
    step = page.until("state", by="person", command="move a bit to the left")["step"]
    os.kill(flight.child, signal.SIGKILL)
    late = page.send("say", text="open the gripper")  # while nobody is there
    assert "goes on from its last moment" in page.until("status", status="lost")["why"]
    again = page.until("scene")
    assert again["step"] >= step and again["number"] == 1
    page.until("status", status="running")
    page.until("correction", ref=late, status="in_force")
    page.ask("hand_back")
    page.until("correction", ref=late, status="over")
    flight.end()
    assert flight.problem is None
    rows = {str(one.ref): one for one in Said.objects.all()}
    assert set(rows) == {over, held, late}
    assert {one.status for one in rows.values()} == {"over"}
    assert rows[over].stop == rows[held].start and rows[held].stop == rows[late].start
    recorded = Episodes(settings.EPISODES).open(session.takes.get().episode)
    recorded.verify()
    said = recorded.said()
    for one in rows.values():
        assert set(said[one.start : one.stop]) == {one.command}
    answer = Label.objects.get().answer
    assert [one["source"]["said"] for one in answer["corrections"]] == [
        rows[ref].pk for ref in (over, held, late)
    ]


# --- who steers


def test_one_steers_many_watch_and_handing_over_is_said_to_all(idle, site):
    ada, bob, cleo = open_pages(site, idle, "ada", "bob", "cleo")
    ada.until("people", watchers=["ada", "bob", "cleo"])
    assert not bob.hello["you"]["steers"] and bob.hello["steerer"] == "ada"
    assert "ada steers" in bob.refused("say", text="move left")
    assert "ada steers" in bob.refused("drive", action=[0, 0, 0])
    bob.ask("steer")
    assert ada.until("people", asking=["bob"])["steerer"] == "ada"
    ada.send("give", to="bob")
    for page in (ada, bob, cleo):
        page.until("people", steerer="bob", asking=[])
    assert "bob steers" in ada.refused("say", text="move left")
    bob.ask("say", text="move left")
    bob.close()
    cleo.until("people", watchers=["ada", "cleo"])
    cleo.ask("steer")
    assert Session.objects.get().steerer.username == "cleo"


# --- messages


def test_every_ref_is_answered_and_done_once(idle, site):
    (page,) = open_pages(site, idle, "ada")
    ref = page.ask("pause")
    page.ask("resume")
    page.ask("pause", ref=ref)  # sent again after a break: it was done before the other
    assert not Session.objects.get().paused
    said = page.ask("say", text="move a bit up")
    page.ask("say", ref=said, text="move a bit up")
    assert Said.objects.count() == 1
    drive = page.ask("record")
    page.ask("record", ref=drive)
    assert not Drive.objects.get().closed
    page.ask("drive", action=[0, 0, 0])


def test_what_the_database_cannot_take_now_is_sent_again_by_the_page_that_comes_anew(idle, site, monkeypatch):
    (page,) = open_pages(site, idle, "ada")
    say = services.say

    def away(**given):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(services, "say", away)
    ref = page.send("say", text="move a bit up")
    assert "sent again when it is back" in page.until("problem", ref=None)["text"]
    assert page.closed() == 1013 and not Said.objects.exists()
    monkeypatch.setattr(services, "say", say)
    page.connect()
    page.send("say", ref=ref, text="move a bit up")
    page.until("ack", ref=ref)
    assert Said.objects.get().command == "move a bit up"


def test_a_page_that_could_not_be_greeted_is_in_nobodys_way(idle, site, monkeypatch):
    (bob,) = open_pages(site, idle, "bob")
    for problem, code in ((OperationalError("away"), 1013), (RuntimeError("a mistake"), None)):
        with monkeypatch.context() as now:
            now.setattr("webapp.robots.messages.hello", lambda *_, problem=problem: throw(problem))
            late = Page(site.url, member(idle, "ada"), idle.pk, hello=False)
            assert code in (None, late.closed())
        bob.until("people", watchers=["ada", "bob"])
        bob.until("people", watchers=["bob"])
    bob.ask("steer")
    assert Session.objects.get().steerer.username == "bob"


def throw(problem: Exception) -> None:
    raise problem


def test_rights_are_looked_at_again_though_the_database_was_away(idle, site, monkeypatch):
    monkeypatch.setattr("webapp.robots.consumers.MAY_STILL_EVERY", 0.05)
    (page,) = open_pages(site, idle, "bob")
    asked = []

    def away(*_):
        asked.append(1)
        raise OperationalError("away")

    with monkeypatch.context() as now:
        now.setattr("webapp.robots.consumers.session_for", away)
        wait_for(lambda: asked)
    idle.study.memberships.filter(user__username="bob").delete()
    assert page.closed() == 4404


def test_what_was_understood_is_shown_and_what_was_not_is_asked_back(idle, site):
    (page,) = open_pages(site, idle, "ada")
    ref = page.send("understand", text="nudge it over to the left")
    answer = page.until("understood", ref=ref)
    assert (answer["command"], answer["ask"]) == ("move a bit to the left", "")
    thing = page.hello["scene"]["things"][0]["name"]
    ref = page.send("understand", text="pick up the block")
    answer = page.until("understood", ref=ref)
    assert answer["command"] is None and "Which one" in answer["ask"] and thing in str(answer["others"])
    ref = page.send("say", text="x" * 10_000)
    assert "10,000 characters" in page.until("understood", ref=ref)["ask"]
    assert not Said.objects.exists()


@pytest.mark.parametrize(
    "sent",
    [
        "no json", "[]", "{}", '{"type": "explode"}', '{"type": "say"}', '{"type": "say", "ref": "1", "text": "x"}',
        '{"type": "say", "ref": "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11"}',
        '{"type": "drive", "action": ["left"]}', '{"type": "drive", "action": [1e999]}',
        '{"type": "mark", "success": "yes"}', '{"type": "begin", "seed": "one"}', "[" * 30_000,
        json.dumps({"type": "say", "ref": "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11", "text": "nul \x00"}),
        json.dumps({"type": "understand", "ref": "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11", "text": "half \ud800"}),
        '{"type": "mark", "success": true, "stages": "all"}', '{"type": "mark", "success": true, "stages": {"1.": 1}}',
        json.dumps({"type": "say", "ref": "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11", "text": "x" * 70_000}),
    ],
)  # fmt: skip
def test_a_message_that_is_none_is_answered_with_what_is_wrong(idle, site, sent):
    (page,) = open_pages(site, idle, "ada")
    page.socket.send(sent)
    said = page.until("problem")["text"]
    assert said and "now. Try again" not in said
    page.ask("pause")  # and the socket goes on


def test_a_page_that_floods_is_slowed_and_then_cut_off(idle, site, monkeypatch):
    for name, value in {"PATIENCE_SECONDS": 0.5, "RATE": 2.0, "MOST": 5.0}.items():
        monkeypatch.setattr(flood, name, value)
    one, other = open_pages(site, idle, "ada", "bob")
    for _ in range(40):
        one.socket.send('{"type": "pause"}')
    assert "more slowly" in one.until("problem")["text"]
    assert one.closed() == 4429
    assert "closed" in one.heard[-1]["text"]
    other.ask("steer")  # nobody else is


def test_what_hands_can_do_is_never_slowed_and_rest_is_rewarded():
    page = flood.Flood()
    for number in range(600):  # a key that is pressed and released ten times a second, for half a minute
        assert page.wait("motion", 100.0 + number / 20) == (0.0, False)
    for number in range(600):
        assert page.wait("drive", 130.0 + number / 60)[0] == 0.0
    waits = [page.wait("say", 140.0)[0] for _ in range(int(flood.MOST) + 3)]
    assert waits[0] == 0.0 and waits[-1] == pytest.approx(3 / flood.RATE)
    assert page.wait("say", 200.0) == (0.0, False)
    with pytest.raises(flood.Slowed):
        for _ in range(1000):
            page.wait("say", 200.0)


def test_a_slow_page_gets_the_newest_state_and_every_other_message_in_its_place():
    watcher = hub.Watcher("ada")
    for step in range(50):
        watcher.take(f"state {step}", True)
    watcher.take("correction", False)
    for step in range(50, 90):
        watcher.take(f"state {step}", True)
    assert watcher.all() == ["state 49", "correction", "state 89"]
    assert watcher.all() == []
    for number in range(hub.MOST_WAITING + 1):
        watcher.take(str(number), False)
    assert watcher.behind


def test_a_state_reaches_all_who_watch_and_touches_no_table(idle, site, django_assert_num_queries):
    pages = open_pages(site, idle, "ada", "bob")
    told = {"type": "state", "step": 7, "number": 1, "state": [0.5]}
    with django_assert_num_queries(0):
        services.lines.send(services.lines.up(idle.pk), told)
    assert [page.until("state") for page in pages] == [told, told]
    late = Page(site.url, member(idle, "cleo"), idle.pk)
    assert (late.hello["state"], late.hello["step"]) == ([0.5], 7)


def test_a_worker_that_fell_silent_is_said_to_be_lost(idle, site, monkeypatch):
    monkeypatch.setattr(hub, "LOOK_EVERY", 0.1)
    Session.objects.update(status=Status.RUNNING, worker="w", heartbeat_at="2020-01-01T00:00:00Z")
    (page,) = open_pages(site, idle, "ada")
    assert "Nothing was heard" in page.until("status", status="lost")["why"]


def test_a_stranger_finds_no_session_and_who_is_shown_out_is_cut_off(idle, site, monkeypatch):
    monkeypatch.setattr("webapp.robots.consumers.MAY_STILL_EVERY", 0.1)
    stranger = person()
    with pytest.raises(Exception, match="403"):
        Page(site.url, stranger, idle.pk)
    (page,) = open_pages(site, idle, "bob")
    idle.study.memberships.filter(user__username="bob").delete()
    assert page.closed() == 4404


def test_while_valkey_is_away_what_is_said_is_still_stored(idle, site):
    (page,) = open_pages(site, idle, "ada")
    send_to("redis+socket:///nowhere/valkey.sock")
    page.ask("say", text="move a bit up")
    assert Said.objects.get().status == "waiting"
