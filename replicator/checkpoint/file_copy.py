"""Writing new files durably: copies of open files, and short ones."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from replicator.errors import CheckpointError, SourceChangedError
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Linux `ioctl_ficlone(2)`: share the blocks of another file.
_FICLONE = 0x40049409
#: A sign of life is given after each.
_STEP_BYTES = 1 << 30


def copy_bytes(source: int, target: Path, size_bytes: int) -> None:
    """Write the first `size_bytes` bytes of an open file to the new file `target` and sync it.

    Shares the blocks where the filesystem can, else copies inside the kernel.
    Raises `SourceChangedError` if the file is shorter, `CheckpointError` if the copy cannot be written.
    """
    with _new_file(target) as descriptor:
        if not _share_blocks(source, descriptor, size_bytes):
            position = 0
            while position < size_bytes:
                beat()
                count = _copy_range(source, descriptor, size_bytes - position, position)
                if count == 0:
                    raise SourceChangedError(f"{target.name} became shorter while it was copied")
                position += count


def write_bytes(target: Path, content: bytes) -> None:
    """Write the new file `target` and sync it. Raises `CheckpointError` if it cannot be written."""
    with _new_file(target) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """Create a file that must not be there yet, and sync it at the end.

    Never an existing one: a hard link to it may be part of another checkpoint.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}",
            hint="free some space there" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "",
        ) from error


def _share_blocks(source: int, target: int, size_bytes: int) -> bool:
    if os.fstat(source).st_size < size_bytes:
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    os.ftruncate(target, size_bytes)
    return True


def _copy_range(source: int, target: int, count: int, position: int) -> int:
    try:
        return os.copy_file_range(source, target, min(count, _STEP_BYTES), position, position)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
            raise
    return os.pwrite(target, os.pread(source, min(count, 1 << 20), position), position)
