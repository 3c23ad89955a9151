"""The pages about studies and the labelling room: who sees what, and what each says when something is wrong."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation import import_jobs, snapshots
from annotation.models import Assignment, ImportJob, Label, Role, Study
from annotation.services import add_items, archive_study, join_study
from tests.annotation import studies

JSON = {"Accept": "application/json"}


@pytest.fixture
def ada(db):
    return studies.person("ada")


@pytest.fixture
def study(ada):
    return studies.study(items=4, owner=ada, name="Front desk", guidelines="**Kind** first.")


def as_user(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def member(study: Study, role: str):
    user = studies.person(role)
    join_study(study=study, user=user, role=role)
    return user


def claimed(client: Client, study: Study, **query) -> dict:
    return client.get(f"/studies/{study.pk}/label/next/", {"count": 1, **query}).json()


# --- who sees what


def test_to_a_stranger_a_study_and_all_it_holds_do_not_exist(ada, study):
    studies.label_next(study, ada)
    turn = studies.claim(study, ada)
    frozen = snapshots.freeze(study=study, by=ada)
    job = ImportJob.objects.create(study=study, format="csv", filename="x.csv", created_by=ada)
    stranger = as_user(studies.person())
    for url in [
        f"/studies/{study.pk}/",
        f"/studies/{study.pk}/settings/",
        f"/studies/{study.pk}/people/",
        f"/studies/{study.pk}/imports/",
        f"/studies/{study.pk}/label/",
        f"/studies/{study.pk}/label/next/",
        f"/studies/{study.pk}/loop/",
        f"/studies/{study.pk}/runs/",
        f"/imports/{job.pk}/",
        f"/snapshots/{frozen.pk}/",
        f"/snapshots/{frozen.pk}/kibitz.jsonl",
    ]:
        assert stranger.get(url).status_code == 404, url
    for url in [
        f"/tasks/{turn.task.pk}/submit/",
        f"/tasks/{turn.task.pk}/skip/",
        f"/studies/{study.pk}/label/undo/",
        f"/studies/{study.pk}/label/heartbeat/",
        f"/studies/{study.pk}/freeze/",
        f"/studies/{study.pk}/archive/",
        f"/studies/{study.pk}/settings/",
    ]:
        answer = stranger.post(url, {"choice": "a", "key": str(uuid4()), "name": "mine"})
        assert answer.status_code == 404, url
    assert "Front desk" not in stranger.get("/").text
    assert Label.objects.count() == 1


@pytest.mark.parametrize(
    ("role", "page", "status"),
    [
        (Role.ANNOTATOR, "", 200),
        (Role.ANNOTATOR, "label/", 200),
        (Role.ANNOTATOR, "settings/", 404),
        (Role.ANNOTATOR, "imports/", 404),
        (Role.ANNOTATOR, "people/", 404),
        (Role.REVIEWER, "settings/", 404),
        (Role.RESEARCHER, "settings/", 200),
        (Role.RESEARCHER, "imports/", 200),
        (Role.RESEARCHER, "people/", 200),
    ],
)
def test_each_role_opens_its_own_pages(study, role, page, status):
    client = as_user(member(study, role))
    assert client.get(f"/studies/{study.pk}/{page}").status_code == status


def test_an_annotator_sees_how_far_the_study_is_and_nothing_of_others(ada, study):
    studies.label_next(study, ada)
    page = as_user(member(study, Role.ANNOTATOR)).get(f"/studies/{study.pk}/").text
    assert '<span data-live="given">1</span><small> of <span data-live="wanted">4</span>' in page
    assert "Snapshots" not in page
    assert "ada" not in page


def test_the_models_behind_the_answers_are_named_only_where_the_study_says_so(ada, study):
    client = as_user(ada)
    assert "model-1" not in claimed(client, study)["tasks"][0]["html"]
    Study.objects.filter(pk=study.pk).update(names_hidden=False)
    assert "model-1" in claimed(client, study)["tasks"][0]["html"]


# --- making and changing a study


def test_a_study_is_made_with_the_ways_of_asking_and_their_options(ada):
    form = {
        "name": "Tone",
        "guidelines": "Be *fair*.",
        "overlap": 3,
        "ask_pairwise": "on",
        "pairwise.reason": "on",
        "pairwise.pairs": "neighbours",
        "names_hidden": "on",
    }
    answer = as_user(ada).post("/studies/new/", form)
    made = Study.objects.get(name="Tone")
    assert answer.url == f"/studies/{made.pk}/"
    assert made.interfaces == [
        {
            "kind": "pairwise",
            "options": {
                "strength": False,
                "reason": True,
                "pairs": "neighbours",
                "criteria": [],
                "criteria_required": False,
            },
        }
    ]
    assert (made.overlap, made.memberships.get().role) == (3, Role.OWNER)


def test_a_study_that_rates_says_by_which_criteria(ada):
    criteria = "tone: How does it <sound>?\r\n1 Rude\r\n2 Plain\r\n3 Kind\r\n\r\nright: Is it right?\r\n1 No\r\n2 Yes"
    form = {
        "name": "Tone",
        "overlap": 1,
        "pairwise.pairs": "all",
        "ask_rating": "on",
        "rating.criteria": criteria,
    }
    client = as_user(ada)
    client.post("/studies/new/", form)
    made = Study.objects.get(name="Tone")
    assert [one["name"] for one in made.options("rating")["criteria"]] == ["tone", "right"]
    page = client.get(f"/studies/{made.pk}/settings/").text
    assert "tone: How does it &lt;sound&gt;?\n1 Rude\n2 Plain\n3 Kind\n\nright: Is it right?" in page

    refused = client.post("/studies/new/", {**form, "name": "Other", "rating.criteria": "tone"}).text
    assert "expected a criterion: “name: question”" in refused
    assert not Study.objects.filter(name="Other").exists()


def test_a_study_that_asks_nothing_is_not_made(ada):
    answer = as_user(ada).post("/studies/new/", {"name": "Silent", "overlap": 1, "pairwise.pairs": "all"})
    assert "Choose at least one way of asking" in answer.text
    assert not Study.objects.exists()


def test_a_guideline_is_previewed_as_annotators_see_it_and_made_safe(ada):
    text = "**Kind** <script>alert(1)</script> [x](javascript:alert(1))"
    html = as_user(ada).post("/guidelines/preview/", {"guidelines": text}).text
    assert "<strong>Kind</strong>" in html
    assert "<script" not in html
    assert 'href="javascript' not in html


def test_an_archived_study_says_so_to_whoever_wants_to_label(ada, study):
    as_user(ada).post(f"/studies/{study.pk}/archive/", {"archive": ""})
    assert "This study is archived" in as_user(ada).get(f"/studies/{study.pk}/label/").text
    as_user(ada).post(f"/studies/{study.pk}/archive/", {"open": ""})
    assert 'form class="task' in as_user(ada).get(f"/studies/{study.pk}/label/").text


# --- the labelling room


def test_an_answer_by_form_leads_to_the_next_task_of_the_same_kind(ada):
    study = studies.study("pairwise", "edit", items=2, owner=ada)
    client = as_user(ada)
    client.get(f"/studies/{study.pk}/label/?kind=pairwise")
    task = Assignment.objects.get().task_id
    answer = client.post(
        f"/tasks/{task}/submit/", {"choice": "b2", "key": str(uuid4()), "kind": "pairwise", "seconds": "4.2"}
    )
    assert answer.url == f"/studies/{study.pk}/label/?kind=pairwise"
    label = Label.objects.get()
    assert (label.answer["strength"], label.seconds) == (2, 4.2)


def test_the_same_key_again_is_the_same_label(ada, study):
    client = as_user(ada)
    task = claimed(client, study)["tasks"][0]["id"]
    form = {"choice": "a3", "key": str(uuid4()), "seconds": "nonsense"}
    first, again = (client.post(f"/tasks/{task}/submit/", form, headers=JSON) for _ in range(2))
    assert first.json() == again.json() == {"label": Label.objects.get().pk}


def test_an_answer_that_cannot_be_read_names_the_field_and_keeps_the_work(ada):
    study = studies.study("edit", items=1, owner=ada)
    client = as_user(ada)
    task = claimed(client, study)["tasks"][0]["id"]
    url, form = f"/tasks/{task}/submit/", {"text": "   ", "key": str(uuid4())}
    refused = client.post(url, form, headers=JSON)
    assert refused.status_code == 422
    assert refused.json()["error"] == {
        "code": "invalid",
        "field": "text",
        "message": "The text is empty. Write the better answer, or skip.",
        "details": {},
    }
    page = client.post(url, {**form, "text": "   ", "key": "no uuid"})
    assert page.status_code == 422
    assert "expected a UUID" in page.text


def test_a_lost_race_is_a_409_that_names_the_winner(study):
    grace, bob = member(study, Role.ANNOTATOR), studies.person("bob")
    join_study(study=study, user=bob, role=Role.ANNOTATOR)
    late = studies.claim(study, grace)
    studies.let_lapse(late)
    study.tasks.exclude(pk=late.task.pk).update(open=0)
    assert studies.label_next(study, bob).task_id == late.task.pk
    url, form = f"/tasks/{late.task.pk}/submit/", {"choice": "a", "key": str(uuid4())}
    lost = as_user(grace).post(url, form, headers=JSON)
    assert lost.status_code == 409
    assert lost.json()["error"]["details"] == {"holder": "bob"}
    assert "bob" in as_user(grace).post(url, form, follow=True).text


def test_answers_kept_for_another_person_are_refused(ada, study):
    client = as_user(ada)
    task = claimed(client, study)["tasks"][0]["id"]
    form = {"choice": "a", "key": str(uuid4()), "annotator": ada.pk + 1}
    for action in ("submit", "skip"):
        assert client.post(f"/tasks/{task}/{action}/", form, headers=JSON).status_code == 403
    assert not Label.objects.exists()


def test_tasks_in_hand_are_not_handed_out_again(ada, study):
    client = as_user(ada)
    first = claimed(client, study)["tasks"][0]
    others = claimed(client, study, count=3, have=first["id"])["tasks"]
    assert len({first["id"], *(task["id"] for task in others)}) == 4
    nothing = claimed(client, study, have=",".join(str(task["id"]) for task in [first, *others]))
    assert nothing["tasks"] == []
    assert nothing["why_empty"] == "You hold every task that is left for you."


def test_handing_out_the_next_tasks_takes_five_statements_with_the_session(
    ada, study, django_assert_max_num_queries
):
    client = as_user(ada)
    with django_assert_max_num_queries(5):
        task = claimed(client, study, count=3)["tasks"][0]["id"]
    with django_assert_max_num_queries(5):
        client.post(f"/tasks/{task}/submit/", {"choice": "a", "key": str(uuid4())}, headers=JSON)


def test_a_heartbeat_renews_what_is_held_and_names_what_was_lost(ada, study):
    client = as_user(ada)
    held = claimed(client, study)["tasks"][0]["id"]
    answer = client.post(f"/studies/{study.pk}/label/heartbeat/", {"tasks": f"{held},999999,x"}).json()
    assert list(answer["kept"]) == [str(held)]
    assert answer["lost"] == [999999]


def test_undo_gives_the_task_back_with_what_was_chosen(ada, study):
    client = as_user(ada)
    task = claimed(client, study)["tasks"][0]["id"]
    client.post(f"/tasks/{task}/submit/", {"choice": "b3", "key": str(uuid4())}, headers=JSON)
    undone = client.post(f"/studies/{study.pk}/label/undo/", headers=JSON).json()
    assert undone["task"]["id"] == task
    pressed = undone["task"]["html"].split('aria-pressed="true"')
    assert len(pressed) == 2
    assert 'value="b3"' in pressed[0].rsplit("<button", 1)[1]
    assert undone["progress"]["today"] == 0
    assert client.post(f"/studies/{study.pk}/label/undo/", headers=JSON).json()["task"] is None


def test_where_there_is_nothing_to_label_the_page_says_why_and_what_else_there_is(ada, study):
    empty = studies.study(items=0, owner=ada, name="Empty")
    page = as_user(ada).get(f"/studies/{empty.pk}/label/").text
    assert "This study has no items yet." in page
    assert f'href="/studies/{study.pk}/label/"' in page


def test_what_people_and_models_wrote_comes_out_harmless(ada):
    study = studies.study(items=0, owner=ada, name="<b>bold</b>")
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    passages = [{"title": evil, "sentences": [evil]}]
    item = {"context": {"prompt": evil}, "candidates": [evil, "b"], "source": {"passages": passages}}
    add_items(study=study, items=[item])
    page = as_user(ada).get(f"/studies/{study.pk}/label/").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>bold</b>" not in page


# --- what goes in and what comes out


def test_a_file_is_imported_whole_and_the_page_says_how_far_it_is(
    ada, study, django_capture_on_commit_callbacks
):
    client = as_user(ada)
    file = SimpleUploadedFile("more.csv", b"prompt,answer_1,answer_2\nWho?,I,You\nWhat?,This,That\n")
    with django_capture_on_commit_callbacks():
        answer = client.post(f"/studies/{study.pk}/imports/", {"file": file, "format": "csv"})
    job = ImportJob.objects.get()
    assert answer.url == f"/imports/{job.pk}/"
    waiting = client.get(answer.url, headers={"HX-Request": "true"}).text
    assert "Waiting for a worker" in waiting
    assert 'hx-trigger="every 1s"' in waiting
    ImportJob.objects.filter(pk=job.pk).update(status="finished", total=2, done=2, counts={"items": 2})
    done = client.get(answer.url, headers={"HX-Request": "true"}).text
    assert "All of it is in" in done
    assert "hx-trigger" not in done


def test_a_bad_row_is_named_with_line_field_and_cure(ada, study):
    error = {"line": 7, "field": "chosen", "message": "is missing.", "cure": "Give the better answer."}
    job = ImportJob.objects.create(
        study=study, format="trl", filename="bad.jsonl", created_by=ada, status="failed", errors=[error]
    )
    page = as_user(ada).get(f"/imports/{job.pk}/").text
    for word in ("Nothing was imported", ">7<", "chosen", "is missing.", "Give the better answer."):
        assert word in page


def test_a_file_that_is_too_large_is_refused_in_words(ada, study, settings):
    settings.KIBITZ_UPLOAD_BYTES = 10
    file = SimpleUploadedFile("big.csv", b"x" * 11)
    answer = as_user(ada).post(f"/studies/{study.pk}/imports/", {"file": file, "format": "csv"})
    assert answer.status_code == 422
    assert "larger than" in answer.text
    assert not list(settings.UPLOADS.iterdir())


def test_labels_are_frozen_shown_with_what_can_learn_from_them_and_downloaded(ada, study):
    studies.label_next(study, ada, {"choice": "a"})
    studies.label_next(study, ada, {"choice": "tie"})
    client = as_user(ada)
    answer = client.post(f"/studies/{study.pk}/freeze/", {"name": "first"}, follow=True)
    frozen = study.snapshots.get()
    assert answer.redirect_chain[-1][0] == f"/snapshots/{frozen.pk}/"
    assert (
        f"/studies/{study.pk}/runs/new/?snapshot={frozen.pk}&amp;method=reward%2Fbradley_terry" in answer.text
    )
    kibitz = client.get(f"/snapshots/{frozen.pk}/kibitz.jsonl")
    assert kibitz["Content-Disposition"] == f'attachment; filename="{frozen.digest[:12]}.kibitz.jsonl"'
    assert b"".join(kibitz) == (frozen.folder / "records.jsonl").read_bytes()
    rows = [
        json.loads(line) for line in b"".join(client.get(f"/snapshots/{frozen.pk}/trl.jsonl")).splitlines()
    ]
    assert [sorted(row) for row in rows] == [["chosen", "prompt", "rejected"]]  # TRL has no word for a tie
    assert client.get(f"/snapshots/{frozen.pk}/parquet.jsonl").status_code == 404


def test_a_study_without_labels_cannot_be_frozen_and_says_why(ada, study):
    answer = as_user(ada).post(f"/studies/{study.pk}/freeze/", follow=True)
    assert "There is nothing to freeze" in answer.text
    assert not study.snapshots.exists()


def test_the_study_page_tells_progress_pace_and_agreement(ada):
    study = studies.study(items=3, overlap=2, owner=ada, members=1)
    (bob,) = studies.annotators(study)
    for _ in range(2):
        chosen = studies.label_next(study, ada, {"choice": "tie"}).task_id
        assert studies.label_next(study, bob, {"choice": "tie"}).task_id == chosen
    page = as_user(ada).get(f"/studies/{study.pk}/")
    assert '<span data-live="given">4</span><small> of <span data-live="wanted">6</span>' in page.text
    assert (page.context["pace"]["last_week"], page.context["pace"]["days_left"]) == (4, 4)
    assert [one["total"] for one in page.context["annotators"]] == [2, 2]
    assert page.context["annotators"][0]["median"] == 1.5
    assert "100 %" in page.text
    archive_study(study=study)
    assert "archived" in as_user(ada).get("/").text


def test_the_study_page_costs_the_same_whatever_the_number_of_its_rows(ada, django_assert_max_num_queries):
    study = studies.study(items=3, owner=ada)
    client = as_user(ada)
    with django_assert_max_num_queries(20) as few:
        client.get(f"/studies/{study.pk}/")
    for n in range(4):
        studies.label_next(studies.study(items=1, owner=ada, name=f"other {n}"), ada)
    add_items(
        study=study, items=[{"context": {"prompt": f"{n}"}, "candidates": ["a", "b"]} for n in range(30)]
    )
    for _ in range(12):
        studies.label_next(study, ada)
    with django_assert_max_num_queries(len(few)):
        client.get(f"/studies/{study.pk}/")


def test_imports_reads_what_the_page_promises(ada, study, tmp_path):
    """The lines shown on the import page are lines that can be imported."""
    lines = [
        '{"kind": "item", "prompt": "Is breakfast included?", "candidates": ["Yes, until ten.", "No."]}',
        '{"kind": "item", "prompt": [{"role": "user", "content": "Hi"}], "candidates": ["Hello!", "What?"]}',
    ]
    page = as_user(ada).get(f"/studies/{study.pk}/imports/").text
    for line in lines:
        assert line.replace('"', "&quot;") in page or line in page
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(lines))
    job = ImportJob.objects.create(study=study, format="kibitz", filename=path.name, created_by=ada)
    assert import_jobs.import_file(job, path).errors == []
