"""Live conversations: whose turn it is, what a late or a second request does, what is written down at the end."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from django.db import connection
from django.http import Http404
from django.test import Client

from annotation import exchanges, services
from annotation.errors import Conflict, Invalid
from annotation.exchanges import Answer
from annotation.forms import NewStudyForm
from annotation.interfaces import conversation
from annotation.interfaces.registry import read_interfaces
from annotation.models import Candidate, Exchange, Label, Part
from annotation.snapshots import freeze
from tests.annotation import studies
from trainers import records

JSON = {"headers": {"Accept": "application/json"}}


@pytest.fixture(autouse=True)
def sent(monkeypatch) -> list[int]:
    """The exchanges that a worker was called for; none comes."""
    called: list[int] = []
    monkeypatch.setattr(exchanges, "send", called.append)
    return called


def talk(context=None, members=1, **options):
    """A study of one scenario, and the turns at it of its annotators."""
    study = studies.study(
        {"kind": "conversation", "options": options}, items=0, members=members, overlap=members
    )
    services.add_items(study=study, items=[{"context": context or {"prompt": "You are a guest."}}])
    return study, [studies.claim(study, person) for person in studies.annotators(study)]


def by(turn) -> dict:
    return {"task": turn.task.pk, "annotator": turn.assignment.annotator}


def say(turn, number: int, text: str) -> Exchange:
    return exchanges.say(**by(turn), number=number, text=text)


def answer(exchange: Exchange, *texts: str) -> bool:
    """What a worker stores: one text of each model."""
    made = [Answer(text, f"model-{n}", {"seed": n}) for n, text in enumerate(texts)]
    return exchanges.take_answers(exchange.pk, made)


def exchange_words(turn, number: int, text: str, *texts: str, choice: str = "a") -> list[str]:
    """One whole turn; the answers as they were shown."""
    answer(say(turn, number, text), *texts)
    exchanges.choose(**by(turn), number=number, choice=choice)
    return [one.text for one in exchanges.turns_of(turn.assignment.pk)[number].replies]


def state(turn) -> str:
    return exchanges.state_of(exchanges.turns_of(turn.assignment.pk))


def submit(turn) -> Label:
    return services.submit_label(
        task=turn.task,
        annotator=turn.assignment.annotator,
        answer={"turns": "what a browser says"},
        key=uuid4(),
    )


# --- whose turn it is


@pytest.mark.django_db
def test_a_turn_goes_from_a_message_over_two_answers_to_the_next_message():
    _, (turn,) = talk()
    assert state(turn) == "yours"
    said = say(turn, 0, "Is it warm?")
    assert state(turn) == "waiting" and said.wanted == 2
    assert answer(said, "Yes.", "No.")
    assert state(turn) == "choose"
    exchanges.choose(**by(turn), number=0, choice="b")
    assert state(turn) == "yours"
    (first,) = exchanges.turns_of(turn.assignment.pk)
    assert first.chosen == first.replies[1] and first.outcome == "chosen"
    models_read = exchanges.messages_before(turn.item, [first], "And now?")
    assert [one["content"] for one in models_read] == ["Is it warm?", first.replies[1].text, "And now?"]


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_neither_answer_is_better_and_the_conversation_goes_on_from_the_first_shown(outcome):
    _, (turn,) = talk()
    shown = exchange_words(turn, 0, "Hello", "One.", "Two.", choice=outcome)
    (first,) = exchanges.turns_of(turn.assignment.pk)
    assert (first.goes_on.text, first.outcome) == (shown[0], outcome)


@pytest.mark.django_db
def test_the_sides_are_drawn_by_chance_and_no_id_follows_the_models():
    study, (turn,) = talk(most_turns=24)
    first_shown = set()
    for number in range(20):
        answer(say(turn, number, f"Message {number}"), "newest", "rival")
        replies = exchanges.turns_of(turn.assignment.pk)[number].replies
        assert [one.pk for one in replies] == sorted(
            one.pk for one in replies
        )  # ids and places in the order shown
        assert [one.index for one in replies] == [2 * number, 2 * number + 1]
        first_shown.add(replies[0].text)
        exchanges.choose(**by(turn), number=number, choice="a")
    assert first_shown == {"newest", "rival"}  # 1 in 500,000 that twenty draws are alike


@pytest.mark.django_db
def test_of_one_model_there_is_nothing_to_choose():
    _, (turn,) = talk(models=1)
    answer(say(turn, 0, "Hello"), "Good day.")
    assert state(turn) == "yours"
    (first,) = exchanges.turns_of(turn.assignment.pk)
    assert (first.chosen.text, first.outcome) == ("Good day.", "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("do", "refusal", "words"),
    [
        (lambda turn: say(turn, 1, "More"), Conflict, "Choose an answer"),
        (lambda turn: say(turn, 0, "Other words"), Conflict, "another window"),
        (lambda turn: say(turn, 1, "  \r\n"), Invalid, "nothing written"),
        (lambda turn: say(turn, 1, "x\x00"), Invalid, "NUL"),
        (lambda turn: say(turn, 1, "x" * 20_001), Invalid, "20,001"),
        (lambda turn: say(turn, 1, None), Invalid, "expected text"),
        (lambda turn: exchanges.choose(**by(turn), number=0, choice="c"), Invalid, "'c'"),
        (lambda turn: exchanges.choose(**by(turn), number=3, choice="a"), Conflict, "another window"),
        (lambda turn: exchanges.write(**by(turn), number=0, text="Mine"), Invalid, "models alone"),
        (lambda turn: exchanges.rewrite(**by(turn), number=0, text="Mine"), Invalid, "models alone"),
        (lambda turn: exchanges.ask_again(**by(turn), number=0), Conflict, "answers already"),
        (submit, Invalid, "has no answer yet"),
    ],
)
def test_what_is_not_due_is_refused_in_words(do, refusal, words):
    _, (turn,) = talk()
    answer(say(turn, 0, "Hello"), "One.", "Two.")
    with pytest.raises(refusal, match=words):
        do(turn)
    assert state(turn) == "choose" and Label.objects.count() == 0


@pytest.mark.django_db
def test_a_conversation_ends_after_its_most_turns():
    _, (turn,) = talk(most_turns=1)
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    with pytest.raises(Invalid, match="has its 1 turns"):
        say(turn, 1, "More")
    assert submit(turn).answer["turns"][0]["said"] == "Hello"


@pytest.mark.django_db
def test_a_conversation_of_nothing_is_no_answer():
    _, (turn,) = talk()
    with pytest.raises(Invalid, match="Nothing was said"):
        submit(turn)


@pytest.mark.django_db
def test_only_who_holds_the_task_may_speak_and_a_lease_is_renewed_by_it():
    study, (turn, other) = talk(members=2)
    with pytest.raises(Http404):
        exchanges.say(task=turn.task.pk, annotator=studies.person(), number=0, text="Hello")
    studies.let_lapse(turn)
    say(turn, 0, "Still here")  # late, but nobody took the place
    turn.assignment.refresh_from_db()
    assert turn.assignment.lease_until > turn.assignment.created_at
    services.skip_task(task=turn.task, annotator=turn.assignment.annotator)
    with pytest.raises(Conflict):
        say(turn, 1, "More")
    with pytest.raises(Invalid, match="no conversation"):
        pair = studies.study(items=1, members=1)
        claim = studies.claim(pair, studies.annotators(pair)[0])
        say(claim, 0, "Hello")


# --- taking back, and answers that come late


@pytest.mark.django_db
def test_a_turn_taken_back_is_gone_and_its_late_answer_is_not_shown():
    _, (turn,) = talk()
    said = say(turn, 0, "Helo")
    assert exchanges.take_back(**by(turn), number=0) == "Helo"
    assert answer(said, "One.", "Two.") is False
    assert not Exchange.objects.exists() and not Candidate.objects.exists()
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    exchanges.take_back(**by(turn), number=0)
    assert not Candidate.objects.exists()


@pytest.mark.django_db
def test_what_a_label_names_is_kept_though_its_turn_is_taken_back():
    study, (turn,) = talk()
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    label = submit(turn)
    turn = services.undo_last(study=study, annotator=turn.assignment.annotator)
    assert conversation.show(turn)["answer"]["turns"] == label.answer["turns"]
    exchanges.take_back(**by(turn), number=0)
    assert Candidate.objects.count() == 2 and not Exchange.objects.exists()
    exchange_words(turn, 0, "Good day", "Three.", "Four.")
    assert submit(turn).answer["turns"][0]["said"] == "Good day"


@pytest.mark.django_db
def test_answers_that_come_twice_are_shown_once():
    _, (turn,) = talk()
    said = say(turn, 0, "Hello")
    assert answer(said, "One.", "Two.") and not answer(said, "Three.", "Four.")
    assert Candidate.objects.count() == 2


@pytest.mark.django_db
def test_a_problem_is_told_and_the_models_are_asked_again(sent, django_capture_on_commit_callbacks):
    _, (turn,) = talk()
    with django_capture_on_commit_callbacks(execute=True):
        said = say(turn, 0, "Hello")
    exchanges.fail(said.pk, "No model was there.")
    assert state(turn) == "problem" and conversation.show(turn)["problem"] == "No model was there."
    with django_capture_on_commit_callbacks(execute=True):
        exchanges.ask_again(**by(turn), number=0)
    assert state(turn) == "waiting" and sent == [said.pk, said.pk]
    answer(said, "One.", "Two.")
    exchanges.fail(said.pk, "Too late to fail.")
    assert state(turn) == "choose"


@pytest.mark.django_db(transaction=True)
def test_a_page_can_tell_a_worker_at_work_from_one_that_is_away():
    _, (turn,) = talk()
    said = say(turn, 0, "Hello")
    assert exchanges.progress_of(said) == "sent"
    Exchange.objects.filter(pk=said.pk).update(created_at="2024-01-01T00:00Z")
    said.refresh_from_db()
    assert exchanges.progress_of(said) == "away"
    seen = []

    def look():
        seen.append(exchanges.progress_of(said))
        with exchanges.answering(said.pk) as mine:
            seen.append(mine)
        connection.close()

    with exchanges.answering(said.pk) as mine:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert mine and seen == ["answering", False]
    assert exchanges.progress_of(said) == "away"


# --- races


def at_once(*works) -> list:
    """Does all of it in threads that begin together; what each returned, or the refusal it got."""
    gate, found = threading.Barrier(len(works)), [None] * len(works)

    def do(place, work):
        gate.wait()
        try:
            found[place] = work()
        except (Conflict, Invalid) as refusal:
            found[place] = refusal
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=one) for one in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.django_db(transaction=True)
def test_of_two_tabs_that_speak_at_once_one_is_heard_and_the_other_told():
    _, (turn,) = talk()
    for number in range(5):
        found = at_once(
            lambda n=number: say(turn, n, "From one tab"), lambda n=number: say(turn, n, "From the other")
        )
        assert sorted(type(one).__name__ for one in found) == ["Conflict", "Exchange"]
        answer(Exchange.objects.get(number=number), "One.", "Two.")
        exchanges.choose(**by(turn), number=number, choice="a")
    assert Exchange.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_the_same_message_sent_twice_is_one_turn():
    _, (turn,) = talk()
    one, other = at_once(lambda: say(turn, 0, "Hello"), lambda: say(turn, 0, "Hello"))
    assert one.pk == other.pk and Exchange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_people_who_talk_about_one_item_at_once_never_share_a_candidate():
    _, turns = talk(members=4)
    said = [say(turn, 0, "Hello") for turn in turns]
    at_once(*[lambda one=one: answer(one, f"One to {one.pk}.", f"Two to {one.pk}.") for one in said])
    assert sorted(Candidate.objects.values_list("index", flat=True)) == list(range(8))
    for turn, one in zip(turns, said, strict=True):
        (shown,) = exchanges.turns_of(turn.assignment.pk)
        assert {reply.text for reply in shown.replies} == {f"One to {one.pk}.", f"Two to {one.pk}."}


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_a_taking_back_that_meet_leave_nothing_behind_or_nothing_undone():
    _, (turn,) = talk()
    for _ in range(8):
        said = say(turn, 0, "Hello")
        at_once(
            lambda one=said: answer(one, "One.", "Two."), lambda: exchanges.take_back(**by(turn), number=0)
        )
        assert not Exchange.objects.exists() and not Candidate.objects.exists()


# --- what is written down


@pytest.mark.django_db
def test_each_turn_becomes_a_pair_whose_prompt_is_all_that_was_said():
    context = {
        "messages": [
            {"role": "system", "content": "You are a clerk."},
            {"role": "user", "content": "Is there a bath?"},
        ]
    }
    study, (turn,) = talk(context)
    assert conversation.show(turn)["opening"] == "Is there a bath?"
    assert [one["role"] for one in conversation.show(turn)["turns"]] == ["system"]
    shown = [
        exchange_words(turn, 0, "Is there a bath?", "Yes.", "No.", choice="b"),
        exchange_words(turn, 1, "Warm?", "Very.", "Hardly.", choice="tie"),
        exchange_words(turn, 2, "Thanks", "Bye.", "Go.", choice="both_bad"),
    ]
    label = submit(turn)
    first, tie, bad = written = conversation.records(label)
    assert [one.kind for one in written] == ["pair"] * 3 and len({one.id for one in written}) == 3
    assert [one.id for one in written] == sorted(one.id for one in written)
    assert (first.chosen, first.rejected, first.outcome) == (shown[0][1], shown[0][0], "chosen")
    assert [(one.role, one.content) for one in bad.prompt] == [
        ("system", "You are a clerk."),
        ("user", "Is there a bath?"),
        ("assistant", shown[0][1]),
        ("user", "Warm?"),
        ("assistant", shown[1][0]),
        ("user", "Thanks"),
    ]
    assert (tie.outcome, bad.outcome) == ("tie", "both_bad")
    for one in written:
        again = records.parse(records.dumps(one), 1)
        assert records.dumps(again) == records.dumps(one)


@pytest.mark.django_db
def test_a_prompt_is_a_scenario_that_no_model_reads():
    _, (turn,) = talk({"prompt": "You lost your **key**."})
    assert "<strong>key</strong>" in conversation.show(turn)["scenario"]
    assert exchanges.messages_before(turn.item, [], "My key is gone") == [
        {"role": "user", "content": "My key is gone"}
    ]


@pytest.mark.django_db
def test_in_both_seats_what_one_writes_is_a_demonstration_and_a_rewrite_a_correction():
    study, (turn,) = talk(seats="both")
    say(turn, 0, "Hello")
    exchanges.write(**by(turn), number=0, text="Good day, how can I help?")  # before any model answered
    shown = exchange_words(turn, 1, "A towel, please", "At noon.", "Never.", choice="a")
    exchanges.rewrite(**by(turn), number=1, text="It comes at noon.")
    exchanges.rewrite(**by(turn), number=1, text="It comes at noon, gladly.")
    exchange_words(turn, 2, "And soap?", "Yes.", "No.", choice="tie")
    demonstration, pair, correction, tie = conversation.records(submit(turn))
    assert (demonstration.kind, demonstration.answer) == ("demonstration", "Good day, how can I help?")
    assert (pair.chosen, pair.rejected) == tuple(shown)
    assert (correction.original, correction.edited) == (shown[0], "It comes at noon, gladly.")
    assert tie.prompt[-2].content == "It comes at noon, gladly."
    assert not Candidate.objects.filter(text="It comes at noon.").exists()


@pytest.mark.django_db
def test_ones_own_answer_takes_the_place_of_those_on_the_screen_and_a_late_one_is_dropped():
    _, (turn,) = talk(seats="both")
    said = say(turn, 0, "Hello")
    exchanges.write(**by(turn), number=0, text="Mine.")
    exchanges.write(**by(turn), number=0, text="Mine.")  # a retry
    assert answer(said, "One.", "Two.") is False
    exchanges.rewrite(**by(turn), number=0, text="Mine, but better.")
    (only,) = conversation.records(submit(turn))
    assert (only.kind, only.answer) == ("demonstration", "Mine, but better.")
    with pytest.raises(Conflict):
        exchanges.write(**by(turn), number=0, text="Again.")


@pytest.mark.django_db
def test_a_rewrite_that_changes_nothing_is_refused():
    _, (turn,) = talk(seats="both")
    shown = exchange_words(turn, 0, "Hello", "One.", "Two.")
    with pytest.raises(Invalid, match="Nothing was changed"):
        exchanges.rewrite(**by(turn), number=0, text=shown[0])


@pytest.mark.django_db
def test_what_a_browser_sends_with_the_label_counts_for_nothing():
    _, (turn,) = talk()
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    label = services.submit_label(
        task=turn.task,
        annotator=turn.assignment.annotator,
        answer={"turns": [{"said": "Forged", "replies": [], "chosen": 1, "written": None, "outcome": ""}]},
        key=uuid4(),
    )
    assert label.answer["turns"][0]["said"] == "Hello"


@pytest.mark.django_db
def test_a_snapshot_counts_the_models_of_its_own_conversations_alone():
    study, (ada, bob) = talk(members=2)
    exchange_words(ada, 0, "Hello", "One.", "Two.")
    made = [Answer("Three.", "unheard-of", {}), Answer("Four.", "unheard-of", {})]
    exchanges.take_answers(say(bob, 0, "Hello").pk, made)  # talked with, but never submitted
    submit(ada)
    snapshot = freeze(study=study, by=study.created_by)
    assert snapshot.counts == {"pair": 1}
    assert "model-0, model-1" in snapshot.card and "unheard-of" not in snapshot.card


@pytest.mark.django_db
def test_conversations_do_not_become_candidates_of_other_questions():
    study = studies.study("conversation", "pairwise", items=1, answers=2, members=1)
    (ada,) = studies.annotators(study)
    turn = studies.claim(study, ada, kind="conversation")
    assert turn.candidates == []
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    submit(turn)
    pair = studies.claim(study, ada, kind="pairwise")
    assert {one.text for one in pair.candidates} == {"Answer 0 to 0.", "Answer 1 to 0."}
    assert study.tasks.filter(part=Part.QUEUE).count() == 2


# --- the page and the API


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_the_page_and_the_api_name_no_model_while_names_are_hidden():
    study, (turn,) = talk()
    client = signed_in(turn.assignment.annotator)
    answer(say(turn, 0, "Hello"), "One.", "Two.")
    places = (f"/studies/{study.pk}/label/", f"/tasks/{turn.task.pk}/conversation/")
    api = f"/api/tasks/{turn.task.pk}/conversation"
    told = [client.get(place, **JSON).content.decode() for place in (*places, api)]
    assert all("One." in one and "model-" not in one for one in told)
    assert client.get(api).json()["turns"][0]["replies"][0]["policy"] is None
    services.change_study(study=study, names_hidden=False)
    assert all("model-" in client.get(place, **JSON).content.decode() for place in (*places, api))


@pytest.mark.django_db
def test_what_models_and_people_say_is_shown_as_safe_html():
    _, (turn,) = talk()
    answer(say(turn, 0, "<b>me</b>"), "<script>alert(1)</script> **yes**", "no")
    page = signed_in(turn.assignment.annotator).get(f"/tasks/{turn.task.pk}/conversation/", **JSON).json()
    html = "".join(page["turns"]) + page["bar"]
    assert "<script" not in html and "<b>me" not in html and "<strong>yes</strong>" in html


@pytest.mark.django_db
def test_without_script_a_form_and_a_redirect_do_the_same():
    study, (turn,) = talk()
    client = signed_in(turn.assignment.annotator)
    page, room = f"/tasks/{turn.task.pk}/conversation/", f"/studies/{study.pk}/label/?task={turn.task.pk}"
    reply = client.post(page, {"do": "say", "turn": "0", "said": "Hello\r\nyou"})
    assert reply.status_code == 302 and reply["Location"] == room
    html = client.get(room).content.decode()
    assert "Hello<br>" in html and "Look again" in html
    answer(Exchange.objects.get(), "One.", "Two.")
    assert 'value="both_bad"' in client.get(room).content.decode()
    client.post(page, {"do": "b", "last": "0", "turn": "1"})
    html = client.get(room).content.decode()
    assert "You took" in html and "Finish and send" in html
    refused = client.post(page, {"do": "say", "turn": "1", "said": "x" * 20_001})
    assert refused.status_code == 422 and "x" * 20_001 in refused.content.decode()
    assert client.post(page, {"do": "dance", "turn": "1"}).status_code == 422
    client.post(page, {"do": "back", "last": "0", "turn": "1"})
    assert "You begin" in client.get(room).content.decode()
    client.post(page, {"do": "say", "turn": "0", "said": "Hello"})
    stale = client.post(page, {"do": "say", "turn": "0", "said": "Other"}, follow=True)
    assert "another window" in stale.content.decode()
    assert signed_in(studies.person()).get(page).status_code == 404


@pytest.mark.django_db
def test_a_program_talks_through_the_api():
    study, (turn,) = talk(seats="both")
    client = signed_in(turn.assignment.annotator)
    address = f"/api/tasks/{turn.task.pk}/conversation"

    def post(do: str, status: int = 200, **body):
        reply = client.post(f"{address}/{do}", body, content_type="application/json")
        assert reply.status_code == status, reply.content
        return reply.json()

    assert client.get(address).json()["state"] == "yours"
    assert post("say", turn=0, text="Hello")["progress"] == "sent"
    answer(Exchange.objects.get(), "One.", "Two.")
    assert client.get(address).json()["state"] == "choose"
    chosen = post("choose", turn=0, choice="a")
    assert (
        chosen["turns"][0]["outcome"] == "chosen" and chosen["next_turn"] == 1 and chosen["turns_left"] == 7
    )
    assert post("rewrite", turn=0, text="Better.")["turns"][0]["written"]["text"] == "Better."
    post("say", turn=1, text="More")
    assert post("again", turn=1)["state"] == "waiting"
    assert post("write", turn=1, text="My own.")["state"] == "yours"
    assert post("back", turn=1)["next_turn"] == 1
    assert post("back", 409, turn=4)["error"]["code"] == "conflict"
    assert post("choose", 422, turn=0, choice="c")["error"]["code"] == "invalid"
    sent = client.post(
        f"/api/tasks/{turn.task.pk}/submit",
        {"answer": {}, "key": str(uuid4())},
        content_type="application/json",
    )
    assert sent.status_code == 200 and len(sent.json()["answer"]["turns"]) == 1
    assert signed_in(studies.person()).get(address).status_code == 404


@pytest.mark.django_db
def test_a_conversation_that_was_sent_can_be_looked_at_and_not_changed():
    study, (turn,) = talk()
    exchange_words(turn, 0, "Hello", "One.", "Two.")
    submit(turn)
    client = signed_in(turn.assignment.annotator)
    page = client.get(f"/studies/{study.pk}/label/past/").content.decode()
    assert "This conversation was sent" in page and "Hello" in page and 'name="do"' not in page


def test_the_study_form_offers_the_options_with_their_numbers():
    form = NewStudyForm(
        {
            "name": "Talk",
            "overlap": 1,
            "policy": "sequential",
            "ask_conversation": "on",
            "conversation.models": "1",
            "conversation.seats": "both",
            "conversation.most_turns": "12",
        }
    )
    form.is_valid()
    (asked,) = read_interfaces(form.interfaces())
    assert asked["options"] == {"models": 1, "seats": "both", "most_turns": 12}
