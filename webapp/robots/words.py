"""What a person's words mean to a robot in a session, before any of it is stored or obeyed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from trainers.envs.motions import embodiment_of
from trainers.envs.table_talk.language import LONGEST_PHRASE, understand
from webapp.robots.models import Session

LIKE = 0.75
"""How much a phrase must look like a known command before that is offered as what may have been meant."""


@dataclass(frozen=True)
class Meant:
    """A command to show before it counts; or what to ask back."""

    command: str
    """Empty where there is a question instead."""
    ask: str = ""
    others: tuple[str, ...] = ()
    """What else it may have meant, most likely first."""

    def told(self) -> dict[str, Any]:
        return {"command": self.command or None, "ask": self.ask, "others": list(self.others)}


def meant(text: str, scene: dict[str, Any], session: Session) -> Meant:
    """By the words of the policy's own commands, then by the grammar of motions or of tables; never by a guess."""
    bank = session.bank
    if not session.layer:
        return Meant("", "This robot takes no commands in words. Drive it.")
    said = " ".join(text.split()).lower().rstrip(".!")
    known = {one.lower(): one for one in bank}
    if said in known:
        return Meant(known[said])
    arm = embodiment_of(session.world) if session.layer == "motion" else None
    phrase = arm.understand(said) if arm else None
    if phrase:
        return Meant(phrase)
    if scene.get("things") and arm is None:
        names = [one["name"] for one in scene["things"]]
        found = understand(text, names, scene.get("places", ()))
        others = tuple(str(one) for one in found.others)
        return Meant(str(found.command) if found.command else "", found.ask, others)
    if not said or len(text) > LONGEST_PHRASE:
        found = understand(text, ())
        return Meant("", found.ask)
    near = difflib.get_close_matches(said, list(known), n=3, cutoff=LIKE)
    if near:
        return Meant(
            "",
            f"“{text.strip()}” is no command known here. Was this meant?",
            tuple(known[one] for one in near),
        )
    examples = ", ".join(f"“{one}”" for one in list(bank)[:4])
    return Meant("", f"“{text.strip()}” is no command known here. Say, for example, {examples}.")
