"""A real engine opens a database: the RocksDB that rocksdict carries, in a process of its own.

A crash in it harms nobody. What it can open at all is said in `engine_reach`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.engine_reach import ENGINE_VERSION, REVERSE_BYTEWISE
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.errors import InterruptedTransferError
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Callable

#: Opening replays the logs; an engine that takes longer than this is stuck.
_TIMEOUT_SECONDS: Final = 600
_LOOK_EVERY_SECONDS: Final = 0.2

#: As strict as RocksDB can be; an OPTIONS file, because the engine's Python interface has no setters for these.
#: Tracking also keeps RocksDB 9.8 from crashing on a read-only copy of a database that tracks its logs.
_OPTIONS: Final = f"""\
[Version]
  rocksdb_version={ENGINE_VERSION}
  options_file_version=1.1
[DBOptions]
  track_and_verify_wals_in_manifest=true
  wal_recovery_mode=kAbsoluteConsistency
[CFOptions "default"]
[TableOptions/BlockBasedTable "default"]
[CFOptions "reverse"]
  comparator={REVERSE_BYTEWISE}
[TableOptions/BlockBasedTable "reverse"]
"""
#: What goes with it. In raw mode keys and values are bytes: otherwise they would be unpickled.
_PYTHON_LAYER_CONFIG: Final = '{"raw_mode": true, "prefix_extractors": {}}'


def open_with_engine(database: Path, *, stop_requested: Callable[[], bool] = lambda: False) -> str:
    """Have RocksDB open a database, read-only and with all its column families.

    Return what it says if it does not open, empty if it does. The engine leaves a file of its own in the folder.
    Raises `InterruptedTransferError` soon after `stop_requested` says so.
    """
    give_up_at = time.monotonic() + _TIMEOUT_SECONDS
    with subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "replicator.checkpoint.engine", str(database)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                beat()
                try:
                    _, errors = process.communicate(timeout=_LOOK_EVERY_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if stop_requested():
                        raise InterruptedTransferError(f"stopped while RocksDB opened {database}") from None
                    if time.monotonic() > give_up_at:
                        return f"it is not done after {_TIMEOUT_SECONDS} s"
        finally:
            process.kill()
    if process.returncode == 0:
        return ""
    return (errors.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1]


def _open(path: Path) -> None:
    from rocksdict import AccessType, Options, Rdict  # noqa: PLC0415 - the service itself never loads the engine

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        Path(folder, "OPTIONS-000001").write_text(_OPTIONS)
        Path(folder, "rocksdict-config.json").write_text(_PYTHON_LAYER_CONFIG)
        options, families = Options.load_latest(folder)
    names = Rdict.list_cf(str(path), options)
    reverse = _reverse_families(path)
    chosen = {name: families["reverse" if name in reverse else "default"] for name in names}
    Rdict(str(path), options, chosen, access_type=AccessType.read_only()).close()


def _reverse_families(path: Path) -> set[str]:
    with ManifestFile(path / DatabaseFolder(path).manifest_name()) as manifest:
        manifest.read_on()
        families = manifest.state.column_families.values()
        return {family.name for family in families if family.comparator == REVERSE_BYTEWISE}


if __name__ == "__main__":
    _open(Path(sys.argv[1]))
