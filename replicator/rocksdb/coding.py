"""RocksDB's variable-length integers and length-prefixed strings.

Source: RocksDB `util/coding.h`. Knows nothing of what the values mean.
"""

from __future__ import annotations

from replicator.errors import CorruptFileError

#: A 64-bit value takes at most ten bytes of seven bits.
_MAX_SHIFT_BITS = 63


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode the unsigned integer at `position`; return it and the position after it.

    Raises `IndexError` when `data` ends inside it: decoders of whole structures turn that into one
    `CorruptFileError` that names the structure. Raises `CorruptFileError` when it is longer than 64 bits.
    """
    byte = data[position]
    position += 1
    if byte < 128:  # noqa: PLR2004  # the top bit says that more follows
        return byte, position
    value = byte & 127
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004  # as above
            return value, position
        shift += 7
        if shift > _MAX_SHIFT_BITS:
            raise CorruptFileError("a variable-length integer is longer than 64 bits")


def read_prefixed(data: bytes, position: int) -> tuple[bytes, int]:
    """Decode the length-prefixed bytes at `position`; return them and the position after them.

    Raises `IndexError` when `data` ends before they do, as `read_varint`.
    """
    length, start = read_varint(data, position)
    end = start + length
    if end > len(data):
        raise IndexError
    return data[start:end], end
