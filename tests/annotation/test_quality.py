"""Agreement between people, with an interval that fits how little is known."""

import pytest

from annotation.quality import agreement, wilson
from tests.annotation import studies


def test_wilsons_interval_is_the_one_worked_by_hand():
    low, high = wilson(0.5, 100)
    assert low == pytest.approx(0.4038, abs=1e-4) and high == pytest.approx(0.5962, abs=1e-4)
    assert wilson(1.0, 4)[1] == pytest.approx(1.0)
    assert wilson(0.0, 4)[0] == pytest.approx(0.0)


@pytest.mark.django_db
def test_each_comparison_counts_once_however_many_judged_it():
    study = studies.study(items=2, members=3, overlap=3)
    assert agreement(study) is None
    for n, user in enumerate(studies.annotators(study)):
        turn = studies.claim(study, user)
        first = "ab"[[one.index for one in turn.candidates].index(0)]
        studies.answer(turn, {"choice": first})
        studies.label_next(study, user, {"choice": "tie" if n else "both_bad"})
    found = agreement(study)
    assert found.tasks == 2
    assert found.share == pytest.approx((1 + 1 / 3) / 2)
    assert 0 <= found.low < found.share < found.high <= 1
