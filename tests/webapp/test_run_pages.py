"""The pages about runs, as the server renders them: who may see what, and that forms do what they say."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from annotation.models import Item, Role, Snapshot
from annotation.services import join_study
from tests.annotation.studies import person
from tests.webapp.runs import held_run, study_of
from trainers.journal import Chunk
from webapp.runs import reports
from webapp.runs.models import SILENT_AFTER, Artifact, Command, Loop, Run, RunInput, Status, Worker
from webapp.runs.progress import Carrier

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada():
    return person("ada")


@pytest.fixture
def study(ada):
    return study_of(ada)


@pytest.fixture
def client(ada):
    client = Client()
    client.force_login(ada)
    return client


def frozen(study, **counts) -> Snapshot:
    counts = counts or {"pair": 40}
    return Snapshot.objects.create(
        study=study, name="First labels", digest=f"{study.pk:064x}", counts=counts,
        records=sum(counts.values()), card="", created_by=study.created_by,
    )  # fmt: skip


def model(study, kind: str, name: str, settings, made_as: str = "byte_transformer") -> Artifact:
    folder = settings.MODELS / name.replace(" ", "-")
    folder.mkdir(parents=True)
    (folder / "kibitz.json").write_text(json.dumps({"kind": made_as}))
    return Artifact.objects.create(
        study=study, kind=kind, name=name, path=f"models/{folder.name}", digest="ab" * 32, size=2
    )


def log(run: Run, **numbers: float) -> None:
    seq = run.last_seq + 1
    column = np.array([[one] for one in numbers.values()])
    row = Chunk(seq, seq, tuple(numbers), np.array([float(seq)]), np.array([1.7e9]), column)
    Carrier(run, run.attempt).carry([row])


def samples(run: Run, step: int, text: str, prompt: str = "Is the pool open?", **scores: float) -> None:
    row = {"index": 0, "prompt": prompt, "text": text, "scores": scores, "length": len(text)}
    Carrier(run, run.attempt).carry([{"type": "samples", "step": step, "rows": [row]}])


def text_of(response) -> str:
    return " ".join(response.content.decode().split())


# Who may see what.


def test_a_stranger_and_an_annotator_find_no_page_about_a_studys_runs(study, settings):
    run = held_run(study)
    annotator = person()
    join_study(study=study, user=annotator, role=Role.ANNOTATOR)
    places = ["runs", "runs/new", "models", "loop"]
    addresses = [f"/studies/{study.pk}/{place}/" for place in places]
    addresses += [f"/runs/{run.pk}/", f"/runs/{run.pk}/samples/", f"/runs/{run.pk}/console/"]
    for who in (person(), annotator):
        client = Client()
        client.force_login(who)
        assert {address: client.get(address).status_code for address in addresses} == dict.fromkeys(
            addresses, 404
        )
        assert client.post(f"/runs/{run.pk}/command/", {"kind": "stop"}).status_code == 404
    run.refresh_from_db()
    assert run.status == Status.RUNNING


def test_nobody_sees_a_run_without_signing_in(study):
    run = held_run(study)
    assert Client().get(f"/runs/{run.pk}/").status_code == 302
    assert Client().get("/runs/").status_code == 302


def test_a_reviewer_watches_but_has_no_buttons_and_may_not_press_them(study):
    run = held_run(study)
    reviewer = person()
    join_study(study=study, user=reviewer, role=Role.REVIEWER)
    client = Client()
    client.force_login(reviewer)
    page = text_of(client.get(f"/runs/{run.pk}/"))
    assert "direct/dpo" in page
    assert 'name="kind"' not in page
    for address, values in [
        (f"/runs/{run.pk}/command/", {"kind": "pause"}),
        (f"/studies/{study.pk}/loop/", {"retrain_every": 5, "propose_count": 5}),
        (f"/studies/{study.pk}/runs/new/", {"start": ""}),
    ]:
        assert client.post(address, values).status_code == 404
    assert not Command.objects.exists() and not Loop.objects.exists()


# Lists.


def test_the_list_shows_the_vital_signs_from_summaries_at_a_fixed_number_of_queries(
    client, study, django_assert_num_queries
):
    def seen(runs: int):
        for _ in range(runs):
            log(held_run(study), loss=0.69, **{"rewards/accuracies": 0.5})
        client.get(f"/studies/{study.pk}/runs/")
        with django_assert_num_queries(6) as queries:
            page = text_of(client.get(f"/studies/{study.pk}/runs/"))
        assert not any("runs_chunk" in one["sql"] for one in queries.captured_queries)
        return page

    assert seen(1).count("0.69") == 1
    assert seen(4).count("0.69") == 5


def test_the_list_says_when_a_queue_has_no_worker_and_when_a_worker_is_silent(client, study):
    Run.objects.create(study=study, method="direct/dpo", queue="gpu")
    silent = held_run(study)
    Run.objects.filter(pk=silent.pk).update(heartbeat_at=timezone.now() - 2 * SILENT_AFTER)
    page = text_of(client.get("/runs/"))
    assert "No worker is alive for the queue <code>gpu</code>" in page
    assert "--queues gpu" in page
    assert "worker silent" in page
    Worker.objects.create(name="w", host="h", machine="m", pid=1, queues=["gpu"], slots=1)
    Run.objects.filter(pk=silent.pk).update(heartbeat_at=Now())
    page = text_of(client.get("/runs/"))
    assert "No worker" not in page and "worker silent" not in page


def test_the_list_of_everything_holds_the_runs_of_my_studies_alone(client, study):
    mine, other = held_run(study, name="my run"), held_run(name="their run")
    page = text_of(client.get("/runs/"))
    assert f"/runs/{mine.pk}/" in page and "my run" in page
    assert f"/runs/{other.pk}/" not in page and "their run" not in page


def test_models_are_listed_with_their_files_to_download_and_who_used_them(client, study, settings):
    artifact = model(study, "policy", "demo policy", settings)
    run = held_run(study)
    RunInput.objects.create(run=run, role="policy", artifact=artifact)
    page = text_of(client.get(f"/studies/{study.pk}/models/"))
    address = f"/api/artifacts/{artifact.pk}/download/kibitz.json"
    assert "demo policy" in page and address in page and f"/runs/{run.pk}/" in page
    response = client.get(address)
    assert json.loads(b"".join(response.streaming_content)) == {"kind": "byte_transformer"}


# The run page.


def test_the_page_says_that_no_worker_is_alive_and_how_to_start_one(client, study):
    run = Run.objects.create(study=study, method="direct/dpo", queue="gpu")
    page = text_of(client.get(f"/runs/{run.pk}/"))
    assert 'data-show="no-worker">' in page
    assert "--queues gpu" in page
    Worker.objects.create(name="w", host="h", machine="m", pid=1, queues=["gpu"], slots=1)
    assert 'data-show="no-worker" hidden>' in text_of(client.get(f"/runs/{run.pk}/"))


def test_the_page_shows_samples_beside_earlier_ones_with_what_their_scores_gained(client, study):
    run = held_run(study)
    samples(run, 1, "No.", gold=0.1)
    samples(run, 5, "Yes.", gold=0.4)
    samples(run, 9, "Yes, until nine.", gold=0.9)
    page = text_of(client.get(f"/runs/{run.pk}/"))
    assert ">No.</p>" in page and ">Yes, until nine.</p>" in page and ">Yes.</p>" not in page
    assert "Gold score" in page and '<span class="good">+0.8</span>' in page
    part = text_of(client.get(f"/runs/{run.pk}/samples/?before=5&step=9"))
    assert ">Yes.</p>" in part and ">No.</p>" not in part and '<span class="good">+0.5</span>' in part
    assert "<html" not in part
    assert client.get(f"/runs/{run.pk}/nonsense/").status_code == 404


def test_what_a_model_wrote_cannot_become_markup(client, study):
    run = held_run(study)
    samples(run, 1, "<script>alert(1)</script>", prompt="<img src=x onerror=alert(2)>")
    (run.home / "console.log").write_text("<script>alert(3)</script>\n")
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(3)" in page


def test_two_samples_are_sent_to_annotators_once(client, study):
    run = held_run(study)
    samples(run, 1, "No.")
    samples(run, 9, "Yes, until nine.")
    asked = {"before": 1, "step": 9, "index": 0}
    for _ in range(2):
        assert client.post(f"/runs/{run.pk}/samples/send/", asked).status_code == 302
    item = Item.objects.get(study=study)
    assert item.context == {"prompt": "Is the pool open?"}
    answers = {one.text: one.source for one in item.candidates.all()}
    assert answers == {
        "No.": {"run": run.pk, "step": 1, "sample": 0},
        "Yes, until nine.": {"run": run.pk, "step": 9, "sample": 0},
    }
    assert "sent to annotators" in text_of(client.get(f"/runs/{run.pk}/"))
    wrong = client.post(
        f"/runs/{run.pk}/samples/send/", {**asked, "step": 7}, headers={"Accept": "application/json"}
    )
    assert wrong.status_code == 422
    assert wrong.json()["error"]["field"] == "step"


def test_the_console_shows_its_end_and_what_a_progress_bar_said_last(client, study):
    run = held_run(study)
    lines = "".join(f"line {n}\n" for n in range(20_000))
    (run.home / "console.log").write_text(lines + "10 %\r50 %\r100 %\r\nthe end\n")
    page = client.get(f"/runs/{run.pk}/console/").content.decode()
    assert "line 19999\n100 %\nthe end" in page
    assert "line 19000" not in page and "50 %" not in page


def test_buttons_work_without_script_and_refusals_are_told_in_the_apis_shape_to_a_script(client, study):
    run = held_run(study)
    address = f"/runs/{run.pk}/command/"
    assert client.post(address, {"kind": "set", "name": "lr", "value": "2e-5"}).url == f"/runs/{run.pk}/"
    assert Command.objects.get().args == {"name": "lr", "value": 2e-5}
    assert client.post(address, {"kind": "stop"}).status_code == 302
    run.refresh_from_db()
    assert run.status == Status.STOPPING

    refused = client.post(address, {"kind": "pause"}, headers={"Accept": "application/json"})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conflict"
    assert f"Run {run.pk} is stopping" in refused.json()["error"]["message"]
    page = text_of(client.post(address, {"kind": "pause"}, follow=True))
    assert f"Run {run.pk} is stopping" in page


def test_the_lineage_goes_from_labels_to_what_the_run_made_and_who_used_it(client, study, settings):
    snapshot = frozen(study, pair=40, correction=1)
    base = model(study, "policy", "demo policy", settings)
    run = held_run(study, snapshot=snapshot)
    RunInput.objects.create(run=run, role="policy", artifact=base)
    made = Artifact.objects.create(
        study=study, run=run, kind="policy", name="better policy", path="x", digest="cd" * 32, size=5, step=7
    )
    user = held_run(study)
    RunInput.objects.create(run=user, role="reference", artifact=made)
    part = text_of(client.get(f"/runs/{run.pk}/lineage/"))
    places = [part.index(word) for word in ("First labels", "demo policy", "This run", "better policy")]
    assert places == sorted(places)
    assert "40 pairs, 1 correction" in part
    assert f'reference of <a href="/runs/{user.pk}/">' in part


# The report.

READINGS = {
    "accuracy": {"label": "Held-out accuracy", "value": 0.72, "low": 0.66, "high": 0.78, "n": 268},
    "chance": {"label": "Chance", "value": 0.5},
    "shuffled_control": {"label": "Control", "value": 0.51, "low": 0.45, "high": 0.57, "n": 268},
    "ece": {"label": "Calibration error", "value": 0.061},
}


def test_intervals_stand_on_one_scale_with_chance_and_the_control_last():
    shown = reports.shown({"readings": dict(reversed(READINGS.items()))})
    scale = shown["scale"]
    assert [tick["value"] for tick in scale["ticks"]] == [0.4, 0.5, 0.6, 0.7, 0.8]
    assert [(one["key"], one["beside"]) for one in scale["intervals"]] == [
        ("accuracy", False),
        ("shuffled_control", True),
    ]
    assert scale["intervals"][0]["at"] == pytest.approx(80)
    assert scale["intervals"][0]["from"] == pytest.approx(65)
    assert scale["intervals"][0]["width"] == pytest.approx(30)
    assert [(mark["label"], mark["at"]) for mark in scale["marks"]] == [("Chance", pytest.approx(25))]
    assert shown["rows"] == [{"label": "Calibration error", "value": 0.061}]


def test_a_share_never_stands_on_a_scale_beyond_one():
    sure = {"accuracy": {"label": "Accuracy", "value": 1.0, "low": 0.97, "high": 1.0}}
    ticks = reports.shown({"readings": sure})["scale"]["ticks"]
    assert ticks[-1]["value"] == 1.0 and ticks[0]["value"] <= 0.97


def test_the_numbers_below_a_scale_do_not_run_into_each_other():
    def named(low: float, high: float) -> list[float]:
        reading = {"gain": {"label": "Gain", "value": low, "low": low, "high": high}}
        ticks = reports.shown({"readings": reading})["scale"]["ticks"]
        return [tick["value"] for tick in ticks if tick["named"]]

    assert named(0.41, 0.79) == [0.4, 0.5, 0.6, 0.7, 0.8]
    assert named(-1.92, -0.855) == [-2.0, -1.6, -1.2, -0.8]


def test_what_was_before_and_after_is_one_row_with_its_difference():
    readings = {
        "gold_after": {"label": "Gold score, after", "value": 1.5},
        "gold_before": {"label": "Gold score, before", "value": 0.25},
        "kl_after": {"label": "KL, after", "value": 3.0},
    }
    assert reports.shown({"readings": readings})["rows"] == [
        {"label": "Gold score", "before": 0.25, "value": 1.5, "change": 1.25},
        {"label": "KL, after", "value": 3.0},
    ]
    assert not reports.shown({})["any"]


def test_a_report_is_shown_in_the_order_it_was_said_in_and_broken_down_behind_a_fold(client, study):
    run = held_run(study)
    groups = ("annotator/zoe", "annotator/al", "length/longer")
    readings = {"accuracy": READINGS["accuracy"]} | {
        f"accuracy/{group}": {**READINGS["accuracy"], "label": f"Right, {group}"} for group in groups
    }
    Carrier(run, run.attempt).carry([{"type": "report", "report": {"readings": readings}}])
    run.refresh_from_db()
    scale = reports.shown(run.report)["scale"]
    assert [one["key"] for one in scale["intervals"]] == ["accuracy"]
    assert [(group["title"], [one["label"] for one in group["intervals"]]) for group in scale["groups"]] == [
        ("annotator", ["Right, annotator/zoe", "Right, annotator/al"]),
        ("length", ["Right, length/longer"]),
    ]
    assert "Broken down by annotator, length" in text_of(client.get(f"/runs/{run.pk}/"))


def test_curves_over_the_same_axes_share_a_chart_with_a_table_and_a_sentence():
    axes = {"x_label": "Labels learned from", "y_label": "Accuracy"}
    measured = {
        "x": [20, 40],
        "y": [0.5, 0.6],
        "low": [0.4, 0.5],
        "high": [0.6, 0.7],
        "label": "Measured",
        **axes,
    }
    frontier = {
        "x": [0.0, 1.5], "y": [1.0, 2.0], "gold": [3.0, 2.5], "label": "Frontier", "x_label": "√KL", "y_label": "Score",
    }  # fmt: skip
    report = {
        "curves": {
            "learning": measured,
            "learning_fit": {"x": [20, 40, 80], "y": [0.5, 0.6, 0.65], "label": "Law", **axes},
            "frontier": frontier,
            "nothing": {"x": [], "y": [], "label": "Nothing"},
        }
    }
    learning, reward = reports.shown(report)["charts"]
    assert learning["title"] == "Accuracy against labels learned from"
    assert [(one["label"], one["fit"]) for one in learning["data"]["curves"]] == [
        ("Measured", False),
        ("Law", True),
    ]
    assert learning["data"]["log"] and not learning["data"]["diagonal"]
    assert learning["table"][0]["rows"] == [(20, 0.5, 0.4, 0.6, None), (40, 0.6, 0.5, 0.7, None)]
    assert learning["alternative"] == "Measured: 0.5 at 20, 0.6 at 40. Law: 0.5 at 20, 0.65 at 80."
    assert [one["label"] for one in reward["data"]["curves"]] == ["Score", "Gold score"]
    assert reward["data"]["curves"][1]["y"] == [3.0, 2.5]


def test_a_curve_without_numbers_for_a_point_says_so_and_what_a_label_holds_is_no_markup(client, study):
    run = held_run(study)
    curve = {"x": [1, 2], "y": [None, 0.5], "label": "</script><script>alert(1)</script>"}
    Carrier(run, run.attempt).carry([{"type": "report", "report": {"curves": {"odd": curve}}}])
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "<script>alert" not in page and "\\u003Cscript" in page
    assert "– at 1, 0.5 at 2" in page


def test_the_page_shows_the_report_with_its_interval_and_its_words(client, study):
    run = held_run(study)
    Run.objects.filter(pk=run.pk).update(report={"readings": READINGS, "text": "Right on 72 %."})
    page = text_of(client.get(f"/runs/{run.pk}/"))
    assert "Right on 72 %." in page
    assert "0.66 to 0.78, n = 268" in page
    assert "Dashed: chance, 0.5." in page


# The loop.


def test_the_loop_is_a_fragment_for_the_study_page_and_a_page_of_its_own(client, study):
    address = f"/studies/{study.pk}/loop/"
    fragment = text_of(client.get(address, headers={"HX-Request": "true"}))
    assert "<html" not in fragment and "nothing is trained until retraining is switched on" in fragment
    assert Counter(fragment.split())['hx-trigger="every'] == 1
    assert "<html" in text_of(client.get(address))
    now = text_of(client.get(address + "?part=now", headers={"HX-Request": "true"}))
    assert "lineage-diagram" in now and "<form" not in now


def test_the_switches_are_kept_with_who_set_them(client, study, ada):
    address = f"/studies/{study.pk}/loop/"
    asked = {"retrain_on": "on", "retrain_every": 30, "propose_count": 12}
    assert client.post(address, asked).url == address
    loop = Loop.objects.get(study=study)
    assert (loop.retrain_on, loop.retrain_every, loop.propose_on, loop.propose_count) == (True, 30, False, 12)
    assert loop.changed_by == ada
    page = text_of(client.get(address))
    assert "30 more labels and round 1 begins." in page
    wrong = client.post(address, {**asked, "retrain_every": 0}, headers={"HX-Request": "true"})
    assert "greater than or equal to 1" in text_of(wrong)
    loop.refresh_from_db()
    assert loop.retrain_every == 30


def test_the_diagram_counts_what_there_is_and_follows_the_run_under_way(client, study, settings):
    frozen(study)
    model(study, "policy", "demo policy", settings)
    run = held_run(study, trigger="loop", round=2, total_steps=100)
    Run.objects.filter(pk=run.pk).update(method="online/rloo", step=40)
    page = text_of(client.get(f"/studies/{study.pk}/loop/"))
    assert "A policy improves against the reward model." in page and "round 2" in page
    assert f"run {run.pk} at step 40 of 100" in page
    assert "First labels, 40 records" in page
