"""The same task by the package `imitation` 1.0.1: Pendulum from synthetic comparisons of clips, for `preferences.py`.

    PYTHON benchmarks/preferences_imitation.py --seed 0 --comparisons 300 --steps 40000

Runs in any Python that has imitation (it pins older versions of gymnasium and stable-baselines3 than Kibitz uses, so
it wants a virtual environment of its own) and prints one line of JSON. The settings of the agent are close to those of
the package's own example for this environment; annotators are its synthetic ones.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from imitation.algorithms import preference_comparisons  # noqa: E402
from imitation.rewards.reward_nets import BasicRewardNet  # noqa: E402
from imitation.util.networks import RunningNorm  # noqa: E402
from imitation.util.util import make_vec_env  # noqa: E402
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402


def learned(seed: int, comparisons: int, steps: int) -> dict[str, float]:
    torch.set_num_threads(1)
    chance = np.random.default_rng(seed)
    worlds = make_vec_env("Pendulum-v1", rng=chance, n_envs=8)
    net = BasicRewardNet(worlds.observation_space, worlds.action_space, normalize_input_layer=RunningNorm)
    model = preference_comparisons.PreferenceModel(net)
    teacher = preference_comparisons.BasicRewardTrainer(
        preference_model=model, loss=preference_comparisons.CrossEntropyRewardLoss(), epochs=3, rng=chance
    )
    agent = PPO(
        "MlpPolicy", worlds, seed=seed, n_steps=2048 // worlds.num_envs, batch_size=64, ent_coef=0.01,
        learning_rate=2e-3, clip_range=0.1, gae_lambda=0.95, gamma=0.97, n_epochs=10, device="cpu",
    )  # fmt: skip
    before, _ = evaluate_policy(agent.policy, worlds, 100)
    maker = preference_comparisons.AgentTrainer(
        algorithm=agent, reward_fn=net, venv=worlds, exploration_frac=0.05, rng=chance
    )
    main = preference_comparisons.PreferenceComparisons(
        maker, net, num_iterations=20, fragment_length=100, transition_oversampling=1,
        initial_comparison_frac=0.1, allow_variable_horizon=False, initial_epoch_multiplier=4,
        fragmenter=preference_comparisons.RandomFragmenter(warning_threshold=0, rng=chance),
        preference_gatherer=preference_comparisons.SyntheticGatherer(rng=chance), reward_trainer=teacher,
        query_schedule="hyperbolic",
    )  # fmt: skip
    main.train(total_timesteps=steps, total_comparisons=comparisons)
    after, _ = evaluate_policy(agent.policy, worlds, 100)
    return {
        "before": float(before),
        "after": float(after),
        "cpu": time.process_time(),
        "comparisons": comparisons,
    }


if __name__ == "__main__":
    reading = argparse.ArgumentParser()
    reading.add_argument("--seed", type=int, default=0)
    reading.add_argument("--comparisons", type=int, default=300)
    reading.add_argument("--steps", type=int, default=40_000)
    asked = reading.parse_args()
    print(json.dumps(learned(asked.seed, asked.comparisons, asked.steps)))
