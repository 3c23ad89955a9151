"""The ensemble: what it knows that it does not know, against truths that are known, and its usual mistakes."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.trainers.test_methods_exact import method
from tests.trainers.toys import entries, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.data import preferences
from trainers.maths.disagreement import auroc, conflict
from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.ensemble import EnsembleReward, beside, mean, std
from trainers.nn.reward import ByteReward
from trainers.nn.table import TableConfig, TableReward
from trainers.records import Pair
from trainers.reports.ensemble import findings, foresight
from trainers.sampling.score import score

DATA = os.environ.get("KIBITZ_DATA")
SHAPE = ByteTransformerConfig(d=16, layers=1)
FOUR = TableConfig(prompts=("p",), symbols="ab", length=2)


def tables(*values: list[float]) -> list[TableReward]:
    members = []
    for one in values:
        member = TableReward(FOUR)
        with torch.no_grad():
            member.values.copy_(torch.tensor([one]))
        members.append(member)
    return members


# --- the model ------------------------------------------------------------------------------------


def test_the_score_is_the_mean_less_so_many_deviations():
    """Scores 1, 1, 4 have mean 2 and deviation sqrt 2; 3, 3, 3 have none."""
    model = EnsembleReward(tables([1, 3, 0, 0], [1, 3, 0, 0], [4, 3, 0, 0]), pessimism=0.5)
    assert model.scores(["p", "p"], ["aa", "ab"]).tolist() == [[1, 3], [1, 3], [4, 3]]
    found = model.score(["p", "p"], ["aa", "ab"]).tolist()
    assert found == pytest.approx([2 - 0.5 * math.sqrt(2), 3], abs=1e-5)
    assert found == pytest.approx(model(model.encode(["p", "p"], ["aa", "ab"])).tolist(), abs=1e-5)
    model.normalise(1.0, 2.0)
    assert model.score(["p"], ["ab"]).item() == pytest.approx(1)
    assert model.scores(["p"], ["ab"]).tolist() == [[3], [3], [3]], "members keep their log-odds"


def test_pessimism_lowers_what_is_uncertain_and_leaves_what_is_not():
    members = tables([0, 1, 2, 3], [0, 1, 2, 5], [0, 1, 2, 1])
    texts = ["aa", "ab", "ba", "bb"]
    plain, careful = (EnsembleReward(members, k).score(["p"] * 4, texts) for k in (0.0, 2.0))
    assert torch.allclose(plain[:3], careful[:3], atol=1e-5) and careful[3] < plain[3] - 3
    assert plain.argmax() == 3 and careful.argmax() == 2, (
        "what all agree on is preferred to what some like best"
    )


def test_equal_members_have_a_score_with_a_gradient():
    members = tables([0, 1, 2, 3], [0, 1, 2, 3])
    model = EnsembleReward(members)
    model(model.encode(["p"], ["bb"])).sum().backward()
    assert torch.isfinite(members[0].values.grad).all()


def test_it_is_one_folder_whose_members_open_alone_too(tmp_path):
    model = EnsembleReward([ByteReward(SHAPE, seed=seed) for seed in range(3)], pessimism=0.25)
    model.normalise(0.3, 2.0)
    path = nn.save(model, tmp_path / "model")
    opened = nn.load_reward_model(path)
    asked, texts = ["p"] * 3, ["a", "bb and more", ""]
    assert opened.config == model.config and opened.kind == "ensemble_reward"
    assert torch.equal(opened.score(asked, texts), model.score(asked, texts))
    alone = nn.load_reward_model(path / "member-1")
    assert torch.allclose(alone.score(asked, texts), model.scores(asked, texts)[1], atol=1e-6)


def test_heads_on_the_frozen_encoder_share_it_also_when_opened(tmp_path):
    from trainers.nn.encoder import EncoderReward, EncoderRewardConfig

    first = EncoderReward(EncoderRewardConfig())
    members = [first, beside(first), beside(first)]
    for number, member in enumerate(members):
        torch.nn.init.normal_(member.head.weight, generator=torch.Generator().manual_seed(number))
    opened = nn.load_reward_model(nn.save(EnsembleReward(members), tmp_path / "model"))
    assert all(one.encoder is opened.members[0].encoder for one in opened.members)
    scores = opened.scores(["Is it warm?"] * 2, ["It is.", "I do not know."])
    assert torch.allclose(
        scores[2], members[2].score(["Is it warm?"] * 2, ["It is.", "I do not know."]), atol=1e-5
    )
    assert not torch.allclose(scores[1], scores[2])


def test_one_member_or_members_that_read_differently_are_refused():
    with pytest.raises(ValueError, match="at least two members"):
        EnsembleReward(tables([0, 0, 0, 0]))
    with pytest.raises(ValueError, match="read alike"):
        EnsembleReward([*tables([0, 0, 0, 0]), ByteReward(SHAPE)])


def test_score_prints_what_each_member_says(tmp_path):
    path = nn.save(EnsembleReward(tables([0, 1, 2, 3], [3, 2, 1, 0])), tmp_path / "model")
    single = nn.save(tables([5, 6, 7, 8])[0], tmp_path / "single")
    sink = io.StringIO()
    line = json.dumps({"id": 1, "prompt": "p", "answers": ["aa", "bb"]})
    score([path, single], io.StringIO(line), sink, device="cpu", threads=1)
    assert json.loads(sink.getvalue()) == {"id": 1, "scores": [[0, 3], [3, 0], [5, 8]]}


# --- formulas -------------------------------------------------------------------------------------


def test_conflict_is_the_share_of_pairs_of_many_members_that_differ():
    margins = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor(
        [0.0, 1.0, -2.0]
    )
    up = (margins > 0).double().mean(dim=0)
    assert torch.allclose(conflict(margins), 2 * up * (1 - up), atol=0.01)
    assert conflict(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist() == [0.0, 0.5]


def test_auroc_counts_pairs_and_has_an_interval_that_covers():
    area, low, high = auroc(torch.tensor([1.0, 3.0, 2.0, 2.0]), torch.tensor([False, True, True, False]))
    assert area == pytest.approx(3.5 / 4) and low < area <= high <= 1
    assert math.isnan(auroc(torch.zeros(3), torch.zeros(3, dtype=torch.bool))[0])
    chance, inside = torch.Generator().manual_seed(1), 0
    for _ in range(200):  # normals a deviation apart: the true area is Phi(1 / sqrt 2) = 0.760
        values = torch.randn(100, generator=chance)
        positive = torch.arange(100) < 30
        _, low, high = auroc(values + positive, positive)
        inside += low < 0.7602 < high
    assert 180 <= inside <= 198


def test_the_report_says_how_well_errors_are_foreseen_and_nothing_where_there_are_none():
    margins = torch.tensor([[2.0, 1.0, -0.2], [2.0, 1.0, 0.1]])
    by_conflict, by_margin = foresight(margins)
    assert by_conflict.wrong == 1 and by_conflict.n == 3 and by_conflict.value == by_margin.value == 1.0
    readings, text = findings(margins)
    assert readings["foresight"]["value"] == 1.0 and "foresees its errors with an AUROC of 1.00" in text
    assert "foresight" not in findings(margins.abs())[0] and findings(torch.zeros(2, 0)) == ({}, "")


# --- training -------------------------------------------------------------------------------------


def pairs_of(prompts: int, each: int = 3) -> list[Pair]:
    return [Pair(f"{p}-{i}", f"prompt {p}", "a", "b") for p in range(prompts) for i in range(each)]


def drawn_together(ensemble: ModuleType) -> bool:
    """Whether preferences of one prompt are in a member's draw equally often, of as many prompts as there are."""
    asked = [one.prompt for one in preferences(pairs_of(40))]
    found = torch.bincount(torch.tensor(ensemble.draw(asked, 0, 1)), minlength=120).view(40, 3)
    return bool((found == found[:, :1]).all()) and int(found[:, 0].sum()) == 40 and int(found.max()) > 1


def test_members_learn_from_draws_of_prompts_each_from_its_own():
    ensemble = method("reward/ensemble")
    assert drawn_together(ensemble)
    asked = [one.prompt for one in preferences(pairs_of(200))]
    draws = [set(ensemble.draw(asked, 0, number)) for number in range(4)]
    assert all(one != other for i, one in enumerate(draws) for other in draws[:i])
    for one in draws:  # a draw leaves out 1 / e of the prompts
        assert len(one) / 600 == pytest.approx(1 - math.exp(-1), abs=0.08)


def test_a_draw_of_preferences_or_of_nothing_would_be_noticed():
    right = "return [row for place in drawn for row in of_prompt[prompts[place]]]"
    alone = "return torch.randint(len(asked), (len(asked),), generator=chance).tolist()"
    assert not drawn_together(method("reward/ensemble", right, alone))
    assert not drawn_together(method("reward/ensemble", right, "return list(range(len(asked)))"))


LETTERS = "abcdefgh"


def spelled(count: int, seed: int, letters: str = LETTERS, noise: float = 0.15) -> list[Pair]:
    """Two words each; a letter is worth what its place says, and people see it with an error."""
    chance = torch.Generator().manual_seed(seed)
    found: list[Pair] = []
    while len(found) < count:
        words = [
            "".join(letters[i] for i in torch.randint(len(letters), (4,), generator=chance)) for _ in range(2)
        ]
        worth = [sum(LETTERS.index(one) / 8 for one in word) / 4 for word in words]
        if abs(worth[0] - worth[1]) < 0.01:
            continue
        seen = worth[0] - worth[1] + noise * torch.randn((), generator=chance).item()
        better, worse = words if seen > 0 else words[::-1]
        number = len(found)
        found.append(Pair(f"{seed}-{number}", f"word {number}?", better, worse))
    return found


def true_order(one: Pair) -> tuple[str, str]:
    words = sorted((one.chosen, one.rejected), key=lambda word: -sum(map(LETTERS.index, word)))
    return words[0], words[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> EnsembleReward:
    """On 150 words of the first six letters; it never saw the others."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("trained")
    config = {
        "backbone": "byte_transformer", "d": 16, "layers": 1, "lr": 1e-2, "epochs": 6, "members": 5, "held_out": 0,
    }  # fmt: skip
    where = snapshot(home / "snapshot", spelled(150, 0, LETTERS[:6]))
    spec = api.Spec("reward/ensemble", home / "run", config, snapshot=where)
    assert api.execute(spec) == 0
    return nn.load_reward_model(spec.home / "reward_model").eval()


def margins(model: EnsembleReward, found: list[Pair]) -> torch.Tensor:
    """[N, B] of what is truly better over the other."""
    asked = [one.prompt for one in found] * 2
    scores = model.scores(asked, [true_order(one)[side] for side in (0, 1) for one in found])
    return scores[:, : len(found)] - scores[:, len(found) :]


def test_members_differ_more_off_the_distribution_they_learned_from(trained):
    """Words of letters that it knows, and words in capitals, of all letters, with marks that it never saw."""
    known = [one.chosen for one in spelled(200, 7, LETTERS[:6])]
    foreign = [one.chosen.upper() + "!?" for one in spelled(200, 7)]
    inside, outside = (std(trained.scores(["word?"] * 200, texts)) for texts in (known, foreign))
    assert outside.mean() > 1.2 * inside.mean()


def test_their_disagreement_foresees_errors(trained):
    by_conflict, _ = foresight(margins(trained, spelled(600, 9, LETTERS, noise=0.0)))
    assert by_conflict.wrong > 20
    assert by_conflict.low > 0.6, by_conflict


def test_equal_members_foresee_nothing(trained):
    """A wrong ensemble, of one member copied: every pair is as certain as any other."""
    copied = EnsembleReward([trained.members[0], trained.members[0]])
    by_conflict, _ = foresight(margins(copied, spelled(600, 9, LETTERS, noise=0.0)))
    assert by_conflict.value == pytest.approx(0.5)


def test_after_training_members_have_mean_0_and_the_score_variance_1(trained):
    found = spelled(150, 0, LETTERS[:6])
    asked = [one.prompt for one in found] * 2
    texts = [one.chosen for one in found] + [one.rejected for one in found]
    assert trained.scores(asked, texts).mean(dim=1).abs().max() < 1e-3
    scores = trained.score(asked, texts)
    assert scores.mean().item() == pytest.approx(0, abs=1e-3)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-3)
    assert mean(trained.scores(asked, texts)).std() > 0.5, "members still score in log-odds"


def test_the_report_names_the_members_and_what_they_foresee(tmp_path):
    config = {"backbone": "byte_transformer", "d": 16, "layers": 1, "lr": 1e-2, "epochs": 2, "members": 2}
    where = snapshot(tmp_path / "snapshot", spelled(150, 0))
    spec = api.Spec("reward/ensemble", tmp_path / "run", config, snapshot=where)
    assert api.execute(spec) == 0
    (report,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    assert report["readings"]["foresight"]["n"] == report["readings"]["accuracy"]["n"] > 20
    assert "disagreement foresees its errors" in report["text"]
    (artifact,) = [entry for entry in entries(spec.home) if entry["type"] == "artifact"]
    assert artifact["meta"]["members"] == 2


def test_it_does_not_depend_on_how_the_batch_is_cut(tmp_path):
    config = {"epochs": 1, "members": 2}
    whole = toy_spec("reward/ensemble", tmp_path, "whole", config=config)
    cut = toy_spec("reward/ensemble", tmp_path, "cut", config={**config, "micro_batch": 5})
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA, reason="KIBITZ_DATA names no folder with hh_harmless")
def test_on_real_pairs_disagreement_foresees_errors(tmp_path):
    found = []
    with gzip.open(Path(str(DATA)) / "hh_harmless.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            (asked, better), (_, worse) = (
                row[side].rsplit("\n\nAssistant:", 1) for side in ("chosen", "rejected")
            )
            found.append(
                Pair(row["id"], asked.rsplit("\n\nHuman:", 1)[-1].strip(), better.strip(), worse.strip())
            )
    where = snapshot(tmp_path / "snapshot", found)
    spec = api.Spec("reward/ensemble", tmp_path / "run", {}, snapshot=where)
    assert api.execute(spec) == 0
    (report,) = [entry["report"] for entry in entries(spec.home) if entry["type"] == "report"]
    assert report["readings"]["foresight"]["value"] > 0.6
    assert report["readings"]["accuracy"]["low"] > 0.55
