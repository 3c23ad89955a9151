"""`manage.py up`, as a newcomer meets it: one line with a link, everything alive, everything gone after Ctrl-C."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]


class Studio:
    """A studio of its own home and port, started as a person would start it."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "BROKER_URL")}
        self.environment = {
            **inherited, "KIBITZ_HOME": str(home), "KIBITZ_PORT": str(self.port), "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self.link = self.wait_for(r"http://\S+/accounts/enter/\S+")

    def wait_for(self, pattern: str) -> str:
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found[0]
        raise AssertionError("the studio ended early:\n" + "".join(self.said))

    def part(self, words: str) -> psutil.Process:
        """The process of this studio whose command line holds `words`."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    if words in " ".join(child.cmdline()):
                        return child
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.1)
        raise AssertionError(f"no part runs {words!r}")

    def get(self, path: str) -> str:
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10).read().decode()

    def postgres(self) -> psutil.Process:
        return psutil.Process(int((self.home / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    home = Path(tempfile.mkdtemp(prefix="kibitz-up-"))
    home.chmod(0o755)
    studio = Studio(home)
    yield studio
    if studio.process.poll() is None:
        studio.process.send_signal(signal.SIGINT)
        studio.process.wait(timeout=60)
    shutil.rmtree(home, ignore_errors=True)


def test_the_printed_link_signs_in_once_and_leads_to_a_pair_to_judge(studio):
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    home = browser.open(studio.link, timeout=10).read().decode()
    assert "Hotel desk" in home
    study = re.search(r'href="(/studies/\d+/)"', home)[1]
    page = browser.open(f"http://127.0.0.1:{studio.port}{study}label/", timeout=10).read().decode()
    assert page.count("<label-task") == 1 and "answer" in page.lower()
    stranger = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    try:
        again = stranger.open(studio.link, timeout=10).read().decode()
    except urllib.error.HTTPError as refusal:
        again = refusal.read().decode()
    assert "Hotel desk" not in again


def test_the_database_is_durable_and_not_on_the_network(studio):
    pid_file = (studio.home / "postgres" / "postmaster.pid").read_text().splitlines()
    with psycopg.connect(
        f"postgresql://postgres@/kibitz?host={pid_file[4]}&port={pid_file[3]}"
    ) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    listening = {c.laddr.port for c in studio.postgres().net_connections("inet") if c.status == "LISTEN"}
    listening |= {
        c.laddr.port for c in studio.part("valkey-server").net_connections("inet") if c.status == "LISTEN"
    }
    assert not listening


@pytest.mark.parametrize("words", ["uvicorn", "--queues cpu", "valkey-server"])
def test_a_part_that_is_killed_is_started_again(studio, words):
    killed = studio.part(words)
    killed.kill()
    killed.wait(timeout=10)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if studio.part(words).pid != killed.pid:
            break
    assert studio.part(words).is_running()
    if words == "uvicorn":
        while True:
            try:
                assert "Sign in" in studio.get("/accounts/login/")
                break
            except OSError:
                assert time.monotonic() < deadline, "the site did not come back"
                time.sleep(0.2)


def test_a_second_studio_on_the_same_data_is_refused(studio):
    second = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=studio.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode != 0
    assert "already running" in second.stderr


def test_ctrl_c_stops_everything_it_started_and_nothing_else(studio):
    parts = psutil.Process(studio.process.pid).children(recursive=True) + [studio.postgres()]
    bystander = subprocess.Popen(["sleep", "60"])
    studio.process.send_signal(signal.SIGINT)
    studio.process.wait(timeout=60)
    gone, alive = psutil.wait_procs(parts, timeout=10)
    assert not alive
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
