"""What all work of a directory destination has in common: paths, errors, atomic replacement, its end."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.paths import below, part_of
from replicator.destination.system_calls import sync_folder
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    PermanentDestinationError,
)
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_MODE = 0o640
# Of a file that gets its own mode in the end: until then it is nobody's but the account's.
_UNFINISHED_MODE = 0o600

_ERRORS: dict[int, type[DestinationError]] = {
    errno.ENOENT: NotFoundError,
    errno.ENOTDIR: NotFoundError,
    errno.EACCES: AccessDeniedError,
    errno.EPERM: AccessDeniedError,
    errno.EROFS: AccessDeniedError,
    errno.ENOSPC: NoSpaceError,
    errno.EDQUOT: NoSpaceError,
    errno.EXDEV: MissingCapabilityError,
    errno.EOPNOTSUPP: MissingCapabilityError,
    # What network filesystems answer while their server is away.
    errno.ESTALE: ConnectionLostError,
    errno.ETIMEDOUT: ConnectionLostError,
    errno.ENOTCONN: ConnectionLostError,
    errno.EHOSTDOWN: ConnectionLostError,
    errno.EHOSTUNREACH: ConnectionLostError,
}


class DirectoryPlace:
    """A base folder of this machine. It must exist; it is never created."""

    def __init__(self, base: Path, label: str) -> None:
        self.base = base
        self.label = label
        self.closed = False
        if not base.is_dir():
            raise self.no_base()

    def path(self, path: PurePosixPath) -> Path:
        """Return a path as this machine knows it. Raises `ProtocolError` for one that is not below the base."""
        return Path(below(PurePosixPath(self.base), path))

    @contextmanager
    def replacing(
        self, target: PurePosixPath, *, part: PurePosixPath | None = None, private: bool = False, sync: bool = True
    ) -> Iterator[int]:
        """Give a new file to write to; it takes `target`'s place, durably with `sync`, when all went well."""
        written = self.path(part or part_of(target))
        written.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(written, flags, _UNFINISHED_MODE if private else FILE_MODE)
        try:
            try:
                yield fd
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            written.replace(self.path(target))
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                written.unlink()
            raise
        if sync:
            sync_folder(self.path(target).parent)

    def sync_parents(self, paths: Iterable[PurePosixPath]) -> None:
        """Bring names to disk."""
        for folder in {path.parent for path in paths}:
            with self.translated("sync", folder):
                sync_folder(self.path(folder))

    def check_open(self) -> None:
        """Give a sign of life. Raises `ConnectionLostError` if the destination was closed."""
        beat()
        if self.closed:
            raise ConnectionLostError(f"{self.label}: closed")

    @contextmanager
    def translated(self, action: str, path: PurePosixPath) -> Iterator[None]:
        """Make errors of system calls those of a destination; `action` completes "cannot ..."."""
        try:
            yield
        except OSError as error:
            raise self.error(action, path, error) from error

    def no_base(self) -> NotFoundError:
        """Return the error for a base folder that is not there."""
        return NotFoundError(
            f"{self.label}: there is no folder {self.base}", hint="mount the disk, or create the folder"
        )

    def error(self, action: str, path: PurePosixPath, error: OSError) -> DestinationError:
        """Return the error for what a system call says."""
        if not self.base.is_dir():
            return self.no_base()
        kind = _ERRORS.get(error.errno or 0, PermanentDestinationError)
        return kind(f"{self.label}: cannot {action} {path}: {error.strerror}")
