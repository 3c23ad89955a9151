"""Does what a spec says: in this process, or in several that are started here and end together.

The processes find each other by torch's elastic agent, which is what `torchrun` starts: on one machine by
themselves, on several through the host and port that the spec names. When one dies all are ended, with the code
LOST: whoever started the run starts it again, and it goes on from its newest checkpoint.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from trainers.processes import LOST
from trainers.run import Spec, die_with

LAUNCHER = "KIBITZ_LAUNCHER"
"""The environment's name for the process that started the run's processes: they end with it."""
LOOK_SECONDS = 0.05
MEETING_SECONDS = 900
"""How long the machines of a run wait for each other."""


def follow(path: Path) -> int:
    """Runs what `spec.json` says, and returns the exit code: of `api.execute`, or LOST."""
    spec = Spec.read(path)
    inside = "RANK" in os.environ
    if not inside and spec.processes * spec.nodes > 1:
        die_with(spec.parent)
        return _start(path.resolve(), spec)
    if inside and LAUNCHER in os.environ:
        # The pipe to the supervisor is the launcher's, who watches the journal for all.
        spec = replace(spec, parent=int(os.environ[LAUNCHER]), nudge_fd=None)
    die_with(spec.parent)
    from trainers import api

    code = api.execute(spec)
    return _leave(code) if inside else code


def _leave(code: int) -> NoReturn:
    """Ends a process of a group that has done its work, at once.

    On the interpreter's own way out a thread of the group's may still be under way; then the process aborts, and a run
    that was finished would count as killed.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start(path: Path, spec: Spec) -> int:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    alone = spec.nodes == 1
    if not alone and not spec.rendezvous:
        raise ValueError(
            f"This run wants {spec.nodes} machines but does not say where they meet. Set its rendezvous to HOST:PORT "
            "of one of them."
        )
    config = LaunchConfig(
        min_nodes=spec.nodes,
        max_nodes=spec.nodes,
        nproc_per_node=spec.processes,
        run_id=str(uuid.uuid4()) if alone else f"kibitz-{spec.run}",
        rdzv_backend="c10d",
        rdzv_endpoint=spec.rendezvous or "localhost:0",
        rdzv_configs={"timeout": MEETING_SECONDS},
        local_addr="127.0.0.1" if alone else None,
        max_restarts=0,  # a supervisor starts it again, in new processes
        monitor_interval=0.1,
    )
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(spec.threads))
    if spec.nudge_fd is not None:
        threading.Thread(target=_nudge, args=(spec.home / "journal.bin", spec.nudge_fd), daemon=True).start()
    try:
        elastic_launch(config, sys.executable)("-m", "trainers", "run", str(path))
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        print(
            f"ended: {', '.join(f'rank {rank} with code {code}' for rank, code in codes.items())}", flush=True
        )
        return outcome(codes)
    return 0


def outcome(codes: Mapping[int, int]) -> int:
    """How a group ended, from how its first members did: killed or left alone, stopped, or failed.

    Whoever is still there when a member has ended is sent a SIGTERM by the launcher: beside a code that a member chose
    itself, it tells nothing.
    """
    found = set(codes.values()) - {LOST}
    chosen = {code for code in found if code > 0}
    if not chosen or found - chosen - {-signal.SIGTERM}:
        return LOST
    return max(chosen)


def _nudge(path: Path, fd: int) -> None:
    """A byte for the supervisor whenever the journal has grown."""
    os.set_blocking(fd, False)
    known = 0
    stopped = threading.Event()
    while not stopped.wait(LOOK_SECONDS):
        with suppress(OSError):
            size = path.stat().st_size
            if size != known:
                known = size
                os.write(fd, b"\n")
