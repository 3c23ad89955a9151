"""TableTalk's pictures: what is where, crisp at every size, and the same from a kept state."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainers.envs.drawing import Sheet, fitted
from trainers.envs.registry import world
from trainers.envs.table_talk.drawing import COLOURS, HALF, METAL, paint


def pixel(size, x, y):
    """Row and column of a place on the table."""
    return round((HALF - y) / (2 * HALF) * size - 0.5), round((x + HALF) / (2 * HALF) * size - 0.5)


def near(found, colour, far=24):
    return np.abs(found.astype(int) - colour).max() <= far


@pytest.mark.parametrize("size", [64, 97, 256, 480])
@pytest.mark.parametrize("task", ["pack", "sort", "line", "stack", "peg", "clean", "push"])
def test_everything_on_the_table_is_drawn_where_it_lies_in_its_colour(task, size):
    table = world("table_talk")
    table.reset(4, task, {"things": 4, "distractors": 1})
    picture, scene = table.picture(size), table.scene()
    hand = table.state()[:2]
    for thing, (x, y) in zip(scene["things"], table.state()[5:].reshape(-1)[:10].reshape(5, 2), strict=True):
        if np.hypot(*(hand - (x, y))) < 0.25 or thing["shape"] == "peg":
            continue  # the gripper may hide it; a peg has a ring
        colour = COLOURS[thing["colour"]][0] if thing["colour"] else (232, 200, 95)
        row, column = pixel(size, x - 0.5 * thing["radius"], y + 0.45 * thing["radius"])  # beside its letter
        assert near(picture[row, column], colour, 70 if size < 100 else 24), thing["name"]


def test_an_open_gripper_a_closed_one_and_one_that_holds_look_different():
    table = world("table_talk")
    table.reset(1)
    while table.state()[3] < 0:
        table.step(table.demonstrate())
    held = table.picture(200)
    x, y = table.state()[:2]
    thing = table.scene()["things"][int(table.state()[3])]
    row, column = pixel(200, x - 0.03, y + 0.03)
    assert near(held[row, column], COLOURS[thing["colour"]][0], 40)
    for offset, closed in ((0.11, False), (0.033, True)):
        table.reset(3, "clean")
        if closed:
            table.step(np.array([0.0, 0.0, 1.0]))
        x, y = table.state()[:2]
        row, column = pixel(200, x + offset, y)
        assert table.state()[3] < 0 and near(table.picture(200)[row, column], METAL, 60), (offset, closed)


def test_a_frame_is_drawn_again_from_a_scene_and_a_state_that_were_kept():
    table = world("table_talk")
    table.reset(2, "clean", {"hazards": 2})
    kept = []
    for _ in range(40):
        kept.append((json.dumps(table.scene()), table.state().astype("<f4").tobytes(), table.picture(96)))
        table.step(table.demonstrate())
    for scene, state, picture in kept[::6]:
        assert (paint(json.loads(scene), np.frombuffer(state, "<f4"), 96) == picture).all()
    with pytest.raises(ValueError, match="Expected 14"):
        paint(json.loads(kept[0][0]), np.zeros(9), 96)


def test_edges_are_smooth_and_lines_are_never_lost_at_small_sizes():
    sheet = Sheet(32, 1.0, (255, 255, 255))
    sheet.disc((0, 0), 0.5, (0, 0, 0))
    sheet.line([(-1, -0.8), (1, -0.8)], (0, 0, 0), 1e-6)
    picture = sheet.picture()[..., 0]
    assert len(np.unique(picture)) > 5, "its edge is a staircase"
    assert (picture[26:31].min(axis=0) < 200).all(), "the line has holes"
    covered = (255 - picture[:24].astype(float)).sum() / 255 / 32**2 * 4  # of the 2 x 2 that it shows
    assert covered == pytest.approx(np.pi * 0.25, rel=0.03)


def test_a_picture_that_is_not_square_is_shown_whole():
    wide = np.zeros((40, 80, 3), dtype=np.uint8)
    wide[:, :, 0] = 200
    small = fitted(wide, 64)
    assert small.shape == (64, 64, 3)
    assert near(small[32, 0], (200, 0, 0)) and near(small[32, 63], (200, 0, 0))
    assert not near(small[2, 32], (200, 0, 0)) and not near(small[61, 32], (200, 0, 0))
