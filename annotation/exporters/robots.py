"""Records about robots together with the episodes they stand on, as one zip: enough to learn from anywhere.

    records.jsonl            Kibitz's own records
    episodes/AA/NAME/…       each episode that a record names, as docs/episodes.md describes; what the records say of it
                             stands among its segments too, in the newest version
    manifest.json            what was asked for, every count, and by which bytes each episode is known
    README.md                the card

In an episode too, people are called as they chose: where one names somebody, its digest here is another than in the
studio, and the manifest says both.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from django.conf import settings

from annotation.exporters.asked import Asked
from annotation.exporters.chosen import Counts, Source, about, choose, process
from annotation.exporters.dataset import EPOCH, Sink, put
from annotation.models import Snapshot, Study
from annotation.segments import Segments
from annotation.snapshots import card
from annotation.snapshots import episodes as stand
from annotation.snapshots.facts import Facts
from annotation.snapshots.names import People
from trainers import records
from trainers.episodes import Episodes
from trainers.episodes.leaving import digest_of_leaving, leaving

SCRIPTS = ("", "script", "policy")
"""What in an episode names no person."""
TAGS = ["human-feedback", "kibitz", "robotics"]


def episodes(source: Source, asked: Asked) -> Iterator[bytes]:
    """The zip, as it is made."""
    counts, facts, sink = Counts(), Facts(), Sink()
    described = about(source)
    study = source.study if isinstance(source, Snapshot) else source
    called, store = names(study), Episodes(settings.EPISODES)
    with (
        closing(Segments(study, lambda name: len(store.open(name)))) as said,
        zipfile.ZipFile(sink, "w") as packed,
    ):
        info = zipfile.ZipInfo("records.jsonl", EPOCH)
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        with packed.open(info, "w") as file:
            for _, record in choose(source, asked, counts):
                facts.note(record)
                said.note(record)
                file.write(records.dumps(record).encode() + b"\n")
                yield from sink.take()
        listed = stand.described(facts.episodes)
        for one in listed:
            _put_episode(packed, one, leaving(store.open(one["episode"]), called), said.lines(one["episode"]))
            yield from sink.take()
        found = {
            "snapshot": {"sha256": source.digest} if isinstance(source, Snapshot) else None,
            "asked": asked.to_json(),
            "read": counts.read,
            "filters": counts.steps(),
            "episodes": listed,
            **facts.to_json(),
        }
        put(packed, "manifest.json", (records.canonical(found) + "\n").encode())
        put(packed, "README.md", _readme(described, facts, listed, process(source, counts)).encode())
    yield from sink.take()


def _put_episode(packed: zipfile.ZipFile, one: dict[str, Any], files: dict[str, bytes], said: bytes) -> None:
    """Adds an episode's files, and what was said of it; its row in the manifest learns by which bytes it is known."""
    digest = digest_of_leaving(files)
    if digest != one["sha256"]:
        one["sha256"], one["in_the_studio"] = digest, one["sha256"]
    if said:
        files["segments.jsonl"] = files.get("segments.jsonl", b"") + said
    for file, content in sorted(files.items()):
        put(packed, f"episodes/{one['episode'][:2]}/{one['episode']}/{file}", content)


def names(study: Study) -> Callable[[str], str]:
    """What a person is called in what leaves the studio; nothing, where nobody knows them."""
    people = People(study)
    people.learn(set(study.memberships.values_list("user", flat=True)))
    people.learn(set(study.labels.values_list("annotator", flat=True).distinct()))
    people.learn(set(study.recordings.exclude(by=None).values_list("by", flat=True).distinct()))
    known = {account.username: people.name(pk) for pk, account in people.accounts.items()}
    called = set(known.values())
    return lambda name: name if name in SCRIPTS or name in called else known.get(name, "")


def _readme(described: dict[str, Any], facts: Facts, listed: list[dict[str, Any]], log: dict) -> str:
    licences = {licence or described["licence"] for _, licence, _ in facts.sources} - {""}
    head = card.head(
        name=described["name"],
        licences=licences,
        records=facts.records,
        tasks=["robotics", "reinforcement-learning"],
        configs=[],
        tags=TAGS,
    )
    return head + card.body(
        described,
        facts,
        log,
        records="`records.jsonl`, one JSON object a line, and the folders under `episodes`",
        more=stand.section(listed),
    )
