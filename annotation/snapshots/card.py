"""The card: what a stranger must know before using the data. Markdown, under a head that Hugging Face reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from annotation.models import ImportJob, Study
from annotation.snapshots.facts import Facts
from trainers.registry import learns_from

OUTCOMES = {"chosen": "decided", "tie": "ties", "both_bad": "both bad"}
SIGNALS = {
    "train": "may be trained on",
    "no_train": "must not be trained on",
    "unknown": "no word on training",
}
LIMITS = [
    "Labels are what these people said under this guideline at that time; others would have said otherwise.",
    "Who labels is not a sample of any population.",
    "Personal data is screened for by pattern (addresses, numbers), which finds no names and no descriptions.",
]
SPDX = [
    "Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "GPL-3.0-only", "MIT", "ODC-By-1.0", "ODbL-1.0", "PDDL-1.0",
]  # fmt: skip
"""Licences to suggest, by their SPDX ids."""
HUB = {name.lower(): name.lower() for name in SPDX} | {
    "gpl-3.0-only": "gpl-3.0", "odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl",
}  # fmt: skip
"""Each of them as Hugging Face spells it."""
SIZES = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]


def about(study: Study) -> dict[str, Any]:
    """What a card says of a study beyond its records, as it stands now."""
    done = ImportJob.objects.filter(study=study, status=ImportJob.Status.FINISHED).order_by("pk")
    return {
        "id": study.pk,
        "name": study.name,
        "licence": study.licence,
        "consent": study.consent,
        "pay": study.pay,
        "guidelines": study.guidelines,
        "overlap": study.overlap,
        "imports": [
            {
                "id": job.pk,
                "filename": job.filename,
                "format": job.format,
                "counts": job.counts,
                "licence": job.licence,
                "sha256": job.digest,
            }
            for job in done
        ],
    }


def body(
    about: Mapping[str, Any], facts: Facts, process: Mapping[str, Any], *, records: str, more: str = ""
) -> str:
    """The card below its head. `records` says in which files they are; `more` stands before the process."""
    sections = [
        f"# {about['name']}",
        f"{facts.records:,} records: {listed(facts.counts)}.",
        summary(about, facts, records),
        more,
        annotators(facts),
        "## Where it comes from\n\n" + "\n".join(provenance(about, facts)),
        log(process),
        "## Known limits\n\n" + "\n".join(f"- {line}" for line in LIMITS),
        f"## What annotators were asked\n\n{about['guidelines']}" if about["guidelines"] else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(about: Mapping[str, Any], facts: Facts, records: str) -> str:
    agreed = {f"version {version}": n for version, n in facts.consents.items() if version}
    if facts.consents[0]:
        agreed["given without a recorded consent"] = facts.consents[0]
    rows = {
        "Records": records,
        "Licence": licences(about, facts),
        "Consent": about["consent"] or "not stated",
        "Consent held": f"labels of people, by what they had agreed to: {listed(agreed)}" if agreed else "",
        "Pay and terms": about["pay"] or "not stated",
        "Period": f"{facts.days[0]} to {facts.days[1]} (UTC)" if facts.days[0] else "",
        "Texts collected": f"{facts.collected[0]} to {facts.collected[1]}" if facts.collected[0] else "",
        "Collected by": listed(facts.collectors),
        "Jurisdiction": listed(facts.jurisdictions),
        "Overlap": f"{about['overlap']} per task",
        "Comparisons": listed({OUTCOMES[name]: n for name, n in facts.outcomes.items()}),
        "Can be learned from by": ", ".join(learns_from(facts.counts)) or "no known method",
    }
    return "\n".join(f"- **{name}**: {one_line(value)}" for name, value in rows.items() if value)


def licences(about: Mapping[str, Any], facts: Facts) -> str:
    """Each licence with its share of the records."""
    shares: dict[str, int] = {}
    for (_, licence, _), n in facts.sources.items():
        shares[licence or about["licence"]] = shares.get(licence or about["licence"], 0) + n
    named = {name or "not stated": n for name, n in shares.items()}
    if len(named) < 2:
        return next(iter(named), "not stated")
    return ", ".join(f"{name} ({n:,} records)" for name, n in sorted(named.items()))


def annotators(facts: Facts) -> str:
    lines = ["## Annotators", "", "Each is called as they chose: by a pseudonym, by name, or not at all.", ""]
    lines += ["| annotator | labels | who |", "|---|---:|---|"]
    for (name, who), n in sorted(facts.people.items()):
        lines.append(f"| {cell(name) or 'not named'} | {n:,} | {cell(who)} |")
    return "\n".join(lines)


def provenance(about: Mapping[str, Any], facts: Facts) -> list[str]:
    lines = [
        f"- imported file `{job['filename']}` ({job['format']}; {listed(job['counts'])}; "
        f"licence {job['licence'] or 'not stated'}; SHA-256 `{job['sha256']}`), import {job['id']}"
        for job in about["imports"]
    ]
    for (source, licence, signal), n in sorted(facts.sources.items()):
        if source:
            terms = one_line(licence or about["licence"] or "no licence stated")
            items = "items added here" if source == "added here" else f"items of {source}"
            lines.append(f"- {n:,} records from {items}: {terms}; {SIGNALS.get(signal, signal)}")
    if facts.policies:
        lines.append(f"- answers written by {', '.join(sorted(facts.policies))}")
    return lines or ["- not stated"]


def log(process: Mapping[str, Any]) -> str:
    """Every filter with its counts in and out."""
    if not process:
        return ""
    lines = ["## How it was made", "", "| filter | in | left out | out |", "|---|---:|---:|---:|"]
    for step in process["filters"]:
        lines.append(f"| {cell(step['why'])} | {step['in']:,} | {step['left_out']:,} | {step['out']:,} |")
    lines.append("")
    lines.append("Counted in labels that stood: neither taken back nor replaced by a change of mind.")
    if process.get("verdicts"):
        lines.append(
            f"{process['verdicts']:,} verdicts of reviewers came in, each in place of its task's labels."
        )
    if process.get("never_asked"):
        lines.append(
            f"{process['never_asked']:,} labels are kept of people who were never asked for their consent: "
            "the study did not ask when they labelled."
        )
    if process.get("by_reliability"):
        lines.append("Weights are how reliable each annotator was found to be.")
    return "\n".join(lines)


# --- the head


def head(
    *, name: str, licences: set[str], records: int, tasks: list[str], configs: list[dict], tags: list[str]
) -> str:
    """The YAML that Hugging Face reads. Every value is written as JSON, which is YAML as well."""
    lines = ["---", f"pretty_name: {quoted(name)}"]
    spelled = {HUB.get(licence.lower()) for licence in licences}
    if None in spelled or not spelled:
        lines += ["license: other", f"license_name: {quoted(', '.join(sorted(licences)) or 'not stated')}"]
    elif len(spelled) == 1:
        lines.append(f"license: {spelled.pop()}")
    else:
        lines += ["license:", *(f"- {one}" for one in sorted(filter(None, spelled)))]
    size = next((word for most, word in SIZES if records < most), "1M<n<10M")
    lines += ["size_categories:", f"- {quoted(size)}"]
    for key, values in (("task_categories", tasks), ("tags", tags)):
        if values:
            lines += [f"{key}:", *(f"- {quoted(value)}" for value in values)]
    lines += (
        ["configs:", *(f"- {json.dumps(config, ensure_ascii=False)}" for config in configs)]
        if configs
        else []
    )
    return "\n".join([*lines, "---", ""]) + "\n"


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
