"""Do the MANIFEST and the write-ahead logs of a generation make sense, and does the rest agree with them.

Reads local copies; comparing them with the destination's digests is left to `verify`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.errors import CorruptFileError, UnsupportedFormatError
from replicator.replica.catalog import Finding
from replicator.replica.layout import parse_database_file
from replicator.rocksdb.feeding import feed_log
from replicator.rocksdb.filenames import FileKind, blob_name, table_name, wal_name
from replicator.rocksdb.manifest import ManifestState
from replicator.rocksdb.record_log import Tail
from replicator.rocksdb.wal import WalReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicator.replica.catalog import Catalog, CatalogFile
    from replicator.rocksdb.feeding import LogReader
    from replicator.rocksdb.manifest import ManifestVersion


def check_log(file: CatalogFile, local: Path, catalog: Catalog) -> list[Finding]:
    """Read every record of a MANIFEST or a write-ahead log; `local` is a copy of it.

    An unfinished record at the end of a write-ahead log is no finding, since RocksDB leaves one when the primary
    dies. A MANIFEST is copied up to a whole record.
    """
    manifest = ManifestState()
    reader: LogReader = manifest if file.kind is FileKind.MANIFEST else WalReader(_number(file))
    try:
        _feed(reader, local)
    except (CorruptFileError, UnsupportedFormatError) as error:
        return [Finding(file.name, f"is not sound: {error}")]
    sound_tails = {Tail.CLEAN} if file.kind is FileKind.MANIFEST else {Tail.CLEAN, Tail.TORN}
    if reader.tail() not in sound_tails:
        return [Finding(file.name, f"is damaged after byte {reader.next_offset}")]
    if file.kind is FileKind.MANIFEST:
        return list(_disagreements(manifest.snapshot(), catalog))
    return []


def _feed(reader: LogReader, local: Path) -> None:
    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    with local.open("rb", buffering=0) as file:
        feed_log(reader, read, local.stat().st_size)


def _disagreements(version: ManifestVersion, catalog: Catalog) -> Iterator[Finding]:
    """Say which files the MANIFEST needs that the catalog does not have in that size."""
    sizes = {(file.kind, _number(file)): file.size_bytes for file in catalog.files}
    names = {(file.kind, _number(file)): file.name for file in catalog.files}
    for kind, live, name_of in (
        (FileKind.TABLE, version.tables, table_name),
        (FileKind.BLOB, version.blobs, blob_name),
    ):
        for number, file in live.items():
            if sizes.get((kind, number)) != file.size_bytes:
                yield Finding(
                    names.get((kind, number), name_of(number)),
                    f"is not in the catalog with the {file.size_bytes} bytes that the MANIFEST asks for",
                )
    for number, synced_bytes in version.wals.items():
        # RocksDB too only asks for those that it knows to have been synced. Source: `WalSet::CheckWals`.
        if synced_bytes is not None and sizes.get((FileKind.WAL, number), -1) < synced_bytes:
            yield Finding(
                wal_name(number), f"is not in the catalog with the {synced_bytes} bytes that the MANIFEST asks for"
            )


def _number(file: CatalogFile) -> int:
    parsed = parse_database_file(file.name)
    return parsed.number or 0 if parsed else 0
