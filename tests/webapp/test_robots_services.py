"""What may be done to a robot, by whom, and what is kept of it; no robot is at work here."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.http import Http404
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.errors import Conflict, Invalid
from annotation.models import Label, Recording
from annotation.snapshots import freeze
from tests.annotation.studies import person
from tests.webapp.robots import session_of, study_of
from trainers.envs.registry import world
from trainers.episodes import PERSON, About, Episodes
from webapp.robots import keeping, services, tasks, teaching, words
from webapp.robots.access import session_for
from webapp.robots.company import Company
from webapp.robots.models import Drive, Said, Session, Status, Take
from webapp.robots.supervision import Superseded, Supervision
from webapp.robots.words import Meant
from webapp.runs.models import Artifact, Run, Worker
from webapp.runs.workers import presence

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_called(monkeypatch) -> list[int]:
    """No worker is called; the list holds for which sessions one would have been."""
    called: list[int] = []
    monkeypatch.setattr(services, "send", lambda session: called.append(session.pk) or True)
    monkeypatch.setattr(services.lines, "send", lambda channel, message: True)
    return called


@pytest.fixture
def ada():
    return person("ada")


@pytest.fixture
def session(ada) -> Session:
    """A session with an episode under way, as its supervisor would have written it."""
    made = session_of(study_of(ada, members=("bob", "cleo")), ada)
    Session.objects.filter(pk=made.pk).update(
        status=Status.RUNNING, layer="command", worker="w", bank=["open the gripper"],
        motions={"left": "move a bit to the left"},
    )  # fmt: skip
    begun(made)
    return Session.objects.get(pk=made.pk)


def begun(session: Session, number: int = 1) -> Take:
    here = world("table_talk")
    here.reset(3)
    return Take.objects.create(
        session=session, number=number, seed=3, scene=here.scene(), by=session.created_by
    )


def lived(take: Take, steps: int = 40) -> None:
    """Its episode in the store, ended."""
    here = world("table_talk")
    seen = here.reset(take.seed)
    about = About(
        world="table_talk", task="pack", seed=take.seed, observation=len(seen), action=3, state=len(here.state()),
        seconds=0.1, scene=here.scene(), policy={"name": "scripted"},
    )  # fmt: skip
    writer = Episodes(settings.EPISODES).begin(about, take.episode)
    for _ in range(steps):
        writer.step(seen, np.zeros(3), here.state(), actor=PERSON)
    writer.end("done", 1.0, True)
    keeping.ended(take, {"steps": steps, "score": 1.0, "success": True, "why": "done"})


def obeyed(session: Session, by, start: int, stop: int, **given: Any) -> Said:
    said = services.say(session=session, by=by, ref=uuid4(), text="left a bit", **given)
    assert isinstance(said, Said)
    values = {"status": "over", "start": start, "stop": stop, "outcome": "expired", "predicted": "wait"}
    Said.objects.filter(pk=said.pk).update(**values)
    said.refresh_from_db()
    return said


# --- starting


def test_a_session_is_a_row_before_a_worker_is_called(ada, nobody_called, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        made = session_of(study_of(ada), ada)
    assert nobody_called == [made.pk]
    assert (made.status, made.steerer, made.wanted) == (Status.STARTING, ada, 1)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"world": "moon"}, "world"),
        ({"task": "juggle"}, "task"),
        ({"pilot": "ghost"}, "pilot"),
        ({"pilot": "policy"}, "policy"),
        ({"world": "pendulum"}, "pilot"),
        ({"hold": 0}, "hold"),
        ({"speed": float("nan")}, "speed"),
        ({"seed": -1}, "seed"),
        ({"pilot": "nobody", "alone": True}, "pilot"),
        ({"dials": [0.1]}, "dials"),
        ({"dials": {"camera_shift": float("nan")}}, "dials"),
        ({"dials": {"camera_shift": "askew"}}, "dials"),
    ],
)
def test_what_cannot_be_started_is_refused_at_its_field(ada, asked, field):
    with pytest.raises(Invalid) as refused:
        session_of(study_of(ada), ada, **asked)
    assert refused.value.field == field


def test_a_policy_of_another_study_or_of_words_flies_no_robot(ada):
    study, other = study_of(ada), study_of(ada)
    words = Artifact.objects.create(study=study, kind="policy", name="words", path="x", digest="0", size=0)
    theirs = Artifact.objects.create(study=other, kind="robot_policy", name="r", path="x", digest="0", size=0)
    for policy in (words, theirs):
        with pytest.raises(Invalid) as refused:
            session_of(study, ada, pilot="policy", policy=policy)
        assert refused.value.field == "policy"


def test_members_see_a_session_and_strangers_do_not(session, ada):
    for member in (ada, session.study.memberships.get(user__username="bob").user):
        assert session_for(member, session.pk) == session
    with pytest.raises(Http404):
        session_for(person(), session.pk)


# --- saying


def test_a_correction_is_a_row_with_all_that_is_known_of_it(session, ada):
    services.pause(session=session, by=ada)
    said = services.say(session=session, by=ada, ref=uuid4(), text="Left a bit, please!")
    assert (said.command, said.text, said.hold) == (
        "move a bit to the left",
        "Left a bit, please!",
        "steps:30",
    )
    assert (said.status, said.layer, said.by, said.matched) == ("waiting", "command", ada, None)
    assert said.paused_at is not None and said.paused_at <= said.sent_at
    known = services.say(session=session, by=ada, ref=uuid4(), text="open the gripper")
    assert known.matched == 0
    assert services.order(said) == {
        "type": "say", "id": said.pk, "episode": said.take.episode, "command": said.command, "held": False,
        "hold": 30,
    }  # fmt: skip


def test_the_same_ref_is_the_same_correction(session, ada):
    ref = uuid4()
    first = services.say(session=session, by=ada, ref=ref, text="move left")
    again = services.say(session=session, by=ada, ref=ref, text="move right")
    assert first == again and Said.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        Said.objects.create(session=session, take=first.take, ref=ref, command="x", hold="held")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("left " * 2000, "10,000 characters"),
        ("", "Nothing was said"),
        ("   \n ", "Nothing was said"),
        ("gehe ein bisschen nach links", "is not a word known here"),
        ("左に動いて", ""),
        ("<script>alert(1)</script>", "is not a word known here"),
        ("'; DROP TABLE robots_said; --", "is not a word known here"),
        ("pick up the pink elephant", "is not a word known here"),
        ("move", "Which way"),
        ("mvoe left", "Was this meant?"),
    ],
)
def test_what_is_not_clear_is_asked_back_and_nothing_is_stored(session, ada, text, asked):
    answer = services.say(session=session, by=ada, ref=uuid4(), text=text)
    assert isinstance(answer, Meant) and not answer.command
    assert asked in answer.ask and answer.ask
    assert not Said.objects.exists()
    confirmed = services.say(session=session, by=ada, ref=uuid4(), text=text, command="sudo rm")
    assert isinstance(confirmed, Meant)


def test_of_a_contradiction_the_last_direction_counts(session, ada):
    said = services.say(session=session, by=ada, ref=uuid4(), text="left, no, right")
    assert (said.command, said.text) == ("move a bit to the right", "left, no, right")


def test_to_a_policy_of_motions_the_words_are_motions(session, ada):
    Session.objects.update(world="reach", layer="motion", bank=["move arm left", "stay"])
    session.refresh_from_db()
    scene = {"things": [{"name": "red block"}]}
    assert words.meant("go left a bit", scene, session).command == "move arm left"
    assert words.meant("up and left", scene, session).command == "move arm up and left"
    for unclear in ("pick up the red block", "left, no, right", "links", ""):
        asked = words.meant(unclear, scene, session)
        assert not asked.command and asked.ask


def test_a_long_text_is_not_smuggled_in_behind_a_clear_command(session, ada):
    answer = services.say(session=session, by=ada, ref=uuid4(), text="x" * 10_000, command="move left")
    assert isinstance(answer, Meant) and not Said.objects.exists()


def test_a_key_is_held_and_lets_go_of_its_own_command_alone(session, ada):
    key = services.say(session=session, by=ada, ref=uuid4(), text="", key="left", held=True)
    word = services.say(session=session, by=ada, ref=uuid4(), text="move up")
    assert (key.layer, key.hold, key.command) == ("motion", "held", "move a bit to the left")
    services.let_go(session=session, by=ada, key="left")
    assert Said.objects.get(pk=key.pk).let_go_at and not Said.objects.get(pk=word.pk).let_go_at
    services.hand_back(session=session, by=ada)
    assert Said.objects.get(pk=word.pk).let_go_at
    with pytest.raises(Invalid):
        services.say(session=session, by=ada, ref=uuid4(), text="", key="jump")


def test_who_does_not_steer_is_told_who_does(session, ada):
    bob = session.study.memberships.get(user__username="bob").user
    doing = [
        lambda: services.say(session=session, by=bob, ref=uuid4(), text="move left"),
        lambda: services.pause(session=session, by=bob),
        lambda: services.hand_back(session=session, by=bob),
        lambda: services.begin(session=session, by=bob),
        lambda: services.record(session=session, by=bob, ref=uuid4()),
        lambda: services.mark(session=session, by=bob, success=True),
        lambda: services.give(session=session, by=bob, to="bob", here=["bob"]),
    ]
    for do in doing:
        with pytest.raises(Conflict, match="ada steers") as refused:
            do()
        assert refused.value.holder == "ada"


def test_without_an_episode_or_after_the_end_nothing_can_be_said(session, ada):
    session.takes.update(ended_at=timezone.now())
    with pytest.raises(Conflict, match="No episode"):
        services.say(session=session, by=ada, ref=uuid4(), text="move left")
    services.end(session=session, by=ada)
    with pytest.raises(Conflict, match="has ended"):
        services.say(session=session, by=ada, ref=uuid4(), text="move left")


def test_a_study_that_does_not_ask_for_corrections_takes_none(ada):
    made = session_of(study_of(ada, kinds=["pairwise"]), ada)
    begun(made)
    Session.objects.update(layer="command")
    for do in (
        lambda: services.say(session=made, by=ada, ref=uuid4(), text="move left"),
        lambda: services.record(session=made, by=ada, ref=uuid4()),
        lambda: services.mark(session=made, by=ada, success=True),
    ):
        with pytest.raises(Conflict, match="does not ask for"):
            do()


# --- who steers


def test_the_wheel_is_asked_for_given_and_taken_from_who_is_gone(session, ada):
    bob, cleo = (session.study.memberships.get(user__username=name).user for name in ("bob", "cleo"))
    everybody = ["ada", "bob", "cleo"]
    assert not services.steer(session=session, by=bob, here=everybody)
    assert not services.steer(session=session, by=bob, here=everybody)
    assert Session.objects.get().asking == ["bob"]
    with pytest.raises(Invalid):
        services.give(session=session, by=ada, to="nobody\x00", here=everybody)
    with pytest.raises(Conflict, match="not here"):
        services.give(session=session, by=ada, to="cleo", here=["ada", "bob"])
    services.give(session=session, by=ada, to="bob", here=everybody)
    now = Session.objects.get()
    assert (now.steerer, now.asking) == (bob, [])
    assert services.steer(session=session, by=cleo, here=["ada", "cleo"])
    assert Session.objects.get().steerer == cleo


def test_what_is_recorded_is_of_one_person_and_ends_when_the_wheel_goes_over(session, ada):
    bob = session.study.memberships.get(user__username="bob").user
    services.record(session=session, by=ada, ref=uuid4())
    services.give(session=session, by=ada, to="bob", here=["bob"])
    assert Drive.objects.get().closed
    for do in (
        lambda: services.discard(session=session, by=bob),
        lambda: services.trim(session=session, by=bob, start=0, stop=1),
        lambda: services.record(session=session, by=bob, ref=uuid4()),
    ):
        with pytest.raises(Conflict, match="recorded"):
            do()
    assert not Drive.objects.get().discarded


def test_in_a_session_alone_nobody_steers(ada):
    made = session_of(study_of(ada), ada, alone=True, episodes=3)
    assert (made.steerer, made.wanted) == (None, 3)
    with pytest.raises(Conflict, match="alone"):
        services.steer(session=made, by=ada, here=[])


# --- episodes


def test_the_next_episode_is_asked_for_once_under_one_ref(session, ada):
    ref = uuid4()
    for _ in range(2):
        services.begin(session=session, by=ada, ref=ref, seed=11)
    now = Session.objects.get()
    assert (now.wanted, now.wanted_seed) == (2, 11)
    with pytest.raises(Conflict, match="about to begin"):
        services.begin(session=session, by=ada, ref=uuid4())
    with pytest.raises(Invalid):
        begun(session, 2)
        services.begin(session=session, by=ada, ref=uuid4(), seed=-5)


def test_seeds_count_up_and_a_repeat_plays_those_of_its_session(session, ada):
    Take.objects.create(session=session, number=2, seed=77)
    made = session_of(session.study, ada, alone=True, repeats=session)
    assert made.wanted == 2
    supervision = Supervision(made)
    assert [supervision._seed(made, number) for number in (1, 2, 3)] == [3, 77, 5]
    assert Supervision(session)._seed(session, 4) == 6


def test_a_session_that_no_worker_holds_ends_at_once(ada):
    made = session_of(study_of(ada), ada)
    assert services.end(session=made, by=ada).status == Status.ENDED


def test_who_only_watches_does_not_send_a_robot_away(session, ada):
    bob = session.study.memberships.get(user__username="bob").user
    with pytest.raises(Conflict, match="Only who steers"):
        services.end(session=session, by=bob)
    services.give(session=session, by=ada, to="bob", here=["bob"])
    assert services.end(session=session, by=bob).ending


# --- what is kept


def test_when_an_episode_is_over_each_person_has_one_label_however_often_it_is_kept(session, ada):
    bob = session.study.memberships.get(user__username="bob").user
    mine = obeyed(session, ada, 4, 9)
    services.give(session=session, by=ada, to="bob", here=["bob"])
    obeyed(session, bob, 12, 15)
    services.say(session=session, by=bob, ref=uuid4(), text="open the gripper")  # never heard
    take = session.takes.get()
    lived(take)
    for _ in range(3):
        assert keeping.keep(Take.objects.get()) == 2
    labels = Label.objects.order_by("pk")
    assert [one.annotator for one in labels] == [ada, bob]
    (said,) = labels[0].answer["corrections"]
    assert (said["start"], said["stop"], said["live"], said["text"]) == (4, 9, True, "left a bit")
    assert said["predicted"] == "wait" and said["source"]["said"] == mine.pk
    assert set(said["source"]) >= {"paused_at", "sent_at", "bank", "choices", "hold", "outcome", "step"}
    assert Recording.objects.get().episode == take.episode
    lost = Said.objects.get(status=Said.State.LOST)
    assert lost.outcome == "the episode ended"
    held = freeze(study=session.study, by=ada)
    assert held.counts["language_correction"] == 2


def test_a_success_that_is_marked_afterwards_supersedes(session, ada):
    obeyed(session, ada, 4, 9)
    lived(session.takes.get())
    keeping.keep(Take.objects.get())
    services.mark(session=session, by=ada, success=True, stages={"1. red block": True})
    assert Take.objects.get().kept_at is None
    keeping.sweep()
    newest = Label.objects.order_by("-pk").first()
    assert newest.answer["success"] is True and len(newest.answer["corrections"]) == 1
    counts = freeze(study=session.study, by=ada).counts
    assert (counts["language_correction"], counts["episode_mark"]) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_mark_that_comes_while_an_episode_is_being_kept_is_kept_after(session, ada, monkeypatch):
    obeyed(session, ada, 4, 9)
    lived(session.takes.get())
    answers = keeping.answers

    def mark() -> None:
        try:
            services.mark(session=session, by=ada, success=True)
        finally:
            connection.close()

    marking = threading.Thread(target=mark)

    def slowly(take: Take) -> list[tuple[str, Any, dict[str, Any]]]:
        found = answers(take)
        marking.start()
        marking.join(0.5)  # it waits until what is kept is kept
        return found

    with monkeypatch.context() as now:
        now.setattr(keeping, "answers", slowly)
        keeping.keep(session.takes.get())
    marking.join()
    assert Take.objects.get().kept_at is None
    keeping.sweep()
    assert Label.objects.order_by("-pk")[0].answer["success"] is True


@pytest.mark.parametrize("stages", ["all", {"1. red block": "yes"}, {"x" * 200: True}])
def test_a_mark_that_no_label_could_hold_is_refused_at_once(session, ada, stages):
    with pytest.raises(Invalid) as refused:
        services.mark(session=session, by=ada, success=True, stages=stages)
    assert refused.value.field.startswith("stages") and Take.objects.get().marked is None


def test_that_an_episode_is_over_is_written_once(session, ada):
    take = session.takes.get()
    keeping.ended(take, {"steps": 9, "score": 1.0, "success": True, "why": "done", "stages": {"1.": True}})
    first = Take.objects.get()
    keeping.ended(take, {"steps": 0, "score": 0.0, "success": None, "why": "again"})
    now = Take.objects.get()
    assert (now.ended_at, now.steps, now.score, now.success) == (first.ended_at, 9, 1.0, True)
    assert (now.why, now.done) == ("done", {"1.": True})


def test_one_episode_that_cannot_be_kept_stands_in_no_others_way(session, ada, monkeypatch):
    obeyed(session, ada, 4, 9)
    lived(session.takes.get())
    lived(begun(session, 2))
    record = keeping.recordings.record

    def broken(study, episode, *rest):
        if episode == session.takes.first().episode:
            raise OSError("no space left")
        return record(study, episode, *rest)

    monkeypatch.setattr(keeping.recordings, "record", broken)
    keeping.sweep()
    first, second = session.takes.all()
    assert first.kept_at is None and second.kept_at
    monkeypatch.setattr(keeping.recordings, "record", record)
    keeping.sweep()
    assert session.takes.first().kept_at and Label.objects.count() == 1


def test_a_recorded_drive_is_trimmed_kept_and_may_be_discarded_after(session, ada):
    ref = uuid4()
    services.record(session=session, by=ada, ref=ref)
    services.record(session=session, by=ada, ref=ref)  # sent twice
    Drive.objects.update(start=2)
    services.record(session=session, by=ada, ref=uuid4())
    assert Drive.objects.get().closed
    Drive.objects.update(stop=30)
    with pytest.raises(Conflict, match="recorded already"):
        services.record(session=session, by=ada, ref=uuid4())
    lived(session.takes.get())
    keeping.keep(Take.objects.get())
    assert freeze(study=session.study, by=ada).counts == {"drive": 1}
    services.trim(session=session, by=ada, start=5, stop=20)
    with pytest.raises(Invalid):
        services.trim(session=session, by=ada, start=5, stop=4000)
    keeping.sweep()
    assert Label.objects.order_by("-pk")[0].answer["stop"] == 20
    services.discard(session=session, by=ada)
    keeping.sweep()
    assert Label.objects.order_by("-pk")[0].answer["kept"] is False
    with pytest.raises(Invalid):
        freeze(study=session.study, by=ada)


def test_what_cannot_be_kept_is_said_and_not_tried_forever(session, ada):
    obeyed(session, ada, 4, 9)
    lived(session.takes.get())
    session.study.interfaces = [{"kind": "pairwise"}]
    session.study.save()
    keeping.sweep()
    take = Take.objects.get()
    assert "hindsight" in take.problem and take.kept_at is not None
    assert Said.objects.get().status == "over"


def test_an_episode_that_nobody_is_left_to_end_is_ended_with_what_is_recorded(session, ada):
    take = session.takes.get()
    here = world("table_talk")
    seen = here.reset(take.seed)
    about = About("table_talk", "pack", take.seed, len(seen), 3, len(here.state()), 0.1, scene=here.scene())
    writer = Episodes(settings.EPISODES).begin(about, take.episode)
    for _ in range(7):
        writer.step(seen, np.zeros(3), here.state(), score=0.5)
    Session.objects.update(status=Status.ENDED, why="Ended by ada.")
    keeping.sweep()
    assert Take.objects.get().ended_at is None  # somebody still writes it
    writer.close()
    said = Said.objects.create(
        session=session,
        take=take,
        ref=uuid4(),
        by=ada,
        command="wait",
        hold="held",
        status="in_force",
        start=3,
    )
    keeping.sweep()
    take = Take.objects.get()
    assert (take.steps, take.why, take.score) == (7, "Ended by ada.", 0.5) and take.kept_at
    said.refresh_from_db()
    assert (said.status, said.stop, said.outcome) == ("over", 7, "the episode ended")
    assert Label.objects.get().answer["corrections"][0]["stop"] == 7


# --- workers


def test_a_session_is_claimed_once(ada):
    made = session_of(study_of(ada), ada)
    assert tasks.claim(made.pk).attempt == 1
    assert tasks.claim(made.pk) is None


def test_the_session_of_a_dead_worker_is_lost_and_sent_to_another(ada, nobody_called, session):
    Worker.objects.create(name="alive", host="h", machine="m", pid=1, queues=["robots"], slots=1)
    nobody_called.clear()
    tasks.sweep()
    now = Session.objects.get()
    assert (now.status, now.worker) == (Status.LOST, "") and "gone" in now.why
    assert nobody_called == [session.pk]
    assert tasks.claim(session.pk).attempt == 1


def test_a_session_waits_without_being_sent_again_while_every_place_is_taken(ada, nobody_called, session):
    Worker.objects.create(name="w", host="h", machine="m", pid=1, queues=["robots"], slots=1)
    Session.objects.update(heartbeat_at=timezone.now())
    waiting = session_of(session.study, ada)
    nobody_called.clear()
    tasks.sweep()
    assert not nobody_called and "taken" in Session.objects.get(pk=waiting.pk).why
    Worker.objects.update(slots=2)
    tasks.sweep()
    assert nobody_called == [waiting.pk]


def test_a_session_whose_worker_is_heard_of_is_left_alone(session, nobody_called):
    Worker.objects.create(name="w", host="h", machine="m", pid=1, queues=["robots"], slots=1)
    Session.objects.update(heartbeat_at=timezone.now())
    nobody_called.clear()
    tasks.sweep()
    assert Session.objects.get().status == Status.RUNNING and not nobody_called
    Session.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=60))
    tasks.sweep()
    assert Session.objects.get().status == Status.LOST


def test_a_supervisor_that_was_overtaken_writes_nothing_more(ada):
    made = session_of(study_of(ada), ada)
    first = Supervision(tasks.claim(made.pk))
    Session.objects.update(worker="", status=Status.LOST)
    tasks.claim(made.pk)
    with pytest.raises(Superseded):
        first._status(Status.RUNNING)
    assert Session.objects.get().status == Status.LOST


def test_a_supervisor_that_was_overtaken_does_not_take_the_others_hold_for_its_own(ada):
    made = session_of(study_of(ada), ada)
    first = Supervision(tasks.claim(made.pk))
    Session.objects.update(worker="", status=Status.LOST)
    tasks.claim(made.pk)
    for do in (first._look, first._hold, lambda: first._end("It could not go on.")):
        with pytest.raises(Superseded):
            do()
    assert Session.objects.get().status == Status.LOST and not Take.objects.exists()


def test_a_session_whose_episode_was_over_waits_again_when_another_worker_has_it(session):
    lived(session.takes.get())
    Session.objects.update(worker="", status=Status.LOST, why="The worker is gone.")
    supervision = Supervision(tasks.claim(session.pk))
    supervision.ready = True
    supervision._look()
    now = Session.objects.get()
    assert (now.status, now.why) == (Status.WAITING, "done")


def test_a_stretch_that_is_trimmed_meanwhile_keeps_its_trim(session, ada):
    take = session.takes.get()
    drive = Drive.objects.create(take=take, by=ada, ref=uuid4(), start=2, closed=True)
    Session.objects.update(worker="", status=Status.LOST)

    class Trimmed(Supervision):
        @property
        def step(self) -> int:
            """What it is about to write down; before it does, somebody trims."""
            services.trim(session=session, by=ada, start=5, stop=20)
            return 40

        @step.setter
        def step(self, step: int) -> None:
            pass

    supervision = Trimmed(tasks.claim(session.pk))
    supervision.take = take
    supervision._said_and_driven()
    drive.refresh_from_db()
    assert (drive.start, drive.stop) == (5, 20)


def test_who_was_there_and_is_silent_has_left_after_a_grace():
    here = Company()
    here.hear("web", ["ada"], 10.0)
    assert not here.left("ada", 10.0) and not here.left("bob", 10.0)
    here.hear("web", [], 11.0)
    assert not here.left("ada", 11.5) and here.left("ada", 12.1)
    here.hear("web", ["ada"], 12.2)
    assert not here.left("ada", 13.5)
    here.look(15.0)  # its web process was killed
    assert here.left("ada", 16.1)


def test_a_worker_writes_its_name_into_what_it_claims(ada):
    made = session_of(study_of(ada), ada)
    tasks.claim(made.pk)
    assert Session.objects.get().worker == presence.name


# --- teaching


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_taught_is_sent_when_all_of_it_is_written(session, ada, settings, monkeypatch):
    obeyed(session, ada, 4, 9)
    lived(session.takes.get())
    folder = settings.MODELS / "r"
    folder.mkdir(parents=True)
    (folder / "kibitz.json").write_text('{"kind": "yay_robot"}')
    policy = Artifact.objects.create(
        study=session.study, kind="robot_policy", name="r", path="models/r", digest="0", size=0
    )
    Session.objects.update(pilot="policy", policy=policy)
    session.refresh_from_db()
    sent = []
    seen = "webapp.runs.services.send"
    monkeypatch.setattr(seen, lambda run: sent.append(Run.objects.get(pk=run.pk).provenance.get("session")))
    run = teaching.teach(session=session, by=ada)
    assert sent == [session.pk]
    assert teaching.taught(session) == run


def test_nothing_learned_cannot_be_taught(session, ada):
    with pytest.raises(Conflict, match="nothing to teach"):
        teaching.teach(session=session, by=ada)
    with pytest.raises(Conflict, match="Nothing was taught"):
        teaching.try_alone(session=session, by=ada)


def test_the_scripted_rules_try_alone_on_the_same_seeds(session, ada):
    made = teaching.try_alone(session=session, by=ada, run="before")
    assert (made.alone, made.repeats, made.pilot, made.seed) == (True, session, "scripted", session.seed)


def test_an_annotator_watches_and_steers_but_does_not_start(client, session):
    bob = session.study.memberships.get(user__username="bob").user
    client.force_login(bob)
    assert client.get(f"/robots/{session.pk}/").status_code == 200
    asked = {"world": "table_talk", "pilot": "scripted"}
    assert client.post(f"/studies/{session.study_id}/robots/", asked).status_code == 404


def test_the_pages_ask_the_database_as_often_for_many_sessions_as_for_one(client, session, ada):
    client.force_login(ada)
    before = session_of(session.study, ada, alone=True, repeats=session)

    def asked(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    pages = (f"/studies/{session.study_id}/robots/", f"/robots/{before.pk}/")
    few = [asked(path) for path in pages]
    for number in range(2, 5):
        begun(session, number)
        begun(session_of(session.study, ada, alone=True, repeats=session))
    assert [asked(path) for path in pages] == few


def test_the_form_starts_a_session_and_says_what_is_wrong_with_one(client, session, ada):
    client.force_login(ada)
    place = f"/studies/{session.study_id}/robots/"
    made = client.post(place, {"world": "table_talk", "pilot": "scripted", "seed": "9"})
    assert made.status_code == 302
    assert Session.objects.first().seed == 9
    wrong = client.post(place, {"world": "table_talk", "pilot": "policy"})
    assert wrong.status_code == 422 and "Choose a policy" in wrong.content.decode()
