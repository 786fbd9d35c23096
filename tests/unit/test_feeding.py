"""Feeding a log from a file: all of it is read, and what stands behind a garbled stretch is found."""

from __future__ import annotations

import pytest

from replicator.rocksdb.feeding import feed_log
from replicator.rocksdb.record_log import RecordLogReader, Tail
from tests.support.rocksdb_encoding import write_log

MIB = 1 << 20


def fed(content: bytes) -> RecordLogReader:
    reader = RecordLogReader()
    feed_log(reader, lambda offset, count: content[offset : offset + count], len(content))
    return reader


def test_a_log_of_many_chunks_is_read_to_its_end() -> None:
    content = bytes(write_log([b"x" * 10_000] * 500).content)
    reader = fed(content)
    assert (reader.end_offset, reader.tail()) == (len(content), Tail.CLEAN)


@pytest.mark.parametrize("garbled_bytes", [100, 3 * MIB, 20 * MIB])
def test_whole_records_behind_a_garbled_stretch_tell_damage(garbled_bytes: int) -> None:
    content = bytearray(write_log([b"x" * 100_000] * (garbled_bytes // 100_000 + 20)).content)
    content[200_000 : 200_000 + garbled_bytes] = b"!" * garbled_bytes
    reader = fed(bytes(content))
    assert reader.tail() is Tail.DAMAGED
    assert reader.end_offset < 200_000


@pytest.mark.parametrize("garbled_bytes", [100, 3 * MIB])
def test_a_garbled_end_is_a_broken_off_write(garbled_bytes: int) -> None:
    whole = bytes(write_log([b"x" * 1000] * 10).content)
    reader = fed(whole + b"!" * garbled_bytes)
    assert (reader.end_offset, reader.tail()) == (len(whole), Tail.TORN)
