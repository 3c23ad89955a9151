"""Markdown from anybody, shown to anybody."""

import base64
import re
import zlib
from html.parser import HTMLParser
from time import perf_counter

import pytest

from annotation import formulas, pictures, richtext
from annotation.richtext import render

HARMLESS = {
    "href": re.compile(r"(https?:|mailto:)", re.IGNORECASE),
    "src": re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,[A-Za-z0-9+/=]+$"),
}


class Found(HTMLParser):
    """Every tag and attribute of a page, as a browser would read them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def assert_safe(html: str) -> Found:
    found = Found(html)
    assert set(found.tags) <= richtext.TAGS
    for tag, name, value in found.attributes:
        known = richtext.ATTRIBUTES.get(tag, set()) | {"class"} | ({"rel", "target"} if tag == "a" else set())
        assert name in known, (tag, name)
        if name in HARMLESS:
            assert HARMLESS[name].match(value), (tag, name, value)
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width: int, height: int) -> str:
    """A real picture, as base64."""
    rows = zlib.compress((b"\x00" + b"\x80" * width) * height)
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    whole = chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00") + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + whole).decode()


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java&#115;cript:alert(1))",
    "[click](\x01javascript:alert(1))",
    "[click](vbscript:x)",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==)",
    "[click](/logout)",
    "<javascript:alert(1)>",
    '<a href="https://x" onclick="alert(1)">x</a>',
    "![pixel](https://elsewhere.example/pixel.png)",
    "![pixel](//elsewhere.example/pixel.png)",
    "![pixel](file:///etc/passwd)",
    "![p](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "![p](data:text/html;base64,PHNjcmlwdD4=)",
    '![" onerror="alert(1)](https://x.example/a.png)',
    "[![a](javascript:alert(1))](javascript:alert(2))",
    "[a]: javascript:alert(1)\n\n[a]",
    '[a](https://x.example "\\" onclick=\\"alert(1)")',
    "<svg><script>alert(1)</script></svg>",
    "<math><mi onclick=alert(1)>x</mi></math>",
    "<style>body{display:none}</style>",
    "<iframe src=https://x></iframe>",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\style{position:fixed}{x}$",
    r"$\class{x}{y}$ $\color{white}{hidden}$",
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{<img src=x onerror=alert(1)>}$",
    r'$"><script>alert(1)</script>$',
    r"$$</math><script>alert(1)</script>$$",
    r"\(<a href='javascript:alert(1)'>x</a>\)",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "| a |\n|---|\n| <script>alert(1)</script> |",
    "- [x] <script>alert(1)</script>",
    "\ud800<script>\udfff",
    "\u202egnp.exe\u2066 <b>",
    "\x00<scr\x00ipt>alert(1)</scr\x00ipt>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_hostile_gets_through(hostile):
    html = render(f"before {hostile} after\n\n{hostile}\n\nat the end")
    assert_safe(html)
    assert "before" in html and "at the end" in html
    assert "\x00" not in html
    html.encode()  # no half of a character is left


def test_what_people_write_looks_as_they_meant_it():
    html = render(
        "# Look for\n\n- **tone**\n- `code`\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n\n[more](https://x.example)"
    )
    found = assert_safe(html)
    assert {"h1", "li", "strong", "table", "td"} <= set(found.tags)
    assert "<code>code</code>" in html and '<div class="table"' in html
    assert ("td", "class", "align-right") in found.attributes
    link = {name: value for tag, name, value in found.attributes if tag == "a"}
    assert link["href"] == "https://x.example" and "noopener" in link["rel"] and link["target"] == "_blank"


def test_a_list_of_tasks_has_signs_and_no_controls():
    html = render("- [x] cooked\n- [ ] washed up")
    assert 'aria-label="done">☑</span> cooked' in html and 'aria-label="to do">☐</span> washed up' in html
    assert "input" not in Found(html).tags


# --- code


def test_code_is_coloured_by_classes_and_says_its_language():
    html = render('```python\ndef f(x):\n    return "a < b"  # why\n```')
    assert '<span class="code-keyword">def</span>' in html
    assert '<span class="code-string">"a &lt; b"</span>' in html
    assert '<span class="code-comment"># why</span>' in html
    assert "<figcaption>python</figcaption>" in html and "style=" not in html
    text = re.sub(r"<[^>]+>", "", html)
    assert 'def f(x):\n    return "a &lt; b"  # why' in text


def test_code_in_no_known_language_or_too_long_is_shown_without_colours():
    assert "<code>def f(): 1\n</code>" in render("```klingon\ndef f(): 1\n```")
    assert "<code>def f(): 1\n</code>" in render("```\ndef f(): 1\n```")
    assert "code-keyword" not in render("```python\n" + "def f(): 1\n" * 4000 + "```")


def test_every_class_of_code_has_its_rule_in_the_style_sheet():
    from pathlib import Path

    from annotation import code_colours

    sheet = (Path(__file__).parents[2] / "static/css/texts.css").read_text()
    for name in code_colours.CLASSES:
        assert f".{name} {{" in sheet


# --- formulas


@pytest.mark.parametrize(
    ("written", "display"),
    [
        ("so $e^{i\\pi}=-1$ is", "inline"),
        (r"so \(e^{i\pi}=-1\) is", "inline"),
        ("$$\ne^{i\\pi}=-1\n$$", "block"),
        ("so $$e^{i\\pi}=-1$$ is", "block"),
        (r"so \[e^{i\pi}=-1\] is", "block"),
    ],
)
def test_formulas_become_mathml_however_they_are_set_off(written, display):
    html = render(written)
    found = assert_safe(html)
    assert ("math", "display", display) in found.attributes
    assert ("math", "alttext", "e^{i\\pi}=-1") in found.attributes
    assert "<msup><mi>e</mi>" in html


def test_money_and_code_are_no_formulas():
    assert "<math" not in render("It costs $5, or $10 for two. `$x$` and \\$y$")


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{1",
        r"\begin{matrix}",
        r"\undefined{x}",
        "{" * 300 + "}" * 300,
        "x_" * 900,
        "a" * 5000,
        r"\newcommand{\a}{xx}\a",
        r"\def\a{\a\a}\a",
        "",
    ],
)
def test_what_is_no_formula_is_shown_as_it_was_written(latex):
    html = formulas.mathml(latex, False, {})
    assert html.startswith('<code class="formula-source">') and "<math" not in html


def test_aligned_equations_and_boxes_are_understood():
    html = render("$$\n\\begin{aligned}a&=b\\\\c&=d\\end{aligned}\n$$ \n\n$\\boxed{42}$")
    assert html.count("<mtr>") == 2 and '<menclose notation="box">' in html


def test_a_formula_can_neither_hide_nor_overlay_anything():
    html = formulas.mathml(r"\color{white}{a} \hspace{-900em} \Huge b \mathrlap{c}", False, {})
    for word in ("mathcolor", "mathsize", "-900", 'width="0', "style="):
        assert word not in html.split("<mrow>", 1)[-1]


def test_formulas_have_a_budget_in_each_text():
    many = " ".join(f"$x_{{{n}}} + {'y' * 900}$" for n in range(100))
    html = render(many)
    assert "<math" in html and "formula-source" in html


# --- pictures


def test_a_picture_in_the_text_is_shown_and_keeps_its_place_while_it_loads():
    data = png(100, 50)
    html = render(f"See ![a grey wall](data:image/png;base64,{data}) here")
    assert_safe(html)
    assert f'src="data:image/png;base64,{data}"' in html
    assert 'alt="a grey wall"' in html and 'width="100"' in html and 'height="50"' in html
    assert 'alt="no description"' in render(f"![](data:image/png;base64,{data})")


def test_the_bytes_of_a_picture_are_not_for_reading():
    data = "A" * 40_000
    assert richtext.written(f"see ![x](data:image/png;base64,{data}) **it**") == (
        "see ![x](data:image/png;base64,… (30,000 bytes)) **it**"
    )


def test_a_picture_from_elsewhere_is_named_and_not_loaded():
    html = render("![a cat](https://x.example/cat.png)")
    assert "<img" not in html
    assert "Picture not loaded: a cat" in html and '<a href="https://x.example/cat.png"' in html


def test_what_only_says_it_is_a_picture_is_none():
    html = render(f"![p](data:image/png;base64,{base64.b64encode(b'<svg onload=alert(1)>').decode()})")
    assert "<img" not in html and "Picture not shown" in html


def test_a_picture_of_too_many_pixels_is_not_unpacked():
    huge = base64.b64decode(png(1, 1))
    huge = huge[:16] + (60_000).to_bytes(4, "big") * 2 + huge[24:]
    assert "<img" not in render(f"![p](data:image/png;base64,{base64.b64encode(huge).decode()})")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GIF89a" + b"\x40\x00\x20\x00" + b"\x00" * 20, (64, 32)),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x3f\x00\x00\x1f\x00\x00", (64, 32)),
        (
            b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x20\x00\x40\x03" + b"\x00" * 12,
            (64, 32),
        ),
        (b"\xff\xd8\xff\xe0\x00\x00" * 9, None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"GIF89a\x00\x00\x00\x00" + b"\x00" * 9, None),
    ],
)
def test_the_size_of_a_picture_is_read_from_its_first_bytes(data, size):
    assert pictures.size(base64.b64encode(data).decode()) == size


def test_a_large_picture_does_not_make_a_text_long():
    data = base64.b64encode(base64.b64decode(png(10, 10)) + b"\x00" * 400_000).decode()
    began = perf_counter()
    html = render(f"**see** ![wall](data:image/png;base64,{data})")
    assert "<strong>see</strong>" in html and data in html
    assert data in render(f"`data:image/png;base64,{data}`")
    assert perf_counter() - began < 2


# --- directions


def test_each_paragraph_finds_its_own_direction_and_a_list_has_its_marks_on_the_right_side():
    html = render("Hello\n\nمرحبا\n\n- שלום\n- two\n\n1. one\n2. שתיים\n\n> مرحبا\n\n```python\nx\n```")
    assert html.count('<p dir="auto">') >= 3
    assert '<ul dir="rtl">' in html and '<ol dir="ltr">' in html
    assert '<blockquote dir="rtl">' in html and '<pre dir="ltr"' in html


def test_an_override_of_direction_ends_with_its_block():
    html = render("\u202eevil\n\nnext")
    assert "</p>" in html.split("evil")[1].split("next")[0]
    assert html.count('dir="auto"') == 2


# --- long, deep and endless


@pytest.mark.parametrize(
    "unit",
    ["[", "![", "$", "$$a\n", "\\(", "\\[", "*a_ ", "`", "> ", "- ", "[a](", "**a *b ", "&", "| - ", "~~a", "1. ",
     "![](data:image/png;base64,", "```python\n\"\n```\n", "$a_1+b$ ", "\u202e", "\0", "<", "*_", "_a__b*"],
)  # fmt: skip
@pytest.mark.parametrize("length", [190_000, 1_000_000])
def test_a_text_made_to_take_long_is_safe_and_soon_there(unit, length):
    text = (unit * (length // len(unit) + 1))[:length]
    began = perf_counter()
    html = render(text)
    assert perf_counter() - began < 10  # bounded; an idle machine needs less than 2.5
    assert_safe(html[:300_000].rsplit("<", 1)[0])
    began = perf_counter()
    assert render(text) == html
    assert perf_counter() - began < 1


def test_what_is_too_long_or_too_deep_is_shown_whole_as_it_was_written():
    long = "**word** " * 30_000
    assert richtext.is_plain(long) and not richtext.is_plain("short")
    assert render(long) == f'<div class="raw" dir="auto">{long}</div>'
    for deep in ("> " * 90 + "hidden", "- " * 90 + "hidden", "> - " * 50 + "hidden"):
        assert "hidden" in render(deep)
    assert "hidden" in render("> " * 20 + "hidden")


def test_a_render_that_runs_out_of_time_falls_back_to_the_text(monkeypatch):
    monkeypatch.setattr(richtext, "SECONDS", -1)
    text = "**late** & <late>"
    assert render(text) == '<div class="raw" dir="auto">**late** &amp; &lt;late&gt;</div>'


def test_renders_are_kept_up_to_a_size():
    kept = richtext.Kept(most=100)
    kept.put("a", "x" * 60)
    kept.put("b", "y" * 30)
    assert kept.get("a") == "x" * 60
    kept.put("c", "z" * 60)
    assert kept.get("b") is None and kept.get("c") == "z" * 60
    kept.put("d", "w" * 500)
    assert kept.get("d") is None and kept.size <= 100
