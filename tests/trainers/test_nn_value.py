"""Critics: what they read, what they leave alone, and where they start."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.test_nn_hugging_face import chat_policy, classifier, gpt2, tokenizer
from trainers import nn
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.policy import collate
from trainers.nn.reward import ByteReward
from trainers.nn.table import SeqTable, TableConfig
from trainers.nn.value import alike, own_critic, shared_critic

SMALL = ByteTransformerConfig(d=16, layers=2)
ANSWERS = {
    "byte": ("hi", "what is two plus two?"),
    "llama": ("four", "the room was quiet"),
    "gpt2": ("four", "the room was quiet"),
}


def policy(kind: str):
    if kind == "byte":
        return ByteTransformer(SMALL)
    if kind == "gpt2":
        return HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig()).eval()
    return chat_policy()


def batch(one, kind: str):
    rows = [
        one.encode_pair(ask, text) for ask, text in zip(("a room?", "what is it"), ANSWERS[kind], strict=True)
    ]
    return collate(one, rows)


def stirred(critic):
    """The critic with a head that says something."""
    with torch.no_grad():
        critic.head.weight.normal_(generator=torch.Generator().manual_seed(3))
        critic.head.bias.fill_(0.5)
    return critic


kinds = pytest.mark.parametrize("kind", ["byte", "llama", "gpt2"])
makers = pytest.mark.parametrize("make", [own_critic, shared_critic], ids=["own", "shared"])


@kinds
@makers
def test_a_value_knows_what_stands_before_its_token_and_nothing_after_and_padding_has_none(make, kind):
    one = policy(kind)
    critic, both = stirred(make(one)), batch(one, kind)
    values = critic.values(both.x, both.y)
    assert values.shape == both.y.shape and not values[~both.mask].any() and values[both.mask].all()
    for row in range(2):
        alone = both.y[row : row + 1, : int(both.mask[row].sum())]
        found = critic.values(both.x[row : row + 1], alone)
        torch.testing.assert_close(found[0], values[row, : alone.shape[1]], rtol=1e-4, atol=1e-5)
    t = 1
    other = both.y.clone()
    other[:, t] = both.y[:, 0]
    changed = critic.values(both.x, other)
    torch.testing.assert_close(changed[:, : t + 1], values[:, : t + 1], rtol=1e-4, atol=1e-5)
    assert (changed[:, t + 1 :] - values[:, t + 1 :]).abs().max() > 1e-4


@kinds
@makers
def test_a_new_critic_expects_nothing(make, kind):
    one = policy(kind)
    both = batch(one, kind)
    assert not make(one).values(both.x, both.y).any()


@kinds
def test_one_forward_of_a_shared_critic_gives_the_policys_log_probabilities_and_the_values(kind):
    one = policy(kind)
    critic, both = stirred(shared_critic(one)), batch(one, kind)
    logp_tok, values = critic.read(both.x, both.y, 0.7)
    torch.testing.assert_close(logp_tok, one.logp_tok(both.x, both.y, 0.7), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(values, critic.values(both.x, both.y), rtol=1e-5, atol=1e-5)


@kinds
def test_an_own_critic_learns_without_the_policy_and_a_shared_one_adds_its_head_alone(kind):
    one = policy(kind)
    both = batch(one, kind)
    own = stirred(own_critic(one))
    own.values(both.x, both.y).sum().backward()
    assert all(weight.grad is None for weight in one.parameters())
    assert sum(weight.grad is not None and bool(weight.grad.any()) for weight in own.parameters()) > 5

    shared = stirred(shared_critic(one))
    assert {name for name, _ in shared.named_parameters()} == {"head.weight", "head.bias"}
    shared.values(both.x, both.y).sum().backward()
    assert all(weight.grad is None for weight in one.parameters()) and shared.head.weight.grad.any()
    shared.read(both.x, both.y)[1].sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in one.parameters())


def test_a_byte_critic_starts_with_what_the_reward_model_would_say_of_the_answer_so_far():
    one, judge = ByteTransformer(SMALL), ByteReward(ByteTransformerConfig(d=32, layers=1), seed=5)
    judge.normalise(0.3, 2.0)
    critic = own_critic(one, judge)
    x, y = one.encode_pair("a room?", "hello")
    values = critic.values([x], y[None])[0]
    with torch.no_grad():
        so_far = [judge([(x, y[:t])])[0] for t in range(1, len(y))]
    torch.testing.assert_close(values[1:].detach(), torch.stack(so_far), rtol=1e-5, atol=1e-5)
    assert all(weight.requires_grad for weight in critic.parameters())


def test_a_hugging_face_critic_starts_from_a_classifier_with_the_same_tokens(tmp_path):
    one = chat_policy()
    judge = nn.load_reward_model(classifier(tmp_path / "judge"))
    assert alike(one, judge)
    critic = own_critic(one, judge)
    x, y = one.encode_pair("the room", "four is it")
    with torch.no_grad():
        body = judge.model.base_model(input_ids=torch.cat((x, y[:-1]))[None]).last_hidden_state[0, -len(y) :]
        wanted = judge.scale(judge.model.score(body))[:, 0]
    torch.testing.assert_close(critic.values([x], y[None])[0].detach(), wanted, rtol=1e-4, atol=1e-5)


def test_a_critic_with_other_tokens_is_refused():
    one, judge = ByteTransformer(SMALL), ByteReward(ByteTransformerConfig(d=16, layers=1, pieces=("the",)))
    assert not alike(one, judge)
    with pytest.raises(ValueError, match="byte_reward does not read what this policy writes"):
        own_critic(one, judge)


def test_a_tables_critic_has_a_number_for_every_prefix_and_comes_back_from_its_state():
    table = SeqTable(TableConfig(prompts=("p", "q"), symbols="abc", length=2))
    critic = own_critic(table)
    with torch.no_grad():
        critic.states.table[1, :, 0] = torch.arange(4.0)
    y = torch.tensor([[0, 1], [2, 2]])
    assert critic.values([torch.tensor([1])] * 2, y).tolist() == [[0.0, 1.0], [0.0, 3.0]]
    again = own_critic(table)
    again.load_state_dict(critic.state_dict())
    assert torch.equal(again.states.table, critic.states.table)
    with pytest.raises(ValueError, match="no trunk"):
        shared_critic(table)


def test_a_critic_of_a_policy_with_adapters_trains_adapters_and_head():
    one = chat_policy(lora_rank=4)
    critic = own_critic(one)
    trained = [name for name, weight in critic.named_parameters() if weight.requires_grad]
    assert "head.weight" in trained and all("lora_" in name or "head" in name for name in trained)
