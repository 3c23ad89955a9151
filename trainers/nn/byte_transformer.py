"""A small causal transformer over bytes: our own policy, from 0.12 M parameters, fast on one CPU core.

Pre-norm, rotary positions, GELU, no biases, head tied to the embedding. (LayerNorm without bias and exact
GELU have fused CPU kernels, forward and backward: RMSNorm took 3 times as long, squared ReLU 3.5 times.)
Bytes are ids 0..255; the special ids lie above them, so no text can spell one:

    BOS  USER b"Hello"  ASSISTANT | b"Hi!"  EOS      a prompt (a plain string is one user message), an answer

A model may know `pieces` too, frequent words whose ids follow the special ones. Text is cut into the longest pieces
that fit and bytes for the rest, so any text can still be read; a piece in place of six bytes makes a small domain
several times cheaper to learn and to sample. Only bytes, EOS and pieces can be predicted: neither PAD nor a role
can ever be sampled.

The layout. Prompts and answers are two blocks, each padded on the right. The prompt block gives nothing but
its keys and values; the answer block starts with the prompt's last token, so its T outputs are exactly the T
predictions needed, and attends to [prompt | answer so far]. Positions count real tokens only, and padding is
hidden from every real token, so neither the batch nor the padding changes a result. Training runs the answer
block at once and sampling runs it token by token over the same keys, which is why their log-probabilities
agree. Equal prompts in a batch are read once.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.maths.logprobs import gather_logp
from trainers.nn.decoding import sample
from trainers.nn.grid import Grid, unique
from trainers.nn.policy import Samples
from trainers.nn.precision import attention, reading
from trainers.nn.storage import read_weights, write_weights
from trainers.records import Prompt

EOS, BOS, SYSTEM, USER, ASSISTANT, TOOL, PAD = range(256, 263)
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "tool": TOOL}
PREDICTED = 257
FIRST_PIECE = 263


@dataclass(frozen=True)
class ByteTransformerConfig:
    d: int = 64
    """Width of the residual stream."""
    layers: int = 2
    """Number of blocks."""
    heads: int = 4
    """Attention heads; divides d into parts of even size."""
    context: int = 1024
    """Most tokens of prompt and answer together; each may use half."""
    pieces: tuple[str, ...] = ()
    """Texts of at least two bytes that are one token each; with none, every token is a byte."""

    def __post_init__(self) -> None:
        if self.d % (2 * self.heads):
            raise ValueError(
                f"d={self.d} must be a multiple of {2 * self.heads}, twice heads: rotary turns pairs."
            )
        object.__setattr__(self, "pieces", tuple(self.pieces))  # JSON has lists
        if len(set(self.pieces)) < len(self.pieces) or any(len(piece.encode()) < 2 for piece in self.pieces):
            raise ValueError(
                "Every piece must be there once and have at least two bytes; a byte is a token already."
            )


class Block(nn.Module):
    """Attention and feed-forward; the attention itself is called by the model, which knows the keys."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(d, bias=False)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.mlp_norm = nn.LayerNorm(d, bias=False)
        self.up = nn.Linear(d, 4 * d, bias=False)
        self.down = nn.Linear(4 * d, d, bias=False)

    def project(self, h: Tensor, cos: Tensor, sin: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values [B, heads, T, d/heads] of h [N, d]; cos and sin are [N, 1, 1, d/heads]."""
        qkv = self.qkv(self.attention_norm(h)).view(len(h), 3, self.heads, -1)
        qk, v = qkv[:, :2], qkv[:, 2]
        left, right = qk.chunk(2, dim=-1)
        qk = grid.spread(qk * cos + torch.cat((-right, left), dim=-1) * sin)
        return qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2), grid.spread(v).transpose(1, 2)

    def finish(self, h: Tensor, attended: Tensor, grid: Grid) -> Tensor:
        """Add the attention's result [B, heads, T, d/heads] and the feed-forward to h [N, d]."""
        h = h + self.out(grid.pick(attended.transpose(1, 2)).flatten(1))
        mlp: Tensor = self.down(F.gelu(self.up(self.mlp_norm(h))))
        return h + mlp


@dataclass(frozen=True)
class Prompts:
    """What is kept of B prompts: their keys and values, all tokens but the last."""

    keys: list[Tensor]
    """One [B, heads, P, d/heads] a layer."""
    values: list[Tensor]
    hidden: Tensor
    """[B, P] float: 0 where a prompt token is, -inf on padding."""
    last: Tensor
    """[B] id of the last prompt token, the first input of the answer block."""
    position: Tensor
    """[B] its position."""


class ByteTransformer(nn.Module):
    kind: ClassVar[str] = "byte_transformer"
    pad: int = PAD
    eos: int | None = EOS
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ByteTransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(FIRST_PIECE + len(config.pieces), config.d)
        self._ids = {piece.encode(): FIRST_PIECE + i for i, piece in enumerate(config.pieces)}
        self._spelling = {i: piece for piece, i in self._ids.items()}
        longest_first = sorted(self._ids, key=lambda piece: (-len(piece), piece))
        self._cut = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self.blocks = nn.ModuleList(Block(config.d, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d, bias=False)
        size = config.d // config.heads
        turns = torch.arange(config.context)[:, None] * 10_000.0 ** (-torch.arange(0, size, 2) / size)
        self.register_buffer("cos", turns.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", turns.sin().repeat(1, 2), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                wide = weight.shape[1] ** -0.5 if name != "embedding.weight" else 0.02
                # What writes into the residual stream starts small, so that depth does not change its scale.
                narrow = (2 * config.layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, std=wide * narrow, generator=generator)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    # -------------------------------------------------------------------------------------------- text

    def tokens(self, text: str) -> list[int]:
        """The longest pieces that fit, from the left, and bytes for the rest."""
        rest = text.encode()
        if self._cut is None:
            return list(rest)
        ids: list[int] = []
        end = 0
        for found in self._cut.finditer(rest):
            ids += [*rest[end : found.start()], self._ids[found[0]]]
            end = found.end()
        return [*ids, *rest[end:]]

    def encode(self, prompt: Prompt) -> Tensor:
        return torch.tensor([BOS, *self._ids_of(prompt)[-(self.config.context // 2 - 1) :]])

    def cut(self, prompt: Prompt, x: Tensor) -> bool:
        half = self.config.context // 2
        return len(x) >= half and len(self._ids_of(prompt)) > half - 1

    def _ids_of(self, prompt: Prompt) -> list[int]:
        """All of a prompt, but for BOS."""
        ids: list[int] = []
        if isinstance(prompt, str):
            ids += [USER, *self.tokens(prompt)]
        else:
            for message in prompt:
                if message.role not in ROLES:
                    raise ValueError(
                        f"Found the role {message.role!r}; a byte model knows {', '.join(ROLES)}."
                    )
                ids += [ROLES[message.role], *self.tokens(message.content)]
                ids += [EOS] if message.role == "assistant" else []
        return [*ids, ASSISTANT]

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[Tensor, Tensor]:
        y = [*self.tokens(answer), EOS]
        return self.encode(prompt), torch.tensor(y[: self.config.context // 2])

    def decode(self, y: Tensor) -> str:
        ids = [i for i in y.tolist() if i != PAD]
        end = ids.index(EOS) if EOS in ids else len(ids)
        spelt = b"".join(self._spelling.get(i) or bytes([i]) for i in ids[:end])
        return spelt.decode("utf-8", errors="replace")

    def mask(self, y: Tensor) -> Tensor:
        return y != PAD

    # --------------------------------------------------------------------------------------- the model

    @reading
    def states(self, x: Sequence[Tensor], y: Tensor, real: Tensor) -> Tensor:
        """[N, d]: normalised states in the N real cells of the answer block [B, T+1], row by row.

        Column 0 is the state after the prompt, column t + 1 the state after y[:, t]; real is [B, T+1] bool.
        """
        rows, different = unique(x)
        prompts = self._read(different, rows.to(self.device))
        ids = torch.cat((prompts.last[:, None], y), dim=1)
        length = ids.shape[1]
        ahead = torch.full((length, length), float("-inf"), device=self.device).triu(1)
        hidden = torch.cat(
            (prompts.hidden[:, None, :].expand(-1, length, -1), ahead.expand(len(ids), -1, -1)), dim=2
        )[:, None]
        grid = Grid.of(real)
        positions = prompts.position[:, None] + torch.arange(length, device=self.device)
        cos, sin = self._turn(grid.pick(positions))
        h = self._embed(grid.pick(ids))
        for block, past_k, past_v in zip(self.blocks, prompts.keys, prompts.values, strict=True):
            assert isinstance(block, Block)
            q, k, v = block.project(h, cos, sin, grid)
            k, v = torch.cat((past_k, k), dim=2), torch.cat((past_v, v), dim=2)
            h = block.finish(h, attention(q, k, v, hidden), grid)
        states: Tensor = self.norm(h)
        return states

    @reading
    def logits(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        y = y.to(self.device)
        real = self.mask(y)
        return Grid.of(real).spread(self._head(self.states(x, y[:, :-1], real)))

    def logp_tok(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> Tensor:
        y = y.to(self.device)
        return gather_logp(self.logits(x, y), y, self.mask(y), temperature)

    def decoding(self, x: Sequence[Tensor], n: int, room: int) -> "ByteDecoding":
        longest = max(len(ids) for ids in x)
        if longest + room > self.config.context:
            raise ValueError(
                f"A prompt of {longest} tokens and {room} new ones do not fit the model's context of "
                f"{self.config.context}: ask for at most {self.config.context - longest}."
            )
        return ByteDecoding(self, x, n, room)

    def sample(
        self, x: Sequence[Tensor], n: int, max_new: int, temperature: float, generator: torch.Generator
    ) -> Samples:
        return sample(self, x, n, max_new, temperature, generator)

    def _read(self, different: Sequence[Tensor], rows: Tensor) -> Prompts:
        """Keys and values of the different prompts, spread to the rows [B] that use them."""
        lengths = torch.tensor([len(ids) for ids in different])
        ids = torch.nn.utils.rnn.pad_sequence(list(different), batch_first=True, padding_value=PAD)
        ids, lengths = ids.to(self.device), lengths.to(self.device)
        columns = torch.arange(ids.shape[1] - 1, device=self.device)
        real = columns < lengths[:, None] - 1
        hidden = torch.zeros(real.shape, device=self.device).masked_fill_(~real, float("-inf"))
        grid = Grid.of(real)
        keys, values = [], []
        spread = rows if len(rows) > len(different) else None
        cos, sin = self._turn(grid.pick(columns.expand(real.shape)))
        h = self._embed(grid.pick(ids[:, :-1]))
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            q, k, v = block.project(h, cos, sin, grid)
            keys.append(k if spread is None else k.index_select(0, spread))
            values.append(v if spread is None else v.index_select(0, spread))
            if i + 1 < len(self.blocks):  # Of the last block only keys and values are used.
                h = block.finish(h, attention(q, k, v, None), grid)
        last = ids.gather(1, lengths[:, None] - 1)[:, 0]
        return Prompts(keys, values, hidden[rows], last[rows], (lengths - 1)[rows])

    def _embed(self, ids: Tensor) -> Tensor:
        return F.layer_norm(self.embedding(ids), (self.config.d,))

    def _turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [N, 1, 1, d/heads] of positions [N]."""
        return self.cos[positions][:, None, None], self.sin[positions][:, None, None]

    def _head(self, h: Tensor) -> Tensor:
        if not self._ids:
            return F.linear(h, self.embedding.weight[:PREDICTED])
        logits = F.linear(h, self.embedding.weight)
        never = torch.arange(PREDICTED, FIRST_PIECE, device=h.device)
        return logits.index_fill(-1, never, -1e9)  # finite, so that 0 * log 0 is 0 in an entropy

    # ---------------------------------------------------------------------------------------- the disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(ByteTransformerConfig(**config))
        read_weights(model, directory)
        return model


class ByteDecoding:
    """Answers being written over the keys and values of their prompts; see `Decoding`."""

    @torch.inference_mode()
    def __init__(self, model: ByteTransformer, x: Sequence[Tensor], n: int, room: int) -> None:
        self.model = model
        rows, different = unique(x)
        prompts = model._read(different, rows.repeat_interleave(n).to(model.device))
        self.keys = [_room(k, room) for k in prompts.keys]
        self.values = [_room(v, room) for v in prompts.values]
        self.hidden = F.pad(prompts.hidden, (0, room))[:, None, None, :]
        self.seen = prompts.hidden.shape[1]
        self.position = prompts.position
        self.logits = self._step(prompts.last)

    def ends(self, tokens: Tensor) -> Tensor:
        return tokens == EOS

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> None:
        self.position = self.position + 1
        self.logits = self._step(tokens)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        self.logits, self.position, self.hidden = self.logits[rows], self.position[rows], self.hidden[rows]
        self.keys, self.values = [k[rows] for k in self.keys], [v[rows] for v in self.values]

    def _step(self, token: Tensor) -> Tensor:
        """[R, V] logits after one more token [R], whose keys and values go into the next column."""
        model, seen = self.model, self.seen + 1
        self.seen = seen
        grid = Grid((len(token), 1), None)
        cos, sin = model._turn(self.position)
        h = model._embed(token)
        for block, k_all, v_all in zip(model.blocks, self.keys, self.values, strict=True):
            assert isinstance(block, Block)
            q, k, v = block.project(h, cos, sin, grid)
            k_all[:, :, seen - 1 : seen] = k
            v_all[:, :, seen - 1 : seen] = v
            attended = F.scaled_dot_product_attention(
                q, k_all[:, :, :seen], v_all[:, :, :seen], attn_mask=self.hidden[..., :seen]
            )
            h = block.finish(h, attended, grid)
        return model._head(model.norm(h))


def _room(past: Tensor, more: int) -> Tensor:
    """`past` [B, heads, P, size] at the front of a buffer with room for `more` columns."""
    return F.pad(past, (0, 0, 0, more))
