"""What a run's journal says is in PostgreSQL once, however often it is carried."""

import math

import numpy as np
import pytest
from django.db import connection, connections

from tests.annotation.studies import person
from tests.webapp.runs import entries_of, held_run, journal_of, kept, rows_of, write_rows
from trainers.journal import Writer
from webapp.runs import artifacts, progress
from webapp.runs.models import Artifact, Chunk, Command, Event, Histogram, Run, Sample, Status
from webapp.runs.progress import Carrier, Superseded

pytestmark = pytest.mark.django_db


def test_a_journal_carried_twice_leaves_what_one_carrying_left():
    run = held_run()
    writer = Writer(journal_of(run))
    writer.json({"type": "start", "step": 0, "total": 30})
    write_rows(writer, 1, 10)
    writer.json({"type": "samples", "step": 10, "rows": [sample(0), sample(1)]})
    writer.json({"type": "event", "key": "warm", "step": 10, "kind": "note", "text": "Warmed up", "data": {}})
    writer.json({"type": "checkpoint", "step": 10, "path": "checkpoints/step-00000010"})
    writer.json({"type": "histogram", "step": 10, "name": "score", "edges": [0, 1, 2], "counts": [3, 4]})
    write_rows(writer, 11, 20)
    (run.home / "model").mkdir()
    (run.home / "model" / "kibitz.json").write_text("{}")
    made = {"type": "artifact", "kind": "policy", "name": "policy", "path": "model", "step": 20, "meta": {}}
    writer.json(made)
    writer.json({"type": "report", "report": {"readings": {"accuracy": 0.7}}})

    Carrier(run, 1).carry(entries_of(run))
    once = picture(run)
    Carrier(run, 1).carry(entries_of(run))

    assert picture(run) == once
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 21)]
    assert once["run"] == (20, 20, 30, {"readings": {"accuracy": 0.7}, "order": {"readings": ["accuracy"]}})
    assert once["series"] == [("loss", 20.0, 20.0, 1.0, 20.0, 20), ("accuracy", 20.0, 20.1, 1.1, 20.1, 20)]
    artifact = Artifact.objects.get(run=run)
    assert artifact.study == run.study
    assert artifact.digest == artifacts.digest_of(run.home / "model")[0]


def test_a_resumed_run_says_again_only_what_is_new():
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 10)
    Carrier(run, 1).carry(entries_of(run))
    writer.json({"type": "start", "step": 5, "total": 30})
    write_rows(writer, 6, 15)  # resumed from a checkpoint after row 5
    Carrier(run, 1).carry(entries_of(run))

    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 16)]
    assert run.series.get(name="loss").count == 15


def test_rows_of_different_names_stay_in_order_and_keep_their_numbers():
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 3, names=("loss",))
    write_rows(writer, 4, 4, names=("loss", "eval_loss"))
    write_rows(writer, 5, 6, names=("loss",))
    Carrier(run, 1).carry(entries_of(run))

    assert [(block.seq_from, block.seq_to, block.ids) for block in kept(run)] == [
        (1, 3, (0,)), (4, 4, (0, 1)), (5, 6, (0,)),
    ]  # fmt: skip
    assert list(run.series.values_list("name", "count")) == [("loss", 6), ("eval_loss", 1)]


def test_a_hole_in_the_numbers_is_refused():
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 3)
    write_rows(writer, 5, 6)
    with pytest.raises(ValueError, match="from row 3 to 5"):
        Carrier(run, 1).carry(entries_of(run))
    assert not Chunk.objects.exists()


def test_numbers_that_are_none_are_kept_and_do_not_spoil_the_summary():
    run = held_run()
    writer = Writer(journal_of(run))
    writer.chunk(1, ("loss",), [1, 2, 3, 4], [1, 2, 3, 4], [[2.0, np.nan, np.inf, 1.0]])
    writer.chunk(5, ("never",), [5], [5], [[np.nan]])
    Carrier(run, 1).carry(entries_of(run))

    values = kept(run)[0].values[2]
    assert values[0] == 2 and math.isnan(values[1]) and math.isinf(values[2])
    loss, never = run.series.all()
    assert (loss.minimum, loss.maximum, loss.last, loss.count) == (1.0, 2.0, 1.0, 4)
    assert never.minimum is None and math.isnan(never.last)


def test_what_a_model_writes_is_kept_even_where_a_database_could_not():
    run = held_run()
    writer = Writer(journal_of(run))
    row = {**sample(0), "text": "a\x00b \ud800 c", "scores": {"reward": math.nan, "gold": 1.5}}
    writer.json({"type": "samples", "step": 1, "rows": [row]})
    Carrier(run, 1).carry(entries_of(run))

    found = Sample.objects.get(run=run)
    assert found.text.startswith("a\ufffdb")
    assert found.scores == {"reward": "nan", "gold": 1.5}


def test_an_attempt_that_lost_the_run_can_change_nothing():
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 5)
    old = Carrier(run, 1)
    Run.objects.filter(pk=run.pk).update(attempt=2)
    with pytest.raises(Superseded):
        old.carry(entries_of(run))
    assert not Chunk.objects.exists()
    assert Run.objects.get(pk=run.pk).last_seq == 0

    Carrier(run, 2).carry(entries_of(run))
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 6)]


def test_a_flush_that_failed_is_carried_whole_at_the_next_try(monkeypatch):
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 5)
    carrier = Carrier(run, 1)

    def fall(payload):
        raise ConnectionError

    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(progress, "nudge", fall)
        carrier.carry(entries_of(run))
    assert not Chunk.objects.exists()

    carrier.carry(entries_of(run))
    assert rows_of(kept(run)) == [(n, float(n)) for n in range(1, 6)]
    assert run.series.get(name="loss").count == 5


def test_a_command_that_took_effect_is_marked_with_who_and_where():
    ada = person("ada")
    run = held_run()
    command = Command.objects.create(run=run, kind="set", args={"name": "lr", "value": 0.001}, by=ada)
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 7)
    writer.json({"type": "applied", "command": command.pk, "step": 7})
    Carrier(run, 1).carry(entries_of(run))
    Carrier(run, 1).carry(entries_of(run))

    command.refresh_from_db()
    assert (command.applied_step, command.applied_at is not None) == (7, True)
    event = Event.objects.get(run=run)
    assert (event.text, event.step, event.seq, event.by) == ("lr set to 0.001 by ada", 7, 7, ada)


def test_a_paused_run_says_so_but_a_stop_that_was_asked_for_stays():
    run = held_run()
    writer = Writer(journal_of(run))
    writer.json({"type": "state", "state": "paused"})
    carrier = Carrier(run, 1)
    carrier.carry(entries_of(run))
    assert Run.objects.get(pk=run.pk).status == Status.PAUSED
    Run.objects.filter(pk=run.pk).update(status=Status.STOPPING)
    carrier.carry([{"type": "state", "state": "running"}])
    assert Run.objects.get(pk=run.pk).status == Status.STOPPING


def test_an_artifact_outside_the_runs_home_is_refused():
    run = held_run()
    entry = {"type": "artifact", "kind": "policy", "name": "policy", "path": "../../secret", "step": 1}
    with pytest.raises(ValueError, match="outside its home"):
        Carrier(run, 1).carry([entry])


@pytest.mark.django_db(transaction=True)
def test_whoever_watches_is_told_once_the_rows_are_there():
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 5)
    listener = connections["default"].copy()
    try:
        with listener.cursor() as cursor:
            cursor.execute("LISTEN kibitz")
        Carrier(run, 1).carry(entries_of(run))
        notices = list(listener.connection.notifies(timeout=5, stop_after=1))
    finally:
        listener.close()
    assert [notice.payload for notice in notices] == [f"points:{run.pk}:0:5"]


def test_the_statements_of_a_flush_do_not_grow_with_its_rows(django_assert_num_queries):
    run = held_run()
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 500)
    carrier = Carrier(run, 1)
    with django_assert_num_queries(6) as counted:  # with the transaction's own two
        carrier.carry(entries_of(run))
    assert "runs_run" in counted.captured_queries[1]["sql"]
    assert connection.vendor == "postgresql"


def sample(index: int) -> dict:
    return {"index": index, "prompt": "Hello?", "text": "Good day.", "scores": {"reward": 1.0}, "length": 9}


def picture(run: Run) -> dict:
    """All that is kept of a run."""
    run = Run.objects.get(pk=run.pk)
    summary = ("name", "last_step", "last", "minimum", "maximum", "count")
    return {
        "run": (run.last_seq, run.step, run.total_steps, run.report),
        "rows": rows_of(kept(run)),
        "series": list(run.series.values_list(*summary)),
        "samples": list(Sample.objects.filter(run=run).values_list("step", "index", "text")),
        "events": list(Event.objects.filter(run=run).values_list("key", "step", "seq", "text")),
        "histograms": list(Histogram.objects.filter(run=run).values_list("name", "step", "counts")),
        "artifacts": list(Artifact.objects.filter(run=run).values_list("kind", "name", "digest")),
    }
