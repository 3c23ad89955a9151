"""Comparisons of clips, from a snapshot's records and the episodes they name to padded batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainers.episodes import Clip, Episodes
from trainers.maths.segments import surprise
from trainers.records import Prompt, Record
from trainers.records.robots import ClipPair

LEAST_DECAY, MOST_DECAY = 1e-3, 10.0


@dataclass(frozen=True)
class Comparison:
    """Two clips, and how far the first was preferred."""

    first: str
    """clip:<episode>:<start>-<stop>; the two in the order of their texts, whoever was preferred."""
    second: str
    share: float
    """1 where the first was better, 0 where the second was, one half for a tie."""
    weight: float
    strength: float
    """How clearly: 1 slightly, 2 clearly, 3 much."""
    annotator: str
    prompt: Prompt
    key: str
    """What it is drawn by: the record's id."""
    source: str = ""

    @property
    def decided(self) -> bool:
        return self.share != 0.5

    @property
    def better(self) -> str:
        return self.first if self.share >= 0.5 else self.second

    @property
    def worse(self) -> str:
        return self.second if self.share >= 0.5 else self.first


def comparisons(found: Iterable[Record]) -> list[Comparison]:
    """Each record as a comparison. "Both bad" does not say which is better, nor do two equal clips: nothing is said."""
    said = []
    for one in found:
        if not isinstance(one, ClipPair) or one.outcome == "both_bad" or one.chosen == one.rejected:
            continue
        if not one.weight:
            continue
        first, second = sorted((one.chosen, one.rejected))
        share = 0.5 if one.outcome == "tie" else float(first == one.chosen)
        place = one.source.get("source")
        said.append(
            Comparison(
                first,
                second,
                share,
                one.weight,
                one.strength,
                one.annotator,
                one.prompt,
                one.id,
                f"clips, {place}" if isinstance(place, str) else "clips",
            )  # fmt: skip
        )
    return said


def apart(said: Sequence[Comparison], share: float) -> tuple[list[int], list[int]]:
    """(rows to learn from, rows held out), about `share` of them held out: by the episodes they are cut from.

    An episode is held out by a hash of its name, so that it keeps its side as a study grows; a comparison is held out
    when one of its episodes is. So no clip that is learned from is of an episode that is held out, and every
    comparison is on one side.
    """
    each = 1 - (1 - share) ** 0.5

    def out(clip: str) -> bool:
        digest = hashlib.sha256(b"clips " + Clip.read(clip).episode.encode()).digest()
        return bool(int.from_bytes(digest[:8], "big") / 2**64 < each)

    side = [out(one.first) or out(one.second) for one in said]
    return [row for row, held in enumerate(side) if not held], [row for row, held in enumerate(side) if held]


def counts(said: Sequence[Comparison], members: int, seed: int) -> Tensor:
    """[members, B] how often each member learns from each comparison: Poisson(1), so that about 1/e of them are kept
    from it and tell how well it does (bootstrap of a stream, Oza and Russell 2001).

    Drawn from the comparison's own key: what came before keeps its numbers when more comparisons come. Those of one
    question have the same numbers, whoever answered it.
    """
    drawn = [
        np.random.default_rng(
            list(hashlib.sha256(f"{seed} {one.first} {one.second}".encode()).digest()[:16])
        ).poisson(1.0, members)
        for one in said
    ]
    return torch.from_numpy(np.array(drawn, dtype=np.float32).reshape(len(said), members).T.copy())


class Clips:
    """The steps of clips: [L, D + A] what was seen and done, each read from its episode once."""

    def __init__(self, episodes: Callable[[], Episodes], known: dict[str, Tensor] | None = None) -> None:
        self._episodes = episodes
        self._kept: dict[str, Tensor] = known if known is not None else {}

    def __getitem__(self, text: str) -> Tensor:
        if text not in self._kept:
            clip = Clip.read(text)
            episode = self._episodes().open(clip.episode)
            rows = episode.steps[clip.start : clip.stop]
            if len(rows) != clip.stop - clip.start:
                raise ValueError(
                    f"{text} ends after step {clip.start + len(rows)} of its episode. Was the episode cut since it "
                    "was compared? Bring the whole episode back."
                )
            steps = np.concatenate([rows["observation"], rows["action"]], axis=1)
            self._kept[text] = torch.from_numpy(steps)
        return self._kept[text]

    def widths(self, text: str) -> tuple[int, int]:
        """(numbers seen, numbers done) in a step of a clip's episode."""
        about = self._episodes().open(Clip.read(text).episode).about
        return about.observation, about.action

    def stack(self, said: Sequence[Comparison]) -> tuple[Tensor, Tensor]:
        """(steps [B, 2, L, D + A], mask [B, 2, L]): the first clip and the second, padded on the right to the longest.

        Raises ValueError where the clips are not all of one width, and so of different robots.
        """
        rows = [self[text] for one in said for text in (one.first, one.second)]
        widths = sorted({row.shape[1] for row in rows})
        if len(widths) > 1:
            raise ValueError(
                f"The clips have {' and '.join(map(str, widths))} numbers a step: they are of different worlds. Learn "
                "from the clips of one world at a time."
            )
        steps = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(steps.shape[1]) < lengths[:, None]
        return steps.view(len(said), 2, *steps.shape[1:]), mask.view(len(said), 2, -1)


@dataclass(frozen=True)
class Lessons:
    """Comparisons as a loss reads them."""

    steps: Tensor
    """[B, 2, L, D + A]"""
    mask: Tensor
    """[B, 2, L] bool"""
    share: Tensor
    """[B] how far the first clip was preferred."""
    weight: Tensor
    """[B] how much a comparison counts, whoever gave it."""
    noise: Tensor
    """[B] the share of answers that are taken to be random: fewer where the answer was clear."""
    often: Tensor
    """[N, B] how often each member learns from it; where it is 0, it tells how well that member does."""

    def losses(self, sums: Tensor, rows: Sequence[int] | Tensor) -> Tensor:
        """[N, B] the surprise of each member at these rows, from its sums [N, B, 2] over their clips."""
        return surprise(sums[..., 0] - sums[..., 1], self.share[rows], self.noise[rows])

    def both(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """(on what members learned from, on what was kept from them) of losses [N, B] of all rows; nan where none."""
        learned, kept = self.often * self.weight, (self.often == 0) * self.weight
        return (losses * learned).sum() / learned.sum(), (losses * kept).sum() / kept.sum()

    def unseen(self, sums: Tensor) -> tuple[float, int]:
        """(how many are in order, of how many): the decided comparisons, each by the members it was kept from, from
        sums [N, B, 2] of all rows."""
        kept = self.often == 0
        told = kept.any(dim=0) & (self.share != 0.5)
        margins = (sums[..., 0] - sums[..., 1]) * (2 * self.share - 1)
        together = (margins * kept).sum(dim=0)[told]
        return float((torch.sign(together) + 1).sum() / 2), int(told.sum())


def lessons(said: Sequence[Comparison], clips: Clips, members: int, noise: float, seed: int) -> Lessons:
    """`noise` is the share of answers given at random where a preference is slight; one that is said to be clear or
    much (strength 2 or 3) is a half or a third as likely to be random."""
    steps, mask = clips.stack(said)
    strength = torch.tensor([max(one.strength, 1.0) for one in said])
    return Lessons(
        steps, mask,
        share=torch.tensor([one.share for one in said]),
        weight=torch.tensor([one.weight for one in said]),
        noise=noise / strength,
        often=counts(said, members, seed),
    )  # fmt: skip


def regularised(decay: float, learned: float, kept: float) -> float:
    """The L2 coefficient from here on, so that the loss on what was kept stays 1.1 to 1.5 times that on what was
    learned (Christiano et al. 2017, section 2.2.3): more where it is above, less where it is below."""
    if not learned > 0 or not kept > 0:
        return decay
    if kept > 1.5 * learned:
        return min(decay * 1.5, MOST_DECAY)
    return max(decay / 1.5, LEAST_DECAY) if kept < 1.1 * learned else decay


def worlds_of(episodes: Episodes, said: Sequence[Comparison]) -> set[tuple[str, str]]:
    """The (world, task)s that the clips are of."""
    names = {Clip.read(text).episode for one in said for text in (one.first, one.second)}
    return {(about.world, about.task) for about in (episodes.open(name).about for name in names)}
