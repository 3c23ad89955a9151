"""A winding track, for tests of imitation: who knows the way never leaves its middle, and so never shows the way back.

y <- y + 0.1 (a - bend(t));  off the track where |y| > 0.06          after Ross et al. 2011 (arXiv:1011.0686), 5.1
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from trainers.envs.worlds import Step

HALF = 0.06
AT_ONCE = 0.1


def make(name: str = "track") -> Track:
    return Track()


class Track:
    name, seconds, actions, most_steps = "track", 0.1, ("steer",), 200

    def reset(self, seed: int, task: str = "", dials: Any = None) -> np.ndarray:
        self.begin, self.time, self.y = float(np.random.default_rng(seed).uniform(0, 2 * math.pi)), 0, 0.0
        return self.observe()

    @property
    def angle(self) -> float:
        return self.begin + self.time * 2 * math.pi / 40

    @property
    def bend(self) -> float:
        return 0.5 * math.sin(self.angle) + 0.2 * math.sin(3 * self.angle)

    def step(self, action: np.ndarray) -> Step:
        self.y += AT_ONCE * (float(np.clip(action[0], -1, 1)) - self.bend)
        self.time += 1
        return Step(self.observe(), 0.0, abs(self.y) > HALF)

    def observe(self) -> np.ndarray:
        """[3] where along the track, and how far from its middle, in halves of its width."""
        return np.array([math.sin(self.angle), math.cos(self.angle), self.y / HALF], np.float32)

    def demonstrate(self, command: str = "") -> np.ndarray:
        return np.array([np.clip(self.bend - 2 * self.y / HALF * 0.3, -1, 1)])

    def advice(self) -> str:
        return ""

    def scene(self) -> dict[str, Any]:
        return {"task": "track", "words": "follow the track", "things": []}

    def state(self) -> np.ndarray:
        return np.array([self.y], np.float32)

    def picture(self, size: int = 256) -> np.ndarray:
        return np.zeros((size, size, 3), np.uint8)

    def snapshot(self) -> bytes:
        return json.dumps([self.begin, self.time, self.y]).encode()

    def restore(self, moment: bytes) -> np.ndarray:
        self.begin, self.time, self.y = json.loads(moment)
        return self.observe()

    @property
    def score(self) -> float:
        """How much of it was driven before it was left."""
        return self.time / self.most_steps if abs(self.y) <= HALF else (self.time - 1) / self.most_steps

    @property
    def stages(self) -> dict[str, bool]:
        return {"1. driven": self.score >= 1.0}
