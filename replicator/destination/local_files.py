"""Local files on either end of a transfer: read exactly, written durably, with errors of their own classes.

Knows nothing of destinations; every adapter reads and writes local files through this module.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from replicator.errors import SourceChangedError, SourceError, TargetError, target_error
from replicator.liveness import beat

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_HASH_CHUNK_BYTES = 1 << 20
_ONLY_FILES = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# What open(2) says of a link that is not followed, of a socket, and of a name below what was a folder.
_NO_LONGER_FILE = {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}


class SourceFile:
    """The first `size_bytes` of a local file, read in order; `sha256` covers what was read.

    Raises `SourceChangedError` if it is shorter or gone, `SourceError` if it cannot be read. `unsettled` is for
    names to which anything may happen meanwhile: only a regular file is opened, no link followed, no pipe waited
    for, and `check_unchanged` tells whether what was read is of one piece.
    """

    def __init__(self, path: Path, size_bytes: int, *, unsettled: bool = False) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._hash = hashlib.sha256()
        self.position_bytes = 0
        flags = os.O_RDONLY | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK if unsettled else flags)
        except FileNotFoundError as error:
            raise SourceChangedError(f"{path} is gone") from error
        except OSError as error:
            if unsettled and error.errno in _NO_LONGER_FILE:
                raise SourceChangedError(f"{path} is no file any more") from error
            raise SourceError(f"cannot open {path}: {error.strerror}") from error
        self._opened = os.fstat(self._fd)
        if unsettled and not stat.S_ISREG(self._opened.st_mode):
            self.close()
            raise SourceChangedError(f"{path} is no file any more")
        if unsettled and self._opened.st_size != size_bytes:
            self.close()
            raise SourceChangedError(f"{path} has {self._opened.st_size} bytes, expected {size_bytes}")

    def check_unchanged(self) -> None:
        """Raise `SourceChangedError` if the name has another file by now, or the file another size or time."""
        try:
            now = os.lstat(self._path)
        except OSError as error:
            raise SourceChangedError(f"{self._path} vanished while it was read") from error
        if _identity(now) != _identity(self._opened):
            raise SourceChangedError(f"{self._path} changed while it was read")

    @property
    def remaining_bytes(self) -> int:
        """How many bytes are still to be read."""
        return self._size_bytes - self.position_bytes

    def read_into(self, view: memoryview) -> None:
        """Fill all of `view` with the next bytes."""
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._fd, [view[filled:]], self.position_bytes + filled)
            except OSError as error:
                raise SourceError(f"cannot read {self._path}: {error.strerror}") from error
            if count == 0:
                raise SourceChangedError(
                    f"{self._path} ends at {self.position_bytes + filled} bytes, expected {self._size_bytes}"
                )
            filled += count
        self._hash.update(view)
        self.position_bytes += filled

    def skip(self, count_bytes: int) -> None:
        """Read the next `count_bytes` for the digest alone."""
        buffer = memoryview(bytearray(min(count_bytes, _HASH_CHUNK_BYTES)))
        while count_bytes > 0:
            step = min(count_bytes, len(buffer))
            self.read_into(buffer[:step])
            beat()
            count_bytes -= step

    def sha256(self) -> str:
        """Return the digest of all that was read, in lower-case hex."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; it may be closed already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class SmallFileReader:
    """Reads files of one folder, each whole. What is not as it was seen is no error, but None.

    `folder` is opened by its path, which may go by way of a descriptor of another process. It is no link.
    """

    def __init__(self, folder: str) -> None:
        try:
            self._fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def read(self, name: str, size_bytes: int, modified_ns: int, inode: int) -> bytes | None:
        """Return the contents; None if they cannot be read, or it is another file than the one that was seen."""
        if self._fd < 0:
            return None
        try:
            opened = os.open(name, _ONLY_FILES, dir_fd=self._fd)
            try:
                data = os.read(opened, size_bytes + 1)
                now = os.fstat(opened)
            finally:
                os.close(opened)
        except OSError:
            return None
        seen = (inode, size_bytes, size_bytes, modified_ns)
        return data if (now.st_ino, now.st_size, len(data), now.st_mtime_ns) == seen else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class TargetFile:
    """A local file written in order from `offset` on; `sha256` covers all of it.

    Without a path only the digest is made. Raises `TargetError` if the file cannot be written, or lacks the
    first `offset` bytes.
    """

    def __init__(self, path: Path | None, offset: int) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self.position_bytes = 0
        self._fd = -1
        if path is None:
            return
        try:
            # A name that somebody made a link to elsewhere must not lead the write there.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            raise target_error("write", path, error) from error
        try:
            self._take_over(path, offset)
        except BaseException:
            self.close()
            raise

    def _take_over(self, path: Path, offset: int) -> None:
        while self.position_bytes < offset:
            step = min(_HASH_CHUNK_BYTES, offset - self.position_bytes)
            try:
                data = os.pread(self._fd, step, self.position_bytes)
            except OSError as error:
                raise target_error("read back", path, error) from error
            if not data:
                raise TargetError(
                    f"{self._path} has {self.position_bytes} bytes, too few to go on from byte {offset}"
                )
            self._hash.update(data)
            self.position_bytes += len(data)

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._hash.update(data)
        if self._path is None:
            self.position_bytes += len(data)
            return
        view = memoryview(data)
        while view:
            try:
                count = os.pwrite(self._fd, view, self.position_bytes)
            except OSError as error:
                raise target_error("write", self._path, error) from error
            self.position_bytes += count
            view = view[count:]

    def finish(self) -> str:
        """Cut off what follows, sync, close; return the digest in lower-case hex."""
        if self._path is not None:
            try:
                os.ftruncate(self._fd, self.position_bytes)
                os.fsync(self._fd)
            except OSError as error:
                raise target_error("complete", self._path, error) from error
            finally:
                self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; it may be closed already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
