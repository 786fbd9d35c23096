"""A real primary in a process of its own: writes the batches of `layout` with a real engine.

    python -m replicator.demo.primary PATH --progress FILE --settings JSON

Prints `ready` once the database is open. SIGTERM closes it cleanly. When its standard input ends (its parent
is gone), it dies at once, as if killed. Started again, it goes on from the database's own position.
"""

from __future__ import annotations

import argparse
import select
import signal
import socket
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from rocksdict import Rdict, SstFileWriter, WriteBatch

from replicator.demo.engine import engine_options
from replicator.demo.layout import (
    CHURN_PREFIX,
    INGESTED_KEY,
    LAYOUT_KEY,
    POSITION_KEY,
    Layout,
    batch_writes,
    churn_family,
    ingested_value,
)
from replicator.demo.lifeline import die_with_parent
from replicator.demo.settings import PrimarySettings, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rocksdict import ColumnFamily


class Primary:
    """One open database, and the writing of the next batch."""

    def __init__(self, path: Path, settings: PrimarySettings, progress: Progress) -> None:
        """Open or create the database. Raises `ValueError` if it was written with another layout."""
        self._path = path
        self._settings = settings
        self._layout = settings.layout
        self._progress = progress
        database_options = {
            "create_if_missing": "true",
            "create_missing_column_families": "true",
            "manual_wal_flush": "true" if settings.flush_wal_every else "false",
            **settings.database_options,
        }
        family_options = {"write_buffer_size": str(settings.write_buffer_bytes), **settings.family_options}
        self._options = engine_options(database_options, family_options, settings.table_options)
        there = Rdict.list_cf(str(path), self._options.database) if (path / "CURRENT").exists() else []
        names = dict.fromkeys([*self._layout.fixed_families, *there])
        self._database = Rdict(str(path), self._options.database, dict.fromkeys(names, self._options.family))
        self._handles: dict[str, ColumnFamily] = {
            name: self._database.get_column_family_handle(name) for name in names
        }
        self.position = int(self._database.get(POSITION_KEY) or 0)
        self._check_layout()
        self._finish_interrupted_batch()
        self._publish()

    def write_next(self) -> None:
        """Write one batch, with all the storms that are due at it."""
        number = self.position + 1
        churn_due = self._layout.newest_churn(number) == number
        if churn_due:
            self._create_family(churn_family(number))
        self._write(number)
        self.position = number
        self._after_batch(number)
        settings = self._settings
        if settings.compact_every and number % settings.compact_every == 0:
            self._compact()
        if not settings.flush_wal_every or number % settings.flush_wal_every == 0:
            self._publish()

    def close(self) -> None:
        """Close the database in order, which also writes out what the engine holds back."""
        self._handles.clear()
        self._database.close()
        self._progress.publish(self.position)

    def _write(self, number: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for write in batch_writes(number, self._layout):
            handle = self._handles[write.family]
            if write.delete_range:
                batch.delete_range(*write.delete_range, handle)
            for key, value in write.entries:
                batch.put(key, value, handle)
        self._database.write(batch)

    def _after_batch(self, number: int) -> None:
        """Do what belongs to batch `number` but cannot be part of it; doing it twice does no harm."""
        if self._layout.newest_churn(number) == number:
            for name in [name for name in self._handles if name.startswith(CHURN_PREFIX)]:
                if name != churn_family(number):
                    self._drop_family(name)
        if self._layout.ingest_every and number % self._layout.ingest_every == 0:
            self._ingest(number)

    def _publish(self) -> None:
        if self._settings.flush_wal_every:
            self._database.flush_wal(sync=False)
        self._progress.publish(self.position)

    def _check_layout(self) -> None:
        stored = self._database.get(LAYOUT_KEY)
        if stored is not None and Layout.from_json(stored) != self._layout:
            raise ValueError(f"the database was written with another layout: {stored.decode()}")

    def _finish_interrupted_batch(self) -> None:
        """Do what a kill between a batch and the next may have prevented."""
        if self.position:
            self._after_batch(self.position)

    def _create_family(self, name: str) -> None:
        if name not in self._handles:
            self._database.create_column_family(name, self._options.family)
            self._handles[name] = self._database.get_column_family_handle(name)

    def _drop_family(self, name: str) -> None:
        del self._handles[name]
        self._database.drop_column_family(name)

    def _ingest(self, number: int) -> None:
        with TemporaryDirectory(prefix="ingest-", dir=self._path.parent) as folder:
            for name in self._layout.fixed_families:
                file = Path(folder, f"{name}.sst")
                writer = SstFileWriter(self._options.family)
                writer.open(str(file))
                writer[INGESTED_KEY] = ingested_value(name, number, self._layout)
                writer.finish()
                self._database.get_column_family(name).ingest_external_file([str(file)])

    def _compact(self) -> None:
        for name in self._layout.fixed_families:
            self._database.get_column_family(name).compact_range(None, None)


class Writer(Protocol):
    """An open database that batches can be written to, whatever its engine."""

    @property
    def position(self) -> int:
        """The number of the last batch written."""

    def write_next(self) -> None:
        """Write the next batch and publish it."""

    def close(self) -> None:
        """Close the database in order."""


class _StopSignal:
    """Whether SIGTERM came. Python's own means of waiting all miss a signal that comes just before the wait."""

    def __init__(self) -> None:
        self._read_end, write_end = socket.socketpair()
        write_end.settimeout(0)
        self._write_end = write_end
        signal.set_wakeup_fd(write_end.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)

    def came(self, *, within_seconds: float | None) -> bool:
        """Wait for it, at most this long; without end for None."""
        return bool(select.select([self._read_end], [], [], within_seconds)[0])


def write_until_stopped(open_writer: Callable[[], Writer], settings: PrimarySettings) -> None:
    """Open the database, say `ready`, and write until SIGTERM comes; after `max_batches` only wait for it."""
    stop = _StopSignal()
    writer = open_writer()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    next_seconds = time.monotonic()
    while not stop.came(within_seconds=0):
        if settings.max_batches and writer.position >= settings.max_batches:
            stop.came(within_seconds=None)
            break
        writer.write_next()
        if settings.batches_per_second:
            next_seconds += 1 / settings.batches_per_second
            if stop.came(within_seconds=max(0.0, next_seconds - time.monotonic())):
                break
    writer.close()


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line that every primary takes: `path`, `progress`, `settings`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--progress", type=Path, required=True, help="file for the position, mapped by readers")
    parser.add_argument("--settings", type=PrimarySettings.from_json, default=PrimarySettings())
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the primary that the command line asks for."""
    options = parse_arguments(arguments)
    die_with_parent()
    progress = Progress(options.progress, writable=True)
    write_until_stopped(lambda: Primary(options.path, options.settings, progress), options.settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
