"""Version edits: the records of a MANIFEST, decoded one by one. What they add up to is `manifest`'s business.

Written for speed, for a MANIFEST may hold tens of thousands: values are tuples, fields that nobody here needs
are stepped over.

Source: RocksDB `db/version_edit.h` (tags), `db/version_edit.cc` (`DecodeFrom`, `DecodeNewFile4From`),
`db/wal_edit.cc`, `db/blob/blob_file_addition.cc`, `db/blob/blob_file_garbage.cc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from replicator.errors import CorruptFileError, UnsupportedFormatError
from replicator.rocksdb.coding import read_prefixed, read_varint

if TYPE_CHECKING:
    from collections.abc import Callable

_NEWER_HINT = "A newer RocksDB wrote this database: a newer replicator is needed."

#: Unknown tags of an edit with this bit carry their length and may be stepped over.
_IGNORABLE_TAG_BIT = 1 << 13
#: Unknown custom fields of a table or a blob file with this bit must not be ignored.
_MANDATORY_FIELD_BIT = 1 << 6


class TableFile(NamedTuple):
    """One SST, as the MANIFEST describes it; a tuple, for there may be tens of thousands.

    Texts that RocksDB may leave out are empty, numbers 0. `smallest_key` and `largest_key` are internal keys:
    user key, then sequence number and type. `created_seconds` is seconds since the epoch.
    """

    level: int
    number: int
    size_bytes: int
    smallest_key: bytes
    largest_key: bytes
    smallest_sequence: int
    largest_sequence: int
    path_id: int = 0
    created_seconds: int = 0
    epoch: int = 0
    oldest_blob_number: int = 0
    unique_id: bytes = b""
    checksum: bytes = b""
    checksum_function: bytes = b""


class DeletedTable(NamedTuple):
    """An SST that leaves a level."""

    level: int
    number: int


class BlobAddition(NamedTuple):
    """A new blob file; `total_bytes` is that of its records, without the file's header and footer."""

    number: int
    total_count: int
    total_bytes: int
    checksum_method: bytes
    checksum: bytes


class BlobGarbage(NamedTuple):
    """Blobs of a file that nothing refers to any more."""

    number: int
    garbage_count: int
    garbage_bytes: int


class WalAddition(NamedTuple):
    """A WAL that was created, or (with a size) synced up to that size."""

    number: int
    synced_bytes: int | None


class VersionEdit(NamedTuple):
    """One edit. None stands for fields that it does not have."""

    column_family: int = 0
    added_name: str | None = None
    is_drop: bool = False
    deleted_tables: tuple[DeletedTable, ...] = ()
    new_tables: tuple[TableFile, ...] = ()
    blob_additions: tuple[BlobAddition, ...] = ()
    blob_garbage: tuple[BlobGarbage, ...] = ()
    wal_additions: tuple[WalAddition, ...] = ()
    wals_deleted_before: int | None = None
    log_number: int | None = None
    prev_log_number: int | None = None
    next_file_number: int | None = None
    last_sequence: int | None = None
    min_log_number_to_keep: int | None = None
    max_column_family: int | None = None
    comparator: str | None = None
    database_id: str | None = None
    group_remaining: int | None = None
    """In an atomic group: how many edits of it follow this one."""


def decode_version_edit(payload: bytes) -> VersionEdit:
    """Decode one record of a MANIFEST.

    Raises `UnsupportedFormatError` for a tag or a table's field that is unknown and may not be ignored, and
    `CorruptFileError` for anything that RocksDB would not have written.
    """
    draft: dict[str, Any] = {}
    position = 0
    size = len(payload)
    try:
        while position < size:
            tag, position = read_varint(payload, position)
            if (name := _NUMBERS.get(tag)) is not None:
                draft[name], position = read_varint(payload, position)
            elif (read := _READERS.get(tag)) is not None:
                position = read(payload, position, draft)
            elif tag & _IGNORABLE_TAG_BIT:
                _, position = read_prefixed(payload, position)
            else:
                raise UnsupportedFormatError(f"a MANIFEST edit has the unknown tag {tag}", hint=_NEWER_HINT)
    except IndexError:
        raise CorruptFileError("a MANIFEST edit is cut short") from None
    for name in _LISTS & draft.keys():
        draft[name] = tuple(draft[name])
    return VersionEdit(**draft)


# Readers of one tag each: they take the edit's bytes, the position after the tag and what is decoded so far,
# and return the position after the tag's value. `IndexError` means that the bytes end too early.


def _deleted_table(data: bytes, position: int, draft: dict[str, Any]) -> int:
    level, position = read_varint(data, position)
    number, position = read_varint(data, position)
    draft.setdefault("deleted_tables", []).append(DeletedTable(level, number))
    return position


def _table_1(data: bytes, position: int, draft: dict[str, Any]) -> int:
    level, position = read_varint(data, position)
    number, position = read_varint(data, position)
    size, position = read_varint(data, position)
    smallest, position = _read_internal_key(data, position)
    largest, position = _read_internal_key(data, position)
    draft.setdefault("new_tables", []).append(TableFile(level, number, size, smallest, largest, 0, 0))
    return position


def _table_2(data: bytes, position: int, draft: dict[str, Any]) -> int:
    level, position = read_varint(data, position)
    number, position = read_varint(data, position)
    size, position = read_varint(data, position)
    smallest, position = _read_internal_key(data, position)
    largest, position = _read_internal_key(data, position)
    low, position = read_varint(data, position)
    high, position = read_varint(data, position)
    draft.setdefault("new_tables", []).append(TableFile(level, number, size, smallest, largest, low, high))
    return position


def _table_3(data: bytes, position: int, draft: dict[str, Any]) -> int:
    level, position = read_varint(data, position)
    number, position = read_varint(data, position)
    path_id, position = read_varint(data, position)
    size, position = read_varint(data, position)
    smallest, position = _read_internal_key(data, position)
    largest, position = _read_internal_key(data, position)
    low, position = read_varint(data, position)
    high, position = read_varint(data, position)
    table = TableFile(level, number, size, smallest, largest, low, high, path_id)
    draft.setdefault("new_tables", []).append(table)
    return position


def _table_4(data: bytes, position: int, draft: dict[str, Any]) -> int:
    level, position = read_varint(data, position)
    number, position = read_varint(data, position)
    size, position = read_varint(data, position)
    smallest, position = _read_internal_key(data, position)
    largest, position = _read_internal_key(data, position)
    low, position = read_varint(data, position)
    high, position = read_varint(data, position)
    custom: dict[str, Any] = {}
    while True:
        field = data[position]
        position += 1
        if field == _TABLE_END:
            break
        if field >= 128:  # noqa: PLR2004  # a varint of more than one byte
            field, position = read_varint(data, position - 1)
        start = position + 1
        if (length := data[position]) >= 128:  # noqa: PLR2004  # as above
            length, start = read_varint(data, position)
        position = start + length
        if (name := _TABLE_NUMBERS.get(field)) is not None:
            custom[name], after = read_varint(data, start)
            if after > position:
                raise CorruptFileError(f"a MANIFEST edit has a malformed field {field} of table {number}")
        elif (name := _TABLE_TEXTS.get(field)) is not None:
            custom[name] = data[start:position]
        elif field == _TABLE_MIN_LOG_NUMBER:
            draft["min_log_number_to_keep"] = int.from_bytes(data[start:position], "little")
        elif field & _MANDATORY_FIELD_BIT:
            raise UnsupportedFormatError(
                f"a MANIFEST edit has the unknown field {field} of a table", hint=_NEWER_HINT
            )
    table = TableFile(level, number, size, smallest, largest, low, high, **custom)
    draft.setdefault("new_tables", []).append(table)
    return position


def _blob_addition(data: bytes, position: int, draft: dict[str, Any]) -> int:
    number, position = read_varint(data, position)
    count, position = read_varint(data, position)
    size, position = read_varint(data, position)
    method, position = read_prefixed(data, position)
    checksum, position = read_prefixed(data, position)
    addition = BlobAddition(number, count, size, method, checksum)
    draft.setdefault("blob_additions", []).append(addition)
    return _skip_blob_fields(data, position)


def _blob_garbage(data: bytes, position: int, draft: dict[str, Any]) -> int:
    number, position = read_varint(data, position)
    count, position = read_varint(data, position)
    size, position = read_varint(data, position)
    draft.setdefault("blob_garbage", []).append(BlobGarbage(number, count, size))
    return _skip_blob_fields(data, position)


def _wal_addition(data: bytes, position: int, draft: dict[str, Any]) -> int:
    number, position = read_varint(data, position)
    synced_bytes: int | None = None
    while True:
        field, position = read_varint(data, position)
        if field == _WAL_END:
            break
        if field != _WAL_SYNCED_BYTES:
            raise UnsupportedFormatError(
                f"a MANIFEST edit has the unknown field {field} of a WAL", hint=_NEWER_HINT
            )
        synced_bytes, position = read_varint(data, position)
    draft.setdefault("wal_additions", []).append(WalAddition(number, synced_bytes))
    return position


def _prefixed_wal_addition(data: bytes, position: int, draft: dict[str, Any]) -> int:
    encoded, position = read_prefixed(data, position)
    _wal_addition(encoded, 0, draft)
    return position


def _prefixed_wal_deletion(data: bytes, position: int, draft: dict[str, Any]) -> int:
    encoded, position = read_prefixed(data, position)
    draft["wals_deleted_before"], _ = read_varint(encoded, 0)
    return position


def _comparator(data: bytes, position: int, draft: dict[str, Any]) -> int:
    name, position = read_prefixed(data, position)
    draft["comparator"] = _decode_text(name)
    return position


def _added_name(data: bytes, position: int, draft: dict[str, Any]) -> int:
    name, position = read_prefixed(data, position)
    draft["added_name"] = _decode_text(name)
    return position


def _database_id(data: bytes, position: int, draft: dict[str, Any]) -> int:
    name, position = read_prefixed(data, position)
    draft["database_id"] = _decode_text(name)
    return position


def _drop(_data: bytes, position: int, draft: dict[str, Any]) -> int:
    draft["is_drop"] = True
    return position


def _compact_cursor(data: bytes, position: int, _draft: dict[str, Any]) -> int:
    _, position = read_varint(data, position)
    _, position = read_prefixed(data, position)
    return position


def _decode_text(data: bytes) -> str:
    # RocksDB takes any bytes for a name; this way they survive a round trip.
    return data.decode("utf-8", "surrogateescape")


def _read_internal_key(data: bytes, position: int) -> tuple[bytes, int]:
    key, position = read_prefixed(data, position)
    if len(key) < _INTERNAL_KEY_BYTES:
        raise CorruptFileError("a MANIFEST edit has a table with a malformed boundary key")
    return key, position


def _skip_blob_fields(data: bytes, position: int) -> int:
    while True:
        field, position = read_varint(data, position)
        if field == _BLOB_END:
            return position
        if field & _MANDATORY_FIELD_BIT:
            raise UnsupportedFormatError(
                f"a MANIFEST edit has the unknown field {field} of a blob file", hint=_NEWER_HINT
            )
        _, position = read_prefixed(data, position)


#: Sequence number and type at the end of every internal key.
_INTERNAL_KEY_BYTES = 8

_TABLE_END = 1
_TABLE_MIN_LOG_NUMBER = 3
_TABLE_PATH_ID = 65
_TABLE_NUMBERS = {4: "oldest_blob_number", 6: "created_seconds", 13: "epoch", _TABLE_PATH_ID: "path_id"}
_TABLE_TEXTS = {7: "checksum", 8: "checksum_function", 12: "unique_id"}
_BLOB_END = 0
_WAL_END = 1
_WAL_SYNCED_BYTES = 2

_LISTS = frozenset({"deleted_tables", "new_tables", "blob_additions", "blob_garbage", "wal_additions"})

#: Tags whose value is one integer.
_NUMBERS = {
    2: "log_number",
    3: "next_file_number",
    4: "last_sequence",
    9: "prev_log_number",
    10: "min_log_number_to_keep",
    200: "column_family",
    203: "max_column_family",
    300: "group_remaining",
    _IGNORABLE_TAG_BIT + 5: "wals_deleted_before",
}

_READERS: dict[int, Callable[[bytes, int, dict[str, Any]], int]] = {
    1: _comparator,
    5: _compact_cursor,
    6: _deleted_table,
    7: _table_1,
    100: _table_2,
    102: _table_3,
    103: _table_4,
    201: _added_name,
    202: _drop,
    400: _blob_addition,
    401: _blob_garbage,
    _IGNORABLE_TAG_BIT + 1: _database_id,
    _IGNORABLE_TAG_BIT + 2: _blob_addition,
    _IGNORABLE_TAG_BIT + 3: _blob_garbage,
    _IGNORABLE_TAG_BIT + 4: _wal_addition,
    _IGNORABLE_TAG_BIT + 7: _prefixed_wal_addition,
    _IGNORABLE_TAG_BIT + 8: _prefixed_wal_deletion,
}
