"""Answers written token by token: the same numbers whatever the policy, the batch, and what was dropped or doubled."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.test_nn_hugging_face import chat_policy, gpt2, tokenizer
from trainers import nn
from trainers.nn.byte_transformer import EOS, ByteTransformer, ByteTransformerConfig
from trainers.nn.cache import alike
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.table import SeqTable, TableConfig

ASKED = ["hi", "what is two plus two? it is", "a quiet room, please", "hi"]
LONG = "is it quiet? " * 12


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def byte_policy(pieces: tuple[str, ...] = ()) -> ByteTransformer:
    policy = ByteTransformer(ByteTransformerConfig(d=32, layers=2, pieces=pieces), seed=3).eval()
    with torch.no_grad():
        policy.embedding.weight *= 8
    return policy


POLICIES = {
    "table": lambda: SeqTable(TableConfig(prompts=tuple(dict.fromkeys(ASKED)), length=5), seed=1),
    "bytes": byte_policy,
    "pieces": lambda: byte_policy(("quiet", "room")),
    "llama": chat_policy,
    "gpt2": lambda: HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig()).eval(),
}


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]()


def tokens(policy, rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """[rows, length] ids that every policy here can predict, none of which ends an answer."""
    highest = 4 if isinstance(policy, SeqTable) else 250
    lowest = 0 if isinstance(policy, SeqTable) else 10
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lowest, highest, (rows, length), generator=generator)


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Equal where a token is possible, and both very negative elsewhere."""
    possible = wanted > -1e8
    return bool(
        torch.equal(possible, found > -1e8) and torch.allclose(found[possible], wanted[possible], atol=1e-4)
    )


def test_its_logits_are_those_that_the_whole_answer_is_given(policy):
    x = [policy.encode(one) for one in ASKED]
    y = tokens(policy, len(x) * 2, 5)
    repeated = [ids for ids in x for _ in range(2)]
    with torch.no_grad():
        wanted = policy.logits(repeated, y)
    decoding = policy.decoding(x, 2, 5)
    for t in range(5):
        assert same(decoding.logits, wanted[:, t]), t
        if t < 4:
            decoding.advance(y[:, t])


def test_rows_dropped_reordered_and_doubled_go_on_as_their_own_answers(policy):
    x = [policy.encode(one) for one in ASKED]
    y = tokens(policy, len(x) * 2, 5)
    repeated = [ids for ids in x for _ in range(2)]
    decoding = policy.decoding(x, 2, 5)
    decoding.advance(y[:, 0])
    decoding.advance(y[:, 1])
    rows = torch.tensor([6, 1, 1, 3])
    decoding.keep(rows)
    ahead = tokens(policy, 4, 3, seed=1)
    together = torch.cat((y[rows, :2], ahead), dim=1)
    with torch.no_grad():
        wanted = policy.logits([repeated[row] for row in rows.tolist()], together)
    for t in range(2, 5):
        assert same(decoding.logits, wanted[:, t]), t
        if t < 4:
            decoding.advance(ahead[:, t - 2])


def test_a_batch_gives_what_each_prompt_gives_alone(policy):
    asked = ASKED if isinstance(policy, SeqTable) else [*ASKED, LONG]
    x = [policy.encode(one) for one in asked]
    y = tokens(policy, len(x), 4)
    together = policy.decoding(x, 1, 5)
    alone = [policy.decoding([one], 1, 5) for one in x]
    for t in range(5):
        assert same(together.logits, torch.cat([one.logits for one in alone])), t
        if t < 4:
            together.advance(y[:, t])
            for row, one in enumerate(alone):
                one.advance(y[row : row + 1, t])


def test_it_says_which_tokens_end_an_answer():
    table = SeqTable(TableConfig(prompts=("p",)))
    decoding = table.decoding([table.encode("p")], 2, 3)
    for _ in range(2):
        assert decoding.ends(torch.tensor([0, 3])).tolist() == [False, False]
        decoding.advance(torch.tensor([0, 3]))
    assert decoding.ends(torch.tensor([0, 3])).tolist() == [True, True]
    policy = byte_policy()
    ends = policy.decoding([policy.encode("hi")], 2, 3).ends(torch.tensor([EOS, 65]))
    assert ends.tolist() == [True, False]


def test_equal_prompts_are_read_once_and_unlike_ones_apart(monkeypatch):
    policy = POLICIES["gpt2"]()
    read = []
    forward = HuggingFacePolicy._forward

    def counted(self, ids, *args, **kwargs):
        read.append(tuple(ids.shape))
        return forward(self, ids, *args, **kwargs)

    monkeypatch.setattr(HuggingFacePolicy, "_forward", counted)
    x = [policy.encode(one) for one in ("hi", LONG, "ho", "hi", LONG)]
    policy.decoding(x, 3, 8)
    short, long = len(x[0]), len(x[1])
    assert long > 4 * short and len(x[2]) == short
    assert sorted(read) == [(1, long), (2, short)]
    assert alike([4, 4, 100, 5, 100]) == [[0, 1, 3], [2, 4]]


def test_a_model_with_a_window_reads_prompts_together_and_still_alike():
    """Gemma-like layers keep a window of fixed size, which cannot be padded after it was filled."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    shape = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, sliding_window=8, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    policy = HuggingFacePolicy(MistralForCausalLM(shape).eval(), tokenizer(chat=True), HuggingFaceConfig())
    x = [policy.encode(one) for one in ("hi", LONG)]
    samples = policy.eval().sample(x, 2, 12, 1.0, torch.Generator().manual_seed(0))
    assert torch.allclose(policy.logp_tok(samples.x, samples.y), samples.logp_tok, atol=1e-4)


def test_an_answer_has_no_more_tokens_than_there_is_room_for():
    with pytest.raises(ValueError, match="ask for at most"):
        byte_policy().decoding([torch.arange(20)], 1, 1020)
    table = SeqTable(TableConfig(prompts=("p",)))
    with pytest.raises(ValueError, match="max_new=2 cuts them short"):
        table.decoding([table.encode("p")], 1, 2)


# --- drawing: forced beginnings, stops, hooks ------------------------------------------------------


def test_a_forced_beginning_leaves_the_conditional_distribution_exactly():
    table = SeqTable(TableConfig(prompts=("p", "q")), seed=4)
    n = 6000
    x = [table.encode("p"), table.encode("q")]
    forced = [torch.tensor([2]), torch.tensor([0, 3])]
    drawn = nn.draw(table, x, n, 3, 1.0, torch.Generator().manual_seed(0), forced=forced)
    samples = drawn.samples
    everything = table.logp_tok(samples.x, samples.y)
    assert torch.allclose(samples.logp_tok, everything.masked_fill(drawn.forced, 0.0), atol=1e-12)
    assert drawn.forced.sum(dim=1).tolist() == [1] * n + [2] * n
    assert not (drawn.forced & samples.mask).any() and (drawn.forced | samples.mask).all()
    strings = table.enumerate()
    for prompt, ids in enumerate(forced):
        begins = (strings[:, : len(ids)] == ids).all(dim=1)
        p = table.logp_all()[prompt].detach().exp() * begins
        number = (samples.y[prompt * n : (prompt + 1) * n] * torch.tensor([16, 4, 1])).sum(dim=1)
        found = torch.bincount(number, minlength=64) / n
        assert (found - p / p.sum()).abs().sum() / 2 < 0.03
        rest = samples.logp_tok[prompt * n : (prompt + 1) * n].sum(dim=1)
        assert torch.allclose(rest, (p.log() - p.sum().log())[number], atol=1e-12)  # log p(rest | beginning)


def test_drawn_tokens_behind_a_forced_beginning_have_the_policys_log_probabilities(policy):
    if isinstance(policy, SeqTable):
        policy = SeqTable(TableConfig(prompts=tuple(dict.fromkeys(ASKED)), length=8), seed=1)
    x = [policy.encode(one) for one in ASKED]
    forced = [tokens(policy, 1, length)[0] for length in (0, 3, 1, 2)]
    drawn = nn.draw(policy, x, 3, 8, 0.8, torch.Generator().manual_seed(0), forced=forced)
    again = policy.logp_tok(drawn.samples.x, drawn.samples.y, 0.8)
    mask = drawn.samples.mask
    assert torch.allclose(again[mask], drawn.samples.logp_tok[mask], atol=1e-4)
    assert mask.sum(dim=1).max() <= 8
    for row in range(12):
        ids = forced[row // 3]
        assert torch.equal(drawn.samples.y[row, : len(ids)], ids)
        assert drawn.forced[row].sum() == len(ids)


def test_a_forced_beginning_may_not_end_the_answer():
    policy = byte_policy()
    x = [policy.encode("hi")]
    with pytest.raises(ValueError, match="holds the token that ends an answer"):
        nn.draw(policy, x, 1, 4, 1.0, torch.Generator(), forced=[torch.tensor([65, EOS])])
    with pytest.raises(ValueError, match="1 prompts and 2 forced"):
        nn.draw(policy, x, 1, 4, 1.0, torch.Generator(), forced=[torch.tensor([65])] * 2)


def test_a_hook_that_adds_a_constant_changes_nothing(policy):
    x = [policy.encode(one) for one in ASKED]
    plain = nn.draw(policy, x, 2, 8, 0.9, torch.Generator().manual_seed(0)).samples
    shifted = nn.draw(
        policy, x, 2, 8, 0.9, torch.Generator().manual_seed(0), hook=lambda logits, _: logits + 2.0
    ).samples
    assert torch.equal(plain.y, shifted.y)
    assert torch.allclose(plain.logp_tok, shifted.logp_tok, atol=1e-5)


def test_a_hook_draws_from_the_distribution_that_it_makes():
    """Values added to the logits, and a mask that depends on what was said: no letter twice."""
    table = SeqTable(TableConfig(prompts=("p",), symbols="abcd", length=3), seed=2)
    values = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)

    def hook(logits, ids):
        logits = logits + values
        return logits.scatter(1, ids, float("-inf")) if ids.shape[1] else logits

    n = 20_000
    samples = nn.draw(
        table, [table.encode("p")], n, 3, 1.0, torch.Generator().manual_seed(0), hook=hook
    ).samples
    strings = table.enumerate()
    logits = table.logits([table.encode("p")] * 64, strings).detach() + values  # [64, 3, 4]
    for t in (1, 2):
        logits[:, t] = logits[:, t].scatter(1, strings[:, :t], float("-inf"))
    logp = logits.log_softmax(dim=-1).gather(2, strings[:, :, None])[:, :, 0].sum(dim=1)
    number = (samples.y * torch.tensor([16, 4, 1])).sum(dim=1)
    assert torch.allclose(samples.logp_tok.sum(dim=1), logp[number], atol=1e-12)
    assert (torch.bincount(number, minlength=64) / n - logp.exp()).abs().sum() / 2 < 0.02
    assert all(len(set(row)) == 3 for row in samples.y[:200].tolist())


def test_ended_answers_are_dropped_and_the_others_undisturbed():
    policy = byte_policy()
    with torch.no_grad():
        policy.embedding.weight[EOS] *= 3
    x = [policy.encode(one) for one in ASKED]
    samples = policy.sample(x, 16, 60, 1.0, torch.Generator().manual_seed(0))
    assert samples.mask.sum(dim=1).unique().numel() > 5
    assert torch.allclose(policy.logp_tok(samples.x, samples.y), samples.logp_tok, atol=1e-4)
