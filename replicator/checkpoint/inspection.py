"""Reading a checkpoint folder, whoever made it: which files it consists of, and whether all of them are there."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.checkpoint.database_folder import DatabaseFolder, feed_file, open_for_reading
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.wal_files import WalFile
from replicator.errors import CheckpointError, SourceChangedError
from replicator.rocksdb.filenames import CURRENT_NAME, IDENTITY_NAME, FileKind, parse_file_name, wal_name
from replicator.rocksdb.inventory import DatabaseFile, Inventory
from replicator.rocksdb.manifest import blob_identity, table_identity
from replicator.rocksdb.wal import WalReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicator.rocksdb.manifest import ManifestVersion

#: Enough for the first write of almost any log.
_FIRST_LOOK_BYTES = 1 << 16

#: The files of a folder by kind and number, each with its name and what `stat` says.
_Found = dict[tuple[FileKind, int | None], tuple[str, os.stat_result]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint: its folder, its files, and when it was made (seconds since the epoch).

    `discontinuities` is how often, according to its MANIFEST, something happened that logs do not carry;
    `comparators` are the names of those of its column families.
    """

    folder: Path
    inventory: Inventory
    captured_at_seconds: float
    discontinuities: int
    comparators: frozenset[str]


def inspect_checkpoint(folder: Path) -> Checkpoint:
    """Read what the checkpoint in `folder` consists of, and check that it is complete.

    The time of a checkpoint is the modification time of its CURRENT, the last file that is written of it.

    Raises `CheckpointError` if files are missing or have the wrong size (unfinished, or damaged), `SourceError`
    if there is no checkpoint, `SourceChangedError` if it changes meanwhile, `CorruptFileError`.
    """
    database = DatabaseFolder(folder)
    manifest_name = database.manifest_name()
    with ManifestFile(folder / manifest_name) as manifest:
        manifest.read_on()
        version = manifest.state.snapshot()
    found = _find_files(folder)
    options = database.newest_options()
    database_id = database.identity().decode("ascii", "replace").strip() or version.database_id or ""
    files = list(_immutable_files(version, found, database_id))
    _check_complete(folder, version, files)
    wanted_names = {manifest_name, CURRENT_NAME, IDENTITY_NAME, options.name if options else ""}
    for (kind, number), (name, stat) in found.items():
        is_needed_wal = kind is FileKind.WAL and number is not None and number >= version.lowest_needed_wal
        if is_needed_wal or name in wanted_names:
            files.append(DatabaseFile(name, kind, stat.st_size))
    try:
        _, current = found[FileKind.CURRENT, None]
    except KeyError as error:
        raise SourceChangedError(f"{folder} changed while it was being read") from error
    return Checkpoint(
        folder=folder,
        inventory=Inventory(
            database_id=database_id,
            manifest_name=manifest_name,
            files=tuple(files),
            column_families=version.column_family_names,
            rocksdb_version=options.options.rocksdb_version if options else "",
        ),
        captured_at_seconds=current.st_mtime,
        discontinuities=version.discontinuities,
        comparators=frozenset(family.comparator for family in version.column_families.values()),
    )


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


def _find_files(folder: Path) -> _Found:
    found: _Found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if name := parse_file_name(entry.name):
                if not entry.is_file(follow_symlinks=False):
                    raise CheckpointError(
                        f"{folder} is not a complete checkpoint: {name.name} is not a regular file"
                    )
                found[name.kind, name.number] = (name.name, entry.stat(follow_symlinks=False))
    return found


def _immutable_files(version: ManifestVersion, found: _Found, database_id: str) -> Iterator[DatabaseFile]:
    """Yield the live SST and blob files that are there with the right size."""
    for table in version.tables.values():
        name, stat = found.get((FileKind.TABLE, table.number), ("", None))
        if stat and stat.st_size == table.size_bytes:
            yield DatabaseFile(name, FileKind.TABLE, table.size_bytes, table_identity(table, database_id))
    for blob in version.blobs.values():
        name, stat = found.get((FileKind.BLOB, blob.number), ("", None))
        if stat and stat.st_size == blob.size_bytes:
            identity = blob_identity(blob, database_id, modified_nanoseconds=stat.st_mtime_ns)
            yield DatabaseFile(name, FileKind.BLOB, blob.size_bytes, identity)


def _check_complete(folder: Path, version: ManifestVersion, files: list[DatabaseFile]) -> None:
    there = {(file.kind, int(file.name.partition(".")[0])) for file in files}
    live = {(FileKind.TABLE, number) for number in version.tables}
    live |= {(FileKind.BLOB, number) for number in version.blobs}
    if missing := sorted(f"{number:06d}.{kind}" for kind, number in live - there):
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{folder} is not a complete checkpoint: {missing[0]} is missing or has the wrong size{more}",
            hint="if it is still being made, it is looked at again when it is done",
        )
