"""A person's own keys: which may be changed, to what, and that no two ever meet on one page."""

import re
from pathlib import Path

import pytest

import annotation
from annotation import keys
from annotation.errors import Invalid
from annotation.interfaces.registry import INTERFACES, interface

TEMPLATES = Path(annotation.__file__).parent / "templates" / "annotation"


def test_of_every_interface_the_keys_differ():
    for kind in INTERFACES:
        given = [one.keys[kind] for one in keys.actions().values() if kind in one.keys]
        assert len(set(given)) == len(given), f"{kind}: {given}"


def test_every_control_that_has_a_letter_for_a_key_says_what_it_does_and_the_drawer_knows_it():
    known = set(keys.actions())
    for kind in INTERFACES:
        known |= set(getattr(interface(kind), "ACTIONS", {}))
    for page in TEMPLATES.rglob("*.html"):
        for tag in re.findall(r"<(?:button|a|summary|input)\b[^>]*\sdata-key=[^>]*>", page.read_text()):
            key = re.search(r'data-key="([^"]*)"', tag)[1]
            named = re.search(r'data-action="([^"]*)"', tag)
            if len(key) == 1 and not key.isdigit():
                assert named, f"{page.name}: {tag}"
            assert named is None or named[1] in known, f"{page.name}: {tag}"


def test_a_changed_key_is_kept_and_its_default_is_kept_as_nothing():
    own = keys.change({}, {"skip": "Y "})
    assert own == {"skip": "y"}
    assert keys.change(own, {"undo": "s"}) == {"skip": "y", "undo": "s"}  # S is free now
    assert keys.change(own, {"skip": "s"}) == {}
    assert keys.change(own, {"skip": ""}) == {}


def test_two_actions_change_places_in_one_go():
    assert keys.change({}, {"skip": "z", "undo": "s"}) == {"skip": "z", "undo": "s"}


@pytest.mark.parametrize("key", ["7", "enter", "ab", "\x1b", "٣"])
def test_digits_and_what_is_no_character_are_refused(key):
    with pytest.raises(Invalid) as refusal:
        keys.change({}, {"skip": key})
    assert refusal.value.field == "skip"


def test_a_key_that_is_taken_on_the_same_page_is_refused_in_words():
    with pytest.raises(Invalid, match="Z is taken: undo") as refusal:
        keys.change({}, {"skip": "z"})
    assert refusal.value.field == "skip"
    with pytest.raises(Invalid, match="S is taken: skip"):
        keys.change({"back": "y"}, {"undo": "s"})
    with pytest.raises(Invalid, match="Y is taken: step back"):
        keys.change({"back": "y"}, {"undo": "y"})


def test_interfaces_that_never_meet_may_share_a_key():
    assert keys.change({}, {"link": "="}) == {"link": "="}  # "=" ties where answers are put in order


def test_an_unknown_action_is_refused_and_one_that_is_gone_is_forgotten():
    with pytest.raises(Invalid, match="No key does 'fly'"):
        keys.change({}, {"fly": "y"})
    assert keys.change({"gone": "y"}, {"skip": "y"}) == {"skip": "y"}


def test_the_drawer_has_the_keys_of_the_interfaces_that_are_asked_and_no_others():
    rated = {row["action"]: row["key"] for row in keys.table({"undo": "y"}, ["rating"])}
    assert rated["undo"] == "y"
    assert rated["skip"] == "s"
    assert "link" not in rated
    compared = {row["action"] for row in keys.table({}, ["pairwise", "edit"])}
    assert {"link", "differences", "skip"} <= compared
    assert "tie" not in compared
    assert any("Backspace" in caps for caps, _ in keys.fixed(["ranking"]))
    assert not any("Backspace" in caps for caps, _ in keys.fixed(["pairwise"]))
