"""Files that are the same on both sides, told from all else as a folder is read.

Nearly every name of a mirror is one of them in nearly every comparison: what each of them costs, the comparison
costs. So they are dropped here, before anything is made of them.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.mirror.plan import LocalEntry

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from replicator.destination.interface import Entry

_KINDS: Final = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.FOLDER, stat.S_IFLNK: EntryKind.SYMLINK}


def read_others(
    names: Iterable[os.DirEntry[str]], there: dict[str, Entry], *, with_owner: bool
) -> dict[str, LocalEntry]:
    """Return the names of a folder, without files that `there` has just like that: those are taken out of it.

    What counts is what `plan_folder` compares. Files with several names are returned, and left, all the same.
    """
    others: dict[str, LocalEntry] = {}
    take, file = there.pop, EntryKind.FILE
    # As `entry_of` does it, without its ceremony.
    new, entry = tuple.__new__, LocalEntry
    kind, bits, last_mode = EntryKind.OTHER, 0, -1
    for item in names:
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        mode, inode, _, links, user_id, group_id, size_bytes, _, modified_seconds, _ = status
        if mode != last_mode:
            kind, bits, last_mode = _kind(mode), mode & 0o7777, mode
        name = item.name
        theirs = take(name, None)
        if theirs is not None:
            _, kind_there, size_there, modified_there, bits_there, owner = theirs
            if (
                kind is file
                and kind_there is file
                and size_bytes == size_there
                and modified_seconds == modified_there
                and bits == bits_there
                and links == 1
                and (not with_owner or owner is None or (user_id, group_id) == owner)
            ):
                continue
            there[name] = theirs
        modified_ns, changed_ns = status.st_mtime_ns, status.st_ctime_ns
        others[name] = new(
            entry, (kind, size_bytes, modified_ns, changed_ns, bits, user_id, group_id, inode, links)
        )
    return others


def entry_of(status: os.stat_result) -> LocalEntry:
    """Return what is kept of a name that was looked at."""
    return LocalEntry(
        _kind(status.st_mode),
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        status.st_ino,
        status.st_nlink,
    )


def _kind(mode: int) -> EntryKind:
    return _KINDS.get(stat.S_IFMT(mode), EntryKind.OTHER)
