"""Write-ahead logs: batches are counted, checked and decompressed."""

from __future__ import annotations

import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptFileError, UnsupportedFormatError
from replicator.rocksdb.record_log import RecordType, Tail
from replicator.rocksdb.wal import WalReader
from tests.support.rocksdb_encoding import LogWriter, batch, write_log


def _compressed(payload: bytes) -> bytes:
    """One frame without its content's size, as a streaming compressor writes it."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(payload) + compressor.flush()


def _compressed_log(batches: list[bytes], kind: int = 7) -> LogWriter:
    log = LogWriter()
    log.add_physical(RecordType.COMPRESSION, struct.pack("<I", kind))
    for payload in batches:
        log.add(_compressed(payload))
    return log


@given(st.lists(st.integers(0, 100_000), max_size=6), st.data())
def test_batches_of_a_growing_log_are_counted(sizes: list[int], data: st.DataObject) -> None:
    batches = [batch(100 + 3 * i, 3, bytes(size)) for i, size in enumerate(sizes)]
    log = write_log(batches, log_number=12)
    reader = WalReader(12)
    seen: list[bytes] = []
    cuts = data.draw(st.lists(st.integers(0, len(log.content)), max_size=6))
    for visible in (*sorted(cuts), len(log.content)):
        seen += reader.feed(bytes(log.content[reader.next_offset : visible]))
    assert seen == batches
    assert reader.record_count == len(batches)
    assert reader.end_offset == len(log.content)
    assert reader.first_sequence == (100 if batches else None)
    assert reader.last_sequence == (100 + 3 * len(batches) - 1 if batches else None)
    assert reader.tail() is Tail.CLEAN


def test_the_highest_sequence_counts_whatever_the_order() -> None:
    reader = WalReader(1)
    reader.feed(bytes(write_log([batch(50, 5), batch(40, 2)]).content))
    reader_end = reader.last_sequence
    assert (reader.first_sequence, reader_end) == (50, 54)


def test_compressed_batches_are_decompressed() -> None:
    batches = [batch(1, 1, b"a" * 50), batch(2, 1, bytes(range(256)) * 400), batch(3, 1), batch(4, 2, b"z" * 9)]
    log = _compressed_log(batches)
    reader = WalReader(1)
    assert reader.feed(bytes(log.content)) == batches
    assert (reader.first_sequence, reader.last_sequence, reader.record_count) == (1, 5, 4)
    assert reader.end_offset == len(log.content)


def test_a_log_may_say_that_it_is_not_compressed() -> None:
    log = LogWriter()
    log.add_physical(RecordType.COMPRESSION, struct.pack("<I", 0))
    log.add(batch(1, 1))
    assert WalReader(1).feed(bytes(log.content)) == [batch(1, 1)]


@pytest.mark.parametrize("kind", [1, 2, 4, 99])
def test_other_compressions_are_refused(kind: int) -> None:
    with pytest.raises(UnsupportedFormatError, match=f"type {kind}"):
        WalReader(1).feed(bytes(_compressed_log([], kind).content))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"no zstd at all", "does not decompress"),
        (_compressed(bytes(range(256)) * 400)[:-3], "cut zstd frame"),
    ],
)
def test_a_record_that_does_not_decompress_is_corrupt(payload: bytes, reason: str) -> None:
    log = _compressed_log([batch(1, 1)])
    log.add(payload)
    with pytest.raises(CorruptFileError, match=f"WAL 8: the record at offset .* {reason}"):
        WalReader(8).feed(bytes(log.content))


@pytest.mark.parametrize("size", [0, 1, 11])
def test_a_record_too_short_for_a_batch_is_corrupt(size: int) -> None:
    with pytest.raises(CorruptFileError, match=f"has {size} bytes"):
        WalReader(8).feed(bytes(write_log([bytes(size)]).content))


def test_records_about_the_log_are_no_batches() -> None:
    log = LogWriter(5)
    log.add_physical(RecordType.PREDECESSOR_WAL, bytes(20))
    log.add_physical(RecordType.RECYCLABLE_TIMESTAMP_SIZE, bytes(6), with_log_number=True)
    log.add(batch(7, 1))
    reader = WalReader(5)
    assert reader.feed(bytes(log.content)) == [batch(7, 1)]
    assert reader.record_count == 1
    assert reader.end_offset == len(log.content)


def test_batches_of_a_recycled_files_past_are_left_out() -> None:
    old = write_log([batch(i, 1, bytes(60)) for i in range(1, 900)], log_number=4)
    new = write_log([batch(1000, 1, bytes(60))], log_number=6)
    reader = WalReader(6)
    reader.feed(bytes(new.content) + bytes(old.content[len(new.content) :]))
    assert (reader.first_sequence, reader.last_sequence, reader.record_count) == (1000, 1000, 1)
