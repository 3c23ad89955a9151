"""Real feedback through the real pages: 400 questions come in by the import page, are read there, and go out whole."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
from pathlib import Path

import pytest
from django.db import connection
from playwright.sync_api import Page, expect

from annotation import import_jobs
from annotation.models import Item, Label, Task
from tests.annotation import studies
from tests.annotation.test_critique import facts
from trainers import records

DATA = os.environ.get("KIBITZ_DATA")
pytestmark = [
    pytest.mark.skipif(not DATA, reason="KIBITZ_DATA names no folder with qa_feedback"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def rows() -> dict[str, dict]:
    with gzip.open(Path(DATA) / "qa_feedback.jsonl.gz", "rt", encoding="utf-8") as file:
        return {row["id"]: row for row in map(json.loads, file)}


@pytest.fixture
def worker(monkeypatch):
    """Imports a file that came, as a worker does, beside the page that watches."""
    threads = []

    def work(job_pk: int) -> None:
        import_jobs.run(job_pk)
        connection.close()

    def send(job) -> None:
        threads.append(threading.Thread(target=work, args=[job.pk]))
        threads[-1].start()

    monkeypatch.setattr(import_jobs, "send", send)
    yield
    for thread in threads:
        thread.join(timeout=300)


def bring_in(page: Page, study) -> None:
    page.goto(f"/studies/{study.pk}/imports/")
    page.get_by_label("It holds").select_option("qa_feedback")
    page.locator("input[type=file]").set_input_files(Path(DATA) / "qa_feedback.jsonl.gz")
    page.get_by_role("button", name="Import the file").click()
    expect(page.get_by_role("heading", name="All of it is in")).to_be_visible(timeout=300_000)


def critique_shown(page: Page) -> dict:
    """What a reader finds of a critique: the text, the stretches with type and note, and what is missing."""
    text = page.locator(".said-text:has(.said-mark)").first
    text_alone = text.evaluate(
        """one => { const copy = one.cloneNode(true);
            for (const number of copy.querySelectorAll(".said-number")) number.remove();
            return copy.textContent; }"""
    )
    spans = (
        page.locator(".said-spans")
        .first.locator("li")
        .evaluate_all(
            """all => all.map((one) =>
                [one.querySelector('strong').textContent, one.querySelector('p')?.textContent ?? ''])"""
        )
    )
    missing = page.locator(".said-missing").first.locator("li").all_text_contents()
    return {"text": text_alone, "spans": [tuple(one) for one in spans], "missing": missing}


def marked(page: Page, number: int) -> str:
    """The characters of the stretch that begins with this number, up to where its mark ends."""
    mark = page.locator(".said-mark", has=page.locator(".said-number", has_text=re.compile(f"^{number}$")))
    return mark.first.evaluate(
        "one => [...one.childNodes].filter((part) => part.nodeType === 3).map((part) => part.data).join('')"
    )


def check_critique(page: Page, row: dict) -> None:
    shown = critique_shown(page)
    errors = sorted(row["errors"], key=lambda one: (one["start"], one["end"], one["type"]))
    names = {"Wrong-Grounding": "Contradicted"}
    assert shown["text"] == row["answers"][0]
    assert shown["spans"] == [(names.get(one["type"], one["type"]), one["explanation"]) for one in errors]
    assert len(shown["missing"]) == len(row["missing"])
    for number, one in enumerate(errors, 1):
        assert marked(page, number) == row["answers"][0][one["start"] : one["end"]]


def test_four_hundred_questions_come_in_are_read_and_go_out_with_every_fact(
    page, sign_in, transactional_db, worker, rows
):
    ada = studies.person("ada")
    study = studies.study("pairwise", "critique", "edit", items=0, owner=ada)
    sign_in(ada)
    bring_in(page, study)
    assert study.items.count() == 400 and len(rows) == 400
    assert Label.objects.filter(study=study, kind="pairwise").count() == 2400

    # A reviewer reads a critique where its task is, and where the item's story is.
    row = rows["qa-001"]
    assert len(row["errors"]) == 4 and row["missing"] and row["correction"]
    item = Item.objects.get(study=study, external_id="qa-001")
    page.goto(f"/tasks/{Task.objects.get(item=item, kind='critique', done=1).pk}/review/")
    check_critique(page, row)
    page.goto(f"/items/{item.pk}/")
    story = page.get_by_role("region", name="What happened")
    for full in story.get_by_text("In full").all():
        full.click()
    check_critique(page, row)
    expect(story.get_by_text(row["correction"], exact=True).last).to_be_visible()

    # And what the studio hands out says, of each question, all that the file said.
    page.goto(f"/studies/{study.pk}/data/")
    page.get_by_label("Format").select_option("kibitz")
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("button", name="Export").click()
    of_row: dict[str, list[records.Record]] = {name: [] for name in rows}
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        record = records.parse(line, number)
        of_row[record.source["external_id"]].append(record)
    for name, row in rows.items():
        assert facts(of_row[name]) == {
            "question": row["question"],
            "answers": dict(enumerate(row["answers"])),
            "preference": row["preference"],
            "errors": sorted((e["start"], e["end"], e["type"], e["explanation"]) for e in row["errors"]),
            "missing": [(m["error type"], m["passage_id"], m["sentence_id"]) for m in row["missing"]],
            "correction": row["correction"],
        }, name
