"""Any Gymnasium environment as a World: what is its own is said in a `Gym`, the rest is here.

Actions are from -1 to 1 whatever the environment takes, and all zeros do as little as it allows. A moment is kept in
the way that is exact for it:

    attributes  the environment is a few attributes and its generator (classic control)
    physics     MuJoCo's whole state, and some attributes
    replay      the seed and the actions so far, played again: for engines that hide part of their state (Box2D,
                pymunk). Exact as well, but coming back takes as long as the steps took.

Gymnasium's own time limit is left off: whoever plays counts, up to `most_steps`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainers.envs.moments import packed, unpacked
from trainers.envs.worlds import Floats, Picture, Step, WorldError

Environment = Any
"""A gymnasium.Env without its wrappers. This module is read where Gymnasium is not installed."""


def as_it_is(env: Environment, seen: Any) -> NDArray[Any]:
    return np.asarray(seen)


def between_its_bounds(env: Environment, action: NDArray[np.float32]) -> Any:
    """-1 is the lowest value that the environment takes, and 1 the highest."""
    low, high = env.action_space.low, env.action_space.high
    return ((low + high) / 2 + action * (high - low) / 2).astype(np.float32)


def nobody_can_say(env: Environment, play: GymWorld) -> float:
    return math.nan


def nothing(env: Environment) -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True)
class Gym:
    """What one environment has of its own."""

    title: str
    ids: Mapping[str, str]
    """Task -> the environment's name in Gymnasium."""
    words: Mapping[str, str]
    """Task -> what is asked for, as a person would say it."""
    actions: tuple[str, ...]
    seconds: float
    most_steps: int
    keep: Literal["attributes", "physics", "replay"]
    attributes: tuple[str, ...] = ()
    """What a moment keeps of the environment besides its generator, and its physics."""
    act: Callable[[Environment, NDArray[np.float32]], Any] = between_its_bounds
    """An action from -1 to 1 -> what the environment takes."""
    see: Callable[[Environment, Any], NDArray[Any]] = as_it_is
    """What the environment shows -> numbers, in any shape."""
    shown: Callable[[Environment], NDArray[Any]] = nothing
    """[S] what there is to draw."""
    score: Callable[[Environment, GymWorld], float] = nobody_can_say
    stages: Callable[[Environment, GymWorld], dict[str, bool]] = field(default=lambda env, play: {})
    said: Callable[[Environment], str] = field(default=lambda env: "")
    """What this episode asks for, where each one asks for something else."""
    paint: Callable[[Environment, int], Picture] | None = None
    """Draws it; without one, the environment renders itself."""
    prepare: Callable[[Environment], None] = field(default=lambda env: None)
    """What is set on an environment once it is made."""
    module: str = ""
    """The module to import so that Gymnasium knows the ids."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    scene: Mapping[str, Any] = field(default_factory=dict)
    """What its drawing needs to know besides the state."""


class GymWorld:
    """One Gymnasium environment, one episode at a time. It has no dials."""

    def __init__(self, name: str, gym: Gym) -> None:
        self.name, self.gym = name, gym
        self.seconds, self.actions, self.most_steps = gym.seconds, gym.actions, gym.most_steps
        self.task, self.seed = next(iter(gym.ids)), 0
        self.earned = 0.0
        """The reward of the last step."""
        self._env: Environment = None
        self._made = ""
        self._done = False
        self._taken: list[NDArray[np.float32]] = []
        self._seen: Floats = np.zeros(0, dtype=np.float32)

    @property
    def steps(self) -> int:
        """How many were taken since the reset."""
        return len(self._taken)

    def reset(self, seed: int, task: str = "", dials: Mapping[str, Any] | None = None) -> Floats:
        task = task or next(iter(self.gym.ids))
        if task not in self.gym.ids:
            raise ValueError(f"No task '{task}' in {self.gym.title}. Known tasks: {', '.join(self.gym.ids)}.")
        if dials:
            raise ValueError(f"Found the dial {next(iter(dials))!r}. {self.gym.title} has no dials.")
        if seed < 0:
            raise ValueError(f"Found the seed {seed}. {self.gym.title} takes whole numbers from 0.")
        self.task, self.seed, self._taken, self._done = task, int(seed), [], False
        self.earned = 0.0
        # Some environments print while they lay out an episode; whoever plays may speak to others through stdout.
        with self._asked("starting an episode"), redirect_stdout(sys.stderr):
            # An engine that hides part of its state may carry some of it over: it starts afresh.
            if self._made != task or self.gym.keep == "replay":
                self._make()
            seen, _ = self._env.reset(seed=self.seed)
            self._see(seen)
        return self.observe()

    def step(self, action: NDArray[Any]) -> Step:
        """After the last step of an episode nothing moves any more, and nothing is earned."""
        wanted = np.asarray(action, dtype=np.float32)
        if wanted.shape != (len(self.actions),) or not np.isfinite(wanted).all():
            raise ValueError(
                f"Found the action {action}. Expected {len(self.actions)} numbers from -1 to 1: "
                f"{', '.join(self.actions)}."
            )
        if self._env is None:
            raise WorldError(f"{self.gym.title} was not started: call reset before the first step.")
        if self._done:
            return Step(self.observe(), 0.0, True)
        with self._asked("a step"):
            self._do(np.clip(wanted, -1.0, 1.0))
        return Step(self.observe(), self.earned, self._done)

    def observe(self) -> Floats:
        return self._seen.copy()

    def scene(self) -> dict[str, Any]:
        words = self.gym.said(self._env) or self.gym.words[self.task]
        return {"task": self.task, "words": words, **self.gym.scene}

    def state(self) -> Floats:
        return np.asarray(self.gym.shown(self._env), dtype=np.float32)

    def picture(self, size: int = 256) -> Picture:
        if self.gym.paint is not None:
            return self.gym.paint(self._env, size)
        from trainers.envs.drawing import fitted

        with self._asked("drawing a picture"):
            drawn = np.asarray(self._env.render(), dtype=np.uint8)
        return fitted(drawn, size)

    @property
    def score(self) -> float:
        return float(self.gym.score(self._env, self))

    @property
    def stages(self) -> dict[str, bool]:
        return self.gym.stages(self._env, self)

    @property
    def done(self) -> bool:
        return self._done

    # --- moments

    def snapshot(self) -> bytes:
        kept: dict[str, Any] = {"world": self.name, "task": self.task, "seed": self.seed}
        taken = np.array(self._taken, dtype=np.float32).reshape(-1, len(self.actions))
        if self.gym.keep == "replay":
            return packed({**kept, "taken": taken})
        kept |= {"taken": taken, "seen": self._seen, "done": self._done, "earned": self.earned}
        kept["attributes"] = {name: getattr(self._env, name) for name in self.gym.attributes}
        kept["chance"] = self._env.np_random.bit_generator.state
        if self.gym.keep == "physics":
            from trainers.envs.physics import kept_physics

            kept["physics"] = kept_physics(self._env.model, self._env.data)
        return packed(kept)

    def restore(self, moment: bytes) -> Floats:
        kept = unpacked(moment, self.name)
        self.reset(kept["seed"], kept["task"])
        if self.gym.keep == "replay":
            with self._asked("playing the steps of a moment again"):
                for action in kept["taken"]:
                    self._do(action)
            return self.observe()
        self._taken, self._seen = list(kept["taken"]), kept["seen"]
        self._done, self.earned = kept["done"], kept["earned"]
        for name, value in kept["attributes"].items():
            setattr(self._env, name, value)
        self._env.np_random.bit_generator.state = kept["chance"]
        if self.gym.keep == "physics":
            from trainers.envs.physics import restore_physics

            restore_physics(self._env.model, self._env.data, kept["physics"])
        return self.observe()

    # --- what it is made of

    def _make(self) -> None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import gymnasium

        if self._env is not None:
            self._env.close()
        if self.gym.module:
            __import__(self.gym.module)
        made = gymnasium.make(
            self.gym.ids[self.task],
            render_mode="rgb_array",
            max_episode_steps=-1,
            disable_env_checker=True,
            **self.gym.options,
        )
        self._env, self._made = made.unwrapped, self.task
        self.gym.prepare(self._env)

    def _do(self, action: NDArray[np.float32]) -> None:
        self._taken.append(action)
        seen, earned, self._done, _, _ = self._env.step(self.gym.act(self._env, action))
        self.earned, self._done = float(earned), bool(self._done)
        self._see(seen)

    def _see(self, seen: Any) -> None:
        self._seen = self.gym.see(self._env, seen).astype(np.float32).ravel()
        if not np.isfinite(self._seen).all():
            raise FloatingPointError("what is seen is no longer finite")

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except WorldError:
            raise
        except Exception as error:
            raise WorldError(
                f"{self.gym.title} broke down in {what}: {type(error).__name__}: {error}. "
                f"It was step {self.steps} of task '{self.task}' at seed {self.seed}; the same seed and actions bring "
                "it back."
            ) from error


def the_largest(otherwise: int) -> Callable[[Environment, NDArray[np.float32]], int]:
    """For an environment that takes one of a few moves: the largest number names it; none above zero: `otherwise`."""

    def act(env: Environment, action: NDArray[np.float32]) -> int:
        return int(action.argmax()) if action.max() > 0 else otherwise

    return act
