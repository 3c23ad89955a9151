"""What a language policy and a reward model are to the code that trains them.

Methods know nothing else: a table over sixty-four strings, a byte-level transformer and a Hugging Face model
are all trained by the same file. Conventions, for every policy:

- A prompt becomes `x`, a 1-D int64 tensor that is never empty; prompts stay a list, as they differ in length.
- An answer becomes `y`, ids that end with the policy's EOS (unless the answer was cut at the context's limit,
  or the policy has no EOS because all its strings are equally long). Many answers are one tensor [B, T],
  padded on the right with `policy.pad`. PAD is never EOS and can never be sampled, so `policy.mask(y)` is
  simply `y != pad`, and EOS is inside it: a model that is not trained on EOS never learns to stop.
- `logits(x, y)[b, t]` predicts `y[b, t]` from `x[b]` and `y[b, :t]`: nothing is to be shifted by the caller.
- Token ids go round, never texts: re-encoding a decoded answer need not give its ids, so what was sampled is
  trained on as it was sampled.
- Rows of one batch may share a prompt (the halves of a pair, the n samples of a group): a policy may then read
  it once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from trainers.nn.scale import Scale
from trainers.records import Prompt


@dataclass(frozen=True)
class Batch:
    """Prompts with one answer each, ready for `policy.logp_tok(batch.x, batch.y)`."""

    x: list[Tensor]
    """B prompts, each [X_b] int64."""
    y: Tensor
    """[B, T] int64, padded on the right."""
    mask: Tensor
    """[B, T] bool, true on answer tokens, EOS included."""


@dataclass(frozen=True)
class Samples:
    """n answers to each of B prompts; row b * n + i is the i-th answer to prompt b."""

    x: list[Tensor]
    """B * n prompts: each prompt n times."""
    y: Tensor
    """[B * n, T] int64, padded on the right; T is the longest answer drawn, at most max_new."""
    logp_tok: Tensor
    """[B * n, T], log-probability of each token at the sampling temperature; 0 on padding; no gradient."""
    mask: Tensor
    """[B * n, T] bool, true on sampled tokens, EOS included."""
    finished: Tensor
    """[B * n] bool: the answer ended by itself (EOS) within max_new tokens."""
    weights: Tensor | None = None
    """[B * n, T] what each token's gradient is to count, where the policy did not draw them itself."""


class Decoding(Protocol):
    """Answers being written: R rows, one token each at a time, over what is kept of their prompts.

    At first there are n rows for each of B prompts, and row b * n + i belongs to prompt b. Nothing in here has a
    gradient or changes with a temperature: `logits` are the numbers that `Policy.logits` gives at that place.
    """

    logits: Tensor
    """[R, V] of each row's next token, in single precision or better; very negative where a token is impossible.
    Replaced by `advance` and `keep`, never changed in place: it may be held on to, and must not be written to."""

    def ends(self, tokens: Tensor) -> Tensor:
        """[R] bool: with this next token [R] the row's answer has ended by itself."""

    def advance(self, tokens: Tensor) -> None:
        """Each row takes its next token [R], at most room - 1 times. A row that has ended takes any id below V."""

    def keep(self, rows: Tensor) -> None:
        """These rows [K], int64, in this order, are the rows from now on: some dropped, reordered or doubled."""


class Policy(Protocol):
    """A language model that can be trained, sampled and asked for exact log-probabilities. An `nn.Module`."""

    pad: int
    """The id that fills answers up. Not EOS."""
    eos: int | None
    """The id that ends an answer; None where every answer has the same length."""

    @property
    def device(self) -> torch.device: ...

    def encode(self, prompt: Prompt) -> Tensor:
        """The prompt's ids [X], up to where the answer begins; an overlong prompt keeps its end."""

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[Tensor, Tensor]:
        """(x, y): `x` equals `encode(prompt)` for every answer, `y` ends with EOS."""

    def cut(self, prompt: Prompt, x: Tensor) -> bool:
        """Whether x, which `encode` made of this prompt, is no more than its end."""

    def decode(self, y: Tensor) -> str:
        """The text of one answer [T]: without EOS, padding, or anything after EOS."""

    def mask(self, y: Tensor) -> Tensor:
        """[B, T] bool: true on answer tokens, EOS included; false on padding."""

    def logits(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        """[B, T, V], at temperature 1. Rows under padding are finite and mean nothing."""

    def logp_tok(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> Tensor:
        """[B, T] log-probability of every answer token; 0 on padding. Sum over T for log pi(y|x)."""

    def decoding(self, x: Sequence[Tensor], n: int, room: int) -> Decoding:
        """n answers to each prompt, to be written token by token; none grows longer than `room` tokens.

        Each different prompt is read once. A ValueError says when prompt and room do not fit the model.
        """

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        """n answers to each prompt, from the whole distribution (no top-k, no top-p).

        Their log-probabilities are exact: `logp_tok(samples.x, samples.y, temperature)` gives the same numbers.
        """

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...


Encoded = tuple[Tensor, ...]
"""One prompt with its answer as a reward model reads it: (x, y) ids, or (features,) of a frozen encoder."""


class RewardModel(Protocol):
    """Gives every answer a number. An `nn.Module`.

    Training encodes once, `rows = model.encode(prompts, answers)`, and then calls `model(rows[i:j])` with
    gradients; everybody else calls `score`.
    """

    kind: ClassVar[str]
    """Its name in `storage.REWARD_MODELS`."""

    scale: Scale
    """What its raw scores go through last."""

    @property
    def device(self) -> torch.device: ...

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        """What does not change while training: ids, or the features of a frozen encoder."""

    def __call__(self, rows: Sequence[Encoded]) -> Tensor:
        """[B] scores with gradients, `gain * raw + bias`."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        """[B] scores on the CPU, without gradients, computed a few rows at a time."""

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        """[B] log-odds that each answer is better than the other, on the CPU: as stated before scores were scaled."""

    def normalise(self, mean: float, std: float) -> None:
        """Shift and scale from now on: scores with this mean and deviation get mean 0 and deviation 1."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...


def pad_right(rows: Sequence[Tensor], value: int) -> Tensor:
    """[B, T] from B tensors [T_b], filled with `value` on the right; on the device of the rows."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def collate(policy: Policy, pairs: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Encoded (x, y) pairs as one batch on the policy's device."""
    y = pad_right([y for _, y in pairs], policy.pad).to(policy.device)
    return Batch(x=[x for x, _ in pairs], y=y, mask=policy.mask(y))
