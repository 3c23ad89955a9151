"""A robot at work while people watch: `python -m trainers live SPEC`, one JSON object a line in and out.

One loop at the world's own rate: hear what was said, choose a command, act, write the step down, tell what came of it.
What arrives between two steps counts at the very next one. Every step is in the episode's file before anybody sees it,
what became of each word that was said is in `said.jsonl` before it is told, and once a second the world's own moment is
kept: so a process that is killed leaves all that the next one needs. That one restores the moment, repeats the actions
that were recorded after it, and goes on where the recording ends.

In:  begin, say, let_go, pause, resume, drive, finish, leave. When the line ends, so does the process.
Out: ready, scene, state, heard, in_force, over, recovered, episode_end, problem. docs/robots.md shows them all.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainers.envs.clock import Clock
from trainers.envs.registry import WORLDS
from trainers.envs.registry import world as world_called
from trainers.envs.worlds import Talking, World
from trainers.episodes import NOBODY, PERSON, POLICY, SCRIPT, About, Episodes, Writer
from trainers.nn.pilot import Pilot
from trainers.sampling.live_picture import address, jpeg
from trainers.sampling.live_words import Words, listed
from trainers.sampling.moments import Moments, Story
from trainers.sampling.scripted import Scripted, Still
from trainers.sampling.steering import Steering

STILL_AFTER = 3
"""Steps for which a driver's last action is repeated while nothing new comes; then the robot stands still."""
MOMENT_SECONDS = 1.0
"""Between two moments that are kept."""
AGAIN_SECONDS = 1.0
"""Between two states that are told while nothing moves."""
CHOICES = 5


@dataclass(frozen=True)
class Spec:
    """What a supervisor asks for, as it stands in the file."""

    home: str
    """Where this process keeps its moments."""
    episodes: str
    """The store that episodes are written to."""
    world: str
    pilot: Literal["policy", "scripted", "nobody"]
    policy: str = ""
    """The folder of the policy, where that is the pilot."""
    hold: int = 30
    """Steps from the moment at which something is said until it is gone."""
    speed: float = 1.0
    """1 is the world's own time."""
    picture: int = 256
    """The size of pictures, for worlds that are not drawn from their state."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Which policy it is, for whoever learns from the recording: {"artifact", "digest", "name", "run"}."""


@dataclass
class Take:
    """The episode that is being lived."""

    name: str
    number: int
    seed: int
    writer: Writer
    words: Words
    observation: NDArray[Any]
    driven: NDArray[np.float32] | None = None
    driven_at: int = 0


class Live:
    """The loop, and what it obeys."""

    def __init__(self, spec: Spec, hear: int, tell: Callable[[dict[str, Any]], None]) -> None:
        """`hear`: the file that commands are read from. `tell` takes each message."""
        self.spec, self._hear, self._tell = spec, hear, tell
        self.world = world_called(spec.world)
        self.pilot = pilot(spec, self.world)
        self.actor = {"policy": POLICY, "scripted": SCRIPT, "nobody": NOBODY}[spec.pilot]
        self.store = Episodes(spec.episodes)
        self.moments, self.story = Moments(Path(spec.home)), Story(Path(spec.home) / "said.jsonl")
        self.clock = Clock(self.world.seconds, spec.speed)
        self.clock.pause()
        self.paused = False
        self.drawn = WORLDS[spec.world].drawn
        self.take: Take | None = None
        self.leaving = False
        self._read = b""
        self._state: dict[str, Any] = {}
        self._jpeg = b""
        self._told_at = self._kept_at = 0.0

    def run(self) -> None:
        """Until it is asked to leave, or nobody is there to ask."""
        self._tell(
            {
                "type": "ready",
                "layer": self.pilot.layer,
                "motions": dict(self.pilot.motions),
                "actions": list(self.world.actions),
                "seconds": self.world.seconds,
                "bank": list(self.pilot.bank),
            }
        )
        while not self.leaving:
            due = self.clock.remaining()
            patience = AGAIN_SECONDS if due is None else min(due, AGAIN_SECONDS)
            if select.select([self._hear], [], [], patience)[0]:
                for command in self._commands():
                    self.obey(command)
            if self.take and self.clock.tick():
                self._guarded(self.step)
            elif self.take and time.monotonic() - self._told_at > AGAIN_SECONDS:
                self._tell_state()
        if self.take:
            self._keep_moment()
        self.clock.close()

    # --- what it hears

    def _commands(self) -> list[dict[str, Any]]:
        read = os.read(self._hear, 65536)
        if not read:
            self.leaving = True
        self._read += read
        *lines, self._read = self._read.split(b"\n")
        return [json.loads(line) for line in lines]

    def obey(self, command: Mapping[str, Any]) -> None:
        match command["type"]:
            case "begin":
                self._guarded(lambda: self.begin(command), str(command["episode"]))
            case "say":
                self.say(command)
            case "let_go":
                self.let_go(str(command.get("id", "")))
            case "drive":
                self.drive(command["action"])
            case "pause":
                self.paused = True
                self.clock.pause()
                if self.take:
                    self._keep_moment()
            case "resume":
                self.paused = False
                if self.take:
                    self.clock.resume()
            case "finish":
                if self.take:
                    self.finish(str(command.get("why", "")))
            case "leave":
                self.leaving = True

    def say(self, command: Mapping[str, Any]) -> None:
        """What a person said, under the id that it has in the database: heard once, however often it comes."""
        take, said = self.take, str(command["id"])
        if take is None or command.get("episode") != take.name or take.words.knows(said):
            return
        take.driven = None  # whoever speaks lets go of the wheel
        hold = int(command.get("hold", self.spec.hold))
        held = bool(command.get("held"))
        take.words.hear(said, take.writer.length - 1, str(command["command"]), held, hold)

    def let_go(self, said: str = "") -> None:
        """Hands back: whatever is in force, the wheel too; or one thing that was said."""
        if self.take is None:
            return
        if not said:
            self.take.driven = None
        self.take.words.let_go(said, self.take.writer.length - 1)

    def drive(self, action: Any) -> None:
        """A person's own action, for the next step and a few more."""
        take = self.take
        given = np.asarray(action, dtype=np.float32)
        if take is None or given.shape != (len(self.world.actions),) or not np.isfinite(given).all():
            return
        if take.driven is None and (take.words.told or take.words.pending):
            self.let_go()
        take.driven, take.driven_at = np.clip(given, -1.0, 1.0), take.writer.length

    # --- an episode

    def begin(self, command: Mapping[str, Any]) -> None:
        """A new episode; or, where steps of it are recorded already, the rest of that one."""
        if self.take:
            self.finish("another was begun")
        name, seed = str(command["episode"]), int(command["seed"])
        if name in self.store and self.store.open(name).ended is not None:
            self._ended(name, self.store.open(name).ended or {}, {})
            return
        observation = self.world.reset(seed, command.get("task", ""), command.get("dials"))
        scene = self.world.scene()
        about = About(
            world=self.spec.world, task=str(scene.get("task", command.get("task", ""))), seed=seed,
            observation=len(observation), action=len(self.world.actions), state=len(self.world.state()),
            seconds=self.world.seconds, dials=dict(command.get("dials") or {}), scene=scene,
            policy=dict(self.spec.about), by=str(command.get("by", "")), source=dict(command.get("source") or {}),
        )  # fmt: skip
        self.pilot.begin(scene, seed)
        writer = self.store.begin(about, name)
        words = Words(name, self.story, Steering(self.pilot.every, self.spec.hold), self._tell)
        self.take = take = Take(name, int(command.get("number", 1)), seed, writer, words, observation)
        self._state = {}  # what was done last was done in another episode
        first = self._drawn()
        done = bool(writer.length) and self._recover(take)
        self._tell(
            {
                "type": "scene", "episode": name, "number": take.number, "seed": seed, "scene": scene,
                "state": first, "step": take.writer.length, "bank": list(self.pilot.bank),
            }
        )  # fmt: skip
        words.again(writer.length)
        self._tell_state()
        if why := self._why_over(take, done):
            self.finish(why)  # the process was killed before it could say so
        elif not self.paused:
            self.clock.resume()

    def _recover(self, take: Take) -> bool:
        """Comes back to where the recording ends: the kept moment, and the actions that were recorded after it.

        Whether the last of these was also the last that there was to do.
        """
        rows = self.store.open(take.name).steps
        moment = self.moments.read(take.name, most=take.writer.length)
        at, done = 0, False
        if moment is not None:
            at, kept = moment
            take.observation = self.world.restore(kept)
        for row in rows[at:]:
            if not np.allclose(take.observation, row["observation"], atol=1e-5, equal_nan=True):
                take.writer.cut(at)  # the world did not repeat itself: what came after never was
                break
            came = self.world.step(row["action"])
            take.observation, done = came.observation, came.done
            at += 1
        for row in rows[:at]:
            self.pilot.see(np.array(row["observation"]))
        self._tell({"type": "recovered", "episode": take.name, "step": at, "of": len(rows)})
        return done

    def _why_over(self, take: Take, done: bool) -> str:
        """Why the episode is over after its newest step; empty while it goes on."""
        if done:
            return "done"
        most = self.world.most_steps
        return f"{most} steps are over" if take.writer.length >= most else ""

    def step(self) -> None:
        take = cast(Take, self.take)
        t = take.writer.length
        self.pilot.see(take.observation)
        if take.driven is not None:
            take.words.steering.end(t)
            take.words.obeyed(t)
            command, commander, actor = "", NOBODY, PERSON
            stale = t - take.driven_at >= STILL_AFTER
            action = np.zeros_like(take.driven) if stale else take.driven
        else:
            command = take.words.steering.command(t, lambda: self.pilot.choices(CHOICES))
            take.words.obeyed(t)
            commander = PERSON if take.words.told else self.actor if command else NOBODY
            action, actor = self.pilot.act(command), self.actor
        if not self.drawn:
            take.writer.picture(self._jpeg)
        state, score = self.world.state(), self.world.score  # of the moment that was seen
        result = self.world.step(action)
        take.writer.step(take.observation, action, state, result.reward, score, command, commander, actor)
        take.observation = result.observation
        who = "person" if PERSON in (commander, actor) else "nobody" if self.actor == NOBODY else "policy"
        self._state = {
            "command": command,
            "by": who,
            "choices": [] if take.driven is not None else listed(take.words.steering.own),
            "action": [round(float(x), 4) for x in action],
            "said": take.words.told or None,
        }  # fmt: skip
        self._tell_state()
        if why := self._why_over(take, result.done):
            self.finish(why)
        elif time.monotonic() - self._kept_at > MOMENT_SECONDS:
            self._keep_moment()

    def finish(self, why: str) -> None:
        """The episode is over, for whatever reason."""
        take = cast(Take, self.take)
        take.words.end(take.writer.length)
        score = self.world.score
        known = math.isfinite(score)
        ended = take.writer.end(why, score if known else 0.0, score >= 1.0 if known else None)
        self.take = None
        self.clock.pause()
        self._ended(take.name, ended.ended or {}, self.world.stages)

    def _ended(self, name: str, ended: Mapping[str, Any], stages: Mapping[str, bool]) -> None:
        told = {key: ended.get(key) for key in ("score", "success", "why", "steps")}
        done = {stage: bool(is_done) for stage, is_done in stages.items()}
        self._tell({"type": "episode_end", "episode": name, **told, "stages": done})

    def _guarded(self, do: Callable[[], None], begins: str = "") -> None:
        """A world, or a policy, that fails takes its episode along, and nothing else."""
        try:
            do()
        except Exception as problem:
            import traceback

            traceback.print_exc()
            words = f"{type(problem).__name__}: {problem}"
            self._tell({"type": "problem", "text": f"The episode had to end: {words}"})
            why = f"It failed: {words}"[:500]
            if self.take:
                self.finish(why)
            elif begins:
                self._ended(begins, {"score": 0.0, "success": None, "why": why, "steps": 0}, {})

    # --- what it tells and keeps

    def _tell_state(self) -> None:
        take = cast(Take, self.take)
        score = self.world.score
        told = {
            "type": "state",
            "step": take.writer.length,
            "number": take.number,
            "state": self._drawn(),
            "score": round(float(score), 4) if math.isfinite(score) else None,
            "at": round(time.time(), 4),
            **(self._state or {"command": "", "by": "nobody", "choices": [], "action": [], "said": None}),
        }
        if not self.drawn:
            self._jpeg = jpeg(self.world, self.spec.picture)
            told["picture"] = address(self._jpeg)
        self._tell(told)
        self._told_at = time.monotonic()

    def _drawn(self) -> list[float]:
        return [round(float(x), 4) for x in self.world.state()]

    def _keep_moment(self) -> None:
        take = cast(Take, self.take)
        self.moments.keep(take.name, take.writer.length, self.world.snapshot())
        self._kept_at = time.monotonic()


def pilot(spec: Spec, world: World) -> Pilot:
    """Who acts in the world when nobody drives."""
    if spec.pilot == "nobody":
        return Still(world)
    if spec.pilot == "scripted":
        if not WORLDS[spec.world].talks:
            raise ValueError(
                f"The world {spec.world} has no rules that could act in it. Choose a policy, or drive it yourself."
            )
        return Scripted(cast(Talking, world))
    from trainers.nn import load_pilot

    return load_pilot(Path(spec.policy))


def live(path: Path) -> None:
    """The session that a spec.json asks for, over standard input and output."""
    spec = Spec(**json.loads(path.read_text("utf-8")))
    Path(spec.home).mkdir(parents=True, exist_ok=True)
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a world or a policy prints is no message

    def tell(message: dict[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        while line:
            line = line[os.write(out, line) :]

    try:
        Live(spec, sys.stdin.fileno(), tell).run()
    except BrokenPipeError:
        return  # nobody listens: the next process goes on from what is on the disk
