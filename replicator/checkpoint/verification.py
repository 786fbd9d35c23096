"""Checking a copy of a database: cheap checks of its files' structure, and a real engine that opens it.

The records of MANIFEST and logs are checked where they are read (`manifest_file`, `wal_files`). The engine is the
RocksDB that rocksdict carries. It runs in a process of its own, on hard links of the copy: a crash in it harms
nobody, and what it writes on opening (`rocksdict-config.json`) stays out of the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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

#: Opening replays the logs; an engine that takes longer than this is stuck.
_ENGINE_TIMEOUT_SECONDS = 600

#: Of the folders beside a copy in which the engine opens it.
SCRATCH_PREFIX = ".verify-"

#: As strict as RocksDB can be; an OPTIONS file, because the engine's Python interface has no setters for these.
#: Tracking also keeps RocksDB 9.8 from crashing on a read-only copy of a database that tracks its logs.
_ENGINE_OPTIONS = """\
[Version]
  rocksdb_version=9.8.4
  options_file_version=1.1
[DBOptions]
  track_and_verify_wals_in_manifest=true
  wal_recovery_mode=kAbsoluteConsistency
[CFOptions "default"]
[TableOptions/BlockBasedTable "default"]
"""
#: What goes with it. In raw mode keys and values are bytes: otherwise they would be unpickled.
_PYTHON_LAYER_CONFIG = '{"raw_mode": true, "prefix_extractors": {}}'

_FOOTER_BYTES = max(MAGIC_BYTES, BLOB_FOOTER_BYTES)
_FOOTER_CHECKS: Mapping[FileKind, Callable[[bytes], None]] = {
    FileKind.TABLE: check_table_magic,
    FileKind.BLOB: check_blob_footer,
}


class CopyCheck(Protocol):
    """A check of a complete copy, of which `new_names` are the files that were not in an earlier one."""

    def __call__(self, folder: Path, new_names: Iterable[str], /) -> None:
        """Raises `CorruptFileError` or `CheckpointError` if the copy is not fit to be kept."""


def check_nothing(_folder: Path, _new_names: Iterable[str]) -> None:
    """Trust the primary."""


def check_structure(folder: Path, new_names: Iterable[str]) -> None:
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


def check_with_engine(folder: Path, new_names: Iterable[str]) -> None:
    """Check the structure, then have RocksDB open the copy with all its column families: a `CopyCheck`.

    Raises `CheckpointError` with what RocksDB says if it does not open.
    """
    check_structure(folder, new_names)
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder.parent) as scratch:
        copy = Path(scratch, "db")
        shutil.copytree(folder, copy, copy_function=_link_or_copy)
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "replicator.checkpoint.verification", str(copy)],
                capture_output=True,
                text=True,
                timeout=_ENGINE_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(f"RocksDB did not open {folder} within {_ENGINE_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        message = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise CheckpointError(
            f"RocksDB cannot open {folder}: {message}",
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
    parsed = parse_file_name(Path(source).name)
    if parsed and parsed.kind in {FileKind.TABLE, FileKind.BLOB}:
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _open_with_engine(path: Path) -> None:
    from rocksdict import AccessType, Options, Rdict  # noqa: PLC0415 - the service itself never loads the engine

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        Path(folder, "OPTIONS-000001").write_text(_ENGINE_OPTIONS)
        Path(folder, "rocksdict-config.json").write_text(_PYTHON_LAYER_CONFIG)
        options, families = Options.load_latest(folder)
    names = Rdict.list_cf(str(path), options)
    access = AccessType.read_only()
    Rdict(str(path), options, dict.fromkeys(names, families["default"]), access_type=access).close()


if __name__ == "__main__":
    _open_with_engine(Path(sys.argv[1]))
