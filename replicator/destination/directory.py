"""A destination that is a folder of this machine: a second disk, or a network share that is mounted.

Knows nothing of checkpoints or catalogs. The kernel bounds its waits, or, on a share mounted `hard`, does not.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.interface import Capabilities
from replicator.destination.local_files import SourceFile, TargetFile
from replicator.destination.paths import below, part_of
from replicator.destination.system_calls import copy_some, entry_at, entry_of, sync_folder, write_all
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    InterruptedTransferError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import Append, Download, Entry, Link, TransferObserver, Upload
    from replicator.destination.rate_limit import RateLimiter

_CHUNK_BYTES = 1 << 20
_SERVER_COPY_BYTES = 64 << 20
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750

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


class DirectoryDestination:
    """Implements `Destination` with system calls. `base` must exist; it is never created."""

    def __init__(self, base: Path, *, label: str, limiter: RateLimiter | None = None) -> None:
        self._base = base
        self._label = label
        self._limiter = limiter
        self._closed = False
        if not base.is_dir():
            raise self._no_base()

    @property
    def label(self) -> str:
        """How messages name it."""
        return self._label

    @property
    def session(self) -> int:
        """There is no connection that could be lost."""
        return 1

    def capabilities(self) -> Capabilities:
        """Everything that a local filesystem has."""
        return Capabilities(hard_link=True, server_copy=True, fsync=True, free_space=True)

    # --- reading -------------------------------------------------------------------------------------

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`."""
        with self._translated("list", folder), os.scandir(self._path(folder)) as found:
            return [entry for item in found if (entry := entry_of(item)) is not None]

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        found = []
        for path in paths:
            with self._translated("look at", path):
                found.append(entry_at(self._path(path)))
        return found

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        with self._translated("read", path), self._path(path).open("rb") as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise ProtocolError(f"{self._label}: {path} is larger than {limit_bytes} bytes")
        return data

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        try:
            return str(self._path(path).readlink())
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise NotFoundError(f"{self._label}: {path} is no symbolic link") from error
            raise self._error("read the link", path, error) from error

    def free_bytes(self) -> int | None:
        """Space that this user may still use."""
        with self._translated("ask for the free space of", PurePosixPath()):
            figures = os.statvfs(self._base)
        return figures.f_bavail * figures.f_frsize

    # --- changing ------------------------------------------------------------------------------------

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file durably."""
        with self._translated("write", path), self._replacing(path) as fd:
            write_all(fd, memoryview(data))

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        with self._translated("create the folder", folder):
            if not self._base.is_dir():
                raise self._no_base()
            for parent in reversed([folder, *folder.parents]):
                path = self._path(parent)
                if not path.is_dir():
                    with suppress(FileExistsError):
                        path.mkdir(_FOLDER_MODE)
                    if not path.is_dir():
                        raise PermanentDestinationError(f"{self._label}: {parent} exists and is no folder")
                    sync_folder(path.parent)

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        for item in links:
            with self._translated("link", item.source):
                source, target = self._path(item.source), self._path(item.target)
                try:
                    os.link(source, target, follow_symlinks=False)
                except FileExistsError:
                    part = self._path(part_of(item.target))
                    part.unlink(missing_ok=True)
                    os.link(source, part, follow_symlinks=False)
                    part.replace(target)
                    part.unlink(missing_ok=True)  # rename(2) does nothing when both are names of one file
        self._sync_parents(item.target for item in links)

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies."""
        for item in links:
            with self._translated("copy", item.source):
                source = os.open(self._path(item.source), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    with self._replacing(item.target) as fd:
                        self._copy_bytes(source, fd, os.fstat(source).st_size)
                finally:
                    os.close(source)

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        old, new = self._path(source), self._path(target)
        with self._translated("rename", source):
            if not os.path.lexists(old) and os.path.lexists(new):
                return
            # rename(2) replaces an empty folder, which a caller takes for "nobody else was here".
            if old.is_dir() and not old.is_symlink() and os.path.lexists(new):
                raise PermanentDestinationError(f"{self._label}: cannot rename {source}: {target} exists")
            old.replace(new)
        self._sync_parents((source, target))

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`."""
        part = self._path(part_of(link))
        with self._translated("point the link", link):
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(self._path(link))
        self._sync_parents((link,))

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        found = self._path(path)
        with self._translated("remove", path), suppress(FileNotFoundError):
            if stat.S_ISDIR(found.lstat().st_mode):
                shutil.rmtree(found)
            else:
                found.unlink()

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove files and links."""
        for path in paths:
            with self._translated("remove", path), suppress(FileNotFoundError, NotADirectoryError):
                self._path(path).unlink()

    # --- moving files --------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Copy local files to the destination."""
        for item in uploads:
            if observer.stop_requested():
                raise InterruptedTransferError(f"{self._label}: stopped before {item.target}")
            with SourceFile(item.source, item.size_bytes) as source:
                with self._translated("write", item.target), self._replacing(item.target) as fd:
                    if item.prefix is not None:
                        self._copy_prefix(item.prefix.path, item.prefix.size_bytes, fd)
                        source.skip(item.prefix.size_bytes)
                    self._copy_source(source, fd, observer)
                observer.file_done(item.target, source.sha256())

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        for item in appends:
            flags = 0 if item.offset else os.O_CREAT
            with (
                self._translated("append to", item.target),
                self._in_place(item.target, offset=item.offset, end=item.end, flags=flags) as fd,
            ):
                if flags:
                    sync_folder(self._path(item.target.parent))
                rest = memoryview(item.data)
                while rest:
                    step = self._pace(len(rest))
                    write_all(fd, rest[:step])
                    rest = rest[step:]

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        with self._translated(f"copy a part of {source} to", target):
            original = os.open(self._path(source), os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._need_bytes(original, source, end)
                os.lseek(original, offset, os.SEEK_SET)
                with self._in_place(target, offset=offset, end=end) as fd:
                    self._copy_bytes(original, fd, end - offset)
            finally:
                os.close(original)

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Copy files from the destination."""
        for item in downloads:
            if observer.stop_requested():
                raise InterruptedTransferError(f"{self._label}: stopped before {item.source}")
            with self._translated("read", item.source):
                source = os.open(self._path(item.source), os.O_RDONLY | os.O_CLOEXEC)
            try:
                with TargetFile(item.target, item.offset) as target:
                    while target.position_bytes < item.size_bytes:
                        step = self._pace(item.size_bytes - target.position_bytes)
                        with self._translated("read", item.source):
                            data = os.pread(source, step, target.position_bytes)
                        if not data:
                            raise ProtocolError(
                                f"{self._label}: {item.source} has {target.position_bytes} bytes,"
                                f" expected {item.size_bytes}"
                            )
                        target.write(data)
                        observer.bytes_moved(len(data))
                    observer.file_done(item.target or item.source, target.finish())
            finally:
                os.close(source)

    def close(self) -> None:
        """Make calls under way fail."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- parts ---------------------------------------------------------------------------------------

    def _path(self, path: PurePosixPath) -> Path:
        return Path(below(PurePosixPath(self._base), path))

    @contextmanager
    def _replacing(self, target: PurePosixPath) -> Iterator[int]:
        """Give a new file to write to; it takes `target`'s place, durably, when all went well."""
        part = self._path(part_of(target))
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            try:
                yield fd
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(self._path(target))
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                part.unlink()
            raise
        sync_folder(part.parent)

    def _copy_source(self, source: SourceFile, fd: int, observer: TransferObserver) -> None:
        buffer = memoryview(bytearray(min(source.remaining_bytes, _CHUNK_BYTES)))
        while source.remaining_bytes:
            step = self._pace(min(source.remaining_bytes, len(buffer)))
            source.read_into(buffer[:step])
            write_all(fd, buffer[:step])
            observer.bytes_moved(step)

    def _copy_prefix(self, prefix: PurePosixPath, size_bytes: int, fd: int) -> None:
        source = os.open(self._path(prefix), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._need_bytes(source, prefix, size_bytes)
            self._copy_bytes(source, fd, size_bytes)
        finally:
            os.close(source)

    @contextmanager
    def _in_place(self, target: PurePosixPath, *, offset: int, end: int, flags: int = 0) -> Iterator[int]:
        """Give a file to write to from `offset` to `end` where it lies; it is synced when all went well."""
        # A name that somebody made a link to elsewhere must not lead the write there, nor may a pipe hold it up.
        flags |= os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path(target), flags, _FILE_MODE)
        try:
            self._need_bytes(fd, target, offset)
            os.lseek(fd, offset, os.SEEK_SET)
            yield fd
            os.fsync(fd)
            self._need_bytes(fd, target, end)
        finally:
            os.close(fd)

    def _need_bytes(self, fd: int, path: PurePosixPath, size_bytes: int) -> None:
        found_bytes = os.fstat(fd).st_size
        if found_bytes < size_bytes:
            raise ProtocolError(f"{self._label}: {path} has {found_bytes} bytes, expected {size_bytes}")

    def _copy_bytes(self, source: int, target: int, count_bytes: int) -> None:
        while count_bytes > 0:
            self._check_open()
            copied = copy_some(source, target, min(count_bytes, _SERVER_COPY_BYTES))
            if copied == 0:
                raise ProtocolError(f"{self._label}: a file got shorter while it was copied")
            count_bytes -= copied

    def _pace(self, wanted_bytes: int) -> int:
        self._check_open()
        step = min(wanted_bytes, _CHUNK_BYTES)
        if self._limiter is not None:
            step = min(step, self._limiter.chunk_bytes)
            self._limiter.acquire(step)
        return step

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLostError(f"{self._label}: closed")

    def _sync_parents(self, paths: Iterator[PurePosixPath] | tuple[PurePosixPath, ...]) -> None:
        for folder in {path.parent for path in paths}:
            with self._translated("sync", folder):
                sync_folder(self._path(folder))

    @contextmanager
    def _translated(self, action: str, path: PurePosixPath) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(action, path, error) from error

    def _no_base(self) -> NotFoundError:
        return NotFoundError(
            f"{self._label}: there is no folder {self._base}", hint="mount the disk, or create the folder"
        )

    def _error(self, action: str, path: PurePosixPath, error: OSError) -> DestinationError:
        if not self._base.is_dir():
            return self._no_base()
        kind = _ERRORS.get(error.errno or 0, PermanentDestinationError)
        return kind(f"{self._label}: cannot {action} {path}: {error.strerror}")
