"""Writing answers in a real browser: words counted, Markdown shown, rounds that come and go, and without script."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from annotation.models import Label
from annotation.services import add_items
from tests.annotation import studies
from tests.browser.test_label import open_room, saved, shown

MANY = {"kind": "demonstration", "options": {"turns": "many"}}


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


def writing(owner, way: str | dict = "demonstration", context: dict | None = None, candidates=()):
    study = studies.study(way, items=0, owner=owner)
    item = {"context": context or {"prompt": "A room, please."}, "candidates": list(candidates)}
    add_items(study=study, items=[item, item, item])
    return study


def said() -> list:
    labels = Label.objects.current().order_by("pk")
    return [[turn["content"] for turn in label.answer["turns"]] for label in labels]


def test_an_answer_is_written_seen_as_it_will_be_read_and_sent(page, sign_in, ada):
    study = writing(ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    field = page.get_by_label("Your answer")
    page.keyboard.press("Enter")
    expect(field).to_be_focused()
    page.keyboard.press("Control+Enter")
    assert shown(page) == first
    expect(page.locator("[data-note]")).to_have_text("The answer is empty. Write it, or skip.")
    expect(field).to_have_attribute("aria-invalid", "true")
    page.keyboard.type("With **great** pleasure <b>!")
    expect(page.locator("[data-count]")).to_have_text("4 words")
    preview = page.get_by_role("region", name="As it will be read")
    expect(preview.locator("strong")).to_have_text("great")
    expect(preview).to_contain_text("<b>!")
    page.keyboard.press("Control+Enter")
    saved(page)
    assert said() == [["With **great** pleasure <b>!"]]
    assert shown(page) != first
    expect(page.get_by_label("Your answer")).to_be_focused()  # from one to the next

    page.keyboard.press("Escape")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.get_by_label("Your answer")).to_have_value("With **great** pleasure <b>!")


def test_rounds_are_added_and_taken_out_and_their_words_come_back(page, sign_in, ada):
    study = writing(ada, MANY)
    sign_in(ada)
    open_room(page, study)
    first, note = shown(page), page.locator("[data-note]")
    rounds = page.locator(".round:not([hidden])")
    expect(rounds).to_have_count(1)
    page.keyboard.press("Enter")
    page.keyboard.type("A single room?")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    expect(rounds).to_have_count(2)
    expect(page.locator("[name='user.1']")).to_be_focused()
    page.keyboard.type("A double.")
    page.keyboard.press("Control+Enter")
    assert shown(page) == first
    expect(note).to_have_text("The answer of round 2 is empty. Write it, take the round out, or skip.")
    expect(page.locator("[name='answer.1']")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    expect(rounds).to_have_count(1)
    expect(page.locator("[data-rounds]")).to_have_text("Round 2 is out.")
    page.keyboard.press("m")
    expect(page.locator("[name='user.1']")).to_have_value("A double.")
    page.keyboard.press("Tab")
    page.keyboard.type("From when?")
    page.keyboard.press("Escape")
    page.keyboard.press("m")  # a round with nothing in it says nothing
    page.keyboard.press("Control+Enter")
    saved(page)
    assert said() == [["A single room?", "A double.", "From when?"]]

    page.keyboard.press("Escape")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.locator("[name='answer.1']")).to_have_value("From when?")


def test_an_undone_chat_and_a_restored_draft_open_their_rounds(page, sign_in, ada):
    study = writing(ada, MANY)
    sign_in(ada)
    open_room(page, study)
    page.evaluate(
        """() => {
            const form = document.querySelector("form.task");
            form.elements["answer.0"].value = "One.";
            form.elements["answer.3"].value = "Four, and more.";
            form.dispatchEvent(new CustomEvent("kibitz:restored"));
        }"""
    )
    expect(page.locator(".round:not([hidden])")).to_have_count(4)
    expect(page.locator("[data-round='4'] .said-assistant [data-count]")).to_have_text("3 words")


def test_there_are_twenty_rounds_and_the_first_stays(page, sign_in, ada):
    study = writing(ada, MANY)
    sign_in(ada)
    open_room(page, study)
    add, remove = page.locator("[data-action=add_round]"), page.locator("[data-action=remove_round]")
    expect(remove).to_be_disabled()
    for _ in range(19):
        add.click()
    expect(add).to_be_disabled()
    expect(page.locator(".round:not([hidden])")).to_have_count(20)
    for _ in range(19):
        remove.click()
    expect(page.locator(".round:not([hidden])")).to_have_count(1)
    expect(remove).to_be_disabled()


def test_without_a_connection_writing_goes_on_and_the_preview_says_so(page, context, sign_in, ada):
    study = writing(ada)
    sign_in(ada)
    open_room(page, study)
    context.set_offline(True)
    page.keyboard.press("Enter")
    page.keyboard.type("Yes.")
    expect(page.locator("[data-previewed]")).to_contain_text("comes back with the connection")
    page.keyboard.press("Control+Enter")
    context.set_offline(False)
    saved(page)
    assert said() == [["Yes."]]


def test_answers_that_the_study_shows_stand_above_the_field(page, sign_in, ada):
    shown_too = {"kind": "demonstration", "options": {"shown": True}}
    study = writing(ada, shown_too, candidates=["*Perhaps.*", "No."])
    sign_in(ada)
    open_room(page, study)
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.locator(".inspiration em")).to_have_text("Perhaps.")


@pytest.mark.parametrize("way", ["demonstration", MANY])
@pytest.mark.parametrize("width", [320, 390])
def test_on_a_small_screen_nothing_runs_over_and_arabic_runs_from_the_right(page, sign_in, ada, way, width):
    study = writing(ada, way)
    page.set_viewport_size({"width": width, "height": 700})
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("Enter")
    page.keyboard.type("أهلا وسهلا، " + "x" * 300)
    expect(page.locator("[data-shown] p")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        "[...document.querySelectorAll('.stage, .decide')].every(e => e.scrollWidth <= e.clientWidth + 1)"
    )
    for text in ["textarea:focus", "[data-shown] p"]:
        assert page.locator(text).evaluate("text => getComputedStyle(text).direction") == "rtl"
    bar = page.locator(".decide").bounding_box()
    assert bar["y"] + bar["height"] <= 700


def test_it_works_without_script(browser, site, ada):
    study = writing(ada, MANY)
    ada.set_password("difference engine")
    ada.save()
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/studies/{study.pk}/label/")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "difference engine")
    page.get_by_role("button", name="Sign in").click()
    first = shown(page)
    send = page.get_by_role("button", name=re.compile("Send the chat"))
    send.click()
    expect(page.locator(".decide-note")).to_contain_text("The answer of round 1 is empty")
    page.fill("[name='answer.0']", "One.")
    page.fill("[name='user.1']", "And?")
    send.click()
    expect(page.locator(".decide-note")).to_contain_text("The answer of round 2 is empty")
    expect(page.locator("[name='user.1']")).to_have_value("And?")
    page.fill("[name='answer.1']", "Two.")
    send.click()
    assert said() == [["One.", "And?", "Two."]]
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == first
    expect(page.locator("[name='answer.1']")).to_have_value("Two.")
    context.close()
