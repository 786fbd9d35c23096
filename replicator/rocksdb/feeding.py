"""Feeding a log reader the bytes of a file, wherever they come from. Pure: reading is the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicator.rocksdb.record_log import Tail

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes read at once; every reader of a log gets further with this much.
_CHUNK_BYTES = 1 << 20
#: The most that is searched for whole records behind a garbled one.
_LONGEST_LOOK_BYTES = 64 << 20


class LogReader(Protocol):
    """What takes the bytes of a log: see `replicator.rocksdb.record_log`."""

    @property
    def next_offset(self) -> int:
        """Where the next bytes to be fed begin."""

    def feed(self, data: bytes) -> object:
        """Take the bytes at `next_offset`."""

    def tail(self) -> Tail:
        """What the bytes of the last `feed` that were not taken are."""


def feed_log(reader: LogReader, read: Callable[[int, int], bytes], size_bytes: int) -> None:
    """Feed the reader what it has not seen of the first `size_bytes` bytes of a file.

    `read` returns up to so many bytes (second argument) from an offset (first) on. Where the reader cannot get
    on, it is shown ever more of what follows: whole records behind a garbled stretch tell damage from a write
    that was broken off.
    """
    fed_to = -1
    chunk_bytes = _CHUNK_BYTES
    while fed_to < size_bytes and reader.next_offset < size_bytes and chunk_bytes <= _LONGEST_LOOK_BYTES:
        position = reader.next_offset
        data = read(position, min(chunk_bytes, size_bytes - position))
        if not data:
            break
        reader.feed(data)
        fed_to = position + len(data)
        if reader.next_offset > position:
            chunk_bytes = _CHUNK_BYTES
        elif reader.tail() is Tail.TORN:
            chunk_bytes *= 4
        else:
            break
