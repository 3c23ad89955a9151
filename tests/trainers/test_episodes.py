"""The store of episodes: what was lived is there in whole, whoever was killed, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
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
from trainers.episodes.files import PICTURE, append, digests, lines
from trainers.episodes.leaving import digest_of_leaving, leaving
from trainers.episodes.sense import sensible

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
    for other in (
        {"observation": 5}, {"action": 3}, {"state": 0}, {"world": "sea"}, {"seed": 4}, {"task": "push"},
        {"dials": {"slip": 0.1}}, {"seconds": 0.2},
    ):  # fmt: skip
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
        Segment("at once", 5, 9, "correction", "left"),
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
        assert len(episode.history()) == 7
        for number in range(5, 8):
            writer.step(**row(number, about()))
        for beyond in (9, -1):
            with pytest.raises(ValueError, match="Cannot go back"):
                writer.cut(beyond)
        writer.end("done")
    same_rows(episode, 8)
    episode.verify()


def test_who_reads_an_episode_while_another_goes_back_on_it_keeps_what_was_read(store):
    episode = live(store, steps=600, ends=False)
    rows = episode.steps
    assert not isinstance(rows, np.memmap), (
        "the pages would be taken away, and the reader's process with them"
    )
    with store.begin(about(), episode.name) as writer:
        writer.cut(1)
    assert rows["reward"].tolist() == list(range(600)) and len(episode) == 1
    assert isinstance(live(store).steps, np.memmap), "an ended one is not read in whole"


def test_a_command_that_comes_while_an_episode_is_read_is_no_error(store):
    writer = store.begin(about())
    writer.step(**row(0, about()))

    class Meanwhile(Episode):
        @property
        def commands(self) -> list[str]:
            found = super().commands
            writer.step(**{**row(1, about()), "command": "pour the tea"})
            return found

    assert Meanwhile(writer.place).said() == ["move left"]
    assert store.open(writer.name).said() == ["move left", "pour the tea"]
    writer.close()


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


@pytest.mark.parametrize("torn", [True, False])
def test_a_line_is_added_behind_a_thousand_others_in_order(store, torn):
    path = store.root / "lines.jsonl"
    path.parent.mkdir()
    path.write_text("".join(f'"{number}"\n' for number in range(1000)) + '"half' * torn)
    append(path, '"last"')
    assert lines(path) == [f'"{number}"' for number in range(1000)] + ['"last"']


# --- what ended stays as it is


def test_a_score_that_nobody_can_say_is_kept_as_a_number_that_json_has(store):
    with store.begin(about()) as writer:
        writer.step(**row(0, about()))
        episode = writer.end("done", score=float("nan"))

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    kept = json.loads((episode.place / "end.json").read_text(), parse_constant=refuse)
    assert kept["score"] == 0.0 and kept["success"] is None and kept["sha256"] == kept["files"]["steps.bin"]


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


def test_an_episode_that_somebody_else_takes_in_meanwhile_is_taken_in_once(store, tmp_path, monkeypatch):
    episode = live(Episodes(tmp_path / "other"))
    copy, first = shutil.copyfile, []

    def meanwhile(source: Path, to: Path) -> None:
        if not first:
            first.append(True)
            store.adopt(episode.place)
        copy(source, to)

    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    assert store.adopt(episode.place).digest == episode.digest
    assert [one.name for one in store.root.glob("*/*")] == [episode.name]


def test_of_an_episode_that_could_not_be_copied_nothing_stays(store, tmp_path, monkeypatch):
    episode = live(Episodes(tmp_path / "other"))

    def full(source: Path, to: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        store.adopt(episode.place)
    assert not list(store.root.glob("*/*"))


# --- episodes on their way to others


@pytest.mark.parametrize(
    "called", [{"ada": "person 1", "bob": "person 2"}, {}], ids=["renamed", "as they are"]
)
def test_what_leaves_has_its_people_called_otherwise_and_can_be_verified_by_who_gets_it(
    store, tmp_path, called
):
    episode = live(store, pictures=True)
    episode.say(Segment("one", 0, 3, "correction", "left", "ada"))
    episode.say(Segment("two", 0, 3, "success", by="bob"))
    files = leaving(episode, lambda name: called.get(name, name))
    got = tmp_path / episode.name
    got.mkdir()
    for name, content in files.items():
        (got / name).write_bytes(content)
    taken = Episodes(tmp_path / "theirs").adopt(got)
    sensible(taken)
    assert [taken.about.by, *(one.by for one in taken.segments)] == [
        called.get(name, name) for name in ("ada", "ada", "bob")
    ]
    assert taken.digest == digest_of_leaving(files) and (taken.digest == episode.digest) == (not called)
    same_rows(taken, 12)
    assert taken.picture(7) == episode.picture(7)


# --- episodes from elsewhere


def rewritten(episode: Episode, file: str, **changes: object) -> Episode:
    """The episode with values of a JSON file changed, and its digests as they then are."""
    path = episode.place / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return Episode(episode.place) if file == "end.json" else sealed(episode)


def sealed(episode: Episode) -> Episode:
    """The episode as whoever changed its files would seal it."""
    end, files = episode.place / "end.json", digests(episode.place)
    ended = {**json.loads(end.read_text()), "files": files, "sha256": files["steps.bin"]}
    end.write_text(json.dumps(ended))
    return Episode(episode.place)


@pytest.mark.parametrize(
    ("file", "changes", "why"),
    [
        ("episode.json", {"world": 3}, "its world is 3"),
        ("episode.json", {"seed": -1}, "its seed is -1"),
        ("episode.json", {"seed": 2**63}, "its seed is"),
        ("episode.json", {"seed": True}, "its seed is True"),
        ("episode.json", {"seconds": 10**400}, "seconds; expected a number above 0"),
        ("episode.json", {"seconds": 0}, "a step takes 0 seconds"),
        ("episode.json", {"observation": 10**9}, "numbers as observation"),
        ("episode.json", {"scene": []}, "its scene is"),
        ("end.json", {"sha256": "0" * 64}, "its end.json"),
        ("end.json", {"score": float("nan")}, "its end.json"),
        ("end.json", {"score": 10**400}, "its end.json"),
        ("end.json", {"success": "yes"}, "its end.json"),
        ("end.json", {"why": None}, "its end.json"),
        ("end.json", {"files": []}, "its end.json"),
        ("end.json", {"steps": 11}, "it ended with 11 steps"),
    ],
)
def test_an_episode_from_elsewhere_that_cannot_be_is_refused_with_what_is_wrong(store, file, changes, why):
    episode = live(store)
    sensible(episode)
    with pytest.raises(ValueError, match=why):
        sensible(rewritten(episode, file, **changes))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("command", 2, "a command that is not among the 2"),
        ("command", -2, "a command that is not among the 2"),
        ("commander", 4, "somebody unknown"),
        ("actor", 4, "somebody unknown"),
    ],
)
def test_steps_from_elsewhere_name_what_there_is(store, column, value, why):
    episode = live(store)
    rows = np.array(episode.steps)
    rows[column][5] = value
    rows.tofile(episode.place / "steps.bin")
    with pytest.raises(ValueError, match=why):
        sensible(sealed(episode))


def test_files_from_elsewhere_are_whole(store):
    for file, content, why in [
        ("steps.bin", b"\0" * 7, "found 7 bytes of steps"),
        ("commands.jsonl", b"1\n2\n", "a command is no text"),
        (
            "pictures.index",
            np.array([(13, 3, 0)], PICTURE).tobytes(),
            "a picture is of a step that it does not have",
        ),
        ("pictures.index", np.array([(2, 300, 0)], PICTURE).tobytes(), "not all there"),
        ("pictures.index", b"\0", "not all there"),
    ]:
        episode = live(store, pictures=True)
        (episode.place / "pictures.bin").write_bytes(JPEG)
        (episode.place / file).write_bytes(content)
        with pytest.raises(ValueError, match=why):
            sensible(sealed(episode))
    with pytest.raises(ValueError, match="it has no steps"):
        sensible(live(store, steps=0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 0.5}, {"stop": 13}, {"start": True}, {"label": 7}, {"by": None}, {"kind": []}, {"version": "1"},
        {"at": 10**400}, {"withdrawn": 1}, {"source": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_said_about_an_episode_from_elsewhere_is_looked_at_too(store, wrong):
    episode = live(store)
    said = {**vars(Segment("one", 0, 3, "correction", "left", "ada")), "source": {"text": "a bit left"}}
    path = episode.place / "segments.jsonl"
    path.write_text(json.dumps(said) + "\n")
    sensible(episode)
    path.write_text(json.dumps({**said, **wrong}) + "\n")
    with pytest.raises(ValueError, match="segment 'one'"):
        sensible(episode)


@pytest.mark.parametrize("content", ["[1]", "{}", '{"evil": 1}', "{"])
def test_a_file_that_describes_no_episode_or_segment_is_named(store, content):
    episode = live(store)
    (episode.place / "segments.jsonl").write_text(content + "\n")
    with pytest.raises(ValueError, match=r"segments.jsonl has a line that is no segment"):
        episode.history()
    (episode.place / "episode.json").write_text(content)
    with pytest.raises(ValueError, match=r"episode.json describes no episode"):
        Episode(episode.place)


def test_half_a_picture_without_its_place_is_gone_for_who_goes_on(store):
    with store.begin(about()) as writer:
        (writer.place / "pictures.bin").write_bytes(JPEG[:9])
    with store.begin(about(), writer.name) as again:
        again.picture(JPEG)
        again.step(**row(0, about()))
    assert store.open(writer.name).picture(0) == JPEG
    assert (writer.place / "pictures.bin").read_bytes() == JPEG


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
