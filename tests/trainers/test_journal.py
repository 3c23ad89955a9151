"""The journal: whole entries in, whole entries out, whatever happened in between."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest

from trainers import journal
from trainers.journal import Chunk, JournalError, Writer


def write_three(path):
    writer = Writer(path)
    writer.chunk(1, ["loss", "lr"], [1, 2], [10.5, 11.5], [[0.5, float("nan")], [1e-4, float("inf")]])
    writer.json({"type": "event", "text": "größer"})
    writer.chunk(3, ["eval_loss"], [2], [12.0], [[-0.0]])
    writer.close()


def kinds(path):
    return [entry.names if isinstance(entry, Chunk) else entry["type"] for entry in journal.read(path)[0]]


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    write_three(tmp_path / "j")
    (first, event, last), end = journal.read(tmp_path / "j")
    assert (first.seq_from, first.seq_to, first.names) == (1, 2, ("loss", "lr"))
    assert first.step.tolist() == [1, 2] and first.time.tolist() == [10.5, 11.5]
    wanted = np.array([[0.5, np.nan], [1e-4, np.inf]])
    assert first.columns.tobytes() == wanted.tobytes()
    assert event == {"type": "event", "text": "größer"}
    assert last.columns.tobytes() == np.array([[-0.0]]).tobytes()
    assert end == os.path.getsize(tmp_path / "j")


def test_the_bytes_on_disk_are_the_published_format(tmp_path):
    writer = Writer(tmp_path / "j")
    writer.chunk(7, ["a"], [5], [6.0], [[0.25]])
    writer.close()
    raw = (tmp_path / "j").read_bytes()
    head = b'{"seq":[7,7],"names":["a"]}'
    payload = len(head).to_bytes(4, "little") + head + np.array([5, 6, 0.25], "<f8").tobytes()
    assert (
        raw
        == b"CHNK" + len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload
    )


def test_a_file_torn_at_any_byte_reads_as_its_whole_entries_and_can_be_written_on(tmp_path):
    write_three(tmp_path / "whole")
    raw = (tmp_path / "whole").read_bytes()
    names = kinds(tmp_path / "whole")
    ends = [0]
    for _ in names:
        ends.append(ends[-1] + 12 + int.from_bytes(raw[ends[-1] + 4 : ends[-1] + 8], "little"))
    for cut in range(len(raw)):
        torn = tmp_path / "torn"
        torn.write_bytes(raw[:cut])
        whole = sum(end <= cut for end in ends[1:])
        entries, end = journal.read(torn)
        assert (len(entries), end) == (whole, ends[whole])
        writer = Writer(torn)
        writer.json({"type": "next"})
        writer.close()
        assert kinds(torn) == [*names[:whole], "next"]


@pytest.mark.parametrize("where", [4, 8, 12, 30, -1])
def test_a_flipped_bit_is_never_read_as_data(tmp_path, where):
    write_three(tmp_path / "j")
    raw = bytearray((tmp_path / "j").read_bytes())
    raw[where] ^= 0x10
    (tmp_path / "j").write_bytes(raw)
    assert kinds(tmp_path / "j") == ([] if where >= 0 else [("loss", "lr"), "event"])


def test_reading_on_from_an_offset_gives_only_what_is_new(tmp_path):
    writer = Writer(tmp_path / "j")
    writer.json({"type": "one"})
    entries, end = journal.read(tmp_path / "j")
    assert entries == [{"type": "one"}]
    assert journal.read(tmp_path / "j", end) == ([], end)
    writer.json({"type": "two"})
    assert journal.read(tmp_path / "j", end)[0] == [{"type": "two"}]


def test_a_long_journal_is_read_a_piece_at_a_time(tmp_path):
    writer = Writer(tmp_path / "j")
    for number in range(20):
        writer.json({"type": "note", "number": number})
    found, offset, calls = [], 0, 0
    while True:
        entries, end = journal.read(tmp_path / "j", offset, most=100)
        if end == offset:
            break
        assert len(entries) < 20
        found += [entry["number"] for entry in entries]
        offset, calls = end, calls + 1
    assert found == list(range(20)) and calls > 3


def test_a_journal_cut_behind_its_reader_says_so(tmp_path):
    writer = Writer(tmp_path / "j")
    writer.json({"type": "one"})
    _, end = journal.read(tmp_path / "j")
    os.truncate(tmp_path / "j", 3)
    with pytest.raises(JournalError, match="from 0"):
        journal.read(tmp_path / "j", end)


def test_a_journal_that_is_not_there_yet_is_empty(tmp_path):
    assert journal.read(tmp_path / "none") == ([], 0)


def test_replaying_a_journal_with_rows_written_twice_gives_each_row_once(tmp_path):
    """A child was killed after row 5 and went on from a checkpoint at row 2, in chunks cut elsewhere."""
    writer = Writer(tmp_path / "j")
    for start, rows in [(1, 3), (4, 2), (3, 4), (7, 1)]:
        seqs = list(range(start, start + rows))
        writer.chunk(start, ["value"], seqs, seqs, [[10.0 * seq for seq in seqs]])
    for _ in range(2):  # the reader too may start again
        last, values = 0, []
        for entry in journal.read(tmp_path / "j")[0]:
            fresh = entry.after(last)
            if fresh is not None:
                assert fresh.seq_from == last + 1
                assert len(fresh.step) == len(fresh.time) == fresh.columns.shape[1] == fresh.seq_to - last
                values += fresh.columns[0].tolist()
                last = fresh.seq_to
        assert values == [10.0 * seq for seq in range(1, 8)]
