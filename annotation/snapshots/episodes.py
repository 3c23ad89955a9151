"""The episodes that records stand on: which they are, by what bytes they are known, and what a card says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from annotation.errors import Invalid
from annotation.models import Candidate, Recording, Study
from trainers.episodes import CLIP, Episodes, NoEpisode

GONE, WITHDRAWN = "episode_gone", "episode_withdrawn"


class Stands:
    """Whether what is said about clips of a study may be read: asked once for each episode."""

    def __init__(self, study: Study, gone: set[int]) -> None:
        """`gone`: who took their consent back."""
        self.store = Episodes(settings.EPISODES)
        theirs = Recording.objects.filter(study=study, by__in=gone).values_list("episode", flat=True)
        self.withdrawn = set(theirs) if gone else set()
        self.there: dict[str, bool] = {}

    def reason(self, candidates: Iterable[Candidate]) -> str | None:
        """Why what is said about these answers is left out, or None."""
        for found in (CLIP.fullmatch(one.text) for one in candidates):
            if found and not self._there(found[1]):
                return GONE
            if found and found[1] in self.withdrawn:
                return WITHDRAWN
        return None

    def _there(self, name: str) -> bool:
        if name not in self.there:
            self.there[name] = name in self.store and self.store.open(name).ended is not None
        return self.there[name]


def described(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """What a manifest says of each episode; `counts` are the records about each.

    Invalid where the bytes of one are not those that it ended with.
    """
    store, found = Episodes(settings.EPISODES), []
    for name, records in sorted(counts.items()):
        try:
            episode = store.open(name)
            episode.verify()
        except (NoEpisode, ValueError) as problem:
            raise Invalid(str(problem), field="episodes") from None
        about = episode.about
        found.append(
            {
                "episode": name,
                "sha256": episode.digest,
                "steps": len(episode),
                "seconds": about.seconds,
                "world": about.world,
                "task": about.task,
                "policy": str(about.policy.get("name", "")),
                "records": records,
            }
        )
    return found


def check(listed: Iterable[Mapping[str, Any]]) -> None:
    """Raises ValueError, or NoEpisode, where an episode is not the one that was listed."""
    Episodes(settings.EPISODES).check({one["episode"]: one["sha256"] for one in listed})


def section(listed: list[dict[str, Any]]) -> str:
    """What a card says of the episodes; nothing where there are none."""
    if not listed:
        return ""
    counted: dict[tuple[str, str, str], Counter[str]] = {}
    for one in listed:
        key = one["world"], one["task"], one["policy"] or "a person drove"
        counted.setdefault(key, Counter()).update(episodes=1, steps=one["steps"], records=one["records"])
    lines = [
        "## Episodes", "",
        "What the records are about are stretches of robots' episodes, each named by 32 hexadecimal digits. The "
        "manifest says for each by which bytes it is known (SHA-256).", "",
        "| world | task | who acted | episodes | steps | records about them |", "|---|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for key, n in sorted(counted.items()):
        cells = " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in key)
        lines.append(f"| {cells} | {n['episodes']:,} | {n['steps']:,} | {n['records']:,} |")
    return "\n".join(lines)
