"""The page that starts a run: what can be chosen, what every field says, and what is refused before a worker starts."""

from __future__ import annotations

import pytest
from django.test import Client

from annotation.models import Snapshot
from tests.annotation.studies import person
from tests.webapp.runs import study_of
from tests.webapp.test_run_pages import frozen, model, text_of
from trainers import registry
from trainers.records import KINDS
from trainers.tasks import Supervision
from webapp.runs import cards, offers
from webapp.runs.forms import RunForm
from webapp.runs.models import Run, Worker

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


def furnished(study, settings) -> Snapshot:
    """A study with records of every kind and a model of every sort: every method can run in it."""
    for kind in ("policy", "reward_model", "robot_policy"):
        model(study, kind, f"some {kind}", settings)
    return frozen(study, **dict.fromkeys(KINDS, 3))


def post(client, study, snapshot, method: str, **values):
    asked = {"method": method, "snapshot": snapshot.pk, "seed": 0, "queue": "cpu", "start": "", **values}
    return client.post(f"/studies/{study.pk}/runs/new/", asked)


def refusals(study, snapshot) -> dict[str, str]:
    return {
        one["name"]: one["why_not"] for family in offers.offers(study, snapshot) for one in family["methods"]
    }


def test_methods_that_cannot_run_say_what_they_lack(client, study, settings):
    address = f"/studies/{study.pk}/runs/new/"
    reading = [name for name, entry in registry.METHODS.items() if entry.reads and not entry.live]
    needs = "Needs a snapshot: freeze the study&#x27;s labels first."
    assert text_of(client.get(address)).count(needs) == len(reading) >= 5
    snapshot = frozen(study, demonstration=3)
    said = refusals(study, snapshot)
    assert said["direct/dpo"] == "needs pairs, rankings or corrections; this snapshot has none"
    assert said["correction/sft"] == "needs a policy; this study has none yet"
    assert said["online/rloo"] == "needs a policy and a reward model; this study has none yet"
    ready = {name for name, why in said.items() if not why}
    assert ready == {"control/ppo"}  # a world's own reward will do
    model(study, "policy", "demo policy", settings)
    page = text_of(client.get(address))
    assert "Needs a policy;" not in page and not refusals(study, snapshot)["correction/sft"]
    assert "Needs a reward model; this study has none yet." in page


def test_every_method_stands_in_its_family_with_a_sentence_of_its_own(client, study, settings):
    snapshot = furnished(study, settings)
    families = offers.offers(study, snapshot)
    listed = [one["name"] for family in families for one in family["methods"]]
    assert sorted(listed) == sorted(registry.METHODS)
    assert not any(refusals(study, snapshot).values())
    assert {entry.family for entry in registry.METHODS.values()} <= set(offers.FAMILIES)
    sentences = {name: cards.sentence(name) for name in registry.METHODS}
    assert len(set(sentences.values())) == len(sentences)
    assert all(10 < len(one) < 240 and one.endswith(".") and "`" not in one for one in sentences.values()), (
        sentences
    )


@pytest.mark.parametrize("method", registry.METHODS)
def test_a_methods_form_explains_every_setting_and_its_card_can_be_read_there(
    client, study, settings, method
):
    snapshot = furnished(study, settings)
    page = client.get(f"/studies/{study.pk}/runs/new/?snapshot={snapshot.pk}&method={method}")
    form = page.context["form"]
    rows = [row for group in form.settings() for row in group["rows"]]
    assert sorted(row["setting"].name for row in rows) == sorted(one.name for one in registry.fields(method))
    for row in rows:
        assert row["field"].help_text == row["setting"].doc
        assert str(row["field"]) in page.content.decode()
    roles = (*form.entry.inputs, *form.entry.optional_inputs)
    assert [field.name for field in form.inputs()] == [f"input_{role}" for role in roles]
    for role in form.entry.inputs:
        assert form[f"input_{role}"].initial, f"nothing is chosen as {role}, though there is one that fits"
    assert "<table>" in page.context["card"] and page.context["card"] in page.content.decode()


@pytest.mark.parametrize("method", registry.METHODS)
def test_what_a_methods_form_proposes_is_taken_and_is_its_defaults(study, settings, method):
    snapshot = furnished(study, settings)
    blank = RunForm(study=study, method=method, snapshot=snapshot)
    given = {field.name: getattr(field.value(), "pk", field.value()) for field in blank}
    given = {name: str(value) for name, value in given.items() if value is not None and value is not False}
    form = RunForm(given, study=study, method=method, snapshot=snapshot)
    assert form.is_valid(), form.errors
    assert form.asked()["config"] == registry.read_config(method, {})


@pytest.mark.parametrize("method", registry.METHODS)
def test_every_setting_refuses_what_it_cannot_be_at_its_field_and_nothing_is_started(
    client, study, settings, method
):
    snapshot = furnished(study, settings)
    known = {one.name: one for one in registry.fields(method) if one.type in ("float", "int", "choice")}
    response = post(client, study, snapshot, method, **{f"config_{name}": "quick" for name in known})
    assert response.status_code == 422
    errors = response.context["form"].errors
    page = text_of(response)
    for name in known:
        [said] = errors[f"config_{name}"]
        assert said.startswith(f"'{name}' is 'quick'. Expected ")
        assert f'<a href="#id_config_{name}">{name}</a>' in page
        row = page[page.index(f'id="id_config_{name}"') :]
        assert "Expected" in row[: row.index("</div>")]
    assert not Run.objects.exists()


def test_the_first_settings_are_the_methods_own_and_the_usual_ones_are_folded_until_one_is_changed(
    study, settings
):
    snapshot = furnished(study, settings)

    def groups(**initial):
        form = RunForm(study=study, method="direct/dpo", snapshot=snapshot, initial=initial or None)
        return [([row["setting"].name for row in one["rows"]], one["open"]) for one in form.settings()]

    assert groups() == [
        (["lr", "beta", "epochs", "batch_size"], False),
        (["micro_batch", "warmup", "weight_decay", "clip", "held_out", "eval_every"], False),
    ]
    assert [is_open for _, is_open in groups(config_lr=1e-5, config_clip=0.5)] == [False, True]


def test_a_run_is_started_with_what_the_form_says_and_defaults_for_the_rest(client, study, settings):
    snapshot = frozen(study)
    policy = model(study, "policy", "demo policy", settings)
    address = f"/studies/{study.pk}/runs/new/?method=direct/dpo"
    page = text_of(client.get(address))
    assert 'name="config_beta"' in page and f'<option value="{policy.pk}" selected>' in page

    values = {"seed": 3, "name": "careful", "input_policy": policy.pk, "config_lr": "2e-6", "config_beta": ""}
    sent = post(client, study, snapshot, "direct/dpo", **values)
    run = Run.objects.get()
    assert sent.url == f"/runs/{run.pk}/"
    assert (run.method, run.seed, run.name, run.snapshot) == ("direct/dpo", 3, "careful", snapshot)
    assert run.config["lr"] == 2e-6
    assert run.config["beta"] == 0.1
    assert {one.role: one.artifact for one in run.inputs.all()} == {"policy": policy}
    assert run.created_by == study.created_by

    again = text_of(client.get(f"/studies/{study.pk}/runs/new/?like={run.pk}"))
    assert f"Run {run.pk} again, with changes" in again
    assert 'value="2e-06"' in again and 'value="careful"' in again


def test_a_wrong_setting_is_said_beside_its_field_in_the_methods_words(client, study, settings):
    snapshot = frozen(study)
    policy = model(study, "policy", "demo policy", settings)
    wrong = {"input_policy": policy.pk, "config_lr": "fast", "config_beta": "-1"}
    response = post(client, study, snapshot, "direct/dpo", **wrong)
    assert response.status_code == 422
    assert response.context["form"].errors == {
        "config_lr": ["'lr' is 'fast'. Expected a number above 0."],
        "config_beta": ["'beta' is '-1'. Expected a number above 0."],
    }
    page = text_of(response)
    assert 'value="fast"' in page
    page = page[page.index("id_config_lr") :]
    assert page.index("config_lr") < page.index("Expected a number above 0.") < page.index("config_epochs")
    assert not Run.objects.exists()


def test_a_model_of_another_study_or_of_another_sort_cannot_be_chosen(client, study, settings):
    snapshot = frozen(study)
    mine = model(study, "policy", "demo policy", settings)
    scorer = model(study, "reward_model", "my scorer", settings)
    other = model(study_of(), "policy", "their policy", settings)
    for wrong in (other, scorer):
        response = post(client, study, snapshot, "direct/dpo", input_policy=wrong.pk)
        assert response.status_code == 422
        assert list(response.context["form"].errors) == ["input_policy"]
    response = post(client, study, snapshot, "online/rloo", input_policy=mine.pk, input_reward_model=mine.pk)
    assert list(response.context["form"].errors) == ["input_reward_model"]
    assert not Run.objects.exists()


def test_where_a_run_is_trained_is_asked_behind_a_fold_and_reaches_the_worker(client, study, settings):
    snapshot = frozen(study)
    policy = model(study, "policy", "demo policy", settings)
    Worker.objects.create(name="w", host="h", machine="m", pid=1, queues=["cpu", "lab"], slots=1)
    Worker.objects.create(name="v", host="h", machine="m", pid=2, queues=["jobs", "cpu"], slots=1)
    page = text_of(client.get(f"/studies/{study.pk}/runs/new/?method=direct/dpo"))
    for words in (
        "CPU: 2 workers are alive",
        "GPU (CUDA): no worker is alive, it would wait",
        "lab: one worker is alive",
    ):
        assert words in page
    assert "jobs:" not in page

    asked = {"input_policy": policy.pk, "queue": "gpu", "threads": 4, "processes": 2, "sharding": "fsdp"}
    asked |= {"precision": "bfloat16"}
    assert post(client, study, snapshot, "direct/dpo", **asked).status_code == 302
    run = Run.objects.get()
    assert run.queue == "gpu"
    told = {name: run.provenance[name] for name in ("threads", "processes", "sharding", "precision")}
    assert told == {"threads": 4, "processes": 2, "sharding": "fsdp", "precision": "bfloat16"}
    page = text_of(client.get(f"/runs/{run.pk}/"))
    assert "<dt>precision</dt><dd><code>bfloat16</code></dd>" in page
    again = text_of(client.get(f"/studies/{study.pk}/runs/new/?like={run.pk}"))
    assert '<option value="gpu" selected>' in again and '<option value="fsdp" selected>' in again
    assert '<option value="bfloat16" selected>' in again
    assert '<details class="more-settings" open><summary>Where it runs' in again

    post(client, study, snapshot, "direct/dpo", input_policy=policy.pk)
    assert not {"threads", "processes", "sharding", "precision"} & set(Run.objects.latest("pk").provenance)


def test_what_draws_the_answers_is_asked_where_answers_are_drawn_and_reaches_the_worker(
    client, study, settings
):
    snapshot = frozen(study)
    policy = model(study, "policy", "demo policy", settings, "hugging_face")
    scorer = model(study, "reward_model", "my scorer", settings)
    models = {"input_policy": policy.pk, "input_reward_model": scorer.pk}
    assert "Answers drawn by" in text_of(client.get(f"/studies/{study.pk}/runs/new/?method=online/rloo"))
    assert "Answers drawn by" not in text_of(client.get(f"/studies/{study.pk}/runs/new/?method=direct/dpo"))

    assert post(client, study, snapshot, "online/rloo", sampler="vllm", **models).status_code == 302
    run = Run.objects.get()
    assert run.provenance["sampler"] == "vllm"
    assert Supervision(run)._scale() == {"sampler": "vllm"}
    again = text_of(client.get(f"/studies/{study.pk}/runs/new/?like={run.pk}"))
    assert '<option value="vllm" selected>' in again
    assert '<details class="more-settings" open><summary>Where it runs' in again

    post(client, study, snapshot, "online/rloo", **models)
    assert "sampler" not in Run.objects.latest("pk").provenance


@pytest.mark.parametrize(
    ("method", "wrong", "field", "words"),
    [
        ("online/rloo", {"sampler": "vllm"}, "sampler", "this policy is a byte_transformer"),
        (
            "online/rloo",
            {"sampler": "vllm", "processes": 2, "sharding": "ddp"},
            "sampler",
            "draws in one process, and this run has 2",
        ),
        ("direct/dpo", {"threads": 0}, "threads", "Found 0 threads; expected 1 to 256."),
        ("direct/dpo", {"processes": 99, "sharding": "ddp"}, "processes", "expected 1 to 64"),
        ("direct/dpo", {"processes": 2}, "sharding", "Expected ddp or fsdp with two processes or more"),
        ("direct/dpo", {"sharding": "ddp"}, "sharding", "Found 1 process and the sharding 'ddp'."),
        ("query/random", {"processes": 2, "sharding": "ddp"}, "processes", "query/random trains nothing"),
        ("direct/dpo", {"precision": "float8"}, "precision", "Select a valid choice"),
        ("online/rloo", {"precision": "bfloat16"}, "precision", "Select a valid choice"),
        ("direct/dpo", {"queue": "moon"}, "queue", "Select a valid choice"),
        ("online/rloo", {"config_k": 1}, "config_k", "'k' is '1'. Expected a whole number of at least 2."),
        ("online/ppo", {"config_steps": 20}, "config_steps", "of 20 steps the policy has none"),
        ("online/ppo", {"config_held_out": 1}, "config_held_out", "of at least 0 and below 1."),
        ("query/disagreement", {}, "input_reward_model", "reward/ensemble made"),
        ("query/random", {"config_prompts": "rule"}, "config_prompts", "this run names no rule"),
        ("direct/dpo", {"seed": -1}, "seed", "greater than or equal to 0"),
        ("direct/dpo", {"seed": 10**30}, "seed", "9223372036854775807"),
    ],
)
def test_what_no_worker_could_do_is_refused_at_its_field(
    client, study, settings, method, wrong, field, words
):
    snapshot = frozen(study)
    policy = model(study, "policy", "demo policy", settings)
    scorer = model(study, "reward_model", "my scorer", settings)
    models = {"input_policy": policy.pk, "input_reward_model": scorer.pk}
    response = post(client, study, snapshot, method, **models, **wrong)
    assert response.status_code == 422
    [said] = response.context["form"].errors[field]
    assert words in said
    assert not Run.objects.exists()
