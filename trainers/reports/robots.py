"""How a robot does by itself, before and after it was taught, on the same tables; and what it took to teach it.

Shares have Wilson intervals. Seeds are paired: what changed is the robot, and not the tables.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trainers.reports.motions import told

COMMANDS = 12
"""So many of the most frequent commands are listed."""
WHERE = {"taught": "tables it was corrected on", "fresh": "fresh tables"}


class Episode(Protocol):
    """What came of an episode."""

    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def judged(self) -> bool: ...
    @property
    def success(self) -> bool: ...
    @property
    def stages(self) -> Mapping[str, bool]: ...
    @property
    def corrections(self) -> Sequence[Any]: ...
    @property
    def agreed(self) -> tuple[int, int]: ...
    @property
    def commands(self) -> Mapping[str, int]: ...
    @property
    def reactions(self) -> Sequence[int]: ...


class Said(Protocol):
    """A correction."""

    @property
    def episode(self) -> str: ...
    @property
    def command(self) -> str: ...


def alone(lived: Sequence[Episode], oracle: Sequence[Episode]) -> dict[str, Any]:
    """By itself; and with every command given by somebody who sees everything, which is as well as its hands can do."""
    readings = {
        "success_alone": share("Whole task by itself", [one.success for one in lived]),
        "success_oracle": share("Whole task, commanded by the world's rule", [one.success for one in oracle]),
        **_agreement({"alone": lived}),
        **frequencies({"alone": lived}),
    }
    curves = {"stages_alone": stages("By itself", lived), "stages_oracle": stages("Commanded", oracle)}
    text = (
        f"By itself it did the whole task on {_of(lived)} fresh tables; commanded by somebody who sees everything, on "
        f"{_of(oracle)}."
    )
    return {"readings": readings, "curves": curves, "text": text}


def of_policies(names: Sequence[str], lived: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """One policy, or two on the same tables."""
    if not all(one.judged for some in lived for one in some):
        return _lasted(names, lived)
    readings: dict[str, Any] = {}
    for number, (name, some) in enumerate(zip(names, lived, strict=True)):
        said = sum(len(one.corrections) for one in some)
        reactions = [steps for one in some for steps in one.reactions]
        readings[f"success_{number}"] = share(f"Whole task, {name}", [one.success for one in some])
        readings[f"score_{number}"] = {
            "label": f"Share of the stages done, {name}",
            "value": statistics.fmean(one.score for one in some),
        }
        if said:
            readings[f"corrections_{number}"] = {
                "label": f"Corrections an episode, {name}",
                "value": said / len(some),
            }
        if reactions:
            readings[f"reaction_{number}"] = {
                "label": f"Steps from a correction to the first changed action, median, {name}",
                "value": statistics.median(reactions),
            }
    curves = {
        f"stages_{n}": stages(name, some) for n, (name, some) in enumerate(zip(names, lived, strict=True))
    }
    text = f"{names[0]} did the whole task on {_of(lived[0])} tables."
    if len(lived) > 1:
        text = f"{text[:-1]}, {names[1]} on {_of(lived[1])} of the same{_paired(lived[0], lived[1])}."
    return {"readings": readings, "curves": curves, "text": text}


def _lasted(names: Sequence[str], lived: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """Of a world in which nobody can say how much of a task is done."""
    readings = {
        f"steps_{number}": {
            "label": f"Steps an episode, {name}",
            "value": statistics.fmean(one.steps for one in some),
        }
        for number, (name, some) in enumerate(zip(names, lived, strict=True))
    }
    text = (
        "Nobody can say how much of its task is done in this world; it is known how long its episodes were."
    )
    return {"readings": readings, "curves": {}, "text": text}


def before_and_after(
    tables: Mapping[str, tuple[Sequence[Episode], Sequence[Episode]]],
    said: Sequence[Said],
    decisions: Mapping[str, int],
    reactions: Sequence[float],
) -> dict[str, Any]:
    """tables: where -> (episodes before, episodes after), on the same seeds.

    said: the corrections it learned from, in the order in which they were said.
    decisions: how many decisions each corrected episode had.
    reactions: of each correction that changed what was done, the seconds until the first other action.
    """
    readings: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    text = []
    for where, (before, after) in tables.items():
        if not before:
            continue
        for when, lived in (("before", before), ("after", after)):
            readings[f"success_{where}_{when}"] = share(
                f"Whole task on {WHERE[where]}, {when}", [one.success for one in lived]
            )
            curves[f"stages_{where}_{when}"] = stages(f"{WHERE[where].capitalize()}, {when}", lived)
        text.append(f"On {WHERE[where]}: {_of(before)} before, {_of(after)} after{_paired(before, after)}.")
    everything = {
        when: [one for pair in tables.values() for one in pair[number]]
        for number, when in enumerate(("before", "after"))
    }
    readings |= _agreement(everything) | frequencies(everything) | _lengths(everything)
    per_episode = Counter(one.episode for one in said)
    count = len(per_episode)
    if count:
        readings["corrections"] = {"label": "Corrections learned from", "value": len(said)}
        readings["corrections_per_episode"] = {"label": "Corrections an episode", "value": len(said) / count}
        curves |= over_time(per_episode, decisions)
        text.append(
            f"It learned from {len(said)} corrections in {count} {'episode' if count == 1 else 'episodes'}."
        )
    if reactions:
        median = statistics.median(reactions)
        readings["reaction"] = {
            "label": "Seconds from a correction to the first changed action, median",
            "value": median,
        }
        text.append(f"A correction changed what it did after {median:.1f} s (median).")
    return {"readings": readings, "curves": curves, "text": " ".join(text)}


def share(label: str, rights: Sequence[bool]) -> dict[str, Any]:
    """A share of episodes, with its Wilson 95 % interval."""
    return told(label, sum(rights), len(rights))


def stages(label: str, lived: Sequence[Episode]) -> dict[str, Any]:
    """How many episodes came how far: at least so many of the task's stages were done at its end."""
    most = max((len(one.stages) for one in lived), default=0)
    done = [sum(one.stages.values()) for one in lived]
    rows = [share("", [count >= number for count in done]) for number in range(1, most + 1)]
    return {
        "label": label,
        "x": list(range(1, most + 1)),
        "y": [row["value"] for row in rows],
        "low": [row["low"] for row in rows],
        "high": [row["high"] for row in rows],
        "n": [row["n"] for row in rows],
        "x_label": "Stages done, at least",
        "y_label": "Share of episodes",
    }


def over_time(per_episode: Mapping[str, int], decisions: Mapping[str, int]) -> dict[str, Any]:
    """What was said in each episode, in their order; and how often the robot's own choice was left alone."""
    names = list(per_episode)
    number = list(range(1, len(names) + 1))
    found: dict[str, Any] = {
        "corrections": {
            "label": "Corrections",
            "x": number,
            "y": [per_episode[name] for name in names],
            "x_label": "Episode",
            "y_label": "Corrections",
        }
    }
    if all(decisions.get(name) for name in names):
        agreed = [max(0.0, 1 - per_episode[name] / decisions[name]) for name in names]
        found["agreement"] = {
            "label": "Decisions that nobody corrected",
            "x": number,
            "y": agreed,
            "x_label": "Episode",
            "y_label": "Share of decisions",
        }
    return found


def frequencies(lived: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """Share of all steps under each of the most frequent commands."""
    counts = {when: sum((Counter(one.commands) for one in some), Counter()) for when, some in lived.items()}
    common = [command for command, _ in sum(counts.values(), Counter[str]()).most_common(COMMANDS)]
    return {
        f"steps_{number}_{when}": {
            "label": f"Share of steps: “{command}”, {when}",
            "value": counts[when][command] / max(1, sum(counts[when].values())),
        }
        for number, command in enumerate(common)
        for when in lived
    }


def _agreement(lived: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    found = {}
    for when, some in lived.items():
        agreed, asked = (sum(one.agreed[part] for one in some) for part in (0, 1))
        if asked:
            found[f"agreement_{when}"] = {
                "label": f"Decisions that the scripted annotator shares, {when}",
                "value": agreed / asked,
            }
    return found


def _lengths(lived: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    return {
        f"length_{when}": {
            "label": f"Steps an episode, {when}",
            "value": statistics.fmean(one.steps for one in some),
        }
        for when, some in lived.items()
        if some
    }


def _of(lived: Sequence[Episode]) -> str:
    return f"{sum(one.success for one in lived)} of {len(lived)}"


def _paired(before: Sequence[Episode], after: Sequence[Episode]) -> str:
    """How many tables changed sides: with paired seeds that says more than two shares."""
    gained = sum(not one.success and two.success for one, two in zip(before, after, strict=True))
    lost = sum(one.success and not two.success for one, two in zip(before, after, strict=True))
    return f" ({gained} gained, {lost} lost)" if gained or lost else ""
