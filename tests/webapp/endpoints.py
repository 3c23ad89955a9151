"""Who may use each address of the site: the one table that the tests of rights and of the API go by.

Each row names the least role, and a request that somebody of that role could send. In what is sent, the names in
braces stand for ids of `tests.webapp.world`. A row for every address, an address for every row: a test checks it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

PUBLIC, SIGNED_IN = "anonymous", "stranger"
ANNOTATOR, REVIEWER, RESEARCHER, OWNER = "annotator", "reviewer", "researcher", "owner"
RANK = (PUBLIC, SIGNED_IN, ANNOTATOR, REVIEWER, RESEARCHER, OWNER)
KEY = "5f0c6e0e-7d0f-4c58-9a53-6b1f1f9d1c11"

FIRST = {
    "studies": "study", "tasks": "task", "labels": "label", "remarks": "remark", "snapshots": "snapshot",
    "imports": "job", "webhooks": "webhook", "runs": "run", "artifacts": "artifact", "items": "item",
    "robots": "session",
}  # fmt: skip
"""Which id `pk` is, by the first word of an address."""


@dataclass(frozen=True)
class Ask:
    """A request, and the least role that may send it."""

    least: str
    body: dict[str, Any] | None = None
    query: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    of: str = ""
    """Which id of the world `pk` is, where it is not the usual one."""
    refused: int = 0
    """What the world as it is answers, where that is a refusal in words."""

    def ids(self, address: str, ids: dict[str, Any]) -> dict[str, Any]:
        """What stands in an address for each of its parts."""
        first = address.strip("/").split("/")[0]
        return {**ids, "pk": ids[self.of or FIRST.get(first, "study")]}

    def sent(self, ids: dict[str, Any]) -> dict[str, Any] | None:
        return None if self.body is None else _filled(self.body, ids)

    def asked(self, ids: dict[str, Any]) -> dict[str, Any]:
        return _filled(self.query, ids)

    def form(self, ids: dict[str, Any]) -> dict[str, Any]:
        """The body as a browser's form, with its files."""
        found = {name: [] for name in self.files}
        for name, (filename, content) in self.files.items():
            found[name] = BytesIO(content)
            found[name].name = filename
        return {**(self.sent(ids) or {}), **found}


def _filled(given: Any, ids: dict[str, Any]) -> Any:
    """The same with the world's ids: a text that is a name in braces becomes the id itself."""
    text = json.dumps(given)
    text = re.sub(r'"\{(\w+)\}"', lambda found: json.dumps(ids[found[1]]), text)
    return json.loads(re.sub(r"\{(\w+)\}", lambda found: str(ids[found[1]]), text))


GOLD = {"answer": {"choice": "tie"}, "reason": "Equal."}
ITEM = {"context": {"prompt": "Why?"}, "candidates": ["Because.", "So."], "external_id": "new"}
ROWS = ("data.jsonl", b'{"prompt": "Why?", "chosen": "Because.", "rejected": "So."}\n')
MODEL = ("config.json", b'{"model_type": "gpt2"}')
TURN = {"turn": 0}

API: dict[tuple[str, str], Ask] = {
    ("get", "/studies"): Ask(SIGNED_IN),
    ("post", "/studies"): Ask(SIGNED_IN, {"name": "A new study", "rules": {"policy": "random"}}),
    ("get", "/studies/{pk}"): Ask(ANNOTATOR),
    ("patch", "/studies/{pk}"): Ask(RESEARCHER, {"guidelines": "Be kind.", "rules": {"gold_rate": 0.1}}),
    ("get", "/studies/{pk}/progress"): Ask(ANNOTATOR),
    ("get", "/studies/{pk}/members"): Ask(RESEARCHER),
    ("post", "/studies/{pk}/members"): Ask(OWNER, {"username": "{newcomer}", "role": "annotator"}),
    ("post", "/studies/{pk}/members/{username}/standing"): Ask(RESEARCHER, {"standing": "passed"}),
    ("get", "/studies/{pk}/gold"): Ask(REVIEWER, query={"after": 0, "limit": 5}),
    ("post", "/tasks/{pk}/gold"): Ask(RESEARCHER, GOLD, of="settled"),
    ("delete", "/tasks/{pk}/gold"): Ask(RESEARCHER, of="gold"),
    ("post", "/studies/{pk}/calibration"): Ask(RESEARCHER, {"count": 1, "kind": "pairwise"}),
    ("get", "/studies/{pk}/items"): Ask(REVIEWER, query={"after": -1, "limit": 5}),
    ("post", "/studies/{pk}/items"): Ask(RESEARCHER, {"items": [ITEM]}),
    ("get", "/studies/{pk}/recordings"): Ask(RESEARCHER, query={"limit": 5}),
    ("post", "/studies/{pk}/pairs"): Ask(  # it has one recording, and a pair is of two
        RESEARCHER, {"world": "toy", "task": "reach", "count": 3, "length": 5, "seed": 1}, refused=422
    ),
    ("get", "/items/{pk}/history"): Ask(REVIEWER),
    ("post", "/items/{pk}/withdraw"): Ask(RESEARCHER, {"reason": "Asked to."}, of="spare"),
    ("get", "/studies/{pk}/imports"): Ask(RESEARCHER),
    ("post", "/studies/{pk}/imports"): Ask(
        RESEARCHER, {"format": "trl", "licence": "CC0"}, files={"file": ROWS}
    ),
    ("get", "/imports/{pk}"): Ask(RESEARCHER),
    ("post", "/imports/{pk}/cancel"): Ask(RESEARCHER),
    ("post", "/studies/{pk}/next"): Ask(ANNOTATOR, {"kind": "pairwise", "count": 2, "besides": []}),
    ("post", "/studies/{pk}/undo"): Ask(ANNOTATOR),
    ("post", "/studies/{pk}/heartbeat"): Ask(ANNOTATOR, {"tasks": ["{task}"]}),
    ("post", "/tasks/{pk}/submit"): Ask(ANNOTATOR, {"answer": {"choice": "a"}, "key": KEY, "seconds": 2.5}),
    ("post", "/tasks/{pk}/skip"): Ask(ANNOTATOR, {"reason": "Unclear."}),
    ("get", "/studies/{pk}/labels"): Ask(ANNOTATOR, query={"after": 0, "limit": 5, "history": True}),
    ("post", "/labels/{pk}/withdraw"): Ask(ANNOTATOR),
    ("get", "/tasks/{pk}/conversation"): Ask(ANNOTATOR, of="conversation"),
    ("post", "/tasks/{pk}/conversation/say"): Ask(ANNOTATOR, {**TURN, "text": "Hello."}, of="unsaid"),
    ("post", "/tasks/{pk}/conversation/choose"): Ask(ANNOTATOR, {**TURN, "choice": "a"}, of="conversation"),
    ("post", "/tasks/{pk}/conversation/write"): Ask(ANNOTATOR, {**TURN, "text": "Mine."}, of="conversation"),
    ("post", "/tasks/{pk}/conversation/rewrite"): Ask(ANNOTATOR, {**TURN, "text": "Better."}, of="chosen"),
    ("post", "/tasks/{pk}/conversation/again"): Ask(ANNOTATOR, TURN, of="unanswered"),
    ("post", "/tasks/{pk}/conversation/back"): Ask(ANNOTATOR, TURN, of="chosen"),
    ("post", "/tasks/{pk}/remarks"): Ask(
        ANNOTATOR, {"kind": "flag", "key": KEY, "reason": "broken", "text": "?", "candidate": "{candidate}"}
    ),
    ("get", "/studies/{pk}/remarks"): Ask(
        REVIEWER, query={"kind": "flag", "open": True, "after": 0, "limit": 5}
    ),
    ("post", "/remarks/{pk}/resolve"): Ask(REVIEWER),
    ("get", "/studies/{pk}/reliability"): Ask(REVIEWER),
    ("get", "/studies/{pk}/review"): Ask(REVIEWER, query={"which": "flagged", "limit": 5}),
    ("post", "/tasks/{pk}/verdict"): Ask(REVIEWER, {"answer": {"choice": "a"}, "reason": "Clear."}),
    ("post", "/tasks/{pk}/verdict/take-back"): Ask(REVIEWER, {"reason": "Wrong."}, of="settled"),
    ("get", "/studies/{pk}/verdicts"): Ask(REVIEWER, query={"after": 0, "limit": 5}),
    ("post", "/labels/{pk}/send-back"): Ask(REVIEWER, {"words": "Look again."}, of="label_rating"),
    ("get", "/studies/{pk}/snapshots"): Ask(REVIEWER),
    ("post", "/studies/{pk}/snapshots"): Ask(RESEARCHER, {"name": "again"}),
    ("get", "/snapshots/{pk}"): Ask(REVIEWER),
    ("get", "/snapshots/{pk}/download"): Ask(REVIEWER, query={"format": "csv", "ties": "drop"}),
    ("get", "/studies/{pk}/export"): Ask(RESEARCHER, query={"format": "trl", "agreement": "", "seed": "3"}),
    ("get", "/studies/{pk}/consent"): Ask(ANNOTATOR),
    ("post", "/studies/{pk}/consent"): Ask(ANNOTATOR, {"attribution": "named", "agree": True, "version": 1}),
    ("get", "/studies/{pk}/webhooks"): Ask(RESEARCHER),
    ("post", "/studies/{pk}/webhooks"): Ask(
        RESEARCHER, {"url": "https://93.184.216.34/here", "events": ["run.finished"]}
    ),
    ("patch", "/webhooks/{pk}"): Ask(RESEARCHER, {"active": False, "events": ["run.finished"]}),
    ("delete", "/webhooks/{pk}"): Ask(RESEARCHER),
    ("post", "/webhooks/{pk}/test"): Ask(RESEARCHER),
    ("get", "/webhooks/{pk}/deliveries"): Ask(RESEARCHER, query={"before": 999999, "limit": 5}),
    ("get", "/methods"): Ask(SIGNED_IN),
    ("get", "/workers"): Ask(SIGNED_IN),
    ("get", "/runs"): Ask(
        SIGNED_IN, query={"study": "{study}", "status": "running", "before": 999999, "limit": 5}
    ),
    ("post", "/runs"): Ask(
        RESEARCHER,
        {"method": "reward/bradley_terry", "snapshot": "{snapshot}", "config": {}, "inputs": {}, "name": "x"},
    ),
    ("get", "/runs/{pk}"): Ask(REVIEWER),
    ("post", "/runs/{pk}/stop"): Ask(RESEARCHER, query={"now": True}),
    ("post", "/runs/{pk}/resume"): Ask(RESEARCHER, of="failed"),
    ("post", "/runs/{pk}/commands"): Ask(RESEARCHER, {"kind": "checkpoint", "args": {}}),
    ("get", "/runs/{pk}/commands"): Ask(REVIEWER),
    ("post", "/runs/{pk}/propose"): Ask(RESEARCHER, of="ended"),
    ("get", "/runs/{pk}/points"): Ask(REVIEWER, query={"after": 3, "epoch": 0, "format": "json"}),
    ("get", "/runs/{pk}/series"): Ask(REVIEWER),
    ("get", "/runs/{pk}/events"): Ask(REVIEWER),
    ("get", "/runs/{pk}/samples"): Ask(REVIEWER, query={"step": 10, "before": 11, "limit": 5}),
    ("get", "/runs/{pk}/histograms"): Ask(REVIEWER, query={"name": "rewards"}),
    ("get", "/runs/{pk}/console"): Ask(REVIEWER, query={"tail": 100}),
    ("get", "/runs/{pk}/artifacts"): Ask(REVIEWER),
    ("get", "/runs/{pk}/artifacts/{artifact}/download/{file}"): Ask(REVIEWER),
    ("get", "/artifacts/{pk}"): Ask(REVIEWER),
    ("get", "/artifacts/{pk}/download/{file}"): Ask(REVIEWER),
    ("get", "/studies/{pk}/artifacts"): Ask(REVIEWER, query={"kind": "policy"}),
    ("post", "/studies/{pk}/artifacts"): Ask(
        RESEARCHER, {"kind": "policy", "name": "mine"}, files={"files": MODEL}
    ),
    ("get", "/studies/{pk}/loop"): Ask(REVIEWER),
    ("put", "/studies/{pk}/loop"): Ask(RESEARCHER, {"retrain_on": True, "retrain_every": 50}),
    ("get", "/studies/{pk}/affected"): Ask(REVIEWER, query={"item": "{item}"}),
    ("get", "/studies/{pk}/robots"): Ask(ANNOTATOR, query={"limit": 5}),
    ("post", "/studies/{pk}/robots"): Ask(
        RESEARCHER, {"world": "table_talk", "pilot": "scripted", "dials": {"camera_shift": 0.1}, "seed": 3}
    ),
    ("get", "/robots/{pk}"): Ask(ANNOTATOR),
    ("post", "/robots/{pk}/understand"): Ask(ANNOTATOR, {"text": "move a bit to the left"}),
    ("post", "/robots/{pk}/say"): Ask(ANNOTATOR, {"text": "move a bit to the left", "ref": KEY}),
    ("post", "/robots/{pk}/steer"): Ask(ANNOTATOR),
    ("post", "/robots/{pk}/begin"): Ask(ANNOTATOR),
    ("post", "/robots/{pk}/teach"): Ask(RESEARCHER, refused=409),  # a script flies it: nothing learns
    ("post", "/robots/{pk}/end"): Ask(ANNOTATOR),
}

WORDS = {"name": "Named", "guidelines": "Be kind.", "licence": "CC0", "consent": "Yes?", "pay": "None."}
RULES = {
    "policy": "sequential", "more_people": 0, "wide_spread": 2, "gold_rate": 0, "calibration_rate": 0,
    "repeat_rate": 0, "pass_bar": 0, "drift_bar": 0,
}  # fmt: skip
PASSWORD = {"new_password1": "difference engine", "new_password2": "difference engine"}

PAGES: dict[str, dict[str, Ask]] = {
    "": {"get": Ask(SIGNED_IN)},
    "guidelines/preview/": {"post": Ask(SIGNED_IN, {"guidelines": "*Kind*"})},
    "studies/new/": {
        "get": Ask(SIGNED_IN),
        "post": Ask(SIGNED_IN, {**WORDS, "overlap": 1, "ask_ranking": "on"}),
    },
    "studies/<pk>/": {"get": Ask(ANNOTATOR)},
    "studies/<pk>/quality/": {"get": Ask(REVIEWER)},
    "studies/<pk>/settings/": {"get": Ask(RESEARCHER), "post": Ask(RESEARCHER, WORDS)},
    "studies/<pk>/archive/": {"post": Ask(OWNER, {"archive": "1"})},
    "studies/<pk>/imports/": {
        "get": Ask(RESEARCHER),
        "post": Ask(RESEARCHER, {"format": "trl"}, files={"file": ROWS}),
    },
    "imports/<pk>/": {"get": Ask(RESEARCHER)},
    "imports/<pk>/cancel/": {"post": Ask(RESEARCHER)},
    "studies/<pk>/webhooks/": {
        "get": Ask(RESEARCHER),
        "post": Ask(RESEARCHER, {"url": "https://93.184.216.34/", "events": "run.finished"}),
    },
    "webhooks/<pk>/": {"post": Ask(RESEARCHER, {"do": "pause"})},
    "studies/<pk>/freeze/": {"post": Ask(RESEARCHER, {"name": "again"})},
    "studies/<pk>/data/": {"get": Ask(REVIEWER, query={"look": ""})},
    "studies/<pk>/consent/": {"get": Ask(ANNOTATOR), "post": Ask(ANNOTATOR, {"attribution": "named"})},
    "studies/<pk>/items/withdraw/": {"post": Ask(RESEARCHER, {"item": "{spare}", "reason": "Asked to."})},
    "studies/<pk>/export/": {"get": Ask(RESEARCHER, query={"format": "csv"})},
    "snapshots/<pk>/export/": {"get": Ask(REVIEWER, query={"format": "csv"})},
    "snapshots/<pk>/": {"get": Ask(REVIEWER)},
    "snapshots/<pk>/<format>.jsonl": {"get": Ask(REVIEWER)},
    "studies/<pk>/label/": {"get": Ask(ANNOTATOR)},
    "studies/<pk>/label/next/": {"get": Ask(ANNOTATOR)},
    "studies/<pk>/label/undo/": {"post": Ask(ANNOTATOR)},
    "studies/<pk>/label/past/": {"get": Ask(ANNOTATOR)},
    "studies/<pk>/label/heartbeat/": {"post": Ask(ANNOTATOR, {"tasks": "{task}"})},
    "tasks/<pk>/submit/": {"post": Ask(ANNOTATOR, {"choice": "a", "key": KEY})},
    "tasks/<pk>/understand/": {
        "post": Ask(ANNOTATOR, {"text": "move a bit to the left"}, of="answered_hindsight")
    },
    "tasks/<pk>/conversation/": {
        "get": Ask(ANNOTATOR, of="conversation"),
        "post": Ask(ANNOTATOR, {"do": "a", "last": "0"}, of="conversation"),
    },
    "tasks/<pk>/skip/": {"post": Ask(ANNOTATOR)},
    "tasks/<pk>/revise/": {"post": Ask(ANNOTATOR, {"choice": "b", "key": KEY}, of="answered_pairwise")},
    "tasks/<pk>/remark/": {
        "post": Ask(ANNOTATOR, {"remark_kind": "note", "remark_key": KEY, "remark_text": "Odd."})
    },
    "studies/<pk>/review/": {"get": Ask(REVIEWER)},
    "studies/<pk>/rules/": {"get": Ask(RESEARCHER), "post": Ask(RESEARCHER, {**RULES, "gold_rate": 0.1})},
    "studies/<pk>/calibration/": {"post": Ask(RESEARCHER, {"count": "1"})},
    "studies/<pk>/members/<member>/standing/": {"post": Ask(RESEARCHER, {"standing": "passed"})},
    "tasks/<pk>/review/": {"get": Ask(REVIEWER), "post": Ask(REVIEWER, {"choice": "a", "why": "Clear."})},
    "tasks/<pk>/verdict/take-back/": {"post": Ask(REVIEWER, of="settled")},
    "tasks/<pk>/gold/": {"post": Ask(RESEARCHER, {"part": "gold"}, of="settled")},
    "labels/<pk>/send-back/": {"post": Ask(REVIEWER, {"words": "Look again."}, of="label_rating")},
    "remarks/<pk>/resolve/": {"post": Ask(REVIEWER)},
    "items/<pk>/": {"get": Ask(REVIEWER)},
    "studies/<pk>/mine/": {"get": Ask(ANNOTATOR)},
    "studies/<pk>/recordings/": {
        "get": Ask(REVIEWER),
        "post": Ask(RESEARCHER, {"world": "toy", "task": "reach", "count": "2", "length": "5", "seed": "1"}),
    },
    "recordings/<episode>/": {"get": Ask(ANNOTATOR)},
    "recordings/<episode>/steps/": {"get": Ask(ANNOTATOR, query={"from": 1, "to": 3})},
    "recordings/<episode>/picture/<step>.jpg": {"get": Ask(ANNOTATOR, query={"size": 64})},
    "runs/": {"get": Ask(SIGNED_IN)},
    "runs/<pk>/": {"get": Ask(REVIEWER)},
    "runs/<pk>/command/": {"post": Ask(RESEARCHER, {"kind": "pause"})},
    "runs/<pk>/samples/send/": {"post": Ask(RESEARCHER, {"before": "0", "step": "10", "index": "0"})},
    "runs/<pk>/<name>/": {"get": Ask(REVIEWER)},
    "studies/<pk>/runs/": {"get": Ask(REVIEWER)},
    "studies/<pk>/runs/new/": {
        "get": Ask(RESEARCHER),
        "post": Ask(RESEARCHER, {"start": "1", "snapshot": "{snapshot}", "method": "reward/bradley_terry"}),
    },
    "studies/<pk>/models/": {"get": Ask(REVIEWER)},
    "studies/<pk>/affected/": {"get": Ask(REVIEWER, query={"item": "{item}"})},
    "studies/<pk>/loop/": {
        "get": Ask(REVIEWER),
        "post": Ask(RESEARCHER, {"retrain_every": "50", "propose_count": "20"}),
    },
    "studies/<pk>/robots/": {
        "get": Ask(ANNOTATOR),
        "post": Ask(RESEARCHER, {"world": "table_talk", "pilot": "scripted", "seed": "3"}),
    },
    "robots/<pk>/": {"get": Ask(ANNOTATOR)},
    "robots/<pk>/teach/": {"post": Ask(RESEARCHER)},
    "robots/<pk>/again/": {"post": Ask(RESEARCHER, {"run": ""})},
    "robots/<pk>/end/": {"post": Ask(ANNOTATOR)},
    "accounts/login/": {"get": Ask(PUBLIC), "post": Ask(PUBLIC, {"username": "nobody", "password": "x"})},
    "accounts/logout/": {"post": Ask(PUBLIC)},
    "accounts/enter/<token>/": {"get": Ask(PUBLIC)},
    "accounts/invitations/<token>/": {"get": Ask(PUBLIC), "post": Ask(PUBLIC)},
    "accounts/password/": {"get": Ask(SIGNED_IN), "post": Ask(SIGNED_IN, PASSWORD)},
    "accounts/keys/": {"get": Ask(SIGNED_IN), "post": Ask(SIGNED_IN, {"reset": "1"})},
    "accounts/tokens/": {"get": Ask(SIGNED_IN), "post": Ask(SIGNED_IN, {"name": "a script"})},
    "accounts/tokens/<pk>/revoke/": {"post": Ask(OWNER, of="own_token")},
    "studies/<pk>/people/": {
        "get": Ask(RESEARCHER),
        "post": Ask(OWNER, {"role": "annotator", "days": "7", "uses": "1"}),
    },
    "studies/<pk>/people/<user_pk>/": {"post": Ask(OWNER, {"role": "reviewer"})},
    "studies/<pk>/people/invitations/<invitation_pk>/revoke/": {"post": Ask(OWNER)},
    "api/openapi.json": {"get": Ask(PUBLIC)},
    "api/docs": {"get": Ask(PUBLIC)},
    "api/": {},
}
"""By address and method. A page that is only read has no `post`: posting to it changes nothing."""

SOCKETS = {"ws/": SIGNED_IN, "ws/studies/<pk>/": ANNOTATOR, "ws/robots/<pk>/": ANNOTATOR}
