"""Answers drawn from a policy."""

from __future__ import annotations

import pytest
import torch

from trainers.nn.byte_transformer import EOS, ByteTransformer, ByteTransformerConfig
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Message
from trainers.sampling import beginning, sample_answers


def test_answers_stand_beside_their_prompts_and_their_ids() -> None:
    policy = SeqTable(TableConfig(prompts=("p", "q")), seed=1)
    with torch.no_grad():  # to p always "aaa", to q always "ddd"
        policy.table[0, :, 0] += 100
        policy.table[1, :, 3] += 100
    drawn = sample_answers(policy, ["q", "p"], 2, 3, 1.0, torch.Generator().manual_seed(0))
    assert drawn.prompts == ["q", "q", "p", "p"]
    assert drawn.texts == ["ddd", "ddd", "aaa", "aaa"]
    assert drawn.samples.y.tolist() == [[3, 3, 3]] * 2 + [[0, 0, 0]] * 2
    assert [x.item() for x in drawn.samples.x] == [1, 1, 0, 0]


def test_texts_are_what_was_sampled_up_to_its_end() -> None:
    policy = ByteTransformer(ByteTransformerConfig(d=16, layers=1, heads=2), seed=0)
    with torch.no_grad():
        policy.embedding.weight[EOS] *= 30
    asked = ["hi", (Message("user", "Is it quiet?"),)]
    drawn = sample_answers(policy, asked, 16, 12, 1.0, torch.Generator().manual_seed(0))
    assert drawn.prompts == [asked[0]] * 16 + [asked[1]] * 16
    assert drawn.samples.finished.any()
    for text, y, mask in zip(drawn.texts, drawn.samples.y, drawn.samples.mask, strict=True):
        ids = [token for token in y[mask].tolist() if token != EOS]
        assert text == bytes(ids).decode("utf-8", errors="replace")


def test_a_seed_gives_the_same_answers_again() -> None:
    policy = SeqTable(TableConfig(prompts=("p",)), seed=1)
    first, again, other = (
        sample_answers(policy, ["p"], 8, 3, 1.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.texts == again.texts != other.texts


def spelling(text: str) -> ByteTransformer:
    """A byte transformer that says `text` over and over, whatever it is asked: each letter calls for the next."""
    policy = ByteTransformer(ByteTransformerConfig(d=64, layers=1, heads=2), seed=0)
    optimiser = torch.optim.Adam(policy.parameters(), 0.01)
    y = torch.tensor([list((text * 8).encode())])
    for _ in range(60):
        optimiser.zero_grad()
        (-policy.logp_tok([policy.encode("say it")], y).mean()).backward()
        optimiser.step()
    return policy.eval()


def test_a_stop_string_ends_the_text_and_what_was_drawn_keeps_its_log_probabilities() -> None:
    torch.manual_seed(0)
    policy = spelling("one two. ")
    drawn = sample_answers(
        policy, ["say it"], 12, 40, 1.0, torch.Generator().manual_seed(0), stop=["two.", ". o"]
    )
    ends = 0
    for row, text in enumerate(drawn.texts):
        y, mask = drawn.samples.y[row], drawn.samples.mask[row]
        whole = policy.decode(y)
        assert "two." not in text and ". o" not in text
        if "two." in whole:
            ends += 1
            assert whole.endswith("two.") and text == whole[: whole.index("two.")]
            assert drawn.samples.finished[row] and mask.sum() == len(whole)
    assert ends >= 10
    again = policy.logp_tok(drawn.samples.x, drawn.samples.y)
    assert torch.allclose(again, drawn.samples.logp_tok, atol=1e-4)


def test_a_stop_string_ends_no_answer_that_does_not_hold_it() -> None:
    policy = SeqTable(TableConfig(prompts=("p",), length=4), seed=1)
    plain, stopped = (
        sample_answers(policy, ["p"], 64, 4, 1.0, torch.Generator().manual_seed(0), stop=stop)
        for stop in ((), ("zz",))
    )
    assert plain.texts == stopped.texts
    some = sample_answers(policy, ["p"], 64, 4, 1.0, torch.Generator().manual_seed(0), stop=["aa"])
    assert any(len(text) < 4 for text in some.texts)
    for text, y in zip(some.texts, some.samples.y, strict=True):
        whole = policy.decode(y[y != policy.pad])
        assert text == whole.split("aa")[0] and (("aa" in whole) == (whole[-2:] == "aa"))


def test_a_beginning_is_in_the_text_and_not_in_the_mask() -> None:
    torch.manual_seed(0)
    policy = spelling("one two. ")
    forced = [beginning(policy, "say it", "one t")]
    drawn = sample_answers(
        policy, ["say it"], 8, 4, 0.3, torch.Generator().manual_seed(0), forced=forced, stop=["!"]
    )
    assert forced[0].tolist() == list(b"one t")
    assert set(drawn.texts) == {"one two. "}
    assert drawn.forced.sum(dim=1).tolist() == [5] * 8 and drawn.samples.mask.sum(dim=1).tolist() == [4] * 8


def test_stop_strings_that_make_no_sense_are_refused() -> None:
    policy = spelling("a")
    for stop, forced, said in (([""], "a", "An empty stop string"), (["b"], "abc", "holds the stop string")):
        with pytest.raises(ValueError, match=said):
            sample_answers(
                policy, ["p"], 1, 4, 1.0, torch.Generator(),
                forced=[beginning(policy, "p", forced)], stop=stop,
            )  # fmt: skip
