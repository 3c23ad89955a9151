"""What the two interfaces ask, accept and write; and the seam they fill."""

from dataclasses import asdict
from uuid import uuid4

import pytest
from django.http import QueryDict

from annotation import services
from annotation.errors import Invalid
from annotation.interfaces import edit, pairwise
from annotation.interfaces.registry import INTERFACES, interface, read_interfaces
from annotation.models import Candidate
from tests.annotation import studies


@pytest.mark.parametrize("kind", INTERFACES)
def test_every_interface_has_what_the_seam_asks(kind):
    module = interface(kind)
    assert module.key == kind
    assert module.template == f"annotation/interfaces/{kind}.html"
    assert module.ORDER in ("random", "preferred")
    assert set(module.FOLLOWS) <= set(INTERFACES)
    assert module.__doc__ and module.label
    for part in ("Options", "Answer", "tasks", "show", "read", "records"):
        assert hasattr(module, part)


def test_an_unknown_interface_is_named_with_the_known_ones():
    with pytest.raises(Invalid, match="'rating'. Known interfaces: pairwise, edit"):
        read_interfaces([{"kind": "rating"}])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "interfaces"),
        ("pairwise", "interfaces"),
        (["pairwise", "pairwise"], "interfaces"),
        ([{"kind": "pairwise", "extra": 1}], "interfaces"),
        ([{"kind": "pairwise", "options": {"strenght": True}}], "options.strenght"),
        ([{"kind": "pairwise", "options": {"strength": "yes"}}], "options.strength"),
        ([{"kind": "pairwise", "options": {"pairs": "some"}}], "options.pairs"),
        ([{"kind": "pairwise", "options": []}], "options"),
    ],
)
def test_a_wrong_option_is_named(given, field):
    with pytest.raises(Invalid) as refusal:
        read_interfaces(given)
    assert refusal.value.field == field


def test_four_answers_make_six_comparisons_or_three_neighbours():
    candidates = [Candidate(index=n) for n in range(4)]
    every = pairwise.tasks(candidates, pairwise.Options())
    assert [[one.index for one in pair] for pair in every] == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    near = pairwise.tasks(candidates, pairwise.Options(pairs="neighbours"))
    assert [[one.index for one in pair] for pair in near] == [[0, 1], [1, 2], [2, 3]]


def test_an_edit_is_asked_once_for_an_item_or_for_every_answer():
    candidates = [Candidate(index=n) for n in range(3)]
    assert edit.tasks(candidates, edit.Options()) == [candidates]
    assert edit.tasks(candidates, edit.Options(every=True)) == [[one] for one in candidates]


@pytest.fixture
def comparison(db):
    study = studies.study(items=1, members=1)
    return studies.claim(study, studies.annotators(study)[0])


@pytest.fixture
def rewriting(db):
    study = studies.study("edit", items=1, members=1)
    return studies.claim(study, studies.annotators(study)[0])


def test_a_form_says_which_side_and_the_answer_says_which_candidate(comparison):
    left, right = comparison.candidates
    answer = pairwise.read(QueryDict("choice=b&strength=2&reason=+Clearer.+"), comparison)
    assert asdict(answer) == {
        "choice": "chosen", "chosen": right.pk, "rejected": left.pk, "strength": 2, "reason": "Clearer."
    }  # fmt: skip
    tie = pairwise.read({"choice": "tie", "strength": 3}, comparison)
    assert (tie.choice, tie.chosen, tie.strength) == ("tie", None, 1)
    assert pairwise.read({"choice": "both_bad"}, comparison).choice == "both_bad"


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "choice"),
        ({"choice": "left"}, "choice"),
        ({"choice": ["a"]}, "choice"),
        ({"choice": "a", "strength": "4"}, "strength"),
        ({"choice": "a", "strength": True}, "strength"),
        ({"choice": "a", "reason": 7}, "reason"),
        ({"choice": "a", "reason": "x" * 6000}, "reason"),
        ({"choice": "a", "reason": "\ud800"}, "reason"),
    ],
)
def test_a_wrong_comparison_names_the_field(comparison, post, field):
    with pytest.raises(Invalid) as refusal:
        pairwise.read(post, comparison)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("post", "field"),
    [({}, "text"), ({"text": "  \n"}, "text"), ({"text": 5}, "text"), ({"text": "x" * 200_000}, "text")],
)
def test_a_wrong_rewrite_names_the_field(rewriting, post, field):
    with pytest.raises(Invalid) as refusal:
        edit.read(post, rewriting)
    assert refusal.value.field == field


def test_a_rewrite_that_changes_nothing_is_refused_and_line_ends_are_the_browsers(rewriting):
    original = rewriting.candidates[0]
    original.text = "One.\nTwo."
    with pytest.raises(Invalid, match="Nothing was changed"):
        edit.read({"text": "One.\r\nTwo."}, rewriting)
    assert edit.read({"text": "One.\r\nThree.\x00"}, rewriting).text == "One.\nThree."


@pytest.mark.django_db
def test_the_screen_shows_safe_html_and_hides_the_model():
    study = studies.study(items=0, members=1)
    services.add_items(
        study=study,
        items=[
            {
                "context": {
                    "messages": [
                        {"role": "system", "content": "Be *brief*."},
                        {"role": "user", "content": "?"},
                    ]
                },
                "candidates": [{"text": "<script>alert(1)</script> **yes**", "policy": "gpt"}, "no"],
                "source": {"passages": [{"title": "T", "text": "P"}, "junk"]},
            }
        ],
    )
    turn = studies.claim(study, studies.annotators(study)[0])
    shown = pairwise.show(turn)
    assert [one["role"] for one in shown["turns"]] == ["system", "user"]
    assert "<em>brief</em>" in shown["turns"][0]["html"]
    html = "".join(one["html"] for one in shown["candidates"])
    assert "<strong>yes</strong>" in html and "<script" not in html
    assert [one["policy"] for one in shown["candidates"]] == ["", ""]
    assert [one["name"] for one in shown["candidates"]] == ["A", "B"]
    assert shown["passages"] == [{"title": "T", "text": "P"}]
    assert shown["answer"] is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "said", [{"choice": "a"}, {"choice": "b", "strength": 3}, {"choice": "both_bad", "reason": "!"}]
)
def test_what_an_undo_brings_back_is_what_stood_on_the_screen(said):
    study = studies.study(items=1, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada, said)
    shown = pairwise.show(services.undo_last(study=study, annotator=ada))
    assert shown["answer"] == {"strength": 1, "reason": "", **said}


@pytest.mark.django_db
def test_an_undone_edit_brings_back_the_text():
    study = studies.study("edit", items=1, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    assert edit.show(turn)["answer"] == {"text": turn.candidates[0].text}
    services.submit_label(task=turn.task, annotator=ada, answer={"text": "Mine."}, key=uuid4())
    assert edit.show(services.undo_last(study=study, annotator=ada))["answer"] == {"text": "Mine."}
