"""What the labelling room does beside taking answers: own keys, drafts, flags and notes, the way back, the gates."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from annotation.gold import make_gold
from annotation.models import Assignment, Label, Membership, Remark, Role
from annotation.review import send_back
from annotation.services import change_study, join_study
from tests.annotation import studies
from tests.browser.test_label import RATED, open_room, ready, saved, shown


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


def note(page):
    return page.locator("label-task [data-note]")


# --- keys


def test_a_changed_key_works_at_once_after_a_reload_and_in_no_other_account(page, sign_in, ada):
    study = studies.study(items=6, owner=ada, members=1)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("?")
    row = page.locator('[data-row="skip"]')
    change = row.locator("[data-change]")
    change.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-said]")).to_contain_text("Press the new key for: skip")
    page.keyboard.press("z")
    expect(page.locator("[data-said]")).to_contain_text("Z is taken: undo")
    page.keyboard.press("3")
    expect(page.locator("[data-said]")).to_contain_text("digits answer")
    assert not Assignment.objects.exclude(
        state="leased"
    ).exists()  # what one presses meanwhile presses nothing
    page.keyboard.press("y")
    expect(page.locator("[data-said]")).to_contain_text("Y is now: skip")
    expect(row.locator("kbd")).to_have_text("Y")
    page.keyboard.press("Escape")
    first = shown(page)
    expect(page.get_by_role("button", name="Skip Y")).to_be_visible()
    page.keyboard.press("s")
    assert shown(page) == first
    page.keyboard.press("y")
    saved(page)
    assert Assignment.objects.get(task=first).state == "skipped"
    ada.refresh_from_db()
    assert ada.keys == {"skip": "y"}

    page.reload()
    expect(page.get_by_role("button", name="Skip Y")).to_be_visible()
    page.keyboard.press("?")
    expect(row.locator("kbd")).to_have_text("Y")
    page.get_by_role("button", name="Default keys").click()
    expect(row.locator("kbd")).to_have_text("S")
    expect(page.get_by_role("button", name="Skip S")).to_be_visible()
    ada.refresh_from_db()
    assert ada.keys == {}
    (bob,) = studies.annotators(study)
    assert bob.keys == {}


def test_a_key_is_not_changed_where_the_server_cannot_be_reached(page, context, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("?")
    page.locator('[data-row="undo"] [data-change]').click()
    context.set_offline(True)
    page.keyboard.press("y")
    expect(page.locator("[data-said]")).to_contain_text("was not changed")
    context.set_offline(False)
    expect(page.get_by_role("button", name="Undo Z")).to_be_visible()


# --- drafts


def test_what_was_begun_is_there_after_a_reload_and_gone_when_it_is_sent(page, sign_in, ada):
    study = studies.study(items=4, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    page.keyboard.press("r")
    page.keyboard.type("B is kinder")
    page.reload()  # at once: the page was left before the pause in which a draft is kept
    reason = page.locator("textarea[name=reason]")
    expect(reason).to_have_value("B is kinder")
    expect(page.locator("[data-saved]")).to_have_text("all saved")
    expect(page.locator("[data-saved]")).to_have_attribute(
        "title", re.compile("1 that you have begun is kept")
    )
    assert shown(page) == first
    ready(page)
    page.keyboard.press("7")
    saved(page)
    assert Label.objects.get().answer["reason"] == "B is kinder"
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.includes('draft'))") == []


def test_half_a_rating_and_half_an_order_are_put_back_with_all_that_is_drawn_from_them(page, sign_in, ada):
    rated = studies.study(RATED, items=2, answers=1, owner=ada)
    sign_in(ada)
    open_room(page, rated)
    page.keyboard.press("2")
    page.reload()
    expect(page.locator("[data-left]")).to_have_text("1 of 2 to judge")
    expect(page.locator(".criterion.current")).to_contain_text("Is it right?")

    ranked = studies.study("ranking", items=2, answers=3, owner=ada)
    open_room(page, ranked)
    page.keyboard.press("3")
    page.keyboard.press("1")
    page.reload()
    expect(page.locator("[data-order]")).to_have_text("3 > 1")
    page.keyboard.press("2")
    expect(page.locator("[data-order]")).to_have_text("3 > 1 > 2")


def test_an_answer_taken_back_before_it_left_is_a_draft_again(page, context, sign_in, ada):
    study = studies.study("edit", items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    context.set_offline(True)
    for words in ("Better.", "Better still."):
        page.locator("textarea[name=text]").fill(words)
        page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("z")  # the first may have left; the second did not
    expect(page.locator("textarea[name=text]")).to_have_value("Better still.")
    second = shown(page)
    context.set_offline(False)
    page.reload()
    saved(page)
    expect(page.locator("textarea[name=text]")).to_have_value("Better still.")
    assert [shown(page), Label.objects.get().task_id] == [second, first]


def test_a_browser_that_stores_nothing_says_what_is_not_kept(page, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    page.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }"
    )
    open_room(page, study)
    page.keyboard.press("r")
    page.keyboard.type("Kinder")
    expect(page.locator("[data-saved]")).to_have_text("draft not kept")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    saved(page)
    assert Label.objects.get().answer["reason"] == "Kinder"


# --- flags and notes


def test_a_flag_is_raised_by_keys_alone_and_the_task_stays(page, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    bar = page.locator(".decide").bounding_box()
    page.keyboard.press("f")
    assert page.locator(".decide").bounding_box() == bar
    page.keyboard.press("2")  # personal data, and no judgement
    expect(page.locator("[data-sentence]")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("A phone number, 1234")
    page.keyboard.press("Enter")
    expect(note(page)).to_have_text("Flagged (personal data). Now answer, or skip.")
    saved(page)
    flag = Remark.objects.get()
    turn = Assignment.objects.get(task=first)
    assert (flag.reason, flag.text, flag.candidate_id) == (
        "personal_data",
        "A phone number, 1234",
        turn.order[0],
    )
    assert (shown(page), Label.objects.count()) == (first, 0)
    expect(page.locator("[data-remark=flag]")).not_to_have_attribute("open", "")
    page.keyboard.press("1")
    saved(page)
    assert Label.objects.get().task_id == first
    expect(page.locator("[data-count-today]")).to_have_text("1")


def test_a_flag_and_a_note_outlive_a_cut_connection_and_a_reload_and_come_once(page, context, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    context.set_offline(True)
    page.keyboard.press("k")
    page.keyboard.type("I have seen this one before")
    page.keyboard.press("Enter")
    page.keyboard.press("f")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    page.keyboard.press("s")
    expect(page.locator("[data-saved]")).to_contain_text("3 waiting")
    expect(page.locator("[data-saved]")).to_have_attribute(
        "title", re.compile("1 answer and 2 remarks are waiting")
    )
    context.set_offline(False)
    page.reload()
    saved(page)
    assert [one.kind for one in Remark.objects.order_by("pk")] == ["note", "flag"]
    assert Assignment.objects.filter(state="skipped").count() == 1


def test_a_flag_that_is_written_and_not_sent_holds_the_answer_back(page, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    page.keyboard.press("f")
    page.keyboard.press("3")
    page.locator(".cell").first.click()
    assert shown(page) == first
    expect(note(page)).to_contain_text("Your flag is not sent yet")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    saved(page)
    assert (Label.objects.get().task_id, Remark.objects.count()) == (first, 0)


# --- the way back


def test_back_shows_what_one_said_and_a_new_answer_supersedes_it(page, sign_in, ada):
    study = studies.study(items=6, owner=ada)
    sign_in(ada)
    open_room(page, study)
    answered = []
    for key in "12":
        answered.append(shown(page))
        page.keyboard.press(key)
    saved(page)
    ready(page)
    here = shown(page)
    held = set(Assignment.objects.filter(state="leased").values_list("task", flat=True))

    page.keyboard.press("b")
    expect(page.locator(f'form.task[data-task="{answered[1]}"]')).to_be_visible()
    expect(page.locator('.cell[aria-pressed="true"] kbd')).to_have_text("2")
    page.keyboard.press("b")
    expect(page.locator(f'form.task[data-task="{answered[0]}"]')).to_be_visible()
    expect(page.locator('.cell[aria-pressed="true"] kbd')).to_have_text("1")
    page.keyboard.press("b")  # there is none before
    expect(page.locator(f'form.task[data-task="{here}"]')).to_be_visible()
    expect(note(page)).to_contain_text("You are where you were")

    page.keyboard.press("b")
    expect(page.locator(f'form.task[data-task="{answered[1]}"]')).to_be_visible()
    page.keyboard.press("7")
    saved(page)
    assert shown(page) == here
    expect(note(page)).to_have_text("Changed: B, much better.")
    expect(page.locator("[data-count-today]")).to_have_text("2")
    now = Label.objects.current().get(task=answered[1])
    assert now.supersedes.answer["strength"] == 2
    assert (now.answer["strength"], Label.objects.count()) == (3, 3)
    assert set(Assignment.objects.filter(state="leased").values_list("task", flat=True)) == held

    page.keyboard.press("b")
    expect(page.locator(f'form.task[data-task="{answered[1]}"]')).to_be_visible()
    page.keyboard.press("Escape")
    assert shown(page) == here


def test_back_says_so_where_there_is_nothing_and_where_the_server_is_away(page, context, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("b")
    expect(note(page)).to_contain_text("no answer of yours")
    context.set_offline(True)
    page.keyboard.press("b")
    expect(note(page)).to_contain_text("cannot be reached")
    context.set_offline(False)


def test_who_waits_for_the_next_question_can_take_the_last_answer_back(page, sign_in, ada):
    study = studies.study(items=1, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    slow = []
    page.route("**/label/next/**", lambda route: slow.append(route))
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="Fetching the next question")).to_be_visible()
    saved(page)
    page.keyboard.press("z")
    expect(note(page)).to_have_text("Taken back: A, much better.")
    assert shown(page) == first and slow
    page.unroute("**/label/next/**")  # what was held back goes on
    page.wait_for_timeout(300)
    page.keyboard.press("7")
    expect(page.get_by_role("heading", name="Nothing to label just now")).to_be_visible()
    saved(page)
    assert [label.answer["strength"] for label in Label.objects.current()] == [3]


def test_the_page_of_ones_answers_says_them_in_words_and_leads_back_to_each(page, sign_in, ada):
    study = studies.study("pairwise", RATED, items=1, owner=ada, members=1)
    (bob,) = studies.annotators(study)
    studies.label_next(study, ada, {"choice": "b3", "reason": "Kinder"}, kind="pairwise")
    rating = studies.label_next(study, ada, {"scores": {"tone": 3, "right": 4}}, kind="rating")
    Remark.objects.create(
        study=study, task=rating.task, author=bob, kind="sent_back", label=rating, text="Read the guideline.",
        key="7b8e2f6a-0d3c-4f59-9d5e-4f0c86f0a001",
    )  # fmt: skip
    sign_in(ada)
    page.goto(f"/studies/{study.pk}/mine/")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("tone 3 of 3, right 4 of 4")
    expect(rows.nth(0)).to_contain_text("Sent back: Read the guideline.")
    expect(rows.nth(1)).to_contain_text("B, much better: Kinder")
    rows.nth(1).get_by_role("link", name="Look again").click()
    expect(page.locator('.cell[aria-pressed="true"] kbd')).to_have_text("7")
    ready(page)
    page.keyboard.press("1")
    saved(page)
    expect(page.locator("form.task[data-label]")).to_have_count(0)
    assert Label.objects.current().get(kind="pairwise").supersedes.answer["reason"] == "Kinder"


def test_flags_the_way_back_and_own_keys_work_without_script(browser, site, sign_in, ada, client):
    study = studies.study(items=3, owner=ada)
    client.force_login(ada)
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site.url}])
    page = context.new_page()
    page.goto(f"/studies/{study.pk}/label/")
    first = shown(page)
    page.locator("[data-remark=flag] summary").click()
    page.get_by_label("broken").check()
    page.get_by_label("In a sentence, what is wrong").fill("It ends in the middle")
    page.get_by_role("button", name="Flag it").click()
    expect(page.locator(".room-messages")).to_contain_text("Flagged. Now answer, or skip.")
    assert shown(page) == first
    assert Remark.objects.get().text == "It ends in the middle"
    page.get_by_role("button", name="A much better").click()
    page.get_by_role("link", name="Back").click()
    assert shown(page) == first
    expect(page.locator('.cell[aria-pressed="true"]')).to_contain_text("much better")
    page.get_by_role("button", name="= tie").click()
    assert Label.objects.current().get().answer["choice"] == "tie"
    assert shown(page) != first

    page.goto("/accounts/keys/")
    page.locator("[name=skip]").fill("z")
    page.get_by_role("button", name="Save the keys").click()
    expect(page.locator("#problem-skip")).to_contain_text("Z is taken: undo")
    page.locator("[name=undo]").fill("s")
    page.get_by_role("button", name="Save the keys").click()
    ada.refresh_from_db()
    assert ada.keys == {"skip": "z", "undo": "s"}
    page.get_by_role("button", name="Back to the default keys").click()
    ada.refresh_from_db()
    assert ada.keys == {}
    context.close()


# --- what comes before and between


def test_whoever_has_not_agreed_reads_what_to_agree_to_and_then_the_first_question(page, sign_in, ada):
    study = studies.study(items=3, owner=ada, members=1, consent="Your answers are **published**.")
    sign_in(*studies.annotators(study))
    page.goto(f"/studies/{study.pk}/label/")
    expect(page.locator(".agree")).to_contain_text("version 1")
    expect(page.locator(".agree strong")).to_have_text("published")
    expect(page.locator("form.task")).to_have_count(0)
    assert Assignment.objects.count() == 0
    page.get_by_role("button", name="I agree").click()
    expect(page.locator("form.task .stage")).to_be_visible()
    ready(page)
    change_study(study=study, by=ada, consent="Your answers are sold.")
    page.keyboard.press("1")
    page.goto(f"/studies/{study.pk}/label/")
    expect(page.locator(".agree")).to_contain_text("since you agreed to version 1")
    expect(page.locator(".agree-text")).to_have_text("Your answers are sold.")


def test_a_qualification_says_at_once_how_it_went_and_one_key_goes_on(page, sign_in, ada):
    study = studies.study(items=2, owner=ada, pass_bar=0.5)
    for task in list(study.tasks.order_by("pk")):
        first, second = task.candidates
        answer = {"choice": "chosen", "chosen": first, "rejected": second, "strength": 2, "reason": ""}
        make_gold(task=task, answer=answer, by=ada, reason="It asks back.", part="qualification")
    bob = studies.person("bob")
    join_study(study=study, user=bob, role=Role.ANNOTATOR)
    sign_in(bob)
    open_room(page, study)
    told = page.locator(".feedback")

    def press(right: bool) -> None:
        task = shown(page)
        turn = Assignment.objects.select_related("task").get(task=task, annotator=bob)
        a_is_gold = turn.order[0] == turn.task.candidates[0]
        page.keyboard.press("2" if a_is_gold == right else "6")

    first = shown(page)
    press(right=False)
    expect(told).to_contain_text("Not what was looked for")
    expect(told).to_contain_text("It asks back.")
    expect(told).to_contain_text("1 of 2 answered, 0 right")
    assert shown(page) == first
    page.keyboard.press("1")  # one hears first
    assert shown(page) == first
    page.keyboard.press("Enter")
    expect(told).to_have_count(0)
    second = shown(page)
    assert second != first
    press(right=True)
    expect(told).to_contain_text("Right. It asks back.")
    expect(told).to_contain_text("2 of 2 answered, 1 right. You passed")
    page.keyboard.press("Enter")
    assert Label.objects.filter(annotator=bob).count() == 2
    assert Membership.objects.get(user=bob, study=study).standing == "passed"


def test_an_answer_that_was_sent_back_comes_with_the_reviewers_words(page, sign_in, ada):
    study = studies.study(items=2, owner=ada, members=1)
    (bob,) = studies.annotators(study)
    label = studies.label_next(study, bob)
    send_back(label=label, by=ada, words="Read both to the end.")
    sign_in(bob)
    page.goto(f"/studies/{study.pk}/label/")
    expect(page.locator(".sent-back")).to_contain_text("Read both to the end.")
    assert shown(page) == label.task_id
