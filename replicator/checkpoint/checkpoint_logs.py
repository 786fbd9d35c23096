"""The write-ahead logs of a checkpoint: whether their records are whole, and which of them hold a write."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from replicator.checkpoint.database_folder import feed_file, open_for_reading
from replicator.checkpoint.wal_files import WalFile
from replicator.rocksdb.filenames import FileKind, parse_file_name, wal_name
from replicator.rocksdb.wal import WalReader

if TYPE_CHECKING:
    from replicator.checkpoint.inspection import Checkpoint

#: Enough for the first write of almost any log.
_FIRST_LOOK_BYTES = 1 << 16


def check_logs(checkpoint: Checkpoint) -> None:
    """Read every record of the write-ahead logs; an unfinished one at the end is what a crash leaves.

    Raises `CorruptFileError`, `UnsupportedFormatError` or `SourceError` that names the log.
    """
    for number in _log_sizes(checkpoint):
        with closing(WalFile(checkpoint.folder, number, wal_name(number))) as log:
            log.whole_records_bytes()


def newest_written_log(checkpoint: Checkpoint) -> int:
    """Return the number of the newest log that holds a write: those before it are complete. 0 without logs.

    Raises `SourceError`, `CorruptFileError`.
    """
    sizes = _log_sizes(checkpoint)
    for number in sorted(sizes, reverse=True):
        descriptor = open_for_reading(checkpoint.folder / wal_name(number))
        try:
            reader = WalReader(number)
            for size_bytes in (_FIRST_LOOK_BYTES, sizes[number]):
                feed_file(reader, descriptor, min(size_bytes, sizes[number]))
                if reader.first_sequence is not None:
                    return number
        finally:
            os.close(descriptor)
    return min(sizes, default=0)


def _log_sizes(checkpoint: Checkpoint) -> dict[int, int]:
    """Return the size in bytes of each write-ahead log, by its number."""
    return {
        parsed.number or 0: file.size_bytes
        for file in checkpoint.inventory.files
        if file.kind is FileKind.WAL and (parsed := parse_file_name(file.name))
    }
