"""Judging robots' recordings in a real browser: two clips by keys, one in hindsight, a driven one trimmed."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, Label
from annotation.recordings import clip_items
from tests.annotation import robots, studies
from tests.browser.test_critique import signed_in
from tests.browser.test_label import open_room, ready, saved, shown
from trainers.episodes import Clip

PLAYER = "document.querySelector('form.task .stage').player"


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


@pytest.fixture
def room(page: Page, sign_in, ada):
    """The labelling room with a study that asks one kind about robots; `room("clips", items=3)` opens it."""

    def enter(kind: str, items: int = 1, make=robots.ask, **given):
        study = studies.study(kind, items=0, owner=ada)
        make(study, items, **given)
        sign_in(ada)
        open_room(page, study)
        playing(page)
        return study

    return enter


def playing(page: Page) -> None:
    """Waits until the clips are there."""
    page.wait_for_function(f"() => {PLAYER}?.clips")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def moment(page: Page) -> float:
    return page.evaluate(f"() => {PLAYER}.clock.now")


def held(page: Page) -> None:
    """Waits until the clips of the next tasks are in the browser."""
    ready(page)
    page.wait_for_load_state("networkidle")


# --- two clips


def test_ten_pairs_are_compared_by_keys_alone_and_no_pair_waits_for_the_network(page, room):
    study = room("clips", items=10, steps=12, make=robots.pairs)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    seen, waits = [], []
    for key in "1234567n12":
        held(page)
        seen.append(shown(page))
        requests.clear()
        last = len(seen) == 10
        wait = page.evaluate(
            """async ([key, last]) => {
                performance.clearMarks("kibitz:clips-drawn");
                const begun = performance.now();
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
                const clips = document.querySelector("form.task .stage")?.player?.clips;
                if (last) return null;
                if (!clips) throw new Error("the next pair is not there when the key event is over");
                await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                return performance.getEntriesByName("kibitz:clips-drawn").at(-1).startTime - begun;
            }""",
            [key, last],
        )
        waits.append(wait)
        if not last:
            assert not [url for url in requests if "/recordings/" in url], requests
    saved(page)
    drawn = sorted(wait for wait in waits if wait is not None)
    print(f"key to the next pair drawn: median {drawn[len(drawn) // 2]:.1f} ms, longest {drawn[-1]:.1f} ms")
    assert len(set(seen)) == 10
    said = {label.task_id: label.answer for label in Label.objects.filter(study=study)}
    orders = {turn.task_id: turn.order for turn in Assignment.objects.filter(study=study)}
    assert list(said) == seen
    assert (said[seen[0]]["chosen"], said[seen[0]]["strength"]) == (orders[seen[0]][0], 3)
    assert (said[seen[6]]["chosen"], said[seen[6]]["strength"]) == (orders[seen[6]][1], 3)
    assert (said[seen[3]]["choice"], said[seen[7]]["choice"]) == ("tie", "both_bad")


def test_both_clips_play_by_one_clock_in_a_loop_and_hold_still_by_a_key(page, room, browser, site, ada):
    page.emulate_media(reduced_motion="no-preference")
    room("clips", steps=12, make=robots.pairs)
    page.wait_for_function(f"() => {PLAYER}.clock.now > 0.3")  # it plays by itself
    frames, took = page.evaluate(
        f"""async () => {{
            const player = {PLAYER}, draw = player.draw.bind(player);
            let [frames, took] = [0, 0];
            player.draw = () => {{
                const begun = performance.now();
                draw();
                took += performance.now() - begun;
                frames += 1;
            }};
            const begun = performance.now();
            await new Promise((done) => setTimeout(done, 500));
            delete player.draw;
            return [(1000 * frames) / (performance.now() - begun), took / frames];
        }}"""
    )
    print(f"two canvases: {frames:.0f} frames a second, {took:.2f} ms to draw a frame")
    press(page, "v", "v")
    expect(page.get_by_role("button", name="Speed: 4 times")).to_be_visible()
    page.evaluate(
        f"() => {{ globalThis.most = 0; {PLAYER}.moved = (now) => {{ most = Math.max(most, now); }}; }}"
    )
    page.wait_for_function(f"() => most > 1.1 && {PLAYER}.clock.now < 0.8")  # it has begun again
    press(page, "Space")
    still = moment(page)
    page.wait_for_timeout(120)
    assert moment(page) == still
    assert page.evaluate(f"() => [0, 1].map((side) => {PLAYER}.at(side))") == [int(still / 0.1 + 1e-6)] * 2


def test_who_wants_less_motion_sees_the_clips_stand_still_until_they_play_them(page, room):
    room("clips", steps=12, make=robots.pairs)
    page.wait_for_timeout(100)
    assert moment(page) == 0
    press(page, "Space")
    page.wait_for_function(f"() => {PLAYER}.clock.now > 0.1")


def test_a_key_goes_a_step_on_and_back_and_the_canvases_follow(page, room):
    room("clips", steps=20, make=robots.pairs)
    picture = "() => [...document.querySelectorAll('canvas')].map((one) => one.toDataURL())"
    before = page.evaluate(picture)
    press(page, ".", ".", ".")
    assert moment(page) == pytest.approx(0.3)
    on = page.evaluate(picture)
    assert all(one != other for one, other in zip(before, on, strict=True))
    press(page, ",")
    assert moment(page) == pytest.approx(0.2)
    press(page, "ArrowRight")
    assert moment(page) == pytest.approx(0.7)
    press(page, "Home")
    assert moment(page) == 0 and page.evaluate(picture) == before
    page.get_by_role("slider", name="Moment").fill("1.5")
    assert moment(page) == 1.5
    press(page, ".", *["."] * 30)
    assert moment(page) == pytest.approx(1.9)  # the last step of twenty


def test_what_decided_it_is_marked_by_keys_or_by_dragging_and_sent_with_the_verdict(page, room):
    study = room("clips", items=2, steps=20, make=robots.pairs)
    press(page, ".", ".", "i", ".", ".", ".", "o")
    field = page.locator("input[name=marks]")
    expect(field).to_have_value("A 2-6")
    press(page, "a", "i", "Home", "o")
    expect(field).to_have_value("A 2-6, B 0-6")
    press(page, "x")
    expect(field).to_have_value("A 2-6")
    box = page.locator("[data-lane='1']").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.26, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.49, box["y"] + 5, steps=4)
    page.mouse.up()
    expect(field).to_have_value("A 2-6, B 5-10")
    expect(page.get_by_role("button", name="0.5 to 1.0 s on B: take it out")).to_be_visible()
    task = shown(page)
    press(page, "2")
    saved(page)
    answer = Label.objects.get(study=study).answer
    order = Assignment.objects.get(task=task).order
    clips = {one.pk: Clip.read(one.text) for one in study.items.get(tasks=task).candidates.all()}
    assert [(one["candidate"], one["start"] - clips[one["candidate"]].start) for one in answer["marks"]] == [
        (order[0], 2),
        (order[1], 5),
    ]


def test_the_last_mark_is_the_one_that_was_made_last_on_either_clip(page, room):
    room("clips", steps=20, make=robots.pairs)
    field = page.locator("input[name=marks]")
    press(page, "a", "i", ".", "o", "a", "i", ".", "o")
    expect(field).to_have_value("B 0-2, A 1-3")
    press(page, "i")  # begun and not ended: that goes first
    page.locator("[data-lane='1'] [data-mark]").click()
    expect(field).to_have_value("A 1-3")
    press(page, "x")
    expect(field).to_have_value("A 1-3")
    press(page, "x")
    expect(field).to_have_value("")
    press(page, "x")
    expect(page.locator("[data-note]")).to_contain_text("Nothing is marked")


def test_who_drags_out_and_back_again_marks_the_one_step_that_they_were_shown(page, room):
    room("clips", steps=20, make=robots.pairs)
    box = page.locator("[data-lane='0']").bounding_box()
    at = lambda share: (box["x"] + box["width"] * share, box["y"] + 5)  # noqa: E731
    page.mouse.move(*at(0.26))
    page.mouse.down()
    page.mouse.move(*at(0.5), steps=3)
    page.mouse.move(*at(0.27), steps=3)
    coming = page.locator("[data-lane='0'] .coming")
    assert coming.evaluate("one => parseFloat(one.style.inlineSize)") == 5  # one of twenty
    page.mouse.up()
    expect(page.locator("input[name=marks]")).to_have_value("A 5-6")
    page.mouse.move(*at(0.7))
    page.mouse.down()
    page.mouse.up()  # a click goes there and marks nothing
    expect(page.locator("input[name=marks]")).to_have_value("A 5-6")


def test_an_undo_brings_the_verdict_and_the_marks_back_after_a_reload_too(page, room):
    room("clips", items=2, steps=12, make=robots.pairs)
    press(page, ".", "i", ".", "o", "3")
    saved(page)
    page.reload()
    playing(page)
    press(page, "z")
    expect(page.locator("[data-note]")).to_contain_text("Taken back")
    expect(page.locator("input[name=marks]")).to_have_value("A 1-3")
    expect(page.locator("[data-lane='0'] [data-mark]")).to_have_count(1)
    expect(page.locator(".cell[aria-pressed=true]")).to_contain_text("slightly")


def test_marks_that_were_begun_are_there_after_a_reload(page, room):
    room("clips", steps=12, make=robots.pairs)
    press(page, "i", ".", ".", "o")
    page.wait_for_function("() => Object.values(localStorage).some((one) => one.includes('A 0-3'))")
    page.reload()
    playing(page)
    expect(page.locator("input[name=marks]")).to_have_value("A 0-3")
    expect(page.locator("[data-lane='0'] [data-mark]")).to_have_count(1)


def test_a_recording_that_does_not_come_says_so_and_is_asked_for_again_by_the_play_key(page, sign_in, ada):
    study = studies.study("clips", items=1, owner=ada)
    sign_in(ada)
    page.route("**/recordings/**", lambda route: route.abort())
    open_room(page, study)
    expect(page.locator("[data-problem]").first).to_contain_text("did not come")
    page.unroute_all(behavior="ignoreErrors")
    press(page, "Space")
    playing(page)
    expect(page.locator("[data-problem]").first).to_be_hidden()


def test_without_script_two_clips_are_told_in_words_and_judged_by_a_form(browser, site, ada):
    study = studies.study("clips", items=1, owner=ada)
    plain = browser.new_context(base_url=site.url, java_script_enabled=False)
    try:
        page = plain.new_page()
        plain.add_cookies(signed_in(ada, site))
        page.goto(f"/studies/{study.pk}/label/")
        expect(page.locator(".clip-stretches").first).to_contain_text("move a bit down")
        page.get_by_label("What decided it, in steps").fill("B 3-9")
        page.get_by_role("button", name="B much better").click()
        page.wait_for_load_state()
    finally:
        plain.close()
    answer = Label.objects.get().answer
    assert (answer["strength"], len(answer["marks"])) == (3, 1)


def test_a_world_that_the_browser_does_not_draw_is_played_as_pictures(page, sign_in, ada):
    images = pytest.importorskip("PIL.Image")
    study = studies.study("clips", items=0, owner=ada)
    rows = [robots.pictured(study, images, colour) for colour in ((255, 0, 0), (0, 0, 255))]
    clip_items(study, [tuple(Clip(row.episode, 0, 8) for row in rows)])
    sign_in(ada)
    open_room(page, study)
    playing(page)
    page.wait_for_load_state("networkidle")
    colours = """() => [...document.querySelectorAll("canvas")].map((one) => {
        const [red, green, blue] = one.getContext("2d").getImageData(one.width / 2, one.height / 2, 1, 1).data;
        return [red > 128, green > 128, blue > 128];
    })"""
    assert sorted(page.evaluate(colours)) == [[False, False, True], [True, False, False]]
    press(page, *["."] * 6)  # from the middle on there is green in them
    assert sorted(page.evaluate(colours)) == [[False, True, True], [True, True, False]]


# --- in hindsight


def corrections(page: Page) -> list[dict]:
    return json.loads(page.locator("input[name=corrections]").input_value())


def test_a_correction_is_typed_seen_as_understood_changed_and_added(page, room):
    study = room("hindsight", make=robots.episodes, steps=40)
    press(page, "ArrowRight", "i", "ArrowRight", "o", "t")
    page.keyboard.type("a bit to the left")
    press(page, "Enter")
    understood = page.get_by_label("Understood as")
    expect(understood).to_have_value("move a bit to the left")
    expect(understood).to_be_focused()
    assert corrections(page) == []  # nothing is stored before it was seen
    understood.fill("up a bit")
    press(page, "Enter")  # changed, it is understood anew
    expect(understood).to_have_value("move a bit up")
    press(page, "Enter")
    expect(page.get_by_role("list").get_by_text("move a bit up")).to_be_visible()
    (one,) = corrections(page)
    assert (one["start"], one["stop"], one["command"], one["text"]) == (
        5,
        11,
        "move a bit up",
        "a bit to the left",
    )
    expect(page.locator(".stage")).to_be_focused()
    press(page, "n", "Control+Enter")
    saved(page)
    answer = Label.objects.get(study=study).answer
    assert answer["success"] is False and answer["corrections"][0]["predicted"].startswith("pick up")


def test_a_correction_that_is_being_changed_is_the_one_that_is_replaced_whatever_else_is_taken_out(
    page, room
):
    room("hindsight", make=robots.episodes, steps=40)
    for command in ("a bit to the left", "up a bit", "open"):
        press(page, "ArrowRight", "t")
        page.keyboard.type(command)
        press(page, "Enter")
        expect(page.get_by_label("Understood as")).to_be_focused()
        press(page, "Enter")
    rows = page.locator("[data-list] > li")
    expect(rows).to_have_count(3)
    rows.nth(1).get_by_role("button", name="Change: move a bit up").click()
    rows.nth(0).get_by_role("button", name="Remove: move a bit to the left").click()
    page.get_by_label("Understood as").fill("down a bit")
    page.get_by_label("Understood as").press("Enter")
    expect(page.get_by_label("Understood as")).to_have_value("move a bit down")
    page.get_by_label("Understood as").press("Enter")
    expect(rows).to_have_count(2)
    assert [one["command"] for one in corrections(page)] == ["move a bit down", "open the gripper"]


def test_what_is_not_clear_is_asked_back_and_never_added(page, room):
    room("hindsight", make=robots.episodes, steps=40)
    press(page, "Enter")
    page.keyboard.type("move lft")
    press(page, "Enter")
    expect(page.locator("[data-asks]")).to_contain_text("not a word known here")
    assert corrections(page) == []
    press(page, "Control+Enter")
    expect(page.locator("[data-note]")).to_contain_text("not added yet")
    page.get_by_role("button", name="move a bit to the left").click()
    expect(page.get_by_label("Understood as")).to_have_value("move a bit to the left")
    press(page, "Enter")
    (one,) = corrections(page)
    assert (one["text"], one["stop"] - one["start"]) == (
        "move a bit to the left",
        3,
    )  # a moment: its decision


def test_a_stretch_is_rejected_stages_are_ticked_and_success_is_marked_by_keys(page, room):
    study = room("hindsight", make=robots.episodes, steps=40)
    press(page, "r")
    (one,) = corrections(page)
    assert (one["type"], one["start"], one["command"]) == ("rejected", 0, "")
    expect(page.locator(".lane-trained .rejected")).to_have_count(1)
    press(page, "2", "w", "w")
    press(page, "Control+Enter")
    expect(page.locator("[data-note]")).to_contain_text("Stages are ticked")  # success was taken back
    press(page, "w", "Control+Enter")
    saved(page)
    answer = Label.objects.get(study=study).answer
    assert answer["success"] is True and [done for _, done in sorted(answer["stages"].items())] == [
        False,
        True,
        False,
    ]


def test_a_motion_that_was_read_off_wrongly_is_put_right(page, room):
    room("hindsight", make=robots.episodes, motions=True, steps=40)
    page.get_by_role("button", name="move arm up").first.click()
    expect(page.locator("[data-question]")).to_contain_text("Not “move arm up”")
    page.get_by_role("group", name="What may be said").get_by_role("button", name="close gripper").click()
    expect(page.get_by_label("Understood as")).to_have_value("close gripper")
    press(page, "Enter")
    (one,) = corrections(page)
    assert (one["layer"], one["start"], one["stop"], one["predicted"]) == ("motion", 10, 20, "move arm up")
    expect(page.locator(".lane-motion .corrected")).to_have_text("close gripper")


def test_the_timeline_shows_what_is_trained_on_and_what_is_only_looked_back_on(page, room):
    room("hindsight", make=robots.episodes, steps=40)
    press(page, *["ArrowRight"] * 4, "i", "ArrowRight", "o", "t")
    page.keyboard.type("open")
    press(page, "Enter")
    expect(page.get_by_label("Understood as")).to_have_value("open the gripper")
    press(page, "Enter")
    share = "one => [parseFloat(one.style.insetInlineStart), parseFloat(one.style.inlineSize)]"
    assert page.locator(".lane-said .said-correction").evaluate(share) == pytest.approx(
        [50, 15]
    )  # 20 to 26 of 40
    assert page.locator(".lane-trained .trained").evaluate(share) == pytest.approx([50, 7.5])  # three steps
    assert page.locator(".lane-trained .context").evaluate(share) == pytest.approx(
        [12.5, 37.5]
    )  # fifteen before


def test_what_was_said_is_there_after_a_reload_and_can_be_changed_and_taken_out(page, room):
    room("hindsight", make=robots.episodes, steps=40)
    for words in ("left", "right"):
        press(page, "ArrowRight", "t")
        page.keyboard.type(words)
        press(page, "Enter")
        expect(page.locator("[data-meant]")).to_be_visible()
        press(page, "Enter")
    press(page, "t")
    page.keyboard.type("half a")
    page.wait_for_function("() => Object.values(localStorage).some((one) => one.includes('half a'))")
    page.reload()
    playing(page)
    expect(page.locator(".said-line")).to_have_count(2)
    expect(page.get_by_role("textbox", name="What should it have done?")).to_have_value("half a")
    page.get_by_role("button", name="Change: move a bit to the left").click()
    page.get_by_label("Understood as").fill("close the gripper")
    press(page, "Enter")
    expect(page.locator("[data-command]")).to_have_value("close the gripper")
    page.wait_for_timeout(50)
    press(page, "Enter")
    expect(page.locator(".said-line bdi")).to_have_text(["close the gripper", "move a bit to the right"])
    page.get_by_role("button", name="Remove: move a bit to the right").click()
    assert [one["command"] for one in corrections(page)] == ["close the gripper"]


def test_words_wait_for_the_connection_and_are_not_lost(page, room):
    room("hindsight", make=robots.episodes, steps=40)
    page.route("**/understand/", lambda route: route.abort())
    press(page, "t")
    page.keyboard.type("left")
    press(page, "Enter")
    expect(page.locator("[data-asks]")).to_contain_text("Your words stay here")
    page.unroute_all(behavior="ignoreErrors")
    press(page, "Enter")
    expect(page.get_by_label("Understood as")).to_have_value("move a bit to the left")


# --- driven


def test_a_driven_recording_is_trimmed_by_keys_and_kept(page, room):
    study = room("driving", make=robots.drives, steps=40)
    press(page, "ArrowRight", "i", "ArrowRight", "ArrowRight", "o")
    expect(page.get_by_label("First step")).to_have_value("5")
    expect(page.get_by_label("Step after the last")).to_have_value("16")
    press(page, "t")
    page.keyboard.type("slow")
    press(page, "Escape", "w", "Control+Enter")
    saved(page)
    answer = Label.objects.get(study=study).answer
    assert (answer["start"], answer["stop"], answer["success"], answer["note"], answer["kept"]) == (
        5, 16, True, "slow", True
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "make"), [("hindsight", robots.episodes), ("driving", robots.drives)])
def test_a_mark_of_success_is_kept_over_a_reload_and_taken_back_by_pressing_it_again(page, room, kind, make):
    room(kind, make=make, steps=40)
    success, unsaid = (page.locator(f"input[name=success][value='{value}']") for value in ("1", ""))
    kept = "() => Object.values(localStorage).some((one) => one.includes('success=1\":true'))"
    press(page, "w")
    page.wait_for_function(kept)
    page.reload()
    playing(page)
    expect(success).to_be_checked()
    press(page, "w")
    expect(unsaid).to_be_checked()
    page.wait_for_function(f"() => !({kept})()")  # and that is kept too
    press(page, "n", "w")
    expect(success).to_be_checked()


def test_a_driven_recording_is_discarded_by_a_key_and_never_by_enter(page, room):
    study = room("driving", items=2, make=robots.drives, steps=40)
    page.get_by_label("First step").fill("3")
    press(page, "Enter")
    saved(page)
    assert Label.objects.get(study=study).answer["kept"] is True
    playing(page)
    press(page, "d")
    saved(page)
    assert [one.answer["kept"] for one in Label.objects.filter(study=study).order_by("pk")] == [True, False]


@pytest.mark.parametrize("kind", robots.KINDS)
@pytest.mark.parametrize("width", [1440, 390])
def test_the_canvas_is_in_sight_square_and_sharp(page, sign_in, ada, kind, width):
    study = studies.study(kind, items=1, owner=ada)
    page.set_viewport_size({"width": width, "height": 844})
    sign_in(ada)
    open_room(page, study)
    playing(page)
    for canvas in page.locator("canvas").all():
        expect(canvas).to_be_in_viewport(ratio=1)
        box = canvas.bounding_box()
        assert abs(box["width"] - box["height"]) <= 1 and box["width"] > 150
        assert canvas.evaluate("one => one.width") == pytest.approx(box["width"], abs=1)
