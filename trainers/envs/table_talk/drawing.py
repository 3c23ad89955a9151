"""TableTalk from above, as a picture: drawn from the scene and a state alone, so that frames need not be kept.

The same colours and forms as the browser's own drawing on light paper. Every thing wears the first letter of its colour
where there is room for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.envs.drawing import Colour, Place, Sheet
from trainers.envs.worlds import Picture

HALF = 1.06
"""From the middle of the picture to its edge."""
HEAD = 5
"""The numbers of a state before the places of the things."""
REACH, NEAR_MARK, STACKED, RISE = 0.06, 0.08, 0.06, 0.022
"""How near a thing must be to be grasped; half a mark's side; nearer than this one thing lies upon another, and is
drawn this much farther up."""
SMALLEST_EDGE = 4.0
"""Pixels from the middle of a thing to its side; below that it is drawn without a line about it."""
STRIPES = (-0.8, -0.4, 0.0, 0.4, 0.8)
QUARTERS = tuple(number / 4 for number in range(-4, 5))

TABLE, GRID, LINE, RIM, TRAY = (
    (252, 252, 250),
    (233, 234, 238),
    (150, 154, 166),
    (214, 216, 224),
    (240, 241, 245),
)
QUIET, METAL, DARK, SHADOW = (104, 108, 122), (92, 97, 112), (35, 37, 46), (213, 214, 219)
DIRT, GOOD, BAD, SPONGE = (125, 97, 66), (29, 122, 76), (190, 58, 48), (232, 200, 95)
COLOURS: dict[str, tuple[Colour, Colour]] = {
    "red": ((200, 50, 60), (255, 255, 255)),
    "green": ((29, 122, 76), (255, 255, 255)),
    "blue": ((36, 88, 197), (255, 255, 255)),
    "yellow": ((242, 195, 53), (43, 33, 0)),
    "purple": ((107, 47, 160), (255, 255, 255)),
    "orange": ((232, 131, 42), (36, 16, 0)),
}
"""Of a thing, and of the letter on it."""


def paint(scene: Mapping[str, Any], state: NDArray[Any], size: int) -> Picture:
    """[size, size, 3] of a moment. `scene` and `state` are those that the world gives, or that an episode kept."""
    things, spots = scene["things"], scene["spots"]
    numbers = np.asarray(state, dtype=float)
    if len(numbers) != HEAD + 2 * len(things) + len(spots):
        raise ValueError(
            f"Found a state of {len(numbers)} numbers. Expected {HEAD + 2 * len(things) + len(spots)}, for "
            f"{len(things)} things and {len(spots)} spots."
        )
    places = numbers[HEAD : HEAD + 2 * len(things)].reshape(-1, 2)
    wiped = numbers[HEAD + 2 * len(things) :]
    held = int(numbers[3])
    sheet = Sheet(size, HALF, RIM)
    _table(sheet)
    if scene["task"] == "pack":
        _tray(sheet, scene["tray"])
    for number, spot in enumerate(spots):
        colour = things[number]["colour"] if scene["task"] == "sort" and number < len(things) else ""
        _spot(sheet, scene["task"], spot, colour, wiped[number] > 0.5, number)
    for x, y, radius in scene["hazards"]:
        _hazard(sheet, (x, y), radius)
    lying: list[Place] = []
    for number, (thing, place) in enumerate(zip(things, places.tolist(), strict=True)):
        if number != held:
            level = sum(math.dist(other, place) < STACKED for other in lying)
            lying.append(place)
            _thing(sheet, thing, (place[0], place[1] + level * RISE), False)
    if held >= 0:
        _thing(sheet, things[held], places[held].tolist(), True)
    _gripper(sheet, numbers[:2].tolist(), float(numbers[2]), things[held] if held >= 0 else None)
    return sheet.picture()


def mixed(colour: Colour, share: float, with_colour: Colour = TABLE) -> Colour:
    """`colour` laid over another one, letting it through by 1 - share."""
    over = [round(share * a + (1 - share) * b) for a, b in zip(colour, with_colour, strict=True)]
    return (over[0], over[1], over[2])


def _table(sheet: Sheet) -> None:
    sheet.box((0, 0), (1.042, 1.042), TABLE, corner=0.05)
    for at in QUARTERS:
        sheet.line([(at, -1.03), (at, 1.03)], GRID, 0.004)
        sheet.line([(-1.03, at), (1.03, at)], GRID, 0.004)
    sheet.box((0, 0), (1.042, 1.042), None, LINE, 0.008, corner=0.05)


def _tray(sheet: Sheet, tray: Sequence[float]) -> None:
    x, y, across, along = tray
    sheet.box((x, y), (across + 0.03, along + 0.03), mixed(RIM, 0.9), LINE, 0.008, corner=0.05)
    sheet.box((x, y), (across, along), TRAY, LINE, 0.006, corner=0.03)


def _spot(sheet: Sheet, task: str, at: Place, colour: str, wiped: bool, number: int) -> None:
    if task == "peg":
        sheet.disc(at, 0.075, RIM, LINE, 0.008)
        sheet.disc(at, 0.042, DARK)
    elif task == "clean":
        _dirt(sheet, at, wiped, number)
    else:
        edge = COLOURS[colour][0] if colour else QUIET
        fill = mixed(edge, 0.2) if colour else None
        sheet.box(at, (NEAR_MARK, NEAR_MARK), fill, edge, 0.012, corner=0.03)
        if task == "push":
            for way in (-1, 1):
                sheet.line(
                    [(at[0] - 0.03, at[1] - 0.03 * way), (at[0] + 0.03, at[1] + 0.03 * way)], QUIET, 0.012
                )


def _dirt(sheet: Sheet, at: Place, wiped: bool, number: int) -> None:
    if wiped:  # a tick stays
        tick = [(at[0] - 0.04, at[1]), (at[0] - 0.01, at[1] - 0.035), (at[0] + 0.045, at[1] + 0.04)]
        sheet.line(tick, GOOD, 0.018)
        return
    for blot in range(7):
        angle, out = blot * 2.4 + number, 0.018 + 0.035 * ((blot * 7 + number * 3) % 5) / 4
        place = (at[0] + out * math.cos(angle), at[1] + out * math.sin(angle))
        sheet.disc(place, 0.018 + 0.012 * ((blot + number) % 3), DIRT)


def _hazard(sheet: Sheet, at: Place, radius: float) -> None:
    sheet.disc(at, radius, mixed(BAD, 0.16), BAD, 0.01)
    for share in STRIPES:  # they rise to the right, each as long as the disc is there
        half = math.sqrt(1 - share**2) * radius / math.sqrt(2)
        x, y = at[0] + share * radius / math.sqrt(2), at[1] - share * radius / math.sqrt(2)
        sheet.line([(x - half, y - half), (x + half, y + half)], mixed(BAD, 0.5), 0.008)


def _thing(sheet: Sheet, thing: Mapping[str, Any], at: Place, held: bool) -> None:
    radius = thing["radius"] * (1.1 if held else 1.0)
    lift = 0.02 if held else 0.008
    fill, ink = COLOURS.get(thing["colour"], (SPONGE, DARK))
    _form(sheet, thing["shape"], (at[0] + lift, at[1] - 1.5 * lift), radius, SHADOW, None)
    _form(sheet, thing["shape"], at, radius, fill, mixed((0, 0, 0), 0.45, fill))
    if thing["shape"] == "sponge":
        for right, up in ((-0.7, 0.25), (-0.2, -0.35), (0.3, 0.3), (0.75, -0.2)):
            sheet.disc(
                (at[0] + right * radius, at[1] + up * radius), 0.12 * radius, mixed((0, 0, 0), 0.45, fill)
            )
    elif thing["shape"] == "peg":
        sheet.disc(at, 0.45 * radius, None, ink, 0.008)
    elif thing["colour"]:
        sheet.letter(at, thing["colour"][0].upper(), 1.3 * radius, ink)


def _form(sheet: Sheet, shape: str, at: Place, radius: float, fill: Colour, edge: Colour | None) -> None:
    if radius * sheet.pixels < SMALLEST_EDGE:  # it would be nothing but edge
        edge = None
    if shape == "block":
        sheet.box(at, (radius, radius), fill, edge, 0.006, corner=0.3 * radius)
    elif shape == "sponge":
        sheet.box(at, (1.3 * radius, 0.85 * radius), fill, edge, 0.006, corner=0.45 * radius)
    else:
        sheet.disc(at, radius, fill, edge, 0.006)


def _gripper(sheet: Sheet, at: Place, closed: float, held: Mapping[str, Any] | None) -> None:
    """Two fingers, apart when open; what is held is between them."""
    open_gap, shut = REACH + 0.035, 0.018
    if held is not None:
        shut = held["radius"] * (1.45 if held["shape"] == "sponge" else 1.12)
    gap = open_gap + (shut - open_gap) * closed
    for side in (-1, 1):
        x = at[0] + side * (gap + 0.018)
        sheet.box((x + 0.012, at[1] - 0.02), (0.018, 0.065), SHADOW, corner=0.014)
        sheet.box((x + side * 0.04, at[1]), (0.025, 0.018), METAL, corner=0.01)
        sheet.box((x, at[1]), (0.02, 0.067), TABLE, corner=0.016)  # set off from what it touches
        sheet.box((x, at[1]), (0.018, 0.065), METAL, corner=0.014)
    if held is None:
        sheet.disc(at, 0.011, METAL)
