"""A method's card as a page shows it: its first sentence where it is chosen, all of it where it is read."""

from __future__ import annotations

import re
from functools import cache

from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from trainers import registry

# Cards are files of this repository; their HTML, should one hold any, is shown as text.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
SENTENCE = re.compile(r"(?<=[a-z0-9)`])\.(?= [A-Z])")
CITATION = re.compile(r" \([^()]*arXiv[^()]*\)")


@cache
def sentence(method: str) -> str:
    """What a method does, in the first sentence of its card, as plain text."""
    blocks = [" ".join(block.split()) for block in registry.card(method).split("\n\n")]
    about = next((block for block in blocks[2:] if block[:1] not in "#|`"), blocks[0].lstrip("# "))
    return SENTENCE.split(CITATION.sub("", about))[0].rstrip(".").replace("`", "") + "."


@cache
def page(method: str) -> SafeString:
    """The whole card but for its title, which stands above it, one level of headings down."""
    text = registry.card(method).partition("\n")[2].replace("\n## ", "\n### ")
    drawn = MARKDOWN.render(text)
    # A table, or a formula, that is wider than the page scrolls by itself, also from the keyboard.
    drawn = drawn.replace("<table>", '<div class="table-scroll" tabindex="0" role="group"><table>')
    return mark_safe(drawn.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">'))
