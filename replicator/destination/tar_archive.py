"""Members of a tar archive, one by one, as any tar can unpack them. No I/O.

The library's `tarfile` takes five times as long for a small file as reading it does. Source: POSIX.1-2017, pax,
"ustar Interchange Format".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.destination.values import Owner

_BLOCK_BYTES: Final = 512
#: What an archive ends with.
END: Final = bytes(2 * _BLOCK_BYTES)

_NAME_BYTES: Final = 100
_LARGEST_NUMBER: Final = 0o7777777
# Type, name of a link, magic and version, names of the owner, numbers of a device, folder.
_REST: Final = struct.Struct(">c100s8s32s32s16s155s12x")
_MAGIC: Final = b"ustar\x0000"
_FILE: Final = b"0"
_FOLDER: Final = b"5"
_BLANK_CHECKSUM: Final = sum(b" " * 8)


class TarMembers:
    """Makes files that lie in one folder and belong to one owner, or to whoever unpacks them.

    `folder` may be empty. Times are seconds from 1970 on, in 32 bits; modes are permission bits, of 0o7777.
    """

    def __init__(self, folder: bytes, owner: Owner | None, *, kind: bytes = _FILE) -> None:
        user_id, group_id = owner or (0, 0)
        self._owner = b"%07o\0%07o\0" % (user_id, group_id)
        self._rest = _REST.pack(kind, b"", _MAGIC, b"", b"", b"", folder)
        self._same = sum(kind + _MAGIC + folder) + _BLANK_CHECKSUM

    def header(self, name: bytes, size_bytes: int, mode: int, seconds: int) -> bytes:
        """Return what comes before the contents."""
        fields = b"%07o\0%b%011o\0%011o\0" % (mode, self._owner, size_bytes, seconds)
        checksum = self._same + sum(name) + sum(fields)
        return b"%b%b%06o\0 %b" % (name.ljust(_NAME_BYTES, b"\0"), fields, checksum, self._rest)


def folder_header(folder: bytes, mode: int, seconds: int, owner: Owner | None) -> bytes:
    """Return a folder as a member."""
    return TarMembers(b"", owner, kind=_FOLDER).header(folder, 0, mode, seconds)


def padding(size_bytes: int) -> bytes:
    """Return what comes after contents of that size."""
    return bytes(-size_bytes % _BLOCK_BYTES)


def fits(folder: bytes, names: Iterable[bytes], owner: Owner | None) -> bool:
    """Say whether a `TarMembers` can hold these; tar knows ways for longer names, not all the same."""
    return (
        len(folder) <= _NAME_BYTES
        and (owner is None or max(owner) <= _LARGEST_NUMBER)
        and max(map(len, names), default=0) <= _NAME_BYTES
    )
