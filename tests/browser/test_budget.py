"""What the labelling page weighs, that nothing on it moves by itself, and that it holds when enlarged or narrow."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from annotation.interfaces.registry import INTERFACES
from annotation.services import add_items, claim_tasks
from tests.annotation import studies
from tests.browser.test_label import open_room, ready, saved, shown

BUDGET = 150_000


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


@pytest.mark.parametrize("kind", INTERFACES)
def test_the_label_page_of_each_kind_transfers_less_than_150_kb(context, page, sign_in, ada, kind):
    study = studies.study(kind, items=3, owner=ada)
    sign_in(ada)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    urls, sizes = {}, {}
    session.on("Network.responseReceived", lambda e: urls.update({e["requestId"]: e["response"]["url"]}))
    session.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
    page.goto(f"/studies/{study.pk}/label/")
    page.wait_for_load_state("networkidle")
    weights = {urls[one].split("/", 3)[3]: size for one, size in sizes.items() if one in urls}
    weights = {url: size for url, size in weights.items() if "/label/next/" not in url}  # the next tasks
    assert any("label_task.js" in url for url in weights)
    heaviest = sorted(weights.items(), key=lambda one: -one[1])
    assert sum(weights.values()) < BUDGET, heaviest
    others = set(INTERFACES) - {kind}
    loaded = [url for url in weights if "/interfaces/" in url]
    assert not [url for url in loaded if any(url.endswith(f"/{other}.js") for other in others)], loaded


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_shifts_when_the_next_task_appears(page, sign_in, ada, width):
    study = studies.study(items=12, owner=ada)
    page.set_viewport_size({"width": width, "height": 800})
    page.add_init_script(
        """globalThis.shifts = [];
        new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
            .observe({ type: "layout-shift", buffered: true });"""
    )
    sign_in(ada)
    open_room(page, study)
    page.evaluate("shifts.length = 0")
    bars, seen = [], []
    for key in "1234567n12":
        bars.append(page.locator(".decide").bounding_box())
        seen.append(shown(page))
        page.keyboard.press(key)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        ready(page)
    saved(page)
    assert len(set(seen)) == 10
    assert bars == [bars[0]] * 10
    assert page.evaluate("shifts") == []  # those that follow a key press are counted too


def cut_off(page: Page) -> list[str]:
    """What the person cannot reach: controls outside the window, and whatever makes the page scroll sideways."""
    return page.evaluate(
        """() => {
            const found = [];
            const wide = document.documentElement.scrollWidth;
            if (wide > innerWidth) found.push(`page ${wide}`);
            const controls = ".room-bar :is(a, summary, p), .decide :is(button, summary, a, p)";
            for (const one of document.querySelectorAll(controls)) {
                const box = one.getBoundingClientRect();
                if (!box.width || one.closest("details:not([open]) > :not(summary), .room-kinds")) continue;
                if (box.left < -1 || box.right > innerWidth + 1 || box.top < -1 || box.bottom > innerHeight + 1)
                    found.push(`${one.textContent.trim()} ${Math.round(box.left)}..${Math.round(box.right)}`);
            }
            return found;
        }"""
    )


# At 200 %, a window of 1280 by 900 has 640 by 450 of its pixels left; 320 is 1280 at 400 %.
@pytest.mark.parametrize("size", [(640, 450), (390, 800), (320, 640)])
@pytest.mark.parametrize("kind", INTERFACES)
def test_enlarged_or_narrow_everything_can_be_reached(page, sign_in, ada, kind, size):
    study = studies.study(kind, items=3, owner=ada)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    sign_in(ada)
    open_room(page, study)
    assert cut_off(page) == []
    stage = page.locator(".stage").bounding_box()
    assert stage["height"] > size[1] * 0.25  # and the question still has room
    page.keyboard.press("f")
    page.keyboard.press("1")
    assert cut_off(page) == []
    send = page.get_by_role("button", name="Flag it")
    send.scroll_into_view_if_needed()
    expect(send).to_be_in_viewport(ratio=1)


def test_texts_that_run_from_right_to_left_do_so_and_the_bar_stays_as_it_is(page, sign_in, ada):
    study = studies.study(items=0, owner=ada)
    words = "ما هي أفضل طريقة لتعلم لغة جديدة؟ "
    add_items(study=study, items=[{"context": {"prompt": words}, "candidates": [words * 9, "Latin words."]}])
    page.set_viewport_size({"width": 320, "height": 640})
    sign_in(ada)
    open_room(page, study)
    (turn,) = claim_tasks(study=study, annotator=ada)
    arabic = "a" if turn.candidates[0].text.startswith("ما") else "b"

    def direction(place: str) -> str:
        return page.locator(place).evaluate(
            "one => getComputedStyle(one.querySelector('p') ?? one).direction"
        )

    assert direction(f".answer-{arabic} .answer-text") == "rtl"
    assert direction(f".answer-{'ab'.replace(arabic, '')} .answer-text") == "ltr"
    assert direction(".turn-text") == "rtl"
    assert cut_off(page) == []
    page.evaluate("document.documentElement.dir = 'rtl'")  # a page that is all of it right to left holds too
    assert cut_off(page) == []
