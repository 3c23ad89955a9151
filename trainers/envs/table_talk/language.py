"""What a person's words mean on this table: slots first, and a question back where they are not clear.

Sentence embeddings barely tell "left" from "right", so words are parsed: a verb, a thing, a direction, an amount. What
is taken back ("left, no, right") gives way to what comes after it; "too far left" asks for right; who ends with "stop"
is waited for. What is misspelt, unknown, or about a thing that is not there is never guessed: it is asked back, with
the commands that it looks like (`alike`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from trainers.envs.table_talk.alike import Likeness, nearest
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
MOVING = re.compile(r"\b(move|go|nudge|shift|slide|head|steer|drift|inch|come)\b")
NOT = re.compile(r"\b(no (more|further)|not|don'?t|never|instead of|rather than|without)\b")
"""What follows is not wanted."""
ANEW = re.compile(r"\b(no(?! (more|further)\b)|i mean(t)?)\b")
"""What came before is taken back."""
MOST_OFFERED = 3
MOST_COMMANDS, LONGEST_NAMES = 200, 2_000
"""Things times places, and characters of all names: a scene from elsewhere may hold any number. A table has 72."""
ALIKE = 0.15
"""The least cosine with which a command is offered where neither a direction nor a thing was named."""
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
    things = list(dict.fromkeys(things))  # two of one name are one to whoever speaks
    strange = [word for word in re.findall(r"[a-z']+", words) if not _known(word, things, places)]
    if strange:
        return _ask_about(strange, words, things, places)
    return _parsed(words, things, places)


def _parsed(words: str, things: Sequence[str], places: Sequence[str]) -> Understood:
    """What known words say."""
    before, words = _anew(words)
    place = next((one for one in places if one in words), "")
    found = _things(words.replace(place, " ") if place else words, things)  # a mark's colour is no thing's
    verbs, directions = _verbs(words), _directions(words)
    if found and not verbs and not directions:
        verbs = _verbs(before)  # "pick up the red one, no, the blue one"
    if {"open", "close"} <= {verb for _, verb in verbs}:
        return Understood(None, "Open the gripper, or close it?", (Command("open"), Command("close")))
    direction = directions[-1][1] if directions else None
    if verbs and verbs[-1][1] == "wait" and (not directions or verbs[-1][0] > directions[-1][0]):
        return Understood(
            Command("wait"), others=(Command("move", direction=direction),) if direction else ()
        )
    verb = next((verb for _, verb in verbs if verb != "wait"), None)
    if verb in ("pick", "put", "push") and (direction is None or found or verb == "put"):
        return _about_a_thing(verb, words, found, place, things, places)
    if direction is not None:
        # "up and left" moves one way at a time
        rest = dict.fromkeys(one for _, one in directions if one not in (direction, OPPOSITE[direction]))
        others = tuple(Command("move", direction=one) for one in rest)
        others += (Command(verb),) if verb in ("open", "close", "wipe") else ()
        return Understood(Command("move", direction=direction), others=others)
    if verb is None:
        return Understood(None, "Which way, or what? " + _examples(things))
    return Understood(Command(verb))


def _anew(words: str) -> tuple[str, str]:
    """(what was taken back, what was said after it)."""
    taken = list(ANEW.finditer(words))
    return (words[: taken[-1].start()], words[taken[-1].end() :]) if taken else ("", words)


def _verbs(words: str) -> list[tuple[int, Verb]]:
    """The verbs that are asked for, and where they stand; those of moving say nothing beside a direction."""
    at = sorted(
        (match.start(), rank, match.end(), verb)
        for rank, (phrase, verb) in enumerate(VERB_PHRASES)
        for match in re.finditer(rf"\b(?:{phrase})\b", words)
    )
    asked: list[tuple[int, Verb]] = []
    read = 0
    for start, _, end, verb in at:
        if start >= read:  # "hold on" is no "hold"
            read = end
            if verb != "move" and not _negated(words, start):
                asked.append((start, verb))
    return asked


def _negated(words: str, start: int) -> bool:
    """Whether a "not" stands before this, in the same part of the sentence."""
    return bool(NOT.search(words[:start].rsplit(",", 1)[-1]))


def _directions(words: str) -> list[tuple[int, str]]:
    """The directions that are asked for, and where they stand."""
    asked, begins = [], 0
    for part in words.split(","):
        said = [
            (match.start(), match.end(), DIRECTION_WORDS[match.group()])
            for match in re.finditer(r"[a-z]+", part)
            if match.group() in DIRECTION_WORDS
            and not part[: match.end()].endswith(("pick up", "pick it up"))
        ]
        overdone = _overdone(part, said)
        for number, (start, _, direction) in enumerate(said):
            if not _negated(part, start):
                asked.append((begins + start, OPPOSITE[direction] if number in overdone else direction))
        begins += len(part) + 1
    return asked


def _overdone(part: str, said: Sequence[tuple[int, int, str]]) -> set[int]:
    """Which directions it went too far in: "too far left", "left too far"; not the last of "too far left go right"."""
    found = set()
    for far in TOO_FAR.finditer(part):
        after = next((number for number, one in enumerate(said) if one[0] >= far.end()), None)
        before = next(
            (number for number in reversed(range(len(said))) if said[number][1] <= far.start()), None
        )
        if after is not None and not MOVING.search(part[far.end() : said[after][0]]):
            found.add(after)
        elif before is not None:
            found.add(before)
    return found


def _things(words: str, things: Sequence[str]) -> list[str]:
    """The things that fit every name that was said: "red", "red block", "the block"."""
    said = set(words.replace(",", " ").split())
    named = [set(name.split()) & said for name in things]
    most = max((len(one) for one in named), default=0)
    return [name for name, one in zip(things, named, strict=True) if most and len(one) == most]


def _about_a_thing(
    verb: Verb, words: str, found: list[str], place: str, things: Sequence[str], places: Sequence[str]
) -> Understood:
    """`place`: the one that was named in full."""
    if absent := _absent(words, things):
        return Understood(None, f"There is nothing {absent} here, only {_listed(things)}. Which one?")
    if not found and verb == "pick":
        return Understood(Command("close"), others=tuple(Command("pick", one) for one in things))
    said = set(words.split())
    place = place or next((one for one in places if set(one.split()) - FILLERS <= said), "")
    place = places[0] if len(places) == 1 else place
    commands = [Command(verb, one, place=place if verb != "pick" else "") for one in found or things]
    if len(commands) != 1:
        return Understood(None, f"Which one: {_listed(found or things)}?", tuple(commands))
    if verb != "pick" and len(places) > 1 and not place:
        where = tuple(replace(commands[0], place=one) for one in places)
        return Understood(None, f"Where to: {', '.join(places)}?", where)
    return Understood(commands[0])


def _absent(words: str, things: Sequence[str]) -> str:
    """A colour that was said and that nothing here has; empty where there is none."""
    said = [one for one in COLOURS if one in words.split()]
    return next((one for one in said if not any(one in name.split() for name in things)), "")


def _known(word: str, things: Sequence[str], places: Sequence[str]) -> bool:
    named = {part for name in (*things, *places) for part in name.split()}
    return word in named | FILLERS | set(COLOURS) | set(DIRECTION_WORDS) | VERB_WORDS


def _ask_about(
    strange: Sequence[str], words: str, things: Sequence[str], places: Sequence[str]
) -> Understood:
    """A word nobody taught it: what the phrase looks like is offered, never obeyed."""
    few = len(things) * len(places) <= MOST_COMMANDS and sum(map(len, (*things, *places))) <= LONGEST_NAMES
    offered = _offered(strange, words, things, places) if few else ()
    if offered:
        return Understood(None, f"“{strange[0]}” is not a word known here. Was this meant?", offered)
    return Understood(None, f"“{strange[0]}” is not a word known here. {_examples(things)}")


def _offered(
    strange: Sequence[str], words: str, things: Sequence[str], places: Sequence[str]
) -> tuple[Command, ...]:
    """The commands that a phrase with unknown words looks like, most alike first.

    They agree with what it says in known words. Where letters would turn it about ("not", "too far") the grammar reads
    it, each unknown word as the known one that it looks like. Nothing is offered where less than half of the
    unknown words look like any, unless a direction or a thing was named.
    """
    lexicon = _lexicon(tuple(things), tuple(places))
    meant = {word: nearest(word, lexicon) for word in dict.fromkeys(strange)}
    if NOT.search(words) or TOO_FAR.search(words):
        mended = re.sub(r"[a-z']+", lambda one: meant.get(one.group(), one.group()) or one.group(), words)
        command = _parsed(mended, things, places).command
        return (command,) if command else ()
    words = _anew(words)[1]
    directions, found = _directions(words), _things(words, things)
    named = [one for one in COLOURS if one in words.split()]
    told = bool(directions or named)
    if not told and 2 * sum(map(bool, meant.values())) < len(meant):
        return ()

    def agrees(one: Command) -> bool:
        if named or (found and one.thing):
            return one.thing in found
        return not directions or one.direction == directions[-1][1]

    ranked = [one for one in _likeness(tuple(things), tuple(places)).ranked(words) if agrees(one[1])]
    return tuple(command for cosine, command in ranked[:MOST_OFFERED] if told or cosine >= ALIKE)


@lru_cache(maxsize=8)
def _likeness(things: tuple[str, ...], places: tuple[str, ...]) -> Likeness:
    return Likeness(things, places, DIRECTION_WORDS.items(), FILLERS)


@lru_cache(maxsize=8)
def _lexicon(things: tuple[str, ...], places: tuple[str, ...]) -> tuple[str, ...]:
    """The words that say something."""
    named = [part for name in (*things, *places) for part in name.split()]
    words = dict.fromkeys([*DIRECTION_WORDS, *COLOURS, *named, *sorted(VERB_WORDS)])
    return tuple(one for one in words if one not in FILLERS)


def _examples(things: Sequence[str]) -> str:
    thing = f", “pick up the {things[0]}”" if things else ""
    return f"Say, for example, “move a bit to the left”, “open the gripper”{thing}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"the {name}" for name in names)
