"""A primary on RocksDB 10.7, by pyrex-rocksdb, with the command line and the batches of the demo's primary.

That library sets few options, and deletes no ranges in a batch: there are no storms here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyrex  # type: ignore[import-untyped]  # a compiled module without stubs

from replicator.demo.layout import DEFAULT_FAMILY, POSITION_KEY, batch_writes
from replicator.demo.lifeline import die_with_parent
from replicator.demo.primary import parse_arguments, write_until_stopped
from replicator.demo.settings import PrimarySettings, Progress

if TYPE_CHECKING:
    from pathlib import Path


class RocksDb10:
    """One open database, and the writing of the next batch."""

    def __init__(self, path: Path, settings: PrimarySettings, progress: Progress) -> None:
        self._layout = settings.layout
        self._progress = progress
        options = pyrex.PyOptions()
        options.create_if_missing = True
        options.write_buffer_size = settings.write_buffer_bytes
        options.cf_write_buffer_size = settings.write_buffer_bytes
        options.compression = pyrex.CompressionType.kNoCompression
        options.cf_compression = pyrex.CompressionType.kNoCompression
        self._database = pyrex.PyRocksDBExtended(str(path), options)
        there = self._database.list_column_families()
        self._handles = {DEFAULT_FAMILY: self._database.default_cf}
        for name in self._layout.fixed_families[1:]:
            self._handles[name] = (
                self._database.get_column_family(name)
                if name in there
                else self._database.create_column_family(name, options)
            )
        self.position = int(self._database.get(POSITION_KEY) or 0)
        progress.publish(self.position)

    def write_next(self) -> None:
        batch = pyrex.PyWriteBatch()
        for write in batch_writes(self.position + 1, self._layout):
            for key, value in write.entries:
                batch.put_cf(self._handles[write.family], key, value)
        self._database.write(batch)
        self.position += 1
        self._progress.publish(self.position)

    def close(self) -> None:
        self._handles.clear()
        self._database.close()


if __name__ == "__main__":
    asked = parse_arguments(sys.argv[1:])
    die_with_parent()
    shared = Progress(asked.progress, writable=True)
    write_until_stopped(lambda: RocksDb10(asked.path, asked.settings, shared), asked.settings)
