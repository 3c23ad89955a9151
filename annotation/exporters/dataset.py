"""A dataset for Hugging Face, as one zip: Parquet for each configuration and part, and the card.

    .gitattributes                          for a repository at Hugging Face
    data/preference/train/00000.parquet …   prompt, chosen, rejected as messages: TRL trains on it as it is
    data/demonstration/train/00000.parquet  prompt, completion as messages
    data/judgement/train/00000.parquet      the other kinds about texts: what was said, as JSON
    data/robot/train/00000.parquet          the kinds about robots, as JSON; the episodes are not in it
    manifest.json                           what was asked for, and every count
    README.md                               the card

It is written while it is read: each part is a row of Parquet files of some thousand rows, of one row group each, and
the card comes last because it counts what was written. The same records give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from annotation.exporters.asked import TIES, Asked
from annotation.exporters.chosen import Counts, Source, about, choose, process
from annotation.exporters.preferences import answer, as_messages, completion, preferences
from annotation.models import Snapshot
from annotation.snapshots import card
from annotation.snapshots.facts import Facts
from trainers import records
from trainers.records.robots import episodes_of

ROWS_A_FILE = 2_000
BYTES_A_FILE = 4 * 2**20
"""About as much text as a file holds: what is in memory at once, for each configuration and part."""
SPLITS = ("train", "validation", "test")
LARGE_FILES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
"""How a repository at Hugging Face must treat Parquet."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""When every file of the zip says it was made, so that the same data is the same bytes."""
TASKS = {
    "preference": ["text-generation", "reinforcement-learning"],
    "demonstration": ["text-generation"],
    "judgement": ["text-classification"],
    "robot": ["robotics", "reinforcement-learning"],
}


class Sink(io.RawIOBase):
    """Where the zip is written: holds what was not passed on yet."""

    def __init__(self) -> None:
        self.held: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.held.append(bytes(data))
        return len(data)

    def take(self) -> Iterator[bytes]:
        found, self.held = b"".join(self.held), []
        if found:
            yield found


class Shelf:
    """The rows of one configuration and part that wait to be a file."""

    def __init__(self, config: str, split: str) -> None:
        self.config, self.split = config, split
        self.rows: list[dict[str, Any]] = []
        self.size = self.files = 0

    def add(self, row: dict[str, Any]) -> bool:
        """Whether it is full now."""
        self.rows.append(row)
        self.size += len(row["source"]) + sum(len(str(row[name])) for name in ("prompt", "id"))
        self.size += sum(len(one["content"]) for name in ("chosen", "rejected") for one in row.get(name, ()))
        return len(self.rows) >= ROWS_A_FILE or self.size >= BYTES_A_FILE

    def file(self) -> tuple[str, bytes]:
        """The next file: its name and its bytes."""
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_pylist(self.rows, schema=schema(self.config))
        packed = io.BytesIO()
        pyarrow.parquet.write_table(table, packed, compression="zstd", row_group_size=len(self.rows))
        name = f"data/{self.config}/{self.split}/{self.files:05d}.parquet"
        self.files, self.rows, self.size = self.files + 1, [], 0
        return name, packed.getvalue()


def schema(config: str) -> Any:
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    chat = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
    own = {
        "preference": [
            ("prompt", chat), ("chosen", chat), ("rejected", chat), ("outcome", text), ("strength", number),
            ("reason", text),
        ],
        "demonstration": [("prompt", chat), ("completion", chat)],
        "judgement": [("prompt", chat), ("said", text)],
        "robot": [("prompt", chat), ("said", text)],
    }  # fmt: skip
    beside = [
        ("id", text), ("kind", text), ("weight", number), ("annotator", text), ("given_at", text),
        ("licence", text), ("source", text),
    ]  # fmt: skip
    return pyarrow.schema([*own[config], *beside])


def rows_of(record: records.Record, asked: Asked) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that a record becomes, each with its configuration."""
    source = record.source
    beside = {
        "id": record.id,
        "kind": record.kind,
        "weight": record.weight,
        "annotator": record.annotator,
        "given_at": source.get("given", {}).get("at", ""),
        "licence": source.get("terms", {}).get("licence", ""),
        "source": records.canonical(source),
    }
    if isinstance(record, records.Pair | records.Ranking | records.Correction):
        for pair, weight in preferences(record, asked.ties):
            row = {
                "prompt": as_messages(pair.prompt),
                "chosen": answer(pair.chosen),
                "rejected": answer(pair.rejected),
                "outcome": pair.outcome,
                "strength": pair.strength,
                "reason": pair.reason,
            }
            yield "preference", row | beside | {"id": pair.id, "weight": weight}
    elif row := completion(record):
        yield "demonstration", row | beside
    else:
        known = ("id", "kind", "prompt", "weight", "annotator", "source")
        said = {name: value for name, value in record.to_json().items() if name not in known}
        config = "robot" if episodes_of(record) else "judgement"
        yield config, {"prompt": as_messages(record.prompt), "said": records.canonical(said)} | beside


def dataset(source: Source, asked: Asked) -> Iterator[bytes]:
    """The zip, as it is made."""
    counts, facts, written = Counts(), Facts(), Counter()
    shelves: dict[tuple[str, str], Shelf] = {}
    described = about(source)
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as packed:
        put(packed, ".gitattributes", LARGE_FILES)  # at once, so that a reader sees that it has begun
        yield from sink.take()
        for split, record in choose(source, asked, counts):
            facts.note(record)
            for config, row in rows_of(record, asked):
                written[config, split] += 1
                shelf = shelves.setdefault((config, split), Shelf(config, split))
                if shelf.add(row):
                    put(packed, *shelf.file())
                    yield from sink.take()
        for key in sorted(shelves):
            if shelves[key].rows:
                put(packed, *shelves[key].file())
                yield from sink.take()
        log = process(source, counts)
        put(packed, "manifest.json", manifest(source, asked, counts, facts, written).encode())
        put(packed, "README.md", readme(described, asked, counts, facts, written, log).encode())
    yield from sink.take()


def put(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Parquet is packed already; the rest is packed here."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
    packed.writestr(info, content)


def manifest(source: Source, asked: Asked, counts: Counts, facts: Facts, written: Counter) -> str:
    snapshot = {"sha256": source.digest} if isinstance(source, Snapshot) else None
    found = {
        "snapshot": snapshot,
        "asked": asked.to_json(),
        "read": counts.read,
        "filters": counts.steps(),
        "rows": {f"{config}/{split}": n for (config, split), n in written.items()},
        **facts.to_json(),
    }
    return records.canonical(found) + "\n"


def readme(described: dict, asked: Asked, counts: Counts, facts: Facts, written: Counter, log: dict) -> str:
    """The card of what was written."""
    configs = [name for name in TASKS if any(config == name for config, _ in written)]
    listed = [
        {
            "config_name": name,
            "data_files": [
                {"split": split, "path": f"data/{name}/{split}/*.parquet"}
                for split in SPLITS
                if written[name, split]
            ],
            **({"default": True} if name == configs[0] else {}),
        }
        for name in configs
    ]
    licences = {licence or described["licence"] for _, licence, _ in facts.sources} - {""}
    head = card.head(
        name=described["name"],
        licences=licences,
        records=sum(written.values()),
        tasks=sorted({task for name in configs for task in TASKS[name]}),
        configs=listed,
        tags=["human-feedback", "kibitz", *configs],
    )
    steps = [*log.get("filters", [])]
    text = card.body(
        described,
        facts,
        {**log, "filters": steps} if log else {},
        records="Parquet files under `data`, one configuration for each way of training",
        more=parts(asked, counts, written),
    )
    return head + text


def parts(asked: Asked, counts: Counts, written: Counter) -> str:
    """How the rows are divided, and what the export itself left out."""
    lines = ["## Parts", "", "| configuration | part | rows |", "|---|---|---:|"]
    for config, split in sorted(written, key=lambda key: (key[0], SPLITS.index(key[1]))):
        lines.append(f"| {config} | {split} | {written[config, split]:,} |")
    lines.append("")
    if asked.test or asked.validation:
        lines.append(
            f"Divided by prompt with the seed {asked.seed}: {asked.test:.0%} of the prompts for test, "
            f"{asked.validation:.0%} for validation, the rest for training. All rows with one prompt, and all that go "
            "on from one first turn, are in one part."
        )
    else:
        lines.append("Not divided: all rows are for training.")
    lines.append(f"Ties among preferences: {TIES[asked.ties]}. Where both answers were bad there is no row.")
    for step in counts.steps():
        lines.append(f"- left out of this export: {step['left_out']:,} records {step['why']}")
    return "\n".join(lines)
