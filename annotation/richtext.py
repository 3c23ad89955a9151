"""Markdown that people and models wrote, as HTML that is safe to show.

Rendered first, sanitised last: whatever the renderer lets through, only the tags and attributes named here reach a
page. Code is coloured by classes, formulas are MathML, pictures come only out of the text itself. Whatever is too
long to render, or takes too long, is shown as it was written: nothing is ever left out.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from html import escape
from time import thread_time
from typing import Any

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from annotation import code_colours, formulas, pictures

LONGEST = 200_000
SECONDS = 2.0  # of work, so that a busy machine shows no text otherwise than an idle one
DEEPEST = 60
MOST_PIXELS = 40_000_000
LONGEST_PICTURE = 6_000_000
KEPT = 8_000_000

TAGS = formulas.TAGS | {
    "a", "blockquote", "br", "code", "del", "div", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "img", "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
DIRECTED = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p", "table", "td", "th", "ul"}
ATTRIBUTES: dict[str, set[str]] = {
    **{tag: set(kept) for tag, kept in formulas.ATTRIBUTES.items()},
    **{tag: {"dir"} for tag in DIRECTED},
    "a": {"href", "title"},
    "ol": {"start", "dir"},
    "pre": {"dir", "tabindex", "role", "aria-label"},
    "div": {"dir", "tabindex", "role", "aria-label"},
    "img": {"src", "alt", "width", "height", "decoding"},
    "span": {"role", "aria-label"},
}
ALIGNED = {f"align-{side}" for side in ("left", "center", "right")}
CLASSES = {
    "div": {"table"},
    "figure": {"code"},
    "span": code_colours.CLASSES | {"formula", "tick", "picture-elsewhere"},
    "code": {"formula-source"},
    "li": {"todo"},
    "td": ALIGNED,
    "th": ALIGNED,
}

HALF = re.compile("[\x00\ud800-\udfff]")
RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
LETTER = re.compile(r"[^\W\d_]")
CHECK = re.compile(r"\[([ xX])\][ \n]")


class TooMuch(Exception):
    """A text that is nested deeper, or takes longer to render, than a page can bear."""


def render(text: str) -> SafeString:
    """Safe HTML of a text. A picture elsewhere is not fetched: it would tell its host who reads what."""
    short, payloads = _without_pictures(HALF.sub("\ufffd", text))
    html = _kept.get(short)
    if html is None:
        html = _rendered(short, payloads)
        _kept.put(short, html)
    for name, payload in payloads.items():
        html = html.replace(name, payload)
    return mark_safe(html)


def written(text: str) -> str:
    """A text as it was written, to be read: of a picture's bytes only how many they are."""
    return pictures.DATA.sub(
        lambda found: f"data:image/{found[1]};base64,… ({len(found[2]) * 3 // 4:,} bytes)", text
    )


def is_plain(text: str) -> bool:
    """Whether a text is shown as it was written, because it is too long to be rendered."""
    return len(text) > LONGEST and len(_without_pictures(text)[0]) > LONGEST


def _plain(text: str) -> str:
    return f'<div class="raw" dir="auto">{escape(text, quote=False)}</div>'


def _rendered(text: str, payloads: dict[str, str]) -> str:
    if len(text) > LONGEST:
        return _plain(text)
    try:
        html = markdown.render(text, {"deadline": thread_time() + SECONDS, "payloads": payloads})
    except (TooMuch, RecursionError):
        return _plain(text)
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        allowed_classes=CLASSES,
        set_tag_attribute_values={"a": {"target": "_blank"}},  # a room in use must not be left by a slip
        url_schemes={"http", "https", "mailto", "data"},  # which of them where, says `_attribute`
        attribute_filter=_attribute,
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    """The last word on addresses: pictures are data, and links are not."""
    if name == "src":
        return value if pictures.DATA.fullmatch(value) else None
    if name == "href":
        return None if value.strip().lower().startswith("data:") else value
    return value


# --- what has been rendered


class Kept:
    """The newest renders, up to so many characters in all. A page shows the same texts to many people."""

    def __init__(self, most: int):
        self.most, self.size = most, 0
        self.texts: OrderedDict[bytes, str] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, text: str) -> str | None:
        with self.lock:
            name = self._name(text)
            if name in self.texts:
                self.texts.move_to_end(name)
            return self.texts.get(name)

    def put(self, text: str, html: str) -> None:
        with self.lock:
            name = self._name(text)
            if name in self.texts:
                return
            self.texts[name] = html
            self.size += len(html)
            while self.size > self.most:
                self.size -= len(self.texts.popitem(last=False)[1])

    def _name(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=20).digest()


_kept = Kept(KEPT)


# --- pictures


def _without_pictures(text: str) -> tuple[str, dict[str, str]]:
    """The text with a short name for the bytes of each picture, which neither Markdown nor the cache need read."""
    if ";base64," not in text:
        return text, {}
    payloads: dict[str, str] = {}

    def name(found: re.Match) -> str:
        short = hashlib.sha256(found[2].encode()).hexdigest()
        payloads[short] = found[2]
        return f"data:image/{found[1]};base64,{short}"

    return pictures.DATA.sub(name, text), payloads


def _picture(tokens: list[Token], index: int, options: Any, env: Any) -> str:
    source, words = str(tokens[index].attrs["src"]), tokens[index].content.strip() or "no description"
    found = pictures.DATA.fullmatch(source)
    payload = env["payloads"].get(found[2]) if found else None
    if payload is None:
        return _elsewhere(words, source)
    size = pictures.size(payload) if len(payload) <= LONGEST_PICTURE else None
    if size is None or size[0] * size[1] > MOST_PIXELS:
        return (
            f'<span class="picture-elsewhere">Picture not shown, too large or broken: {escape(words)}</span>'
        )
    return f'<img src="{escape(source)}" alt="{escape(words)}" width="{size[0]}" height="{size[1]}" decoding="async">'


def _elsewhere(words: str, source: str) -> str:
    where = escape(source[:200])
    if source.lower().startswith(("http:", "https:")):
        where = f'<a href="{escape(source)}">{where}</a>'
    return f'<span class="picture-elsewhere">Picture not loaded: {escape(words)} ({where})</span>'


# --- code, tables, lists of tasks


def _fence(tokens: list[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    language = (token.info.split() or [""])[0].lower()[:40]
    caption = f"<figcaption>{escape(language)}</figcaption>" if language else ""
    words = f"Code, {language}" if language else "Code"
    code = code_colours.coloured(token.content, language, env["deadline"])
    direction = "ltr" if language else "auto"  # what has no language may be prose
    return (
        f'<figure class="code">{caption}<pre dir="{direction}" tabindex="0" role="group" '
        f'aria-label="{escape(words)}"><code>{code}</code></pre></figure>\n'
    )


def _table_open(tokens: list[Token], index: int, options: Any, env: Any) -> str:
    direction = f' dir="{tokens[index].attrs["dir"]}"' if "dir" in tokens[index].attrs else ""
    return f'<div class="table" tabindex="0" role="group" aria-label="Table"><table{direction}>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _checks(state: StateCore) -> None:
    """`- [x] done` shows a ticked box. It is a sign and no control: what others wrote is not for filling in."""
    for item, paragraph, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if (item.type, paragraph.type) != ("list_item_open", "paragraph_open") or not inline.children:
            continue
        first = inline.children[0]
        found = CHECK.match(first.content + " ") if first.type == "text" else None
        if found:
            done = found[1] != " "
            first.content = first.content[found.end() :]
            item.attrSet("class", "todo")
            check = Token("check", "span", 0, content="☑" if done else "☐", info="done" if done else "to do")
            inline.children.insert(0, check)


def _check(tokens: list[Token], index: int, options: Any, env: Any) -> str:
    return f'<span class="tick" role="img" aria-label="{tokens[index].info}">{tokens[index].content}</span> '


# --- directions

TEXTS = ("paragraph_open", "heading_open", "list_item_open", "td_open", "th_open")
HOLDERS = ("bullet_list_open", "ordered_list_open", "blockquote_open", "table_open")


def _directions(state: StateCore) -> None:
    """Each block of text finds its own direction; where there is a right-to-left script, what holds blocks follows
    the first letter in it, so that the marks of a list stand on the side where its lines begin."""
    mixed = RIGHT_TO_LEFT.search(state.src)
    holders: list[Token] = []
    for token in state.tokens:
        if token.type in TEXTS:
            token.attrSet("dir", "auto")
        if token.type in ("td_open", "th_open") and "style" in token.attrs:
            token.attrSet("class", "align-" + str(token.attrs.pop("style")).removeprefix("text-align:"))
        if not mixed:
            continue
        if token.type in HOLDERS or token.type == "list_item_open":
            holders.append(token)
        letter = LETTER.search(token.content) if token.type == "inline" else None
        if letter:
            for holder in holders:
                holder.attrSet("dir", "rtl" if RIGHT_TO_LEFT.match(letter[0]) else "ltr")
            holders = []


# --- the parser


def _bearable(state: Any, *_: Any) -> bool:
    """Looks, before each part, whether it may be. At its own limit the parser would leave out what is deeper."""
    if thread_time() > state.env["deadline"] or state.level >= DEEPEST:
        raise TooMuch
    return False


def _parser() -> MarkdownIt:
    made = MarkdownIt(
        "commonmark", {"html": False, "linkify": False, "breaks": True, "maxNesting": DEEPEST + 3}
    )
    made.enable(["table", "strikethrough"])
    formulas.install(made)
    made.block.ruler.before("table", "bearable", _bearable)
    made.inline.ruler.before("text", "bearable", _bearable)
    made.core.ruler.push("checks", _checks)
    made.core.ruler.push("directions", _directions)
    made.renderer.rules |= {
        "image": _picture,
        "fence": _fence,
        "code_block": _fence,
        "table_open": _table_open,
        "table_close": _table_close,
        "check": _check,
    }
    return made


markdown = _parser()
