"""Who may do what, at every address of the site: `tests.webapp.endpoints` has the table, and each row is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from annotation import exchanges
from annotation.routing import websocket_urlpatterns as study_sockets
from tests.annotation import studies
from tests.webapp.endpoints import ANNOTATOR, API, OWNER, PAGES, PUBLIC, RANK, SIGNED_IN, SOCKETS, Ask
from tests.webapp.world import World, undone, world
from webapp.accounts.models import ApiToken
from webapp.api import api
from webapp.robots.routing import websocket_urlpatterns as robot_sockets
from webapp.runs.routing import websocket_urlpatterns as run_sockets

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")]

METHODS = ("get", "post", "put", "patch", "delete")
UNSAFE = METHODS[1:]
VARIES = {"name": "console", "format": "kibitz", "token": "{secret}"}
NOT_OURS = {"accounts_apitoken": ("last_used_at",), "accounts_user": ("last_login",)}


@pytest.fixture(autouse=True)
def nobody_called(monkeypatch) -> None:
    """No worker is called."""
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    monkeypatch.setattr("annotation.import_jobs.send", lambda job: None)


# --- the table, and the addresses there are


def addresses(patterns: list, before: str = "") -> Iterator[str]:
    """Every address of the site, its parts without their types: `studies/<pk>/`."""
    for one in patterns:
        here = before + re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", str(one.pattern))
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, here)
        elif isinstance(one, URLPattern):
            yield here


def operations() -> set[tuple[str, str]]:
    """Every operation of the API, described or not."""
    found = set()
    for router in api._get_bound_routers():
        for path, view in router.path_operations.items():
            address = re.sub(r"{\w+:", "{", path)
            found |= {(method.lower(), address) for one in view.operations for method in one.methods}
    return found


def differences(there: set, stated: set, where: str) -> str:
    missing = [f"{one}: is there, but not in {where}. Add it, with the least role." for one in there - stated]
    gone = [f"{one}: is in {where}, but not there any more. Take it out." for one in stated - there]
    return "\n".join(sorted(map(str, missing + gone)))


def test_every_address_is_in_the_table_and_every_row_is_an_address():
    there = set(addresses(get_resolver().url_patterns))
    pages = {one for one in there if not one.startswith("api/")}
    described = {one for one in PAGES if one.startswith("api/")}
    assert not (said := differences(pages, set(PAGES) - described, "PAGES of tests/webapp/endpoints.py")), (
        said
    )
    assert not (said := differences(operations(), set(API), "API of tests/webapp/endpoints.py")), said
    of_api = {"api/" + address.strip("/").replace("{", "<").replace("}", ">") for _, address in API}
    found = {one for one in there if one.startswith("api/")} - described
    assert not (said := differences(found, of_api, "API of tests/webapp/endpoints.py")), said


def test_every_socket_is_in_the_table():
    there = set(addresses([*run_sockets, *study_sockets, *robot_sockets]))
    assert not (said := differences(there, set(SOCKETS), "SOCKETS of tests/webapp/endpoints.py")), said


def test_an_address_that_nobody_put_into_the_table_fails_with_words_that_say_what_to_do():
    said = differences({"studies/<pk>/secret/", "runs/"}, {"runs/", "gone/"}, "PAGES")
    assert said.splitlines() == [
        "gone/: is in PAGES, but not there any more. Take it out.",
        "studies/<pk>/secret/: is there, but not in PAGES. Add it, with the least role.",
    ]


# --- the people, and what they see


@pytest.fixture
def ours() -> World:
    made = world()
    made.ids["newcomer"] = studies.person().username
    theirs = world(lambda place: f"Their {place}")
    stranger = studies.person()
    made.people |= {"owner of another study": theirs.people["owner"], SIGNED_IN: stranger}
    made.tokens |= {
        "owner of another study": theirs.tokens["owner"],
        SIGNED_IN: ApiToken.issue(stranger, "mine")[1],
    }
    return made


STANDS = {who: RANK.index(who) for who in RANK} | {"owner of another study": RANK.index(SIGNED_IN)}


def fingerprint() -> list:
    """All that is stored, but for when somebody was last seen."""
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)]
    parts = []
    for table in sorted(set(tables) - {"django_session", "django_content_type", "auth_permission"}):
        row = f"to_jsonb(t) - ARRAY[{', '.join(map(repr, NOT_OURS.get(table, ())))}]::text[]"
        parts.append(f"SELECT '{table}', count(*), coalesce(sum(hashtext(({row})::text)), 0) FROM {table} t")
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts) + " ORDER BY 1")
        return cursor.fetchall()


def path_of(ask: Ask, address: str, ids: dict[str, Any]) -> str:
    known = {**VARIES, **ask.ids(address, ids)}
    known |= {"token": ids["secret"], "user_pk": ids["user"], "invitation_pk": ids["invitation"]}
    return "/" + re.sub(r"[<{](\w+)[>}]", lambda found: str(known[found[1]]), address).lstrip("/")


class Everyone:
    """Each person's browser and program, to ask the same of."""

    def __init__(self, ours: World) -> None:
        self.ours = ours
        self.browsers = {who: ours.client(who) for who in ours.people}
        self.browsers[PUBLIC] = Client(raise_request_exception=False)

    def page(self, who: str, method: str, address: str, ask: Ask):
        ids = self.ours.ids
        path = path_of(ask, address, ids)
        sent = ask.asked(ids) if method == "get" else ask.form(ids)
        return self._undone(self.browsers[who], method, path, data=sent)

    def program(self, who: str, method: str, address: str, ask: Ask):
        ids = self.ours.ids
        path = "/api" + path_of(ask, address, ids)
        headers = self.ours.program(who) if who != PUBLIC else {}
        how: dict[str, Any] = {"headers": headers}
        if method == "get":
            how["data"] = ask.asked(ids)
        elif ask.files:
            how["data"] = ask.form(ids)
        else:
            how |= {"data": ask.sent(ids) or {}, "content_type": "application/json"}
        return self._undone(self.browsers[PUBLIC], method, path, **how)

    def _undone(self, client: Client, method: str, path: str, **how: Any):
        cookies = client.cookies.copy()
        with undone():
            response = getattr(client, method)(path, **how)
            response.stored = fingerprint() if response.status_code < 400 else None
        client.cookies = cookies
        return response


@pytest.fixture
def everyone(ours) -> Everyone:
    return Everyone(ours)


def test_of_every_operation_of_the_api_the_least_role_is_let_in_and_nobody_less(everyone):
    wrong, before = [], fingerprint()
    for (method, address), ask in API.items():
        for who, stands in STANDS.items():
            status = everyone.program(who, method, address, ask).status_code
            expected = 401 if who == PUBLIC else 404
            may = stands >= RANK.index(ask.least)
            if may and (status in (401, 403, 404) or status >= 500):
                wrong.append(f"{method} {address}: {who} gets {status}; {ask.least} and up may.")
            if not may and status != expected:
                wrong.append(
                    f"{method} {address}: {who} gets {status}; {expected} expected below {ask.least}."
                )
    assert not wrong, "\n".join(wrong)
    assert fingerprint() == before


def test_of_every_page_the_least_role_is_let_in_and_nobody_less(everyone):
    wrong, before = [], fingerprint()
    for address, by_method in PAGES.items():
        for method, ask in by_method.items():
            for who, stands in STANDS.items():
                response = everyone.page(who, method, address, ask)
                status = response.status_code
                leads = response.headers.get("Location", "")
                to_login = status == 302 and leads.startswith("/accounts/login/")
                may = stands >= RANK.index(ask.least)
                if may and (status in (401, 403, 404, 405) or status >= 500 or "?next=" in leads):
                    wrong.append(f"{method} {address}: {who} gets {status}; {ask.least} and up may.")
                if not may and not (to_login if who == PUBLIC else status == 404):
                    wrong.append(
                        f"{method} {address}: {who} gets {status} {leads}; only {ask.least} and up may."
                    )
                if not may and response.stored not in (None, before):
                    wrong.append(f"{method} {address}: {who} changed something.")
    assert not wrong, "\n".join(wrong)
    assert fingerprint() == before


def test_a_page_takes_only_what_the_table_says_and_reading_changes_nothing(everyone):
    """But for what is handed out to whoever opens the labelling room, and a spent link."""
    wrong, before = [], fingerprint()
    for address, by_method in PAGES.items():
        for method in METHODS:
            ask = by_method.get(method) or Ask(OWNER)
            if not by_method or (method in by_method and method != "get") or "label/" in address:
                continue
            response = everyone.page("owner", method, address, ask)
            if response.status_code >= 500 or response.stored not in (None, before):
                wrong.append(f"{method} {address}: {response.status_code}, and something changed.")
    assert not wrong, "\n".join(wrong)


def test_a_form_from_elsewhere_is_refused_at_every_page_and_operation(ours):
    """What a browser sends with its session counts only with the token of a page of ours."""
    wrong, before = [], fingerprint()
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(ours.people["owner"])
    for address, by_method in PAGES.items():
        for method, ask in by_method.items():
            if method in UNSAFE:
                sent = client.post(path_of(ask, address, ours.ids), ask.form(ours.ids))
                wrong += [] if sent.status_code == 403 else [(method, address, sent.status_code)]
    for (method, address), ask in API.items():
        if method in UNSAFE:
            path = "/api" + path_of(ask, address, ours.ids)
            sent = client.generic(method, path, "{}", "application/json")
            wrong += [] if sent.status_code == 403 else [(method, address, sent.status_code)]
            if sent.status_code == 403 and sent.json()["error"]["code"] != "forbidden":
                wrong.append((method, address, sent.content))
    assert not wrong
    assert fingerprint() == before


# --- sockets


@pytest.fixture
def watchers(site) -> World:
    made = world()
    made.people |= {"owner of another study": studies.study().created_by, SIGNED_IN: studies.person()}
    return made


def socket_of(site, ours: World, who: str, address: str, origin: str = ""):
    """An open socket, or None where the handshake is refused."""
    session = "" if who == PUBLIC else f"sessionid={ours.client(who).cookies['sessionid'].value}"
    path = path_of(Ask(who), address.removeprefix("ws/"), ours.ids).replace("/", "ws/", 1)
    try:
        return connect(
            f"{site.url.replace('http://', 'ws://')}/{path}",
            origin=origin or site.url,
            additional_headers={"Cookie": session},
            legacy=True,
        )
    except InvalidStatus as refusal:
        assert refusal.response.status_code == 403
        return None


def test_a_socket_opens_for_its_least_role_and_for_nobody_less(site, watchers):
    for address, least in SOCKETS.items():
        for who, stands in STANDS.items():
            socket = socket_of(site, watchers, who, address)
            assert (socket is not None) == (stands >= RANK.index(least)), (address, who)
            if socket:
                socket.close()


def test_over_the_socket_of_runs_a_run_is_told_of_to_who_may_watch_it_alone(site, watchers):
    for who, stands in STANDS.items():
        if who == PUBLIC:
            continue
        with socket_of(site, watchers, who, "ws/") as socket:
            socket.send(json.dumps({"op": "open", "run": watchers.ids["run"], "epoch": 0, "after": 0}))
            said = json.loads(socket.recv(timeout=10))
        assert (said["type"] != "error") == (stands > RANK.index(ANNOTATOR)), (who, said)


def test_a_socket_opened_by_a_page_of_another_site_is_refused(site, watchers):
    for address in SOCKETS:
        assert socket_of(site, watchers, "owner", address, origin="http://evil.example") is None
