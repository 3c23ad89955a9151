"""PPO-max against enumeration, and what each of its parts is for; the usual mistakes must fail."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.trainers.exact.sampled import BETA, TEMPERATURE, Nine, byte_spec
from tests.trainers.test_methods_exact import method
from tests.trainers.test_nn_hugging_face import chat_policy, classifier
from tests.trainers.toys import TABLE, die_at, first, in_child, last, outcome, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.fit import Tally
from trainers.maths.gae import gae
from trainers.maths.moments import Moments
from trainers.nn.table import SeqTable
from trainers.nn.value import TableCritic
from trainers.records import Correction, Demonstration, Pair
from trainers.run import Run, Spec
from trainers.sampling.rollouts import Buffer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


# --- the gradient ---------------------------------------------------------------------------------


def true_critic(nine: Nine) -> TableCritic:
    """What each prefix of a string is worth under the policy: the score to come less the cost of the KL to come."""
    x = [torch.tensor([0])] * 9
    with torch.no_grad():
        logp = nine.policy.logp_tok(x, nine.strings, TEMPERATURE)
        cost = BETA * (logp - nine.reference.logp_tok(x, nine.strings, TEMPERATURE))  # [9, 2]
        after_one = (logp[:, 1].exp() * (nine.score - cost[:, 1])).view(3, 3).sum(dim=1)
        first_letter = logp[::3, 0].exp()
        critic = TableCritic(nine.policy)
        critic.states.table[0, 1:, 0] = after_one
        critic.states.table[0, 0, 0] = (first_letter * (after_one - cost[::3, 0])).sum()
    return critic


def climbed(ppo: ModuleType, lam: float, critic: TableCritic) -> Tensor:
    """What one step climbs before whitening, on average over all strings, times the tokens of a string."""
    nine = Nine()
    config = ppo.Config(temperature=TEMPERATURE, micro_batch=1)
    expected = torch.zeros_like(nine.policy.table)
    for chance, samples, ref, score in nine.draws(1):
        rewards = ppo.token_rewards(score, samples.logp_tok, ref, samples.mask, BETA)
        values = critic.values(samples.x, samples.y).detach()
        advantages, _ = gae(rewards, values, samples.mask, config.gamma, lam)
        buffer = Buffer(torch.device("cpu"))
        held = {"y": samples.y, "mask": samples.mask, "old": samples.logp_tok, "advantages": advantages}
        buffer.fill(samples.x, **held)
        losses = ppo.policy_losses(nine.policy, buffer, [0], [], config, Tally(), True)
        expected += chance * nine.climbed(losses)
    return 2 * expected


def error(ppo: ModuleType) -> float:
    return (climbed(ppo, 0.95, true_critic(Nine())) - Nine().wanted()).abs().max().item()


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_with_a_true_critic_ppos_gradient_is_the_enumerated_one_whatever_lambda_is(lam):
    found = climbed(method("online/ppo"), lam, true_critic(Nine()))
    assert (found - Nine().wanted()).abs().max() < 1e-12


def test_with_lambda_1_it_is_whatever_the_critic_says_and_below_1_a_wrong_critic_biases_it():
    ppo, wrong = method("online/ppo"), TableCritic(Nine().policy)
    with torch.no_grad():
        wrong.states.table[:] = torch.randn(
            wrong.states.table.shape, generator=torch.Generator().manual_seed(8)
        )
    assert (climbed(ppo, 1.0, wrong) - Nine().wanted()).abs().max() < 1e-12
    assert (climbed(ppo, 0.95, wrong) - Nine().wanted()).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("rewards = -beta * (old - ref) * mask", "rewards = beta * (old - ref) * mask"),
        ("mask.sum(dim=1) - 1] += final", "0 * mask.sum(dim=1)] += final"),
        ("old - ref) * mask\n", "old - ref).sum(dim=1, keepdim=True) * mask\n"),
        (
            'buffer["y"][part], config.temperature)\n        yield policy_loss(',
            'buffer["y"][part])\n        yield policy_loss(',
        ),
        ("losses = -clipped(ratio, advantages[mask]", "losses = clipped(ratio, advantages[mask]"),
    ],
    ids=["KL rewarded", "score at the first token", "whole KL at every token", "temperature", "sign"],
)
def test_a_wrong_ppo_has_another_gradient(right, wrong):
    assert error(method("online/ppo", right, wrong)) > 1e-2


def test_the_rewards_of_tokens_by_hand():
    """beta 0.1; two answers of two tokens and one: the score comes at the last real token."""
    old = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    ref = torch.tensor([[-2.0, -1.0], [-1.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    found = method("online/ppo").token_rewards(torch.tensor([5.0, 7.0]), old, ref, mask, 0.1)
    assert torch.allclose(found, torch.tensor([[-0.1, 5.1], [7.2, 0.0]]))


# --- score scaling --------------------------------------------------------------------------------


def final_kl(ppo: ModuleType, folder: Path, times: float) -> float:
    """KL at the end of training on the toy, its scores multiplied."""
    settings = {"steps": 30, "k": 4, "epochs": 2, "kl_coef": 0.3, "value_clip": 2.0}
    spec = toy_spec("online/ppo", folder, f"times {times}", config=settings)
    model = nn.load_reward_model(spec.inputs["reward_model"])
    with torch.no_grad():
        model.values *= times
    inputs = {**spec.inputs, "reward_model": str(nn.save(model, folder / f"model {times}"))}
    spec = replace(spec, inputs=inputs, checkpoint_every=None)
    return last(run(ppo, spec), "objective/kl", 2)


def run(ppo: ModuleType, spec: Spec) -> list[dict[str, float]]:
    one = Run(spec)
    ppo.train(ppo.Config(**one.config), one)
    one.finished()
    return rows(spec.home)


TIMES = (0.1, 1.0, 10.0, 100.0)
COUNTED = "counted = scaled(scored.score, moments, config.score_clip).to(old.dtype)"


def test_scores_ten_and_a_hundred_times_as_large_end_at_the_same_kl(tmp_path):
    kls = [final_kl(method("online/ppo"), tmp_path, times) for times in TIMES]
    assert max(kls) - min(kls) < 1e-3 and min(kls) > 0.2, kls


def test_without_score_scaling_they_do_not(tmp_path):
    wrong = method("online/ppo", COUNTED, "counted = scored.score.to(old.dtype)")
    kls = [final_kl(wrong, tmp_path, times) for times in (0.1, 1.0, 10.0)]
    assert kls[0] < 0.5 * kls[1] and kls[1] < 0.95 * kls[2], kls


def test_nor_with_a_kl_that_is_scaled_along(tmp_path):
    wrong = method("online/ppo", "scored.logp_ref, mask, beta)", "scored.logp_ref, mask, beta / moments.std)")
    kls = [final_kl(wrong, tmp_path, times) for times in (0.1, 1.0)]
    assert kls[0] < 0.5 * kls[1], kls


def test_scores_are_scaled_and_cut_by_hand():
    """Mean 2, deviation 2: 6 is 2 and 100 is cut to 3. While all are alike they count nothing."""
    scaled = method("online/ppo").scaled
    assert scaled(torch.tensor([6.0, 100.0, -100.0]), Moments(4, 2.0, 16.0), 3.0).tolist() == [2.0, 3.0, -3.0]
    assert scaled(torch.tensor([5.0, 5.0]), Moments(2, 5.0, 0.0), 3.0).tolist() == [0.0, 0.0]


def test_the_running_mean_is_that_of_all_scores_so_far(tmp_path):
    spec = toy_spec("online/ppo", tmp_path)
    assert api.execute(spec) == 0
    fresh = [row for row in rows(spec.home) if "objective/scores" in row]
    total = drawn = 0.0
    for row in fresh:
        more = row["episode"] - drawn
        total, drawn = total + more * row["objective/scores"], row["episode"]
        assert row["objective/score_running_mean"] == pytest.approx(total / drawn, abs=1e-9)


# --- critic, warm-up, ratio ---------------------------------------------------------------------------

SMALL = {
    "epochs": 3,
    "minibatches": 2,
    "lr": 1e-2,
    "critic_lr": 1e-2,
    "temperature": 0.8,
    "micro_batch": 3,
    "k": 2,
}
both_critics = pytest.mark.parametrize("critic", ["own", "shared"])


@both_critics
def test_the_policy_stays_while_only_the_critic_learns(critic, tmp_path):
    config = {**SMALL, "steps": 8, "critic_warmup": 1, "critic": critic}
    spec = replace(byte_spec("online/ppo", tmp_path, "run", **config), checkpoint_every=1)
    seen = {}

    def look(one, step, numbers):
        policy = (
            load_file(one.home / f"checkpoints/step-{step - 1:08d}/policy.safetensors") if step > 1 else {}
        )
        seen[step - 1] = policy
        log(one, step, numbers)

    log = Run.log
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "log", look)
        assert api.execute(spec) == 0
    before = nn.load_policy(spec.inputs["policy"]).state_dict()
    assert seen[6] and all(torch.equal(before[name], value) for name, value in seen[6].items())
    assert not all(torch.equal(before[name], value) for name, value in seen[7].items())
    errors = [
        row["val/error"] for row in rows(spec.home)[:6]
    ]  # three times through a buffer of two minibatches
    assert sum(errors[4:]) < sum(errors[:2]) and "loss/policy_avg" not in rows(spec.home)[5]


def test_a_warm_up_that_leaves_the_policy_no_step_is_refused(tmp_path):
    spec = toy_spec("online/ppo", tmp_path, config={"steps": 9, "critic_warmup": 3})
    with pytest.raises(ValueError, match="3 buffers of 3 steps, so of 9 steps the policy has none"):
        run(method("online/ppo"), spec)


@both_critics
def test_the_policys_warm_up_begins_when_the_policy_begins_to_learn(critic, tmp_path):
    """6 steps are the critic's alone; the rate of the 8 that follow rises over 4 and falls over the rest."""
    config = {**SMALL, "steps": 14, "critic_warmup": 1, "critic": critic, "lr": 1e-3, "warmup": 0.5}
    spec = byte_spec("online/ppo", tmp_path, "run", **config)
    assert api.execute(spec) == 0
    found = [row["learning_rate"] / 1e-3 for row in rows(spec.home)][6:]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.75, 0.5, 0.25])


@both_critics
def test_the_first_ratio_of_every_buffer_is_exactly_1(critic, tmp_path):
    config = {**SMALL, "steps": 13, "critic_warmup": 1, "critic": critic}
    spec = byte_spec("online/ppo", tmp_path, "run", **config)
    assert api.execute(spec) == 0
    log = rows(spec.home)
    fresh = [row for row in log if "val/first_ratio" in row]
    assert [row["step"] for row in fresh] == [7, 13]
    for row in fresh:
        assert row["val/first_ratio_min"] == row["val/first_ratio"] == row["val/first_ratio_max"] == 1.0
        assert row["val/ratio_var"] == 0.0
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
    assert log[7]["val/ratio_max"] > 1.0


def test_values_read_at_another_time_would_not_do(tmp_path):
    """pi_old read at temperature 1: the first ratio tells."""
    wrong = method(
        "online/ppo",
        "found.append((rollouts.policy.logp_tok(x, y, config.temperature), critic.values(x, y)))",
        "found.append((rollouts.policy.logp_tok(x, y), critic.values(x, y)))",
    )
    log = run(wrong, byte_spec("online/ppo", tmp_path, "run", **{**SMALL, "critic_warmup": 0}))
    assert abs(log[0]["val/first_ratio_max"] - 1) > 1e-3


@both_critics
def test_ppo_does_not_depend_on_how_the_batch_is_cut(critic, tmp_path):
    found = []
    for size in (64, 1):
        config = {**SMALL, "steps": 6, "minibatches": 1, "lr": 1e-3, "critic_warmup": 0, "micro_batch": size}
        spec = byte_spec("online/ppo", tmp_path, f"by {size}", **config, critic=critic, sft_coef=0.1)
        assert api.execute(spec) == 0
        found.append(rows(spec.home))
    for one, other in zip(*found, strict=True):
        one.pop("objective/sqrt_kl", None), other.pop("objective/sqrt_kl", None)
        assert one == pytest.approx(other, rel=5e-3, abs=5e-4)


@both_critics
@pytest.mark.parametrize("moment", [22, 41])
def test_killed_inside_a_buffer_ppo_with_everything_on_goes_on_exactly(critic, moment, tmp_path):
    config = {
        **SMALL, "steps": 10, "critic_warmup": 1, "critic": critic, "sft_coef": 0.1, "sft_batch": 4,
        "kl_target": 0.5, "kl_horizon": 50, "advantage_clip": 2.0, "max_new_tokens": 6,
    }  # fmt: skip
    spec = replace(byte_spec("online/ppo", tmp_path, "undisturbed", **config), checkpoint_every=1)
    killed = replace(spec, home=tmp_path / "killed")
    assert api.execute(spec) == 0
    assert in_child(killed, lambda: die_at(moment)) == -signal.SIGKILL
    assert any((killed.home / "checkpoints").glob("step-*"))
    assert api.execute(killed) == 0
    assert outcome(killed) == outcome(spec)


def test_the_critic_starts_from_the_reward_model_only_where_that_reads_the_policys_tokens(tmp_path):
    spec = toy_spec("online/ppo", tmp_path, config={"critic_from": "reward_model"})
    with pytest.raises(ValueError, match="Start the critic from the policy"):
        run(method("online/ppo"), spec)
    with pytest.raises(ValueError, match="no trunk"):
        run(method("online/ppo"), toy_spec("online/ppo", tmp_path, "shared", config={"critic": "shared"}))


# --- options ----------------------------------------------------------------------------------------


def test_the_coefficient_is_adapted_by_hand():
    """KL 9 at target 6 errs by half, cut to 0.2: 256 of 10 000 answers raise the coefficient by 0.512 %."""
    adaptation = method("online/ppo").adaptation
    assert adaptation(9.0, 6.0, 256, 10_000) == pytest.approx(1.00512)
    assert adaptation(5.7, 6.0, 1000, 10_000) == pytest.approx(1 - 0.005)
    assert adaptation(0.0, 6.0, 10_000, 10_000) == pytest.approx(0.8)


def test_an_aimed_at_kl_moves_the_coefficient_towards_it(tmp_path):
    config = {"steps": 30, "kl_target": 0.05, "kl_horizon": 60}
    spec = toy_spec("online/ppo", tmp_path, config=config, checkpoint_every=None)
    assert api.execute(spec) == 0
    log = rows(spec.home)
    assert last(log, "objective/kl_coef") > 1.4 * first(log, "objective/kl_coef")


def test_demonstrations_that_are_mixed_in_grow_likelier(tmp_path):
    config = {"steps": 30, "sft_coef": 5.0, "critic_warmup": 0}
    spec = toy_spec("online/ppo", tmp_path, config=config, checkpoint_every=None)
    assert api.execute(spec) == 0
    log = rows(spec.home)
    assert last(log, "loss/sft_avg", 3) < first(log, "loss/sft_avg") - 0.2


def test_what_is_mixed_in_is_what_was_shown_corrected_or_chosen():
    records = [
        Demonstration("1", "prompt 0", "abc"),
        Correction("2", "prompt 0", "aaa", "bbb"),
        Pair("3", "prompt 0", "ccc", "ddd"),
        Pair("4", "prompt 0", "aaa", "ddd", outcome="tie"),
        Demonstration("5", "prompt 0", "ddd", weight=0.0),
    ]
    table = SeqTable(TABLE)
    found = [table.decode(y) for _, y in method("online/ppo").examples(table, records)]
    assert found == ["abc", "bbb", "ccc"]


def test_whitened_advantages_are_cut_where_asked(tmp_path):
    found = []
    for size in (0.0, 0.5):
        config = {"steps": 9, "advantage_clip": size, "critic_warmup": 0}
        spec = toy_spec("online/ppo", tmp_path, f"cut {size}", config=config, checkpoint_every=None)
        assert api.execute(spec) == 0
        found.append([row["loss/policy_avg"] for row in rows(spec.home)])
    assert found[0] != found[1]


@both_critics
def test_ppo_runs_on_a_hugging_face_policy_with_adapters_and_leaves_its_base_alone(critic, tmp_path):
    one = chat_policy(lora_rank=4)
    inputs = {
        "policy": str(nn.save(one, tmp_path / "policy")),
        "reward_model": str(classifier(tmp_path / "judge")),
    }
    records = snapshot(
        tmp_path / "snapshot", [Demonstration(f"{i}", f"the room {i}", "four") for i in range(8)]
    )
    config = {
        "steps": 6, "epochs": 2, "critic_warmup": 1, "critic": critic, "prompts_per_step": 4, "max_new_tokens": 5,
        "lr": 1e-2, "sft_coef": 0.1, "held_out": 0.0, "watch": 1,
    }  # fmt: skip
    spec = Spec("online/ppo", tmp_path / "run", config, 0, records, inputs)
    assert api.execute(spec) == 0
    after = nn.load_policy(spec.home / "policy").state_dict()
    moved = {name for name, value in one.state_dict().items() if not torch.equal(value, after[name])}
    assert moved and all("lora_" in name for name in moved)
    fresh = [row for row in rows(spec.home) if "val/first_ratio" in row]
    assert fresh and all(row["val/first_ratio_min"] == row["val/first_ratio_max"] == 1.0 for row in fresh)
