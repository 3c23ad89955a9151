"""On a small screen, or enlarged to twice its size, every page can be read and every control of it pressed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from annotation.interfaces.registry import INTERFACES
from annotation.models import Task
from annotation.services import add_items, claim_tasks
from tests.annotation import robots, studies
from tests.browser import site_map
from tests.browser.house import ARABIC, HEBREW, WAYS, converse

# At 200 %, a window of 1440 by 900 has 720 by 450 of its pixels left, each drawn with two.
SIZES = {"320": (320, 640, 1), "390": (390, 844, 1), "twice": (720, 450, 2)}

OUT_OF_REACH = """async () => {
    const found = [];
    const page = document.documentElement;
    if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} wide`);
    const controls = "button, a.button, summary, select, textarea, input:not([type=hidden])";
    for (const one of document.querySelectorAll(controls)) {
        if (one.disabled || !one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        const words = `${one.localName} “${(one.textContent.trim() || one.name || "").slice(0, 40)}”`;
        one.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
        const box = one.getBoundingClientRect();
        if (box.width < 4 || box.height < 4) continue;  // for screen readers alone; its label is what is pressed
        if (box.left < -1 || box.right > innerWidth + 1) found.push(`${words} is cut off`);
        const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
        const top = document.elementFromPoint(x, y);
        if (!top || !(one.contains(top) || top.closest("label")?.contains(one)))
            found.push(`${words} is covered by ${top?.outerHTML.slice(0, 90)}`);
        const style = getComputedStyle(one);
        if (one.matches("button, a, summary") && style.overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1)
            found.push(`${words} has its words cut off`);
    }
    return found;
}"""

NOT_FROM_THE_RIGHT = """() => {
    const found = [];
    const walker = document.createTreeWalker(document.querySelector("form.task"), NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        const holder = walker.currentNode.parentElement;
        if (!/^[\\u0590-\\u06ff]/.test(text) || !holder.checkVisibility()) continue;
        texts += 1;
        const style = getComputedStyle(holder);
        if (style.direction !== "rtl" && style.unicodeBidi !== "plaintext") found.push(holder.outerHTML.slice(0, 120));
    }
    return texts ? found : ["no text runs from the right"];
}"""


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def context(browser: Browser, site, request) -> Iterator[BrowserContext]:
    width, height, scale = request.param
    context = browser.new_context(
        base_url=site.url, viewport={"width": width, "height": height}, device_scale_factor=scale,
        reduced_motion="reduce",
    )  # fmt: skip
    context.set_default_timeout(10_000)
    yield context
    context.close()


def out_of_reach(page: Page) -> list[str]:
    """What makes the page scroll sideways, and the controls that are cut off or lie under something else."""
    return page.evaluate(OUT_OF_REACH)


def test_every_page_fits_and_every_control_of_it_can_be_pressed(page, house, visitor):
    found = []
    for visit in site_map.visits(house):
        visitor.go(visit)
        found += [f"{visit.address} ({visit.who or 'nobody'}): {one}" for one in out_of_reach(page)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", INTERFACES)
def test_texts_from_right_to_left_run_so_in_every_interface_and_fit(page, sign_in, transactional_db, kind):
    ada = studies.person("ada")
    (way,) = [way for way in WAYS if kind in (way, way["kind"] if isinstance(way, dict) else "")]
    study = studies.study(way, items=0, owner=ada)
    candidates = [HEBREW * 6, ARABIC * 9]
    if kind in robots.KINDS:
        robots.ask(study, 1)
        candidates = [{"text": one.text, "source": one.source} for one in study.items.get().candidates.all()]
        study.items.all().delete()
    add_items(study=study, items=[{"context": {"prompt": ARABIC * 3}, "candidates": candidates}])
    if kind == "conversation":
        (turn,) = claim_tasks(study=study, annotator=ada)
        converse(Task.objects.get(pk=turn.task.pk), ada)
    sign_in(ada)
    page.goto(f"/studies/{study.pk}/label/")
    page.wait_for_selector("form.task .stage:focus, form.task .stage :focus")
    assert page.evaluate(NOT_FROM_THE_RIGHT) == []
    assert out_of_reach(page) == []
    page.evaluate("document.documentElement.dir = 'rtl'")  # a page that is all of it right to left holds too
    assert out_of_reach(page) == []
