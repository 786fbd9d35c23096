"""Writes RocksDB's formats, independently of the code that reads them: for tests only.

Source: RocksDB `db/log_format.h`, `db/log_writer.cc`, `db/version_edit.cc` (`EncodeTo`), `util/coding.h`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_BYTES = 32768


def physical_record(kind: int, payload: bytes, log_number: int | None = None) -> bytes:
    """One fragment with its header; with a log number the recyclable header."""
    number = b"" if log_number is None else struct.pack("<I", log_number & 0xFFFFFFFF)
    crc = crc32c(bytes([kind]) + number + payload)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<IHB", masked, len(payload), kind) + number + payload


@dataclass
class LogWriter:
    """Writes a log; `ends` are the offsets just after each record, `starts` those of the first fragments."""

    log_number: int | None = None
    content: bytearray = field(default_factory=bytearray)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, payload: bytes) -> None:
        """Append one record, cut into as many fragments as it takes."""
        header = 7 if self.log_number is None else 11
        first = 1 if self.log_number is None else 5
        left = payload
        begins = True
        while True:
            room = BLOCK_BYTES - len(self.content) % BLOCK_BYTES
            if room < header:
                self.content += bytes(room)
                room = BLOCK_BYTES
            fragment, left = left[: room - header], left[room - header :]
            kind = first + (0 if begins else 2) + (1 if begins and left else 0) + (0 if begins or left else 1)
            if begins:
                self.starts.append(len(self.content))
            self.content += physical_record(kind, fragment, self.log_number)
            begins = False
            if not left:
                self.ends.append(len(self.content))
                return

    def add_physical(self, kind: int, payload: bytes, *, with_log_number: bool = False) -> None:
        """Append one physical record as it is, in a new block if it does not fit."""
        record = physical_record(kind, payload, self.log_number if with_log_number else None)
        room = BLOCK_BYTES - len(self.content) % BLOCK_BYTES
        if room < len(record):
            self.content += bytes(room)
        self.starts.append(len(self.content))
        self.content += record
        self.ends.append(len(self.content))


def write_log(payloads: Sequence[bytes], *, log_number: int | None = None) -> LogWriter:
    """A log of these records."""
    writer = LogWriter(log_number)
    for payload in payloads:
        writer.add(payload)
    return writer


def batch(sequence: int, count: int, body: bytes = b"") -> bytes:
    """A write batch: header and a body that nobody decodes."""
    return struct.pack("<QI", sequence, count) + body


def varint(value: int) -> bytes:
    """A variable-length integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefixed(data: bytes) -> bytes:
    """Bytes with their length before them."""
    return varint(len(data)) + data


def number_field(tag: int, value: int) -> bytes:
    """A tag of an edit with one integer."""
    return varint(tag) + varint(value)


def log_number(value: int) -> bytes:
    return number_field(2, value)


def min_log_number(value: int) -> bytes:
    return number_field(10, value)


def in_family(family_id: int) -> bytes:
    return number_field(200, family_id)


def add_family(family_id: int, name: str, comparator: str = "leveldb.BytewiseComparator") -> bytes:
    return varint(1) + prefixed(comparator.encode()) + in_family(family_id) + varint(201) + prefixed(name.encode())


def drop_family(family_id: int) -> bytes:
    return in_family(family_id) + varint(202)


def in_group(remaining: int) -> bytes:
    return number_field(300, remaining)


def delete_table(level: int, number: int) -> bytes:
    return varint(6) + varint(level) + varint(number)


def internal_key(user_key: bytes) -> bytes:
    """A key as tables store it: sequence number and type follow."""
    return user_key + struct.pack("<Q", 1 << 8 | 1)


def new_table(  # noqa: PLR0913  # one argument for each field of the format
    number: int,
    *,
    level: int = 0,
    size_bytes: int = 1000,
    smallest: bytes = b"a",
    largest: bytes = b"z",
    sequences: tuple[int, int] = (1, 9),
    created_seconds: int = 0,
    epoch: int = 0,
    unique_id: bytes = b"",
    path_id: int = 0,
    oldest_blob: int = 0,
    checksum: tuple[bytes, bytes] = (b"", b""),
    fields: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A new table in the fourth format, with `fields` (tag and bytes) besides those named here."""
    custom = [(5, varint(created_seconds)), (6, varint(created_seconds)), (13, varint(epoch))]
    if checksum[1]:
        custom += [(7, checksum[0]), (8, checksum[1])]
    if path_id:
        custom.append((65, bytes([path_id])))
    if oldest_blob:
        custom.append((4, varint(oldest_blob)))
    if unique_id:
        custom.append((12, unique_id))
    custom += fields
    return (
        varint(103)
        + varint(level)
        + varint(number)
        + varint(size_bytes)
        + prefixed(internal_key(smallest))
        + prefixed(internal_key(largest))
        + varint(sequences[0])
        + varint(sequences[1])
        + b"".join(varint(tag) + prefixed(value) for tag, value in custom)
        + varint(1)
    )


def new_blob(number: int, *, count: int, total_bytes: int, checksum: bytes = b"", tag: int = 400) -> bytes:
    method = b"crc32c" if checksum else b""
    return (
        varint(tag)
        + varint(number)
        + varint(count)
        + varint(total_bytes)
        + prefixed(method)
        + prefixed(checksum)
        + varint(0)
    )


def blob_garbage(number: int, *, count: int, garbage_bytes: int, tag: int = 401) -> bytes:
    return varint(tag) + varint(number) + varint(count) + varint(garbage_bytes) + varint(0)


def add_wal(number: int, synced_bytes: int | None = None) -> bytes:
    value = varint(number)
    if synced_bytes is not None:
        value += varint(2) + varint(synced_bytes)
    return varint((1 << 13) + 7) + prefixed(value + varint(1))


def delete_wals_before(number: int) -> bytes:
    return varint((1 << 13) + 8) + prefixed(varint(number))


def database_id(text: str) -> bytes:
    return varint((1 << 13) + 1) + prefixed(text.encode())
