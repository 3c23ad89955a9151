"""The check rth_reach: phrases about motions make a robot better and correctable; wrong ways of learning them do not.

Shortened here, whole as a slow test; the figures of the whole one are on the cards of control/rt_h_base and
correction/rt_h.
"""

from __future__ import annotations

import statistics

import pytest
import torch

from tests.trainers.rth_reach import SHORT, WHOLE, Size, Study, as_predicted, measure


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    torch.set_num_threads(1)
    return Study(tmp_path_factory.mktemp("rth_reach"), 0, SHORT)


@pytest.fixture(scope="module")
def base(study):
    return study.base()


@pytest.fixture(scope="module")
def taught(study, base):
    return study.taught()


def mean(values):
    return statistics.fmean(values)


def test_phrases_make_actions_easier_to_tell_and_true_ones_even_more(base):
    assert base["mse_true"] <= 0.5 * base["mse_flat"], base
    assert base["mse_predicted"] <= 0.9 * base["mse_flat"], base


def test_a_phrase_moves_the_axis_that_it_names_the_way_that_it_names(base):
    assert base["steerability"] >= 0.95, base


def test_known_tasks_are_done_better_by_phrases_than_without(base):
    assert mean(base["known"]) >= mean(base["known_flat"]) + 0.3, base


def test_a_task_that_was_never_shown_is_done_when_somebody_names_the_motions(base):
    assert base["novel_live"] >= base["novel"] + 0.6, base


def test_what_was_said_is_learned_by_the_motion_query_alone_and_nothing_is_forgotten(base, taught):
    assert taught["novel"][-1] >= 0.2, taught
    assert taught["interventions"][-1] <= 0.6 * taught["interventions"][0], taught
    assert taught["held_out"][-1] >= taught["held_out"][0] + 0.25, taught
    assert mean(taught["known"]) >= mean(base["known"]) - 0.15, (base, taught)
    assert taught["action"] == taught["frozen"], "the action query must stay bit for bit what it was"


def test_labels_from_the_policys_own_prediction_teach_nothing(study, base):
    wrong = Study(study.folder, 0, Size(study.size.base, {"steps": 200}, 1, 12, 40))
    found = wrong.taught(relabel=as_predicted)
    assert found["novel"][-1] <= 0.05 and found["held_out"][-1] <= 0.1, found


def test_without_the_base_mixed_in_what_was_known_is_forgotten(study, base):
    wrong = Study(study.folder, 0, Size(study.size.base, {"steps": 400}, 1, 12, 40))
    found = wrong.taught(ratio=1.0)
    assert mean(found["known"]) <= mean(base["known"]) - 0.4, (base, found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_whole_check_passes_every_gate(seed):
    found = measure(seed, WHOLE)
    base, taught = found["base"], found["taught"]
    assert base["mse_true"] <= 0.5 * base["mse_flat"] and base["mse_predicted"] <= 0.9 * base["mse_flat"], (
        base
    )
    assert base["steerability"] >= 0.95 and mean(base["known"]) >= mean(base["known_flat"]) + 0.3, base
    assert base["novel_live"] >= base["novel"] + 0.6, base
    assert taught["novel"][-1] >= 0.25 and taught["held_out"][-1] >= 0.3, taught
    assert taught["interventions"][-1] <= 0.5 * taught["interventions"][0], taught
    assert mean(taught["known"]) >= mean(base["known"]) - 0.15 and taught["action"] == taught["frozen"], (
        taught
    )
    own, alone = found["labels from its own prediction"], found["no base mixed in"]
    assert own["novel"][-1] <= 0.05 and own["held_out"][-1] <= 0.1, own
    assert mean(alone["known"]) <= 0.3, alone
