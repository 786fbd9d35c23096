"""Following one MANIFEST on disk: reads what was appended since the last look and decodes only that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from replicator.checkpoint.database_folder import feed_file, open_for_reading
from replicator.errors import CorruptFileError, SourceError, UnsupportedFormatError
from replicator.rocksdb.manifest import ManifestState
from replicator.rocksdb.record_log import Tail

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_CHUNK_BYTES = 1 << 20


class ManifestFile:
    """An open MANIFEST with the state that its records add up to.

    The descriptor stays open between looks, which keeps the inode from being used again: `is_same_file` can
    therefore tell a MANIFEST that grew from one of a database that was deleted and created anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = ManifestState()
        self.descriptor = open_for_reading(path)

    def is_same_file(self) -> bool:
        """Whether the name still leads to the file that is open here."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self.descriptor))

    def read_on(self) -> None:
        """Decode up to the file's present size.

        A record that is still being written is left for the next time. Raises `CorruptFileError` and
        `UnsupportedFormatError`, naming the file.
        """
        size = os.fstat(self.descriptor).st_size
        try:
            feed_file(self.state, self.descriptor, size)
        except CorruptFileError as error:
            raise CorruptFileError(f"{self.path}: {error}", hint=error.hint) from error
        except UnsupportedFormatError as error:
            raise UnsupportedFormatError(f"{self.path}: {error}", hint=error.hint) from error
        if self.state.tail() is Tail.DAMAGED:
            raise CorruptFileError(
                f"{self.path}: the record at byte {self.state.next_offset} is damaged, whole ones follow it",
                hint="the primary cannot open its own database any more: check its disk before it is stopped",
            )

    def begins_with(self, copy: Path) -> bool:
        """Whether the file begins with all that is in another one.

        Raises `SourceError` if that cannot be read.
        """
        try:
            with copy.open("rb", buffering=0) as other:
                position = 0
                while data := other.read(_CHUNK_BYTES):
                    if os.pread(self.descriptor, len(data), position) != data:
                        return False
                    position += len(data)
        except OSError as error:
            raise SourceError(f"cannot read {copy}: {error.strerror}") from error
        return True

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
