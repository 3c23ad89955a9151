"""A policy over every string of a few symbols, as one table of logits: the exact fixture.

With 4 symbols and length 3 there are 64 answers a prompt, so expectations, optima and gradients can be had by
enumeration, and a method that is trained on a table can be checked to 1e-6 in a second. Double precision, because
the checks are about formulas and not about rounding. All strings are equally long, so there is no EOS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trainers.maths.logprobs import gather_logp
from trainers.nn.decoding import sample
from trainers.nn.policy import Encoded, Samples
from trainers.nn.scale import Scale
from trainers.nn.storage import read_weights, write_weights
from trainers.records import Prompt


@dataclass(frozen=True)
class TableConfig:
    prompts: tuple[str, ...] = ("p0", "p1")
    """The only prompts there are (X of them)."""
    symbols: str = "abcd"
    """The letters answers are made of (V of them)."""
    length: int = 3
    """Letters in every answer (H)."""

    def prompt(self, prompt: Prompt) -> int:
        """The index of a prompt."""
        if not isinstance(prompt, str) or prompt not in self.prompts:
            raise ValueError(f"This table knows the prompts {', '.join(self.prompts)}; found {prompt!r}.")
        return self.prompts.index(prompt)

    def answer(self, answer: str) -> list[int]:
        """The symbols' ids of an answer."""
        if len(answer) != self.length or not set(answer) <= set(self.symbols):
            raise ValueError(
                f"An answer here is {self.length} of the letters {self.symbols!r}; found {answer!r}."
            )
        return [self.symbols.index(letter) for letter in answer]


class SeqTable(nn.Module):
    """Logits [X, S, V]: a row for each of the S = 1 + V + ... + V^(H-1) prefixes of an answer."""

    kind: ClassVar[str] = "table"
    eos: int | None = None

    def __init__(self, config: TableConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.pad = len(config.symbols)
        prefixes = sum(self.pad**h for h in range(config.length))
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(len(config.prompts), prefixes, self.pad, generator=generator, dtype=torch.float64)
        self.table = nn.Parameter(start)

    @property
    def device(self) -> torch.device:
        return self.table.device

    def encode(self, prompt: Prompt) -> Tensor:
        return torch.tensor([self.config.prompt(prompt)])

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[Tensor, Tensor]:
        return self.encode(prompt), torch.tensor(self.config.answer(answer))

    def cut(self, prompt: Prompt, x: Tensor) -> bool:
        return False

    def decode(self, y: Tensor) -> str:
        return "".join(self.config.symbols[i] for i in y.tolist() if i != self.pad)

    def mask(self, y: Tensor) -> Tensor:
        return y != self.pad

    def logits(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        rows = torch.cat(list(x)).to(self.device)
        prefix = torch.zeros(len(y), dtype=torch.int64, device=self.device)
        prefixes = [prefix]
        for letter in y[:, :-1].to(self.device).unbind(1):
            # Prefixes are numbered breadth first: the children of prefix s are V s + 1, ..., V s + V.
            prefix = self.pad * prefix + 1 + letter
            prefixes.append(prefix)
        return self.table[rows[:, None], torch.stack(prefixes, dim=1)]

    def logp_tok(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> Tensor:
        y = y.to(self.device)
        return gather_logp(self.logits(x, y), y, self.mask(y), temperature)

    def decoding(self, x: Sequence[Tensor], n: int, room: int) -> "TableDecoding":
        if room < self.config.length:
            raise ValueError(
                f"Answers here have {self.config.length} letters; max_new={room} cuts them short."
            )
        return TableDecoding(self, x, n)

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        return sample(self, x, n, max_new, temperature, generator)

    def enumerate(self) -> Tensor:
        """[V^H, H]: every answer, in the order of the letters."""
        letters = torch.arange(self.pad, device=self.device)
        return torch.cartesian_prod(*[letters] * self.config.length).view(-1, self.config.length)

    def logp_all(self, temperature: float = 1.0) -> Tensor:
        """[X, V^H]: the log-probability of every answer to every prompt, with gradients."""
        strings = self.enumerate()
        prompts = range(len(self.config.prompts))
        return torch.stack(
            [
                self.logp_tok([torch.tensor([i])] * len(strings), strings, temperature).sum(dim=1)
                for i in prompts
            ]
        )

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(TableConfig(**{**config, "prompts": tuple(config["prompts"])}))
        read_weights(model, directory)
        return model


class TableDecoding:
    """Answers being written: each row's prompt and prefix; see `Decoding`."""

    def __init__(self, model: SeqTable, x: Sequence[Tensor], n: int) -> None:
        self.symbols, self.length = model.pad, model.config.length
        self.table = model.table.detach()
        self.prompts = torch.cat(list(x)).to(model.device).repeat_interleave(n)
        self.prefix = torch.zeros_like(self.prompts)
        self.letters = 0
        self.logits = self.table[self.prompts, self.prefix]

    def ends(self, tokens: Tensor) -> Tensor:
        return torch.full_like(tokens, self.letters + 1 == self.length, dtype=torch.bool)

    def advance(self, tokens: Tensor) -> None:
        # Prefixes are numbered breadth first: the children of prefix s are V s + 1, ..., V s + V.
        self.prefix = self.symbols * self.prefix + 1 + tokens
        self.letters += 1
        self.logits = self.table[self.prompts, self.prefix]

    def keep(self, rows: Tensor) -> None:
        self.prompts, self.prefix, self.logits = self.prompts[rows], self.prefix[rows], self.logits[rows]


class TableReward(nn.Module):
    """A number for every answer to every prompt, [X, V^H]: a reward model whose optimum is known."""

    kind: ClassVar[str] = "table_reward"

    def __init__(self, config: TableConfig) -> None:
        super().__init__()
        self.config = config
        shape = len(config.prompts), len(config.symbols) ** config.length
        self.values = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.scale = Scale(torch.float64)

    @property
    def device(self) -> torch.device:
        return self.values.device

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        rows: list[Encoded] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            string = 0
            for letter in self.config.answer(answer):
                string = string * len(self.config.symbols) + letter
            rows.append((torch.tensor([self.config.prompt(prompt), string]),))
        return rows

    def forward(self, rows: Sequence[Encoded]) -> Tensor:
        where = torch.stack([row[0] for row in rows]).to(self.device)
        scores: Tensor = self.scale(self.values[where[:, 0], where[:, 1]])
        return scores

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self.forward(self.encode(prompts, answers)).cpu()

    def margins(self, prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]) -> Tensor:
        return self.scale.log_odds(self.score([*prompts, *prompts], [*answers, *others]))

    def normalise(self, mean: float, std: float) -> None:
        self.scale.normalise(mean, std)

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(TableConfig(**{**config, "prompts": tuple(config["prompts"])}))
        read_weights(model, directory)
        return model
