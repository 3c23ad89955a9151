"""How far people agree: of every two answers to one comparison, the share that are the same."""

from dataclasses import dataclass
from itertools import groupby
from math import sqrt

from annotation.interfaces import pairwise
from annotation.models import Label, Study


@dataclass(frozen=True)
class Agreement:
    """A share of pairs of answers, with its 95 % interval (Wilson's, on the number of comparisons)."""

    tasks: int
    share: float
    low: float
    high: float


def agreement(study: Study) -> Agreement | None:
    """Raw agreement on comparisons that two or more people judged; None where there is none yet.

    Each comparison counts once, however many judged it: pairs of answers to one comparison are not independent.
    """
    labels = Label.objects.current().filter(study=study, kind=pairwise.key).order_by("task_id")
    said = labels.values_list("task_id", "answer__choice", "answer__chosen")
    shares = []
    for _, answers in groupby(said.iterator(), key=lambda row: row[0]):
        given = [row[1:] for row in answers]
        pairs = len(given) * (len(given) - 1) // 2
        if pairs:
            same = sum(a == b for n, a in enumerate(given) for b in given[:n])
            shares.append(same / pairs)
    if not shares:
        return None
    share = sum(shares) / len(shares)
    low, high = wilson(share, len(shares))
    return Agreement(len(shares), share, low, high)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion, which stays inside 0 and 1 for few and for extreme counts."""
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - spread) / scale, (middle + spread) / scale
