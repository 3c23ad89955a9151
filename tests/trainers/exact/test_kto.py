"""KTO: its gradient, its reference point, whole steps against a plain loop, and the usual mistakes."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.trainers.test_methods_exact import method, minimise
from tests.trainers.toys import PROMPTS, STRINGS, TABLE, entries, ratings, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.nn.table import SeqTable, TableConfig
from trainers.records import Correction, Pair, Rating, Record
from trainers.run import Run, Spec

# --- the loss -------------------------------------------------------------------------------------


def test_ktos_loss_is_the_number_worked_by_hand():
    """beta 0.5, z0 1: sigmoid(0.5 (3 - 1)) = 0.731059; sigmoid(-0.5 (-2 - 1)) = sigmoid(1.5) = 0.817574."""
    losses = method("direct/kto").value_loss(
        torch.tensor([3.0, -2.0]), torch.tensor(1.0), torch.tensor([True, False]), 0.5
    )
    assert losses.tolist() == pytest.approx([1 - 0.731059, 1 - 0.817574], abs=1e-6)


def gradient_error(kto: ModuleType) -> float:
    """Of a desirable and an undesirable answer, against -s beta sigmoid(u) sigmoid(-u) grad log pi.

    u = s beta (r - z0), z0 a number: the policy cannot lower its loss by moving the reference point.
    """
    beta, signs = 0.7, (1, -1)
    policy, reference = (SeqTable(TableConfig(symbols="abcd", length=2), seed=seed) for seed in (1, 2))
    read = [
        (torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([0, 3])),
        (torch.tensor([1]), torch.tensor([0, 3]), torch.tensor([1, 2])),
    ]
    with torch.no_grad():
        kept = kto.logps(reference, read)
        z0 = max(0.0, (kto.logps(policy, read) - kept)[:, 1].mean().item())
    assert z0 > 0.1, "or this would not see whether it carries a gradient"
    ratios = kto.answer_logps(policy, read) - kept[:, 0]
    point = kto.reference_point(policy, read, kept, range(2), 1)
    losses = kto.value_loss(ratios, point, torch.tensor([True, False]), beta)
    (found,) = torch.autograd.grad(losses.sum(), policy.table)
    wanted = torch.zeros_like(found)
    for sign, (x, y, _), ratio in zip(signs, read, ratios.tolist(), strict=True):
        (score,) = torch.autograd.grad(policy.logp_tok([x], y[None]).sum(), policy.table)
        u = sign * beta * (ratio - z0)
        wanted -= sign * beta / (1 + math.exp(-u)) / (1 + math.exp(u)) * score
    return (found - wanted).abs().max().item()


def test_ktos_gradient_is_the_papers_and_none_goes_through_the_reference_point():
    assert gradient_error(method("direct/kto")) < 1e-12


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("@torch.no_grad()\ndef reference_point", "def reference_point"),
        ("beta * side * (ratios - z0)", "side * (beta * ratios - z0)"),
        ("beta * side * (ratios - z0)", "beta * side * ratios"),
        ("torch.where(desirable, 1.0, -1.0)", "torch.where(desirable, -1.0, 1.0)"),
        ("1 - torch.sigmoid(beta", "-torch.nn.functional.logsigmoid(beta"),
    ],
    ids=["gradient through z0", "z0 not scaled", "no reference point", "sides swapped", "log of the sigmoid"],
)
def test_a_wrong_ktos_gradient_is_another(right, wrong):
    assert gradient_error(method("direct/kto", right, wrong)) > 1e-3


def test_where_labels_contradict_each_other_kto_takes_the_majoritys_side():
    """Its Theorem 4.3: of an answer that 60 % like and one that 40 % like the first gets everything, where DPO's
    optimum would keep odds of (0.6 / 0.4)^(1 / beta)."""
    kto, policy = method("direct/kto"), SeqTable(TableConfig(prompts=("p",), symbols="ab", length=1), seed=1)
    reference = policy.logp_all().detach()[0]
    liked = torch.tensor([0.6, 0.4])

    def loss() -> torch.Tensor:
        ratios, z0 = policy.logp_all()[0] - reference, torch.tensor(0.0)
        good = kto.value_loss(ratios, z0, torch.tensor([True, True]), 1.0)
        bad = kto.value_loss(ratios, z0, torch.tensor([False, False]), 1.0)
        return (liked * good + (1 - liked) * bad).sum()

    minimise(list(policy.parameters()), loss)
    assert policy.logp_all().detach().exp()[0, 0].item() > 0.999


# --- whole steps ----------------------------------------------------------------------------------


def first_step(kto: ModuleType, folder: Path, moved: bool) -> tuple[dict[str, float], dict[str, float]]:
    """What the first step logs, taken three answers at a time, and what a plain loop over the table makes of it.

    With `moved` the policy's mean log-ratio of mismatched answers is above 0; without, below, and z0 is 0.
    """
    prompts, strings = PROMPTS[:4], ("aab", "bcd", "dda", "cab", "bba", "ddd", "abc")
    records: list[Record] = [
        Rating(f"r{i}", prompts[i % 4], text, {"thumb": 1 + i % 2}, {"thumb": 2}, weight=1 + i % 3)
        for i, text in enumerate(strings)
    ]
    seeds = (6, 5) if moved else (5, 6)
    tables = [SeqTable(TABLE, seed=seed) for seed in seeds]
    inputs = {
        role: str(nn.save(table, folder / role))
        for role, table in zip(("policy", "reference"), tables, strict=True)
    }
    config = {
        "beta": 0.3,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.4,
        "held_out": 0,
        "micro_batch": 3,
    }
    spec = Spec(
        "direct/kto", folder / "run", config, inputs=inputs, snapshot=snapshot(folder / "records", records)
    )
    run = Run(spec)
    kto.train(kto.Config(**run.config), run)
    run.finished()

    def ratio(prompt: str, text: str) -> float:
        x, y = tables[0].encode_pair(prompt, text)
        with torch.no_grad():
            one, other = (table.logp_tok([x], y[None]).sum().item() for table in tables)
        return one - other

    others = method("direct/kto").mismatched([one.prompt for one in records], len(records), spec.seed)
    mean = sum(ratio(one.prompt, strings[other]) for one, other in zip(records, others, strict=True)) / len(
        records
    )
    assert mean > 0.1 if moved else mean < -0.1
    loss, z0 = 0.0, max(0.0, mean)
    for i, record in enumerate(records):
        sign, side = (1, 1.0) if i % 2 else (-1, 1.4)
        value = 1 / (1 + math.exp(-0.3 * sign * (ratio(record.prompt, strings[i]) - z0)))
        loss += record.weight * side * (1 - value) / sum(one.weight for one in records)
    return rows(spec.home)[0], {"loss": loss, "kl": z0}


@pytest.mark.parametrize("moved", [True, False], ids=["z0 above 0", "z0 clamped"])
def test_a_whole_step_is_the_one_worked_by_hand_however_its_batch_is_cut(moved, tmp_path):
    found, wanted = first_step(method("direct/kto"), tmp_path, moved)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize(
    ("right", "wrong", "moved"),
    [
        (".mean().clamp(min=0)", ".mean()", False),
        ("torch.where(desirable, config", "torch.where(~desirable, config", True),
        ("(*answers[i], answers[others[i]][1])", "(*answers[i], answers[i][1])", True),
        ("weights[part] * sides[part]", "sides[part]", True),
        ("reference, batch, config.micro_batch)\n", "reference, batch[:3], config.micro_batch)\n", True),
        ("* losses).sum() / whole", "* losses).sum() / weights[part].sum()", True),
    ],
    ids=[
        "z0 below 0",
        "lambdas exchanged",
        "answers to their own prompts",
        "weights forgotten",
        "z0 of a part",
        "mean of means",
    ],
)
def test_a_wrong_step_is_noticed(right, wrong, moved, tmp_path):
    found, wanted = first_step(method("direct/kto", right, wrong), tmp_path, moved)
    assert abs(found["loss"] - wanted["loss"]) > 1e-3


# --- what is read ---------------------------------------------------------------------------------


def test_no_answer_is_set_against_a_prompt_that_it_answers():
    chance = np.random.default_rng(0)
    asked = [f"p{number}" for number in chance.choice(5, size=400, p=[0.9, 0.04, 0.03, 0.02, 0.01])]
    held_out = ["h0"] * 50
    drawn = method("direct/kto").mismatched([*asked, *held_out], len(asked), seed=3)
    every = [*asked, *held_out]
    assert all(every[row] != every[other] for row, other in enumerate(drawn))
    assert max(drawn) < len(asked), "what is held out moves no reference point"
    assert len(set(drawn.tolist())) > 30


def test_with_one_prompt_alone_kto_says_what_is_missing(tmp_path):
    records = [Rating(f"r{i}", PROMPTS[0], STRINGS[i], {"thumb": 1 + i % 2}, {"thumb": 2}) for i in range(8)]
    spec = toy_spec("direct/kto", tmp_path, records=records, config={"held_out": 0})
    assert api.execute(spec) == 1
    assert "at least two prompts" in entries(spec.home)[-1]["message"]


def test_kto_reads_thumbs_ratings_pairs_and_edits_as_good_or_bad():
    records = [
        Rating("1", "p", "up", {"thumb": 2}, {"thumb": 2}),
        Rating("2", "p", "down", {"thumb": 1}, {"thumb": 2}, weight=2.0),
        Rating("3", "p", "four of five", {"help": 4}, {"help": 5}),
        Rating("4", "p", "three of five", {"help": 3}, {"help": 5}),
        Rating("5", "p", "best, but rude", {"help": 5, "tone": 1}, {"help": 5, "tone": 2}),
        Rating("6", "p", "kind, not much help", {"help": 2, "tone": 2}, {"help": 5, "tone": 2}),
        Pair("7", "p", "better", "worse"),
        Pair("8", "p", "one", "other", outcome="tie"),
        Pair("9", "p", "bad", "as bad", outcome="both_bad"),
        Correction("10", "p", "before", "after"),
        Pair("11", "p", "equal", "equal"),
        Rating("12", "p", "retracted", {"thumb": 2}, {"thumb": 2}, weight=0.0),
    ]
    opinions = method("direct/kto").opinions
    assert [tuple(one)[1:] for record in records for one in opinions(record)] == [
        ("up", True, 1.0),
        ("down", False, 2.0),
        ("four of five", True, 1.0),
        ("kind, not much help", True, 1.0),
        ("better", True, 1.0),
        ("worse", False, 1.0),
        ("bad", False, 1.0),
        ("as bad", False, 1.0),
        ("after", True, 1.0),
        ("before", False, 1.0),
    ]


def test_from_ratings_alone_kto_tells_liked_answers_from_others(tmp_path):
    spec = toy_spec("direct/kto", tmp_path, records=ratings(240), config={"epochs": 6})
    assert api.execute(spec) == 0
    found = rows(spec.home)
    assert found[0]["loss"] == 0.5 and found[0]["kl"] == 0.0
    assert [row["rewards/margins"] for row in found if "rewards/margins" in row][-1] > 1


def test_a_margin_is_the_difference_of_two_means_however_many_answers_are_of_either_kind():
    kto, desirable = method("direct/kto"), torch.tensor([True, False, False, False])
    rewards = torch.tensor([2.0, 1.0, -1.0, 3.0])
    signs = kto.margin_signs(desirable)
    assert (rewards * signs[desirable.long()]).mean().item() == pytest.approx(2 - 1)
    assert kto.margin_signs(desirable[:1]) is None
