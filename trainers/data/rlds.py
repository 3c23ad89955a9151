"""Stretches of language as episodes in the spelling of RLDS, in the folder that TensorFlow Datasets opens.

    features.json, dataset_info.json              what a row holds, how many there are
    NAME-train.tfrecord-00000-of-00001            a stretch a row, as tf.train.Example

Each stretch that was told one thing is an episode: its steps have observation, action, reward, discount, is_first,
is_last, is_terminal, language_instruction (Ramos et al. 2021, arXiv:2111.02767). Only the last step of a robot's whole
episode that succeeded is terminal; every other stretch ends because something else was said. The Protocol Buffers and
the framing (lengths and masked CRC-32C) are written here, so that nothing of TensorFlow is needed.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.language import Spoken, spoken
from trainers.episodes import Episode

VERSION = "1.0.0"
CLASSES = "tensorflow_datasets.core.features"
DATASET = re.compile(r"[a-z][a-z0-9_]{0,60}")


def write(episodes: Sequence[Episode], folder: Path, name: str = "kibitz") -> int:
    """Writes the stretches of ended episodes below `folder` / NAME / VERSION; how many there are.

    ValueError where the episodes are of different shapes, or nothing was said in any.
    """
    if not DATASET.fullmatch(name):
        raise ValueError(
            f"Found the name {name!r}; expected small letters, digits and _, as in kibitz_robot."
        )
    shapes = {(one.about.observation, one.about.action) for one in episodes}
    if len(shapes) > 1:
        listed = "; ".join(f"{seen} seen, {done} done" for seen, done in sorted(shapes))
        raise ValueError(f"Rows of one dataset have one shape; found {listed}. Export each by itself.")
    if growing := [one.name for one in episodes if one.ended is None]:
        raise ValueError(f"The episode {growing[0]} has not ended. Leave it out, or end it first.")
    rows = [example(one, stretch) for one in episodes for stretch in spoken(one)]
    if not rows:
        raise ValueError("Nothing was said in these episodes: there is no stretch of language to write.")
    home = folder / name / VERSION
    if home.exists() and any(home.iterdir()):
        raise ValueError(f"{home} is not empty. Name a new folder.")
    home.mkdir(parents=True, exist_ok=True)
    content = b"".join(map(framed, rows))
    (home / f"{name}-train.tfrecord-00000-of-00001").write_bytes(content)
    ((seen, done),) = shapes
    _write_json(home / "features.json", _features(seen, done))
    _write_json(home / "dataset_info.json", _info(name, len(rows), len(content)))
    return len(rows)


def example(episode: Episode, stretch: Spoken) -> bytes:
    """A stretch as tf.train.Example: each field of all its steps as one list."""
    rows, length = episode.steps[stretch.start : stretch.stop], stretch.stop - stretch.start
    first, last, terminal = np.zeros((3, length), np.int64)
    first[0] = last[-1] = 1
    succeeded = bool(episode.ended and episode.ended["success"])
    terminal[-1] = succeeded and stretch.stop == len(episode)
    return message(
        {
            "steps/observation": floats(rows["observation"]),
            "steps/action": floats(rows["action"]),
            "steps/reward": floats(rows["reward"]),
            "steps/discount": floats(1 - terminal),
            "steps/is_first": integers(first),
            "steps/is_last": integers(last),
            "steps/is_terminal": integers(terminal),
            "steps/language_instruction": texts([stretch.text] * length),
            "episode_metadata/episode": texts([episode.name]),
            "episode_metadata/start": integers([stretch.start]),
            "episode_metadata/task": texts([episode.about.asked]),
            "episode_metadata/world": texts([episode.about.world]),
        }
    )


# --- Protocol Buffers, as far as tf.train.Example needs them


def varint(number: int) -> bytes:
    """A whole number from 0 up, seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def piece(field: int, content: bytes) -> bytes:
    """A field that holds bytes, a text, packed numbers, or a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def message(features: dict[str, bytes]) -> bytes:
    """An Example: its Features, a map of names to Feature."""
    entries = (piece(1, piece(1, name.encode()) + piece(2, one)) for name, one in sorted(features.items()))
    return piece(1, b"".join(entries))


def texts(values: Iterable[str]) -> bytes:
    return piece(1, b"".join(piece(1, one.encode()) for one in values))


def floats(values: NDArray[Any]) -> bytes:
    return piece(2, piece(1, np.ascontiguousarray(values, "<f4").tobytes()))


def integers(values: Iterable[int]) -> bytes:
    return piece(3, piece(1, b"".join(varint(int(one)) for one in values)))


# --- the framing of TFRecord


def framed(row: bytes) -> bytes:
    """Length, its checksum, the row, its checksum."""
    length = struct.pack("<Q", len(row))
    return length + struct.pack("<I", masked(length)) + row + struct.pack("<I", masked(row))


def masked(content: bytes) -> int:
    """CRC-32C turned by 15 bits and moved, so that a checksum of checksums is no special case."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """Castagnoli's cyclic redundancy check; crc32c(b"123456789") = 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    found = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        found.append(number)
    return found


TABLE = _table()


# --- what TensorFlow Datasets reads first


def _features(seen: int, done: int) -> dict[str, Any]:
    steps = {
        "observation": _tensor("float32", seen),
        "action": _tensor("float32", done),
        "reward": _tensor("float32"),
        "discount": _tensor("float32"),
        "is_first": _tensor("bool"),
        "is_last": _tensor("bool"),
        "is_terminal": _tensor("bool"),
        "language_instruction": _text(),
    }
    about = {"episode": _text(), "start": _tensor("int64"), "task": _text(), "world": _text()}
    sequence = {
        "pythonClassName": f"{CLASSES}.dataset_feature.Dataset",
        "sequence": {"feature": _dict(steps), "length": "-1"},
    }
    return _dict({"steps": sequence, "episode_metadata": _dict(about)})


def _dict(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{CLASSES}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _tensor(dtype: str, size: int | None = None) -> dict[str, Any]:
    name = "scalar.Scalar" if size is None else "tensor_feature.Tensor"
    shape = {} if size is None else {"dimensions": [str(size)]}
    return {
        "pythonClassName": f"{CLASSES}.{name}",
        "tensor": {"shape": shape, "dtype": dtype, "encoding": "none"},
    }


def _text() -> dict[str, Any]:
    return {"pythonClassName": f"{CLASSES}.text_feature.Text", "text": {}}


def _info(name: str, rows: int, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": VERSION,
        "description": "Stretches of robots' episodes in which one thing was said.",
        "fileFormat": "tfrecord",
        "releaseNotes": {VERSION: "First."},
        "splits": [
            {
                "name": "train",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(rows)],
                "numBytes": str(size),
            }
        ],
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
