"""A page's side of the live stream: one socket, and for each run the rows it holds."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any

from django.test import Client
from websockets.sync.client import ClientConnection, connect

from webapp.runs.frames import Block, blocks


class Page:
    """Opens runs, and holds what comes; refuses a row that is not the next one, as the browser does."""

    def __init__(self, url: str, user: Any = None, reads_ahead: int | None = None) -> None:
        """`reads_ahead`: how many messages are taken from the network before somebody asks; None: all."""
        client = Client()
        if user:
            client.force_login(user)
        cookies = "; ".join(f"{key}={morsel.value}" for key, morsel in client.cookies.items())
        self.site, self.reads_ahead = url, reads_ahead
        self.address = url.replace("http://", "ws://") + "/ws/"
        self.headers = {"Cookie": cookies} if cookies else {}
        self.blocks: dict[int, list[Block]] = defaultdict(list)
        self.last: dict[int, int] = defaultdict(int)
        self.epoch: dict[int, int] = defaultdict(int)
        self.names: dict[int, dict[int, str]] = defaultdict(dict)
        self.most_joined = 0  # blocks in one message
        self.said: list[dict[str, Any]] = []
        self.connect()

    def connect(self) -> None:
        self.socket: ClientConnection = connect(
            self.address,
            origin=self.site,
            additional_headers=self.headers,
            max_size=None,
            compression=None,
            max_queue=self.reads_ahead,
            ping_interval=None,
            legacy=True,
        )

    def cut(self) -> None:
        """The network goes away, without a word."""
        self.socket.socket.close()

    def close(self) -> None:
        self.socket.close()

    def open(self, run: int) -> None:
        self.ask({"op": "open", "run": run, "epoch": self.epoch[run], "after": self.last[run]})

    def ask(self, message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, timeout: float = 10) -> dict[str, Any] | None:
        """Takes one message; a text is returned."""
        message = self.socket.recv(timeout=timeout)
        if isinstance(message, bytes):
            found = list(blocks(message))
            self.most_joined = max(self.most_joined, len(found))
            for block in found:
                assert block.epoch == self.epoch[block.run]
                assert block.seq_from == self.last[block.run] + 1, "a gap, or a row that came twice"
                assert set(block.ids) <= set(self.names[block.run]), "a series that nobody named"
                self.last[block.run] = block.seq_to
                self.blocks[block.run].append(block)
            return None
        text = json.loads(message)
        self.said.append(text)
        if text["type"] == "series":
            self.names[text["run"]] |= {one["id"]: one["name"] for one in text["series"]}
        if text["type"] == "reset":
            run = text["run"]
            self.epoch[run], self.last[run], self.blocks[run] = text["epoch"], 0, []
        return text

    def until(self, found, timeout: float = 10) -> Any:
        """Listens until `found()` is true, and returns it."""
        deadline = time.monotonic() + timeout
        while not (value := found()):
            self.hear(timeout=max(0.01, deadline - time.monotonic()))
        return value

    def until_row(self, run: int, seq: int, timeout: float = 10) -> list[Block]:
        self.until(lambda: self.last[run] >= seq, timeout)
        return self.blocks[run]

    def until_said(self, kind: str, timeout: float = 10, **values: Any) -> dict[str, Any]:
        def found():
            return next(
                (one for one in self.said if one["type"] == kind and values.items() <= one.items()), None
            )

        return self.until(found, timeout)
