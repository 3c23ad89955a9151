"""The demo study: guests write to a hotel's front desk, and a small policy, shipped with Kibitz, answers."""

from __future__ import annotations

import json

from django.conf import settings
from django.db import transaction

from annotation.models import Study
from annotation.services import add_items, create_study
from webapp.runs.models import Artifact
from webapp.runs.services import register_model, set_loop

SHIPPED = settings.BASE_DIR / "trainers" / "demo"
NAME = "Hotel desk"
GUIDELINES = """\
A guest writes to the front desk. Choose the answer you would rather get: one that helps, says when or where, is kind.

When you rewrite an answer, change as little as makes it good.
"""
LICENCE = "CC0-1.0"
CONSENT = "Answers are kept on this machine and train its models."
INTERFACES = [{"kind": "pairwise", "options": {}}, {"kind": "edit", "options": {}}]
# A reward model of fifty labels is soon fooled: with kl_coef 0.15 the gold score fell to 0.9 in three such rounds, on
# one of two seeds. What more labels allow, `manage.py rounds` shows.
LOOP = {
    "retrain_on": True,
    "retrain_every": 100,
    "propose_on": True,
    "propose_count": 100,
    "gold": "hotel",
    "reward_config": {"backbone": "policy", "lr": 5e-4, "epochs": 3},
    "policy_config": {"lr": 5e-4, "steps": 60, "k": 8, "kl_coef": 0.3, "max_new_tokens": 64},
    "query_config": {"prompts": "rule", "max_new_tokens": 64},
}


@transaction.atomic
def make_demo(*, owner, name: str = NAME, **loop) -> Study:
    """The study with its first policy, its first comparisons and its loop; `loop` changes settings of the last."""
    study = create_study(
        name=name, owner=owner, guidelines=GUIDELINES, interfaces=INTERFACES, licence=LICENCE, consent=CONSENT
    )
    policy = register_model(
        study=study,
        path=SHIPPED / "policy",
        kind=Artifact.Kind.POLICY,
        name="first policy",
        meta={"demo": name},
    )
    add_items(study=study, items=first_items(policy))
    set_loop(study=study, by=owner, **{**LOOP, **loop})
    return study


def first_items(policy: Artifact) -> list[dict]:
    """The comparisons shipped with the policy that wrote them, so that the first is on the screen at once."""
    lines = (SHIPPED / "items.jsonl").read_text("utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    for number, item in enumerate(items, start=1):
        item["external_id"] = f"demo-{number}"
        for candidate in item["candidates"]:
            candidate["policy"] = policy.name
            candidate["source"]["artifact"] = policy.pk
    return items


def find_demo() -> Study | None:
    """The demo study made before, whatever it is called by now."""
    made = Artifact.objects.filter(kind=Artifact.Kind.POLICY, meta__demo=NAME).select_related("study").first()
    return made.study if made else None
