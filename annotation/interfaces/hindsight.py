"""Say about a recording what the robot should have done, where, and whether it succeeded. Writes `LanguageCorrection`s.

A correction holds from one step of the episode up to another. It is said in words, which the world's language
understands or asks back about, and only a command that the person saw is stored; or a stretch is rejected, and nobody
says what should have been done instead. Where an episode's motions were read off its steps, a wrong one is put right
in the same way. What was said while the robot ran stands among the corrections as it came, with `live` true.

Marking success or failure writes an `EpisodeMark` too, with the stages of the task that were done.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from annotation.errors import Invalid
from annotation.interfaces import recorded, screen
from annotation.models import Candidate, Label
from trainers.episodes import Clip, Episode
from trainers.records.robots import CORRECTIONS, LAYERS, EpisodeMark, LanguageCorrection

key = "hindsight"
label = "Correct a robot in hindsight"
template = "annotation/interfaces/hindsight.html"

CLIPS = True
"""It asks about clips and not about texts."""
VERSION = 1
ORDER = "random"
FOLLOWS = ()
LEAST = 1
ACTIONS = {
    **recorded.PLAYER,
    "mark_in": ("i", "here begins what was wrong"),
    "mark_out": ("o", "here ends what was wrong"),
    "say": ("t", "say what it should have done here"),
    "reject": ("r", "reject the stretch: never imitate it"),
    "motion": ("m", "the motion here is the wrong one: say which it was"),
    "success": ("w", "it succeeded; again, and nothing is said of it"),
    "failure": ("n", "it failed; again, and nothing is said of it"),
}
KEYS = [
    ("1 … 9", "this stage of the task was done, or was not"),
    *recorded.PLAYER_KEYS,
    ("Enter", "say what it should have done; then, add what was understood"),
    ("Ctrl Enter", "send all that was said of the recording"),
]

LONGEST_TEXT = 200
LONGEST_NAME = 100
LONGEST_SOURCE = 20_000
MOST_CORRECTIONS, MOST_STAGES = 500, 40
ROWS = 8
"""How many corrections a form without script takes."""
UNSTORABLE = re.compile(r"\\u0000|[\ud800-\udfff]")
"""What no database keeps in JSON, as JSON spells it."""
SAID = ("start", "stop", "text", "command", "layer", "type", "live", "predicted", "source")


@dataclass(frozen=True)
class Options:
    decision_steps: Literal[1, 3, 5, 10, 20] = 3
    """How many steps from the moment of a correction on the timeline shows as trained on. What a run trains on is set
    where it is started."""
    context_steps: Literal[0, 5, 10, 15, 30] = 15
    """How many steps before a correction the timeline shows as seen by the policy, and not trained on."""
    rejecting: bool = True
    """Let people reject a stretch without saying what should have been done instead."""


@dataclass(frozen=True)
class Answer:
    """What was said about a recording, the corrections in the order of their steps."""

    candidate: int
    corrections: list[dict] = field(default_factory=list)
    """{"start", "stop", "text", "command", "layer", "type", "live", "predicted", "source"} each, in steps of the
    episode. `source` keeps what else is known of one that was said while the robot ran."""
    success: bool | None = None
    """None where nobody said."""
    stages: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.corrections, list) or len(self.corrections) > MOST_CORRECTIONS:
            raise Invalid(f"Expected a list of up to {MOST_CORRECTIONS} corrections.", field="corrections")
        for number, one in enumerate(self.corrections):
            _check(one, f"corrections[{number}]")
        if not isinstance(self.success, bool | None):
            raise Invalid(f"Found {self.success!r}; expected true, false or null.", field="success")
        _check_stages(self.stages)
        if self.stages and self.success is None:
            raise Invalid("Stages are marked. Say too whether it was a success.", field="success")
        if not self.corrections and self.success is None:
            raise Invalid(
                "Nothing is said yet. Correct something, mark success or failure, or skip.",
                field="corrections",
            )

    def to_json(self) -> dict:
        return asdict(self)


def _check(one: Any, where: str) -> None:
    if not isinstance(one, Mapping) or set(one) != set(SAID):
        raise Invalid(f"Found {str(one)[:60]!r}; expected a correction with {', '.join(SAID)}.", field=where)
    if type(one["start"]) is not int or type(one["stop"]) is not int or not 0 <= one["start"] < one["stop"]:
        raise Invalid(
            f"Found the steps {one['start']!r} to {one['stop']!r}; expected at least one step, from 0 on.",
            field=f"{where}.stop",
        )
    for name in ("text", "command", "predicted"):
        _check_line(one[name], f"{where}.{name}")
    if one["type"] not in CORRECTIONS:
        raise Invalid(
            f"Found {one['type']!r}; expected one of {', '.join(CORRECTIONS)}.", field=f"{where}.type"
        )
    if one["layer"] not in LAYERS:
        raise Invalid(f"Found {one['layer']!r}; expected one of {', '.join(LAYERS)}.", field=f"{where}.layer")
    if not isinstance(one["live"], bool):
        raise Invalid(f"Found {one['live']!r}; expected true or false.", field=f"{where}.live")
    if one["type"] == "correction" and not one["command"].strip():
        raise Invalid(
            "The command is empty. Say what should have been done, or reject the stretch.",
            field=f"{where}.command",
        )
    if not isinstance(one["source"], Mapping):
        raise Invalid(f"Found {str(one['source'])[:60]!r}; expected an object.", field=f"{where}.source")
    try:
        text = json.dumps(one["source"], ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise Invalid(f"Cannot be kept as JSON: {problem}.", field=f"{where}.source") from None
    if len(text) > LONGEST_SOURCE or UNSTORABLE.search(text):
        raise Invalid(
            f"Has over {LONGEST_SOURCE:,} characters, or a NUL or half a character in it.",
            field=f"{where}.source",
        )


def _check_line(text: Any, where: str, most: int = LONGEST_TEXT) -> None:
    if not isinstance(text, str):
        raise Invalid(f"Found {text!r}; expected text.", field=where)
    if len(text) > most:
        raise Invalid(f"Has {len(text):,} characters; the most is {most:,}. Say one thing.", field=where)


def _check_stages(stages: Any) -> None:
    if not isinstance(stages, Mapping) or len(stages) > MOST_STAGES:
        raise Invalid(f"Expected up to {MOST_STAGES} stages, each true where it was done.", field="stages")
    for name, done in stages.items():
        _check_line(name, "stages", LONGEST_NAME)
        if not isinstance(done, bool):
            raise Invalid(f"Found {done!r}; expected true or false.", field=f"stages.{name}")


def tasks(candidates: list[Candidate], options: Options) -> list[list[Candidate]]:
    """One for an item that is one clip, or one whole episode; what a person drove is asked about elsewhere."""
    one = recorded.alone(candidates)
    return [[one]] if one and not recorded.is_driven(one) else []


# --- showing


def show(claim) -> dict:
    """What the template needs. After an undo, `answer` and the fields hold what was said."""
    options = Options(**claim.task.study.options(key))
    (clip,) = recorded.shown(claim, ("",))
    said = Answer(**claim.answer) if claim.answer else None
    episode = _episode(claim)
    names = _stages(episode, said.stages if said else {})
    return {
        **screen.context(claim.item),
        "clip": clip,
        "options": options,
        "said": json.dumps(said.corrections if said else []),
        "marked": recorded.FLAGS[said.success if said else None],
        "stages": [
            {
                "number": number,
                "field": f"stage.{number}",
                "name": name,
                "done": bool(said and said.stages.get(name)),
            }
            for number, name in enumerate(names, 1)
        ],
        "stage_names": json.dumps(names, ensure_ascii=False),
        "rows": [
            _row(number, clip, said) for number in range(max(ROWS, len(said.corrections) + 4 if said else 0))
        ],
        "answer": {"corrections": said.corrections, "success": said.success, "stages": said.stages}
        if said
        else None,
    }


def _row(number: int, clip: dict, said: Answer | None) -> dict:
    """A row of the form without script, in steps of the clip."""
    names = {name: f"{name}.{number}" for name in ("from", "to", "say", "command", "kept")}
    row: dict[str, Any] = {"number": number + 1, "fields": names}
    if said and number < len(said.corrections):
        one, start = said.corrections[number], clip.get("start", 0)
        return row | {
            "from": one["start"] - start,
            "to": one["stop"] - start,
            "say": one["text"],
            "command": one["command"],
            "kept": json.dumps(one),
        }
    return row | {"from": "", "to": "", "say": "", "command": "", "kept": ""}


def _clip(claim) -> Clip:
    found = recorded.clip_of(claim.candidates[0])
    if found is None:
        raise Invalid("This is no recording; there is nothing to correct. Skip it.", field="corrections")
    return found


def _episode(claim) -> Episode | None:
    clip = recorded.clip_of(claim.candidates[0])
    return recorded.episode_of(claim, clip) if clip else None


# --- reading


def read(post: Mapping[str, Any], claim) -> Answer:
    """The corrections in JSON, as an object or as a form's field, in steps of the episode; `success`; `stages`.

    In a form without script: rows of `from.0`, `to.0` (steps of the clip, from 0), `say.0` (words) and `command.0`
    (what they mean), and so on; `stage.1` for the first stage of those in `stage_names`, or else of the world's.
    `success` is 1, 0 or empty.
    """
    options = Options(**claim.task.study.options(key))
    clip, episode = _clip(claim), _episode(claim)
    given = post.get("corrections")
    if isinstance(given, str) and given:
        given = _json(given, "corrections")
    elif not given:
        given = _read_rows(post, clip, episode)
    if not isinstance(given, list):
        raise Invalid(f"Found {str(given)[:60]!r}; expected a list of corrections.", field="corrections")
    if len(given) > MOST_CORRECTIONS:
        raise Invalid(f"Found {len(given)} corrections; the most is {MOST_CORRECTIONS}.", field="corrections")
    found = [_read(one, f"corrections[{n}]", clip, episode) for n, one in enumerate(given)]
    for number, one in enumerate(found):
        if one["type"] == "rejected" and not options.rejecting and not one["live"]:
            raise Invalid(
                "This study rejects no stretches. Say what should have been done.",
                field=f"corrections[{number}].type",
            )
    found.sort(key=lambda one: (one["start"], one["stop"]))
    success = recorded.read_flag(post.get("success"), "success")
    return Answer(claim.candidates[0].pk, found, success, _read_stages(post, episode, success))


def _json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(f"Found {text[:60]!r}; expected a list in JSON.", field=field) from None


def _read(one: Any, where: str, clip: Clip, episode: Episode | None) -> dict:
    """One correction, whole and checked. What was said live is kept as it came, whatever else is known of it."""
    if not isinstance(one, Mapping):
        raise Invalid(f"Found {str(one)[:60]!r}; expected a correction as an object.", field=where)
    details = {name: value for name, value in one.items() if name not in SAID}
    if details and one.get("live") is not True:
        raise Invalid(f"No part of a correction is called {str(min(details))[:40]!r}.", field=where)
    whole = {
        "start": one.get("start"),
        "stop": one.get("stop"),
        "text": _line(one.get("text", ""), f"{where}.text"),
        "command": _line(one.get("command", ""), f"{where}.command"),
        "layer": one.get("layer", "command"),
        "type": one.get("type", "correction"),
        "live": one.get("live", False),
        "predicted": _line(one.get("predicted", ""), f"{where}.predicted"),
        "source": one.get("source", {}),
    }
    if details and isinstance(whole["source"], Mapping):
        whole["source"] = {**whole["source"], **details}
    _check(whole, where)
    if whole["start"] < clip.start or whole["stop"] > clip.stop:
        raise Invalid(
            f"Found the steps {whole['start']} to {whole['stop']}; the recording has {clip.start} to {clip.stop}.",
            field=f"{where}.stop",
        )
    if whole["live"] or episode is None:
        return whole
    if whole["type"] == "correction" and whole["layer"] == "command":
        meant = recorded.meaning(episode, whole["command"])
        # A command has one spelling, and what is stored is what the robot's own language makes of it.
        if meant.command != whole["command"] and whole["command"] not in meant.others:
            raise Invalid(
                meant.ask
                or f"“{whole['command']}” means “{meant.command}” here. Choose that, or say it otherwise.",
                field=f"{where}.command",
            )
    if not whole["predicted"] and whole["layer"] == "command":
        whole["predicted"] = recorded.wanted(episode, whole["start"])[:LONGEST_TEXT]
    return whole


def _line(value: Any, where: str) -> str:
    return screen.read_text(value, where).strip()


def _read_rows(post: Mapping[str, Any], clip: Clip, episode: Episode | None) -> list[dict]:
    """The rows of a form without script; a row without steps says nothing."""
    found = []
    numbers = sorted(
        {
            int(name[5:])
            for name in post
            if name.startswith("from.") and name[5:].isdecimal() and len(name) < 12
        }
    )
    for number in numbers[:MOST_CORRECTIONS]:
        start, stop = (str(post.get(f"{name}.{number}") or "").strip() for name in ("from", "to"))
        said, command = (
            _line(post.get(f"{name}.{number}") or "", f"{name}.{number}") for name in ("say", "command")
        )
        if not (start or stop or said or command):
            continue
        steps = []
        for name, text in (("from", start), ("to", stop)):
            if not text.isdecimal() or len(text) > 9:
                raise Invalid(
                    f"Row {number + 1}: found {text[:20]!r}; expected a step of the recording, 0 to "
                    f"{clip.stop - clip.start}.",
                    field=f"{name}.{number}",
                )
            steps.append(clip.start + int(text))
        row = {"start": steps[0], "stop": steps[1], "text": said, "command": command}
        if kept := _kept(post.get(f"kept.{number}"), row):
            found.append(kept)
        else:
            found.append(row | ({"type": "rejected"} if not said and not command else {}))
            if said and not command:
                _check_line(said, f"say.{number}")
                _ask(said, number, episode)
    return found


def _kept(text: Any, row: dict) -> dict | None:
    """What a row stood for when it was written, where nothing in it was changed: a detail of it is not lost."""
    try:
        kept = json.loads(text) if isinstance(text, str) and text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or any(kept.get(name) != value for name, value in row.items()):
        return None
    return kept


def _ask(said: str, number: int, episode: Episode | None) -> None:
    """Without script, what was understood is shown by asking for it."""
    meant = recorded.meaning(episode, said) if episode else recorded.Meant(None, "The recording is not here.")
    question = f"understood as “{meant.command}”." if meant.command else meant.ask
    choice = f" It may be: {', '.join(meant.others)}." if meant.others and not meant.command else ""
    raise Invalid(
        f"Row {number + 1}: {question}{choice} Write what it should have done under “Command”.",
        field=f"command.{number}",
    )


def _read_stages(post: Mapping[str, Any], episode: Episode | None, success: bool | None) -> dict[str, bool]:
    """The stages in JSON; or each that a form can tick, where any is ticked or the whole is marked."""
    given = post.get("stages")
    if given is not None:
        _check_stages(given)
        return {screen.read_text(name, "stages"): done for name, done in given.items()}
    names = _names(post["stage_names"]) if post.get("stage_names") else _stages(episode)
    ticked = {name: f"stage.{number}" in post for number, name in enumerate(names, 1)}
    return ticked if any(ticked.values()) or success is not None else {}


def _stages(episode: Episode | None, said: Iterable[str] = ()) -> list[str]:
    """The stages that can be marked: those of the world, and what else somebody marked already."""
    return list(dict.fromkeys([*(recorded.stages(episode) if episode else ()), *said]))[:MOST_STAGES]


def _names(text: Any) -> list[str]:
    """The stages that a form showed, in JSON."""
    names = _json(text, "stage_names") if isinstance(text, str) else None
    if not isinstance(names, list) or len(names) > MOST_STAGES:
        raise Invalid(
            f"Found {str(text)[:60]!r}; expected up to {MOST_STAGES} names in JSON.", field="stage_names"
        )
    return [screen.read_text(name, "stage_names") for name in names]


# --- what it means


def words(answer: dict, order: list[int]) -> str:
    """What was said, for whoever said it."""
    said = answer["corrections"]
    rejected = sum(one["type"] == "rejected" for one in said)
    counted = {
        "correction": len(said) - rejected,
        "rejected stretch": rejected,
    }
    parts = [f"{many} {name}{'' if many == 1 else 's' if name == 'correction' else 'es'}"
             for name, many in counted.items() if many]  # fmt: skip
    if answer["success"] is not None:
        parts.insert(0, "success" if answer["success"] else "failure")
    return ", ".join(parts)


def judgement(answer: dict, candidates: list[int]) -> str | None:
    """Whether it succeeded; of what should have been done where, two people rarely say the same steps."""
    return None if answer["success"] is None else "success" if answer["success"] else "failure"


def records(given: Label) -> list[LanguageCorrection | EpisodeMark]:
    """One for each correction, and a mark of the episode where success or failure was marked."""
    answer = Answer(**given.answer)
    candidate, episode = recorded.asked_about(given, answer.candidate)
    shared = {
        "prompt": screen.prompt(given.task.item),
        "weight": screen.weight(given),
        "annotator": given.annotator.username,
    }
    lineage = screen.lineage(given, clip=candidate)
    found: list[LanguageCorrection | EpisodeMark] = [
        LanguageCorrection(
            id=f"{screen.record_id(given)}-{number:03d}",
            episode=episode,
            **{name: one[name] for name in SAID if name != "source"},
            source={**lineage, **({"details": dict(one["source"])} if one["source"] else {})},
            **shared,
        )
        for number, one in enumerate(answer.corrections)
    ]
    if answer.success is not None:
        found.append(
            EpisodeMark(
                id=f"{screen.record_id(given)}-mark",
                episode=episode,
                success=answer.success,
                stages=answer.stages,
                source=lineage,
                **shared,
            )
        )
    return found
