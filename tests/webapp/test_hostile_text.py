"""Text that would like to be script, a formula, a header or half a character: shown and exported, it is only text."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote_from_bytes

import pytest

from annotation import exchanges
from annotation.exporters.table import FORMULA, unsafe
from tests.webapp.endpoints import ANNOTATOR, API, OWNER, PAGES
from tests.webapp.test_rights import path_of
from tests.webapp.world import World, undone, world

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")]

RUN = "window.__pwned=1"
SCRIPTS = {
    "a script": f"<script>{RUN}</script>",
    "a picture that fails": f'<img src=x onerror="{RUN}"> ![x](x"onerror="{RUN})',
    "links to scripts": f'[go](javascript:{RUN}) <a href="javascript:{RUN}">go</a> <java\tscript:{RUN}>',
    "the end of every element": f"</textarea></title></style></template></script><script>{RUN}</script>",
    "the end of an attribute in double quotes": f'" onfocus="{RUN}" autofocus tabindex="1',
    "the end of an attribute in single quotes": f"' onmouseover='{RUN}' style='position:fixed;inset:0",
    "the end of a comment": f"--><svg onload={RUN}><iframe srcdoc='<script>{RUN}</script>'></iframe>",
    "a template": "{{ 7|add:7 }} {% debug %} ${7*7}",
    "a frame that is a form": f"<form action=javascript:{RUN}><button formaction=javascript:{RUN}>x</button></form>",
    "code": f"```<script>{RUN}</script>\n</code><script>{RUN}</script>```",
    "a formula": f"$\\href{{javascript:{RUN}}}{{x}}$ $$</math><script>{RUN}</script>$$",
}
SIGNS = {
    "from right to left": "\u202efdp.exe\u2066 \u200f",
    "signs without width": "a\u200bb\u200cc\u200dd\ufeff\u2060",
    "a line within a line": "one\u2028two\u0085three",
    "a tower of accents": "Z" + "\u0351\u036b\u0343\u036a" * 50,
    "the last plane": "\U0010ffff\ufffe\U0001f469\u200d\U0001f52c",
}
FORMULAS = (
    '=HYPERLINK("http://evil.example","x")',
    "+cmd|' /C calc'!A0",
    "-1+1",
    "@SUM(1,1)",
    "\t=1",
    "\r=1",
)
ONE_LINE = ("label of", "meaning of", "question of", "anchor", "missing thing")
"""What a study sets takes one line, without the bar that divides what a person writes into a form."""


def speaker(text: str, places: set[str] | None = None) -> Callable[[str], str]:
    """Says the text everywhere, behind the name of the place, and notes the places."""

    def say(place: str) -> str:
        if places is not None:
            places.add(place)
        if place.startswith(ONE_LINE):
            return f"{place}: {' '.join(text.splitlines())}".replace("|", " ")
        return f"{place}: {text}"

    return say


def hostile(text: str, places: set[str] | None = None) -> World:
    say = speaker(text, places)
    return world(say, usernames=lambda role: f"{role} {text}"[:150])


@pytest.fixture(autouse=True)
def nobody_called(monkeypatch) -> None:
    """No worker is called."""
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    monkeypatch.setattr("annotation.import_jobs.send", lambda job: None)


# --- pages


def pages_of(ours: World) -> Iterator[tuple[str, str]]:
    """Whom to ask for which page: each that is read, for each task, and each part of a run."""
    ids = ours.ids
    for address, by_method in PAGES.items():
        ask = by_method.get("get")
        if ask and not address.startswith("api/") and not address.startswith("accounts/enter/"):
            query = "&".join(f"{name}={value}" for name, value in ask.asked(ids).items())
            for who in (OWNER, ANNOTATOR) if ask.least == ANNOTATOR else (OWNER,):
                yield who, path_of(ask, address, ids) + (f"?{query}" if query else "")
    for kind in ours.study.kinds:
        yield OWNER, f"/studies/{ids['study']}/label/?kind={kind}"
        yield OWNER, f"/tasks/{ids['answered_' + kind]}/review/"
        yield ANNOTATOR, f"/studies/{ids['study']}/label/past/?kind={kind}"
    for name in ("conversation", "chosen", "unanswered", "task"):
        yield ANNOTATOR, f"/studies/{ids['study']}/label/?task={ids[name]}"
    for part in ("samples", "console", "events", "lineage", "report"):
        yield OWNER, f"/runs/{ids['run']}/{part}/"
    yield OWNER, f"/imports/{ids['failed_job']}/"
    yield OWNER, f"/studies/{ids['study']}/review/?which=random"
    yield OWNER, f"/studies/{ids['study']}/review/?which=flagged"


class Watch(HTMLParser):
    """Finds what a browser would run, in HTML as it stands."""

    LINKS = ("href", "src", "action", "formaction", "srcdoc", "data", "xlink:href", "hx-get", "hx-post")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        ours = str(said.get("src", "")).startswith("/static/") or said.get("type") == "application/json"
        if tag == "script" and not ours or tag in ("iframe", "object", "embed", "base"):
            self.found.append(f"<{tag} {said}>")
        for name, value in attributes:
            link = "".join(str(value).split()).lower()
            if name.startswith("on") or name == "srcdoc":
                self.found.append(f"<{tag} {name}={value}>")
            if name in self.LINKS and link.startswith(("javascript:", "vbscript:", "data:text")):
                self.found.append(f"<{tag} {name}={value}>")
            if name == "style" and "fixed" in link:
                self.found.append(f"<{tag} {name}={value}>")

    handle_startendtag = handle_starttag


def test_the_watch_finds_what_a_browser_would_run():
    for text in SCRIPTS.values():
        if "{{" in text:
            continue
        watch = Watch()
        watch.feed(f'<p title="{text}">' if text.startswith('"') else f"<p title='{text}'>" + text)
        assert watch.found, text


def read(response) -> str:
    if response.headers["Content-Type"] in ("application/octet-stream", "image/jpeg"):
        return ""  # numbers and pictures of a recording
    if not response.streaming:
        return response.content.decode()
    if not response.is_async:
        return b"".join(response).decode()

    async def body() -> bytes:
        return b"".join([block async for block in response])

    # In a thread of its own: a browser test that ran before may have left an event loop on this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, body()).result().decode()


@pytest.mark.parametrize("case", [*SCRIPTS, "odd signs"])
def test_on_no_page_does_a_text_become_anything_but_text(case):
    text = SCRIPTS.get(case) or " ".join(SIGNS.values())
    places: set[str] = set()
    ours = hostile(text, places)
    browsers = {who: ours.client(who) for who in (OWNER, ANNOTATOR)}
    seen, wrong = "", []
    for who, path in pages_of(ours):
        with undone():
            response = browsers[who].get(path)
            shown = read(response)
        if response.status_code >= 400:
            wrong.append(f"{path}: {response.status_code}")
        if response.headers["Content-Type"].startswith("text/html"):
            watch = Watch()
            watch.feed(shown)
            wrong += [f"{path}: {found}" for found in watch.found]
            assert "script-src 'self'" in response.headers["Content-Security-Policy"], path
        assert response.headers["X-Content-Type-Options"] == "nosniff", path
        seen += shown
    assert not wrong, "\n".join(wrong)
    unseen = {place for place in places if f"{place}: " not in seen}
    assert unseen == NOWHERE, f"Shown on none of the pages: {unseen - NOWHERE}; now shown: {NOWHERE - unseen}"


HEARD = {
    "command of a bank", "said to a robot", "outcome", "task of a robot", "how it ended",
    "command to a robot", "thing on the table",
}  # fmt: skip
"""What a robot's page hears by its socket, and writes itself: tests/browser/test_robots.py looks."""
NOWHERE = {"licence of a file", "topic", "source of a recording"} | HEARD
"""What no page shows as it is sent: it goes into cards, or only counts."""


def test_the_api_says_of_itself_that_it_is_json():
    ours = hostile(SCRIPTS["the end of every element"])
    client = ours.client(OWNER)
    for (method, address), ask in API.items():
        if method == "get":
            response = client.get("/api" + path_of(ask, address, ours.ids), ask.asked(ours.ids))
            kind = response.headers["Content-Type"]
            assert "html" not in kind and response.headers["X-Content-Type-Options"] == "nosniff", address


# --- exports, each read by a thread of its own


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_a_csv_begins_a_formula_and_each_can_be_read_back(formula):
    ours = world(lambda place: speaker("")(place) if place.startswith(ONE_LINE) else f"{formula} {place}")
    client = ours.client(OWNER)
    found = set()
    for path in (f"/studies/{ours.study.pk}/export/", f"/snapshots/{ours.ids['snapshot']}/export/"):
        response = client.get(path, {"format": "csv"})
        assert response.headers["Content-Type"].startswith("text/csv")
        rows = list(csv.reader(io.StringIO(read(response), newline="")))
        assert len(rows) > 5
        for row in rows:
            for cell in row:
                assert not cell.startswith(FORMULA), cell
                found.add(unsafe(cell))
    assert any(cell.startswith(formula) for cell in found)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("format", ["kibitz", "csv", "trl"])
@pytest.mark.parametrize("case", ["the end of every element", "code", *SIGNS])
def test_an_export_keeps_a_text_as_it_is_under_a_name_of_ours(case, format):
    text = {**SCRIPTS, **SIGNS}[case]
    ours = hostile(text)
    response = ours.client(OWNER).get(f"/studies/{ours.study.pk}/export/", {"format": format})
    disposition = response.headers["Content-Disposition"]
    assert disposition.isascii() and disposition.startswith('attachment; filename="study-'), disposition
    assert disposition.count('"') == 2
    body = read(response)
    if format == "csv":
        cells = {unsafe(cell) for row in csv.reader(io.StringIO(body, newline="")) for cell in row}
    else:
        cells = set(texts_of([json.loads(line) for line in body.split("\n") if line]))
    assert any(f"answer: {text}" in cell for cell in cells)


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts_of(one)


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="evil.exe.json',
        "a\r\nSet-Cookie: x=1.json",
        "../../../etc/passwd.json",
        "\u202enosj.exe.json",
    ],
)
def test_the_name_of_a_brought_file_cannot_leave_its_folder_or_its_header(name):
    ours = world()
    client = ours.client(OWNER)
    boundary = "edge"
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in {"kind": "policy", "name": "mine"}.items()
    ]
    for filename in ('filename="config.json"', f"filename*=UTF-8''{quoted}"):
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; {filename}\r\n\r\n{{}}\r\n'
        )
    body = "".join(parts) + f"--{boundary}--\r\n"
    sent = client.post(
        f"/api/studies/{ours.study.pk}/artifacts", body.encode(),
        content_type=f"multipart/form-data; boundary={boundary}", headers=ours.program(OWNER),
    )  # fmt: skip
    assert sent.status_code == 201, sent.content
    made = sent.json()
    assert len(made["files"]) == 2
    for file in made["files"]:
        assert "/" not in file["file"]
        response = client.get(f"/api/artifacts/{made['id']}/download/{file['file']}")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert response.headers["Content-Disposition"].startswith("attachment; filename")
        assert "\n" not in response.headers["Content-Disposition"]


# --- what a form may hold

FORMS = {
    "a NUL": "\x00",
    "half a character": b"\xed\xa0\x80".decode("utf-8", "surrogateescape"),
    "bytes that are no text": b"\xff\xfe\x80".decode("utf-8", "surrogateescape"),
    "a megabyte": "x" * 2**20,
    "an enormous number": "9" * 30,
    "digits of elsewhere": "٣²",
    "less than nothing": "-1",
    "no number": "nan",
    "nothing": "",
}
QUERIES = (
    "page", "kind", "task", "before", "step", "which", "snapshot", "method", "like", "item", "person", "had", "since",
    "phase", "count", "have", "look", "part", "format", "ties", "annotators", "source", "until", "agreement", "test",
    "seed", "split", "next", "kinds", "validation", "personal",
)  # fmt: skip


def encoded(form: dict[str, Any]) -> bytes:
    return b"&".join(
        f"{name}={quote_from_bytes(str(value).encode('utf-8', 'surrogateescape'))}".encode()
        for name, value in form.items()
    )


@pytest.mark.parametrize("case", FORMS)
def test_whatever_stands_in_a_field_of_a_form_the_page_answers(case):
    ours, poison, wrong = world(), FORMS[case], []
    browsers = {who: ours.client(who) for who in (OWNER, ANNOTATOR)}
    for address, by_method in PAGES.items():
        ask = by_method.get("post")
        if ask is None or ask.files:
            continue
        path, sensible = path_of(ask, address, ours.ids), ask.sent(ours.ids) or {}
        for field in sensible:
            with undone():
                client = browsers[ANNOTATOR if ask.least == ANNOTATOR else OWNER]
                body = encoded({**sensible, field: poison})
                sent = client.post(path, body, content_type="application/x-www-form-urlencoded")
            if sent.status_code >= 500:
                wrong.append(f"{path} {field}: {sent.status_code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", [case for case in FORMS if case != "a megabyte"])
def test_whatever_stands_in_a_query_the_page_answers(case, thorough):
    """In all of it at once; and in each part by itself."""
    ours, wrong = world(), []
    browsers = {who: ours.client(who) for who in (OWNER, ANNOTATOR)}
    query = encoded(dict.fromkeys(QUERIES, FORMS[case])).decode()
    for who, path in pages_of(ours):
        for one in query.split("&") if thorough else [query]:
            with undone():
                response = browsers[who].get(path.split("?")[0] + "?" + one)
                if response.status_code >= 500:
                    wrong.append(f"{path} {one}: {response.status_code}")
    assert not wrong, "\n".join(wrong)
