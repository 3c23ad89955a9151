"""A Llama-like model writing answers, token by token, over the keys and values of their prompts.

A step of sixteen rows through a small model is a hundred tiny operations, and calling them costs more than computing
them. So what can be one operation is one: queries, keys and values come from one product and are turned together, the
weights of a small model, adapters folded in, are laid out once for all steps of a sampling, and the answers to one
prompt are read as one sequence. Its keys are those of the prompt, there once, and then at every step one of each
answer, of which an answer sees its own: eight answers cost one product where they would cost eight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.nn.gemm import apply, has_plain_adapter, prepared
from trainers.nn.grid import Grid, unique
from trainers.nn.llama import Llama, ends_apart
from trainers.nn.rotary import rms_norm, turned

COPIED = 2**26
"""A model with at most so many weights (256 MB) is laid out anew for a sampling; a larger one is used as it is."""

TOGETHER = 8
"""Answers to one prompt that are read as one sequence, at most: each is multiplied with the keys of all of them."""

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """One layer as decoding runs it: rows [R, ...] in, rows out."""

    module: Any
    qkv: Product
    out: Product
    gate_up: Product
    down: Product


class LlamaDecoding:
    """See `Decoding`. `head` makes logits of normalised states; `stops` are the ids that end an answer."""

    @torch.inference_mode()
    def __init__(
        self, llama: Llama, head: Product, stops: Tensor, x: Sequence[Tensor], n: int, room: int
    ) -> None:
        self.llama, self.head, self.stops = llama, head, stops
        rows, different = unique(x)
        block, ends, inside = ends_apart(different, stops.device)
        self.together = max(one for one in range(1, TOGETHER + 1) if n % one == 0)
        groups = rows.repeat_interleave(n // self.together).to(stops.device)
        rows = groups.repeat_interleave(self.together)
        self.past = self.seen = block.shape[1]
        self.position = ends.place[rows]
        self.cos, self.sin = self._angles(int(self.position.max()) + room)
        self.mask = self._mask(inside[groups], room)
        self.kept: list[Tensor] = []
        """Of each layer [G, 2 * heads, P + room * together, size]: keys, then values, of G groups of answers."""
        self._read(block, inside, groups, room)
        self.layers = _laid_out(llama, len(rows))
        self.logits = self._step(ends.token[rows])

    def ends(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, self.stops)

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> None:
        self.position = self.position + 1
        self.logits = self._step(tokens)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        self.logits, self.position = self.logits[rows], self.position[rows]
        if self.together > 1:
            self._separate(rows)
        else:
            self.mask = None if self.mask is None else self.mask[rows]
            self.kept = [both[rows] for both in self.kept]

    def _separate(self, rows: Tensor) -> None:
        """From now on each of these rows has its keys to itself."""
        groups, place = rows // self.together, rows % self.together

        def own(columns: Tensor) -> Tensor:
            """[R, ..., P + room] of [R, ..., P + room * together]; columns are dimension 2."""
            prompt, answers = columns[:, :, : self.past], columns[:, :, self.past :]
            answers = answers.reshape(*answers.shape[:2], -1, self.together, *answers.shape[3:])
            mine = place.view(-1, *[1] * (answers.dim() - 1)).expand_as(answers.narrow(3, 0, 1))
            return torch.cat((prompt, answers.gather(3, mine).squeeze(3)), dim=2)

        self.kept = [own(both[groups]) for both in self.kept]
        assert self.mask is not None  # it hides from each other the answers that are read together
        mask = self.mask.expand(int(groups.max()) + 1, -1, -1, -1)[groups, :, place * self.llama.groups]
        mask = own(mask)[:, :, None]
        self.mask = mask if mask.isinf().any() else None
        self.seen = self.past + (self.seen - self.past) // self.together
        self.together = 1

    def _mask(self, inside: Tensor, room: int) -> Tensor | None:
        """[G or 1, 1, queries of a head, P + room * together]: 0 where an answer may look, -inf elsewhere."""
        if self.together == 1 and inside.all():
            return None
        dtype = self.llama.decoder.norm.weight.dtype
        prompt = torch.zeros(inside.shape, device=inside.device, dtype=dtype)
        prompt = prompt.masked_fill_(~inside, float("-inf"))
        if inside.all():
            prompt = prompt[:1]
        apart = torch.full((self.together, self.together), float("-inf"), device=inside.device, dtype=dtype)
        own = apart.fill_diagonal_(0.0).repeat(1, room)
        both = torch.cat(
            (prompt[:, None].expand(-1, self.together, -1), own.expand(len(prompt), -1, -1)), dim=2
        )
        return both.repeat_interleave(self.llama.groups, dim=1)[:, None]

    def _angles(self, places: int) -> tuple[Tensor, Tensor]:
        """[places, heads of q, k and v, size], so that one product turns q and k and leaves v as it is."""
        llama = self.llama
        cos, sin = llama.angles(torch.arange(places, device=self.stops.device))
        shared = llama.queries // llama.groups
        turning = (-1, llama.queries + shared, -1)
        still = (places, shared, llama.size)
        return (
            torch.cat((cos.expand(turning), cos.new_ones(still)), dim=1),
            torch.cat((sin.expand(turning), sin.new_zeros(still)), dim=1),
        )

    def _read(self, block: Tensor, inside: Tensor, groups: Tensor, room: int) -> None:
        """Keys and values of the different prompts, in front of every group's free columns."""
        llama, grid = self.llama, Grid.of(inside)
        columns = torch.arange(block.shape[1], device=block.device).expand(block.shape)
        cos, sin = llama.angles(grid.pick(columns))
        layers = llama.decoder.layers
        h = llama.decoder.embed_tokens(grid.pick(block))
        for i, layer in enumerate(layers):
            attention, normed = layer.self_attn, rms_norm(h, layer.input_layernorm)
            k = grid.spread(turned(llama.heads(attention, "k", normed), cos, sin))
            v = grid.spread(llama.heads(attention, "v", normed))
            both = torch.cat((k, v), dim=2).transpose(1, 2)
            width = self.past + room * self.together
            kept = both.new_empty(len(groups), both.shape[1], width, llama.size)
            # Prompts are numbered as they first appear: where all differ, they are the groups.
            kept[:, :, : self.past] = both if len(both) == len(groups) else both[groups]
            self.kept.append(kept)
            if i + 1 < len(layers) and len(h):
                q = grid.spread(turned(llama.heads(attention, "q", normed), cos, sin))
                h = llama.finish(layer, h, grid.pick(llama.attend(q, k, v, None)))

    def _step(self, token: Tensor) -> Tensor:
        """[R, V] logits after one more token [R], whose keys and values go into the next column."""
        llama, decoder = self.llama, self.llama.decoder
        at, self.seen = self.seen, self.seen + self.together
        cos, sin = self.cos[self.position], self.sin[self.position]
        mask = None if self.mask is None else self.mask[..., : self.seen]
        shared = llama.queries // llama.groups
        h = decoder.embed_tokens(token)
        for layer, kept in zip(self.layers, self.kept, strict=True):
            found = layer.qkv(rms_norm(h, layer.module.input_layernorm)).view(len(h), -1, llama.size)
            found = turned(_normed(layer.module.self_attn, found, llama.queries, shared), cos, sin)
            new = found[:, llama.queries :].reshape(-1, self.together, 2 * shared, llama.size)
            kept[:, :, at : self.seen] = new.transpose(1, 2)
            # The heads that share a key are rows of one block, as are the answers, so that no key is copied.
            q = found[:, : llama.queries].reshape(-1, self.together, shared, llama.groups, llama.size)
            past = kept[:, :, : self.seen]
            attended = F.scaled_dot_product_attention(
                q.transpose(1, 2).flatten(2, 3), past[:, :shared], past[:, shared:], attn_mask=mask,
                scale=llama.scaling,
            )  # fmt: skip
            attended = attended.reshape(len(kept), shared, self.together, -1).transpose(1, 2)
            h = h + layer.out(attended.reshape(len(h), -1))
            gate, up = layer.gate_up(rms_norm(h, layer.module.post_attention_layernorm)).chunk(2, dim=-1)
            h = h + layer.down(F.silu(gate).mul_(up))
        return self.head(rms_norm(h, decoder.norm)).float()


def _normed(attention: Any, found: Tensor, queries: int, shared: int) -> Tensor:
    """Queries and keys normalised, where the model (Qwen3) does so; found [R, heads of q, k and v, size]."""
    if getattr(attention, "q_norm", None) is None:
        return found
    q, k, v = torch.split(found, [queries, shared, shared], dim=1)
    return torch.cat((rms_norm(q, attention.q_norm), rms_norm(k, attention.k_norm), v), dim=1)


def _laid_out(llama: Llama, rows: int) -> list[Layer]:
    layers = llama.decoder.layers
    weights = sum(weight.numel() for layer in layers for weight in layer.parameters())
    small = weights <= COPIED

    def product(*modules: Any) -> Product:
        if small and all(type(module) is nn.Linear or has_plain_adapter(module) for module in modules):
            weight = torch.cat([_weight(module) for module in modules])
            return prepared(weight, _bias(modules), rows)
        return lambda h: torch.cat([apply(module, h) for module in modules], dim=-1)

    return [
        Layer(
            layer,
            qkv=product(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            out=product(layer.self_attn.o_proj),
            gate_up=product(layer.mlp.gate_proj, layer.mlp.up_proj),
            down=product(layer.mlp.down_proj),
        )
        for layer in layers
    ]


def _weight(module: Any) -> Tensor:
    """Its weight, adapters folded in."""
    if type(module) is nn.Linear:
        return module.weight
    (name,) = module.active_adapters
    weight: Tensor = module.base_layer.weight + module.get_delta_weight(name)
    return weight


def _bias(modules: Sequence[Any]) -> Tensor | None:
    """The modules' biases one behind the other; 0 for a module that has none."""
    plain = [module if type(module) is nn.Linear else module.base_layer for module in modules]
    if all(module.bias is None for module in plain):
        return None
    return torch.cat(
        [
            module.weight.new_zeros(module.out_features) if module.bias is None else module.bias
            for module in plain
        ]
    )
