"""RLDS: what is written is read here by a reader of its own, which shares no line with the writer."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from tests.trainers.lived import live, play
from trainers.data import rlds
from trainers.data.language import spoken
from trainers.episodes import Episodes, Segment


def crc(content: bytes) -> int:
    """CRC-32C bit by bit, as its definition has it."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return ~value & 0xFFFFFFFF


def checked(content: bytes, stored: bytes) -> None:
    value = crc(content)
    turned = ((value >> 15) | (value << 17)) & 0xFFFFFFFF
    assert (turned + 0xA282EAD8) % 2**32 == struct.unpack("<I", stored)[0]


def records(content: bytes):
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        checked(content[:8], content[8:12])
        checked(content[12 : 12 + length], content[12 + length : 16 + length])
        yield content[12 : 12 + length]
        content = content[16 + length :]


def number(content: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 128:
            return value, at


def fields(content: bytes):
    """Field number and bytes of every field; all that an Example has are of wire type 2."""
    at = 0
    while at < len(content):
        tag, at = number(content, at)
        assert tag & 7 == 2
        length, at = number(content, at)
        yield tag >> 3, content[at : at + length]
        at += length


def read(example: bytes) -> dict:
    ((field, features),) = fields(example)
    assert field == 1
    found = {}
    for _, entry in fields(features):
        (_, name), (_, feature) = fields(entry)
        ((kind, values),) = fields(feature)
        parts = [one for _, one in fields(values)]
        if kind == 1:
            found[name.decode()] = [one.decode() for one in parts]
        elif kind == 2:
            found[name.decode()] = np.frombuffer(b"".join(parts), "<f4")
        else:
            packed, at, ints = b"".join(parts), 0, []
            while at < len(packed):
                value, at = number(packed, at)
                ints.append(value)
            found[name.decode()] = ints
    return found


@pytest.fixture
def store(tmp_path) -> Episodes:
    return Episodes(tmp_path / "episodes")


def written(episodes, folder) -> list[dict]:
    rlds.write(episodes, folder)
    path = folder / "kibitz/1.0.0/kibitz-train.tfrecord-00000-of-00001"
    return [read(one) for one in records(path.read_bytes())]


def test_the_checksum_is_the_one_that_is_published():
    assert rlds.crc32c(b"123456789") == crc(b"123456789") == 0xE3069283
    assert rlds.crc32c(b"\x00" * 32) == 0x8A9136AA  # RFC 3720, B.4


def test_each_stretch_of_one_text_is_an_episode_with_its_steps(store, tmp_path):
    episodes = [play(store, seed=seed, steps=60) for seed in (1, 2)]
    rows = written(episodes, tmp_path / "out")
    expected = [(one, stretch) for one in episodes for stretch in spoken(one)]
    assert len(rows) == len(expected) > 2
    for row, (episode, stretch) in zip(rows, expected, strict=True):
        lived, length = episode.steps[stretch.start : stretch.stop], stretch.stop - stretch.start
        assert row["steps/observation"].tobytes() == np.ascontiguousarray(lived["observation"]).tobytes()
        assert row["steps/action"].reshape(length, -1).tolist() == lived["action"].tolist()
        assert row["steps/reward"].tolist() == lived["reward"].tolist()
        assert row["steps/language_instruction"] == [stretch.text] * length
        assert row["steps/is_first"] == [1] + [0] * (length - 1)
        assert row["steps/is_last"] == [0] * (length - 1) + [1]
        assert row["episode_metadata/episode"] == [episode.name]
        assert row["episode_metadata/start"] == [stretch.start]
        assert row["episode_metadata/task"] == [episode.about.scene["words"]]


def test_only_the_end_of_an_episode_that_succeeded_is_terminal(store, tmp_path):
    episode = live(store, steps=6)
    episode.say(Segment("all", 4, 6, "correction", "up", at=1.0))
    first, second = written([episode], tmp_path / "out")
    assert first["steps/is_terminal"] == [0, 0, 0, 0] and first["steps/discount"].tolist() == [1, 1, 1, 1]
    assert second["steps/is_terminal"] == [0, 1] and second["steps/discount"].tolist() == [1, 0]


def test_what_people_have_said_since_is_what_is_learned(store, tmp_path):
    episode = live(store, steps=8)
    episode.say(Segment("one", 2, 6, "correction", "nach links, 左 😀", at=1.0))
    said = [row["steps/language_instruction"][0] for row in written([episode], tmp_path / "out")]
    assert said == ["move left", "nach links, 左 😀", "grasp the mug"]


def test_the_files_that_name_the_rows_agree_with_them(store, tmp_path):
    episodes = [play(store, steps=40)]
    rows = written(episodes, tmp_path / "out")
    home = tmp_path / "out/kibitz/1.0.0"
    info = json.loads((home / "dataset_info.json").read_text())
    (split,) = info["splits"]
    shard = home / "kibitz-train.tfrecord-00000-of-00001"
    assert split["shardLengths"] == [str(len(rows))] and split["numBytes"] == str(shard.stat().st_size)
    features = json.loads((home / "features.json").read_text())["featuresDict"]["features"]
    steps = features["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    about = features["episode_metadata"]["featuresDict"]["features"]
    named = {f"steps/{name}" for name in steps} | {f"episode_metadata/{name}" for name in about}
    assert named == set(rows[0])
    size = str(episodes[0].about.observation)
    assert steps["observation"]["tensor"]["shape"] == {"dimensions": [size]}


def test_what_does_not_go_into_one_dataset_is_refused_in_words(store, tmp_path):
    silent = live(store, steps=0)
    for episodes, why in [
        ([], "Nothing was said"),
        ([silent], "Nothing was said"),
        ([live(store), live(store, action=3)], "one shape"),
        ([live(store, ends=False)], "has not ended"),
    ]:
        with pytest.raises(ValueError, match=why):
            rlds.write(episodes, tmp_path / "out")
    with pytest.raises(ValueError, match="small letters"):
        rlds.write([live(store)], tmp_path / "out", name="../../x")
    assert not (tmp_path / "out").exists()
    rlds.write([live(store)], tmp_path / "out")
    with pytest.raises(ValueError, match="is not empty"):
        rlds.write([live(store)], tmp_path / "out")
