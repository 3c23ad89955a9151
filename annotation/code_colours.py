"""Code in answers, coloured by classes: `<span class="code-keyword">`, whose colours are in static/css/texts.css."""

from html import escape
from itertools import groupby
from time import thread_time

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, Generic, Keyword, Literal, Name, Number, Operator, String

LONGEST = 30_000
LONGEST_LINE = 2_000

# What answers are written in. A lexer is a pile of expressions: only well-worn ones meet text that may be hostile.
LANGUAGES = frozenset(
    """awk bash c c++ clojure cmake console cpp cs csharp css cuda dart diff docker dockerfile elixir erlang fortran go
    graphql groovy haskell html http ini java javascript jinja js json jsx julia kotlin latex less lua make makefile
    matlab nginx nix objective-c ocaml perl php powershell prolog proto protobuf py pycon python python3 r racket rb
    rs ruby rust scala scheme scss sh shell sql swift terraform tex toml ts tsx typescript verilog vhdl vim xml yaml
    yml zig zsh""".split()  # noqa: SIM905, a list of words is read more easily as words
)

# The first that a token belongs to; what belongs to none is in the colour of text.
KINDS = (
    (Comment, "code-comment"),
    (Keyword.Constant, "code-number"),
    (Keyword, "code-keyword"),
    (Operator.Word, "code-keyword"),
    (String, "code-string"),
    (Number, "code-number"),
    (Literal, "code-number"),
    (Name.Function, "code-name"),
    (Name.Class, "code-name"),
    (Name.Tag, "code-keyword"),
    (Name.Attribute, "code-name"),
    (Name.Decorator, "code-name"),
    (Name.Builtin, "code-builtin"),
    (Name.Exception, "code-builtin"),
    (Generic.Deleted, "code-removed"),
    (Generic.Inserted, "code-added"),
    (Generic.Heading, "code-keyword"),
    (Generic.Subheading, "code-keyword"),
    (Error, ""),
)
CLASSES = {name for _, name in KINDS if name}


def coloured(code: str, language: str, deadline: float) -> str:
    """HTML of a piece of code; without colours where the language is unknown, or the time is up."""
    if language not in LANGUAGES or len(code) > LONGEST or max(map(len, code.split("\n"))) > LONGEST_LINE:
        return escape(code, quote=False)
    parts = []
    for kind, value in get_lexer_by_name(language, stripnl=False, ensurenl=False).get_tokens(code):
        if thread_time() > deadline:
            return escape(code, quote=False)
        parts.append((_class(kind), value))
    html = []
    for name, group in groupby(parts, key=lambda part: part[0]):
        text = escape("".join(value for _, value in group), quote=False)
        html.append(f'<span class="{name}">{text}</span>' if name and text.strip() else text)
    return "".join(html)


def _class(kind) -> str:
    return next((name for parent, name in KINDS if kind in parent), "")
