"""The process that is the robot, as its supervisor holds it: lines in, lines out, and an end."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.runs.chat import NOT_FOR_CHILDREN

LOCK_SECONDS = 10.0


class Child:
    """`python -m trainers live`. When this process ends, so does the child's standard input, and so does the child."""

    def __init__(self, home: Path, spec: Path) -> None:
        self.home = home
        self._words = threading.Lock()
        self._read = b""
        self._closed = False
        self._leave_by: float | None = None
        self._code: int | None = None
        environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_CHILDREN}
        environment |= {
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        with _the_only_child(home) as lock, (home / "console.log").open("ab") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainers", "live", str(spec)],
                cwd=settings.BASE_DIR,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                start_new_session=True,
                pass_fds=(lock,),
            )
            os.pwrite(lock, str(self.process.pid).encode().ljust(20), 0)
        os.set_blocking(self.process.stdin.fileno(), False)
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)

    def say(self, message: dict[str, Any]) -> None:
        """A line to the child; dropped where it is gone, or does not listen: the rows know what it must hear."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._words, suppress(OSError, ValueError):
            # Up to PIPE_BUF bytes are written whole or not at all; what is longer is written in pieces.
            self._write(line)

    def _write(self, line: bytes) -> None:
        deadline = time.monotonic() + 1.0
        pipe = self.process.stdin.fileno()
        while line:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [pipe], [], left)[1]:
                self.process.kill()  # half a line would spoil the next one; a child this deaf is no use
                return
            line = line[os.write(pipe, line) :]

    def hear(self, timeout: float) -> list[bytes]:
        """The lines that it said meanwhile: waits until there is one, the time is up, or somebody woke us."""
        pipe = self.process.stdout.fileno()
        found = select.select([self._ear] if self._closed else [pipe, self._ear], [], [], timeout)[0]
        if self._ear in found:
            with suppress(BlockingIOError):
                os.read(self._ear, 4096)
        if pipe in found and not self._closed:
            read = os.read(pipe, 262144)
            self._closed = not read
            self._read += read
        *whole, self._read = self._read.split(b"\n")
        if self._leave_by is not None and time.monotonic() > self._leave_by:
            self.process.kill()
        return whole

    def wake(self) -> None:
        """Ends a `hear` that is under way. Any thread may."""
        with self._words, suppress(OSError):
            if self._code is None:  # else the pipe was given back, and its number may be another file's
                os.write(self._mouth, b"!")

    def leave_by(self, seconds: float) -> None:
        """It was asked to leave: from so many seconds on it is ended."""
        self._leave_by = time.monotonic() + seconds

    def ended(self) -> bool:
        return self._closed or self.process.poll() is not None

    def kill(self) -> int:
        """Makes sure that it is gone, and gives back what it was held by: the code it ended with. Once."""
        if self._code is not None:
            return self._code
        if self._closed:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with self._words:
            self._code = self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with suppress(OSError):
                    pipe.close()
            os.close(self._ear)
            os.close(self._mouth)
        return self._code

    def last_words(self, most: int = 1500) -> str:
        with (self.home / "console.log").open("a+b") as console:
            console.seek(max(0, os.fstat(console.fileno()).st_size - most))
            return console.read().decode("utf-8", "replace").replace("\x00", "").strip()


class _the_only_child:
    """A lock that the child inherits and holds for as long as it lives: no two ever write one episode."""

    def __init__(self, home: Path) -> None:
        self.lock = os.open(home / "child.lock", os.O_RDWR | os.O_CREAT, 0o644)

    def __enter__(self) -> int:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self.lock
            except BlockingIOError:
                # The child of a supervisor that is gone notices by itself: its standard input has ended.
                if time.monotonic() > deadline:
                    os.close(self.lock)
                    raise RuntimeError(
                        "An earlier process of this session still runs, perhaps on another machine. End it there."
                    ) from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        os.close(self.lock)
