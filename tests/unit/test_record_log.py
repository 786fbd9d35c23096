"""The record log: what a fragmenting writer puts down comes back, and nothing else ever does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import UnsupportedFormatError
from replicator.rocksdb.record_log import BLOCK_BYTES, LogRecord, RecordLogReader, RecordType, Tail
from tests.support.rocksdb_encoding import LogWriter, physical_record, write_log

_LOG_NUMBER = 0x1_0000_0007
"""Only the low 32 bits are in the file."""

# Sizes around those at which records are cut, and where a block's rest is too small for a header.
_sizes = st.one_of(
    st.integers(0, 40),
    st.integers(BLOCK_BYTES - 60, BLOCK_BYTES + 60),
    st.integers(0, 3 * BLOCK_BYTES),
)
_payloads = st.lists(_sizes, max_size=8).map(lambda sizes: [random.Random(size).randbytes(size) for size in sizes])
_log_numbers = st.sampled_from([None, _LOG_NUMBER])


def _read_all(content: bytes, log_number: int | None = None) -> tuple[RecordLogReader, list[LogRecord]]:
    reader = RecordLogReader(log_number=log_number)
    return reader, reader.feed(content)


@given(_payloads, _log_numbers)
def test_records_come_back_with_their_places(payloads: list[bytes], log_number: int | None) -> None:
    log = write_log(payloads, log_number=log_number)
    reader, records = _read_all(bytes(log.content), log_number)
    assert [record.payload for record in records] == payloads
    assert [record.start_offset for record in records] == log.starts
    assert [record.end_offset for record in records] == log.ends
    assert {record.type for record in records} <= {RecordType.FULL}
    assert reader.end_offset == len(log.content)
    assert reader.tail() is Tail.CLEAN


@given(_payloads, _log_numbers, st.data())
def test_any_split_of_a_growing_file_gives_the_same_records(
    payloads: list[bytes], log_number: int | None, data: st.DataObject
) -> None:
    log = write_log(payloads, log_number=log_number)
    size = len(log.content)
    sizes = sorted(data.draw(st.lists(st.integers(0, size), max_size=12)))
    reader = RecordLogReader(log_number=log_number)
    seen: list[bytes] = []
    for visible in (*sizes, size):
        seen += [record.payload for record in reader.feed(bytes(log.content[reader.next_offset : visible]))]
        whole = [end for end in log.ends if end <= visible]
        assert reader.end_offset == (whole[-1] if whole else 0)
        assert len(seen) == len(whole)
    assert seen == payloads


@pytest.mark.parametrize("log_number", [None, 7])
def test_a_file_cut_at_any_byte_ends_at_a_record(log_number: int | None) -> None:
    sizes = [0, 1, 3000, BLOCK_BYTES - 3000 - 60, 4, 8, 70000, 5]
    log = write_log([bytes([i]) * size for i, size in enumerate(sizes)], log_number=log_number)
    near = {cut + delta for cut in (*log.starts, *log.ends) for delta in range(-12, 13)}
    cuts = near | set(range(0, len(log.content), 97)) | {len(log.content)}
    for cut in sorted(cut for cut in cuts if 0 <= cut <= len(log.content)):
        reader, records = _read_all(bytes(log.content[:cut]), log_number)
        whole = [end for end in log.ends if end <= cut]
        assert [record.end_offset for record in records] == whole
        assert reader.end_offset == (whole[-1] if whole else 0)
        assert reader.tail() is not Tail.DAMAGED


@given(_payloads, _log_numbers, st.data())
def test_a_flipped_bit_never_gives_a_wrong_record(
    payloads: list[bytes], log_number: int | None, data: st.DataObject
) -> None:
    log = write_log([*payloads, b"last"], log_number=log_number)
    content = bytearray(log.content)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    reader, records = _read_all(bytes(content), log_number)
    expected = [*payloads, b"last"]
    assert [record.payload for record in records] == expected[: len(records)]
    untouched = sum(1 for end in log.ends if end <= place)
    assert len(records) >= untouched
    assert reader.end_offset <= len(content)


def test_zeros_after_the_end_are_a_clean_tail() -> None:
    log = write_log([b"one", b"two"])
    end = len(log.content)
    for zeros in (1, 6, 7, 100, BLOCK_BYTES, 3 * BLOCK_BYTES):
        reader, records = _read_all(bytes(log.content) + bytes(zeros))
        assert len(records) == 2
        assert reader.end_offset == end
        assert reader.tail() is Tail.CLEAN


def test_zeros_that_are_written_over_later_are_read_again() -> None:
    first, both = write_log([b"one"]), write_log([b"one", b"two" * 9])
    reader = RecordLogReader()
    reader.feed(bytes(first.content) + bytes(BLOCK_BYTES))
    assert [r.payload for r in reader.feed(bytes(both.content[reader.next_offset :]) + bytes(99))] == [b"two" * 9]


@pytest.mark.parametrize("room", range(13))
def test_a_blocks_end_too_small_for_a_header_is_stepped_over(room: int) -> None:
    for log_number in (None, 7):
        header = 7 if log_number is None else 11
        log = write_log([bytes(BLOCK_BYTES - header - room), b"next" * 5], log_number=log_number)
        reader, records = _read_all(bytes(log.content), log_number)
        assert [record.payload for record in records][1:] == [b"next" * 5]
        assert reader.tail() is Tail.CLEAN


def test_padding_before_a_record_about_the_log_is_stepped_over() -> None:
    log = write_log([bytes(BLOCK_BYTES - 7 - 30)])
    log.add_physical(RecordType.TIMESTAMP_SIZE, bytes(60))
    log.add(b"data")
    reader, records = _read_all(bytes(log.content))
    assert [record.type for record in records] == [RecordType.FULL, RecordType.TIMESTAMP_SIZE, RecordType.FULL]
    assert reader.end_offset == len(log.content)


def test_what_a_recycled_file_held_before_is_not_read() -> None:
    old = write_log([b"old" * 20] * 2000, log_number=7)
    new = write_log([b"old" * 20] * 3, log_number=9)
    content = bytes(new.content) + bytes(old.content[len(new.content) :])
    reader, records = _read_all(content, 9)
    assert len(records) == 3
    assert reader.end_offset == len(new.content)
    assert reader.tail() is Tail.CLEAN
    assert len(_read_all(bytes(old.content), 9)[1]) == 0


def test_a_recycled_file_goes_on_where_the_old_bytes_were() -> None:
    old = write_log([b"o" * 100] * 1500, log_number=7)
    content = bytearray(old.content)
    reader = RecordLogReader(log_number=9)
    seen: list[bytes] = []
    new = LogWriter(9)
    for i in range(300):
        new.add(bytes([i % 251]) * (i * 7 % 900))
        content[: len(new.content)] = new.content
        seen += [record.payload for record in reader.feed(bytes(content[reader.next_offset :]))]
        assert reader.end_offset == len(new.content)
        assert reader.tail() is not Tail.DAMAGED
    assert len(seen) == 300


def test_an_unfinished_write_is_torn() -> None:
    log = write_log([b"one", b"x" * 100_000])
    for cut in (log.ends[0] + 1, log.ends[0] + 9, BLOCK_BYTES, BLOCK_BYTES + 20, len(log.content) - 1):
        reader, records = _read_all(bytes(log.content[:cut]))
        assert len(records) == 1
        assert reader.tail() is Tail.TORN


def test_damage_with_valid_records_after_it_is_told_from_a_torn_write() -> None:
    log = write_log([b"x" * 1000] * 200)
    content = bytearray(log.content)
    content[log.starts[50] + 500] ^= 1
    reader, records = _read_all(bytes(content))
    assert len(records) == 50
    assert reader.tail() is Tail.DAMAGED
    assert _read_all(bytes(content[: log.starts[51]]))[0].tail() is Tail.TORN


@pytest.mark.parametrize("log_number", [None, _LOG_NUMBER])
def test_damage_with_a_valid_record_behind_it_in_the_same_block_is_no_torn_write(log_number: int | None) -> None:
    log = write_log([b"x" * 1000] * 3, log_number=log_number)
    content = bytearray(log.content)
    content[log.starts[1] + 500] ^= 1
    reader, records = _read_all(bytes(content), log_number)
    assert len(records) == 1
    assert reader.tail() is Tail.DAMAGED
    assert _read_all(bytes(content[: log.starts[2] + 500]), log_number)[0].tail() is Tail.TORN


@pytest.mark.parametrize("log_number", [None, _LOG_NUMBER])
@pytest.mark.parametrize("bit", range(16))
def test_a_garbled_length_with_records_behind_it_is_no_torn_write(bit: int, log_number: int | None) -> None:
    log = write_log([b"x" * 100] * 5, log_number=log_number)
    content = bytearray(log.content)
    content[log.starts[1] + 4 + bit // 8] ^= 1 << bit % 8
    reader, records = _read_all(bytes(content), log_number)
    assert len(records) == 1
    assert reader.tail() is Tail.DAMAGED


def test_records_in_the_payload_of_an_unfinished_write_are_no_damage() -> None:
    log = write_log([b"whole", physical_record(1, b"a log in a value") * 3 + b"more"])
    for cut in range(log.starts[1] + 1, len(log.content)):
        if (reader := _read_all(bytes(log.content[:cut]))[0]).tail() is Tail.DAMAGED:
            # Cut to the byte at the end of such a record, which nothing can tell from damage.
            assert (cut - log.starts[1] - 7) % len(physical_record(1, b"a log in a value")) == 0
        assert reader.end_offset == log.starts[1]


@pytest.mark.parametrize("kinds", [[3], [4], [2, 1], [2, 2], [2, 9]])
def test_fragments_out_of_order_are_damage(kinds: list[int]) -> None:
    content = physical_record(1, b"good")
    for kind in kinds:
        content += physical_record(kind, b"\1\0\0\0")
    reader, records = _read_all(content)
    assert [record.payload for record in records] == [b"good"]
    assert reader.end_offset == 11
    assert reader.tail() is Tail.DAMAGED


def test_a_record_across_a_blocks_end_is_none() -> None:
    filled = write_log([bytes(BLOCK_BYTES - 50)])
    reader, records = _read_all(bytes(filled.content) + physical_record(1, bytes(60)))
    assert len(records) == 1
    assert reader.end_offset == len(filled.content)
    assert reader.tail() is Tail.TORN


def test_an_empty_first_fragment_of_an_early_writer_is_dropped() -> None:
    reader, records = _read_all(physical_record(2, b"") + physical_record(1, b"data"))
    assert [record.payload for record in records] == [b"data"]
    assert reader.tail() is Tail.CLEAN


def test_records_about_the_log_keep_their_type() -> None:
    log = LogWriter(7)
    for kind in (9, 10, 130):
        log.add_physical(kind, b"\7\0\0\0")
    for kind in (11, 131):
        log.add_physical(kind, b"\7\0\0\0", with_log_number=True)
    log.add(b"data")
    _, records = _read_all(bytes(log.content), 7)
    assert [record.type for record in records] == [9, 10, 130, 11, 131, RecordType.FULL]


def test_an_unknown_type_with_the_top_bit_is_stepped_over() -> None:
    reader, records = _read_all(physical_record(200, b"future") + physical_record(1, b"data"))
    assert [record.payload for record in records] == [b"data"]
    assert reader.tail() is Tail.CLEAN


@pytest.mark.parametrize("kind", [12, 99, 127])
def test_any_other_unknown_type_is_refused(kind: int) -> None:
    with pytest.raises(UnsupportedFormatError, match=f"unknown type {kind}"):
        _read_all(physical_record(1, b"data") + physical_record(kind, b"future"))


@given(st.binary(max_size=3 * BLOCK_BYTES), _log_numbers)
def test_garbage_gives_no_records_and_no_error(content: bytes, log_number: int | None) -> None:
    reader, records = _read_all(content, log_number)
    assert records == []
    assert reader.end_offset == 0
    assert reader.tail() in (Tail.CLEAN, Tail.TORN)
