"""The record log: the framing that WAL and MANIFEST files share. Bytes in, whole records out.

A log is a sequence of 32 KiB blocks; a record that does not fit into what is left of a block is cut into
fragments, each with a masked CRC-32C of its own. This module finds records and checks them; what they mean
belongs to `wal` and `manifest`.

Source: RocksDB `db/log_format.h`, `db/log_writer.cc`, `db/log_reader.cc`, `util/crc32c.h` (the mask).
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from struct import Struct
from typing import NamedTuple

from crc32c import crc32c

from replicator.errors import UnsupportedFormatError

BLOCK_BYTES = 32768
HEADER_BYTES = 7
RECYCLABLE_HEADER_BYTES = 11


class RecordType(IntEnum):
    """What a physical record says of itself."""

    ZERO = 0
    FULL = 1
    FIRST = 2
    MIDDLE = 3
    LAST = 4
    RECYCLABLE_FULL = 5
    RECYCLABLE_FIRST = 6
    RECYCLABLE_MIDDLE = 7
    RECYCLABLE_LAST = 8
    COMPRESSION = 9
    TIMESTAMP_SIZE = 10
    RECYCLABLE_TIMESTAMP_SIZE = 11
    PREDECESSOR_WAL = 130
    RECYCLABLE_PREDECESSOR_WAL = 131


class Tail(Enum):
    """What follows the last whole record."""

    CLEAN = "clean"
    """Nothing that belongs to this log: zeros, or what a recycled file held before."""
    TORN = "torn"
    """One unfinished write."""
    DAMAGED = "damaged"
    """Bytes that are no record, with valid records after them: not the trace of a write under way."""


class LogRecord(NamedTuple):
    """One whole record, fragments joined; a tuple, for there may be a million of them.

    `type` is FULL for data however it was cut; other types are as they stand in the file, so that RECYCLABLE_
    only remains on records that are about the log itself. Offsets are in bytes from the start of the file.
    """

    type: int
    payload: bytes
    start_offset: int
    end_offset: int


_HEADER = Struct("<IHB")
_MASK_DELTA = 0xA282EAD8
_IGNORABLE_BIT = 0x80

_WITH_LOG_NUMBER = frozenset(
    {
        RecordType.RECYCLABLE_FULL,
        RecordType.RECYCLABLE_FIRST,
        RecordType.RECYCLABLE_MIDDLE,
        RecordType.RECYCLABLE_LAST,
        RecordType.RECYCLABLE_TIMESTAMP_SIZE,
        RecordType.RECYCLABLE_PREDECESSOR_WAL,
    }
)
_ABOUT_THE_LOG = frozenset(
    {
        RecordType.COMPRESSION,
        RecordType.TIMESTAMP_SIZE,
        RecordType.RECYCLABLE_TIMESTAMP_SIZE,
        RecordType.PREDECESSOR_WAL,
        RecordType.RECYCLABLE_PREDECESSOR_WAL,
    }
)

# Plain integers and tables by type: attribute look-ups in an enum cost more than the rest of the loop.
_FULL = int(RecordType.FULL)
_FIRST = int(RecordType.FIRST)
_MIDDLE = int(RecordType.MIDDLE)
_LAST = int(RecordType.LAST)
_PLAIN_TYPE = tuple(
    kind - 4 if RecordType.RECYCLABLE_FULL <= kind <= RecordType.RECYCLABLE_LAST else kind for kind in range(256)
)
_HEADER_BYTES_OF = tuple(
    RECYCLABLE_HEADER_BYTES if kind in _WITH_LOG_NUMBER else HEADER_BYTES for kind in range(256)
)
_RECORD_TYPES = re.compile(b"[" + re.escape(bytes(RecordType)) + b"]", re.DOTALL)
_TYPE_CRC = tuple(crc32c(bytes([kind])) for kind in range(256))
_FULL_CRC = _TYPE_CRC[_FULL]


class RecordLogReader:
    """Reads a log that may still be growing.

    The caller feeds the file's bytes from `next_offset` on, in pieces of any size; a piece of 64 KiB or more
    always gets further if the file does. Fragments that were valid are kept. Bytes behind them are *not*:
    whatever stands after the end of a live log may be overwritten by its writer, so they are read again.
    """

    def __init__(self, *, log_number: int | None = None) -> None:
        """`log_number`: recyclable records must carry its low 32 bits, others are from the file's past."""
        self._log_number = None if log_number is None else (log_number & 0xFFFFFFFF).to_bytes(4, "little")
        self._next_offset = 0
        self._end_offset = 0
        self._parts: list[bytes] | None = None
        self._start_offset = 0
        self._out_of_order = False
        self._rest = b""

    @property
    def next_offset(self) -> int:
        """Where the next bytes to be fed begin: after the last valid fragment."""
        return self._next_offset

    @property
    def end_offset(self) -> int:
        """The offset just after the last whole record; padding after it is not counted."""
        return self._end_offset

    def feed(self, data: bytes | memoryview) -> list[LogRecord]:
        """Take bytes that begin at `next_offset`; return the records that they complete.

        Stops, without an error, at the first byte that is not part of a valid record; `tail` tells why.
        Raises `UnsupportedFormatError` for a valid record of an unknown type that may not be skipped.
        """
        data = bytes(data)
        base = self._next_offset
        records: list[LogRecord] = []
        position = done = 0
        block_end = BLOCK_BYTES - base % BLOCK_BYTES
        self._out_of_order = False
        while True:
            if self._parts is None:
                position = done = self._take_plain(data, position, block_end, records)
            fragment = self._fragment_at(data, position, block_end)
            if fragment is None:
                # Either the end, or the writer padded the block. What stands at the block's start decides;
                # without a valid record there, zeros may be bytes that are yet to be written.
                if block_end - position >= HEADER_BYTES and not _is_zero(data[position:block_end]):
                    break
                position = block_end
                block_end += BLOCK_BYTES
                fragment = self._fragment_at(data, position, block_end)
                if fragment is None:
                    break
            kind, payload, end = fragment
            if kind == _FULL and self._parts is None:
                records.append(LogRecord(_FULL, payload, base + position, base + end))
                self._end_offset = base + end
            elif not self._assemble(kind, payload, base + position, base + end, records):
                self._out_of_order = True
                break
            position = done = end
        self._next_offset = base + done
        self._rest = data[done:]
        return records

    def tail(self) -> Tail:
        """Judge what follows the last whole record, by the bytes of the last `feed` that were not taken.

        Meaningful once the file was fed to its end.
        """
        if self._out_of_order:
            return Tail.DAMAGED
        rest = self._rest
        first_block_end = BLOCK_BYTES - self._next_offset % BLOCK_BYTES
        for position in range(first_block_end, len(rest), BLOCK_BYTES):
            if self._fragment_at(rest, position, position + BLOCK_BYTES) is not None:
                return Tail.DAMAGED
        if self._is_followed(rest, first_block_end):
            return Tail.DAMAGED
        if self._parts is None and (_is_zero(rest) or self._is_from_the_past(rest)):
            return Tail.CLEAN
        return Tail.DAMAGED if self._ends_in_records(rest, first_block_end) else Tail.TORN

    def _take_plain(self, data: bytes, position: int, block_end: int, records: list[LogRecord]) -> int:
        """Take whole records of the plainest kind while one follows the other; return where the last one ends.

        Nearly all of a busy log are. Whatever else stands there is left alone: this only saves time.
        """
        base = self._next_offset
        limit = min(block_end, len(data))
        add, new = records.append, tuple.__new__
        begin = position
        while (start := position + HEADER_BYTES) <= limit:
            stored_crc, length, kind = _HEADER.unpack_from(data, position)
            end = start + length
            if kind != _FULL or end > limit:
                break
            payload = data[start:end]
            crc = crc32c(payload, _FULL_CRC)
            if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF != stored_crc:
                break
            add(new(LogRecord, (_FULL, payload, base + position, base + end)))
            position = end
        if position > begin:
            self._end_offset = base + position
        return position

    def _fragment_at(self, data: bytes, position: int, block_end: int) -> tuple[int, bytes, int] | None:
        """Return type, payload and end of the valid physical record at `position`; None if there is none."""
        header_end = position + HEADER_BYTES
        if header_end > block_end or header_end > len(data):
            return None
        stored_crc, length, kind = _HEADER.unpack_from(data, position)
        start = position + _HEADER_BYTES_OF[kind]
        end = start + length
        if end > block_end or end > len(data):
            return None
        payload = data[start:end]
        crc = _TYPE_CRC[kind]
        if start != header_end:
            log_number = data[header_end:start]
            if self._log_number is not None and log_number != self._log_number:
                return None
            crc = crc32c(log_number, crc)
        crc = crc32c(payload, crc)
        if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF != stored_crc:
            return None
        return _PLAIN_TYPE[kind], payload, end

    def _assemble(
        self, kind: int, payload: bytes, start_offset: int, end_offset: int, records: list[LogRecord]
    ) -> bool:
        """Take a fragment or a record about the log; return whether it may stand here."""
        parts = self._parts
        if kind in (_MIDDLE, _LAST):
            if parts is None:
                return False
            parts.append(payload)
            if kind == _LAST:
                records.append(LogRecord(_FULL, b"".join(parts), self._start_offset, end_offset))
                self._parts = None
                self._end_offset = end_offset
            return True
        # Early writers left an empty FIRST at a block's end and began anew in the next block.
        if parts is not None and any(parts):
            return False
        self._parts = None
        if kind == _FIRST:
            self._parts = [payload]
            self._start_offset = start_offset
            return True
        if kind == _FULL or kind in _ABOUT_THE_LOG:
            records.append(LogRecord(kind, payload, start_offset, end_offset))
        elif not kind & _IGNORABLE_BIT:
            raise UnsupportedFormatError(
                f"a log record at offset {start_offset} has the unknown type {kind}",
                hint="A newer RocksDB wrote this database: a newer replicator is needed.",
            )
        self._end_offset = end_offset
        return True

    def _is_followed(self, rest: bytes, block_end: int) -> bool:
        """Whether what begins here is no record, but a valid one stands where its length says that it ends."""
        if len(rest) < HEADER_BYTES:
            return False
        _, length, kind = _HEADER.unpack_from(rest)
        return self._fragment_at(rest, _HEADER_BYTES_OF[kind] + length, block_end) is not None

    def _ends_in_records(self, rest: bytes, block_end: int) -> bool:
        """Whether valid records, one after the other, reach from somewhere in here exactly to the end of the file.

        A garbled length says nothing of where the next record is. What the payload of one unfinished write holds
        may look like records too, but not up to the byte at which the write was broken off.
        """
        end = len(rest)
        if end > block_end:
            return False
        for match in _RECORD_TYPES.finditer(rest, HEADER_BYTES):
            position = match.start() - HEADER_BYTES + 1
            while (fragment := self._fragment_at(rest, position, block_end)) is not None:
                position = fragment[2]
            if position == end:
                return True
        return False

    def _is_from_the_past(self, rest: bytes) -> bool:
        """Whether a recyclable record of another log number begins here."""
        if self._log_number is None or len(rest) < RECYCLABLE_HEADER_BYTES:
            return False
        has_number = rest[HEADER_BYTES - 1] in _WITH_LOG_NUMBER
        return has_number and rest[HEADER_BYTES:RECYCLABLE_HEADER_BYTES] != self._log_number


def _is_zero(data: bytes) -> bool:
    return data.count(0) == len(data)
