"""The names that a server lists, read fast: listings bring them by the hundred thousand. No I/O.

Source: draft-ietf-secsh-filexfer-02, sections 5 and 7.
"""

from __future__ import annotations

import stat
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from replicator.destination.interface import Entry, EntryKind, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE, _OWNER, _PERMISSIONS, _TIMES = 0x01, 0x02, 0x04, 0x08
_USUAL_FLAGS = _SIZE | _OWNER | _PERMISSIONS | _TIMES

_LENGTH = struct.Struct(">I")
#: How many names there are, and the length of the first.
_START = struct.Struct(">II")
_BEYOND = bytes(_LENGTH.size)

_KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.FOLDER, stat.S_IFLNK: EntryKind.SYMLINK}


def kind_of_mode(mode: int) -> EntryKind:
    """Say what a name is by its permissions, which hold the type too."""
    return _KINDS.get(stat.S_IFMT(mode), EntryKind.OTHER)


def usual_names(data: bytes | memoryview, start: int, end: int) -> tuple[Entry, ...] | None:
    """Return the names in a reply that ends at `end`; their count is at `start`.

    None, if one of them has other attributes than OpenSSH sends, or the reply is cut short.
    """
    if end + len(_BEYOND) > len(data):
        # The length of what follows a name is read along with it, even if nothing does.
        return usual_names(bytes(data[start:end]) + _BEYOND, 0, end - start)
    found: list[Entry] = []
    add, new, entry = found.append, tuple.__new__, Entry
    owner, kind, bits = None, EntryKind.OTHER, 0
    last_length = last_skipped = last_owner = last_mode = -1
    try:
        count, length = _START.unpack_from(data, start)
        at = start + _START.size
        for _ in range(count):
            if length != last_length:
                last_length, last_skipped = length, _LENGTH.unpack_from(data, at + length)[0]
                read, size_bytes = _line(length, last_skipped)
            name, skipped, flags, size, both, mode, _, seconds, length = read(data, at)
            if skipped != last_skipped:
                last_skipped = skipped
                read, size_bytes = _line(last_length, skipped)
                name, _, flags, size, both, mode, _, seconds, length = read(data, at)
            if flags != _USUAL_FLAGS:
                return None
            at += size_bytes
            if both != last_owner:
                owner, last_owner = Owner(both >> 32, both & 0xFFFF_FFFF), both
            if mode != last_mode:
                kind, bits, last_mode = kind_of_mode(mode), mode & 0o7777, mode
            add(new(entry, (name.decode(), kind, size, seconds, bits, owner)))
    except (struct.error, UnicodeDecodeError):
        return None
    return tuple(found) if at <= end + len(_BEYOND) else None


@lru_cache(maxsize=1024)
def _line(name_bytes: int, skipped_bytes: int) -> tuple[Callable[[bytes | memoryview, int], tuple[Any, ...]], int]:
    """Return what reads a name of that length, and how many bytes that is.

    It gives the name; the length of what is skipped, which is the same as `ls -l` would show it; flags, size,
    owner (both numbers in one), permissions, times (two); and the length of the next name.
    """
    line = struct.Struct(f">{name_bytes}sI{skipped_bytes}xIQQIIII")
    return line.unpack_from, line.size
