"""In a real browser, on every page: texts that try to run as script, and a page that only shows them."""

from __future__ import annotations

import pytest

from annotation import exchanges
from tests.webapp.endpoints import ANNOTATOR, OWNER
from tests.webapp.test_hostile_text import SCRIPTS, hostile, pages_of


@pytest.mark.timeout(300)
def test_no_page_runs_what_it_shows(page, sign_in, monkeypatch):
    """The page's fixture fails where the content policy had to block something: nothing gets that far."""
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    ours = hostile(" ".join(SCRIPTS.values()))
    opened, wrong = 0, []
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    for who in (OWNER, ANNOTATOR):
        sign_in(ours.people[who])
        for reader, path in dict.fromkeys(pages_of(ours)):
            if reader != who or any(
                part in path for part in ("/label/next/", "/export/", ".jsonl", "/steps/")
            ):
                continue
            page.goto(path)
            page.wait_for_load_state("load")
            assert page.evaluate("window.__pwned") is None, path
            assert (
                page.locator("script:not([src^='/static/']):not([type='application/json'])").count() == 0
            ), path
            opened += 1
    assert opened > 60
    assert not wrong
