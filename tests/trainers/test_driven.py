"""What is learned from what people drove: less what they rejected, and of one kind of world at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainers import robot_toys
from tests.trainers.toys import entries, snapshot, toy_spec
from trainers import api
from trainers.data.driven import by_script, driven, drives_and_rejections, obeyed, reactions
from trainers.data.motions import Shown, moments_shown, said_by_people, shown_by_rule, shown_in_tasks
from trainers.envs.motions import embodiment
from trainers.envs.registry import tasks_of
from trainers.episodes import PERSON, About, Episodes
from trainers.records import Drive, LanguageCorrection

ASKED, STEPS = robot_toys.ASKED, robot_toys.STEPS


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def rejected(episode: str, start: int = 0, stop: int = STEPS) -> LanguageCorrection:
    return LanguageCorrection(
        f"no-{episode[:6]}-{start}", ASKED, episode, start, stop, "", "", type="rejected"
    )


def told(episode: str, start: int, stop: int, command: str = "wait") -> LanguageCorrection:
    return LanguageCorrection(f"said-{start}", ASKED, episode, start, stop, command, command)


NOTHING_SCRIPTED = {
    "control/bc": {"demonstrations": 0, "drills": 0, "steps": 2},
    "control/dagger": {"episodes": 0, "steps": 2},
    "control/rt_h_base": {"demonstrations": 0, "steps": 2},
}


@pytest.mark.parametrize("method", NOTHING_SCRIPTED)
def test_where_all_that_was_driven_is_rejected_nothing_is_learned(method, tmp_path):
    drives = robot_toys.drives()
    config = NOTHING_SCRIPTED[method]
    good = toy_spec(method, tmp_path, "good", config=config, records=drives)
    assert api.execute(good) == 0
    records = [*drives, *(rejected(one.episode) for one in drives)]
    bad = toy_spec(method, tmp_path / "bad", config=config, records=records)
    assert api.execute(bad) == 1
    message = entries(bad.home)[-1]["message"]
    assert "rejected" in message or "nothing" in message, message


def test_what_was_rejected_is_read_beside_what_was_driven_and_words_are_not(tmp_path):
    drives, no = robot_toys.drives(), rejected(robot_toys.name(20), 4, 9)
    found = drives_and_rejections(snapshot(tmp_path / "one", [*drives, no, *robot_toys.corrections()]))
    assert [one.id for one in found] == [*(one.id for one in drives), no.id]
    with pytest.raises(ValueError, match="Expected records of kind drive"):
        drives_and_rejections(snapshot(tmp_path / "other", [no]))
    episodes = Episodes(robot_toys.episodes(tmp_path / "episodes"))
    traces = driven(episodes, found)
    assert traces[0].commands[4:9] == [""] * 5 and traces[0].commands[3] and traces[0].commands[9]
    assert traces[1].commands[4:9] == [traces[1].commands[0]] * 5 != [""] * 5


def test_what_was_driven_where_nothing_is_picked_up_is_refused_in_words(tmp_path):
    store = Episodes(tmp_path)
    scene = {"things": [{"name": "red block"}], "tray": []}
    writer = store.begin(About("reach", "red", 0, 9, 3, 0, 0.1, scene=scene))
    writer.step(np.zeros(9), np.zeros(3), actor=PERSON)
    episode = writer.end("time").name
    with pytest.raises(ValueError, match="was driven in reach, where nothing is picked up"):
        driven(store, [Drive("d", ASKED, episode, 0, 1)])


def test_whoever_drove_is_a_script_where_either_the_name_or_the_source_says_so():
    one = Drive("d", ASKED, "a" * 32, 0, 1)
    assert not by_script(one)
    assert by_script(Drive("d", ASKED, "a" * 32, 0, 1, annotator="script"))
    assert by_script(Drive("d", ASKED, "a" * 32, 0, 1, source={"scripted": True}))


def test_a_correction_is_about_its_first_steps_up_to_the_next_one_and_around_what_is_rejected():
    one, other = "a" * 32, "b" * 32
    records = [
        told(one, 10, 30), told(other, 12, 30), told(one, 14, 15), told(one, 14, 40), told(one, 2, 5), told(one, 1, 9),
        rejected(one, 15, 17),
    ]  # fmt: skip
    steps = [found for _, found in obeyed(records, 6, before=2)]
    assert steps == [
        [8, 9, 10, 11, 12, 13], [10, 11, 12, 13, 14, 15, 16, 17], [12, 13, 14], [12, 13, 14, 17, 18, 19],
        [0, 1, 2, 3, 4], [0, 1],
    ]  # fmt: skip


def test_demonstrations_of_several_tasks_are_shared_out_and_come_again_at_the_same_numbers():
    arm = embodiment("reach")
    shown = shown_in_tasks(arm, "reach", "red, blue", 3, 500, 0.2)
    assert [one.name for one in shown] == ["reach-red-500", "reach-red-501", "reach-blue-100500"]
    (same,) = shown_by_rule(arm, "reach", "blue", [100_500], 0.2)
    assert (shown[2].actions == same.actions).all()
    assert shown_in_tasks(arm, "reach", "", 3, 500, 0.2) == []


def test_a_task_that_a_world_does_not_have_is_refused_with_those_it_has():
    assert tasks_of("reach", " red,blue ,") == ["red", "blue"]
    with pytest.raises(ValueError, match="reach has no task 'juggle'. It has red, green, blue"):
        tasks_of("reach", "red, juggle")


def test_what_is_seen_in_one_size_is_not_mixed_with_what_is_seen_in_another(tmp_path):
    arm = embodiment("table_talk")
    shown = [
        Shown(name, "go", np.zeros((2, size), np.float32), np.zeros((2, 3), np.float32), ["stay"] * 2)
        for name, size in (("three things", 13), ("four things", 15))
    ]
    with pytest.raises(ValueError, match="13 in three things; 15 in four things"):
        moments_shown(arm, shown, 16, 0)
    store = Episodes(robot_toys.episodes(tmp_path))
    motions = robot_toys.motions()
    same, every = (said_by_people(arm, store, motions, 5, size)[0] for size in (13, 0))
    assert len(same) == len(every) > 20
    said, left = said_by_people(arm, store, motions, 5, 15)
    assert said == [] and left == {"where other than 15 numbers are seen": len(motions)}


def test_a_reaction_is_measured_from_the_step_at_which_it_was_said_to_the_first_other_action(tmp_path):
    store = Episodes(tmp_path)
    writer = store.begin(About("reach", "red", 0, 1, 1, 0, 0.5))
    for step in range(12):
        writer.step(np.zeros(1), np.full(1, float(step >= 6)))
    episode = writer.end("time").name
    assert reactions(store, [told(episode, 4, 9)]) == [1.5], "said at step 3, another action at step 6"
    still = [told(episode, 0, 9), told(episode, 2, 6), told(episode, 8, 12)]
    recorded = replace(told(episode, 4, 9), live=False)
    assert reactions(store, [*still, recorded, Drive("d", ASKED, episode, 0, 12)]) == []


def test_of_a_drive_the_commands_that_were_given_count_and_the_fingers_tell_the_rest(tmp_path):
    store = Episodes(robot_toys.episodes(tmp_path))
    kept = store.open(robot_toys.name(20))
    again = store.begin(replace(kept.about, seed=99), "f" * 32)
    for number, row in enumerate(kept.steps):
        command = "move a bit up" if 4 <= number < 9 else ""
        again.step(row["observation"], row["action"], row["state"], command=command, actor=PERSON)
    again.end("time")
    (trace,) = driven(store, [Drive("d", ASKED, "f" * 32, 0, STEPS)])
    (seen,) = driven(store, [Drive("d", ASKED, kept.name, 0, STEPS)])
    assert trace.commands[4:9] == ["move a bit up"] * 5 and trace.commands[9:] == seen.commands[9:]
    assert trace.commands[:4] == seen.commands[:4] != [""] * 4
