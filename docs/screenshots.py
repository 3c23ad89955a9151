"""Takes the pictures of the documentation: the pages of a real studio, light and dark.

Starts a studio of its own in a temporary folder, lets simulated annotators label, and photographs what a person would
see: every way to ask, the pages of reviewers, and, once the loop has trained one round, a run. Needs a Chromium.
`make screenshots` takes all of them, `docs/screenshots.py quality label-steps` only these.
"""

from __future__ import annotations

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

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from docs.png import shrink

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
LABELS = 110
WAIT_SECONDS = 600
WIDE, NARROW = (1440, 900), (390, 844)
PICTURES = {  # name: the address, with the numbers that docs/showcase.py prints; and the window
    "label": ("/studies/1/label/?kind=pairwise", WIDE),
    "study": ("/studies/1/", WIDE),
    "run": ("", WIDE),
    **{
        f"label-{kind}": (f"/studies/{{{kind}}}/label/", WIDE)
        for kind in ("ranking", "rating", "edit", "critique", "steps", "demonstration", "conversation")
    },
    "label-narrow": ("/studies/{pairwise}/label/", NARROW),
    "quality": ("/studies/{study}/quality/", WIDE),
    "review": ("/studies/{study}/review/", WIDE),
    "review-task": ("/tasks/{task}/review/", WIDE),
    "item": ("/items/{item}/", WIDE),
    "rules": ("/studies/{study}/rules/", WIDE),
    "data": ("/studies/{study}/data/", WIDE),
}


def main(wanted: list[str]) -> None:
    if unknown := set(wanted) - set(PICTURES):
        raise SystemExit(f"No picture called {', '.join(unknown)}. There are: {', '.join(PICTURES)}.")
    home = Path(tempfile.mkdtemp(prefix="kibitz-pictures-"))
    home.chmod(0o755)
    environment = {**os.environ, "KIBITZ_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("KIBITZ_PORT", "8788")
    studio = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )

    def manage(*command: str) -> str:
        ran = [sys.executable, "manage.py", *command]
        return subprocess.run(
            ran, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    try:
        link = next(found[0] for line in studio.stdout if (found := re.search(r"http://\S+/enter/\S+", line)))
        manage("simulate", "--study", "1", "--labels", str(LABELS))
        told = manage("shell", "-c", "from docs.showcase import build; build()")
        numbers = json.loads(re.search(r"^showcase (.*)$", told, re.M)[1])
        photograph(link, wanted or list(PICTURES), numbers)
    finally:
        studio.send_signal(signal.SIGINT)
        studio.wait()
        shutil.rmtree(home, ignore_errors=True)


def photograph(link: str, wanted: list[str], numbers: dict[str, int]) -> None:
    site = link.split("/accounts/")[0]
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(device_scale_factor=1)
        page.goto(link)
        run = wait_for_policy(page, site) if "run" in wanted else ""
        for name in wanted:
            address, (width, height) = PICTURES[name]
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.goto(site + (address.format(**numbers) or run))
                page.wait_for_timeout(4000 if name == "run" else 800)
                picture = IMAGES / f"{name}-{scheme}.png"
                page.screenshot(path=picture)
                shrink(picture)
                print(picture)
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
    main(sys.argv[1:])
