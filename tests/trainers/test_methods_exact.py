"""Formulas against enumeration and hand-worked numbers; and the usual mistakes, each of which must fail its check."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.trainers.toys import entries, pairs, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.envs import hotel
from trainers.fit import Tally
from trainers.nn import Samples
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.nn.reward import ByteReward
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Demonstration
from trainers.registry import METHODS
from trainers.run import Run, Spec

TWO_BY_64 = TableConfig(prompts=("p0", "p1"), symbols="abcd", length=3)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def method(name: str, right: str = "", wrong: str = "") -> ModuleType:
    """The module of a method; with one line of it replaced, a wrong variant of it."""
    module = importlib.import_module(METHODS[name].module)
    if not right:
        return module
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(right) == 1, (
        f"{name} no longer holds this once, so its wrong variant tests nothing: {right}"
    )
    variant = ModuleType(f"wrong_{name.replace('/', '_')}")
    sys.modules[variant.__name__] = variant  # where dataclasses look for their annotations
    exec(compile(source.replace(right, wrong), variant.__name__, "exec"), variant.__dict__)
    return variant


def minimise(parameters: list[torch.Tensor], loss) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=600, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


# --- DPO ------------------------------------------------------------------------------------------


def dpo_distance(dpo: ModuleType, shift: float = 0.0) -> float:
    """Total variation between DPO's minimum on the exact population loss and pi_ref exp(r / beta) / Z."""
    beta = 0.5
    generator = torch.Generator().manual_seed(3)
    reward = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    reward[1] += shift  # a constant of the prompt is in no preference
    policy, reference = SeqTable(TWO_BY_64, seed=1), SeqTable(TWO_BY_64, seed=1)
    strings = policy.enumerate()
    every = [(torch.tensor([x]), y, y) for x in range(2) for y in strings]
    i, j = torch.triu_indices(64, 64, offset=1)
    says_i = torch.sigmoid(reward[:, i] - reward[:, j])  # [2, pairs]

    def pair_logps(model: SeqTable, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        logp = dpo.logps(model, every)[:, 0].view(2, 64)
        return torch.stack([logp[:, one], logp[:, other]], dim=-1).flatten(0, 1)  # [2 * pairs, 2]

    with torch.no_grad():
        ref_ij, ref_ji = pair_logps(reference, i, j), pair_logps(reference, j, i)

    def population_loss():
        ij = dpo.preference_loss(pair_logps(policy, i, j), ref_ij, beta)[0]
        ji = dpo.preference_loss(pair_logps(policy, j, i), ref_ji, beta)[0]
        return (says_i.flatten() * ij + (1 - says_i.flatten()) * ji).mean()

    minimise(list(policy.parameters()), population_loss)
    with torch.no_grad():
        wanted = (reference.logp_all() + reward / beta).softmax(dim=1)
        return (policy.logp_all().exp() - wanted).abs().sum(dim=1).max().item() / 2


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_dpo_lands_on_the_closed_form_whatever_constant_a_prompt_adds(shift):
    assert dpo_distance(method("direct/dpo"), shift) < 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("beta * (logp - logp_ref)", "beta * logp"),
        (".sum(dim=2).T", ".mean(dim=2).T"),
        ("h = rewards[:, 0] - rewards[:, 1]", "h = rewards[:, 1] - rewards[:, 0]"),
    ],
    ids=["no reference", "mean over tokens", "chosen and rejected swapped"],
)
def test_a_wrong_dpo_lands_elsewhere(right, wrong):
    assert dpo_distance(method("direct/dpo", right, wrong)) > 0.05


def test_dpos_first_loss_is_ln_2(tmp_path):
    spec = toy_spec("direct/dpo", tmp_path)
    assert api.execute(spec) == 0
    assert rows(spec.home)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_dpos_first_loss_is_ln_2_for_a_transformer_too_and_nothing_is_logged_before_it(tmp_path):
    model = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1)), tmp_path / "policy")
    spec = replace(toy_spec("direct/dpo", tmp_path), inputs={"policy": str(model)})
    assert api.execute(spec) == 0
    first = rows(spec.home)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_at_the_reference_dpos_gradient_is_minus_half_beta_times_the_difference_of_scores():
    dpo, beta = method("direct/dpo"), 0.3
    policy = SeqTable(TWO_BY_64, seed=2)
    x, y_w, y_l = torch.tensor([1]), torch.tensor([0, 1, 2]), torch.tensor([3, 3, 0])
    logp = dpo.logps(policy, [(x, y_w, y_l)])
    losses, _ = dpo.preference_loss(logp, logp.detach(), beta)
    (found,) = torch.autograd.grad(losses.sum(), policy.table, retain_graph=True)
    (difference,) = torch.autograd.grad(logp[0, 0] - logp[0, 1], policy.table)
    torch.testing.assert_close(found, -beta / 2 * difference, rtol=1e-12, atol=1e-14)


def test_dpos_loss_is_the_number_worked_by_hand():
    """h = 0.1 ((-10 + 12) - (-9 + 8)) = 0.3; log(1 + e^-0.3) = 0.554355."""
    losses, rewards = method("direct/dpo").preference_loss(
        torch.tensor([[-10.0, -9.0]]), torch.tensor([[-12.0, -8.0]]), 0.1
    )
    assert losses.tolist() == pytest.approx([0.554355], abs=1e-6)
    assert rewards.tolist()[0] == pytest.approx([0.2, -0.1])


def test_dpo_measures_its_rewards_against_the_reference_it_is_given(tmp_path):
    spec = toy_spec("direct/dpo", tmp_path)
    reference = str(
        nn.save(SeqTable(nn.load_policy(spec.inputs["policy"]).config, seed=9), tmp_path / "reference")
    )
    assert api.execute(replace(spec, inputs={**spec.inputs, "reference": reference})) == 0
    first = rows(spec.home)[0]
    assert first["rewards/chosen"] != pytest.approx(0, abs=1e-3) and first["loss"] != pytest.approx(
        math.log(2)
    )


# --- RLOO -----------------------------------------------------------------------------------------


def rloo_error(rloo: ModuleType, temperature: float = 0.7, beta: float = 0.3) -> float:
    """Largest difference between the estimator's exact expectation and the gradient of
    E[r] - beta KL(pi || pi_ref), both at the sampling temperature, by enumeration of all draws of k = 2."""
    shape = TableConfig(prompts=("p",), symbols="abc", length=2)
    policy, reference = SeqTable(shape, seed=1), SeqTable(shape, seed=2)
    strings = policy.enumerate()
    score = torch.randn(9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    config = rloo.Config(k=2, kl_coef=beta, temperature=temperature, micro_batch=1)

    logp = policy.logp_all(temperature)[0]
    logp_ref = reference.logp_all(temperature)[0].detach()
    objective = (logp.exp() * (score - beta * (logp - logp_ref))).sum()
    (wanted,) = torch.autograd.grad(objective, policy.table)

    expected = torch.zeros_like(policy.table)
    x = [torch.tensor([0])] * 2
    for draw in itertools.product(range(9), repeat=2):
        y = strings[list(draw)]
        with torch.no_grad():
            logp_tok = policy.logp_tok(x, y, temperature)
        samples = Samples(x, y, logp_tok, policy.mask(y), torch.ones(2, dtype=torch.bool))
        ref_tok = reference.logp_tok(x, y, temperature).detach()
        scored = rloo.Scored(samples, [], [], ref_tok, score[list(draw)], None)
        advantages = rloo.leave_one_out(rloo.reward(scored, beta, 0.0).view(1, 2)).flatten()
        loss = torch.stack(list(rloo.policy_loss(policy, samples, advantages, config, Tally()))).sum()
        (gradient,) = torch.autograd.grad(loss, policy.table)
        expected -= logp_tok.sum().exp() * gradient
    return (expected - wanted).abs().max().item()


def test_rloos_estimator_has_exactly_the_enumerated_gradient_as_its_expectation():
    assert rloo_error(method("online/rloo")) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("return k / (k - 1) * centred(rewards)", "return centred(rewards)"),
        ("scored.score - beta * scored.kl", "scored.score + beta * scored.kl"),
        ("policy.logp_tok(x, y, config.temperature)", "policy.logp_tok(x, y)"),
        ("logp_tok.sum(dim=1)).sum() / len(advantages)", "logp_tok.mean(dim=1)).sum() / len(advantages)"),
        ("/ len(advantages)", "/ len(part)"),
    ],
    ids=[
        "own sample in its baseline",
        "KL rewarded",
        "temperature forgotten",
        "mean over tokens",
        "mean of means",
    ],
)
def test_a_wrong_rloo_has_another_gradient(right, wrong):
    assert rloo_error(method("online/rloo", right, wrong)) > 1e-3


def test_rloos_advantages_are_the_numbers_worked_by_hand():
    """Rewards 1, 2, 6: the others' means are 4, 3.5 and 1.5."""
    found = method("online/rloo").leave_one_out(torch.tensor([[1.0, 2.0, 6.0]]))
    assert found.tolist()[0] == pytest.approx([-3.0, -1.5, 4.5])


@pytest.mark.parametrize("reward", [0.1, -3.3e8, 16777216.0])
def test_equal_rewards_give_exactly_no_advantage_however_large_they_are(reward):
    """The mean of fourteen equal numbers is not always that number: 0.1 is off by 1.5e-8, -3.3e8 by 64."""
    found = method("online/rloo").leave_one_out(torch.full((1, 14), reward))
    assert found.tolist() == [[0.0] * 14]


def test_an_answer_without_an_end_costs_the_penalty():
    rloo = method("online/rloo")
    samples = Samples([], torch.zeros(2, 1), torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([True, False]))
    scored = rloo.Scored(samples, [], [], torch.full((2, 1), -2.0), torch.tensor([1.0, 1.0]), None)
    assert rloo.reward(scored, beta=0.1, penalty=3.0).tolist() == pytest.approx([0.8, -2.2])


def byte_spec(folder: Path, name: str, **config) -> Spec:
    """RLOO on a byte transformer, whose answers end where they like."""
    shape = ByteTransformerConfig(d=16, layers=1)
    policy = nn.save(ByteTransformer(shape), folder / "policy")
    scorer = nn.save(ByteReward(shape), folder / "scorer")
    return Spec(
        "online/rloo", folder / name, {"steps": 3, "max_new_tokens": 12, "watch": 1, **config},
        snapshot=snapshot(folder / "snapshot", pairs()), inputs={"policy": str(policy), "reward_model": str(scorer)},
    )  # fmt: skip


def test_on_policy_rloos_ratio_is_1_and_its_first_kl_is_0(tmp_path):
    spec = byte_spec(tmp_path, "run", temperature=0.8)
    assert api.execute(spec) == 0
    first = rows(spec.home)[0]
    for name in ("val/ratio", "val/ratio_min", "val/ratio_max"):
        assert first[name] == pytest.approx(1, abs=1e-4)
    assert first["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert 0 < first["completions/clipped_ratio"] <= 1


def test_rloo_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = byte_spec(tmp_path, "whole"), byte_spec(tmp_path, "cut", micro_batch=5)
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one.pop("objective/sqrt_kl") == pytest.approx(other.pop("objective/sqrt_kl"), abs=0.01)
        assert one == pytest.approx(other, rel=2e-3, abs=1e-4)


def test_rloo_shows_the_same_prompts_again_and_again_beginning_with_the_first_policys_answers(tmp_path):
    spec = toy_spec("online/rloo", tmp_path)
    assert api.execute(spec) == 0
    shown = {}
    for entry in entries(spec.home):
        if entry["type"] == "samples":
            shown.setdefault(entry["step"], [row["prompt"] for row in entry["rows"]])
    assert list(shown) == [0, 10, 20, 30, 40, 50, 60]
    assert len({tuple(prompts) for prompts in shown.values()}) == 1


# --- SFT ------------------------------------------------------------------------------------------


def sft_spec(folder: Path, name: str, micro_batch: int) -> Spec:
    texts = ["a", "bb", "a much longer answer than the others", "ccc", "dd dd", "e"]
    records = [Demonstration(f"d{i}", f"q{i}", text, weight=1 + i % 2) for i, text in enumerate(texts)]
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1)), folder / "policy")
    config = {"micro_batch": micro_batch, "batch_size": 6, "held_out": 0, "epochs": 2, "lr": 1e-2}
    where = snapshot(folder / "snapshot", records)
    return Spec("correction/sft", folder / name, config, inputs={"policy": str(policy)}, snapshot=where)


def sft_by_hand(spec: Spec) -> float:
    """-sum of w log p over all tokens, by weight times tokens, with a plain loop."""
    policy = nn.load_policy(spec.inputs["policy"])
    loss = weight = 0.0
    for record in api.read_records(spec.snapshot, ("demonstration",)):
        x, y = policy.encode_pair(record.prompt, record.answer)
        logits = policy.logits([x], y[None])[0].log_softmax(dim=-1)
        loss -= record.weight * sum(logits[t, token].item() for t, token in enumerate(y.tolist()))
        weight += record.weight * len(y)
        assert y[-1] == policy.eos, "the end of an answer is learned too"
    return loss / weight


def sft_error(sft: ModuleType, folder: Path) -> float:
    """How far the first loss, taken one answer at a time, is from the one worked by hand."""
    spec = sft_spec(folder, "cut", micro_batch=1)
    run = Run(spec)
    sft.train(sft.Config(**run.config), run)
    run.finished()
    return abs(rows(spec.home)[0]["loss"] - sft_by_hand(spec))


def test_sfts_loss_is_the_one_worked_by_hand(tmp_path):
    assert sft_error(method("correction/sft"), tmp_path) < 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("logp.sum(dim=1)).sum() / whole", "logp.sum(dim=1)).sum() / (weights[part] * lengths[part]).sum()"),
        ("logp.sum(dim=1)).sum() / whole", "(logp.sum(dim=1) / lengths[part])).sum() / weights[batch].sum()"),
        ("logp.sum(dim=1)).sum() / whole", "logp[:, :-1].sum(dim=1)).sum() / whole"),
    ],
    ids=["parts normalised by themselves", "answers normalised by themselves", "no loss on the end"],
)
def test_a_wrong_sft_has_another_loss(right, wrong, tmp_path):
    assert sft_error(method("correction/sft", right, wrong), tmp_path) > 1e-2


def test_sft_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    whole, cut = sft_spec(tmp_path, "whole", micro_batch=6), sft_spec(tmp_path, "cut", micro_batch=2)
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


# --- random comparisons ---------------------------------------------------------------------------


def proposed(spec: Spec, query: ModuleType | None = None) -> list[dict]:
    run = Run(spec)
    query = query or method("query/random")
    query.train(query.Config(**run.config), run)
    run.finished()
    return [json.loads(line) for line in (spec.home / "items.jsonl").read_text().splitlines()]


def alike(items: list[dict]) -> int:
    return sum(one["candidates"][0]["text"] == one["candidates"][1]["text"] for one in items)


def test_proposed_answers_differ_and_name_who_wrote_them(tmp_path):
    spec = toy_spec("query/random", tmp_path, config={"count": 60})
    rival = nn.save(SeqTable(nn.load_policy(spec.inputs["policy"]).config, seed=5), tmp_path / "rival")
    sources = {"policy": {"run": 4, "artifact": 9, "name": "second"}, "rival": {"run": 2, "name": "first"}}
    spec = replace(spec, run=7, inputs={**spec.inputs, "rival": str(rival)}, sources=sources)
    items = proposed(spec)
    assert len(items) == 60 and not alike(items)
    ours, theirs = items[0]["candidates"]
    assert (ours["policy"], theirs["policy"]) == ("second, run 4", "first, run 2")
    assert ours["source"] == {
        "run": 4, "artifact": 9, "name": "second", "role": "policy", "temperature": 1.0,
        "digest": nn.digest(spec.inputs["policy"]),
    }  # fmt: skip
    assert theirs["source"]["digest"] == nn.digest(rival)
    assert items[3]["external_id"] == "run-7-3"
    assert set(items[0]["context"]) == {"prompt"}


def test_every_prompt_is_asked_about_once_before_any_is_asked_about_again(tmp_path):
    items = proposed(toy_spec("query/random", tmp_path, config={"count": 24, "batch_size": 5}))
    asked = [one["context"]["prompt"] for one in items]
    assert len(set(asked[:12])) == 12 and sorted(asked[:12]) == sorted(asked[12:])


def test_equal_answers_would_be_noticed(tmp_path):
    wrong = method("query/random", " and ours.strip() != theirs.strip()", "")
    assert alike(proposed(toy_spec("query/random", tmp_path, config={"count": 200}), wrong)) > 0


def test_a_policy_with_one_thing_to_say_is_reported_not_looped_on(tmp_path):
    spec = toy_spec("query/random", tmp_path, config={"temperature": 1e-6})
    assert api.execute(spec) == 1
    assert "Raise the temperature" in entries(spec.home)[-1]["message"]


def test_prompts_can_come_from_the_gold_rule(tmp_path):
    model = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1)), tmp_path / "policy")
    config = {"count": 4, "prompts": "rule", "max_new_tokens": 8}
    spec = Spec("query/random", tmp_path / "run", config, inputs={"policy": str(model), "gold": "hotel"})
    assert {one["context"]["prompt"] for one in proposed(spec)} <= set(hotel.PROMPTS["train"])
