"""A folder of episodes, by their names."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainers.episodes.episode import Episode
from trainers.episodes.files import LASTS
from trainers.episodes.words import NAME, About, NoEpisode
from trainers.episodes.writer import Writer


class Episodes:
    """The episodes in a folder, by their names."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def place(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise NoEpisode(f"'{name[:80]}' is not an episode's name: expected 32 hexadecimal digits.")
        return self.root / name[:2] / name

    def begin(self, about: About, name: str = "") -> Writer:
        """A new episode, or an unfinished one of that name to go on with."""
        return Writer(self.place(name or secrets.token_hex(16)), about)

    def open(self, name: str) -> Episode:
        place = self.place(name)
        if not (place / "episode.json").is_file():
            raise NoEpisode(
                f"There is no episode {name} in {self.root}. Is the store the one it was written to?"
            )
        return Episode(place)

    def adopt(self, folder: Path) -> Episode:
        """A copy of an ended episode that lies in another folder; the one already here, where it is the same.

        Raises ValueError for one that has not ended, was changed since, or has the name of another one here.
        """
        given, place = Episode(folder), self.place(folder.name)
        if given.ended is None:
            raise ValueError(f"The episode {given.name} has not ended. Only whole ones are taken in.")
        given.verify()
        if given.name in self:
            here = self.open(given.name)
            if here.ended is None or here.digest != given.digest:
                raise ValueError(f"There is another episode {given.name} in {self.root} already.")
            return here
        coming = place.with_name(f"{place.name}.{secrets.token_hex(4)}.coming")
        coming.mkdir(parents=True)
        try:
            for name in (*LASTS, "segments.jsonl", "end.json"):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, coming / name)
            coming.rename(place)
        except OSError:
            shutil.rmtree(coming, ignore_errors=True)
            if given.name not in self:
                raise
            return self.adopt(folder)  # somebody else took it in meanwhile
        return self.open(given.name)

    def check(self, expected: Mapping[str, str]) -> None:
        """Raises ValueError where an episode is gone, or is not what it was: `expected` has its digest by its name."""
        for name, digest in expected.items():
            episode = self.open(name)
            episode.verify()
            if episode.digest != digest:
                raise ValueError(
                    f"The episode {name} is another one than it was: SHA-256 {episode.digest}, expected {digest}. "
                    f"Bring the original {episode.place} back."
                )

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str)
            and bool(NAME.fullmatch(name))
            and (self.place(name) / "episode.json").is_file()
        )

    def __iter__(self) -> Iterator[Episode]:
        for path in sorted(self.root.glob("??/*/episode.json")):
            if NAME.fullmatch(path.parent.name):
                yield Episode(path.parent)
