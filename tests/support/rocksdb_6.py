"""A primary on RocksDB 6.29, by rdbpython, with the command line and the batches of the demo's primary.

It does range deletions, but neither ingestion nor churn, and takes no options by name.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rdbpy  # type: ignore[import-untyped]  # has stubs, but no marker for them

from replicator.demo.layout import DEFAULT_FAMILY, POSITION_KEY, batch_writes
from replicator.demo.lifeline import die_with_parent
from replicator.demo.primary import parse_arguments, write_until_stopped
from replicator.demo.settings import PrimarySettings, Progress

if TYPE_CHECKING:
    from pathlib import Path


class RocksDb6:
    """One open database, and the writing of the next batch."""

    def __init__(self, path: Path, settings: PrimarySettings, progress: Progress) -> None:
        self._layout = settings.layout
        self._progress = progress
        options = rdbpy.Options(
            create_if_missing=True,
            write_buffer_size=settings.write_buffer_bytes,
            compression=rdbpy.CompressionType.no_compression,
        )
        there = {DEFAULT_FAMILY.encode()}
        if (path / "CURRENT").exists():
            there.update(rdbpy.list_column_families(str(path), options))
        families = {
            name: rdbpy.ColumnFamilyOptions(
                write_buffer_size=settings.write_buffer_bytes,
                compression=rdbpy.CompressionType.no_compression,
            )
            for name in (family.encode() for family in self._layout.fixed_families)
        }
        self._database = rdbpy.DB(
            str(path), options, {name: family for name, family in families.items() if name in there}
        )
        for name in families.keys() - there:
            self._database.create_column_family(name, families[name])
        self._handles = {
            name: self._database.get_column_family(name.encode()) for name in settings.layout.fixed_families
        }
        self.position = int(self._database.get(POSITION_KEY) or 0)
        progress.publish(self.position)

    def write_next(self) -> None:
        batch = rdbpy.WriteBatch()
        for write in batch_writes(self.position + 1, self._layout):
            handle = self._handles[write.family]
            if write.delete_range:
                batch.delete_range(*write.delete_range, handle)
            for key, value in write.entries:
                batch.put(key, value, handle)
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
    write_until_stopped(lambda: RocksDb6(asked.path, asked.settings, shared), asked.settings)
