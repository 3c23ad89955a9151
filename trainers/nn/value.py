"""Critics: what an answer so far is worth, one number before each of its tokens.

A critic has a trunk of its own, a copy of the policy's or of a reward model's, or reads its numbers off the policy's
own states. The first cannot disturb the policy; the second needs one forward where the first needs two, and half the
memory. Heads start at zero, unless they start from a reward model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from trainers.maths.logprobs import gather_logp
from trainers.nn.byte_transformer import ByteTransformer
from trainers.nn.grid import Grid
from trainers.nn.llama import Llama, reads
from trainers.nn.policy import Policy, RewardModel, pad_right
from trainers.nn.reward import ByteReward
from trainers.nn.table import SeqTable

if TYPE_CHECKING:
    from trainers.nn.hugging_face import HuggingFacePolicy
    from trainers.nn.hugging_face_reward import HuggingFaceReward


class Critic(Protocol):
    """V(x, y_<t). An `nn.Module`, whose parameters and state are what it adds to the policy."""

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        """[B, T]: what the prompt and y[:, :t] are worth, before y[:, t]; 0 on padding.

        A critic on the policy's trunk passes no gradient on to it here: its head can learn while the policy stays.
        """

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class SharedCritic(Critic, Protocol):
    """A critic on the policy's own trunk."""

    def read(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """(`policy.logp_tok(x, y, temperature)`, values) [B, T] each, from one forward, with gradients to the trunk."""


def own_critic(policy: Policy, reward_model: RewardModel | None = None) -> Critic:
    """A critic with a trunk of its own: a copy of the reward model's, head and all, or else of the policy's."""
    if reward_model is not None and not alike(policy, reward_model):
        raise ValueError(
            f"A {reward_model.kind} does not read what this policy writes, token by token, so no critic can start "
            "from it. Start the critic from the policy."
        )
    if isinstance(policy, SeqTable):
        return TableCritic(policy)
    if isinstance(policy, ByteTransformer):
        if isinstance(reward_model, ByteReward):
            critic = ByteCritic(deepcopy(reward_model.trunk))
            _start(critic.head, reward_model.head, reward_model.scale)
        else:
            critic = ByteCritic(deepcopy(policy))
        return critic.requires_grad_(True).to(policy.device)
    ours = _hugging_face(policy)
    if reward_model is not None:
        theirs = cast("HuggingFaceReward", reward_model)
        critic_of_theirs = HuggingFaceCritic(ours, deepcopy(theirs.model.base_model))
        _start(critic_of_theirs.head, theirs.model.score, theirs.scale)
        return critic_of_theirs.requires_grad_(True).to(policy.device)
    return HuggingFaceCritic(ours, deepcopy(ours.body)).to(policy.device)


def shared_critic(policy: Policy) -> SharedCritic:
    """A head on the policy's own trunk."""
    if isinstance(policy, ByteTransformer):
        return SharedByteCritic(policy).to(policy.device)
    if isinstance(policy, SeqTable):
        raise ValueError("A table has no trunk that a critic could share: give the critic its own.")
    return SharedHuggingFaceCritic(_hugging_face(policy)).to(policy.device)


def alike(policy: Policy, reward_model: RewardModel) -> bool:
    """Whether the reward model reads the policy's own token ids, so that its trunk can be the critic's."""
    if isinstance(policy, ByteTransformer) and isinstance(reward_model, ByteReward):
        mine, theirs = policy.config, reward_model.config
        return mine.pieces == theirs.pieces and mine.context <= theirs.context
    if getattr(policy, "kind", "") == "hugging_face" and reward_model.kind == "hugging_face_reward":
        ours, judge = _hugging_face(policy), cast("HuggingFaceReward", reward_model)
        reads_as_policies_do = judge.text is not None and isinstance(
            getattr(judge.model, "score", None), nn.Linear
        )
        return reads_as_policies_do and judge.tokenizer.get_vocab() == ours.text.tokenizer.get_vocab()
    return False


class TableCritic(nn.Module):
    """A number for every prefix of every answer: the exact fixture's critic."""

    def __init__(self, policy: SeqTable) -> None:
        super().__init__()
        self.states = SeqTable(policy.config)
        self.states.table = nn.Parameter(torch.zeros_like(policy.table[..., :1]))

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        return self.states.logits(x, y)[..., 0]


class ByteCritic(nn.Module):
    """A byte transformer whose state before each token goes through a linear head."""

    def __init__(self, trunk: ByteTransformer) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = _zero_head(trunk.config.d)

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        states, grid, _ = _states(self.trunk, x, y)
        return grid.spread(self.head(states)[:, 0])


class SharedByteCritic(nn.Module):
    """A linear head on the states of a byte transformer that is a policy, too."""

    policy: ByteTransformer

    def __init__(self, policy: ByteTransformer) -> None:
        super().__init__()
        self.__dict__["policy"] = policy  # not as a module: its weights are the policy's own
        self.head = _zero_head(policy.config.d)

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        with torch.no_grad():
            states, grid, _ = _states(self.policy, x, y)
        return grid.spread(self.head(states)[:, 0])

    def read(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        states, grid, y = _states(self.policy, x, y)
        logp_tok = gather_logp(grid.spread(self.policy._head(states)), y, self.policy.mask(y), temperature)
        return logp_tok, grid.spread(self.head(states)[:, 0])


class HuggingFaceCritic(nn.Module):
    """The body of a Hugging Face model, without what predicts its tokens, and a linear head."""

    llama: Llama | None

    def __init__(self, policy: HuggingFacePolicy, body: Any) -> None:
        super().__init__()
        self.pad = policy.pad
        self.takes_positions = policy.takes_positions
        self.body = body
        self.head = _zero_head(body.config.hidden_size)
        self.llama = Llama(body) if reads(body) else None

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        y = y.to(self.head.weight.device)
        real = y != self.pad
        if self.llama is not None and self.llama.usable:
            states = self.llama.states(x, y[:, :-1], real)
        else:
            prompts = pad_right([ids.flip(0) for ids in x], self.pad).flip(1).to(y.device)
            ids = torch.cat((prompts, y[:, :-1]), dim=1)
            out = self.body(input_ids=ids, **_extra(ids != self.pad, self.takes_positions), use_cache=False)
            states = Grid.of(real).pick(out.last_hidden_state[:, -y.shape[1] :])
        return _spread(self.head, states, real)


class SharedHuggingFaceCritic(nn.Module):
    """A linear head on the last states of a Hugging Face policy."""

    policy: HuggingFacePolicy

    def __init__(self, policy: HuggingFacePolicy) -> None:
        super().__init__()
        self.__dict__["policy"] = policy  # not as a module: its weights are the policy's own
        self.head = _zero_head(policy.body.config.hidden_size)

    def values(self, x: Sequence[Tensor], y: Tensor) -> Tensor:
        y = y.to(self.policy.device)
        real = self.policy.mask(y)
        with torch.no_grad():
            states = self.policy.states(x, y[:, :-1], real)
        return _spread(self.head, states, real)

    def read(self, x: Sequence[Tensor], y: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        policy, y = self.policy, y.to(self.policy.device)
        real = policy.mask(y)
        if policy.llama is not None and policy.llama.usable:
            states = policy.states(x, y[:, :-1], real)
            logp_tok = policy.logp_of(states, y, real, temperature)
        else:
            prompts = pad_right([ids.flip(0) for ids in x], policy.pad).flip(1).to(y.device)
            ids = torch.cat((prompts, y[:, :-1]), dim=1)
            extra = _extra(ids != policy.pad, policy.takes_positions)
            out = policy.model(input_ids=ids, **extra, use_cache=False, output_hidden_states=True)
            never = torch.finfo(out.logits.dtype).min / 2
            logits = out.logits[:, -y.shape[1] :].masked_fill(policy.never, never)
            states = Grid.of(real).pick(out.hidden_states[-1][:, -y.shape[1] :])
            logp_tok = gather_logp(logits, y, real, temperature)
        return logp_tok, _spread(self.head, states, real)


def _spread(head: nn.Linear, states: Tensor, real: Tensor) -> Tensor:
    """[B, T]: what the head makes of the states [N, d] of the real cells."""
    return Grid.of(real).spread(head(states.to(head.weight.dtype))[:, 0])


def _zero_head(d: int) -> nn.Linear:
    head = nn.Linear(d, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


@torch.no_grad()
def _start(head: nn.Linear, judge: nn.Linear, scale: Any) -> None:
    """Values begin as the scores that the reward model would give the answer so far."""
    head.weight.copy_(scale.gain * judge.weight)
    head.bias.copy_(scale.bias + (0.0 if judge.bias is None else scale.gain * judge.bias))


def _states(trunk: ByteTransformer, x: Sequence[Tensor], y: Tensor) -> tuple[Tensor, Grid, Tensor]:
    """The states [N, d] before the real tokens of y, where they lie in [B, T], and y on the trunk's device."""
    y = y.to(trunk.device)
    real = trunk.mask(y)
    return trunk.states(x, y[:, :-1], real), Grid.of(real), y


def _extra(seen: Tensor, takes_positions: bool) -> dict[str, Tensor]:
    extra = {"attention_mask": seen.long()}
    if takes_positions:
        extra["position_ids"] = (seen.long().cumsum(dim=1) - 1).clamp_min(0)
    return extra


def _hugging_face(policy: Policy) -> HuggingFacePolicy:
    if getattr(policy, "kind", "") != "hugging_face":
        raise ValueError(
            f"No critic is known for a policy of kind {getattr(policy, 'kind', '?')!r}. "
            "Known: table, byte_transformer, hugging_face."
        )
    return cast("HuggingFacePolicy", policy)
