"""Files that runs make and people bring: their digests, their keeping, their listing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from django.conf import settings
from django.http import Http404

from webapp.runs.models import Artifact


def files_of(path: Path) -> list[Path]:
    """The files of an artifact, by name; a single file is its own list."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def digest_of(path: Path) -> tuple[str, int]:
    """The identity of a model, as trainers.nn.digest computes it, and the bytes read."""
    whole, size = hashlib.sha256(), 0
    for file in files_of(path):
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        whole.update(name.encode() + b"\0")
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
            size += opened.tell()
    return whole.hexdigest(), size


def made_as(path: Path) -> str:
    """The kind of a model's folder, as trainers.nn.storage reads it; "" where it does not say."""
    ours, theirs = path / "kibitz.json", path / "config.json"
    if ours.is_file():
        return json.loads(ours.read_text(encoding="utf-8")).get("kind", "")
    named = json.loads(theirs.read_text(encoding="utf-8")).get("architectures") if theirs.is_file() else None
    return (
        "hugging_face_reward" if (named or [""])[0].endswith("ForSequenceClassification") else "hugging_face"
    )


def relative(path: Path) -> str:
    """A place as the database keeps it, so that KIBITZ_HOME may move."""
    return path.relative_to(settings.KIBITZ_HOME.resolve()).as_posix()


def keep(path: Path) -> tuple[Path, str, int]:
    """Copies a model into MODELS under its digest: once, and whole or not at all. Returns place, digest, bytes."""
    digest, size = digest_of(path)
    place = settings.MODELS / digest[:24]
    if not place.exists():
        settings.MODELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.MODELS, prefix=".coming-") as coming:
        copy = Path(coming) / "copy"
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            copy.mkdir()
            shutil.copy2(path, copy / path.name)
        try:
            os.rename(copy, place)
        except OSError:
            if not place.exists():  # else another process kept the same bytes a moment ago
                raise
    return place, digest, size


def listing(artifact: Artifact) -> list[dict]:
    """The names and sizes of its files, as a download names them."""
    root = artifact.location
    return [
        {
            "file": file.name if root.is_file() else file.relative_to(root).as_posix(),
            "size": file.stat().st_size,
        }
        for file in files_of(root)
    ]


def file_of(artifact: Artifact, name: str) -> Path:
    """The file of that name. Only listed names are served, so no path leads out of the artifact."""
    root = artifact.location
    for file in files_of(root):
        if name == (file.name if root.is_file() else file.relative_to(root).as_posix()):
            return file
    raise Http404(f"Artifact {artifact.pk} has no file {name!r}.")
