"""Options of the RocksDB engine, given by the names that RocksDB itself uses in an OPTIONS file.

The engine's Python interface has setters for only some of them (none for `manual_wal_flush`,
`wal_compression`, `track_and_verify_wals_in_manifest`), but it loads any OPTIONS file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rocksdict import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

#: `raw_mode`: keys and values are bytes. Without it the engine's Python layer unpickles what it reads.
_PYTHON_LAYER_CONFIG = json.dumps({"raw_mode": True, "prefix_extractors": {}})


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What to open a database with: options of the whole, and those that every column family gets."""

    database: Options
    family: Options


def engine_options(
    database: Mapping[str, str], family: Mapping[str, str], table: Mapping[str, str]
) -> EngineOptions:
    """Make options from the names and values of an OPTIONS file's three kinds of section.

    Raises `Exception` (the engine knows no other) for a name or value that RocksDB does not know.
    """
    sections = {
        "Version": {"rocksdb_version": "9.8.4", "options_file_version": "1.1"},
        "DBOptions": database,
        'CFOptions "default"': family,
        'TableOptions/BlockBasedTable "default"': table,
    }
    text = "".join(
        f"[{title}]\n" + "".join(f"  {name}={value}\n" for name, value in section.items())
        for title, section in sections.items()
    )
    with TemporaryDirectory(prefix="replicator-options-") as folder:
        Path(folder, "OPTIONS-000001").write_text(text)
        Path(folder, "rocksdict-config.json").write_text(_PYTHON_LAYER_CONFIG)
        loaded, families = Options.load_latest(folder)
    return EngineOptions(loaded, families["default"])
