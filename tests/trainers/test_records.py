"""Records: what is said survives the file, and what is no record says where, what and how to mend it."""

from __future__ import annotations

import json

import pytest

from trainers import records
from trainers.records import (
    ClipPair,
    Correction,
    Critique,
    Demonstration,
    Drive,
    EpisodeMark,
    LanguageCorrection,
    Message,
    Pair,
    Ranking,
    Rating,
    RecordError,
    Span,
    StepLabels,
    from_trl,
    parse,
    to_trl,
)

CHAT = (Message("system", "Be brief."), Message("user", "Hi"))
EPISODE, OTHER = "0123456789abcdef" * 2, "f" * 32
ALL = [
    Pair("1", "How?", "So.", "Thus.", "tie", 2.0, 0.5, "ann", "both fine", {"run": 3}),
    Pair("2", CHAT, "Hello!", "What?"),
    Correction("3", "Где?", "there", "здесь", annotator="bob"),
    Demonstration("4", CHAT, "Hello!", source={"nested": {"b": 1, "a": [2]}}),
    Ranking("6", CHAT, ("a", "b", "c"), (2, 1, None), 0.5, "ann", {"run": 3}),
    Rating("5", "How?", "So.", {"tone": 3, "right": 1}, {"tone": 7, "right": 2}, 0.5, "ann"),
    Pair("7", "How?", "So.", "Thus.", criteria={"right": 3, "tone": -1, "wit": 0}),
    Critique(
        "8",
        CHAT,
        "😀 שלום, so it is.",
        (Span(2, 6, "Irrelevant"), Span(0, 6, "Wrong-Grounding", "not \u2028 said")),
        ("the year", "the place"),
        "short",
        "So it was.",
        0.5,
        "ann",
        {"run": 3},
    ),
    Critique("9", "How?", "So.", ()),
    StepLabels("10", "1+1?", ("one", "and one", "is 3", "so 3"), (1, 0, -1, None), 2, 0.5, "ann", {"run": 3}),
    StepLabels("11", "1+1?", ("is 2",), (1,), None),
    ClipPair(
        "12",
        "Pack it.",
        f"clip:{EPISODE}:0-20",
        f"clip:{OTHER}:5-25",
        "tie",
        2.0,
        0.5,
        "ann",
        (f"clip:{EPISODE}:3-9", f"clip:{OTHER}:24-25"),
        {"run": 3},
    ),
    ClipPair("13", "Pack it.", f"clip:{EPISODE}:0-20", f"clip:{EPISODE}:20-40"),
    LanguageCorrection(
        "14",
        "Pack it.",
        EPISODE,
        40,
        52,
        "no, more left",
        "move left",
        "command",
        "correction",
        True,
        "grasp the mug",
        0.5,
        "ann",
        {"run": 3},
    ),
    LanguageCorrection("15", "Pack it.", EPISODE, 0, 1, "", "", type="rejected", live=False),
    LanguageCorrection("16", "Pack it.", EPISODE, 3, 9, "左", "down", layer="motion"),
    Drive("17", "Pack it.", EPISODE, 0, 300, 0.5, "ann", {"run": 3}),
    EpisodeMark("18", "Pack it.", EPISODE, True, {"1. mug": True, "2. cup": False}, 0.5, "ann", {"run": 3}),
    EpisodeMark("19", "Pack it.", EPISODE, False),
]
OF_OLD = """
{"annotator":"ann","chosen":"So.","id":"1","kind":"pair","outcome":"tie","prompt":"How?","reason":"both fine","rejected":"Thus.","source":{"run":3},"strength":2.0,"weight":0.5}
{"annotator":"","chosen":"Hello!","id":"2","kind":"pair","outcome":"chosen","prompt":[{"content":"Be brief.","role":"system"},{"content":"Hi","role":"user"}],"reason":"","rejected":"What?","source":{},"strength":1.0,"weight":1.0}
{"annotator":"bob","edited":"здесь","id":"3","kind":"correction","original":"there","prompt":"Где?","source":{},"weight":1.0}
{"annotator":"","answer":"Hello!","id":"4","kind":"demonstration","prompt":[{"content":"Be brief.","role":"system"},{"content":"Hi","role":"user"}],"source":{"nested":{"a":[2],"b":1}},"weight":1.0}
{"annotator":"ann","answers":["a","b","c"],"id":"6","kind":"ranking","prompt":[{"content":"Be brief.","role":"system"},{"content":"Hi","role":"user"}],"ranks":[2,1,null],"source":{"run":3},"weight":0.5}
{"annotator":"ann","answer":"So.","id":"5","kind":"rating","prompt":"How?","scale":{"right":2,"tone":7},"scores":{"right":1,"tone":3},"source":{},"weight":0.5}
""".strip().split("\n")  # noqa: E501
"""The first six of ALL, byte for byte as snapshots hold them."""


def paired(**change) -> str:
    row = {"kind": "pair", "id": "1", "prompt": "p", "chosen": "a", "rejected": "b"}
    return json.dumps({**row, **change})


def criticised(*spans, **change) -> str:
    row = {"kind": "critique", "id": "1", "prompt": "p", "answer": "🙂 so", "spans": list(spans)}
    return json.dumps({**row, **change})


def stretch(start=0, end=1, type="Redundant", **change) -> dict:
    return {"start": start, "end": end, "type": type, **change}


def stepped(**change) -> str:
    row = {"kind": "step_labels", "id": "1", "prompt": "p", "steps": ["a", "b"], "labels": [1, -1]}
    return json.dumps({**row, "first_wrong": 1, **change})


def compared(**change) -> str:
    row = {"kind": "clip_pair", "id": "1", "prompt": "p", "chosen": f"clip:{EPISODE}:0-20"}
    return json.dumps({**row, "rejected": f"clip:{OTHER}:0-20", **change})


def corrected(**change) -> str:
    row = {"kind": "language_correction", "id": "1", "prompt": "p", "episode": EPISODE, "start": 2, "stop": 5}
    return json.dumps({**row, "text": "left", "command": "move left", **change})


def driven(**change) -> str:
    row = {"kind": "drive", "id": "1", "prompt": "p", "episode": EPISODE, "start": 2, "stop": 5}
    return json.dumps({**row, **change})


def marked(**change) -> str:
    row = {"kind": "episode_mark", "id": "1", "prompt": "p", "episode": EPISODE, "success": True}
    return json.dumps({**row, **change})


def rated(**change) -> str:
    row = {
        "kind": "rating",
        "id": "1",
        "prompt": "p",
        "answer": "a",
        "scores": {"tone": 1},
        "scale": {"tone": 5},
    }
    return json.dumps({**row, **change})


def ranked(**change) -> str:
    row = {"kind": "ranking", "id": "1", "prompt": "p", "answers": ["a", "b", "c"], "ranks": [1, 2, 2]}
    return json.dumps({**row, **change})


@pytest.mark.parametrize("record", ALL, ids=lambda record: record.id)
def test_a_record_written_and_read_is_the_same_record_with_the_same_bytes(record):
    line = records.dumps(record)
    assert parse(line, 1) == record
    assert records.dumps(parse(line, 1)) == line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("line", "field", "found"),
    [
        ("{", "", "not JSON"),
        ("[1]", "", "found [1]"),
        ('{"id": "1"}', "kind", "found nothing"),
        ('{"kind": "pear", "id": "1"}', "kind", 'found "pear"'),
        ('{"kind": "pair", "id": "1", "prompt": "p", "chosen": "a"}', "rejected", "found nothing"),
        ('{"kind": "pair", "id": "", "prompt": "p", "chosen": "a", "rejected": "b"}', "id", "empty"),
        ('{"kind": "pair", "id": "1", "prompt": 3, "chosen": "a", "rejected": "b"}', "prompt", "found 3"),
        ('{"kind": "pair", "id": "1", "prompt": [], "chosen": "a", "rejected": "b"}', "prompt", "found []"),
        (
            '{"kind": "pair", "id": "1", "prompt": [{"role": "bot", "content": ""}], "chosen": "", "rejected": ""}',
            "prompt[0].role",
            'found "bot"',
        ),
        (
            '{"kind": "pair", "id": "1", "prompt": "p", "chosen": "a", "rejected": "b", "weight": -1}',
            "weight",
            "found -1",
        ),
        (
            '{"kind": "pair", "id": "1", "prompt": "p", "chosen": "a", "rejected": "b", "weight": "1"}',
            "weight",
            'found "1"',
        ),
        (
            '{"kind": "pair", "id": "1", "prompt": "p", "chosen": "a", "rejected": "b", "outcome": "left"}',
            "outcome",
            'found "left"',
        ),
        (
            '{"kind": "demonstration", "id": "1", "prompt": "p", "answer": "a", "tone": 1}',
            "tone",
            "no such field",
        ),
        ('{"kind": "demonstration", "id": "1", "prompt": "p", "answer": "\\u0000"}', "answer", "NUL"),
        ('{"kind": "demonstration", "id": "1", "prompt": "p", "answer": "\\ud800"}', "answer", "surrogate"),
        (compared(chosen="clip:../../etc:0-20"), "chosen", 'found "clip:../../etc:0-20"'),
        (compared(chosen=f"clip:{EPISODE}:20-20"), "chosen", "found"),
        (compared(chosen=f"clip:{EPISODE}:-1-20"), "chosen", "found"),
        (compared(chosen=f"clip:{EPISODE.upper()}:0-20"), "chosen", "found"),
        (compared(chosen=f"clip:{EPISODE}:0-٢٠"), "chosen", "found"),
        (compared(rejected=None), "rejected", "found nothing"),
        (compared(rejected=f"clip:{EPISODE}:0-20"), "rejected", "is the chosen clip"),
        (compared(outcome="left"), "outcome", 'found "left"'),
        (compared(marks=f"clip:{EPISODE}:1-2"), "marks", "found"),
        (compared(marks=[f"clip:{EPISODE}:19-21"]), "marks[0]", "19-21"),
        (compared(strength="2"), "strength", 'found "2"'),
        (corrected(episode="../../../etc/passwd"), "episode", "found"),
        (corrected(start=5), "stop", "found 5 to 5"),
        (corrected(start=-1), "stop", "found -1 to 5"),
        (corrected(start=True), "start", "found true"),
        (corrected(stop=2.5), "stop", "found 2.5"),
        (corrected(command=" "), "command", "is empty"),
        (corrected(layer="arm"), "layer", 'found "arm"'),
        (corrected(type="praise"), "type", 'found "praise"'),
        (corrected(live=1), "live", "found 1"),
        (corrected(steps=3), "steps", "no such field"),
        (driven(stop=None), "stop", "found nothing"),
        (driven(episode=7), "episode", "found 7"),
        (marked(success=1), "success", "found 1"),
        (marked(stages=["mug"]), "stages", "found"),
        (marked(stages={"1. mug": 0.5}), "stages.1. mug", "found 0.5"),
        (marked(stages={"1. mug\x00": True}), "stage", "NUL"),
        (rated(scores=3), "scores", "found 3"),
        (rated(scores={}, scale={}), "scores", "judge nothing"),
        (rated(scores={"wit": 1}), "scores", "judge wit; the scale is of tone"),
        (rated(scores={"tone": "1"}), "scores.tone", 'found "1"'),
        (rated(scores={"tone": True}), "scores.tone", "found true"),
        (rated(scores={"tone": 6}), "scores.tone", "found 6"),
        (rated(scale={"tone": 8}), "scale.tone", "found 8"),
        (ranked(answers="a"), "answers", 'found "a"'),
        (ranked(answers=["a"]), "answers", 'found ["a"]'),
        (ranked(answers=["a", 1, "c"]), "answers[1]", "found 1"),
        (ranked(answers=["a"] * 10), "answers", "found"),
        (ranked(ranks=[1, 2]), "ranks", "found 2 for 3 answers"),
        (ranked(ranks=[1, 2, "3"]), "ranks", 'found "3"'),
        (ranked(ranks=[1, True, 2]), "ranks", "found true"),
        (ranked(ranks=[1, None, None]), "ranks", "found [1, null, null]"),
        (ranked(ranks=[1, 3, 3]), "ranks", "found [1, 3, 3]"),
        (ranked(ranks=[0, 1, 2]), "ranks", "found [0, 1, 2]"),
        (paired(criteria=[1]), "criteria", "found [1]"),
        (paired(criteria={"tone": 0.5}), "criteria.tone", "found 0.5"),
        (paired(criteria={"tone": -4}), "criteria.tone", "found -4"),
        (paired(annotator=3), "annotator", "found 3"),
        (paired(source=[]), "source", "found []"),
        (json.dumps({"kind": "critique", "id": "1", "prompt": "p", "answer": "a"}), "spans", "missing"),
        (criticised(spans={}), "spans", "found {}"),
        (criticised([0, 1]), "spans[0]", "found [0, 1]"),
        (criticised(stretch(), stretch(end=5)), "spans[1].end", "found characters 0 to 5"),
        (criticised(stretch(-1)), "spans[0].start", "found characters -1 to 1"),
        (criticised(stretch(2, 2)), "spans[0].end", "found characters 2 to 2"),
        (criticised(stretch(3, 2)), "spans[0].end", "found characters 3 to 2"),
        (criticised(stretch(4, 5)), "spans[0].start", "found characters 4 to 5"),
        (criticised(stretch(True)), "spans[0].start", "found true"),
        (criticised(stretch(end="1")), "spans[0].end", 'found "1"'),
        (criticised(stretch(type="")), "spans[0].type", "empty"),
        (criticised(stretch(type=None)), "spans[0].type", "found nothing"),
        (criticised(stretch(note=1)), "spans[0].note", "found 1"),
        (criticised(stretch(tone=1)), "spans[0].tone", "no such field"),
        (criticised(missing="all"), "missing", 'found "all"'),
        (criticised(missing=["a", 1]), "missing[1]", "found 1"),
        (criticised(note=1), "note", "found 1"),
        (criticised(rewrite=["a"]), "rewrite", 'found ["a"]'),
        (criticised(answer=1), "answer", "found 1"),
        (stepped(steps=[]), "steps", "found []"),
        (stepped(steps="a"), "steps", 'found "a"'),
        (stepped(steps=["a", 2]), "steps[1]", "found 2"),
        (stepped(labels=[1]), "labels", "found 1 for 2 steps"),
        (stepped(labels=[1, 2]), "labels[1]", "found 2"),
        (stepped(labels=[True, -1]), "labels[0]", "found true"),
        (stepped(labels=[1.0, -1]), "labels[0]", "found 1.0"),
        (stepped(first_wrong="1"), "first_wrong", 'found "1"'),
        (stepped(first_wrong=0), "first_wrong", "found 0"),
        (stepped(first_wrong=2), "first_wrong", "found 2"),
        (stepped(labels=[-1, -1]), "first_wrong", "found 1 with the labels [-1, -1]"),
    ],
)
def test_what_is_no_record_names_line_field_finding_and_cure(line, field, found):
    with pytest.raises(RecordError) as caught:
        parse(line, 12)
    error = caught.value
    assert (error.line, error.field) == (12, field)
    assert found in error.message and error.cure
    assert str(error).startswith("Line 12")


@pytest.mark.parametrize(("record", "line"), list(zip(ALL[:6], OF_OLD, strict=True)))
def test_a_record_of_an_older_file_is_read_and_keeps_its_bytes(record, line):
    assert parse(line, 1) == record
    assert records.dumps(parse(line, 1)) == line


def test_every_kind_of_record_is_among_those_tried_here():
    assert {record.kind for record in ALL} == set(records.KINDS)


def test_a_record_stands_on_each_of_its_episodes_once():
    one, other = EPISODE, OTHER
    for clips, expected in [
        ((f"clip:{one}:0-20", f"clip:{one}:20-40"), (one,)),
        ((f"clip:{one}:0-20", f"clip:{other}:20-40"), (one, other)),
    ]:
        assert records.robots.episodes_of(ClipPair("1", "Pack it.", *clips)) == expected
    assert records.robots.episodes_of(Drive("1", "Pack it.", one, 0, 9)) == (one,)
    assert records.robots.episodes_of(Pair("1", "p", "a", "b")) == ()


def test_a_span_counts_characters_and_not_the_halves_that_a_browser_counts():
    critique = parse(criticised(stretch(2, 4)), 1)
    span = critique.spans[0]
    assert critique.answer[span.start : span.end] == "so"


def test_trls_plain_and_conversational_preferences_are_read():
    assert from_trl({"prompt": "p", "chosen": "a", "rejected": "b"}, 1) == Pair(
        from_trl({"prompt": "p", "chosen": "a", "rejected": "b"}, 9).id, "p", "a", "b"
    )
    said = [{"role": "user", "content": "Hi"}]
    row = {
        "id": 7,
        "prompt": said,
        "chosen": [{"role": "assistant", "content": "Hello"}],
        "rejected": [{"role": "assistant", "content": "What"}],
    }
    assert from_trl(row, 1) == Pair("7", (Message("user", "Hi"),), "Hello", "What")


def test_what_both_answers_begin_with_is_trls_implicit_prompt():
    plain = from_trl({"chosen": "The sky is blue.", "rejected": "The sky is green."}, 1)
    assert (plain.prompt, plain.chosen, plain.rejected) == ("The sky is", " blue.", " green.")
    said = [{"role": "user", "content": "Hi"}]
    chat = from_trl(
        {
            "chosen": [*said, {"role": "assistant", "content": "Yes"}],
            "rejected": [*said, {"role": "assistant", "content": "No"}],
        },
        1,
    )
    assert (chat.prompt, chat.chosen, chat.rejected) == ((Message("user", "Hi"),), "Yes", "No")


def test_dialogues_in_the_spelling_of_hh_rlhf_become_messages():
    start = "\n\nHuman: Hi\n\nAssistant: Hello, human: you.\n\nHuman: Is it?\n\nAssistant:"
    pair = from_trl({"chosen": f"{start} It is.", "rejected": f"{start} It was."}, 1)
    assert pair.prompt == (
        Message("user", "Hi"),
        Message("assistant", "Hello, human: you."),
        Message("user", "Is it?"),
    )
    assert (pair.chosen, pair.rejected) == ("It is.", "It was.")
    one = "\n\nHuman: Hi\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant: Because."
    other = "\n\nHuman: Hi\n\nAssistant: Yes."
    uneven = from_trl({"chosen": one, "rejected": other}, 1)
    assert uneven.prompt == (Message("user", "Hi"),)
    assert uneven.chosen == "No.\n\nHuman: Why?\n\nAssistant: Because."


def test_trls_demonstrations_are_read():
    assert from_trl({"prompt": "p", "completion": "c"}, 1).answer == "c"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    found = from_trl({"messages": turns}, 1)
    assert (
        isinstance(found, Demonstration)
        and found.prompt == (Message("user", "Hi"),)
        and found.answer == "Hello"
    )


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"text": "x"}, ""),
        ({"prompt": "p", "chosen": "a"}, "rejected"),
        ({"prompt": "p", "completion": "c", "label": True}, "label"),
        ({"prompt": "p", "chosen": [{"role": "user", "content": "a"}], "rejected": "b"}, "chosen"),
        ({"messages": [{"role": "user", "content": "a"}]}, "messages"),
        (
            {
                "chosen": [{"role": "user", "content": "1"}, {"role": "assistant", "content": ""}],
                "rejected": [{"role": "user", "content": "2"}, {"role": "assistant", "content": ""}],
            },
            "rejected",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "id": True}, "id"),
    ],
)
def test_a_trl_row_that_cannot_be_read_names_its_field(row, field):
    with pytest.raises(RecordError) as caught:
        from_trl(row, 3)
    assert (caught.value.line, caught.value.field) == (3, field)


@pytest.mark.parametrize("record", [ALL[1], ALL[3], Pair("5", "p", "a", "b"), Demonstration("6", "p", "a")])
def test_what_goes_out_as_trl_comes_back(record):
    back = from_trl({"id": record.id, **to_trl(record)}, 1)
    assert (back.prompt, to_trl(back)) == (record.prompt, to_trl(record))


def test_a_correction_goes_out_as_a_preference_and_a_tie_not_at_all():
    assert to_trl(ALL[2]) == {"prompt": "Где?", "chosen": "здесь", "rejected": "there"}
    assert to_trl(ALL[0]) is None


def test_a_critiques_rewrite_goes_out_once_as_the_correction_written_with_it():
    critique = next(record for record in ALL if isinstance(record, Critique) and record.rewrite)
    same = Correction("8-rewrite", critique.prompt, critique.answer, critique.rewrite)
    assert [to_trl(critique), to_trl(same)["chosen"][0]["content"]] == [None, critique.rewrite]


def test_labelled_steps_do_not_go_out_as_trl():
    assert to_trl(StepLabels("1", "p", ("a",), (1,), None)) is None


def test_a_ranking_is_its_pairs_better_over_worse_and_counts_as_its_decisions():
    ranking = Ranking("r", "p", ("a", "b", "c", "d"), (2, 1, 2, None), 0.6, "ann", {"run": 3})
    pairs = ranking.pairs()
    assert [(pair.chosen, pair.rejected, pair.outcome) for pair in pairs] == [
        ("b", "a", "chosen"),
        ("a", "c", "tie"),
        ("b", "c", "chosen"),
    ]
    assert sum(pair.weight for pair in pairs) == pytest.approx(0.6 * 2)  # three have a rank: two decisions
    assert len({pair.id for pair in pairs}) == 3
    assert {(pair.prompt, pair.annotator) for pair in pairs} == {("p", "ann")}
    nine = Ranking("n", "p", tuple("abcdefghi"), tuple(range(1, 10)))
    assert sum(pair.weight for pair in nine.pairs()) == pytest.approx(8)
    assert to_trl(ranking) is None and to_trl(pairs[0]) == {"prompt": "p", "chosen": "b", "rejected": "a"}
