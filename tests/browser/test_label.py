"""The labelling page in a real browser: fast, and never losing or doubling what a person said."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, Label
from annotation.services import add_items
from tests.annotation import studies


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


def open_room(page: Page, study, kind: str = "") -> None:
    page.goto(f"/studies/{study.pk}/label/" + (f"?kind={kind}" if kind else ""))
    expect(page.locator("form.task .stage")).to_be_focused()
    ready(page)


def ready(page: Page) -> None:
    """Waits until the browser holds what it may hold, so that the network can be cut."""
    page.wait_for_function("() => document.querySelector('label-task').fetching === null")


def shown(page: Page) -> int:
    return int(page.locator("form.task").get_attribute("data-task") or 0)


def saved(page: Page) -> None:
    expect(page.locator("[data-saved]")).to_contain_text("all saved")


def test_the_next_pair_is_on_the_page_before_the_key_event_is_over(page, sign_in, ada):
    """So it is painted with the next frame, however slow the network."""
    study = studies.study(items=5, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.route("**/submit/", lambda route: None)  # no answer, ever
    page.route("**/next/**", lambda route: None)
    tasks = page.evaluate(
        """() => ["1", "4", "n"].map((key) => {
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            return document.querySelector("form.task").dataset.task;
        })"""
    )
    assert len(set(tasks)) == 3
    expect(page.locator("[data-saved]")).to_contain_text("saving 3")
    page.unroute_all(behavior="ignoreErrors")


def test_each_key_says_what_is_printed_on_it(page, sign_in, ada):
    study = studies.study(items=12, owner=ada)
    sign_in(ada)
    open_room(page, study)
    seen = []
    for key in "1234567n12":
        seen.append(shown(page))
        page.keyboard.press(key)
        ready(page)
    saved(page)
    assert len(set(seen)) == 10

    said = {label.task_id: label.answer for label in Label.objects.filter(study=study)}
    assert list(said) == seen
    turns = {turn.task_id: turn.order for turn in Assignment.objects.filter(study=study)}
    first, tie, both_bad = said[seen[0]], said[seen[3]], said[seen[7]]
    assert (first["chosen"], first["strength"]) == (turns[seen[0]][0], 3)
    assert (tie["choice"], both_bad["choice"]) == ("tie", "both_bad")
    assert (said[seen[6]]["chosen"], said[seen[6]]["strength"]) == (turns[seen[6]][1], 3)
    assert all(0 < label.seconds < 60 for label in Label.objects.all())
    expect(page.locator("[data-count-today]")).to_have_text("10")


def test_with_the_network_cut_labelling_goes_on_and_nothing_is_lost_or_doubled(page, context, sign_in, ada):
    study = studies.study(items=10, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("1")
    saved(page)
    ready(page)

    context.set_offline(True)
    answered = []
    for key in "2467":
        answered.append(shown(page))
        page.keyboard.press(key)
    expect(page.locator("[data-saved]")).to_contain_text("4 waiting")
    expect(page.locator("[data-saved]")).to_have_attribute(
        "title", re.compile("4 answers are waiting to be sent; they are safe in this browser")
    )
    expect(page.locator("[data-nothing]")).to_contain_text("Your answers are safe here")
    expect(page.locator("[data-count-today]")).to_have_text("5")
    assert Label.objects.count() == 1

    context.set_offline(False)  # the page is reloaded before anything could be sent: as after a crash
    page.reload()
    saved(page)
    ready(page)
    assert list(Label.objects.order_by("pk").values_list("task_id", flat=True)[1:]) == answered
    assert shown(page) not in answered

    while page.locator("form.task").count():
        page.keyboard.press("4")
        ready(page)
    saved(page)
    assert Label.objects.current().count() == 10
    assert Label.objects.values("task").distinct().count() == 10
    expect(page.locator("[data-nothing]")).to_contain_text("Done")


def test_a_reply_that_was_lost_on_its_way_is_one_label(page, sign_in, ada):
    study = studies.study(items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    lost = []

    def lose_the_first(route):
        if not lost:
            lost.append(route.request.post_data)
            route.fetch()  # the server has it; the browser never hears so
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/submit/", lose_the_first)
    page.keyboard.press("1")
    expect(page.locator("[data-saved]")).to_contain_text("1 waiting")
    saved(page)  # after the first retry, a second later
    assert Label.objects.count() == 1
    assert f"key={Label.objects.get().key}" in lost[0]


def test_undo_brings_the_pair_back_in_place_with_what_was_chosen_marked(page, context, sign_in, ada):
    study = studies.study(items=5, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    page.keyboard.press("2")
    saved(page)
    second = shown(page)
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.locator('[aria-pressed="true"] >> text=better')).to_be_visible()
    expect(page.locator("[data-note]")).to_contain_text("Taken back: A, better")
    assert Label.objects.current().count() == 0

    page.keyboard.press("7")
    saved(page)
    assert shown(page) == second  # where they were before the undo
    assert Label.objects.current().get().answer["strength"] == 3
    assert Label.objects.count() == 3  # the first, its withdrawal, the new one

    context.set_offline(True)  # what has not left the browser is undone in the browser
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("z")
    expect(page.locator("[data-note]")).to_contain_text("Taken back: A, slightly better")
    context.set_offline(False)
    page.keyboard.press("5")
    saved(page)
    assert Label.objects.current().count() == 3


def test_a_skip_passes_the_task_on_and_can_be_undone(page, sign_in, ada):
    study = studies.study(items=4, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    page.keyboard.press("s")
    saved(page)
    assert Assignment.objects.get(task=first).state == "skipped"
    expect(page.locator("[data-count-today]")).to_have_text("0")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    page.keyboard.press("1")
    saved(page)
    assert Label.objects.get().task_id == first


def test_a_refused_answer_is_shown_with_its_reason_and_kept(page, sign_in, ada):
    study = studies.study(items=2, overlap=1, owner=ada, members=1)
    (bob,) = studies.annotators(study)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    turn = Assignment.objects.get(task=first, annotator=ada)
    # Ada's turn ran out while she was away, and Bob answered.
    Assignment.objects.filter(pk=turn.pk).update(state="expired")
    turn.task.open += 1
    turn.task.save()
    studies.label_next(study, bob)
    page.keyboard.press("1")
    refused = page.locator(".refused")
    expect(refused).to_contain_text(f"Task {first}, A, much better, was not taken.")
    expect(refused).to_contain_text(bob.username)
    expect(page.locator("[data-saved]")).to_contain_text("1 answer not taken")
    page.reload()
    expect(refused).to_be_visible()
    refused.get_by_text("Give this answer up").click()
    expect(refused).to_be_hidden()
    saved(page)


def test_a_held_key_and_a_double_click_judge_one_pair(page, sign_in, ada):
    study = studies.study(items=6, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")  # what a held key sends
    page.keyboard.up("1")
    saved(page)
    assert Label.objects.count() == 1
    page.locator('[data-key="4"]').dblclick()
    saved(page)
    assert Label.objects.count() == 2


def test_a_reason_opens_in_the_bar_and_goes_with_the_answer(page, sign_in, ada):
    study = studies.study(items=2, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("r")
    page.keyboard.type("1 is shorter, and kind")  # keys typed into a field judge nothing
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    saved(page)
    assert Label.objects.get().answer["reason"] == "1 is shorter, and kind"


def test_rewriting_shows_the_changes_keeps_a_draft_and_sends(page, sign_in, ada):
    study = studies.study("edit", items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    editor = page.locator("textarea[name=text]")
    page.keyboard.press("Enter")
    expect(editor).to_be_focused()
    first = shown(page)
    original = page.locator("[data-original]").inner_text()
    page.keyboard.press("Control+Enter")
    assert shown(page) == first  # nothing was changed, so nothing is sent
    editor.fill(original.replace("Answer", "A kinder answer"))
    expect(page.locator("[data-diff] ins")).to_have_text("A kinder answer")
    expect(page.locator("[data-diff] del")).to_have_text("Answer")
    expect(page.locator("[data-distance]")).to_have_text(re.compile(r"1 word out, 3 in · 0:\d\d"))
    page.reload()
    expect(editor).to_have_value(original.replace("Answer", "A kinder answer"))
    editor.focus()
    page.keyboard.press("Control+Enter")
    saved(page)
    assert Label.objects.get().answer["text"] == original.replace("Answer", "A kinder answer")
    expect(editor).to_be_focused()  # from one rewrite to the next
    expect(page.locator(f'form.task[data-task="{first}"]')).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(editor).to_have_value(original.replace("Answer", "A kinder answer"))


def test_an_answer_is_rewritten_by_keys_alone(page, sign_in, ada):
    study = studies.study("edit", items=2, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    original = page.locator("[data-original]").text_content()
    for key in ("Enter", "Control+Home", "Control+Delete"):  # into the text, to its begin, a word out
        page.keyboard.press(key)
    page.keyboard.type("My answer 1")  # what is written presses nothing
    page.keyboard.press("Control+Enter")
    saved(page)
    label = Label.objects.get()
    assert label.task_id == first and original.startswith("Answer ")
    assert label.answer["text"] == original.replace("Answer", "My answer 1")
    page.keyboard.press("Escape")  # out of the text, where the letters are keys again
    page.keyboard.press("s")
    saved(page)
    expect(page.locator("[data-nothing]")).to_be_visible()


RATED = {
    "kind": "rating",
    "options": {
        "criteria": [
            {"name": "tone", "question": "How does it sound?", "anchors": ["Rude", "Plain", "Kind"]},
            {"name": "right", "question": "Is it right?", "anchors": ["No", "In part", "Yes", "And more"]},
        ]
    },
}


def test_digits_rate_one_criterion_after_the_other_and_enter_sends(page, sign_in, ada):
    study = studies.study(RATED, items=3, answers=1, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first = shown(page)
    current = page.locator(".criterion.current")
    expect(current).to_contain_text("How does it sound?")
    page.keyboard.press("3")
    expect(current).to_contain_text("Is it right?")
    page.keyboard.press("Enter")
    assert shown(page) == first  # one criterion is open, so nothing is sent
    expect(page.locator("[data-left]")).to_have_text("1 of 2 to judge")
    page.keyboard.press("4")
    expect(page.locator("[data-left]")).to_have_text("Every criterion is judged.")
    page.keyboard.press("Enter")
    saved(page)
    assert Label.objects.get().answer["scores"] == {"tone": 3, "right": 4}
    expect(current).to_contain_text("How does it sound?")
    assert shown(page) != first

    page.keyboard.press("z")
    expect(page.locator(f'form.task[data-task="{first}"]')).to_be_visible()
    expect(page.locator(".point:has(:checked)")).to_have_text([re.compile("Kind"), re.compile("And more")])
    page.keyboard.press("1")
    page.keyboard.press("Shift+Tab")  # from the button back to the criteria
    page.keyboard.press("2")
    page.locator("[data-words='a rating']").click()
    saved(page)
    assert Label.objects.current().get().answer["scores"] == {"tone": 1, "right": 2}


def test_thumbs_take_one_press(page, sign_in, ada):
    thumbs = {"name": "good", "question": "Is this answer good?", "anchors": ["Thumbs down", "Thumbs up"]}
    study = studies.study({"kind": "rating", "options": {"criteria": [thumbs]}}, items=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    page.keyboard.press("2")
    page.keyboard.press("1")
    saved(page)
    assert [label.answer["scores"]["good"] for label in Label.objects.order_by("pk")] == [2, 1]
    page.keyboard.press("z")
    expect(page.locator('[aria-pressed="true"]')).to_contain_text("Thumbs down")


def test_answers_are_put_in_order_by_keys_with_ties_and_without_some(page, sign_in, ada):
    study = studies.study("ranking", items=3, answers=4, owner=ada)
    sign_in(ada)
    open_room(page, study)
    first, words = shown(page), page.locator("[data-order]")
    turn = Assignment.objects.get(task=first)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    assert shown(page) == first  # one alone is no order
    expect(page.locator("[data-note]")).to_contain_text("at least two answers")
    for key in ["1", "=", "4", "2", "Backspace"]:
        page.keyboard.press(key)
    expect(words).to_have_text("3 > 1 = 4")
    page.keyboard.press("Enter")
    saved(page)
    one, _, three, four = turn.order
    answer = Label.objects.get().answer
    ranks = dict(zip(answer["candidates"], answer["ranks"], strict=True))
    assert ranks == {three: 1, one: 2, four: 2, turn.order[1]: None}

    page.keyboard.press("z")
    expect(words).to_have_text("3 > 1 = 4")
    page.locator("[data-chip='4']").focus()
    page.keyboard.press("ArrowUp")
    expect(words).to_have_text("3 > 4 > 1")
    page.keyboard.press("ArrowUp")
    expect(words).to_have_text("3 = 4 > 1")
    page.keyboard.press("ArrowUp")
    expect(words).to_have_text("4 > 3 > 1")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    saved(page)
    answer = Label.objects.current().get().answer
    assert dict(zip(answer["candidates"], answer["ranks"], strict=True)) == {
        four: 1, three: 2, one: 3, turn.order[1]: 4
    }  # fmt: skip


def test_answers_are_dragged_to_their_places(page, sign_in, ada):
    study = studies.study("ranking", items=1, answers=3, owner=ada)
    sign_in(ada)
    open_room(page, study)
    words = page.locator("[data-order]")

    def drag(name: str, target: str) -> None:
        page.locator(f"[data-name='{name}'] header .side").drag_to(page.locator(target))

    drag("2", ".gap-end")
    drag("3", "[data-drop='before 0']")
    expect(words).to_have_text("3 > 2")
    drag("1", "[data-drop='join 1']")
    expect(words).to_have_text("3 > 1 = 2")
    page.locator("[data-chip='3']").drag_to(page.locator("[data-drop='none']"))
    expect(words).to_have_text("1 = 2")
    page.locator("[data-name='3'] select").select_option("1st")
    expect(words).to_have_text("1 = 2 = 3")


def test_answers_of_another_person_on_this_browser_are_never_sent_as_ones_own(page, context, sign_in, ada):
    study = studies.study(items=4, owner=ada, members=1)
    (bob,) = studies.annotators(study)
    sign_in(ada)
    open_room(page, study)
    sign_in(bob)  # in another tab
    page.keyboard.press("1")
    expect(page.locator("[data-saved]")).to_have_attribute("title", re.compile("signed in as someone else"))
    assert Label.objects.count() == 0
    sign_in(ada)
    page.reload()
    saved(page)
    assert Label.objects.get().annotator == ada


def test_what_models_wrote_cannot_run(page, sign_in, ada):
    study = studies.study(items=0, owner=ada)
    evil = "<img src=x onerror=alert(1)><script>window.bad = 1</script>[x](javascript:alert(1)) **kept**"
    add_items(study=study, items=[{"context": {"prompt": evil}, "candidates": [evil, evil + "!"]}])
    sign_in(ada)
    open_room(page, study)
    assert page.evaluate("window.bad") is None
    assert page.locator("label-task script, label-task img, label-task a[href^=javascript]").count() == 0
    expect(page.locator(".answer-a strong")).to_have_text("kept")


def test_the_page_works_without_script(browser, site, ada):
    study = studies.study("pairwise", "edit", RATED, "ranking", items=2, owner=ada)
    ada.set_password("difference engine")
    ada.save()
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/studies/{study.pk}/label/?kind=pairwise")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "difference engine")
    page.get_by_role("button", name="Sign in").click()
    first = shown(page)
    UUID(page.locator("form.task [name=key]").get_attribute("value"))
    page.get_by_role("button", name="A much better").click()
    assert Label.objects.get().answer["strength"] == 3
    second = shown(page)
    assert second != first
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == first
    expect(page.locator('[aria-pressed="true"]')).to_have_count(1)
    page.get_by_role("button", name="= tie").click()
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("[data-nothing]")).to_be_visible()
    page.goto(f"/studies/{study.pk}/label/?kind=edit")
    page.get_by_role("button", name="Send the better answer").click()
    expect(page.locator(".decide-note")).to_contain_text("Nothing was changed")
    page.fill("[name=text]", "Better.")
    page.get_by_role("button", name="Send the better answer").click()
    assert Label.objects.current().get(kind="edit").answer["text"] == "Better."
    page.goto(f"/studies/{study.pk}/label/?kind=rating")
    page.get_by_role("radio", name="3 Kind").check()
    page.get_by_role("radio", name="1 No").check()
    page.get_by_role("button", name="Send the ratings").click()
    assert Label.objects.current().get(kind="rating").answer["scores"] == {"tone": 3, "right": 1}
    page.goto(f"/studies/{study.pk}/label/?kind=ranking")
    page.get_by_label("Place of answer 1").select_option("2nd")
    page.get_by_role("button", name="Send the order").click()
    expect(page.locator(".decide-note")).to_contain_text("Place at least 2 answers")
    page.get_by_label("Place of answer 1").select_option("2nd")
    page.get_by_label("Place of answer 2").select_option("1st")
    page.get_by_role("button", name="Send the order").click()
    assert sorted(Label.objects.current().get(kind="ranking").answer["ranks"]) == [1, 2]
    context.close()


def test_at_390_px_nothing_runs_over_and_the_tabs_keep_their_place(page, sign_in, ada):
    study = studies.study(items=0, owner=ada)
    long = "A long answer.\n\n" * 60
    add_items(study=study, items=[{"context": {"prompt": "Which?"}, "candidates": [long, long + "End."]}])
    page.set_viewport_size({"width": 390, "height": 800})
    sign_in(ada)
    open_room(page, study)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    bar = page.locator(".decide").bounding_box()
    assert bar["y"] + bar["height"] <= 800
    stage = page.locator(".stage")
    stage.evaluate("stage => { stage.scrollTop = 500 }")
    tab_a, tab_b = page.locator("[data-side='0']"), page.locator("[data-side='1']")
    tab_b.click()
    expect(page.locator(".answer-b")).to_be_in_viewport()
    expect(tab_b).to_have_attribute("aria-current", "true")
    tab_a.click()
    assert stage.evaluate("stage => stage.scrollTop") == 500
    assert page.locator(".decide").bounding_box() == bar
