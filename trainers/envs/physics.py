"""MuJoCo: a moment of its physics kept to the last bit, and pictures that are quick without a graphics card.

Two settings of a model make drawing by software slow: shadows (a map of 4096 a side) and smoothing by four samples a
pixel. Both are looked at when a model is first drawn, so `prepare` comes before that. The picture is drawn at twice its
size, without shadows and mirrors, and shrunk instead.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainers.envs.worlds import Picture, WorldError

LOG = logging.getLogger(__name__)
LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
"""What MUJOCO_GL may say for drawing without a screen, and the library that it needs."""
LARGEST = 1024
"""Pixels a side of the largest picture."""
_MIRRORS = 2
"""mjRND_REFLECTION; a floor that mirrors is drawn twice."""
LEFT_OVER = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "geom_xquat", "site_xpos",
    "site_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir", "subtree_com", "cvel", "cacc",
    "cfrc_int", "cfrc_ext", "sensordata", "actuator_force", "actuator_length", "actuator_velocity",
    "ten_length", "qacc", "qfrc_actuator", "qfrc_constraint",
)  # fmt: skip
"""What a step leaves behind and environments read: computed from where the bodies were within the step, not where they
are after it, so that computing it again would give something else."""


def choose_gl() -> str:
    """What MuJoCo draws with; chosen by the libraries there are, where nobody chose. Comes before `import mujoco`."""
    if "MUJOCO_GL" not in os.environ and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        found = (name for name, library in LIBRARIES.items() if _loads(library))
        os.environ["MUJOCO_GL"] = next(found, "disable")
    return os.environ.get("MUJOCO_GL", "")


def log_warnings() -> None:
    """MuJoCo's warnings go to the log, and not to a file of its own in whatever folder Python was started in."""
    import mujoco

    mujoco.set_mju_user_warning(lambda text: LOG.info("MuJoCo: %s", text))


def unsteady(data: Any) -> str:
    """What went wrong in the physics since the reset; empty where nothing did. MuJoCo itself only starts anew."""
    import mujoco

    kinds = ("BADQPOS", "BADQVEL", "BADQACC")
    numbers = [int(getattr(mujoco.mjtWarning, f"mjWARN_{kind}")) for kind in kinds]
    found = [kind for kind, number in zip(kinds, numbers, strict=True) if data.warning[number].number]
    return f"the physics broke down ({', '.join(found)})" if found else ""


def prepare(model: Any) -> None:
    """Makes a model quick to draw; before its first picture."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = 2 * LARGEST


def kept_physics(model: Any, data: Any) -> dict[str, NDArray[Any]]:
    """Everything that the next step depends on, and what the last one left behind."""
    import mujoco

    whole = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    state = np.zeros(mujoco.mj_stateSize(model, whole))
    mujoco.mj_getState(model, data, state, whole)
    kept = {name: np.array(getattr(data, name)) for name in LEFT_OVER if hasattr(data, name)}
    return {**kept, "state": state}


def restore_physics(model: Any, data: Any, kept: Mapping[str, NDArray[Any]]) -> None:
    """Back in the moment. ValueError where it is one of another model."""
    import mujoco

    whole = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    expected = mujoco.mj_stateSize(model, whole)
    if len(kept["state"]) != expected:
        raise ValueError(
            f"Found a state of {len(kept['state'])} numbers. Expected {expected}, of this model's kind."
        )
    mujoco.mj_setState(model, data, kept["state"], whole)
    mujoco.mj_forward(model, data)  # contacts and constraints, as they are now
    for name, values in kept.items():
        if name != "state":
            getattr(data, name)[...] = values


class Eye:
    """Draws one model from one camera."""

    def __init__(self, model: Any, camera: Any = -1) -> None:
        """`camera`: a number or name of the model's own, or an MjvCamera."""
        self.model, self.camera = model, camera
        self._size = 0
        self._renderer: Any = None

    def picture(self, data: Any, size: int) -> Picture:
        """[size, size, 3]. WorldError where nothing can be drawn on this machine, with what to do."""
        if not 16 <= size <= LARGEST:
            raise ValueError(f"Found a picture of {size} pixels. Expected 16 to {LARGEST} of them a side.")
        if size != self._size:
            self.close()
            self._renderer, self._size = _renderer(self.model, 2 * size), size
        self._renderer.update_scene(data, self.camera)
        self._renderer.scene.flags[_MIRRORS] = 0
        return np.asarray(Image.fromarray(self._renderer.render()).reduce(2))

    def close(self) -> None:
        """Gives back the graphics context."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer, self._size = None, 0


def _renderer(model: Any, pixels: int) -> Any:
    import mujoco

    chosen = choose_gl()
    if chosen.lower() in ("disable", "disabled", "off", "false", "0"):
        raise WorldError(_no_gl(f"MUJOCO_GL is '{chosen}'"))
    try:
        return mujoco.Renderer(model, pixels, pixels)
    except Exception as error:  # each library fails in a way of its own
        raise WorldError(_no_gl(f"{type(error).__name__}: {error}".strip(": "))) from error


def _no_gl(why: str) -> str:
    return (
        f"MuJoCo found no way to draw pictures here ({why}). Everything but pictures works. On Debian or Ubuntu "
        "install libegl1 and libgl1-mesa-dri and set MUJOCO_GL=egl, or libosmesa6 and MUJOCO_GL=osmesa, before Python "
        "starts. docs/worlds.md says more."
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
