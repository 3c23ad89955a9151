"""Markdown from anybody, shown to anybody."""

import pytest

from annotation.richtext import render


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "[click](data:text/html;base64,PHNjcmlwdD4=)",
        '<a href="https://x" onclick="alert(1)">x</a>',
        "![pixel](https://elsewhere.example/pixel.png)",
        "<svg><script>alert(1)</script></svg>",
        "<style>body{display:none}</style>",
        "<iframe src=https://x></iframe>",
    ],
)
def test_nothing_hostile_gets_through(hostile):
    html = render(f"before {hostile} after\n\n{hostile}").lower()
    for part in (
        "<script",
        "<img",
        "<svg",
        "<style",
        "<iframe",
        'href="javascript',
        'href="data',
        '<a href="https://x" onclick',
    ):
        assert part not in html
    assert "before" in html and "after" in html


def test_what_people_write_looks_as_they_meant_it():
    html = render(
        "# Look for\n\n- **tone**\n- `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[more](https://x.example)"
    )
    for part in ("<h1>", "<li>", "<strong>tone</strong>", "<code>code</code>", "<td>1</td>", 'rel="noopener'):
        assert part in html
