"""What the interfaces ask, accept and write; and the seam they fill."""

from dataclasses import asdict
from uuid import uuid4

import pytest
from django.http import QueryDict

from annotation import services
from annotation.errors import Invalid
from annotation.forms import NewStudyForm
from annotation.interfaces import edit, pairwise, ranking, rating
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
    with pytest.raises(Invalid, match="'verdict'. Known interfaces: pairwise, edit"):
        read_interfaces([{"kind": "verdict"}])


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
    assert answer.to_json() == {
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
    assert shown["answer"] == {"strength": 1, "reason": "", "criteria": {}, **said}


# --- pairwise, by criteria

CRITERIA = [
    {"name": "tone", "label": "Tone", "question": "Which one sounds kinder?"},
    {"name": "facts", "label": "Facts", "question": "Which one has them right?"},
]


@pytest.fixture
def by_criteria(db):
    """A turn at comparing two answers, by two criteria too; the second candidate stands left."""
    study = studies.study({"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    turn.candidates.sort(key=lambda candidate: -candidate.pk)
    return turn


def test_each_criterion_is_kept_by_candidate_whatever_the_verdict(by_criteria):
    left, right = (candidate.pk for candidate in by_criteria.candidates)
    said = {"tone": {"better": right, "strength": 2}, "facts": {"better": None, "strength": 0}}
    form = QueryDict("choice=a3&criterion.tone=b2&criterion.facts=tie")
    assert pairwise.read(form, by_criteria).criteria == said
    posted = pairwise.read({"choice": "tie", "criteria": {"tone": "b2", "facts": "tie"}}, by_criteria)
    assert posted.criteria == said
    assert posted.signed(left) == {"tone": -2, "facts": 0}
    assert posted.signed(right) == {"tone": 2, "facts": 0}


def test_a_criterion_may_be_left_out_and_an_answer_without_any_is_stored_as_ever(by_criteria):
    one = pairwise.read(QueryDict("choice=a&criterion.tone=&criterion.facts=a1"), by_criteria)
    assert list(one.criteria) == ["facts"]
    assert "criteria" not in pairwise.read({"choice": "a"}, by_criteria).to_json()


@pytest.mark.parametrize(
    ("criteria", "field"),
    [
        ({"tone": "a4"}, "criteria.tone"),
        ({"tone": 2}, "criteria.tone"),
        ({"tone": ["a1"]}, "criteria.tone"),
        ({"wit": "a1"}, "criteria.wit"),
        (["a1"], "criteria"),
    ],
)
def test_a_wrong_word_on_a_criterion_names_it(by_criteria, criteria, field):
    with pytest.raises(Invalid) as refusal:
        pairwise.read({"choice": "a", "criteria": criteria}, by_criteria)
    assert refusal.value.field == field


@pytest.mark.django_db
def test_a_study_may_want_a_word_on_every_criterion():
    options = {"criteria": CRITERIA, "criteria_required": True}
    study = studies.study({"kind": "pairwise", "options": options}, items=1, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    with pytest.raises(Invalid, match="Facts is not judged yet") as refusal:
        pairwise.read({"choice": "a", "criteria": {"tone": "a1"}}, turn)
    assert refusal.value.field == "criteria.facts"
    assert pairwise.read({"choice": "a", "criteria": {"tone": "a1", "facts": "b3"}}, turn)


@pytest.mark.django_db
@pytest.mark.parametrize("choice", ["a", "b", "tie"])
def test_a_record_signs_its_criteria_toward_what_it_calls_chosen(choice):
    study = studies.study({"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=1, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    given = studies.answer(turn, {"choice": choice, "criteria": {"tone": "a3", "facts": "b1"}})
    (pair,) = pairwise.records(given)
    left = turn.candidates[0].text
    assert pair.criteria == ({"tone": 3, "facts": -1} if pair.chosen == left else {"tone": -3, "facts": 1})
    if choice != "tie":
        assert pair.chosen == turn.candidates["ab".index(choice)].text


@pytest.mark.django_db
def test_an_undo_brings_back_the_criteria_as_they_stood_on_the_screen():
    study = studies.study({"kind": "pairwise", "options": {"criteria": CRITERIA}}, items=1, members=1)
    (ada,) = studies.annotators(study)
    studies.label_next(study, ada, {"choice": "b", "criteria": {"tone": "a3", "facts": "tie"}})
    shown = pairwise.show(services.undo_last(study=study, annotator=ada))
    assert shown["answer"]["criteria"] == {"tone": "a3", "facts": "tie"}
    assert [one["given"] for one in shown["criteria"]] == ["a3", "tie"]


def test_criteria_of_a_comparison_are_written_a_line_each():
    text = "tone | Tone | Which one sounds kinder?\r\n\n facts|Facts|Which one has them right? \n"
    criteria = pairwise.from_text(text)
    assert [asdict(one) for one in criteria] == CRITERIA
    assert pairwise.from_text(pairwise.as_text(criteria)) == criteria
    data = {
        "name": "x",
        "overlap": "1",
        "ask_pairwise": "on",
        "pairwise.criteria": text,
        "pairwise.pairs": "all",
    }
    asked = NewStudyForm(data).fields["pairwise.criteria"].clean(text)
    assert asked == criteria


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tone", "key | label | question"),
        ("tone | Tone | Which? | More", "key | label | question"),
        ("to:ne | Tone | Which?", "cannot name a criterion"),
        ("tone | | Which?", "expected one line"),
        ("tone | A | B?\ntone | C | D?", "same name"),
        ("\n".join(f"c{n} | C | D?" for n in range(13)), "up to 12"),
    ],
)
def test_a_wrong_line_of_a_comparisons_criteria_says_what_is_wrong(text, words):
    with pytest.raises(Invalid) as refusal:
        pairwise.from_text(text)
    assert words in str(refusal.value)
    assert refusal.value.field == "options.criteria"


@pytest.mark.django_db
def test_an_undone_edit_brings_back_the_text():
    study = studies.study("edit", items=1, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    assert edit.show(turn)["answer"] == {"text": turn.candidates[0].text}
    services.submit_label(task=turn.task, annotator=ada, answer={"text": "Mine."}, key=uuid4())
    assert edit.show(services.undo_last(study=study, annotator=ada))["answer"] == {"text": "Mine."}


# --- rating

TONE = {"name": "tone", "question": "How does it sound?", "anchors": ["Rude", "Plain", "Kind"]}
THUMBS = {"name": "right", "question": "Is it right?", "anchors": ["No", "Yes"]}


@pytest.fixture
def rated(db):
    """A turn at rating an answer by two criteria."""
    study = studies.study(
        {"kind": "rating", "options": {"criteria": [TONE, THUMBS]}}, items=1, answers=3, members=1
    )
    return studies.claim(study, studies.annotators(study)[0])


def test_every_answer_is_rated_by_itself():
    candidates = [Candidate(index=n) for n in range(3)]
    assert rating.tasks(candidates, rating.Options()) == [[one] for one in candidates]


def test_scores_come_from_a_form_or_as_json_and_say_how_many_points_there_were(rated):
    said = {
        "candidate": rated.candidates[0].pk,
        "scores": {"tone": 3, "right": 1},
        "scale": {"tone": 3, "right": 2},
    }
    assert asdict(rating.read(QueryDict("score.tone=3&score.right=1"), rated)) == said
    assert asdict(rating.read({"scores": {"tone": 3, "right": 1}}, rated)) == said


@pytest.mark.parametrize(
    ("post", "field"),
    [
        ({}, "scores.tone"),
        ({"scores": [3]}, "scores"),
        ({"scores": {"tone": 3}}, "scores.right"),
        ({"scores": {"tone": 4, "right": 1}}, "scores.tone"),
        ({"scores": {"tone": 0, "right": 1}}, "scores.tone"),
        ({"scores": {"tone": True, "right": 1}}, "scores.tone"),
        ({"scores": {"tone": 2.0, "right": 1}}, "scores.tone"),
        ({"scores": {"tone": 2, "right": 1, "wit": 1}}, "scores.wit"),
        ({"score.tone": "2", "score.right": "yes"}, "scores.right"),
    ],
)
def test_a_wrong_rating_names_the_criterion(rated, post, field):
    with pytest.raises(Invalid) as refusal:
        rating.read(post, rated)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "criteria",
    [
        [],
        "tone",
        [TONE, TONE],
        [{**TONE, "anchors": ["Only one"]}],
        [{**TONE, "anchors": [str(n) for n in range(8)]}],
        [{**TONE, "anchors": ["Rude", ""]}],
        [{**TONE, "name": "to: ne"}],
        [{**TONE, "colour": 1}],
        [{**TONE, "question": 7}],
        [{**TONE, "question": "\ud800"}],
    ],
)
def test_criteria_that_cannot_be_asked_are_refused(criteria):
    with pytest.raises(Invalid) as refusal:
        read_interfaces([{"kind": "rating", "options": {"criteria": criteria}}])
    assert refusal.value.field == "options.criteria"


def test_criteria_are_written_in_the_study_form_as_lines():
    text = "tone: How does it sound?\r\n1 Rude\n2. Plain\n3) Kind\n\n \nright: Is it right?\n1 No\n2 Yes\n"
    data = {
        "name": "Tone",
        "overlap": "1",
        "ask_rating": "on",
        "rating.criteria": text,
        "pairwise.pairs": "all",
    }
    form = NewStudyForm(data)
    assert form.is_valid(), form.errors
    asked = read_interfaces(form.interfaces())
    assert [one["name"] for one in asked[0]["options"]["criteria"]] == ["tone", "right"]
    assert rating.Options(**asked[0]["options"]) == rating.Options(criteria=[TONE, THUMBS])
    assert rating.from_text(
        rating.as_text(rating.Options(criteria=[TONE, THUMBS]).criteria)
    ) == rating.from_text(text)

    left_empty = NewStudyForm({**data, "rating.criteria": " "})
    assert left_empty.is_valid()
    (asked,) = read_interfaces(left_empty.interfaces())
    assert rating.Options(**asked["options"]) == rating.Options()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tone", "name: question"),
        ("tone: How?\n1 Rude\n3 Kind", "expected “2”"),
        ("tone: How?\n1 Rude", "has 1 points"),
        ("tone: How?\n1 Rude\n2 Kind\nright: Is it?\n1 No\n2 Yes", "blank line"),
    ],
)
def test_a_wrong_line_of_criteria_is_shown_at_its_field(text, words):
    form = NewStudyForm(
        {"name": "x", "overlap": "1", "ask_rating": "on", "rating.criteria": text, "pairwise.pairs": "all"}
    )
    assert not form.is_valid()
    assert words in form.errors["rating.criteria"][0]


@pytest.mark.django_db
def test_an_undone_rating_brings_back_the_scores():
    study = studies.study("rating", items=1, answers=1, members=1)
    (ada,) = studies.annotators(study)
    assert rating.show(studies.claim(study, ada))["answer"] is None
    studies.label_next(study, ada, {"scores": {"quality": 2}})
    shown = rating.show(services.undo_last(study=study, annotator=ada))
    assert shown["answer"] == {"scores": {"quality": 2}}
    assert shown["criteria"][0]["given"] == 2


# --- ranking


@pytest.fixture
def ordering(db):
    study = studies.study("ranking", items=1, answers=4, members=1)
    return studies.claim(study, studies.annotators(study)[0])


def test_an_item_is_ranked_once_and_one_answer_never():
    candidates = [Candidate(index=n) for n in range(9)]
    assert ranking.tasks(candidates, ranking.Options()) == [candidates]
    assert ranking.tasks(candidates[:1], ranking.Options()) == []


def test_places_come_from_a_form_or_as_json_and_only_their_order_counts(ordering):
    first, second, third, fourth = sorted(candidate.pk for candidate in ordering.candidates)
    said = {"candidates": [first, second, third, fourth], "ranks": [2, 1, 2, None]}
    form = QueryDict(f"rank.{first}=4&rank.{second}=2&rank.{third}=4&rank.{fourth}=")
    assert asdict(ranking.read(form, ordering)) == said
    assert asdict(ranking.read({"ranks": {str(first): 2, str(second): 1, str(third): 2}}, ordering)) == said


def test_a_wrong_order_names_what_is_wrong(ordering):
    first, second, *_ = (str(candidate.pk) for candidate in ordering.candidates)
    for post, field in [
        ({}, "ranks"),
        ({"ranks": [1, 2]}, "ranks"),
        ({"ranks": {first: 1}}, "ranks"),
        ({"ranks": {first: 1, "0": 2}}, "ranks.0"),
        ({"ranks": {first: 1, second: 5}}, f"ranks.{second}"),
        ({"ranks": {first: True, second: 2}}, f"ranks.{first}"),
        ({f"rank.{first}": "1", f"rank.{second}": "best"}, f"ranks.{second}"),
    ]:
        with pytest.raises(Invalid) as refusal:
            ranking.read(post, ordering)
        assert refusal.value.field == field, post


@pytest.mark.django_db
def test_a_study_may_want_every_answer_placed():
    study = studies.study({"kind": "ranking", "options": {"partial": False}}, items=1, answers=3, members=1)
    turn = studies.claim(study, studies.annotators(study)[0])
    places = studies.in_the_order_shown(turn)
    assert ranking.read({"ranks": places}, turn)
    places.popitem()
    with pytest.raises(Invalid, match="every answer placed"):
        ranking.read({"ranks": places}, turn)


@pytest.mark.django_db
@pytest.mark.parametrize(("answers", "taken"), [(1, False), (2, True), (9, True), (10, False)])
def test_two_to_nine_answers_can_be_ranked(answers, taken):
    study = studies.study("ranking", items=0)
    item = {"context": {"prompt": "?"}, "candidates": [str(n) for n in range(answers)]}
    if taken:
        assert len(services.add_items(study=study, items=[item])) == 1
    else:
        with pytest.raises(Invalid, match="expected 2 to 9"):
            services.add_items(study=study, items=[item])


@pytest.mark.django_db
def test_an_undone_order_brings_back_the_places():
    study = studies.study("ranking", items=1, answers=3, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada)
    one, two, three = (str(candidate.pk) for candidate in turn.candidates)
    assert ranking.show(turn)["answer"] is None
    studies.answer(turn, {"ranks": {one: 1, three: 1}})
    shown = ranking.show(services.undo_last(study=study, annotator=ada))
    assert shown["answer"] == {"ranks": {one: 1, two: None, three: 1}}
    assert [candidate["given"] for candidate in shown["candidates"]] == [1, None, 1]
