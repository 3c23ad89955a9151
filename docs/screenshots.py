"""Takes the pictures of the documentation: the label, study and run pages of a real studio, light and dark.

Starts a studio of its own in a temporary folder, lets simulated annotators label, lets the loop train once round,
and photographs what a person would see. Needs a Chromium. `make screenshots`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
LABELS = 110
WAIT_SECONDS = 600


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="kibitz-pictures-"))
    home.chmod(0o755)
    environment = {**os.environ, "KIBITZ_HOME": str(home), "KIBITZ_PORT": "8788", "PYTHONUNBUFFERED": "1"}
    studio = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        link = next(found[0] for line in studio.stdout if (found := re.search(r"http://\S+/enter/\S+", line)))
        simulate = [sys.executable, "manage.py", "simulate", "--study", "1", "--labels", str(LABELS)]
        subprocess.run(simulate, cwd=ROOT, env=environment, check=True)
        photograph(link)
    finally:
        studio.send_signal(signal.SIGINT)
        studio.wait()
        shutil.rmtree(home, ignore_errors=True)


def photograph(link: str) -> None:
    site = link.split("/accounts/")[0]
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, device_scale_factor=1)
        page.goto(link)
        run = wait_for_policy(page, site)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for name, address in (
                ("label", "/studies/1/label/?kind=pairwise"),
                ("study", "/studies/1/"),
                ("run", run),
            ):
                page.goto(site + address)
                page.wait_for_load_state("networkidle") if name != "run" else page.wait_for_timeout(4000)
                page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
                print(IMAGES / f"{name}-{scheme}.png")
        browser.close()


def wait_for_policy(page: Page, site: str) -> str:
    """The page of the policy's run, once it has learned for a while."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for run in page.request.get(f"{site}/api/runs").json():
            if run["method"] == "online/rloo" and run["status"] == "finished":
                return f"/runs/{run['id']}/"
        time.sleep(2)
    raise SystemExit(f"No policy was trained within {WAIT_SECONDS} s; look at the studio's logs.")


if __name__ == "__main__":
    main()
