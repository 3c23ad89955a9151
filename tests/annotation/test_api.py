"""The HTTP API: who may do what, in how few statements, and one shape of error."""

import json
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotation import services
from annotation.models import ImportJob, Label, Membership, Role
from annotation.snapshots import freeze
from tests.annotation import studies
from webapp.accounts.models import ApiToken


class Caller:
    """A program that talks to the API with its owner's token."""

    def __init__(self, client, user):
        self.client, self.user = client, user
        _, plain = ApiToken.issue(user, "a program")
        self.headers = {"Authorization": f"Bearer {plain}"}

    def get(self, path, **query):
        return self.client.get(f"/api{path}", query, headers=self.headers)

    def post(self, path, body=None):
        return self.client.post(
            f"/api{path}", body or {}, content_type="application/json", headers=self.headers
        )

    def patch(self, path, body):
        return self.client.patch(f"/api{path}", body, content_type="application/json", headers=self.headers)

    def upload(self, path, **form):
        return self.client.post(f"/api{path}", form, headers=self.headers)


# The test client reads the streamed download to its end, as it says; a server does not.
pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")]


@pytest.fixture
def call(client):
    return lambda user: Caller(client, user)


def refusal(response, status: int) -> dict:
    """The error of a response, after checking its shape."""
    assert response.status_code == status, response.content
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "details"}
    assert error["message"]
    return error


def test_next_and_submit_take_five_statements_with_signing_in(call, django_assert_num_queries):
    study = studies.study("pairwise", "edit", items=5, members=1)
    ada = call(studies.annotators(study)[0])
    ada.get("/studies")  # the token notes its first use of the hour
    with django_assert_num_queries(5):  # the bar is 6
        (task,) = ada.post(f"/studies/{study.pk}/next").json()["tasks"]
        body = {"answer": {"choice": "a"}, "key": str(uuid4()), "seconds": 2.5}
        stored = ada.post(f"/tasks/{task['id']}/submit", body)
    assert stored.status_code == 200
    assert Label.objects.get().pk == stored.json()["label"]


def test_labelling_over_the_api_from_next_to_undo(call):
    study = studies.study(items=3, members=1)
    ada = call(studies.annotators(study)[0])
    first, second = ada.post(f"/studies/{study.pk}/next", {"count": 2}).json()["tasks"]
    assert first["context"] == {"prompt": "Question 0?"}
    assert "policy" not in first["candidates"][0]
    key = str(uuid4())
    said = {"answer": {"choice": "b", "strength": 2, "reason": "Kinder."}, "key": key}
    label = ada.post(f"/tasks/{first['id']}/submit", said).json()
    assert label["answer"]["chosen"] == first["candidates"][1]["id"]
    assert ada.post(f"/tasks/{first['id']}/submit", said).json()["label"] == label["label"]
    assert ada.get(f"/studies/{study.pk}/progress").json() == {
        "today": 1,
        "total": 1,
        "open": 1,
        "gold": None,
    }
    beat = ada.post(f"/studies/{study.pk}/heartbeat", {"tasks": [first["id"], second["id"]]}).json()
    assert list(beat["kept"]) == [str(second["id"])] and beat["lost"] == [first["id"]]
    assert ada.post(f"/tasks/{second['id']}/skip", {"reason": "?"}).json() == {"skipped": second["id"]}
    assert ada.post(f"/studies/{study.pk}/undo").json()["task"]["id"] == second["id"]
    back = ada.post(f"/studies/{study.pk}/undo").json()["task"]
    assert back["id"] == first["id"]
    assert back["answer"] == {
        "choice": "b",
        "strength": 2,
        "reason": "Kinder.",
        "criteria": {},
    }
    rows = ada.get(f"/studies/{study.pk}/labels", history="true").json()
    assert [row["withdrawn"] for row in rows] == [False, True]
    assert ada.get(f"/studies/{study.pk}/labels").json() == []


def test_an_empty_queue_says_why(call):
    study = studies.study(items=0, members=1)
    reply = call(studies.annotators(study)[0]).post(f"/studies/{study.pk}/next").json()
    assert reply == {"tasks": [], "why_empty": "This study has no items yet."}


def test_policies_are_named_where_the_study_says_so(call):
    study = studies.study(items=1, members=1, names_hidden=False)
    (task,) = call(studies.annotators(study)[0]).post(f"/studies/{study.pk}/next").json()["tasks"]
    assert {one["policy"] for one in task["candidates"]} == {"model-0", "model-1"}


def test_without_a_token_nothing_is_told(client):
    error = refusal(client.get("/api/studies"), 401)
    assert error["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "/studies/{study}", None),
        ("get", "/studies/{study}/progress", None),
        ("get", "/studies/{study}/members", None),
        ("get", "/studies/{study}/items", None),
        ("get", "/studies/{study}/labels", None),
        ("get", "/studies/{study}/imports", None),
        ("get", "/studies/{study}/snapshots", None),
        ("get", "/snapshots/{snapshot}", None),
        ("get", "/snapshots/{snapshot}/download", None),
        ("get", "/imports/{job}", None),
        ("post", "/studies/{study}/next", {}),
        ("post", "/studies/{study}/undo", {}),
        ("post", "/studies/{study}/heartbeat", {"tasks": []}),
        ("post", "/studies/{study}/items", {"items": []}),
        ("post", "/studies/{study}/members", {"username": "eve", "role": "owner"}),
        ("post", "/studies/{study}/snapshots", {}),
        ("post", "/tasks/{task}/submit", {"answer": {"choice": "a"}, "key": str(uuid4())}),
        ("post", "/tasks/{task}/skip", {}),
        ("post", "/labels/{label}/withdraw", {}),
        ("patch", "/studies/{study}", {"name": "Mine now"}),
    ],
)
def test_to_a_stranger_nothing_of_a_study_is_there(call, method, path, body):
    study = studies.study(items=2, members=1)
    label = studies.label_next(study, studies.annotators(study)[0])
    snapshot = freeze(study=study, by=study.created_by)
    job = ImportJob.objects.create(study=study, format="trl", filename="a", created_by=study.created_by)
    eve = call(studies.person())
    address = path.format(
        study=study.pk, task=label.task_id, label=label.pk, snapshot=snapshot.pk, job=job.pk
    )
    response = eve.get(address) if body is None else getattr(eve, method)(address, body)
    error = refusal(response, 404)
    assert error["code"] == "not_found"
    assert study.name not in response.content.decode()


@pytest.mark.parametrize(
    ("path", "body", "least"),
    [
        ("/studies/{study}/items", None, Role.REVIEWER),
        ("/studies/{study}/snapshots", None, Role.REVIEWER),
        ("/studies/{study}/members", None, Role.RESEARCHER),
        ("/studies/{study}/imports", None, Role.RESEARCHER),
        ("/studies/{study}/snapshots", {"name": "one"}, Role.RESEARCHER),
        ("/studies/{study}/items", {"items": []}, Role.RESEARCHER),
        ("/studies/{study}/members", {"username": "new", "role": "annotator"}, Role.OWNER),
    ],
)
@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_what_it_is_for_and_no_more(call, path, body, least, role):
    study = studies.study(items=1, members=1)
    studies.label_next(study, studies.annotators(study)[0])
    studies.person("new")
    user = studies.person()
    services.join_study(study=study, user=user, role=role)
    caller = call(user)
    address = path.format(study=study.pk)
    response = caller.get(address) if body is None else caller.post(address, body)
    if role.rank >= least.rank:
        assert response.status_code in (200, 201), response.content
    else:
        assert role in refusal(response, 404)["message"]


def test_annotators_see_their_own_labels_and_withdraw_no_others(call):
    study = studies.study(items=2, members=2)
    ada, bob = studies.annotators(study)
    mine, other = studies.label_next(study, ada), studies.label_next(study, bob)
    assert [row["id"] for row in call(ada).get(f"/studies/{study.pk}/labels").json()] == [mine.pk]
    refusal(call(ada).post(f"/labels/{other.pk}/withdraw"), 404)
    assert call(ada).post(f"/labels/{mine.pk}/withdraw").json()["withdrawn"] is True
    owner = call(study.created_by)
    assert [row["id"] for row in owner.get(f"/studies/{study.pk}/labels").json()] == [other.pk]
    assert owner.post(f"/labels/{other.pk}/withdraw").json()["supersedes"] == other.pk


def test_errors_name_the_field_and_a_lost_race_names_the_winner(call):
    study = studies.study(items=1, members=2)
    ada, bob = studies.annotators(study)
    turn = studies.claim(study, ada)
    address = f"/tasks/{turn.task.pk}/submit"
    wrong = refusal(call(ada).post(address, {"answer": {"choice": "left"}, "key": str(uuid4())}), 422)
    assert (wrong["field"], wrong["code"]) == ("choice", "invalid")
    assert refusal(call(ada).post(address, {"answer": {}, "key": "1"}), 422)["field"] == "key"
    assert refusal(call(ada).post(address, {"key": str(uuid4())}), 422)["field"].endswith("answer")
    studies.let_lapse(turn)
    studies.label_next(study, bob)
    late = refusal(call(ada).post(address, {"answer": {"choice": "a"}, "key": str(uuid4())}), 409)
    assert (late["code"], late["details"]) == ("conflict", {"holder": bob.username})


def test_a_study_is_created_changed_and_peopled_over_the_api(call):
    owner = call(studies.person())
    made = owner.post(
        "/studies",
        {
            "name": "Tone",
            "interfaces": ["pairwise", {"kind": "edit", "options": {"every": True}}],
            "overlap": 2,
        },
    )
    assert made.status_code == 201
    study = made.json()
    assert study["role"] == "owner"
    assert study["interfaces"][0]["options"] == {
        "strength": True,
        "reason": True,
        "pairs": "all",
        "criteria": [],
        "criteria_required": False,
    }
    error = refusal(owner.post("/studies", {"name": "X", "interfaces": ["verdict"]}), 422)
    assert "pairwise, edit" in error["message"]
    error = refusal(
        owner.post("/studies", {"name": "X", "interfaces": [{"kind": "edit", "options": {"evry": True}}]}),
        422,
    )
    assert error["field"] == "options.evry"
    changed = owner.patch(f"/studies/{study['id']}", {"guidelines": "Be **kind**.", "archived": True}).json()
    assert changed["guidelines"] == "Be **kind**." and changed["archived_at"]
    ada = studies.person()
    owner.post(f"/studies/{study['id']}/members", {"username": ada.username.upper(), "role": "annotator"})
    assert Membership.objects.get(user=ada).role == Role.ANNOTATOR
    refusal(owner.post(f"/studies/{study['id']}/members", {"username": ada.username, "role": "owner"}), 409)
    assert [row["role"] for row in owner.get(f"/studies/{study['id']}/members").json()] == [
        "owner",
        "annotator",
    ]


def test_items_added_twice_by_their_external_id_are_there_once(call):
    study = studies.study(items=0)
    owner = call(study.created_by)
    chat = [{"role": "user", "content": "Hello"}]
    item = {
        "context": {"messages": chat},
        "candidates": ["Hi.", {"text": "Yo.", "policy": "m"}],
        "external_id": "1",
    }
    assert len(owner.post(f"/studies/{study.pk}/items", {"items": [item]}).json()["added"]) == 1
    assert owner.post(f"/studies/{study.pk}/items", {"items": [item]}).json()["added"] == []
    (row,) = owner.get(f"/studies/{study.pk}/items").json()
    assert row["context"] == {"messages": chat}
    assert [one["policy"] for one in row["candidates"]] == ["", "m"]
    error = refusal(
        owner.post(f"/studies/{study.pk}/items", {"items": [item, {**item, "candidates": ["1"]}]}), 422
    )
    assert error["field"] == "items[1].candidates"


def test_an_upload_is_imported_by_a_worker_and_its_errors_come_back(call, settings, monkeypatch):
    sent = []
    monkeypatch.setattr(
        "annotation.import_jobs.current_app.send_task", lambda name, args, **_: sent.append((name, args))
    )
    study = studies.study(items=0)
    owner = call(study.created_by)
    good = json.dumps({"prompt": "Hi", "chosen": "Hello.", "rejected": "What."})
    bad = json.dumps({"prompt": "Hi", "chosen": "Hello."})
    reply = owner.upload(
        f"/studies/{study.pk}/imports",
        file=SimpleUploadedFile("a.jsonl", f"{good}\n{bad}\n".encode()),
        format="trl",
    )
    assert reply.status_code == 202, reply.content
    assert reply.json()["status"] == "waiting"
    refusal(
        owner.upload(f"/studies/{study.pk}/imports", file=SimpleUploadedFile("a", b"{}"), format="xml"), 422
    )
    settings.KIBITZ_UPLOAD_BYTES = 10
    error = refusal(
        owner.upload(
            f"/studies/{study.pk}/imports", file=SimpleUploadedFile("a", good.encode()), format="trl"
        ),
        422,
    )
    assert error["field"] == "file"
    assert len(list(settings.UPLOADS.iterdir())) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/studies/{study}/next", {"besides": [10**30, -1]}, 200),
        ("/studies/{study}/next", {"kind": "\x00"}, 422),
        ("/studies/{study}/next", {"count": -5}, 200),
        ("/studies/{study}/heartbeat", {"tasks": [10**30]}, 200),
        ("/studies/99999999999999999999999/next", {}, 404),
        ("/tasks/99999999999999999999999/submit", {"answer": {}, "key": str(uuid4())}, 404),
        ("/tasks/{task}/submit", {"answer": {"choice": {"a": 1}}, "key": str(uuid4())}, 422),
        ("/tasks/{task}/submit", {"answer": {"choice": "a", "reason": "\ud800"}, "key": str(uuid4())}, 422),
        ("/tasks/{task}/skip", {"reason": "\ud800\x00"}, 422),
        (
            "/studies/{study}/items",
            {"items": [{"context": {"prompt": "\x00"}, "candidates": ["a", "b"]}]},
            422,
        ),
        ("/studies/{study}/items", {"items": [{"context": {"prompt": "?"}, "candidates": [1, {}]}]}, 422),
        (
            "/studies/{study}/items",
            {"items": [{"context": {"messages": ["?"]}, "candidates": ["a", "b"]}]},
            422,
        ),
        (
            "/studies/{study}/items",
            {"items": [{"context": {"prompt": "?"}, "candidates": ["a", "b"], "source": {"x": "\x00"}}]},
            422,
        ),
        ("/studies/{study}/members", {"username": "\x00", "role": "owner"}, 422),
        ("/studies/{study}/members", {"username": "eve", "role": "king"}, 422),
        ("/studies", {"name": "x" * 300}, 422),
        ("/studies", {"name": " "}, 422),
        ("/studies", {"name": "x", "overlap": 0}, 422),
    ],
)
def test_whatever_is_sent_the_answer_is_one_a_client_can_use(call, path, body, status):
    study = studies.study(items=1)
    owner = study.created_by
    studies.person("eve")
    turn = studies.claim(study, owner)
    response = call(owner).post(path.format(study=study.pk, task=turn.task.pk), body)
    assert response.status_code == status, response.content
    if status != 200:
        refusal(response, status)


@pytest.mark.django_db(transaction=True)
def test_the_server_streams_a_download(site):
    study = studies.study(items=3, members=1)
    (ada,) = studies.annotators(study)
    for _ in range(3):
        studies.label_next(study, ada)
    frozen = freeze(study=study, by=study.created_by)
    _, token = ApiToken.issue(study.created_by, "a program")
    request = Request(
        f"{site.url}/api/snapshots/{frozen.pk}/download", headers={"Authorization": f"Bearer {token}"}
    )
    with urlopen(request, timeout=20) as response:
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert response.headers["Content-Length"] is None
        assert response.read() == (frozen.folder / "records.jsonl").read_bytes()


def test_a_snapshot_is_frozen_listed_and_downloaded_in_both_formats(call):
    study = studies.study(items=2, members=1)
    (ada,) = studies.annotators(study)
    owner = call(study.created_by)
    assert refusal(owner.post(f"/studies/{study.pk}/snapshots"), 422)["field"] == "study"
    studies.label_next(study, ada)
    studies.label_next(study, ada, {"choice": "tie"})
    frozen = owner.post(f"/studies/{study.pk}/snapshots", {"name": "first"}).json()
    assert frozen["counts"] == {"pair": 2}
    assert "reward/bradley_terry" in frozen["methods"]
    assert owner.get(f"/studies/{study.pk}/snapshots").json() == [frozen]
    kibitz = owner.get(f"/snapshots/{frozen['id']}/download")
    rows = [json.loads(line) for line in b"".join(kibitz).splitlines()]
    assert [row["outcome"] for row in rows] == ["chosen", "tie"]
    trl = owner.get(f"/snapshots/{frozen['id']}/download", format="trl")
    (row,) = [json.loads(line) for line in b"".join(trl).splitlines()]
    assert set(row) == {"prompt", "chosen", "rejected"}
    refusal(owner.get(f"/snapshots/{frozen['id']}/download", format="xml"), 422)
