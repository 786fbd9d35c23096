"""The magic numbers at the ends of SST and blob files: whether a file is what its name says, and whole.

Contents are not read: block checksums need the table format and its compression, which is RocksDB's job.

Source: RocksDB `table/format.cc` (`Footer`), `table/*/*_builder.cc` (magic numbers),
`db/blob/blob_log_format.h`, `db/blob/blob_log_format.cc`.
"""

from __future__ import annotations

from struct import Struct

from crc32c import crc32c

from replicator.errors import CorruptFileError

#: How many of an SST's last bytes `check_table_magic` wants.
MAGIC_BYTES = 8
#: How many of a blob file's last bytes `check_blob_footer` wants.
BLOB_FOOTER_BYTES = 32

_TABLE_MAGIC_NUMBERS = frozenset(
    {
        0x88E241B785F4CFF7,  # block-based
        0xDB4775248B80FB57,  # block-based before format_version 2, read by RocksDB below 11
        0x8242229663BF9564,  # plain
        0x4F3418EB7A8F13B8,  # plain, legacy
        0x926789D0C5F17873,  # cuckoo
    }
)
_TABLE_MAGIC = Struct("<Q")

_BLOB_MAGIC_NUMBER = 2395959
_BLOB_FOOTER = Struct("<IQQQI")  # magic number, count of blobs, expiration range (two), CRC of what is before
_CRC_BYTES = 4
_MASK_DELTA = 0xA282EAD8


def check_table_magic(last_bytes: bytes) -> None:
    """Check the end of an SST. Raises `CorruptFileError` if it is not one of a finished table."""
    if len(last_bytes) < MAGIC_BYTES:
        raise CorruptFileError("the table is too short to have a footer")
    (magic,) = _TABLE_MAGIC.unpack(last_bytes[-MAGIC_BYTES:])
    if magic not in _TABLE_MAGIC_NUMBERS:
        raise CorruptFileError(f"the table ends with {magic:#018x}, which is no table's magic number")


def check_blob_footer(last_bytes: bytes) -> None:
    """Check the end of a blob file that a MANIFEST lists: such a file was closed, so that it has a footer.

    Raises `CorruptFileError` if it is cut or its footer is damaged.
    """
    if len(last_bytes) < BLOB_FOOTER_BYTES:
        raise CorruptFileError("the blob file is too short to have a footer")
    footer = last_bytes[-BLOB_FOOTER_BYTES:]
    magic, *_, stored_crc = _BLOB_FOOTER.unpack(footer)
    crc = crc32c(footer[:-_CRC_BYTES])
    if magic != _BLOB_MAGIC_NUMBER or ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF != stored_crc:
        raise CorruptFileError("the blob file does not end with a valid footer")
