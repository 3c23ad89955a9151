"""Llama-like models read our own way: equal prompts once, no padding, no work that nobody looks at.

The weights, their names and what they compute are those of a transformers model (Llama, Mistral, Qwen2, Qwen3), whose
modules are called here one by one, adapters included. What is left out is work. All real tokens of a batch lie one
behind the other in one long row [N, d]; only attention, which needs rows, is given blocks:

    the prompts, each different one once, all tokens but the last          [U, P]
    the answers, each behind its prompt's last token                       [B, T]

so the answers' T outputs are exactly the T predictions needed. An answer attends to its prompt's keys and values and to
its own. Of the last layer, prompts need nothing but keys and values. `reads` says which models this is right for;
others are run by transformers. Sampling runs the answer block token by token over the same keys: `llama_decoding.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainers.nn.gemm import apply
from trainers.nn.grid import Grid, unique
from trainers.nn.policy import pad_right
from trainers.nn.precision import attention, single
from trainers.nn.rotary import angles, rms_norm, turn

KNOWN = {"LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"}
ROPES = {"default", "linear", "llama3", "yarn"}
"""Rotary positions whose angles do not depend on how long the text is."""


def reads(decoder: Any) -> bool:
    """Whether this transformers decoder is one that `Llama` computes exactly."""
    kind = type(decoder)
    if kind.__name__ not in KNOWN or not kind.__module__.startswith("transformers.models."):
        return False
    config = decoder.config
    windows = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kind.__name__ == "MistralModel" and config.sliding_window is not None:
        return False
    rotary, attention = decoder.rotary_emb, decoder.layers[0].self_attn
    return (
        windows == {"full_attention"}
        and config.hidden_act == "silu"
        and rotary.rope_type in ROPES
        and 2 * len(rotary.inv_freq) == attention.head_dim
    )


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch are in its one long row: those of the prompts, then those of the answers."""

    prompts: Grid
    """All tokens but the last of each different prompt."""
    answers: Grid
    """The prompt's last token and the answer's, but for the answer's last."""
    counts: list[int]
    """Real tokens of the prompts, and of the answers."""
    rows: Tensor | None
    """[B] number of each answer's prompt; None where there is one answer to each prompt, in order."""
    mask: Tensor
    """[B or 1, 1, T, P + T]: 0 where an answer's token may look, -inf elsewhere."""
    cos: Tensor
    sin: Tensor
    """[N, 1, a head's size] of every token's position."""
    asked: Tensor | None
    """[B] numbers, among the answers' tokens, of those whose states are wanted; None where all are."""


class Llama:
    """What a transformers decoder computes, with its own weights. No module: it owns nothing."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        attention = decoder.layers[0].self_attn
        self.size: int = attention.head_dim
        self.groups: int = attention.num_key_value_groups
        self.queries: int = attention.config.num_attention_heads
        self.scaling: float = attention.scaling

    @property
    def usable(self) -> bool:
        """False while it drops out, or while others (FSDP) watch its modules being called."""
        first = self.decoder.layers[0]
        dropping = self.decoder.training and self.decoder.config.attention_dropout > 0
        return not dropping and not first._forward_pre_hooks and not first._forward_hooks

    def states(
        self, x: Sequence[Tensor], y: Tensor, real: Tensor, *, last: bool = False, recompute: bool = False
    ) -> Tensor:
        """[N, d] normalised states in the N real cells of the answer block [B, T + 1], row by row.

        Column 0 is the state after the prompt, column t + 1 the state after y[:, t]; real is [B, T + 1] bool. With
        `last`, only each row's last real cell: [B, d]. With `recompute`, a layer keeps nothing but its input for the
        way back, and is computed once more there.
        """
        ids, layout = self._lay_out(x, y, real, last)
        h = self.decoder.embed_tokens(ids)
        layers = self.decoder.layers
        for i, layer in enumerate(layers):
            final = i + 1 == len(layers)
            if recompute and torch.is_grad_enabled():
                h = checkpoint(
                    self._layer, layer, h, layout, final, use_reentrant=False, preserve_rng_state=False
                )
            else:
                h = self._layer(layer, h, layout, final)
        return rms_norm(h, self.decoder.norm)

    def _lay_out(self, x: Sequence[Tensor], y: Tensor, real: Tensor, last: bool) -> tuple[Tensor, Layout]:
        device = y.device
        rows, different = unique(x)
        block, ends, inside = ends_apart(different, device)
        rows = rows.to(device)
        answers, prompts = Grid.of(real), Grid.of(inside)
        own = torch.cat((ends.token[rows][:, None], y), dim=1)
        length = own.shape[1]
        places = ends.place[rows][:, None] + torch.arange(length, device=device)
        columns = torch.arange(block.shape[1], device=device).expand(block.shape)
        ids = torch.cat((prompts.pick(block), answers.pick(own)))
        cos, sin = self.angles(torch.cat((prompts.pick(columns), answers.pick(places))))
        ahead = torch.full((length, length), float("-inf"), device=device, dtype=cos.dtype).triu(1)
        hidden = cos.new_zeros(inside.shape).masked_fill_(~inside, float("-inf"))[rows]
        if prompts.cells is None:  # no prompt is padded: one mask fits all
            hidden = hidden[:1]
        past = hidden[:, None, :].expand(-1, length, -1)
        mask = torch.cat((past, ahead.expand(len(hidden), -1, -1)), dim=2)[:, None]
        one_each = len(different) == len(x)
        counts = [len(ids) - int(real.sum()), int(real.sum())]
        asked = real.sum(dim=1).cumsum(dim=0) - 1 if last else None
        layout = Layout(prompts, answers, counts, None if one_each else rows, mask, cos, sin, asked)
        return ids, layout

    def _layer(self, layer: Any, h: Tensor, layout: Layout, final: bool) -> Tensor:
        """[N, d] -> [N, d]; the final layer gives only the states that are wanted."""
        attention, counts = layer.self_attn, layout.counts
        normed = rms_norm(h, layer.input_layernorm)
        asking, cos, sin = normed, layout.cos, layout.sin
        if final:
            h, asking, cos, sin = (_wanted(one, layout) for one in (h, asking, cos, sin))
        q = turn(self.heads(attention, "q", asking), cos, sin)
        k = turn(self.heads(attention, "k", normed), layout.cos, layout.sin)
        v = self.heads(attention, "v", normed)
        (k_past, k_own), (v_past, v_own) = torch.split(k, counts), torch.split(v, counts)
        past_k, past_v = layout.prompts.spread(k_past), layout.prompts.spread(v_past)
        keys, values = (
            torch.cat((_repeated(past, layout.rows), layout.answers.spread(own)), dim=1)
            for past, own in ((past_k, k_own), (past_v, v_own))
        )
        if not final:
            q_past, q = torch.split(q, counts)
            q = layout.answers.spread(q)
            attended = layout.answers.pick(self.attend(q, keys, values, layout.mask))
            if counts[0]:
                earlier = self.attend(layout.prompts.spread(q_past), past_k, past_v, None)
                attended = torch.cat((layout.prompts.pick(earlier), attended))
        elif layout.asked is None:
            attended = layout.answers.pick(self.attend(layout.answers.spread(q), keys, values, layout.mask))
        else:
            mask = _rows_of_mask(layout)
            attended = self.attend(q[:, None], keys, values, mask)[:, 0]
        return self.finish(layer, h, attended)

    def heads(self, attention: Any, name: str, h: Tensor) -> Tensor:
        """[N, heads, size]: queries, keys or values, before they are turned."""
        found: Tensor = apply(getattr(attention, f"{name}_proj"), h).view(len(h), -1, self.size)
        norm = getattr(attention, f"{name}_norm", None)
        return found if norm is None else rms_norm(found, norm)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, heads, size]; without a mask a token looks at itself and what is before it."""
        if self.groups > 1:
            k, v = k.repeat_interleave(self.groups, dim=2), v.repeat_interleave(self.groups, dim=2)
        q, k, v = (one.transpose(1, 2) for one in (q, k, v))
        return attention(q, k, v, mask, self.scaling).transpose(1, 2)

    def finish(self, layer: Any, h: Tensor, attended: Tensor) -> Tensor:
        """Adds the attention's result [N, heads, size] and the feed-forward to h [N, d]."""
        h = h + apply(layer.self_attn.o_proj, attended.flatten(1))
        mlp, normed = layer.mlp, rms_norm(h, layer.post_attention_layernorm)
        # In single precision: on a CPU the way back through silu takes ten times as long in bfloat16.
        gated = F.silu(single(apply(mlp.gate_proj, normed))) * apply(mlp.up_proj, normed)
        return h + apply(mlp.down_proj, gated)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [N, 1, size] of positions [N]; see `turned`."""
        rotary, dtype = self.decoder.rotary_emb, self.decoder.norm.weight.dtype
        return angles(positions, rotary.inv_freq, rotary.attention_scaling, dtype)


@dataclass(frozen=True)
class Ends:
    """The last token of each prompt, the first input of the answer block: ids and positions [U]."""

    token: Tensor
    place: Tensor


def ends_apart(different: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Ends, Tensor]:
    """(all tokens but the last [U, P], the last ones, which cells hold a token [U, P])."""
    lengths = torch.tensor([len(ids) for ids in different])
    whole = pad_right(list(different), 0)
    inside = torch.arange(whole.shape[1] - 1) < lengths[:, None] - 1
    token = whole.gather(1, lengths[:, None] - 1)[:, 0]
    return whole[:, :-1].to(device), Ends(token.to(device), lengths.to(device) - 1), inside.to(device)


def _wanted(whole: Tensor, layout: Layout) -> Tensor:
    """Of the long row, the answers' part, and of that what is asked for."""
    answers = whole[layout.counts[0] :]
    return answers if layout.asked is None else answers.index_select(0, layout.asked)


def _repeated(past: Tensor, rows: Tensor | None) -> Tensor:
    return past if rows is None else past.index_select(0, rows)


def _rows_of_mask(layout: Layout) -> Tensor:
    """[B, 1, 1, P + T]: the mask's row of each answer's last token."""
    assert layout.asked is not None
    rows, length = layout.answers.shape
    cells = layout.answers.cells
    at = layout.asked if cells is None else cells[layout.asked]
    whole = layout.mask[:, 0].expand(rows, -1, -1).flatten(0, 1)
    return whole.index_select(0, at)[:, None, None]
