"""A person's own keys, as their account keeps them; and static files, which travel compressed."""

import gzip

import pytest

from tests.annotation import studies

JSON = {"accept": "application/json"}


@pytest.fixture
def ada(db, client):
    ada = studies.person("ada")
    client.force_login(ada)
    return ada


def test_the_room_changes_one_key_at_a_time_and_resets_all(client, ada):
    assert client.post("/accounts/keys/", {"skip": "y"}, headers=JSON).json() == {"keys": {"skip": "y"}}
    reply = client.post("/accounts/keys/", {"undo": "s"}, headers=JSON)
    assert reply.json() == {"keys": {"skip": "y", "undo": "s"}}
    ada.refresh_from_db()
    assert ada.keys == {"skip": "y", "undo": "s"}
    assert client.post("/accounts/keys/", {"reset": "1"}, headers=JSON).json() == {"keys": {}}


@pytest.mark.parametrize(
    ("fields", "field"), [({"skip": "z"}, "skip"), ({"fly": "y"}, "fly"), ({"undo": "4"}, "undo")]
)
def test_a_key_that_cannot_be_is_refused_by_name_and_nothing_is_changed(client, ada, fields, field):
    reply = client.post("/accounts/keys/", fields, headers=JSON)
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, field)
    ada.refresh_from_db()
    assert ada.keys == {}


def test_the_keys_of_an_account_are_nobody_elses_to_change(client, db):
    assert client.post("/accounts/keys/", {"skip": "y"}).url == "/accounts/login/?next=/accounts/keys/"


def test_the_labelling_page_brings_the_persons_own_keys(client, ada):
    ada.keys = {"skip": "y"}
    ada.save()
    study = studies.study(owner=ada)
    page = client.get(f"/studies/{study.pk}/label/").text
    assert 'data-keys="{&quot;skip&quot;: &quot;y&quot;}"' in page
    assert "<td><kbd>Y</kbd></td><td data-does>skip" in page


def test_static_files_travel_compressed_to_whoever_takes_that_and_pages_do_not(client, ada):
    plain = client.get("/static/js/outbox.js")
    small = client.get("/static/js/outbox.js", headers={"accept-encoding": "br, gzip"})
    assert small["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in plain["Vary"] and "Accept-Encoding" in small["Vary"]
    assert gzip.decompress(small.content) == b"".join(plain.streaming_content)
    assert int(small["Content-Length"]) == len(small.content)
    assert small["Content-Type"] == plain["Content-Type"]
    again = {"accept-encoding": "gzip", "if-modified-since": small["Last-Modified"]}
    assert client.get("/static/js/outbox.js", headers=again).status_code == 304
    assert "Content-Encoding" not in client.get("/", headers={"accept-encoding": "gzip"})
