"""Plays the robots' demo through in a real browser, and makes its pictures: steer, see it obey, teach, see it alone.

Starts a studio of its own in a temporary folder. Who types is a script that sees the table as it is (the rule in
`trainers/envs/table_talk/rules.py`) and says what it would say, through the page, as a person would: with keys.
Writes docs/images/robot-1.png to robot-4.png and docs/images/robot.gif. Needs a Chromium.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, WebSocket, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from docs.png import shrink
from docs.screenshots import FLAGS, IMAGES, ROOT
from trainers.envs.table_talk import TableTalk, privileged_command
from trainers.envs.table_talk.world import Dials

EPISODES = 5
SEEDS = 40
"""The first seed: that of the first episode."""
WINDOW = (1280, 860)
GIF_WIDTH = 720
FRAME_SECONDS = 1.5
REACTION = (0.5, 1.5)
"""Seconds that a person takes to see that something is wrong. While they type the robot waits."""
A_KEY = 40
"""Milliseconds from one key to the next."""
ALONE = "[data-show=alone] button"
MOST_SECONDS = 120.0
"""The longest that an episode is watched."""


class Watched:
    """What the page's socket told it last: the table as the browser draws it."""

    def __init__(self, page: Page) -> None:
        self.scene: dict[str, Any] = {}
        self.state: list[float] = []
        self.seed, self.command, self.episode = 0, "", ""
        self.ended: dict[str, Any] | None = None
        self.endings: list[dict[str, Any]] = []
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        if "/ws/robots/" in socket.url:
            socket.on("framereceived", lambda frame: self._hear(json.loads(frame)))

    def _hear(self, said: dict[str, Any]) -> None:
        match said["type"]:
            case "hello":
                self.seed = said["session"]["seed"]
                self.scene, self.state = said["scene"] or {}, said["state"] or []
            case "scene":
                self.seed, self.scene, self.state = said["seed"], said["scene"], said["state"]
                self.ended = None
            case "state":
                self.state, self.command = said["state"], said["command"]
            case "episode_end":
                self.ended = said
                self.endings.append(said)

    def advice(self) -> str:
        """What somebody who sees this table would say now."""
        table = TableTalk()
        table.reset(self.seed, self.scene["task"], len(self.scene["things"]), Dials())
        scene, state = table.scene, np.array(self.state)
        scene.gripper, scene.closed, scene.held = state[:2], state[2] > 0.5, int(state[3])
        scene.positions = state[5 : 5 + 2 * len(table.things)].reshape(-1, 2)
        table._judge()
        return str(privileged_command(table))


class Film:
    """Pictures of the page, a little while apart."""

    def __init__(self, page: Page) -> None:
        self.page, self.frames, self.taken = page, [], 0.0

    def look(self, often: float = FRAME_SECONDS) -> None:
        if time.monotonic() - self.taken < often:
            return
        self.taken = time.monotonic()
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        height = round(picture.height * GIF_WIDTH / picture.width)
        self.frames.append(picture.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS))

    def still(self, number: int) -> None:
        self.page.screenshot(path=IMAGES / f"robot-{number}.png")

    def develop(self, path: Path) -> None:
        """The stills made small, which takes a while, and the film."""
        for still in sorted(IMAGES.glob("robot-?.png")):
            shrink(still)
        few = self.frames[:: max(1, len(self.frames) // 12)]
        sheet = Image.new("RGB", (few[0].width, few[0].height * len(few)))
        for number, frame in enumerate(few):
            sheet.paste(frame, (0, number * frame.height))
        palette = sheet.quantize(128, method=Image.Quantize.MAXCOVERAGE)  # a small block's colour counts, too
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=350, loop=0, optimize=True)
        print(path, f"{path.stat().st_size / 2**20:.1f} MiB, {len(frames)} frames", flush=True)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="kibitz-story-"))
    home.chmod(0o755)
    environment = {**os.environ, "KIBITZ_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("KIBITZ_PORT", "8789")
    studio = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        link = next(found[0] for line in studio.stdout if (found := re.search(r"http://\S+/enter/\S+", line)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]}, color_scheme="light")
            page.goto(link)
            play(page, link.split("/accounts/")[0])
            browser.close()
    finally:
        studio.send_signal(signal.SIGINT)
        studio.wait()
        shutil.rmtree(home, ignore_errors=True)


def play(page: Page, site: str) -> None:
    watched, film = Watched(page), Film(page)
    page.goto(f"{site}/studies/2/robots/")
    page.locator("[name=seed]").fill(str(SEEDS))
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("robot-page[data-status=running]").wait_for(timeout=60_000)
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:  # it grasps beside the block
        page.wait_for_timeout(100)
        film.look()
    film.still(1)
    for number in range(EPISODES):
        steer(page, watched, film if number == 0 else None, still=number == 0)
        print(f"episode {number + 1}: {watched.ended}", flush=True)
        if number + 1 < EPISODES:
            page.keyboard.press("Alt+n")
            while watched.ended:
                page.wait_for_timeout(100)
    teach(page, film)
    alone(page, watched, film)
    film.develop(IMAGES / "robot.gif")


def steer(page: Page, watched: Watched, film: Film | None, still: bool) -> None:
    """Says what helps most, a while after the robot does something else, until the episode is over."""
    box, chance = page.locator("#say"), np.random.default_rng(watched.seed)
    deadline, due = time.monotonic() + MOST_SECONDS, 0.0
    while watched.ended is None and time.monotonic() < deadline:
        advice = watched.advice() if watched.state else "wait"
        if advice in ("wait", watched.command):
            due = 0.0
        elif not due:
            due = time.monotonic() + chance.uniform(*REACTION)
        elif time.monotonic() >= due:
            box.press_sequentially(advice, delay=A_KEY)
            if still and advice.startswith("move"):
                page.locator("#meant").wait_for()
                film.still(2)
                still = False
            page.keyboard.press("Enter")
            due = 0.0
        page.wait_for_timeout(100)
        if film:
            film.look()


def teach(page: Page, film: Film) -> None:
    began = time.monotonic()
    page.locator("[data-do=teach]").click()
    taken = False
    while not page.locator(ALONE).is_visible():
        page.wait_for_timeout(300)
        film.look(1.5)
        if not taken and time.monotonic() - began > 8:
            film.still(3)
            taken = True
        if time.monotonic() - began > 300:
            raise SystemExit("The robot did not learn within five minutes; look at the studio's logs.")
    print(f"taught in {time.monotonic() - began:.0f} s", flush=True)


def alone(page: Page, watched: Watched, film: Film) -> None:
    """The same episodes, one after the other, with nobody to say anything."""
    watched.endings.clear()
    page.locator(ALONE).click()
    page.locator("robot-page[data-status=running]").wait_for(timeout=60_000)
    began, taken = time.monotonic(), False
    while len(watched.endings) < EPISODES and time.monotonic() - began < EPISODES * MOST_SECONDS:
        page.wait_for_timeout(200)
        if not watched.endings:
            film.look()
        if not taken and time.monotonic() - began > 12:
            film.still(4)
            taken = True
    for ended in watched.endings:
        print(f"alone: {ended['score']:.2f} in {ended['steps']} steps", flush=True)


if __name__ == "__main__":
    main()
