"""What a frame looked like: a feature of dtype "image", whose file stands in the frame's own row."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.episodes import Episode

PICTURES = "observation.images.main"
LOOKED_AT = 100
"""Most pictures of a dataset, or of an episode, that its statistics are taken from: evenly, the first and last too."""
JPEG = b"\xff\xd8"
QUALITY = 90


def pictures_of(episode: Episode) -> list[bytes]:
    """[T] the JPEG of each frame: its own, or the last one before it. Empty where none was kept.

    Raises ValueError where the first frame has none.
    """
    if not episode.pictured:
        return []
    if episode.pictured[0] > 0:
        raise ValueError(
            f"The episode {episode.name} has no picture before step {episode.pictured[0]}; a dataset has one for every "
            "frame or for none. Leave it out."
        )
    return [episode.picture(step) or b"" for step in range(len(episode))]


def sizes_of(episode: Episode, pictures: Sequence[bytes]) -> set[tuple[int, int]]:
    """(height, width) of these pictures of an episode. Raises ValueError where one cannot be read."""
    from PIL import Image

    found = set()
    for one in dict.fromkeys(pictures):
        try:
            with Image.open(BytesIO(one)) as image:
                found.add((image.height, image.width))
        except OSError:
            raise ValueError(
                f"The episode {episode.name} has a picture that cannot be read. Leave it out."
            ) from None
    return found


def feature(height: int, width: int, fps: int) -> dict[str, Any]:
    """As meta/info.json has it."""
    names = ["height", "width", "channels"]
    return {"dtype": "image", "shape": [height, width, 3], "names": names, "fps": fps}


def column(pictures: Sequence[bytes]) -> Any:
    """A struct of the file's bytes and its path, as Hugging Face's datasets keep an Image."""
    import pyarrow

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    return pyarrow.array([{"bytes": one, "path": None} for one in pictures], kind)


def statistics(pictures: Sequence[bytes]) -> dict[str, list[Any]]:
    """Of each channel, [3, 1, 1], over the pixels (0 to 1) of at most `LOOKED_AT` pictures; and how many those were."""
    chosen = sorted({round(at) for at in np.linspace(0, len(pictures) - 1, min(LOOKED_AT, len(pictures)))})
    least, most, mean, square = np.full(3, np.inf), np.full(3, -np.inf), np.zeros(3), np.zeros(3)
    for at in chosen:  # one after the other: all at once would be a gigabyte of larger ones
        pixels = pixels_of(pictures[at]).reshape(-1, 3)
        least, most = np.minimum(least, pixels.min(0)), np.maximum(most, pixels.max(0))
        mean, square = mean + pixels.mean(0) / len(chosen), square + (pixels**2).mean(0) / len(chosen)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    found = {"min": least, "max": most, "mean": mean, "std": std}
    return {name: one.reshape(3, 1, 1).tolist() for name, one in found.items()} | {"count": [len(chosen)]}


def pixels_of(picture: bytes) -> NDArray[np.float64]:
    """[H, W, 3] from 0 to 1."""
    from PIL import Image

    with Image.open(BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


def as_jpeg(picture: bytes | None, where: str) -> bytes:
    """A frame's picture as a step keeps it. Raises ValueError, which names `where`, for what is no picture."""
    from PIL import Image

    if picture and picture.startswith(JPEG):
        return picture
    try:
        with Image.open(BytesIO(picture or b"")) as image:
            written = BytesIO()
            image.convert("RGB").save(written, "JPEG", quality=QUALITY)
            return written.getvalue()
    except OSError:
        raise ValueError(
            f"{where} has no picture in its row that can be read. Is the dataset whole?"
        ) from None
