"""System calls as a directory destination needs them: whole writes, copies, durable names, names with kinds.

All raise `OSError`; which error of a destination that is, is decided in `directory`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from replicator.destination.interface import Entry, EntryKind, Owner

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.destination.interface import FileAttributes

_NO_COPY_RANGE = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def write_all(fd: int, data: memoryview) -> None:
    """Write all of `data` where the file stands."""
    while data:
        data = data[os.write(fd, data) :]


def copy_some(source: int, target: int, most_bytes: int) -> int:
    """Copy between two files, from where each stands, and return how many bytes; 0 at the end of `source`.

    It happens inside the filesystem, which shares the blocks where it can.
    """
    try:
        return os.copy_file_range(source, target, most_bytes)
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
        return os.sendfile(target, source, None, most_bytes)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def entry_of(item: os.DirEntry[str]) -> Entry | None:
    """Return what a name in a listing is, or None if it was removed since the listing began."""
    try:
        return _entry(item.name, item.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def entry_at(path: Path) -> Entry | None:
    """Return what a path is, links not followed, or None if there is nothing."""
    try:
        return _entry(path.name, path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entry(name: str, status: os.stat_result) -> Entry:
    if stat.S_ISREG(status.st_mode):
        kind = EntryKind.FILE
    elif stat.S_ISDIR(status.st_mode):
        kind = EntryKind.FOLDER
    elif stat.S_ISLNK(status.st_mode):
        kind = EntryKind.SYMLINK
    else:
        kind = EntryKind.OTHER
    return Entry(
        name,
        kind,
        status.st_size,
        status.st_mtime_ns // 1_000_000_000,
        stat.S_IMODE(status.st_mode),
        Owner(status.st_uid, status.st_gid),
    )


def set_attributes(file: int | str, attributes: FileAttributes) -> None:
    """Set what an open file, or a name that is followed, carries; the owner if that is allowed."""
    if attributes.owner is not None:
        # First, for it takes setuid bits away.
        with suppress(OSError):
            os.chown(file, attributes.owner.user_id, attributes.owner.group_id)
    os.chmod(file, attributes.mode)  # noqa: PTH101 - of an open file, too
    os.utime(file, (attributes.stored_seconds, attributes.stored_seconds))
