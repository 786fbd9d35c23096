"""Reading a checkpoint folder, whoever made it: which files it consists of, and whether all of them are there."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.staging import IMMUTABLE_KINDS, FileKey
from replicator.errors import CheckpointError, SourceChangedError
from replicator.rocksdb.filenames import (
    CURRENT_NAME,
    IDENTITY_NAME,
    FileKind,
    FileName,
    parse_file_name,
)
from replicator.rocksdb.inventory import DatabaseFile, Inventory
from replicator.rocksdb.live_files import BlobFile
from replicator.rocksdb.manifest import blob_identity, table_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from replicator.rocksdb.manifest import ManifestState, ManifestVersion
    from replicator.rocksdb.version_edit import TableFile

_CHUNK_BYTES = 1 << 20

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
    return CheckpointInspector(folder).inspect(_names_in(folder))


class CheckpointInspector:
    """Inspects a folder that holds one checkpoint after the other; files that stay are looked at once.

    It has to be told which come and go. When `inspect` raises, begin with a new one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = DatabaseFolder(folder)
        self._found: _Found = {}
        self._manifest = _ManifestReader()
        self._described: dict[FileKey, tuple[TableFile | BlobFile, DatabaseFile]] = {}
        self._database_id = ""

    def drop(self, names: Iterable[str]) -> None:
        """Take note of files that are not in the folder any more, or are not the same."""
        for text in names:
            if name := parse_file_name(text):
                self._found.pop((name.kind, name.number), None)
                if name.number is not None:
                    self._described.pop((name.kind, name.number), None)

    def inspect(self, new_names: Iterable[str]) -> Checkpoint:
        """Do what `inspect_checkpoint` does; `new_names` are those that came into the folder since then."""
        manifest_name = self._database.manifest_name()
        version = self._manifest.read(self._folder / manifest_name)
        self._take(new_names)
        found = self._found
        options = self._database.newest_options(
            FileName(name, kind, number) for (kind, number), (name, _) in found.items() if kind is FileKind.OPTIONS
        )
        database_id = self._database.identity().decode("ascii", "replace").strip() or version.database_id or ""
        if database_id != self._database_id:
            self._database_id = database_id
            self._described = {}
        files = self._immutable_files(version)
        wanted_names = {manifest_name, CURRENT_NAME, IDENTITY_NAME, options.name if options else ""}
        for (kind, number), (name, status) in found.items():
            if kind in IMMUTABLE_KINDS:
                continue
            is_needed_wal = kind is FileKind.WAL and number is not None and number >= version.lowest_needed_wal
            if is_needed_wal or name in wanted_names:
                files.append(DatabaseFile(name, kind, status.st_size))
        try:
            _, current = found[FileKind.CURRENT, None]
        except KeyError as error:
            raise SourceChangedError(f"{self._folder} changed while it was being read") from error
        return Checkpoint(
            folder=self._folder,
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

    def _take(self, names: Iterable[str]) -> None:
        for text in names:
            if name := parse_file_name(text):
                try:
                    found = (self._folder / text).lstat()
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(found.st_mode):
                    raise CheckpointError(
                        f"{self._folder} is not a complete checkpoint: {text} is not a regular file"
                    )
                self._found[name.kind, name.number] = (text, found)

    def _immutable_files(self, version: ManifestVersion) -> list[DatabaseFile]:
        """Return the live SST and blob files, all of which are there with the right size."""
        known = self._described
        described: dict[FileKey, tuple[TableFile | BlobFile, DatabaseFile]] = {}
        missing = []
        kinds = ((FileKind.TABLE, version.tables), (FileKind.BLOB, version.blobs))
        for kind, live in kinds:
            for number, file in live.items():
                key = (kind, number)
                there = known.get(key)
                if there is None or (there[0] is not file and there[0] != file):
                    value = self._describe(kind, file)
                    if value is None:
                        missing.append(f"{number:06d}.{kind}")
                        continue
                    there = (file, value)
                described[key] = there
        if missing:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise CheckpointError(
                f"{self._folder} is not a complete checkpoint:"
                f" {min(missing)} is missing or has the wrong size{more}",
                hint="if it is still being made, it is looked at again when it is done",
            )
        self._described = described
        return [value for _, value in described.values()]

    def _describe(self, kind: FileKind, file: TableFile | BlobFile) -> DatabaseFile | None:
        name, found = self._found.get((kind, file.number), ("", None))
        if found is None or found.st_size != file.size_bytes:
            return None
        if isinstance(file, BlobFile):
            identity = blob_identity(file, self._database_id, modified_nanoseconds=found.st_mtime_ns)
        else:
            identity = table_identity(file, self._database_id)
        return DatabaseFile(name, kind, file.size_bytes, identity)


class _ManifestReader:
    """Reads one copy of a MANIFEST after the other: of each only what goes beyond the one before."""

    def __init__(self) -> None:
        self._name = ""
        self._state: ManifestState | None = None
        self._digest = b""

    def read(self, path: Path) -> ManifestVersion:
        """Return the state that the file describes. Raises `SourceError`, `CorruptFileError`."""
        state, self._state = self._state, None
        with ManifestFile(path) as manifest:
            if state is not None and path.name == self._name and self._begins_alike(manifest, state.next_offset):
                manifest.state = state
            manifest.read_on()
            self._state = manifest.state
            self._digest = _digest_of(manifest, manifest.state.next_offset)
        self._name = path.name
        return self._state.snapshot()

    def _begins_alike(self, manifest: ManifestFile, size_bytes: int) -> bool:
        return _digest_of(manifest, size_bytes) == self._digest


def _digest_of(manifest: ManifestFile, size_bytes: int) -> bytes:
    """Return the SHA-256 of the first bytes; of fewer, if there are not so many."""
    digest = hashlib.sha256()
    position = 0
    while data := os.pread(manifest.descriptor, min(_CHUNK_BYTES, size_bytes - position), position):
        digest.update(data)
        position += len(data)
    return digest.digest()


def _names_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name
