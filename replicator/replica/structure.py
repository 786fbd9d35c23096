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
    from collections.abc import Collection, Iterator
    from io import FileIO
    from pathlib import Path

    from replicator.replica.catalog import Catalog, CatalogFile
    from replicator.rocksdb.feeding import LogReader
    from replicator.rocksdb.manifest import ManifestVersion


def check_manifest(file: CatalogFile, local: Path, catalog: Catalog) -> list[Finding]:
    """Read every record of a MANIFEST, which ends with a whole one, and compare it with the catalog.

    `local` is a copy of it.
    """
    state = ManifestState()
    with local.open("rb", buffering=0) as content:
        problem = _read_up_to(file.size_bytes, state, content, {Tail.CLEAN})
    return [Finding(file.name, problem)] if problem else list(_disagreements(state.snapshot(), catalog))


def check_wal(file: CatalogFile, local: Path, shipped_bytes: Collection[int]) -> list[Finding]:
    """Read every record of a write-ahead log; `local` is a copy of it.

    At each of the lengths `shipped_bytes` a record must end. At the end of a log that was not shipped an
    unfinished one is no finding, since RocksDB leaves one when the primary dies.
    """
    reader = WalReader(_number(file))
    with local.open("rb", buffering=0) as content:
        for length in sorted({*shipped_bytes, file.size_bytes}):
            problem = _read_up_to(length, reader, content, {Tail.CLEAN, Tail.TORN})
            if not problem and length in shipped_bytes and reader.end_offset != length:
                problem = f"was shipped up to byte {length}, where no record ends"
            if problem:
                return [Finding(file.name, problem)]
    return []


def _read_up_to(length: int, reader: LogReader, content: FileIO, sound_tails: Collection[Tail]) -> str:
    """Read on to a length in bytes; say what is wrong up to there, or nothing."""

    def read(offset: int, count: int) -> bytes:
        content.seek(offset)
        return content.read(count)

    try:
        feed_log(reader, read, length)
    except (CorruptFileError, UnsupportedFormatError) as error:
        return f"is not sound: {error}"
    return "" if reader.tail() in sound_tails else f"is damaged after byte {reader.next_offset}"


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
