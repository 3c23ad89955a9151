"""What reports say of robots, in numbers worked by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from trainers.maths.accuracy import wilson
from trainers.reports import motions, robots
from trainers.sampling.episodes import Lived

PHRASES = ["stay", "move arm left", "move arm up"]


@dataclass
class Said:
    episode: str
    command: str = "wait"


def lived(
    success: bool, stages: int = 0, steps: int = 10, agreed: tuple[int, int] = (0, 0), **commands: int
) -> Lived:
    done = {f"{n}. stage": n <= stages for n in (1, 2, 3)}
    return Lived(0, steps, float(success), success, done, (), agreed, commands, ())


def test_rows_of_the_confusion_are_what_was_right_and_columns_what_was_chosen():
    wanted, chosen = [1, 1, 1, 2], [1, 2, 2, 2]
    found = motions.confusion(PHRASES, wanted, chosen)
    assert found == {"phrases": ["move arm left", "move arm up"], "counts": [[1, 2], [0, 1]]}


def test_mistakes_are_shares_of_all_steps_most_frequent_first():
    found = motions.mistakes(PHRASES, [1, 1, 1, 2, 0], [1, 2, 2, 0, 0])
    assert [(one["label"], one["value"], one["n"]) for one in found.values()] == [
        ("“move arm left” taken for “move arm up”", 0.4, 2),
        ("“move arm up” taken for “stay”", 0.2, 1),
    ]


def test_what_people_said_and_what_was_left_out_is_counted():
    found = motions.per_phrase(["stay", "move arm up", "move arm up"])
    assert [(one["label"], one["value"]) for one in found.values()] == [
        ("Said: “move arm up”", 2), ("Said: “stay”", 1),
    ]  # fmt: skip
    assert motions.left_out({}) == ""
    assert motions.left_out({"of weight 0": 2, "in vain": 1}) == " Left out: 1 in vain, 2 of weight 0."


def test_a_share_has_its_interval_and_one_of_nothing_is_none():
    low, high = wilson(3, 4)
    assert robots.share("x", [True, True, False, True]) == {
        "label": "x", "value": 0.75, "low": low, "high": high, "n": 4,
    }  # fmt: skip
    assert robots.share("x", [])["n"] == 0


def test_a_stage_counts_for_whoever_came_at_least_so_far():
    found = robots.stages("x", [lived(True, 3), lived(False, 1), lived(False, 0), lived(False, 2)])
    assert found["x"] == [1, 2, 3] and found["y"] == [0.75, 0.5, 0.25] and found["n"] == [4, 4, 4]


def test_of_each_corrected_episode_it_is_told_what_was_said_and_how_much_was_left_alone():
    said = [Said("a"), Said("a"), Said("b")]
    found = robots.before_and_after({}, said, {"a": 8, "b": 4}, [0.1, 0.3, 0.2])
    assert found["readings"]["corrections"]["value"] == 3
    assert found["readings"]["corrections_per_episode"]["value"] == 1.5
    assert found["curves"]["corrections"]["y"] == [2, 1]
    assert found["curves"]["agreement"]["y"] == [0.75, 0.75]
    assert found["readings"]["reaction"]["value"] == 0.2 and "after 0.2 s (median)" in found["text"]
    assert "agreement" not in robots.before_and_after({}, said, {"a": 8}, [])["curves"]


def test_what_it_did_before_and_after_is_told_apart():
    before = [lived(False, steps=20, agreed=(1, 4), wait=15, open=5), lived(True, 3, agreed=(1, 4), wait=10)]
    after = [lived(True, 3, agreed=(3, 4), open=10), lived(True, 3, agreed=(3, 4), open=10)]
    found = robots.before_and_after({"fresh": (before, after)}, [], {}, [])
    readings = {name: one["value"] for name, one in found["readings"].items()}
    assert (readings["success_fresh_before"], readings["success_fresh_after"]) == (0.5, 1.0)
    assert (readings["agreement_before"], readings["agreement_after"]) == (0.25, 0.75)
    assert (readings["length_before"], readings["length_after"]) == (15, 10)
    shares = {
        one["label"]: one["value"] for name, one in found["readings"].items() if name.startswith("steps_")
    }
    assert shares["Share of steps: “wait”, before"] == pytest.approx(25 / 30)
    assert shares["Share of steps: “wait”, after"] == 0 and shares["Share of steps: “open”, after"] == 1
    assert "1 of 2 before, 2 of 2 after (1 gained, 0 lost)" in found["text"]
