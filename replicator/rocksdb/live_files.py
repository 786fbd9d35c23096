"""The live files of one column family: what the version edits that speak of it add up to.

Which edits take effect when, and what they say of the database as a whole, is `manifest`'s business.

Source: RocksDB `db/version_builder.cc` (`Apply`, `SaveBlobFilesTo`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.rocksdb.version_edit import BlobAddition, TableFile, VersionEdit

#: Source: RocksDB `db/blob/blob_log_format.h` (`BlobLogHeader::kSize` and `BlobLogFooter::kSize`).
_BLOB_FRAME_BYTES = 30 + 32


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A blob file that may still be referred to; `size_bytes` is that of the file."""

    number: int
    size_bytes: int
    total_count: int
    checksum: bytes


@dataclass(slots=True)
class _Blob:
    """A blob file that was added, with what it lost since."""

    addition: BlobAddition
    garbage_count: int = 0
    linked_tables: set[int] = field(default_factory=set)


class LiveFiles:
    """The tables and blob files of one column family."""

    def __init__(self) -> None:
        self.tables: dict[int, TableFile] = {}
        self._blobs: dict[int, _Blob] = {}

    def apply(self, edit: VersionEdit) -> None:
        """Do what the edit says of tables and blob files, in RocksDB's order.

        Blob files come first, for tables link to them, and deletions before additions: a table that moves to
        another level is deleted and added in one edit.

        Raises `CorruptFileError` when the edit does not fit those before it.
        """
        for addition in edit.blob_additions:
            if addition.number in self._blobs:
                raise CorruptFileError(f"the MANIFEST adds blob file {addition.number} twice")
            self._blobs[addition.number] = _Blob(addition)
        for garbage in edit.blob_garbage:
            blob = self._blobs.get(garbage.number)
            if blob is None:
                raise CorruptFileError(f"the MANIFEST counts garbage in the unknown blob file {garbage.number}")
            blob.garbage_count += garbage.garbage_count
        for level, number in edit.deleted_tables:
            self._delete_table(level, number)
        for table in edit.new_tables:
            self._add_table(table)

    def is_ingestion(self, edit: VersionEdit) -> bool:
        """Whether the edit, not yet applied, brings tables that are neither a flush's nor a compaction's.

        A flush says from which log on its column family is still unwritten. A compaction deletes its inputs,
        and its outputs inherit their epoch; an ingestion that replaces a range deletes tables too, but what it
        brings has a new epoch.

        Source: RocksDB `db/flush_job.cc`, `Compaction::MinInputFileEpochNumber`,
        `db/external_sst_file_ingestion_job.cc`, `db/import_column_family_job.cc`.
        """
        if not edit.new_tables or edit.log_number is not None:
            return False
        replaced = [self.tables[number].epoch for _, number in edit.deleted_tables if number in self.tables]
        return not replaced or max(table.epoch for table in edit.new_tables) > max(replaced)

    def blobs(self) -> Iterator[BlobFile]:
        """Yield the blob files that may still be in use.

        A table names only the oldest blob file that it refers to. So all that are younger than the oldest one
        so named may be in use, unless everything in them is garbage.
        """
        oldest = min((number for number, blob in self._blobs.items() if blob.linked_tables), default=None)
        if oldest is None:
            return
        for number, blob in self._blobs.items():
            addition = blob.addition
            is_garbage = not blob.linked_tables and blob.garbage_count >= addition.total_count
            if number >= oldest and not is_garbage:
                size_bytes = addition.total_bytes + _BLOB_FRAME_BYTES
                yield BlobFile(number, size_bytes, addition.total_count, addition.checksum)

    def _delete_table(self, level: int, number: int) -> None:
        table = self.tables.pop(number, None)
        if table is None or table.level != level:
            raise CorruptFileError(f"the MANIFEST deletes table {number} from level {level}, where it is not")
        if (blob := self._blobs.get(table.oldest_blob_number)) is not None:
            blob.linked_tables.discard(number)

    def _add_table(self, table: TableFile) -> None:
        if table.number in self.tables:
            raise CorruptFileError(f"the MANIFEST adds table {table.number} twice")
        self.tables[table.number] = table
        if (blob := self._blobs.get(table.oldest_blob_number)) is not None:
            blob.linked_tables.add(table.number)
