"""What people say to the table, and what is understood: slots, last words, questions back, and never a guess."""

from __future__ import annotations

import pytest

from trainers.envs.registry import world
from trainers.envs.table_talk import TASKS, Command
from trainers.envs.table_talk.alike import LIKE, commands, nearest, sayings
from trainers.envs.table_talk.language import DIRECTION_WORDS, OPPOSITE, understand

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
        ("open, no, close", CLOSE),
        ("close no open", OPEN),
        ("open it, I mean close it", CLOSE),
        ("close, not open", CLOSE),
        ("stop, open the gripper", OPEN),
        ("pick up the red block, no, the blue one", "pick up the blue block"),
        ("pick up the red block, no, left", LEFT),
        ("open the gripper, no, left", LEFT),
    ],
)
def test_what_is_taken_back_gives_way_to_the_last_word(text, wanted):
    assert said(text) == wanted


@pytest.mark.parametrize(
    "text", ["left, no", "no", "no more left", "go left no", "no further right", "don't stop"]
)
def test_where_all_is_taken_back_it_is_asked_what_is_meant_instead(text):
    found = understand(text, THINGS, PLACES)
    assert found.command is None and "Which way" in found.ask and not found.others


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("left, stop", [LEFT]), ("left, no, stop", []), ("go left no wait", []), ("pick up the red block, stop", []),
        ("go right, hold on", [RIGHT]), ("no, stop", []),
    ],
)  # fmt: skip
def test_who_ends_with_stop_is_not_set_going(text, others):
    found = understand(text, THINGS, PLACES)
    assert found.command == Command("wait") and [str(one) for one in found.others] == others


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("too far left go right", RIGHT),  # as somebody says it whose commas nobody hears
        ("too far left right", RIGHT),
        ("you overshot go left", LEFT),
        ("left too far", RIGHT),
        ("go down too much", UP),
        ("right is too far", LEFT),
        ("too far left, too far down", UP),
        ("too far", None),
        ("not too far left", None),
    ],
)
def test_too_far_turns_the_direction_about_that_it_is_said_of(text, wanted):
    assert said(text) == wanted


def test_open_and_close_at_once_are_asked_about():
    found = understand("open and close the gripper", THINGS, PLACES)
    assert found.command is None and [str(one) for one in found.others] == [OPEN, CLOSE]


def test_beside_a_direction_the_gripper_is_offered():
    found = understand("left and open the hand", THINGS)
    assert str(found.command) == LEFT and [str(one) for one in found.others] == [OPEN]


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


def test_two_things_of_one_name_are_not_told_apart_by_it():
    things = ["red block", "red disc", "red disc"]
    assert understand("pick up the red disc", things).command == Command("pick", "red disc")
    assert [one.thing for one in understand("pick up the red one", things).others] == [
        "red block",
        "red disc",
    ]


def test_where_to_is_asked_where_there_are_several_places_and_a_mark_is_no_thing():
    marks = [f"on the {name.split()[0]} mark" for name in THINGS]
    found = understand("put the red block down", THINGS, marks)
    assert found.command is None and found.ask.startswith("Where to: on the red mark, on the blue mark")
    assert found.others == tuple(Command("put", "red block", place=one) for one in marks)
    crossed = understand("put the red block on the blue mark", THINGS, marks)
    assert crossed.command == Command("put", "red block", place="on the blue mark")
    assert str(Command("put", "red block")) == "put the red block"


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


@pytest.mark.parametrize("task", TASKS)
def test_every_command_of_a_table_is_understood_however_it_is_said(task):
    table = world("table_talk")
    for seed in range(2):
        table.reset(seed, task, {"things": 6, "distractors": 2})
        scene = table.scene()
        things = [one["name"] for one in scene["things"]]
        for command in commands(things, scene["places"]):
            ways = [word for word, way in DIRECTION_WORDS.items() if way == command.direction]
            for words in (str(command), *sayings(command, ways)):
                assert understand(words, things, scene["places"]).command == command, words


@pytest.mark.parametrize("task", TASKS)
def test_what_the_rules_say_is_understood_as_it_is_said(task):
    table = world("table_talk")
    table.reset(1, task, {"things": 6, "distractors": 2})
    scene = table.scene()
    things = [one["name"] for one in scene["things"]]
    for _ in range(200):
        advice = table.advice()
        assert str(understand(advice, things, scene["places"]).command) == advice
        if table.step(table.demonstrate(advice)).done:
            break


# --- what is offered where words are unknown

RED, BLUE, GREEN = (f"pick up the {name}" for name in THINGS)
MEANT = {
    "moev a bit lefft": LEFT, "go rigth pls": RIGHT, "opne the griper": OPEN, "clsoe gripper": CLOSE,
    "pick up teh rde block": RED, "grab the bluee blok": BLUE, "mvoe upp": UP, "slihgtly dwon": DOWN, "wiat": WAIT,
    "put the gren block into the trai": "put the green block into the tray", "stpo": WAIT, "relase": OPEN,
    "nugde to the left": LEFT, "rightt a litle": RIGHT, "take teh green blcok": GREEN, "drpo it": OPEN,
    "scoot left": LEFT, "veer to the right": RIGHT, "raise it a bit": UP, "lower a little": DOWN,
    "unclasp the fingers": OPEN, "clamp down on it": CLOSE, "snatch the red cube": RED, "leftish": LEFT,
    "collect the blue block": BLUE, "dump the green block in the tray": "put the green block into the tray",
    "seize the green one": GREEN, "chill for a second": WAIT, "don't do anything": WAIT,
    "insert the red block into the tray": "put the red block into the tray",
    "bitte nach links": LEFT, "ein bisschen nach rechts": RIGHT, "à gauche": LEFT, "abre la pinza": OPEN,
    "ferme la pince": CLOSE, "nimm den roten block": RED, "prends le bloc bleu": BLUE, "arriba": UP,
    "abajo un poco": DOWN, "warte": WAIT,
}  # fmt: skip
"""Misspelt, in unknown words, in other languages; and what whoever said it meant."""


def offered(text: str) -> list[str]:
    found = understand(text, THINGS, PLACES)
    assert found.command is None and found.ask.startswith("“")
    return [str(one) for one in found.others]


def test_of_forty_phrases_with_unknown_words_most_find_what_was_meant_offered_first():
    offers = {text: offered(text) for text in MEANT}
    assert sum(offers[text][:1] == [meant] for text, meant in MEANT.items()) >= 25  # by spelling alone: 9
    assert sum(bool(offers[text]) and meant not in offers[text] for text, meant in MEANT.items()) <= 2
    assert max(map(len, offers.values())) <= 3


@pytest.mark.parametrize("text", [text for text, meant in MEANT.items() if meant in (LEFT, RIGHT, UP, DOWN)])
def test_the_opposite_of_what_was_meant_is_never_offered_before_it(text):
    offers, meant = offered(text), MEANT[text]
    opposite = {LEFT: RIGHT, RIGHT: LEFT, UP: DOWN, DOWN: UP}[meant]
    assert opposite not in offers[: offers.index(meant) if meant in offers else None]


@pytest.mark.parametrize(
    ("text", "offers"),
    [
        ("too far lefft", [RIGHT]),  # the grammar turns it about: letters would not
        ("you went too far left", [RIGHT]),
        ("don't mvoe left", []),
        ("don't scoot left", []),
        ("never opne it", []),
        ("go right, not lefft", [RIGHT]),
        ("scoot left", [LEFT]),
        ("snatch the red cube", [RED, "put the red block into the tray"]),
        ("snatch the yellow cube", []),  # none is yellow
    ],
)
def test_what_is_offered_agrees_with_the_words_that_are_known(text, offers):
    assert offered(text) == offers


def test_what_was_taken_back_is_not_what_the_rest_looks_like():
    assert offered("up, no, lefft") == offered("lefft") and offered("lefft")[0] == LEFT


@pytest.mark.parametrize(
    "text",
    [
        "frobnicate",
        "what is the weather",
        "make me a coffee",
        "tell me a joke",
        "qwertyuiop",
        "sudo rm",
        "xx yy zz",
    ],
)
def test_for_what_looks_like_nothing_known_nothing_is_offered(text):
    assert offered(text) == []


def test_a_word_looks_like_the_one_it_is_made_of_and_like_none_where_little_is_alike():
    known = ("left", "lift", "take", "right", "gripper")
    found = {word: nearest(word, known) for word in ("lfet", "lefft", "rigth", "griper", "table", "x", "")}
    assert found == {
        "lfet": "left", "lefft": "left", "rigth": "right", "griper": "gripper", "table": "", "x": "", "": "",
    }  # fmt: skip
    assert 0.3 < LIKE < 0.4


def test_of_a_scene_that_no_table_could_hold_nothing_is_offered():
    for things, places in (
        ([f"red {n}" for n in range(300)], PLACES),
        (["x" * 9000], []),
        (THINGS, PLACES * 100),
    ):
        found = understand("opne the griper", things, places)
        assert found.command is None and found.ask and not found.others


def test_a_phrase_is_offered_the_same_however_many_tables_were_talked_about():
    first = offered("opne the griper")
    for number in range(12):
        understand("opne the griper", [f"red {number}"], PLACES)
    assert offered("opne the griper") == first


def test_a_command_as_it_is_written_is_understood_as_itself():
    commands = [Command("pick", name) for name in THINGS]
    commands += [Command("put", name, place="into the tray") for name in THINGS]
    commands += [Command("move", direction=one) for one in OPPOSITE]
    commands += [Command("open"), Command("close"), Command("wait")]
    for command in commands:
        assert understand(str(command), THINGS, PLACES).command == command
