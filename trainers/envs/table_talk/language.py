"""What a person's words mean on this table: slots first, and a question back where they are not clear.

Sentence embeddings barely tell "left" from "right", so words are parsed: a verb, a thing, a direction, an amount. A
direction that is taken back ("left, no, right") gives way to the last one; "too far left" asks for right. What is
misspelt, unknown, or about a thing that is not there is never guessed: it is asked back, with what may have been meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainers.envs.table_talk.world import COLOURS, Command, Verb

LONGEST_PHRASE = 200
"""Characters; a command is a sentence."""
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}

DIRECTION_WORDS = {
    "left": "left",
    "leftward": "left",
    "leftwards": "left",
    "right": "right",
    "rightward": "right",
    "rightwards": "right",
    "up": "up",
    "upward": "up",
    "upwards": "up",
    "forward": "up",
    "forwards": "up",
    "away": "up",
    "down": "down",
    "downward": "down",
    "downwards": "down",
    "backward": "down",
    "backwards": "down",
    "closer": "down",
}
VERB_PHRASES: tuple[tuple[str, Verb], ...] = (
    (r"let (it )?go|release|drop( it)?|open|loosen|unclench|ungrasp", "open"),
    (r"hold (on|still|it there)|wait|stop|pause|stay|freeze|halt|do nothing", "wait"),
    (r"pick( it)?( up)?|take|get|fetch|lift|grab|grasp|grip", "pick"),
    (r"close|clench|squeeze|pinch|hold|shut", "close"),
    (r"put|place|set|bring|carry|stow|pack", "put"),
    (r"push|shove", "push"),
    (r"wipe|clean|scrub", "wipe"),
    (
        r"move|go|nudge|shift|slide|head|steer|drift|inch|come|a (bit|little|touch)|slightly|more|further",
        "move",
    ),
)
VERB_WORDS = frozenset(word for phrase, _ in VERB_PHRASES for word in re.findall(r"[a-z]+", phrase)) | {
    "overshot",
    "past",
}
TOO_FAR = re.compile(r"\b(too (far|much)|overshot|past it)\b")
TAKEN_BACK = re.compile(r"\b(no|not|don'?t|never|instead of|rather than|without)\b")
SAYING_NOTHING = """
the a an to of it its it's and then please now just some one bit little touch slightly more further far much
too way lot all very you your robot arm hand gripper fingers claw jaw jaws that this those thing things
there here on in into onto at with for by from ok okay so well um uh hey can could would should need want i
me my we is are again side over around out mean meant spot rather towards toward direction no not dont don't
never instead than without go
"""
FILLERS = frozenset(SAYING_NOTHING.split())
"""Words that say nothing about what to do, beside those that are read."""


@dataclass(frozen=True)
class Understood:
    """What was understood, to be shown before it is kept; or what to ask back."""

    command: Command | None
    ask: str = ""
    """Empty where there is a command."""
    others: tuple[Command, ...] = ()
    """What else it may have meant, most likely first."""


def understand(text: str, things: Sequence[str], places: Sequence[str] = ()) -> Understood:
    """A phrase about a table with these things ("red block") and places ("into the tray")."""
    if not text.strip():
        return Understood(None, "Nothing was said. Say what to do, such as “move a bit to the left”.")
    if len(text) > LONGEST_PHRASE:
        return Understood(
            None, f"That is {len(text):,} characters. Say one thing to do, in at most {LONGEST_PHRASE}."
        )
    words = re.sub(r"[^a-z' ]+", " , ", text.lower().replace("’", "'"))
    words = " ".join(words.split())
    strange = [word for word in re.findall(r"[a-z']+", words) if not _known(word, things, places)]
    if strange:
        return _ask_about(strange, words, things, places)
    found = _things(words, things)
    verb = _verb(words)
    direction = _direction(words)
    if verb in ("pick", "put", "push") and (direction is None or found or verb == "put"):
        return _about_a_thing(verb, words, found, things, places)
    if direction is not None:
        return Understood(Command("move", direction=direction), others=_other_directions(words, direction))
    if verb is None or verb == "move":
        return Understood(None, "Which way, or what? " + _examples(things))
    return Understood(Command(verb))


def _verb(words: str) -> Verb | None:
    """The verb that stands first, unless it is taken back."""
    at: list[tuple[int, int, Verb]] = []
    for rank, (phrase, verb) in enumerate(VERB_PHRASES):
        for match in re.finditer(rf"\b(?:{phrase})\b", words):
            if not _negated(words, match.start()):
                at.append((match.start(), rank, verb))
    said = [one for one in sorted(at) if one[2] != "move"] or sorted(at)
    return said[0][2] if said else None


def _negated(words: str, start: int) -> bool:
    """Whether a "not" stands before this, in the same part of the sentence."""
    before = words[:start].rsplit(",", 1)[-1]
    taken = list(TAKEN_BACK.finditer(before))
    # "no" on its own takes back what came before it; the others take back what follows.
    return bool(taken) and taken[-1].group(1) != "no"


def _directions(words: str) -> list[str]:
    """The directions that are asked for, in order."""
    asked = []
    for match in re.finditer(r"[a-z]+", words):
        direction = DIRECTION_WORDS.get(match.group())
        if direction is None or words[: match.end()].endswith(("pick up", "pick it up")):
            continue
        if _negated(words, match.start()):
            continue
        part = words[: match.start()].rsplit(",", 1)[-1]
        asked.append(OPPOSITE[direction] if TOO_FAR.search(part) else direction)
    return asked


def _direction(words: str) -> str | None:
    """The last one."""
    asked = _directions(words)
    return asked[-1] if asked else None


def _other_directions(words: str, chosen: str) -> tuple[Command, ...]:
    """Directions along the other axis that were said too: "up and left" moves one way at a time."""
    rest = dict.fromkeys(one for one in _directions(words) if one not in (chosen, OPPOSITE[chosen]))
    return tuple(Command("move", direction=one) for one in rest)


def _things(words: str, things: Sequence[str]) -> list[str]:
    """The things that fit every name that was said: "red", "red block", "the block"."""
    said = set(words.replace(",", " ").split())
    named = [set(name.split()) & said for name in things]
    most = max((len(one) for one in named), default=0)
    return [name for name, one in zip(things, named, strict=True) if most and len(one) == most]


def _about_a_thing(
    verb: Verb, words: str, found: list[str], things: Sequence[str], places: Sequence[str]
) -> Understood:
    absent = [
        colour for colour in COLOURS if colour in words.split() and not any(colour in one for one in things)
    ]
    if absent:
        return Understood(None, f"There is nothing {absent[0]} here, only {_listed(things)}. Which one?")
    if not found and verb == "pick":
        return Understood(Command("close"), others=tuple(Command("pick", one) for one in things))
    said = set(words.split())
    place = next(
        (one for one in places if set(one.split()) - FILLERS <= said), places[0] if len(places) == 1 else ""
    )
    commands = [Command(verb, one, place=place if verb != "pick" else "") for one in found or things]
    if len(commands) != 1:
        return Understood(None, f"Which one: {_listed(found or things)}?", tuple(commands))
    return Understood(commands[0])


def _known(word: str, things: Sequence[str], places: Sequence[str]) -> bool:
    named = {part for name in (*things, *places) for part in name.split()}
    return word in named | FILLERS | set(COLOURS) | set(DIRECTION_WORDS) | VERB_WORDS


def _ask_about(
    strange: Sequence[str], words: str, things: Sequence[str], places: Sequence[str]
) -> Understood:
    """A word nobody taught it: a likely slip of the finger is offered, never obeyed."""
    named = [part for name in (*things, *places) for part in name.split()]
    lexicon = [*dict.fromkeys([*DIRECTION_WORDS, *COLOURS, *named, *sorted(VERB_WORDS)])]
    for word in strange:
        near = difflib.get_close_matches(word, lexicon, n=3, cutoff=0.7)
        meant = []
        for one in near:
            again = understand(re.sub(rf"\b{re.escape(word)}\b", one, words), things, places)
            if again.command is not None and again.command not in meant:
                meant.append(again.command)
        if meant:
            return Understood(None, f"“{word}” is not a word known here. Was this meant?", tuple(meant))
    return Understood(None, f"“{strange[0]}” is not a word known here. {_examples(things)}")


def _examples(things: Sequence[str]) -> str:
    thing = f", “pick up the {things[0]}”" if things else ""
    return f"Say, for example, “move a bit to the left”, “open the gripper”{thing}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"the {name}" for name in names)
