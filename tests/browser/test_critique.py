"""Criticising an answer in a real browser: by the keys alone, and with the mouse; to the character."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from annotation.models import Label
from annotation.services import add_items
from tests.annotation import studies

TEXT = "👩‍👩‍👧 שלום עולם. It was 😀 so, they say.\r\nIt was so. <b>Not</b> bold."
"""A family of five characters, two words from right to left, a face outside the first plane, a Windows line end."""


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


@pytest.fixture
def room(page: Page, sign_in, ada):
    """The labelling room with one answer in it; `room(text)` opens it."""

    def enter(text: str = TEXT, items: int = 1, **options) -> None:
        study = studies.study({"kind": "critique", "options": options}, items=0, owner=ada)
        add_items(
            study=study,
            items=[{"context": {"prompt": f"Was it so? {n}"}, "candidates": [text]} for n in range(items)],
        )
        sign_in(ada)
        page.goto(f"/studies/{study.pk}/label/")
        expect(page.locator("critique-answer.alive")).to_be_visible()
        page.wait_for_function("() => document.querySelector('label-task').fetching === null")

    return enter


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def marked(page: Page) -> list[tuple]:
    spans = json.loads(page.locator("input[name=spans]").input_value())
    return [(span["start"], span["end"], span["type"]) for span in spans]


def test_by_the_keys_alone_to_the_character_behind_emoji_and_hebrew(page, room):
    room()
    press(page, "t")  # into the text
    expect(page.get_by_role("textbox", name="Text of the answer")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.querySelector('[data-text]')).direction") == "rtl"
    # The text begins from right to left, so its next word is to the left.
    press(page, "ArrowLeft", "Shift+ArrowLeft", "1")
    shalom = TEXT.index("שלום")
    assert marked(page) == [(shalom, shalom + 4, "Irrelevant")]
    expect(page.locator("[data-told]")).to_contain_text("Marked as Irrelevant: “שלום”. 1 in all.")
    press(
        page, "ArrowLeft", "ArrowLeft", "ArrowLeft", "x"
    )  # past "עולם", its full stop and "It": the sentence
    sentence = (TEXT.index("It was"), TEXT.index("\r"))
    expect(page.locator("[data-told]")).to_contain_text("Marked: It was 😀 so, they say.")
    press(page, "5")
    assert marked(page)[1] == (*sentence, "Unverifiable")
    # Tab to the list: change a type, write a note, remove.
    press(page, "Tab", "2", "Enter")
    page.keyboard.type("who asked 1?")
    press(page, "Enter")
    assert marked(page)[0][2] == "Redundant"
    press(page, "m")
    page.keyboard.type("when")
    press(page, "Enter")
    page.keyboard.type("where")
    press(page, "Escape", "o")
    page.keyboard.type("hasty")
    press(page, "Control+Enter")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    answer = Label.objects.get().answer
    assert [(one["start"], one["end"], one["type"], one["note"]) for one in answer["spans"]] == [
        (shalom, shalom + 4, "Redundant", "who asked 1?"),
        (*sentence, "Unverifiable", ""),
    ]
    assert (answer["missing"], answer["note"], answer["fine"]) == (["when", "where"], "hasty", False)
    assert TEXT[shalom : shalom + 4] == "שלום" and TEXT[slice(*sentence)] == "It was 😀 so, they say."


def test_every_character_of_the_answer_is_counted_as_the_server_counts(page, room):
    """Each one marked by itself, from the first to the last: no place in the text is off by one."""
    room("a😀b\r\n👍🏽é👨‍👩‍👦 z")
    text = "a😀b\r\n👍🏽é👨‍👩‍👦 z"
    found = page.evaluate(
        """() => {
            const { marks } = document.querySelector("critique-answer");
            const one = (end, at) => marks.quote(marks.spanOf({ start: marks.places[at], end }, "x"));
            return marks.places.slice(1).map(one);
        }"""
    )
    assert found == list(text)


def test_backspace_removes_and_overlapping_stretches_are_both_seen(page, room):
    room("One two three. Four five six.")
    press(page, "t", "Shift+ArrowRight", "Shift+ArrowRight", "1")
    press(page, "Home", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "2")
    assert marked(page) == [(0, 7, "Irrelevant"), (4, 13, "Redundant")]
    over = page.locator("mark.critique-mark")
    assert over.evaluate_all("all => all.map((one) => [one.textContent, one.dataset.over])") == [
        ["One ", "0"],
        ["two", "0 1"],
        [" three", "1"],
    ]
    lines = over.nth(1).evaluate("one => getComputedStyle(one).backgroundPositionY.split(', ')")
    assert len(set(lines)) == 2
    expect(page.get_by_role("list", name="Marked").get_by_role("listitem")).to_have_count(2)
    press(page, "Tab", "Backspace")
    assert marked(page) == [(4, 13, "Redundant")]
    expect(page.locator("[data-told]")).to_contain_text("Removed: “One two”. 1 left.")
    expect(page.get_by_role("button", name="Redundant: “two three”")).to_be_focused()
    press(page, "Backspace")
    expect(page.get_by_role("textbox", name="Text of the answer")).to_be_focused()
    assert marked(page) == []


def test_the_mouse_marks_and_a_press_in_the_bar_says_what_it_is(page, room):
    room("One two three. Four five six.")
    text = page.locator("[data-text]")
    text.dblclick(position={"x": 5, "y": 15})
    page.get_by_role("button", name="Incoherent").click()
    assert marked(page) == [(0, 3, "Incoherent")]
    page.get_by_role("combobox", name="Type of stretch 1").select_option("Unverifiable")
    assert marked(page) == [(0, 3, "Unverifiable")]
    page.get_by_role("button", name="Remove stretch 1").click()
    assert marked(page) == []


def test_no_problem_found_is_one_press_and_not_while_something_is_marked(page, room):
    room("One two three.", items=2)
    press(page, "Control+Enter")
    expect(page.locator("[data-note]")).to_contain_text("Nothing is marked.")
    press(page, "t", "x", "1", "n")
    expect(page.locator("[data-note]")).to_contain_text("1 stretch is marked: remove it, or send.")
    press(page, "Tab", "Backspace", "n")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    answer = Label.objects.get().answer
    assert (answer["fine"], answer["spans"]) == (True, [])


def test_an_undo_brings_all_of_it_back_after_a_reload_too(page, room):
    room("One two three.", items=2, rewrite=True)
    press(page, "t", "x", "1", "m")
    page.keyboard.type("when")
    press(page, "Escape", "w", "Control+a")
    page.keyboard.type("One.")
    press(page, "Control+Enter")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    page.reload()
    expect(page.locator("critique-answer.alive")).to_be_visible()
    press(page, "z")
    expect(page.get_by_role("button", name="Irrelevant: “One two three.”")).to_be_visible()
    expect(page.get_by_label("What is missing")).to_have_value("when")
    expect(page.get_by_label("The answer as it should be")).to_have_value("One.")
    press(page, "Control+Enter")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    assert Label.objects.latest("pk").answer["rewrite"] == "One."


def test_what_was_begun_is_there_after_a_reload(page, room):
    room("One two three.")
    press(page, "t", "ArrowRight", "Shift+ArrowRight", "2", "Tab", "Enter")
    page.keyboard.type("again")
    press(page, "Enter")
    page.wait_for_function("() => Object.values(localStorage).some((one) => one.includes('again'))")
    page.reload()
    expect(page.get_by_role("button", name="Redundant: “two”, again")).to_be_visible()
    expect(page.locator("mark.critique-mark")).to_have_text("two")
    assert marked(page) == [(4, 7, "Redundant")]


def test_without_script_rows_say_the_same(browser, site, ada):
    study = studies.study("critique", items=0, owner=ada)
    text = "It was so. It was so."
    add_items(study=study, items=[{"context": {"prompt": "So?"}, "candidates": [text]}])
    plain = browser.new_context(base_url=site.url, java_script_enabled=False)
    try:
        page = plain.new_page()
        plain.add_cookies(signed_in(ada, site))
        page.goto(f"/studies/{study.pk}/label/")
        row = page.get_by_role("group", name="Stretch 1", exact=True)
        row.get_by_label("Stretch 1").fill("It was so.")
        row.get_by_label("Type").select_option("Redundant")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("[data-note]")).to_contain_text("2 times. Say which one is meant.")
        row.get_by_label("Which one").fill("2")
        page.get_by_role("button", name="Send").click()
        page.wait_for_load_state()
    finally:
        plain.close()
    (span,) = Label.objects.get().answer["spans"]
    assert (span["start"], span["end"], span["type"]) == (11, 21, "Redundant")


def signed_in(user, site) -> list[dict]:
    client = Client()
    client.force_login(user)
    return [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site.url}]
