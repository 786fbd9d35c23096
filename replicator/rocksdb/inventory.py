"""The files that make up one consistent copy of a database: names, sizes, identities. Values only.

An *identity* tells two files of equal name and size apart. It is a short text made of what the MANIFEST says
of the file and the database's id; equal identities mean equal contents, an empty one means "cannot tell".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.rocksdb.filenames import FileKind


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """One file of a copy; `identity` is empty for kinds that are told apart by their contents alone."""

    name: str
    kind: FileKind
    size_bytes: int
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All files of one copy, with what its MANIFEST says of the whole."""

    database_id: str
    manifest_name: str
    files: tuple[DatabaseFile, ...]
    column_families: tuple[str, ...]
    rocksdb_version: str = ""

    @property
    def size_bytes(self) -> int:
        """Sum of all sizes."""
        return sum(file.size_bytes for file in self.files)
