"""A snapshot need not fit in memory: it is read by the row, and gives what reading it whole gives."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from tests.trainers.toys import corrections, demonstrations, pairs, rankings, snapshot
from trainers import api
from trainers.data import Batches, Lazy, each, flattened, preferences, prompts, read_records, split
from trainers.data import lazy as lazy_rows
from trainers.data.preferences import preferences_of
from trainers.data.split import position
from trainers.nn import Encoded
from trainers.nn.byte_transformer import ByteTransformerConfig
from trainers.nn.reward import ByteReward
from trainers.records import Message, Pair, Prompt, Ranking, Rating, Record, RecordError, dumps, parse
from trainers.registry import METHODS
from trainers.sampling import scorers

KINDS = ("pair", "ranking", "correction")
ROWS = 200_000


def whole(folder: Path, kinds: tuple[str, ...]) -> list[Record]:
    """The plain way: every line, parsed into a list."""
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").split("\n")
    found = [parse(line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return [record for record in found if record.kind in kinds]


@pytest.fixture
def folder(tmp_path) -> Path:
    chat: Prompt = (Message("system", "Sei höflich. 🙂"), Message("user", "Où est la gare ?"))
    mixed: list[Record] = [Pair(f"chat-{n}", chat, "links\n—\u2028ja", "rechts") for n in range(3)]
    for kind in (pairs(), rankings(), corrections(), demonstrations()):
        mixed += kind
    mixed[::2], mixed[1::2] = mixed[: len(mixed) - len(mixed) // 2], mixed[len(mixed) - len(mixed) // 2 :]
    place = snapshot(tmp_path, mixed)
    file = place / "records.jsonl"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], b"", b"  ", *lines[1:9], lines[9] + b"\r", *lines[10:]]))
    return place


@pytest.mark.parametrize("keep", [1, 8192])
def test_records_read_by_the_row_are_those_of_the_whole_file(folder, monkeypatch, keep):
    monkeypatch.setattr("trainers.data.snapshot.KEPT", keep)
    found, expected = read_records(folder, KINDS), whole(folder, KINDS)
    assert list(found) == expected and len(found) == len(expected) > 300
    assert [found[row] for row in (5, 0, -1, 5)] == [expected[row] for row in (5, 0, -1, 5)]
    assert list(found[3:50:7]) == expected[3:50:7]
    with pytest.raises(IndexError):
        found[len(expected)]


def test_the_split_prompts_preferences_and_batches_are_those_of_the_whole_file(folder):
    expected = whole(folder, KINDS)
    sides = [[one for one in expected if (position(one.prompt) < 0.3) is held] for held in (False, True)]
    parts = split(read_records(folder, KINDS), 0.3)
    for part, side in zip(parts, sides, strict=True):
        assert list(part) == side
        assert list(prompts(part)) == list(dict.fromkeys(one.prompt for one in side))
        plain = [said for one in side for said in preferences_of(one)]
        assert list(preferences(part)) == plain
        lengths = [len(one.better) for one in preferences(part)]
        assert next(Batches(lengths, 8, 1)) == next(Batches([len(one.better) for one in plain], 8, 1))
    joined = preferences(parts[0]) + preferences(parts[1])
    assert list(joined) == [said for side in sides for one in side for said in preferences_of(one)]
    assert joined[len(joined) - 1] == joined[-1] == preferences(parts[1])[-1]


def test_a_line_that_is_no_record_is_named_before_anything_is_learned(folder):
    file = folder / "records.jsonl"
    file.write_text(file.read_text(encoding="utf-8") + '{"kind": "pair", "id": "x"}\n', encoding="utf-8")
    last = file.read_bytes().count(b"\n")
    with pytest.raises(RecordError, match=f"Line {last}, field 'prompt'"):
        read_records(folder, KINDS)


def test_lazy_rows_are_made_when_asked_for_and_the_newest_are_kept():
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * 10

    rows = each(range(100), make, keep=3)
    assert not made and len(rows) == 100
    assert [rows[5], rows[6], rows[5], rows[-1], rows[5]] == [50, 60, 50, 990, 50]
    assert made == [5, 6, 99]
    assert [*rows[10:13], rows[5]] == [100, 110, 120, 50]
    assert made == [5, 6, 99, 10, 11, 12, 5]
    twice = flattened(range(4), lambda number: [number] * number)
    assert list(twice) == [1, 2, 2, 3, 3, 3]
    assert isinstance(twice + [7], Lazy) and list(twice + [7])[-2:] == [3, 7] and list(twice[4:]) == [3, 3]
    assert not each([], make) and lazy_rows.KEPT >= 1000


READING = """
import json, sys
from pathlib import Path
from trainers import api
from trainers.data import Batches, each, preferences, read_records, split

def most():  # of this program alone: getrusage counts what forked it too
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

before = most()
train, held_out = split(read_records(Path(sys.argv[1]), ("pair",)), 0.2)
everything = preferences(train) + preferences(held_out)
rows = each(everything, lambda one: (one.better.encode(), one.worse.encode()))
lengths = [len(better) + len(worse) for better, worse in rows]
weight = sum(one.weight for one in everything)
batches = Batches(lengths, 32, 0)
for _ in range(50):
    batch = [rows[row] for row in next(batches)]
print(json.dumps({"rows": len(rows), "weight": weight, "grown": most() - before}))
"""


@pytest.mark.slow
def test_a_snapshot_of_200_000_pairs_is_gone_through_in_a_fraction_of_its_size(tmp_path):
    """Measured: of 226 MB, 77 are held at most, most of them rows kept; parsed into lists they take 371."""
    file = tmp_path / "records.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number in range(ROWS):
            text = f"Answer {number}: " + "one word after the other, " * 18
            out.write(dumps(Pair(f"{number}", f"prompt {number % 50_000}", text, text[::-1])) + "\n")
    child = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=300, env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    found = json.loads(child.stdout)
    assert found["rows"] == found["weight"] == ROWS
    assert file.stat().st_size > 150e6
    assert found["grown"] < 0.5 * file.stat().st_size, found


class Glance(ByteReward):
    """Reads of an answer its length alone: what is held in memory is then what a method holds of the records."""

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Encoded]:
        return [(torch.full((self.config.d,), len(text) / LONG),) for text in answers]

    def features(self, rows: Sequence[Encoded]) -> torch.Tensor:
        return torch.stack([row[0] for row in rows])

    def forward(self, rows: Sequence[Encoded]) -> torch.Tensor:
        return self.scale(self.head(self.features(rows))[:, 0])


class FrozenGlance(Glance):
    """The same as if it were a frozen encoder, whose features are computed once and kept."""

    kind = "encoder_reward"


LONG = 10_000
"""Characters of an answer, about."""
TOLD: dict[str, Callable[[str, str, str, str], Record]] = {
    "reward/bradley_terry": lambda name, prompt, one, other: Pair(name, prompt, one, other),
    "reward/ensemble": lambda name, prompt, one, other: Pair(name, prompt, one, other),
    "reward/plackett_luce": lambda name, prompt, one, other: Ranking(name, prompt, (one, other), (1, 2)),
    "reward/ordinal": lambda name, prompt, one, other: Rating(
        name, prompt, one + other, {"length": 1 + int(name) % 3}, {"length": 3}
    ),
}


@pytest.mark.parametrize("reader", [Glance, FrozenGlance])
@pytest.mark.parametrize("method", TOLD)
def test_a_reward_models_run_holds_few_of_the_texts_it_learns_from(method, reader, tmp_path, monkeypatch):
    """Peak memory of a whole run, on 50 records of 20 kB and on 200, with 16 of each series of rows kept."""
    monkeypatch.setattr(lazy_rows, "lru_cache", lambda _: lru_cache(16))
    monkeypatch.setattr(scorers, "AT_ONCE", 16)
    monkeypatch.setattr(
        scorers,
        "fresh",
        lambda run, backbone, d, layers, seed: reader(ByteTransformerConfig(d=d, layers=1), seed),
    )
    peaks = {}
    for count in (50, 200):
        records = []
        importlib.import_module(METHODS[method].module)  # what that takes is not what is measured
        for n in range(count):
            one, other = (f"{n} {side} " + "x" * (LONG + n % 7 + turn) for turn, side in enumerate("ab"))
            records.append(TOLD[method](str(n), f"prompt {n // 2}", one, other))
        where = snapshot(tmp_path / str(count), records)
        del records, one, other
        config = {"backbone": "byte_transformer", "d": 8, "epochs": 1}
        config |= {"members": 2} if method == "reward/ensemble" else {}
        tracemalloc.start()
        try:
            api.train(method, snapshot=where, out=tmp_path / f"run-{count}", **config)
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    grown, more = peaks[200] - peaks[50], 150 * 2 * LONG
    assert grown < 0.15 * more, f"{grown / more:.0%} of the texts that came with the other 150 records"
