"""Hugging Face models as policies and reward models, on tiny ones made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from trainers import nn
from trainers.__main__ import main
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.hugging_face_reward import HuggingFaceReward
from trainers.records import Message

CHATML = (
    "{% for m in messages %}<s><|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s><|assistant|>{% endif %}"
)
TEXT = [
    "the room was clean and quiet",
    "what is two plus two? it is four",
    "a quiet room, please, at four",
] * 4


def tokenizer(chat: bool, adds_bos: bool = True, adds_eos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens whose PAD is its EOS."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    made.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if adds_bos:
        single = "<s> $A </s>" if adds_eos else "<s> $A"
        made.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    wrapped.chat_template = CHATML if chat else None
    return wrapped


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).eval()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=1
    )
    return GPT2LMHeadModel(shape).eval()


def chat_policy(**config: object) -> HuggingFacePolicy:
    return HuggingFacePolicy(llama(), tokenizer(chat=True), HuggingFaceConfig(**config)).eval()


@pytest.fixture(params=["llama", "gpt2"])
def policy(request: pytest.FixtureRequest) -> HuggingFacePolicy:
    if request.param == "llama":
        return chat_policy()
    return HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig()).eval()


def drawn(policy: HuggingFacePolicy, temperature: float, n: int = 3, seed: int = 0) -> nn.Samples:
    x = [policy.encode(text) for text in ("the room", "what is two plus two? it is", "a")]
    return policy.sample(x, n, 24, temperature, torch.Generator().manual_seed(seed))


def test_sampled_log_probabilities_are_those_computed_without_a_cache(policy: HuggingFacePolicy) -> None:
    for temperature in (0.7, 1.0):
        samples = drawn(policy, temperature)
        again = policy.logp_tok(samples.x, samples.y, temperature)
        assert torch.allclose(again, samples.logp_tok, atol=1e-5)
        assert samples.logp_tok[samples.mask].max() < 0


def test_a_seed_gives_the_same_samples_again(policy: HuggingFacePolicy) -> None:
    assert torch.equal(drawn(policy, 1.0).y, drawn(policy, 1.0).y)
    assert not torch.equal(drawn(policy, 1.0).y[:, :2], drawn(policy, 1.0, seed=1).y[:, :2])


def test_answers_longer_than_the_model_reads_are_refused_with_what_would_fit(
    policy: HuggingFacePolicy,
) -> None:
    """Past its positions a Llama would draw on as if nothing were, and GPT-2 fall over an index."""
    x, chance = [policy.encode("a"), policy.encode("the room")], torch.Generator().manual_seed(0)
    fits = 256 - max(len(ids) for ids in x)
    assert policy.sample(x, 1, fits, 1.0, chance).y.shape[1] <= fits
    with pytest.raises(
        ValueError, match=rf"do not fit the 256 that this policy reads: ask for at most {fits}\.$"
    ):
        policy.sample(x, 1, fits + 1, 1.0, chance)
    shorter = chat_policy(context=64)
    fits = 64 - len(shorter.encode("a"))
    with pytest.raises(
        ValueError, match=f"the 64 .* at most {fits}, or raise context in the policy's kibitz.json"
    ):
        shorter.sample([shorter.encode("a")], 1, fits + 1, 1.0, chance)


def test_neither_batch_nor_padding_changes_a_log_probability(policy: HuggingFacePolicy) -> None:
    asked = ["hi", "what is two plus two? it is", "a quiet room, please"]
    pairs = [
        policy.encode_pair(x, y) for x, y in zip(asked, [" four", " a much longer answer", ""], strict=True)
    ]
    together = nn.collate(policy, pairs)
    logp = policy.logp_tok(together.x, together.y)
    for row, pair in enumerate(pairs):
        alone = nn.collate(policy, [pair])
        expected = policy.logp_tok(alone.x, alone.y)[0]
        assert torch.allclose(logp[row, : len(pair[1])], expected, atol=1e-5)
        assert not logp[row, len(pair[1]) :].any()


def test_log_probabilities_are_those_of_the_plain_model() -> None:
    model, policy = llama(), chat_policy()
    x, y = policy.encode_pair("hi", "four")
    logits = model(input_ids=torch.cat((x, y))[None]).logits[0]
    expected = logits.log_softmax(-1)[len(x) - 1 : -1].gather(1, y[:, None])[:, 0]
    assert torch.allclose(policy.logp_tok([x], y[None])[0], expected, atol=1e-5)


def test_pad_equal_to_eos_is_replaced_and_never_sampled(policy: HuggingFacePolicy) -> None:
    assert policy.pad != policy.eos
    _, y = policy.encode_pair("hi", "four")
    assert y[-1] == policy.eos
    assert policy.mask(y).all()  # EOS is learned from
    logits = policy.logits([policy.encode("hi")], y[None])
    assert logits.softmax(-1)[..., policy.pad].max() == 0
    assert logits.softmax(-1)[..., len(policy.text.tokenizer) :].max() == 0  # nor the rows that fill up to 64
    embedding = policy.model.get_input_embeddings()
    assert embedding.num_embeddings % 64 == 0


def test_an_end_is_recognised_and_nothing_follows_it() -> None:
    policy = chat_policy()
    samples = policy.sample([policy.encode("hi")], 64, 40, 3.0, torch.Generator().manual_seed(0))
    ended = samples.y == policy.eos
    assert ended.any(), "no sample ended: the test shows nothing"
    assert not samples.finished.all()
    assert torch.equal(samples.finished, ended.any(dim=1))
    for y, mask in zip(samples.y, samples.mask, strict=True):
        where = (y == policy.eos).nonzero()
        length = int(where[0]) + 1 if len(where) else samples.y.shape[1]
        assert mask[:length].all() and not mask[length:].any()
        assert (y[length:] == policy.pad).all()


def test_a_template_writes_its_special_tokens_once() -> None:
    policy = chat_policy()  # its tokenizer would add a second <s> in front
    x = policy.encode("hi")
    text = "<s><|user|>hi</s><s><|assistant|>"
    assert policy.text.tokenizer.decode(x) == text
    chat = (Message("system", "be brief"), Message("user", "hi"))
    ids = policy.encode(chat)
    assert policy.text.tokenizer.decode(ids) == "<s><|system|>be brief</s>" + text


def test_without_a_template_the_tokenizers_bos_is_kept_and_its_eos_taken_off() -> None:
    policy = HuggingFacePolicy(gpt2(), tokenizer(chat=False, adds_eos=True), HuggingFaceConfig())
    x, y = policy.encode_pair("the room", " was clean")
    assert x[0] == 0 and (x == 0).sum() == 1
    assert (x == policy.eos).sum() == 0
    assert (y == policy.eos).sum() == 1 and y[-1] == policy.eos


def test_a_chat_for_a_model_without_a_template_is_refused() -> None:
    policy = HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig())
    with pytest.raises(ValueError, match="no chat template"):
        policy.encode((Message("user", "hi"),))


def test_no_token_of_an_answer_is_lost_where_it_merges_with_the_prompt() -> None:
    policy = HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig())
    prompt, answer = "the roo", "m was clean"  # "room" is one token
    whole = policy.text.tokenizer(prompt + answer)["input_ids"]
    x, y = policy.encode_pair(prompt, answer)
    assert whole[: len(x)] != x.tolist(), "nothing merges: the test shows nothing"
    assert torch.equal(x, policy.encode(prompt))
    assert policy.text.tokenizer.decode([*x, *y], skip_special_tokens=True) == prompt + answer
    assert policy.decode(y) == answer


def test_overlong_prompts_keep_bos_and_their_end() -> None:
    policy = HuggingFacePolicy(gpt2(), tokenizer(chat=False), HuggingFaceConfig(context=32))
    x, y = policy.encode_pair("x " * 400 + "the end", "y " * 400)
    assert len(x) == 16 and x[0] == 0
    assert policy.text.tokenizer.decode(x).endswith("the end")
    assert len(y) == 16 and policy.eos not in y


def test_a_saved_policy_opens_as_itself(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    path = nn.save(policy, tmp_path / "policy")
    again = nn.load_policy(path)
    x, y = policy.encode_pair("hi", " four")
    assert torch.equal(again.encode("hi"), x)
    assert (again.pad, again.eos) == (policy.pad, policy.eos)
    assert torch.equal(again.logp_tok([x], y[None]), policy.logp_tok([x], y[None]))
    assert nn.digest(nn.save(again, tmp_path / "again")) == nn.digest(path)


def test_a_plain_hugging_face_folder_is_a_policy(tmp_path: Path) -> None:
    model = llama()
    model.save_pretrained(tmp_path)
    tokenizer(chat=True).save_pretrained(tmp_path)
    opened = nn.load_policy(tmp_path)
    x, y = opened.encode_pair("hi", "four")
    expected = chat_policy()
    assert torch.allclose(opened.logp_tok([x], y[None]), expected.logp_tok([x], y[None]), atol=1e-6)


def dpo_steps(policy: HuggingFacePolicy, steps: int) -> list[float]:
    """-log sigmoid of the log-ratio between two answers, straight down."""
    x, chosen = policy.encode_pair("hi", "four")
    _, rejected = policy.encode_pair("hi", "a room")
    batch = nn.collate(policy, [(x, chosen), (x, rejected)])
    start = policy.logp_tok(batch.x, batch.y).sum(1).detach()
    optimiser = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        ratio = policy.logp_tok(batch.x, batch.y).sum(1) - start
        loss = -torch.nn.functional.logsigmoid(ratio[0] - ratio[1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_lora_trains_only_the_adapters_and_starts_as_its_base(tmp_path: Path) -> None:
    base, policy = chat_policy(), chat_policy(lora_rank=4)
    x, y = base.encode_pair("hi", "four")
    assert torch.equal(policy.logp_tok([x], y[None]), base.logp_tok([x], y[None]))
    before = {name: value.clone() for name, value in policy.named_parameters()}
    losses = dpo_steps(policy, 5)
    assert losses[0] == pytest.approx(0.6931472, abs=1e-6) and losses[-1] < 0.6
    changed = {name for name, value in policy.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert all("lora_" in name for name in policy.state_dict())

    path = nn.save(policy, tmp_path / "policy")
    again = nn.load_policy(path)
    expected = policy.logp_tok([x], y[None])
    assert torch.equal(again.logp_tok([x], y[None]), expected)
    assert {n for n, p in again.named_parameters() if p.requires_grad} == changed
    assert nn.digest(nn.save(again, tmp_path / "again")) == nn.digest(path)
    restored = chat_policy(lora_rank=4, lora_seed=1)
    restored.load_state_dict(policy.state_dict())  # as a checkpoint does
    assert torch.equal(restored.logp_tok([x], y[None]), expected)
    with pytest.raises(ValueError, match="do not fit"):
        restored.load_state_dict(base.state_dict())

    merged = policy.merged()
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    assert torch.allclose(merged.logp_tok([x], y[None]), expected, atol=1e-5)
    nn.save(merged, tmp_path / "merged")
    assert torch.allclose(nn.load_policy(tmp_path / "merged").logp_tok([x], y[None]), expected, atol=1e-5)


def test_adapters_are_saved_beside_an_untouched_base_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    plain = nn.save(chat_policy(), tmp_path / "plain")
    path = nn.save(chat_policy(lora_rank=2), tmp_path / "policy")
    assert (path / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    described = json.loads((path / "adapter" / "adapter_config.json").read_text())
    # peft keeps the adapted layers in a set, whose order differs from process to process.
    assert described["target_modules"] == sorted(described["target_modules"])
    assert str(tmp_path) not in json.dumps(described)


def classifier(folder: Path, labels: int = 1) -> Path:
    torch.manual_seed(0)
    shape = llama().config
    shape.num_labels = labels
    shape.pad_token_id = None
    LlamaForSequenceClassification(shape).save_pretrained(folder)
    tokenizer(chat=True).save_pretrained(folder)
    return folder


def test_a_causal_classifier_scores_the_last_real_token(tmp_path: Path) -> None:
    model = nn.load_reward_model(classifier(tmp_path))
    assert isinstance(model, HuggingFaceReward)
    asked, answers = ["hi", "what is two plus two?", "a"], ["four", "a quiet room, please", ""]
    together = model.score(asked, answers)
    alone = torch.cat([model.score([x], [y]) for x, y in zip(asked, answers, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)
    (ids, _), *_ = model.encode(asked, answers)
    states = model.model.model(input_ids=ids[None]).last_hidden_state[0, -1]
    assert ids[-1] == 1  # the answer's EOS
    assert together[0].item() == pytest.approx(model.model.score(states).item(), abs=1e-5)


def test_a_classifiers_scale_is_kept(tmp_path: Path) -> None:
    model = nn.load_reward_model(classifier(tmp_path / "plain"))
    before = model.score(["hi", "a"], ["four", "room"])
    model.normalise(1.0, 4.0)
    again = nn.load_reward_model(nn.save(model, tmp_path / "kept"))
    assert torch.allclose(again.score(["hi", "a"], ["four", "room"]), (before - 1) / 4, atol=1e-6)


def test_a_classifier_of_several_classes_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 3"):
        nn.load_reward_model(classifier(tmp_path, labels=3))


def test_a_bert_classifier_reads_prompt_and_answer_as_a_pair(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hi", "four", "room", "quiet"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=1,
    )
    BertForSequenceClassification(shape).save_pretrained(tmp_path)
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    model = nn.load_reward_model(tmp_path)
    ((ids, types),) = model.encode(["hi"], ["quiet room"])
    assert [words[i] for i in ids] == ["[CLS]", "hi", "[SEP]", "quiet", "room", "[SEP]"]
    assert types.tolist() == [0, 0, 0, 1, 1, 1]
    together = model.score(["hi", "hi hi hi"], ["quiet room", "four"])
    assert together[0].item() == pytest.approx(model.score(["hi"], ["quiet room"]).item(), abs=1e-6)


def test_the_command_line_gives_a_policy_adapters_and_folds_them_in(tmp_path: Path) -> None:
    plain = nn.save(chat_policy(), tmp_path / "plain")
    adapted, folded = tmp_path / "adapted", tmp_path / "folded"
    assert main(["lora", str(plain), str(adapted), "--rank", "2"]) == 0
    policy = nn.load_policy(adapted)
    x, y = policy.encode_pair("hi", "four")
    before = nn.load_policy(plain).logp_tok([x], y[None])
    assert torch.allclose(policy.logp_tok([x], y[None]), before)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight += 0.1
    changed = policy.logp_tok([x], y[None])
    assert not torch.allclose(changed, before)
    nn.save(policy, adapted)
    assert main(["merge", str(adapted), str(folded)]) == 0
    whole = nn.load_policy(folded)
    assert not any("lora_" in name for name in whole.state_dict())
    assert torch.allclose(whole.logp_tok([x], y[None]), changed, atol=1e-5)


def test_adapters_for_a_model_that_cannot_have_them_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = nn.save(chat_policy(), tmp_path / "plain")
    assert main(["merge", str(plain), str(tmp_path / "out")]) == 1
    assert main(["lora", str(plain), str(tmp_path / "out"), "--rank", "0"]) == 1
    assert main(["lora", str(tmp_path), str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().err
    assert "no adapters" in said and "rank" in said and "holds no model" in said
