"""Episodes as a dataset of the format."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.language import told
from trainers.data.lerobot.frames import DONE, OURS, SCALARS, SEEN
from trainers.data.lerobot.pictures import PICTURES, column, feature, pictures_of, sizes_of, statistics
from trainers.episodes import Episode

VERSION = "v3.0"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
PLACE = {"chunk_index": 0, "file_index": 0}
MEASURED = (
    SEEN,
    DONE,
    "kibitz.state",
    "next.reward",
    "timestamp",
    "frame_index",
    "episode_index",
    "index",
    "task_index",
)


def write(episodes: Sequence[Episode], folder: Path, robot: str = "") -> Path:
    """Writes ended episodes as a dataset. ValueError where they are not of one shape and one pace."""
    import pyarrow
    import pyarrow.parquet as parquet

    fps = _one_kind(episodes)
    shown, size = _shown(episodes)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty. Name a new folder.")
    tasks = _numbers(one.about.asked for one in episodes)
    subtasks = _numbers(text for one in episodes for text in told(one))
    columns: dict[str, list[NDArray[Any]]] = {}
    rows, at = [], 0
    for number, episode in enumerate(episodes):
        frames = _frames(episode, number, at, fps, tasks, subtasks)
        for name, values in frames.items():
            columns.setdefault(name, []).append(values)
        row = _row(episode, number, at, frames)
        if shown:
            row |= _named(PICTURES, statistics(shown[at : at + len(episode)]))
        rows.append(row)
        at += len(episode)
    joined = {name: np.concatenate(parts) for name, parts in columns.items() if parts[0].shape[1:] != (0,)}
    for place in (DATA, EPISODES):
        (folder / place.format(**PLACE)).parent.mkdir(parents=True, exist_ok=True)
    stored = {name: _arrow(values) for name, values in joined.items()}
    features = {name: _feature(name, values, fps) for name, values in joined.items()}
    stats = {name: _stats(joined[name]) for name in MEASURED if name in joined}
    if shown:
        stored[PICTURES], stats[PICTURES] = column(shown), statistics(shown)
        features[PICTURES] = feature(*size, fps)
    table = pyarrow.table(stored)
    parquet.write_table(table, folder / DATA.format(**PLACE))
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / EPISODES.format(**PLACE))
    _write_texts(folder / "meta/tasks.parquet", tasks, "task")
    _write_texts(folder / "meta/subtasks.parquet", subtasks, "subtask")
    _write_json(folder / "meta/stats.json", stats)
    info = {
        "codebase_version": VERSION,
        "robot_type": robot or episodes[0].about.world,
        "total_episodes": len(episodes),
        "total_frames": at,
        "total_tasks": len(tasks),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": DATA,
        "video_path": None,
        "features": features,
    }
    _write_json(folder / "meta/info.json", info)
    _write_json(folder / OURS, [_ours(one) for one in episodes])
    return folder


def _one_kind(episodes: Sequence[Episode]) -> int:
    """The frames a second that all of them have."""
    if not episodes:
        raise ValueError("There is no episode to write. Name some that have ended.")
    for one in episodes:
        if one.ended is None:
            raise ValueError(f"The episode {one.name} has not ended. Leave it out, or end it first.")
    kinds = {
        (one.about.observation, one.about.action, one.about.state, one.about.seconds) for one in episodes
    }
    if len(kinds) > 1:
        listed = "; ".join(f"{o} seen, {a} done, {s} drawn, {t} s" for o, a, s, t in sorted(kinds))
        raise ValueError(
            f"A dataset has frames of one shape and one pace; found {listed}. Export each by itself."
        )
    seconds = episodes[0].about.seconds
    if abs(round(1 / seconds) * seconds - 1) > 1e-6:
        raise ValueError(f"A step takes {seconds} s; the format wants a whole number of frames a second.")
    return round(1 / seconds)


def _shown(episodes: Sequence[Episode]) -> tuple[list[bytes], tuple[int, int]]:
    """The picture of each frame of all episodes, and their (height, width); none where no episode has any.

    Raises ValueError where only some have pictures, or of several sizes.
    """
    each = [pictures_of(one) for one in episodes]
    sizes = set().union(*(sizes_of(one, pictures) for one, pictures in zip(episodes, each, strict=True)))
    if len(sizes) > 1 or (sizes and not all(each)):
        found = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise ValueError(
            f"A dataset has pictures of one size for all episodes, or for none; found {found}, and "
            f"{sum(not one for one in each)} episodes without any. Export each kind by itself."
        )
    return [one for pictures in each for one in pictures], sizes.pop() if sizes else (0, 0)


def _frames(
    episode: Episode, number: int, at: int, fps: int, tasks: Mapping[str, int], subtasks: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    rows, length = episode.steps, len(episode)
    count = np.arange(length)
    found: dict[str, Any] = {
        SEEN: rows["observation"],
        DONE: rows["action"],
        "kibitz.state": rows["state"],
        "next.reward": rows["reward"],
        "next.done": count == length - 1,
        "timestamp": count / fps,
        "frame_index": count,
        "episode_index": np.full(length, number),
        "index": at + count,
        "task_index": np.full(length, tasks[episode.about.asked]),
        "subtask_index": np.array([subtasks[one] for one in told(episode)]),
        "kibitz.score": rows["score"],
        "kibitz.command": rows["command"],
        "kibitz.commander": rows["commander"],
        "kibitz.actor": rows["actor"],
    }
    return {name: np.asarray(values).astype(SCALARS.get(name, "float32")) for name, values in found.items()}


def _row(episode: Episode, number: int, at: int, frames: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": number,
        "tasks": [episode.about.asked],
        "length": len(episode),
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": at,
        "dataset_to_index": at + len(episode),
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    for name in MEASURED:
        if frames[name].size:
            row |= _named(name, _stats(frames[name]))
    return row


def _named(name: str, stats: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics as an episode's row has them."""
    return {f"stats/{name}/{key}": value for key, value in stats.items()}


def _stats(values: NDArray[Any]) -> dict[str, list[Any]]:
    """Of each number in a frame, over all frames; in float64."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    found = {"min": flat.min(0), "max": flat.max(0), "mean": flat.mean(0), "std": flat.std(0)}
    return {name: one.tolist() for name, one in found.items()} | {"count": [len(flat)]}


def _feature(name: str, values: NDArray[Any], fps: int) -> dict[str, Any]:
    shape = [1] if values.ndim == 1 else [values.shape[1]]
    return {"dtype": SCALARS.get(name, "float32"), "shape": shape, "names": None, "fps": fps}


def _arrow(values: NDArray[Any]) -> Any:
    import pyarrow

    if values.ndim == 1:
        return pyarrow.array(values)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])


def _numbers(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _write_texts(path: Path, numbers: Mapping[str, int], name: str) -> None:
    """A text and its number a row; pandas is told that the text is the index, as the format has it."""
    import pyarrow
    import pyarrow.parquet as parquet

    types = {f"{name}_index": ("int64", "int64"), name: ("unicode", "object")}
    columns = [
        {"name": one, "field_name": one, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for one, (kind, stored) in types.items()
    ]
    told_pandas = {
        "index_columns": [name],
        "column_indexes": [],
        "columns": columns,
        "pandas_version": "2.2.0",
    }
    table = pyarrow.table({f"{name}_index": list(numbers.values()), name: list(numbers)})
    parquet.write_table(table.replace_schema_metadata({"pandas": json.dumps(told_pandas)}), path)


def _ours(episode: Episode) -> dict[str, Any]:
    steps = episode.pictured
    last = episode.picture(len(episode)) if len(episode) in steps else None
    pictures = {"steps": steps, "last": base64.b64encode(last).decode() if last else ""} if steps else None
    return {
        "episode": episode.name,
        "digest": episode.digest,
        "about": asdict(episode.about),
        "commands": episode.commands,
        "ended": dict(episode.ended or {}),
        "history": [asdict(one) for one in episode.history()],
        "pictures": pictures,
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
