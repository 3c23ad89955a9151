"""Kibitz from a script or a shell, in one file that needs nothing but Python 3.9.

    from kibitz_client import Kibitz
    kibitz = Kibitz("http://127.0.0.1:8700", "kbz_…")
    for study in kibitz.studies():
        print(study.id, study.name)

What can be asked again without harm is asked again, a little later each time, when the network or the server is
away: reading, and writing that carries a key. Everything else is asked once. A refusal is an exception that says
what was found, what was expected, and which field is meant. `kibitz --help` is the same from a shell.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import os
import random
import sys
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

__version__ = "0.1.0"

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R", bound="Row")

PAGE = 200
BLOCK = 2**18
AWAY = (502, 503, 504)
"""Answers of a server, or of what stands before it, that is not ready."""


# --- what can go wrong


class KibitzError(Exception):
    """The server refused, or could not be reached. `code` and `field` are for programs, the message for people."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "failed",
        field: str | None = None,
        status: int | None = None,
        details: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.field = message, code, field
        self.status, self.details = status, details or {}


class Unauthenticated(KibitzError):
    """The token is missing, wrong or revoked."""


class NotFound(KibitzError):
    """There is no such thing, or it is not yours to see."""


class Conflict(KibitzError):
    """Somebody was faster, or it was done already."""


class Invalid(KibitzError):
    """What was sent cannot be right; `field` names the part to mend."""


class Unreachable(KibitzError):
    """No answer came, or no whole one."""


class ImportFailed(KibitzError):
    """Nothing of a file was imported; `job.errors` says why, line by line."""

    def __init__(self, job: Import) -> None:
        first = job.errors[0] if job.errors else {}
        where = f"line {first['line']}: " if first.get("line") else ""
        said = f"{where}{first.get('message', '')} {first.get('cure', '')}".strip() or job.status
        super().__init__(f"{job.filename} was not imported: {said}", code="import_failed", status=None)
        self.job = job


ERRORS: dict[int, type[KibitzError]] = {401: Unauthenticated, 404: NotFound, 409: Conflict, 422: Invalid}


# --- what comes back


@dataclass(frozen=True)
class Row:
    """An answer of the server. Fields that this version does not know are in `more`."""

    @classmethod
    def of(cls: type[R], given: Mapping[str, Any]) -> R:
        known = {one.name for one in dataclasses.fields(cls)} - {"more"}
        missing = {
            one.name
            for one in dataclasses.fields(cls)
            if one.name not in given
            and one.default is dataclasses.MISSING
            and one.default_factory is dataclasses.MISSING
        }
        if missing:
            raise KibitzError(
                f"The server's answer lacks {', '.join(sorted(missing))}; expected a {cls.__name__}. "
                "Is the client as new as the server?",
                code="unexpected",
            )
        values: Json = {name: given[name] for name in known if name in given}
        values["more"] = {name: value for name, value in given.items() if name not in known}
        return cls(**values)


@dataclass(frozen=True)
class Study(Row):
    id: int
    name: str
    guidelines: str
    interfaces: list[Json]
    overlap: int
    names_hidden: bool
    licence: str
    consent: str
    role: str
    created_at: str
    archived_at: str | None
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Item(Row):
    id: int
    position: int
    context: Json
    external_id: str
    source: Json
    candidates: list[Json]
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Import(Row):
    """A file on its way into a study; `done` of `total` rows are checked or stored."""

    id: int
    study: int
    format: str
    filename: str
    status: str
    total: int | None
    done: int
    counts: dict[str, int]
    errors: list[Json]
    created_at: str
    finished_at: str | None
    more: Json = field(default_factory=dict, repr=False)

    @property
    def under_way(self) -> bool:
        return self.status in ("waiting", "checking", "storing")


@dataclass(frozen=True)
class Task(Row):
    """A question that you hold until `lease_until`; the candidates are in the order in which you see them."""

    id: int
    kind: str
    study: int
    item: int
    context: Json
    candidates: list[Json]
    options: Json
    lease_until: str
    answer: Json | None
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Submitted(Row):
    label: int
    task: int
    answer: Json
    created_at: str
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Label(Row):
    id: int
    task: int
    kind: str
    annotator: str
    answer: Json
    withdrawn: bool
    supersedes: int | None
    seconds: float
    created_at: str
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Snapshot(Row):
    id: int
    study: int
    name: str
    digest: str
    records: int
    counts: dict[str, int]
    methods: list[str]
    card: str
    created_at: str
    parent: int | None
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Webhook(Row):
    """`secret` is there once: in the answer that made the webhook."""

    id: int
    study: int
    url: str
    events: list[str]
    active: bool
    created_at: str
    secret: str = field(default="", repr=False)
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Delivery(Row):
    id: int
    webhook: int
    event: str
    letter: str
    attempts: int
    status: int | None
    problem: str
    next_at: str | None
    delivered_at: str | None
    created_at: str
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Run(Row):
    id: int
    name: str
    method: str
    study: int | None
    snapshot: int | None
    config: Json
    seed: int
    status: str
    reason: str
    step: int
    total_steps: int | None
    epoch: int
    last_seq: int
    report: Json
    created_at: str
    finished_at: str | None
    more: Json = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        return self.status in ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Artifact(Row):
    id: int
    run: int | None
    study: int | None
    kind: str
    name: str
    step: int
    digest: str
    size: int
    meta: Json
    files: list[Json]
    created_at: str
    more: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Point:
    """A row of a run's log. Keep the `seq` of the last one to go on from there."""

    seq: int
    step: float
    time: float
    values: dict[str, float | None]


# --- the way there


class Stream:
    """A file on its way to the server: a form of fields and files, read block by block and never all at once."""

    def __init__(self, fields: Mapping[str, str], files: Sequence[tuple[str, Path]]) -> None:
        self.boundary = uuid.uuid4().hex
        self.heads = [
            self._part(f'name="{name}"').encode() + value.encode() + b"\r\n" for name, value in fields.items()
        ]
        self.files = [
            (
                self._part(
                    f'name="{name}"; filename="{urllib.parse.quote(path.name)}"', "application/octet-stream"
                ).encode(),
                path,
            )
            for name, path in files
        ]
        self.end = f"--{self.boundary}--\r\n".encode()

    def _part(self, said: str, kind: str = "") -> str:
        of_kind = f"Content-Type: {kind}\r\n" if kind else ""
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {said}\r\n{of_kind}\r\n"

    def __len__(self) -> int:
        files = sum(len(head) + path.stat().st_size + 2 for head, path in self.files)
        return sum(map(len, self.heads)) + files + len(self.end)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.heads
        for head, path in self.files:
            yield head
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    yield block
            yield b"\r\n"
        yield self.end


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the address it was given for, and for no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Connection:
    """Requests to one server, with one token."""

    def __init__(self, url: str, token: str, timeout: float, retries: int) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"Found the address {url!r}; expected http://… or https://….", code="invalid", field="url"
            )
        self.base, self.token, self.timeout, self.retries = url.rstrip("/") + "/api", token, timeout, retries
        self.opener = urllib.request.build_opener(NoRedirect())

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        form: Stream | None = None,
        again: bool | None = None,
    ) -> http.client.HTTPResponse:
        """The answer to a request, once it begins. `again`: whether asking twice does no harm."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        given = {
            name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()
        }
        url = f"{self.base}{path}" + (f"?{urllib.parse.urlencode(given, doseq=True)}" if given else "")
        again = method in ("GET", "PUT", "DELETE") if again is None else again
        for attempt in range(self.retries + 1):
            request = urllib.request.Request(url, method=method)
            request.add_header("Authorization", f"Bearer {self.token}")
            request.add_header("User-Agent", f"kibitz-client/{__version__}")
            if form is not None:
                request.data = form  # first: setting it forgets the length
                request.add_header("Content-Type", f"multipart/form-data; boundary={form.boundary}")
                request.add_header("Content-Length", str(len(form)))
            elif body is not None:
                request.add_header("Content-Type", "application/json")
                request.data = json.dumps(body).encode()
            try:
                return typing.cast(http.client.HTTPResponse, self.opener.open(request, timeout=self.timeout))
            except urllib.error.HTTPError as answer:
                with answer:
                    problem = refusal(answer.code, answer.read(2**20))
                if not (again and answer.code in AWAY and attempt < self.retries):
                    raise problem from None
            except (OSError, http.client.HTTPException) as why:
                if not (again and attempt < self.retries):
                    reason = getattr(why, "reason", why)
                    raise Unreachable(f"No answer from {self.base}: {reason}.", code="unreachable") from why
            time.sleep(min(30.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def json(self, method: str, path: str, **rest: Any) -> Any:
        with self.open(method, path, **rest) as answer:
            text = whole(answer)
        return json.loads(text) if text else None

    def save(self, path: str, to: str | Path | IO[bytes], query: Mapping[str, Any] | None = None) -> int:
        """Streams an answer to a file: whole, or not under its name at all. Returns its bytes."""
        if not isinstance(to, (str, Path)):
            with self.open("GET", path, query=query) as answer:
                return copy(answer, to)
        target = Path(to)
        coming = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.coming")
        try:
            with self.open("GET", path, query=query) as answer, coming.open("wb") as file:
                size = copy(answer, file)
            coming.replace(target)
        finally:
            if coming.exists():
                coming.unlink()
        return size


def whole(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (OSError, http.client.HTTPException) as why:
        raise Unreachable(f"The answer broke off: {why!r}.", code="unreachable") from why


def copy(answer: http.client.HTTPResponse, file: IO[bytes]) -> int:
    size = 0
    while True:
        try:
            block = answer.read(BLOCK)
        except (OSError, http.client.HTTPException) as why:
            raise Unreachable(
                f"The answer broke off after {size} bytes: {why!r}.", code="unreachable"
            ) from why
        if not block:
            break
        file.write(block)
        size += len(block)
    if answer.length:  # what was announced and did not come
        raise Unreachable(f"The answer broke off after {size} bytes.", code="unreachable")
    return size


def refusal(status: int, body: bytes) -> KibitzError:
    """What the server said, as an exception."""
    try:
        error = json.loads(body)["error"]
        message, code = str(error["message"]), str(error["code"])
        place, details = error.get("field"), error.get("details")
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace").strip()
        message, code, place, details = f"The server answered {status}: {text}", "failed", None, None
    kind = ERRORS.get(status, KibitzError)
    return kind(message, code=code, field=place, status=status, details=details)


# --- the studio


class Kibitz:
    """A Kibitz server, as the owner of a token sees it. Tokens are made on the account page."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        url = url or os.environ.get("KIBITZ_URL", "http://127.0.0.1:8700")
        token = token or os.environ.get("KIBITZ_TOKEN", "")
        if not token:
            raise Unauthenticated(
                "No token. Make one on your account page, and give it here or in KIBITZ_TOKEN.",
                code="unauthenticated",
            )
        self.http = Connection(url, token, timeout, retries)

    def _all(
        self, path: str, kind: type[R], cursor: str = "after", of: str = "id", **query: Any
    ) -> Iterator[R]:
        """Every row of a list that comes in pages, one page at a time."""
        last: Any = None
        while True:
            page = self.http.json("GET", path, query={**query, "limit": PAGE, cursor: last})
            yield from (kind.of(row) for row in page)
            if len(page) < PAGE:
                return
            last = page[-1][of]

    # studies

    def studies(self) -> list[Study]:
        return [Study.of(row) for row in self.http.json("GET", "/studies")]

    def study(self, study: int) -> Study:
        return Study.of(self.http.json("GET", f"/studies/{study}"))

    def create_study(self, name: str, interfaces: Sequence[Any] = ("pairwise",), **rest: Any) -> Study:
        body = {"name": name, "interfaces": list(interfaces), **rest}
        return Study.of(self.http.json("POST", "/studies", body=body))

    def change_study(self, study: int, **changes: Any) -> Study:
        return Study.of(self.http.json("PATCH", f"/studies/{study}", body=changes, again=True))

    def progress(self, study: int) -> Json:
        """Your labels today and in all, and the tasks that are open."""
        return typing.cast(Json, self.http.json("GET", f"/studies/{study}/progress"))

    def members(self, study: int) -> list[Json]:
        return typing.cast("list[Json]", self.http.json("GET", f"/studies/{study}/members"))

    def add_member(self, study: int, username: str, role: str) -> Json:
        body = {"username": username, "role": role}
        return typing.cast(Json, self.http.json("POST", f"/studies/{study}/members", body=body))

    # items, and files of them

    def items(self, study: int) -> Iterator[Item]:
        return self._all(f"/studies/{study}/items", Item, of="position")

    def add_items(self, study: int, items: Iterable[Mapping[str, Any]]) -> list[int]:
        """Adds items, and returns the new ones' ids. With an `external_id` in each, adding them twice does no harm."""
        given = list(items)
        named = all(item.get("external_id") for item in given)
        answer = self.http.json("POST", f"/studies/{study}/items", body={"items": given}, again=named)
        return typing.cast("list[int]", answer["added"])

    def start_import(self, study: int, file: str | Path, format: str, licence: str = "") -> Import:
        """Uploads a file; a worker imports it. See `wait_for_import`."""
        form = Stream({"format": format, "licence": licence}, [("file", Path(file))])
        return Import.of(self.http.json("POST", f"/studies/{study}/imports", form=form))

    def imports(self, study: int) -> list[Import]:
        return [Import.of(row) for row in self.http.json("GET", f"/studies/{study}/imports")]

    def import_job(self, job: int) -> Import:
        return Import.of(self.http.json("GET", f"/imports/{job}"))

    def cancel_import(self, job: int) -> Import:
        return Import.of(self.http.json("POST", f"/imports/{job}/cancel"))

    def wait_for_import(
        self,
        job: Import | int,
        *,
        every: float = 1.0,
        timeout: float | None = None,
        tell: Callable[[Import], None] | None = None,
    ) -> Import:
        """The finished import; ImportFailed where it failed or was stopped. `tell` is called with how far it is."""
        pk = job if isinstance(job, int) else job.id
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            now = self.import_job(pk)
            if tell:
                tell(now)
            if now.status == "finished":
                return now
            if not now.under_way:
                raise ImportFailed(now)
            if until is not None and time.monotonic() > until:
                raise Unreachable(f"Import {pk} is still {now.status} after {timeout:.0f} s.", code="timeout")
            time.sleep(every)

    # labelling

    def next(self, study: int, *, kind: str | None = None, count: int = 1) -> list[Task]:
        """Leases tasks to you, those you hold already first; empty when there is nothing for you now."""
        body = {"kind": kind, "count": count}
        answer = self.http.json("POST", f"/studies/{study}/next", body=body, again=True)
        return [Task.of(row) for row in answer["tasks"]]

    def submit(
        self,
        task: Task | int,
        answer: Mapping[str, Any],
        *,
        seconds: float = 0.0,
        key: str | None = None,
    ) -> Submitted:
        """Stores your answer. The key makes a second sending the same label, so a lost answer is asked for again."""
        pk = task if isinstance(task, int) else task.id
        body = {"answer": dict(answer), "seconds": seconds, "key": key or str(uuid.uuid4())}
        return Submitted.of(self.http.json("POST", f"/tasks/{pk}/submit", body=body, again=True))

    def skip(self, task: Task | int, reason: str = "") -> None:
        pk = task if isinstance(task, int) else task.id
        self.http.json("POST", f"/tasks/{pk}/skip", body={"reason": reason}, again=True)

    def undo(self, study: int) -> Task | None:
        """Takes back the last thing you did; its task is yours again. None where there was nothing."""
        answer = self.http.json("POST", f"/studies/{study}/undo")
        return Task.of(answer["task"]) if answer["task"] else None

    def heartbeat(self, study: int, tasks: Iterable[int]) -> Json:
        """Renews the leases you hold: {"kept": {task: until}, "lost": [task, …]}."""
        body = {"tasks": list(tasks)}
        return typing.cast(Json, self.http.json("POST", f"/studies/{study}/heartbeat", body=body, again=True))

    # what was said

    def labels(self, study: int, *, history: bool = False) -> Iterator[Label]:
        """The labels that stand, by id; with `history`, every row."""
        return self._all(f"/studies/{study}/labels", Label, history=history)

    def withdraw_label(self, label: int) -> Label:
        return Label.of(self.http.json("POST", f"/labels/{label}/withdraw"))

    def remarks(self, study: int, **query: Any) -> list[Json]:
        """Flags and notes; the filters are those of the API, such as kind="flag"."""
        return typing.cast("list[Json]", self.http.json("GET", f"/studies/{study}/remarks", query=query))

    def add_remark(self, task: int, kind: str, *, key: str | None = None, **rest: Any) -> Json:
        body = {"kind": kind, "key": key or str(uuid.uuid4()), **rest}
        return typing.cast(Json, self.http.json("POST", f"/tasks/{task}/remarks", body=body, again=True))

    def resolve_remark(self, remark: int) -> Json:
        return typing.cast(Json, self.http.json("POST", f"/remarks/{remark}/resolve", again=True))

    def quality(self, study: int) -> Json:
        """How far people agree, and how much each one's labels say; NotFound until a worker has fitted them."""
        return typing.cast(Json, self.http.json("GET", f"/studies/{study}/reliability"))

    def label_counts(self, study: int) -> Json:
        """How many labels stand, by kind and by who gave them; read label by label."""
        kinds: dict[str, int] = {}
        people: dict[str, int] = {}
        for label in self.labels(study):
            kinds[label.kind] = kinds.get(label.kind, 0) + 1
            people[label.annotator] = people.get(label.annotator, 0) + 1
        return {"labels": sum(kinds.values()), "kinds": kinds, "annotators": people}

    def withdraw_item(self, item: int, reason: str = "") -> Json:
        """Takes an item out of the queue and of every future snapshot, for good."""
        return typing.cast(Json, self.http.json("POST", f"/items/{item}/withdraw", body={"reason": reason}))

    # snapshots and exports

    def freeze(self, study: int, name: str = "", **choice: Any) -> Snapshot:
        """Freezes the labels that stand; the same labels are the same snapshot, so asking twice does no harm."""
        body = {"name": name, **choice}
        return Snapshot.of(self.http.json("POST", f"/studies/{study}/snapshots", body=body, again=True))

    def snapshots(self, study: int) -> list[Snapshot]:
        return [Snapshot.of(row) for row in self.http.json("GET", f"/studies/{study}/snapshots")]

    def snapshot(self, snapshot: int) -> Snapshot:
        return Snapshot.of(self.http.json("GET", f"/snapshots/{snapshot}"))

    def download(
        self, snapshot: int, to: str | Path | IO[bytes], format: str = "kibitz", **filters: Any
    ) -> int:
        """Streams a snapshot's records to a file in a format; returns its bytes."""
        return self.http.save(f"/snapshots/{snapshot}/download", to, {"format": format, **filters})

    def export(self, study: int, to: str | Path | IO[bytes], format: str = "kibitz", **filters: Any) -> int:
        """Streams a study's labels as they stand, without freezing them; returns its bytes."""
        return self.http.save(f"/studies/{study}/export", to, {"format": format, **filters})

    # webhooks

    def webhooks(self, study: int) -> list[Webhook]:
        return [Webhook.of(row) for row in self.http.json("GET", f"/studies/{study}/webhooks")]

    def add_webhook(self, study: int, url: str, events: Sequence[str]) -> Webhook:
        """Adds an address. Keep the answer's `secret`: it is told this once."""
        body = {"url": url, "events": list(events)}
        return Webhook.of(self.http.json("POST", f"/studies/{study}/webhooks", body=body))

    def change_webhook(
        self, webhook: int, *, active: bool | None = None, events: Sequence[str] | None = None
    ) -> Webhook:
        changes = {"active": active, "events": None if events is None else list(events)}
        return Webhook.of(self.http.json("PATCH", f"/webhooks/{webhook}", body=changes, again=True))

    def remove_webhook(self, webhook: int) -> None:
        self.http.json("DELETE", f"/webhooks/{webhook}", again=False)

    def test_webhook(self, webhook: int) -> Delivery:
        return Delivery.of(self.http.json("POST", f"/webhooks/{webhook}/test"))

    def deliveries(self, webhook: int) -> Iterator[Delivery]:
        return self._all(f"/webhooks/{webhook}/deliveries", Delivery, cursor="before")

    # runs and models

    def methods(self) -> list[Json]:
        return typing.cast("list[Json]", self.http.json("GET", "/methods"))

    def workers(self) -> list[Json]:
        return typing.cast("list[Json]", self.http.json("GET", "/workers"))

    def runs(self, *, study: int | None = None, status: str | None = None) -> Iterator[Run]:
        return self._all("/runs", Run, cursor="before", study=study, status=status)

    def run(self, run: int) -> Run:
        return Run.of(self.http.json("GET", f"/runs/{run}"))

    def start_run(self, method: str, **asked: Any) -> Run:
        """Starts a run: `snapshot`, `study`, `config`, `inputs` (role -> artifact), `seed`, `name`, …"""
        return Run.of(self.http.json("POST", "/runs", body={"method": method, **asked}))

    def stop_run(self, run: int, *, now: bool = False) -> Run:
        return Run.of(self.http.json("POST", f"/runs/{run}/stop", query={"now": now}))

    def resume_run(self, run: int) -> Run:
        return Run.of(self.http.json("POST", f"/runs/{run}/resume"))

    def command_run(self, run: int, kind: str, **args: Any) -> Run:
        """Asks something of a run under way: pause, resume, checkpoint, or set with name= and value=."""
        return Run.of(self.http.json("POST", f"/runs/{run}/commands", body={"kind": kind, "args": args}))

    def points(self, run: int, *, after: int = 0) -> Iterator[Point]:
        """The rows logged after row `after`, each once and in order, up to the newest."""
        epoch: int | None = None
        while True:
            query = {"format": "json", "after": after, "epoch": epoch}
            answer = self.http.json("GET", f"/runs/{run}/points", query=query)
            epoch = answer["epoch"]
            for row in answer["rows"]:
                yield Point(row["seq"], row["step"], row["time"], row["values"])
                after = row["seq"]
            if not answer["rows"] or after >= answer["last_seq"]:
                return

    def watch(self, run: int, *, after: int = 0, every: float = 1.0) -> Iterator[Point]:
        """The rows after `after` as they come, until the run has ended."""
        while True:
            ended = self.run(run).ended  # asked first: rows written until then are read below
            for point in self.points(run, after=after):
                after = point.seq
                yield point
            if ended:
                return
            time.sleep(every)

    def samples(self, run: int, *, step: int | None = None, limit: int = 50) -> list[Json]:
        query = {"step": step, "limit": limit}
        answer = self.http.json("GET", f"/runs/{run}/samples", query=query)
        return typing.cast("list[Json]", answer["samples"])

    def events(self, run: int) -> list[Json]:
        return typing.cast("list[Json]", self.http.json("GET", f"/runs/{run}/events"))

    def console(self, run: int, tail: int = 65536) -> str:
        with self.http.open("GET", f"/runs/{run}/console", query={"tail": tail}) as answer:
            return whole(answer).decode("utf-8", "replace")

    def artifacts(self, *, run: int | None = None, study: int | None = None) -> list[Artifact]:
        """What a run made, or the models of a study."""
        if (run is None) == (study is None):
            raise Invalid("Say of which run, or of which study.", code="invalid", field="run")
        path = f"/studies/{study}/artifacts" if run is None else f"/runs/{run}/artifacts"
        return [Artifact.of(row) for row in self.http.json("GET", path)]

    def artifact(self, artifact: int) -> Artifact:
        return Artifact.of(self.http.json("GET", f"/artifacts/{artifact}"))

    def download_artifact(self, artifact: int, folder: str | Path) -> list[Path]:
        """Streams every file of an artifact into a folder, which is made if need be."""
        made: list[Path] = []
        for entry in self.artifact(artifact).files:
            name = str(entry["file"])
            path = Path(folder) / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise KibitzError(
                    f"The server names a file {name!r} outside of the folder.", code="unexpected"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            self.http.save(f"/artifacts/{artifact}/download/{urllib.parse.quote(name)}", path)
            made.append(path)
        return made

    def bring_model(self, study: int, files: Sequence[str | Path], kind: str, name: str) -> Artifact:
        """Uploads a model's files: weights as .safetensors, and its JSON."""
        form = Stream({"kind": kind, "name": name}, [("files", Path(file)) for file in files])
        return Artifact.of(self.http.json("POST", f"/studies/{study}/artifacts", form=form))

    def propose(self, run: int) -> int:
        """Adds the items that a run wrote to its study; asking twice adds them once. Returns how many were new."""
        return int(self.http.json("POST", f"/runs/{run}/propose", again=True)["items"])


# --- the shell


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        asked.do(Kibitz(asked.url, asked.token, timeout=asked.timeout), asked)
    except ImportFailed as problem:
        for error in problem.job.errors:
            place = ", ".join(f"{name} {error[name]}" for name in ("line", "field") if error.get(name))
            print(f"{place or 'file'}: {error['message']} {error['cure']}", file=sys.stderr)
        print(f"Nothing was imported ({problem.job.status}).", file=sys.stderr)
        return 1
    except KibitzError as problem:
        place = f" ({problem.field})" if problem.field else ""
        print(f"{problem.code}{place}: {problem.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="kibitz", description="Kibitz from a shell. Rows are JSON, one a line."
    )
    whole.add_argument("--url", help="the server; else KIBITZ_URL, else http://127.0.0.1:8700")
    whole.add_argument("--token", help="better in KIBITZ_TOKEN, where no other process sees it")
    whole.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for an answer")
    whole.add_argument("--version", action="version", version=__version__)
    verbs = whole.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, do: Callable[[Kibitz, argparse.Namespace], None], words: str
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=words, description=words)
        made.set_defaults(do=do)
        return made

    verb("studies", say_studies, "lists your studies")
    one = verb("import", do_import, "uploads a file and waits until all of it is in, or none")
    one.add_argument("study", type=int)
    one.add_argument("file", type=Path)
    one.add_argument("--format", required=True, help="kibitz, trl, csv, …")
    one.add_argument("--licence", default="")
    one.add_argument("--no-wait", action="store_true")
    one = verb("export", do_export, "writes a study's labels, or a snapshot's records, to a file")
    one.add_argument("study", type=int, nargs="?")
    one.add_argument("--snapshot", type=int)
    one.add_argument("--format", default="kibitz")
    one.add_argument("--filter", action="append", default=[], metavar="NAME=VALUE", help="as in the API")
    one.add_argument("-o", "--output", help="a file; else standard output")
    one = verb("freeze", do_freeze, "freezes the labels that stand into a snapshot")
    one.add_argument("study", type=int)
    one.add_argument("--name", default="")
    one = verb(
        "label", do_label, "what people said: `stats` counts labels, `quality` says how far they agree"
    )
    one.add_argument("what", choices=["stats", "quality"])
    one.add_argument("study", type=int)
    one = verb(
        "runs", do_runs, "lists runs; with a number, one of them; --watch prints its points as they come"
    )
    one.add_argument("run", type=int, nargs="?")
    one.add_argument("--study", type=int)
    one.add_argument("--watch", action="store_true")
    one.add_argument("--after", type=int, default=0, help="go on after this row")
    one.add_argument("--stop", action="store_true")
    one = verb("webhooks", do_webhooks, "lists a study's webhooks; --add, --test and --remove change them")
    one.add_argument("study", type=int)
    one.add_argument("--add", metavar="URL")
    one.add_argument("--events", default="", help="for --add, divided by commas")
    one.add_argument("--test", type=int, metavar="ID")
    one.add_argument("--remove", type=int, metavar="ID")
    return whole


def say(row: Any) -> None:
    """A row as a line of JSON."""
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        plain = dataclasses.asdict(row)
        row = {**plain, **plain.pop("more", {})}
        if row.get("secret") == "":
            del row["secret"]
        row.pop("more", None)
    print(json.dumps(row, ensure_ascii=False), flush=True)


def say_studies(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    for study in kibitz.studies():
        say({"id": study.id, "name": study.name, "role": study.role, "archived": bool(study.archived_at)})


def do_import(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    began: dict[str, tuple[float, int]] = {}

    def tell(job: Import) -> None:
        if not sys.stderr.isatty():
            return
        since, had = began.setdefault(job.status, (time.monotonic(), job.done))
        passed = time.monotonic() - since
        rate = (job.done - had) / passed if passed > 1 else 0.0
        left = f", {(job.total - job.done) / rate:.0f} s left" if rate and job.total else ""
        rows = f"{job.done:,}" + (f" of {job.total:,}" if job.total else "")
        print(f"\r\x1b[K{job.status}: {rows} rows, {rate:,.0f}/s{left}", end="", file=sys.stderr, flush=True)

    if not asked.file.is_file():
        raise Invalid(f"There is no file {asked.file}.", code="invalid", field="file")
    job = kibitz.start_import(asked.study, asked.file, asked.format, asked.licence)
    if asked.no_wait:
        say(job)
        return
    try:
        job = kibitz.wait_for_import(job, tell=tell)
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)
    say({"id": job.id, "status": job.status, "counts": job.counts})


def do_export(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    if (asked.study is None) == (asked.snapshot is None):
        raise Invalid("Say which study, or which --snapshot.", code="invalid", field="study")
    filters: dict[str, str] = {}
    for one in asked.filter:
        name, given, value = one.partition("=")
        if not given:
            raise Invalid(f"Found {one!r}; expected NAME=VALUE.", code="invalid", field="filter")
        filters[name] = value
    to: str | IO[bytes] = asked.output or sys.stdout.buffer
    if asked.snapshot is not None:
        kibitz.download(asked.snapshot, to, asked.format, **filters)
    else:
        kibitz.export(asked.study, to, asked.format, **filters)


def do_freeze(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    made = kibitz.freeze(asked.study, asked.name)
    say({"id": made.id, "digest": made.digest, "records": made.records, "counts": made.counts})


def do_label(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    say(kibitz.label_counts(asked.study) if asked.what == "stats" else kibitz.quality(asked.study))


def do_runs(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    if asked.run is None:
        for run in kibitz.runs(study=asked.study):
            say(
                {"id": run.id, "method": run.method, "status": run.status, "step": run.step, "name": run.name}
            )
    elif asked.stop:
        say(kibitz.stop_run(asked.run))
    elif asked.watch:
        for point in kibitz.watch(asked.run, after=asked.after):
            say(point)
    else:
        say(kibitz.run(asked.run))


def do_webhooks(kibitz: Kibitz, asked: argparse.Namespace) -> None:
    if asked.add:
        say(kibitz.add_webhook(asked.study, asked.add, [one for one in asked.events.split(",") if one]))
    elif asked.test is not None:
        say(kibitz.test_webhook(asked.test))
    elif asked.remove is not None:
        kibitz.remove_webhook(asked.remove)
    else:
        for webhook in kibitz.webhooks(asked.study):
            say(webhook)


if __name__ == "__main__":
    sys.exit(main())
