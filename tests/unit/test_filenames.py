"""Names of RocksDB's files: what is part of a copy, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.rocksdb.filenames import (
    FileKind,
    FileName,
    blob_name,
    manifest_name,
    parse_file_name,
    table_name,
    wal_name,
)


@given(st.integers(1, 2**62))
def test_made_names_are_parsed(number: int) -> None:
    for make, kind in (
        (table_name, FileKind.TABLE),
        (blob_name, FileKind.BLOB),
        (wal_name, FileKind.WAL),
        (manifest_name, FileKind.MANIFEST),
    ):
        name = make(number)
        assert parse_file_name(name) == FileName(name, kind, number)


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("CURRENT", FileKind.CURRENT, None),
        ("IDENTITY", FileKind.IDENTITY, None),
        ("OPTIONS-000007", FileKind.OPTIONS, 7),
        ("000001.ldb", FileKind.TABLE, 1),
        ("1234567.sst", FileKind.TABLE, 1234567),
    ],
)
def test_other_names_of_a_copy_are_parsed(name: str, kind: FileKind, number: int | None) -> None:
    assert parse_file_name(name) == FileName(name, kind, number)


@pytest.mark.parametrize(
    "name",
    [
        "", "LOCK", "LOG", "LOG.old.1", "000007.dbtmp", "OPTIONS-000007.dbtmp", "MANIFEST-", "MANIFEST-1x",
        "000001.sst.part", ".000001.sst", "archive", "x.sst", "000001.sst\n", "current", "CURRENT\n", "-1.sst",
        "1.log/", "٣.sst", "rocksdict-config.json",
    ],
)  # fmt: skip
def test_other_names_are_left_out(name: str) -> None:
    assert parse_file_name(name) is None
