"""What the losses on preferences share: a step is the same however its batch is cut to fit the memory."""

from __future__ import annotations

import pytest

from tests.trainers.toys import corrections, pairs, ratings, rows, snapshot, toy_spec
from trainers import api, nn
from trainers.nn.byte_transformer import ByteTransformer, ByteTransformerConfig
from trainers.records import Correction, Pair
from trainers.run import Spec

METHODS = [
    *(f"direct/{name}" for name in ("dpo", "ipo", "cdpo", "kto", "simpo", "orpo")),
    *(f"correction/{name}" for name in ("edits", "edits_masked")),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_depend_on_how_its_batch_is_cut(method, tmp_path):
    records = [*pairs(60), *ratings(40), *corrections(40)]
    whole, cut = (
        toy_spec(method, tmp_path, name, records=records, config={"micro_batch": size, "epochs": 1})
        for name, size in (("whole", 64), ("cut", 3))
    )
    assert api.execute(whole) == api.execute(cut) == 0
    for one, other in zip(rows(whole.home), rows(cut.home), strict=True):
        for row in (one, other):  # a margin that is 0 but for rounding may count as in order or not
            row.pop("rewards/accuracies", None)
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


TEXTS = ["a", "bb", "a much longer answer than the others", "ccc", "dd dd", "e, and some more"]


@pytest.mark.parametrize("method", METHODS)
def test_nor_on_how_long_the_answers_beside_it_are(method, tmp_path):
    """A transformer over texts of 1 to 36 bytes: alone, or padded to the longest."""
    policy = nn.save(ByteTransformer(ByteTransformerConfig(d=16, layers=1)), tmp_path / "policy")
    sides = zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)
    records = [
        record
        for number, (one, other) in enumerate(sides)
        for record in (
            Pair(f"p{number}", f"q{number}", one, other, weight=1 + number % 2),
            Correction(f"c{number}", f"a longer question {number}", other, f"{other} {one}"),
        )
    ]
    where, found = snapshot(tmp_path / "snapshot", records), []
    for size in (1, 32):
        config = {"micro_batch": size, "held_out": 0, "epochs": 3, "lr": 1e-2}
        spec = Spec(method, tmp_path / str(size), config, inputs={"policy": str(policy)}, snapshot=where)
        assert api.execute(spec) == 0
        found.append(rows(spec.home))
    for alone, padded in zip(*found, strict=True):
        for row in (alone, padded):
            row.pop("rewards/accuracies", None)
        assert alone == pytest.approx(padded, rel=2e-3, abs=1e-4)
    assert found[0][-1]["loss"] < found[0][0]["loss"]
