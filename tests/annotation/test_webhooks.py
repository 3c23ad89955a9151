"""Letters to other programs: signed, sent again until they arrive, to public addresses alone."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from django.db import connection, connections, transaction
from standardwebhooks import Webhook as Verifier

from annotation import import_jobs, letters, snapshots, webhooks
from annotation.errors import Invalid
from annotation.models import Delivery, Role, Webhook
from annotation.services import join_study
from tests.annotation import studies

pytestmark = pytest.mark.django_db


class Receiver:
    """A real HTTP server that keeps what it is sent, and answers as the test says."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, dict, bytes]] = []
        self.answers: list[int] = []
        self.body, self.pause = b"ok", 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.letters.append((self.path, dict(self.headers), body))
                time.sleep(receiver.pause)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(receiver.body)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?from=kibitz"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(settings):
    settings.KIBITZ_WEBHOOKS_PRIVATE = True
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(autouse=True)
def called(monkeypatch):
    found = []
    broker = SimpleNamespace(send_task=lambda name, *rest, **_: found.append(name))
    monkeypatch.setattr(webhooks, "current_app", broker)
    return found


@pytest.fixture
def study():
    return studies.study(items=1)


def hook(study, receiver, *events: str) -> Webhook:
    return webhooks.add_webhook(
        study=study, url=receiver.url, events=events or ["snapshot.frozen"], by=study.created_by
    )


def wait_over() -> None:
    """The time until the next attempt passes."""
    Delivery.objects.exclude(next_at=None).update(next_at="2020-01-01T00:00:00Z")


def test_a_letter_is_signed_so_that_the_library_of_the_standard_verifies_it(study, receiver):
    webhook = hook(study, receiver)
    assert webhooks.tell(study, "snapshot.frozen", {"snapshot": 5, "name": "März"}) == 1
    assert webhooks.deliver() == 1
    ((path, headers, body),) = receiver.letters
    said = Verifier(webhook.secret).verify(body, headers)
    assert said["type"] == "snapshot.frozen"
    assert said["data"] == {"study": study.pk, "snapshot": 5, "name": "März"}
    assert path == "/hook?from=kibitz" and headers["Content-Type"].startswith("application/json")
    delivery = Delivery.objects.get()
    assert headers["Webhook-Id"] == str(delivery.letter)
    assert (delivery.status, delivery.attempts, delivery.next_at) == (200, 1, None)
    assert delivery.delivered_at and delivery.problem == ""
    assert webhooks.deliver() == 0


def test_a_letter_that_was_tampered_with_does_not_verify(study, receiver):
    webhook = hook(study, receiver)
    webhooks.tell(study, "snapshot.frozen", {"snapshot": 5})
    webhooks.deliver()
    ((_, headers, body),) = receiver.letters
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(webhook.secret).verify(body.replace(b"5", b"6"), headers)


def test_a_letter_is_sent_again_with_the_same_id_until_it_arrives(study, receiver):
    hook(study, receiver)
    receiver.answers = [500, 429]
    webhooks.tell(study, "snapshot.frozen", {})
    for attempts in (1, 2, 3):
        assert webhooks.deliver() == 1
        assert webhooks.deliver() == 0  # not before its time
        delivery = Delivery.objects.get()
        assert delivery.attempts == attempts
        assert bool(delivery.delivered_at) == (attempts == 3)
        wait_over()
    assert len({headers["Webhook-Id"] for _, headers, _ in receiver.letters}) == 1
    assert len({body for _, _, body in receiver.letters}) == 1
    assert webhooks.deliver() == 0


def test_a_letter_is_given_up_after_nine_attempts_over_a_day_and_more(study, receiver):
    hook(study, receiver)
    receiver.answers = [503] * 20
    webhooks.tell(study, "snapshot.frozen", {})
    waits = []
    while webhooks.deliver():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM next_at - statement_timestamp()) FROM annotation_delivery"
            )
            waits.append(cursor.fetchone()[0])
        wait_over()
    assert len(receiver.letters) == 9 and waits.pop() is None
    for wait, planned in zip(waits, webhooks.WAITS, strict=True):
        assert planned * 0.9 - 2 <= wait <= planned * 1.11
    delivery = Delivery.objects.get()
    assert (delivery.next_at, delivery.delivered_at, delivery.status) == (None, None, 503)


def test_a_redirect_is_not_followed(study, receiver):
    hook(study, receiver)
    receiver.answers = [302]
    webhooks.tell(study, "snapshot.frozen", {})
    webhooks.deliver()
    assert [path for path, _, _ in receiver.letters] == ["/hook?from=kibitz"]
    assert "a redirect" in Delivery.objects.get().problem


def test_an_answer_without_end_is_not_read(study, receiver):
    hook(study, receiver)
    receiver.body = b"x" * 20_000_000
    webhooks.tell(study, "snapshot.frozen", {})
    began = time.monotonic()
    webhooks.deliver()
    assert Delivery.objects.get().delivered_at and time.monotonic() - began < 5


def test_an_address_that_is_slow_or_away_is_no_failure_of_the_sender(study, receiver, monkeypatch):
    monkeypatch.setattr(letters, "SECONDS", 0.3)
    hook(study, receiver)
    receiver.pause = 1.0
    for _ in range(3):
        webhooks.tell(study, "snapshot.frozen", {})
    assert webhooks.deliver() == 1, "an address that is away is asked once, not for each letter"
    assert Delivery.objects.filter(attempts=0, next_at__isnull=False).count() == 2
    assert Delivery.objects.get(attempts=1).problem
    receiver.pause = 0.0
    monkeypatch.setattr(letters, "SECONDS", 10.0)
    wait_over()
    assert webhooks.deliver() == 3
    receiver.server.shutdown()
    receiver.server.server_close()
    webhooks.tell(study, "snapshot.frozen", {})
    webhooks.deliver()
    assert "refused" in Delivery.objects.first().problem


def test_an_answer_that_drips_is_cut_at_the_limit(settings, study, monkeypatch):
    settings.KIBITZ_WEBHOOKS_PRIVATE = True
    monkeypatch.setattr(letters, "SECONDS", 0.5)
    server = socket.create_server(("127.0.0.1", 0))

    def drip():
        peer, _ = server.accept()
        for letter in "HTTP/1.1 200 OK and so on for ever":
            try:
                peer.sendall(letter.encode())
            except OSError:
                return
            time.sleep(0.2)

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(letters.Undelivered):
        letters.post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {})
    assert time.monotonic() - began < 3
    server.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert letters.is_public(address) == public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "example.org",
        "https://",
        "https://user:secret@93.184.216.34/",
        "http://127.0.0.1/",
        "http://localhost:8700/",
        "http://[::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://169.254.169.254/latest/meta-data/",
        "https://93.184.216.34:99999/",
        "https://93.184.216.34/\r\nHost: other",
        "https://93.184.216.34/" + "x" * 500,
    ],
)
def test_an_address_that_is_not_of_the_open_web_is_refused(study, url):
    with pytest.raises(Invalid) as problem:
        webhooks.add_webhook(study=study, url=url, events=["snapshot.frozen"], by=study.created_by)
    assert problem.value.field == "url" and not Webhook.objects.exists()


def test_a_name_that_turns_private_later_gets_no_letter(study, receiver, settings, monkeypatch):
    """DNS rebinding: what was checked when the webhook was made is checked for each letter again."""
    hook(study, receiver)
    settings.KIBITZ_WEBHOOKS_PRIVATE = False
    webhooks.tell(study, "snapshot.frozen", {})
    webhooks.deliver()
    assert not receiver.letters and "private" in Delivery.objects.get().problem


def test_the_connection_goes_to_the_address_that_was_checked(study, receiver, settings, monkeypatch):
    port = receiver.server.server_address[1]
    asked = []

    def resolve_once(host, port, *_, **__):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(letters.socket, "getaddrinfo", resolve_once)
    connected = []
    create = letters.socket.create_connection
    monkeypatch.setattr(
        letters.socket, "create_connection", lambda to, *rest: connected.append(to) or create(to, *rest)
    )
    letters.post(f"http://hooks.example.org:{port}/x", b"{}", {})
    assert asked[0] == "hooks.example.org" and asked.count("hooks.example.org") == 1
    assert connected == [("127.0.0.1", port)]
    assert receiver.letters[0][1]["Host"] == f"hooks.example.org:{port}"


def test_only_who_listens_is_told_and_only_while_active(study, receiver, django_assert_num_queries):
    webhook = hook(study, receiver, "snapshot.frozen", "run.finished")
    with django_assert_num_queries(1):
        assert webhooks.tell(study.pk, "label.submitted", {}) == 0
    assert webhooks.tell(studies.study(items=0), "snapshot.frozen", {}) == 0
    assert webhooks.tell(study, "run.finished", {}) == 1
    webhooks.change_webhook(webhook=webhook, active=False)
    assert webhooks.tell(study, "run.finished", {}) == 0
    assert webhooks.deliver() == 0, "what a paused address is owed waits"
    webhooks.change_webhook(webhook=webhook, active=True)
    assert webhooks.deliver() == 1
    with pytest.raises(ValueError, match="No event"):
        webhooks.tell(study, "label.sumbitted", {})


def test_what_is_rolled_back_is_told_to_nobody(study, receiver, called, django_capture_on_commit_callbacks):
    hook(study, receiver)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        webhooks.tell(study, "snapshot.frozen", {})
        raise ZeroDivisionError
    assert not Delivery.objects.exists()
    with django_capture_on_commit_callbacks(execute=True):
        webhooks.tell(study, "snapshot.frozen", {})
        assert not called
    assert called == ["annotation.deliver"]


@pytest.mark.django_db(transaction=True)
def test_several_senders_at_once_send_each_letter_once(receiver):
    study = studies.study(items=1)
    hook(study, receiver)
    for _ in range(30):
        webhooks.tell(study, "snapshot.frozen", {})

    def send():
        webhooks.deliver()
        connections.close_all()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    ids = [headers["Webhook-Id"] for _, headers, _ in receiver.letters]
    assert len(ids) == len(set(ids)) == 30


def test_a_letter_whose_sender_died_is_sent_by_the_next(study, receiver):
    hook(study, receiver)
    webhooks.tell(study, "snapshot.frozen", {})
    assert webhooks._take() is not None
    assert webhooks.deliver() == 0
    wait_over()
    assert webhooks.deliver() == 1 and len(receiver.letters) == 1


@pytest.mark.django_db(transaction=True)
def test_the_sweep_of_a_worker_sends_what_the_broker_lost(receiver):
    study = studies.study(items=1)
    hook(study, receiver)
    webhooks.tell(study, "snapshot.frozen", {})
    sweep = webhooks.Sweep()
    sweep()
    sweep.thread.join(timeout=10)
    assert len(receiver.letters) == 1


def test_letters_that_are_long_over_are_forgotten(study, receiver):
    hook(study, receiver)
    webhooks.tell(study, "snapshot.frozen", {})
    webhooks.deliver()
    webhooks.tell(study, "snapshot.frozen", {})
    Delivery.objects.update(created_at="2020-01-01T00:00:00Z")
    assert webhooks.forget() == 1
    assert Delivery.objects.get().delivered_at is None


# --- what is told


def told(event: str) -> list[dict]:
    return [one.payload["data"] for one in Delivery.objects.filter(event=event).order_by("pk")]


def test_a_frozen_snapshot_and_a_finished_import_are_told_once(study, receiver):
    hook(study, receiver, "snapshot.frozen", "import.finished")
    studies.label_next(study, study.created_by)
    frozen = snapshots.freeze(study=study, by=study.created_by)
    snapshots.freeze(study=study, by=study.created_by)
    (said,) = told("snapshot.frozen")
    assert said["snapshot"] == frozen.pk and said["digest"] == frozen.digest
    rows = [{"kind": "item", "prompt": "A?", "candidates": ["a", "b"]}]
    for content in (json.dumps(rows[0]), "{broken"):
        job = import_jobs.keep(
            study=study, by=study.created_by, chunks=[content.encode()], filename="a", format="kibitz"
        )
        import_jobs.run(job.pk)
    (said,) = told("import.finished")
    assert said["counts"] == {"items": 1}


# --- the page and the API


def test_the_page_shows_a_secret_once_and_pauses_tests_and_removes(study, receiver, client):
    client.force_login(study.created_by)
    address = f"/studies/{study.pk}/webhooks/"
    answer = client.post(address, {"url": receiver.url, "events": ["run.finished"]})
    webhook = Webhook.objects.get()
    assert webhook.secret in answer.text and answer["Cache-Control"] == "no-store"
    assert webhook.secret not in client.get(address).text
    for wish, active in (("pause", False), ("go_on", True)):
        client.post(f"/webhooks/{webhook.pk}/", {"do": wish})
        webhook.refresh_from_db()
        assert webhook.active == active
    client.post(f"/webhooks/{webhook.pk}/", {"do": "test"})
    webhooks.deliver()
    assert json.loads(receiver.letters[0][2])["type"] == "webhook.test"
    assert "arrived" in client.get(address).text
    client.post(f"/webhooks/{webhook.pk}/", {"do": "remove"})
    assert not Webhook.objects.exists()
    assert client.post(address, {"url": "ftp://x", "events": ["run.finished"]}).status_code == 422


def test_the_api_keeps_webhooks_and_tells_how_letters_fare(study, receiver, client):
    client.force_login(study.created_by)
    asked = {"url": receiver.url, "events": ["run.finished"]}
    made = client.post(f"/api/studies/{study.pk}/webhooks", asked, content_type="application/json")
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    pk = made.json()["id"]
    (listed,) = client.get(f"/api/studies/{study.pk}/webhooks").json()
    assert "secret" not in listed
    changed = client.patch(
        f"/api/webhooks/{pk}", {"active": False, "events": ["task.settled"]}, content_type="application/json"
    )
    assert (changed.json()["active"], changed.json()["events"]) == (False, ["task.settled"])
    assert client.post(f"/api/webhooks/{pk}/test").status_code == 202
    (letter,) = client.get(f"/api/webhooks/{pk}/deliveries").json()
    assert (letter["event"], letter["attempts"]) == ("webhook.test", 0)
    wrong = client.post(
        f"/api/studies/{study.pk}/webhooks", {**asked, "events": ["x"]}, content_type="application/json"
    )
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "events")
    assert client.delete(f"/api/webhooks/{pk}").status_code == 204
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("role", [None, Role.ANNOTATOR, Role.REVIEWER])
def test_strangers_and_lesser_roles_find_no_webhook(study, receiver, client, role):
    webhook = hook(study, receiver)
    user = studies.person()
    if role:
        join_study(study=study, user=user, role=role)
    client.force_login(user)
    assert client.get(f"/studies/{study.pk}/webhooks/").status_code == 404
    assert client.post(f"/webhooks/{webhook.pk}/", {"do": "remove"}).status_code == 404
    assert client.get(f"/api/studies/{study.pk}/webhooks").status_code == 404
    assert client.get(f"/api/webhooks/{webhook.pk}/deliveries").status_code == 404
    assert client.delete(f"/api/webhooks/{webhook.pk}").status_code == 404
    assert Webhook.objects.exists()


@pytest.mark.parametrize("by_whom", ["a person", "a dead worker"])
def test_a_run_that_ends_is_told_with_how_it_ended(study, receiver, monkeypatch, by_whom):
    from tests.webapp.runs import held_run
    from webapp.runs import services as runs
    from webapp.runs.models import Status

    hook(study, receiver, "run.finished")
    run = held_run(study)
    if by_whom == "a person":
        run.status = Status.QUEUED
        run.save()
        runs.stop_run(run=run, by=study.created_by)
    else:
        run.status = Status.STOPPING
        run.save()
        runs._take_back(run)
    (said,) = told("run.finished")
    assert (said["run"], said["status"], said["method"]) == (run.pk, "stopped", "direct/dpo")
