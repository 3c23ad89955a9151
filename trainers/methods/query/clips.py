"""Clips that reward models dispute (Christiano et al. 2017, arXiv:1706.03741, section 2.2.4).

A policy acts, its episodes are cut into clips, and of every two clips drawn the worth of asking which is better is the
variance of the members' probabilities that the first is:

    p_i = sigmoid( sum_t r_i(s1_t) - sum_t r_i(s2_t) )        worth = mean_i p_i^2 - (mean_i p_i)^2

Those worth most are written, with the episodes they are cut from. Without a reward model there is nothing to dispute
yet, and pairs are drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainers.nn.gaussian import Gaussian
from trainers.nn.storage import describe, load_clip_reward, load_pilot
from trainers.registry import Count, Several
from trainers.run import Run
from trainers.sampling import clips as asking
from trainers.sampling.clips import Shown
from trainers.sampling.experience import Experience
from trainers.sampling.items import source, write


@dataclass(frozen=True)
class Config:
    """What can be set."""

    count: Count = 50
    """Comparisons to write."""
    length: Several = 25
    """Steps of a clip."""
    look: Count = 10
    """Pairs looked at for each comparison written."""
    episodes: Count = 32
    """Episodes that clips are cut from."""
    copies: Count = 8
    """Copies of the world acted in at once."""


def train(config: Config, run: Run) -> None:
    policy = acting(run)
    model = load_clip_reward(run.input("reward_model")) if "reward_model" in run.inputs else None
    if model and (model.config.world, model.config.task) != (policy.config.world, policy.config.task):
        raise ValueError(
            f"The reward model judges {model.config.world} ({model.config.task}), and the policy acts in "
            f"{policy.config.world} ({policy.config.task}). Name two of one world and task."
        )
    world, task = policy.config.world, policy.config.task
    experience = Experience(world, task, config.copies, run.seed, config.episodes)
    who = source(run, "robot_policy", 1.0)
    shown = Shown(run.episodes, world, task, {"name": who["policy"], **who["source"]}, watched=True)
    total = -(-config.episodes // config.copies)
    for step in run.steps(total, {"experience": experience}):
        experience.gather(policy, experience.copies.most_steps, run.generator)
        seen = run.count("steps", config.copies * experience.copies.most_steps)
        own = (
            {"episode/return": sum(experience.returns) / len(experience.returns)}
            if experience.returns
            else {}
        )
        run.log(step, {"episode/steps": seen, **own})

    chance = torch.Generator().manual_seed(run.seed)
    found = asking.pieces(experience.lived, config.length, chance)
    asked = asking.questions(found, model, config.count, config.look, chance)
    items = [asking.item(run, shown, one, number, who["source"]) for number, one in enumerate(asked)]
    worth = sum(one.worth for one in asked) / len(asked)
    run.log(total, {"query/items": len(items), "query/worth": worth})
    write(run, items, total, len(asked))
    run.report(
        {
            "readings": {},
            "text": f"{len(items)} comparisons of {len(found)} clips are worth {worth:.3f} each.",
        }
    )


def acting(run: Run) -> Gaussian:
    """The policy that acts: one that was learned by trial, whose actions have some chance in them."""
    path = run.input("robot_policy")
    pilot = load_pilot(path, run.device)
    if not isinstance(pilot, Gaussian):
        raise ValueError(
            f"{path} holds a policy of kind {describe(path)[0]!r}. Clips are asked about of policies that learn by "
            "trial: name one that control/ppo or control/preference_ppo made."
        )
    return pilot
