"""Version edits: every tag that RocksDB knows, and what is done about those that it may know one day."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptFileError, UnsupportedFormatError
from replicator.rocksdb.coding import read_varint
from replicator.rocksdb.version_edit import (
    BlobAddition,
    BlobGarbage,
    DeletedTable,
    TableFile,
    VersionEdit,
    WalAddition,
    decode_version_edit,
)
from tests.support import rocksdb_encoding as encode

_IGNORABLE = 1 << 13
_numbers = st.integers(0, 2**64 - 1)

_FULL_EDIT = (
    encode.database_id("0123")
    + encode.add_family(3, "näme")
    + encode.log_number(17)
    + encode.number_field(9, 0)
    + encode.number_field(3, 300)
    + encode.number_field(203, 4)
    + encode.number_field(4, 12345)
    + encode.min_log_number(16)
    + encode.varint(5)
    + encode.varint(1)
    + encode.prefixed(encode.internal_key(b"cursor"))
    + encode.delete_table(2, 11)
    + encode.new_table(20, level=1, size_bytes=4321, unique_id=bytes(range(16)), oldest_blob=5, epoch=9)
    + encode.new_blob(5, count=10, total_bytes=5000, checksum=b"abcd")
    + encode.blob_garbage(5, count=1, garbage_bytes=50)
    + encode.add_wal(17, 4096)
    + encode.in_group(2)
)


@given(_numbers)
def test_integers_come_back(value: int) -> None:
    encoded = encode.varint(value)
    assert read_varint(encoded + b"\xff", 0) == (value, len(encoded))


def test_an_integer_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(CorruptFileError, match="64 bits"):
        read_varint(b"\xff" * 11, 0)


def test_all_fields_of_an_edit_are_read() -> None:
    edit = decode_version_edit(_FULL_EDIT)
    assert edit == VersionEdit(
        column_family=3,
        added_name="näme",
        deleted_tables=(DeletedTable(2, 11),),
        new_tables=(
            TableFile(
                level=1,
                number=20,
                size_bytes=4321,
                smallest_key=encode.internal_key(b"a"),
                largest_key=encode.internal_key(b"z"),
                smallest_sequence=1,
                largest_sequence=9,
                epoch=9,
                oldest_blob_number=5,
                unique_id=bytes(range(16)),
            ),
        ),
        blob_additions=(BlobAddition(5, 10, 5000, b"crc32c", b"abcd"),),
        blob_garbage=(BlobGarbage(5, 1, 50),),
        wal_additions=(WalAddition(17, 4096),),
        log_number=17,
        prev_log_number=0,
        next_file_number=300,
        last_sequence=12345,
        min_log_number_to_keep=16,
        max_column_family=4,
        comparator="leveldb.BytewiseComparator",
        database_id="0123",
        group_remaining=2,
    )


def test_an_empty_edit_has_no_field() -> None:
    assert decode_version_edit(b"") == VersionEdit()


@given(number=_numbers, size_bytes=_numbers, low=_numbers, high=_numbers, level=st.integers(0, 63))
def test_the_four_formats_of_a_new_table_agree(
    number: int, size_bytes: int, low: int, high: int, level: int
) -> None:
    small, large = encode.internal_key(b"k" * 200), encode.internal_key(b"m")
    head = encode.varint(level) + encode.varint(number)
    size = encode.varint(size_bytes)
    keys = encode.prefixed(small) + encode.prefixed(large)
    sequences = encode.varint(low) + encode.varint(high)
    expected = TableFile(level, number, size_bytes, small, large, low, high)
    first = encode.varint(7) + head + size + keys
    second = encode.varint(100) + head + size + keys + sequences
    third = encode.varint(102) + head + encode.varint(2) + size + keys + sequences
    fourth = encode.varint(103) + head + size + keys + sequences + encode.varint(1)
    assert decode_version_edit(first).new_tables == (expected._replace(smallest_sequence=0, largest_sequence=0),)
    assert decode_version_edit(second).new_tables == (expected,)
    assert decode_version_edit(third).new_tables == (expected._replace(path_id=2),)
    assert decode_version_edit(fourth).new_tables == (expected,)


def test_the_custom_fields_of_a_table_are_read() -> None:
    encoded = encode.new_table(
        20,
        path_id=3,
        created_seconds=1_700_000_000,
        checksum=(b"\1\2\3\4", b"FileChecksumCrc32c"),
        fields=[(15, encode.varint(70000)), (9, b"\2"), (2, b"\1"), (3, (44).to_bytes(8, "little")), (30, b"?")],
    )
    edit = decode_version_edit(encoded)
    (table,) = edit.new_tables
    assert (table.path_id, table.created_seconds) == (3, 1_700_000_000)
    assert (table.checksum, table.checksum_function) == (b"\1\2\3\4", b"FileChecksumCrc32c")
    assert edit.min_log_number_to_keep == 44


def test_deprecated_tags_mean_what_their_successors_mean() -> None:
    blob = encode.new_blob(5, count=1, total_bytes=2, tag=_IGNORABLE + 2)
    garbage = encode.blob_garbage(5, count=1, garbage_bytes=2, tag=_IGNORABLE + 3)
    wal = encode.varint(_IGNORABLE + 4) + encode.varint(9) + encode.varint(1)
    deletion = encode.number_field(_IGNORABLE + 5, 8)
    edit = decode_version_edit(blob + garbage + wal + deletion)
    assert edit.blob_additions == (BlobAddition(5, 1, 2, b"", b""),)
    assert edit.blob_garbage == (BlobGarbage(5, 1, 2),)
    assert edit.wal_additions == (WalAddition(9, None),)
    assert edit.wals_deleted_before == 8


def test_what_is_ignorable_is_stepped_over() -> None:
    for tag in (_IGNORABLE + 6, _IGNORABLE + 9, _IGNORABLE + 10, _IGNORABLE + 500, 3 * _IGNORABLE):
        edit = decode_version_edit(encode.varint(tag) + encode.prefixed(b"future") + encode.log_number(3))
        assert edit == VersionEdit(log_number=3)


@pytest.mark.parametrize("tag", [8, 11, 101, 104, 204, 301, 402, _IGNORABLE - 1])
def test_any_other_unknown_tag_is_refused_by_name(tag: int) -> None:
    with pytest.raises(UnsupportedFormatError, match=f"unknown tag {tag}"):
        decode_version_edit(encode.log_number(3) + encode.varint(tag) + b"\0")


def test_unknown_fields_that_must_not_be_ignored_are_refused() -> None:
    with pytest.raises(UnsupportedFormatError, match="field 66 of a table"):
        decode_version_edit(encode.new_table(1, fields=[(66, b"x")]))
    blob = encode.new_blob(5, count=1, total_bytes=2)[:-1]
    with pytest.raises(UnsupportedFormatError, match="field 64 of a blob file"):
        decode_version_edit(blob + encode.varint(64) + encode.prefixed(b"x") + encode.varint(0))
    wal = encode.varint(9) + encode.varint(3)
    with pytest.raises(UnsupportedFormatError, match="field 3 of a WAL"):
        decode_version_edit(encode.varint(_IGNORABLE + 7) + encode.prefixed(wal))


def test_values_that_do_not_fit_their_place_are_corrupt() -> None:
    too_long = encode.new_table(1, fields=[(13, b"\x80")])
    with pytest.raises(CorruptFileError, match="malformed field 13 of table 1"):
        decode_version_edit(too_long)
    short_key = encode.varint(7) + bytes([0, 1, 2]) + encode.prefixed(b"1234567") * 2
    with pytest.raises(CorruptFileError, match="malformed boundary key"):
        decode_version_edit(short_key)
    with pytest.raises(CorruptFileError, match="cut short"):
        decode_version_edit(encode.varint(1) + encode.varint(5) + b"name")


def test_names_that_are_not_utf8_are_told_apart() -> None:
    names = {
        decode_version_edit(encode.varint(201) + encode.prefixed(name)).added_name
        for name in (b"\xff", b"\xfe", "ÿ".encode())
    }
    assert len(names) == 3


def test_an_edit_cut_at_any_byte_is_refused_or_shorter() -> None:
    for cut in range(len(_FULL_EDIT)):
        try:
            edit = decode_version_edit(_FULL_EDIT[:cut])
        except CorruptFileError:
            continue
        assert edit.group_remaining is None


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_our_errors(payload: bytes) -> None:
    with suppress(CorruptFileError, UnsupportedFormatError):
        decode_version_edit(payload)


@given(st.integers(0, len(_FULL_EDIT) - 1), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_but_our_errors(place: int, value: int) -> None:
    changed = bytearray(_FULL_EDIT)
    changed[place] = value
    with suppress(CorruptFileError, UnsupportedFormatError):
        decode_version_edit(bytes(changed))
