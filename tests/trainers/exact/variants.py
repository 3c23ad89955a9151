"""A module with one line of it replaced: what a check must find wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def variant(module: ModuleType, right: str, wrong: str) -> ModuleType:
    """The module anew, with `right`, which it must hold once, replaced by `wrong`."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(right) == 1, (
        f"{module.__name__} no longer holds this once, so its variant tests nothing: {right}"
    )
    made = ModuleType(f"wrong_{module.__name__.replace('.', '_')}")
    sys.modules[made.__name__] = made  # where dataclasses look for their annotations
    exec(compile(source.replace(right, wrong), made.__name__, "exec"), made.__dict__)
    return made
