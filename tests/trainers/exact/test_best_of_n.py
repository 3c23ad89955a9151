"""Best of n against enumeration: what is chosen, beside what, and how far it is from the policy."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.trainers.test_methods_exact import method
from tests.trainers.toys import entries, toy_spec
from trainers import api, nn
from trainers.nn.table import SeqTable, TableConfig, TableReward
from trainers.records import Demonstration, dumps
from trainers.run import Run, Spec
from trainers.sampling.best_of_n import best_distribution, kl_bound, mean_of_best, pick

NINE = TableConfig(prompts=("p",), symbols="abc", length=2)
FOUR = TableConfig(prompts=("p",), symbols="ab", length=2)


def test_the_best_of_three_is_distributed_as_the_closed_form_says_also_where_scores_are_tied():
    p = SeqTable(NINE, seed=1).logp_all()[0].detach().exp()
    scores = torch.tensor([0.0, 1.0, 1.0, -2.0, 3.0, 0.0, 0.0, 5.0, 1.0])
    draws = torch.cartesian_prod(*[torch.arange(9)] * 3)  # [729, 3]
    best = draws.gather(1, pick(scores[draws])[:, None])[:, 0]
    found = torch.zeros(9, dtype=torch.float64).index_add(0, best, p[draws].prod(dim=1))
    assert torch.allclose(found, best_distribution(p, scores, 3), atol=1e-12)
    assert not torch.allclose(found, p, atol=0.05)


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_its_divergence_from_the_policy_is_below_the_bound(n):
    p = SeqTable(NINE, seed=1).logp_all()[0].detach().exp()
    for scores in (torch.arange(9.0), torch.tensor([0.0, 1.0] * 4 + [0.0])):
        best = best_distribution(p, scores, n)
        divergence = (best * (best / p).log()).sum().item()
        assert -1e-12 <= divergence <= kl_bound(n) + 1e-12
    even = torch.full(
        (1024,), 1 / 1024, dtype=torch.float64
    )  # none likely by itself: there it is the divergence
    best = best_distribution(even, torch.arange(1024.0), n)
    assert (best * (best / even).log()).sum().item() == pytest.approx(kl_bound(n), abs=0.01)
    assert kl_bound(4) == pytest.approx(math.log(4) - 0.75)


def test_the_mean_best_of_fewer_is_that_over_all_choices_of_them():
    scores = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for n in range(1, 8):
        wanted = [[max(some) for some in itertools.combinations(row, n)] for row in scores.tolist()]
        means = torch.tensor([sum(row) / len(row) for row in wanted], dtype=torch.float64)
        assert torch.allclose(mean_of_best(scores, n), means, atol=1e-12)
    with pytest.raises(ValueError, match="best of 8 cannot be told from 7"):
        mean_of_best(scores, 8)


# --- the method -----------------------------------------------------------------------------------

STRINGS = ["aa", "ab", "ba", "bb"]


def items_of(folder: Path, module: ModuleType, **config: object) -> tuple[SeqTable, TableReward, Spec]:
    """A run over four strings, whose policy and scores are known."""
    policy, reward = SeqTable(FOUR, seed=3), TableReward(FOUR)
    with torch.no_grad():
        reward.values.copy_(torch.tensor([[0.5, 2.0, 0.5, -1.0]]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text(dumps(Demonstration("1", "p", "aa")) + "\n")
    inputs = {
        "policy": str(nn.save(policy, folder / "policy")),
        "reward_model": str(nn.save(reward, folder / "reward_model")),
    }
    settings = {"n": 3, "max_new_tokens": 2, "batch_size": 500, "count": 1500, **config}
    spec = Spec("search/best_of_n", folder / "run", settings, inputs=inputs, snapshot=folder)
    run = Run(spec)
    module.train(module.Config(**run.config), run)
    run.finished()
    return policy, reward, spec


def distance(folder: Path, module: ModuleType) -> float:
    """Total variation between the items' (best, plain) and two independent draws, given that they differ."""
    policy, reward, spec = items_of(folder, module)
    p = policy.logp_all()[0].detach().exp()
    both = best_distribution(p, reward.values.detach()[0], 3)[:, None] * p
    both = both * (1 - torch.eye(4))
    lines = [json.loads(line) for line in (spec.home / "items.jsonl").read_text().splitlines()]
    said = Counter((line["candidates"][0]["text"], line["candidates"][1]["text"]) for line in lines)
    found = torch.tensor([[said[one, other] for other in STRINGS] for one in STRINGS]) / len(lines)
    return (found - both / both.sum()).abs().sum().item() / 2


def test_best_and_plain_answers_fall_as_the_closed_form_says(tmp_path):
    assert distance(tmp_path, method("search/best_of_n")) < 0.08


WRONG = {
    "the plain answer is one of the n": (
        "pair = (said[1 + chosen], said[0])",
        "pair = (said[1 + chosen], said[1])",
    ),
    "the best of all n + 1": ("pick(scores[:, 1:]), strict", "pick(scores) - 1, strict"),
    "the worst": ("pick(scores[:, 1:]), strict", "pick(-scores[:, 1:]), strict"),
    "one place off": ("pair = (said[1 + chosen], said[0])", "pair = (said[chosen], said[0])"),
    "best and plain swapped": (
        "pair = (said[1 + chosen], said[0])",
        "pair = (said[0], said[1 + chosen])",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_best_of_n_falls_otherwise(mistake, tmp_path):
    assert distance(tmp_path, method("search/best_of_n", *WRONG[mistake])) > 0.3


def test_items_say_which_is_the_best_of_how_many_by_which_model(tmp_path):
    _, _, spec = items_of(tmp_path, method("search/best_of_n"), count=5)
    lines = [json.loads(line) for line in (spec.home / "items.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    best, plain = lines[0]["candidates"]
    assert best["policy"] == f"{plain['policy']}, best of 3"
    assert best["source"] == {
        **plain["source"],
        "best_of": 3,
        "reward_model": nn.digest(Path(spec.inputs["reward_model"])),
    }
    assert lines[2]["external_id"] == "run-0-2"


def test_the_report_has_the_score_of_every_number_beside_the_bound(tmp_path):
    policy, reward, spec = items_of(tmp_path, method("search/best_of_n"), n=4)
    (report,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    p, scores = policy.logp_all()[0].detach().exp(), reward.values.detach()[0]
    for n in (1, 2, 4):
        wanted = (best_distribution(p, scores, n) * scores).sum().item()
        assert report["readings"][f"score_{n}"]["value"] == pytest.approx(wanted, abs=0.05)
        assert report["readings"][f"kl_{n}"]["value"] == kl_bound(n)
    assert report["curves"]["best_of_n"]["n"] == [1, 2, 4]
    assert "low" not in report["readings"]["score_4"], "one prompt has no interval over prompts"


def test_a_policy_with_one_thing_to_say_is_reported_not_looped_on(tmp_path):
    spec = toy_spec("search/best_of_n", tmp_path, config={"temperature": 1e-6})
    assert api.execute(spec) == 1
    assert "Raise the temperature" in entries(spec.home)[-1]["message"]


def test_the_best_of_one_is_refused(tmp_path):
    spec = toy_spec("search/best_of_n", tmp_path, config={"n": 1})
    with pytest.raises(ValueError, match="'n' is 1. Expected a whole number of at least 2"):
        api.execute(spec)
