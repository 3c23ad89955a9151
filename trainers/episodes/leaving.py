"""An episode on its way to others: the same, but for what its people are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from trainers.episodes.episode import Episode
from trainers.episodes.files import LASTS, digest_of_all


def leaving(episode: Episode, name: Callable[[str], str]) -> dict[str, bytes]:
    """The files of an ended episode, with everybody in them called what `name` says.

    Where that changes a file, `end.json` has its new digest, so that whoever gets the files can verify them.
    """
    found = {one: (episode.place / one).read_bytes() for one in LASTS if (episode.place / one).exists()}
    about = json.loads(found["episode.json"])
    if name(about["by"]) != about["by"]:
        about["by"] = name(about["by"])
        found["episode.json"] = json.dumps(about, ensure_ascii=False, indent=1).encode()
    said = [vars(one) | {"by": name(one.by)} for one in episode.history()]
    ended = {**(episode.ended or {}), "files": _digests(found)}
    if said:
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in said)
        found["segments.jsonl"] = "".join(lines).encode()
    return found | {"end.json": json.dumps(ended).encode()}


def digest_of_leaving(files: Mapping[str, bytes]) -> str:
    """By what bytes such an episode is known, as `Episode.digest`."""
    return digest_of_all(_digests({name: files[name] for name in LASTS if name in files}))


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
