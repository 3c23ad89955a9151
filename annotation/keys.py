"""The keys of the labelling room: what each one does, and which of them a person may change.

A control names what it does (`data-action`), and the page presses it by its key. What every interface has stands
here; an interface adds its own in `ACTIONS`, {action: (key, words)}, and says in `KEYS` what its fixed keys do. Digits,
Enter, Esc and Ctrl+Enter answer, and mean the same for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from annotation.errors import Invalid
from annotation.interfaces.registry import INTERFACES, interface

SHARED = {
    "skip": ("s", "skip; somebody else will answer"),
    "undo": ("z", "undo the last answer, again and again"),
    "back": ("b", "step back through your answers, to look at one or to change it"),
    "flag": ("f", "flag: harmful, personal data, nonsense, broken"),
    "note": ("k", "a note to the researchers"),
    "prompt": ("e", "show the whole prompt, or fold it"),
    "passages": ("p", "the passages to judge by, where there are some"),
    "guideline": ("g", "the guideline"),
    "keys": ("?", "these keys"),
}
FIXED = [("Esc", "leave a field, close what is open, or return from an answer you went back to")]


@dataclass(frozen=True)
class Action:
    """Something a key does, in the interfaces where it can be done."""

    name: str
    words: str
    keys: Mapping[str, str]
    """By interface: the key it has where nobody changed it."""

    @property
    def key(self) -> str:
        return next(iter(self.keys.values()))


def actions(kinds: Iterable[str] = INTERFACES) -> dict[str, Action]:
    """What the keys of these interfaces do, by name; the interfaces' own first.

    Only a character can be given away: what Enter or Backspace does, they do for everybody.
    """
    kinds = list(kinds)
    found: dict[str, Action] = {}
    for kind in kinds:
        for name, (key, words) in getattr(interface(kind), "ACTIONS", {}).items():
            if len(key) == 1:
                others = found[name].keys if name in found else {}
                found[name] = Action(name, found[name].words if others else words, {**others, kind: key})
    for name, (key, words) in SHARED.items():
        found[name] = Action(name, words, dict.fromkeys(kinds, key))
    return found


def fixed(kinds: Iterable[str]) -> list[tuple[list[str], str]]:
    """The keys of these interfaces that nobody changes, each with what it does."""
    modules = [interface(kind) for kind in kinds]
    rows = [row for module in modules for row in getattr(module, "KEYS", [])]
    for module in modules:
        given = getattr(module, "ACTIONS", {}).values()
        rows += [(key.replace("+", " ").title(), words) for key, words in given if len(key) > 1]
    return [(keys.split(), words) for keys, words in dict.fromkeys([*rows, *FIXED])]


def table(own: Mapping[str, str], kinds: Iterable[str] = INTERFACES) -> list[dict]:
    """A row for each key a person may change, with the one they have."""
    return [
        {
            "action": one.name,
            "key": own.get(one.name, one.key),
            "default": one.key,
            "words": one.words,
            "kinds": list(one.keys),
            "everywhere": one.name in SHARED,
            "where": [interface(kind).label for kind in one.keys],
        }
        for one in actions(kinds).values()
    ]


def change(own: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """A person's keys after `changes`, {action: key}; an empty key brings the default back.

    Kept are only those that differ from the default. Two actions of one page never share a key.
    """
    known = actions()
    keys = {name: key for name, key in own.items() if name in known}
    for name, key in changes.items():
        if name not in known:
            raise Invalid(f"No key does {name!r}. What keys do: {', '.join(known)}.", field=name)
        keys[name] = _read_key(key, name)
    keys = {name: key for name, key in keys.items() if key and key != known[name].key}
    for name in changes:
        _check_free(name, keys, known)
    return keys


def _check_free(name: str, keys: Mapping[str, str], known: Mapping[str, Action]) -> None:
    for kind, default in known[name].keys.items():
        wanted = keys.get(name, default)
        for other in known.values():
            if other.name != name and kind in other.keys and keys.get(other.name, other.keys[kind]) == wanted:
                raise Invalid(
                    f"{wanted.upper()} is taken: {other.words}. Choose another key, or change that one first.",
                    field=name,
                )


def _read_key(value: str, field: str) -> str:
    key = value.strip().lower() if isinstance(value, str) else value
    if key == "":
        return ""
    if not isinstance(key, str) or len(key) != 1 or not key.isprintable():
        raise Invalid(f"Found the key {value!r}; expected one character that can be typed.", field=field)
    if key.isdigit():
        raise Invalid(f"{key} is a digit, and digits answer. Choose another key.", field=field)
    return key
