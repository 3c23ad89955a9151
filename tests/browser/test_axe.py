"""axe-core finds no fault on any page of the site, light or dark, in full use or before anything has begun."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.annotation import studies
from tests.browser import site_map
from tests.browser.site_map import NO_PAGES, PAGES

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong, each with the rule and the element."""
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:240]}"
        for one in found
        for node in one["nodes"]
    ]


def test_every_address_of_the_site_is_a_page_that_is_looked_at_or_says_why_not():
    known = set(PAGES) | set(NO_PAGES)
    assert site_map.addresses() - known == set(), "add them to tests/browser/site_map.py"
    assert known - site_map.addresses() == set(), "these are gone from the table of addresses"
    assert set(PAGES) & set(NO_PAGES) == set()


def test_the_way_home_has_its_name_where_the_window_has_no_room_for_it(page, site, sign_in, transactional_db):
    sign_in(studies.person("ada"))
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto("/")
    assert page.get_by_role("link", name="Kibitz").bounding_box()["width"] < 60
    assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_fault_that_axe_finds(page, house, visitor, scheme):
    page.emulate_media(color_scheme=scheme)
    found = []
    for visit in site_map.visits(house):
        visitor.go(visit)
        found += [f"{visit.address} ({visit.who or 'nobody'}): {fault}" for fault in faults(page)]
    assert not found, "\n".join(found)
