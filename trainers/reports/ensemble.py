"""Whether an ensemble knows what it does not know: do its members differ where it is wrong?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.maths.disagreement import auroc, conflict


@dataclass(frozen=True)
class Foresight:
    """How well errors can be foreseen: the area under the ROC curve, and its 95 % interval. Chance is one half."""

    value: float
    low: float
    high: float
    wrong: int
    n: int

    def reading(self, label: str) -> dict[str, Any]:
        return {"label": label, "value": self.value, "low": self.low, "high": self.high, "n": self.n}


def foresight(margins: Tensor) -> tuple[Foresight, Foresight]:
    """(by the members' disagreement, by the size of their mean margin), from margins [N, B] of N members, each the
    better answer's score less the other's, on B held-out pairs.

    The second needs no ensemble: a single model that is honest about its odds has it. What the first is worth is to be
    held against it.
    """
    together = margins.double().mean(dim=0)
    wrong = together <= 0
    found = []
    for signal in (conflict(margins), -together.abs()):
        found.append(Foresight(*auroc(signal, wrong), int(wrong.sum().item()), len(wrong)))
    return found[0], found[1]


def findings(margins: Tensor) -> tuple[dict[str, Any], str]:
    """(readings, text) to add to a reward model's report; nothing where no pair, or no error, was held out."""
    if not margins.numel():
        return {}, ""
    rights = (torch.sign(margins.double()) + 1) / 2
    single = rights.mean(dim=1)
    readings: dict[str, Any] = {
        "members": {"label": "Accuracy of single members, mean", "value": single.mean().item()},
        "members_worst": {"label": "Accuracy of the worst member", "value": single.min().item()},
        "disagreement": {"label": "Chance that two members differ", "value": conflict(margins).mean().item()},
    }
    by_conflict, by_margin = foresight(margins)
    if not 0 < by_conflict.wrong < by_conflict.n:
        return readings, ""
    readings["foresight"] = by_conflict.reading("AUROC: errors foreseen by disagreement")
    readings["foresight_margin"] = by_margin.reading("AUROC: errors foreseen by small margins")
    text = (
        f"Its members' disagreement foresees its errors with an AUROC of {by_conflict.value:.2f} "
        f"({by_conflict.low:.2f} to {by_conflict.high:.2f}; chance 0.5, small margins {by_margin.value:.2f})."
    )
    return readings, text
