"""The API of runs, by token: what a script sees is what the stream shows; what is not yours is not there."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation.models import Role, Snapshot
from annotation.services import join_study
from tests.annotation.studies import person
from tests.webapp.runs import entries_of, held_run, journal_of, rows_of, study_of, write_rows
from trainers.journal import Writer
from webapp.accounts.models import ApiToken
from webapp.runs import artifacts, services
from webapp.runs.frames import blocks
from webapp.runs.models import Artifact, Run, Worker
from webapp.runs.progress import Carrier

pytestmark = pytest.mark.django_db


class Script:
    """A program with somebody's token."""

    def __init__(self, user) -> None:
        self.client = Client()
        self.headers = {"Authorization": f"Bearer {ApiToken.issue(user, 'script')[1]}"}

    def get(self, path: str, **query):
        return self.client.get(f"/api{path}", query, headers=self.headers)

    def send(self, method: str, path: str, body=None):
        return self.client.generic(
            method,
            f"/api{path}",
            json.dumps(body or {}),
            content_type="application/json",
            headers=self.headers,
        )

    def post(self, path: str, body=None):
        return self.send("POST", path, body)


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr(services, "send", lambda run: True)


@pytest.fixture
def ada(db):
    return person("ada")


@pytest.fixture
def script(ada) -> Script:
    return Script(ada)


@pytest.fixture
def run(ada) -> Run:
    """A run with ten rows, a sample, an event, a model and a console."""
    run = held_run(study_of(ada))
    writer = Writer(journal_of(run))
    write_rows(writer, 1, 6)
    writer.chunk(7, ("loss",), [7, 8, 9, 10], [1, 2, 3, 4], [[1.0, math.nan, math.inf, -math.inf]])
    row = {"index": 0, "prompt": "p", "text": "t", "scores": {"reward": 1.5}, "length": 1}
    for step in (5, 10):
        writer.json({"type": "samples", "step": step, "rows": [row]})
    writer.json({"type": "event", "key": "e", "step": 3, "kind": "note", "text": "Look", "data": {}})
    writer.json({"type": "histogram", "step": 3, "name": "score", "edges": [0, 1], "counts": [2]})
    (run.home / "model").mkdir()
    (run.home / "model" / "kibitz.json").write_text("{}")
    made = {"type": "artifact", "kind": "policy", "name": "policy", "path": "model", "step": 10}
    writer.json(made)
    Carrier(run, 1).carry(entries_of(run))
    (run.home / "console.log").write_text("first line\nlast line\n")
    run.refresh_from_db()
    return run


def test_points_are_the_streams_blocks_after_any_row(script, run):
    whole = script.get(f"/runs/{run.pk}/points")
    assert (whole["X-Last-Seq"], whole["X-Epoch"]) == ("10", "0")
    assert [seq for seq, _ in rows_of(list(blocks(whole.content)))] == list(range(1, 11))
    for after in range(11):
        part = list(blocks(script.get(f"/runs/{run.pk}/points", after=after).content))
        assert [seq for seq, _ in rows_of(part)] == list(range(after + 1, 11))
        values = np.concatenate([block.values[2] for block in part]) if part else np.array([])
        expected = np.array([1, 2, 3, 4, 5, 6, 1, math.nan, math.inf, -math.inf])[after:]
        np.testing.assert_array_equal(values, expected)


def test_points_in_json_name_what_is_no_number(script, run):
    found = script.get(f"/runs/{run.pk}/points", after=6, format="json").json()
    assert [row["values"]["loss"] for row in found["rows"]] == [1.0, "NaN", "Infinity", "-Infinity"]
    assert [row["seq"] for row in found["rows"]] == [7, 8, 9, 10]


def test_a_reader_of_an_epoch_that_is_over_is_told(script, run):
    assert script.get(f"/runs/{run.pk}/points", epoch=0).status_code == 200
    Run.objects.filter(pk=run.pk).update(epoch=1)
    refused = script.get(f"/runs/{run.pk}/points", epoch=0)
    assert refused.status_code == 409 and "epoch 1" in refused.json()["error"]["message"]


def test_a_run_is_told_in_full(script, run):
    found = script.get(f"/runs/{run.pk}").json()
    assert (found["status"], found["last_seq"], found["worker"]) == ("running", 10, "worker")
    assert found["silent_for"] >= 0 and found["workers_alive"] == 0
    series = script.get(f"/runs/{run.pk}/series").json()
    loss = series[0]
    assert (loss["name"], loss["label"], loss["count"], loss["last"], loss["minimum"], loss["maximum"]) == (
        "loss", "Loss", 10, "-Infinity", 1.0, 6.0,
    )  # fmt: skip
    assert script.get(f"/runs/{run.pk}/events").json()[0]["text"] == "Look"
    samples = script.get(f"/runs/{run.pk}/samples").json()["samples"]
    assert [one["step"] for one in samples] == [10, 5]
    assert [one["step"] for one in script.get(f"/runs/{run.pk}/samples", before=10).json()["samples"]] == [5]
    assert script.get(f"/runs/{run.pk}/histograms", name="score").json()["histograms"][0]["counts"] == [2.0]
    assert script.get(f"/runs/{run.pk}/console").content == b"first line\nlast line\n"
    assert script.get(f"/runs/{run.pk}/console", tail=10).content == b"last line\n"


def test_artifacts_are_listed_and_downloaded_file_by_file(script, run):
    made = script.get(f"/runs/{run.pk}/artifacts").json()
    assert [(one["kind"], one["files"]) for one in made] == [("policy", [{"file": "kibitz.json", "size": 2}])]
    address = f"/artifacts/{made[0]['id']}/download"
    got = script.get(f"{address}/kibitz.json")
    assert b"".join(got.streaming_content) == b"{}"
    assert "attachment" in got["Content-Disposition"]
    assert script.get(f"/runs/{run.pk}{address}/kibitz.json").status_code == 200
    for outside in ("../../console.log", "%2e%2e/journal.bin", "/etc/passwd", "nothing"):
        assert script.get(f"{address}/{outside}").status_code == 404


def test_what_is_not_yours_is_not_there(run, ada):
    blind = person()
    join_study(study=run.study, user=blind, role=Role.ANNOTATOR)
    artifact = run.artifacts.get()
    paths = [
        "",
        "/points",
        "/series",
        "/events",
        "/samples",
        "/histograms",
        "/console",
        "/artifacts",
        "/commands",
    ]
    for outsider in (Script(person()), Script(blind)):
        for path in paths:
            assert outsider.get(f"/runs/{run.pk}{path}").status_code == 404, path
        assert outsider.get(f"/artifacts/{artifact.pk}").status_code == 404
        assert outsider.get(f"/artifacts/{artifact.pk}/download/kibitz.json").status_code == 404
        assert outsider.post(f"/runs/{run.pk}/stop").status_code == 404
        assert outsider.get("/runs").json() == []
        assert outsider.get(f"/studies/{run.study_id}/artifacts").status_code == 404


def test_a_reviewer_watches_and_does_not_control(run):
    reviewer = person()
    join_study(study=run.study, user=reviewer, role=Role.REVIEWER)
    script = Script(reviewer)
    assert script.get(f"/runs/{run.pk}").status_code == 200
    assert len(script.get("/runs").json()) == 1
    for path in ("stop", "resume", "commands", "propose"):
        assert script.post(f"/runs/{run.pk}/{path}", {"kind": "pause"}).status_code == 404
    assert Run.objects.get().status == "running"


def test_a_run_is_started_commanded_and_stopped_from_a_script(script, ada):
    study = study_of(ada)
    snapshot = Snapshot.objects.create(
        study=study, digest="d" * 64, counts={"pair": 4}, records=4, card="", created_by=ada
    )
    policy = Artifact.objects.create(study=study, kind="policy", name="p", path="m", digest="0" * 64, size=1)
    asked = {
        "method": "direct/dpo",
        "snapshot": snapshot.pk,
        "inputs": {"policy": policy.pk},
        "config": {"lr": 1e-3},
    }
    made = script.post("/runs", asked)
    assert made.status_code == 201
    made = made.json()
    assert (made["status"], made["study"], made["inputs"], made["queue_position"], made["created_by"]) == (
        "queued", study.pk, {"policy": policy.pk}, 1, "ada",
    )  # fmt: skip
    wrong = script.post("/runs", {**asked, "config": {"lr": "fast"}})
    assert wrong.status_code == 422
    assert wrong.json()["error"]["field"] == "lr" and "fast" in wrong.json()["error"]["message"]
    assert script.post("/runs", {**asked, "inputs": {"policy": 99999}}).status_code == 404
    quicker = script.post("/runs", {**asked, "precision": "bfloat16"}).json()
    assert Run.objects.get(pk=quicker["id"]).provenance["precision"] == "bfloat16"
    refused = script.post("/runs", {**asked, "method": "online/rloo", "config": {}, "precision": "bfloat16"})
    assert refused.status_code == 422
    assert "online/rloo cannot be trained in bfloat16: it samples while it trains" in refused.content.decode()

    Run.objects.filter(pk=made["id"]).update(status="running")
    turned = {"kind": "set", "args": {"name": "lr", "value": 1e-4}}
    assert script.post(f"/runs/{made['id']}/commands", turned).status_code == 201
    assert script.get(f"/runs/{made['id']}/commands").json()[0]["by"] == "ada"
    assert script.post(f"/runs/{made['id']}/stop").json()["status"] == "stopping"
    conflict = script.post(f"/runs/{made['id']}/resume")
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict")


def test_methods_say_all_that_can_be_set(script):
    found = {one["name"]: one for one in script.get("/methods").json()}
    settings = {one["name"]: one for one in found["direct/dpo"]["settings"]}
    assert settings["beta"]["default"] == 0.1 and settings["beta"]["doc"]
    assert found["online/rloo"]["inputs"] == ["policy", "reward_model"]


def test_workers_say_what_they_hold_of_yours(script, run):
    Worker.objects.create(name="worker", host="h", machine="m", pid=1, queues=["cpu"], slots=2)
    other = held_run(study_of())
    found = script.get("/workers").json()
    assert [(one["name"], one["alive"], one["runs"]) for one in found] == [("worker", True, [run.pk])]
    assert other.pk not in found[0]["runs"]


def test_a_model_is_brought_by_upload_and_nothing_else_is(script, ada):
    study = study_of(ada)
    files = [SimpleUploadedFile("kibitz.json", b"{}"), SimpleUploadedFile("model.safetensors", b"weights")]

    def bring(files):
        body = {"kind": "policy", "name": "mine", "files": files}
        return script.client.post(f"/api/studies/{study.pk}/artifacts", body, headers=script.headers)

    made = bring(files)
    assert made.status_code == 201 and len(made.json()["files"]) == 2
    assert Artifact.objects.get().digest == artifacts.digest_of(Artifact.objects.get().location)[0]
    pickled = bring([SimpleUploadedFile("kibitz.json", b"{}"), SimpleUploadedFile("model.pkl", b"evil")])
    assert pickled.status_code == 422 and "safetensors" in pickled.json()["error"]["message"]
    assert len(script.get(f"/studies/{study.pk}/artifacts", kind="policy").json()) == 1


def test_the_loop_is_read_and_switched(script, ada):
    study = study_of(ada)
    address = f"/studies/{study.pk}/loop"
    assert script.get(address).json()["retrain_on"] is False
    changed = script.send("PUT", address, {"retrain_on": True, "retrain_every": 20})
    assert (changed.json()["retrain_on"], changed.json()["retrain_every"]) == (True, 20)
    assert script.get(address).json()["retrain_every"] == 20
    wrong = script.send("PUT", address, {"reward_config": {"lr": -1}})
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "reward_config"
