"""A studio in full use: every interface asked, everything said of the answers that can be, runs, files and letters.

`full_house()` builds it by the services that people use. Pages are looked at as they are on a busy day, and
`empty_house()` as on the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
from django.conf import settings
from django.db.models.functions import Now

from annotation import consent, exchanges, gold, import_jobs, remarks, review, services, snapshots
from annotation.interfaces.registry import INTERFACES
from annotation.models import Delivery, Label, Part, Role, Study, Task, Webhook
from annotation.reliability import sweep
from tests.annotation import robots, studies
from tests.webapp.runs import held_run
from trainers.envs.registry import world
from trainers.journal import Chunk
from webapp.accounts.models import ApiToken, Invitation
from webapp.robots.models import Said, Session, Take
from webapp.runs.models import Artifact, Run, Status
from webapp.runs.progress import Carrier
from webapp.runs.services import register_model

POLICY = settings.BASE_DIR / "trainers" / "demo" / "policy"
ARABIC = "هل يمكنني تسجيل المغادرة في وقت متأخر؟ "
HEBREW = "כן, בשמחה. נשמור לך את החדר עד השעה שתיים, והמזוודות יחכו בקבלה. "
STEPS = "The room is 80 a night.\n\nThree nights are 240.\n\nWith 10 % off that is 230."
CODE = "You may use `late_checkout()`:\n\n```python\nroom.keep(until=14)\n```\n\nIt costs $x^2 + 1$."
WAYS = [
    {"kind": "pairwise", "options": {"criteria": [
        {"name": "tone", "label": "Tone", "question": "Which is kinder?"},
        {"name": "facts", "label": "Facts", "question": "Which is right?"},
    ]}},
    {"kind": "critique", "options": {"rewrite": True}},
    "ranking", "rating", "edit", {"kind": "steps", "options": {"mode": "every"}}, "demonstration",
    {"kind": "conversation", "options": {"seats": "both"}}, "clips", "hindsight", "driving",
]  # fmt: skip


@dataclass
class House:
    owner: object
    bob: object
    study: Study
    guarded: Study
    """A study that asks for consent and a qualification before the work."""
    empty: Study
    links: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)


def full_house() -> House:
    ada, bob, eve = (studies.person(name) for name in ("ada", "bob", "eve"))
    study = studies.study(
        *WAYS, items=0, owner=ada, overlap=2, name="Hotel: which answer helps the guest?",
        guidelines="# What to look for\n\nAn answer **helps**, is *true* and is kind.\n\n- one\n- two",
        policy="disputed", pay="12 an hour.",
    )  # fmt: skip
    for who in (bob, eve):
        services.join_study(study=study, user=who, role=Role.ANNOTATOR)
    services.add_items(study=study, items=texts())
    robots.pairs(study, 5)
    robots.episodes(study, 5, motions=True, shift=0.1)
    robots.drives(study, 5)
    house = House(ada, bob, study, _guarded(ada, bob), studies.study(items=0, owner=ada, name="Not begun"))
    _labels(house, (bob, eve))
    _review(house, bob)
    _data(house)
    _runs(house)
    _robots(house)
    _doors(house)
    return house


def texts(count: int = 14) -> list[dict]:
    """Items in English, with code and formulas, and from right to left; the last one is a chat."""
    items = [
        {"context": {"prompt": f"May I check out late on day {n}?"},
         "candidates": [{"text": f"Yes, until two o'clock, at no cost. {n}", "policy": "concierge-2"},
                        {"text": CODE if n % 3 else STEPS, "policy": "concierge-1"}]}
        for n in range(count - 2)
    ]  # fmt: skip
    items.append({"context": {"prompt": ARABIC * 3}, "candidates": [HEBREW * 6, ARABIC * 4]})
    chat = [
        {"role": "system", "content": "You are the clerk."},
        {"role": "user", "content": "Is the pool open?"},
    ]
    return [*items, {"context": {"messages": chat}, "candidates": ["It is, until nine.", HEBREW]}]


def said(kind: str, turn, who: int = 0) -> dict:
    """What somebody says to a task: people differ now and then."""
    text = turn.candidates[0].text if turn.candidates else ""
    return {
        "pairwise": {"choice": "ab"[(turn.task.pk + who) % 2], "strength": 2, "reason": "It is kinder."},
        "critique": {
            "spans": [{"start": 0, "end": min(3, len(text)), "type": "Irrelevant", "note": "hasty"},
                      {"start": 2, "end": min(9, len(text)), "type": "Unverifiable", "note": ""}],
            "missing": ["The price"], "note": "Short.", "rewrite": "Gladly, until two." if who else "",
        },
        "ranking": {"ranks": studies.in_the_order_shown(turn)},
        "rating": {"scores": {"quality": 3 + who}},
        "edit": {"text": "Gladly: until two o'clock."},
        "steps": {"first_wrong": None if who else 0},
        "demonstration": {"text": "Gladly, until two."},
        "clips": {"choice": "ab"[who], "strength": 2, "reason": "It drops nothing.", "marks": "A 3-9, B 4-12"},
        "hindsight": {
            "corrections": [{"start": 5, "stop": 9, "text": "left a bit", "command": "move a bit to the left"},
                            {"start": 20, "stop": 30, "type": "rejected"}],
            "success": bool(who), "stages": {"1. the tray": True},
        },
        "driving": {"start": 4, "stop": 40, "success": True, "note": "Slow but sure."},
    }[kind]  # fmt: skip


def _labels(house: House, people) -> None:
    for kind in INTERFACES:
        if kind == "conversation":
            continue
        for who, person in enumerate(people):
            for _ in range(3 if kind != "pairwise" else 9):
                turn = studies.claim(house.study, person, kind=kind)
                if turn:
                    studies.answer(turn, said(kind, turn, who))
    turn = studies.claim(house.study, people[0], kind="conversation")
    converse(turn.task, people[0])
    exchanges.choose(task=turn.task.pk, annotator=people[0], number=0, choice="b")
    studies.answer(turn, {"sent": "1"})
    sweep.fit(house.study)


def _review(house: House, bob) -> None:
    tasks = Task.objects.filter(study=house.study, kind="pairwise", done=2).order_by("pk")
    flagged, settled, known = tasks[:3]
    for kind, reason, text in (("flag", "personal_data", "A phone number."), ("note", "", "Unclear to me.")):
        remarks.remark(task=flagged, author=bob, kind=kind, key=uuid4(), reason=reason, text=text)
    choice = {"choice": "a", "strength": 3}
    for task in (settled, known):
        review.settle(task=task, by=house.owner, answer=choice, reason="It answers what was asked.")
    verdict = review.verdict_of(known)
    gold.make_gold(task=known, answer=verdict.answer, by=house.owner, reason="Kinder.")
    sent = Label.objects.current().filter(study=house.study, kind="rating", annotator=bob).first()
    review.send_back(label=sent, by=house.owner, words="Look at the tone once more.")
    house.ids |= {"flagged": flagged.pk, "settled": settled.pk, "item": flagged.item_id}
    for kind in INTERFACES:
        house.ids[kind] = Task.objects.filter(study=house.study, kind=kind).order_by("-done", "pk")[0].pk


def _guarded(ada, bob) -> Study:
    made = studies.study(
        items=4, owner=ada, name="Asks first", consent="Your answers may be *published*.", pass_bar=0.5
    )
    services.join_study(study=made, user=bob, role=Role.ANNOTATOR)
    task = made.tasks.order_by("pk")[0]
    answer = review.interface("pairwise").read({"choice": "a"}, review.as_claim(task, ada))
    gold.make_gold(task=task, answer=answer.to_json(), by=ada, part=Part.QUALIFICATION, reason="Kinder.")
    return made


def _data(house: House) -> None:
    study, ada = house.study, house.owner
    house.ids["snapshot"] = snapshots.freeze(study=study, by=ada, name="First labels").pk
    consent.withdraw_item(item=study.items.order_by("pk")[5], by=ada, reason="The author asked.")
    house.ids["frozen_again"] = snapshots.freeze(study=study, by=ada, name="Without one").pk
    files = {
        "failed": b'{"kind": "pair"}\nnot JSON\n',
        "finished": b'{"kind": "pair", "id": "p", "prompt": "Where?", "chosen": "There.", "rejected": "No."}\n',
    }
    for status, content in files.items():
        job = import_jobs.keep(
            study=study, by=ada, chunks=[content], filename=f"{status}.jsonl", format="kibitz"
        )
        import_jobs.run(job.pk)
        house.ids[f"import_{status}"] = job.pk
    hook = Webhook.objects.create(  # made beside the service, which takes addresses of the open net alone
        study=study, url="http://127.0.0.1:9/a/long/way/to/go/to/the/hook", secret="whsec_AAAA",
        events=["snapshot.frozen", "label.submitted"], created_by=ada,
    )  # fmt: skip
    letters = (
        {"attempts": 1, "problem": "Connection refused"},
        {"attempts": 2, "status": 200, "next_at": None},
    )
    for letter in letters:
        Delivery.objects.create(webhook=hook, event="snapshot.frozen", letter=uuid4(), payload={}, **letter)


def _runs(house: House) -> None:
    register_model(study=house.study, path=POLICY, kind=Artifact.Kind.POLICY, name="concierge-2")
    running = held_run(house.study)
    carrier, seq = Carrier(running, 1), np.arange(1, 61, dtype=float)
    columns = np.stack([np.exp(-seq / 20), seq / 90])
    carrier.carry([Chunk(1, 60, ("loss", "rewards/margins"), seq, 1.7e9 + seq, columns)])
    row = {
        "index": 0,
        "prompt": "Is the pool open?",
        "text": "It is.",
        "scores": {"reward": 0.7},
        "length": 6,
    }
    carrier.carry([{"type": "samples", "step": 60, "rows": [row]}])
    carrier.carry([{"type": "console", "stream": "stdout", "text": "step 60\n"}])
    ended = {"failed": "The loss is not a number at step 3.", "finished": ""}
    for status, reason in ended.items():
        other = held_run(house.study)
        changes = {"status": getattr(Status, status.upper()), "reason": reason, "finished_at": Now()}
        Run.objects.filter(pk=other.pk).update(**changes)
        house.ids[f"run_{status}"] = other.pk
    house.ids["run"] = running.pk


def _robots(house: House) -> None:
    """A robot that was paused in its second episode, with something said to it; and one that was sent away."""
    here = world("table_talk")
    here.reset(3)
    for name, status in (("robot", "paused"), ("robot_ended", "ended")):
        made = Session.objects.create(
            study=house.study, world="table_talk", task="pack", pilot="scripted", created_by=house.owner,
            steerer=house.owner, status=status, why="Paused by ada." if status == "paused" else "Ended by ada.",
            layer="command", bank=["open the gripper"], motions={"left": "move a bit to the left"}, seed=3,
            worker="robots@here:1", heartbeat_at=Now(), paused=status == "paused", wanted=2,
        )  # fmt: skip
        for number in (1, 2):
            take = Take.objects.create(
                session=made, number=number, seed=2 + number, by=house.owner, scene=here.scene(),
                state=here.state().tolist(), steps=40, why="done", score=1.0, success=True,
            )  # fmt: skip
            Said.objects.create(
                session=made, take=take, ref=uuid4(), by=house.owner, text="a bit left, please",
                command="move a bit to the left", hold="steps:30", start=4, stop=12, status="over",
                outcome="expired", predicted="close the gripper",
            )  # fmt: skip
        made.takes.filter(number=1).update(ended_at=Now(), kept_at=Now())
        house.ids[name] = made.pk


def _doors(house: House) -> None:
    _, house.links["invitation"] = Invitation.issue(
        study=house.study, role=Role.ANNOTATOR, created_by=house.owner, days=7, uses=3
    )
    ApiToken.issue(user=house.owner, name="notebook")


def converse(task: Task, annotator) -> None:
    """Says something in a live conversation, and has two models answer, one in Hebrew."""
    exchange = exchanges.say(task=task.pk, annotator=annotator, number=0, text=ARABIC)
    answers = [SimpleNamespace(text=text, policy="p", sampling={}) for text in (HEBREW * 4, CODE)]
    exchanges.take_answers(exchange.pk, answers)
