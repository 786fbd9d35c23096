"""The names that a server lists, read fast: listings bring them by the hundred thousand. No I/O.

Source: draft-ietf-secsh-filexfer-02, sections 5 and 7.
"""

from __future__ import annotations

import stat
import struct

from replicator.destination.interface import Entry, EntryKind, Owner

_SIZE, _OWNER, _PERMISSIONS, _TIMES = 0x01, 0x02, 0x04, 0x08
_USUAL_FLAGS = _SIZE | _OWNER | _PERMISSIONS | _TIMES

_LENGTH = struct.Struct(">I")
#: How many names there are, and the length of the first.
_START = struct.Struct(">II")
#: Flags, size, owner (two), permissions, times (two) of a name, and the length of the next.
_USUAL = struct.Struct(">IQIIIIII")
_BEYOND = bytes(_LENGTH.size)

_KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.FOLDER, stat.S_IFLNK: EntryKind.SYMLINK}


def kind_of_mode(mode: int) -> EntryKind:
    """Say what a name is by its permissions, which hold the type too."""
    return _KINDS.get(stat.S_IFMT(mode), EntryKind.OTHER)


def usual_names(packet: bytes, start: int) -> tuple[Entry, ...] | None:
    """Return the names in a reply, whose count is at `start`.

    None, if one of them has other attributes than OpenSSH sends, or the packet is cut short.
    """
    # With something behind it, what follows a name can be read along with it, even if nothing does.
    data = packet + _BEYOND
    found = []
    owner = None
    new, last_user, last_group = tuple.__new__, -1, -1
    length_at, usual_at, kinds, kind_bits = _LENGTH.unpack_from, _USUAL.unpack_from, _KINDS, stat.S_IFMT
    try:
        count, length = _START.unpack_from(data, start)
        at = start + _START.size
        for _ in range(count):
            end = at + length
            name = data[at:end].decode("utf-8", "surrogateescape")
            # What is skipped is the same as `ls -l` would show it.
            at = end + 4 + length_at(data, end)[0]
            flags, size, user, group, mode, _, seconds, length = usual_at(data, at)
            if flags != _USUAL_FLAGS:
                return None
            at += _USUAL.size
            if user != last_user or group != last_group:
                owner, last_user, last_group = Owner(user, group), user, group
            kind = kinds.get(kind_bits(mode), EntryKind.OTHER)
            found.append(new(Entry, (name, kind, size, seconds, mode & 0o7777, owner)))
    except struct.error:
        return None
    return tuple(found)
