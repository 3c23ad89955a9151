"""Which methods can be started on a snapshot, family by family; and of those that cannot, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation.models import Snapshot, Study
from trainers import registry
from webapp.runs import cards
from webapp.runs.models import Artifact
from webapp.runs.services import KIND_OF_ROLE

# In the order in which a study comes to need them.
FAMILIES = {
    "correction": (
        "Imitation and corrections",
        "The policy learns to write what people wrote, chose or corrected; a robot, to do what it was told to.",
    ),
    "reward": ("Reward models", "Learn to score answers as people judge them."),
    "direct": (
        "Direct preference methods",
        "The policy learns from judgements themselves; nothing is sampled.",
    ),
    "online": (
        "Learning from samples",
        "The policy writes, a reward model scores, and the policy learns from the scores.",
    ),
    "control": (
        "Robots",
        "A robot learns from what people showed it, told it while it worked, or liked better.",
    ),
    "search": (
        "Search",
        "Nothing is trained: of several answers, the one that a reward model scores highest.",
    ),
    "query": ("Questions", "Choose what people should be asked next."),
}
MAKES = {
    "policy": "a policy",
    "reward_model": "a reward model",
    "robot_policy": "a robot's policy",
    "items": "new questions for annotators",
}


def offers(study: Study, snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Families of methods: {"title", "about", "methods", "possible"}; each method says why it cannot run, or ""."""
    held = set(Artifact.objects.filter(study=study).values_list("kind", flat=True))
    families: dict[str, list[dict[str, Any]]] = {name: [] for name in FAMILIES}
    for name, entry in registry.METHODS.items():
        families.setdefault(entry.family, []).append(
            {
                "name": name,
                "title": entry.title,
                "makes": MAKES.get(entry.produces, entry.produces.replace("_", " ")),
                "about": cards.sentence(name),
                "why_not": why_not(entry, snapshot, held),
            }
        )
    return [
        {
            "title": FAMILIES[family][0] if family in FAMILIES else family.capitalize(),
            "about": FAMILIES[family][1] if family in FAMILIES else "",
            "methods": methods,
            "possible": [one["name"] for one in methods if not one["why_not"]],
        }
        for family, methods in families.items()
        if methods
    ]


def why_not(entry: registry.Entry, snapshot: Snapshot | None, held: set[str]) -> str:
    """What a method lacks to run on a snapshot of a study that holds artifacts of these kinds; "" for nothing."""
    if entry.reads and snapshot is None and not entry.live:
        return "needs a snapshot: freeze the study's labels first"
    if snapshot is not None and entry.reads and not any(snapshot.counts.get(kind) for kind in entry.reads):
        return f"needs {either(entry.reads)}; this snapshot has none"
    missing = [role for role in entry.inputs if KIND_OF_ROLE.get(role, role) not in held]
    if missing:
        wanted = " and ".join(f"a {role.replace('_', ' ')}" for role in missing)
        return f"needs {wanted}; this study has none yet"
    return ""


def either(kinds: tuple[str, ...]) -> str:
    """pairs, rankings or corrections"""
    words = [many(kind) for kind in kinds]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def many(kind: str) -> str:
    """The plural of a kind of record."""
    word = kind.replace("_", " ")
    return word if word.endswith("s") else f"{word}s"


def counted(counts: Mapping[str, int]) -> str:
    """40 pairs, 1 correction"""
    return ", ".join(
        f"{count:,} {many(kind) if count != 1 else kind.replace('_', ' ')}" for kind, count in counts.items()
    )
