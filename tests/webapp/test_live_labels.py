"""What a run that learns while people label asks of the study, and what it is sent."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from annotation import consent
from annotation.errors import Invalid
from annotation.models import Role, Task
from annotation.services import create_study, join_study
from tests.annotation import robots, studies
from tests.annotation.studies import person
from tests.webapp.runs import held_run
from trainers.episodes import Clip
from trainers.tasks import line
from webapp.runs import live_labels
from webapp.runs.lineage import trained_on
from webapp.runs.models import Artifact, Command, Event, Run, Status
from webapp.runs.progress import said
from webapp.runs.services import command_run, start_run

pytestmark = pytest.mark.django_db
LIVE = "control/preference_ppo"


@pytest.fixture
def study():
    made = create_study(name="Which is better?", owner=person(), interfaces=["clips"])
    join_study(study=made, user=person("script"), role=Role.ANNOTATOR)
    return made


@pytest.fixture
def run(study) -> Run:
    made = held_run(study)
    Run.objects.filter(pk=made.pk).update(method=LIVE, created_by=study.created_by)
    made.refresh_from_db()
    return made


def ask(run: Run, step: int, seed: int = 1, count: int = 3) -> Artifact:
    """Leaves what a run leaves: pairs of clips of two episodes that the study has not seen."""
    one, two = (robots.play(seed=seed + n).name for n in range(2))
    path = run.home / f"items-{step}.jsonl"
    with path.open("w") as file:
        for n in range(count):
            clips = [str(Clip(name, 5 * n, 5 * n + 10)) for name in (one, two)]
            item = {
                "context": {"prompt": "Pack."},
                "candidates": [{"text": text, "policy": "run 1", "source": {}} for text in clips],
                "external_id": " ".join(sorted(clips)),
            }
            file.write(json.dumps(item) + "\n")
    return Artifact.objects.create(
        run=run, study=run.study, kind="items", name="items", step=step, digest="0" * 64, size=1,
        path=str(path.relative_to(run.home.parents[1])),
    )  # fmt: skip


def answer(run: Run, count: int) -> None:
    script = run.study.memberships.get(role=Role.ANNOTATOR).user
    for _ in range(count):
        studies.answer(studies.claim(run.study, script), {"choice": "a"})


def test_what_is_asked_is_added_once_with_its_recordings(run, study):
    ask(run, 4)
    live_labels.sweep()
    live_labels.sweep()
    assert study.items.count() == 3 and study.recordings.count() == 2
    assert [event.text for event in Event.objects.filter(run=run)] == ["3 comparisons added to the study"]
    again = ask(run, 8)  # the same pairs: a run that was killed asks a second time
    again.location.write_bytes((run.home / "items-4.jsonl").read_bytes())
    ask(run, 9, seed=5, count=2)
    live_labels.sweep()
    assert study.items.count() == 5 and Event.objects.filter(run=run, kind="proposed").count() == 3


def test_a_study_that_takes_no_clips_says_so_on_the_runs_page_and_nothing_stops(run, study):
    study.interfaces = [{"kind": "pairwise", "options": {}}]
    study.save()
    ask(run, 4)
    live_labels.sweep()
    live_labels.sweep()
    events = list(Event.objects.filter(run=run))
    assert [event.kind for event in events] == ["refused"] and "takes no clips" in events[0].text
    assert not study.items.exists()


def test_new_labels_are_frozen_and_sent_when_enough_have_come_or_waited(run, study, monkeypatch):
    ask(run, 4)
    live_labels.sweep()
    answer(run, 2)
    live_labels.sweep()
    assert not Command.objects.exists(), "two that have just come wait for others"
    monkeypatch.setattr(live_labels, "AFTER", timedelta(seconds=0))
    live_labels.sweep()
    (command,) = Command.objects.all()
    snapshot = study.snapshots.get()
    assert command.kind == "labels" and command.args["labels"] == 2
    assert command.args["digest"] == snapshot.digest and snapshot.counts["clip_pair"] == 2
    sent = json.loads(line(command))["args"]
    assert sent["folder"] == str(snapshot.folder), "the child is told where this worker finds them"
    assert said(command) == "2 new labels"

    answer(run, 1)
    live_labels.sweep()
    assert Command.objects.count() == 1, "it has not taken the last ones yet"
    Command.objects.update(applied_at=study.created_at, applied_step=5)
    live_labels.sweep()
    assert [one.args["labels"] for one in Command.objects.order_by("pk")] == [2, 1]


def test_the_more_a_run_has_the_more_labels_or_the_longer_they_wait_for_the_next_snapshot(
    run, study, monkeypatch
):
    for had, count, seconds, expected in (
        (0, 0, 900, False), (0, 9, 5, False), (0, 10, 0, True), (0, 1, 11, True),
        (400, 39, 5, False), (400, 40, 0, True), (400, 1, 39, False), (400, 1, 41, True),
    ):  # fmt: skip
        assert live_labels.enough(count, timedelta(seconds=seconds), had) == expected
    monkeypatch.setattr(live_labels, "AFTER_LABELS", 2)
    monkeypatch.setattr(live_labels, "AFTER_SHARE", 0.5)
    ask(run, 4, count=9)
    live_labels.sweep()
    answer(run, 6)
    live_labels.sweep()
    Command.objects.update(applied_at=study.created_at, applied_step=5)
    answer(run, 2)
    live_labels.sweep()
    assert Command.objects.count() == 1, "two are no half of six"
    answer(run, 1)
    live_labels.sweep()
    assert [one.args["labels"] for one in Command.objects.order_by("pk")] == [6, 3]


def test_a_snapshot_that_a_run_was_sent_while_it_learned_is_known_to_have_been_learned_from(
    run, study, monkeypatch, client
):
    monkeypatch.setattr(live_labels, "AFTER", timedelta(seconds=0))
    ask(run, 4)
    live_labels.sweep()
    answer(run, 2)
    live_labels.sweep()
    snapshot = study.snapshots.get()
    model = Artifact.objects.create(
        run=run, study=study, kind="robot_policy", name="robot", step=9, digest="2" * 64, size=1, path="z"
    )
    script = study.memberships.get(role=Role.ANNOTATOR).user
    held = consent.withdraw(study.memberships.get(user=script))
    (row,) = trained_on(held)
    assert held == [snapshot] == row["snapshots"]
    assert row["run"] == run and model in row["models"]
    client.force_login(study.created_by)
    told = client.get(f"/api/studies/{study.pk}/affected?person={script.pk}").json()
    assert [(one["run"], one["learned"]) for one in told["runs"]] == [(run.pk, [snapshot.pk])]
    page = client.get(f"/studies/{study.pk}/affected/?person={script.pk}").content.decode()
    assert f"run {run.pk}" in page and page.count(f"/snapshots/{snapshot.pk}/") == 2


def test_one_run_whose_questions_are_broken_stands_in_no_others_way(run, study):
    ask(run, 4).location.write_text("no json")
    other = held_run(study)
    Run.objects.filter(pk=other.pk).update(method=LIVE, created_by=study.created_by)
    ask(other, 4)
    live_labels.sweep()
    assert study.items.count() == 3


def test_labels_that_a_run_never_took_in_are_sent_again(run, study, monkeypatch):
    monkeypatch.setattr(live_labels, "AFTER", timedelta(seconds=0))
    ask(run, 4)
    live_labels.sweep()
    answer(run, 3)
    live_labels.sweep()
    Command.objects.update(applied_at=study.created_at)  # it ended, or began anew, before it took them
    live_labels.sweep()
    assert [one.args["labels"] for one in Command.objects.order_by("pk")] == [3, 3]


@pytest.mark.parametrize("change", [{"status": Status.PAUSED}, {"method": "control/ppo"}])
def test_a_run_that_is_not_under_way_or_not_live_gets_nothing(run, study, change, monkeypatch):
    monkeypatch.setattr(live_labels, "AFTER", timedelta(seconds=0))
    ask(run, 4)
    live_labels.sweep()
    answer(run, 3)
    Run.objects.filter(pk=run.pk).update(**change)
    live_labels.sweep()
    assert not Command.objects.exists() and not Task.objects.filter(study=study, open__gt=0).exists()


def test_people_do_not_send_labels_and_a_live_run_may_begin_without_any(run, study):
    with pytest.raises(Invalid, match="no command 'labels'"):
        command_run(run=run, kind="labels", by=study.created_by)
    started = start_run(study=study, snapshot=None, method=LIVE, config={}, by=study.created_by)
    assert started.status == Status.QUEUED and started.snapshot is None
    with pytest.raises(Invalid, match="Freeze one"):
        start_run(
            study=study, snapshot=None, method="reward/clip_preferences", config={}, by=study.created_by
        )
