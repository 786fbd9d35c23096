"""The names that RocksDB gives its files.

Source: RocksDB `file/filename.cc` (`ParseFileName`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

CURRENT_NAME = "CURRENT"
IDENTITY_NAME = "IDENTITY"
#: Folder beside the write-ahead logs to which obsolete ones go, if the application wants them kept for a while.
ARCHIVE_NAME = "archive"


class FileKind(StrEnum):
    """What a file in a database directory is; the values are what a catalog says."""

    TABLE = "sst"
    BLOB = "blob"
    WAL = "wal"
    MANIFEST = "manifest"
    CURRENT = "current"
    OPTIONS = "options"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class FileName:
    """A parsed name; `number` is None for CURRENT and IDENTITY."""

    name: str
    kind: FileKind
    number: int | None


_NUMBERED = (
    (re.compile(r"(\d+)\.(?:sst|ldb)", re.ASCII), FileKind.TABLE),
    (re.compile(r"(\d+)\.blob", re.ASCII), FileKind.BLOB),
    (re.compile(r"(\d+)\.log", re.ASCII), FileKind.WAL),
    (re.compile(r"MANIFEST-(\d+)", re.ASCII), FileKind.MANIFEST),
    (re.compile(r"OPTIONS-(\d+)", re.ASCII), FileKind.OPTIONS),
)


@lru_cache(maxsize=1 << 17)
def parse_file_name(name: str) -> FileName | None:
    """Say what `name` is; None for names that are not part of a copy (LOCK, LOG, *.dbtmp, anything else)."""
    if name == CURRENT_NAME:
        return FileName(name, FileKind.CURRENT, None)
    if name == IDENTITY_NAME:
        return FileName(name, FileKind.IDENTITY, None)
    for pattern, kind in _NUMBERED:
        if match := pattern.fullmatch(name):
            return FileName(name, kind, int(match[1]))
    return None


def table_name(number: int) -> str:
    """Return the name of an SST."""
    return f"{number:06d}.sst"


def blob_name(number: int) -> str:
    """Return the name of a blob file."""
    return f"{number:06d}.blob"


def wal_name(number: int) -> str:
    """Return the name of a write-ahead log."""
    return f"{number:06d}.log"


def manifest_name(number: int) -> str:
    """Return the name of a MANIFEST."""
    return f"MANIFEST-{number:06d}"
