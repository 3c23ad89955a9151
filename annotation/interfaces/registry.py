"""The ways of asking, one line each. An interface turns an item into tasks, an answer into records.

A module named here has: `key`, `label`, `template`; `ORDER` and `FOLLOWS` for the queue; `Options`, `Answer`;
`tasks`, `show`, `read`, `records`. `docs/adding-an-interface.md` walks through one.
"""

from dataclasses import asdict, fields
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from annotation.errors import Invalid

INTERFACES: dict[str, str] = {
    "pairwise": "annotation.interfaces.pairwise",
    "edit": "annotation.interfaces.edit",
    "rating": "annotation.interfaces.rating",
    "ranking": "annotation.interfaces.ranking",
    "critique": "annotation.interfaces.critique",
    "steps": "annotation.interfaces.steps",
    "demonstration": "annotation.interfaces.demonstration",
    "conversation": "annotation.interfaces.conversation",
    "clips": "annotation.interfaces.clips",
    "hindsight": "annotation.interfaces.hindsight",
    "driving": "annotation.interfaces.driving",
}


def interface(kind: str) -> ModuleType:
    if kind not in INTERFACES:
        raise Invalid(
            f"No interface called {kind!r}. Known interfaces: {', '.join(INTERFACES)}.", field="kind"
        )
    return import_module(INTERFACES[kind])


def read_interfaces(value: Any) -> list[dict]:
    """What a study asks, checked and with every option spelled out: [{"kind": …, "options": {…}}, …]."""
    if not isinstance(value, list) or not value:
        raise Invalid('A study asks in at least one way: [{"kind": "pairwise"}].', field="interfaces")
    found = []
    for entry in value:
        if isinstance(entry, str):
            entry = {"kind": entry}
        if not isinstance(entry, dict) or set(entry) - {"kind", "options"}:
            raise Invalid(
                f'Found {entry!r} among the interfaces; expected {{"kind": "…", "options": {{}}}}.',
                field="interfaces",
            )
        kind = entry.get("kind")
        if kind in [other["kind"] for other in found]:
            raise Invalid(f"The interface {kind} is named twice. Name each once.", field="interfaces")
        found.append(
            {"kind": kind, "options": asdict(read_options(interface(kind).Options, entry.get("options", {})))}
        )
    return found


def read_options(Options: type, value: Any):
    """An interface's options from JSON: unknown names and wrong types are errors that name the option.

    Options that are neither switches nor choices check themselves.
    """
    if not isinstance(value, dict):
        raise Invalid(f"Found {value!r}; expected options as an object.", field="options")
    known = {one.name: one for one in fields(Options)}
    for name, given in value.items():
        if name not in known:
            raise Invalid(
                f"No option called {name!r}. Known options: {', '.join(known) or 'none'}.",
                field=f"options.{name}",
            )
        choices = get_args(known[name].type)
        if get_origin(known[name].type) is Literal and given not in choices:
            raise Invalid(
                f"{name} is {given!r}; expected one of {', '.join(map(str, choices))}.",
                field=f"options.{name}",
            )
        if known[name].type is bool and not isinstance(given, bool):
            raise Invalid(f"{name} is {given!r}; expected true or false.", field=f"options.{name}")
    return Options(**value)
