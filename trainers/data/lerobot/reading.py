"""Episodes from a dataset of the format: our own as they were, those of others by their numbers."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.lerobot.frames import DONE, OURS, SCALARS, SEEN
from trainers.data.lerobot.pictures import as_jpeg
from trainers.data.taken import take_in
from trainers.episodes import NAME, NOBODY, UNSAID, About, Episodes, Segment

READS = ("v2.1", "v3.0")
KNOWN = {SEEN, DONE, "kibitz.state", *SCALARS}
"""The columns that a step has a place for."""


@dataclass
class Brought:
    """What came in, and what of the dataset did not."""

    episodes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(folder: Path, store: Episodes, world: str = "", task: str = "") -> Brought:
    """Takes a dataset's episodes into a store, all of them or none; read twice, they are the same episodes.

    `world` names the world that a foreign dataset is of, and `task` stands where it names none. The pictures of one
    camera come in; its videos, and what else has no place in a step, stay out: the notes say so.
    """
    info = _info(folder)
    found, ours = Brought(), _read_ours(folder)
    features = info["features"]
    videos = sorted(name for name, one in features.items() if one.get("dtype") == "video")
    cameras = sorted(name for name, one in features.items() if one.get("dtype") == "image")
    if videos:
        found.notes.append(
            f"The videos ({', '.join(videos)}) stay out: the episodes can be learned from by their numbers, and "
            "shown to nobody."
        )
    if cameras[1:]:
        found.notes.append(
            f"An episode has one picture a step, that of {cameras[0]}; left out: {', '.join(cameras[1:])}."
        )
    camera, pictured = cameras[0] if cameras else "", {*videos, *cameras}
    if others := sorted(set(features) - KNOWN - pictured - {"next.success", "next.truncated"}):
        found.notes.append(f"Left out, since a step has no place for them: {', '.join(others)}.")
    tasks, subtasks = _texts(folder, info, "task"), _texts(folder, info, "subtask")
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".coming-", dir=store.root) as aside:
        coming = Episodes(aside)
        for number, frames, pictures in _episodes(folder, info, camera):
            if number < len(ours):
                found.episodes.append(_come_back(ours[number], frames, pictures, store, coming))
            else:
                asked = task or _text(frames, "task_index", tasks, 0)
                about = _about(info, frames, folder, number, world, asked)
                found.episodes.append(_begin(about, frames, pictures, tasks, subtasks, store, coming))
        if not found.episodes:
            raise ValueError(f"{folder} holds no frames. Is it whole?")
        take_in(list(coming), store)
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


def _episodes(
    folder: Path, info: Mapping[str, Any], camera: str
) -> Iterator[tuple[int, dict[str, NDArray[Any]], list[bytes]]]:
    """Each episode's number, frames and pictures, file by file; the rows of one stand together, in order."""
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
            known = [name for name in part.column_names if name in KNOWN]
            shown = part[camera].to_pylist() if camera in part.column_names else []
            yield (
                int(numbers[start]),
                {name: _numpy(part[name], info["features"][name]) for name in known},
                [
                    as_jpeg((one or {}).get("bytes"), f"Frame {start + row} of {path}")
                    for row, one in enumerate(shown)
                ],
            )


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
    pictures: Sequence[bytes],
    tasks: Mapping[int, str],
    subtasks: Mapping[int, str],
    store: Episodes,
    coming: Episodes,
) -> str:
    """An episode of a foreign dataset, under a name that its own numbers make."""
    length = len(frames[SEEN])
    seen, done = (frames[name].reshape(length, -1).astype("<f4") for name in (SEEN, DONE))
    words = [
        _text(frames, "subtask_index", subtasks, row) or _text(frames, "task_index", tasks, row)
        for row in range(length)
    ]
    hashed = hashlib.sha256(json.dumps([asdict(about), words], sort_keys=True).encode())
    hashed.update(seen.tobytes() + done.tobytes() + b"".join(pictures))
    name = hashed.hexdigest()[:32]
    if name in store and store.open(name).ended:
        return name
    rewards = frames["next.reward"].reshape(-1) if "next.reward" in frames else np.zeros(length)
    with coming.begin(about, name) as writer:
        for row in range(length):
            if pictures:
                writer.picture(pictures[row])
            writer.step(seen[row], done[row], (), float(rewards[row]), 0.0, words[row], NOBODY, NOBODY)
        writer.end("imported")
    return name


def _come_back(
    ours: Mapping[str, Any],
    frames: Mapping[str, NDArray[Any]],
    pictures: Sequence[bytes],
    store: Episodes,
    coming: Episodes,
) -> str:
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
    kept = ours.get("pictures") or {"steps": [], "last": ""}
    own = set(kept["steps"])
    with coming.begin(about, name) as writer:
        for command in commands:  # in their order, whoever obeyed them when
            writer.name_command(command)
        for row in range(len(frames[SEEN])):
            said = int(frames["kibitz.command"][row])
            if row in own:
                writer.picture(pictures[row])
            writer.step(
                frames[SEEN][row], frames[DONE][row], states[row], float(frames["next.reward"][row]),
                float(frames["kibitz.score"][row]), "" if said == UNSAID else commands[said],
                int(frames["kibitz.commander"][row]), int(frames["kibitz.actor"][row]),
            )  # fmt: skip
        if kept["last"]:
            writer.picture(base64.b64decode(kept["last"]))
        ended = ours["ended"]
        episode = writer.end(ended["why"], ended["score"], ended["success"])
    for one in ours["history"]:
        episode.say(Segment(**one))
    if episode.digest != ours["digest"]:
        raise ValueError(f"The episode {name} did not come back as it was: its numbers were changed since.")
    return str(name)
