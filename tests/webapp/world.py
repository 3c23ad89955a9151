"""A study that has one of everything, and people of every role in it: what rights, API and pages are tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.test import Client

from annotation import exchanges, gold, review, services
from annotation.exchanges import Answer
from annotation.models import Consent, Delivery, ImportJob, Remark, Role, Study, Webhook
from annotation.recordings import record
from annotation.reliability.sweep import fit
from annotation.remarks import remark
from annotation.snapshots import freeze
from tests.annotation import studies
from tests.annotation.robots import ask as ask_about_robots
from tests.trainers.lived import live
from tests.webapp.runs import entries_of, held_run, write_rows
from trainers.episodes import Segment
from trainers.journal import Writer
from webapp.accounts.models import ApiToken, Invitation
from webapp.robots.models import Said, Session, Take
from webapp.runs.models import Artifact, Histogram, Sample
from webapp.runs.progress import Carrier, note

Say = Callable[[str], str]

CRITERIA = ("Tone", "Facts")


@dataclass
class World:
    """A study and the ids of what is in it, by the names that tests put into addresses."""

    study: Study
    people: dict[str, Any]
    ids: dict[str, Any]
    tokens: dict[str, str]

    def client(self, who: str) -> Client:
        """The browser of somebody here."""
        client = Client(raise_request_exception=False)
        client.force_login(self.people[who])
        return client

    def program(self, who: str) -> dict[str, str]:
        """The header by which a program of somebody here signs in."""
        return {"Authorization": f"Bearer {self.tokens[who]}"}


def plain(place: str) -> str:
    return f"The {place}"


def ways(say: Say) -> list[dict[str, Any]]:
    """Every way of asking, with words of the study's own wherever it takes some."""
    asked = [{"name": name, "question": say("question of a criterion")[:300]} for name in CRITERIA]
    criteria = [{**one, "label": say("label of a criterion")[:300]} for one in asked]
    rated = [{**one, "anchors": [say(f"anchor {n}")[:300] for n in range(1, 4)]} for one in asked]
    types = [
        {"key": "Wrong", "label": say("label of a type")[:300], "meaning": say("meaning of a type")[:300]}
    ]
    return [
        {"kind": "pairwise", "options": {"criteria": criteria}},
        {"kind": "edit", "options": {"every": True}},
        {"kind": "rating", "options": {"criteria": rated}},
        {"kind": "ranking"},
        {"kind": "critique", "options": {"types": types, "rewrite": True}},
        {"kind": "steps"},
        {"kind": "demonstration", "options": {"shown": True}},
        {"kind": "conversation", "options": {"seats": "both"}},
        {"kind": "clips"},
        {"kind": "hindsight"},
        {"kind": "driving"},
    ]


def said(say: Say, kind: str, turn) -> dict[str, Any]:
    """An answer to a task in hand, with words wherever it takes some."""
    text = turn.candidates[0].text if turn.candidates else ""
    return {
        "pairwise": {"choice": "a", "strength": 2, "reason": say("reason of an answer")},
        "edit": {"text": say("rewritten answer")},
        "rating": {"scores": dict.fromkeys(CRITERIA, 2)},
        "ranking": {"ranks": studies.in_the_order_shown(turn)},
        "critique": {
            "spans": [{"start": 0, "end": min(5, len(text)), "type": "Wrong", "note": say("note on a span")}],
            "missing": [say("missing thing")],
            "note": say("note on an answer"),
            "rewrite": say("rewrite of an answer"),
        },
        "steps": {"first_wrong": 0},
        "demonstration": {"text": say("demonstration")},
        "conversation": {},
        "clips": {"choice": "a", "reason": say("reason of a comparison of clips"), "marks": "A 1-4"},
        "hindsight": {
            "corrections": [
                {
                    "start": 2,
                    "stop": 4,
                    "text": say("words of a correction")[:200],
                    "layer": "motion",
                    "command": say("motion put right")[:200],
                    "predicted": say("motion before")[:200],
                }
            ],
            "success": True,
            "stages": {say("stage of a task")[:100]: True},
        },
        "driving": {"start": 1, "stop": 9, "note": say("note on a drive")},
    }[kind]


def world(say: Say = plain, usernames: Say | None = None) -> World:
    """A study with labels of every kind, tasks in hand, known answers, verdicts, remarks, data, runs, letters."""
    named = usernames or (lambda role: f"{role}-{next(studies.numbers)}")
    people = {role: studies.person(named(role)) for role in ("owner", "researcher", "reviewer", "annotator")}
    study = services.create_study(
        name=say("study")[:200],
        owner=people["owner"],
        guidelines=say("guideline"),
        interfaces=ways(say),
        licence=say("licence")[:200],
        consent=say("consent text"),
        pay=say("pay"),
        share_gold=True,
        stratum="topic",
    )
    for role in ("researcher", "reviewer", "annotator"):
        services.join_study(study=study, user=people[role], role=Role(role))
    for one in study.memberships.all():
        one.consent_version = study.consent_version
        one.save()
        Consent.objects.create(study=study, user=one.user, version=study.consent_version)
    items = services.add_items(study=study, items=[item(say, number) for number in range(6)])
    ask_about_robots(study, 2)
    ids = {"pk": study.pk, "study": study.pk, "item": items[0].pk, "spare": items[5].pk}
    ids |= labels(say, study, people)
    ids |= trust(say, study, people, ids)
    ids |= data(say, study, people)
    ids |= episodes(say, study, people)
    ids |= runs(say, study, people, ids)
    ids |= robots(say, study, people)
    fit(study)
    tokens = {who: ApiToken.issue(user, say("token")[:100])[1] for who, user in people.items()}
    return World(study, people, ids, tokens)


def item(say: Say, number: int) -> dict[str, Any]:
    return {
        "context": {"prompt": f"{say('prompt')} ({number})"},
        "candidates": [
            {"text": f"{say('answer')} ({n} of {number})", "policy": say(f"policy {n}")[:200]}
            for n in range(2)
        ],
        "external_id": f"{say('external id')[:190]} {number}",
        "source": {"topic": say("topic"), "passages": [{"text": say("passage")}]},
        "licence": say("licence of an item")[:200],
        "collector": say("collector")[:200],
        "jurisdiction": say("jurisdiction")[:100],
    }


def labels(say: Say, study: Study, people: dict[str, Any]) -> dict[str, int]:
    """The annotator answered one task of each kind, and has another in hand; the owner has one too."""
    ids: dict[str, int] = {}
    for kind in study.kinds:
        turn = studies.claim(study, people["annotator"], kind=kind)
        ids[f"answered_{kind}"] = turn.task.pk
        if kind == "conversation":
            talk(say, turn)
        label = studies.answer(turn, said(say, kind, turn))
        ids[f"label_{kind}"] = label.pk
    turn = studies.claim(study, people["annotator"], kind="pairwise")
    ids["task"], ids["candidate"] = turn.task.pk, turn.candidates[0].pk
    states = ("conversation", "unsaid", "chosen", "unanswered")
    turns = services.claim_tasks(
        study=study, annotator=people["annotator"], kind="conversation", count=len(states)
    )
    ids |= {name: turn.task.pk for name, turn in zip(states, turns, strict=True)}
    ask(say, turns[0])
    ask(say, turns[2])
    exchanges.choose(**place(turns[2]), choice="a")
    exchanges.fail(exchanges.say(**place(turns[3]), text=say("message")).pk, say("problem of a model")[:500])
    ids["label"] = ids["label_pairwise"]
    return ids


def place(turn) -> dict[str, Any]:
    """The first turn of a conversation, as `annotation.exchanges` is told of it."""
    return {"task": turn.task.pk, "annotator": turn.assignment.annotator, "number": 0}


def ask(say: Say, turn) -> None:
    """Says something, which two models answer."""
    exchange = exchanges.say(**place(turn), text=say("message"))
    replies = [Answer(say(f"reply {n}"), say(f"model {n}")[:200], {}) for n in range(2)]
    exchanges.take_answers(exchange.pk, replies)


def talk(say: Say, turn) -> None:
    """A whole turn, its answer rewritten."""
    ask(say, turn)
    exchanges.choose(**place(turn), choice="a")
    exchanges.rewrite(**place(turn), text=say("rewritten reply"))


def trust(say: Say, study: Study, people: dict[str, Any], ids: dict[str, int]) -> dict[str, int]:
    """Known answers, verdicts, remarks, a label sent back."""
    flag = remark(
        task=study.tasks.get(pk=ids["task"]), author=people["annotator"], kind="flag", key=uuid4(),
        reason=Remark.Reason.NONSENSE, text=say("flag"),
    )  # fmt: skip
    remark(
        task=study.tasks.get(pk=ids["task"]), author=people["annotator"], kind="note", key=uuid4(),
        text=say("note"),
    )  # fmt: skip
    settled = study.tasks.get(pk=ids["answered_pairwise"])
    review.settle(
        task=settled, by=people["reviewer"], answer={"choice": "b", "strength": 1}, reason=say("verdict")
    )
    spare = study.tasks.filter(kind="pairwise", open__gt=0, done=0).last()
    known = gold.make_gold(
        task=spare, by=people["researcher"], reason=say("reason of gold"),
        answer={"choice": "chosen", "chosen": spare.candidates[0], "rejected": spare.candidates[1]},
    )  # fmt: skip
    back = review.send_back(
        label=study.labels.get(pk=ids["label_edit"]), by=people["reviewer"], words=say("words sent back")
    )
    return {"remark": flag.pk, "sent_back": back.pk, "gold": known.pk, "settled": settled.pk}


def data(say: Say, study: Study, people: dict[str, Any]) -> dict[str, Any]:
    """A snapshot, an import with an error, a webhook with a letter, an invitation."""
    owner = people["owner"]
    frozen = freeze(study=study, by=owner, name=say("snapshot")[:200])
    upload = {"format": "trl", "filename": say("file")[:200], "licence": say("licence of a file")[:200]}
    job = ImportJob.objects.create(study=study, created_by=owner, **upload)
    failed = ImportJob.objects.create(
        study=study, created_by=owner, status=ImportJob.Status.FAILED, **upload,
        errors=[{"line": 1, "field": say("field"), "message": say("error"), "cure": say("cure")}],
    )  # fmt: skip
    hook = Webhook.objects.create(
        study=study, url=f"https://example.org/{say('address')}"[:500], secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        events=["run.finished"], created_by=owner,
    )  # fmt: skip
    Delivery.objects.create(
        webhook=hook, event="run.finished", letter=uuid4(), payload={}, problem=say("problem")[:300],
        attempts=1, next_at=None,
    )  # fmt: skip
    invitation, secret = Invitation.issue(study=study, role=Role.REVIEWER, created_by=owner, days=1, uses=9)
    token, _ = ApiToken.issue(owner, say("token")[:100])
    return {
        "snapshot": frozen.pk, "job": job.pk, "failed_job": failed.pk, "webhook": hook.pk,
        "invitation": invitation.pk, "secret": secret,
        "own_token": token.pk, "user": people["annotator"].pk, "username": people["annotator"].username,
        "member": study.memberships.get(user=people["annotator"]).pk,
    }  # fmt: skip


def episodes(say: Say, study: Study, people: dict[str, Any]) -> dict[str, Any]:
    """A robot's episode, with pictures and with something said about it."""
    scene = {"words": say("what a robot was asked")}
    lived = live(
        settings.EPISODES, pictures=True, scene=scene, policy={"name": say("policy of a robot")[:200]}
    )
    lived.say(Segment("one", 0, 2, "correction", say("command of a segment"), by=say("who said it")))
    record(study, lived.name, by=people["annotator"], source={"said": say("source of a recording")})
    return {"episode": lived.name, "step": 1}


def robots(say: Say, study: Study, people: dict[str, Any]) -> dict[str, int]:
    """A robot at work that the annotator steers, an episode of it that is over, and something said in each."""
    session = Session.objects.create(
        study=study, world="table_talk", pilot="scripted", created_by=people["annotator"], steerer=people["annotator"],
        status="running", why=say("why of a session"), layer="command", bank=[say("command of a bank")],
    )  # fmt: skip
    scene = {"things": [{"name": say("thing on the table")}], "places": [], "words": say("task of a robot")}
    for number in (1, 2):
        take = Take.objects.create(
            session=session,
            number=number,
            seed=number,
            scene=scene,
            by=people["owner"],
            why=say("how it ended"),
        )
        Said.objects.create(
            session=session, take=take, ref=uuid4(), by=people["owner"], text=say("said to a robot")[:200],
            command=say("command to a robot"), hold="steps:30", outcome=say("outcome")[:40],
        )  # fmt: skip
        if number == 1:
            Take.objects.filter(pk=take.pk).update(ended_at=Now(), kept_at=Now(), steps=3)
    return {"session": session.pk}


def runs(say: Say, study: Study, people: dict[str, Any], ids: dict[str, Any]) -> dict[str, Any]:
    """A run under way that logged one of everything; a run that wrote items; one to resume."""
    run = held_run(
        study, name=say("run")[:200], created_by=people["owner"], snapshot_id=ids["snapshot"],
        reason=say("reason of a run"), report={"readings": {"score": {"label": say("report"), "value": 1.0}}},
        provenance={"data": say("provenance")},
    )  # fmt: skip
    writer = Writer(run.home / "journal.bin")
    write_rows(writer, 1, 20)
    Carrier(run, 1).carry(entries_of(run))
    for step in (0, 10):
        Sample.objects.create(
            run=run, step=step, index=0, prompt=say("sampled prompt"), text=f"{say('sample')} ({step})",
            scores={"rewards": 0.5},
        )  # fmt: skip
    Histogram.objects.create(run=run, name="rewards", step=10, edges=[0.0, 1.0], counts=[3.0])
    note(run, key="said", kind="note", text=say("event"))
    (run.home / "console.log").write_text(say("console"), encoding="utf-8", errors="replace")
    folder = run.home / "policy"
    folder.mkdir()
    (folder / "kibitz.json").write_text("{}")
    made = Artifact.objects.create(
        study=study, run=run, kind="policy", name=say("model")[:200], path=folder.relative_to(settings.KIBITZ_HOME),
        digest="0" * 64, size=2, step=10,
    )  # fmt: skip
    ended = held_run(study, name="Ended", created_by=people["owner"])
    type(ended).objects.filter(pk=ended.pk).update(status="finished")
    lines = ended.home / "items.jsonl"
    lines.write_text("")
    Artifact.objects.create(
        study=study, run=ended, kind="items", name="items", path=lines.relative_to(settings.KIBITZ_HOME),
        digest="1" * 64, size=0,
    )  # fmt: skip
    failed = held_run(study, name="Failed", created_by=people["owner"])
    type(failed).objects.filter(pk=failed.pk).update(status="failed")
    return {"run": run.pk, "artifact": made.pk, "ended": ended.pk, "failed": failed.pk, "file": "kibitz.json"}


@contextmanager
def undone() -> Iterator[None]:
    """What is changed within is as it was after."""
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)
