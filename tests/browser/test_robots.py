"""A robot in a real browser: told by words and keys, watched by two, driven; by the real socket, with a real child."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.annotation.studies import person
from tests.browser.test_axe import faults
from tests.browser.test_fits import out_of_reach
from tests.webapp.robots import Flight, session_of, study_of, valkey, wait_for
from trainers.episodes import Episodes
from webapp.robots import keeping
from webapp.robots.models import Drive, Said, Session

LEFT = "move a bit to the left"
MARKUP = "<img src=x onerror=alert(1)> left"
STATE = "document.querySelector('robot-world[data-world=now]').state"

# A browser shows a gamepad once a button of it was pressed, and tells of it by an event.
GAMEPAD = """
    const buttons = Array.from({ length: 17 }, () => ({ pressed: false, touched: false, value: 0 }));
    globalThis.pad = {
        id: "Stand-in (Vendor: 0000)", index: 1, connected: true, mapping: "standard", axes: [0, 0, 0, 0], buttons,
    };
    let plugged = false;
    navigator.getGamepads = () => [null, plugged ? pad : null, null, null];
    globalThis.plug = (there) => {
        plugged = pad.connected = there;
        window.dispatchEvent(new Event(there ? "gamepadconnected" : "gamepaddisconnected"));
    };
"""

# A recognition ends some time after it was asked to, and its results are lists that grow.
SPEECH = """
    globalThis.SpeechRecognition = globalThis.webkitSpeechRecognition = class extends EventTarget {
        start() {
            globalThis.ear = this;
        }
        hear(...heard) {
            this.onresult({ resultIndex: 0, results: heard.map((transcript) => [{ transcript, confidence: 0.9 }]) });
        }
        fail(error) {
            this.onerror({ error });
            setTimeout(() => this.onend(), 20);
        }
        stop() {
            setTimeout(() => this.onend(), 20);
        }
    };
"""


@pytest.fixture
def line(transactional_db) -> Iterator[str]:
    with valkey() as address:
        yield address


@pytest.fixture
def robot(line, site, page, sign_in) -> Iterator[Callable[..., SimpleNamespace]]:
    """A session that ada steers, its page open and the robot at work: `robot(speed=4)`."""
    flights: list[Flight] = []

    def start(**given) -> SimpleNamespace:
        ada = person("ada")
        session = session_of(study_of(ada, members=("bob",)), ada, **given)
        sign_in(ada)
        flights.append(Flight(session))
        page.goto(f"/robots/{session.pk}/")
        expect(page.locator("robot-page")).to_have_attribute("data-status", "running", timeout=20_000)
        return SimpleNamespace(ada=ada, session=session, flight=flights[-1])

    yield start
    for flight in flights:
        flight.end()
        assert flight.problem is None


class Network:
    """The page's way to its socket, which a test may cut and mend."""

    def __init__(self, page: Page) -> None:
        self.up = True
        self.open: list[WebSocketRoute] = []
        page.route_web_socket(re.compile(r"/ws/robots/"), self.connect)

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


def status(page: Page, word: str) -> None:
    expect(page.locator("robot-page")).to_have_attribute("data-status", word, timeout=20_000)


def sent(page: Page):
    return page.locator("[data-show=sent]")


def log(page: Page):
    return page.locator("[data-show=log] li")


def steps(page: Page) -> int:
    return page.evaluate("document.querySelector('robot-page').step")


def said(session: Session) -> list[tuple[str, str]]:
    return list(Said.objects.filter(session=session).order_by("pk").values_list("text", "command"))


def test_a_robot_is_steered_by_text_and_keys_through_a_whole_episode(page, robot):
    here = robot(speed=2, hold=4)
    box = page.locator("#say")
    expect(box).to_be_focused()
    page.keyboard.type("go left a bit")
    expect(page.locator("#meant")).to_have_value(LEFT)
    assert said(here.session) == []  # what was understood is shown; nothing is sent before Enter
    page.keyboard.press("Enter")
    expect(box).to_have_value("")
    expect(log(page).first).to_contain_text(f"{LEFT} “go left a bit”")
    expect(log(page).first).to_have_attribute("data-status", "over")
    expect(page.locator("robot-timeline .segment.person").first).to_have_text(LEFT)
    expect(sent(page)).to_contain_text(re.compile(r"running \d+/s · key to action \d+ ms · all sent"))

    page.keyboard.down("ArrowUp")
    expect(page.locator("[data-motion=up]")).to_have_class(re.compile("held"))
    expect(log(page).first).to_have_attribute("data-status", "in_force")
    page.keyboard.up("ArrowUp")
    expect(log(page).first).to_have_attribute("data-status", "over")
    held = Said.objects.get(session=here.session, key="up")
    assert held.stop > held.start and held.outcome == "handed back"

    page.keyboard.press("Space")
    status(page, "paused")
    assert page.locator("[data-show=why]").inner_text() == "Paused by ada."
    page.keyboard.press("Space")
    status(page, "running")
    page.keyboard.press("Alt+1")  # its own likeliest command, by one key
    expect(log(page)).to_have_count(3)
    page.keyboard.press("Escape")
    status(page, "waiting")
    expect(page.locator("[data-show=ended-words]")).to_contain_text("100 % of the task was done")
    page.keyboard.press("Alt+s")
    expect(page.locator("[data-do=mark-yes]")).to_have_attribute("aria-pressed", "true")
    wait_for(lambda: here.session.takes.filter(marked=True).exists())
    keeping.sweep()  # as a worker does every two seconds
    take = here.session.takes.get()
    assert take.success and take.kept_at and take.problem == ""
    expect(page.locator("[data-show=kept]")).to_have_text("1 label is stored.")
    assert [text for text, _ in said(here.session)][:2] == ["go left a bit", "up"]

    page.keyboard.press("Alt+n")
    status(page, "running")
    expect(log(page)).to_have_count(0)
    expect(page.locator("[data-show=seed]")).to_have_text("4, episode 2")


def test_the_robot_stands_still_while_somebody_types_to_it_and_goes_on_when_it_is_said(page, robot):
    here = robot(hold=200)
    page.keyboard.type("go left")
    status(page, "paused")
    at = steps(page)
    page.wait_for_timeout(400)
    assert steps(page) == at
    page.keyboard.press("Enter")
    status(page, "running")
    expect(log(page).first).to_have_attribute("data-status", "in_force")
    (told,) = Said.objects.filter(session=here.session)
    assert told.start == at and told.paused_at is not None, (
        "it is about what was seen when the first letter came"
    )
    page.keyboard.type("open")
    status(page, "paused")
    page.keyboard.press("Escape")  # taken back
    status(page, "running")
    page.keyboard.type("open")
    status(page, "paused")
    page.get_by_role("button", name="Go on").click()  # by hand: now it goes on, whatever stands in the box
    status(page, "running")
    page.locator("#say").fill("open it")
    page.wait_for_timeout(300)
    assert page.locator("robot-page").get_attribute("data-status") == "running"


def test_a_robot_that_was_paused_by_hand_stays_so_and_one_need_not_wait(page, robot):
    here = robot()
    page.keyboard.press("Space")
    status(page, "paused")
    page.keyboard.type("go left")
    page.keyboard.press("Enter")
    wait_for(lambda: said(here.session))
    assert page.locator("robot-page").get_attribute("data-status") == "paused"
    page.keyboard.press("Space")
    status(page, "running")
    page.get_by_label("Waits while you type").uncheck()
    at = steps(page)
    page.locator("#say").fill("open")
    page.wait_for_function("at => document.querySelector('robot-page').step > at + 3", arg=at)
    assert page.locator("robot-page").get_attribute("data-status") == "running"
    page.reload()
    status(page, "running")
    expect(page.get_by_label("Waits while you type")).not_to_be_checked()


def test_two_people_at_one_robot_one_steers_and_hands_it_over(page, robot, browser, site):
    here = robot(speed=0.5)
    bob = Client()
    bob.force_login(get_user_model().objects.get(username="bob"))
    other = browser.new_context(base_url=site.url, viewport={"width": 1024, "height": 768})
    other.add_cookies([{"name": "sessionid", "value": bob.cookies["sessionid"].value, "url": site.url}])
    watching = other.new_page()
    watching.goto(f"/robots/{here.session.pk}/")
    expect(watching.locator("[data-show=people]")).to_have_text("ada steers")
    expect(watching.locator("#say")).to_be_hidden()
    page.keyboard.type("left")
    page.keyboard.press("Enter")
    expect(log(watching).first).to_contain_text("ada · in force")

    watching.get_by_role("button", name="Ask ada to hand over").click()
    page.locator("[data-show=asking]").get_by_role("button", name="Hand over to bob").click()
    expect(page.locator("[data-show=people]")).to_have_text("bob steers")
    expect(page.locator("#say")).to_be_hidden()
    expect(watching.locator("[data-show=people]")).to_have_text("you steer")
    watching.locator("#say").fill("open the gripper")
    watching.locator("#say").press("Enter")
    expect(log(page).first).to_contain_text("open the gripper")
    expect(log(page).first).to_contain_text("bob")
    wait_for(lambda: said(here.session) == [("left", LEFT), ("open the gripper", "open the gripper")])
    other.close()


def test_a_dropped_socket_pauses_the_robot_and_what_was_said_meanwhile_arrives_once(page, robot):
    network = Network(page)
    here = robot(speed=0.5)
    page.get_by_label("Waits while you type").uncheck()
    page.locator("#say").focus()
    page.keyboard.type("move left")
    expect(page.locator("#meant")).to_have_value(LEFT)
    network.cut()
    expect(page.locator("[data-show=offline]")).to_contain_text("The robot is paused until you are back")
    page.keyboard.press("Enter")
    expect(log(page).first).to_have_attribute("data-status", "sending")
    page.keyboard.down("ArrowRight")  # of the moment: it must not come late
    page.keyboard.up("ArrowRight")
    expect(log(page).first).to_contain_text("not sent: the connection broke")
    expect(sent(page)).to_contain_text("1 waiting to be sent")
    wait_for(lambda: Session.objects.get(pk=here.session.pk).status == "paused")
    assert said(here.session) == []
    network.up = True
    expect(sent(page)).to_contain_text("all sent", timeout=20_000)
    expect(page.locator("[data-show=offline]")).to_be_hidden()
    status(page, "paused")
    assert "The connection of ada was lost" in page.locator("[data-show=why]").inner_text()
    page.keyboard.press("Space")
    expect(page.locator(f"[data-show=log] li:has-text('{LEFT}')")).to_have_attribute(
        "data-status", "in_force"
    )
    assert said(here.session) == [("move left", LEFT)]


def test_an_unclear_phrase_asks_back_and_markup_is_shown_as_text(page, robot):
    here = robot(speed=0.5)
    page.keyboard.type("move a bit to the lefft")
    expect(page.locator("[data-show=unclear]")).to_contain_text("“lefft” is not a word known here")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert said(here.session) == [] and log(page).count() == 0
    expect(page.locator("#say")).to_have_value("move a bit to the lefft")
    page.locator("[data-show=others] .chip").first.click()
    expect(log(page).first).to_contain_text(LEFT)
    wait_for(lambda: said(here.session) == [("move a bit to the lefft", LEFT)])

    page.locator("#say").fill(MARKUP)
    expect(page.locator("[data-show=unclear]")).to_contain_text("is not a word known here")
    page.evaluate(
        "(text) => document.querySelector('robot-page').socket.send('say', { text, command: 'open the gripper' })",
        MARKUP,
    )
    expect(log(page).first).to_contain_text(f"“{MARKUP}”")
    assert page.locator("[data-show=log] img, robot-timeline img").count() == 0
    page.locator("#say").fill("x" * 400)
    expect(page.locator("[data-show=unclear]")).to_contain_text("400 characters")


def test_driving_is_recorded_trimmed_and_kept_or_discarded(page, robot):
    here = robot(pilot="nobody")
    world = page.locator("robot-world[data-world=now]")
    expect(page.locator("[data-gear=drive]")).to_have_attribute("aria-pressed", "true")
    world.focus()
    before = page.evaluate("document.querySelector('robot-world[data-world=now]').state[0]")
    page.keyboard.press("r")
    expect(page.locator("[data-show=recording]")).to_contain_text("recording from step")
    page.keyboard.down("ArrowRight")
    page.wait_for_function(
        "(x) => document.querySelector('robot-world[data-world=now]').state[0] > x + 0.2", arg=before
    )
    page.keyboard.up("ArrowRight")
    page.keyboard.press("c")
    page.keyboard.press("r")
    expect(page.locator("[data-show=trim-words]")).to_contain_text("Recorded: steps")
    drive = wait_for(lambda: Drive.objects.filter(closed=True, stop__isnull=False).first())
    start = page.locator("[data-trim=start]")
    start.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Keep it: it succeeded").click()
    wait_for(lambda: Drive.objects.get(pk=drive.pk).start == drive.start + 1)
    assert not Drive.objects.get(pk=drive.pk).discarded
    wait_for(lambda: here.session.takes.filter(marked=True).exists())

    page.keyboard.press("Alt+n")
    expect(page.locator("[data-show=seed]")).to_have_text("4, episode 2")
    world.focus()
    page.keyboard.press("r")
    expect(page.locator("[data-show=recording]")).to_contain_text("recording from step")
    box = world.bounding_box()  # pulled by the mouse
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.wait_for_function("() => document.querySelector('robot-world[data-world=now]').state[1] > 0.5")
    page.mouse.up()
    page.keyboard.press("x")
    wait_for(lambda: Drive.objects.filter(discarded=True).exists())
    expect(page.locator("[data-show=recording]")).to_have_text("")


def test_a_world_whose_actions_are_fewer_numbers_is_driven_by_those(page, robot):
    pytest.importorskip("gymnasium", reason="the classic worlds are an extra")
    here = robot(pilot="nobody", world="pendulum", task="swing_up")
    page.locator("robot-world[data-world=now]").focus()
    page.keyboard.down("ArrowRight")

    def torques() -> list[float]:
        take = here.session.takes.last()
        return [float(one[0]) for one in Episodes(settings.EPISODES).open(take.episode).steps["action"]]

    wait_for(lambda: 1.0 in torques())
    page.keyboard.up("ArrowRight")
    expect(page.locator("[data-show=problem]")).to_be_hidden()


def test_a_gamepad_drives_and_closes_and_one_that_is_pulled_out_drives_no_more(page, robot):
    page.add_init_script(GAMEPAD)
    robot(pilot="nobody")
    shown = page.locator("[data-show=pad]")
    expect(shown).to_have_text("")
    page.evaluate("plug(true)")
    expect(shown).to_have_text("Gamepad: Stand-in (Vendor: 0000)")
    across, along, *_ = page.evaluate(f"[...{STATE}]")
    page.evaluate("pad.axes = [0.1, -0.1, 0, 0]")  # at rest: a stick never is in its very middle
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 3", arg=steps(page))
    assert page.evaluate(f"[...{STATE}]")[:2] == [across, along]
    page.evaluate("pad.axes = [0.8, 0, 0, 0]")
    page.wait_for_function(f"(x) => {STATE}[0] > x + 0.15", arg=across)
    page.evaluate("pad.axes = [0, 0, 0, 0]; pad.buttons[0].pressed = true")
    page.wait_for_function(f"() => {STATE}[2] > 0.5")  # A closes
    page.evaluate("pad.buttons[0].pressed = false; pad.buttons[1].pressed = true")
    page.wait_for_function(f"() => {STATE}[2] < 0.5")  # B opens
    page.evaluate("pad.buttons[1].pressed = false; pad.buttons[12].pressed = true")
    page.wait_for_function(f"(y) => {STATE}[1] > y + 0.1", arg=along)  # the cross
    page.evaluate("plug(false)")
    expect(shown).to_have_text("")
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 5", arg=steps(page))
    still = page.evaluate(f"[...{STATE}]")[:2]
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 3", arg=steps(page))
    assert page.evaluate(f"[...{STATE}]")[:2] == still


def test_a_robot_that_lives_faster_is_driven_as_fast(page, robot):
    page.add_init_script(GAMEPAD)
    robot(pilot="nobody", speed=5)
    page.evaluate("plug(true); pad.axes = [1, 0, 0, 0]")
    page.wait_for_function(f"() => {STATE}[0] > 0.2")
    page.evaluate("pad.axes = [-1, 0, 0, 0]; globalThis.went = []")
    page.evaluate(
        """() => {
            const world = document.querySelector("robot-world[data-world=now]"), step = world.step.bind(world);
            world.step = (state, by) => {
                if (state[0] > -0.8) went.push(state[0]);
                step(state, by);
            };
        }"""
    )
    page.wait_for_function(f"() => {STATE}[0] < -0.8")
    went = page.evaluate("went")
    # An action that comes too seldom leaves it standing between two, again and again; a machine that is busy halts it
    # once, for however long.
    three = zip(went[2:], went[3:], went[4:], strict=False)
    halts = [one for before, one, after in three if before > one <= after]
    assert len(halts) <= len(went) / 10, went


def test_who_only_watches_drives_nothing_whatever_they_press(page, robot, browser, site):
    here = robot(pilot="nobody")
    bob = Client()
    bob.force_login(get_user_model().objects.get(username="bob"))
    other = browser.new_context(base_url=site.url, viewport={"width": 1024, "height": 768})
    other.add_cookies([{"name": "sessionid", "value": bob.cookies["sessionid"].value, "url": site.url}])
    watching = other.new_page()
    watching.add_init_script(GAMEPAD)
    sent: list[str] = []
    watching.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
    watching.goto(f"/robots/{here.session.pk}/")
    expect(watching.locator("[data-show=people]")).to_have_text("ada steers")
    watching.evaluate("plug(true); pad.axes = [1, 0, 0, 0]")
    watching.keyboard.down("ArrowRight")
    watching.wait_for_function(
        "(step) => document.querySelector('robot-page').step > step + 4", arg=steps(watching)
    )
    assert sent == []
    expect(watching.locator("[data-show=problem]")).to_be_hidden()
    watching.keyboard.up("ArrowRight")
    page.get_by_role("button", name="Hand over to bob").click()  # and the same stick steers
    watching.wait_for_function(f"() => {STATE}[0] > 0.3")
    assert any('"drive"' in one for one in sent)
    other.close()


def test_who_hands_back_while_they_drive_does_not_take_the_wheel_again_by_letting_go(page, robot):
    robot(hold=4, speed=0.5)
    page.locator("[data-gear=drive]").click()
    command = page.locator("[data-show=command]")
    expect(command).to_have_attribute("data-by", "person")
    page.keyboard.down("ArrowUp")
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 2", arg=steps(page))
    page.keyboard.press("Escape")
    expect(command).to_have_attribute("data-by", "policy")
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 4", arg=steps(page))
    expect(command).to_have_attribute("data-by", "policy")
    page.keyboard.up("ArrowUp")
    page.keyboard.down("ArrowUp")
    expect(command).to_have_attribute("data-by", "person")
    page.locator("[data-gear=steer]").click()  # with the key still down
    expect(command).to_have_attribute("data-by", "policy")
    page.wait_for_function("(step) => document.querySelector('robot-page').step > step + 4", arg=steps(page))
    expect(command).to_have_attribute("data-by", "policy")
    page.keyboard.up("ArrowUp")


def test_who_drives_has_the_wheel_of_the_next_episode_from_its_beginning(page, robot):
    robot(speed=0.5)
    page.locator("[data-gear=drive]").click()
    command = page.locator("[data-show=command]")
    expect(command).to_have_attribute("data-by", "person")
    page.keyboard.press("Alt+n")
    expect(page.locator("[data-show=seed]")).to_have_text("4, episode 2")
    page.wait_for_function("() => document.querySelector('robot-page').step > 3")
    expect(command).to_have_attribute("data-by", "person")


def test_a_motion_that_is_held_when_the_page_is_left_is_let_go(page, robot):
    here = robot(speed=0.5)
    page.keyboard.down("ArrowUp")
    expect(log(page).first).to_have_attribute("data-status", "in_force")
    page.reload()
    status(page, "running")
    expect(log(page).first).to_have_attribute("data-status", "over")
    assert Said.objects.get(session=here.session).outcome == "handed back"


def test_what_is_said_aloud_stands_in_the_box_as_it_is_heard_and_is_sent_by_enter(page, robot):
    page.add_init_script(SPEECH)
    here = robot(speed=0.5)
    talk = page.get_by_role("button", name="Hold to talk")
    talk.hover()
    page.mouse.down()
    expect(talk).to_have_class(re.compile("listening"))
    box = page.locator("#say")
    page.evaluate("ear.hear('move')")
    expect(box).to_have_value("move")
    page.evaluate("ear.hear('move a bit', ' to the left')")
    page.mouse.up()
    expect(talk).not_to_have_class(re.compile("listening"))
    expect(box).to_be_focused()
    expect(page.locator("#meant")).to_have_value(LEFT)
    assert said(here.session) == []  # heard is not sent
    page.keyboard.press("Enter")
    wait_for(lambda: said(here.session) == [(LEFT, LEFT)])

    page.get_by_label("Waits while you type").uncheck()  # else it waits for what is heard, too
    talk.focus()  # the same by the space bar, which pauses nothing here
    page.keyboard.down("Space")
    expect(talk).to_have_class(re.compile("listening"))
    page.evaluate("ear.hear('wiggle')")
    page.keyboard.up("Space")
    expect(page.locator("[data-show=unclear]")).to_contain_text("“wiggle” is not a word known here")
    status(page, "running")

    talk.hover()
    page.mouse.down()
    page.evaluate("ear.fail('not-allowed')")
    expect(page.locator("[data-show=unclear]")).to_contain_text("may not use the microphone")
    page.mouse.up()
    expect(talk).not_to_have_class(re.compile("listening"))


def test_where_the_browser_cannot_listen_there_is_no_button_to_talk(page, robot):
    page.add_init_script("delete globalThis.webkitSpeechRecognition; delete globalThis.SpeechRecognition;")
    robot(speed=0.5)
    expect(page.locator("#say")).to_be_visible()
    expect(page.locator("[data-do=talk]")).to_be_hidden()


def test_what_is_not_clear_any_more_when_it_arrives_is_said_not_to_be_stored(page, robot):
    here = robot(speed=0.5)
    page.evaluate(
        """() => {
            const page = document.querySelector("robot-page");
            page.log.tell({ ref: page.socket.send("say", { text: "the pink one", command: "pick up the pink cube" }),
                            text: "the pink one", command: "pick up the pink cube", by: "ada", status: "sending" });
        }"""
    )
    expect(log(page).first).to_have_attribute("data-status", "refused")
    expect(log(page).first).to_contain_text("is not a word known here")
    assert said(here.session) == []


def test_what_it_does_alone_is_shown_beside_the_episode_before_at_the_same_step(page, robot):
    here = robot(speed=10)
    status(page, "waiting")
    wait_for(lambda: here.session.takes.filter(recording__isnull=False).exists())
    alone = session_of(here.session.study, here.ada, alone=True, repeats=here.session, speed=2)
    page.goto(f"/robots/{alone.pk}/")
    expect(page.locator("[data-show=before-figure]")).to_be_hidden()
    flight = Flight(alone)
    expect(page.locator("[data-show=before-words]")).to_contain_text("it succeeded", timeout=20_000)
    page.wait_for_function(
        """() => {
            const [before, now] = ["before", "now"].map((name) => document.querySelector(`[data-world=${name}]`).state);
            const page = document.querySelector("robot-page");
            return page.step > 20 && Math.hypot(before[0] - now[0], before[1] - now[1]) < 0.07;
        }"""
    )  # the same rule on the same seed: the same path, at the same time
    expect(page.locator("#say")).to_be_hidden()
    expect(page.locator("[data-show=people]")).to_have_text("nobody steers")
    flight.end()
    status(page, "ended")


def test_the_page_is_read_aloud_fits_and_has_no_fault_in_any_size_and_theme(page, robot):
    robot(speed=0.5, hold=100)
    page.keyboard.type("left")
    expect(page.locator("#meant")).to_have_value(LEFT)
    page.keyboard.press("Enter")
    expect(page.locator("[data-show=spoken]")).to_contain_text(f"In force: {LEFT}.")
    page.keyboard.press("Alt+w")
    expect(page.locator("[data-show=words]")).to_contain_text("The gripper is")
    expect(page.locator("[data-show=spoken]")).to_contain_text("The tray is")
    page.keyboard.press("Space")
    status(page, "paused")
    for width, height in ((1440, 900), (1024, 768), (390, 844), (320, 640)):
        page.set_viewport_size({"width": width, "height": height})
        assert out_of_reach(page) == [], width
    page.set_viewport_size({"width": 1440, "height": 900})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == []
    page.locator("[data-gear=drive]").click()
    assert faults(page) == []
    assert out_of_reach(page) == []
