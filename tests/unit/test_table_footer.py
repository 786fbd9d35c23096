"""The ends of SST and blob files."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c

from replicator.errors import CorruptFileError
from replicator.rocksdb.table_footer import (
    BLOB_FOOTER_BYTES,
    MAGIC_BYTES,
    check_blob_footer,
    check_table_magic,
)


def _blob_footer() -> bytes:
    head = struct.pack("<IQQQ", 0x00248F37, 10, 0, 0)
    crc = crc32c(head)
    return head + struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize(
    "magic",
    [0x88E241B785F4CFF7, 0xDB4775248B80FB57, 0x8242229663BF9564, 0x4F3418EB7A8F13B8, 0x926789D0C5F17873],
)
def test_all_table_formats_are_known(magic: int) -> None:
    end = struct.pack("<Q", magic)
    assert len(end) == MAGIC_BYTES
    check_table_magic(end)
    check_table_magic(b"whatever comes before" + end)


@pytest.mark.parametrize(
    "end", [b"", b"\xf7\xcf\xf4\x85\xb7\x41\xe2", bytes(8), b"\x88\xe2\x41\xb7\x85\xf4\xcf\xf7"]
)
def test_another_end_is_no_table(end: bytes) -> None:
    with pytest.raises(CorruptFileError, match="table"):
        check_table_magic(end)


def test_a_closed_blob_file_is_known_by_its_footer() -> None:
    assert len(_blob_footer()) == BLOB_FOOTER_BYTES
    check_blob_footer(_blob_footer())
    check_blob_footer(b"records" + _blob_footer())


@pytest.mark.parametrize("place", range(BLOB_FOOTER_BYTES))
def test_a_damaged_blob_footer_is_noticed(place: int) -> None:
    footer = bytearray(_blob_footer())
    footer[place] ^= 0x10
    with pytest.raises(CorruptFileError, match="footer"):
        check_blob_footer(bytes(footer))


def test_a_blob_file_that_is_cut_is_noticed() -> None:
    with pytest.raises(CorruptFileError, match="footer"):
        check_blob_footer(_blob_footer()[1:])
