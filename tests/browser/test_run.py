"""The run page in a real browser: what a person sees is what the run logged, each row once, live."""

from __future__ import annotations

import re

import numpy as np
import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.annotation.studies import person
from tests.webapp.runs import held_run, study_of
from trainers.journal import Chunk
from webapp.runs.models import Command, Run, Worker
from webapp.runs.progress import Carrier

NAMES = ("loss", "rewards/margins")


class Source:
    """A run under way that logs when the test says so: row n holds n in its first column, n + 0.5 in its second."""

    def __init__(self, study) -> None:
        self.run = held_run(study)
        self.carrier = Carrier(self.run, 1)

    def log(self, rows: int, **changed: float) -> int:
        first = self.carrier.last_seq + 1
        seq = np.arange(first, first + rows, dtype=float)
        columns = np.stack([seq, seq + 0.5])
        for row, value in changed.items():
            columns[0, int(row.removeprefix("row_")) - first] = value
        self.carrier.carry([Chunk(first, first + rows - 1, NAMES, seq, 1.7e9 + seq, columns)])
        return self.carrier.last_seq

    def say(self, **entry) -> None:
        self.carrier.carry([entry])


class Network:
    """The page's way to its socket, which a test may cut and mend."""

    def __init__(self, page: Page) -> None:
        self.up = True
        self.open: list[WebSocketRoute] = []
        page.route_web_socket(re.compile(r"/ws/$"), self.connect)

    def connect(self, socket: WebSocketRoute) -> None:
        if not self.up:
            socket.close()
            return
        socket.connect_to_server()
        self.open.append(socket)

    def cut(self) -> None:
        self.up = False
        while self.open:
            self.open.pop().close()

    def mend(self) -> None:
        self.up = True


@pytest.fixture
def ada(transactional_db):
    return person("ada")


@pytest.fixture
def source(ada, sign_in) -> Source:
    sign_in(ada)
    return Source(study_of(owner=ada))


def visit(page: Page, run: Run) -> None:
    """Without waiting for Plotly, which is large: the page does not wait for it either."""
    page.goto(f"/runs/{run.pk}/", wait_until="domcontentloaded")


def held(page: Page) -> dict[str, list[float]]:
    """Every point in the page's arrays, by series."""
    return page.evaluate(
        """() => {
            const page = document.querySelector("run-page");
            const values = (id) => {
                const { value, size } = page.history.points.get(id);
                return [...value.subarray(0, size)];
            };
            return Object.fromEntries([...page.series.values()].map(({ id, name }) => [name, values(id)]));
        }"""
    )


def drawn_range(page: Page, chart: str) -> list[float]:
    return page.evaluate("(id) => document.querySelector(`#${id} .canvas`)._fullLayout.xaxis.range", chart)


def complete(page: Page, seq: int) -> None:
    """Waits until the socket has brought the rows through `seq`, and the page says so."""
    page.wait_for_function("(seq) => document.querySelector('run-page').history?.last === seq", arg=seq)
    expect(page.locator("[data-show=stream]")).to_contain_text(f"complete through #{seq:,}")


def drag_across(page: Page, chart: str, start: float, end: float) -> None:
    """Zooms by hand: presses at one share of the plot's width, lets go at another."""
    box = page.locator(f"#{chart} .nsewdrag").first.bounding_box()
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], height)
    page.mouse.down()
    page.mouse.move(box["x"] + (start + end) / 2 * box["width"], height, steps=4)
    page.mouse.move(box["x"] + end * box["width"], height, steps=4)
    page.mouse.up()


def test_a_run_is_watched_live_through_a_cut_and_every_point_is_there_once_and_the_zoom_is_kept(page, source):
    network = Network(page)
    source.log(300)
    visit(page, source.run)
    complete(page, 300)
    source.log(50)
    complete(page, 350)
    expect(page.locator("#chart-loss .main-svg").first).to_be_visible(timeout=30_000)
    expect(page.locator("#chart-loss .legend .value")).to_have_text("350")

    drag_across(page, "chart-loss", 0.25, 0.5)
    expect(page.locator("[data-reset]")).to_be_visible()
    zoom = page.evaluate("document.querySelector('run-page').board.range")
    assert 60 < zoom[0] < 110 and 150 < zoom[1] < 200

    network.cut()
    source.log(200)
    expect(page.locator("[data-show=stream]")).to_contain_text("not connected · shown through #350")
    network.mend()
    complete(page, source.log(7))

    rows = range(1, 558)
    assert held(page) == {"loss": [float(n) for n in rows], "rewards/margins": [n + 0.5 for n in rows]}
    assert page.evaluate("document.querySelector('run-page').board.range") == zoom
    expect(page.locator("#chart-loss .legend .value")).to_have_text("557")
    for chart in ("chart-loss", "chart-rewards-margins"):
        assert drawn_range(page, chart) == pytest.approx(zoom)

    page.locator("[data-reset]").click()
    page.wait_for_function(
        "() => document.querySelector('#chart-loss .canvas')._fullLayout.xaxis.range[1] >= 557"
    )
    page.reload(wait_until="domcontentloaded")
    complete(page, 557)
    assert len(held(page)["loss"]) == 557


def test_what_is_no_number_is_marked_and_said_and_events_stand_on_every_chart(page, source):
    source.log(60, row_40=float("nan"), row_50=float("inf"))
    source.say(type="event", key="alarm-1", step=45, kind="alarm", text="KL has doubled", data={})
    visit(page, source.run)
    expect(page.locator("#chart-loss .note")).to_have_text("not a number at 2 places", timeout=30_000)
    traces = page.evaluate(
        "document.querySelector('#chart-loss .canvas').data.filter(({ name }) => name === 'not a number')"
        ".map(({ x, marker }) => [x, marker.symbol])"
    )
    assert traces == [[[40, 50], ["x", "triangle-up"]]]
    for chart in ("chart-loss", "chart-rewards-margins"):
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible()
        marks = page.evaluate("(id) => document.querySelector(`#${id} .canvas`).layout.shapes", chart)
        assert [mark["x0"] for mark in marks] == [45]
    page.get_by_role("tab", name="Events").click()
    expect(page.locator("#panel-events")).to_contain_text("KL has doubled")

    page.locator("#chart-loss .menu summary").click()
    page.locator("#chart-loss").get_by_role("button", name="Show as a table").click()
    cells = page.locator("#chart-loss tbody tr").nth(10).locator("td")
    assert [cells.nth(0).inner_text(), cells.nth(2).inner_text()] == ["50", "+Inf"]


def test_the_page_says_that_no_worker_is_alive_until_one_is(page, ada, sign_in):
    run = Run.objects.create(study=study_of(owner=ada), method="direct/dpo", created_by=ada)
    sign_in(ada)
    visit(page, run)
    notice = page.locator(".no-worker")
    expect(notice).to_contain_text("No worker is alive")
    expect(notice).to_contain_text(
        "celery -A webapp.celery worker --pool threads --concurrency 2 --queues cpu"
    )
    Worker.objects.create(name="train@lab", host="lab", machine="lab", pid=1, queues=["cpu"], slots=2)
    expect(notice).to_be_hidden()
    expect(page.locator("[data-show=waiting]")).to_contain_text("Queued, and next: one worker is alive.")
    Worker.objects.update(heartbeat_at=Now())


def test_a_run_is_paused_and_read_without_losing_the_page(page, source):
    source.log(20)
    for step, text in ((1, "The pool is closed."), (20, "The pool is open.")):
        row = {
            "index": 0,
            "prompt": "Is the pool open?",
            "text": text,
            "scores": {"gold": step / 10},
            "length": 4,
        }
        source.say(type="samples", step=step, rows=[row])
    visit(page, source.run)
    complete(page, 20)
    expect(page.locator("#panel-samples del")).to_have_text("closed")
    expect(page.locator("#panel-samples ins")).to_have_text("open")
    page.evaluate("window.stayed = true")

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    assert list(Command.objects.values_list("kind", flat=True)) == ["pause"]
    source.say(type="state", state="paused")
    expect(page.locator("[data-show=status]")).to_have_text("paused")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()

    row = {"index": 0, "prompt": "Is the pool open?", "text": "Yes, until nine.", "scores": {}, "length": 4}
    source.say(type="samples", step=21, rows=[row])
    expect(page.locator("#panel-samples .now")).to_have_text("Yes, until nine.")
    assert page.evaluate("window.stayed")


def test_without_script_the_page_has_its_numbers_and_its_buttons(browser, site, context, source):
    source.log(12)
    plain = browser.new_context(
        base_url=site.url, java_script_enabled=False, storage_state=context.storage_state()
    )
    page = plain.new_page()
    visit(page, source.run)
    expect(page.locator("noscript table")).to_contain_text("rewards/margins")
    expect(page.locator("#panel-config")).to_be_visible()
    expect(page.locator("#panel-lineage")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-show=status]")).to_have_text("stopping")
    assert Command.objects.get().kind == "stop"
    plain.close()


class Online:
    """A run that learns from its own samples: at step n a KL of n / 10, a score of n, a gold score that turns at 40."""

    def __init__(self, study) -> None:
        self.run = held_run(study)
        self.run.method = "online/rloo"
        self.run.save(update_fields=["method"])
        self.carrier = Carrier(self.run, 1)

    def log(self, rows: int) -> int:
        first = self.carrier.last_seq + 1
        step = np.arange(first, first + rows, dtype=float)
        columns = np.stack([step / 10, step, np.minimum(step, 80 - step)])
        names = ("objective/kl", "objective/scores", "objective/gold")
        self.carrier.carry([Chunk(first, first + rows - 1, names, step, 1.7e9 + step, columns)])
        return self.carrier.last_seq


def test_reward_is_plotted_against_kl_and_its_root_as_points_arrive(page, ada, sign_in):
    sign_in(ada)
    source = Online(study_of(owner=ada))
    source.log(30)
    visit(page, source.run)
    complete(page, 30)
    frontier = page.locator("#chart-frontier")
    expect(frontier.locator(".main-svg").first).to_be_visible(timeout=30_000)
    dots = "(n) => document.querySelector('#chart-frontier .canvas').data[n]"
    score = page.evaluate(dots, 0)
    assert score["x"] == pytest.approx([(n / 10) ** 0.5 for n in range(1, 31)])
    assert score["y"] == list(range(1, 31))

    complete(page, source.log(40))
    page.wait_for_function("() => document.querySelector('#chart-frontier .canvas').data[0].x.length === 70")
    frontier.get_by_role("button", name="KL", exact=True).click()
    page.wait_for_function(
        "() => document.querySelector('#chart-frontier .canvas').layout.xaxis.title.text.startsWith('KL')"
    )
    gold = page.evaluate(dots, 2)
    assert gold["x"] == pytest.approx([n / 10 for n in range(1, 71)])
    assert gold["y"][39] == 40 and gold["y"][-1] == 10
    expect(frontier.locator(".plot")).to_have_attribute("aria-label", re.compile("gold score from 1 to 10"))

    frontier.locator(".menu summary").click()
    frontier.get_by_role("button", name="Show as a table").click()
    cells = frontier.locator("tbody tr").first.locator("td")
    assert [cells.nth(n).inner_text() for n in range(5)] == ["70", "7", "2.646", "70", "10"]


def test_a_reports_curves_are_drawn_and_their_numbers_are_a_table(page, source):
    line = {
        "x": [20, 40, 80],
        "y": [0.55, 0.6, 0.65],
        "x_label": "Labels learned from",
        "y_label": "Accuracy",
    }
    curves = {
        "learning": {**line, "label": "Measured", "low": [0.5, 0.55, 0.6], "high": [0.6, 0.65, 0.7]},
        "learning_fit": {**line, "label": "Law"},
    }
    source.say(type="report", report={"readings": {}, "curves": curves, "text": "More labels help."})
    source.log(3)
    visit(page, source.run)
    chart = page.locator("report-chart")
    expect(chart.locator(".main-svg").first).to_be_visible(timeout=30_000)
    drawn = page.evaluate(
        "document.querySelector('report-chart .canvas').data.map((one) => [one.name, one.mode, one.x])"
    )
    assert drawn == [["Measured", "lines+markers", [20, 40, 80]], ["Law", "lines", [20, 40, 80]]]
    expect(chart).to_have_attribute("aria-label", re.compile("Measured: 0.55 at 20, 0.65 at 80"))
    page.locator(".report-figure summary").click()
    expect(page.locator(".report-figure tbody tr").nth(2)).to_contain_text("0.6 to 0.7")
