"""Models on disk: `save` and `load` for every kind of policy and reward model.

Only JSON and safetensors are read, so a model from a stranger can be wrong but cannot run code.
"""

import hashlib
import importlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainers.nn.pilot import Pilot
from trainers.nn.policy import Policy, RewardModel

if TYPE_CHECKING:
    from trainers.nn.clips import ClipReward

POLICIES = {
    "byte_transformer": "trainers.nn.byte_transformer:ByteTransformer",
    "table": "trainers.nn.table:SeqTable",
    "hugging_face": "trainers.nn.hugging_face:HuggingFacePolicy",
}
REWARD_MODELS = {
    "byte_reward": "trainers.nn.reward:ByteReward",
    "encoder_reward": "trainers.nn.encoder:EncoderReward",
    "tuned_encoder_reward": "trainers.nn.tuned_encoder:TunedEncoderReward",
    "table_reward": "trainers.nn.table:TableReward",
    "hugging_face_reward": "trainers.nn.hugging_face_reward:HuggingFaceReward",
    "policy_reward": "trainers.nn.hugging_face_reward:PolicyReward",
    "ensemble_reward": "trainers.nn.ensemble:EnsembleReward",
    "ordinal_reward": "trainers.nn.ordinal:OrdinalReward",
}
ROBOT_POLICIES = {
    "yay_robot": "trainers.nn.robots.robot:Robot",
    "motion_policy": "trainers.nn.motions:MotionPolicy",
    "direct_policy": "trainers.nn.direct:DirectPolicy",
    "gaussian": "trainers.nn.gaussian:Gaussian",
}
"""Keep the protocol `nn/pilot.py: Pilot`."""
CLIP_REWARDS = {"clip_reward": "trainers.nn.clips:ClipReward"}
"""Reward models that score a robot's steps, not answers."""
KINDS = POLICIES | REWARD_MODELS | ROBOT_POLICIES | CLIP_REWARDS
"""What a kind is: named, not imported, so that a byte model is opened without importing transformers."""


def save(model: Any, path: Path | str) -> Path:
    """Write a model as the directory `path`, whole or not at all; an older model there is replaced."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    described = {"kind": model.kind, "config": asdict(model.config)}
    (partial / "kibitz.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", "utf-8")
    model.write(partial)
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)
    return path


def load(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """Open the model in the directory `path`: one of ours, or a plain Hugging Face directory."""
    path = Path(path)
    kind, config = describe(path)
    module, name = KINDS[kind].split(":")
    opened = getattr(importlib.import_module(module), name).read(path, config)
    return cast(nn.Module, opened.to(torch.device(device)))


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> Policy:
    """`load`, for a directory that must hold a policy."""
    _expect(Path(path), POLICIES, "a policy")
    return cast(Policy, load(path, device))


def load_reward_model(path: Path | str, device: torch.device | str = "cpu") -> RewardModel:
    """`load`, for a directory that must hold a reward model."""
    _expect(Path(path), REWARD_MODELS, "a reward model")
    return cast(RewardModel, load(path, device))


def load_pilot(path: Path | str, device: torch.device | str = "cpu") -> Pilot:
    """`load`, for a directory that must hold a policy of a robot."""
    _expect(Path(path), ROBOT_POLICIES, "a robot's policy")
    return cast(Pilot, load(path, device).eval())


def load_clip_reward(path: Path | str, device: torch.device | str = "cpu") -> "ClipReward":
    """`load`, for a directory that must hold a reward model of a robot's steps."""
    _expect(Path(path), CLIP_REWARDS, "a reward model of clips")
    return cast("ClipReward", load(path, device).eval())


def describe(path: Path) -> tuple[str, dict[str, Any]]:
    """(kind, config) of the model in `path`, without opening its weights."""
    if (path / "kibitz.json").is_file():
        described = json.loads((path / "kibitz.json").read_text("utf-8"))
        if described.get("kind") not in KINDS:
            raise ValueError(
                f"{path}/kibitz.json names the kind {described.get('kind')!r}. "
                f"Known kinds: {', '.join(sorted(KINDS))}."
            )
        return described["kind"], described["config"]
    if (path / "config.json").is_file():
        architectures = json.loads((path / "config.json").read_text("utf-8")).get("architectures") or [""]
        classifier = architectures[0].endswith("ForSequenceClassification")
        return ("hugging_face_reward" if classifier else "hugging_face"), {}
    raise FileNotFoundError(
        f"{path} holds no model: it has neither kibitz.json (a model of ours) nor config.json (a Hugging Face "
        "model). Name the directory a run saved, or one that transformers can open."
    )


def digest_of(module: nn.Module) -> str:
    """sha256 over a module's weights, by their names: whether they are the very same."""
    whole = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        whole.update(name.encode() + b"\0" + value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def write_weights(module: nn.Module, directory: Path) -> None:
    """All parameters and buffers of `module` as `model.safetensors`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, directory / "model.safetensors")


def read_weights(module: nn.Module, directory: Path) -> None:
    """Fill `module` from `model.safetensors`; a missing, surplus or misshapen tensor is an error."""
    module.load_state_dict(load_file(directory / "model.safetensors"))


def _expect(path: Path, kinds: dict[str, str], wanted: str) -> None:
    kind, _ = describe(path)
    if kind not in kinds:
        raise ValueError(
            f"{path} holds a model of kind {kind!r}, where {wanted} is needed: "
            f"one of {', '.join(sorted(kinds))}."
        )
