"""A live conversation in a real browser, answered by the demo's policy in a real child."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.db import connection
from playwright.sync_api import Page, expect

from annotation import exchanges, services
from annotation.interfaces import conversation
from annotation.models import Exchange, Label
from tests.annotation import studies
from webapp.runs import chat
from webapp.runs.models import Artifact
from webapp.runs.services import register_model

POLICY = settings.BASE_DIR / "trainers" / "demo" / "policy"
SCENARIO = {"prompt": "You are a guest, and there are no towels in your room."}


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


class Worker:
    """Does what a worker does, in a thread: takes up what waits, by the function that the task calls."""

    def __init__(self) -> None:
        self.away, self.closing = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.work, name="worker", daemon=True)
        self.thread.start()

    def work(self) -> None:
        while not self.closing.wait(0.05):
            waiting = Exchange.objects.filter(chosen=None, replies=[], problem="")
            for exchange in [] if self.away.is_set() else list(waiting.values_list("pk", flat=True)):
                chat.converse(exchange)
        connection.close()

    def close(self) -> None:
        self.closing.set()
        self.thread.join(timeout=20)


@pytest.fixture
def worker(ada, monkeypatch) -> Iterator[Worker]:
    pool = chat.Pool()
    monkeypatch.setattr(chat, "pool", pool)
    monkeypatch.setattr(exchanges, "send", lambda exchange: None)
    worker = Worker()
    yield worker
    worker.close()
    for child in pool.children.values():
        child.kill()


def open_room(page: Page, ada, context=SCENARIO, policy: bool = True, **options):
    study = studies.study({"kind": "conversation", "options": options}, items=0, owner=ada)
    if policy:
        register_model(study=study, path=POLICY, kind=Artifact.Kind.POLICY, name="secret-name")
    services.add_items(study=study, items=[{"context": context}, {"context": {"prompt": "Another."}}])
    page.goto(f"/studies/{study.pk}/label/")
    expect(page.locator("form.task .stage")).to_be_focused()
    return study


def note(page: Page):
    return page.locator("[data-note]")


def test_a_conversation_of_three_turns_by_keyboard_alone(page, sign_in, ada, worker):
    sign_in(ada)
    study = open_room(page, ada)
    keys, log = page.keyboard, page.get_by_role("log")
    box, pair = page.get_by_label("Your message"), page.locator(".chat-pair .answer")
    expect(page.locator(".scenario")).to_contain_text("no towels")

    keys.press("Enter")  # to the box
    expect(box).to_be_focused()
    keys.type("There are no towels")
    keys.press("Shift+Enter")
    keys.type("in my room.")
    keys.press("Enter")
    expect(pair).to_have_count(2, timeout=30_000)
    expect(log).to_have_attribute("aria-live", "polite")
    assert "secret-name" not in page.content()
    first = pair.nth(1).locator(".answer-text").inner_text()
    keys.press("2")
    expect(log.locator(".turn-assistant .turn-text")).to_have_text(first)
    expect(log.locator(".turn-assistant")).to_contain_text("You took B")

    expect(box).to_be_focused()  # one goes on at once
    keys.type("When will they come?")
    keys.press("Enter")
    expect(pair).to_have_count(2, timeout=30_000)
    keys.press("t")
    expect(log.locator(".turn-assistant")).to_have_count(2)
    keys.type("Thank you.")
    keys.press("Enter")
    expect(pair).to_have_count(2, timeout=30_000)
    keys.press("n")
    expect(log.locator(".turn-assistant")).to_have_count(3)
    keys.press("Control+Enter")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    expect(page.locator(".scenario")).to_contain_text("Another.")

    label = Label.objects.get()
    assert label.study_id == study.pk and [one["outcome"] for one in label.answer["turns"]] == [
        "chosen", "tie", "both_bad"
    ]  # fmt: skip
    pairs = conversation.records(label)
    assert pairs[0].prompt[-1].content == "There are no towels\nin my room."
    assert [len(one.prompt) for one in pairs] == [1, 3, 5] and pairs[0].chosen.strip() == first.strip()

    keys.press("Escape")
    keys.press("z")  # and back again
    expect(log.locator(".exchange")).to_have_count(3)
    expect(page.locator(".scenario")).to_contain_text("no towels")


def test_a_reload_shows_the_same_conversation_and_the_draft(page, sign_in, ada, worker):
    sign_in(ada)
    open_room(page, ada)
    page.keyboard.press("Enter")
    page.keyboard.type("Is breakfast included?")
    page.reload()
    expect(page.get_by_label("Your message")).to_have_value("Is breakfast included?")
    worker.away.set()
    page.get_by_role("button", name=re.compile("^Say")).click()
    expect(page.locator(".chat-words")).to_contain_text("on its way")
    page.reload()
    expect(page.get_by_role("log")).to_contain_text("Is breakfast included?")
    worker.away.clear()
    expect(page.locator(".chat-pair .answer")).to_have_count(2, timeout=30_000)
    texts = page.locator(".chat-pair .answer-text").all_inner_texts()
    page.reload()
    assert page.locator(".chat-pair .answer-text").all_inner_texts() == texts


def test_a_worker_that_is_away_is_seen_and_the_message_is_kept(page, sign_in, ada, worker, monkeypatch):
    monkeypatch.setattr(exchanges, "AWAY", exchanges.AWAY / 10)
    worker.away.set()
    sign_in(ada)
    open_room(page, ada)
    page.keyboard.press("Enter")
    page.keyboard.type("Is anybody there?")
    page.keyboard.press("Enter")
    expect(page.locator(".chat-words")).to_contain_text("No worker is answering. Your message is kept")
    page.keyboard.press("Backspace")
    expect(page.get_by_label("Your message")).to_have_value("Is anybody there?")
    expect(page.get_by_label("Your message")).to_be_focused()
    assert not Exchange.objects.exists()
    page.keyboard.press("Enter")
    expect(page.locator(".exchange")).to_have_count(1)
    worker.away.clear()
    expect(page.locator(".chat-pair .answer")).to_have_count(2, timeout=30_000)


def test_without_a_model_the_page_says_what_to_do_and_both_seats_are_ones_own(page, sign_in, ada, worker):
    sign_in(ada)
    open_room(page, ada, policy=False, seats="both")
    keys, log = page.keyboard, page.get_by_role("log")
    keys.press("Enter")
    keys.type("Hello")
    keys.press("Enter")
    expect(page.locator(".chat-words.bad")).to_contain_text("no model to talk with yet")
    keys.press("w")
    keys.type("Good day.")
    keys.press("Enter")
    expect(log.locator(".turn-assistant")).to_contain_text("You answered")
    keys.press("Escape")
    keys.press("c")
    expect(page.get_by_label("The answer as it should be")).to_have_value("Good day.")
    keys.press("End")
    keys.type(" How can I help?")
    keys.press("Enter")
    expect(log.locator(".turn-assistant .turn-text")).to_have_text("Good day. How can I help?")
    keys.type("unsent")
    keys.press("Control+Enter")
    expect(note(page)).to_contain_text("not said yet")
    assert not Label.objects.exists()
    page.get_by_label("Your message").fill("")
    keys.press("Control+Enter")
    expect(page.locator("[data-saved]")).to_contain_text("all saved")
    (only,) = conversation.records(Label.objects.get())
    assert (only.kind, only.answer) == ("demonstration", "Good day. How can I help?")


def test_what_one_writes_meanwhile_stays_when_the_answers_come(page, sign_in, ada, worker):
    worker.away.set()
    sign_in(ada)
    open_room(page, ada, seats="both")
    page.keyboard.press("Enter")
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".chat-words")).to_be_visible()
    page.keyboard.press("w")
    own = page.get_by_label("Your answer, as the model should have given it")
    expect(own).to_be_focused()
    page.keyboard.type("I would sa")
    worker.away.clear()
    expect(page.locator(".chat-pair .answer")).to_have_count(2, timeout=30_000)
    page.keyboard.type("y yes.")
    expect(own).to_have_value("I would say yes.")


def test_another_tab_is_told_that_the_conversation_went_on(page, context, sign_in, ada, worker):
    sign_in(ada)
    study = open_room(page, ada)
    other = context.new_page()
    other.goto(f"/studies/{study.pk}/label/")
    page.get_by_label("Your message").fill("From here")
    page.get_by_role("button", name=re.compile("^Say")).click()
    expect(page.locator(".chat-pair .answer")).to_have_count(2, timeout=30_000)
    other.get_by_label("Your message").fill("From there")
    other.get_by_role("button", name=re.compile("^Say")).click()
    expect(note(other)).to_contain_text("went on in another window")
    expect(other.get_by_role("log")).to_contain_text("From here")
    expect(other.locator(".chat-pair .answer")).to_have_count(2)
    other.close()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark"), (320, "light")])
def test_the_page_has_no_fault_that_a_machine_can_find_and_fits(page, sign_in, ada, worker, width, scheme):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    sign_in(ada)
    messages = [
        {"role": "system", "content": "You are the clerk."},
        {"role": "user", "content": "هل لديكم مناشف؟"},
    ]
    open_room(page, ada, context={"messages": messages}, seats="both")
    expect(page.get_by_label("Your message")).to_have_value("هل لديكم مناشف؟")
    page.get_by_role("button", name=re.compile("^Say")).click()
    for text in ("When is breakfast?", ""):
        expect(page.locator(".chat-pair .answer")).to_have_count(2, timeout=30_000)
        check(page)
        page.locator('[data-key="1"]').click()
        expect(page.get_by_label("Your message")).to_be_visible()
        check(page)
        if text:
            page.get_by_label("Your message").fill(text)
            page.get_by_role("button", name=re.compile("^Say")).click()


def check(page: Page) -> None:
    time.sleep(0.1)
    found = Axe().run(page, context="main")
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
