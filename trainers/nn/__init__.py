"""Policies and reward models: what they are (`policy.py`), and how they are kept on disk.

A model is a directory: `kibitz.json` says what kind it is and how it is shaped, `model.safetensors` holds its
weights, and a Hugging Face model brings its own files along. Nothing is ever unpickled.
"""

from trainers.nn.decoding import Drawn, Hook, draw
from trainers.nn.policy import Batch, Decoding, Encoded, Policy, RewardModel, Samples, collate, pad_right
from trainers.nn.storage import load, load_pilot, load_policy, load_reward_model, save
from trainers.store import digest

__all__ = [
    "Batch",
    "Decoding",
    "Drawn",
    "Encoded",
    "Hook",
    "Policy",
    "RewardModel",
    "Samples",
    "collate",
    "digest",
    "draw",
    "load",
    "load_pilot",
    "load_policy",
    "load_reward_model",
    "pad_right",
    "save",
]
