"""A world that is not drawn from its state, as a picture small enough to be sent ten times a second."""

from __future__ import annotations

import base64
from io import BytesIO

from trainers.envs.worlds import World

QUALITY = 80


def jpeg(world: World, size: int) -> bytes:
    """This moment of the world, size x size."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(world.picture(size)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def address(picture: bytes) -> str:
    """A JPEG as an address that a page can show."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
