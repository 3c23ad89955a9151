"""The live stream over a real socket: every row once and in order, to those who may see it."""

from __future__ import annotations

import time

import psycopg
import pytest
from django.db import connection
from websockets.exceptions import InvalidStatus

from annotation.models import Role
from annotation.services import join_study
from tests.annotation.studies import person
from tests.webapp.pages import Page
from tests.webapp.runs import Source, rows_of, study_of
from webapp.runs import hub, services
from webapp.runs.models import Event, Run, Status, Worker
from webapp.runs.progress import Carrier, nudge


@pytest.fixture
def ada(transactional_db):
    return person("ada")


@pytest.fixture
def source(ada):
    return Source(study_of(ada))


def test_a_page_gets_history_then_news_each_row_once(site, ada, source):
    for _ in range(5):
        source.log(20)
    page = Page(site.url, ada)
    page.open(source.run.pk)
    page.until_row(source.run.pk, 100)
    for _ in range(5):
        source.log(7)
    assert rows_of(page.until_row(source.run.pk, 135)) == source.rows()
    assert page.names[source.run.pk] == {0: "loss", 1: "accuracy"}
    page.close()


def test_a_page_whose_network_was_cut_goes_on_where_it_was(site, ada, source):
    page = Page(site.url, ada)
    page.open(source.run.pk)
    source.log(50)
    page.until_row(source.run.pk, 50)
    page.cut()
    source.log(30, names=("loss", "accuracy", "kl"))
    page.connect()
    page.open(source.run.pk)
    page.until_row(source.run.pk, 80)
    source.log(5)
    assert rows_of(page.until_row(source.run.pk, 85)) == source.rows()
    page.close()


def test_a_page_far_behind_the_ring_is_served_from_the_table(site, ada, source, monkeypatch):
    monkeypatch.setattr(hub, "RING_CHUNKS", 3)
    monkeypatch.setattr(hub, "MESSAGE_BYTES", 4000)
    watcher = Page(site.url, ada)
    watcher.open(source.run.pk)
    watcher.until_said("run")
    late = Page(site.url, ada)
    for _ in range(20):
        source.log(40)
    late.open(source.run.pk)
    assert rows_of(late.until_row(source.run.pk, 800)) == source.rows()
    assert rows_of(watcher.until_row(source.run.pk, 800)) == source.rows()
    late.close()
    watcher.close()


def test_a_page_that_stops_reading_for_a_while_gets_every_row_in_fewer_messages(site, ada, source):
    page = Page(site.url, ada, reads_ahead=1)
    page.open(source.run.pk)
    page.until_said("run")
    names = tuple(f"series-{index}" for index in range(40))
    for _ in range(50):
        source.log(400, names)  # 6.7 MB in all: more than the network holds for a page that does not read
    assert rows_of(page.until_row(source.run.pk, 20_000)) == source.rows()
    assert page.most_joined >= 5
    page.close()


def test_one_socket_carries_several_runs(site, ada, source):
    other = Source(source.run.study)
    page = Page(site.url, ada)
    page.open(source.run.pk)
    page.open(other.run.pk)
    source.log(10)
    other.log(4, names=("kl",))
    assert rows_of(page.until_row(source.run.pk, 10)) == source.rows()
    assert rows_of(page.until_row(other.run.pk, 4)) == other.rows()
    page.ask({"op": "close", "run": other.run.pk})
    other.log(4, names=("kl",))
    source.log(10)
    page.until_row(source.run.pk, 20)
    assert page.last[other.run.pk] == 4
    page.close()


def test_a_hint_that_was_lost_costs_a_second_and_no_row(site, ada, source, monkeypatch):
    page = Page(site.url, ada)
    page.open(source.run.pk)
    page.until_said("run")
    monkeypatch.setattr("webapp.runs.progress.nudge", lambda payload: None)
    source.log(10)
    assert rows_of(page.until_row(source.run.pk, 10, timeout=5)) == source.rows()
    page.close()


def test_the_stream_outlives_the_loss_of_its_database_connections(site, ada, source):
    page = Page(site.url, ada)
    page.open(source.run.pk)
    source.log(10)
    page.until_row(source.run.pk, 10)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'kibitz stream'"
        )
    source.log(10)
    assert rows_of(page.until_row(source.run.pk, 20, timeout=15)) == source.rows()
    page.close()


def test_a_page_is_told_how_the_run_stands_and_when_that_changes(site, ada, source, monkeypatch):
    monkeypatch.setattr(hub, "HEARTBEAT_EVERY", 2.0)
    Worker.objects.create(name="worker", host="here", machine="m", pid=1, queues=["cpu"], slots=2)
    page = Page(site.url, ada)
    page.open(source.run.pk)
    state = page.until_said("run")
    assert (state["status"], state["workers_alive"], state["worker"]["name"]) == ("running", 1, "worker")
    assert abs(state["now"] - time.time()) < 5
    services.stop_run(run=source.run, by=ada)
    page.until_said("run", status="stopping")
    beat = page.until_said("heartbeat", timeout=8)
    assert (beat["status"], beat["last_seq"], beat["run"]) == ("stopping", 0, source.run.pk)
    page.close()


def test_a_queued_run_says_its_place_and_that_nobody_is_there_to_take_it(site, ada, source):
    waiting = [
        Run.objects.create(study=source.run.study, method="direct/dpo", status=Status.QUEUED)
        for _ in range(2)
    ]
    page = Page(site.url, ada)
    page.open(waiting[1].pk)
    state = page.until_said("run")
    assert (state["status"], state["queue_position"], state["workers_alive"]) == ("queued", 2, 0)
    assert state["worker"] is None
    page.close()


def test_events_and_samples_are_announced_once(site, ada, source):
    source.say({"type": "event", "key": "first", "step": 1, "kind": "note", "text": "First", "data": {}})
    page = Page(site.url, ada)
    page.open(source.run.pk)
    first = page.until_said("events")
    assert [event["text"] for event in first["events"]] == ["First"]
    source.say(
        {"type": "event", "key": "second", "step": 2, "kind": "note", "text": "Second", "data": {"a": 1}}
    )
    row = {"index": 0, "prompt": "p", "text": "t", "scores": {}, "length": 1}
    source.say({"type": "samples", "step": 7, "rows": [row]})
    page.until_said("samples", step=7)
    told = [event["text"] for one in page.said if one["type"] == "events" for event in one["events"]]
    assert told == ["First", "Second"]
    assert page.said[-1]["type"] == "samples"
    page.close()


def test_a_new_epoch_begins_the_charts_again(site, ada, source):
    page = Page(site.url, ada)
    page.open(source.run.pk)
    source.log(10)
    page.until_row(source.run.pk, 10)
    Run.objects.filter(pk=source.run.pk).update(epoch=1, last_seq=0, step=0)
    nudge(f"run:{source.run.pk}")
    page.until_said("reset", epoch=1)
    source.carrier = Carrier(source.run, 1)
    source.last = 0
    source.log(4)
    assert rows_of(page.until_row(source.run.pk, 4)) == source.rows()
    page.close()


def test_a_page_that_holds_more_than_there_is_begins_again(site, ada, source):
    source.log(10)
    page = Page(site.url, ada)
    page.last[source.run.pk] = 500
    page.open(source.run.pk)
    page.until_said("reset")
    assert rows_of(page.until_row(source.run.pk, 10)) == source.rows()
    page.close()


def test_strangers_and_blind_annotators_are_told_there_is_no_such_run(site, ada, source):
    source.log(10)
    blind = person()
    join_study(study=source.run.study, user=blind, role=Role.ANNOTATOR)
    for outsider in (person(), blind):
        page = Page(site.url, outsider)
        page.open(source.run.pk)
        page.open(999_999)
        refused = page.until_said("error", run=source.run.pk)["message"]
        unknown = page.until_said("error", run=999_999)["message"]
        assert refused.replace(str(source.run.pk), "N") == unknown.replace("999999", "N")
        assert page.blocks == {} and {one["type"] for one in page.said} == {"error"}
        page.close()


def test_who_is_not_signed_in_gets_no_socket(site):
    with pytest.raises(InvalidStatus) as refusal:
        Page(site.url)
    assert refusal.value.response.status_code == 403


def test_who_is_shown_out_of_the_study_is_shown_out_of_its_stream(site, ada, source, monkeypatch):
    monkeypatch.setattr("webapp.runs.consumers.MAY_STILL_EVERY", 0.2)
    guest = person()
    membership = join_study(study=source.run.study, user=guest, role=Role.REVIEWER)
    page = Page(site.url, guest)
    page.open(source.run.pk)
    source.log(10)
    page.until_row(source.run.pk, 10)
    membership.delete()
    page.until_said("error", run=source.run.pk)
    source.log(10)
    with pytest.raises(TimeoutError):
        page.until_row(source.run.pk, 20, timeout=1)
    page.close()


@pytest.mark.parametrize(
    "asked", ["nonsense", {"op": "open"}, {"op": "dance", "run": 1}, {"op": "open", "run": "x"}]
)
def test_a_message_that_makes_no_sense_is_answered_and_does_no_harm(site, ada, source, asked):
    page = Page(site.url, ada)
    page.ask(asked)
    assert "op" in page.until_said("error")["message"]
    page.open(source.run.pk)
    source.log(3)
    page.until_row(source.run.pk, 3)
    page.close()


def test_events_told_out_of_order_are_told_all_the_same(site, ada, source):
    """Two transactions may commit in the other order of their ids; looking for newer ids alone would lose one."""
    page = Page(site.url, ada)
    page.open(source.run.pk)
    page.until_said("run")
    values = {"step": 0, "seq": 0, "kind": "note", "data": "{}", "run": source.run.pk}
    insert = (
        "INSERT INTO runs_event (key, step, seq, kind, text, data, run_id)"
        " VALUES (%(key)s, %(step)s, %(seq)s, %(kind)s, %(text)s, %(data)s, %(run)s)"
    )
    with psycopg.connect(**hub.address()) as slow:
        slow.execute(insert, {**values, "key": "early", "text": "early"})
        source.say({"type": "event", "key": "late", "step": 1, "kind": "note", "text": "late", "data": {}})
        page.until(lambda: any(one["type"] == "events" for one in page.said))
        slow.execute("SELECT pg_notify('kibitz', %s)", [f"run:{source.run.pk}"])
        slow.commit()
    told = [one["events"] for one in page.said if one["type"] == "events"]
    assert [event["text"] for event in told[0]] == ["late"]
    page.until(lambda: len([one for one in page.said if one["type"] == "events"]) == 2)
    assert [event["text"] for event in page.said[-1]["events"]] == ["early"]
    assert Event.objects.count() == 2
    page.close()
