"""How a study stands with terms, consents and withdrawals: what the data page shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count, Q

from annotation import consent, personal_data, richtext
from annotation.models import Candidate, Consent, Item, Remark, Signal, Snapshot, Study
from annotation.snapshots.names import pseudonym

LOOKED_AT = 300
"""How many items a look for personal data reads at most."""
LISTED = 50

__all__ = ["consent_html", "look", "people", "pseudonym", "terms", "withdrawals", "withdrawn_since"]


def terms(study: Study) -> dict[str, Any]:
    """Items by licence and by what was said about training, with their shares."""
    items = Item.objects.filter(study=study, upload=None)
    rows = list(items.values("licence", "signal").annotate(items=Count("pk")).order_by())
    licences: Counter[str] = Counter()
    signals: Counter[str] = Counter()
    for row in rows:
        licences[row["licence"] or study.licence] += row["items"]
        signals[row["signal"]] += row["items"]
    total = sum(licences.values())
    return {
        "items": total,
        "licences": [{"name": name, "items": n, "share": n / total} for name, n in licences.most_common()],
        "signals": [
            {"name": Signal(name).label, "items": n, "share": n / total} for name, n in signals.most_common()
        ],
        "unlicensed": licences[""],
    }


def people(study: Study) -> dict[str, Any]:
    """Members by the consent they hold; those who took it back apart from those who were never asked."""
    gone = consent.withdrawn(study)
    asked = set(Consent.objects.filter(study=study).values_list("user", flat=True))
    counts: Counter[tuple[int, str]] = Counter()
    members = study.memberships.filter(user__simulated=False)
    for user, version in members.values_list("user", "consent_version"):
        if user in gone:
            words = "taken back"
        elif version:
            words = "held" if version == study.consent_version else "held, of an older text"
        else:
            words = "not asked yet" if user not in asked else "taken back"
        counts[version, words] += 1
    return {
        "consents": [
            {"version": version, "words": words, "people": n}
            for (version, words), n in sorted(counts.items())
        ],
        "gone": len(gone),
    }


def withdrawals(study: Study) -> dict[str, Any]:
    """What was taken back; pending is what the newest snapshot still holds: a new one leaves it out."""
    newest = study.snapshots.first()
    items = Item.objects.filter(study=study).exclude(withdrawn_at=None).order_by("-withdrawn_at")
    listed = [
        {"item": item, "pending": bool(newest) and consent.holds_item(newest, item.pk)}
        for item in items[:LISTED]
    ]
    gone = sorted(consent.withdrawn(study))
    persons = [
        {
            "pseudonym": pseudonym(study.pk, user),
            "user": user,
            "pending": bool(newest) and consent.holds_person(newest, user),
        }
        for user in gone
    ]
    flags = Remark.objects.filter(study=study, kind=Remark.Kind.FLAG, resolved_at=None)
    return {
        "withdrawn_items": listed,
        "withdrawn_count": items.count(),
        "withdrawn_people": persons,
        "pending": sum(one["pending"] for one in [*listed, *persons]),
        "reported": flags.filter(reason=Remark.Reason.PERSONAL).count(),
        "newest": newest,
        "steps": newest.process.get("filters", []) if newest else [],
    }


def withdrawn_since(snapshot: Snapshot) -> dict[str, int]:
    """How many items and people a snapshot holds that were withdrawn after it was frozen."""
    items = Item.objects.filter(study=snapshot.study_id, withdrawn_at__gt=snapshot.created_at)
    held = sum(consent.holds_item(snapshot, pk) for pk in items.values_list("pk", flat=True)[:1000])
    gone = sum(consent.holds_person(snapshot, user) for user in consent.withdrawn(snapshot.study))
    return {"items": held, "people": gone}


def consent_html(study: Study) -> str:
    return richtext.render(study.consent)


def look(study: Study) -> dict[str, Any]:
    """Looks for personal data in items spread evenly over the study: what was found, of which kind, and where."""
    items = Item.objects.filter(study=study, upload=None, withdrawn_at=None)
    total = items.count()
    step = max(1, -(-total // LOOKED_AT))
    keys = list(items.order_by("pk").values_list("pk", flat=True))[::step]
    found: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    texts = {
        item.pk: [("prompt", text) for text in prompts(item)] for item in Item.objects.filter(pk__in=keys)
    }
    for one in Candidate.objects.filter(Q(item__in=keys)).order_by("item", "index"):
        texts[one.item_id].append((f"answer {one.index + 1}", one.text))
    for item, parts in texts.items():
        places = [(place, one) for place, text in parts for one in personal_data.find(text)]
        kinds.update(one.kind for _, one in places)
        if places:
            found.append(
                {
                    "item": item,
                    "places": [(place, personal_data.KINDS[one.kind]) for place, one in places][:5],
                }
            )
    return {
        "read": len(keys), "of": total, "found": len(found), "items": found[:LISTED],
        "kinds": [(personal_data.KINDS[kind], n) for kind, n in kinds.most_common()],
    }  # fmt: skip


def prompts(item: Item) -> list[str]:
    if "prompt" in item.context:
        return [item.context["prompt"]]
    return [turn["content"] for turn in item.context["messages"]]
