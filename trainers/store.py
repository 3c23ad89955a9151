"""Files that lie elsewhere, and files that are kept for later runs.

A URL that fsspec can read (file://, s3://, memory://, …) is fetched once into a cache on this machine, under a name
that follows from what lies there; and a run's folder is mirrored to such a URL. The cache also keeps what was costly
to compute. It is safe among processes: an entry appears whole, by being renamed, and whoever comes second uses it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from trainers.records import canonical

LARGEST = 20.0
"""Gigabytes that the cache may hold; KIBITZ_CACHE_GB says otherwise. With 0, what is fetched is kept for a day, and
nothing that was computed."""
IN_USE_SECONDS = 24 * 3600
"""What was used in the last day is not dropped: a run may still be reading it."""


# --- the cache -----------------------------------------------------------------------------------------


def folder() -> Path:
    """Where this machine keeps things: KIBITZ_CACHE, or `cache` in KIBITZ_HOME, or ~/.cache/kibitz."""
    if named := os.environ.get("KIBITZ_CACHE"):
        return Path(named)
    if home := os.environ.get("KIBITZ_HOME"):
        return Path(home) / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kibitz"


def room() -> float:
    """Bytes that the cache may hold."""
    return float(os.environ.get("KIBITZ_CACHE_GB") or LARGEST) * 1e9


def kept(key: str) -> Path | None:
    """The folder that is kept under `key`; it counts as used from now on."""
    place = folder() / key
    try:
        os.utime(place)
    except FileNotFoundError:
        return None
    return place


def keep(key: str, write: Callable[[Path], None]) -> Path:
    """What is kept under `key`, or what `write(folder)` puts there now."""
    if found := kept(key):
        return found
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    try:
        write(partial)
        try:
            partial.rename(root / key)
        except OSError:  # another process was first: its folder is as good
            if not (root / key).is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    make_room(except_for=key)
    return root / key


def make_room(except_for: str = "") -> None:
    """Drops what was not used for longest, until the cache is no larger than it may be."""
    most = room()
    entries = []
    for place in folder().iterdir():
        try:
            used = place.stat().st_mtime
            size = sum(one.stat().st_size for one in place.rglob("*") if one.is_file())
        except FileNotFoundError:  # dropped by another process
            continue
        entries.append((used, size, place))
    total = sum(size for _, size, _ in entries)
    for used, size, place in sorted(entries):
        if total <= most:
            return
        if place.name != except_for and time.time() - used > IN_USE_SECONDS:
            # Renamed first, so that nobody finds half of it.
            gone = place.with_name(f".partial-{os.getpid()}-{place.name}")
            try:
                place.rename(gone)
            except FileNotFoundError:
                continue
            shutil.rmtree(gone, ignore_errors=True)
            total -= size


# --- what it is ----------------------------------------------------------------------------------------


def digest(path: Path | str) -> str:
    """sha256 over the names and contents of all files below `path`, sorted: the identity of a model."""
    path = Path(path)
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        whole.update(file.relative_to(path).as_posix().encode() + b"\0" + bytes.fromhex(digest_of_file(file)))
    return whole.hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 over the contents of a file, however large."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# --- elsewhere -----------------------------------------------------------------------------------------


def is_url(name: str) -> bool:
    return "://" in name


def local(name: str) -> Path:
    """The path of a file or folder, which is fetched if it lies elsewhere: once, as long as it does not change."""
    if not is_url(name):
        return Path(name)
    files, root = _open(name)
    found = {path: files.info(path) for path in sorted(files.find(root))}
    if not found:
        raise FileNotFoundError(
            f"{name} holds no file. Check the address, and that this machine may read it."
        )
    # What a listing says of a file tells one content from another: an ETag or a checksum, else size and time.
    listing = [[_below(path, root), str(files.checksum(path)), info["size"]] for path, info in found.items()]
    key = hashlib.sha256(canonical([name, listing]).encode()).hexdigest()
    alone = [*found] == [root]

    def write(place: Path) -> None:
        for path in found:
            target = place / (Path(root).name if alone else _below(path, root))
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(target))

    place = keep(key, write)
    return place / Path(root).name if alone else place


def push(path: Path, url: str) -> None:
    """Copies a file or folder to a URL, and removes there what is no longer in the folder."""
    files, root = _open(url)
    if path.is_file():
        files.makedirs(root.rpartition("/")[0], exist_ok=True)
        files.put_file(str(path), root)
        return
    wanted = {one.relative_to(path).as_posix(): one for one in sorted(path.rglob("*")) if one.is_file()}
    there = set(files.find(root)) if files.exists(root) else set()
    for name, one in wanted.items():
        target = f"{root}/{name}"
        files.makedirs(target.rpartition("/")[0], exist_ok=True)
        files.put_file(str(one), target)
    for left in there - {f"{root}/{name}" for name in wanted}:
        files.rm_file(left)


def names(url: str) -> list[str]:
    """What lies directly below a URL; nothing, where there is nothing."""
    files, root = _open(url)
    files.invalidate_cache()
    try:
        return sorted(Path(one["name"]).name for one in files.ls(root, detail=True))
    except FileNotFoundError:
        return []


def remove(url: str) -> None:
    files, root = _open(url)
    if files.exists(root):
        files.rm(root, recursive=True)


def fetch(url: str, path: Path) -> bool:
    """Copies a file from a URL to `path`, where it appears whole; False where there is none."""
    files, root = _open(url)
    if not files.exists(root):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    files.get_file(root, str(partial))
    partial.rename(path)
    return True


def fetch_longer(url: str, path: Path) -> None:
    """Copies a file that is only ever appended to, where the one at the URL is further than the one at `path`."""
    files, root = _open(url)
    files.invalidate_cache()
    if files.exists(root) and files.info(root)["size"] > (path.stat().st_size if path.exists() else -1):
        fetch(url, path)


def _open(url: str) -> tuple[Any, str]:
    files, root = fsspec.url_to_fs(url)
    return files, root.rstrip("/")


def _below(path: str, root: str) -> str:
    return path[len(root) :].lstrip("/")
