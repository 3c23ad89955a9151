"""The client and its documentation, against the real server: every example of docs/api.md is run as it stands."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import connections

from annotation import import_jobs, webhooks
from annotation.models import Label, Study
from annotation.reliability.sweep import fit
from tests.annotation import studies
from tests.webapp.runs import Source
from webapp.accounts.models import ApiToken
from webapp.runs.models import Run, Status

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "client"))
import kibitz_client  # noqa: E402
from kibitz_client import Conflict, Invalid, Kibitz, KibitzError, NotFound, Unauthenticated, Unreachable  # noqa: E402

BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


@pytest.fixture
def kibitz(site, ada) -> Kibitz:
    return Kibitz(site.url, ApiToken.issue(ada, "script")[1], retries=2)


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    """Messages to workers are done at once, on a thread."""
    threads = []

    def do(name, args=(), **_):
        if name != "annotation.import":
            return

        def work():
            import_jobs.run(*args)
            connections.close_all()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    for module in (import_jobs, webhooks):
        monkeypatch.setattr(module, "current_app", SimpleNamespace(send_task=do))
    yield
    for one in threads:
        one.join()


@pytest.fixture
def web():
    """A server of the test's own: `answers` are what it says to one request after another."""
    seen, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length", 0))
            seen.append((self.command, self.path, self.headers.get("Authorization"), self.rfile.read(length)))
            status, body, headers = answers.pop(0)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.seen, server.answers = seen, answers
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    server.server_close()


def impatient(monkeypatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(kibitz_client.time, "sleep", waits.append)
    return waits


# --- the documentation


def test_every_example_of_the_documentation_runs_as_it_stands(site, ada, tmp_path, monkeypatch):
    monkeypatch.setenv("KIBITZ_URL", site.url)
    monkeypatch.setenv("KIBITZ_TOKEN", ApiToken.issue(ada, "docs")[1])
    monkeypatch.chdir(tmp_path)
    blocks = BLOCKS.findall((ROOT / "docs" / "api.md").read_text())
    names: dict = {}
    for language, text in blocks:
        if language == "python":
            if ".quality(" in text:
                fit(Study.objects.get(pk=names["study"].id))  # as a worker does
            exec(compile(text, "docs/api.md", "exec"), names)
    assert sum(language == "python" for language, _ in blocks) == 8
    records = [json.loads(line) for line in Path("records.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in records] == ["pair", "pair"]
    assert Path("today.jsonl").stat().st_size and Path("trl.jsonl").stat().st_size

    study = names["study"].id
    Path("more.csv").write_text("prompt,answer_1,answer_2\nWhere is the lift?,To the left.,Search.\n")
    (shell,) = [text for language, text in blocks if language == "bash"]
    commands = re.sub(
        r"^(kibitz (?:\w+ )?(?:stats |quality |--study )?)1\b", rf"\g<1>{study}", shell, flags=re.M
    )
    command = tmp_path / "bin" / "kibitz"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/client/kibitz_client.py "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", commands],
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[0]["name"] == "Which answer is kinder?"
    assert said[1]["counts"] == {"items": 1} and said[2]["labels"] == 2
    assert said[-1]["url"] == "https://93.184.216.34/kibitz" and "secret" not in said[-1]
    assert Path("pairs.jsonl").read_bytes()


def test_the_client_is_one_file_for_python_3_9_that_needs_nothing_else():
    import ast

    source = (ROOT / "client" / "kibitz_client.py").read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert roots <= sys.stdlib_module_names
    assert f'version = "{kibitz_client.__version__}"' in (ROOT / "client" / "pyproject.toml").read_text()


# --- what it does


def test_labels_come_page_by_page_each_once(kibitz, ada, monkeypatch):
    study = studies.study(items=7, owner=ada)
    for _ in range(7):
        studies.label_next(study, ada)
    monkeypatch.setattr(kibitz_client, "PAGE", 3)
    assert [one.id for one in kibitz.labels(study.pk)] == list(Label.objects.values_list("pk", flat=True))
    assert [one.position for one in kibitz.items(study.pk)] == list(range(7))
    assert kibitz.label_counts(study.pk) == {
        "labels": 7, "kinds": {"pairwise": 7}, "annotators": {"ada": 7},
    }  # fmt: skip


def test_an_answer_sent_twice_under_one_key_is_one_label(kibitz, ada):
    study = studies.study(items=1, owner=ada)
    (task,) = kibitz.next(study.pk)
    key = str(uuid4())
    first, second = (kibitz.submit(task, {"choice": "a"}, key=key) for _ in range(2))
    assert first == second and Label.objects.count() == 1
    withdrawn = kibitz.withdraw_label(first.label)
    assert withdrawn.withdrawn and withdrawn.supersedes == first.label
    with pytest.raises(Conflict):
        kibitz.withdraw_label(first.label)


def test_remarks_go_in_and_come_out(kibitz, ada):
    study = studies.study(items=1, owner=ada)
    (task,) = kibitz.next(study.pk)
    made = kibitz.add_remark(task.id, "flag", reason="broken", text="No answer at all.")
    assert [one["id"] for one in kibitz.remarks(study.pk)] == [made["id"]]
    assert kibitz.resolve_remark(made["id"])["resolved_at"]


def test_an_import_is_stopped_and_says_so(kibitz, ada, monkeypatch, tmp_path):
    monkeypatch.setattr(import_jobs, "current_app", SimpleNamespace(send_task=lambda *_, **__: None))
    study = studies.study(items=0, owner=ada)
    file = tmp_path / "öl.jsonl"
    file.write_text('{"kind": "item", "prompt": "A?", "candidates": ["a", "b"]}\n')
    job = kibitz.start_import(study.pk, file, "kibitz")
    assert job.under_way and kibitz.cancel_import(job.id).status == "cancelled"
    with pytest.raises(kibitz_client.ImportFailed, match="cancelled"):
        kibitz.wait_for_import(job)
    assert [one.id for one in kibitz.imports(study.pk)] == [job.id]
    with pytest.raises(Conflict):
        kibitz.cancel_import(job.id)


def test_a_run_is_watched_to_its_end_with_each_point_once(kibitz, ada):
    source = Source(studies.study(items=0, owner=ada))
    source.log(700)
    seen = []
    for point in kibitz.watch(source.run.pk, after=100, every=0.01):
        seen.append(point.seq)
        if point.seq == 700:
            source.log(50)
        if point.seq == 750:
            Run.objects.filter(pk=source.run.pk).update(status=Status.FINISHED)
    assert seen == list(range(101, 751))
    assert [run.id for run in kibitz.runs(study=source.run.study_id)] == [source.run.pk]
    assert kibitz.run(source.run.pk).ended and kibitz.samples(source.run.pk) == []
    with pytest.raises(Conflict):
        kibitz.stop_run(source.run.pk)


def test_a_model_is_brought_and_fetched_byte_for_byte(kibitz, ada, tmp_path):
    study = studies.study(items=0, owner=ada)
    (tmp_path / "config.json").write_text('{"model_type": "toy"}')
    (tmp_path / "model.safetensors").write_bytes(os.urandom(600_000))
    files = [tmp_path / "config.json", tmp_path / "model.safetensors"]
    made = kibitz.bring_model(study.pk, files, kind="policy", name="toy")
    assert [one.id for one in kibitz.artifacts(study=study.pk)] == [made.id]
    fetched = kibitz.download_artifact(made.id, tmp_path / "back")
    assert {path.name: path.read_bytes() for path in fetched} == {
        path.name: path.read_bytes() for path in files
    }


def test_refusals_are_exceptions_with_message_code_and_field(kibitz, site, ada):
    with pytest.raises(Invalid) as invalid:
        kibitz.create_study("x", overlap=0)
    assert (invalid.value.field, invalid.value.code, invalid.value.status) == ("overlap", "invalid", 422)
    with pytest.raises(NotFound):
        kibitz.study(10**9)
    with pytest.raises(Unauthenticated, match="valid token"):
        Kibitz(site.url, "kbz_wrong").studies()
    with pytest.raises(Unauthenticated, match="No token"):
        Kibitz(site.url, "")
    with pytest.raises(Invalid, match="expected http"):
        Kibitz("ftp://x", "kbz_x")


def test_webhooks_are_kept_by_the_client(kibitz, ada, settings):
    settings.KIBITZ_WEBHOOKS_PRIVATE = True
    study = studies.study(items=0, owner=ada)
    made = kibitz.add_webhook(study.pk, "http://127.0.0.1:9/", list(webhooks.EVENTS))
    assert made.secret.startswith("whsec_") and kibitz.webhooks(study.pk)[0].secret == ""
    assert kibitz.change_webhook(made.id, events=["run.finished"]).events == ["run.finished"]
    letter = kibitz.test_webhook(made.id)
    assert [one.id for one in kibitz.deliveries(made.id)] == [letter.id]
    kibitz.remove_webhook(made.id)
    assert kibitz.webhooks(study.pk) == []


# --- the network


def test_what_does_no_harm_is_asked_again_and_nothing_else_is(web, monkeypatch):
    waits = impatient(monkeypatch)
    kibitz = Kibitz(web.url, "kbz_x", retries=3)
    web.answers += [(503, b"", {}), (502, b"<html>", {}), (200, b"[]", {})]
    assert kibitz.studies() == [] and len(web.seen) == 3
    assert len(waits) == 2 and waits[0] < waits[1] * 2 and all(0 < wait <= 1 for wait in waits)
    web.answers += [(503, b"", {})]
    with pytest.raises(KibitzError) as problem:
        kibitz.create_study("x")
    assert problem.value.status == 503 and len(web.seen) == 4
    web.answers += [(500, b'{"error": {"code": "x", "message": "broken"}}', {})]
    with pytest.raises(KibitzError, match="broken"):
        kibitz.studies()
    assert len(web.seen) == 5
    said = b'{"label": 1, "task": 2, "answer": {}, "created_at": ""}'
    web.answers += [(503, b"", {}), (200, said, {})]
    kibitz.submit(2, {"choice": "a"})
    first, second = (json.loads(body)["key"] for _, _, _, body in web.seen[-2:])
    assert first == second


def test_nobody_at_home_is_said_after_the_last_try(monkeypatch):
    waits = impatient(monkeypatch)
    with pytest.raises(Unreachable, match="refused"):
        Kibitz("http://127.0.0.1:9", "kbz_x", retries=2).studies()
    assert len(waits) == 2


def test_a_token_is_carried_to_no_other_address(web):
    web.answers += [(302, b"", {"Location": f"{web.url}/elsewhere"})]
    with pytest.raises(KibitzError, match="302"):
        Kibitz(web.url, "kbz_secret").studies()
    assert len(web.seen) == 1 and web.seen[0][2] == "Bearer kbz_secret"


def test_a_download_that_breaks_off_leaves_no_file(web, tmp_path):
    web.answers += [(200, b"half", {"Content-Length": "1000", "Connection": "close"})]
    with pytest.raises(Unreachable, match="broke off"):
        Kibitz(web.url, "kbz_x").download(1, tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("*.jsonl*")) and not list(tmp_path.glob(".*"))
    web.answers += [(200, b"whole", {})]
    sink = io.BytesIO()
    assert Kibitz(web.url, "kbz_x").download(1, sink) == 5 and sink.getvalue() == b"whole"


def test_an_answer_with_more_than_the_client_knows_is_read(web):
    row = {"id": 1, "study": 1, "url": "u", "events": [], "active": True, "created_at": "", "colour": "red"}
    web.answers += [(200, json.dumps([row]).encode(), {}), (200, b'[{"id": 1}]', {})]
    kibitz = Kibitz(web.url, "kbz_x")
    assert kibitz.webhooks(1)[0].more == {"colour": "red"}
    with pytest.raises(KibitzError, match="lacks active, created_at"):
        kibitz.webhooks(1)


def test_the_command_says_in_a_line_what_is_wrong(site, ada, tmp_path, capsys, monkeypatch):
    token = ApiToken.issue(ada, "shell")[1]
    study = studies.study(items=0, owner=ada)
    start = ["--url", site.url, "--token", token]
    file = tmp_path / "bad.jsonl"
    file.write_text('{"kind": "item", "prompt": "A?", "candidates": ["a"]}\n')
    assert kibitz_client.main([*start, "import", str(study.pk), str(file), "--format", "kibitz"]) == 1
    assert "line 1, field candidates: Found 1 answers" in capsys.readouterr().err
    assert kibitz_client.main([*start, "export", str(study.pk), "--filter", "oops"]) == 1
    assert "expected NAME=VALUE" in capsys.readouterr().err
    assert kibitz_client.main([*start, "runs", "999999"]) == 1
    assert "not_found" in capsys.readouterr().err
    monkeypatch.delenv("KIBITZ_TOKEN", raising=False)
    assert kibitz_client.main(["--url", site.url, "studies"]) == 1
    assert "No token" in capsys.readouterr().err
