"""Crisp pictures of flat worlds: drawn larger with Pillow, and shrunk, so that every edge is smooth at any size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainers.envs.worlds import Picture

Colour = tuple[int, int, int]
Place = Sequence[float]

FINE = 4
"""How many times larger it is drawn, along each side."""
SMALLEST, LARGEST = 16, 2048


class Sheet:
    """A square of paper from -half to half along both axes, y pointing up. Lengths are in these units."""

    def __init__(self, size: int, half: float, paper: Colour) -> None:
        """Raises ValueError where the picture would be smaller than 16 pixels a side, or larger than 2048."""
        _check(size)
        self.size, self.half = size, half
        self.fine = FINE if size <= 512 else 2
        self.scale = size * self.fine / (2 * half)
        self.image = Image.new("RGB", (size * self.fine, size * self.fine), paper)
        self.draw = ImageDraw.Draw(self.image)

    @property
    def pixels(self) -> float:
        """Of the picture, in a length of 1."""
        return self.scale / self.fine

    def disc(
        self,
        middle: Place,
        radius: float,
        fill: Colour | None,
        edge: Colour | None = None,
        width: float = 0.0,
    ) -> None:
        x, y = self._at(middle)
        r = radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill, edge, self._width(width) if edge else 1)

    def box(
        self,
        middle: Place,
        half: Place,
        fill: Colour | None,
        edge: Colour | None = None,
        width: float = 0.0,
        corner: float = 0.0,
    ) -> None:
        """Along the axes, with round corners."""
        x, y = self._at(middle)
        across, along = half[0] * self.scale, half[1] * self.scale
        corners = (x - across, y - along, x + across, y + along)
        self.draw.rounded_rectangle(
            corners, corner * self.scale, fill, edge, self._width(width) if edge else 1
        )

    def shape(self, places: Sequence[Place], fill: Colour) -> None:
        self.draw.polygon([self._at(one) for one in places], fill)

    def line(self, places: Sequence[Place], colour: Colour, width: float, round_ends: bool = False) -> None:
        points = [self._at(one) for one in places]
        self.draw.line(points, colour, self._width(width), joint="curve")
        if round_ends:
            for end in (places[0], places[-1]):
                self.disc(end, width / 2, colour)

    def letter(self, middle: Place, text: str, height: float, colour: Colour) -> None:
        """One letter; where it would be smaller than seven pixels, none."""
        pixels = height * self.scale
        if pixels >= 7 * self.fine:
            self.draw.text(self._at(middle), text, colour, _font(round(pixels)), anchor="mm")

    def picture(self) -> Picture:
        """[size, size, 3]"""
        return np.asarray(self.image.reduce(self.fine))

    def _at(self, place: Place) -> tuple[float, float]:
        return ((place[0] + self.half) * self.scale, (self.half - place[1]) * self.scale)

    def _width(self, width: float) -> int:
        """Never thinner than one pixel of the picture."""
        return max(self.fine, round(width * self.scale))


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def fitted(image: NDArray[np.uint8], size: int) -> Picture:
    """[size, size, 3] a picture [height, width, 3], all of it, with bands in its own dark where it is not square.

    Raises ValueError for a size that no `Sheet` has.
    """
    _check(size)
    height, width = image.shape[:2]
    share = size / max(height, width)
    inner = (max(1, round(width * share)), max(1, round(height * share)))
    small = Image.fromarray(image).resize(
        inner, Image.Resampling.LANCZOS if share < 1 else Image.Resampling.BICUBIC
    )
    whole = Image.new("RGB", (size, size), (24, 26, 30))
    whole.paste(small, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.asarray(whole)


def _check(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"Found a picture of {size} pixels. Expected {SMALLEST} to {LARGEST} of them a side."
        )
