"""GRPO against enumeration and numbers worked by hand; and the usual mistakes, each of which must fail."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from tests.trainers.exact.sampled import TEMPERATURE, Nine, byte_spec
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import rows
from trainers import api
from trainers.fit import Tally
from trainers.nn import Samples
from trainers.run import Run
from trainers.sampling.rollouts import Buffer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


def expectation(grpo: ModuleType, scale: str = "none", beta: float = 0.0, score: float = 1.0) -> torch.Tensor:
    """What one step climbs, on average over all draws of two answers from nine strings, times the tokens an answer."""
    nine = Nine()
    config = grpo.Config(k=2, scale=scale, temperature=TEMPERATURE, micro_batch=1)
    expected = torch.zeros_like(nine.policy.table)
    for chance, samples, ref, scores in nine.draws(2):
        scored = grpo.Scored(samples, [], [], ref, score * scores, None)
        advantages = grpo.group_advantages(grpo.reward(scored, 0.0).view(1, 2), scale).flatten()
        buffer = Buffer(torch.device("cpu"))
        buffer.fill(samples.x, y=samples.y, mask=samples.mask, ref=ref, advantages=advantages)
        losses = grpo.policy_loss(nine.policy, buffer, [0, 1], beta, config, Tally(), True)
        expected += chance * nine.climbed(losses)
    return 2 * expected


def error(grpo: ModuleType) -> float:
    """From half the enumerated gradient: (k - 1) / k of it, the own reward being in the group's mean."""
    return (expectation(grpo) - Nine().wanted(beta=0.0) / 2).abs().max().item()


def kl_error(grpo: ModuleType) -> float:
    """From minus the gradient of the tokens' KLs, each given what stands before it, where there are no scores."""
    nine = Nine()
    x, strings = [torch.tensor([0])] * 9, nine.strings
    logp = (nine.policy.logits(x, strings) / TEMPERATURE).log_softmax(dim=-1)  # [9, 2, 3]
    ref = (nine.reference.logits(x, strings) / TEMPERATURE).log_softmax(dim=-1).detach()
    token_kls = (logp.exp() * (logp - ref)).sum(dim=-1).sum(dim=1)
    chance = nine.policy.logp_all(TEMPERATURE)[0].detach().exp()
    (wanted,) = torch.autograd.grad(-(chance * token_kls).sum(), nine.policy.table)
    return (expectation(grpo, beta=1.0, score=0.0) - wanted).abs().max().item()


def test_grpos_unscaled_gradient_is_k_minus_1_over_k_of_the_enumerated_one():
    assert error(method("online/grpo")) < 1e-12


def test_grpos_kl_has_the_gradient_of_the_tokens_kls():
    assert kl_error(method("online/grpo")) < 1e-12


def test_what_the_tokens_kls_leave_out_is_what_early_tokens_do_to_later_ones():
    """The whole KL's gradient is another: this is the bias that the card states."""
    whole = Nine().wanted(beta=1.0) - Nine().wanted(beta=0.0)
    found = expectation(method("online/grpo"), beta=1.0, score=0.0)
    assert 0.5 < (found - whole).norm() / whole.norm() < 0.9


def test_scaling_by_the_groups_deviation_changes_the_direction_and_by_none_it_does_not():
    wanted = Nine().wanted(beta=0.0).flatten()

    def cosine(scale: str) -> float:
        found = expectation(method("online/grpo"), scale).flatten()
        return torch.nn.functional.cosine_similarity(found, wanted, dim=0).item()

    assert cosine("none") == pytest.approx(1.0, abs=1e-12)
    assert 0.9 < cosine("group") < 0.999


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("-clipped(ratio, advantages[:, None]", "clipped(ratio, advantages[:, None]"),
        ("buffer.x[i] for i in part], y, config.temperature)", "buffer.x[i] for i in part], y)"),
        ('tokens = buffer["mask"][rows].sum()', 'tokens = buffer["mask"][rows[:1]].sum()'),
        ("    return (losses * mask).sum() / tokens", "    return (losses * mask).sum() / mask.sum()"),
    ],
    ids=["sign", "temperature", "normalised by a part's tokens", "mean of means"],
)
def test_a_wrong_grpo_has_another_gradient(right, wrong):
    assert error(method("online/grpo", right, wrong)) > 1e-2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("corrected(k3(logp_tok, ref_logp_tok), ratio)", "k3(logp_tok, ref_logp_tok)"),
        ("corrected(k3(logp_tok, ref_logp_tok), ratio)", "corrected(k3(ref_logp_tok, logp_tok), ratio)"),
        ("corrected(k3(logp_tok, ref_logp_tok), ratio)", "(logp_tok - ref_logp_tok)"),
        ("losses = losses + kl_coef *", "losses = losses - kl_coef *"),
    ],
    ids=["k3 alone", "policy and reference swapped", "k1 alone", "KL rewarded"],
)
def test_a_wrong_kl_has_another_gradient(right, wrong):
    assert kl_error(method("online/grpo", right, wrong)) > 1e-2


HAND = {
    "logp_tok": torch.tensor([[math.log(0.5), math.log(0.2)], [math.log(0.3), -9.0]]),
    "old_logp_tok": torch.tensor([[math.log(0.25), math.log(0.4)], [math.log(0.3), 9.0]]),
    "ref_logp_tok": torch.tensor([[math.log(0.5), math.log(0.4)], [math.log(0.3), 5.0]]),
    "advantages": torch.tensor([1.0, -2.0]),
    "mask": torch.tensor([[True, True], [True, False]]),
}


def hand_error(grpo: ModuleType) -> float:
    """Ratios 2, 1/2 and 1. Surrogates min(2, 1.3) = 1.3; min(0.5, 0.8) = 0.5; -2. k3 0; 2 - 1 - log 2 = 0.306853, times
    the ratio 0.153426; 0. With beta 1/2 and 3 tokens: (-1.3 - 0.5 + 2 + 0.076713) / 3 = 0.0922378."""
    found = grpo.grpo_loss(**HAND, kl_coef=0.5, clip_low=0.2, clip_high=0.3, tokens=3)
    return abs(found.item() - (0.2 + 0.25 * (1 - math.log(2))) / 3)


def test_grpos_loss_is_the_number_worked_by_hand_and_padding_is_not_in_it():
    assert hand_error(method("online/grpo")) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("advantages[:, None], clip_low, clip_high)", "advantages[:, None], clip_low, clip_low)"),
        ("importance(logp_tok, old_logp_tok)", "importance(old_logp_tok, logp_tok)"),
        ("return (losses * mask).sum() / tokens", "return losses.sum() / tokens"),
        (
            "return (losses * mask).sum() / tokens",
            "return ((losses * mask).sum(dim=1) / mask.sum(dim=1)).mean()",
        ),
    ],
    ids=["one clip for both sides", "ratio upside down", "padding in it", "mean of answers' means"],
)
def test_a_wrong_grpo_has_another_loss(right, wrong):
    assert hand_error(method("online/grpo", right, wrong)) > 1e-2


def test_grpos_advantages_are_the_numbers_worked_by_hand():
    """Rewards 1, 2, 6 and 5, 5, 5: means 3 and 5; deviation of the group sqrt(7), of all six sqrt(4)."""
    rewards = torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])
    advantages = method("online/grpo").group_advantages
    assert advantages(rewards, "none").tolist() == [[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]]
    by_group = torch.tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]]) / (math.sqrt(7) + 1e-4)
    assert torch.allclose(advantages(rewards, "group"), by_group)
    by_batch = torch.tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]]) / (rewards.std().item() + 1e-4)
    assert torch.allclose(advantages(rewards, "batch"), by_batch)


@pytest.mark.parametrize("reward", [0.1, -3.3e8, 16777216.0])
@pytest.mark.parametrize("scale", ["batch", "group", "none"])
def test_equal_rewards_give_exactly_no_advantage_however_large_they_are(reward, scale):
    """The mean of fourteen equal numbers is not always that number: 0.1 is off by 1.5e-8, -3.3e8 by 64."""
    found = method("online/grpo").group_advantages(torch.full((2, 14), reward), scale)
    assert found.tolist() == [[0.0] * 14] * 2


class Still:
    """Where `fill` draws nothing and reads pi_old as it was sampled."""

    def __init__(self, run: Run) -> None:
        self.run, self.policy = run, None

    def observe(self, *_: object) -> None:
        """The charts are not asked for."""


def masked(grpo: ModuleType) -> list[list[bool]]:
    """The tokens learned from, of two answers of which the second was cut off."""
    ones = torch.ones(2, 3)
    samples = Samples([torch.tensor([0])] * 2, ones.long(), -ones, ones.bool(), torch.tensor([True, False]))
    scored = grpo.Scored(samples, [], [], -ones, torch.tensor([1.0, 2.0]), None)
    buffer = Buffer(torch.device("cpu"))
    grpo.fill(buffer, Still(None), scored, 0.0, grpo.Config(k=2, mask_truncated=True), Tally())
    return buffer["mask"].tolist()


def test_truncated_answers_leave_the_loss_and_its_normaliser():
    assert masked(method("online/grpo")) == [[True] * 3, [False] * 3]
    wrong = method("online/grpo", "samples.mask & kept", "samples.mask")
    assert masked(wrong) == [[True] * 3] * 2


def ratios(grpo: ModuleType, spec) -> list[dict[str, float]]:
    run = Run(spec)
    grpo.train(grpo.Config(**run.config), run)
    run.finished()
    return rows(spec.home)


SIX = {"steps": 12, "epochs": 3, "minibatches": 2, "lr": 1e-2, "temperature": 0.8, "micro_batch": 3}


def test_the_first_ratio_of_every_buffer_is_exactly_1_on_a_transformer_too_and_later_ones_are_not(tmp_path):
    log = ratios(method("online/grpo"), byte_spec("online/grpo", tmp_path, "run", **SIX))
    fresh = [row for row in log if "val/first_ratio" in row]
    assert [row["step"] for row in fresh] == [1, 7]
    for row in fresh:
        assert row["val/first_ratio_min"] == row["val/first_ratio"] == row["val/first_ratio_max"] == 1.0
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
    assert all(row["val/ratio_max"] > 1.0 for row in log if row not in fresh)


def test_a_wrong_reading_of_pi_old_shows_in_the_first_ratio(tmp_path):
    wrong = method(
        "online/grpo",
        "old = rollouts.read(rollouts.policy, samples, cuts(len(samples.y), config.minibatches))",
        "old = rollouts.policy.logp_tok(samples.x, samples.y).detach()",
    )
    log = ratios(wrong, byte_spec("online/grpo", tmp_path, "run", **SIX))
    assert abs(log[0]["val/first_ratio_max"] - 1.0) > 1e-3


def test_grpo_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    found = []
    for size in (64, 1):
        config = {**SIX, "micro_batch": size, "lr": 1e-3, "minibatches": 1}
        spec = byte_spec("online/grpo", tmp_path, f"by {size}", **config)
        assert api.execute(spec) == 0
        found.append(rows(spec.home))
    for one, other in zip(*found, strict=True):
        one.pop("objective/sqrt_kl", None), other.pop("objective/sqrt_kl", None)
        assert one == pytest.approx(other, rel=5e-3, abs=2e-4)
