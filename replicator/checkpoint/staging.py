"""Holding on to the database's SST and blob files: as hard links, or as copies where links are impossible.

The files are immutable once written, so a link made at any time is as good as one made at the cut. Which of
them belong to the checkpoint is decided elsewhere (`capture`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replicator.checkpoint.database_folder import not_regular, open_for_reading
from replicator.errors import CheckpointError, SourceChangedError, SourceError
from replicator.rocksdb.filenames import FileKind, parse_file_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from replicator.checkpoint.database_folder import ListedFile

#: A file's kind and number: what the MANIFEST calls it by.
FileKey = tuple[FileKind, int]

_IMMUTABLE = frozenset({FileKind.TABLE, FileKind.BLOB})
#: Linux `ioctl_ficlone(2)`: share the blocks of another file.
_FICLONE = 0x40049409


class CrossDeviceError(SourceError):
    """The checkpoint root is on another filesystem (or mount) than the database: no hard links between them."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` did: the names that are new in staging since `open`, and the bytes copied for them."""

    new_names: tuple[str, ...]
    copied_bytes: int


class TableStaging(Protocol):
    """The SST and blob files in `checkpoint_staging`."""

    def open(self) -> None:
        """Create the folder, or take stock of the SST and blob files in it; anything else there is removed."""

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """Make sure that the listed SST and blob files cannot go away; those that are gone already are skipped."""

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """Return which of the live files were never listed while they were there."""

    def settle(self, live_sizes: Mapping[FileKey, int]) -> Settled:
        """Leave exactly the live files, which are pinned, in staging; each must have its size in bytes.

        Raises `SourceChangedError` if one has another size; what is pinned stays pinned.
        """

    def trim(self, live: Collection[FileKey]) -> None:
        """Leave nothing but live files in staging, so that no space is held for others."""

    def close(self) -> None:
        """Give up what is held outside the folder."""


@dataclass(frozen=True, slots=True)
class _Staged:
    name: str
    inode: int


class LinkStaging:
    """Hard links: the primary's files, held at no cost for as long as the link stays."""

    def __init__(self, database: Path, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._staged: dict[FileKey, _Staged] = {}
        self._new: dict[FileKey, _Staged] = {}

    def open(self) -> None:
        """See `TableStaging.open`. Equal inode numbers mean equal files: the link keeps the inode in use."""
        self._staged = {}
        self._new = {}
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with os.scandir(self._folder) as entries:
            for entry in entries:
                key = _key(entry.name)
                if key is None:
                    Path(entry).unlink()
                else:
                    self._staged[key] = _Staged(entry.name, entry.inode())

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """See `TableStaging.pin`. Raises `CrossDeviceError` where no link can be made to the folder."""
        source = os.open(self._database, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        target = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for file in listed:
                kind, number = file.name.kind, file.name.number
                if kind not in _IMMUTABLE or number is None:
                    continue
                known = self._staged.get((kind, number))
                if known and known.inode == file.inode:
                    continue
                if known:
                    os.unlink(known.name, dir_fd=target)
                    del self._staged[kind, number]
                name = file.name.name
                try:
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self._staged[kind, number] = self._new[kind, number] = _Staged(name, file.inode)
        except OSError as error:
            raise link_trouble(error, self._database, self._folder) from error
        finally:
            os.close(source)
            os.close(target)

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """See `TableStaging.not_pinned`."""
        return live - self._staged.keys()

    def settle(self, live_sizes: Mapping[FileKey, int]) -> Settled:
        """See `TableStaging.settle`. Sizes are looked at once for each link: a live file never changes."""
        for key, staged in self._new.items():
            if key in live_sizes:
                _check_size(self._folder / staged.name, live_sizes[key])
        self.trim(live_sizes.keys())
        return Settled(tuple(staged.name for staged in self._new.values()), copied_bytes=0)

    def trim(self, live: Collection[FileKey]) -> None:
        """See `TableStaging.trim`."""
        for key in [key for key in self._staged if key not in live]:
            (self._folder / self._staged.pop(key).name).unlink()
            self._new.pop(key, None)

    def close(self) -> None:
        """See `TableStaging.close`."""


@dataclass(frozen=True, slots=True)
class _Opened:
    name: str
    descriptor: int


class CopyStaging:
    """Copies, for a checkpoint root on another filesystem.

    An open descriptor pins a file until it has been copied; a copy carries the original's modification time, by
    which it is known again, also in the previous checkpoint.
    """

    def __init__(self, database: Path, folder: Path, previous: Path) -> None:
        self._database = database
        self._folder = folder
        self._previous = previous
        self._opened: dict[FileKey, _Opened] = {}
        self._new: set[FileKey] = set()
        self._copied_bytes = 0
        raise_descriptor_limit()

    def open(self) -> None:
        """See `TableStaging.open`."""
        self._new = set()
        self._copied_bytes = 0
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _key(entry.name) is None:
                    Path(entry).unlink()

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """See `TableStaging.pin`. Raises `SourceError` when the limit on open files is reached."""
        for file in listed:
            kind, number = file.name.kind, file.name.number
            if kind not in _IMMUTABLE or number is None:
                continue
            known = self._opened.get((kind, number))
            if known and os.fstat(known.descriptor).st_ino == file.inode:
                continue
            try:
                descriptor = open_for_reading(self._database / file.name.name)
            except SourceChangedError:
                continue
            if known:
                os.close(known.descriptor)
            self._opened[kind, number] = _Opened(file.name.name, descriptor)

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """See `TableStaging.not_pinned`."""
        return live - self._opened.keys()

    def settle(self, live_sizes: Mapping[FileKey, int]) -> Settled:
        """See `TableStaging.settle`. Copies what neither staging nor the previous checkpoint has."""
        for key, size_bytes in live_sizes.items():
            opened = self._opened[key]
            original = os.fstat(opened.descriptor)
            if original.st_size != size_bytes:
                raise _wrong_size(opened.name, original.st_size, size_bytes)
            target = self._folder / opened.name
            if _is_copy(target, original):
                continue
            target.unlink(missing_ok=True)
            self._new.add(key)
            if _is_copy(self._previous / opened.name, original):
                os.link(self._previous / opened.name, target)
            else:
                copy_bytes(opened.descriptor, target, size_bytes)
                os.utime(target, ns=(original.st_atime_ns, original.st_mtime_ns))
                self._copied_bytes += size_bytes
        self.trim(live_sizes.keys())
        self._new &= live_sizes.keys()
        return Settled(tuple(sorted(self._opened[key].name for key in self._new)), self._copied_bytes)

    def trim(self, live: Collection[FileKey]) -> None:
        """See `TableStaging.trim`."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _key(entry.name) not in live:
                    Path(entry).unlink()

    def close(self) -> None:
        """See `TableStaging.close`."""
        for opened in self._opened.values():
            os.close(opened.descriptor)
        self._opened = {}


def copy_bytes(source: int, target: Path, size_bytes: int) -> None:
    """Write the first `size_bytes` bytes of an open file to the new file `target` and sync it.

    Shares the blocks where the filesystem can, else copies inside the kernel.
    Raises `SourceChangedError` if the file is shorter, `CheckpointError` if the copy cannot be written.
    """
    with _new_file(target) as descriptor:
        if not _share_blocks(source, descriptor, size_bytes):
            position = 0
            while position < size_bytes:
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


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _key(name: str) -> FileKey | None:
    parsed = parse_file_name(name)
    if parsed is None or parsed.number is None or parsed.kind not in _IMMUTABLE:
        return None
    return parsed.kind, parsed.number


def _check_size(path: Path, size_bytes: int) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise not_regular(path)
    if found.st_size != size_bytes:
        raise _wrong_size(path.name, found.st_size, size_bytes)


def _is_copy(path: Path, original: os.stat_result) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (original.st_size, original.st_mtime_ns)


def _share_blocks(source: int, target: int, size_bytes: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    os.ftruncate(target, size_bytes)
    return True


def _copy_range(source: int, target: int, count: int, position: int) -> int:
    try:
        return os.copy_file_range(source, target, count, position, position)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
            raise
    return os.pwrite(target, os.pread(source, min(count, 1 << 20), position), position)


def _wrong_size(name: str, found_bytes: int, expected_bytes: int) -> SourceChangedError:
    return SourceChangedError(f"{name} has {found_bytes} bytes where the MANIFEST says {expected_bytes}")


def link_trouble(error: OSError, database: Path, folder: Path) -> SourceError:
    """Say why a file of `database` could not be linked to `folder`."""
    if error.errno == errno.EXDEV:
        return CrossDeviceError(f"{folder} is on another filesystem or mount than {database}")
    if error.errno == errno.EPERM:
        return SourceError(
            f"not allowed to make hard links to the files of {database} in {folder}",
            hint="run as the owner of the database's files, or with CAP_FOWNER (fs.protected_hardlinks);"
            " the filesystem must know hard links",
        )
    return SourceError(f"cannot make hard links to the files of {database} in {folder}: {error.strerror}")
