"""The table as a MuJoCo model (MJCF), built anew for every episode. Half the table's side is a metre."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.envs.table_talk.drawing import (
    BAD,
    COLOURS,
    DARK,
    DIRT,
    GOOD,
    METAL,
    QUIET,
    RIM,
    SPONGE,
    TRAY,
    mixed,
)
from trainers.envs.table_talk.world import Scene, Thing

SUBSTEPS = 20
"""Of physics in a control step of 0.1 s."""
WEIGHT = 0.1
"""Kilograms of a thing."""
HEIGHT = {"block": 0.05, "disc": 0.03, "peg": 0.05, "sponge": 0.03}
"""Half the height of a thing, by its shape."""
FIST = 0.03
"""The radius of closed fingers."""
STIFF, DAMP = 40_000.0, 400.0
"""Of the servos that move the hand of one kilogram: critically damped, within a few hundredths of a second."""
LONG = 0.12
"""How far the fingers reach down from the hand."""

HEAD = """
<mujoco model="table_talk">
  <option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.3 0.3 0.3" specular="0 0 0"/>
    <map znear="0.05"/>
  </visual>
  <asset>
    <texture type="skybox" builtin="flat" rgb1="0.82 0.83 0.86" rgb2="0.82 0.83 0.86" width="8" height="48"/>
  </asset>
  <default>
    <geom friction="0.5 0.01 0.001" solref="0.01 1"/>
    <default class="drawn"><geom contype="0" conaffinity="0" group="1" mass="0"/></default>
  </default>
  <worldbody>
    <light pos="-1 -1.5 3" dir="0.3 0.4 -1" diffuse="0.3 0.3 0.3" specular="0 0 0"/>
    <camera name="above" pos="0 -0.95 2.75" xyaxes="1 0 0 0 0.945 0.327" fovy="43.5"/>
    <geom name="table" type="box" size="1.08 1.08 0.05" pos="0 0 -0.05" rgba="{paper}"/>
    {walls}
    {marks}
    <body name="hand" gravcomp="1">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="fist" type="capsule" size="{fist}" fromto="0 0 0.03 0 0 0.04" mass="1" friction="0.1 0.005 0.0001"
        priority="1" solref="0.01 1.5" rgba="0 0 0 0"/>
      <geom name="left finger" class="drawn" type="box" size="0.014 0.035 0.09" pos="-0.09 0 -0.03" rgba="{metal}"/>
      <geom name="right finger" class="drawn" type="box" size="0.014 0.035 0.09" pos="0.09 0 -0.03" rgba="{metal}"/>
      <geom class="drawn" type="box" size="0.12 0.03 0.018" pos="0 0 0.075" rgba="{metal}"/>
    </body>
    {things}
  </worldbody>
  <equality>{welds}</equality>
  <actuator>{servos}</actuator>
</mujoco>
"""


def built(scene: Scene, things: Sequence[Thing], task: str, seconds: float) -> str:
    """The MJCF of an episode; where the things lie is for its state to say."""
    return HEAD.format(
        timestep=seconds / SUBSTEPS,
        paper=_rgba((252, 252, 250)),
        metal=_rgba(METAL),
        fist=FIST,
        walls="".join(_wall(x, y) for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1))),
        marks="".join(_marks(scene, things, task)),
        things="".join(_thing(number, thing) for number, thing in enumerate(things)),
        welds="".join(
            f'<weld name="hold {number}" body1="hand" body2="thing {number}" active="false" solref="0.01 1"/>'
            for number in range(len(things))
        ),
        servos="".join(
            f'<general name="{axis}" joint="{axis}" gainprm="{STIFF}" biastype="affine" biasprm="0 {-STIFF} {-DAMP}"/>'
            for axis in "xyz"
        ),
    )


def half_height(thing: Thing) -> float:
    return HEIGHT[thing.shape]


def _rgba(colour: Sequence[int], alpha: float = 1.0) -> str:
    return " ".join(f"{value:.4f}" for value in (*(part / 255 for part in colour), alpha))


def _wall(x: int, y: int) -> str:
    """An edge that nothing is pushed over."""
    size = f"{0.02 if x else 1.09} {0.02 if y else 1.09} 0.02"
    return f'<geom type="box" size="{size}" pos="{x * 1.07} {y * 1.07} 0.02" rgba="{_rgba(RIM)}"/>'


def _thing(number: int, thing: Thing) -> str:
    colour, high = COLOURS.get(thing.colour, (SPONGE, DARK))[0], half_height(thing)
    if thing.shape == "block":
        form = f'type="box" size="{thing.radius} {thing.radius} {high}"'
    elif thing.shape == "sponge":
        form = f'type="box" size="{1.3 * thing.radius} {0.85 * thing.radius} {high}"'
    else:
        form = f'type="cylinder" size="{thing.radius} {high}"'
    return (
        f'<body name="thing {number}"><freejoint name="thing {number}"/>'
        f'<geom {form} mass="{WEIGHT}" rgba="{_rgba(colour)}"/></body>'
    )


def _drawn(form: str, size: str, x: float, y: float, z: float, colour: Sequence[int], name: str = "") -> str:
    named = f'name="{name}" ' if name else ""
    return (
        f'<geom {named}class="drawn" type="{form}" size="{size}" pos="{x} {y} {z}" rgba="{_rgba(colour)}"/>'
    )


def _marks(scene: Scene, things: Sequence[Thing], task: str) -> list[str]:
    """What is painted on the table: nothing runs into it."""
    found = []
    if task == "pack":
        x, y, across, along = scene.tray
        found.append(
            _drawn("box", f"{across + 0.03} {along + 0.03} 0.001", x, y, 0.001, mixed(RIM, 0.6, DARK))
        )
        found.append(_drawn("box", f"{across} {along} 0.001", x, y, 0.002, TRAY))
    for x, y, radius in scene.hazards:
        found.append(_drawn("cylinder", f"{radius} 0.001", x, y, 0.0015, mixed(BAD, 0.35)))
    for number, (x, y) in enumerate(scene.spots):
        if task == "clean":
            found.append(_drawn("cylinder", "0.05 0.001", x, y, 0.002, DIRT, f"dirt {number}"))
        elif task == "peg":
            found.append(_drawn("cylinder", "0.075 0.001", x, y, 0.001, RIM))
            found.append(_drawn("cylinder", "0.042 0.001", x, y, 0.002, DARK))
        else:
            edge = COLOURS[things[number].colour][0] if task == "sort" else QUIET
            found.append(_drawn("box", "0.085 0.085 0.001", x, y, 0.001, edge))
            found.append(_drawn("box", "0.073 0.073 0.001", x, y, 0.002, mixed(edge, 0.2)))
    return found


CLEAN = [*(part / 255 for part in mixed(GOOD, 0.3)), 1.0]
"""[4] what a spot looks like once it is wiped."""
