"""What somebody who sees the table as it is would say next, and do: the rules that play people in tests.

They read true positions, which no camera and no policy does. Whatever they say or do is named as theirs wherever it is
kept.
"""

from __future__ import annotations

import numpy as np

from trainers.envs.table_talk.table import TableTalk
from trainers.envs.table_talk.world import DIRECTIONS, LONGEST, SIGHT, TOLERANCE, Command, Floats, Job

STILL = np.zeros(3)
GENTLE = 0.12
"""How much of the longest step "a bit" is: held for a second, it goes 0.07, about as far as a grasp reaches."""
BEHIND = 0.14
"""How far behind a thing the fingers go before they push it."""


def privileged_command(table: TableTalk) -> Command:
    """The command that helps most now; "wait" when all is done.

    Fine moves are for a gripper that is near the thing and did not get hold of it. From farther away the thing is
    named.
    """
    scene = table.scene
    job = next((job for job in scene.jobs if not job.done), None)
    if job is None:
        return Command("wait")
    thing = table.things[job.thing].name
    if job.by == "push":
        return Command("push", thing, place=job.words)
    if scene.held == job.thing:
        return Command("wipe") if job.by == "wipe" else Command("put", thing, place=job.words)
    if scene.closed:
        return Command("open")
    offset = scene.positions[job.thing] - scene.gripper
    distance = float(np.hypot(*offset))
    if distance <= TOLERANCE * 0.9:
        return Command("close")
    return Command("move", direction=toward(offset)) if distance <= SIGHT else Command("pick", thing)


def privileged_motion(table: TableTalk, command: Command | None = None) -> Floats:
    """[3] the action that carries out a command, or without one goes on with the task, by true positions.

    A command about a thing that is not there moves nothing: nobody guesses which one was meant.
    """
    if command is None:
        job = next((job for job in table.scene.jobs if not job.done), None)
        command = _goal(table, job) if job else Command("wait")
    scene = table.scene
    thing = table.find(command.thing) if command.thing else -1
    match command.verb:
        case "open":
            return np.array([0.0, 0.0, -1.0])
        case "close":
            return np.array([0.0, 0.0, 1.0])
        case "move":
            return np.array([*np.multiply(DIRECTIONS[command.direction], GENTLE), 0.0])
        case "pick" if thing >= 0:
            return _grasp(table, thing)
        case "put" if thing >= 0 and scene.held == thing:
            return _place(table, thing)
        case "push" if thing >= 0:
            return _shove(table, thing)
        case "wipe":
            left = scene.spots[~scene.wiped]
            if scene.held >= 0 and len(left):
                nearest = left[np.hypot(*(left - scene.gripper).T).argmin()]
                return np.array([*_step(nearest - scene.gripper), 1.0])
    return STILL.copy()


def toward(offset: Floats) -> str:
    """The direction whose axis is the longer one of an offset [2]."""
    if abs(offset[0]) >= abs(offset[1]):
        return "right" if offset[0] > 0 else "left"
    return "up" if offset[1] > 0 else "down"


def _goal(table: TableTalk, job: Job) -> Command:
    """The command for a whole stage, without the fine moves."""
    thing = table.things[job.thing].name
    if job.by == "push":
        return Command("push", thing)
    if table.scene.held != job.thing:
        return Command("pick", thing)
    return Command("wipe") if job.by == "wipe" else Command("put", thing)


def _step(offset: Floats) -> Floats:
    """[2] of an action that goes along an offset, in a straight line, as far as a step can."""
    wanted = offset / LONGEST
    return wanted / max(1.0, float(np.abs(wanted).max()))


def _grasp(table: TableTalk, thing: int) -> Floats:
    scene = table.scene
    if scene.held == thing:
        return np.array([0.0, 0.0, 1.0])
    offset = scene.positions[thing] - scene.gripper
    if scene.closed:  # on something else, or on nothing
        return np.array([0.0, 0.0, -1.0])
    there = float(np.hypot(*offset)) <= TOLERANCE / 2
    return np.array([*_step(offset), 1.0 if there else -1.0])


def _place(table: TableTalk, thing: int) -> Floats:
    scene = table.scene
    job = next((job for job in scene.jobs if job.thing == thing and not job.done), None)
    if job is None:
        return STILL.copy()
    offset = job.spot - scene.gripper
    there = bool((np.abs(offset) <= np.array(job.reach) / 2).all())
    return np.array([*_step(offset), -1.0 if there else 1.0])


def _shove(table: TableTalk, thing: int) -> Floats:
    """Goes round to the far side of the thing with closed fingers, and then through it towards the spot."""
    scene = table.scene
    job = next((job for job in scene.jobs if job.thing == thing and not job.done), None)
    if job is None:
        return STILL.copy()
    at = scene.positions[thing]
    way = (job.spot - at) / max(float(np.hypot(*(job.spot - at))), 1e-9)
    offset = at - scene.gripper
    if scene.held >= 0 or (not scene.closed and float(np.hypot(*offset)) <= TOLERANCE):
        return np.array([*_step(-way), -1.0])  # closing here would take hold of it
    behind = float(offset @ way)
    side = offset - behind * way
    aside = float(np.hypot(*side))
    if 0 < behind <= BEHIND and aside <= table.things[thing].radius / 4:
        return np.array([*_step(way), 1.0])
    if behind < BEHIND / 2 and aside < BEHIND:
        # Beside it or in front of it: away first, then round, not over it.
        outward = -side / aside if aside > 1e-9 else np.array([-way[1], way[0]])
        return np.array([*_step(outward), 1.0])
    goal = at - way * BEHIND * 0.9
    if behind < BEHIND / 2:
        goal = goal - side / aside * BEHIND  # clear of it until behind it
    return np.array([*_step(goal - scene.gripper), 1.0])
