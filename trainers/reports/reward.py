"""What every reward model's run ends with, and what `evaluate` says of one that is there already.

    run.report(findings(margins, control, judged, curve, seed))

`margins` are log-odds: the model states that the better of two answers is the better one with probability
sigmoid(margin). For Bradley-Terry that is the difference of two scores, as trained, before scores are normalised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.data import Preference, preferences
from trainers.maths.accuracy import (
    calibration_error,
    effective,
    honest_error,
    reliability,
    temperature,
    tempered,
    wilson,
)
from trainers.records import Prompt, Record, canonical, prompt_json
from trainers.reports.learning import Curve

if TYPE_CHECKING:
    from trainers.nn import RewardModel

FOLDS = 5
"""Parts of the held-out prompts; each part's temperature is fitted on the others."""
SHOWN = 8
"""Groups of a breakdown that are shown; the smaller ones are taken together."""


def findings(
    margins: Tensor,
    control: Tensor | None,
    judged: Sequence[Preference],
    curve: Curve | str = "",
    seed: int = 0,
    of: str = "held-out prompts",
) -> dict[str, Any]:
    """What the held-out prompts say, as `run.report` takes it: {"readings", "text", "curves", "forecast"}.

    margins: [N] log-odds of the better answers over the others, of the N decided preferences `judged`.
    control: [N] those of a twin that was trained in the same way on labels drawn by a coin.
    curve: what `reports.learning.curve` found; or why there is none, in words.
    of: what was judged, in words.
    """
    if not len(judged):
        return {"readings": {}, "text": "No decided pair was held out: nothing can be said of other prompts."}
    margins = margins.detach().double().cpu()
    rights = right(margins)
    readings = {"accuracy": share(f"Accuracy on {of}", rights, judged), **beside(judged)}
    if control is not None:
        readings["shuffled_control"] = share(
            "Control: trained on shuffled labels", right(control.detach().double().cpu()), judged
        )
    readings |= broken_down(rights, judged)
    calibrated, said, curves = calibration(margins, judged, seed)
    readings |= calibrated
    one = readings["accuracy"]
    text = (
        f"Right on {one['value']:.1%} of {one['n']} decided pairs on {of} "
        f"(95 % interval {one['low']:.1%} to {one['high']:.1%}); chance is 50 %. {said}"
    )
    report: dict[str, Any] = {"readings": readings, "curves": curves}
    if isinstance(curve, Curve):
        report["curves"] |= curve.plots()
        report["forecast"] = {"labels": curve.more, "gain": curve.gain, "spread": curve.spread}
        text += f" {curve.text}"
    elif curve:
        text += f" {curve}"
    return {**report, "text": text}


def evaluate(model: RewardModel, records: Sequence[Record], seed: int = 0) -> dict[str, Any]:
    """A trained reward model on records it has not seen: the same report, less what only training can tell.

    Reads pairs, rankings and corrections. In place of the twin stands the model itself with each answer under
    another record's prompt: what it still gets right there it takes from the answers alone. Statements are those
    the model was trained to make (its `margins`), whatever its scores were made into since. Raises ValueError where no
    record says which of two answers is better.
    """
    judged = [one for one in preferences(records) if one.decided]
    if not judged:
        raise ValueError(
            "None of the records says which of two answers is better (they are ties, both bad, equal texts, or of "
            "other kinds): there is nothing to be right about. Give pairs, rankings or corrections."
        )
    asked = [one.prompt for one in judged]
    report = findings(margins_of(model, asked, judged), None, judged, seed=seed, of="these records")
    prompts = list(dict.fromkeys(asked))
    if len(prompts) > 1:
        following = dict(zip(prompts, prompts[1:] + prompts[:1], strict=True))
        exchanged = right(margins_of(model, [following[prompt] for prompt in asked], judged))
        report["readings"]["exchanged_prompts"] = share("Control: prompts exchanged", exchanged, judged)
    return report


def margins_of(model: RewardModel, prompts: Sequence[Prompt], judged: Sequence[Preference]) -> Tensor:
    """[N] the log-odds that the model states for the better answers, whatever its scores were scaled to."""
    return model.margins(prompts, [one.better for one in judged], [one.worse for one in judged])


def right(margins: Tensor) -> Tensor:
    """[N]: 1 where the better answer scores higher, 0 where lower, one half where a coin would have to decide."""
    return (torch.sign(margins) + 1) / 2


def share(label: str, rights: Tensor, judged: Sequence[Preference]) -> dict[str, Any]:
    """A share with its Wilson 95 % interval, for which labels of one prompt are not independent."""
    mean = rights.double().mean().item()
    worth = effective(rights, [one.prompt for one in judged])
    low, high = wilson(mean * worth, worth)
    return {"label": label, "value": mean, "low": low, "high": high, "n": len(rights)}


def beside(judged: Sequence[Preference]) -> dict[str, Any]:
    """What an accuracy is to be held against: a coin, and a rule that reads nothing."""
    longer = torch.tensor([len(one.better) - len(one.worse) for one in judged])
    return {
        "chance": {"label": "Chance", "value": 0.5},
        "longer_answer": share("Rule: the longer answer", right(longer), judged),
    }


# --- by group ---------------------------------------------------------------------------------------

STRENGTHS = {1.0: "slightly better", 2.0: "clearly better", 3.0: "much better"}


def length_difference(one: Preference) -> str:
    """How much longer the better answer is, in characters: a fifth less or a quarter more is about as long."""
    better, worse = len(one.better), len(one.worse)
    if 4 * max(better, worse) <= 5 * min(better, worse):
        return "about as long"
    return "longer" if better > worse else "shorter"


BREAKDOWNS: dict[str, tuple[str, Callable[[Preference], str]]] = {
    "margin": ("Said to be {}", lambda one: STRENGTHS.get(one.strength, f"better by {one.strength:g}")),
    "length": ("Better answer {}", length_difference),
    "annotator": ("{}'s labels", lambda one: one.annotator),
    "source": ("Source: {}", lambda one: one.source),
}


ORDERS: dict[str, Sequence[str]] = {
    "margin": tuple(STRENGTHS.values()),
    "length": ("shorter", "about as long", "longer"),
}


def broken_down(rights: Tensor, judged: Sequence[Preference]) -> dict[str, Any]:
    """Accuracy within groups, in their order or the largest first; where all are of one, nothing is to tell apart."""
    readings = {}
    for name, (label, group_of) in BREAKDOWNS.items():
        members: dict[str, list[int]] = {}
        for row, one in enumerate(judged):
            if group := group_of(one):
                members.setdefault(group, []).append(row)
        order = ORDERS.get(name, ())
        groups = sorted(
            members,
            key=lambda group: (
                order.index(group) if group in order else len(order),
                -len(members[group]),
                group,
            ),
        )
        if len(groups) < 2:
            continue
        if len(groups) > SHOWN:
            rest = groups[SHOWN - 1 :]
            members[others := f"{len(rest)} others"] = sorted(row for group in rest for row in members[group])
            groups = [*groups[: SHOWN - 1], others]
        for group in groups:
            rows = members[group]
            readings[f"accuracy/{name}/{group}"] = share(
                label.format(group), rights[rows], [judged[row] for row in rows]
            )
    return readings


# --- calibration ------------------------------------------------------------------------------------


def calibration(
    margins: Tensor, judged: Sequence[Preference], seed: int
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """(readings, text, curves): how honest the stated probabilities are, as they stand and with a temperature.

    The temperature is cross-fitted: the held-out prompts fall into parts, and each part's margins are divided by
    the temperature fitted on the others'. Where all are in one part there are no others: then nothing is said of a
    temperature, since one that is judged on what it was fitted on looks better than it is.
    """
    folds = [fold(one.prompt) for one in judged]
    if len(set(folds)) < 2:
        return uncrossed(margins, len({one.prompt for one in judged}), seed)
    after = tempered(margins, folds)
    before_error, after_error = calibration_error(margins).item(), calibration_error(after).item()
    floor = honest_error(after, torch.Generator().manual_seed(seed))
    fitted = temperature(margins)
    readings = {
        "ece_before": {"label": "Calibration error", "value": before_error, "n": len(margins)},
        "ece_after": {
            "label": "Calibration error, with temperature", "value": after_error, "n": len(margins)
        },
        "ece_honest": {"label": "Calibration error of an honest model, by chance", "value": floor},
        "temperature": {"label": "Temperature", "value": fitted},
    }  # fmt: skip
    text = (
        f"Calibration error {before_error:.3f}, and {after_error:.3f} over a temperature of {fitted:.2f} "
        f"(an honest model's would be {floor:.3f} by chance)."
    )
    curves = {
        "reliability": plot("As trained", margins),
        "reliability_after": plot("With temperature", after),
    }
    return readings, text, curves


def uncrossed(margins: Tensor, prompts: int, seed: int) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """`calibration` as the statements stand, where the held-out `prompts` are too few for a temperature."""
    error = calibration_error(margins).item()
    floor = honest_error(margins, torch.Generator().manual_seed(seed))
    readings = {
        "ece_before": {"label": "Calibration error", "value": error, "n": len(margins)},
        "ece_honest": {"label": "Calibration error of an honest model, by chance", "value": floor},
    }
    text = (
        f"Calibration error {error:.3f} (an honest model's would be {floor:.3f} by chance). No temperature: it is "
        f"fitted on other prompts than it is judged on, and {prompts} held out {'is' if prompts == 1 else 'are'} "
        "too few to be parted. Hold out more prompts."
    )
    return readings, text, {"reliability": plot("As trained", margins)}


def plot(label: str, margins: Tensor) -> dict[str, Any]:
    """The reliability curve: stated against right, with Wilson intervals."""
    bins = reliability(margins)
    ends = [wilson(one.right * one.n, one.n) for one in bins]
    return {
        "label": label,
        "x": [one.stated for one in bins],
        "y": [one.right for one in bins],
        "low": [low for low, _ in ends],
        "high": [high for _, high in ends],
        "n": [one.n for one in bins],
        "x_label": "Stated probability",
        "y_label": "Share that was right",
    }


def fold(prompt: Prompt) -> int:
    """Which part of the held-out prompts one is in: by its hash, but not the one that decides who is held out."""
    digest = hashlib.sha256(b"fold " + canonical(prompt_json(prompt)).encode()).digest()
    return digest[0] % FOLDS
