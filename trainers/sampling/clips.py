"""Which clips to ask about, and their episodes written down so that people can watch them.

Of many pairs of clips drawn at random those are asked about on which the members of an ensemble differ most (Christiano
et al. 2017, arXiv:1706.03741, section 2.2.4).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.envs.registry import WORLDS, world
from trainers.envs.worlds import World
from trainers.episodes import NOBODY, POLICY, About, Clip, Episodes, Writer
from trainers.maths.segments import summed
from trainers.nn.clips import ClipReward
from trainers.records import canonical
from trainers.run import Run
from trainers.sampling.experience import Lived

PICTURE = 256
"""Pixels a side of the pictures that are kept of a world which cannot be drawn from its state."""
DRIFT = 1e-3
"""How far an episode that is lived again may be from what was seen the first time."""


@dataclass(frozen=True)
class Piece:
    """A clip of an episode in memory."""

    lived: Lived
    start: int
    stop: int

    @property
    def steps(self) -> Tensor:
        """[L, D + A]"""
        return torch.from_numpy(self.lived.steps[self.start : self.stop])

    @property
    def earned(self) -> float:
        """The world's own reward of these steps."""
        return float(self.lived.rewards[self.start : self.stop].sum())


@dataclass(frozen=True)
class Question:
    """Two clips, and the worth of asking which is better."""

    first: Piece
    second: Piece
    worth: float


def pieces(lived: Sequence[Lived], length: int, generator: torch.Generator) -> list[Piece]:
    """The episodes cut into clips of `length` steps, each from a random step on. What is too short is left out."""
    found = []
    for one in lived:
        spare = len(one.rewards) % length
        offset = int(torch.randint(spare + 1, (1,), generator=generator))
        starts = range(offset, len(one.rewards) - length + 1, length)
        found += [Piece(one, start, start + length) for start in starts]
    return found


def questions(
    found: Sequence[Piece], model: ClipReward | None, count: int, look: int, generator: torch.Generator
) -> list[Question]:
    """The `count` pairs worth most of `look` times as many, drawn at random. Without a model all are worth nothing."""
    if len(found) < 2:
        raise ValueError(
            f"Found {len(found)} clips to compare. Make clips shorter, or let the policy act for longer before asking."
        )
    first = torch.randint(len(found), (count * look,), generator=generator)
    second = torch.randint(len(found) - 1, (count * look,), generator=generator)
    second = second + (second >= first)  # never a clip with itself
    worth = torch.zeros(len(first))
    if model is not None:
        every = torch.stack([one.steps for one in found])
        with torch.no_grad():
            sums = summed(model.opinions(every), torch.ones(every.shape[:2], dtype=torch.bool))
        worth = disputed(torch.sigmoid(sums[:, first] - sums[:, second]))
    asked: list[Question] = []
    pairs: set[frozenset[int]] = set()
    for place in worth.argsort(descending=True, stable=True).tolist():
        pair = frozenset((int(first[place]), int(second[place])))
        if pair not in pairs and len(asked) < count:
            pairs.add(pair)
            asked.append(Question(found[int(first[place])], found[int(second[place])], worth[place].item()))
    return asked


def disputed(p: Tensor) -> Tensor:
    """[B] the variance over members of P(first better), p [N, B]."""
    return p.var(dim=0, correction=0)


# --- written down


class Shown:
    """The episodes of one world that people are to see, written by living them again: same seed, same actions."""

    def __init__(
        self, episodes: Episodes, name: str, task: str, policy: Mapping[str, Any], watched: bool
    ) -> None:
        """`watched` says whether people will see them: then pictures are kept of a world that cannot be drawn."""
        self.episodes, self.name, self.task, self.policy = episodes, name, task, policy
        self.watched = watched
        self._play: World | None = None
        self.words = ""
        """What is asked for, as a person would say it."""

    def clip(self, piece: Piece) -> Clip:
        """Where the piece is in the store; its episode is written down first, once."""
        return Clip(self.keep(piece.lived), piece.start, piece.stop)

    def keep(self, lived: Lived) -> str:
        """The name of an episode, which follows from what was done in it: kept twice, it is the same one."""
        name = self.name_of(self.name, self.task, lived)
        if self._play is None:
            self._play = world(self.name)
        play = self._play
        seen = play.reset(lived.seed, self.task)
        self.words = str(play.scene().get("words") or self.task or self.name)
        if name in self.episodes and self.episodes.open(name).ended:
            return name
        about = About(
            world=self.name,
            task=str(play.scene().get("task", self.task)),
            seed=lived.seed,
            observation=len(seen),
            action=len(play.actions),
            state=len(play.state()),
            seconds=play.seconds,
            scene=play.scene(),
            policy=dict(self.policy),
        )
        with self.episodes.begin(about, name) as page:
            page.cut(0)
            self._live(play, page, lived)
            page.end("done" if lived.done else "steps", _finite(play.score))
        return name

    @staticmethod
    def name_of(world: str, task: str, lived: Lived) -> str:
        whole = hashlib.sha256(f"{world} {task} {lived.seed} ".encode())
        whole.update(np.ascontiguousarray(lived.steps).tobytes())
        return whole.hexdigest()[:32]

    def _live(self, play: World, page: Writer, lived: Lived) -> None:
        d = lived.steps.shape[1] - len(play.actions)
        seen, pictures = play.observe(), self.watched and not WORLDS[self.name].drawn
        for row, earned in zip(lived.steps, lived.rewards, strict=True):
            if not np.allclose(seen, row[:d], rtol=DRIFT, atol=DRIFT):
                raise ValueError(
                    f"{self.name} did not live episode {lived.seed} again as it was: the same seed and actions led "
                    "elsewhere. A world must be the same from the same seed."
                )
            if pictures:
                page.picture(_jpeg(play))
            state, action = play.state(), row[d:]
            page.step(row[:d], action, state, float(earned), _finite(play.score), "", NOBODY, POLICY)
            seen = play.step(action).observation


def item(run: Run, shown: Shown, one: Question, index: int, source: Mapping[str, Any]) -> dict[str, Any]:
    """A question as an item that a study takes. Its external id is its two clips: asked twice, it is one question."""
    clips = [shown.clip(piece) for piece in (one.first, one.second)]
    of = {"world": shown.name, "task": shown.task, **source}
    name = str(shown.policy.get("name", ""))
    return {
        "context": {"prompt": shown.words},
        "candidates": [
            {"text": str(clip), "policy": name, "source": {**of, "seed": piece.lived.seed}}
            for clip, piece in zip(clips, (one.first, one.second), strict=True)
        ],
        "external_id": " ".join(sorted(map(str, clips))),
        "source": {"method": run.spec.method, "run": run.spec.run, "index": index, "worth": one.worth},
    }


def send(run: Run, items: Sequence[Mapping[str, Any]], step: int) -> None:
    """Leaves items for the study to take while the run goes on, one a line; each step's are a file of their own."""
    path = run.home / f"items-{step}.jsonl"
    path.write_text("".join(canonical(one) + "\n" for one in items), encoding="utf-8")
    run.artifact("items", "items", path, step, {"count": len(items)})


def answered(
    items: Sequence[Mapping[str, Any]],
    asked: Sequence[Question],
    who: str,
    noise: float,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Records of kind clip_pair by a scripted annotator, named as such: JSON, for a checkpoint to hold.

    "script" prefers what earned more of the world's own reward, and answers at random with probability `noise`; equal
    earnings are a tie. "coin" always answers at random: the control.
    """
    if who not in ANNOTATORS:
        raise ValueError(f"No scripted annotator '{who}'. Known: {', '.join(ANNOTATORS)}.")
    rows = []
    for given, one in zip(items, asked, strict=True):
        at_random = who == "coin" or float(torch.rand((), generator=generator)) < noise
        coin = float(torch.rand((), generator=generator)) < 0.5
        better = coin if at_random else one.first.earned > one.second.earned
        tie = not at_random and one.first.earned == one.second.earned
        texts = [candidate["text"] for candidate in given["candidates"]]
        rows.append(
            {
                "kind": "clip_pair",
                "id": f"{who}-{hashlib.sha256(given['external_id'].encode()).hexdigest()[:16]}",
                "prompt": given["context"]["prompt"],
                "chosen": texts[0 if better else 1],
                "rejected": texts[1 if better else 0],
                "outcome": "tie" if tie else "chosen",
                "annotator": ANNOTATORS[who],
                "source": {"scripted": who},
            }
        )
    return rows


ANNOTATORS: dict[str, str] = {"script": "script", "coin": "script (a coin)"}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _jpeg(play: World) -> bytes:
    from PIL import Image

    written = BytesIO()
    Image.fromarray(play.picture(PICTURE)).save(written, "JPEG", quality=85)
    return written.getvalue()
