"""RT-H's two methods: what each query learns from, worked by hand; and variants of them that must be noticed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from tests.trainers import robot_toys
from tests.trainers.test_methods_exact import method
from tests.trainers.toys import entries, toy_spec
from trainers import api
from trainers.data.driven import kept_back
from trainers.data.motions import Moments
from trainers.envs.motions import embodiment
from trainers.fit import Tally
from trainers.nn import load_pilot
from trainers.nn.motions import MotionPolicy, policy_for
from trainers.nn.storage import digest_of
from trainers.records import LanguageCorrection
from trainers.run import Run

ARM = embodiment("reach")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def policy() -> MotionPolicy:
    return policy_for(ARM, 9, 3, 16, 0)


def moments(count: int = 6, seed: int = 0) -> Moments:
    chance = torch.Generator().manual_seed(seed)
    return Moments(
        torch.randn(count, 9, generator=chance), torch.randn(count, 16, generator=chance),
        torch.randint(39, (count,), generator=chance), torch.arange(1.0, count + 1),
        torch.randn(count, 3, generator=chance), torch.arange(count) % 3 > 0,
    )  # fmt: skip


def changed(name: str, *changes: tuple[str, str]) -> ModuleType:
    """A method with several of its lines replaced."""
    source = Path(str(method(name).__file__)).read_text("utf-8")
    for right, wrong in changes:
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    variant = ModuleType(f"changed_{name.replace('/', '_')}")
    sys.modules[variant.__name__] = variant
    exec(compile(source, variant.__name__, "exec"), variant.__dict__)
    return variant


def trained(module: ModuleType, spec: api.Spec) -> None:
    run = Run(spec)
    module.train(module.Config(**run.config), run)
    run.finished()


# --- the base --------------------------------------------------------------------------------------


def action_loss_apart(base: ModuleType, policy: MotionPolicy) -> float:
    """How far the loss of actions is from the weighted square error by the phrase that was found."""
    shown, rows = moments(), [0, 2, 2, 5]
    with torch.no_grad():
        found = sum(float(part) for part in base.action_loss(policy, shown, rows))
        acted = policy.acted(shown.observations[rows], shown.tasks[rows], shown.phrases[rows])
        errors = ((acted - shown.actions[rows]) ** 2).sum(dim=1) / 3
        weights = torch.tensor([1.0, 3.0, 3.0, 6.0])
    return abs(found - float((weights * errors).sum() / 13))


def test_the_action_query_learns_what_was_done_by_the_phrase_that_was_found(policy):
    assert action_loss_apart(method("control/rt_h_base"), policy) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("one.tasks, one.phrases) -", "one.tasks, policy.logits(one.observations, one.tasks).argmax(1)) -"),
        ("yield (one.weights * errors.square().mean(dim=1)).sum() / whole", "yield errors.square().mean()"),
    ],
    ids=["by its own phrase", "people's weights forgotten"],
)  # fmt: skip
def test_a_wrong_loss_of_actions_is_another(policy, right, wrong):
    assert action_loss_apart(method("control/rt_h_base", right, wrong), policy) > 1e-3


def asked_about(base: ModuleType, tmp_path: Path) -> set[bool]:
    """Whether the steps that the motion query learned from had a task."""
    spec = toy_spec(
        "control/rt_h_base", tmp_path, config={"world": "reach", "tasks": "red", "play": 2, "steps": 5}
    )
    seen: set[bool] = set()
    real = base.motion_loss

    def watched(policy, shown, rows, tally):
        seen.update(shown.aims[list(rows)].tolist())
        return real(policy, shown, rows, tally)

    base.motion_loss = watched
    try:
        run = Run(api.Spec(spec.method, spec.home, spec.config))
        base.train(base.Config(**run.config), run)
        run.finished()
    finally:
        base.motion_loss = real
    return seen


def test_play_teaches_the_action_query_alone(tmp_path):
    assert asked_about(method("control/rt_h_base"), tmp_path / "right") == {True}
    wrong = changed(
        "control/rt_h_base", ("aimed = moments.aims.nonzero()[:, 0]", "aimed = torch.arange(len(moments))")
    )
    assert asked_about(wrong, tmp_path / "wrong") == {True, False}


def test_what_is_held_out_is_not_learned_from(tmp_path, monkeypatch):
    base, parts = method("control/rt_h_base"), []
    real = base.moments_shown
    monkeypatch.setattr(
        base, "moments_shown", lambda arm, shown, *more: parts.append(shown) or real(arm, shown, *more)
    )
    spec = toy_spec("control/rt_h_base", tmp_path, config={"held_out": 0.4, "steps": 1})
    trained(base, spec)
    taught, kept = ({one.name for one in shown} for shown in parts)
    assert kept and taught and not kept & taught and all(kept_back(one, 0.4) for one in kept)


# --- interventions ---------------------------------------------------------------------------------


def motion_loss_apart(rt_h: ModuleType, policy: MotionPolicy) -> float:
    """How far the loss of a batch is from the weighted cross entropy of half said, half shown."""
    sides, rows = (moments(seed=1), moments(seed=2)), [(0, 3), (1, 0), (0, 1), (1, 5)]
    with torch.no_grad():
        found = sum(float(part) for part in rt_h.losses(policy, sides, rows, Tally()))
        wanted, whole = 0.0, 0.0
        for side, row in rows:
            one = sides[side].at(torch.tensor([row]))
            weight = float(one.weights)
            wanted += weight * float(F.cross_entropy(policy.logits(one.observations, one.tasks), one.phrases))
            whole += weight
    return abs(found - wanted / whole)


def test_the_loss_is_the_weighted_cross_entropy_of_what_was_said_and_what_was_shown(policy):
    assert motion_loss_apart(method("correction/rt_h"), policy) < 1e-6
    wrong = method(
        "correction/rt_h", "sides[side].weights[row] for side, row in rows", "1.0 for side, row in rows"
    )
    assert motion_loss_apart(wrong, policy) > 0.1


def test_the_action_query_stays_bit_for_bit_what_it_was(tmp_path):
    spec = toy_spec("correction/rt_h", tmp_path)
    assert api.execute(spec) == 0
    before, after = load_pilot(spec.inputs["robot_policy"]), load_pilot(spec.home / "robot_policy")
    assert digest_of(after.action) == digest_of(before.action)
    assert digest_of(after.motion) != digest_of(before.motion)
    (made,) = [entry for entry in entries(spec.home) if entry["type"] == "artifact"]
    assert made["meta"]["action_query"] == digest_of(before.action)


def test_training_the_action_query_on_interventions_fails_the_run(tmp_path):
    wrong = changed(
        "correction/rt_h",
        (
            "optimiser = adamw(policy.motion, config.weight_decay)",
            "optimiser = adamw(policy, config.weight_decay)",
        ),
        ("    policy.action.requires_grad_(False)\n", ""),
        (
            "yield (one.weights * F.cross_entropy",
            "yield policy.acted(one.observations, one.tasks, one.phrases).square().mean()\n"
            "            yield (one.weights * F.cross_entropy",
        ),
    )
    with pytest.raises(RuntimeError, match="The action query has changed"):
        trained(wrong, toy_spec("correction/rt_h", tmp_path))


def test_while_few_episodes_were_corrected_all_of_them_are_learned_from(tmp_path):
    assert any(kept_back(robot_toys.name(seed), 0.45) for seed in robot_toys.TAUGHT)
    spec = toy_spec("correction/rt_h", tmp_path, config={"held_out": 0.45, "steps": 1})
    assert api.execute(spec) == 0
    (told,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    assert "of 4 corrected episodes" in told["text"] and "never saw" not in told["text"]


def test_what_names_no_motion_is_left_out_and_counted(tmp_path):
    picked = [one for one in robot_toys.corrections() if isinstance(one, LanguageCorrection)]
    said = [one.command for one in picked]
    strange = [one for one in said if embodiment("table_talk").understand(one) is None]
    assert any(one.startswith("pick up") for one in strange)
    spec = toy_spec("correction/rt_h", tmp_path, records=[*picked, *robot_toys.motions()])
    assert api.execute(spec) == 0
    (told,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    assert f"Left out: {len(strange)} that name no motion of table_talk." in told["text"]


def test_only_what_names_no_motion_teaches_nothing_and_says_so(tmp_path):
    said = [one for one in robot_toys.corrections() if one.command.startswith("pick up")]
    spec = toy_spec("correction/rt_h", tmp_path, records=said)
    assert api.execute(spec) == 1
    message = entries(spec.home)[-1]["message"]
    assert "No correction is left to learn from" in message and "move arm" in message


def test_a_robot_that_chooses_no_motions_is_refused(tmp_path):
    spec = toy_spec("correction/rt_h", tmp_path)
    inputs = {"robot_policy": robot_toys.robot_policy(tmp_path / "other")}
    assert (
        api.execute(
            api.Spec(spec.method, tmp_path / "run2", spec.config, snapshot=spec.snapshot, inputs=inputs)
        )
        == 1
    )
    assert "control/rt_h_base" in entries(tmp_path / "run2")[-1]["message"]
