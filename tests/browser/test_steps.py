"""Judging a trace in a real browser: by keys alone, through hundreds of steps, and without script."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Label
from annotation.services import add_items
from tests.annotation import studies
from tests.browser.test_label import open_room, saved, shown

EVERY = {"kind": "steps", "options": {"mode": "every"}}
FOUR = "Let x be 2.\n\nThen x + 1 is 3.\n\nSo x is 4.\n\nDone."


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


def traces(owner, way: str | dict = "steps", texts=(FOUR, FOUR, FOUR), source: dict | None = None):
    study = studies.study(way, items=0, owner=owner)
    candidates = [[{"text": text, "source": source}] for text in texts]
    add_items(
        study=study,
        items=[{"context": {"prompt": "What is x?"}, "candidates": one} for one in candidates],
    )
    return study


def said() -> list:
    return [label.answer["labels"] for label in Label.objects.current().order_by("pk")]


def at(page: Page, number: int) -> None:
    expect(page.locator(".step.current")).to_have_attribute("data-step", str(number))


def test_one_key_says_which_step_is_the_first_wrong_one_and_one_that_none_is(page, sign_in, ada):
    study = traces(ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    at(page, 1)
    for key in ["ArrowDown", "j", "ArrowDown", "ArrowDown", "u"]:  # past the end is nowhere
        page.keyboard.press(key)
    at(page, 3)
    expect(page.locator(".step.current")).to_be_focused()
    expect(page.locator("[data-progress]")).to_have_text("Step 3 of 4")
    page.keyboard.press("x")
    saved(page)
    assert shown(page) != first
    page.keyboard.press("a")
    saved(page)
    assert said() == [[1, 1, -1, None], [1, 1, 1, 1]]

    page.keyboard.press("z")
    expect(page.locator("[data-action=all_right]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.locator("[data-step='3'] .step-first")).to_have_attribute("aria-pressed", "true")
    at(page, 3)
    page.keyboard.press("u")
    page.keyboard.press("x")
    saved(page)
    assert said() == [[1, -1, None, None]]


def test_what_has_not_left_the_browser_is_undone_with_its_step_marked(page, context, sign_in, ada):
    study = traces(ada)
    sign_in(ada)
    open_room(page, study)
    context.set_offline(True)
    page.keyboard.press("a")
    second = shown(page)
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{second}"]')).to_be_visible()
    expect(page.locator("[data-note]")).to_have_text("Taken back: step 2 is the first wrong one.")
    expect(page.locator("[aria-pressed=true].step-first")).to_have_count(1)
    context.set_offline(False)
    page.keyboard.press("u")
    page.keyboard.press("x")
    saved(page)
    assert said() == [[1, 1, 1, 1], [-1, None, None, None]]


def test_digits_judge_each_step_and_move_on_and_enter_sends(page, sign_in, ada):
    study = traces(ada, EVERY)
    sign_in(ada)
    open_room(page, study)
    first, progress = shown(page), page.locator("[data-progress]")
    page.keyboard.press("1")
    expect(page.locator("[data-note]")).to_have_text("Step 1 is right.")
    page.keyboard.press("2")
    expect(progress).to_have_text("Step 3 of 4 · 2 judged")
    page.keyboard.press("Enter")
    assert shown(page) == first
    expect(page.locator("[data-note]")).to_contain_text("Step 3 is not judged")
    page.keyboard.press("3")
    page.keyboard.press("Enter")  # what follows a wrong step need not be judged
    saved(page)
    assert said() == [[1, 0, -1, None]]
    second = shown(page)
    assert second != first

    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.locator("[data-step='2']")).to_have_attribute("data-label", "0")
    expect(page.get_by_role("group", name="Step 3 ✗ wrong")).to_be_visible()
    page.locator("[data-step='3'] .right").click()  # the mouse says the same
    page.locator("[data-step='4'] .right").click()
    page.keyboard.press("Enter")
    saved(page)
    assert said() == [[1, 0, 1, 1]]
    page.keyboard.press("2")
    page.keyboard.press("j")
    page.keyboard.press("x")
    saved(page)
    assert said() == [[1, 0, 1, 1], [0, 1, -1, None]]


def test_two_hundred_steps_keep_the_one_in_focus_in_sight(page, sign_in, ada):
    study = traces(ada, EVERY, texts=["\n\n".join(f"Thought {n}, in some words." for n in range(200))])
    page.set_viewport_size({"width": 390, "height": 800})
    sign_in(ada)
    open_room(page, study)
    bar = page.locator(".decide").bounding_box()
    for _ in range(199):
        page.keyboard.press("1")
    at(page, 200)
    expect(page.locator(".step.current")).to_be_in_viewport(ratio=1)
    expect(page.locator("[data-progress]")).to_have_text("Step 200 of 200 · 199 judged")
    assert page.locator(".decide").bounding_box() == bar
    page.keyboard.press("1")
    expect(page.locator("[data-note]")).to_have_text("That was the last step. Enter sends.")
    page.keyboard.press("Enter")
    saved(page)
    assert said() == [[1] * 200]


def test_a_double_click_judges_one_trace(page, sign_in, ada):
    study = traces(ada)
    sign_in(ada)
    open_room(page, study)
    page.locator("[data-action=first_wrong]").dblclick()
    saved(page)
    assert said() == [[-1, None, None, None]]


def test_fields_that_a_draft_filled_again_are_drawn_again(page, sign_in, ada):
    study = traces(ada, EVERY)
    sign_in(ada)
    open_room(page, study)
    page.evaluate(
        """() => {
            const form = document.querySelector("form.task");
            form.elements["step.1"].value = "0";
            form.dispatchEvent(new CustomEvent("kibitz:restored"));
        }"""
    )
    expect(page.locator("[data-step='2']")).to_have_attribute("data-label", "0")
    expect(page.locator("[data-progress]")).to_have_text("Step 1 of 4 · 1 judged")


@pytest.mark.parametrize("way", ["steps", EVERY])
@pytest.mark.parametrize("width", [320, 390])
def test_on_a_small_screen_nothing_runs_over(page, sign_in, ada, way, width):
    wide = {"steps": [{"role": "tool_call_with_a_long_name", "text": "x" * 400}, "קודם *כול*, " * 40, "מים."]}
    study = traces(ada, way, texts=[""], source=wide)
    page.set_viewport_size({"width": width, "height": 700})
    sign_in(ada)
    open_room(page, study)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        "[...document.querySelectorAll('.stage, .decide, .step')].every(e => e.scrollWidth <= e.clientWidth + 1)"
    )
    bar = page.locator(".decide").bounding_box()
    assert bar["y"] + bar["height"] <= 700
    assert page.locator(".step-text p").last.evaluate("text => getComputedStyle(text).direction") == "rtl"


@pytest.mark.parametrize("way", ["steps", EVERY])
def test_it_works_without_script(browser, site, ada, way):
    study = traces(ada, way)
    ada.set_password("difference engine")
    ada.save()
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/studies/{study.pk}/label/")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "difference engine")
    page.get_by_role("button", name="Sign in").click()
    first = shown(page)
    if way is EVERY:
        page.locator("[data-step='1']").get_by_role("radio", name="neutral").check()
        page.locator("[data-step='2']").get_by_role("radio", name="right").check()
        page.keyboard.press("Enter")  # sends what was said, and presses no step's button
        expect(page.locator(".decide-note")).to_contain_text("Step 3 is not judged")
        expect(page.locator("[data-step='1']").get_by_role("radio", name="neutral")).to_be_checked()
    page.get_by_role("button", name="Step 3 is the first wrong one").click()
    assert said() == [[0 if way is EVERY else 1, 1, -1, None]]
    assert shown(page) != first
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == first
    expect(page.get_by_role("button", name="Step 3 is the first wrong one")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.get_by_role("button", name=re.compile("all are right|none is wrong")).click()
    assert said()[0][1:] == [1, 1, 1]
    context.close()
