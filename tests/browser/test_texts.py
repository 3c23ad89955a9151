"""Texts as people see them, in a real browser: formulas drawn, code coloured, every script in its own direction."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Label
from annotation.services import add_items
from tests.annotation import studies
from tests.annotation.test_richtext import png
from tests.browser.test_label import open_room, ready, saved, shown

RICH = """Euler found $e^{{i\\pi}} + 1 = 0$ for {price}.

$$
\\begin{{aligned}} \\mathcal{{L}} &= -\\log \\sigma(x_w - x_l) \\\\ &= \\sum_{{i=1}}^n \\frac{{1}}{{i}} \\end{{aligned}}
$$

```python
def {name}(x: int) -> str:
    return f"{{x}} is small"  # always
```

مرحبا بالعالم، هذا نص طويل.

![A grey wall](data:image/png;base64,{picture})

| method | reward |
|:-------|-------:|
| dpo    |   0.71 |

- [x] tested
- [ ] shipped
"""
CRITERIA = [
    {"name": "tone", "label": "Tone", "question": "Which one sounds kinder?"},
    {"name": "facts", "label": "Facts", "question": "Which one has them right?"},
]


def rich(**rest) -> str:
    return RICH.format(**{"price": "five", "name": "small", "picture": png(300, 120), **rest})


@pytest.fixture
def ada(transactional_db):
    return studies.person("ada")


@pytest.fixture
def room(page: Page, sign_in, ada):
    """The labelling room over texts: `room(a, b)`, or with a way of asking."""

    def enter(*texts: str, ask: str | dict = "pairwise", items: int = 1, prompt: str = "Which is better?"):
        study = studies.study(ask, items=0, owner=ada)
        one = {"context": {"prompt": prompt}, "candidates": list(texts)}
        add_items(
            study=study, items=[{**one, "context": {"prompt": f"{prompt} ({n})"}} for n in range(items)]
        )
        sign_in(ada)
        open_room(page, study)
        return study

    return enter


def colour(page: Page, selector: str) -> str:
    return page.locator(selector).first.evaluate("one => getComputedStyle(one).color")


def test_formulas_are_drawn_code_is_coloured_and_pictures_are_shown(page, room):
    room(rich(), rich(name="tiny"))
    answer = page.locator(".answer-a")
    for formula in answer.locator("math").all():
        box = formula.bounding_box()
        assert box["width"] > 20 and box["height"] > 8
    # Drawn as mathematics: the exponent stands higher than its base.
    base, power = (answer.locator("msup > *").nth(n).bounding_box() for n in (0, 1))
    assert power["y"] + power["height"] < base["y"] + base["height"]
    assert colour(page, ".answer-a .code-keyword") != colour(page, ".answer-a .code-comment")
    assert colour(page, ".answer-a .code-keyword") != colour(page, ".answer-a .code code")
    assert answer.get_by_role("img", name="A grey wall").evaluate("one => one.naturalWidth") == 300
    expect(answer.get_by_role("img", name="done")).to_have_text("☑")


def test_a_paragraph_of_a_right_to_left_script_is_aligned_right_and_its_neighbour_left(page, room):
    room(rich(), "No.\n\n- שלום\n- two")
    arabic = page.locator(".pair p", has_text="مرحبا")
    assert arabic.evaluate("one => getComputedStyle(one).direction") == "rtl"
    line = arabic.evaluate(
        """one => { const range = document.createRange(); range.selectNodeContents(one);
            const [text, box] = [range.getBoundingClientRect(), one.getBoundingClientRect()];
            return [text.left - box.left, box.right - text.right]; }"""
    )
    assert line[0] > 50 and abs(line[1]) < 2
    assert (
        page.locator(".pair p", has_text="Euler").first.evaluate("one => getComputedStyle(one).direction")
        == "ltr"
    )
    assert page.locator(".pair ul[dir=rtl]").evaluate("one => getComputedStyle(one).direction") == "rtl"


def marked(page: Page, side: str) -> list[str]:
    """The words marked as only in one answer."""
    return page.evaluate(
        """side => [...CSS.highlights.get(`only-${side}`)].map((range) => {
            const live = document.createRange();
            live.setStart(range.startContainer, range.startOffset);
            live.setEnd(range.endContainer, range.endOffset);
            return range.startContainer.getAttribute?.("alttext") ?? live.toString();
        })""",
        side,
    )


def test_differences_are_marked_in_code_and_a_formula_counts_as_one_word(page, room):
    room(rich(), rich(name="tiny").replace("i\\pi", "i\\tau").replace("0.71", "0.82"))
    page.keyboard.press("d")
    only = sorted([marked(page, "a"), marked(page, "b")])  # which answer stands left is chance
    assert only == [["e^{i\\pi} + 1 = 0", "small", "71"], ["e^{i\\tau} + 1 = 0", "tiny", "82"]]
    assert page.locator(".pair .code-name", has_text="small").count() == 1  # the code is as it was
    page.keyboard.press("t")  # as they were written: the source is compared, formulas by their signs
    assert {"pi", "tau"} <= {*marked(page, "a"), *marked(page, "b")}
    page.keyboard.press("d")
    assert marked(page, "a") == []


def test_texts_as_they_were_written_stay_so_from_task_to_task(page, room):
    room("**bold** answer", "<b>other</b> answer", items=3)
    rendered, raw = page.locator(".answer-a [data-rendered]"), page.locator(".answer-a [data-plain]")
    expect(rendered).to_be_visible()
    expect(raw).to_be_hidden()
    page.keyboard.press("t")
    expect(page.locator(".pair [data-plain]:visible")).to_have_count(2)
    expect(page.locator(".prompt [data-plain]")).to_be_visible()
    expect(page.get_by_role("button", name="Plain text")).to_have_attribute("aria-pressed", "true")
    assert sorted(page.locator(".pair [data-plain]").all_inner_texts()) == [
        "**bold** answer",
        "<b>other</b> answer",
    ]
    page.keyboard.press("1")
    expect(raw).to_be_visible()
    expect(rendered).to_be_hidden()
    page.reload()
    ready(page)
    expect(raw).to_be_visible()
    page.keyboard.press("t")
    expect(rendered).to_be_visible()


def test_a_picture_from_elsewhere_is_never_asked_for(page, room):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    svg = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>').decode()
    room(f"![pixel](https://elsewhere.example/p.png) ![s](data:image/svg+xml;base64,{svg})", "No.")
    expect(page.locator(".pair")).to_contain_text(
        "Picture not loaded: pixel (https://elsewhere.example/p.png)"
    )
    assert not [url for url in asked if "elsewhere" in url or "svg+xml" in url]
    assert page.locator(".pair img").count() == 0


def test_linked_scroll_keeps_what_is_the_same_side_by_side(page, room):
    filler, same = "Some words of this answer alone.\n\n", "## The same heading\n\n"
    more = "".join(f"Line {n} of the rest.\n\n" for n in range(40))
    room(filler * 20 + same + more, filler.replace("this", "that") * 45 + same + more)
    page.keyboard.press("l")
    texts = page.locator(".answer-text")
    headings = page.locator(".pair h2")
    place = headings.nth(0).evaluate(
        "one => one.getBoundingClientRect().top - one.closest('.answer-text').getBoundingClientRect().top"
    )
    texts.nth(0).evaluate("(one, place) => { one.scrollTop = place }", place)
    page.wait_for_function(
        """() => { const [a, b] = document.querySelectorAll('.pair h2');
            return Math.abs(a.getBoundingClientRect().top - b.getBoundingClientRect().top) < 3; }"""
    )


# --- criteria


def test_criteria_are_judged_by_keyboard_alone_and_the_verdict_sends(page, room):
    room("One.", "Two.", ask={"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=3)
    first = shown(page)
    current = page.locator(".by-criterion.current")
    expect(current).to_have_count(0)
    page.keyboard.press("c")
    expect(current).to_contain_text("Tone")
    page.keyboard.press("1")
    expect(current).to_contain_text("Facts")
    page.keyboard.press("6")
    expect(current).to_have_count(0)
    expect(page.locator("[data-criteria] [data-left]")).to_have_text("2 of 2 judged")
    assert shown(page) == first  # the digits were the criteria's
    page.keyboard.press("7")
    saved(page)
    answer = Label.objects.get().answer
    assert answer["choice"] == "chosen" and answer["strength"] == 3
    assert answer["criteria"] == {
        "tone": {"better": answer["rejected"], "strength": 3},
        "facts": {"better": answer["chosen"], "strength": 2},
    }
    expect(current).to_contain_text("Tone")  # the row stays open for the next pair
    page.keyboard.press("4")
    page.keyboard.press("0")  # no word on the second one
    page.keyboard.press("4")
    saved(page)
    assert Label.objects.last().answer["criteria"] == {"tone": {"better": None, "strength": 0}}
    page.keyboard.press("c")  # closed, the digits are the verdict's again
    page.keyboard.press("1")
    saved(page)
    assert "criteria" not in Label.objects.last().answer
    page.keyboard.press("z")
    expect(page.locator("[data-note]")).to_contain_text("Taken back: A, much better")
    page.keyboard.press("z")
    expect(page.locator("[data-note]")).to_contain_text("Taken back: tie")
    expect(page.locator(".notch:has(:checked)").first).to_have_attribute("title", "tie")


def test_one_press_still_decides_where_criteria_are_closed(page, room):
    room("One.", "Two.", ask={"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=3)
    first = shown(page)
    page.keyboard.press("1")
    assert shown(page) != first


def test_where_criteria_are_needed_a_verdict_waits_for_them(page, room):
    room(
        "One.", "Two.",
        ask={"kind": "pairwise", "options": {"criteria": CRITERIA, "criteria_required": True}}, items=2,
    )  # fmt: skip
    first = shown(page)
    expect(page.locator(".by-criterion.current")).to_contain_text("Tone")
    page.keyboard.press("2")
    page.keyboard.press("n")
    assert shown(page) == first  # Facts is not judged
    page.keyboard.press("c")
    expect(page.locator(".by-criterion.current")).to_contain_text("Facts")
    page.keyboard.press("4")
    page.keyboard.press("n")
    saved(page)
    assert shown(page) != first
    assert sorted(Label.objects.get().answer["criteria"]) == ["facts", "tone"]


def test_criteria_work_without_script(browser, site, ada):
    study = studies.study({"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=1, owner=ada)
    ada.set_password("difference engine")
    ada.save()
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/studies/{study.pk}/label/")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "difference engine")
    page.get_by_role("button", name="Sign in").click()
    page.locator("[data-criteria] summary").click()
    page.get_by_role("group", name="Tone").get_by_role("radio", name="B better", exact=True).check(force=True)
    page.get_by_role("button", name="= tie").click()
    assert Label.objects.get().answer["criteria"]["tone"]["strength"] == 2
    context.close()


# --- rewriting


def test_a_rewrite_is_previewed_as_it_will_be_read(page, room):
    room("It was *bad*.", "Other.", ask="edit")
    page.keyboard.press("v")
    preview = page.locator("[data-preview]")
    expect(preview.locator("em")).to_have_text("bad")
    editor = page.locator("textarea[name=text]")
    editor.fill("It was **good**, $x^2$. <script>alert(1)</script>")
    expect(preview.locator("strong")).to_have_text("good")
    expect(preview.locator("math")).to_be_visible()
    assert preview.locator("script").count() == 0
    editor.press("Escape")
    page.keyboard.press("v")
    expect(page.locator("[data-diff] ins").first).to_be_visible()
    expect(preview).to_be_hidden()


def test_the_changes_of_a_long_text_keep_up_with_the_typing(page, room):
    long = " ".join(f"word{n * 7919 % 1000}" + (".\n" if n % 12 == 11 else "") for n in range(2600))
    room(long, "Other.", ask="edit")
    editor = page.locator("textarea[name=text]")
    editor.focus()
    spent = editor.evaluate(
        """async (editor) => {
            const [times, place] = [[], editor.value.indexOf(" ", 9000) + 1];
            for (let i = 0; i < 20; i += 1) {
              const began = performance.now();
              editor.setRangeText("x ", place, place, "end");
              editor.dispatchEvent(new Event("input", { bubbles: true }));
              times.push(performance.now() - began);
              await new Promise(requestAnimationFrame);
            }
            return times.sort((a, b) => a - b)[10];
        }"""
    )
    assert spent < 8, f"{spent:.1f} ms for a key"
    expect(page.locator("[data-diff] ins")).to_have_text("x x x x x x x x x x x x x x x x x x x x ")
    expect(page.locator("[data-distance]")).to_contain_text("0 words out, 20 in")


def test_what_is_written_in_hebrew_is_shown_and_edited_from_right_to_left(page, room):
    room("שלום עולם", "Other.", ask="edit")
    for place in ("[data-original]", "textarea[name=text]", "[data-diff]"):
        assert page.locator(place).evaluate("one => getComputedStyle(one).direction") == "rtl"


# --- calm


def test_the_next_task_moves_nothing(page, room):
    room(rich(), rich(name="tiny"), items=4)
    places = ("pair-tools", "pair", "decide", "scale")

    def boxes():
        return [page.locator(f".{one}").first.bounding_box() for one in places]

    before = boxes()
    page.evaluate(
        """() => { window.shifts = 0; new PerformanceObserver((list) => {
            for (const one of list.getEntries()) window.shifts += one.value;
        }).observe({ type: "layout-shift" }); }"""
    )
    for key in "14":
        page.keyboard.press(key)
        saved(page)
        assert boxes() == before
    page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    assert page.evaluate("window.shifts") < 0.01


@pytest.mark.parametrize("width", [390, 320])
def test_wide_code_formulas_and_tables_scroll_and_the_page_does_not(page, room, width):
    page.set_viewport_size({"width": width, "height": 800})
    wide = "| " + " | ".join(f"column {n}" for n in range(14)) + " |\n" + "|---" * 14 + "|\n"
    code = "```python\n" + "x = " + " + ".join(f"variable_{n}" for n in range(30)) + "\n```\n"
    formula = "$$" + " + ".join(f"x_{{{n}}}^2" for n in range(40)) + "$$"
    room(
        f"{wide}\n{code}\n{formula}\n\n" + rich(), "No.",
        ask={"kind": "pairwise", "options": {"criteria": CRITERIA, "criteria_required": True}},
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    stage = page.locator(".stage")
    assert stage.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
    for part in (".code pre", ".table", ".formula"):
        assert page.locator(f".pair {part}").first.evaluate("one => one.scrollWidth > one.clientWidth + 100")
