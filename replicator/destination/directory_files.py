"""The contents of files at a directory destination: sent, fetched, copied, and written in place."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.destination.directory_place import FILE_MODE
from replicator.destination.local_files import SourceFile, TargetFile
from replicator.destination.system_calls import copy_some, set_attributes, sync_folder, write_all
from replicator.errors import InterruptedTransferError, ProtocolError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import PurePosixPath

    from replicator.destination.directory_place import DirectoryPlace
    from replicator.destination.interface import Append, Download, Link, TransferObserver, Upload
    from replicator.destination.rate_limit import RateLimiter

_CHUNK_BYTES = 1 << 20
_SERVER_COPY_BYTES = 64 << 20


class DirectoryFiles:
    """Files of one base folder. All methods raise `DestinationError`."""

    def __init__(self, place: DirectoryPlace, limiter: RateLimiter | None) -> None:
        self._place = place
        self._limiter = limiter

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Copy local files to the destination."""
        for item in uploads:
            if observer.stop_requested():
                raise InterruptedTransferError(f"{self._place.label}: stopped before {item.target}")
            try:
                self._upload(item, observer)
            except SourceError as error:
                if not item.optional:
                    raise
                observer.file_skipped(item.target, error)

    def _upload(self, item: Upload, observer: TransferObserver) -> None:
        attributes = item.attributes
        with SourceFile(item.source, item.size_bytes, unsettled=item.optional) as source:
            with (
                self._place.translated("write", item.target),
                self._place.replacing(
                    item.target, part=item.part, private=attributes is not None, sync=item.sync
                ) as fd,
            ):
                if item.prefix is not None:
                    self._copy_prefix(item.prefix.path, item.prefix.size_bytes, fd)
                    source.skip(item.prefix.size_bytes)
                self._copy_source(source, fd, observer)
                if item.optional:
                    source.check_unchanged()
                if attributes is not None:
                    set_attributes(fd, attributes)
            observer.file_done(item.target, source.sha256())

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies."""
        for item in links:
            with self._place.translated("copy", item.source):
                source = os.open(self._place.path(item.source), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    with self._place.replacing(item.target) as fd:
                        self._copy_bytes(source, fd, os.fstat(source).st_size)
                finally:
                    os.close(source)

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        for item in appends:
            flags = 0 if item.offset else os.O_CREAT
            with (
                self._place.translated("append to", item.target),
                self._in_place(item.target, offset=item.offset, end=item.end, flags=flags) as fd,
            ):
                if flags:
                    sync_folder(self._place.path(item.target.parent))
                rest = memoryview(item.data)
                while rest:
                    step = self._pace(len(rest))
                    write_all(fd, rest[:step])
                    rest = rest[step:]

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        with self._place.translated(f"copy a part of {source} to", target):
            original = os.open(self._place.path(source), os.O_RDONLY | os.O_CLOEXEC)
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
                raise InterruptedTransferError(f"{self._place.label}: stopped before {item.source}")
            with self._place.translated("read", item.source):
                source = os.open(self._place.path(item.source), os.O_RDONLY | os.O_CLOEXEC)
            try:
                with TargetFile(item.target, item.offset) as target:
                    while target.position_bytes < item.size_bytes:
                        step = self._pace(item.size_bytes - target.position_bytes)
                        with self._place.translated("read", item.source):
                            data = os.pread(source, step, target.position_bytes)
                        if not data:
                            raise ProtocolError(
                                f"{self._place.label}: {item.source} has {target.position_bytes} bytes,"
                                f" expected {item.size_bytes}"
                            )
                        target.write(data)
                        observer.bytes_moved(len(data))
                    observer.file_done(item.target or item.source, target.finish())
            finally:
                os.close(source)

    def _copy_source(self, source: SourceFile, fd: int, observer: TransferObserver) -> None:
        buffer = memoryview(bytearray(min(source.remaining_bytes, _CHUNK_BYTES)))
        while source.remaining_bytes:
            step = self._pace(min(source.remaining_bytes, len(buffer)))
            source.read_into(buffer[:step])
            write_all(fd, buffer[:step])
            observer.bytes_moved(step)

    def _copy_prefix(self, prefix: PurePosixPath, size_bytes: int, fd: int) -> None:
        source = os.open(self._place.path(prefix), os.O_RDONLY | os.O_CLOEXEC)
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
        fd = os.open(self._place.path(target), flags, FILE_MODE)
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
            raise ProtocolError(f"{self._place.label}: {path} has {found_bytes} bytes, expected {size_bytes}")

    def _copy_bytes(self, source: int, target: int, count_bytes: int) -> None:
        while count_bytes > 0:
            self._place.check_open()
            copied = copy_some(source, target, min(count_bytes, _SERVER_COPY_BYTES))
            if copied == 0:
                raise ProtocolError(f"{self._place.label}: a file got shorter while it was copied")
            count_bytes -= copied

    def _pace(self, wanted_bytes: int) -> int:
        self._place.check_open()
        step = min(wanted_bytes, _CHUNK_BYTES)
        if self._limiter is not None:
            step = min(step, self._limiter.chunk_bytes)
            self._limiter.acquire(step)
        return step
