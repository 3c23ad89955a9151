"""Hugging Face models as reward models: published sequence classifiers, and a policy with a head of one number."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy, Text, tokenizer_of
from trainers.nn.llama import Llama, reads
from trainers.nn.policy import Encoded, pad_right
from trainers.nn.reward import score_sorted
from trainers.nn.scale import Scale
from trainers.records import Prompt, prompt_text


class HuggingFaceReward(nn.Module):
    """A sequence classifier with one output, as reward models are published.

    A causal one reads the chat as a policy would and scores at the last real token (its padding is set, or the
    score would be read at a pad position); a BERT-like one reads prompt and answer as a pair of texts. Of a Llama-like
    one, equal prompts are read once.
    """

    kind: ClassVar[str] = "hugging_face_reward"

    def __init__(self, model: Any, tokenizer: Any, config: HuggingFaceConfig) -> None:
        super().__init__()
        if model.config.num_labels != 1:
            raise ValueError(f"A reward model has one output; this classifier has {model.config.num_labels}.")
        self.config = config
        self.tokenizer = tokenizer
        reads_pairs = tokenizer.cls_token_id is not None and not tokenizer.chat_template
        self.text = None if reads_pairs else Text(tokenizer, model, config.context)
        # A causal model may take types, too (GPT-2), but what it knows of them is nothing.
        self.takes_types = reads_pairs and "token_type_ids" in inspect.signature(model.forward).parameters
        self.model = model
        read_by_us = not reads_pairs and type(getattr(model, "score", None)) is nn.Linear
        self.llama = Llama(model.base_model) if read_by_us and reads(model.base_model) else None
        self.scale = Scale()

    @property
    def device(self) -> torch.device:
        return self.scale.gain.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        """(ids, types) of each text; types tell a pair's two halves apart."""
        rows: list[Encoded] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            if self.text is not None:
                x, y = self.text.encode_pair(prompt, answer)
                rows.append((torch.cat((x, y)), torch.cat((torch.zeros_like(x), torch.ones_like(y)))))
            else:
                rows.append(self._pair(prompt_text(prompt), answer))
        return rows

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        if self.llama is not None and self.llama.usable:
            halves = [(ids[types == 0], ids[types == 1]) for ids, types in rows]
            y, real = answers_of(halves, self.tokenizer.pad_token_id, self.device)
            last = self.llama.states([x for x, _ in halves], y, real, last=True)
            own: Tensor = self.scale(self.model.score(last)[:, 0])
            return own
        ids = pad_right([row[0] for row in rows], self.tokenizer.pad_token_id).to(self.device)
        lengths = torch.tensor([len(row[0]) for row in rows], device=self.device)
        mask = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        extra = (
            {"token_type_ids": pad_right([row[1] for row in rows], 0).to(self.device)}
            if self.takes_types
            else {}
        )
        out = self.model(input_ids=ids, attention_mask=mask.long(), **extra)
        scores: Tensor = self.scale(out.logits[:, 0])
        return scores

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        return score_sorted(self, self.encode(prompts, answers))

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        return self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def _pair(self, prompt: str, answer: str) -> Encoded:
        longest = min(self.config.context, self.model.config.max_position_embeddings)
        self.tokenizer.truncation_side = "left"  # an overlong text keeps its end
        read = self.tokenizer(prompt, answer, truncation="longest_first", max_length=longest)
        ids = torch.tensor(read["input_ids"])
        types = read.get("token_type_ids")
        return ids, torch.zeros_like(ids) if types is None else torch.tensor(types)

    def write(self, directory: Path) -> None:
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        save_file(self.scale.state_dict(), directory / "scale.safetensors")

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        logging.disable_progress_bar()
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        opened = cls(model, tokenizer_of(directory), HuggingFaceConfig(**config))
        if (directory / "scale.safetensors").is_file():
            opened.scale.load_state_dict(load_file(directory / "scale.safetensors"))
        return opened.eval()


def answers_of(rows: Sequence[Encoded], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(y [B, T], which cells of the answer block [B, T + 1] are real) of rows (x, y)."""
    y = pad_right([y for _, y in rows], pad).to(device)
    return y, nn.functional.pad(y != pad, (1, 0), value=True)


class PolicyReward(nn.Module):
    """r(x, y): a number read off a Hugging Face policy's state at the answer's last token, its EOS.

    Head: N(0, 1/(d+1)) by variance, bias 0 (Stiennon et al. 2020 as corrected in "The N implementation details of
    RLHF with PPO", Huang et al. 2023). Of a policy with adapters, adapters and head train and nothing else.
    """

    kind: ClassVar[str] = "policy_reward"

    def __init__(self, policy: HuggingFacePolicy, seed: int = 0) -> None:
        super().__init__()
        self.config = policy.config
        self.policy = policy
        d = policy.body.config.hidden_size
        self.head = nn.Linear(d, 1)
        nn.init.normal_(self.head.weight, std=(d + 1) ** -0.5, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)
        self.scale = Scale()
        self.to(policy.device)

    @property
    def device(self) -> torch.device:
        return self.policy.device

    def pretrained(self) -> Iterator[nn.Parameter]:
        return self.policy.parameters()

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        return [self.policy.encode_pair(x, y) for x, y in zip(prompts, answers, strict=True)]

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        y, real = answers_of(rows, self.policy.pad, self.device)
        last = self.policy.states([x for x, _ in rows], y, real, last=True)
        scores: Tensor = self.scale(self.head(last)[:, 0])
        return scores

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        return score_sorted(self, self.encode(prompts, answers))

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        return self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """All weights, or of a policy with adapters the adapters and the head."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        return {
            name: value
            for name, value in state.items()
            if not self.config.lora_rank or "lora_" in name or ".head." in f".{name}" or "scale." in name
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        expected = self.state_dict().keys()
        if strict and expected != state_dict.keys():
            wrong = sorted(expected ^ state_dict.keys())
            raise ValueError(
                f"The weights do not fit this reward model; {len(wrong)} names differ, such as {wrong[0]}."
            )
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def write(self, directory: Path) -> None:
        self.policy.write(directory)
        own = {
            f"{part}.{name}": value.detach().cpu()
            for part in ("head", "scale")
            for name, value in getattr(self, part).state_dict().items()
        }
        save_file(own, directory / "reward_head.safetensors")

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(HuggingFacePolicy.read(directory, config))
        own = load_file(directory / "reward_head.safetensors")
        for part in ("head", "scale"):
            kept = {
                name.removeprefix(f"{part}."): value for name, value in own.items() if name.startswith(part)
            }
            getattr(model, part).load_state_dict(kept)
        return model.eval()
