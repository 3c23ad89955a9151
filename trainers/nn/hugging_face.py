"""Any local Hugging Face causal language model as a policy.

What goes wrong in practice, and what is done about it here:

- PAD. Without a PAD of its own, or with PAD = EOS, a model would never learn to stop: `[PAD]` is added, with an
  embedding of its own, and can never be sampled.
- Special tokens once. With a chat template the template writes them all (a plain prompt is one user message);
  without one the tokenizer's BOS is kept and an EOS it may append to a prompt is taken off. A chat for a model
  without a template is an error, not a guess.
- The boundary. Prompt and answer are tokenised together, and the answer is what follows the prompt's tokens. Where
  the two merge into one token the answer is tokenised by itself: x is the same for every answer, as when sampling,
  and no token of an answer is lost.
- Work. Equal prompts of a batch are read once, gradients included; logits are made where an answer's tokens are, and
  of a large vocabulary a few rows at a time. Llama-like models are run by our own loop over their modules
  (`llama.py`), which has no padding at all; others by transformers, prompts padded on the left, answers on the right,
  positions counted over real tokens only.
- Sampling is our own loop over the model's key-value cache, from the whole distribution: no warper, no suppressed
  EOS, nothing that the log-probabilities do not see.

LoRA is a property of a policy: its kibitz.json says `lora_rank`, and then only the adapters train, only they are in
its `state_dict`, and they lie beside the untouched base on disk.
"""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging

from trainers.maths.logprobs import chosen_logp, gather_logp
from trainers.nn.cache import CacheDecoding
from trainers.nn.decoding import sample
from trainers.nn.gemm import linear
from trainers.nn.grid import Grid, unique
from trainers.nn.llama import Llama, reads
from trainers.nn.llama_decoding import LlamaDecoding
from trainers.nn.policy import Decoding, Samples, pad_right
from trainers.nn.precision import reading
from trainers.records import Prompt, prompt_json

NEVER = -1e9
"""The logit of what cannot be sampled. Finite, so that an entropy is a number."""


@dataclass(frozen=True)
class HuggingFaceConfig:
    context: int = 1024
    """Most tokens of prompt and answer together, if the model can read so many; each may use half."""
    lora_rank: int = 0
    """Rank of LoRA adapters on every linear layer; 0 trains the whole model."""
    lora_alpha: float = 16.0
    """The adapters' output is multiplied by lora_alpha / lora_rank."""
    lora_seed: int = 0
    """For the adapters' random half; the other starts at 0, so the policy starts as the base."""
    recompute: bool = False
    """Keep no layer's inner results for the way back, and compute them once more there: a third more work, and a
    fraction of the memory of long texts. For Llama-like models."""


class Text:
    """A tokenizer with a PAD of its own, and the one way prompts and answers become ids."""

    def __init__(self, tokenizer: Any, model: Any, context: int) -> None:
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer names no eos_token, so an answer could never end: set one in it.")
        stops = (
            getattr(model.generation_config, "eos_token_id", None)
            if hasattr(model, "generation_config")
            else None
        )
        self.stops = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])} - {None}
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id in self.stops:
            tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        self.pad: int = tokenizer.pad_token_id
        self.eos: int = tokenizer.eos_token_id
        if self.pad >= model.get_input_embeddings().num_embeddings:
            # Rows in multiples of 64: other sizes are slow, and collapsed a DPO run (TRL issue 5608).
            model.resize_token_embeddings(self.pad + 1, pad_to_multiple_of=64, mean_resizing=False)
            with torch.no_grad():
                model.get_input_embeddings().weight[self.pad :] = 0.0
        model.config.pad_token_id = self.pad
        readable = getattr(model.config, "max_position_embeddings", None) or context
        self.room = min(context, readable)
        """Most tokens of prompt and answer together."""
        self.half = self.room // 2
        self.raised = ", or raise context in the policy's kibitz.json" if readable > context else ""
        """What to do about too little room, where the model could read more."""

    def check(self, x: Sequence[Tensor], new: int) -> None:
        """A ValueError where `new` tokens after the longest of these prompts are more than there is room for."""
        longest = max(len(ids) for ids in x)
        if longest + new > self.room:
            raise ValueError(
                f"A prompt of {longest} tokens and {new} new ones do not fit the {self.room} that this policy reads: "
                f"ask for at most {self.room - longest}{self.raised}."
            )

    def encode(self, prompt: Prompt) -> Tensor:
        return torch.tensor(self._cut(self._ids(self._text(prompt))))

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[Tensor, Tensor]:
        text = self._text(prompt)
        x, both = self._ids(text), self._ids(text + answer)
        if both[: len(x)] == x:
            y = both[len(x) :]
        else:
            y = self.tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        return torch.tensor(self._cut(x)), torch.tensor([*y, self.eos][: self.half])

    def cut(self, prompt: Prompt, x: Tensor) -> bool:
        return len(x) >= self.half and len(self._ids(self._text(prompt))) > self.half

    def decode(self, y: Tensor) -> str:
        ids = y.tolist()
        end = next((i for i, token in enumerate(ids) if token in self.stops or token == self.pad), len(ids))
        text: str = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
        return text

    def _text(self, prompt: Prompt) -> str:
        if self.tokenizer.chat_template:
            messages = (
                [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt_json(prompt)
            )
            text: str = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
            return text
        if not isinstance(prompt, str):
            raise ValueError(
                "This model's tokenizer has no chat template, so it cannot read a chat: "
                "give it plain prompts, or add a chat_template to its tokenizer."
            )
        return prompt

    def _ids(self, text: str) -> list[int]:
        # A template has written its own special tokens: the tokenizer's would come twice.
        special = not self.tokenizer.chat_template
        ids: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        if special and ids and ids[-1] == self.eos and not text.endswith(self.tokenizer.eos_token):
            ids = ids[:-1]
        if not ids:
            raise ValueError("The prompt has no tokens: an empty prompt needs a tokenizer that adds a BOS.")
        return ids

    def _cut(self, ids: list[int]) -> list[int]:
        """The end of an overlong prompt, behind its BOS."""
        if len(ids) <= self.half:
            return ids
        if ids[0] == self.tokenizer.bos_token_id:
            return [ids[0], *ids[len(ids) - self.half + 1 :]]
        return ids[-self.half :]


class HuggingFacePolicy(nn.Module):
    kind: ClassVar[str] = "hugging_face"
    never: Tensor
    forbidden: Tensor

    def __init__(self, model: Any, tokenizer: Any, config: HuggingFaceConfig) -> None:
        super().__init__()
        self.config = config
        self.text = Text(tokenizer, model, config.context)
        self.pad = self.text.pad
        self.eos: int | None = self.text.eos
        rows = model.get_input_embeddings().num_embeddings
        never = torch.arange(rows) >= len(tokenizer)
        never[self.pad] = True
        self.register_buffer("never", never, persistent=False)
        self.register_buffer("forbidden", torch.zeros(rows).masked_fill(never, NEVER), persistent=False)
        accepted = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.takes_keep = "logits_to_keep" in accepted
        self.llama = Llama(model.base_model) if _is_llama(model) else None
        if config.recompute and self.llama is None:
            raise ValueError(
                f"recompute is for models like Llama, which are run by a loop of ours; {type(model).__name__} is not. "
                "Make the micro batches smaller instead."
            )
        self.caches = True
        """False once the model is seen to keep something else than keys and values of its prompts."""
        self.model = _with_lora(model, config) if config.lora_rank else model

    @property
    def device(self) -> torch.device:
        return self.never.device

    @property
    def body(self) -> Any:
        """The transformers model without what predicts its tokens; adapters, which lie in its layers, included."""
        return (self.model.get_base_model() if self.config.lora_rank else self.model).base_model

    def encode(self, prompt: Prompt) -> Tensor:
        return self.text.encode(prompt)

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[Tensor, Tensor]:
        return self.text.encode_pair(prompt, answer)

    def cut(self, prompt: Prompt, x: Tensor) -> bool:
        return self.text.cut(prompt, x)

    def decode(self, y: Tensor) -> str:
        return self.text.decode(y)

    def mask(self, y: Tensor) -> Tensor:
        return y != self.pad

    @reading
    def states(self, x: Sequence[Tensor], y: Tensor, real: Tensor, *, last: bool = False) -> Tensor:
        """[N, d]: the states that `head` reads, in the N real cells of the answer block [B, T + 1], row by row.

        Column 0 is the state after the prompt, column t + 1 the state after y[:, t]; real is [B, T + 1] bool. With
        `last`, [B, d]: only each row's last real cell.
        """
        if self.llama is not None and self.llama.usable:
            return self.llama.states(x, y, real, last=last, recompute=self.config.recompute)
        prompts = self._pad_left(x)
        ids, seen = torch.cat((prompts, y), dim=1), torch.cat((self.mask(prompts), real[:, 1:]), dim=1)
        extra = {"position_ids": _positions(seen)} if self.takes_positions else {}
        out = self.body(input_ids=ids, attention_mask=seen.long(), use_cache=False, **extra)
        states = Grid.of(real).pick(out.last_hidden_state[:, -real.shape[1] :])
        return states[real.sum(dim=1).cumsum(dim=0) - 1] if last else states

    def head(self, states: Tensor) -> Tensor:
        """[N, V] logits of states [N, d] of a Llama-like model."""
        output = self.model.get_output_embeddings()
        bias = self.forbidden if output.bias is None else self.forbidden + output.bias
        return linear(states, output.weight, bias.to(states.dtype))

    @reading
    def logits(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        y = y.to(self.device)
        if self.llama is not None and self.llama.usable:
            real = self.mask(y)
            return Grid.of(real).spread(self.head(self.states(x, y[:, :-1], real)))
        rows, different = unique(x)
        if self.caches and len(different) < len(x) and y.shape[1] > 1:
            return self._shared_logits(rows.to(self.device), different, y)
        return self._plain_logits(x, y)

    def logp_tok(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> Tensor:
        y = y.to(self.device)
        real = self.mask(y)
        if self.llama is None or not self.llama.usable:
            return gather_logp(self.logits(x, y), y, real, temperature)
        return self.logp_of(self.states(x, y[:, :-1], real), y, real, temperature)

    def logp_of(self, states: Tensor, y: Tensor, real: Tensor, temperature: float = 1.0) -> Tensor:
        """[B, T] log-probability of y's N real tokens from the states [N, d] before them, of a Llama-like model."""
        grid = Grid.of(real)
        return grid.spread(
            chosen_logp(states, reading(self.head), grid.pick(y), len(self.never), temperature)
        )

    def decoding(self, x: Sequence[Tensor], n: int, room: int) -> Decoding:
        self.text.check(x, room)
        if self.llama is not None and self.llama.usable:
            stops = torch.tensor(sorted(self.text.stops), device=self.device)
            return LlamaDecoding(self.llama, self.head, stops, x, n, room)
        return CacheDecoding(self, x, n)

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        return sample(self, x, n, max_new, temperature, generator)

    def _plain_logits(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        ids = torch.cat((self._pad_left(x), y[:, :-1]), dim=1)
        return self._forward(ids, self.mask(ids), None, y.shape[1])[0]

    def _shared_logits(self, rows: Tensor, different: Sequence[Tensor], y: Tensor) -> Tensor:
        """The same, each different prompt read once; its cache passes on the gradients of all its answers."""
        prompts = self._pad_left(different)
        seen = self.mask(prompts)
        first, cache = self._forward(prompts, seen, None, 1, use_cache=True)
        if any(type(layer) is not DynamicLayer for layer in getattr(cache, "layers", [None])):
            self.caches = False
            return self._plain_logits([different[row] for row in rows.tolist()], y)
        cache.reorder_cache(rows)
        ids = y[:, :-1]
        seen = torch.cat((seen[rows], self.mask(ids)), dim=1)
        rest, _ = self._forward(ids, seen, cache, ids.shape[1], use_cache=True)
        return torch.cat((first[rows], rest), dim=1)

    def _forward(
        self, ids: Tensor, seen: Tensor, cache: Any, keep: int, use_cache: bool = False
    ) -> tuple[Tensor, Any]:
        """Logits [B, keep, V] of the last columns of ids, and the cache; seen [B, past + now] is the mask."""
        extra: dict[str, Any] = {}
        if self.takes_positions:
            extra["position_ids"] = _positions(seen)[:, -ids.shape[1] :]
        if self.takes_keep:
            extra["logits_to_keep"] = keep
        out = self.model(
            input_ids=ids, attention_mask=seen.long(), past_key_values=cache, use_cache=use_cache, **extra
        )
        logits: Tensor = out.logits[:, -keep:]
        return logits.masked_fill_(self.never, NEVER), out.past_key_values

    def _pad_left(self, x: Sequence[Tensor]) -> Tensor:
        return pad_right([ids.flip(0) for ids in x], self.pad).flip(1).to(self.device)

    # -------------------------------------------------------------------------------------------- LoRA

    def merged(self) -> "HuggingFacePolicy":
        """This policy with its adapters folded into the weights: a plain model for any other program."""
        plain = self.model.merge_and_unload() if self.config.lora_rank else self.model
        return HuggingFacePolicy(plain, self.text.tokenizer, replace(self.config, lora_rank=0))

    def plain_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight of `merged` with its name there, one after the other; this policy stays as it is."""
        if not self.config.lora_rank:
            yield from self.model.state_dict().items()
            return
        base = self.model.get_base_model()
        adapted = {name: one for name, one in base.named_modules() if hasattr(one, "get_delta_weight")}
        for name, value in base.state_dict().items():
            if "lora_" in name:
                continue
            layer, _, rest = name.rpartition(".base_layer.")
            if layer and rest == "weight":
                (adapter,) = adapted[layer].active_adapters
                value = value + adapted[layer].get_delta_weight(adapter)
            yield name.replace(".base_layer.", "."), value

    def write_plain(self, directory: Path) -> None:
        """The files of `merged`, for another program."""
        model = self.model.get_base_model() if self.config.lora_rank else self.model
        model.save_pretrained(directory, state_dict=dict(self.plain_weights()))
        self.text.tokenizer.save_pretrained(directory)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """All weights, or of a policy with adapters the adapters: its base is where it was loaded from."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not self.config.lora_rank or "lora_" in name}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        expected = self.state_dict().keys()
        if strict and expected != state_dict.keys():
            wrong = sorted(expected ^ state_dict.keys())
            raise ValueError(
                f"The weights do not fit this policy; {len(wrong)} names differ, such as {wrong[0]}."
            )
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    # ------------------------------------------------------------------------------------------ the disk

    def write(self, directory: Path) -> None:
        if self.config.lora_rank:
            _write_adapter(self.model, directory / "adapter")
            base = self.model.get_base_model()
            weights = {
                name.replace(".base_layer.", "."): value
                for name, value in base.state_dict().items()
                if "lora_" not in name
            }
            base.save_pretrained(directory, state_dict=weights)
        else:
            self.model.save_pretrained(directory)
        self.text.tokenizer.save_pretrained(directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        policy = cls(model, tokenizer_of(directory), HuggingFaceConfig(**config))
        if (directory / "adapter").is_dir():
            _read_adapter(policy.model, directory / "adapter")
        return policy.eval()


def _positions(seen: Tensor) -> Tensor:
    """[B, T] numbers of the real tokens, from 0."""
    return (seen.long().cumsum(dim=1) - 1).clamp_min(0)


def _is_llama(model: Any) -> bool:
    """Whether nothing but a plain linear layer comes after a decoder that `Llama` can run."""
    decoder = model.base_model
    named = type(model).__name__ == type(decoder).__name__.replace("Model", "ForCausalLM")
    return named and type(model.get_output_embeddings()) is nn.Linear and reads(decoder)


def tokenizer_of(directory: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    for how_it_was_opened in (
        "is_local",
        "local_files_only",
    ):  # would be saved, and change the model's digest
        tokenizer.init_kwargs.pop(how_it_was_opened, None)
    return tokenizer


def _with_lora(model: Any, config: HuggingFaceConfig) -> Any:
    """The model with adapters on every linear layer but the head; nothing else trains. (Hu et al. 2021.)"""
    from peft import LoraConfig, get_peft_model  # takes seconds, and only some policies have adapters

    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.lora_seed)
        return get_peft_model(model, lora)


def _write_adapter(model: Any, directory: Path) -> None:
    """As peft keeps them, but with the same bytes for the same adapters: its own file holds an unordered set."""
    from peft import get_peft_model_state_dict

    directory.mkdir()
    weights = {
        name: value.detach().cpu().contiguous() for name, value in get_peft_model_state_dict(model).items()
    }
    save_file(weights, directory / "adapter_model.safetensors")
    described = model.peft_config["default"].to_dict()
    described |= {"target_modules": sorted(described["target_modules"]), "base_model_name_or_path": ".."}
    text = json.dumps(described, indent=2, sort_keys=True, default=str) + "\n"
    (directory / "adapter_config.json").write_text(text, "utf-8")


def _read_adapter(model: Any, directory: Path) -> None:
    from peft import set_peft_model_state_dict

    found = set_peft_model_state_dict(model, load_file(directory / "adapter_model.safetensors"))
    if found.unexpected_keys:
        raise ValueError(f"{directory} holds adapters that do not fit its base: {found.unexpected_keys[0]}.")
