"""The same model, texts and settings through TRL 1.16's trainers and through our losses: values and gradients to 1e-5.

TRL's side was written to trl_golden.json by benchmarks/trl_golden.py, in an environment of its own.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers import tiny_llama
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import rows, snapshot
from trainers import api, nn
from trainers.data import Preference
from trainers.fit import Tally
from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy
from trainers.nn.hugging_face_reward import HuggingFaceReward
from trainers.nn.policy import pad_right
from trainers.records import Pair
from trainers.run import Spec
from trainers.sampling import pairs

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("trl_golden.json").read_text())
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def each(name: str) -> Any:
    return pytest.mark.parametrize("case", GOLDEN[name]["cases"].values(), ids=GOLDEN[name]["cases"])


def wrapped(model: Any) -> HuggingFacePolicy:
    return HuggingFacePolicy(model, tiny_llama.tokenizer(), HuggingFaceConfig(context=64))


def near(wanted: Any) -> Any:
    return pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)


def same(loss: Tensor, model: Any, case: dict[str, Any]) -> None:
    """The loss and the gradient of every weight: its length, and how far it goes along two fixed directions."""
    loss.backward()
    assert loss.item() == near(case["loss"])
    found = tiny_llama.summary(model)
    assert found.keys() == case["gradient"].keys()
    for name, (length, *along) in found.items():
        wanted_length, *wanted = case["gradient"][name]
        assert length == near(wanted_length), name
        # Along a direction the parts of a gradient may cancel: what is left is compared with the whole.
        assert along == pytest.approx(wanted, abs=TOLERANCE * max(1.0, wanted_length)), name


def spoken(batch: dict[str, Any], prefix: str = "") -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of TRL's batch."""
    found = []
    for ids, mask in zip(batch[f"{prefix}input_ids"], batch[f"{prefix}completion_mask"], strict=True):
        start, end = mask.index(1), len(mask) - mask[::-1].index(1)
        found.append((ids[:start], ids[start:end]))
    return found


# --- DPO and its variants -------------------------------------------------------------------------


def encoded(policy: HuggingFacePolicy) -> list[pairs.Row]:
    preferences = [Preference(x, better, worse, 1.0, True, "") for x, better, worse, _ in tiny_llama.PAIRS]
    return [pairs.encode(policy, one) for one in preferences]


def test_a_pairs_ids_are_those_that_trl_makes_of_its_texts():
    read = encoded(wrapped(tiny_llama.policy()))
    ours = [(x.tolist(), y_w.tolist()) for x, y_w, _ in read] + [
        (x.tolist(), y_l.tolist()) for x, _, y_l in read
    ]
    assert ours == spoken(GOLDEN["dpo"]["batch"])


def preference_losses(name: str, settings: dict[str, Any], model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [B], rewards [B, 2] and log-probabilities [B, 2] of our method for one of TRL's `loss_type`s."""
    policy, reference = wrapped(model), wrapped(tiny_llama.reference())
    read = encoded(policy)
    module = method({"sigmoid": "direct/dpo", "ipo": "direct/ipo", "robust": "direct/cdpo"}[name])
    logp = module.logps(policy, read)
    with torch.no_grad():
        logp_ref = module.logps(reference, read)
    if name == "robust":
        found = module.preference_loss(logp, logp_ref, settings["beta"], settings["label_smoothing"])
    elif name == "ipo":
        # TRL divides each answer's log-ratio by its tokens; our IPO, as its paper's Eq. 17, does not.
        tokens = pairs.lengths(read, logp.device)
        losses, _ = module.preference_loss(logp / tokens, logp_ref / tokens, settings["beta"])
        found = losses, settings["beta"] * (logp - logp_ref)
    else:
        found = module.preference_loss(logp, logp_ref, settings["beta"])
    return *found, logp


@each("dpo")
def test_dpo_ipo_and_robust_dpo_have_trls_loss_gradient_and_numbers(case):
    model = tiny_llama.policy()
    losses, rewards, logp = preference_losses(case["settings"]["loss_type"][0], case["settings"], model)
    same(losses.mean(), model, case)
    tally = Tally()
    pairs.watch(tally, "", rewards, logp)
    for name, value in tally.numbers().items():
        assert value == near(case["logged"][name]), name


@pytest.mark.parametrize(
    ("name", "config"), [("direct/dpo", {"beta": 0.1}), ("direct/cdpo", {"beta": 0.5, "flips": 0.2})]
)
def test_a_whole_run_logs_trls_first_step(name, config, tmp_path):
    """From records on disk to the row on the chart: reading, encoding, the kept reference, the loss, the gradient."""
    case = GOLDEN["dpo"]["cases"]["sigmoid" if name == "direct/dpo" else "robust"]
    records = [Pair(f"p{i}", x, better, worse) for i, (x, better, worse, _) in enumerate(tiny_llama.PAIRS)]
    inputs = {
        role: str(nn.save(wrapped(make()), tmp_path / role))
        for role, make in (("policy", tiny_llama.policy), ("reference", tiny_llama.reference))
    }
    settings = {**config, "held_out": 0, "batch_size": 5, "micro_batch": 2}
    spec = Spec(
        name, tmp_path / "run", settings, inputs=inputs, snapshot=snapshot(tmp_path / "records", records)
    )
    assert api.execute(spec) == 0
    first = rows(spec.home)[0]
    assert first["loss"] == near(case["loss"])
    assert first["grad_norm"] == near(math.hypot(*(length for length, *_ in case["gradient"].values())))
    for logged in (
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
    ):
        assert first[logged] == near(case["logged"][logged]), logged


# --- SimPO and ORPO -------------------------------------------------------------------------------


def test_simpo_has_trls_loss_gradient_and_rewards():
    (case,) = GOLDEN["simpo"]["cases"].values()
    simpo, model, settings = method("direct/simpo"), tiny_llama.policy(), case["settings"]
    policy = wrapped(model)
    read = encoded(policy)
    logp, lengths = simpo.logps(policy, read), pairs.lengths(read, policy.device)
    losses, rewards = simpo.preference_loss(logp, lengths, settings["beta"], settings["simpo_gamma"])
    same(losses.mean(), model, case)
    tally = Tally()
    pairs.watch(tally, "", rewards, logp / lengths)  # TRL logs means over tokens as `logps`
    for name, value in tally.numbers().items():
        assert value == near(case["logged"][name]), name


def test_orpo_has_trls_odds_and_with_its_prompts_fine_tuned_too_its_loss_and_gradient():
    """TRL's fine-tuning term reads the prompt as well, from its second token on; ours answers alone, as the paper's."""
    (case,) = GOLDEN["orpo"]["cases"].values()
    orpo, model = method("direct/orpo"), tiny_llama.policy()
    policy = wrapped(model)
    read = encoded(policy)
    losses, ratios = orpo.odds_ratio_loss(orpo.logps(policy, read) / pairs.lengths(read, policy.device))
    whole = [(x[:1], torch.cat([x[1:], y_w])) for x, y_w, _ in read]
    batch = nn.collate(policy, whole)
    nll = -policy.logp_tok(batch.x, batch.y).sum() / batch.mask.sum()
    logged = case["logged"]
    assert [nll.item(), -losses.mean().item(), ratios.mean().item()] == near(
        [logged["nll_loss"], logged["log_odds_ratio"], logged["log_odds_chosen"]]
    )
    same(nll + case["settings"]["beta"] * losses.mean(), model, case)


# --- KTO ------------------------------------------------------------------------------------------


def test_kto_has_trls_answers_and_its_mismatched_ones_too():
    policy, batch = wrapped(tiny_llama.policy()), GOLDEN["kto"]["batch"]
    read = opinions(policy)
    assert [(x.tolist(), y.tolist()) for x, y, _ in read] == spoken(batch)
    assert [(x.tolist(), other.tolist()) for x, _, other in read] == spoken(batch, "KL_")


def opinions(policy: HuggingFacePolicy) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Each answer with the one before it in the batch, as TRL mismatches them."""
    read = [policy.encode_pair(x, answer) for x, answer, _ in tiny_llama.OPINIONS]
    return [(x, y, read[number - 1][1]) for number, (x, y) in enumerate(read)]


@each("kto")
def test_kto_has_trls_reference_point_loss_gradient_and_numbers(case):
    kto, settings = method("direct/kto"), case["settings"]
    models = [tiny_llama.policy(), tiny_llama.reference()]
    if not case["logged"]["kl"]:
        models.reverse()  # seen from the other side the mean log-ratio is negative, and the reference point 0
    policy = wrapped(models[0])
    read, everyone = opinions(policy), range(len(tiny_llama.OPINIONS))
    with torch.no_grad():
        reference = kto.logps(wrapped(models[1]), read)
    z0 = kto.reference_point(policy, read, reference, everyone, 3)
    assert z0.item() == near(case["logged"]["kl"])
    logp = kto.answer_logps(policy, read)
    ratios, desirable = logp - reference[:, 0], torch.tensor([good for *_, good in tiny_llama.OPINIONS])
    sides = torch.where(desirable, settings["desirable_weight"], settings["undesirable_weight"])
    same((sides * kto.value_loss(ratios, z0, desirable, settings["beta"])).mean(), models[0], case)
    tally = Tally()
    kto.watch(tally, "", settings["beta"] * ratios, logp, desirable, kto.margin_signs(desirable))
    for name, value in tally.numbers().items():
        assert value == near(case["logged"][name]), name


# --- reward models --------------------------------------------------------------------------------


@each("reward")
def test_a_reward_models_loss_and_gradient_are_trls_with_centring_and_margin(case):
    bt, settings = method("reward/bradley_terry"), case["settings"]
    model = tiny_llama.scorer()
    scorer = HuggingFaceReward(model, tiny_llama.tokenizer(), HuggingFaceConfig(context=64))
    asked = [x for x, *_ in tiny_llama.PAIRS]
    sides = [scorer.encode(asked, [pair[place] for pair in tiny_llama.PAIRS]) for place in (1, 2)]
    batch = GOLDEN["reward"]["batch"]
    read = [ids[: sum(mask)] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert [ids.tolist() for ids, _ in sides[0] + sides[1]] == read
    scores = scorer(sides[0] + sides[1]).view(2, -1).T
    loss = reward_loss(bt, scores, settings["margin"], settings["center_rewards_coefficient"] or 0.0)
    same(loss, model, case)
    logged = case["logged"]
    assert [scores.min().item(), scores.mean().item(), scores.max().item()] == near(
        [logged["min_reward"], logged["mean_reward"], logged["max_reward"]]
    )


def reward_loss(bt: Any, scores: Tensor, margin: float, centre: float) -> Tensor:
    strength = torch.tensor([float(strength) for *_, strength in tiny_llama.PAIRS])
    decided = torch.ones(len(strength), dtype=torch.bool)
    config = bt.Config(margin=margin, centre=centre, smoothing=0.0)
    return bt.preference_loss(scores, decided, strength, bt.Likelihood(config.ties, 0), config).mean()


# --- GRPO -----------------------------------------------------------------------------------------


def drawn(policy: HuggingFacePolicy) -> tuple[list[Tensor], Tensor, Tensor]:
    """The prompts, the answers that TRL was told to draw [N, T], and which of them ended [N]."""
    read = [policy.text.tokenizer(text)["input_ids"] for _, texts, _ in tiny_llama.SAMPLES for text in texts]
    x = [policy.encode(prompt) for prompt, texts, _ in tiny_llama.SAMPLES for _ in texts]
    y = pad_right([torch.tensor(ids) for ids in read], policy.pad)
    return x, y, (y == policy.eos).any(dim=1)


@each("grpo")
def test_grpo_has_trls_advantages_log_probabilities_loss_and_gradient(case):
    grpo, settings, fixed = method("online/grpo"), case["settings"], GOLDEN["grpo"]["fixed"]
    model = tiny_llama.policy()
    policy = wrapped(model)
    x, y, finished = drawn(policy)
    assert y.tolist() == GOLDEN["grpo"]["batch"]["completion_ids"]
    mask = policy.mask(y)
    if settings.get("mask_truncated_completions"):
        mask = mask & finished[:, None]
    assert mask.long().tolist() == case["completion_mask"] and mask.sum().item() == case["tokens"]

    scores = torch.tensor(case["rewards"]).view(-1, fixed["k"])
    advantages = grpo.group_advantages(scores, settings["scale_rewards"]).flatten()
    assert advantages.tolist() == near(case["advantages"])

    def read(of: Any) -> Tensor:
        return wrapped(of).logp_tok(x, y, fixed["temperature"])

    logp = policy.logp_tok(x, y, fixed["temperature"])
    with torch.no_grad():
        ref = read(tiny_llama.reference())
        old = read(tiny_llama.old_policy()) if settings["behind"] else logp.detach()
    for name, found in (("old_per_token_logps", old), ("ref_per_token_logps", ref)):
        if name in case:
            wanted = torch.tensor(case[name])
            torch.testing.assert_close(found[mask], wanted[mask], rtol=TOLERANCE, atol=TOLERANCE)
    loss = grpo.grpo_loss(
        logp, old, ref, advantages, mask,
        kl_coef=settings["beta"], clip_low=fixed["clip_low"], clip_high=fixed["clip_high"], tokens=mask.sum(),
    )  # fmt: skip
    same(loss, model, case)
