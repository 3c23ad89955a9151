"""The API answers as it describes itself, whatever it is sent: by its own description, and by hand-picked poison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from annotation import exchanges
from tests.annotation import studies
from tests.webapp.endpoints import ANNOTATOR, API, Ask
from tests.webapp.world import World, undone, world

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")]

POISON: dict[str, Any] = {
    "a NUL": "\x00",
    "half a character": "\ud800",
    "an enormous number": 10**30,
    "a number beyond every range": 1e300,
    "less than nothing": -1,
    "more than 64 bits below nothing": -(2**63) - 1,
    "nothing": None,
    "an empty text": "",
    "a long text": "x" * 100_000,
    "a text that is no name": "no such thing",
    "a list": [[], {}, None],
    "an object": {"\x00": {"a": [1]}},
    "true": True,
}
RAW = {
    "not a number": "NaN",
    "minus infinity": "-Infinity",
    "a number too large for a float": "1e999",
    "a list in lists in lists": "[" * 300 + "]" * 300,
    "a list deeper than the parser": "[" * 200_000,
    "half a body": '{"',
}


@pytest.fixture
def schema(monkeypatch):
    """The API's description of itself, fetched from the application that is then asked."""
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    signals = (request_started, request_finished)
    for signal in signals:  # as Django's own test client does: the test's transaction outlives the requests
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def ours(monkeypatch) -> World:
    monkeypatch.setattr("annotation.import_jobs.send", lambda job: None)
    made = world()
    made.ids["newcomer"] = studies.person().username
    return made


def operations(schema) -> Iterator[tuple[Ask, Any]]:
    """Every operation that the API describes, with its line of the table."""
    for result in schema.get_all_operations():
        operation = result.ok()
        address = operation.path.removeprefix("/api")
        yield API[operation.method.lower(), address], operation


def case_of(ask: Ask, operation, ids: dict[str, Any]) -> Case:
    """The request that the table names."""
    address = operation.path.removeprefix("/api")
    named = {one.name for one in operation.path_parameters}
    known = ask.ids(address, ids)
    case = operation.Case(
        path_parameters={name: known[name] for name in named},
        query=ask.asked(ids),
        **({} if ask.body is None else {"body": ask.sent(ids)}),
    )
    if ask.files:
        case.media_type = "multipart/form-data"
        case.body |= {name: content for name, (_, content) in ask.files.items()}
    elif ask.body is not None:
        case.media_type = "application/json"
    return case


def send(ask: Ask, case: Case, ours: World, **how: Any):
    """Sends it as who has the tasks in hand, or else as the owner; checks the answer; puts everything back."""
    who = "annotator" if ask.least == ANNOTATOR else "owner"
    with undone():
        response = case.call(headers={**(case.headers or {}), **ours.program(who)}, **how)
    case.validate_response(response, checks=CHECKS)
    return response


def test_every_operation_answers_a_sensible_request_as_it_says(schema, ours):
    wrong = []
    for ask, operation in operations(schema):
        if not ask.files:
            response = send(ask, case_of(ask, operation, ours.ids), ours)
            if response.status_code not in ((ask.refused,) if ask.refused else (200, 201, 202, 204)):
                wrong.append((operation.label, response.status_code, response.content[:300]))
    assert not wrong


@pytest.mark.parametrize("address", [address for (_, address), ask in API.items() if ask.files])
def test_every_operation_that_takes_files_takes_a_sensible_one(client, ours, address):
    ask = API["post", address]
    path = "/api" + address.format(**ask.ids(address, ours.ids))
    response = client.post(path, ask.form(ours.ids), headers=ours.program("owner"))
    assert response.status_code in (201, 202), response.content


def places(value: Any, way: tuple = ()) -> Iterator[tuple]:
    """The way to every value within a request."""
    if way:
        yield way
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*way, key))


def replaced(value: Any, way: tuple, other: Any) -> Any:
    """A copy with something else at one place."""
    if not way:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = replaced(value[way[0]] if len(way) > 1 else None, way[1:], other)
    return copy


def fields_of(operation) -> list[str]:
    """What an operation takes in its body, by its description."""
    found: list[str] = []
    for body in operation.body:
        schema = body.optimized_schema
        if "$ref" in schema:
            schema = schema["x-bundled"][schema["$ref"].rsplit("/", 1)[1]]
        found += schema.get("properties", {})
    return found


def poisoned(ask: Ask, operation, ids: dict[str, Any], poison: Any) -> Iterator[tuple[str, Case]]:
    """The sensible request with poison in one place, for each place."""
    sensible = case_of(ask, operation, ids)
    in_addresses = poison != POISON["half a character"]  # which no address can spell
    for part in operation.query if in_addresses else ():
        case = case_of(ask, operation, ids)
        case.query = {**sensible.query, part.name: poison}
        yield f"?{part.name}", case
    for part in operation.path_parameters if in_addresses else ():
        if isinstance(poison, str | int) and poison != "" and len(str(poison)) < 1000:
            case = case_of(ask, operation, ids)
            case.path_parameters = {**sensible.path_parameters, part.name: poison}
            yield f"/{part.name}", case
    if ask.body is None:
        return
    whole = {**dict.fromkeys(fields_of(operation)), **sensible.body} if not ask.files else sensible.body
    for way in places(whole):
        case = case_of(ask, operation, ids)
        case.body = replaced(sensible.body, way, poison)
        yield ".".join(map(str, way)), case


@pytest.mark.parametrize("what", POISON)
def test_poison_in_any_one_place_of_a_request_is_refused_in_words_or_does_no_harm(schema, ours, what):
    wrong = []
    for ask, operation in operations(schema):
        if ask.files:
            continue  # a form is all text: the test below
        for place, case in poisoned(ask, operation, ours.ids, POISON[what]):
            try:
                send(ask, case, ours)
            except schemathesis.errors.SchemathesisError as problem:
                wrong.append(f"{operation.label} {place}: {problem}")
            except BaseExceptionGroup as problem:
                wrong.append(
                    f"{operation.label} {place}: " + "; ".join(str(one) for one in problem.exceptions)
                )
    assert not wrong, "\n\n".join(wrong)


def test_a_body_that_is_no_json_is_refused_in_words(schema, ours, client):
    for (method, address), ask in API.items():
        if ask.body is not None and not ask.files:
            path = "/api" + address.format(**ask.ids(address, ours.ids))
            for what, body in RAW.items():
                sent = client.generic(method, path, body, "application/json", headers=ours.program("owner"))
                assert sent.status_code in (400, 422), (path, what, sent.content)
                assert sent.json()["error"]["code"] == "invalid"


@pytest.mark.parametrize(
    "examples", [4, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_whatever_is_generated_from_the_description_is_answered_as_it_says(schema, ours, examples):
    """Each request twice: to the ids that were generated, and to those of rows that are there."""
    bounded = settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for ask, operation in operations(schema):
        real = case_of(ask, operation, ours.ids).path_parameters
        bounded(given(case=operation.as_strategy())(twice(ask, real, ours)))()


def twice(ask: Ask, real: dict[str, Any], ours: World):
    def send_it(case: Case) -> None:
        send(ask, case, ours)
        case.path_parameters = dict(real)
        send(ask, case, ours)

    return send_it
