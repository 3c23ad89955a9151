"""DAgger: what somebody who knows would have done, where the robot itself came to (Ross et al. 2011, arXiv:1011.0686).

    D <- what people drove
    for i = 1 … N                                                            (Algorithm 3.1)
        pi_i = beta_i pi* + (1 - beta_i) pi_hat_i, step by step             beta_i = mixing^(i - 1), so beta_1 = 1
        roll pi_i out; D <- D + { (o, g, pi*(o, g)) } at all states that it came to
        pi_hat_{i+1} <- argmin over pi of  E_D [ |pi(o, g) - a*|^2 ]

Behaviour cloning is the first round alone: it sees only where an expert comes to, drifts off, and knows no way back.
pi* is the world's own rule, named as scripted. Where people took over while the robot worked, their steps alone are
kept, and not the robot's before them (HG-DAgger, Kelly et al. 2019, arXiv:1810.02890): with `episodes` at 0 they teach
alone, and the rounds are those of driving and training. Left out: choosing the best of the N policies; the last one
is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data.driven import drives_and_rejections, is_in, one_size, rejections
from trainers.envs.motions import embodiment_of
from trainers.envs.registry import tasks_of, world
from trainers.envs.worlds import Talking
from trainers.episodes import POLICY, Episodes
from trainers.fit import adamw, anneal, descend, parts
from trainers.maths.words import heard
from trainers.nn import digest, load_pilot, save
from trainers.nn.direct import DirectConfig, DirectPolicy
from trainers.nn.hand import TASK
from trainers.records import Drive, Record, prompt_text
from trainers.registry import Count, NonNegative, Positive, Share, Whole
from trainers.reports import robots as report
from trainers.run import Run
from trainers.sampling.episodes import Lived, Setting, live


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-3
    """Learning rate at the beginning of each round; it falls to 0 over the round."""
    world: Literal["reach", "table_talk"] = "reach"
    """Where it will act. Worlds with a rule that can be asked."""
    tasks: str = "red, green, blue"
    """What it is to do there; the rounds go through them in turn."""
    rounds: Count = 8
    """Times to roll out and to train on all that was gathered (N). One round is behaviour cloning."""
    episodes: Whole = 24
    """Episodes a round, each step of which the world's own rule labels. With 0, people alone teach."""
    longest: Count = 60
    """Steps after which such an episode ends."""
    steps: Count = 500
    """Updates a round."""
    mixing: Share = 0.0
    """Chance, to the power of the rounds before, that the expert acts at a step. 0: in the first round alone."""
    first_seed: Whole = 30000
    """The seed of the first of these episodes."""
    hidden: Count = 192
    """Width of both layers of the network."""
    batch_size: Count = 256
    """Steps an update."""
    tests: Whole = 40
    """Episodes of each task on fresh tables before and after, for the report; 0 for none."""
    warmup: Share = 0.0
    """Share of a round's steps over which the learning rate rises."""
    weight_decay: NonNegative = 0.01
    """AdamW's weight decay, on matrices."""
    clip: Positive = 10.0
    """Longest gradient; a longer one is scaled down."""


FRESH = 900_000
"""The first seed of the tables that are tests."""


def train(config: Config, run: Run) -> None:
    gathered = Gathered()
    if run.spec.snapshot is not None:
        gathered.add(*taken_over(run.episodes, drives_and_rejections(run.snapshot)))
    driven = len(gathered)
    if not driven and not config.episodes:
        raise ValueError(
            "There is nothing to imitate: nobody drove, and episodes is 0. Ask for some, or drive."
        )
    tasks = tasks_of(config.world, config.tasks)
    policy = policy_for(config, run, tasks[0])
    if driven:
        one_size({gathered.observations.shape[1]: "what was driven", policy.observation: config.world})
    before = tested(config, policy, tasks)

    fit(config, run, policy, tasks, gathered)

    path = save(policy.eval(), run.home / "robot_policy")
    if config.tests:
        run.report(report.before_and_after({"fresh": (before, tested(config, policy, tasks))}, [], {}, []))
    run.artifact(
        "robot_policy", "robot_policy", path, config.rounds * config.steps,
        {"digest": digest(path), "world": config.world, "scripted_labels": len(gathered) - driven, "driven": driven},
    )  # fmt: skip


def fit(config: Config, run: Run, policy: DirectPolicy, tasks: Sequence[str], gathered: Gathered) -> None:
    """The loop of Algorithm 3.1."""
    optimiser = adamw(policy, config.weight_decay)
    state: dict[str, HasState] = {"policy": policy, "optimiser": optimiser, "gathered": gathered}
    for step in run.steps(config.rounds * config.steps, state):
        told: dict[str, float] = {}
        number, within = divmod(step - 1, config.steps)
        if within == 0 and config.episodes:
            came, told = visited(config, policy, tasks, number, run.seed)
            gathered.add(*came)
            told["dagger/labels"] = len(gathered)
        if step == 1 and "robot_policy" not in run.inputs:
            policy.scale(gathered.observations)  # what a given one has learned stands to its own scale
        rows = torch.randint(len(gathered), (config.batch_size,), generator=run.generator)
        lr = run.knobs["lr"] * anneal(within + 1, config.steps, config.warmup)
        taken = descend(optimiser, losses(policy, gathered, rows), lr, config.clip)
        run.log(step, {**taken, **told})


def losses(policy: DirectPolicy, gathered: Gathered, rows: Tensor) -> Iterator[Tensor]:
    """The mean square error of actions, weighted as people's stretches are."""
    whole = gathered.weights[rows].sum()
    for part in parts(rows.tolist(), len(rows)):
        at = torch.tensor(part)
        errors = policy(gathered.observations[at], gathered.tasks[at]) - gathered.actions[at]
        yield (gathered.weights[at] * errors.square().mean(dim=1)).sum() / whole


def visited(
    config: Config, policy: DirectPolicy, tasks: Sequence[str], number: int, seed: int
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], dict[str, float]]:
    """Episodes by pi_i: of each state that it came to (what was seen, the task, what the expert would have done)."""
    first = config.first_seed + number * config.episodes
    places = [cast(Talking, world(config.world)) for _ in range(config.episodes)]
    seen = [
        place.reset(first + row, tasks[(number * config.episodes + row) % len(tasks)])
        for row, place in enumerate(places)
    ]
    scenes = [place.scene() for place in places]
    crew = policy.together(scenes)
    words = [heard(str(scene["words"]), TASK) for scene in scenes]
    under_way, chance = [True] * len(places), np.random.default_rng([seed, number])
    beta = config.mixing**number
    observations, asked, rights, apart = [], [], [], []
    for _ in range(config.longest):
        crew.see(seen)
        actions = crew.act([""] * len(places))
        for row, place in enumerate(places):
            if not under_way[row]:
                continue
            right = np.asarray(place.demonstrate(), dtype=np.float32)
            observations.append(seen[row])
            asked.append(words[row])
            rights.append(right)
            apart.append(float(np.abs(actions[row] - right).mean()))
            came = place.step(right if chance.random() < beta else actions[row])
            seen[row], under_way[row] = came.observation, not came.done
        if not any(under_way):
            break
    rows = [torch.from_numpy(np.stack(column)) for column in (observations, asked, rights)]
    return (rows[0], rows[1], rows[2], torch.ones(len(rights))), {
        "dagger/disagreement": sum(apart) / len(apart),
        "dagger/success": sum(place.score >= 1.0 for place in places) / len(places),
    }


class Gathered:
    """D, as a checkpoint keeps it: what was gathered depends on what the policy was then."""

    observations: Tensor
    """[N, D]"""
    tasks: Tensor
    """[N, G]"""
    actions: Tensor
    """[N, A]"""
    weights: Tensor
    """[N]"""
    names = ("observations", "tasks", "actions", "weights")

    def __init__(self) -> None:
        self._empty = True

    def add(self, *more: Tensor) -> None:
        """[M, D], [M, G], [M, A] and [M] more steps."""
        for name, tensor in zip(self.names, more, strict=True):
            setattr(self, name, tensor if self._empty else torch.cat([getattr(self, name), tensor]))
        self._empty = False

    def __len__(self) -> int:
        return 0 if self._empty else len(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._empty else {name: getattr(self, name) for name in self.names}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._empty = not state
        for name, tensor in state.items():
            setattr(self, name, tensor)


def taken_over(episodes: Episodes, records: Sequence[Record]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What people drove, step by step: where the robot itself acted within a stretch, nobody showed anything; and what
    was rejected is not learned.
    """
    rejected = rejections(records)
    seen: list[NDArray[np.float32]] = []
    tasks, done, weights = [], [], []
    sizes: dict[int, str] = {}
    for one in records:
        if not isinstance(one, Drive) or not one.weight:
            continue
        steps = episodes.open(one.episode).steps[one.start : one.stop]
        task = heard(prompt_text(one.prompt), TASK)
        for number, row in enumerate(steps, one.start):
            if row["actor"] != POLICY and not is_in(number, rejected.get(one.episode, ())):
                seen.append(np.array(row["observation"]))
                sizes[len(seen[-1])] = one.episode
                done.append(np.array(row["action"]))
                tasks.append(task)
                weights.append(one.weight)
    if not seen:
        raise ValueError(
            "Nobody drove in any of these stretches: the robot itself acted, or all was rejected."
        )
    one_size(sizes)
    return (
        torch.from_numpy(np.stack(seen)),
        torch.from_numpy(np.stack(tasks)),
        torch.from_numpy(np.stack(done)),
        torch.tensor(weights),
    )


def policy_for(config: Config, run: Run, task: str) -> DirectPolicy:
    """The one to go on from, or a new one."""
    if "robot_policy" in run.inputs:
        given = load_pilot(run.input("robot_policy"), run.device)
        if not isinstance(given, DirectPolicy):
            raise ValueError(
                f"The robot_policy is a {type(given).__name__}, which takes commands. DAgger goes on from one that it "
                "made, or begins anew without any."
            )
        return given
    place, arm = world(config.world), embodiment_of(config.world)
    size = len(place.reset(0, task))
    hand, things = (arm.hand, arm.things) if arm else ((), -1)
    return DirectPolicy(
        DirectConfig(size, len(place.actions), hand, things, config.hidden, config.world), run.seed
    )


def tested(config: Config, policy: DirectPolicy, tasks: Sequence[str]) -> list[Lived]:
    seeds = range(FRESH, FRESH + config.tests)
    return (
        [one for task in tasks for one in live(policy, Setting(config.world, task), seeds)]
        if config.tests
        else []
    )
