"""Motions get their names mechanically, the same whoever looks; and people's names for them are never overwritten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.trainers import lived
from trainers.__main__ import main
from trainers.data.motions import LABELLER, found, label, named, phrases_of, said_by_people, shown_by_rule
from trainers.envs.motions import (
    HERE,
    EmbodimentError,
    as_mapping,
    described,
    embodiment,
    embodiment_of,
    known,
)
from trainers.episodes import Episodes, Segment
from trainers.nn import load_pilot, save
from trainers.nn.direct import DirectConfig, DirectPolicy
from trainers.nn.motions import policy_for
from trainers.records import LanguageCorrection

ARM = embodiment("reach")


def walked(way: tuple[float, float], steps: int = 20, seconds: float = 0.1) -> list[str]:
    """The phrases of a straight walk, `way` a second."""
    times = np.arange(steps)[:, None] * seconds
    poses = np.hstack([times * np.array(way), np.zeros((steps, 1))])
    return phrases_of(ARM, poses, np.zeros((steps, 3)), seconds)


@pytest.mark.parametrize(
    ("way", "phrase"),
    [
        ((0.3, 0), "move arm right"),
        ((-0.3, 0), "move arm left"),
        ((0, 0.3), "move arm up"),
        ((0, -0.3), "move arm down"),
        ((0.3, 0.2), "move arm right and up"),
        ((0.2, 0.3), "move arm up and right"),
        ((-0.3, -0.2), "move arm left and down"),
        ((0.3, 0.1), "move arm right"),  # a third of it: less than the share that is named
        ((0.05, 0.05), "stay"),  # 0.025 in half a second: small
        ((0, 0), "stay"),
    ],
)
def test_a_motion_is_named_by_its_axes_the_largest_first(way, phrase):
    assert set(walked(way)[:15]) == {phrase}


def test_a_gripper_is_named_when_it_acts_and_at_the_last_step_by_the_action():
    poses = np.zeros((8, 3))
    poses[:, 0] = np.arange(8) * 0.05
    poses[4:7, 2] = 1.0
    actions = np.zeros((8, 3))
    actions[7, 2] = 1.0
    phrases = phrases_of(ARM, poses, actions, 0.1)
    assert [phrase.partition(" and ")[2] or phrase for phrase in phrases[:7]] == [
        "move arm right", "move arm right", "move arm right", "close gripper", "move arm right", "move arm right",
        "open gripper",
    ]  # fmt: skip
    assert phrases[7] == "close gripper"


def test_a_longer_window_sees_the_gripper_sooner():
    poses = np.zeros((8, 3))
    poses[5:, 2] = 1.0
    assert ARM.gripper is not None
    patient = replace(ARM, gripper=replace(ARM.gripper, window=0.3))
    assert (
        phrases_of(patient, poses, np.zeros((8, 3)), 0.1)
        == ["stay"] * 2 + ["close gripper"] * 3 + ["stay"] * 3
    )


@pytest.mark.parametrize("finer", [2, 5])
def test_the_same_motion_has_the_same_names_however_finely_it_is_sampled(finer):
    times = np.linspace(0, 4, 40 * finer + 1)
    poses = np.stack([np.sin(times), 0.5 * np.cos(2 * times), times > 2], axis=1)
    still = np.zeros((len(times), 3))
    fine = phrases_of(replace(ARM, gripper=None), poses, still, 0.1 / finer)
    coarse = phrases_of(replace(ARM, gripper=None), poses[::finer], still[::finer], 0.1)
    assert fine[::finer] == coarse and len(set(coarse)) > 4


def test_a_window_of_steps_in_place_of_seconds_would_name_them_otherwise():
    """The check above can fail: five steps are another stretch of time when there are twice as many."""
    times = np.linspace(0, 4, 81)
    poses = np.stack([np.sin(times), 0.5 * np.cos(2 * times), times > 2], axis=1)
    arm = replace(ARM, gripper=None)
    assert phrases_of(arm, poses, np.zeros((81, 3)), 0.1)[::2] != phrases_of(
        arm, poses[::2], np.zeros((41, 3)), 0.1
    )


# --- the grammar -----------------------------------------------------------------------------------


def test_every_phrase_says_its_parts_and_opposites_are_opposite_vectors():
    assert len(ARM.phrases) == len(set(ARM.phrases)) == 39 == 3 * (1 + 4 + 8)
    for phrase in ARM.phrases:
        assert ARM.spoken(*ARM.parts(phrase)) == phrase == ARM.understand(phrase)
    left, right = ARM.vector("move arm left"), ARM.vector("move arm right")
    assert (left == -right).all() and (ARM.vector("open gripper") == -ARM.vector("close gripper")).all()
    assert len({ARM.vector(phrase).tobytes() for phrase in ARM.phrases}) == 39


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("left", "move arm left"),
        ("Move a bit to the LEFT, please!", "move arm left"),
        ("go up and left", "move arm up and left"),
        ("up left and close", "move arm up and left and close gripper"),
        ("open the gripper", "open gripper"),
        ("stop", "stay"),
        ("left, no, right", None),
        ("left right", None),
        ("not left", None),
        ("open close", None),
        ("pick up the red block", None),
        ("nach links", None),
        ("<b>left</b>", None),
        ("", None),
        ("  please ", None),
        ("left " * 2000, None),
    ],
)
def test_a_persons_words_come_to_a_phrase_or_to_none_and_are_never_guessed(text, phrase):
    assert ARM.understand(text) == phrase


def test_each_embodiment_is_whole_and_named_once():
    assert known() == ("reach", "table_talk")
    for name in known():
        arm = embodiment(name)
        assert embodiment_of(name) == arm and described(as_mapping(arm)) == arm
        assert set(arm.keys) == {"left", "right", "up", "down", "open", "close", "stay"}
    assert embodiment_of("nowhere") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"pose": "picture"}, "pose is picture"),
        ({"axes": []}, "axes is"),
        ({"speed": 3}, "'speed', which says nothing"),
        ({"keys": {"left": "move arm sideways"}}, "stands for 'move arm sideways'"),
        ({"keys": {"jump": "stay"}}, "the key jump"),
        ({"axes": [{"at": 0, "words": ["left", "left"], "small": 0.1}]}, "each word once"),
        ({"axes": [{"at": 0, "words": ["left"], "small": 0.1}]}, "Expected two"),
        ({"window": None}, "the file"),
        ({"gripper": {"at": -1, "action": 2, "words": ["open", "close"], "window": 0.1}}, "gripper is"),
        ({"gripper": {"at": 2, "action": 2, "words": ["open", "close"], "window": 0}}, "gripper is"),
        ({"gripper": {"at": 2, "action": 2, "words": ["left", "close"], "window": 0.1}}, "each word once"),
    ],
)
def test_a_wrong_embodiment_says_what_is_wrong(change, message):
    said = yaml.safe_load((HERE / "reach.yaml").read_text("utf-8"))
    with pytest.raises(EmbodimentError, match=message):
        described({**said, **change}, "the file")
    with pytest.raises(EmbodimentError, match="lacks 'axes'"):
        described({name: value for name, value in said.items() if name != "axes"})


def test_an_unknown_embodiment_names_the_known_ones(tmp_path):
    for name in ("robot", "../reach"):
        with pytest.raises(EmbodimentError, match="Known: reach, table_talk"):
            embodiment(name)
    (tmp_path / "broken.yaml").write_text("axes: [")
    with pytest.raises(EmbodimentError, match="cannot be read"):
        embodiment(tmp_path / "broken.yaml")


def test_a_policy_keeps_its_language_and_refuses_another(tmp_path):
    policy = policy_for(ARM, 9, 3, 8, 0)
    opened = load_pilot(save(policy, tmp_path / "policy"))
    assert opened.layer == "motion" and opened.every == 1 and list(opened.bank) == list(ARM.phrases)
    assert opened.motions == ARM.keys
    said = json.loads((tmp_path / "policy" / "kibitz.json").read_text())
    said["config"]["embodiment"]["axes"][0]["words"] = ["west", "east"]
    said["config"]["embodiment"]["keys"] = {}
    (tmp_path / "policy" / "kibitz.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="Train it anew"):
        load_pilot(tmp_path / "policy")


def test_a_pilot_acts_by_any_words_for_a_motion_and_does_nothing_by_others():
    policy = policy_for(ARM, 9, 3, 8, 0)
    with pytest.raises(RuntimeError, match="No episode has begun"):
        policy.see(np.zeros(9))
    policy.begin({"words": "go to the red block and close the gripper"})
    policy.see(np.linspace(-1, 1, 9))
    choices = policy.choices(5)
    assert len(choices) == 5 and choices[0].probability >= choices[4].probability
    assert sum(one.probability for one in policy.choices(100)) == pytest.approx(1)
    assert (policy.act("a bit to the left") == policy.act("move arm left")).all()
    assert (policy.act("move arm left") != policy.act("move arm right")).any()
    assert (policy.act("pick up the red block") == 0).all()
    with pytest.raises(ValueError, match="Found 4 numbers to see"):
        policy.see(np.zeros(4))


def test_things_are_seen_from_the_hand_and_nothing_is_divided_by_less_than_a_hundredth():
    seen = torch.tensor([[0.2, 0.1, 1.0, 0.3, 0.1, -0.8, 0.6, 0.0, 0.0]])
    for policy in (policy_for(ARM, 9, 3, 8, 0), DirectPolicy(DirectConfig(9, 3, (0, 1), 3, 8))):
        assert policy.look(seen)[0].tolist() == pytest.approx(
            [0.2, 0.1, 1.0, 0.1, 0.0, -1.0, 0.5, -0.2, -0.1]
        )
        policy.scale(seen.repeat(2, 1))
        assert policy.spread.tolist() == pytest.approx([0.01] * 9)
        assert policy.seen(seen, torch.ones(1, 16))[0].tolist() == pytest.approx(
            [0.0] * 9 + [1.0] * 16, abs=1e-6
        )
    plain = DirectPolicy(DirectConfig(9, 3, hidden=8))
    assert torch.equal(plain.look(seen), seen), "where nobody knows what is a hand, all is seen as it is"


# --- into episodes ---------------------------------------------------------------------------------


def test_an_episode_gets_a_segment_for_each_motion_and_none_twice(tmp_path):
    arm, episode = embodiment("table_talk"), lived.play(tmp_path, steps=120)
    phrases = found(arm, episode)
    written, withdrawn = label(arm, episode)
    segments = episode.segments
    assert written == len(segments) > 3 and withdrawn == 0
    assert [phrase for one in segments for phrase in [one.label] * (one.stop - one.start)] == phrases
    assert {one.by for one in segments} == {LABELLER} and segments[0].source["digest"] == arm.digest
    assert label(arm, episode) == (0, 0) and len(episode.history()) == written


def test_another_version_of_the_embodiment_withdraws_what_it_no_longer_says(tmp_path):
    arm, episode = embodiment("table_talk"), lived.play(tmp_path)
    label(arm, episode)
    coarse = replace(arm, version=2, max_words=1, window=1.0)
    written, withdrawn = label(coarse, episode)
    assert written and withdrawn
    said = [one.label for one in episode.segments for _ in range(one.stop - one.start)]
    assert said == found(coarse, episode) != found(arm, episode)


def test_what_a_person_named_stays_and_is_learned_in_place_of_what_was_found(tmp_path):
    arm, episode = embodiment("table_talk"), lived.play(tmp_path)
    label(arm, episode)
    mine = episode.say(Segment("mine", 3, 9, "motion", "move arm down", "ada"))
    label(arm, episode)
    assert mine in episode.segments
    free = [one for one in episode.segments if one.by == LABELLER]
    assert all(one.stop <= 3 or one.start >= 9 for one in free)
    assert named(arm, episode)[3:9] == ["move arm down"] * 6
    assert named(arm, episode)[9:] == found(arm, episode)[9:]


def test_where_a_person_takes_a_name_back_what_was_found_is_said_again(tmp_path):
    arm, episode = embodiment("table_talk"), lived.play(tmp_path)
    label(arm, episode)
    one = episode.segments[1]
    mine = episode.say(Segment("mine", one.start, one.stop, "motion", "move arm down", "ada"))
    assert label(arm, episode) == (0, 1)
    episode.say(replace(mine, withdrawn=True))
    assert label(arm, episode) == (1, 0)
    said = [one.label for one in episode.segments for _ in range(one.stop - one.start)]
    assert said == found(arm, episode)


def test_the_command_line_labels_the_episodes_of_the_embodiments_worlds(tmp_path, capsys):
    episode = lived.play(tmp_path)
    other = lived.live(tmp_path)
    assert main(["motions", str(tmp_path), "--embodiment", "table_talk", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["labelled"] == 1 and told["other_worlds"] == 1 and told["written"] == len(episode.segments) > 0
    )
    assert told["phrases"] and not [one for one in other.segments if one.kind == "motion"]
    assert main(["motions", str(tmp_path), "--embodiment", "table_talk"]) == 0
    assert "0 segments written" in capsys.readouterr().out
    assert main(["motions", str(tmp_path / "nothing"), "--embodiment", "table_talk"]) == 1
    assert main(["motions", str(tmp_path), "--embodiment", "robot"]) == 1
    assert "Known: reach, table_talk" in capsys.readouterr().err


def test_an_embodiment_of_a_file_labels_any_world(tmp_path, capsys):
    episode = lived.live(tmp_path / "episodes")
    said = yaml.safe_load((HERE / "reach.yaml").read_text("utf-8"))
    said |= {"name": "toy", "worlds": ["toy"], "gripper": None, "keys": {}, "observation": None}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(said))
    assert main(["motions", str(tmp_path / "episodes"), "--embodiment", str(tmp_path / "toy.yaml")]) == 0
    assert {one.kind for one in episode.segments} == {"motion"}


# --- what is learned from --------------------------------------------------------------------------


def correction(episode: str, start: int, stop: int, command: str, **more: object) -> LanguageCorrection:
    return LanguageCorrection(f"{episode}-{start}", "pack", episode, start, stop, command, command, **more)


def test_a_correction_names_its_first_steps_and_neither_those_before_nor_what_a_later_one_covers(tmp_path):
    arm, episode = embodiment("table_talk"), lived.play(tmp_path)
    store, name = Episodes(tmp_path), episode.name
    rows = [
        correction(name, 4, 20, "move arm left", layer="motion"),
        correction(name, 7, 9, "a bit up"),
        correction(name, 15, 30, "move arm down", layer="motion"),
        correction(name, 17, 18, "", type="rejected"),
        correction(name, 30, 33, "pick up the red block"),
        correction(name, 34, 36, "left", weight=0.0),
    ]
    said, left = said_by_people(arm, store, rows, 5)
    assert [one.phrase for one in said] == ["move arm left"] * 3 + ["move arm up"] * 2 + ["move arm down"] * 4
    seen = np.array(episode.steps["observation"])
    steps = [4, 5, 6, 7, 8, 15, 16, 18, 19]
    assert all((one.observation == seen[step]).all() for one, step in zip(said, steps, strict=True))
    assert left == {"that name no motion of table_talk": 1, "of weight 0": 1}


def test_scripted_demonstrations_come_again_at_their_seeds_and_say_that_they_are_scripted():
    once, again = (shown_by_rule(ARM, "reach", "red", range(3), 0.2) for _ in range(2))
    assert all((one.observations == two.observations).all() for one, two in zip(once, again, strict=True))
    assert all(one.scripted and one.words for one in once)
    assert any("close gripper" in phrase for phrase in once[0].phrases)
    (play,) = shown_by_rule(ARM, "reach", "play", range(1), 0.2, 40)
    assert not play.words and len(play.phrases) == 40


def test_no_embodiment_is_read_without_its_file():
    assert Path(HERE / "reach.yaml").is_file() and Path(HERE / "table_talk.yaml").is_file()
