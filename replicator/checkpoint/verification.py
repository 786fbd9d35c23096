"""Checking a copy of a database: cheap checks of its files' structure, and a real engine that opens it.

The records of MANIFEST and logs are checked where they are read (`manifest_file`, `wal_files`). The engine gets
hard links of the copy, so that what it writes on opening (`rocksdict-config.json`) stays out of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replicator.checkpoint.engine import open_with_engine
from replicator.checkpoint.room import NeedRoom, any_room
from replicator.errors import CheckpointError, CorruptFileError
from replicator.rocksdb.filenames import FileKind, parse_file_name
from replicator.rocksdb.table_footer import (
    BLOB_FOOTER_BYTES,
    MAGIC_BYTES,
    check_blob_footer,
    check_table_magic,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Of the folders beside a copy in which the engine opens it.
SCRATCH_PREFIX = ".verify-"

_FOOTER_BYTES = max(MAGIC_BYTES, BLOB_FOOTER_BYTES)
_FOOTER_CHECKS: Mapping[FileKind, Callable[[bytes], None]] = {
    FileKind.TABLE: check_table_magic,
    FileKind.BLOB: check_blob_footer,
}


class CopyCheck(Protocol):
    """A check of a complete copy, of which `new_names` are the files that were not in an earlier one."""

    def __call__(self, folder: Path, new_names: Iterable[str], need_room: NeedRoom, /) -> None:
        """Raises `CorruptFileError` or `CheckpointError` if the copy is not fit to be kept.

        `need_room` is asked before something is written, and breaks off what takes long.
        """


def check_nothing(_folder: Path, _new_names: Iterable[str], _need_room: NeedRoom = any_room) -> None:
    """Trust the primary."""


def check_structure(folder: Path, new_names: Iterable[str], _need_room: NeedRoom = any_room) -> None:
    """Check that new SST and blob files end as RocksDB ends them: a `CopyCheck`.

    Raises `CorruptFileError` that names the file.
    """
    for name in new_names:
        parsed = parse_file_name(name)
        check = _FOOTER_CHECKS.get(parsed.kind) if parsed else None
        if check is None:
            continue
        path = folder / name
        try:
            check(_last_bytes(path))
        except (OSError, CorruptFileError) as error:
            raise CorruptFileError(
                f"{path}: {error}", hint="the database itself is damaged: check the primary's disk"
            ) from error


def check_with_engine(folder: Path, new_names: Iterable[str], need_room: NeedRoom = any_room) -> None:
    """Check the structure, then have RocksDB open the copy with all its column families: a `CopyCheck`.

    Raises `CheckpointError` with what RocksDB says if it does not open.
    """
    check_structure(folder, new_names)
    need_room(sum(path.stat().st_size for path in folder.iterdir() if not _is_linked(path)))

    def broken_off() -> bool:
        need_room(0)
        return False

    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder.parent) as scratch:
        copy = Path(scratch, "db")
        shutil.copytree(folder, copy, copy_function=_link_or_copy)
        complaint = open_with_engine(copy, stop_requested=broken_off)
    if complaint:
        raise CheckpointError(
            f"RocksDB cannot open {folder}: {complaint}",
            hint='a newer primary, or its own comparator, is beyond this engine: set verify = "structure"',
        )


def _last_bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(descriptor).st_size
        return os.pread(descriptor, _FOOTER_BYTES, max(0, size_bytes - _FOOTER_BYTES))
    finally:
        os.close(descriptor)


def _link_or_copy(source: str, target: str) -> None:
    if _is_linked(Path(source)):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _is_linked(path: Path) -> bool:
    parsed = parse_file_name(path.name)
    return parsed is not None and parsed.kind in {FileKind.TABLE, FileKind.BLOB}
