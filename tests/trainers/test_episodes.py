"""The store of episodes: what was lived is there in whole, whoever was killed, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.lived import JPEG, about, live, play, row, say_commands
from trainers.__main__ import main
from trainers.episodes import PERSON, UNSAID, Clip, Episode, Episodes, NoEpisode, Segment

NAME = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path) -> Episodes:
    return Episodes(tmp_path / "episodes")


def same_rows(episode: Episode, count: int) -> None:
    """The first `count` rows are the ones that `lived.row` makes."""
    rows, commands = episode.steps, episode.commands
    assert len(rows) == len(episode) == count
    for number, found in enumerate(rows):
        expected = row(number, episode.about)
        for name in ("observation", "action", "state"):
            assert found[name].tobytes() == expected[name].tobytes()
        assert (found["reward"], found["commander"]) == (expected["reward"], expected["commander"])
        said = "" if found["command"] == UNSAID else commands[found["command"]]
        assert said == expected["command"]


# --- what is written is what is read


def test_an_episode_is_read_as_it_was_lived(store):
    episode = live(store, steps=30)
    same_rows(store.open(episode.name), 30)
    assert episode.about == about() and episode.commands == ["move left", "grasp the mug"]
    ended = episode.ended
    assert (ended["why"], ended["score"], ended["success"], ended["steps"]) == ("done", 0.5, True, 30)
    assert [one.name for one in store] == [episode.name] and episode.name in store
    assert episode.said() == [row(n, about())["command"] for n in range(30)]


def test_a_step_of_another_shape_is_refused_and_leaves_no_trace(store):
    with store.begin(about()) as writer:
        for wrong in (
            {"observation": np.zeros(3)},
            {"observation": 1.0},
            {"action": np.zeros((2, 1))},
            {"state": ()},
        ):
            with pytest.raises(ValueError, match="a step of this episode has"):
                writer.step(**{**row(0, about()), **wrong})
        writer.step(**row(0, about()))
        same_rows(store.open(writer.name), 1)


def test_a_name_that_would_lead_out_of_the_store_is_no_name(store):
    for name in (
        "",
        ".",
        "..",
        "../" + NAME[3:],
        NAME.upper(),
        NAME + "0",
        NAME[:-1] + "/",
        NAME[:-1] + "\n",
        f"{NAME}\n",
    ):
        assert name not in store
        with pytest.raises(NoEpisode, match="32 hexadecimal digits"):
            store.open(name)
        if name:
            with pytest.raises(NoEpisode):
                store.begin(about(), name)
    with pytest.raises(NoEpisode, match="Is the store the one"):
        store.open(NAME)
    assert not store.root.exists()


def test_what_else_lies_in_the_folder_is_no_episode(store):
    live(store, name=NAME)
    stray = store.root / "01" / f"{NAME}.77.coming"
    stray.mkdir()
    (stray / "episode.json").write_text("{")
    assert [one.name for one in store] == [NAME]


# --- clips


def test_a_clip_reads_what_it_writes_and_nothing_else():
    clip = Clip.read(f"clip:{NAME}:3-9")
    assert (clip.episode, clip.start, clip.stop, len(clip), str(clip)) == (NAME, 3, 9, 6, f"clip:{NAME}:3-9")
    for text in (
        "", NAME, f"clip:{NAME}", f"clip:{NAME}:3", f"clip:{NAME}:9-3", f"clip:{NAME}:3-3", f"clip:{NAME}:-3-9",
        f"clip:{NAME}:3-9 ", f" clip:{NAME}:3-9", f"clip:{NAME}:3-9\n", f"clip:{NAME[1:]}:3-9", f"clip:{NAME}:3–9",
        f"clip:{NAME}:３-９", f"clip:{NAME}:3.0-9", f"clip:{NAME.upper()}:3-9", f"clip:{NAME}:1-{10**30}",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Expected"):
            Clip.read(text)


def test_a_clip_knows_what_lies_within_it():
    clip = Clip(NAME, 3, 9)
    assert Clip(NAME, 3, 9) in clip and Clip(NAME, 4, 5) in clip
    assert Clip(NAME, 2, 5) not in clip and Clip(NAME, 5, 10) not in clip
    assert Clip("f" * 32, 4, 5) not in clip


# --- half-written files


def test_half_a_row_is_no_row_to_a_reader_and_gone_for_a_writer(store):
    episode = live(store, ends=False)
    path = episode.place / "steps.bin"
    with path.open("ab") as file:
        file.write(b"\xff" * (episode.about.dtype.itemsize - 1))
    same_rows(episode, 12)
    with store.begin(about(), episode.name) as writer:
        assert writer.length == 12
        writer.step(**row(12, about()))
    same_rows(episode, 13)
    assert path.stat().st_size == 13 * episode.about.dtype.itemsize


@pytest.mark.parametrize("torn", ['{"name": "x", "sta', '"grasp the mu', "\x00\x00", '{"a": 1}'])
def test_half_a_line_is_no_line_and_the_next_one_does_not_grow_on_it(store, torn):
    episode = live(store, ends=False)
    episode.say(Segment("one", 0, 2, "correction", "left"))
    for name in ("segments.jsonl", "commands.jsonl"):
        with (episode.place / name).open("a") as file:
            file.write(torn)
    assert [one.name for one in episode.segments] == ["one"] and len(episode.commands) == 2
    episode.say(Segment("two", 2, 4, "correction", "right"))
    with store.begin(about(), episode.name) as writer:
        writer.step(**{**row(12, about()), "command": "pour\n\u2028the tea"})
    assert [one.name for one in episode.segments] == ["one", "two"]
    assert episode.commands == ["move left", "grasp the mug", "pour\n\u2028the tea"]
    assert episode.said()[-1] == "pour\n\u2028the tea"


def test_half_a_picture_is_no_picture(store):
    episode = live(store, ends=False, pictures=True)
    with (episode.place / "pictures.bin").open("r+b") as file:
        file.truncate(os.path.getsize(episode.place / "pictures.bin") - 3)
    with (episode.place / "pictures.index").open("ab") as file:
        file.write(b"\x01\x02")
    assert episode.picture(11) == episode.picture(10) == JPEG + bytes([10])
    with store.begin(about(), episode.name) as writer:
        writer.picture(JPEG + b"new")
        writer.step(**row(12, about()))
    assert episode.picture(12) == JPEG + b"new" and episode.picture(11) == JPEG + bytes([10])


def test_an_episode_whose_first_file_was_not_written_yet_is_begun_anew(store):
    place = store.place(NAME)
    place.mkdir(parents=True)
    (place / "episode.coming").write_text('{"wor')
    (place / "steps.bin").write_bytes(b"\x00" * 7)
    assert NAME not in store
    live(store, name=NAME)
    same_rows(store.open(NAME), 12)


WRITES_FOREVER = """
import sys
from tests.trainers.lived import JPEG, about, row
from trainers.episodes import Episodes
writer = Episodes(sys.argv[1]).begin(about(), sys.argv[2])
for number in range(writer.length, 10**9):
    writer.picture(JPEG + number.to_bytes(4, "little"))
    writer.step(**row(number, about()))
    if number % 50 == 0:
        print(number, flush=True)
"""


def killed_while_writing(store: Episodes, at_least: int) -> int:
    """Lets a child write until it says that it has so many steps, and kills it with no warning. What it said."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOREVER, str(store.root), NAME],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True,
    )  # fmt: skip
    said = 0
    while said < at_least:
        said = int(child.stdout.readline())
    time.sleep(0.003)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    return said


def test_a_writer_killed_in_the_middle_loses_no_step_that_it_told_of_and_another_goes_on(store):
    for at_least in (100, 400):
        said = killed_while_writing(store, at_least)
        episode = store.open(NAME)
        assert episode.ended is None and len(episode) > said
        same_rows(episode, len(episode))
        for step in (0, said // 2, said):
            assert episode.picture(step) == JPEG + step.to_bytes(4, "little")
    length = len(episode)
    ended = live(store, steps=length + 5, name=NAME)
    same_rows(ended, length + 5)
    ended.verify()


# --- one writer


def test_two_cannot_write_one_episode_and_the_second_is_told_so(store):
    with store.begin(about()) as writer:
        writer.step(**row(0, about()))
        with pytest.raises(ValueError, match="writes the episode .* just now"):
            store.begin(about(), writer.name)
        writer.step(**row(1, about()))
    with store.begin(about(), writer.name) as again:
        assert again.length == 2
    same_rows(store.open(writer.name), 2)


def test_an_episode_is_gone_on_with_as_what_it_was_begun_as(store):
    episode = live(store, ends=False)
    for other in ({"observation": 5}, {"state": 0}, {"world": "sea"}, {"seed": 4}, {"task": "push"}):
        with pytest.raises(ValueError, match="was begun with the"):
            store.begin(about(**other), episode.name)
    same_rows(episode, 12)
    with store.begin(about(), episode.name) as writer:
        assert writer.length == 12


def test_an_ended_episode_takes_no_more_steps(store):
    episode = live(store)
    with pytest.raises(ValueError, match="has ended"):
        store.begin(about(), episode.name)


# --- going back


def test_what_was_lived_after_a_moment_is_gone_when_somebody_goes_back_to_it(store):
    episode = live(store, ends=False, pictures=True)
    for segment in (
        Segment("before", 0, 3, "correction", "left"),
        Segment("across", 3, 9, "correction", "left"),
        Segment("after", 6, 9, "correction", "left"),
    ):
        episode.say(segment)
    with store.begin(about(), episode.name) as writer:
        writer.cut(5)
        same_rows(episode, 5)
        assert episode.picture(11) == JPEG + bytes([5])
        assert [(one.name, one.start, one.stop) for one in episode.segments] == [
            ("before", 0, 3), ("across", 3, 5),
        ]  # fmt: skip
        assert len(episode.history()) == 5
        for number in range(5, 8):
            writer.step(**row(number, about()))
        for beyond in (9, -1):
            with pytest.raises(ValueError, match="Cannot go back"):
                writer.cut(beyond)
        writer.end("done")
    same_rows(episode, 8)
    episode.verify()


# --- segments


def test_a_changed_mind_is_a_new_version_and_the_old_one_stays_in_the_history(store):
    episode = live(store)
    first = episode.say(Segment("one", 2, 5, "correction", "left", "ada", 1.5, source={"text": "a bit left"}))
    second = episode.say(Segment("one", 2, 6, "correction", "right", "ada"))
    other = episode.say(Segment("two", 0, 12, "success", by="bob"))
    assert (first.version, second.version, other.version) == (1, 2, 1)
    assert episode.segments == [other, second]
    assert episode.history() == [first, second, other]
    episode.say(Segment("one", 2, 6, "correction", withdrawn=True))
    assert episode.segments == [other] and len(episode.history()) == 4
    again = episode.say(Segment("one", 2, 6, "correction", "up"))
    assert again.version == 4 and again in episode.segments


def test_nothing_is_said_about_steps_that_are_not_there(store):
    episode = live(store)
    for start, stop in ((0, 13), (5, 5), (-1, 3), (6, 2)):
        with pytest.raises(ValueError, match="has 12"):
            episode.say(Segment("one", start, stop, "correction", "left"))
    assert not episode.history()


SPEAKS = """
import sys
from trainers.episodes import Episodes, Segment
episode = Episodes(sys.argv[1]).open(sys.argv[2])
for number in range(40):
    episode.say(Segment("one", 0, 2, "correction", f"{sys.argv[3]} {number}"))
"""


def test_several_who_speak_at_once_each_get_a_version_of_their_own(store):
    episode = live(store)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SPEAKS, str(store.root), episode.name, who], cwd=Path(__file__).parents[2]
        )
        for who in ("ada", "bob", "cleo")
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert [one.version for one in episode.history()] == list(range(1, 121))


def test_stretches_of_one_command_are_segments_with_their_steps(store):
    episode = play(store, steps=60)
    segments = say_commands(episode)
    said = episode.said()
    assert len(segments) > 1
    for one in segments:
        assert set(said[one.start : one.stop]) == {one.label}
    assert sum(one.stop - one.start for one in segments) == sum(map(bool, said))


# --- what ended stays as it is


@pytest.mark.parametrize(
    "name", ["steps.bin", "episode.json", "commands.jsonl", "pictures.bin", "pictures.index"]
)
def test_one_changed_byte_is_found_wherever_it_is(store, name):
    episode = live(store, pictures=True)
    episode.verify()
    path = episode.place / name
    content = bytearray(path.read_bytes())
    place = content.index(b"reach") if name == "episode.json" else len(content) // 2
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} has SHA-256 .* expected"):
        store.open(episode.name).verify()


def test_a_file_that_is_gone_or_new_is_found_and_a_new_segment_is_not_a_change(store):
    episode = live(store)
    digest = episode.digest
    episode.say(Segment("one", 0, 3, "success"))
    episode.verify()
    assert episode.digest == digest
    (episode.place / "pictures.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"had no pictures.bin"):
        episode.verify()
    (episode.place / "pictures.bin").unlink()
    (episode.place / "commands.jsonl").unlink()
    with pytest.raises(ValueError, match=r"commands.jsonl has no such file"):
        episode.verify()


def test_the_digest_is_the_same_for_the_same_life_and_another_for_another(store, tmp_path):
    one = live(store, name=NAME)
    copy = live(Episodes(tmp_path / "elsewhere"), name="f" * 32)
    assert one.digest == copy.digest
    assert live(store, policy={"name": "second"}).digest != one.digest
    assert live(store, steps=13).digest != one.digest


# --- copies


def test_an_episode_is_taken_in_once_with_all_that_was_said_about_it(store, tmp_path):
    other = Episodes(tmp_path / "other")
    episode = live(other, pictures=True)
    episode.say(Segment("one", 0, 3, "correction", "left"))
    taken = store.adopt(episode.place)
    assert taken.digest == episode.digest and taken.segments == episode.segments
    taken.verify()
    assert store.adopt(episode.place).name == episode.name and len(list(store)) == 1


def test_an_episode_that_is_growing_changed_or_another_is_not_taken_in(store, tmp_path):
    other = Episodes(tmp_path / "other")
    with pytest.raises(ValueError, match="has not ended"):
        store.adopt(live(other, ends=False).place)
    changed = live(other)
    (changed.place / "steps.bin").write_bytes(b"x" * changed.about.dtype.itemsize)
    with pytest.raises(ValueError, match="has changed since"):
        store.adopt(changed.place)
    live(store, name=NAME)
    with pytest.raises(ValueError, match="another episode"):
        store.adopt(live(other, name=NAME, steps=5).place)
    assert [one.name for one in store] == [NAME]


def test_who_steers_is_written_beside_every_step(store):
    episode = live(store)
    assert episode.steps["commander"].tolist()[:2] == [PERSON, 1]
    assert json.loads((episode.place / "episode.json").read_text())["by"] == "ada"


# --- the command line


def told(capsys, *arguments: object) -> object:
    """What a command prints as JSON."""
    assert main(["episodes", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_from_the_command_line_episodes_are_listed_shown_exported_and_taken_in(store, tmp_path, capsys):
    one, two = play(store, seed=1), live(store, ends=False)
    say_commands(one)
    rows = told(capsys, "list", store.root)
    assert {row["episode"]: (row["world"], row["ended"]) for row in rows} == {
        one.name: ("table_talk", True), two.name: ("toy", False),
    }  # fmt: skip
    shown = told(capsys, "show", store.root, one.name[:8])
    assert shown["sha256"] == one.digest and shown["spoken"][0]["text"] == one.said()[0]
    for format in ("folder", "lerobot"):
        out = tmp_path / format
        told(capsys, "export", store.root, out, "--format", format)
        brought = told(capsys, "import", tmp_path / f"from_{format}", out)
        assert brought == {"episodes": [one.name], "notes": []}
        back = Episodes(tmp_path / f"from_{format}").open(one.name)
        assert back.digest == one.digest and back.segments == one.segments
    told(capsys, "export", store.root, tmp_path / "rlds", one.name, "--format", "rlds")
    assert (tmp_path / "rlds/kibitz/1.0.0/features.json").exists()


def test_the_command_line_says_what_is_wrong(store, tmp_path, capsys):
    episode = live(store)
    (tmp_path / "empty").mkdir()
    for arguments, why in [
        (("show", store.root, "ffff"), "No episode begins with"),
        (("show", tmp_path / "none", "0" * 32), "There is no folder"),
        (("export", store.root, tmp_path / "out", "--world", "sea"), "no ended episode of sea"),
        (("import", store.root, tmp_path / "empty"), "neither a LeRobot dataset"),
    ]:
        assert main(["episodes", *map(str, arguments)]) == 1
        assert why in capsys.readouterr().err
    (episode.place / "steps.bin").write_bytes(b"x" * episode.about.dtype.itemsize)
    assert main(["episodes", "show", str(store.root), episode.name]) == 1
    assert "has changed since it ended" in capsys.readouterr().err
    assert main(["episodes", "import", str(tmp_path / "new"), str(store.root)]) == 1
    assert "cannot be taken in" in capsys.readouterr().err
