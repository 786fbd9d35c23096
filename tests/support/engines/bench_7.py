"""Databases written by RocksDB 7.8's `db_bench`, with any option by name."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SMALL_MEMTABLES = {"write_buffer_size": "65536", "compression": "kNoCompression"}


def write_with_bench(
    database: Path,
    *,
    benchmarks: str,
    database_options: Mapping[str, str],
    family_options: Mapping[str, str],
    flags: tuple[str, ...] = (),
) -> None:
    """Run `db_bench` with an OPTIONS file that holds these options; the database is closed in order."""
    options = database.with_name(f"{database.name}.ini")
    sections = {
        "Version": {"rocksdb_version": "7.8.3", "options_file_version": "1.1"},
        "DBOptions": {"create_if_missing": "true", "create_missing_column_families": "true", **database_options},
        'CFOptions "default"': {**_SMALL_MEMTABLES, **family_options},
        'TableOptions/BlockBasedTable "default"': {},
    }
    options.write_text(
        "".join(
            f"[{title}]\n" + "".join(f"  {name}={value}\n" for name, value in settings.items())
            for title, settings in sections.items()
        )
    )
    subprocess.run(
        [
            "db_bench",
            f"--db={database}",
            f"--options_file={options}",
            f"--benchmarks={benchmarks}",
            "--num=2500",
            "--seed=7",
            *flags,
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
