"""Holding on to the primary's write-ahead logs by open descriptors, and copying a whole number of records of them.

An open descriptor outlives the name: the primary may delete a log, the bytes stay readable. Which logs belong to
a checkpoint, and up to where, is decided elsewhere (`capture`).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from replicator.checkpoint.database_folder import feed_file, open_for_reading
from replicator.checkpoint.file_copy import copy_bytes
from replicator.errors import CorruptFileError, SourceChangedError, SourceError
from replicator.rocksdb.filenames import ARCHIVE_NAME, FileKind
from replicator.rocksdb.record_log import Tail
from replicator.rocksdb.wal import WalReader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from replicator.checkpoint.database_folder import ListedFile


_BLOCK_BYTES = 512  # the unit of st_blocks


class WalFile:
    """One open log, checked up to where its last whole record ends. What was checked is not read again.

    For one thread, except `read` and `close`.
    """

    def __init__(self, folder: Path, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self._path = folder / name
        self._descriptor = open_for_reading(self._path)
        self.inode = os.fstat(self._descriptor).st_ino
        self._reader = WalReader(number)
        # A descriptor that is closed while another thread reads may by then be another file's.
        self._open = threading.Lock()

    @property
    def first_sequence(self) -> int | None:
        """Sequence number of the first write; None while there is none."""
        return self._reader.first_sequence

    @property
    def last_sequence(self) -> int | None:
        """Sequence number of the last write in the records checked so far."""
        return self._reader.last_sequence

    def whole_records_bytes(self) -> int:
        """Check every record that is there at this instant and return where the last whole one ends.

        Raises `CorruptFileError` if whole records follow a garbled one, `SourceChangedError` if that is because
        a newer log is being written over this one.
        """
        self._read_on()
        position = -1
        while self._reader.tail() is Tail.DAMAGED and self._reader.next_offset > position:
            # A log in a recycled file is written over old bytes: if the writer overtook us, they were read with
            # new ones behind them. That cannot be so when we look again.
            position = self._reader.next_offset
            self._read_on()
        if self._reader.tail() is Tail.DAMAGED:
            if self.was_recycled():
                raise SourceChangedError(f"{self.name} was recycled while it was read")
            raise CorruptFileError(
                f"{self._path}: the record at byte {self._reader.next_offset} is damaged, whole ones follow it",
                hint="the primary's own log is damaged: check its disk before it is started again",
            )
        return self._reader.end_offset

    def was_recycled(self) -> bool:
        """Whether the file lives on as a newer log, which overwrites it or will do so.

        Source: RocksDB `FileSystem::ReuseWritableFile`, which renames first and writes then. A log that moves to
        the archive is never written again.
        """
        try:
            return self._path.stat().st_ino != self.inode
        except FileNotFoundError:
            pass
        try:
            if (self._path.parent / ARCHIVE_NAME / self.name).stat().st_ino == self.inode:
                return False
        except FileNotFoundError:
            pass
        return os.fstat(self._descriptor).st_nlink > 0

    def copy(self, target: Path, size_bytes: int) -> None:
        """Write the first `size_bytes` bytes to the new file `target`, durably."""
        copy_bytes(self._descriptor, target, size_bytes)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return so many bytes that were checked before; from any thread.

        Raises `SourceChangedError` if the log was let go of or recycled, so that they cannot be had any more,
        `SourceError` if the disk does not give them.
        """
        with self._open:
            if self._descriptor < 0:
                raise SourceChangedError(f"{self.name} was let go of before it was read")
            try:
                data = os.pread(self._descriptor, size_bytes, offset)
            except OSError as error:
                raise SourceError(f"cannot read {self._path}: {error.strerror}") from error
            # Afterwards: what was read before that is what was checked.
            if self.was_recycled():
                raise SourceChangedError(f"{self.name} was recycled before it was read")
        if len(data) < size_bytes:
            raise SourceChangedError(f"{self.name} became shorter")
        return data

    def deleted_bytes(self) -> int:
        """Return the space that it takes only because it is open here; 0 while it has a name."""
        status = os.fstat(self._descriptor)
        return 0 if status.st_nlink else status.st_blocks * _BLOCK_BYTES

    def _read_on(self) -> None:
        feed_file(self._reader, self._descriptor, os.fstat(self._descriptor).st_size)

    def close(self) -> None:
        """Let go of the log; from any thread."""
        with self._open:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class WalPins:
    """All logs that were seen and may still be needed, by number."""

    def __init__(self) -> None:
        self._files: dict[int, WalFile] = {}

    def pin(self, folder: Path, listed: Iterable[ListedFile]) -> None:
        """Open the logs among `listed` that are not open yet; those that are gone already are skipped."""
        for file in listed:
            number = file.name.number
            if file.name.kind is not FileKind.WAL or number is None:
                continue
            known = self._files.get(number)
            if known and known.inode == file.inode:
                continue
            if known:
                self._files.pop(number).close()
            try:
                self._files[number] = WalFile(folder, number, file.name.name)
            except SourceChangedError:
                continue

    def keep(self, listed: Iterable[ListedFile]) -> None:
        """Let go of the logs that are not among `listed`."""
        inodes = {file.name.number: file.inode for file in listed}
        for number, file in list(self._files.items()):
            if inodes.get(number) != file.inode:
                self._files.pop(number).close()

    def __len__(self) -> int:
        return len(self._files)

    def newest_number(self) -> int:
        """Return the highest number seen, or 0."""
        return max(self._files, default=0)

    def between(self, lowest_number: int, highest_number: int) -> list[WalFile]:
        """Return the logs from `lowest_number` to `highest_number`, oldest first."""
        return [self._files[number] for number in sorted(self._files) if lowest_number <= number <= highest_number]

    def release(self, below_number: int | None = None) -> None:
        """Let go of the logs below a number, or of all."""
        for number in list(self._files):
            if below_number is None or number < below_number:
                self._files.pop(number).close()
