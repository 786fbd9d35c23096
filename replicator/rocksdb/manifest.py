"""The state that a MANIFEST describes: which files are live, and which WALs recovery needs.

The state is kept between readings: only what was appended is decoded. Edits of an atomic group take effect
together, so that what the state says is at any time one point in the database's history: the *cut*.

Source: RocksDB `db/version_edit_handler.cc` (what an edit does), `db/version_builder.cc` (tables and blob
files), `db/wal_edit.cc` (`WalSet`), `db/version_set.cc` (`AtomicGroupReadBuffer`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from replicator.errors import CorruptFileError
from replicator.rocksdb.live_files import BlobFile, LiveFiles
from replicator.rocksdb.record_log import RecordLogReader, RecordType
from replicator.rocksdb.version_edit import decode_version_edit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.rocksdb.record_log import Tail
    from replicator.rocksdb.version_edit import TableFile, VersionEdit


@dataclass(frozen=True, slots=True)
class ColumnFamily:
    """A column family that is not dropped; WALs numbered below `log_number` hold nothing for it."""

    id: int
    name: str
    comparator: str
    log_number: int


@dataclass(frozen=True, slots=True)
class ManifestVersion:
    """What the database consisted of at one point of its history. See `ManifestState` for the fields."""

    cut_offset: int
    database_id: str | None
    last_sequence: int
    next_file_number: int
    column_families: Mapping[int, ColumnFamily]
    tables: Mapping[int, TableFile]
    blobs: Mapping[int, BlobFile]
    wals: Mapping[int, int | None]
    lowest_needed_wal: int
    wals_deletable_below: int
    discontinuities: int

    @property
    def column_family_names(self) -> tuple[str, ...]:
        """The names of the column families, in the order of their ids."""
        return tuple(self.column_families[family_id].name for family_id in sorted(self.column_families))


@dataclass(slots=True)
class _Family:
    """A column family in the making."""

    name: str
    comparator: str = ""
    log_number: int = 0
    files: LiveFiles = field(default_factory=LiveFiles)


class ManifestState:
    """Reads one MANIFEST, which may still be growing; bytes are fed as to a `RecordLogReader`.

    When `feed` raises, the state is of no use any more.
    """

    def __init__(self) -> None:
        self._log = RecordLogReader()
        self._cut_offset = 0
        self._group: list[VersionEdit] = []
        self._group_remaining = 0
        self._families = {0: _Family("default")}
        self._wals: dict[int, int | None] = {}
        self._wals_deleted_before = 0
        self._database_id: str | None = None
        self._last_sequence = 0
        self._next_file_number = 0
        self._min_log_number_to_keep = 0
        self._highest_log_number = 0
        self._discontinuities = 0
        self._flushed_sequence = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes that begin at `next_offset` and apply the edits that they complete.

        Raises `UnsupportedFormatError` for what this version does not know, and `CorruptFileError` for an
        edit that is malformed or does not fit those before it.
        """
        for record in self._log.feed(data):
            if record.type != RecordType.FULL:
                continue
            self._take(decode_version_edit(record.payload))
            if not self._group:
                self._cut_offset = record.end_offset

    def tail(self) -> Tail:
        """What follows the last whole record; see `RecordLogReader.tail`."""
        return self._log.tail()

    @property
    def next_offset(self) -> int:
        """Where the next bytes to be fed begin."""
        return self._log.next_offset

    @property
    def cut_offset(self) -> int:
        """The offset after the last edit that was applied: a copy of the MANIFEST ends here."""
        return self._cut_offset

    @property
    def database_id(self) -> str | None:
        """The database's id; None where the MANIFEST does not record it (IDENTITY does)."""
        return self._database_id

    @property
    def last_sequence(self) -> int:
        """The highest sequence number that the tables hold."""
        return self._last_sequence

    @property
    def next_file_number(self) -> int:
        """Files made after the last edit that says so have this number or a higher one."""
        return self._next_file_number

    @property
    def column_families(self) -> Mapping[int, ColumnFamily]:
        """The column families that are not dropped, by id."""
        return {
            family_id: ColumnFamily(family_id, family.name, family.comparator, family.log_number)
            for family_id, family in self._families.items()
        }

    @property
    def tables(self) -> Mapping[int, TableFile]:
        """The live SSTs, by number."""
        tables: dict[int, TableFile] = {}
        for family in self._families.values():
            tables.update(family.files.tables)
        return tables

    @property
    def blobs(self) -> Mapping[int, BlobFile]:
        """The live blob files, by number."""
        return {blob.number: blob for family in self._families.values() for blob in family.files.blobs()}

    @property
    def wals(self) -> Mapping[int, int | None]:
        """The WALs that `track_and_verify_wals_in_manifest` demands: number to synced size, None if unsynced."""
        return dict(self._wals)

    @property
    def lowest_needed_wal(self) -> int:
        """Recovery reads no WAL with a lower number; not all from here on need exist.

        The column families' own log numbers are only asked where the database as a whole has none (RocksDB up
        to 6.29.3 without two-phase commit): those of families that hold nothing new stay behind for ever.
        Source: RocksDB `DBImpl::MinLogNumberToKeep`, `DBImpl::SetupLogFilesRecovery`.
        """
        lowest = min(family.log_number for family in self._families.values())
        return self._min_log_number_to_keep or lowest

    @property
    def wals_deletable_below(self) -> int:
        """The primary may have deleted WALs below this number, and surely none from it on that held data.

        Where the database as a whole has no such number, a WAL with data may go as soon as some column family
        was flushed past it.
        """
        return self._min_log_number_to_keep or self._highest_log_number

    @property
    def flushed_sequence(self) -> int:
        """The highest sequence number of a write in a table."""
        return self._flushed_sequence

    @property
    def discontinuities(self) -> int:
        """How often something happened that the WALs do not carry.

        That is: a column family was created or dropped, or files were ingested or imported.
        """
        return self._discontinuities

    def snapshot(self) -> ManifestVersion:
        """Return all of the state as a value that later edits do not change."""
        return ManifestVersion(
            cut_offset=self._cut_offset,
            database_id=self._database_id,
            last_sequence=self._last_sequence,
            next_file_number=self._next_file_number,
            column_families=MappingProxyType(dict(self.column_families)),
            tables=MappingProxyType(dict(self.tables)),
            blobs=MappingProxyType(dict(self.blobs)),
            wals=MappingProxyType(dict(self.wals)),
            lowest_needed_wal=self.lowest_needed_wal,
            wals_deletable_below=self.wals_deletable_below,
            discontinuities=self._discontinuities,
        )

    def _take(self, edit: VersionEdit) -> None:
        """Apply the edit, or keep it until the atomic group that it belongs to is complete."""
        if edit.group_remaining is None:
            if self._group:
                raise CorruptFileError("the MANIFEST holds an atomic group that is broken off")
            self._apply(edit)
            return
        if self._group and edit.group_remaining != self._group_remaining - 1:
            raise CorruptFileError("the MANIFEST holds an atomic group that does not add up")
        self._group.append(edit)
        self._group_remaining = edit.group_remaining
        if not self._group_remaining:
            for member in self._group:
                self._apply(member)
            self._group = []

    def _apply(self, edit: VersionEdit) -> None:
        family = self._change(edit)
        if family is not None:
            if edit.log_number is not None:
                family.log_number = max(family.log_number, edit.log_number)
                self._highest_log_number = max(self._highest_log_number, edit.log_number)
            if edit.comparator is not None:
                family.comparator = edit.comparator
        if edit.database_id is not None:
            self._database_id = edit.database_id
        if edit.next_file_number is not None:
            self._next_file_number = edit.next_file_number
        if edit.last_sequence is not None:
            self._last_sequence = edit.last_sequence
        if edit.min_log_number_to_keep is not None:
            self._min_log_number_to_keep = max(self._min_log_number_to_keep, edit.min_log_number_to_keep)

    def _change(self, edit: VersionEdit) -> _Family | None:
        """Do the one thing that the edit is about; return the column family that it speaks of, if any."""
        family = self._families.get(edit.column_family)
        if edit.added_name is not None:
            if family is not None:
                raise CorruptFileError(f"the MANIFEST adds column family {edit.added_name!r} twice")
            self._discontinuities += 1
            family = self._families[edit.column_family] = _Family(edit.added_name)
            return family
        if edit.wal_additions:
            self._add_wals(edit)
            return None
        if edit.wals_deleted_before is not None:
            self._delete_wals(edit.wals_deleted_before)
            return None
        if family is None:
            raise CorruptFileError(f"the MANIFEST speaks of the unknown column family {edit.column_family}")
        if edit.is_drop:
            self._discontinuities += 1
            del self._families[edit.column_family]
            return None
        self._discontinuities += family.files.is_ingestion(edit)
        for table in edit.new_tables:
            self._flushed_sequence = max(self._flushed_sequence, table.largest_sequence)
        family.files.apply(edit)
        return family

    def _add_wals(self, edit: VersionEdit) -> None:
        for number, synced_bytes in edit.wal_additions:
            if number < self._wals_deleted_before:
                continue
            known = self._wals.get(number)
            # Sizes may come out of order: two threads synced the same file.
            self._wals[number] = synced_bytes if known is None else max(known, synced_bytes or 0)

    def _delete_wals(self, before: int) -> None:
        if before > self._wals_deleted_before:
            self._wals_deleted_before = before
            self._wals = {number: size for number, size in self._wals.items() if number >= before}


def table_identity(table: TableFile, database_id: str) -> str:
    """Return the text that tells `table` from any other of the same name and size; "" if nothing does.

    It stays the same when the table moves to another level. The sequence numbers are part of it because an
    ingestion may write one into a file that has its unique id already.
    """
    sequences = f"{table.smallest_sequence}-{table.largest_sequence}"
    if table.unique_id:
        return f"{database_id}:{table.unique_id.hex()}:{sequences}"
    if not table.created_seconds:
        return ""
    digest = blake2b(digest_size=12)
    for part in (table.smallest_key, table.largest_key, table.checksum):
        digest.update(len(part).to_bytes(8, "little") + part)
    return f"{database_id}:{table.created_seconds}:{digest.hexdigest()}:{sequences}"


def blob_identity(blob: BlobFile, database_id: str, modified_nanoseconds: int | None = None) -> str:
    """Return the text that tells `blob` from any other of the same name and size; "" if nothing does.

    The MANIFEST knows nothing unique of a blob file, and after a restore the same numbers and sizes may come
    back with other contents. A blob file is written once, so that the time of its last change on the primary
    (nanoseconds since the epoch) tells them apart; a checksum does so too, where the application has one made.
    """
    if blob.checksum:
        return f"{database_id}:{blob.total_count}:{blob.checksum.hex()}"
    if modified_nanoseconds is None:
        return ""
    return f"{database_id}:{blob.total_count}:{modified_nanoseconds}"
