"""LeRobot's format: what goes out comes back to the bit, and a dataset made by others is read field by field."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from tests.trainers.lived import about, live, play, row, say_commands
from trainers.data import lerobot
from trainers.data.language import spoken, told
from trainers.episodes import Episode, Episodes, Segment


@pytest.fixture
def store(tmp_path) -> Episodes:
    return Episodes(tmp_path / "episodes")


@pytest.fixture
def other(tmp_path) -> Episodes:
    return Episodes(tmp_path / "other")


def played(store: Episodes) -> list:
    return [play(store, seed=seed, steps=25 + seed) for seed in (1, 2)]


# --- out and back


def test_what_goes_out_comes_back_to_the_bit_with_all_that_was_said(store, other, tmp_path):
    episodes = played(store)
    say_commands(episodes[0])
    episodes[0].say(Segment("command-0", 0, 4, "correction", "wait", "ada", 9.0))
    brought = lerobot.read(lerobot.write(episodes, tmp_path / "out"), other)
    assert brought.episodes == [one.name for one in episodes] and brought.notes == []
    for one in episodes:
        back = other.open(one.name)
        assert back.steps.tobytes() == one.steps.tobytes() and back.digest == one.digest
        assert (back.said(), back.history(), back.ended) == (one.said(), one.history(), one.ended)
        assert json.loads((back.place / "episode.json").read_text()) == json.loads(
            (one.place / "episode.json").read_text()
        )


def test_an_episode_that_is_drawn_from_nothing_goes_out_and_comes_back_too(store, other, tmp_path):
    episode = live(store, state=0)
    lerobot.read(lerobot.write([episode], tmp_path / "out"), other)
    assert other.open(episode.name).digest == episode.digest


def picture(shade: int, size: tuple[int, int] = (8, 6), kind: str = "JPEG") -> bytes:
    """One colour all over: red by its shade, and blue."""
    written = BytesIO()
    Image.new("RGB", size, (shade, 0, 255)).save(written, kind)
    return written.getvalue()


def pictured(
    store: Episodes, steps: tuple[int, ...] = (0, 1, 4, 6), size: tuple[int, int] = (8, 6)
) -> Episode:
    """Six steps; a picture before some of them, and of the moment after the last."""
    what = about()
    with store.begin(what) as writer:
        for number in range(6):
            if number in steps:
                writer.picture(picture(40 * number, size))
            writer.step(**row(number, what))
        if 6 in steps:
            writer.picture(picture(240, size))
        return writer.end("done", score=0.5, success=True)


def test_pictures_of_an_episodes_own_go_out_frame_by_frame_and_come_back_as_they_were(store, other, tmp_path):
    episodes = [pictured(store), pictured(store, steps=(0,))]
    folder = lerobot.write(episodes, tmp_path / "out")
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["features"]["observation.images.main"] == {
        "dtype": "image", "shape": [6, 8, 3], "names": ["height", "width", "channels"], "fps": 10,
    }  # fmt: skip
    rows = parquet.read_table(folder / "data/chunk-000/file-000.parquet").to_pylist()
    shown = [frame["observation.images.main"] for frame in rows]
    own = [picture(0), *[picture(40)] * 3, *[picture(160)] * 2]
    assert [one["bytes"] for one in shown] == [*own, *[picture(0)] * 6]
    stats = json.loads((folder / "meta/stats.json").read_text())["observation.images.main"]
    reds = [np.asarray(Image.open(BytesIO(one["bytes"])))[..., 0].mean() / 255 for one in shown]
    assert stats["mean"][0][0][0] == pytest.approx(np.mean(reds)) and np.shape(stats["std"]) == (3, 1, 1)
    assert stats["std"][0][0][0] == pytest.approx(np.std(reds), abs=1e-3) and stats["count"] == [12]
    (one, two) = parquet.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert one["stats/observation.images.main/mean"][0][0][0] == pytest.approx(np.mean(reds[:6]))
    assert two["stats/observation.images.main/max"][0][0][0] == pytest.approx(reds[-1], abs=0.02)
    brought = lerobot.read(folder, other)
    assert brought.notes == []
    for episode in episodes:
        back = other.open(episode.name)
        assert back.digest == episode.digest and back.pictured == episode.pictured
        assert [back.picture(step) for step in range(7)] == [episode.picture(step) for step in range(7)]


def test_a_dataset_read_twice_brings_the_same_episodes(store, other, tmp_path):
    folder = lerobot.write(played(store), tmp_path / "out")
    assert lerobot.read(folder, other) == lerobot.read(folder, other)
    assert len(list(other)) == 2


def test_frames_stand_as_the_format_says(store, tmp_path):
    episodes = played(store)
    folder = lerobot.write(episodes, tmp_path / "out")
    info = json.loads((folder / "meta/info.json").read_text())
    first, total = len(episodes[0]), sum(map(len, episodes))
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "table_talk")
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (2, total, {"train": "0:2"})
    assert info["features"]["observation.state"]["shape"] == [episodes[0].about.observation]
    assert info["features"]["next.done"] == {"dtype": "bool", "shape": [1], "names": None, "fps": 10}
    table = parquet.read_table(folder / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(table.column_names) == set(info["features"])
    assert table.schema.field("action").type == pyarrow.list_(pyarrow.float32(), 3)
    rows = table.to_pylist()
    assert [row["index"] for row in rows] == list(range(total))
    assert [row["frame_index"] for row in rows] == [*range(first), *range(total - first)]
    assert [row["episode_index"] for row in rows] == [0] * first + [1] * (total - first)
    assert [n for n, row in enumerate(rows) if row["next.done"]] == [first - 1, total - 1]
    assert np.allclose([row["timestamp"] for row in rows[:3]], [0.0, 0.1, 0.2])
    (one, two) = parquet.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert (one["dataset_from_index"], one["dataset_to_index"], two["dataset_from_index"]) == (
        0,
        first,
        first,
    )
    assert (two["length"], two["data/chunk_index"], two["data/file_index"]) == (total - first, 0, 0)
    actions = np.concatenate([episode.steps["action"] for episode in episodes]).astype("f8")
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert np.allclose(stats["action"]["mean"], actions.mean(0)) and stats["action"]["count"] == [total]
    assert np.allclose(one["stats/action/max"], episodes[0].steps["action"].max(0))


def test_texts_are_found_by_their_numbers_also_by_pandas(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    (episode, _) = played(store)
    episode.say(Segment("mine", 3, 6, "correction", "a little more left", "ada", 9.0))
    folder = lerobot.write([episode], tmp_path / "out")
    tasks, subtasks = (pandas.read_parquet(folder / f"meta/{name}.parquet") for name in ("tasks", "subtasks"))
    assert list(tasks.index) == [episode.about.scene["words"]] and tasks.iloc[0].task_index == 0
    rows = parquet.read_table(folder / "data/chunk-000/file-000.parquet").to_pylist()
    said = [subtasks.index[row["subtask_index"]] for row in rows]
    assert said == told(episode) and said[3:6] == ["a little more left"] * 3
    assert said[2] == episode.said()[2] != "a little more left"


def test_stretches_of_one_text_have_the_newest_word(store):
    episode = live(store, steps=12)
    assert [(one.start, one.stop, one.text) for one in spoken(episode)] == [
        (0, 4, "move left"), (4, 8, "grasp the mug"),
    ]  # fmt: skip
    episode.say(Segment("a", 2, 6, "correction", "wait", at=1.0))
    episode.say(Segment("b", 5, 7, "correction", "up", at=2.0))
    episode.say(Segment("c", 0, 3, "rejected", "", at=3.0))
    assert [(one.start, one.stop, one.text) for one in spoken(episode)] == [
        (0, 2, "move left"), (2, 5, "wait"), (5, 7, "up"), (7, 8, "grasp the mug"),
    ]  # fmt: skip
    episode.say(Segment("d", 1, 4, "correction", "down", at=4.0))
    assert [(one.start, one.stop, one.text) for one in spoken(episode)] == [
        (0, 1, "move left"), (1, 4, "down"), (4, 5, "wait"), (5, 7, "up"), (7, 8, "grasp the mug"),
    ]  # fmt: skip


def test_what_has_no_place_in_one_dataset_is_refused_in_words(store, tmp_path):
    for episodes, why in [
        ([], "no episode to write"),
        ([live(store, ends=False)], "has not ended"),
        ([live(store, pictures=True)], "a picture that cannot be read"),
        ([pictured(store), live(store)], "found 8 x 6, and 1 episodes without any"),
        ([pictured(store), pictured(store, size=(8, 8))], "found 8 x 6, 8 x 8"),
        ([pictured(store, steps=(2, 3))], "no picture before step 2"),
        ([live(store), live(store, action=3)], "one shape and one pace"),
        ([live(store, seconds=0.03)], "whole number of frames"),
    ]:
        with pytest.raises(ValueError, match=why):
            lerobot.write(episodes, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty"):
        lerobot.write([live(store)], tmp_path / "full")


def test_a_changed_number_in_our_own_export_is_found(store, other, tmp_path):
    folder = lerobot.write(played(store), tmp_path / "out")
    path = folder / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(path)
    rewards = table["next.reward"].to_pylist()
    rewards[3] += 1
    at = table.column_names.index("next.reward")
    parquet.write_table(table.set_column(at, "next.reward", pyarrow.array(rewards, pyarrow.float32())), path)
    with pytest.raises(ValueError, match="did not come back as it was"):
        lerobot.read(folder, other)
    assert not list(other), "nothing of it is taken in"


def test_an_episode_that_cannot_be_keeps_the_whole_dataset_out(store, other, tmp_path):
    folder = lerobot.write(played(store), tmp_path / "out")
    path = folder / "meta/kibitz.json"
    ours = json.loads(path.read_text())
    ours[1]["about"]["seed"] = "three"
    path.write_text(json.dumps(ours))
    with pytest.raises(ValueError):
        lerobot.read(folder, other)
    assert not list(other) and not list(other.root.iterdir())


# --- datasets made by others, written here field by field


SEEN = [[0.5, 1.5], [0.25, -1.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
ACTED = [[0.1], [0.2], [0.3], [0.4], [0.5]]
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
    "action": {"dtype": "float32", "shape": [1], "names": {"motors": ["slide"]}},
    "observation.images.top": {
        "dtype": "video",
        "shape": [48, 64, 3],
        "names": ["height", "width", "channels"],
    },
    "observation.effort": {"dtype": "float32", "shape": [1], "names": None},
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


def frames(start: int, stop: int, first: int = 0, task: int = 0) -> dict:
    """Columns as Parquet holds them: rows of numbers as lists, the rest plain."""
    floats = pyarrow.list_(pyarrow.float32())
    return {
        "observation.state": pyarrow.array(SEEN[start:stop], floats),
        "action": pyarrow.array(ACTED[start:stop], floats),
        "observation.effort": pyarrow.array([9.0] * (stop - start), pyarrow.float32()),
        "timestamp": pyarrow.array([(n - start) / 20 for n in range(start, stop)], pyarrow.float32()),
        "frame_index": pyarrow.array([n - start for n in range(start, stop)]),
        "episode_index": pyarrow.array([first] * (stop - start)),
        "index": pyarrow.array(range(start, stop)),
        "task_index": pyarrow.array([task] * (stop - start)),
    }


def made(folder, version: str, **change) -> None:
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": version, "robot_type": "so100", "total_episodes": 2, "total_frames": 5, "total_tasks": 2,
        "chunks_size": 1000, "fps": 20, "splits": {"train": "0:2"}, "features": FEATURES,
    }  # fmt: skip
    (folder / "meta/info.json").write_text(json.dumps({**info, **change}))


@pytest.fixture(params=["v3.0", "v2.1"])
def foreign(request, tmp_path):
    """Two episodes of three and two frames, in either version of the format."""
    folder = tmp_path / "foreign"
    made(folder, request.param)
    one, two = pyarrow.table(frames(0, 3)), pyarrow.table(frames(3, 5, first=1, task=1))
    if request.param == "v3.0":
        parquet.write_table(pyarrow.concat_tables([one, two]), folder / "data/chunk-000/file-000.parquet")
        tasks = {"task_index": [0, 1], "__index_level_0__": ["Pick the cube", "Put it down"]}
        parquet.write_table(pyarrow.table(tasks), folder / "meta/tasks.parquet")
    else:
        parquet.write_table(one, folder / "data/chunk-000/episode_000000.parquet")
        parquet.write_table(two, folder / "data/chunk-000/episode_000001.parquet")
        lines = ['{"task_index": 0, "task": "Pick the cube"}', '{"task_index": 1, "task": "Put it down"}']
        (folder / "meta/tasks.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_dataset_of_others_comes_in_by_its_numbers_and_says_what_stays_out(foreign, store):
    brought = lerobot.read(foreign, store)
    one, two = (store.open(name) for name in brought.episodes)
    assert one.steps["observation"].tolist() == SEEN[:3] and two.steps["observation"].tolist() == SEEN[3:]
    assert one.steps["action"].tolist() == np.float32(ACTED[:3]).tolist()
    assert one.said() == ["Pick the cube"] * 3 and two.said() == ["Put it down"] * 2
    assert (one.about.task, one.about.world, one.about.seconds) == ("Pick the cube", "so100", 0.05)
    assert (one.about.observation, one.about.action, one.about.state) == (2, 1, 0)
    assert one.ended["steps"] == 3
    one.verify()
    pictures, others = brought.notes
    assert "observation.images.top" in pictures and "shown to nobody" in pictures
    assert others == "Left out, since a step has no place for them: observation.effort."
    assert lerobot.read(foreign, store).episodes == brought.episodes and len(list(store)) == 2


def with_camera(foreign, name: str, pictures: list[bytes | None]) -> None:
    """Gives each frame of a dataset a picture in its row."""
    at = 0
    for path in sorted((foreign / "data/chunk-000").iterdir()):
        table = parquet.read_table(path)
        stored = [{"bytes": one, "path": None} for one in pictures[at : at + len(table)]]
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        parquet.write_table(table.append_column(name, pyarrow.array(stored, kind)), path)
        at += len(table)
    path = foreign / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][name] = {"dtype": "image", "shape": [6, 8, 3], "names": ["height", "width", "channels"]}
    path.write_text(json.dumps(info))


def test_the_pictures_of_the_first_camera_come_in_and_those_of_others_stay_out(foreign, store):
    with_camera(foreign, "observation.images.hand", [picture(50 * n, kind="PNG") for n in range(5)])
    with_camera(foreign, "observation.images.side", [picture(9) for _ in range(5)])
    brought = lerobot.read(foreign, store)
    one, two = (store.open(name) for name in brought.episodes)
    assert (one.pictured, two.pictured) == ([0, 1, 2], [0, 1])
    for episode, step, shade in ((one, 2, 100), (two, 1, 200)):
        kept = episode.picture(step)
        assert kept.startswith(b"\xff\xd8"), "pictures are kept as JPEG"
        assert abs(Image.open(BytesIO(kept)).getpixel((3, 3))[0] - shade) < 8
    assert "that of observation.images.hand; left out: observation.images.side" in brought.notes[1]


def test_a_frame_whose_picture_is_not_in_its_row_keeps_the_dataset_out(foreign, store):
    with_camera(foreign, "observation.images.hand", [picture(1), None, *[picture(1)] * 3])
    with pytest.raises(ValueError, match=r"Frame 1 of .* has no picture in its row"):
        lerobot.read(foreign, store)
    assert not list(store)


def test_subtasks_of_others_are_the_commands(foreign, store):
    path = sorted((foreign / "data/chunk-000").iterdir())[0]
    table = parquet.read_table(path)
    numbers = pyarrow.array([1, 1, 0, 0, 0][: len(table)])
    parquet.write_table(table.append_column("subtask_index", numbers), path)
    info = json.loads((foreign / "meta/info.json").read_text())
    info["features"]["subtask_index"] = {"dtype": "int64", "shape": [1], "names": None}
    (foreign / "meta/info.json").write_text(json.dumps(info))
    words = {"subtask_index": [0, 1], "subtask": ["close", "reach"]}
    parquet.write_table(pyarrow.table(words), foreign / "meta/subtasks.parquet")
    episodes = [store.open(name) for name in lerobot.read(foreign, store).episodes]
    first = next(one for one in episodes if len(one) == 3)
    assert first.said() == ["reach", "reach", "close"]


def test_the_world_and_the_task_may_be_named_by_whoever_knows_them(foreign, store):
    brought = lerobot.read(foreign, store, world="pusht", task="Push the T")
    about = store.open(brought.episodes[0]).about
    assert (about.world, about.task, about.scene) == ("pusht", "Push the T", {"words": "Push the T"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"codebase_version": "v1.6"}, "of version 'v1.6'. Expected v2.1 or v3.0"),
        ({"features": {"action": FEATURES["action"]}}, "no feature 'observation.state'"),
        ({"features": {**FEATURES, "action": {"dtype": "float32", "shape": [7]}}}, "meta/info.json says"),
        ({"features": {**FEATURES, "action": {"dtype": "float32", "shape": [2, 2]}}}, "one row of numbers"),
    ],
)
def test_a_dataset_that_cannot_be_read_says_what_was_expected(foreign, store, change, why):
    path = foreign / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=why.replace("[", r"\[")):
        lerobot.read(foreign, store)
    assert not list(store)


def test_a_folder_that_is_no_dataset_or_an_empty_one_is_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"no meta/info.json"):
        lerobot.read(tmp_path, store)
    made(tmp_path / "empty", "v3.0")
    with pytest.raises(ValueError, match="holds no frames"):
        lerobot.read(tmp_path / "empty", store)
