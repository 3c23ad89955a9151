"""The loop of a study: each step once, in order, with its lineage; and both switches mean what they say."""

from __future__ import annotations

import json

import pytest

from annotation.errors import Invalid
from annotation.models import Candidate, Item
from annotation.services import add_items, create_study
from tests.annotation.studies import label_next, person
from webapp.runs import artifacts, services
from webapp.runs.loop import advance, new_labels
from webapp.runs.models import Artifact, Loop, Run, Status
from webapp.runs.progress import note

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr(services, "send", lambda run: True)


@pytest.fixture
def ada(db):
    return person("ada")


@pytest.fixture
def study(ada):
    study = create_study(name="Greetings", owner=ada)
    items = [
        {
            "context": {"prompt": f"Question {n}?"},
            "candidates": [{"text": f"Yes, {n}."}, {"text": f"No, {n}."}],
        }
        for n in range(12)
    ]
    add_items(study=study, items=items)
    Artifact.objects.create(
        study=study, kind="policy", name="first", path="models/x", digest="0" * 64, size=1
    )
    return study


@pytest.fixture
def loop(study, ada) -> Loop:
    return services.set_loop(
        study=study, by=ada, retrain_on=True, retrain_every=4, propose_on=True, propose_count=3, gold="hotel",
        policy_config={"steps": 5},
    )  # fmt: skip


def label(study, ada, count: int) -> None:
    for _ in range(count):
        label_next(study, ada)


def newest() -> Run:
    return Run.objects.order_by("pk").last()


def finish(run: Run, kind: str, name: str) -> Artifact:
    """As a worker would leave it, with what it made."""
    run.home.mkdir(parents=True)
    file = run.home / "items.jsonl"
    items = [
        {
            "context": {"prompt": f"New {n}?"}, "external_id": f"run-{run.pk}-{n}", "source": {"run": run.pk},
            "candidates": [
                {"text": f"{way} {n}", "policy": name, "source": {"run": run.pk, "role": role}}
                for way, role in [("So", "policy"), ("Thus", "rival")]
            ],
        }
        for n in range(3)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    digest, size = artifacts.digest_of(file)
    Run.objects.filter(pk=run.pk).update(status=Status.FINISHED)
    return Artifact.objects.create(
        run=run, study=run.study, kind=kind, name=name, path=artifacts.relative(file.resolve()), digest=digest,
        size=size,
    )  # fmt: skip


def round_once(loop: Loop) -> list[Run]:
    """Takes the loop through a whole round, as a worker's sweep would; trying every step twice changes nothing."""
    made = []
    for kind in ("reward_model", "policy", "items"):
        advance(loop)
        advance(loop)
        run = newest()
        made.append(run)
        finish(run, kind, f"{kind}-{run.pk}")
    advance(loop)
    advance(loop)
    return made


def test_nothing_happens_before_there_are_enough_labels(loop, study, ada):
    label(study, ada, 3)
    advance(loop)
    assert not Run.objects.exists() and new_labels(loop) == 3


def test_a_round_trains_improves_asks_and_keeps_its_lineage(loop, study, ada):
    label(study, ada, 5)
    before = Item.objects.count()
    reward, policy, query = round_once(loop)

    assert [run.method for run in (reward, policy, query)] == [
        "reward/bradley_terry",
        "online/rloo",
        "query/random",
    ]
    assert {run.round for run in (reward, policy, query)} == {1}
    assert {run.trigger for run in (reward, policy, query)} == {"loop"}
    assert Run.objects.count() == 3
    assert reward.snapshot == policy.snapshot == query.snapshot
    assert reward.snapshot.counts == {"pair": 5}
    first = Artifact.objects.get(name="first")
    inputs = {one.role: one.artifact for one in policy.inputs.all()}
    assert (inputs["policy"], inputs["reference"]) == (first, first)
    assert inputs["reward_model"].run == reward
    assert policy.config["steps"] == 5 and policy.gold == "hotel"
    asked = {one.role: one.artifact for one in query.inputs.all()}
    assert asked["policy"].run == policy and asked["rival"] == first
    assert query.config["count"] == 3

    added = Item.objects.order_by("pk")[before:]
    assert len(added) == 3
    assert Candidate.objects.get(item=added[0], index=0).source["run"] == query.pk
    loop.refresh_from_db()
    assert (loop.round, loop.problem, new_labels(loop)) == (1, "", 0)


def test_the_next_round_starts_from_the_newest_policy_and_new_labels(loop, study, ada):
    label(study, ada, 4)
    _, policy, _ = round_once(loop)
    advance(loop)
    assert Run.objects.count() == 3
    label(study, ada, 4)
    _, second, _ = round_once(loop)
    inputs = {one.role: one.artifact for one in second.inputs.all()}
    assert inputs["policy"].run == policy and inputs["reference"].name == "first"
    assert second.round == 2
    assert second.snapshot.counts == {"pair": 8}
    loop.refresh_from_db()
    assert loop.round == 2


@pytest.mark.parametrize(("backbone", "named"), [("policy", [("policy", "first")]), ("byte_transformer", [])])
def test_a_reward_model_whose_backbone_is_a_policy_grows_from_the_first(loop, study, ada, backbone, named):
    services.set_loop(study=study, by=ada, reward_config={"backbone": backbone})
    label(study, ada, 4)
    advance(loop)
    assert [(one.role, one.artifact.name) for one in newest().inputs.all()] == named


def test_a_failed_run_is_said_and_the_round_goes_on_when_it_is_resumed(loop, study, ada):
    label(study, ada, 4)
    advance(loop)
    Run.objects.update(status=Status.FAILED, reason="out of memory")
    advance(loop)
    loop.refresh_from_db()
    assert "Round 1 waits" in loop.problem and Run.objects.count() == 1
    finish(newest(), "reward_model", "rm")
    advance(loop)
    loop.refresh_from_db()
    assert loop.problem == "" and newest().method == "online/rloo"


def test_new_labels_begin_another_round_where_one_failed(loop, study, ada):
    label(study, ada, 4)
    advance(loop)
    Run.objects.update(status=Status.STOPPED)
    label(study, ada, 4)
    advance(loop)
    assert list(Run.objects.order_by("pk").values_list("round", "status")) == [(1, "stopped"), (2, "queued")]


def test_a_study_without_a_policy_says_what_to_do(loop, study, ada):
    Artifact.objects.all().delete()
    label(study, ada, 4)
    advance(loop)
    loop.refresh_from_db()
    assert "no policy to improve" in loop.problem
    assert (loop.round, Run.objects.count()) == (0, 0)


def test_switching_retraining_off_stops_after_the_run_under_way(loop, study, ada):
    label(study, ada, 4)
    advance(loop)
    loop = services.set_loop(study=study, by=ada, retrain_on=False)
    finish(newest(), "reward_model", "rm")
    label(study, ada, 4)
    advance(loop)
    assert Run.objects.count() == 1


def test_switching_proposals_off_ends_the_round_with_its_policy(loop, study, ada):
    loop = services.set_loop(study=study, by=ada, propose_on=False)
    label(study, ada, 4)
    for kind in ("reward_model", "policy"):
        advance(loop)
        finish(newest(), kind, kind)
    advance(loop)
    assert Run.objects.count() == 2
    label(study, ada, 4)
    advance(loop)
    assert newest().round == 2 and newest().method == "reward/bradley_terry"


def test_items_are_proposed_once_however_often_it_is_asked(loop, study, ada):
    label(study, ada, 4)
    query = round_once(loop)[2]
    count = Item.objects.count()
    assert services.propose(run=query, by=ada) == []
    assert Item.objects.count() == count
    with pytest.raises(Invalid, match="wrote no items"):
        services.propose(run=Run.objects.order_by("pk").first(), by=ada)


def test_a_loops_settings_are_checked_like_a_runs(study, ada):
    with pytest.raises(Invalid) as refusal:
        services.set_loop(study=study, by=ada, policy_config={"k": 0})
    assert refusal.value.field == "policy_config"
    with pytest.raises(Invalid, match="no setting 'round'"):
        services.set_loop(study=study, by=ada, round=7)
    assert not Loop.objects.exists()


def test_an_archived_study_rests(loop, study, ada):
    label(study, ada, 4)
    study.archived_at = "2026-01-01T00:00Z"
    study.save()
    advance(loop)
    assert not Run.objects.exists()


def test_the_position_of_a_note_is_the_runs(study):
    run = Run.objects.create(study=study, method="direct/dpo", step=7, last_seq=9)
    note(run, key="a", kind="note", text="Hello")
    note(run, key="a", kind="note", text="Hello again")
    assert list(run.events.values_list("step", "seq", "text")) == [(7, 9, "Hello")]
