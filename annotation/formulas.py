r"""LaTeX between dollars, \(…\) and \[…\] in Markdown, as MathML, which browsers draw by themselves.

What the converter cannot read is shown as it was written. A formula is hostile until it has passed here: it may
be endless, may define itself, may hold HTML; only the presentation elements and attributes named here leave.
"""

import re
from collections.abc import MutableMapping
from html import escape, unescape
from time import thread_time
from typing import Any
from xml.etree.ElementTree import Element, tostring

from latex2mathml.converter import Converter
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.dollarmath.index import math_inline_dollar

LONGEST = 4_000
LONGEST_IN_ALL = 40_000
DEEPEST = 40

TAGS = {
    "math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow", "mspace",
    "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip

# Colours and sizes are left out: an answer must not be able to hide its words, or to shout.
WORD = re.compile(r"[a-z][a-z -]{0,40}")
LENGTH = re.compile(r"[0-9]?(\.[0-9]{1,4})?(em|ex|pt|px)?")
LENGTHS = re.compile(rf"({LENGTH.pattern}\s*){{0,40}}")
ATTRIBUTES: dict[str, dict[str, re.Pattern]] = {
    "math": {"display": WORD, "alttext": re.compile(r".*", re.DOTALL)},
    "menclose": {"notation": WORD},
    "mfrac": {"linethickness": LENGTH},
    "mi": {"mathvariant": WORD},
    "mn": {"mathvariant": WORD},
    "mo": {
        "mathvariant": WORD, "stretchy": WORD, "fence": WORD, "form": WORD, "separator": WORD, "largeop": WORD,
        "movablelimits": WORD, "accent": WORD, "lspace": LENGTH, "rspace": LENGTH, "minsize": LENGTH, "maxsize": LENGTH,
    },
    "mover": {"accent": WORD},
    "mspace": {"width": LENGTH, "linebreak": WORD},
    "mstyle": {"displaystyle": WORD, "scriptlevel": re.compile("[0-3]")},
    "mtable": {
        "columnspacing": LENGTHS, "rowspacing": LENGTHS, "displaystyle": WORD, "rowlines": WORD, "columnlines": WORD,
    },
    "mtd": {"columnalign": WORD},
    "mtext": {"mathvariant": WORD},
    "munder": {"accent": WORD},
}  # fmt: skip

# A command that defines others can be made to grow without end; nobody needs one in an answer.
DEFINES = re.compile(r"\\(re)?newcommand|\\def\b|\\let\b")

# Environments that the converter does not know, as those that it does.
SAME_AS = {"aligned": "align*", "align": "align*", "alignedat": "align*", "gathered": "matrix", "gather": "matrix",
           "gather*": "matrix", "equation": "matrix", "equation*": "matrix"}  # fmt: skip


# "$5 a night, or US$ 6" is money, though it stands between two dollars.
MONEY = re.compile(r"\$\d[\d,.]*\s+[a-z]{2,}")


def install(markdown: MarkdownIt) -> None:
    """Teaches a Markdown parser formulas."""
    dollarmath_plugin(markdown, allow_labels=False, allow_blank_lines=False, double_inline=True)
    markdown.inline.ruler.at("math_inline", _dollar)
    markdown.inline.ruler.before("escape", "math_bracket", _bracket)
    for kind, display in (("math_inline", False), ("math_inline_double", True), ("math_block", True)):
        markdown.renderer.rules[kind] = _drawn_as(display)


def _drawn_as(display: bool):
    def draw(tokens, index, options, env) -> str:
        html = mathml(tokens[index].content.strip(), display, env)
        return f"<p>{html}</p>\n" if tokens[index].block else html

    return draw


_between_dollars = math_inline_dollar(allow_space=False, allow_digits=False, allow_double=True)


def _dollar(state: StateInline, silent: bool) -> bool:
    """$ … $ and $$ … $$, unless it is about money, or would break a piece of code in two."""
    start = state.pos
    if not _between_dollars(state, True):
        return False
    written = state.src[start : state.pos]
    formula = "`" not in written and not MONEY.match(written)
    if silent and formula:
        return True
    state.pos = start
    return formula and not silent and _between_dollars(state, False)


def _bracket(state: StateInline, silent: bool) -> bool:
    r"""\( … \) and \[ … \], which Markdown would otherwise read as escaped brackets."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in (r"\(", r"\["):
        return False
    closing = r"\)" if opening == r"\(" else r"\]"
    if state.env.get(closing) is state.src:  # looked for to the end once already; once is enough
        return False
    end = state.src.find(closing, state.pos + 2)
    if end < 0:
        state.env[closing] = state.src
        return False
    if end > state.posMax or not state.src[state.pos + 2 : end].strip():
        return False
    if not silent:
        token = state.push("math_inline" if opening == r"\(" else "math_inline_double", "math", 0)
        token.content = state.src[state.pos + 2 : end]
        token.markup = opening
    state.pos = end + 2
    return True


def mathml(latex: str, display: bool, env: MutableMapping[str, Any]) -> str:
    """A formula as MathML, or as its source in <code> where it is none. `env` counts what a text has used up."""
    env["formulas"] = env.get("formulas", 0) + len(latex)
    math = None
    if env["formulas"] <= LONGEST_IN_ALL and thread_time() < env.get("deadline", float("inf")):
        math = _converted(latex, display)
    if math is None:
        return f'<code class="formula-source">{escape(latex)}</code>'
    math.set("alttext", latex)
    math.attrib.pop("xmlns", None)
    html = tostring(math, encoding="unicode", short_empty_elements=False)
    return f'<span class="formula">{html}</span>' if display else html


def _converted(latex: str, display: bool) -> Element | None:
    """The tree of a formula that was read to the end; None for what is too long, too deep, or no formula."""
    if not latex or len(latex) > LONGEST or _depth(latex) > DEEPEST or DEFINES.search(latex):
        return None
    known = re.sub(r"\\(begin|end)\{([a-z]+\*?)\}", lambda m: rf"\{m[1]}{{{SAME_AS.get(m[2], m[2])}}}", latex)
    try:
        math = Converter(display="block" if display else "inline").convert_to_element(known)
    except Exception:  # the converter fails in a dozen ways of its own; each means that this is no formula
        return None
    for part in math.iter():
        if part.tag not in TAGS:
            return None
        part.text = unescape(part.text or "")  # the converter writes signs as entities, and text as it came
        if part.tag == "mi" and part.text.startswith("\\"):  # a command that the converter does not know
            return None
        kept = ATTRIBUTES.get(part.tag, {})
        for name, value in list(part.attrib.items()):
            if name not in kept or not kept[name].fullmatch(value):
                del part.attrib[name]
    return math


def _depth(latex: str) -> int:
    """How deep the braces stand in each other; beyond every limit where they do not close."""
    deepest = depth = 0
    for sign in re.findall(r"\\.|[{}]", latex):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        deepest = max(deepest, depth if depth >= 0 else DEEPEST + 1)
    return deepest if depth == 0 else DEEPEST + 1
