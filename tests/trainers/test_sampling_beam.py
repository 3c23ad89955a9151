"""Beam search against enumeration, and answers for the eye."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.test_sampling_decoding import byte_policy
from trainers.nn.byte_transformer import EOS
from trainers.nn.table import SeqTable, TableConfig
from trainers.sampling import beam, display
from trainers.sampling.beam import beam_search
from trainers.sampling.display import nucleus, texts_to_show

TABLE = TableConfig(prompts=tuple(f"p{i}" for i in range(40)))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_a_beam_of_full_width_finds_every_answer_the_exact_mode_first():
    table = SeqTable(TABLE, seed=5)
    found = beam_search(table, ["p3", "p7"], 64, 3)
    for prompt, answers in zip((3, 7), found, strict=True):
        logp, order = table.logp_all()[prompt].detach().sort(descending=True)
        assert [one.text for one in answers] == [table.decode(table.enumerate()[i]) for i in order]
        assert torch.allclose(torch.tensor([one.logp for one in answers], dtype=logp.dtype), logp, atol=1e-12)
        assert all(one.finished for one in answers)


def test_a_beam_wider_than_there_are_answers_finds_each_once():
    table = SeqTable(TABLE, seed=5)
    (answers,) = beam_search(table, ["p0"], 100, 3)
    assert len(answers) == 64 == len({one.text for one in answers})


def test_a_wider_beam_finds_likelier_answers_on_the_mean_and_one_of_width_1_is_greedy():
    table = SeqTable(TABLE, seed=6)
    with torch.no_grad():
        table.table *= 0.7
    means = {
        width: sum(best[0].logp for best in beam_search(table, TABLE.prompts, width, 3)) / 40
        for width in (1, 3, 8, 64)
    }
    exact = table.logp_all().max(dim=1).values.mean().item()
    assert means[1] < means[3] <= means[8] <= means[64] == pytest.approx(exact, abs=1e-12)
    for prompt, best in enumerate(beam_search(table, TABLE.prompts, 1, 3)):
        y = torch.zeros(1, 3, dtype=torch.int64)
        for t in range(3):
            y[0, t] = table.logits([torch.tensor([prompt])], y)[0, t].argmax()
        assert best[0].text == table.decode(y[0])


def test_answers_of_a_batch_are_those_of_each_prompt_alone_and_end_where_they_end():
    policy = byte_policy(("quiet", "room"))
    optimiser = torch.optim.Adam(policy.parameters(), 0.01)
    for _ in range(20):  # a little of an answer that is shorter than there is room for
        optimiser.zero_grad()
        (-policy.logp_tok([policy.encode("hi")], policy.encode_pair("hi", "yes")[1][None]).mean()).backward()
        optimiser.step()
    asked = ["hi", "is it quiet?", "a quiet room, please, and a view of the sea"]
    together = beam_search(policy, asked, 4, 12)
    for prompt, answers in zip(asked, together, strict=True):
        (alone,) = beam_search(policy, [prompt], 4, 12)
        assert [one.text for one in alone] == [one.text for one in answers]
        for one in answers:
            again = policy.logp_tok([policy.encode(prompt)], one.y[None]).sum().item()
            assert one.logp == pytest.approx(again, abs=1e-3)
            assert one.finished == (one.y[-1].item() == EOS)
            assert (one.y == EOS).sum() <= 1 and one.y.max() < policy.embedding.num_embeddings
        assert [one.logp for one in answers] == sorted((one.logp for one in answers), reverse=True)
    assert any(one.finished and len(one.y) < 12 for answers in together for one in answers)


def test_a_beam_has_some_width():
    with pytest.raises(ValueError, match="0 wide"):
        beam_search(SeqTable(TABLE), ["p0"], 0, 3)


def test_what_beam_and_eye_get_is_no_sample():
    """Nothing that cut the distribution short comes with what training would need."""
    assert beam.Found.__dataclass_fields__.keys() == {"text", "y", "logp", "finished"}
    table = SeqTable(TABLE)
    shown = texts_to_show(table, ["p0"], 3, 3, 1.0, torch.Generator().manual_seed(0), top_k=2)
    assert all(type(text) is str for text in shown) and len(shown) == 3
    assert not hasattr(display, "Samples")


def test_the_nucleus_holds_the_fewest_tokens_with_so_much_probability():
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.97, 0.01, 0.01, 0.01]]).log()
    kept = nucleus(0.6, 0, 1.0)(logits, torch.empty(2, 0)) > -1e8
    assert kept.tolist() == [[False, True, False, True], [True, False, False, False]]
    assert (nucleus(1.0, 0, 1.0)(logits, torch.empty(2, 0)) == logits).all()
    assert (nucleus(1.0, 3, 1.0)(logits, torch.empty(2, 0)) > -1e8).sum(dim=1).tolist() == [3, 3]
    # At a temperature the probabilities are those drawn at: nearly even here, so more tokens are needed.
    assert (nucleus(0.6, 0, 10.0)(logits, torch.empty(2, 0)) > -1e8)[0].sum() == 3


def test_only_the_nucleus_is_shown_in_proportion():
    table = SeqTable(TableConfig(prompts=("p",), symbols="abcd", length=1), seed=1)
    p = table.logp_all()[0].detach().exp()
    texts = texts_to_show(table, ["p"], 8000, 1, 1.0, torch.Generator().manual_seed(0), top_k=2)
    top, which = p.topk(2)
    shares = [texts.count("abcd"[i]) / 8000 for i in which.tolist()]
    assert sum(shares) == 1
    assert shares == pytest.approx((top / top.sum()).tolist(), abs=0.02)


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_a_nucleus_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        texts_to_show(SeqTable(TABLE), ["p0"], 1, 3, 1.0, torch.Generator(), **wrong)
