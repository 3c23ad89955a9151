"""What people say to the table, and what is understood: slots, last words, questions back, and never a guess."""

from __future__ import annotations

import pytest

from trainers.envs.table_talk import Command
from trainers.envs.table_talk.language import OPPOSITE, understand

THINGS = ["red block", "blue block", "green block"]
PLACES = ["into the tray"]


def said(text: str) -> str | None:
    command = understand(text, THINGS, PLACES).command
    return None if command is None else str(command)


LEFT, RIGHT = "move a bit to the left", "move a bit to the right"
UP, DOWN = "move a bit up", "move a bit down"
OPEN, CLOSE, WAIT = "open the gripper", "close the gripper", "wait"
PHRASES = {
    "nudge left": LEFT,
    "a little to the left please": LEFT,
    "slightly left": LEFT,
    "go left a touch": LEFT,
    "too far right": LEFT,
    "you overshot right": LEFT,
    "shift right please": RIGHT,
    "too far left, go right": RIGHT,
    "Right!": RIGHT,
    "a bit more to the right": RIGHT,
    "move it to the right side": RIGHT,
    "up a bit": UP,
    "forward": UP,
    "go further away": UP,
    "slide upwards": UP,
    "down": DOWN,
    "come closer": DOWN,
    "backwards a little": DOWN,
    "let go": OPEN,
    "release it": OPEN,
    "drop it now": OPEN,
    "open your hand": OPEN,
    "close your fingers": CLOSE,
    "squeeze": CLOSE,
    "grab it": CLOSE,
    "stop": WAIT,
    "hold on": WAIT,
    "pick up the red one": "pick up the red block",
    "now get the blue block": "pick up the blue block",
    "put the green block into the tray": "put the green block into the tray",
}


@pytest.mark.parametrize(("text", "wanted"), PHRASES.items())
def test_thirty_ways_of_saying_a_dozen_things_are_understood(text, wanted):
    assert said(text) == wanted


@pytest.mark.parametrize("text", [text for text in PHRASES if {"left", "right"} & set(text.lower().split())])
def test_left_and_right_changed_about_mean_the_opposite(text):
    swapped = " ".join({"left": "right", "right": "left"}.get(word, word) for word in text.lower().split())
    one, other = (understand(words, THINGS, PLACES).command for words in (text.lower(), swapped))
    assert one is not None and other is not None
    assert OPPOSITE[one.direction] == other.direction


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("left, no, right", RIGHT),
        ("no, right", RIGHT),
        ("go right, not left", RIGHT),
        ("don't go left, right", RIGHT),
        ("down, I mean up", UP),
        ("wait, left", LEFT),
    ],
)
def test_what_is_taken_back_gives_way_to_the_last_word(text, wanted):
    assert said(text) == wanted


def test_what_is_only_forbidden_is_no_command():
    found = understand("not left", THINGS)
    assert found.command is None and "Which way" in found.ask


def test_two_ways_at_once_take_one_and_offer_the_other():
    found = understand("up and left", THINGS)
    assert str(found.command) == LEFT and [str(one) for one in found.others] == [UP]


def test_which_one_is_asked_where_several_fit():
    found = understand("pick up the block", THINGS)
    assert found.command is None and "Which one" in found.ask
    assert [one.thing for one in found.others] == THINGS


def test_a_thing_that_is_not_there_is_not_replaced_by_one_that_is():
    found = understand("pick up the yellow block", THINGS)
    assert found.command is None and found.ask.startswith("There is nothing yellow here")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("moev left", LEFT), ("go rihgt", RIGHT), ("pick up the bleu block", "pick up the blue block")],
)
def test_a_slip_of_the_finger_is_offered_and_not_obeyed(text, meant):
    found = understand(text, THINGS)
    assert found.command is None and "Was this meant?" in found.ask
    assert meant in [str(one) for one in found.others]


@pytest.mark.parametrize(
    "text",
    [
        "à gauche s'il vous plaît",
        "bitte nach links",
        "左に動かして",
        "<script>alert(1)</script>",
        "DROP TABLE labels;",
    ],
)
def test_another_language_and_markup_are_asked_about(text):
    found = understand(text, THINGS)
    assert found.command is None and found.ask and found.others == ()


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_said_is_said_so(text):
    assert understand(text, THINGS).ask.startswith("Nothing was said")


def test_a_phrase_of_ten_thousand_characters_is_refused_at_once():
    assert "10,000 characters" in understand("left " * 2000, THINGS).ask


def test_a_command_as_it_is_written_is_understood_as_itself():
    commands = [Command("pick", name) for name in THINGS]
    commands += [Command("put", name, place="into the tray") for name in THINGS]
    commands += [Command("move", direction=one) for one in OPPOSITE]
    commands += [Command("open"), Command("close"), Command("wait")]
    for command in commands:
        assert understand(str(command), THINGS, PLACES).command == command
