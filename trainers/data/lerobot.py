"""LeRobot's dataset format: v3.0 out, v3.0 and v2.1 in. A folder of Parquet and JSON:

    meta/info.json                               what a frame holds, how many there are, where they lie
    meta/tasks.parquet, meta/subtasks.parquet    a number for each text
    meta/episodes/chunk-000/file-000.parquet     an episode a row: its length, its place, its statistics
    meta/stats.json                              the statistics of all frames
    data/chunk-000/file-000.parquet              a frame a row
    meta/kibitz.json                             ours: what a frame cannot hold, so that an episode comes back exactly

`observation.state` is what was seen, `action` what was done, `next.reward` what came of it. What the robot was asked
is the task; what it was told at a frame is the subtask. No video is written: the state that pictures are drawn from
is kept as `kibitz.state`. Of a foreign dataset the numbers come in and the videos do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.language import asked_of, told
from trainers.episodes import NAME, NOBODY, UNSAID, About, Episode, Episodes, Segment

VERSION = "v3.0"
READS = ("v2.1", "v3.0")
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
PLACE = {"chunk_index": 0, "file_index": 0}
OURS = "meta/kibitz.json"
SEEN, DONE = "observation.state", "action"
SCALARS = {
    "next.reward": "float32", "next.done": "bool", "timestamp": "float32", "frame_index": "int64",
    "episode_index": "int64", "index": "int64", "task_index": "int64", "subtask_index": "int64",
    "kibitz.score": "float32", "kibitz.command": "int64", "kibitz.commander": "int64", "kibitz.actor": "int64",
}  # fmt: skip
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


@dataclass
class Brought:
    """What came in, and what of the dataset did not."""

    episodes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# --- out


def write(episodes: Sequence[Episode], folder: Path, robot: str = "") -> Path:
    """Writes ended episodes as a dataset. ValueError where they are not of one shape and one pace."""
    import pyarrow
    import pyarrow.parquet as parquet

    fps = _one_kind(episodes)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty. Name a new folder.")
    tasks = _numbers(asked_of(one) for one in episodes)
    subtasks = _numbers(text for one in episodes for text in told(one))
    columns: dict[str, list[NDArray[Any]]] = {}
    rows, at = [], 0
    for number, episode in enumerate(episodes):
        frames = _frames(episode, number, at, fps, tasks, subtasks)
        for name, values in frames.items():
            columns.setdefault(name, []).append(values)
        rows.append(_row(episode, number, at, frames))
        at += len(episode)
    joined = {name: np.concatenate(parts) for name, parts in columns.items() if parts[0].shape[1:] != (0,)}
    for place in (DATA, EPISODES):
        (folder / place.format(**PLACE)).parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({name: _arrow(values) for name, values in joined.items()})
    parquet.write_table(table, folder / DATA.format(**PLACE))
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / EPISODES.format(**PLACE))
    _write_texts(folder / "meta/tasks.parquet", tasks, "task")
    _write_texts(folder / "meta/subtasks.parquet", subtasks, "subtask")
    _write_json(
        folder / "meta/stats.json", {name: _stats(joined[name]) for name in MEASURED if name in joined}
    )
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
        "features": {name: _feature(name, values, fps) for name, values in joined.items()},
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
        if one.picture(len(one)) is not None:
            raise ValueError(
                f"The episode {one.name} has pictures of its own, which would need a video. Videos are not written: "
                "export its state where its world has one."
            )
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
        "task_index": np.full(length, tasks[asked_of(episode)]),
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
        "tasks": [asked_of(episode)],
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
            row |= {f"stats/{name}/{key}": value for key, value in _stats(frames[name]).items()}
    return row


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
    return {
        "episode": episode.name,
        "digest": episode.digest,
        "about": asdict(episode.about),
        "commands": episode.commands,
        "ended": dict(episode.ended or {}),
        "history": [asdict(one) for one in episode.history()],
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


# --- in


def read(folder: Path, store: Episodes, world: str = "", task: str = "") -> Brought:
    """Takes a dataset's episodes into a store; read twice, they are the same episodes.

    `world` names the world that a foreign dataset is of, and `task` stands where it names none. Its videos, and what
    else has no place in a step, stay out: the notes say so.
    """
    info = _info(folder)
    found, ours = Brought(), _read_ours(folder)
    pictured = sorted(
        name for name, one in info["features"].items() if one.get("dtype") in ("video", "image")
    )
    known = {SEEN, DONE, "next.reward", "kibitz.state", *SCALARS}
    if pictured:
        found.notes.append(
            f"The pictures ({', '.join(pictured)}) stay out: the episodes can be learned from by their numbers, and "
            "shown to nobody."
        )
    if others := sorted(set(info["features"]) - known - set(pictured) - {"next.success", "next.truncated"}):
        found.notes.append(f"Left out, since a step has no place for them: {', '.join(others)}.")
    tasks, subtasks = _texts(folder, info, "task"), _texts(folder, info, "subtask")
    for number, frames in _episodes(folder, info):
        if number < len(ours):
            found.episodes.append(_come_back(ours[number], frames, store))
        else:
            about = _about(info, frames, folder, number, world, task or _text(frames, "task_index", tasks, 0))
            found.episodes.append(_begin(about, frames, tasks, subtasks, store))
    if not found.episodes:
        raise ValueError(f"{folder} holds no frames. Is it whole?")
    return found


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "info.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no meta/info.json. Expected the folder of a LeRobot dataset.")
    info: dict[str, Any] = json.loads(path.read_text("utf-8"))
    version = info.get("codebase_version")
    if version not in READS:
        raise ValueError(
            f"{folder} is of version {version!r}. Expected {' or '.join(READS)}: convert it with LeRobot's own scripts."
        )
    for name in (SEEN, DONE):
        one = info.get("features", {}).get(name)
        if one is None:
            raise ValueError(
                f"{folder} has no feature '{name}', and an episode is learned from by what was seen and "
                f"done. Features: {', '.join(info.get('features', {})) or 'none'}."
            )
        if len(one["shape"]) != 1:
            raise ValueError(
                f"The feature '{name}' has the shape {one['shape']}; expected one row of numbers."
            )
    return info


def _read_ours(folder: Path) -> list[dict[str, Any]]:
    path = folder / OURS
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def _texts(folder: Path, info: Mapping[str, Any], name: str) -> dict[int, str]:
    """By its number, each text of meta/tasks or meta/subtasks, as Parquet or as JSON lines."""
    import pyarrow.parquet as parquet

    lines = folder / "meta" / f"{name}s.jsonl"
    if lines.is_file():
        rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines() if line.strip()]
        return {int(row[f"{name}_index"]): str(row[name]) for row in rows}
    path = folder / "meta" / f"{name}s.parquet"
    if not path.is_file():
        return {}
    table = parquet.read_table(path)
    text = next(one for one in table.column_names if one != f"{name}_index")  # the index of a pandas frame
    return dict(zip(table[f"{name}_index"].to_pylist(), table[text].to_pylist(), strict=True))


def _episodes(folder: Path, info: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Each episode's number and frames, file by file; the rows of one stand together, in order."""
    import pyarrow.parquet as parquet

    paths = sorted((folder / "data").glob("chunk-*/*.parquet"))
    for path in paths:
        table = parquet.read_table(path)
        missing = {SEEN, DONE, "episode_index"} - set(table.column_names)
        if missing:
            raise ValueError(f"{path} has no column {', '.join(sorted(missing))}.")
        numbers = table["episode_index"].to_numpy()
        starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]]).tolist() if len(numbers) else []
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            part = table.slice(start, stop - start)
            yield (
                int(numbers[start]),
                {
                    name: _numpy(part[name], info["features"][name])
                    for name in part.column_names
                    if name in _READ
                },
            )


_READ = {SEEN, DONE, "kibitz.state", *SCALARS}


def _numpy(column: Any, feature: Mapping[str, Any]) -> NDArray[Any]:
    """[T] or [T, N] numbers of a column, checked against the shape that info.json states."""
    values = np.array(column.to_pylist())
    width = feature["shape"][0] if feature["shape"] else 1
    if values.ndim == 1 and width > 1 or values.ndim == 2 and values.shape[1] != width:
        raise ValueError(
            f"Frames have the shape {list(values.shape[1:])}; meta/info.json says {feature['shape']}."
        )
    return values.astype(feature["dtype"])


def _text(frames: Mapping[str, NDArray[Any]], name: str, texts: Mapping[int, str], row: int) -> str:
    return texts.get(int(frames[name].reshape(-1)[row]), "") if name in frames else ""


def _about(
    info: Mapping[str, Any],
    frames: Mapping[str, NDArray[Any]],
    folder: Path,
    number: int,
    world: str,
    task: str,
) -> About:
    return About(
        world=world or str(info.get("robot_type") or "lerobot"),
        task=task,
        seed=0,
        observation=frames[SEEN].reshape(len(frames[SEEN]), -1).shape[1],
        action=frames[DONE].reshape(len(frames[DONE]), -1).shape[1],
        state=0,
        seconds=1 / float(info["fps"]),
        scene={"words": task} if task else {},
        source={"lerobot": folder.name, "episode": number, "version": info["codebase_version"]},
    )


def _begin(
    about: About,
    frames: Mapping[str, NDArray[Any]],
    tasks: Mapping[int, str],
    subtasks: Mapping[int, str],
    store: Episodes,
) -> str:
    """An episode of a foreign dataset, under a name that its own numbers make."""
    length = len(frames[SEEN])
    seen, done = (frames[name].reshape(length, -1).astype("<f4") for name in (SEEN, DONE))
    words = [
        _text(frames, "subtask_index", subtasks, row) or _text(frames, "task_index", tasks, row)
        for row in range(length)
    ]
    hashed = hashlib.sha256(json.dumps([asdict(about), words], sort_keys=True).encode())
    hashed.update(seen.tobytes() + done.tobytes())
    name = hashed.hexdigest()[:32]
    if name in store and store.open(name).ended:
        return name
    rewards = frames["next.reward"].reshape(-1) if "next.reward" in frames else np.zeros(length)
    with store.begin(about, name) as writer:
        writer.cut(0)  # a reading that was broken off is begun anew
        for row in range(length):
            writer.step(seen[row], done[row], (), float(rewards[row]), 0.0, words[row], NOBODY, NOBODY)
        writer.end("imported")
    return name


def _come_back(ours: Mapping[str, Any], frames: Mapping[str, NDArray[Any]], store: Episodes) -> str:
    """An episode that was exported from such a store, as it was."""
    name, commands = ours["episode"], ours["commands"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{OURS} names the episode {str(name)[:60]!r}; expected 32 hexadecimal digits.")
    if name in store and store.open(name).ended:
        if store.open(name).digest != ours["digest"]:
            raise ValueError(f"There is another episode {name} in {store.root} already.")
        return name
    about = About(**ours["about"])
    states = frames.get("kibitz.state", np.zeros((len(frames[SEEN]), about.state)))
    with store.begin(about, name) as writer:
        writer.cut(0)
        for command in commands:  # in their order, whoever obeyed them when
            writer.name_command(command)
        for row in range(len(frames[SEEN])):
            said = int(frames["kibitz.command"][row])
            writer.step(
                frames[SEEN][row], frames[DONE][row], states[row], float(frames["next.reward"][row]),
                float(frames["kibitz.score"][row]), "" if said == UNSAID else commands[said],
                int(frames["kibitz.commander"][row]), int(frames["kibitz.actor"][row]),
            )  # fmt: skip
        ended = ours["ended"]
        episode = writer.end(ended["why"], ended["score"], ended["success"])
    for one in ours["history"]:
        episode.say(Segment(**one))
    if episode.digest != ours["digest"]:
        raise ValueError(f"The episode {name} did not come back as it was: its numbers were changed since.")
    return str(name)
