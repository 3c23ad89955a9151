"""Episodes on their way into a study: a zip of records and the episodes they stand on, as an export makes it.

Everything in the zip is checked before anything is taken in: names, sizes, digests, and that every number in an
episode means something. Clips that a file of any format names must be of episodes that the study has, or gets.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from annotation.errors import Invalid
from annotation.formats import FORMATS, MOST_UNPACKED, kibitz, steps_in_store
from annotation.models import ImportJob, Recording, Study
from annotation.recordings import facts_of, record, store
from annotation.said import Row
from annotation.segments import without_labels
from trainers.episodes import Clip, Episode
from trainers.episodes.sense import sensible
from trainers.records import RecordError

FORMAT = "episodes"
RECORDS = "records.jsonl"
FILE = re.compile(
    r"(?:.*/)?episodes/[0-9a-f]{2}/([0-9a-f]{32})/"
    r"(episode\.json|steps\.bin|commands\.jsonl|pictures\.bin|pictures\.index|segments\.jsonl|end\.json)"
)
Packed = dict[str, dict[str, zipfile.ZipInfo]]
"""By the name of an episode, its files by theirs."""
LONGEST_END = 2**20
"""Bytes of an end.json: some hundreds."""
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises where bytes are damaged, packed in a way that it does not know, or under a password."""


def rows(file: BinaryIO) -> Iterator[Row | RecordError]:
    """The records of a zip; none, where it brings episodes alone."""
    try:
        with zipfile.ZipFile(file) as packed:
            here, name = _packed(packed), _records_of(packed)
            if name:
                with packed.open(name) as lines:
                    yield from kibitz(lines, cache(partial(_steps, packed, here)))  # type: ignore[arg-type]
    except UNREADABLE as problem:
        yield RecordError(0, "", f"no zip that can be read: {problem}.", "Send the zip as it was exported.")


FORMATS[FORMAT] = ("Records about robots with their episodes, as exported: a zip", rows)


def _records_of(packed: zipfile.ZipFile) -> str:
    """The file of records in a zip; empty where it brings episodes alone."""
    return next((one for one in packed.namelist() if one.rpartition("/")[2] == RECORDS), "")


def _packed(packed: zipfile.ZipFile) -> Packed:
    found: Packed = {}
    for one in packed.infolist():
        match = FILE.fullmatch(one.filename)
        if match:
            found.setdefault(match[1], {})[match[2]] = one
    return found


def _steps(packed: zipfile.ZipFile, here: Packed, name: str) -> int | None:
    if name not in here:
        return steps_in_store(name)
    try:
        with packed.open(here[name]["end.json"]) as file:
            steps = json.loads(file.read(LONGEST_END))[
                "steps"
            ]  # checked against its rows before anything is stored
    except (ValueError, TypeError, KeyError, *UNREADABLE):
        return None
    return steps if type(steps) is int else None


@contextmanager
def _unpacked(packed: zipfile.ZipFile, name: str, files: Mapping[str, zipfile.ZipInfo]) -> Iterator[Path]:
    """The files of one episode in a folder of its name, for a moment; without what the zip's own records say of it."""
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.UPLOADS) as place:
        folder = Path(place) / name
        folder.mkdir()
        for file, info in files.items():
            with packed.open(info) as source, (folder / file).open("wb") as target:
                shutil.copyfileobj(source, target)
        if _records_of(packed):
            without_labels(folder)
        yield folder


# --- checking


def coming(job: ImportJob, path: Path) -> dict[str, int]:
    """The episodes that a file brings, and how many steps each has."""
    if job.format != FORMAT or not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as packed:
        here = _packed(packed)
        return {name: _steps(packed, here, name) or 0 for name in here}


def check_episodes(job: ImportJob, path: Path) -> list[RecordError]:
    """What is wrong with the episodes that a file brings."""
    if job.format != FORMAT or not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as packed:
        unpacked = sum(one.file_size for one in packed.infolist())
        if unpacked > MOST_UNPACKED:
            return [
                RecordError(0, "", f"holds {unpacked:,} bytes, over {MOST_UNPACKED:,}.", "Split the zip.")
            ]
        problems = (
            (name, _problem(job.study, packed, name, files)) for name, files in _packed(packed).items()
        )
        return [
            RecordError(0, f"episodes/{name}", problem, "Send the zip as it was exported.")
            for name, problem in problems
            if problem
        ]


def _problem(study: Study, packed: zipfile.ZipFile, name: str, files: Mapping[str, zipfile.ZipInfo]) -> str:
    """What is wrong with an episode; nothing, where it can be taken in."""
    theirs = Recording.objects.filter(episode=name).exclude(study=study).exists()
    if theirs:
        return "is another study's. Its arrays are here already; ask its owner."
    try:
        with _unpacked(packed, name, files) as folder:
            episode = Episode(folder)
            sensible(episode)
            facts_of(episode)
            if name in store() and store().open(name).digest != episode.digest:
                return "is here already, and another one."
    except Invalid as problem:
        return f"is no episode that can be kept: its {problem.field}. {problem}"
    except (ValueError, TypeError, KeyError, OSError, AttributeError, *UNREADABLE) as problem:
        return f"is no episode that can be read: {problem}."
    return ""


def check_clips(study: Study, candidates: list[Any], known: dict[str, int | None], line: int) -> None:
    """Refuses an item whose answers are clips of episodes that the study has not, or of steps that they have not.

    `known` has the steps of episodes: of those that come along at first, and of the study's as they are looked up.
    """
    for number, one in enumerate(candidates):
        text = one.get("text") if isinstance(one, Mapping) else one
        if not isinstance(text, str) or not text.startswith("clip:"):
            continue
        try:
            clip = Clip.read(text)
        except ValueError:
            continue  # a text like another
        where = f"candidates[{number}]"
        if clip.episode not in known:
            ours = Recording.objects.filter(study=study, episode=clip.episode, ended=True)
            known[clip.episode] = ours.values_list("steps", flat=True).first()
        steps = known[clip.episode]
        if steps is None:
            raise RecordError(
                line,
                where,
                f"names the episode {clip.episode}, of which this study has no ended recording.",
                "Import the zip that has the episodes too, or record the episode in this study first.",
            )
        if clip.stop > steps:
            raise RecordError(
                line,
                where,
                f"names the steps {clip.start} to {clip.stop}; the episode has {steps}.",
                "Mend this row.",
            )


# --- taking in


def take_in(job: ImportJob, path: Path) -> int:
    """Takes the episodes of a file into the store, and gives the study a row for each. Again, it changes nothing."""
    names = coming(job, path)
    if not names:
        return 0
    with zipfile.ZipFile(path) as packed:
        for name, files in sorted(_packed(packed).items()):
            new = name not in store()
            with _unpacked(packed, name, files) as folder:
                try:
                    store().adopt(folder)
                except ValueError as problem:  # somebody took another one of that name in meanwhile
                    raise Invalid(str(problem), field=f"episodes/{name}") from None
            if not Recording.objects.filter(episode=name).exists():
                record(job.study, name, source={"import": job.pk, "brought": new})
    return len(names)


def take_out(job: ImportJob) -> None:
    """Forgets the episodes that an import brought: it did not come to its end."""
    brought = Recording.objects.filter(study=job.study, source__import=job.pk)
    for row in list(brought):
        row.delete()
        if row.source.get("brought"):
            shutil.rmtree(store().place(row.episode), ignore_errors=True)
