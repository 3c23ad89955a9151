"""Episodes on the command line: what there is, what one holds, and their way in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainers.data import lerobot, rlds
from trainers.data.language import spoken
from trainers.data.taken import take_in
from trainers.episodes import NAME, Episode, Episodes


def facts(episode: Episode) -> dict[str, Any]:
    """What a list says of an episode."""
    about, ended = episode.about, episode.ended or {}
    return {
        "episode": episode.name,
        "world": about.world,
        "task": about.task,
        "seed": about.seed,
        "steps": len(episode),
        "policy": str(about.policy.get("name", "")),
        "ended": bool(ended),
        "score": ended.get("score"),
        "success": ended.get("success"),
        "segments": len(episode.segments),
    }


def details(episode: Episode) -> dict[str, Any]:
    """What there is to know of one episode; raises ValueError where its files have changed since it ended."""
    episode.verify()
    about = {name: value for name, value in asdict(episode.about).items() if name != "scene"}
    return {
        **facts(episode),
        **about,
        "sha256": episode.digest,
        "asked": episode.about.asked,
        "spoken": [asdict(one) for one in spoken(episode)],
        "segments": [asdict(one) for one in episode.segments],
    }


def chosen(store: Episodes, names: Sequence[str], world: str = "") -> list[Episode]:
    """The episodes of these names; of none, all that have ended. Names may be cut short, as long as one is meant."""
    if not store.root.is_dir():
        raise ValueError(f"There is no folder {store.root}. Name the folder of the episodes.")
    found = [_named(store, name) for name in names]
    if not names:
        found = [one for one in store if one.ended is not None]
    found = [one for one in found if not world or one.about.world == world]
    if not found:
        raise ValueError(f"There is no ended episode{f' of {world}' if world else ''} in {store.root}.")
    return found


def _named(store: Episodes, name: str) -> Episode:
    if NAME.fullmatch(name):
        return store.open(name)
    found = [one for one in store if len(name) >= 4 and one.name.startswith(name)]
    if len(found) != 1:
        many = f"{len(found)} episodes begin" if found else "No episode begins"
        raise ValueError(
            f"{many} with '{name[:40]}' in {store.root}. Give the name, or four letters or more of it."
        )
    return found[0]


def export(episodes: Sequence[Episode], out: Path, format: str) -> str:
    """Writes episodes in a format; says in a sentence what was written."""
    if format == "lerobot":
        lerobot.write(episodes, out)
        drawn = any(one.about.state for one in episodes)
        kept = " No video is written: the state that pictures are drawn from is in it." if drawn else ""
        return f"{len(episodes)} episodes, {sum(map(len, episodes))} frames.{kept}"
    if format == "rlds":
        return f"{rlds.write(episodes, out)} stretches of language, from {len(episodes)} episodes."
    store = Episodes(out)
    for one in episodes:
        store.adopt(one.place)
    return f"{len(episodes)} episodes."


def bring(folder: Path, store: Episodes, world: str = "", task: str = "") -> lerobot.Brought:
    """Takes in a LeRobot dataset, or another folder of episodes: each is checked before the first is taken."""
    if (folder / "meta" / "info.json").is_file():
        return lerobot.read(folder, store, world, task)
    coming = list(Episodes(folder))
    if not coming:
        raise ValueError(
            f"{folder} is neither a LeRobot dataset (meta/info.json) nor a folder of episodes (AA/NAME/episode.json)."
        )
    return lerobot.Brought(take_in(coming, store))
