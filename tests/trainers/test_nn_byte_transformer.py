"""The byte transformer: exact log-probabilities, whatever the batch, the padding and the cache."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers import nn
from trainers.maths.logprobs import entropy
from trainers.nn.byte_transformer import (
    ASSISTANT,
    BOS,
    EOS,
    PAD,
    SYSTEM,
    USER,
    ByteTransformer,
    ByteTransformerConfig,
    Grid,
)
from trainers.records import Message

SHAPE = ByteTransformerConfig(d=32, layers=3, heads=2, context=128)
ASKED = ["hi", "Is breakfast included?", "x", "Is breakfast included?"]
ANSWERS = ["Yes.", "It is, from seven to ten.", "", "No"]


@pytest.fixture
def policy() -> ByteTransformer:
    """Weights ten times as large as at birth, so that its opinions are strong and errors are visible."""
    made = ByteTransformer(SHAPE, seed=0)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() == 2:
                weight *= 3
        made.embedding.weight *= 3
    return made


def pairs(policy: ByteTransformer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [policy.encode_pair(x, y) for x, y in zip(ASKED, ANSWERS, strict=True)]


def draw(policy: ByteTransformer, temperature: float = 1.0, n: int = 4, seed: int = 0) -> nn.Samples:
    x = [policy.encode(prompt) for prompt in ASKED]
    return policy.sample(x, n, 40, temperature, torch.Generator().manual_seed(seed))


def test_text_becomes_bytes_between_special_ids_that_no_text_can_spell(policy: ByteTransformer) -> None:
    x, y = policy.encode_pair("é?", "ja")
    assert x.tolist() == [BOS, USER, 0xC3, 0xA9, ord("?"), ASSISTANT]
    assert y.tolist() == [ord("j"), ord("a"), EOS]
    assert policy.decode(y) == "ja"
    chat = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v"))
    a, s, u, v = (ord(letter) for letter in "asuv")
    assert policy.encode(chat).tolist() == [
        BOS, SYSTEM, s, USER, u, ASSISTANT, a, EOS, USER, v, ASSISTANT,
    ]  # fmt: skip
    assert torch.equal(policy.encode((Message("user", "hi"),)), policy.encode("hi"))
    with pytest.raises(ValueError, match="critic"):
        policy.encode((Message("critic", "no"),))


def test_pieces_stand_for_words_and_any_text_can_still_be_read(tmp_path: Path) -> None:
    pieces = ("quiet", "quietly", " room", "\u00e9t\u00e9")
    made = ByteTransformer(ByteTransformerConfig(d=32, layers=1, heads=2, context=128, pieces=pieces))
    quiet, quietly, room, summer = range(263, 267)
    assert made.tokens("quietly quiet room") == [quietly, ord(" "), quiet, room]
    assert made.tokens("roomy \u00e9t\u00e9") == [*b"roomy ", summer]
    for text in ("a quiet room", "\u4e0d quietlyquiet\n", ""):
        x, y = made.encode_pair(text, text)
        assert made.decode(y) == text
        assert x.tolist() == [BOS, USER, *made.tokens(text), ASSISTANT]
    again = nn.load_policy(nn.save(made, tmp_path / "model"))
    assert again.encode("quiet").tolist() == made.encode("quiet").tolist()
    for wrong in (("a",), ("ab", "ab")):
        with pytest.raises(ValueError, match="piece"):
            ByteTransformerConfig(pieces=wrong)


def test_with_pieces_no_special_id_is_sampled_and_log_probabilities_are_still_exact() -> None:
    made = ByteTransformer(
        ByteTransformerConfig(d=32, layers=2, heads=2, context=128, pieces=(" the", "ing"))
    )
    drawn = draw(made, n=50)
    ids = drawn.y[drawn.mask]
    assert not ((ids >= BOS) & (ids <= PAD)).any()
    assert (ids > PAD).any()  # pieces are
    assert torch.allclose(made.logp_tok(drawn.x, drawn.y), drawn.logp_tok, atol=1e-5)
    logits = made.logits(drawn.x, drawn.y)
    assert entropy(logits).isfinite().all()


def test_an_overlong_prompt_keeps_its_end_and_an_overlong_answer_has_no_eos(policy: ByteTransformer) -> None:
    x, y = policy.encode_pair("-" * 500 + "the end", "y" * 500)
    assert len(x) == len(y) == 64
    assert x[0] == BOS and x[-1] == ASSISTANT
    assert bytes(x[-8:-1].tolist()) == b"the end"
    assert EOS not in y


def test_the_two_block_layout_computes_what_a_plain_causal_transformer_does(policy: ByteTransformer) -> None:
    """The reference: one sequence, one row, full attention with a causal mask, no cache, no padding."""
    for x, y in pairs(policy):
        ids = torch.cat((x, y))[:-1]
        length = len(ids)
        grid = Grid((1, length), None)
        h = policy._embed(ids)
        cos, sin = policy._turn(torch.arange(length))
        for block in policy.blocks:
            q, k, v = block.project(h, cos, sin, grid)
            weights = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            ahead = torch.ones(length, length).triu(1).bool()
            h = block.finish(h, weights.masked_fill(ahead, float("-inf")).softmax(-1) @ v, grid)
        logits = policy.norm(h)[len(x) - 1 :] @ policy.embedding.weight[:257].T
        assert torch.allclose(policy.logits([x], y[None])[0], logits, atol=1e-4)


def test_rotary_positions_depend_on_distance_alone(policy: ByteTransformer) -> None:
    h = policy._embed(torch.tensor([7, 8]))
    block, grid = policy.blocks[0], Grid((1, 2), None)

    def attention(first: int, second: int) -> torch.Tensor:
        q, k, _ = block.project(h, *policy._turn(torch.tensor([first, second])), grid)
        return (q[0, :, 1] * k[0, :, 0]).sum(-1)

    assert torch.allclose(attention(0, 1), attention(60, 61), atol=1e-4)
    assert not torch.allclose(attention(0, 1), attention(0, 30), atol=1e-2)


def test_neither_batch_nor_padding_nor_a_shared_prompt_changes_a_log_probability(
    policy: ByteTransformer,
) -> None:
    together = nn.collate(policy, pairs(policy))
    wider = torch.nn.functional.pad(together.y, (0, 9), value=PAD)
    logp, padded = policy.logp_tok(together.x, together.y), policy.logp_tok(together.x, wider)
    for row, (x, y) in enumerate(pairs(policy)):
        alone = policy.logp_tok([x], y[None])[0]
        assert alone.abs().max() > 1, "opinions are weak: the test shows little"
        assert torch.allclose(logp[row, : len(y)], alone, atol=1e-5)
        assert torch.allclose(padded[row, : len(y)], alone, atol=1e-5)
        assert not logp[row, len(y) :].any() and not padded[row, len(y) :].any()


def test_a_shared_prompt_gets_the_gradient_of_all_its_answers(policy: ByteTransformer) -> None:
    def gradient(batches: list[nn.Batch]) -> torch.Tensor:
        policy.zero_grad()
        for batch in batches:
            policy.logp_tok(batch.x, batch.y).sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters()])

    one_by_one = gradient([nn.collate(policy, [pair]) for pair in pairs(policy)])
    together = gradient([nn.collate(policy, pairs(policy))])
    assert torch.allclose(together, one_by_one, rtol=1e-3, atol=1e-3 * one_by_one.abs().max().item())


def test_sampled_log_probabilities_are_those_computed_without_a_cache(policy: ByteTransformer) -> None:
    for temperature in (0.5, 1.0, 2.0):
        samples = draw(policy, temperature)
        again = policy.logp_tok(samples.x, samples.y, temperature)
        assert torch.allclose(again, samples.logp_tok, atol=1e-5)
    assert not torch.allclose(policy.logp_tok(samples.x, samples.y), samples.logp_tok, atol=1e-2)


def test_samples_end_at_eos_and_are_never_padding_or_special(policy: ByteTransformer) -> None:
    with torch.no_grad():
        policy.embedding.weight[EOS] *= 4  # or ends would be rare
    samples = draw(policy, 1.5, n=32)
    assert torch.equal(samples.finished, (samples.y == EOS).any(dim=1))
    assert samples.finished.any() and not samples.finished.all()
    assert samples.y[samples.mask].max() <= EOS
    for y, mask in zip(samples.y, samples.mask, strict=True):
        length = int(mask.sum())
        assert (y[length:] == PAD).all()
        assert EOS not in y[: length - 1]
    assert samples.mask.any(dim=0).all()  # no column of padding alone
    assert not samples.logp_tok[~samples.mask].any()


def test_rows_that_go_on_are_undisturbed_by_those_that_ended(policy: ByteTransformer) -> None:
    """Ended rows are dropped on the way; with EOS likely, that happens again and again."""
    with torch.no_grad():
        policy.embedding.weight[EOS] *= 6
    samples = draw(policy, 1.0, n=64)
    assert samples.mask.sum(dim=1).unique().numel() > 8
    assert torch.allclose(policy.logp_tok(samples.x, samples.y), samples.logp_tok, atol=1e-5)


def test_rows_of_samples_follow_their_prompts(policy: ByteTransformer) -> None:
    samples = draw(policy, n=3)
    assert len(samples.x) == len(samples.y) == 12
    for row, x in enumerate(samples.x):
        assert torch.equal(x, policy.encode(ASKED[row // 3]))


def test_a_seed_gives_the_same_samples_again(policy: ByteTransformer) -> None:
    assert torch.equal(draw(policy).y, draw(policy).y)
    assert not torch.equal(draw(policy).y[:, :5], draw(policy, seed=1).y[:, :5])


def test_samples_follow_the_policys_distribution() -> None:
    policy = ByteTransformer(SHAPE, seed=0)
    with torch.no_grad():
        policy.embedding.weight[:250] *= 0  # 250 equal bytes, and seven of other probabilities
        policy.embedding.weight[250:257] *= 20
    x = policy.encode("hi")
    n = 20_000
    first = policy.sample([x], n, 1, 1.0, torch.Generator().manual_seed(0)).y[:, 0]
    found = torch.bincount(first, minlength=257) / n
    expected = policy.logits([x], torch.zeros(1, 1, dtype=torch.int64))[0, 0].softmax(-1).detach()
    assert expected.max() > 20 * expected.median() > 400 * expected.min()
    deviation = (expected * (1 - expected) / n).sqrt()
    assert ((found - expected).abs() <= 5 * deviation + 1 / n).all()


def test_samples_can_be_learned_from(policy: ByteTransformer) -> None:
    """Tensors made in inference mode could not be part of a loss."""
    samples = draw(policy)
    ratio = (policy.logp_tok(samples.x, samples.y) - samples.logp_tok).exp()
    (ratio * samples.mask).sum().backward()
    assert policy.embedding.weight.grad.abs().sum() > 0


def test_more_new_tokens_than_the_context_holds_are_refused(policy: ByteTransformer) -> None:
    with pytest.raises(ValueError, match="at most 123"):
        policy.sample([policy.encode("hi")], 1, 124, 1.0, torch.Generator())


def test_it_learns_to_answer_and_to_stop() -> None:
    policy = ByteTransformer(ByteTransformerConfig(), seed=0)
    batch = nn.collate(policy, [policy.encode_pair("cat?", "meow"), policy.encode_pair("dog?", "woof!")])
    optimiser = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(60):
        loss = -policy.logp_tok(batch.x, batch.y).sum() / batch.mask.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    x = [policy.encode("cat?"), policy.encode("dog?")]
    samples = policy.sample(x, 1, 20, 0.1, torch.Generator().manual_seed(0))
    assert [policy.decode(y) for y in samples.y] == ["meow", "woof!"]
    assert samples.finished.all()


def test_a_saved_policy_opens_as_itself(policy: ByteTransformer, tmp_path: Path) -> None:
    again = nn.load_policy(nn.save(policy, tmp_path / "policy"))
    batch = nn.collate(policy, pairs(policy))
    assert torch.equal(again.logp_tok(batch.x, batch.y), policy.logp_tok(batch.x, batch.y))


def test_the_smallest_shape_has_an_eighth_of_a_million_parameters() -> None:
    policy = ByteTransformer(ByteTransformerConfig())
    assert 100_000 < sum(weight.numel() for weight in policy.parameters()) < 140_000
    with pytest.raises(ValueError, match="multiple of 12"):
        ByteTransformerConfig(d=64, heads=6)


def test_sampling_costs_a_few_forwards_and_not_one_for_each_token() -> None:
    policy = ByteTransformer(ByteTransformerConfig())
    x = [policy.encode("A question of forty bytes or so: " + letter) for letter in "abcdefgh"]

    def cost(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    def sample() -> nn.Samples:
        return policy.sample(x, 4, 96, 1.0, torch.Generator().manual_seed(0))

    samples = sample()
    with torch.no_grad():
        forward = min(cost(lambda: policy.logp_tok(samples.x, samples.y)) for _ in range(3))
    # With a cache about three forwards over the whole answers; without one about fifty.
    assert min(cost(sample) for _ in range(2)) < 15 * forward


def test_opening_it_imports_no_transformers() -> None:
    code = (
        "import sys; from trainers import nn; import trainers.nn.byte_transformer, trainers.nn.reward;"
        "assert not {'transformers', 'peft', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
