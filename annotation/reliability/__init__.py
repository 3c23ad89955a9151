"""How far people agree, and how much each one's labels say.

    answers.py        labels, as plain arrays: who said what about which question
    agreement.py      raw agreement, Cohen's and Fleiss' kappa, Krippendorff's alpha
    bradley_terry.py  comparisons: reliability, side bias and ties of each person, and how hard each item is
    dawid_skene.py    answers of a few kinds: how each person mistakes one for another
    fits.py           both models over a study, and what they say of its items
    weighing.py       from how reliable people are to how much their labels count
    alarms.py         who is too fast, answers in a row, leans to a side, or drifts
    report.py         all of it for one study, as the JSON of a `Reliability` row
    sweep.py          fits anew as labels arrive
    drawing.py        where the marks of the page's pictures stand

A fit imports numpy, scipy and more, and belongs in a worker or a command. What is here imports none of them, so
that a page or a snapshot can read the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annotation.models import Reliability, Study


def newest(study: Study) -> Reliability | None:
    """The last fit of a study's labels; None before the first."""
    return study.reliabilities.first()


def weights(report: Mapping[str, Any]) -> dict[int, float]:
    """How much a label of each person counts, by the person's id: 1 on average over the labels, never below 0.

    All are 1 where the labels show no difference between people. Whoever is not in the report, because their first
    label came later, counts 1.
    """
    return {row["user"]: row["weight"] for row in report["annotators"]}
